//! How things are said: results on stdout, everything else on stderr, colour and progress on a terminal only.

use std::io::{IsTerminal, Write, stderr, stdout};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::cli::{Color, Usage};

/// The two streams, and how they may be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    color: bool,
    progress: bool,
    quiet: bool,
    verbose: bool,
}

impl Output {
    pub(crate) fn new(color: Color, quiet: bool, verbose: bool) -> Output {
        let terminal = stderr().is_terminal();
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        let color = match color {
            Color::Auto => terminal && allowed,
            Color::Always => true,
            Color::Never => false,
        };
        Output { color, progress: terminal && !quiet, quiet, verbose }
    }

    /// Whether a progress line is wanted.
    pub(crate) fn progress(&self) -> bool {
        self.progress
    }

    /// A result.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> std::io::Result<()> {
        writeln!(stdout(), "{}", text.as_ref())
    }

    /// A result, as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value)?;
        Ok(self.line(text)?)
    }

    /// Something worth saying that is no result.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            let _ = writeln!(stderr(), "{}", text.as_ref());
        }
    }

    /// Something that only the curious want to know.
    pub(crate) fn detail(&self, text: impl AsRef<str>) {
        if self.verbose {
            self.note(text);
        }
    }

    /// What went wrong, and what to do.
    pub(crate) fn error(&self, err: &anyhow::Error) {
        let (red, yellow, plain) = if self.color { ("\x1b[1;31m", "\x1b[1;33m", "\x1b[0m") } else { ("", "", "") };
        let _ = writeln!(stderr(), "{red}error{plain}: {err:#}");
        if let Some(usage) = err.chain().find_map(|it| it.downcast_ref::<Usage>())
            && !usage.hint.is_empty()
        {
            let _ = writeln!(stderr(), "{yellow}hint{plain}: {}", usage.hint);
        }
    }
}

/// A plain table: `left` columns are text, the rest are numbers.
pub(crate) fn table(header: &[&str], left: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
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

/// Bytes with a unit, for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|it| std::str::from_utf8(it).unwrap_or_default()).collect();
    groups.join(",")
}

/// What a guest wrote, so that it cannot steer a terminal.
pub(crate) fn harmless(text: &str) -> String {
    let mut line = String::new();
    for it in text.chars() {
        match it {
            it if it.is_control() || is_invisible(it) => line.extend(it.escape_default()),
            it => line.push(it),
        }
    }
    line
}

/// Characters that turn the direction of text, or take no room.
fn is_invisible(it: char) -> bool {
    matches!(it, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A text of this many characters at the most.
pub(crate) fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max).chain(['…']).collect()
}
