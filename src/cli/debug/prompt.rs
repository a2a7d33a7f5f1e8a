//! The debugger's prompt on a terminal: history, completion, hints.

use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::{
    CompletionType, Config, Context, Editor, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::{Hinter, HistoryHinter},
    history::FileHistory,
    validate::Validator,
};

use super::{Talk, Transcribed};
use crate::{
    cli::{Exit, Usage, run::code_cache},
    debug::FORMS,
    model::value::SYSCALL_KINDS,
};

/// Most lines that are remembered from one session to the next.
const HISTORY_MAX: usize = 1_000;

/// Runs the prompt until `quit` or ^D. ^C empties the line, or stops the command that runs.
pub(super) fn talk(talk: &mut Talk<'_>, interrupt: &AtomicBool) -> anyhow::Result<Exit> {
    let config = Config::builder()
        .auto_add_history(true)
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY_MAX)?
        .build();
    let mut editor: Editor<Words, FileHistory> = Editor::with_config(config)?;
    // If there is no folder for it, or it cannot be read, the history is only that of this session.
    let history = code_cache().map(|dir| dir.join("debug-history"));
    if let Some(file) = &history {
        let _ = editor.load_history(file);
    }
    let exit = answer_lines(talk, interrupt, &mut editor);
    if let Some(file) = &history {
        let _ = editor.append_history(file);
    }
    exit
}

fn answer_lines(
    talk: &mut Talk<'_>,
    interrupt: &AtomicBool,
    editor: &mut Editor<Words, FileHistory>,
) -> anyhow::Result<Exit> {
    loop {
        editor.set_helper(Some(Words { vats: talk.vats(), hinter: HistoryHinter::new() }));
        interrupt.store(false, Ordering::Relaxed);
        let line = match editor.readline(&format!("({}) ", talk.place)) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(Exit::Ok),
            Err(error) => return Err(error.into()),
        };
        match talk.say(&line)? {
            Ok(Transcribed::Answered) => (),
            Ok(Transcribed::Quit) => return Ok(Exit::Ok),
            Err(refusal) => talk.output.error(&Usage::new(refusal.what, refusal.hint).into()),
        }
    }
}

/// Completes commands, vats, and kinds of syscalls; hints at lines that were given before.
struct Words {
    vats: Vec<String>,
    hinter: HistoryHinter,
}

impl Words {
    fn candidates(&self, before: &[&str]) -> Vec<(String, &'static str)> {
        let plain = |words: &[&str]| words.iter().map(|it| ((*it).to_owned(), "")).collect();
        match before {
            [] | ["help" | "?"] => FORMS.iter().map(|it| (it.verb.to_owned(), it.about)).collect(),
            ["break", "syscall"] => plain(&SYSCALL_KINDS),
            ["break"] => plain(&["syscall", "crank-", "block-"]),
            ["until" | "u"] => plain(&["crank-", "block-"]),
            [verb] if FORMS.iter().any(|it| it.verb == *verb && it.arguments.contains("VAT")) => {
                self.vats.iter().map(|it| (it.clone(), "")).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns where the word at the cursor begins, and its completions.
    fn completions(&self, line: &str, cursor: usize) -> (usize, Vec<Pair>) {
        let typed = line.get(..cursor).unwrap_or(line);
        let start = typed.rfind(' ').map_or(0, |space| space + 1);
        let before: Vec<&str> = typed[..start].split_whitespace().collect();
        let fitting = self.candidates(&before).into_iter().filter(|(word, _)| word.starts_with(&typed[start..]));
        let pairs = fitting.map(|(word, about)| {
            let after = if word.ends_with('-') { "" } else { " " };
            let display = if about.is_empty() { word.clone() } else { format!("{word}  {about}") };
            Pair { display, replacement: format!("{word}{after}") }
        });
        (start, pairs.collect())
    }
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(self.completions(line, cursor))
    }
}

impl Hinter for Words {
    type Hint = String;

    fn hint(&self, line: &str, cursor: usize, context: &Context<'_>) -> Option<String> {
        self.hinter.hint(line, cursor, context)
    }
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_vats_and_syscalls_are_completed() {
        let words = Words { vats: vec!["v1".into(), "bank".into()], hinter: HistoryHinter::new() };
        let complete = |line: &str| {
            let (_, pairs) = words.completions(line, line.len());
            pairs.iter().map(|pair| pair.replacement.trim_end().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(complete("wh"), "where why");
        assert_eq!(complete("clist b"), "bank");
        assert_eq!(complete("vat "), "v1 bank");
        assert_eq!(complete("break syscall vatstoreS"), "vatstoreSet vatstoreScan");
        assert_eq!(complete("help ne"), "next");
        assert_eq!(complete("where b"), "");
    }
}
