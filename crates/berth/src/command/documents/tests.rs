use super::*;

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
