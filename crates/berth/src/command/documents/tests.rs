use super::*;

#[test]
fn the_configuration_of_a_package_changes_nothing() {
    let keys: toml::Table = toml::from_str(&configuration()).unwrap();
    assert!(keys.is_empty(), "{keys:?}");
}

#[test]
fn the_configuration_of_a_package_has_every_key_in_its_form() {
    // Keys begin right after their #, sentences after a space.
    let text: String = configuration()
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
        .map(|line| format!("{line}\n"))
        .collect();
    drop::<Given>(toml::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}")));
    let shown: toml::Table = toml::from_str(&text).unwrap();
    let flags = Given::augment_args(clap::Command::new("keys"));
    for flag in flags.get_arguments().filter_map(Arg::get_long) {
        assert!(shown.contains_key(flag), "{flag}");
    }
    assert!(shown.contains_key("instance"));
}

#[test]
fn a_manual_has_a_page_for_the_program_and_for_serve() {
    let dir = tempfile::tempdir().unwrap();
    manual(crate::cli::tree(), dir.path()).unwrap();
    for page in ["berth.1", "berth-serve.1", "berth-play.1"] {
        let text = std::fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(text.contains(".SH DESCRIPTION"), "{page}: {text}");
    }
}

#[test]
fn every_shell_completes_every_command() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut crate::cli::tree(), "berth", &mut text);
        let text = String::from_utf8(text).unwrap();
        for command in ["play", "serve", "completion"] {
            assert!(text.contains(command), "{shell}: {command}");
        }
    }
}
