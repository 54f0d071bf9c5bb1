//! Tables of text.

use std::fmt::Write as _;

/// A table with a heading; columns are as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    heading: &'static str,
    is_number: bool,
}

impl Table {
    /// A table with these columns. A heading that begins with `#` is a column of numbers, which
    /// stand to the right; the `#` is not printed.
    pub(super) fn new(headings: &[&'static str]) -> Self {
        let columns = headings.iter().map(|heading| Column {
            heading: heading.strip_prefix('#').unwrap_or(heading),
            is_number: heading.starts_with('#'),
        });
        Self {
            columns: columns.collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. A cell that is empty is printed as `-`; cells that are missing too.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().take(self.columns.len()).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// The table as lines; with `max_cell`, longer cells are cut to so many characters.
    pub(super) fn render(&self, max_cell: Option<usize>) -> String {
        let cells: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| clean(cell, max_cell)).collect())
            .collect();
        let width = |index: usize| {
            let widths = cells
                .iter()
                .filter_map(|row: &Vec<String>| row.get(index))
                .map(|cell| cell.chars().count());
            widths
                .chain([self.columns[index].heading.chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading.to_owned()).collect();
        let mut text = String::new();
        for row in [&headings].into_iter().chain(&cells) {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                let _ = match column.is_number {
                    true => write!(line, "{cell:>width$}  "),
                    false => write!(line, "{cell:<width$}  "),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// One line without control characters, which could move a terminal's cursor.
pub(super) fn clean(cell: &str, max_chars: Option<usize>) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    let plain = cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    match max_chars {
        Some(max) if cell.chars().count() > max => plain.take(max.saturating_sub(1)).chain(['…']).collect(),
        Some(_) | None => plain.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["SINK", "#SEQ", "REASON"]);
        table.row(["a".to_owned(), "7".to_owned(), String::new()]);
        table.row(["überlang".to_owned(), "1234".to_owned(), "too large".to_owned()]);
        let expected = "SINK       SEQ  REASON\na            7  -\nüberlang  1234  too large\n";
        assert_eq!(table.render(None), expected);
    }

    #[test]
    fn a_cell_is_one_line_and_cut_only_where_asked() {
        let mut table = Table::new(&["KEY"]);
        table.row(["a\u{1b}[2Jb\nc".to_owned()]);
        table.row(["0123456789".to_owned()]);
        assert_eq!(table.render(None), "KEY\na\u{fffd}[2Jb\u{fffd}c\n0123456789\n");
        assert_eq!(table.render(Some(5)), "KEY\na\u{fffd}[2…\n0123…\n");
    }

    #[test]
    fn a_row_has_as_many_cells_as_there_are_columns() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["1".to_owned()]);
        table.row(["1".to_owned(), "2".to_owned(), "3".to_owned()]);
        assert_eq!(table.render(None), "A  B\n1  -\n1  2\n");
    }
}
