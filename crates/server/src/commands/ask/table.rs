//! Tables as kubectl prints them.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};

/// Spaces between columns.
const GAP: u16 = 3;

/// Prints rows under one another, those that come later too.
#[derive(Debug, Default)]
pub(super) struct Columns {
    widths: Vec<u16>,
}

impl Columns {
    /// The lines of these rows, with the header when they are the first.
    pub(super) fn lines(&mut self, header: &[&str], rows: &[Vec<String>]) -> String {
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.load_style(comfy_table::presets::NOTHING);
        let first = self.widths.is_empty();
        if first {
            table.add_row(header);
        }
        table.add_rows(rows.iter().map(|row| row.iter().map(|cell| printable(cell))));
        table.discover_columns();
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, GAP));
            if let Some(width) = self.widths.get(index) {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width)));
            }
        }
        if first {
            let gaps = table.column_max_content_widths();
            self.widths = gaps.into_iter().map(|width| width.saturating_add(GAP)).collect();
        }
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// Names and words come from proxies: nothing of them may move the cursor or forge a line. Nothing is shown as `-`.
pub(super) fn printable(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rows_stand_below_the_first() {
        let mut columns = Columns::default();
        let rows = |text: &str| {
            let row = |line: &str| line.split(' ').map(str::to_owned).collect();
            text.lines().map(row).collect::<Vec<Vec<_>>>()
        };
        let first = columns.lines(&["NAME", "STATE"], &rows("a-long-name SYNCED\nb "));
        assert_eq!(first, "NAME          STATE\na-long-name   SYNCED\nb             -\n");
        let later = columns.lines(&["NAME", "STATE"], &rows("c SENT"));
        assert_eq!(later, "c             SENT\n");
    }

    #[test]
    fn nothing_of_a_proxy_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\td"), "a [2Jb c d");
    }
}
