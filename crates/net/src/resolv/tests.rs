use super::*;

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn the_order_is_search_nameserver_options() {
    let dns = Dns {
        searches: words(&["a.example", "example"]),
        servers: words(&["10.0.0.10", "fd00::10"]),
        options: words(&["ndots:5", "edns0"]),
    };
    assert_eq!(
        file(&dns).unwrap(),
        "search a.example example\nnameserver 10.0.0.10\nnameserver fd00::10\noptions ndots:5 edns0\n"
    );
    assert_eq!(file(&Dns::default()).unwrap(), "");
}

#[test]
fn a_setting_cannot_add_a_line() {
    for bad in ["", "a b", "a\nnameserver 6.6.6.6", "a\0"] {
        let dns = Dns { options: words(&[bad]), ..Dns::default() };
        assert_eq!(file(&dns).unwrap_err().what, "option");
        let dns = Dns { servers: words(&[bad]), ..Dns::default() };
        assert_eq!(file(&dns).unwrap_err().what, "server");
        let dns = Dns { searches: words(&[bad]), ..Dns::default() };
        assert_eq!(file(&dns).unwrap_err().what, "search domain");
    }
}

#[test]
fn the_hosts_file_is_copied_without_loopback_servers() {
    let host = "# comment\nsearch lan\nnameserver 127.0.0.53\nnameserver 192.0.2.1\noptions edns0\n";
    let expected = "# comment\nsearch lan\nnameserver 192.0.2.1\noptions edns0\n";
    assert_eq!(from_host(host, None), (expected.to_owned(), false));
}

#[test]
fn the_resolver_of_systemd_is_looked_behind() {
    let host = "nameserver 127.0.0.53\noptions trust-ad\nsearch lan\n";
    let resolved = "nameserver 192.0.2.1\nsearch lan\n";
    assert_eq!(from_host(host, Some(resolved)), (resolved.to_owned(), false));
}

#[test]
fn no_server_left_is_reported() {
    let host = "nameserver 127.0.0.1\nnameserver ::1\nnameserver ::ffff:127.0.0.1\nsearch lan\n";
    assert_eq!(from_host(host, None), ("search lan\n".to_owned(), true));
    assert_eq!(from_host(host, Some("nameserver 127.0.0.1\n")), ("search lan\n".to_owned(), true));
    assert_eq!(from_host("", None), (String::new(), true));
}

#[test]
fn settings_are_added_behind_those_that_are_there() {
    let text = "# of the host\ndomain old.example\nsearch a.example b.example\nnameserver 10.0.0.1 # first\n\
                nameserver 10.0.0.2\noptions ndots:2 rotate\n";
    let more = Dns {
        servers: words(&["10.0.0.2", "10.0.0.3", "10.0.0.4"]),
        searches: words(&["b.example", "c.example"]),
        options: words(&["ndots:5", "edns0"]),
    };
    assert_eq!(
        add(text, &more).unwrap(),
        "search a.example b.example c.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n\
         options ndots:5 rotate edns0\n"
    );
    assert!(add(text, &Dns { options: words(&["a\nnameserver 6.6.6.6"]), ..Dns::default() }).is_err());
}
