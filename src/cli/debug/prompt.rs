//! The prompt on a terminal: history, completion, hints.

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use reedline::{
    ColumnarMenu, Completer, CompletionResult, DefaultHinter, Emacs, FileBackedHistory, KeyCode, KeyModifiers,
    MenuBuilder, Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal, Span,
    Suggestion, default_emacs_keybindings,
};

use super::{Talk, Transcribed};
use crate::{
    cli::{Exit, Usage, run::code_cache},
    debug::FORMS,
    model::value::SYSCALL_KINDS,
};

/// Lines that are remembered from one session to the next.
const HISTORY_MAX: usize = 1_000;
const MENU: &str = "completions";

/// Talks to somebody until that is enough. ^C empties the line, or stops what runs; ^D ends the session.
pub(super) fn talk(talk: &mut Talk<'_>, interrupt: &AtomicBool) -> anyhow::Result<Exit> {
    let vats = Arc::new(Mutex::new(Vec::new()));
    let mut editor = editor(Words { vats: vats.clone() });
    loop {
        *vats.lock().unwrap_or_else(PoisonError::into_inner) = talk.vats();
        interrupt.store(false, Ordering::Relaxed);
        let line = match editor.read_line(&PromptPosition(talk.place.clone()))? {
            Signal::Success(line) => line,
            Signal::CtrlD => return Ok(Exit::Ok),
            _ => continue,
        };
        match talk.say(&line)? {
            Ok(Transcribed::Answered) => (),
            Ok(Transcribed::Quit) => return Ok(Exit::Ok),
            Err(refusal) => talk.output.error(&Usage::new(refusal.what, refusal.hint).into()),
        }
    }
}

fn editor(words: Words) -> Reedline {
    let mut keys = default_emacs_keybindings();
    let complete = vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext];
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(complete));
    let menu = ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU)));
    let editor = Reedline::create()
        .with_completer(Box::new(words))
        .with_menu(menu)
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_hinter(Box::new(DefaultHinter::default()));
    // Without a place for it, or where it cannot be read, the history is that of this session.
    let file = code_cache().map(|it| it.join("debug-history"));
    match file.and_then(|it| FileBackedHistory::with_file(HISTORY_MAX, it).ok()) {
        Some(history) => editor.with_history(Box::new(history)),
        None => editor,
    }
}

/// Says where the session stands.
struct PromptPosition(String);

impl Prompt for PromptPosition {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        format!("({}) ", self.0).into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        ": ".into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        format!("(search: {}) ", search.term).into()
    }
}

/// Completes commands, vats, and kinds of syscalls.
struct Words {
    vats: Arc<Mutex<Vec<String>>>,
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
                self.vats.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|it| (it.clone(), "")).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Completer for Words {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let typed = line.get(..pos).unwrap_or(line);
        let start = typed.rfind(' ').map_or(0, |it| it + 1);
        let before: Vec<&str> = typed[..start].split_whitespace().collect();
        let fits = self.candidates(&before).into_iter().filter(|(it, _)| it.starts_with(&typed[start..]));
        let suggestions: Vec<Suggestion> = fits
            .map(|(value, about)| Suggestion {
                append_whitespace: !value.ends_with('-'),
                value,
                description: (!about.is_empty()).then(|| about.to_owned()),
                span: Span::new(start, pos),
                ..Suggestion::default()
            })
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_vats_and_syscalls_are_completed() {
        let mut words = Words { vats: Arc::new(Mutex::new(vec!["v1".into(), "bank".into()])) };
        let mut complete = |line: &str| {
            let result = words.complete(line, line.len());
            result.suggestions().iter().map(|it| it.value.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(complete("wh"), "where why");
        assert_eq!(complete("clist b"), "bank");
        assert_eq!(complete("vat "), "v1 bank");
        assert_eq!(complete("break syscall vatstoreS"), "vatstoreSet vatstoreScan");
        assert_eq!(complete("help ne"), "next");
        assert_eq!(complete("where b"), "");
    }
}
