use serde_json::json;

use super::*;

fn shown(template: &str) -> String {
    let object = json!({ "id": "0123", "exit": { "code": 3 }, "ports": ["a", "b"], "labels": { "x": "y" }, "none": null });
    match template.parse::<Template>().and_then(|template| template.text(&object)) {
        Ok(text) => text,
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn keys_are_found_in_any_case() {
    for (template, text) in [
        ("{{.ID}}", "0123"),
        ("{{ .Id }}\\t{{.Exit.Code}}!", "0123\t3!"),
        ("{{json .exit}}", r#"{"code":3}"#),
        ("{{.ports}} {{.labels}}", "a,b x=y"),
        ("{{.none}}{{.none.more}}.", "."),
        ("plain", "plain"),
    ] {
        assert_eq!(shown(template), text, "{template}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    for (template, word) in [
        ("{{.Nosuch}}", "there is no \"Nosuch\""),
        ("{{.id.more}}", "no object"),
        ("{{.id", "has no }}"),
        ("{{range .ports}}", "{{range .ports}} is not supported"),
        ("{{.id | upper}}", "is not supported"),
    ] {
        assert!(shown(template).contains(word), "{template}: {}", shown(template));
    }
    assert!(" ".repeat(5000).parse::<Template>().is_err());
}

#[test]
fn a_table_has_heads() {
    let template: Template = "table {{.id}}\t{{.exit.code}}".parse().unwrap();
    assert_eq!((template.table, template.head().as_str()), (true, "ID\tCODE"));
}
