//! The soak: four replicas that live differently (evicted, restarted, with other snapshots, in memory) run the same long and random
//! life of many vats, and must agree on one hash at every block.
//!
//! The driver is the guest `juggler`: he creates vats, lets them hold and touch each other, upgrades, pauses, drops and ends them, as a
//! seeded generator of random numbers says. What a replica does for itself comes from another generator.

use std::{fs, num::NonZeroUsize, path::Path};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    host::{
        controller::{Arg, BlockPolicy, Host, HostOptions, Sent},
        scenario::{Scenario, StaticVat},
    },
    inspect::verify,
    state::table::{Options, Status},
    store::Database,
};

/// How many balls the juggler has at most.
const BALLS_MAX: u64 = 12;

/// The length and the seed of a soak.
#[derive(Debug, Clone, Copy)]
pub struct Soak {
    /// Blocks that are run.
    pub blocks: u64,
    /// Cranks of a block at most.
    pub cranks_per_block: u64,
    /// The seed of the random numbers.
    pub seed: u64,
    /// Checks every invariant after each crank whose number this divides.
    pub audit: u64,
}

/// The result of a soak.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Soaked {
    /// Blocks, on each of the replicas.
    pub blocks: u64,
    /// Cranks, on each of the replicas.
    pub cranks: u64,
    /// Vats that were created.
    pub vats: u64,
    /// How many of them ended.
    pub terminated: u64,
    /// Upgrades that succeeded.
    pub upgrades: u64,
    /// Restarts of a replica.
    pub restarts: u64,
    /// The hash on which all replicas agree.
    pub state_hash: String,
    /// Rows of all tables at most, in the first half of the blocks and in the second, without one for each vat that ever was.
    pub rows: [usize; 2],
    /// Memory of the process, likewise, in bytes; 0 where the system does not tell.
    pub memory_bytes: [u64; 2],
}

/// Random numbers that are the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than this.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// One replica, and how it lives.
struct Replica<'a> {
    open: &'a dyn Fn() -> HostOptions,
    controller: Host,
    /// Restarts one time in so many blocks; 0 never.
    restarts: u64,
    /// Ends every instance after each block.
    evicts: bool,
}

