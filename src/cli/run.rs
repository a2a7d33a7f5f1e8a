use std::{
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::{
        Exit, Output, Usage,
        changed::Changed,
        console,
        directives::prospect,
        disk_room::DiskRoom,
        halt,
        host::{PolicyArgs, bundles_of, directives_of, host_file, missing_bundles, warn_of_missing_bundles},
        layout,
        named::is_state,
        output::{counted, grouped, harmless, shortened, size, table},
        prove,
        recorder::{self, AskedFormat, SlogDetail, SlogMax},
        ways::Given,
    },
    directive::{Class, DirectiveSet},
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        options::{Inputs, Prove},
        report::{Report, ResultReport},
        scenario::{Bytes, Scenario},
    },
    inspect::view::said::said,
    kernel::{Halt, Ran},
    lab::experiment,
    lab::probe::{Life, PlantedBug, PlantedBugs},
    model::{
        files,
        id::{BundleId, VatId},
    },
    slog::{News, Slog},
    state::{
        block::{Block, held_bytes, history},
        retention::{ArchiveNews, Keep},
    },
    store::Database,
};

/// Run the vats of a scenario until nothing is left to do
///
/// From an empty machine, or on from where a state stands: `--state DIR` keeps every committed block, so the same command
/// goes on after an end, ^C, or a crash, to the same hashes. A file `host.toml` in that folder may say what the host is given at
/// every start: `[host]`, and in it `directives = "FILE"`, `bundles = ["FILE.wasm"]`, `cranks_per_block`, `fuel_per_block`,
/// `block_time`, `answer_blocks`, `keep`, `archive_dir`, `memory` and `threads`.
#[derive(Args, Debug, Default)]
#[command(after_help = "\
Examples:
  vathost run vats/bank
  vathost run vats/bank --state ./state --slog ./bank.slog
  vathost run ./state --blocks 10                go on, for ten blocks
  vathost run ./state --keep needed --archive ./past
  vathost run vats/bank --state ./state --add    … with the vats that the scenario has got since
  vathost run vats/bank --json | jq .stateHash")]
