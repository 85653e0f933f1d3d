//! Tables with steady columns. A missing value is `–`, an unknown one `unknown`; both sort and parse.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

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

/// The table as text without trailing blanks, ending in a newline.
pub fn render(table: &Table) -> String {
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number of bytes for people: `0 B`, `512 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value >= 100.0 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Milliseconds for people: `12 ms`, `1.4 s`, `3 min`, `2 h`.
pub fn millis(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} ms"),
        1_000..120_000 => format!("{:.1} s", count as f64 / 1000.0),
        120_000..7_200_000 => format!("{} min", count / 60_000),
        _ => format!("{} h", count / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short_and_have_units() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(950 * 1024 * 1024), "950 MiB");
        assert_eq!(millis(999), "999 ms");
        assert_eq!(millis(1400), "1.4 s");
        assert_eq!(millis(180_000), "3 min");
    }

    #[test]
    fn lines_have_no_trailing_blanks() {
        let mut t = table(&["member", "lag"]);
        t.add_row(["a", MISSING]);
        assert_eq!(render(&t), "MEMBER  LAG\na       –\n");
    }
}
