//! The output of the command: results on stdout, everything else on stderr, colour and progress on a terminal only.
//!
//! Invariant: all text that the command prints goes through this file, which escapes it, whoever wrote it. Only texts of our own may steer a
//! terminal: the colours that this file adds, help texts, completions, and progress bars.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{IsTerminal, Stdout, Write, stderr, stdout},
    panic::PanicHookInfo,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::error::ErrorKind;
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use crate::inspect::view::text::{counted, grouped, harmless, shortened, size, table};
use crate::{
    cli::{Color, Usage, pager},
    model::harmless::{Harmless, harmless_json, harmless_lines},
};

/// Whether a bug of ours is told as a line of a log.
static PANICS_ARE_LOGGED: AtomicBool = AtomicBool::new(false);

/// The two streams, and how they may be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    color: bool,
    progress: bool,
    quiet: bool,
    verbose: bool,
    /// Whether each line on stderr is a JSON object.
    log: bool,
    /// Whether a list may go to a pager.
    pages: bool,
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
        Output { color, progress: terminal && !quiet, quiet, verbose, log: false, pages: false }
    }

    /// Returns an output whose lists go to a pager, if stdout is a terminal.
    pub(crate) fn with_pager(self) -> Output {
        Output { pages: stdout().is_terminal(), ..self }
    }

    /// Says that a list for people comes: on a terminal it goes to a pager, from now until the verb ends.
    pub(crate) fn page(&self) {
        if self.pages {
            pager::open(stdout(), stderr());
        }
    }

    /// Returns a quiet output, without progress, for work in the background whose notes were printed already.
    pub(crate) fn quietly(self) -> Output {
        Output { progress: false, quiet: true, ..self }
    }

    /// Returns an output that prints details, too, unless it is quiet.
    pub(crate) fn loudly(self) -> Output {
        Output { verbose: !self.quiet, ..self }
    }

    /// Returns an output of which each line on stderr is a JSON object, for programs that read logs.
    pub(crate) fn as_log(self) -> Output {
        PANICS_ARE_LOGGED.store(true, Ordering::Relaxed);
        Output { color: false, progress: false, log: true, ..self }
    }

    /// Returns whether each line on stderr is a JSON object.
    pub(crate) fn is_log(&self) -> bool {
        self.log
    }

    /// Something that happened, as a line of a log: with these fields, the time in seconds since 1970, and how much it matters.
    pub(crate) fn event(&self, level: &str, event: &str, mut fields: Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        fields["time"] = (now.as_millis() as f64 / 1e3).into();
        fields["level"] = level.into();
        fields["event"] = event.into();
        let _ = writeln!(stderr(), "{}", harmless_json(&fields.to_string()));
    }

    /// Sends all that a program prints, which this one starts for the user, to stderr as it comes, so that it is apart from the results.
    pub(crate) fn beside_results(self, command: &mut Command) {
        command.stdout(stderr());
    }

    /// Returns whether details are to be printed.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Returns whether a progress line is wanted.
    pub(crate) fn progress(&self) -> bool {
        self.progress && !pager::is_open()
    }

    /// Prints a result: one line, or several of ours.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> std::io::Result<()> {
        writeln!(stdout(), "{}", harmless_lines(text.as_ref()))
    }

    /// Prints results, each on one line whatever it contains.
    pub(crate) fn lines(&self, lines: impl IntoIterator<Item = impl AsRef<str>>) -> std::io::Result<()> {
        let mut out = stdout().lock();
        lines.into_iter().try_for_each(|it| writeln!(out, "{}", harmless(it.as_ref())))
    }

    /// Prints a result as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        Ok(self.json_text(&serde_json::to_string(value)?)?)
    }

    /// Prints a result that is JSON already.
    pub(crate) fn json_text(&self, text: &str) -> std::io::Result<()> {
        writeln!(stdout(), "{}", harmless_json(text))
    }

    /// Returns a stream for a result that is written piece by piece, in a language that knows `\uXXXX`.
    pub(crate) fn stream(&self) -> impl Write + use<> {
        Harmless::new(stdout().lock())
    }

    /// Prints a note, which is no result, unless the output is quiet.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if self.log && !self.quiet {
            self.event("info", "note", json!({ "text": text.as_ref() }));
        } else if !self.quiet {
            let _ = writeln!(stderr(), "{}", harmless_lines(text.as_ref()));
        }
    }

    /// Prints a warning that an operator must see, even in a quiet output.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        if self.log {
            return self.event("warn", "warning", json!({ "text": text.as_ref() }));
        }
        let _ = writeln!(stderr(), "warning: {}", harmless(text.as_ref()));
    }

    /// Prints the report of a halt, even in a quiet output. Its parts that others wrote must be escaped already.
    pub(crate) fn report(&self, text: impl AsRef<str>) {
        if self.log {
            return self.event("error", "report", json!({ "text": text.as_ref() }));
        }
        let _ = writeln!(stderr(), "{}", text.as_ref());
    }

    /// Prints a detail, if the output is verbose.
    pub(crate) fn detail(&self, text: impl AsRef<str>) {
        if self.verbose {
            self.note(text);
        }
    }

    /// Prints an error to stderr: what went wrong, and a hint what to do.
    pub(crate) fn error(&self, err: &anyhow::Error) {
        if self.log {
            let hint = err.chain().find_map(|it| it.downcast_ref::<Usage>()).map(|it| it.hint.clone());
            return self.event("error", "error", json!({ "text": format!("{err:#}"), "hint": hint }));
        }
        self.say_error(&format!("{err:#}"));
        if let Some(usage) = err.chain().find_map(|it| it.downcast_ref::<Usage>())
            && !usage.hint.is_empty()
        {
            let (yellow, plain) = if self.color { ("\x1b[1;33m", PLAIN) } else { ("", "") };
            let _ = writeln!(stderr(), "{yellow}hint{plain}: {}", harmless_lines(&usage.hint));
        }
    }

    fn say_error(&self, text: &str) {
        let (red, plain) = if self.color { ("\x1b[1;31m", PLAIN) } else { ("", "") };
        let _ = writeln!(stderr(), "{red}error{plain}: {}", harmless_lines(text).trim_end());
    }
}

