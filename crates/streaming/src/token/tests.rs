use berth_types::SandboxId;

use super::*;
use crate::request::PortForward;

fn request(port: u16) -> Request {
    let sandbox = SandboxId::from_random([7; 32]);
    Request::PortForward(PortForward { sandbox, ports: vec![port] })
}

fn urls() -> Urls {
    Urls::of("127.0.0.1:4000".parse().unwrap(), false)
}

fn path(url: &str) -> &str {
    url.strip_prefix("http://127.0.0.1:4000").unwrap()
}

/// contract 50
#[test]
fn a_url_works_once() {
    let urls = urls();
    let url = urls.give(request(80)).unwrap();
    assert_eq!(path(&url).len(), "/portforward/".len() + 43, "{url}");
    assert_eq!(urls.take(path(&url)), Some(request(80)));
    assert_eq!(urls.take(path(&url)), None);
}

#[test]
fn no_two_urls_are_alike_and_what_is_none_stands_for_nothing() {
    let urls = urls();
    let (one, two) = (urls.give(request(1)).unwrap(), urls.give(request(2)).unwrap());
    assert_ne!(one, two);
    for path in ["", "/", "/portforward", "/portforward/", "/portforward/AAAA", "/portforward/../x", "//"] {
        assert_eq!(urls.take(path), None, "{path}");
    }
    assert_eq!(urls.take(&format!("{}A", path(&one))), None, "longer");
    assert_eq!(urls.take(&path(&one).replace("portforward", "exec")), None, "another verb");
    assert_eq!(urls.take(path(&one)), None, "and it is used up");
    assert_eq!(urls.take(path(&two)), Some(request(2)));
}

/// contract 50
#[test]
fn a_url_expires() {
    let mut tokens = Tokens::default();
    let now = Instant::now();
    tokens.insert(now, [1; 32], request(1)).unwrap();
    tokens.insert(now, [2; 32], request(2)).unwrap();
    assert_eq!(tokens.take(now + LIFE - Duration::from_millis(1), &[1; 32]), Some(request(1)));
    assert_eq!(tokens.take(now + LIFE, &[2; 32]), None);
}

#[test]
fn only_so_many_wait_and_expired_and_used_ones_make_room() {
    let mut tokens = Tokens::default();
    let now = Instant::now();
    let token = |n: usize| {
        let mut token = Token::default();
        token[..8].copy_from_slice(&n.to_ne_bytes());
        token
    };
    for n in 0..MOST {
        tokens.insert(now, token(n), request(1)).unwrap();
    }
    assert_eq!(tokens.insert(now, token(MOST), request(1)), Err(TooMany));
    // One in the middle is used: the list of ages does not grow for it.
    assert!(tokens.take(now, &token(MOST / 2)).is_some());
    tokens.insert(now, token(MOST), request(1)).unwrap();
    assert_eq!((tokens.waiting.len(), tokens.order.len()), (MOST, MOST));
    tokens.insert(now + LIFE, token(MOST + 1), request(1)).unwrap();
    assert_eq!((tokens.waiting.len(), tokens.order.len()), (1, 1));
}

#[test]
fn a_url_names_an_address_that_can_be_reached() {
    for (address, tls, base) in [
        ("127.0.0.1:1", false, "http://127.0.0.1:1/"),
        ("0.0.0.0:1", false, "http://127.0.0.1:1/"),
        ("[::]:1", true, "https://[::1]:1/"),
        ("[fd00::2]:1", false, "http://[fd00::2]:1/"),
    ] {
        let url = Urls::of(address.parse().unwrap(), tls).give(request(1)).unwrap();
        assert!(url.starts_with(base), "{url}");
    }
}
