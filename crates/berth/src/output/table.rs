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
    let rows = match width() {
        Some(width) => &fitting(head, rows, width),
        None => rows,
    };
    lines(head, rows).into_iter().try_for_each(super::line)
}

/// The columns of the terminal; None where there is none, and everything is printed whole.
fn width() -> Option<usize> {
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Spaces between two columns.
const GAP: usize = 3;
/// No column is cut to less.
const LEAST: usize = 8;

/// The rows with their widest columns cut, so that a line does not wrap, as far as that is possible.
fn fitting(head: &[&str], rows: &[Vec<String>], width: usize) -> Vec<Vec<String>> {
    let widest =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let mut widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, name)| widest(column).unwrap_or(0).max(name.chars().count()))
        .collect();
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let least = |column: usize| LEAST.max(head.get(column).map_or(0, |name| name.chars().count()));
        let wide = (0..widths.len()).filter(|column| widths[*column] > least(*column));
        let Some(column) = wide.max_by_key(|column| widths[*column]) else { break };
        widths[column] -= 1;
    }
    let cell = |(column, cell): (usize, &String)| match widths.get(column) {
        Some(width) if cell.chars().count() > *width => cut(cell, *width),
        _ => cell.clone(),
    };
    rows.iter().map(|row| row.iter().enumerate().map(cell).collect()).collect()
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
    fn the_widest_columns_are_cut_to_the_terminal() {
        let rows = vec![vec!["a".repeat(30), "b".repeat(20), "c".repeat(4)]];
        let head = ["FIRST", "SECOND", "THIRD"];
        assert_eq!(fitting(&head, &rows, 80), rows);
        let cut = fitting(&head, &rows, 40);
        let line = lines(&head, &cut).remove(1);
        assert_eq!(line.chars().count(), 39, "{line}");
        assert!(cut[0][0].ends_with('…') && cut[0][1].ends_with('…') && cut[0][2] == "cccc", "{cut:?}");
        // What does not fit wraps, and can still be told apart.
        assert_eq!(fitting(&head, &rows, 5)[0][0].chars().count(), LEAST);
    }

    #[test]
    fn long_and_many_lined_cells_are_cut() {
        assert_eq!(cut("short", 10), "short");
        assert_eq!(cut("0123456789abc", 10), "012345678…");
        assert_eq!(cut("a\nb", 10), "a…");
        assert_eq!(cut("\x1b[2Ja\u{9b}b\r", 10), "?[2Ja?b?");
    }
}