pub(crate) struct RunArgs {
    /// A `vat.toml`, or the folder that holds it; or the folder of a state that exists
    pub(super) scenario: Option<PathBuf>,
    /// The folder of the state, made if absent; without it the state lives in memory
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Give the state that exists those vats of the scenario that it has not, and the messages to them
    #[arg(long, requires_all = ["scenario", "state"])]
    add: bool,
    /// Record what happens at the end of this file, for `vathost slog`
    #[arg(long, value_name = "FILE")]
    slog: Option<PathBuf>,
    /// How to record: as JSON lines (`.zst` compresses them); or in binary, which is small and fast. A file that exists is continued as it
    /// is; a new one is binary if its name ends in .vslog, and JSON otherwise
    #[arg(long, value_name = "FORMAT", value_enum, requires = "slog")]
    slog_format: Option<AskedFormat>,
    /// How much to record
    #[arg(long, value_name = "DETAIL", value_enum, default_value_t = SlogDetail::Syscalls, requires = "slog")]
    slog_detail: SlogDetail,
    /// Go on in a new file when the recording has this size, as in `100MiB`, and keep that many earlier ones, as in `100MiB,10`;
    /// without a number all of them. Earlier files are `NAME.000001.slog`, and so on
    #[arg(long, value_name = "SIZE[,KEEP]", requires = "slog")]
    slog_max: Option<SlogMax>,
    /// Stop after this many blocks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) blocks: Option<u64>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Keep an answer to a message from outside for this many blocks, unless it is forgotten before (0: until it is forgotten). It decides
    /// every hash, so the state keeps it [default: as host.toml says, the state does, or the scenario of a new one]
    #[arg(long, value_name = "N")]
    answer_blocks: Option<u64>,
    /// Keep this many vats live at the most; the others come back when they are needed, to the same hashes [default: as many as
    /// this machine has mappings for]
    #[arg(long, value_name = "N")]
    max_live: Option<usize>,
    /// Let live vats and the rows of vatstores take this much memory, as in `2GiB`; what was not used for longest leaves, and comes
    /// back when it is needed, to the same hashes [default: as host.toml says, or half of this machine's]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// Run guests on this many threads, to the same hashes; 1 is in turn [default: as host.toml says, or as many as this
    /// machine has cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Take a snapshot of a vat after this many deliveries, instead of what its options say; 0 is never
    #[arg(long, value_name = "N")]
    snapshot_interval: Option<u64>,
    /// How much of the vats' transcripts to keep: `all`, `needed` (what brings a vat back), or, with that, `blocks=N` or `days=N`.
    /// What leaves cannot be shown, replayed or compared any more [default: as host.toml says, or all]
    #[arg(long, value_name = "WHAT")]
    pub(super) keep: Option<Keep>,
    /// How much of each vat to prove if another runtime ran the state last: `recent` (since its snapshot) or `all`
    #[arg(long, value_name = "HOW MUCH", default_value_t)]
    prove: Prove,
    /// Before deliveries leave the transcripts (--keep), write them into files in this folder, which `replay`, `verify` and `inspect
    /// transcript` read with the same option. One folder for each state [default: as host.toml says, or none]
    #[arg(long, value_name = "DIR")]
    pub(super) archive: Option<PathBuf>,
    /// Where the mailbox's messages come in, JSON lines; instead of what the scenario says
    #[arg(long, value_name = "FILE")]
    inbound: Option<PathBuf>,
    /// Where the mailbox's messages go out, JSON lines; instead of what the scenario says
    #[arg(long, value_name = "FILE")]
    outbound: Option<PathBuf>,
    /// Obey the directives of this file: skip, pause, terminate, upgrade, halt … at an exact crank or delivery
    #[arg(long, value_name = "FILE")]
    directives: Option<PathBuf>,
    /// Give the state a module that an `upgrade … bundle` may name (repeatable)
    #[arg(long, value_name = "FILE")]
    bundle: Vec<PathBuf>,
    /// Go on although the state is past a directive and has no record of it
    #[arg(long)]
    accept_missed_directives: bool,
    /// Check every invariant of the kernel after each crank, or after every Nth (slow; 0 turns it off)
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1")]
    audit: Option<u64>,
    /// Make a new state one for experiments: only there faults can be planted
    #[arg(long)]
    experimental: bool,
    /// Plant a bug in the kernel, as in `object.counts@crank-12`, to rehearse what comes of it
    #[arg(long, value_name = "NAME@crank-N")]
    plant: Vec<PlantedBug>,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
    /// When inputs are durable: a matter of the verb.
    #[arg(skip)]
    pub(super) inputs: Inputs,
}

impl RunArgs {
    /// To go on with a state.
    pub(super) fn of_state(
        state: &Path,
        slog: Option<PathBuf>,
        directives: Option<PathBuf>,
        blocks: Option<u64>,
        json: bool,
    ) -> RunArgs {
        RunArgs { state: Some(state.to_owned()), slog, directives, blocks, json, ..RunArgs::default() }
    }

    /// To run what is built again and again.
    pub(super) fn of_policy(state: Option<&Path>, policy: &PolicyArgs) -> RunArgs {
        RunArgs { state: state.map(Path::to_owned), policy: policy.clone(), ..RunArgs::default() }
    }

    /// The folder of a state may stand where a scenario does.
    pub(super) fn sorted(mut self) -> Result<RunArgs, Usage> {
        if let Some(dir) = self.scenario.take_if(|it| is_state(it)) {
            if let Some(other) = &self.state {
                let what = format!("`{}` is a state, and --state names `{}`", dir.display(), other.display());
                return Err(Usage::new(what, "name one state, and the scenario if there is a new one"));
            }
            self.state = Some(dir);
        }
        Ok(self)
    }
}

