//! The output of the command: results on stdout, everything else on stderr. All text passes here and is escaped, whoever wrote it.

use std::io::{IsTerminal, Write, stderr, stdout};

use serde_json::Value;
use vathost::model::harmless::{harmless_json, harmless_lines};

use super::{Color, Usage};

/// The two streams, and whether they have colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    color: bool,
}

/// The colours of the nodes of a test network, one after the other.
const COLORS: [&str; 7] = ["\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[32m", "\x1b[34m", "\x1b[31m", "\x1b[37m"];
const PLAIN: &str = "\x1b[0m";

impl Output {
    pub(super) fn new(color: Color) -> Output {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        let color = match color {
            Color::Auto => stdout().is_terminal() && stderr().is_terminal() && allowed,
            Color::Always => true,
            Color::Never => false,
        };
        Output { color }
    }

    /// Prints a result: one line, or several of ours.
    pub(super) fn line(&self, text: impl AsRef<str>) -> std::io::Result<()> {
        writeln!(stdout(), "{}", harmless_lines(text.as_ref()))
    }

    /// Prints a result as JSON.
    pub(super) fn json(&self, value: &Value) -> std::io::Result<()> {
        writeln!(stdout(), "{}", harmless_json(&value.to_string()))
    }

    /// Prints an object on stderr, as a line of a log.
    pub(super) fn event(&self, value: &Value) {
        let _ = writeln!(stderr(), "{}", harmless_json(&value.to_string()));
    }

    /// Prints a note, which is no result.
    pub(super) fn note(&self, text: impl AsRef<str>) {
        let _ = writeln!(stderr(), "{}", harmless_lines(text.as_ref()).trim_end());
    }

    /// Returns a text in the colour of this node, escaped.
    pub(super) fn colored(&self, node: usize, text: &str) -> Colored {
        let text = harmless_lines(text);
        Colored(if self.color { format!("{}{text}{PLAIN}", COLORS[node % COLORS.len()]) } else { text.into_owned() })
    }

    /// Returns a text without a colour, escaped.
    pub(super) fn plain(&self, text: &str) -> Colored {
        Colored(harmless_lines(text).into_owned())
    }

    /// Prints a line that is made of coloured parts.
    pub(super) fn colored_line(&self, parts: &[Colored]) -> std::io::Result<()> {
        let mut out = stdout().lock();
        for Colored(part) in parts {
            out.write_all(part.as_bytes())?;
        }
        out.write_all(b"\n")
    }

    /// Prints an error: what went wrong, and a hint what to do.
    pub(super) fn error(&self, err: &anyhow::Error) {
        let (red, yellow, plain) = if self.color { ("\x1b[1;31m", "\x1b[1;33m", PLAIN) } else { ("", "", "") };
        let text = format!("{err:#}");
        let _ = writeln!(stderr(), "{red}error{plain}: {}", harmless_lines(&text).trim_end());
        if let Some(usage) = err.chain().find_map(|it| it.downcast_ref::<Usage>()) {
            let _ = writeln!(stderr(), "{yellow}hint{plain}: {}", harmless_lines(&usage.hint));
        }
    }
}

/// A text that is escaped, and may have a colour of ours.
pub(super) struct Colored(String);

/// Prints what is wrong with the arguments, or the help. Returns whether help was asked for.
pub(super) fn arguments(err: &clap::Error) -> bool {
    // A closed pipe is no reason to complain about anything else.
    let _ = err.print();
    !err.use_stderr()
}
