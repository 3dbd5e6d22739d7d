//! The text of a pod's `/etc/hosts`.

use std::fmt::Write;
use std::net::IpAddr;

/// The file of a pod: the loopback names, the pod's own `names` for each of its addresses, then `extra` lines of an
/// address and its names.
pub fn file(names: &[&str], addresses: &[IpAddr], extra: &[(IpAddr, Vec<String>)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         fe00::\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for address in addresses {
        push(&mut text, address, names);
    }
    add(&mut text, extra);
    text
}

/// Adds lines of an address and its names to a file.
pub fn add(text: &mut String, extra: &[(IpAddr, Vec<String>)]) {
    if !extra.is_empty() && !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (address, names) in extra {
        push(text, address, names);
    }
}

fn push(text: &mut String, address: &IpAddr, names: &[impl AsRef<str>]) {
    write!(text, "{address}\t").expect("writing to a String does not fail");
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    text.push_str(&names.join(" "));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_finds_itself_and_the_extra_names() {
        let addresses = ["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let extra = [("10.0.0.9".parse().unwrap(), vec!["db".to_owned(), "db.example".to_owned()])];
        let text = file(&["web"], &addresses, &extra);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost "));
        assert!(text.ends_with("10.0.0.2\tweb\nfd00::2\tweb\n10.0.0.9\tdb db.example\n"), "{text}");
        let mut host = "10.0.0.1\thost".to_owned();
        add(&mut host, &extra);
        assert_eq!(host, "10.0.0.1\thost\n10.0.0.9\tdb db.example\n");
    }
}
