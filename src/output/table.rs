//! Tables with steady columns. A missing value is `–`, an unknown one `unknown`; both sort and parse.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};

use super::ui::{Tone, Ui};

pub use crate::quantity::{bytes, millis};

/// Shown where there is nothing to show.
pub const MISSING: &str = "–";
/// Shown where something exists but could not be seen.
pub const UNKNOWN: &str = "unknown";

/// An empty table with these column heads, in capitals as is the habit of the field's tools; never wider than the terminal
/// would wrap it, never wrapped when stdout is no terminal.
pub fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().map(|h| h.to_uppercase()));
    let last = heads.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        // Two spaces between columns, none at the edges: lines can be copied and cut.
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
    table
}

/// Makes a column's numbers line up.
pub fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A cell whose colour says what it means; [`render_for`] decides whether it shows.
pub fn toned(text: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Odd => cell.fg(Color::DarkYellow),
        Tone::Head => cell.add_attribute(Attribute::Bold),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
    }
}

/// The table as text, in colours where stdout shows them; the heads are faint so that the values stand out.
pub fn render_for(mut table: Table, ui: &Ui) -> String {
    if ui.color() {
        let heads: Vec<Cell> =
            table.header().map(|row| row.cell_iter().map(|c| toned(c.content(), Tone::Faint)).collect()).unwrap_or_default();
        table.set_header(heads);
        table.enforce_styling().style_text_only();
    } else {
        table.force_no_tty();
    }
    render(&table)
}

/// The table as text without trailing blanks, ending in a newline.
pub fn render(table: &Table) -> String {
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_no_trailing_blanks() {
        let mut t = table(&["member", "lag"]);
        t.add_row(["a", MISSING]);
        assert_eq!(render(&t), "MEMBER  LAG\na       –\n");
    }
}
