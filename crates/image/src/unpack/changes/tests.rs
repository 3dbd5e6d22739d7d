use super::super::Limits;
use super::*;

fn changes() -> Changes {
    Changes::new(Budget::new(Limits::default().of_blob(1 << 20)))
}

#[test]
fn what_is_below_a_directory_is_forgotten_with_it_and_nothing_else() {
    let mut changes = changes();
    let paths: [&[u8]; 7] = [b"a", b"a/b", b"a/b/c", b"a-b", b"a0", b"ab", b"b/a"];
    for path in paths {
        changes.imply(path).unwrap();
        changes.opaque(path).unwrap();
        changes.link(path.to_vec(), b"target".to_vec()).unwrap();
    }
    changes.forget(b"a");
    let left: [&[u8]; 4] = [b"a-b", b"a0", b"ab", b"b/a"];
    assert!(changes.implied.iter().eq(left) && changes.opaque.iter().eq(left));
    assert!(changes.take_links().iter().map(|(path, _)| path).eq(left));
}

#[test]
fn links_come_in_the_order_in_which_they_were_written() {
    let mut changes = changes();
    for (path, target) in [("c", "below"), ("a", "c"), ("b", "x"), ("b", "a")] {
        changes.link(path.into(), target.into()).unwrap();
    }
    let links = changes.take_links();
    let shown: Vec<_> = links.iter().map(|(path, target)| (&path[..], &target[..])).collect();
    assert_eq!(shown, [(&b"c"[..], &b"below"[..]), (b"a", b"c"), (b"b", b"a")]);
}
