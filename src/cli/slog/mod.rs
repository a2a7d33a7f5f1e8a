use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    cli::{Exit, Output, Usage},
    slog::{Indexing, ReadError, Reader},
};

mod cat;
mod diff;
mod export;
mod grep;
pub(super) mod last;
mod show;
mod summary;
mod text;
mod trace;

/// Read a flight recording
///
/// `run --slog FILE` writes it. All of these read binary, plain, `.zst` and `.gz` files of any size, also one that is still being
/// written, and SwingSet's own.
///
/// The first look into a recording of more than 1 MiB leaves an index beside it, FILE.index, by which later ones find a crank, a
/// delivery, a promise or the end at once. (A `.gz`, or a `.zst` of an earlier version, which is one frame, is always read whole.)
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost slog summary bank.slog
  vathost slog last bank.slog.zst
  vathost slog show bank.slog --crank 12
  vathost slog grep panicked bank.slog
  vathost slog trace kp41 bank.slog
  vathost slog diff mine.slog theirs.slog
  vathost slog export bank.slog --format chrome-trace --out bank.json
  vathost slog cat bank.vslog | head -1")]
pub(crate) struct SlogArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Summary(summary::SummaryArgs),
    Last(last::LastArgs),
    Show(show::ShowArgs),
    Grep(grep::GrepArgs),
    Trace(trace::TraceArgs),
    Diff(diff::DiffArgs),
    Export(export::ExportArgs),
    Cat(cat::CatArgs),
}

/// What every one of these is given.
#[derive(Args, Debug)]
struct FileArgs {
    /// The recording
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    index: IndexArgs,
}

/// How a large recording is searched.
#[derive(Args, Debug)]
struct IndexArgs {
    /// Read a large recording whole, and leave no index beside it
    #[arg(long)]
    no_index: bool,
}

impl IndexArgs {
    fn rules(&self) -> Indexing {
        if self.no_index { Indexing::NONE } else { Indexing::default() }
    }
}

impl FileArgs {
    fn rules(&self) -> Indexing {
        self.index.rules()
    }

    fn open(&self) -> anyhow::Result<Reader> {
        Ok(Reader::open(&self.file).map_err(unreadable)?)
    }
}

pub(crate) fn cmd_slog(args: SlogArgs, output: &Output) -> anyhow::Result<Exit> {
    match args.verb {
        Verb::Summary(args) => summary::cmd_summary(args, output),
        Verb::Last(args) => last::cmd_last(args, output),
        Verb::Show(args) => show::cmd_show(args, output),
        Verb::Grep(args) => grep::cmd_grep(args, output),
        Verb::Trace(args) => trace::cmd_trace(args, output),
        Verb::Diff(args) => diff::cmd_diff(args, output),
        Verb::Export(args) => export::cmd_export(args, output),
        Verb::Cat(args) => cat::cmd_cat(args, output),
    }
}

fn unreadable(err: ReadError) -> Usage {
    let hint = match &err {
        ReadError::Open { .. } => "`vathost run SCENARIO --slog FILE` makes a recording",
        ReadError::Line { .. } => "only the end of a recording may be torn: is this one, and is it whole?",
    };
    Usage::new(err, hint)
}
