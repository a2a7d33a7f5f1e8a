use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    cli::{
        Exit, Output, Usage,
        host::{PolicyArgs, bundles_of, host_file, missing_bundles, warn_of_missing_bundles},
        last_panic::LastPanic,
        named::{self, StateArgs},
        output::{harmless, table},
        run::code_cache,
    },
    directive::{Action, Class, Directive, DirectiveSet, GRAMMAR, Missed, Placed, Refused, Trigger},
    host::options::GRAMMAR_HINT,
    inspect::plan::{self, TrialOutcome, TrialSettings},
    lab::probe::{Life, PlantedBug, PlantedBugs},
    model::{files, id::VatId},
    state::{
        block::{self, Block},
        table::Tables,
    },
    store::{Database, Overlay},
};

/// Look at the orders to skip, pause, terminate, upgrade, break or halt at an exact crank or delivery
#[derive(Args, Debug)]
pub(crate) struct DirectivesArgs {
    #[command(subcommand)]
    verb: DirectivesVerb,
}

#[derive(Subcommand, Debug)]
enum DirectivesVerb {
    Check(CheckArgs),
    Plan(PlanArgs),
    /// Print the grammar of a directive file
    #[command(after_help = "Example:\n  vathost directives grammar")]
    Grammar(GrammarArgs),
}

/// The options of a verb that prints a grammar.
#[derive(Args, Debug)]
pub(crate) struct GrammarArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl GrammarArgs {
    /// Prints a grammar, as text or as JSON.
    pub(crate) fn print(&self, grammar: &str, output: &Output) -> anyhow::Result<Exit> {
        match self.json {
            true => output.json(&json!({ "grammar": grammar }))?,
            false => output.line(grammar.trim_end())?,
        }
        Ok(Exit::Ok)
    }
}

/// Read a directive file, say what is wrong with it, and where each of its lines stands to a state
///
/// Prints the digest of the file, to be compared with the other operators: comments, blanks and the order of lines do not
/// change it. Exits with 2 where a host would refuse to start with the file.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost directives check recover.directives
  vathost directives check recover.directives --state ./state
  vathost directives check ./state
  vathost directives check recover.directives --json | jq -r .digest")]
