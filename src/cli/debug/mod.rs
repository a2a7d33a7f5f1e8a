//! `debug`: a prompt, or a script, over a session of the debugger.

mod base;
mod guest;
mod lldb;
mod prompt;

use std::{
    ffi::OsString,
    io::{BufRead, IsTerminal, Read, stdin},
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        Exit, Output, Usage,
        host::{PolicyArgs, bundles_of, host_file},
        last_panic::LastPanic,
        named::{self, StateArgs},
        output::harmless,
        run::code_cache,
        state,
    },
    debug::{Base, Command, Open, Refusal, ReplicaSettings, Reply, Session},
    directive::Trigger,
    host::{controller::BlockPolicy, epitaph::Epitaph},
    lab::Schedule,
    lab::experiment::{MARKER, Token, TokenError, is_marked},
    lab::probe::PlantedBug,
    model::{files, id::CrankNum},
};

/// Stand just before a crank or a delivery, look around, and try what could be done
///
/// The state is only read; what runs here stays in memory. A place that is not committed is come to by running on from the last commit, as
/// the host did; after a panic its epitaph says how (cranks per block, plants), and flags override it. A delivery that is committed
/// is replayed from the vat's transcript and its nearest snapshot. `help` lists the commands of the prompt.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost debug --state ./state --at panic
  vathost debug --state ./state --at v56/delivery-1234
  vathost debug --state ./state --at crank-7890 --directives recover.directives
  vathost debug --state ./state --at crank-120 --base monday.vathost     a crank that is committed, from an older archive on
  vathost debug --state ./state --at panic --lldb                    lldb stops in the guest's own source
  vathost debug --state ./state --at bank/delivery-8 --gdb 127.0.0.1:4711 --deliveries 3
  printf 'delivery\\nskip\\nwrite-directive fix.directives\\n' | vathost debug --state ./state --at panic --json")]
pub(crate) struct DebugArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Where to stand: `crank-7890`, `v56/delivery-1234`, `bank/delivery-8`, `block-12`, or `panic`, the newest in the folder; otherwise where the
    /// host would go on
    #[arg(long, value_name = "PLACE")]
    at: Option<StartPlace>,
    /// Begin with this older state, an archive or a folder that was kept, and run on from there: so places that are committed since are
    /// come to with all their tables
    #[arg(long, value_name = "OLDER")]
    base: Option<PathBuf>,
    /// A recording of the state's past: it knows what a committed crank delivered, and how promises came to be
    #[arg(long, value_name = "FILE")]
    slog: Option<PathBuf>,
    /// Read commands from this file (`-` is stdin), one a line; the first mistake ends it
    #[arg(long, value_name = "FILE")]
    commands: Option<PathBuf>,
    /// A module that a directive upgrades a vat to (repeatable)
    #[arg(long, value_name = "FILE.wasm")]
    bundle: Vec<PathBuf>,
    /// Instead of a prompt: wait here for lldb (22 or newer), and let it debug the guest's code in the delivery
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["commands"])]
    gdb: Option<SocketAddr>,
    /// Instead of a prompt: start lldb (22 or newer; the newest on PATH, or the named one) in the guest's code, with what makes Rust's
    /// locals readable; what stands behind `--` is given to it
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true, default_missing_value = "",
          conflicts_with_all = ["commands", "gdb"])]
    lldb: Option<String>,
    /// Debug this many deliveries to the vat, one after the other, with one debugger
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    deliveries: u64,
    /// More arguments for lldb
    #[arg(last = true, value_name = "ARGUMENT", requires = "lldb")]
    lldb_arguments: Vec<OsString>,
    /// The directives that the host obeys; otherwise those that `host.toml` in the folder names
    #[arg(long, value_name = "FILE")]
    directives: Option<PathBuf>,
    /// As the host runs its blocks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cranks_per_block: Option<u64>,
    /// As the host runs its blocks
    #[arg(long, value_name = "F", value_parser = clap::value_parser!(u64).range(1..))]
    fuel_per_block: Option<u64>,
    /// As the host runs its blocks
    #[arg(long, value_name = "S")]
    block_time: Option<u64>,
    /// Check every invariant of the kernel after each crank, or after every Nth
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1")]
    audit: Option<u64>,
    /// A bug that is planted in the host, too
    #[arg(long, value_name = "NAME@crank-N")]
    plant: Vec<PlantedBug>,
    /// Print one JSON object a command
    #[arg(long)]
    json: bool,
}

impl DebugArgs {
    /// Makes the arguments of a session before a crank of the state in this folder, whose blocks are cut by this policy.
    pub(super) fn before(
        state: &Path,
        crank: Option<u64>,
        policy: &BlockPolicy,
        commands: Option<PathBuf>,
        json: bool,
    ) -> DebugArgs {
        DebugArgs {
            state: state.into(),
            at: crank.map(|it| StartPlace::Place(named::At::Place(Trigger::Crank(CrankNum(it))))),
            base: None,
            slog: None,
            commands,
            bundle: Vec::new(),
            gdb: None,
            lldb: None,
            deliveries: 1,
            lldb_arguments: Vec::new(),
            directives: None,
            cranks_per_block: Some(policy.cranks),
            fuel_per_block: policy.fuel,
            block_time: Some(policy.block_time),
            audit: None,
            plant: Vec::new(),
            json,
        }
    }
}

