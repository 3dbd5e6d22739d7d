use super::*;

const REPORT: &str = r#"[{"SuitePath": "x", "SpecReports": [
  {"LeafNodeType": "BeforeSuite", "LeafNodeText": "", "State": "passed"},
  {"ContainerHierarchyTexts": ["[k8s.io] A", "b"], "LeafNodeType": "It", "LeafNodeText": "works", "State": "passed"},
  {"ContainerHierarchyTexts": ["[k8s.io] A"], "LeafNodeType": "It", "LeafNodeText": "breaks", "State": "panicked",
   "Failure": {"Message": "it\n  broke"}},
  {"LeafNodeType": "It", "LeafNodeText": "waits", "State": "skipped"}
]}]"#;

fn specs() -> Vec<Spec> {
    report::parse(REPORT).unwrap()
}

#[test]
fn a_report_gives_names_outcomes_and_messages() {
    let specs = specs();
    let seen: Vec<_> = specs.iter().map(|s| (s.name.as_str(), s.outcome, s.said.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("[k8s.io] A b works", Outcome::Passed, ""),
            ("[k8s.io] A breaks", Outcome::Failed, "it broke"),
            ("waits", Outcome::Skipped, ""),
        ]
    );
}

#[test]
fn specs_are_judged_by_the_lists() {
    let lists = Lists::parse("[k8s.io] A breaks\n", "# later\n[k8s.io] A b works\nwaits\n").unwrap();
    let judged = judge(&specs(), &lists).unwrap();
    assert_eq!(judged.passed, 1);
    assert_eq!(judged.failed, [("[k8s.io] A breaks".to_owned(), "it broke".to_owned())]);
    assert_eq!(judged.gained, ["[k8s.io] A b works"]);
    assert_eq!(judged.skipped, [("waits".to_owned(), "later".to_owned())]);
}

#[test]
fn a_spec_that_had_to_pass_may_not_be_skipped() {
    let lists = Lists::parse("waits\n[k8s.io] A b works\n", "# later\n[k8s.io] A breaks\n").unwrap();
    let judged = judge(&specs(), &lists).unwrap();
    assert_eq!(judged.failed.len(), 1);
}

#[test]
fn a_spec_on_no_list_is_an_error() {
    let lists = Lists::parse("waits\n", "").unwrap();
    let error = judge(&specs(), &lists).unwrap_err().to_string();
    assert!(error.contains("[k8s.io] A breaks"), "{error}");
}

#[test]
fn a_handler_has_exceptions_from_what_must_pass() {
    let mut lists = Lists::parse("a\nb\n", "# r\nc\n").unwrap();
    lists.except("x.txt", "# it has\n# no b\nb\n").unwrap();
    assert_eq!((lists.must_pass.len(), lists.not_yet["b"].as_str()), (1, "it has no b"));
    for wrong in ["# again\nb\n", "# not at all\nc\n", "# unknown\nd\n", "a\n"] {
        assert!(lists.except("x.txt", wrong).unwrap_err().to_string().starts_with("x.txt: "), "{wrong}");
    }
}

#[test]
fn lists_have_a_reason_for_each_and_no_spec_twice() {
    assert!(Lists::parse("", "a\n").is_err());
    assert!(Lists::parse("a\na\n", "").is_err());
    assert!(Lists::parse("a\n", "# r\na\n").is_err());
    assert!(Lists::parse("", "# r\na\na\n").is_err());
    let lists = Lists::parse("# comment\n\nx\n", "# one\n# two\na\n# three\nb\n").unwrap();
    assert_eq!(lists.not_yet["a"], "one two");
    assert_eq!(lists.not_yet["b"], "three");
}

#[test]
fn the_lists_of_the_project_are_well_formed() {
    for handler in [None, Some("native"), Some("runc"), Some("crun"), Some("runsc"), Some("shim")] {
        let lists = Lists::read(&root().join("tests/conformance"), handler).unwrap();
        assert!(lists.must_pass.len() >= 70, "{handler:?}: {}", lists.must_pass.len());
        assert_eq!(lists.must_pass.len() + lists.not_yet.len(), 142, "cri-tools 1.37.0 has 142 specs");
    }
}
