//! Tables as kubectl prints them: columns as wide as they need, three spaces between.

/// Lines of a table; the last column is not padded.
pub(crate) fn lines(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row.get(column).map_or(0, |c| c.chars().count())).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    all.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
        })
        .collect()
}

/// Prints a table.
pub(crate) fn print(head: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    lines(head, rows).into_iter().try_for_each(super::line)
}

/// `text` cut to at most `max` characters. Control characters are replaced, since the terminal would interpret them: an image's
/// command is untrusted.
pub(crate) fn cut(text: &str, max: usize) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { '?' } else { c };
    let text = &text.chars().map(shown).collect::<String>();
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= max && line.len() == text.len() {
        return text.to_owned();
    }
    let kept: String = line.chars().take(max.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = vec![
            vec!["a".into(), "long cell".into(), "x".into()],
            vec!["ünï".into(), String::new(), "y".into()],
        ];
        assert_eq!(
            lines(&["ID", "NAME", "Z"], &rows),
            ["ID    NAME        Z", "a     long cell   x", "ünï               y"]
        );
    }

    #[test]
    fn long_and_many_lined_cells_are_cut() {
        assert_eq!(cut("short", 10), "short");
        assert_eq!(cut("0123456789abc", 10), "012345678…");
        assert_eq!(cut("a\nb", 10), "a…");
        assert_eq!(cut("\x1b[2Ja\u{9b}b\r", 10), "?[2Ja?b?");
    }
}