/// The place at which the session begins.
#[derive(Clone, Debug)]
enum StartPlace {
    Panic,
    Place(named::At),
}

impl FromStr for StartPlace {
    type Err = String;
    fn from_str(text: &str) -> Result<StartPlace, String> {
        if text == "panic" {
            return Ok(StartPlace::Panic);
        }
        text.parse()
            .map(StartPlace::Place)
            .map_err(|problem: String| problem.replacen("place like", "place like `panic`,", 1))
    }
}

pub(crate) fn cmd_debug(args: DebugArgs, output: &Output) -> anyhow::Result<Exit> {
    let interrupt = Arc::new(AtomicBool::new(false));
    let what = plan(&args, interrupt.clone(), output)?;
    if let Some(address) = args.gdb {
        return guest::serve(what, address, &args, output);
    }
    if let Some(program) = &args.lldb {
        return guest::start_lldb(what, program, &args, output);
    }
    on_interrupt(&interrupt)?;
    let source = CommandSource::new(&args)?;
    let (session, reply) = Session::open(what).map_err(into_error)?;
    let mut talk = Talk { session, place: reply.place.clone(), args: &args, output };
    talk.show(None, &reply)?;
    match source {
        CommandSource::Terminal => prompt::talk(&mut talk, &interrupt),
        CommandSource::Lines(lines, name) => talk.script(lines, &name, &interrupt),
    }
}

/// Makes the session's settings of the flags and the epitaph.
fn plan(args: &DebugArgs, interrupt: Arc<AtomicBool>, output: &Output) -> anyhow::Result<Open> {
    let dir: &Path = &args.state;
    state::must_exist(dir)?;
    let base = Base::over(dir)?;
    let database = base.open()?;
    let last_panic = LastPanic::beside(dir, &database)?;
    let epitaph = last_panic.epitaph.clone();
    let at = match (&args.at, &epitaph) {
        (None, _) => None,
        (Some(StartPlace::Place(place)), _) => Some(place.find(dir)?),
        (Some(StartPlace::Panic), Some(epitaph)) => epitaph.crank.map(|it| Trigger::Crank(CrankNum(it))),
        (Some(StartPlace::Panic), None) => {
            return Err(no_panic(dir, last_panic.newest.as_ref(), last_panic.next_crank).into());
        }
    };
    let how = how(args, &last_panic)?;
    if !how.plants.is_empty() && !database.meta()?.is_some_and(|it| it.experimental) {
        let hint = "faults are planted only in a state that was made with --experimental";
        return Err(Usage::new("this state is not one for experiments", hint).into());
    }
    last_panic.say(&how.policy, &how.plants, &how.directives, output);
    let base = match &args.base {
        None => base,
        Some(path) => {
            let older = base::of(path)?;
            let meta = database.meta()?.unwrap_or_default();
            base::check(&older, path, &how, (last_panic.next_crank, &meta), output)?;
            older
        }
    };
    Ok(Open { base, how, at, epitaph: epitaph.map(Box::new), slog: args.slog.clone(), interrupt })
}

/// Returns how the host ran, unless flags say otherwise.
fn how(args: &DebugArgs, last_panic: &LastPanic) -> anyhow::Result<ReplicaSettings> {
    let host = host_file(Some(&args.state))?;
    let recorded = last_panic.policy(&PolicyArgs::default(), &host);
    let policy = BlockPolicy {
        cranks: args.cranks_per_block.unwrap_or(recorded.cranks),
        fuel: args.fuel_per_block.or(recorded.fuel),
        wall_millis: None,
        block_time: args.block_time.unwrap_or(recorded.block_time),
    };
    let plants = last_panic.plants(&args.plant)?;
    let mut directives = last_panic.directives(args.directives.as_deref(), &host)?;
    let faults = faults_of(&args.state)?;
    for fault in faults.iter().flat_map(|(schedule, _)| schedule.faults()) {
        let hint = "an experiment's own faults are in force in its folder: leave the line out";
        directives.insert_fault(fault.clone()).map_err(|err| Usage::new(err, hint))?;
    }
    let bundles = bundles_of(&host, &args.bundle)?;
    let audit = args.audit.or(last_panic.audit());
    Ok(ReplicaSettings { policy, directives, bundles, plants, faults, audit, code_cache: code_cache() })
}

/// Reads the faults and the seed of an experiment, if the state in this folder is that of one.
fn faults_of(dir: &Path) -> anyhow::Result<Option<(Schedule, u64)>> {
    if !is_marked(dir) {
        return Ok(None);
    }
    let path = dir.join(MARKER);
    let hint = "the folder was laid down by `vathost fault repro TOKEN --debug DIR`: do that again";
    let refused = |why: String| Usage::new(format!("{}: {why}", path.display()), hint);
    let text = files::read_text(&path, files::TEXT_BYTES_MAX).map_err(|err| refused(err.to_string()))?;
    let token: Token = text.trim().parse().map_err(|err: TokenError| refused(err.to_string()))?;
    Ok(Some((token.schedule, token.seed)))
}