/// Opens the state of these arguments, and gives it what its scenario has and it has not.
pub(super) fn begin_with_scenario(args: &RunArgs, output: &Output) -> anyhow::Result<(Option<Scenario>, Begun)> {
    let scenario = args.scenario.as_deref().map(Scenario::read).transpose()?;
    let mut begun = begin(args, scenario.as_ref(), output)?;
    match &scenario {
        Some(scenario) if begun.controller.is_new() => {
            if let Err(halt) = begun.controller.install(scenario) {
                return Err(halted(*halt, &mut begun, args, &AtomicU8::new(0), output));
            }
        }
        Some(scenario) if args.add => add(&mut begun.controller, scenario, &begun.policy, output)?,
        _ => (),
    }
    Ok((scenario, begun))
}

pub(crate) fn cmd_run(args: RunArgs, output: &Output) -> anyhow::Result<Exit> {
    let args = args.sorted()?;
    let (scenario, mut begun) = begin_with_scenario(&args, output)?;
    let interrupted = go_on(&mut begun, &args, scenario.as_ref(), output)?;
    let controller = begun.controller;
    let report = controller.report()?;
    if args.json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    if interrupted {
        output.note("interrupted at a crank boundary; nothing is lost: run the same command to go on");
        return Ok(Exit::Interrupted);
    }
    Ok(Exit::Ok)
}

/// Gives a state the vats that its scenario has got since.
fn add(controller: &mut Host, scenario: &Scenario, policy: &BlockPolicy, output: &Output) -> anyhow::Result<()> {
    let block = controller.block()?;
    if block.meta().scenario == scenario.digest() {
        output.note("the state has all vats of this scenario: nothing is added");
        return Ok(());
    }
    let names = controller.add(scenario, policy)?;
    output.note(format!("added {}; every replica must do so before the same block", names.join(", ")));
    Ok(())
}

/// A host that is about to run blocks, and what it was given for that.
pub(super) struct Begun {
    pub(super) controller: Host,
    /// How its blocks end.
    pub(super) policy: BlockPolicy,
    /// The directives of the command line, or of host.toml.
    in_force: DirectiveSet,
    /// The modules of the command line and of host.toml.
    bundles: Vec<Vec<u8>>,
}

/// Opens the state, or a new one, with all that its host is given at its start; and how its blocks are cut.
pub(super) fn begin(args: &RunArgs, scenario: Option<&Scenario>, output: &Output) -> anyhow::Result<Begun> {
    let mut begun = try_begin(args, scenario, output).inspect_err(|err| {
        if args.json {
            halt::not_begun(err, output);
        }
    })?;
    match prove::prove(&mut begun.controller, args.state.as_deref(), output) {
        Ok(()) => Ok(begun),
        Err(halt) => Err(halted(*halt, &mut begun, args, &AtomicU8::new(0), output)),
    }
}

fn try_begin(args: &RunArgs, scenario: Option<&Scenario>, output: &Output) -> anyhow::Result<Begun> {
    let host = host_file(args.state.as_deref())?;
    let directives = directives_of(&host, args.directives.as_deref())?;
    let in_force = directives.clone().unwrap_or_default();
    let bundles = bundles_of(&host, &args.bundle)?;
    let blocks = args.policy.options().or(host.blocks);
    let mut controller = open(
        args,
        scenario,
        HostOptions {
            bundles: bundles.clone(),
            blocks,
            answer_blocks: args.answer_blocks.or(host.answer_blocks),
            inputs: args.inputs,
            keep: args.keep.or(host.keep).unwrap_or_default(),
            archive: args.archive.clone().or(host.archive),
            memory_max: args.memory.map(|it| it.0).or(host.memory),
            threads: args.threads.or(host.threads),
            prove: args.prove,
            ..HostOptions::default()
        },
        output,
    )?;
    bundles.iter().for_each(|wasm| output.detail(format!("bundle {}", BundleId::of(wasm))));
    load_directives(&mut controller, directives, args, output)?;
    let policy = controller.policy();
    if let Some([old, new]) = controller.keep_policy(&policy)? {
        let since = new.since;
        output.warn(format!(
            "the blocks of this state were cut at {old}, and are at {new} from {since} on: hosts that do not change it there, too, \
             come to other hashes"
        ));
    }
    warn_of_answers(&controller, args.answer_blocks.or(host.answer_blocks), output)?;
    Ok(Begun { controller, policy, in_force, bundles })
}

