use std::path::Path;

use super::*;

fn layers(text: &str) -> Layers {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    Layers::read_with(&Given::default(), |_| None, Some(Path::new(&path))).unwrap()
}

fn told(running: &Layers, read: &Layers) -> Vec<String> {
    let words = |c: Changed| format!("{} {} -> {} {:?}", c.key, c.from, c.to, c.change);
    changes(running, read).into_iter().map(words).collect()
}

#[test]
fn what_changed_is_told_with_its_time() {
    let (before, after) =
        (layers("bridge = 'a'\nlog-level = 'warn'"), layers("bridge = 'b'\npod-cidr = '10.0.0.0/8'"));
    assert_eq!(
        told(&before, &after),
        [
            r#"pod-cidr a free /20 of 10.208.0.0/14, chosen once and kept -> "10.0.0.0/8" Start"#,
            r#"bridge "a" -> "b" Start"#,
            r#"log-level "warn" -> "info" Reload"#,
        ]
    );
    assert_eq!(told(&before, &before), Vec::<String>::new());
    assert_eq!(told(&layers(""), &layers("log-level = 'info'")), Vec::<String>::new(), "only written down");
}

#[test]
fn what_needs_a_start_is_told_until_it_is_taken_back() {
    let mut running = layers("bridge = 'a'\nlog-level = 'warn'");
    let read = layers("bridge = 'b'\nlog-level = 'debug'");
    running.take(&read, Change::Reload);
    assert_eq!(told(&running, &read), [r#"bridge "a" -> "b" Start"#]);
    assert_eq!(told(&running, &layers("bridge = 'a'")), [r#"log-level "debug" -> "info" Reload"#]);
}