/// Ends the list that goes to a pager, if one does, and waits until it was read.
pub(crate) fn end_page() {
    pager::close(stdout());
}

/// Ends a colour.
const PLAIN: &str = "\x1b[0m";

/// Prints what is wrong with the arguments, or the help, or the version; the latter two are our own texts and keep their styles. Returns
/// whether help or version was asked for.
pub(crate) fn arguments(err: &clap::Error) -> bool {
    let is_help = err.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand || !err.use_stderr();
    if is_help {
        // A closed pipe is no reason to complain about anything else.
        let _ = err.print();
        return !err.use_stderr();
    }
    let text = err.render().to_string();
    Output::new(Color::Auto, false, false).say_error(text.strip_prefix("error: ").unwrap_or(&text));
    false
}

/// Prints an error that comes before there is an [`Output`].
pub(crate) fn first_error(text: &str) {
    Output::new(Color::Auto, false, false).say_error(text);
}

/// Prints a panic of this program, as a panic hook.
pub(crate) fn panicked(info: &PanicHookInfo<'_>) {
    let (text, backtrace) = (info.to_string(), Backtrace::capture());
    let thread = std::thread::current();
    let mut text = format!("\nthread '{}' {}", thread.name().unwrap_or("?"), harmless_lines(&text));
    if backtrace.status() == BacktraceStatus::Captured {
        text += &format!("\n{}", harmless_lines(&backtrace.to_string()));
    }
    if PANICS_ARE_LOGGED.load(Ordering::Relaxed) {
        let output = Output::new(Color::Never, false, false).as_log();
        return output.event("error", "panic", json!({ "text": text.trim_start() }));
    }
    let _ = writeln!(stderr(), "{text}");
}

/// Prints a text of our own as it is, unescaped.
pub(crate) fn ours(bytes: &[u8]) -> std::io::Result<()> {
    stdout().write_all(bytes)
}

/// Returns what a program prints; `None` if there is no such program, or it prints no text.
pub(crate) fn answer_of(command: &mut Command) -> Option<String> {
    String::from_utf8(command.stdin(Stdio::null()).output().ok()?.stdout).ok()
}

/// Returns stdout as the channel to the program that started this one and reads its answers.
pub(crate) fn wire() -> Stdout {
    stdout()
}
