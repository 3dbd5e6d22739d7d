//! docs/configuration.md: what is written by hand, and the table of settings.

use std::fmt::Write as _;

use berth_types::setting::{Change, FILE, Form, KEYS, Key};

/// The document.
pub(super) const NAME: &str = "docs/configuration.md";

const HEAD: &str = "# Configuration

Made by `cargo xtask docs` from `crates/types/src/setting/table.rs`, from which the help of the flags, the checks of files and
`berth config` are made too.

The daemon reads one TOML file, `FILE` (another by `berth serve --config FILE`; it need not exist), and then the files
`config.d/*.toml` beside it in the order of their names, hidden ones left out. Every key is also a flag of `berth serve` and a
variable of its environment. What is said later wins, and a list replaces a list:

default < `config.toml` < `config.d/10-a.toml` < `config.d/20-b.toml` < `BERTH_KEY` < `--key`

- A variable is `BERTH_`, then the key in capitals with `_` for `-`: `BERTH_LOG_LEVEL`. Several values of a list are separated by
  commas. An empty variable says nothing. Where traces go is also read of OpenTelemetry's variables ([tracing.md](tracing.md)), of which
  those of Berth count more.
- A key that does not exist, a value of the wrong form and text that is no TOML are refused with file, line and column, and with what was
  probably meant. All mistakes are told, up to 20 for each file.
- A file has at most 256 KiB, and there are at most 64 beside the first.

## Commands

| command | what it does |
|---|---|
| `berth config check` | reads everything as a daemon would, and tells every mistake; `--config FILE` for another file |
| `berth config show` | each key with its value and where that comes from; `-o json` |
| `berth config default` | a file with every key, its help and its default, commented out |
| `berth config import FILE` | the configuration of containerd or CRI-O as Berth's ([migrating.md](migrating.md)) |

## Reading it again

On SIGHUP (`systemctl reload berth`) the daemon reads its files again. What can change while it runs is changed (*reload* in the
table); for everything else it logs one sentence, such as `bridge: changed from \"a\" to \"b\"; takes effect at the next start`. A
configuration with a mistake changes nothing, and the log says why. Pods and pulls that are under way go on with what they began with.
A `hosts.toml` is read at each pull and needs no reload; the directory of CNI configurations is watched. After a move of the
directories of CNI plugins, pods that were connected before are disconnected by the plugins of the new ones.

## Keys
";

/// The document.
pub(super) fn text() -> String {
    let mut text = HEAD.replace("`FILE`", &format!("`{FILE}`"));
    text.push_str("\n| key | form | default | a change is taken | what it is |\n|---|---|---|---|---|\n");
    for key in KEYS {
        text.push_str(&row(key));
    }
    text
}

fn row(key: &Key) -> String {
    let form = match key.form {
        Form::Text => "string".to_owned(),
        Form::List => "list".to_owned(),
        Form::Number(most) => format!("number up to {most}"),
        Form::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Form::Switch => "`true`, `false`".to_owned(),
    };
    let default = key.standard.words().unwrap_or_else(|| "-".to_owned());
    let change = match key.change {
        Change::Reload => "by reload",
        Change::Start => "at start",
    };
    let mut row = String::new();
    let cells = [format!("`{}`", key.name), form, default, change.to_owned(), key.help.to_owned()];
    writeln!(row, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
        .expect("writing to a String does not fail");
    row
}
