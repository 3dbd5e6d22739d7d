use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Vec<Entry>, Vec<String>> {
    let path = Arc::new(PathBuf::from("/c.toml"));
    parse(&path, text).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn wrong(text: &str) -> String {
    read(text).unwrap_err().join("\n")
}

#[test]
fn every_form_is_read_with_its_place() {
    let text =
        "# a comment\nroot = '/r'\n\n  certs-dir = [\n 'a', \"b\" ]\nstream-port = 0x10\nnetwork = 'cni'\n";
    let entries = read(text).unwrap();
    let shown: Vec<_> = entries.iter().map(|e| format!("{} {} {}", e.place, e.key.name, e.value)).collect();
    assert_eq!(
        shown,
        [
            r#"/c.toml:2:1 root "/r""#,
            r#"/c.toml:4:3 certs-dir ["a", "b"]"#,
            "/c.toml:6:1 stream-port 16",
            r#"/c.toml:7:1 network "cni""#,
        ]
    );
}

#[test]
fn unknown_keys_are_refused_with_what_was_probably_meant() {
    assert_eq!(wrong("\nrooot = 1"), "/c.toml:2:1: there is no key \"rooot\" (hint: did you mean root?)");
    assert!(wrong("cni_conf_dir = 1").contains("did you mean cni-conf-dir?"));
    assert!(wrong("certs-dirs = []").contains("did you mean certs-dir?"));
    assert!(wrong("plugins = {}").contains("berth config default shows all"));
    assert!(wrong("[root]\nx = 1").contains("/c.toml:1:2: root: expected a string, found a table"));
    assert!(wrong("version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nx = 1").contains("\"plugins\""));
}

#[test]
fn wrong_types_and_values_are_told_all_at_once() {
    let said = wrong("root = 1\nstream-port = 70000\n certs-dir = 'x'\nnetwork = 'bridge'\nhandler = [1]");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "/c.toml:1:1: root: expected a string, found a whole number",
            "/c.toml:2:1: stream-port: expected a whole number from 0 to 65535, found 70000",
            "/c.toml:3:2: certs-dir: expected a list of strings, found a string",
            "/c.toml:4:1: network: expected one of cni, builtin, none, found \"bridge\"",
            "/c.toml:5:1: handler: expected a list of strings, found a list of something else",
        ]
    );
    assert!(wrong("stream-port = -1").contains("found -1"));
    assert!(wrong("stream-port = 99999999999999999999999").contains("found 999"));
}

#[test]
fn what_is_no_toml_has_its_place() {
    assert!(wrong("root = '/r'\nstate =\n").starts_with("/c.toml:2:"), "{}", wrong("root = '/r'\nstate =\n"));
    let twice = wrong("root = 'a'\nroot = 'b'");
    assert!(twice.starts_with("/c.toml:2:1") && twice.contains("duplicate"), "{twice}");
    let deep = format!("certs-dir = {}", "[".repeat(10_000));
    assert!(wrong(&deep).starts_with("/c.toml:1:"));
    let many: String = (0..1000).map(|n| format!("k{n} = 1\n")).collect();
    assert_eq!(read(&many).unwrap_err().len(), MOST_PROBLEMS);
}

#[test]
fn what_is_no_short_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    assert!(matches!(text(&path("none")), Ok(None)));
    std::fs::write(path("long"), vec![b'#'; 300 << 10]).unwrap();
    assert!(text(&path("long")).unwrap_err().to_string().contains("longer than 256 KiB"));
    std::fs::write(path("bytes"), b"# fine\n\xff\n").unwrap();
    let chain = |error: SettingsError| berth_types::error::chain(&error);
    assert!(chain(text(&path("bytes")).unwrap_err()).contains("line 2 is not UTF-8"));
    assert!(chain(text(dir.path()).unwrap_err()).contains("not a regular file"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("pipe"),
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(chain(text(&path("pipe")).unwrap_err()).contains("not a regular file"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_places(text in "\\PC{0,200}|[a-z\\-=\\[\\]{}'\"#\n.0-9_ ]{0,300}") {
        if let Err(problems) = parse(&Arc::new(PathBuf::from("/c")), &text) {
            let lines = text.matches('\n').count() + 1;
            prop_assert!(!problems.is_empty() && problems.len() <= MOST_PROBLEMS);
            prop_assert!(problems.iter().all(|p| (1..=lines).contains(&p.place.line) && p.place.column >= 1));
        }
    }

    #[test]
    fn any_value_of_a_key_is_read_or_refused(
        key in proptest::sample::select(KEYS),
        value in "-?[1-9][0-9]{0,30}|'[a-z/]{0,20}'|\\[('[a-z]{0,3}',){0,4}\\]|true|1\\.5|\\{ a = 1 \\}|1979-05-27"
    ) {
        let text = format!("{} = {value}", key.name);
        match parse(&Arc::new(PathBuf::from("/c")), &text) {
            Ok(entries) => prop_assert!(entries.len() == 1 && *entries[0].key == key),
            Err(problems) => prop_assert!(problems[0].message.contains(key.name), "{}", problems[0]),
        }
    }
}
