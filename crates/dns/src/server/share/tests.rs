use super::*;

#[test]
fn a_client_takes_its_share_and_leaves_those_of_others() {
    let shares = Shares::new(2);
    let (one, other): (IpAddr, IpAddr) = ("10.208.0.2".parse().unwrap(), "10.208.0.3".parse().unwrap());
    let first = shares.take(one).unwrap();
    let _second = shares.take("::ffff:10.208.0.2".parse().unwrap()).unwrap();
    assert!(shares.take(one).is_none());
    let others = shares.take(other).unwrap();
    drop(first);
    let third = shares.take(one).unwrap();
    assert!(shares.take(one).is_none());
    drop(third);
    drop(others);
    // Who has nothing is not remembered.
    assert_eq!(*shares.taken.lock().unwrap(), HashMap::from([(one, 1)]));
}
