//! `inspect`: reads a state, and changes nothing. Each answer is JSON for scripts, or text for people.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use crate::{
    cli::{
        Exit, Output, Usage,
        host::archive_hint,
        listing::Listing,
        named::{StateArgs, VatArgs},
    },
    inspect::view::{self, Facts, Row, clist, kv, objects, overview, promises, queue, sizes, transcript, vats},
    model::{
        blame::HostFault,
        id::{DeliveryNum, VatId},
    },
    state::{
        block::{Block, history, stored},
        transcript::Entry,
    },
    store::Database,
};

/// Look into a state, also while a host runs it
///
/// Shows the last committed block. Without a word: where the state stands, and how much there is of everything. A vat is given
/// by its number (`v3`), or by its name where only one has it.
#[derive(Args, Debug)]
#[command(
    subcommand_precedence_over_arg = true,
    after_help = "\
Examples:
  vathost inspect ./state
  vathost inspect ./state vat bank
  vathost inspect --state ./state transcript v3 --from 10 --to 20
  vathost inspect --state ./state vats --json | jq -r '.[].name'"
)]
pub(crate) struct InspectArgs {
    /// The folder of the state
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The same, before or behind what is asked
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    /// Print JSON: an array of objects for what is a table, otherwise one object
    #[arg(long, global = true)]
    json: bool,
    /// Print at most this many rows
    #[arg(long, value_name = "N", global = true)]
    limit: Option<usize>,
    #[command(subcommand)]
    what: Option<InspectWhat>,
}

#[derive(Subcommand, Debug)]
enum InspectWhat {
    /// All vats, dead ones included
    #[command(after_help = "Example:\n  vathost inspect --state ./state vats")]
    Vats,
    /// All about one vat
    #[command(after_help = "Example:\n  vathost inspect --state ./state vat v3")]
    Vat {
        #[command(flatten)]
        vat: VatArgs,
    },
    /// What waits: cleanups, GC actions, vats to reap, the run-queue, and the queues of promises
    #[command(after_help = "Example:\n  vathost inspect --state ./state queue --limit 20")]
    Queue,
    /// The kernel's promises
    #[command(after_help = "Example:\n  vathost inspect --state ./state promises")]
    Promises,
    /// The kernel's objects
    #[command(after_help = "Example:\n  vathost inspect --state ./state objects")]
    Objects,
    /// What a vat knows, and under which names
    #[command(after_help = "Example:\n  vathost inspect --state ./state clist bank")]
    Clist {
        #[command(flatten)]
        vat: VatArgs,
    },
    /// What was delivered to a vat, what it asked meanwhile and was answered, and how that ended
    #[command(after_help = "\
Examples:
  vathost inspect --state ./state transcript v3 --from 10 --to 20
  vathost inspect --state ./state transcript v3 --archive ./past --limit 20")]
    Transcript {
        #[command(flatten)]
        vat: VatArgs,
        /// The first delivery to show; otherwise the first that the state has
        #[arg(long, value_name = "N")]
        from: Option<u64>,
        /// The last delivery to show
        #[arg(long, value_name = "M")]
        to: Option<u64>,
        /// Show also what has left the state, from the files in this folder
        #[arg(long, value_name = "DIR")]
        archive: Option<PathBuf>,
    },
    /// The disk space that the state takes: by file, by table, by vat, how it grew, and what could leave
    ///
    /// Reads the whole file: a second for some hundred megabytes.
    #[command(after_help = "\
Examples:
  vathost inspect --state ./state size
  vathost inspect --state ./state size --json | jq '.vats | max_by(.transcriptBytes)'")]
    Size,
    /// The vatstore of a vat
    #[command(after_help = "Example:\n  vathost inspect --state ./state kv v3 --prefix purse.")]
    Kv {
        #[command(flatten)]
        vat: VatArgs,
        /// Only keys that begin with this
        #[arg(long, value_name = "P", default_value = "")]
        prefix: String,
    },
}

/// List the vats of a state, also while a host runs it
///
/// As `inspect DIR vats`: of the last committed block, with those that have ended.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost vats ./state
  vathost vats ./state --json | jq -r '.[].name'")]
pub(crate) struct VatsArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Print an array of JSON objects
    #[arg(long)]
    json: bool,
    /// Print at most this many rows
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

pub(crate) fn cmd_vats(args: VatsArgs, output: &Output) -> anyhow::Result<Exit> {
    let VatsArgs { state, json, limit } = args;
    Printer { output, json, limit }.rows(vats::list(&open(&state)?))?;
    Ok(Exit::Ok)
}

