use super::*;

#[test]
fn values_are_in_single_quotes_and_kept_as_they_are() {
    let text = "# first\n\n  A='one' # of them\nB='two\nlines $(A) \\n'\nC= 'nothing'\nA='again'\nD=''\n";
    for (key, value) in
        [("A", Some("one")), ("B", Some("two\nlines $(A) \\n")), ("C", None), ("D", Some("")), ("E", None)]
    {
        assert_eq!(parse(text, key).unwrap().as_deref(), value, "{key}");
    }
}

#[test]
fn what_is_no_line_of_a_file_is_told_with_its_number() {
    for (text, why) in [
        ("\nA", "line 2 has no '='"),
        ("='x'", "line 1 has no name"),
        ("A ='x'", "line 1 has a space before '='"),
        ("A=x", "line 1: a value is in single quotes"),
        ("A=", "line 1: a value is in single quotes"),
        ("A=\"x\"", "line 1: a value is in single quotes"),
        ("A='x\ny", "line 1: the quote is not closed"),
        ("A='x' y", "line 1: only a comment may follow the value"),
    ] {
        assert_eq!(parse(text, "B").unwrap_err(), why, "{text:?}");
    }
    // What follows the variable is not looked at.
    assert_eq!(parse("A='x'\nwrong", "A").unwrap().as_deref(), Some("x"));
}