/// Warns if a state that exists is to keep answers otherwise than it did.
fn warn_of_answers(controller: &Host, given: Option<u64>, output: &Output) -> anyhow::Result<()> {
    let block = controller.block()?;
    let kept = block.tables().answer_blocks().map_or(0, NonZeroU64::get);
    if let Some(given) = given.filter(|it| *it != kept && !controller.is_new()) {
        let told =
            |blocks| if blocks == 0 { "until they are forgotten".to_owned() } else { format!("for {blocks} blocks") };
        output.warn(format!(
            "this state kept answers {}, and keeps them {} from {} on: hosts that do not change it there, too, come to other hashes",
            told(kept),
            told(given),
            block.current_height()
        ));
    }
    Ok(())
}

/// Runs until nothing is left to do, or enough was run; whether it was interrupted.
pub(super) fn go_on(
    begun: &mut Begun,
    args: &RunArgs,
    scenario: Option<&Scenario>,
    output: &Output,
) -> anyhow::Result<bool> {
    let Begun { controller, policy, .. } = begun;
    output.detail(format!("runtime {}", controller.block()?.meta().runtime));
    let stop = on_interrupt(controller)?;
    open_mailbox(args, scenario, controller, output)?;
    let progress = RunProgress::new(output);
    let ended = run_blocks(controller, args, policy, &stop, &progress, output);
    progress.clear();
    if let Err(err) = controller.slog().flush() {
        output.warn(incomplete(&err));
    }
    match ended {
        Ok(interrupted) => Ok(interrupted),
        Err(halt) => Err(halted(*halt, begun, args, &stop, output)),
    }
}

/// Reports a halt, and returns the error that the command ends with.
pub(super) fn halted(halt: Halt, begun: &mut Begun, args: &RunArgs, stop: &AtomicU8, output: &Output) -> anyhow::Error {
    let Begun { controller, policy, in_force, bundles } = begun;
    let given = args.state.as_deref().map(|state| Given {
        state,
        directives: args.directives.as_deref(),
        in_force: std::mem::take(in_force),
        bundles: std::mem::take(bundles),
        plants: &args.plant,
        policy: *policy,
        audit: args.audit,
        stop,
    });
    halt::report(halt, controller, given.as_ref(), args.json, output).unwrap_or_else(|err| err)
}

fn open(args: &RunArgs, scenario: Option<&Scenario>, given: HostOptions, output: &Output) -> anyhow::Result<Host> {
    let exists = args.state.as_deref().is_some_and(Database::exists);
    let nothing = || {
        let what = match &args.state {
            Some(dir) => format!("there is no state in `{}`", dir.display()),
            None => "neither a scenario nor a state is given".to_owned(),
        };
        Usage::new(what, "name a scenario to begin with, such as `vathost run vats/bank`")
    };
    if !exists && scenario.is_none() {
        return Err(nothing().into());
    }
    if let Some(dir) = args.state.as_deref().filter(|it| experiment::is_marked(it)) {
        let what = format!("the state in `{}` is an experiment's", dir.display());
        return Err(Usage::new(what, "nothing real comes of it: run the state that it is a copy of").into());
    }
    check_plants(args, exists)?;
    let slog = match &args.slog {
        Some(path) => recorder::open(path, args.slog_detail, args.slog_max, args.slog_format)?,
        None => Slog::default(),
    };
    let watch = layout::Watch::new(output);
    let controller = Host::open(HostOptions {
        state: args.state.clone(),
        upgrade_watch: Some(watch.hook()),
        slog,
        code_cache: code_cache(),
        audit: args.audit.into(),
        experimental: args.experimental,
        probe: PlantedBugs::probe(&args.plant, Life::Expendable),
        max_live: args.max_live,
        snapshot_interval: args.snapshot_interval,
        ..given
    });
    let controller = watch.end(controller, output)?;
    // A host may have been stopped before it had committed anything.
    if controller.is_new() && scenario.is_none() {
        return Err(nothing().into());
    }
    let made_from = &controller.block()?.meta().scenario;
    if let (false, Some(scenario)) = (controller.is_new(), scenario)
        && *made_from != scenario.digest()
    {
        let dir = args.state.as_deref().unwrap_or(Path::new(""));
        let changed = Changed::of(controller.block()?.tables(), scenario);
        let can_add = args.add && changed.other_code.is_empty() && !changed.new.is_empty();
        if !can_add {
            return Err(changed.refusal(dir, args.scenario.as_deref().unwrap_or(Path::new("")), args.add).into());
        }
    }
    Ok(controller)
}