impl Replica<'_> {
    /// Runs a block with these messages; the hash after it.
    fn run(
        &mut self,
        messages: &[(&'static str, Vec<Value>)],
        done: &[Sent],
        policy: &BlockPolicy,
    ) -> anyhow::Result<(Vec<Sent>, String)> {
        done.iter().try_for_each(|it| self.controller.forget(*it))?;
        let sent = messages
            .iter()
            .map(|(method, args)| self.controller.send("juggler", method, args.iter().cloned().map(Arg::from)));
        let sent = sent.collect::<Result<_, _>>()?;
        let end = self.controller.run_block(policy, &mut |_| true)?;
        if self.evicts {
            self.controller.evict_all();
        }
        Ok((sent, end.state_hash.to_string()))
    }

    /// Leaves the state, and comes back to it.
    fn restart(&mut self) -> anyhow::Result<()> {
        self.controller = Host::open(HostOptions::default())?;
        self.controller = Host::open((self.open)())?;
        Ok(())
    }
}

/// Runs it, with states in this folder. `each` receives every block.
pub fn soak(soak: &Soak, dir: &Path, each: &mut dyn FnMut(u64)) -> anyhow::Result<Soaked> {
    let code_cache = Some(dir.join("code"));
    let on_disk = |name: &str| HostOptions {
        state: Some(dir.join(name)),
        code_cache: code_cache.clone(),
        audit: Some(soak.audit).into(),
        threads: NonZeroUsize::new(1),
        ahead_fuel_min: Some(0),
        ..HostOptions::default()
    };
    let lives: [&dyn Fn() -> HostOptions; 4] = [
        &|| HostOptions { state: None, ..on_disk("plain") },
        &|| HostOptions {
            snapshot_interval: Some(7),
            max_live: Some(2),
            threads: NonZeroUsize::new(2),
            ..on_disk("crowded")
        },
        &|| HostOptions {
            snapshot_interval: Some(50),
            compare_pages: true,
            threads: NonZeroUsize::new(4),
            ..on_disk("restless")
        },
        &|| HostOptions { snapshot_interval: Some(0), ..on_disk("forgetful") },
    ];
    let mut replicas = Vec::new();
    for (open, (restarts, evicts)) in lives.into_iter().zip([(0, false), (9, false), (3, false), (0, true)]) {
        let mut controller = Host::open(open())?;
        controller.install(&scenario())?;
        replicas.push(Replica { open, controller, restarts, evicts });
    }
    let policy = BlockPolicy { cranks: soak.cranks_per_block, ..BlockPolicy::default() };
    let (mut commands, mut own) = (Random(soak.seed), Random(!soak.seed));
    let mut sums = Soaked {
        blocks: soak.blocks,
        cranks: 0,
        vats: 0,
        terminated: 0,
        upgrades: 0,
        restarts: 0,
        state_hash: String::new(),
        rows: [0; 2],
        memory_bytes: [0; 2],
    };
    let mut awaited: Vec<Sent> = Vec::new();
    for block in 0..soak.blocks {
        let messages: Vec<_> = (0..=commands.below(10)).map(|_| command(&mut commands)).collect();
        let done = if block % 8 == 0 { std::mem::take(&mut awaited) } else { Vec::new() };
        let mut hashes = Vec::new();
        for replica in &mut replicas {
            let (sent, hash) = replica.run(&messages, &done, &policy)?;
            hashes.push((sent, hash));
            if replica.restarts > 0 && own.below(replica.restarts) == 0 {
                replica.restart()?;
                sums.restarts += 1;
            }
        }
        let (sent, hash) = hashes.swap_remove(0);
        ensure!(hashes.iter().all(|it| it.1 == hash), "after block {block} the replicas have {hash} and {hashes:?}");
        sums.state_hash = hash;
        awaited.extend(sent);
        let half = usize::from(block >= soak.blocks / 2);
        sums.rows[half] = sums.rows[half].max(rows(&replicas[0].controller)?);
        sums.memory_bytes[half] = sums.memory_bytes[half].max(memory());
        each(block + 1);
    }
    count(&mut sums, &replicas[0].controller)?;
    drop(replicas);
    for name in ["crowded", "restless", "forgetful"] {
        let found = verify::verify(&Database::open_read_only(&dir.join(name))?)?;
        ensure!(found.is_ok(), "the state `{name}` is damaged: {:?}", found.first_finding());
    }
    Ok(sums)
}

fn scenario() -> Scenario {
    let wasm = include_bytes!("../../vats/juggler.wasm").to_vec();
    let juggler = StaticVat {
        name: "juggler".to_owned(),
        wasm: wasm.clone(),
        options: Options::default(),
        parameters: "#{}".to_owned(),
    };
    Scenario {
        vats: vec![juggler],
        bootstrap: Some("juggler".to_owned()),
        bundles: [("juggler".to_owned(), wasm)].into(),
        ..Scenario::default()
    }
}

/// One thing that the juggler is to do.
fn command(random: &mut Random) -> (&'static str, Vec<Value>) {
    let ball = json!(random.below(BALLS_MAX));
    match random.below(24) {
        0..=5 => {
            let on_fault = match random.below(3) {
                0 => "terminate",
                1 => "pause",
                _ => "reject",
            };
            ("create", vec![json!({ "name": "ball", "onFault": on_fault, "reapInterval": 20 })])
        }
        6..=11 => {
            let others: Vec<u64> = (0..random.below(4)).map(|_| random.below(BALLS_MAX)).collect();
            ("toss", vec![ball, json!(others)])
        }
        12..=13 => ("clear", vec![ball]),
        14 => ("trip", vec![ball]),
        15..=16 => ("upgrade", vec![ball, json!(random.below(4) > 0)]),
        17 => ("pause", vec![ball]),
        18..=19 => ("resume", vec![ball]),
        20..=22 => ("terminate", vec![json!(0)]),
        _ => ("dropBall", vec![ball]),
    }
}

/// Rows of all tables, without one for each vat that ever was.
fn rows(controller: &Host) -> anyhow::Result<usize> {
    let tables = controller.block()?.tables();
    let ended = tables.vats.iter().filter(|(_, it)| it.status.is_cleaned());
    let vats = tables.vats.len() - ended.count();
    let queued = tables.queue.len() + tables.gc.len();
    let stored = usize::try_from(tables.vatstore.all_keys())?;
    Ok(vats + queued + tables.clist.len() + tables.objects.len() + tables.promises.len() + stored)
}

fn count(sums: &mut Soaked, controller: &Host) -> anyhow::Result<()> {
    let tables = controller.block()?.tables();
    sums.cranks = tables.globals().next_crank.0;
    sums.vats = tables.vats.len() as u64;
    sums.terminated =
        tables.vats.iter().filter(|(_, it)| matches!(it.status, Status::Terminated { .. })).count() as u64;
    sums.upgrades = tables.vats.iter().map(|(_, it)| u64::from(it.incarnation)).sum();
    Ok(())
}

/// What this process has in memory, where the system tells.
fn memory() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").context("read").ok();
    let resident = pages.and_then(|it| it.split(' ').nth(1)?.parse::<u64>().ok());
    resident.unwrap_or(0) * 4096
}
