//! Formatting for people: tables, numbers, and texts of guests.

use comfy_table::{CellAlignment, Table, presets};

pub(crate) use crate::model::harmless::harmless;

/// Returns a plain table: `left` columns are text, the rest are numbers. No cell can leave its place, whatever it
/// contains.
pub(crate) fn table(header: &[&str], left: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    let rows = rows.into_iter().map(|row| row.iter().map(|it| harmless(it)).collect::<Vec<_>>());
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    for at in 0..header.len() {
        if let Some(column) = table.column_mut(at) {
            let alignment = if left.contains(&at) { CellAlignment::Left } else { CellAlignment::Right };
            column.set_cell_alignment(alignment);
            column.set_padding((0, 2));
        }
    }
    table.lines().map(|it| it.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Writes a number of bytes with a unit.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Writes a number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|it| std::str::from_utf8(it).unwrap_or_default()).collect();
    groups.join(",")
}

/// Returns a number with its noun: `1 delivery`, `12 deliveries`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// Returns a text of at most this many characters; a longer one is cut, but not within a number.
pub(crate) fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let cut: String = text.chars().take(max).collect();
    // Half a number is another number.
    let is_digit = |it: char| it.is_ascii_digit();
    let within = text.chars().nth(max).is_some_and(is_digit) && cut.ends_with(is_digit);
    let whole = if within { cut.trim_end_matches(is_digit) } else { &cut };
    format!("{}…", if whole.is_empty() { &cut } else { whole })
}
