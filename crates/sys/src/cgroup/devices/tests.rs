use super::*;

fn rule(allow: bool, text: &str) -> DeviceRule {
    let mut words = text.split([' ', ':']);
    let mut next = || words.next().unwrap();
    let kind = match next() {
        "a" => DeviceKind::All,
        "c" => DeviceKind::Char,
        _ => DeviceKind::Block,
    };
    let (major, minor) = (next().parse().ok(), next().parse().ok());
    DeviceRule { allow, kind, major, minor, access: Access::parse(next()).unwrap() }
}

fn policy(rules: &[(bool, &str)]) -> Result<Policy, CgroupError> {
    Policy::from_rules(&rules.iter().map(|(allow, text)| rule(*allow, text)).collect::<Vec<_>>())
}

fn shown(rules: &[(bool, &str)]) -> (bool, Vec<String>) {
    let policy = policy(rules).unwrap();
    (policy.allow, policy.exceptions.iter().map(ToString::to_string).collect())
}

/// Interprets the emitted program: the answer for one access.
fn ask(policy: &Policy, block: bool, access: i32, major: i32, minor: i32) -> bool {
    bpf::interpret(&policy.program(), [access << 16 | if block { 1 } else { 2 }, major, minor]) == 1
}

#[test]
fn rules_add_up() {
    assert_eq!(shown(&[]), (true, vec![]));
    assert_eq!(shown(&[(false, "a *:* rwm")]), (false, vec![]));
    assert_eq!(
        shown(&[(false, "a *:* rwm"), (true, "c 1:3 r"), (true, "c 1:3 w"), (true, "b *:* m")]),
        (false, vec!["c 1:3 rw".into(), "b *:* m".into()])
    );
    // Taken back whole, in part, and by a wider rule.
    assert_eq!(shown(&[(false, "a *:* rwm"), (true, "c 1:3 rwm"), (false, "c 1:3 wm")]).1, ["c 1:3 r"]);
    assert_eq!(shown(&[(false, "a *:* rwm"), (true, "c 1:3 rwm"), (false, "c 1:* rwm")]).1, [""; 0]);
    // The default the other way round, and a reset.
    assert_eq!(shown(&[(true, "a *:* rwm"), (false, "c 5:1 rwm")]), (true, vec!["c 5:1 rwm".into()]));
    assert_eq!(shown(&[(false, "c 5:1 rwm"), (false, "a *:* rwm")]), (false, vec![]));
    // A rule about all kinds that is not about everything stands for one of each kind.
    assert_eq!(shown(&[(false, "a *:* rwm"), (true, "a *:* m")]).1, ["c *:* m", "b *:* m"]);
}

#[test]
fn a_part_of_a_wider_rule_cannot_be_taken_back() {
    let error = policy(&[(false, "a *:* rwm"), (true, "c *:* rwm"), (false, "c 1:3 rwm")]).unwrap_err();
    assert!(error.to_string().starts_with("linux.resources.devices[2] is not supported"), "{error}");
    assert!(policy(&[(false, "a *:* rwm"), (true, "c *:* m"), (false, "c 1:3 rw")]).is_ok());
}

#[test]
fn too_many_rules_are_refused() {
    let rules = vec![rule(true, "c 1:3 r"); MAX_RULES + 1];
    assert!(Policy::from_rules(&rules).is_err());
}

#[test]
fn the_program_answers_as_the_rules_say() {
    const MAKE: i32 = 1;
    const READ: i32 = 2;
    const WRITE: i32 = 4;
    let deny = policy(&[
        (false, "a *:* rwm"),
        (true, "c 1:3 rw"),
        (true, "b 8:* r"),
        (true, "c *:* m"),
        (true, "c 9:9 rwm"),
    ])
    .unwrap();
    assert!(ask(&deny, false, READ | WRITE, 1, 3));
    assert!(!ask(&deny, false, READ | WRITE, 1, 5));
    assert!(!ask(&deny, true, READ, 1, 3));
    assert!(ask(&deny, true, READ, 8, 77));
    assert!(!ask(&deny, true, READ | WRITE, 8, 77));
    assert!(ask(&deny, false, MAKE, 200, 200));
    assert!(ask(&deny, false, READ | WRITE | MAKE, 9, 9));
    let allow = policy(&[(true, "a *:* rwm"), (false, "c 1:3 w")]).unwrap();
    assert!(ask(&allow, false, READ, 1, 3));
    assert!(!ask(&allow, false, READ | WRITE, 1, 3));
    assert!(ask(&allow, true, WRITE, 1, 3));
}