struct CheckArgs {
    /// The directive file, and the folder of a state; the file may be left out where the state's host.toml names it
    #[arg(value_names = ["FILE", "DIR"], num_args = 1..=2, required_unless_present = "state")]
    what: Vec<PathBuf>,
    /// The folder of a state: class each line as pending, applied, expired or missed
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_directives(args: DirectivesArgs, output: &Output) -> anyhow::Result<Exit> {
    match args.verb {
        DirectivesVerb::Check(args) => check(&args, output),
        DirectivesVerb::Plan(args) => plan(&args, output),
        DirectivesVerb::Grammar(args) => args.print(GRAMMAR, output),
    }
}

/// Try directives on a state that is only read, and say what each would lead to
///
/// Every `--add` is tried by itself, so that operators can choose one; the lines of `--file` are tried together. The state is
/// not changed. The hash after the last block is what the operators compare.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost directives plan --state ./state --add 'crank-7890: skip v56' --add 'crank-7890: terminate v56'
  vathost directives plan --state ./state --file recover.directives --blocks 3 --json")]
struct PlanArgs {
    #[command(flatten)]
    state: StateArgs,
    /// A directive file, tried as a whole
    #[arg(long, value_name = "FILE", required_unless_present = "add")]
    file: Option<PathBuf>,
    /// A directive, tried by itself (with the file, if one is given)
    #[arg(long, value_name = "LINE")]
    add: Vec<String>,
    /// Blocks to run at the most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    blocks: u64,
    #[command(flatten)]
    policy: PolicyArgs,
    /// A module that an `upgrade … bundle` may name (repeatable)
    #[arg(long, value_name = "FILE")]
    bundle: Vec<PathBuf>,
    /// A bug that is planted in the host, too
    #[arg(long, value_name = "NAME@crank-N")]
    plant: Vec<PlantedBug>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn plan(args: &PlanArgs, output: &Output) -> anyhow::Result<Exit> {
    if !Database::exists(&args.state) {
        return Err(Usage::new(format!("there is no state in `{}`", args.state.display()), "").into());
    }
    let host = host_file(Some(&args.state))?;
    let state = Overlay::over(&args.state)?;
    let last_panic = LastPanic::beside(&args.state, &state.open()?)?;
    let base = last_panic.directives(args.file.as_deref(), &host)?;
    let bundles = bundles_of(&host, &args.bundle)?;
    let mut sets = Vec::new();
    for line in &args.add {
        let mut set = base.clone();
        set.read("--add", line.as_bytes()).map_err(|refused| Usage::new(refused, GRAMMAR_HINT))?;
        sets.push(set);
    }
    if sets.is_empty() {
        sets.push(base.clone());
    }
    let (policy, plants) = (last_panic.policy(&args.policy, &host), last_panic.plants(&args.plant)?);
    last_panic.say(&policy, &plants, &base, output);
    let (code_cache, directives, audit) = (code_cache(), DirectiveSet::default(), last_panic.audit());
    let probe = PlantedBugs::probe(&plants, Life::Dear);
    let trial = TrialSettings { policy, blocks: args.blocks, probe, directives, bundles, code_cache, audit };
    let outcomes = sets.iter().map(|set| plan::attempt(&state, set, &trial)).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        output.json(&json!({ "plans": outcomes }))?;
        return Ok(Exit::Ok);
    }
    for outcome in &outcomes {
        say(outcome, output)?;
    }
    Ok(Exit::Ok)
}

fn say(outcome: &TrialOutcome, output: &Output) -> std::io::Result<()> {
    output.line(outcome.lines.join("\n"))?;
    let why = outcome.why.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
    output.line(format!(
        "  {}{}, block {}, state hash {}",
        outcome.end,
        harmless(&why),
        outcome.height,
        outcome.state_hash
    ))?;
    for it in &outcome.directives {
        let crank = it.crank.map(|it| format!(" at crank {it}")).unwrap_or_default();
        let consumed = it.consumed.as_ref().map(|it| format!("; it consumes {it}")).unwrap_or_default();
        output.line(format!("  {}: {}{crank}{}", it.line, it.status, harmless(&consumed)))?;
    }
    for (name, before, after) in &outcome.vats {
        output.line(format!("  vat {}: {before} → {after}", harmless(name)))?;
    }
    for ((message, status, _), said) in outcome.results.iter().zip(&outcome.said) {
        output.line(format!("  {} {status} {}", harmless(message), harmless(said)))?;
    }
    Ok(())
}

impl CheckArgs {
    /// The directive file and the state, as far as each is named.
    fn parts(&self) -> Result<[Option<&Path>; 2], Usage> {
        let is_state = |it: &&PathBuf| named::is_state(it);
        match (&self.what[..], self.state.as_deref()) {
            ([dir], None) if is_state(&dir) => Ok([None, Some(dir)]),
            ([], state) => Ok([None, state]),
            ([file], state) => Ok([Some(file), state]),
            ([dir, file], None) if is_state(&dir) => Ok([Some(file), Some(dir)]),
            ([file, dir, ..], None) => Ok([Some(file), Some(dir)]),
            ([..], Some(_)) => Err(Usage::new("two files, or two states, are named", "name one file, and one state")),
        }
    }
}

fn check(args: &CheckArgs, output: &Output) -> anyhow::Result<Exit> {
    let [file, state] = args.parts()?;
    let file = match file {
        Some(file) => file.to_owned(),
        None => host_file(state)?.directives.ok_or_else(|| {
            Usage::new(
                "no directive file is given",
                "name it, or put `directives = \"FILE\"` into the state's host.toml",
            )
        })?,
    };
    let name = file.display().to_string();
    let bytes = files::read(&file, files::TEXT_BYTES_MAX).map_err(|err| Usage::new(format!("{name}: {err}"), ""))?;
    let mut set = DirectiveSet::default();
    let placed = match set.read(&name, &bytes) {
        Ok(placed) => placed,
        Err(refused) if args.json => {
            output.json(&refused_json(&refused))?;
            return Ok(Exit::Usage);
        }
        Err(refused) => return Err(Usage::new(refused, GRAMMAR_HINT).into()),
    };
    let classes = state.map(|dir| classes(dir, &set, &placed)).transpose()?;
    let missed = classes.as_ref().and_then(|it| it.missed.as_ref());
    let class = |at: usize| classes.as_ref().and_then(|it| it.lines.get(at)).copied();
    let prospect = |at: usize| classes.as_ref().and_then(|it| it.prospects.get(at)).and_then(Option::as_deref);
    let lacks = |it: &Directive| classes.as_ref().is_some_and(|known| known.lacking.contains(it));
    if args.json {
        let lines: Vec<Value> = placed
            .iter()
            .enumerate()
            .map(|(at, it)| line_json(it, class(at), prospect(at), lacks(&it.directive)))
            .collect();
        let digest = set.digest().to_string();
        output.json(&json!({ "ok": missed.is_none(), "digest": digest, "directives": lines }))?;
        return Ok(if missed.is_none() { Exit::Ok } else { Exit::Usage });
    }
    let rows = placed.iter().enumerate().map(|(at, it)| {
        let class = class(at).map_or(String::new(), |class| match (class, prospect(at)) {
            (Class::Missed, _) if !it.directive.in_consensus() => "missed (no harm)".to_owned(),
            (class, Some(prospect)) => format!("{class}; {prospect}"),
            (class, None) => class.to_string(),
        });
        vec![it.line.to_string(), it.directive.to_string(), class]
    });
    if !placed.is_empty() {
        output.line(table(&["line", "directive", if classes.is_some() { "class" } else { "" }], &[1, 2], rows))?;
    }
    output.line(format!("digest {}", set.digest()))?;
    warn_of_missing_bundles(&set.iter().filter(|it| lacks(it)).collect::<Vec<_>>(), output);
    match missed {
        Some(missed) => Err(Usage::new(missed, "").into()),
        None => Ok(Exit::Ok),
    }
}

/// The lines of a directive file, classed by a state.
struct Classes {
    /// The class of each line.
    lines: Vec<Class>,
    /// For each line that is pending, what the state says of it.
    prospects: Vec<Option<String>>,
    /// The directives for which a host would refuse to start.
    missed: Option<Missed>,
    /// Upgrades to bundles that the state does not hold.
    lacking: Vec<Directive>,
}

fn classes(dir: &Path, set: &DirectiveSet, placed: &[Placed]) -> anyhow::Result<Classes> {
    if !Database::exists(dir) {
        return Err(Usage::new(format!("there is no state in `{}`", dir.display()), "").into());
    }
    let mut block = Block::open_read_only(dir)?;
    let classes = block::classes(&block, set);
    let class_of =
        |it: &Placed| classes.iter().find(|(directive, _)| *directive == it.directive).map(|(_, class)| *class);
    let prospects = placed.iter().map(|it| match class_of(it) {
        Some(Class::Pending) => prospect(block.tables(), &it.directive),
        _ => None,
    });
    let prospects = prospects.collect();
    let missed = classes.iter().filter(|(it, class)| it.in_consensus() && *class == Class::Missed);
    let missed: Vec<_> = missed.map(|(it, _)| it.clone()).collect();
    let missed = (!missed.is_empty()).then_some(Missed(missed));
    for wasm in bundles_of(&host_file(Some(dir))?, &[])? {
        block.put_bundle(&wasm);
    }
    let pending = classes.iter().filter(|(_, class)| *class == Class::Pending).map(|(it, _)| it);
    let lacking = missing_bundles(&block, pending)?.into_iter().cloned().collect();
    Ok(Classes { lines: placed.iter().filter_map(class_of).collect(), prospects, missed, lacking })
}

/// Returns what the state says of a pending directive: that its place cannot come, or not yet, or what the directive would find there.
pub(crate) fn prospect(tables: &Tables, directive: &Directive) -> Option<String> {
    let known = |vat: VatId| tables.vats.contains(&vat);
    if let Trigger::Delivery(vat, _) = directive.trigger {
        return match known(vat) {
            false => Some(format!("not before there is a {vat}")),
            true if !tables.is_alive(vat) => Some(format!("it can never come: {vat} is dead")),
            true if tables.is_paused(vat) => Some(format!("not before {vat} is resumed: it is paused")),
            true => None,
        };
    }
    let is_guard = matches!(directive.action, Action::Skip { .. });
    let next = tables.globals().next_crank;
    if is_guard && directive.trigger == Trigger::Crank(next) && tables.queue.to_run().is_none() {
        return Some("nothing is left to do: it waits for what comes next, from outside".to_owned());
    }
    let vat = directive.action.vat()?;
    match (known(vat), &directive.action) {
        (false, _) => Some(format!("there is no {vat}: unless it is created by then, the host halts there")),
        (true, _) if tables.is_alive(vat) => None,
        (true, Action::Upgrade { .. }) => Some(format!("{vat} is dead: the host halts there")),
        (true, _) if is_guard => Some(format!("no delivery to {vat} can come: it is dead")),
        (true, _) => Some(format!("{vat} is dead: it will have no effect")),
    }
}

fn line_json(placed: &Placed, class: Option<Class>, prospect: Option<&str>, lacks_bundle: bool) -> Value {
    let directive = &placed.directive;
    let mut value =
        json!({ "line": directive.to_string(), "number": placed.line, "inConsensus": directive.in_consensus() });
    let (status, crank) = match class {
        None => return value,
        Some(Class::Pending) => ("pending", None),
        Some(Class::Applied(crank)) => ("applied", Some(crank.0)),
        Some(Class::Expired) => ("expired", None),
        Some(Class::Missed) => ("missed", None),
    };
    value["status"] = status.into();
    if let Some(crank) = crank {
        value["crank"] = crank.into();
    }
    if let Some(prospect) = prospect {
        value["note"] = prospect.into();
    }
    if lacks_bundle {
        value["missingBundle"] = true.into();
    }
    value
}

fn refused_json(refused: &Refused) -> Value {
    let problem = |it: &crate::directive::Problem| json!({ "line": it.line, "column": it.column, "what": it.what, "expected": it.expected, "hint": it.hint });
    let problems: Vec<Value> = refused.problems.iter().map(problem).collect();
    json!({ "ok": false, "file": refused.file, "problems": problems })
}
