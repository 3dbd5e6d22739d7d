//! Which crate may use which: the dependencies in ARCHITECTURE.md, read from the Cargo.toml files.

use std::path::{Path, PathBuf};

/// Crate, and the crates it may use. Development dependencies are free, since no user gets them.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("sys", &["types"]),
    ("container", &["types", "sys"]),
    ("trust", &["types", "sys"]),
    ("image", &["types", "sys", "trust"]),
    ("net", &["types", "sys"]),
    ("shim", &["types", "sys", "container", "shimv2"]),
    ("ttrpc", &[]),
    ("shimv2", &["types", "sys", "ttrpc"]),
    ("oci", &["types", "sys", "container"]),
    ("demo", &[]),
    ("cdi", &["types", "sys"]),
    ("dns", &[]),
    ("trace", &["types"]),
    ("engine", &["types", "sys", "image", "net", "container", "cdi"]),
    ("streaming", &["types", "engine"]),
    ("cri", &["types", "engine", "streaming"]),
    ("nri", &["types", "sys", "ttrpc", "engine"]),
    ("pod", &["types", "engine", "dns"]),
    (
        "berth",
        &[
            "types",
            "sys",
            "cdi",
            "image",
            "net",
            "container",
            "engine",
            "cri",
            "nri",
            "pod",
            "streaming",
            "trace",
        ],
    ),
    // Development only.
    ("testkit", &["types", "sys"]),
    ("xtask", &["types"]),
];

/// Every arrow that the table does not have.
pub(super) fn check(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for manifest in manifests(root) {
        let (name, table) = match read(&manifest) {
            Ok(read) => read,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let Some((_, allowed)) = ARROWS.iter().find(|(room, _)| *room == name) else {
            problems.push(format!("{}: crate {name} is not in the table of arrows", manifest.display()));
            continue;
        };
        for used in uses(&table) {
            if !allowed.contains(&used.as_str()) {
                problems.push(format!("{}: {name} may not use {used}", manifest.display()));
            }
        }
    }
    problems
}

/// Crates that do not take the lints of the workspace.
pub(super) fn lints(root: &Path) -> Vec<String> {
    let taken = |table: &toml::Table| {
        table.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
    };
    manifests(root)
        .into_iter()
        .filter(|manifest| !read(manifest).is_ok_and(|(_, table)| taken(&table)))
        .map(|manifest| format!("{}: [lints] workspace = true is missing", manifest.display()))
        .collect()
}

fn manifests(root: &Path) -> Vec<PathBuf> {
    let crates = std::fs::read_dir(root.join("crates")).into_iter().flatten().flatten();
    let mut all: Vec<_> = crates.map(|entry| entry.path().join("Cargo.toml")).collect();
    all.push(root.join("xtask/Cargo.toml"));
    all.sort();
    all
}

/// The crate's name without its prefix, and its manifest.
fn read(manifest: &Path) -> Result<(String, toml::Table), String> {
    let about = |error: &dyn std::fmt::Display| format!("{}: {error}", manifest.display());
    let text = std::fs::read_to_string(manifest).map_err(|e| about(&e))?;
    let table: toml::Table = text.parse().map_err(|e| about(&e))?;
    let name = table.get("package").and_then(|p| p.get("name")).and_then(toml::Value::as_str);
    let name = name.ok_or_else(|| about(&"no package name"))?;
    Ok((name.strip_prefix("berth-").unwrap_or(name).to_owned(), table))
}

/// The crates that a crate uses in what users get.
pub(super) fn uses(table: &toml::Table) -> Vec<String> {
    let dependencies = table.get("dependencies").and_then(toml::Value::as_table);
    let names = dependencies.into_iter().flat_map(toml::Table::keys);
    names.filter_map(|name| name.strip_prefix("berth-")).map(str::to_owned).collect()
}
