//! The siege: four honest vats do their work while twelve hostile ones attack the host; then the same work is done without those.
//!
//! ```text
//!   ping ─▶ pong            `play`: round trips                  one question after the other in each lane,
//!   adder ─▶ ledger         `addFrom`, `increment`: books        so that no answer depends on a race
//! ```
//!
//! All that the honest vats do and keep must be equal in both runs: their answers, the contents of their vatstores after each answer, and
//! their transcripts. Only the time of an answer, in cranks, may differ, within a bound.
//!
//! Invariant: nothing that is compared, and no latency, depends on a clock; only the end of a siege by minutes does.

mod attackers;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use serde_json::json;

use self::attackers::{Attacker, attackers, warden};
use super::machine;
use crate::{
    host::{
        controller::{Arg, BlockPolicy, Host, HostOptions, Outcome, Sent},
        options::Audit,
        scenario::{Scenario, StaticVat},
    },
    model::{
        id::{DeliveryNum, KRef, VRef, VatId, hex},
        value::StoreKey,
    },
    state::table::{DeviceRow, Options, Status, Tables},
};

/// The name of the vat that creates the hostile ones.
const WARDEN: &str = "warden";

/// Turns that each attacker may have for each turn of an honest vat: with a fair queue, one. A question that takes ten cranks in peace takes
/// at most ten more for each attacker.
pub const LATENCY_PER_ATTACKER: f64 = 1.0;

/// Rows that come and go, and are no growth.
const ROWS_NOISE: u64 = 1_000;
/// Bytes of memory that come and go: buffers of the commit, instances.
const MEMORY_NOISE: u64 = 64 << 20;
/// Bytes of the database's log, which grows at once and is used again.
const DISK_NOISE: u64 = 16 << 20;

/// The condition that ends a siege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so many cranks.
    Cranks(u64),
    /// After so many minutes, at the end of a block.
    Minutes(u64),
}

/// A siege to be laid.
#[derive(Clone, Debug)]
pub struct Siege {
    /// The condition that ends the siege.
    pub until: Until,
    /// Messages of a burst.
    pub burst: u32,
    /// The names of the attackers; all twelve if none is named.
    pub attackers: Vec<String>,
    /// Cranks of a block.
    pub cranks_per_block: u64,
}

impl Siege {
    fn attackers(&self) -> Vec<Attacker> {
        let mut attackers = attackers(self.burst);
        attackers.retain(|it| self.attackers.is_empty() || self.attackers.iter().any(|name| name == it.name));
        attackers
    }
}

/// Lists the names of all attackers.
pub fn attacker_names() -> Vec<&'static str> {
    attackers(1).iter().map(|it| it.name).collect()
}

/// The time that the questions of a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Cranks from the question to the answer, on average.
    pub cranks: f64,
    /// The most cranks from a question to its answer.
    pub most_cranks: u64,
    /// Units of fuel from the question to the answer, on average.
    pub fuel: f64,
}

/// The outcome of a siege. Samples are taken after a tenth of it, at half, and at the end.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Besieged {
    /// Questions that the honest vats answered, in both runs.
    pub answers: u64,
    /// Cranks of the siege.
    pub cranks: u64,
    /// Deliveries of the siege, and how many of them were to honest vats.
    pub deliveries: [u64; 2],
    /// Hostile vats that ended, and were replaced.
    pub fallen: u64,
    /// Digests of the honest vats' answers, vatstores and transcripts, in the siege and in peace.
    pub digests: [String; 2],
    /// The first difference, if the digests differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
    /// The latency in the siege and in peace.
    pub latency: [Latency; 2],
    /// The mean latency, in cranks, as a multiple of that in peace.
    pub slower: f64,
    /// The bound for `slower`, with one more block, since answers are seen only at the end of one.
    pub slower_at_most: f64,
    /// Samples of the rows of the tables that guests can fill.
    pub rows: [u64; 3],
    /// Samples of the resident memory of the process, in bytes.
    pub memory: [u64; 3],
    /// Samples of the size of the state's folder, in bytes.
    pub disk: [u64; 3],
}

impl Besieged {
    /// Returns whether the honest vats behaved as in peace, except for the time that they took.
    pub fn equal(&self) -> bool {
        self.answers > 0 && self.digests[0] == self.digests[1]
    }

    /// Returns whether the honest vats had their share of the host.
    pub fn in_time(&self) -> bool {
        self.slower <= self.slower_at_most
    }