pub(crate) fn cmd_inspect(args: InspectArgs, output: &Output) -> anyhow::Result<Exit> {
    let hint = "name its folder, once: `vathost inspect ./state`, or `vathost inspect --state ./state`";
    let dir = match (args.folder.as_deref(), args.state.as_deref()) {
        (Some(dir), None) | (None, Some(dir)) => dir,
        (None, None) => return Err(Usage::new("no state is given", hint).into()),
        (Some(word), Some(_)) => {
            let what = format!("two states are given, or `{}` is nothing to look at", word.display());
            return Err(
                Usage::new(what, format!("{hint}; `vathost inspect --help` lists what there is to look at")).into()
            );
        }
    };
    let mut block = open(dir)?;
    let printer = Printer { output, json: args.json, limit: args.limit };
    if let Some(InspectWhat::Transcript { archive: Some(archive), .. }) = &args.what {
        history::read_archive(&mut block, archive);
    }
    match &args.what {
        None => printer.facts(&overview::of(&block))?,
        Some(InspectWhat::Vats) => printer.rows(vats::list(&block))?,
        Some(InspectWhat::Vat { vat }) => printer.facts(&vats::one(&block, vat.find(block.tables())?)?)?,
        Some(InspectWhat::Queue) => printer.rows(queue::list(block.tables()))?,
        Some(InspectWhat::Promises) => printer.pieces(|each| promises::pieces(&mut block, each))?,
        Some(InspectWhat::Objects) => printer.pieces(|each| objects::pieces(&mut block, each))?,
        Some(InspectWhat::Clist { vat }) => {
            let vat = vat.find(block.tables())?;
            printer.pieces(|each| clist::pieces(&mut block, vat, each))?;
        }
        Some(InspectWhat::Kv { vat, prefix }) => {
            let vat = vat.find(block.tables())?;
            printer.pieces(|each| kv::pieces(&mut block, vat, prefix, each))?;
        }
        Some(InspectWhat::Size) => {
            let sizes = sizes::of(dir, &block)?;
            printer.facts(&sizes)?;
            if !args.json {
                printer.output.line("")?;
                printer.rows(sizes.tables)?;
                printer.output.line("")?;
                printer.rows(sizes.vats)?;
            }
        }
        Some(InspectWhat::Transcript { vat, from, to, archive }) => {
            let vat = vat.find(block.tables())?;
            let begin = history::begins_at(&block, vat)?;
            if let (None, true) = (from, begin.0 > 0) {
                tell_what_left(&block, vat, output)?;
            }
            let range = (from.map_or(begin, DeliveryNum), DeliveryNum(to.unwrap_or(u64::MAX)));
            let hint = || archive_hint(dir).filter(|_| archive.is_none() && range.0 < begin);
            let hinted = |fault: HostFault| match hint() {
                Some(hint) => HostFault::new(&fault.what, format_args!("{}: {hint}", fault.why)),
                None => fault,
            };
            let entries = transcript::entries(&block, vat, range).map_err(hinted)?;
            printer.entries(entries.map(|it| it.map_err(hinted)))?;
        }
    }
    // A row that could not be read seemed to be absent.
    stored::check_reads(&block)?;
    Ok(Exit::Ok)
}

/// Says which deliveries are not shown, and why.
fn tell_what_left(block: &Block, vat: VatId, output: &Output) -> anyhow::Result<()> {
    match (history::archive_gap(block, vat)?, history::pruned(block, vat)?) {
        (Some(gap), _) => output.warn(gap),
        (None, Some(pruned)) => output.note(pruned.told()),
        (None, None) => (),
    }
    Ok(())
}

fn open(dir: &Path) -> anyhow::Result<Block> {
    let begin = "`vathost run vats/bank --state DIR` makes one";
    if !Database::exists(dir) {
        return Err(Usage::new(format!("there is no state in `{}`", dir.display()), begin).into());
    }
    let block = Block::open_read_only(dir)?;
    if block.meta().runtime.is_empty() {
        let what = format!("the state in `{}` holds no committed block yet", dir.display());
        return Err(Usage::new(what, begin).into());
    }
    Ok(block)
}

/// Prints answers as the command line wants them.
#[derive(Debug, Clone, Copy)]
struct Printer<'a> {
    output: &'a Output,
    json: bool,
    limit: Option<usize>,
}

impl Printer<'_> {
    fn facts(&self, it: &impl Facts) -> anyhow::Result<()> {
        if self.json {
            return self.output.json(it);
        }
        self.output.page();
        Ok(self.output.line(view::lines(it))?)
    }

    fn list(&self) -> Listing<'_> {
        Listing::new(self.output, self.json, self.limit)
    }

    fn rows<T: Row>(&self, rows: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
        self.list().all(rows)
    }

    /// Prints rows that are made piece by piece.
    fn pieces<T: Row>(
        &self,
        make: impl FnOnce(&mut dyn FnMut(Vec<T>) -> anyhow::Result<ControlFlow<()>>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut list = self.list();
        make(&mut |rows| list.rows(&rows))?;
        list.end_table::<T>(None)
    }

    fn entries(&self, entries: impl Iterator<Item = Result<Entry, HostFault>>) -> anyhow::Result<()> {
        let mut list = self.list();
        for entry in entries {
            let entry = entry?;
            if list.item(|| transcript::json_of(&entry), || transcript::text_of(&entry))?.is_break() {
                break;
            }
        }
        list.end(None)
    }
}
