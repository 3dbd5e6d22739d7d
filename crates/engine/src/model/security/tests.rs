use super::*;

#[test]
fn a_record_that_has_the_sandboxs_seccomp_profile_is_still_read() {
    for profile in [r#""default""#, r#"{"localhost":"/p.json"}"#] {
        let record = format!(r#"{{"privileged":true,"selinux":null,"seccomp":{profile}}}"#);
        let read: SandboxSecurity = serde_json::from_str(&record).unwrap();
        assert_eq!(read, SandboxSecurity { privileged: true, selinux: None });
    }
    // And a reader that knows the field takes a record without it: every field has a default.
    let written = serde_json::to_string(&SandboxSecurity::default()).unwrap();
    assert_eq!(written, r#"{"privileged":false,"selinux":null}"#);
}
