use std::collections::BTreeSet;

use clap::Args as _;

use super::*;
use crate::serve::settings::Flags;

struct Files(tempfile::TempDir);

impl Files {
    /// The first, and those beside it.
    fn new(first: &str, more: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.toml"), first).unwrap();
        std::fs::create_dir(dir.path().join("config.d")).unwrap();
        for (name, text) in more {
            std::fs::write(dir.path().join("config.d").join(name), text).unwrap();
        }
        Self(dir)
    }

    fn read(&self, flags: &Given, environment: &[(&str, &str)]) -> Result<Layers, SettingsError> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Layers::read_with(flags, variable, Some(&self.0.path().join("config.toml")))
    }

    fn wrong(&self, environment: &[(&str, &str)]) -> String {
        let layers = self.read(&Given::default(), environment);
        let error = layers.and_then(|layers| layers.resolve().map(drop)).unwrap_err().to_string();
        error.replace(&self.0.path().display().to_string(), "DIR")
    }
}

fn from(layers: &Layers, key: &str) -> String {
    let key = Key::find(key).unwrap();
    let from = layers.said(key).map_or_else(|| "default".to_owned(), |(_, source)| source.to_string());
    let name = from.rsplit('/').next().unwrap_or_default();
    format!("{} {name}", layers.value(key).unwrap())
}

#[test]
fn a_flag_wins_over_the_environment_over_later_files_over_earlier_ones() {
    let first = "root = '/f'\nstate = '/f'\nlog-level = 'warn'\nbridge = 'f'\ncerts-dir = ['/f', '/g']";
    let beside = [
        ("20-b.toml", "root = '/20'\nstate = '/20'\ncerts-dir = ['/20']"),
        ("10-a.toml", "root = '/10'\nbridge = 'ten'"),
        (".hidden.toml", "root = 1"),
        ("other.txt", "root = 1"),
    ];
    let flags = Given { root: Some("/flag".into()), ..Given::default() };
    let environment = [("BERTH_ROOT", "/e"), ("BERTH_STATE", "/e"), ("BERTH_PID_FILE", "")];
    let layers = Files::new(first, &beside).read(&flags, &environment).unwrap();
    assert_eq!(from(&layers, "root"), r#""/flag" --root"#);
    assert_eq!(from(&layers, "state"), r#""/e" BERTH_STATE"#);
    assert_eq!(from(&layers, "certs-dir"), r#"["/20"] 20-b.toml:3:1: certs-dir"#);
    assert_eq!(from(&layers, "bridge"), r#""ten" 10-a.toml:2:1: bridge"#);
    assert_eq!(from(&layers, "log-level"), r#""warn" config.toml:3:1: log-level"#);
    assert_eq!(from(&layers, "listen"), r#""unix:///e/berth.sock" default"#);
    assert_eq!(from(&layers, "network"), r#""cni" default"#);
    let settings = layers.resolve().unwrap();
    assert_eq!((settings.root.as_path(), settings.bridge.as_str()), (Path::new("/flag"), "ten"));
    assert_eq!(settings.certs_dirs, [PathBuf::from("/20")]);
    assert_eq!(layers.files.len(), 3);
}

#[test]
fn an_empty_list_is_a_list() {
    let layers = Files::new("certs-dir = []", &[]).read(&Given::default(), &[]).unwrap();
    assert_eq!(layers.resolve().unwrap().certs_dirs, Vec::<PathBuf>::new());
}

#[test]
fn mistakes_of_all_files_are_told_with_their_places() {
    let files = Files::new("rooot = 1", &[("a.toml", "\n\nnetwork = 2")]);
    assert_eq!(
        files.wrong(&[]),
        "DIR/config.toml:1:1: there is no key \"rooot\" (hint: did you mean root?) (and 1 more: berth config check)"
    );
    let of = |text: &str| Files::new(text, &[]).wrong(&[]);
    assert!(of("\nbridge = 'a-name-that-is-too-long'").starts_with("DIR/config.toml:2:1: bridge: \"a-name"));
    assert!(of("nri-socket = 'x'").starts_with("DIR/config.toml:1:1: nri-socket: \"x\": "));
    assert!(of("log-level = 'a=b=c'").starts_with("DIR/config.toml:1:1: log-level: "));
    let none = Files::new("", &[]);
    assert_eq!(
        none.wrong(&[("BERTH_STREAM_PORT", "x")]),
        "BERTH_STREAM_PORT: \"x\": expected a whole number from 0 to 65535"
    );
    assert!(none.wrong(&[("BERTH_NETWORK", "x")]).contains("one of cni, builtin, none"));
    assert!(none.wrong(&[("BERTH_BRIDGE", "/")]).starts_with("BERTH_BRIDGE: \"/\": "));
}

#[test]
fn the_number_of_files_is_bounded() {
    let names: Vec<_> = (0..=MOST_FILES).map(|n| format!("{n:03}.toml")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(Files::new("", &many[1..]).read(&Given::default(), &[]).unwrap().files.len(), MOST_FILES + 1);
    assert!(Files::new("", &many).wrong(&[]).contains("more than 64 files"));
}

#[test]
fn a_missing_file_is_a_mistake_only_if_it_was_named() {
    let named = Layers::read_with(&Given::default(), |_| None, Some(Path::new("/nosuch/c.toml")));
    assert!(named.unwrap_err().to_string().contains("/nosuch/c.toml"));
}

#[test]
fn lists_of_variables_are_separated_by_commas() {
    let environment = [("BERTH_SHORT_NAME_HOST", "docker.io,quay.io:443"), ("BERTH_STREAM_PORT", "7")];
    let layers = Files::new("", &[]).read(&Given::default(), &environment).unwrap();
    let settings = layers.resolve().unwrap();
    assert_eq!(settings.short_name_hosts, ["docker.io", "quay.io:443"]);
    assert_eq!(settings.streams.port, 7);
}

#[test]
fn the_table_says_what_the_code_does() {
    let flags = Flags::augment_args(clap::Command::new("keys"));
    let names: BTreeSet<_> = flags.get_arguments().filter_map(clap::Arg::get_long).collect();
    let keys: BTreeSet<_> = KEYS.iter().map(|key| key.name).filter(|name| *name != "instance").collect();
    assert_eq!(names, keys, "the flags and the table of settings");
    for flag in flags.get_arguments() {
        let key = Key::find(flag.get_long().unwrap()).unwrap();
        let values = flag.get_possible_values();
        let words: Vec<_> = values.iter().map(|value| value.get_name()).collect();
        let is_list = matches!(flag.get_action(), clap::ArgAction::Append);
        match key.form {
            Form::Word(wanted) => assert_eq!(words, wanted, "{}", key.name),
            Form::Switch => {}
            _ => assert!(words.is_empty(), "{}", key.name),
        }
        assert_eq!(is_list, key.form == Form::List, "{}", key.name);
        assert_eq!(flag.get_help().map(ToString::to_string), Some(key.help()));
    }
}

#[test]
fn with_every_default_written_down_nothing_changes() {
    for instance in ["", "x"] {
        let given = Given { instance: Some(instance.to_owned()), ..Given::default() };
        let bare = Layers { said: BTreeMap::new(), files: Vec::new() };
        let mut all = bare.clone();
        all.flags(&given).unwrap();
        for key in KEYS {
            if let Some(value) = all.value(key) {
                all.said.insert(key.name, (value, Source::Flag(key.name)));
            }
        }
        let mut settings = all.resolve().unwrap();
        // A socket that is written down is one that was asked for.
        settings.nri.is_given = false;
        assert_eq!(settings, given.resolve().unwrap());
    }
}