fn no_panic(dir: &Path, newest: Option<&Epitaph>, base: CrankNum) -> Usage {
    match newest.and_then(|it| it.crank) {
        Some(crank) => Usage::new(
            format!("the newest panic was in crank {crank}, and the state is committed up to {base} by now"),
            "it was recovered from; a committed delivery can be replayed: `--at v3/delivery-5`",
        ),
        None => Usage::new(
            format!("there is no panic-N.json in `{}`", dir.display()),
            "name a place: `--at crank-7890` or `--at v56/delivery-1234`",
        ),
    }
}

/// Makes the first ^C stop at the next crank; a second one, before the prompt is back, ends the process.
fn on_interrupt(interrupt: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let flag = interrupt.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
    })
    .context("install a handler for ^C")
}

/// The source of the commands.
enum CommandSource {
    Terminal,
    Lines(Box<dyn BufRead>, String),
}

impl CommandSource {
    fn new(args: &DebugArgs) -> anyhow::Result<CommandSource> {
        let from_stdin = || CommandSource::Lines(Box::new(stdin().lock()), "stdin".to_owned());
        Ok(match &args.commands {
            Some(path) if path == Path::new("-") => from_stdin(),
            Some(path) => {
                let name = path.display().to_string();
                let file = files::open(path).map_err(|err| Usage::new(format!("{name}: {err}"), ""))?;
                CommandSource::Lines(Box::new(std::io::BufReader::new(file.take(files::TEXT_BYTES_MAX))), name)
            }
            None if stdin().is_terminal() => CommandSource::Terminal,
            None => from_stdin(),
        })
    }
}

/// A session, and how its answers are shown.
struct Talk<'a> {
    session: Session,
    /// The place of the session, as the prompt shows it.
    place: String,
    args: &'a DebugArgs,
    output: &'a Output,
}

/// The result of a line of a script or a prompt.
enum Transcribed {
    Answered,
    Quit,
}

impl Talk<'_> {
    fn say(&mut self, line: &str) -> Result<Result<Transcribed, Refusal>, anyhow::Error> {
        let command = match Command::parse(line) {
            Ok(Some(Command::Quit)) => return Ok(Ok(Transcribed::Quit)),
            Ok(Some(command)) => command,
            Ok(None) => return Ok(Ok(Transcribed::Answered)),
            Err(refusal) => return Ok(Err(refusal)),
        };
        match self.session.obey(command) {
            Ok(reply) => {
                self.show(Some(line.trim()), &reply)?;
                self.place = reply.place;
                Ok(Ok(Transcribed::Answered))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    fn show(&self, line: Option<&str>, reply: &Reply) -> anyhow::Result<()> {
        if self.args.json {
            let command = line.unwrap_or("open");
            return self.output.json(&json!({ "command": command, "place": reply.place, "reply": reply.value }));
        }
        Ok(self.output.line(&reply.text)?)
    }

    /// Obeys a script. A mistake in it, or a command that cannot be done, ends it.
    fn script(&mut self, lines: Box<dyn BufRead>, name: &str, interrupt: &AtomicBool) -> anyhow::Result<Exit> {
        for (at, line) in lines.lines().enumerate() {
            let line = line.with_context(|| format!("read {name}"))?;
            if !self.args.json && !matches!(Command::parse(&line), Ok(None)) {
                self.output.line(format!("({}) {}", self.place, line.trim()))?;
            }
            match self.say(&line)? {
                Ok(Transcribed::Answered) => (),
                Ok(Transcribed::Quit) => break,
                Err(refusal) => {
                    if self.args.json {
                        let error = json!({ "what": refusal.what, "hint": refusal.hint, "line": at + 1 });
                        self.output.json(&json!({ "command": line.trim(), "place": self.place, "error": error }))?;
                    }
                    return Err(into_error(Refusal {
                        what: format!("{name}:{}: {}", at + 1, refusal.what),
                        ..refusal
                    }));
                }
            }
            if interrupt.load(Ordering::Relaxed) {
                return Ok(Exit::Interrupted);
            }
        }
        Ok(Exit::Ok)
    }

    /// Returns the ids and names of the vats, for completion.
    fn vats(&mut self) -> Vec<String> {
        let Ok(reply) = self.session.obey(Command::Vats) else { return Vec::new() };
        let rows = reply.value.as_array().into_iter().flatten();
        let words = rows.flat_map(|it| [&it["id"], &it["name"]]).filter_map(|it| it.as_str());
        // The prompt shows them unescaped; a name that would be escaped cannot be typed, and is left out.
        words.filter(|it| harmless(it) == **it).map(str::to_owned).collect()
    }
}

/// Makes the error that ends the command, with the exit code of its kind.
fn into_error(refusal: Refusal) -> anyhow::Error {
    match refusal.fault {
        Some(fault) => anyhow::Error::new(*fault),
        None => Usage::new(refusal.what, refusal.hint).into(),
    }
}
