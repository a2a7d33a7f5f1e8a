//! `init` and `genesis`: homes, and what their validators agree on before the first block.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use clap::Args;
use serde_json::json;
use vathost::{Scenario, model::blame::HostFault};

use super::{Exit, Usage, output::Output};
use crate::{
    engine,
    genesis::{Genesis, Submitters, Validator},
    home::{Home, Settings, Timing},
    keys::PublicKey,
    node,
};

/// Make a validator's home, or give one its chain
///
/// Without `--genesis` it makes keys and settings, and prints what the others need to know. With it, it takes over the genesis and
/// makes the state that the chain begins with, whose hash must be that of the genesis.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost-node init --home ./home --name alice --listen /ip4/0.0.0.0/tcp/27000
  vathost-node init --home ./home --genesis genesis.json --scenario vats/bank \\
      --peer /ip4/10.0.0.2/tcp/27000/p2p/12D3KooW…")]
pub(super) struct InitArgs {
    /// The home
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// The name of the validator
    #[arg(long, default_value = "validator")]
    name: String,
    /// Where the other validators reach it
    #[arg(long, value_name = "ADDRESS", default_value = "/ip4/0.0.0.0/tcp/27000")]
    listen: String,
    /// Where people and programs reach it
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7200")]
    http: String,
    /// The genesis of the chain
    #[arg(long, value_name = "FILE", requires = "scenario")]
    genesis: Option<PathBuf>,
    /// The scenario of the chain
    #[arg(long, value_name = "FILE", requires = "genesis")]
    scenario: Option<PathBuf>,
    /// The address of another validator (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    peer: Vec<String>,
    /// Make the state one for experiments: only there bugs can be planted
    #[arg(long)]
    experimental: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_init(args: &InitArgs, output: &Output) -> anyhow::Result<Exit> {
    let home = Home::at(&args.home);
    if !home.exists() {
        let settings = Settings {
            name: args.name.clone(),
            listen: args.listen.clone(),
            peers: args.peer.clone(),
            http: args.http.clone(),
            timing: Timing::default(),
            bundles: vec![],
            plants: vec![],
        };
        home.make(&settings)?;
    } else if !args.peer.is_empty() {
        home.put_settings(&Settings { peers: args.peer.clone(), ..home.settings()? })?;
    }
    if let (Some(genesis), Some(scenario)) = (&args.genesis, &args.scenario) {
        take_over(&home, &Genesis::read(genesis)?, &Scenario::read(scenario)?, args.experimental)?;
    }
    say_who(&home, args.json, output)
}

/// Gives a home its genesis, and the state that the chain begins with.
pub(super) fn take_over(home: &Home, genesis: &Genesis, scenario: &Scenario, experimental: bool) -> anyhow::Result<()> {
    if scenario.digest() != genesis.scenario {
        let what =
            format!("the scenario has the digest {}, and the genesis names {}", scenario.digest(), genesis.scenario);
        return Err(Usage::new(what, "take the scenario that the genesis was made from").into());
    }
    let hash = node::install(Some(home), scenario, experimental)?;
    if hash != genesis.state_hash.to_string() {
        let why = format!(
            "it has the hash {hash}, and the genesis says {}: another version of vathost made one of them",
            genesis.state_hash
        );
        return Err(HostFault::new("make the state that the chain begins with", why).into());
    }
    Ok(home.put_genesis(genesis)?)
}

fn say_who(home: &Home, as_json: bool, output: &Output) -> anyhow::Result<Exit> {
    let settings = home.settings()?;
    let (key, peer) = (home.validator_key()?.public(), engine::peer_id(&home.network_key()?)?);
    let (name, listen) = (&settings.name, &settings.listen);
    if as_json {
        output.json(&json!({ "home": home.dir(), "name": name, "key": key, "peer": peer, "listen": listen }))?;
        return Ok(Exit::OK);
    }
    output.line(format!("home       {}", home.dir().display()))?;
    output.line(format!("validator  {name}:{key}"))?;
    output.line(format!("peer       {listen}/p2p/{peer}"))?;
    if !home.genesis_file().exists() {
        output.note("give both lines to the others; `vathost-node genesis` makes the genesis of all validators' lines");
    }
    Ok(Exit::OK)
}

/// Make the genesis of a chain, of its validators and its scenario
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost-node genesis --chain bank --scenario vats/bank --validator alice:1f… --validator bob:a0… \\
      --submitter 77… > genesis.json
  vathost-node genesis --chain toy --scenario vats/bank --validator alice:1f… --open > genesis.json")]
pub(super) struct GenesisArgs {
    /// The name of the chain
    #[arg(long, value_name = "NAME")]
    chain: String,
    /// A `vat.toml`, or the folder that holds it
    #[arg(long, value_name = "FILE")]
    scenario: PathBuf,
    /// A validator, as `init` prints it: NAME:KEY, or NAME:KEY:POWER (repeatable)
    #[arg(long, value_name = "NAME:KEY", required = true)]
    validator: Vec<String>,
    /// The public key of somebody who may submit (repeatable)
    #[arg(long, value_name = "KEY")]
    submitter: Vec<PublicKey>,
    /// Let everybody who reaches a node send messages to exported vats
    #[arg(long, conflicts_with = "submitter")]
    open: bool,
    /// Let messages name every object and promise of the state, and not the exported vats alone
    #[arg(long)]
    open_references: bool,
    /// A block ends after this many cranks
    #[arg(long, value_name = "N", default_value_t = CRANKS_PER_BLOCK)]
    cranks_per_block: u64,
    /// A block ends after this much fuel, too
    #[arg(long, value_name = "F")]
    fuel_per_block: Option<u64>,
}

/// The cranks of a block, where nobody says how many: as in `vathost run`.
pub(super) const CRANKS_PER_BLOCK: u64 = 1_000;

pub(super) fn cmd_genesis(args: &GenesisArgs, output: &Output) -> anyhow::Result<Exit> {
    if args.submitter.is_empty() && !args.open {
        let hint = "name the keys of those who may with --submitter, or let everybody with --open";
        return Err(Usage::new("nobody may submit to this chain", hint).into());
    }
    let submitters = if args.open { Submitters::Everybody } else { Submitters::Keys(args.submitter.clone()) };
    let validators = args.validator.iter().map(|it| validator(it)).collect::<Result<_, _>>()?;
    let genesis = Genesis {
        open_references: args.open_references,
        cranks_per_block: args.cranks_per_block,
        fuel_per_block: args.fuel_per_block,
        ..make_genesis(&args.chain, validators, submitters, &Scenario::read(&args.scenario)?)?
    };
    genesis.check().map_err(|why| Usage::new(why, "see `vathost-node genesis --help`"))?;
    output.line(genesis.text().trim_end())?;
    Ok(Exit::OK)
}

/// Makes the genesis of a chain that begins with this scenario.
pub(super) fn make_genesis(
    chain: &str,
    validators: Vec<Validator>,
    submitters: Submitters,
    scenario: &Scenario,
) -> anyhow::Result<Genesis> {
    let hash = node::install(None, scenario, false)?;
    let exports: BTreeMap<String, String> = scenario.exports.clone();
    Ok(Genesis {
        chain: chain.to_owned(),
        validators,
        submitters,
        exports,
        open_references: false,
        scenario: scenario.digest(),
        state_hash: hash.parse()?,
        cranks_per_block: CRANKS_PER_BLOCK,
        fuel_per_block: None,
    })
}

fn validator(text: &str) -> anyhow::Result<Validator> {
    let bad = |why: &dyn std::fmt::Display| {
        let mut what = format!("`--validator {text}`");
        // Writing to a text does not fail.
        let _ = write!(what, ": {why}");
        Usage::new(what, "it is written as NAME:KEY or NAME:KEY:POWER; `vathost-node init` prints NAME:KEY")
    };
    let mut parts = text.split(':');
    let (Some(name), Some(key)) = (parts.next(), parts.next()) else { return Err(bad(&"there is no key").into()) };
    let key = key.parse().map_err(|err| bad(&err))?;
    let power = parts.next().map_or(Ok(1), str::parse).map_err(|err| bad(&err))?;
    Ok(Validator { name: name.to_owned(), key, power })
}
