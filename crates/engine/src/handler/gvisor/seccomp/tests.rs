use super::*;

fn filter(default: &str, calls: &str) -> LinuxSeccomp {
    serde_json::from_str(&format!(r#"{{ "defaultAction": "{default}", "syscalls": [{calls}] }}"#)).unwrap()
}

fn of(default: &str, calls: &str) -> Result<serde_json::Value, String> {
    translated(filter(default, calls)).map(|filter| serde_json::to_value(filter).unwrap())
}

#[test]
fn what_gvisor_has_another_word_for_is_said_in_that() {
    for (given, errno, expected) in [
        ("SCMP_ACT_ERRNO", "", "SCMP_ACT_ERRNO"),
        ("SCMP_ACT_ERRNO", r#", "errnoRet": 1"#, "SCMP_ACT_ERRNO"),
        ("SCMP_ACT_ERRNO", r#", "errnoRet": 38"#, "SCMP_ACT_TRACE"),
        ("SCMP_ACT_KILL", "", "SCMP_ACT_KILL"),
        ("SCMP_ACT_KILL_THREAD", "", "SCMP_ACT_KILL"),
        ("SCMP_ACT_ALLOW", "", "SCMP_ACT_ALLOW"),
        ("SCMP_ACT_TRAP", "", "SCMP_ACT_TRAP"),
        ("SCMP_ACT_TRACE", "", "SCMP_ACT_TRACE"),
    ] {
        let call = format!(r#"{{ "names": ["clone3"], "action": "{given}"{errno} }}"#);
        let made = of("SCMP_ACT_KILL_THREAD", &call).unwrap();
        assert_eq!(made["defaultAction"], "SCMP_ACT_KILL");
        assert_eq!(made["syscalls"][0]["action"], expected, "{given}{errno}");
        assert_eq!(made["syscalls"][0]["names"], serde_json::json!(["clone3"]));
        assert!(made["syscalls"][0].get("errnoRet").is_none_or(serde_json::Value::is_null), "{made}");
    }
}

#[test]
fn what_it_has_no_word_for_is_named() {
    for action in ["SCMP_ACT_LOG", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_NOTIFY"] {
        assert!(of(action, "").unwrap_err().contains(action));
        let call = format!(r#"{{ "names": ["read"], "action": "{action}" }}"#);
        assert!(of("SCMP_ACT_ALLOW", &call).unwrap_err().contains(action));
    }
    let call = r#"{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 }"#;
    assert!(of("SCMP_ACT_ALLOW", call).unwrap_err().contains("error 13"));
}
