//! Tables for terminals.

use unicode_width::UnicodeWidthStr;

use crate::printable::printable;

/// Rows under headings, in columns as wide as their widest cell. What a cell says commands no terminal.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(ToString::to_string).collect();
    let rows = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect());
    let lines: Vec<Vec<String>> = std::iter::once(headings).chain(rows).collect();
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| padded(cell, *width));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The cell, `width` columns wide on a terminal.
fn padded(cell: &str, width: usize) -> String {
    let missing = width.saturating_sub(cell.width());
    format!("{cell}{:missing$}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_spaces() {
        let rows = [vec!["a".into(), "long cell".into()], vec!["wörter".into(), "b".into()]];
        assert_eq!(table(&["x", "y"], &rows), "x       y\na       long cell\nwörter  b\n");
    }

    #[test]
    fn columns_line_up_whatever_the_language() {
        let names = ["東京", "👋🏽", "e\u{301}e\u{301}", "שלום", "👩\u{200d}🚀", "ｗｉｄｅ", "plain"];
        let rows: Vec<Vec<String>> =
            names.iter().map(|name| vec![(*name).to_owned(), "|".to_owned()]).collect();
        let text = table(&["NAME", "END"], &rows);
        for (line, name) in text.lines().skip(1).zip(names) {
            let (before, _) = line.split_once('|').unwrap();
            // The widest takes eight columns, and two stand between columns.
            assert_eq!(before.width(), 10, "{name}: {line:?}");
        }
    }

    #[test]
    fn a_cell_cannot_command_the_terminal() {
        let rows = [vec!["a\x1b[2J\n".into(), "b".into()]];
        assert_eq!(table(&["x", "y"], &rows), "x       y\na\u{fffd}[2J\u{fffd}  b\n");
    }
}
