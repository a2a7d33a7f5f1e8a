//! Completion of a command line while it is typed: the vats of the state that it names, and what their roots answer to.
//!
//! A shell runs the command with `COMPLETE` set and what is typed so far behind `--`; only reading is done. Where the state cannot be
//! read nothing is offered.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};

use super::Args;
use crate::{
    inspect::view,
    state::{block::Block, table::Status},
    store::Database,
    vat::interface::{Interface, Method},
};

/// The environment's word for the place that is completed, among those behind `--`; some shells leave it out: there it is the last.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";

/// Answers a shell that asks for completions, and ends the process; does nothing otherwise.
pub(super) fn answer_shell() {
    clap_complete::CompleteEnv::with_factory(Args::command).complete();
}

/// Completes the words of a message: the folder of a state, a vat, a method.
pub(super) fn message_words() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let typed = Typed::read();
        let mut words = typed.words.iter().skip(1);
        let state = typed.state.clone().or_else(|| words.next().map(PathBuf::from));
        let Some(state) = state else { return PathCompleter::dir().complete(current) };
        match (typed.vat.as_ref().or_else(|| words.next()), words.next()) {
            (None, _) => starting_with(current, vats_of(&state)),
            (Some(vat), None) => starting_with(current, methods_of(&state, vat)),
            (Some(_), Some(_)) => Vec::new(),
        }
    })
}

/// Completes the vat of a verb whose first word, or `--state`, is the folder of a state.
pub(super) fn vat() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let typed = Typed::read();
        let state = typed.state.or_else(|| typed.words.get(1).map(PathBuf::from));
        starting_with(current, state.map(|state| vats_of(&state)).unwrap_or_default())
    })
}

fn starting_with(current: &OsStr, mut candidates: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    candidates.retain(|it| it.get_value().to_string_lossy().starts_with(&*current));
    candidates
}

/// What is typed before the word that is completed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Typed {
    /// The verb, and what is no option or an option's value.
    words: Vec<String>,
    state: Option<PathBuf>,
    vat: Option<String>,
}

impl Typed {
    fn read() -> Typed {
        let behind = std::env::args_os().skip_while(|it| it != "--").skip(2);
        let mut words: Vec<String> = behind.map(|it| it.to_string_lossy().into_owned()).collect();
        let index: Option<usize> = std::env::var(INDEX).ok().and_then(|it| it.parse().ok());
        // The program's own name is counted.
        words.truncate(index.map_or(words.len(), |it| it).saturating_sub(1));
        Typed::of(&words, &Args::command())
    }

    /// Tells options and their values from other words.
    fn of(words: &[String], command: &Command) -> Typed {
        let mut typed = Typed::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix('-').filter(|it| !it.is_empty()) else {
                typed.words.push(word.clone());
                continue;
            };
            let (name, given) = option.split_once('=').map_or((option, None), |(name, it)| (name, Some(it.to_owned())));
            let name = name.trim_start_matches('-');
            let takes_value = takes_value(command, typed.words.first(), name);
            let value = given.or_else(|| if takes_value { words.next().cloned() } else { None });
            match name {
                "state" => typed.state = value.map(PathBuf::from),
                "vat" => typed.vat = value,
                _ => (),
            }
        }
        typed
    }
}

/// Whether an option of the command, or of its verb, is followed by a value.
fn takes_value(command: &Command, verb: Option<&String>, name: &str) -> bool {
    let verb = verb.and_then(|it| command.find_subcommand(it));
    let of = |command: &Command| {
        let mut options = command.get_arguments();
        let found =
            options.find(|it| it.get_long() == Some(name) || it.get_short().is_some_and(|it| name == it.to_string()));
        found.map(|it| it.get_action().takes_values())
    };
    verb.and_then(of).or_else(|| of(command)).unwrap_or(false)
}

fn open(state: &Path) -> Option<Block> {
    Database::exists(state).then(|| Block::open_read_only(state).ok())?
}

/// The vats of a state that live: by name, or by number where others have the name.
fn vats_of(state: &Path) -> Vec<CompletionCandidate> {
    let Some(block) = open(state) else { return Vec::new() };
    let tables = block.tables();
    let live = || tables.vats.iter().filter(|(vat, _)| tables.is_alive(**vat) && !tables.is_session(**vat));
    let candidate = |(vat, row): (&crate::model::id::VatId, &crate::state::table::Vat)| {
        let is_one = live().filter(|(_, other)| other.name == row.name).take(2).count() == 1;
        let status = if matches!(row.status, Status::Paused { .. }) { ", paused" } else { "" };
        let (word, help) =
            if is_one { (row.name.clone(), vat.to_string()) } else { (vat.to_string(), row.name.clone()) };
        CompletionCandidate::new(word).help(Some(format!("{help}{status}").into()))
    };
    live().take(VATS_MAX).map(candidate).collect()
}

/// Vats that are offered: more are no help.
const VATS_MAX: usize = 500;

/// What the root of a vat answers to, as its module says.
fn methods_of(state: &Path, vat: &str) -> Vec<CompletionCandidate> {
    let found = || {
        let block = open(state)?;
        let vat = view::find(block.tables(), vat).ok()?;
        let bundle = block.tables().vats.get(&vat)?.bundle;
        let interface = Interface::read(&block.bundle(bundle).ok()?).ok()??;
        let candidate = |it: &Method| CompletionCandidate::new(&it.name).help(Some(help_of(it).into()));
        Some(interface.root()?.methods.iter().map(candidate).collect())
    };
    found().unwrap_or_default()
}

/// The arguments and the answer of a method, and the first line of its description.
fn help_of(method: &Method) -> String {
    let words = method.doc.lines().next().unwrap_or_default();
    format!("{method}  {words}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_their_values_are_no_words() {
        let typed = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            Typed::of(&words, &Args::command())
        };
        let words = |line: &str| typed(line).words.join(" ");
        assert_eq!(words("call ./state bank"), "call ./state bank");
        assert_eq!(words("--color never call --json ./state"), "call ./state");
        assert_eq!(words("-q call --blocks 3 ./state"), "call ./state");
        assert_eq!(words("call --blocks=3 ./state -"), "call ./state -");
        let named = typed("call --state ./state --vat=bank balance");
        assert_eq!(
            named,
            Typed {
                words: vec!["call".into(), "balance".into()],
                state: Some("./state".into()),
                vat: Some("bank".into())
            }
        );
    }
}