/// Faults are planted only in a state for experiments.
fn check_plants(args: &RunArgs, exists: bool) -> anyhow::Result<()> {
    if args.plant.is_empty() {
        return Ok(());
    }
    let experimental = match &args.state {
        Some(dir) if exists => Block::open_read_only(dir)?.meta().experimental,
        _ => args.experimental,
    };
    if experimental {
        return Ok(());
    }
    let hint = "make a new state with --experimental: one that is real stays free of planted bugs";
    Err(Usage::new("a fault can be planted only in a state for experiments", hint).into())
}

/// Puts directives in force, if there are any, and says how each stands to the state.
fn load_directives(
    controller: &mut Host,
    directives: Option<DirectiveSet>,
    args: &RunArgs,
    output: &Output,
) -> anyhow::Result<()> {
    let is_given = directives.is_some();
    let set = directives.unwrap_or_default();
    let digest = set.digest();
    let classes = controller.set_directives(set, args.accept_missed_directives).map_err(|it| Usage::new(it, ""))?;
    let tables = controller.block()?.tables();
    for (directive, class) in &classes {
        // A new state gets its vats only then.
        let is_open = *class == Class::Pending && !controller.is_new();
        let prospect = is_open.then(|| prospect(tables, directive)).flatten();
        output.note(format!("{directive}: {class}{}", prospect.map(|it| format!("; {it}")).unwrap_or_default()));
    }
    let pending = classes.iter().filter(|(_, class)| *class == Class::Pending).map(|(it, _)| it);
    // A new state gets its own bundles only then.
    if !controller.is_new() {
        warn_of_missing_bundles(&missing_bundles(controller.block()?, pending)?, output);
    }
    if is_given {
        output.note(format!("directives digest {digest}"));
    }
    Ok(())
}

/// Opens the mailbox's files: the command line's, or else the scenario's.
pub(super) fn open_mailbox(
    args: &RunArgs,
    scenario: Option<&Scenario>,
    controller: &mut Host,
    output: &Output,
) -> anyhow::Result<()> {
    let mut paths = scenario.map(|it| it.mailbox.clone()).unwrap_or_default();
    paths.inbound = args.inbound.clone().or(paths.inbound);
    paths.outbound = args.outbound.clone().or(paths.outbound);
    let given = args.inbound.is_some() || args.outbound.is_some();
    match controller.mailbox() {
        Some(_) if paths.outbound.is_none() => {
            output.note("the mailbox has no file to write to: what leaves waits in the state; name one by --outbound");
        }
        None if given => {
            return Err(Usage::new("this state has no mailbox", "leave --inbound and --outbound out").into());
        }
        _ => (),
    }
    for path in [&paths.inbound, &paths.outbound].into_iter().flatten().filter(|it| it.exists()) {
        files::open(path).map_err(|err| Usage::new(format!("{}: {err}", path.display()), ""))?;
    }
    Ok(controller.open_mailbox(&paths)?)
}

/// Returns the folder for compiled code: in the user's cache folder.
pub(crate) fn code_cache() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|it| it.is_absolute()).or_else(home);
    base.map(|it| it.join("vathost"))
}

/// How long a delivery may go on after ^C, to its end: what is undone was in vain, and there is a second more to write the block.
const GRACE: Duration = Duration::from_millis(500);

