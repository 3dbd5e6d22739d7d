use super::*;

fn files(path: &str, text: &str) -> Files {
    Files(vec![File { path: path.to_owned(), text: text.to_owned() }])
}

#[test]
fn unsafe_code_is_found_outside_sys_only() {
    let text = concat!("fn f() {\n    un", "safe { g() }\n}\n");
    assert_eq!(sources::unsafe_code(&files("crates/net/src/a.rs", text)).len(), 1);
    assert_eq!(sources::unsafe_code(&files("crates/sys/src/a.rs", text)).len(), 0);
    assert_eq!(sources::unsafe_code(&files("crates/net/src/a.rs", "// no unsafe { here }\n")).len(), 0);
}

#[test]
fn unfinished_code_is_found_with_its_line() {
    let found = sources::unfinished(&files("a.rs", concat!("fn f() {\n    todo", "!()\n}\n")));
    assert_eq!(found, ["a.rs:2: left unfinished"]);
}

#[test]
fn only_tests_may_not_sleep() {
    let text = concat!("std::thread::sl", "eep(x);\n");
    assert_eq!(sources::sleeping_tests(&files("crates/a/tests/x.rs", text)).len(), 1);
    assert_eq!(sources::sleeping_tests(&files("crates/a/src/x/tests.rs", text)).len(), 1);
    assert_eq!(sources::sleeping_tests(&files("crates/a/src/x.rs", text)).len(), 0);
}

#[test]
fn long_files_and_functions_are_found() {
    let long = format!("fn f() {{\n{}}}\n", "    x();\n".repeat(80));
    assert_eq!(sizes::functions(&files("a.rs", &long)), ["a.rs:1: f has 82 lines, 70 are allowed"]);
    assert_eq!(sizes::files(&files("a.rs", &"\n".repeat(501))).len(), 1);
    assert_eq!(sizes::files(&files("a.rs", &"\n".repeat(500))).len(), 0);
}

#[test]
fn functions_are_measured_by_their_closing_brace() {
    let text = "impl A {\n    pub(crate) async fn f<T>(\n        t: T,\n    ) -> u8 {\n        1\n    }\n    fn g();\n    fn i(\n        t: T,\n    ) -> u8;\n    fn j() {\n    }\n}\nfn h() {}\n";
    assert_eq!(sizes::functions_of(text), [("f".to_owned(), 2, 5), ("j".to_owned(), 11, 2)]);
}

#[test]
fn paths_in_documents_are_seen_in_quotes_and_links() {
    let text = "see `crates/types`, [x](docs/a.md#b), `cargo run`, `crates/*/src`, `docs/adr/`";
    assert_eq!(texts::named_paths(text), ["crates/types", "docs/adr", "docs/a.md"]);
}

#[test]
fn arrows_are_read_from_a_manifest() {
    let table = "[dependencies]\nberth-types.workspace = true\nserde = '1'\n[dev-dependencies]\nberth-testkit = '1'\n";
    assert_eq!(arrows::uses(&table.parse().unwrap()), ["types"]);
}
