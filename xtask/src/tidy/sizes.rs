//! Ratchets: a new file or function keeps below the line, older ones that are longer may only shrink.

use super::{File, Files};

/// Lines of a file.
const FILE: usize = 500;

/// Lines of a function, its signature included.
const FUNCTION: usize = 70;

/// Files that were longer when the rule came, with the lines they may have.
const LONG_FILES: &[(&str, usize)] = &[];

/// Functions that were longer when the rule came: file, name, lines they may have.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Files that are too long.
pub(super) fn files(files: &Files) -> Vec<String> {
    let long = |file: &File| {
        let lines = file.text.lines().count();
        let most = LONG_FILES.iter().find(|(path, _)| *path == file.path).map_or(FILE, |(_, most)| *most);
        (lines > most).then(|| format!("{}: {lines} lines, {most} are allowed", file.path))
    };
    files.0.iter().filter_map(long).collect()
}

/// Functions that are too long.
pub(super) fn functions(files: &Files) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.0.iter().filter(|file| !file.is_test()) {
        for (name, line, length) in functions_of(&file.text) {
            let most = LONG_FUNCTIONS
                .iter()
                .find(|(path, function, _)| *path == file.path && *function == name)
                .map_or(FUNCTION, |(_, _, most)| *most);
            if length > most {
                found.push(format!("{}:{line}: {name} has {length} lines, {most} are allowed", file.path));
            }
        }
    }
    found
}

/// Name, first line and length of every function with a body. Formatted source ends a signature with a line that ends in a
/// brace or a semicolon, and has the closing brace of a function at the indentation of its first line: this relies on both.
pub(super) fn functions_of(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let signature = lines[at..].iter().map(|line| line.trim_end());
        let is_declared =
            signature.map(|line| line.chars().last()).find(|end| matches!(end, Some('{' | '}' | ';')));
        if is_declared == Some(Some(';')) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[at..]
            .iter()
            .position(|l| *l == closing || (l.starts_with(&closing) && l.len() <= closing.len() + 1));
        if let Some(length) = end.filter(|_| !line.trim_end().ends_with('}')) {
            found.push((name.to_owned(), at + 1, length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    for prefix in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        words = words.strip_prefix(prefix).unwrap_or(words);
    }
    let rest = words.strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}