/// Counts ^C: the first stops at the next crank boundary, or where a delivery does not come to one soon, in its middle; the second
/// at once: what is not committed then is as if it had never been.
#[expect(clippy::disallowed_methods, reason = "it waits beside the kernel, and ends what takes too long")]
pub(super) fn on_interrupt(controller: &Host) -> anyhow::Result<Arc<AtomicU8>> {
    let (flush_slog, interrupter) = (controller.slog().last_flush(), controller.interrupter());
    let count = Arc::new(AtomicU8::new(0));
    let seen = count.clone();
    ctrlc::set_handler(move || {
        if seen.fetch_add(1, Ordering::Relaxed) > 0 {
            flush_slog();
            std::process::exit(Exit::Interrupted as i32);
        }
        let interrupter = interrupter.clone();
        thread::spawn(move || {
            thread::sleep(GRACE);
            loop {
                interrupter.stop();
                thread::sleep(GRACE);
            }
        });
    })
    .context("install a handler for ^C")?;
    Ok(count)
}

/// How long blocks run without a look at what went wrong beside them.
const LOOK: Duration = Duration::from_secs(1);

/// Runs blocks until nothing is left, or enough was run; whether it was interrupted.
fn run_blocks(
    controller: &mut Host,
    args: &RunArgs,
    policy: &BlockPolicy,
    stop: &AtomicU8,
    progress: &RunProgress,
    output: &Output,
) -> Result<bool, Box<Halt>> {
    let mut blocks = 0;
    let mut cranks = 0;
    let mut told = Told::of(args.state.as_deref());
    // A state with nothing to do gets no empty blocks.
    while args.blocks.is_none_or(|max| blocks < max) {
        controller.read_mailbox()?;
        progress.suspend(|| warn(controller, &mut told, output));
        if controller.is_quiescent()? {
            controller.obey_at_rest()?;
            break;
        }
        if stop.load(Ordering::Relaxed) > 0 {
            return Ok(true);
        }
        let each = &mut |ran: &Ran| {
            cranks += 1;
            progress.tick(ran.crank.0, cranks);
            stop.load(Ordering::Relaxed) == 0
        };
        let (most, begun, mut closed) = (args.blocks.map_or(u64::MAX, |max| max - blocks), Instant::now(), true);
        controller.run_blocks(policy, most, each, &mut |end| {
            progress.suspend(|| console::tell(&end, output));
            blocks += u64::from(end.closed);
            closed = end.closed;
            begun.elapsed() < LOOK
        })?;
        progress.suspend(|| warn(controller, &mut told, output));
        if !closed {
            return Ok(true);
        }
    }
    let left_behind = controller.mail_left_behind()?;
    progress.suspend(|| left_behind.iter().for_each(|it| output.warn(it)));
    Ok(false)
}

/// A log of this many bytes that a reader holds is told of: four times as long as it is allowed to become otherwise.
const HELD_BYTES_TOLD: u64 = 128 << 20;

/// The warnings that are not to be repeated.
#[derive(Debug)]
pub(super) struct Told {
    held: bool,
    room: DiskRoom,
}

impl Told {
    pub(super) fn of(state: Option<&Path>) -> Told {
        Told { held: false, room: DiskRoom::of(state) }
    }
}

/// Tells of what went wrong beside the run, as soon as it is known, and once.
pub(super) fn warn(controller: &mut Host, told: &mut Told, output: &Output) {
    if let Some(text) = told.room.look() {
        output.warn(text);
    }
    let bytes = controller.block().map_or(0, held_bytes);
    if bytes >= HELD_BYTES_TOLD && !std::mem::replace(&mut told.held, true) {
        output.warn(format!(
            "{} of the state's log wait to be copied into its file, and it grows: somebody has been reading the state all the while",
            size(bytes)
        ));
    }
    match controller.slog().news() {
        Some(News::Broken(err)) => output.warn(incomplete(&err)),
        Some(News::GoesOn) => output.warn("the slog is written again; what happened in between is not in it"),
        Some(News::NotRotated(err)) => output.warn(format!("the slog goes on in the same file, which grows: {err}")),
        None => (),
    }
    controller.mailbox_warnings().iter().for_each(|it| output.warn(it));
    match controller.block_mut().ok().and_then(history::archive_news) {
        Some(ArchiveNews::Broken(fault)) => {
            output.warn(format!("nothing leaves the state until its archive can be written: {fault}"))
        }
        Some(ArchiveNews::GoesOn) => output.note("the archive is written again"),
        None => (),
    }
}