    /// Returns whether rows and memory at the end were at most one and a half times those at half, noise apart. The disk keeps all history
    /// and may grow, but in the second half at most one and a half times as much as in the first.
    pub fn flat(&self) -> bool {
        let level = |[_, half, end]: [u64; 3], noise: u64| end <= half + half / 2 + noise;
        let [tenth, half, end] = self.disk;
        // The first sample and the second are four tenths of the siege apart, and a half is five.
        let first = (half.saturating_sub(tenth)) / 4 * 5;
        level(self.rows, ROWS_NOISE)
            && level(self.memory, MEMORY_NOISE)
            && end.saturating_sub(half) <= first + first / 2 + DISK_NOISE
    }
}

/// A sequence of questions, each asked after the answer to the one before.
struct Lane {
    name: &'static str,
    vats: [VatId; 2],
    asked: u64,
    waiting: Option<(Sent, u64, u64)>,
    /// The answers, each with the vatstores at that time and the number of deliveries that each vat had had.
    answers: Vec<(String, [u64; 2])>,
}

/// One of the two runs.
struct SiegeRun {
    controller: Host,
    dir: PathBuf,
    policy: BlockPolicy,
    lanes: [Lane; 2],
    cranks: u64,
    fuel: u64,
    deliveries: [u64; 2],
    waited: Vec<(u64, u64)>,
}

const HONEST: [(&str, &[u8]); 4] = [
    ("ping", include_bytes!("../../../vats/ping.wasm")),
    ("pong", include_bytes!("../../../vats/pong.wasm")),
    ("adder", include_bytes!("../../../vats/counter.wasm")),
    ("ledger", include_bytes!("../../../vats/counter.wasm")),
];

/// Rounds that one question to `ping` plays.
const ROUNDS: u64 = 3;

fn scenario(hostile: Option<&Siege>) -> anyhow::Result<Scenario> {
    let honest = HONEST.iter().map(|(name, wasm)| StaticVat {
        name: (*name).to_owned(),
        wasm: wasm.to_vec(),
        options: Options::default(),
        parameters: "#{}".to_owned(),
    });
    let mut scenario = Scenario { vats: honest.collect(), ..Scenario::default() };
    if let Some(siege) = hostile {
        let attackers = siege.attackers();
        scenario.vats.push(warden(&attackers)?);
        scenario.bootstrap = Some(WARDEN.to_owned());
        scenario.devices = vec![DeviceRow::Timer];
        for it in &attackers {
            let wasm = wat::parse_str(it.wat()).with_context(|| format!("assemble {}", it.name))?;
            scenario.bundles.insert(it.name.to_owned(), wasm);
        }
        let idle = "(module (memory (export \"memory\") 0) (func (export \"vat_deliver\") (param i32)))";
        scenario.bundles.insert("idle".to_owned(), wat::parse_str(idle)?);
    }
    Ok(scenario)
}

impl SiegeRun {
    fn new(hostile: Option<&Siege>, cranks_per_block: u64, dir: PathBuf) -> anyhow::Result<SiegeRun> {
        let open = HostOptions { state: Some(dir.clone()), audit: Audit::Never, ..HostOptions::default() };
        let mut controller = Host::open(open)?;
        controller.install(&scenario(hostile)?)?;
        let lane = |name, first| Lane {
            name,
            vats: [VatId(first), VatId(first + 1)],
            asked: 0,
            waiting: None,
            answers: Vec::new(),
        };
        Ok(SiegeRun {
            controller,
            dir,
            policy: BlockPolicy { cranks: cranks_per_block, ..BlockPolicy::default() },
            lanes: [lane("ping", 1), lane("ledger", 3)],
            cranks: 0,
            fuel: 0,
            deliveries: [0; 2],
            waited: Vec::new(),
        })
    }

    /// The root of a vat.
    fn root(&self, vat: VatId) -> anyhow::Result<KRef> {
        let entry = self.controller.block()?.tables().clist.get(&(vat, VRef::ROOT)).copied();
        Ok(entry.with_context(|| format!("{vat} has no root"))?.kref)
    }

