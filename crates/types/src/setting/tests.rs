use std::collections::BTreeSet;

use super::*;

#[test]
fn names_are_plain_and_each_is_there_once() {
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let names: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names.len(), KEYS.len());
    assert!(names.into_iter().all(plain));
}

#[test]
fn defaults_have_the_form_of_their_setting() {
    for key in KEYS {
        let fits = match (key.form, key.standard) {
            (_, Standard::Nothing | Standard::Found(_))
            | (Form::Text, Standard::Text(_) | Standard::OfInstance(_))
            | (Form::List, Standard::List(_))
            | (Form::Switch, Standard::Off) => true,
            (Form::Number(most), Standard::Number(number)) => (0..=most).contains(&number),
            (Form::Word(words), Standard::Text(text)) => words.contains(&text),
            (_, _) => false,
        };
        assert!(fits, "{key:?}");
    }
}

#[test]
fn a_setting_is_shown_as_flag_variable_and_line() {
    let certs = Key::find("certs-dir").unwrap();
    assert_eq!(certs.variable(), "BERTH_CERTS_DIR");
    assert_eq!(certs.line(), r#"certs-dir = ["/etc/berth/certs.d", "/etc/containerd/certs.d"]"#);
    assert!(certs.help().ends_with("; repeatable [default: /etc/berth/certs.d, /etc/containerd/certs.d]"));
    assert_eq!(Key::find("stream-port").unwrap().line(), "stream-port = 0");
    assert_eq!(Key::find("pod-cidr").unwrap().line(), r#"pod-cidr = """#);
    assert_eq!(Key::find("pid-file").unwrap().help(), "File to write the daemon's process id to");
    assert!(Key::find("pidfile").is_none());
}
