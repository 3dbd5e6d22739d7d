//! docs/migrating.md: the keys of other runtimes and what Berth has for them.

use std::fmt::Write as _;

use berth_types::setting::foreign::{Foreign, How, Program, Verdict};

/// The document.
pub(super) const NAME: &str = "docs/migrating.md";

const HEAD: &str = "# Configuration of containerd and CRI-O

Made by `cargo xtask docs` from `crates/types/src/setting/foreign.rs`, which `berth config import` uses too.

`berth config import /etc/containerd/config.toml` (or `/etc/crio/crio.conf`) writes the Berth configuration for a file of either to
standard output: the keys that have a counterpart, and a comment for each that has none and asks for something (empty values, 0 and
false are only counted; values of credentials are hidden). What it writes is always a configuration that a daemon takes. A file that names others
(`imports`, `crio.conf.d`) is imported without them: import each.

Images and pods are not taken over: Berth has its own directories and its own socket, and a node can have both runtimes. Drain the
node, point the kubelet to `--container-runtime-endpoint=unix:///run/berth/berth.sock`, and restart it. Registries need no change:
`hosts.toml` files are read as they are.
";

/// The document.
pub(super) fn text() -> String {
    let mut text = String::from(HEAD);
    text.push_str(
        "\n## containerd\n\nVersions 2, 3 and 4 of the file; `containerd config migrate` makes one of them of version 1. \
         `cri` stands for\n`plugins.\"io.containerd.grpc.v1.cri\"`, and since version 3 also for \
         `plugins.\"io.containerd.cri.v1.runtime\"` and\n`plugins.\"io.containerd.cri.v1.images\"`; `plugins.server-grpc` \
         for `plugins.\"io.containerd.server.v1.grpc\"` of version 4, and so on.\n`plugins.gc`, `plugins.nri` and \
         `plugins.tracing` are those of garbage collection, NRI and traces. `*` is any name.\n",
    );
    table(&mut text, Program::Containerd);
    text.push_str("\n## CRI-O\n\n");
    table(&mut text, Program::Crio);
    text
}

fn table(text: &mut String, program: Program) {
    text.push_str("\n| key | Berth | |\n|---|---|---|\n");
    for foreign in program.keys() {
        text.push_str(&row(foreign));
    }
}

fn row(foreign: &Foreign) -> String {
    let (berth, why) = match foreign.verdict {
        Verdict::Key(name, how) => (format!("`{name}`"), words(how)),
        Verdict::Needless(why) => ("no key needed".to_owned(), why),
        Verdict::Lacking(why) => ("not supported".to_owned(), why),
    };
    let mut row = String::new();
    writeln!(row, "| `{}` | {berth} | {why} |", foreign.path).expect("writing to a String does not fail");
    row
}

fn words(how: How) -> &'static str {
    match how {
        How::Same => "",
        How::Colons => "a list instead of colons",
        How::Level => "fatal and panic are error",
        How::Time => "0 is the default",
        How::Systemd => "`systemd` for true; else it is found out",
        How::Runtime => "without one pods get Berth's own runtime, which takes the place of runc and crun",
        How::Handler => "`NAME=VALUE`; runc's shim needs none",
    }
}
