//! How things are said: results on stdout, everything else on stderr, colour and progress on a terminal only.

use std::io::{IsTerminal, Write, stderr, stdout};

use serde::Serialize;

use crate::cli::{Color, Usage};
pub(crate) use crate::view::text::{grouped, harmless, shortened, size, table};

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

    /// Something that an operator must know, however little is to be said.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        let _ = writeln!(stderr(), "warning: {}", harmless(text.as_ref()));
    }

    /// The report of a halt: it is never quiet.
    pub(crate) fn report(&self, text: impl AsRef<str>) {
        let _ = writeln!(stderr(), "{}", text.as_ref());
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