    /// Asks the next question of a lane if it waits for no answer and was asked fewer than `most`.
    fn ask(&mut self, at: usize, most: u64) -> anyhow::Result<()> {
        let Lane { vats: [_, second], asked, waiting, .. } = self.lanes[at];
        if waiting.is_some() || asked >= most {
            return Ok(());
        }
        let sent = match (at, asked % 2) {
            (0, _) => {
                let other = self.root(second)?;
                self.controller.send("ping", "play", [Arg::held(other), Arg::from(ROUNDS)])?
            }
            (_, 0) => self.controller.send("ledger", "increment", [Arg::from(format_number(asked))])?,
            _ => {
                let other = self.root(second)?;
                self.controller.send("adder", "addFrom", [Arg::held(other)])?
            }
        };
        let lane = &mut self.lanes[at];
        (lane.asked, lane.waiting) = (asked + 1, Some((sent, self.cranks, self.fuel)));
        Ok(())
    }

    /// Runs a block, and takes the answers.
    fn block(&mut self) -> anyhow::Result<()> {
        let mut deliveries = [0; 2];
        let end = self.controller.run_block(&self.policy, &mut |ran| {
            if let Some((vat, _)) = ran.delivery {
                deliveries[0] += 1;
                deliveries[1] += u64::from(vat <= VatId(4));
            }
            true
        })?;
        for (sum, more) in self.deliveries.iter_mut().zip(deliveries) {
            *sum += more;
        }
        (self.cranks, self.fuel) = (self.cranks + end.cranks, self.fuel + end.fuel);
        for lane in &mut self.lanes {
            let Some((sent, cranks, fuel)) = lane.waiting else { continue };
            let answer = match self.controller.outcome(sent)? {
                Outcome::Pending | Outcome::Expired(_) => continue,
                Outcome::Fulfilled(data) => format!("fulfilled {}", String::from_utf8_lossy(&data.body)),
                Outcome::Rejected(data) => format!("rejected {}", String::from_utf8_lossy(&data.body)),
            };
            lane.waiting = None;
            self.controller.forget(sent)?;
            self.waited.push((self.cranks - cranks, self.fuel - fuel));
            let tables = self.controller.block()?.tables();
            let of = |vat: VatId| tables.tallies.get(&vat).map_or(0, |it| it.deliveries);
            let kept: String = lane.vats.iter().map(|it| kept(tables, *it)).collect();
            lane.answers.push((format!("{}: {answer}{kept}", lane.name), lane.vats.map(of)));
        }
        Ok(())
    }

    fn latency(&self) -> Latency {
        let count = self.waited.len().max(1) as f64;
        Latency {
            cranks: self.waited.iter().map(|it| it.0).sum::<u64>() as f64 / count,
            most_cranks: self.waited.iter().map(|it| it.0).max().unwrap_or(0),
            fuel: self.waited.iter().map(|it| it.1 as f64).sum::<f64>() / count,
        }
    }

    /// Samples rows, except the one that each ended vat leaves, memory, and disk.
    fn sample(&self) -> anyhow::Result<[u64; 3]> {
        let tables = self.controller.block()?.tables();
        let alive = tables.vats.iter().filter(|(_, it)| !matches!(it.status, Status::Terminated { .. }));
        let rows = alive.count()
            + tables.clist.len()
            + tables.objects.len()
            + tables.promises.len()
            + tables.settlements.len()
            + tables.subscribers.len()
            + tables.waiting.len()
            + tables.queue.len()
            + tables.gc.len()
            + tables.vatstore.len()
            + tables.wakeups.len()
            + tables.meters.len();
        Ok([rows as u64, machine::resident(), machine::size_of(&self.dir)])
    }

    /// Returns the honest vats' answers with their vatstores, then their deliveries up to the last answer, as texts.
    fn told(&self) -> anyhow::Result<Vec<String>> {
        let block = self.controller.block()?;
        let mut told = Vec::new();
        for lane in &self.lanes {
            told.extend(lane.answers.iter().map(|it| it.0.clone()));
            let heard = lane.answers.last().map_or([0; 2], |it| it.1);
            for (vat, heard) in lane.vats.iter().zip(heard) {
                for entry in block.transcript(*vat, DeliveryNum(0))? {
                    let entry = entry?;
                    if entry.number.0 >= heard {
                        break;
                    }
                    told.push(format!(
                        "{vat} {}: {:?} {:?} {:?}",
                        entry.number, entry.delivery, entry.syscalls, entry.end
                    ));
                }
            }
        }
        Ok(told)
    }

    fn fallen(&self) -> anyhow::Result<u64> {
        let vats = &self.controller.block()?.tables().vats;
        let fallen = vats.iter().filter(|(_, it)| it.name != "idle" && matches!(it.status, Status::Terminated { .. }));
        Ok(fallen.count() as u64)
    }
}