pub(super) fn incomplete(err: &std::io::Error) -> String {
    format!("the slog is incomplete: {err}")
}

/// A line on a terminal, now and then.
struct RunProgress {
    bar: Option<ProgressBar>,
    begun: Instant,
}

impl RunProgress {
    fn new(output: &Output) -> RunProgress {
        let style = ProgressStyle::with_template("{spinner} {msg}").ok();
        let bar = output.progress().then(ProgressBar::new_spinner);
        if let (Some(bar), Some(style)) = (&bar, style) {
            bar.set_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        RunProgress { bar, begun: Instant::now() }
    }

    fn tick(&self, crank: u64, done: u64) {
        if let (Some(bar), true) = (&self.bar, done.is_multiple_of(256)) {
            let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
            bar.set_message(format!("crank {}, {} a second", grouped(crank), grouped(done * 1_000 / millis)));
        }
    }

    /// Lets something else be written.
    fn suspend(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A reason longer than this is cut; `--json` has all of it.
const REASON_CHARS: usize = 240;

/// The line of one result: `north.makePurse fulfilled <Purse ko28>`.
pub(super) fn result_line(it: &ResultReport) -> String {
    let body = it.body.as_deref().map(|body| format!(" {}", harmless(&said(body, &it.slots)))).unwrap_or_default();
    format!("{}.{} {}{body}", harmless(&it.to), harmless(&it.method), it.status)
}

fn print(report: &Report, output: &Output) -> std::io::Result<()> {
    report.results.iter().try_for_each(|it| output.line(result_line(it)))?;
    if !report.results.is_empty() {
        output.line("")?;
    }
    let mut vats: Vec<_> = report.vats.iter().collect();
    vats.sort_by_key(|(_, vat)| vat.id.parse::<VatId>().ok());
    let rows = vats.into_iter().map(|(name, vat)| {
        let status = match &vat.reason {
            Some(reason) => format!("{}: {}", vat.status, harmless(&shortened(reason, REASON_CHARS))),
            None => vat.status.to_owned(),
        };
        let numbers = [vat.deliveries, vat.syscalls, vat.fuel].map(grouped);
        [vat.id.clone(), harmless(name)].into_iter().chain(numbers).chain([size(vat.memory_bytes), status]).collect()
    });
    let header = ["vat", "name", "deliveries", "syscalls", "fuel", "memory", "status"];
    output.line(table(&header, &[0, 1, 6], rows))?;
    output.line("")?;
    for it in &report.directives {
        let crank = it.crank.map_or_else(String::new, |it| format!(", crank {it}"));
        let consumed = it.consumed.as_ref().map(|it| format!("; it consumed {it}")).unwrap_or_default();
        output.line(format!("{}: {}{crank}{}", harmless(&it.line), it.status, harmless(&consumed)))?;
    }
    if !report.directives.is_empty() {
        output.line("")?;
    }
    let held = report.vats.iter().filter(|(_, vat)| vat.status == "paused" && vat.queued > 0);
    let held: Vec<_> =
        held.map(|(name, vat)| format!("; {} waits for {} ({})", vat.queued, vat.id, harmless(name))).collect();
    let left = if report.quiescent { "nothing left to do" } else { "more to do" };
    let left = format!("{left}{}", held.concat());
    output.line(format!("height {}, {}, {left}", report.height, counted(report.cranks, "crank", "cranks")))?;
    output.line(format!("state hash   {}", report.state_hash))?;
    output.line(format!("state digest {}", report.state_digest))
}
