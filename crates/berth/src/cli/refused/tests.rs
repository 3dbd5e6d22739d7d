use clap::Parser;

use super::super::Cli;
use super::*;

fn error(words: &[&str]) -> clap::Error {
    Cli::try_parse_from([&["berth"], words].concat()).expect_err("it was taken")
}

#[test]
fn every_word_is_refused_with_its_reason_and_what_to_do() {
    for of in COMMANDS {
        for word in of.words {
            let said = explain(&error(&[word, "x"])).unwrap_or_else(|| panic!("{word} exists"));
            assert!(said.starts_with(&format!("berth {word} does not exist: {}", of.reason)), "{said}");
            assert!(said.ends_with(&format!("(hint: {})", of.instead)), "{said}");
        }
    }
    for of in FLAGS {
        for word in of.words {
            let said = explain(&error(&["run", word, "x"])).unwrap_or_else(|| panic!("{word} exists"));
            assert!(said.starts_with(&format!("run {word} is not supported: {}", of.reason)), "{said}");
            let said = explain(&error(&["run", "-d", &format!("{word}=1"), "x"]));
            assert!(said.is_some(), "{word}");
        }
    }
}

#[test]
fn other_mistakes_are_claps() {
    for words in [&["nosuch"][..], &["run"], &["run", "--nosuch", "x"], &["ps", "--gpus"], &["--help"]] {
        assert_eq!(explain(&error(words)), None, "{words:?}");
    }
}

#[test]
fn nothing_harmful_is_suggested() {
    for word in ["purg", "pruge", "stage", "document"] {
        let said = without_harm(error(&[word])).to_string();
        assert!(
            !said.contains("purge'") && !said.contains("stages'") && !said.contains("documents'"),
            "{said}"
        );
    }
    let said = without_harm(error(&["pll"])).to_string();
    assert!(said.contains("'pull'"), "{said}");
}