fn format_number(number: u64) -> serde_json::Value {
    json!(number % 7 + 1)
}

/// Writes the rows of a vat's vatstore as text.
fn kept(tables: &Tables, vat: VatId) -> String {
    let mut text = String::new();
    for ((of, key), value) in tables.vatstore.range((vat, StoreKey::default())..) {
        if *of != vat {
            break;
        }
        let _ = write!(text, "; {vat} {} = {}", hex(key), hex(value));
    }
    text
}

/// Lays siege to a state in this folder, then runs the same questions in peace, on another state there. `each` is called after each block
/// of the siege with the cranks so far.
#[allow(clippy::disallowed_methods, reason = "a siege by minutes reads the clock")]
pub fn siege(siege: &Siege, dir: &Path, each: &mut dyn FnMut(u64)) -> anyhow::Result<Besieged> {
    let attackers = siege.attackers().len();
    let mut besieged = SiegeRun::new(Some(siege), siege.cranks_per_block, dir.join("siege"))?;
    let begun = Instant::now();
    let share = |run: &SiegeRun| match siege.until {
        Until::Cranks(cranks) => run.cranks as f64 / cranks.max(1) as f64,
        Until::Minutes(minutes) => {
            begun.elapsed().as_secs_f64() / Duration::from_secs(60 * minutes.max(1)).as_secs_f64()
        }
    };
    let mut samples: Vec<[u64; 3]> = Vec::new();
    loop {
        for lane in 0..2 {
            besieged.ask(lane, u64::MAX)?;
        }
        besieged.block()?;
        each(besieged.cranks);
        let share = share(&besieged);
        if samples.len() < 2 && share >= [0.1, 0.5][samples.len()] {
            samples.push(besieged.sample()?);
        }
        if share >= 1.0 {
            break;
        }
    }
    samples.resize(2, besieged.sample()?);
    samples.push(besieged.sample()?);
    let of = |what: usize| [samples[0][what], samples[1][what], samples[2][what]];
    let peace = peace(&besieged, dir.join("peace"), siege)?;
    let (told, expected) = (besieged.told()?, peace.told()?);
    let latency = [besieged.latency(), peace.latency()];
    Ok(Besieged {
        answers: besieged.waited.len() as u64,
        cranks: besieged.cranks,
        deliveries: besieged.deliveries,
        fallen: besieged.fallen()?,
        digests: [digest(&told), digest(&expected)],
        differs: parting(&told, &expected),
        latency,
        slower: if latency[1].cranks > 0.0 { latency[0].cranks / latency[1].cranks } else { 0.0 },
        // An answer is seen at the end of its block.
        slower_at_most: 1.0
            + LATENCY_PER_ATTACKER * attackers as f64
            + siege.cranks_per_block as f64 / latency[1].cranks.max(1.0),
        rows: of(0),
        memory: of(1),
        disk: of(2),
    })
}

/// Runs the same questions without attackers.
fn peace(besieged: &SiegeRun, dir: PathBuf, siege: &Siege) -> anyhow::Result<SiegeRun> {
    let mut run = SiegeRun::new(None, siege.cranks_per_block, dir)?;
    let answered: Vec<u64> = besieged.lanes.iter().map(|it| it.answers.len() as u64).collect();
    while run.lanes.iter().zip(&answered).any(|(lane, most)| (lane.answers.len() as u64) < *most) {
        for (lane, most) in answered.iter().enumerate() {
            run.ask(lane, *most)?;
        }
        let before = run.cranks;
        run.block()?;
        ensure!(run.cranks > before, "the honest vats do not answer, although nobody disturbs them");
    }
    if run.waited.len() as u64 != answered.iter().sum::<u64>() {
        bail!("the honest vats answered {} questions of {answered:?}", run.waited.len());
    }
    Ok(run)
}

fn digest(told: &[String]) -> String {
    let mut hasher = blake3::Hasher::new();
    for it in told {
        hasher.update(&(it.len() as u64).to_le_bytes());
        hasher.update(it.as_bytes());
    }
    hex(hasher.finalize().as_bytes())
}

fn parting(told: &[String], expected: &[String]) -> Option<String> {
    let longest = told.len().max(expected.len());
    let at = (0..longest).find(|at| told.get(*at) != expected.get(*at))?;
    let text = |of: &[String]| of.get(at).cloned().unwrap_or_else(|| "nothing".to_owned());
    Some(format!("besieged: {}; in peace: {}", text(told), text(expected)))
}
