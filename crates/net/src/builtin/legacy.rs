//! Hosts with legacy iptables (not the nftables kind): its chains can be reached by
//! its own program alone.
//!
//! The program is run when the network is opened and only where the old filter table is in use, never
//! for a pod. See docs/adr/0032.

use std::process::{Command, Stdio};

/// A family: its program, and the list of its tables that are in use.
const FAMILIES: [(&str, &str); 2] = [
    ("iptables-legacy", "/proc/thread-self/net/ip_tables_names"),
    ("ip6tables-legacy", "/proc/thread-self/net/ip6_tables_names"),
];

/// The same two rules that an nftables FORWARD chain gets, last one first.
fn rules(bridge: &str) -> [Vec<&str>; 2] {
    let known = ["-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED,DNAT", "-j", "ACCEPT"];
    [known.to_vec(), vec!["-i", bridge, "-j", "ACCEPT"]]
}

/// Lets pods through the old FORWARD chains. A failure is only logged: the chains may let
/// everything through as they are.
pub(super) fn open_forward(bridge: &str) {
    for (program, tables) in FAMILIES.iter().filter(|(_, tables)| has_filter_table(tables)) {
        for rule in rules(bridge) {
            if !run(program, "-C", &rule) && !run(program, "-I", &rule) {
                tracing::warn!(
                    program,
                    tables,
                    "failed to allow pods in the FORWARD chain of legacy iptables"
                );
            }
        }
    }
}

/// Removes the rules.
pub(super) fn close_forward(bridge: &str) {
    for (program, _) in FAMILIES.iter().filter(|(_, tables)| has_filter_table(tables)) {
        for rule in rules(bridge) {
            if run(program, "-C", &rule) && !run(program, "-D", &rule) {
                tracing::warn!(program, "failed to remove a rule from the FORWARD chain of legacy iptables");
            }
        }
    }
}

fn has_filter_table(tables: &str) -> bool {
    std::fs::read_to_string(tables).is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

fn run(program: &str, command: &str, rule: &[&str]) -> bool {
    let mut call = Command::new(program);
    call.args(["-w", "5", command, "FORWARD"]).args(rule);
    call.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    call.status().is_ok_and(|status| status.success())
}
