//! A node: its home is opened, its own records are executed, the engine begins, and blocks follow until somebody stops it or it halts.
//!
//! Invariants: one process runs on a home at a time; after a halt nothing of the block is committed, the reason is told with what operators
//! can do, and the process ends with the exit code that `vathost` has for it.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::time::Instant;
use vathost::{
    Epitaph, Host, HostOptions, Scenario,
    host::{
        scenario::read_module,
        staged::{BlockInput, StagedHost},
    },
    lab::probe::{Life, PlantedBug, PlantedBugs},
    model::blame::HostFault,
    slog::{Detail, Slog, Writer},
};

use crate::{
    block::Block,
    desk::{KernelDesk, NodeDriver},
    driver::{self, Driver, Halted},
    engine::{self, EngineLoop},
    genesis::Genesis,
    home::{Home, Settings},
    http::{self, NodeMetrics, Surface},
    keys::Address,
    mortal::{Death, MortalLog, MortalStore},
    report::{HaltReport, NodeEvent, NodeLog},
    store::{SqliteStore, Store},
};

/// A log that also counts what it tells.
struct CountedLog {
    log: Arc<dyn NodeLog>,
    metrics: Arc<NodeMetrics>,
}

impl NodeLog for CountedLog {
    fn say(&self, event: &NodeEvent) {
        match event {
            NodeEvent::Block { result, took } => self.metrics.block(*took, result),
            NodeEvent::Objection { .. } => self.metrics.objected(),
            NodeEvent::Halted(report) => self.metrics.halted(report.exit_code),
            NodeEvent::Opened { .. } | NodeEvent::Listening { .. } => (),
        }
        self.log.say(event);
    }

    fn answered(&self, step: &str) {
        self.log.answered(step);
    }
}

/// The way in which a node came to its end.
#[derive(Debug)]
pub enum NodeEnd {
    /// Somebody stopped it, between two blocks.
    Stopped,
    /// The node halted, and has told why.
    Halted(HaltReport),
}

/// Opens the host of a home, with the operators' directives in force.
pub fn open_host(home: &Home, settings: &Settings, code_cache: Option<&Path>) -> Result<StagedHost, Halted> {
    let plants = settings.plants.iter().map(|it| it.parse()).collect::<Result<Vec<PlantedBug>, _>>();
    let plants = plants.map_err(|err| HostFault::new("read `plants` in node.toml", err))?;
    let bundles = settings.bundles.iter().map(|it| {
        let path = home.dir().join(it);
        read_module(&path).map_err(|err| HostFault::new("read `bundles` in node.toml", err))
    });
    let options = HostOptions {
        state: Some(home.state()),
        slog: Slog::new(Detail::Deliveries, Writer::append(&home.recording())?),
        code_cache: code_cache.map(Path::to_owned),
        directives: home.directives()?,
        bundles: bundles.collect::<Result<_, _>>()?,
        probe: if plants.is_empty() { None } else { PlantedBugs::probe(&plants, Life::Dear) },
        ..HostOptions::default()
    };
    Ok(StagedHost::new(Host::open(options)?, true)?)
}

/// Opens the driver of a home.
pub fn open_driver(
    home: &Home,
    genesis: &Arc<Genesis>,
    code_cache: Option<&Path>,
    death: Option<Death>,
) -> Result<NodeDriver, Halted> {
    let settings = home.settings()?;
    let me = own_address(home, genesis)?;
    let host = open_host(home, &settings, code_cache)?;
    let store = MortalStore::new(SqliteStore::open(&home.records())?, death);
    Driver::new(host, store, genesis.clone(), me)
}

fn own_address(home: &Home, genesis: &Genesis) -> Result<Address, HostFault> {
    let address = home.validator_key()?.address();
    if genesis.validator(&address).is_none() {
        let why = format!("the key of {} is none of the validators' in its genesis.json", home.dir().display());
        return Err(HostFault::new("run as a validator", why));
    }
    Ok(address)
}

/// Returns the inputs with which a block runs that follows the last executed one of these records.
pub fn inputs_of(block: &Block, store: &impl Store, genesis: &Genesis) -> Result<Vec<BlockInput>, Halted> {
    let told = match block.height {
        0 | 1 => Vec::new(),
        height => store.executed(height - 1)?.map(|it| driver::told(&it)).unwrap_or_default(),
    };
    driver::inputs_of(block, genesis, told)
}

/// Makes the state that a chain begins with, in this home or in memory. Returns its hash.
pub fn install(home: Option<&Home>, scenario: &Scenario, experimental: bool) -> Result<String, Halted> {
    let state = home.map(Home::state);
    let mut host = Host::open(HostOptions { state, experimental, ..HostOptions::default() })?;
    if host.is_new() {
        host.install(scenario).map_err(Halted::Host)?;
    }
    Ok(host.standing().state_hash.clone())
}

/// The options of a run, beside what the home says.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The folder for compiled code, if it is kept.
    pub code_cache: Option<PathBuf>,
    /// The step after which the node dies, in a test.
    pub death: Option<Death>,
}

/// Runs the node of a home until `stop` is done, or until it halts.
pub async fn run(
    home: Home,
    log: Arc<dyn NodeLog>,
    options: RunOptions,
    stop: impl Future<Output = ()>,
) -> Result<NodeEnd, HostFault> {
    let _lock = home.lock()?;
    let settings = home.settings()?;
    let genesis = Arc::new(home.genesis()?);
    let open = {
        let (home, genesis, options) = (home.clone(), genesis.clone(), options.clone());
        move || open_driver(&home, &genesis, options.code_cache.as_deref(), options.death)
    };
    let log = match options.death {
        Some(death) => Arc::new(MortalLog::new(log, death)),
        None => log,
    };
    let (desk, thread) = match KernelDesk::begin(open).await {
        Ok(begun) => begun,
        Err(halted) => return Ok(NodeEnd::Halted(tell(log.as_ref(), plain_report(&halted, &home)))),
    };
    let metrics = Arc::new(NodeMetrics::default());
    let log = Arc::new(CountedLog { log, metrics: metrics.clone() });
    let node = Node { home, settings, genesis, desk, log, metrics };
    let end = node.run(stop).await?;
    drop(node);
    // The thread ends when nobody can ask it any more; what it commits is durable at each commit.
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    Ok(end)
}

/// A node whose home is open.
struct Node {
    home: Home,
    settings: Settings,
    genesis: Arc<Genesis>,
    desk: KernelDesk,
    log: Arc<dyn NodeLog>,
    metrics: Arc<NodeMetrics>,
}

impl Node {
    async fn run(&self, stop: impl Future<Output = ()>) -> Result<NodeEnd, HostFault> {
        let gone = |err| HostFault::new("ask the kernel's thread", err);
        let standing = self.desk.ask(|driver| driver.standing().clone()).await.map_err(gone)?;
        let state_hash = standing.outcome.state_hash.to_string();
        self.log.say(&NodeEvent::Opened { height: standing.height, state_hash });
        loop {
            let begun = Instant::now();
            match self.desk.ask(|driver| driver.catch_up_by_one()).await.map_err(gone)? {
                Ok(Some(result)) => {
                    self.log.say(&NodeEvent::Block { result: Box::new(result), took: begun.elapsed() });
                }
                Ok(None) => break,
                Err(halted) => return Ok(NodeEnd::Halted(self.halt(halted).await)),
            }
        }
        let engine = engine::begin(&self.home, &self.settings, &self.genesis).await?;
        let idle_wait = Duration::from_millis(self.settings.timing.idle_ms);
        let key = self.home.validator_key()?;
        let (network, metrics) = (engine.network_requests(), self.metrics.clone());
        let (mut events, gossip) =
            EngineLoop::new(engine, self.desk.clone(), self.genesis.clone(), key, self.log.clone(), idle_wait);
        let (genesis, desk) = (self.genesis.clone(), self.desk.clone());
        let surface = Surface::new(&self.settings, genesis, desk, gossip, network, metrics);
        let server = http::begin(&self.settings.http, surface).await?;
        self.log.say(&NodeEvent::Listening { http: self.settings.http.clone() });
        let halted = tokio::select! {
            halted = events.run() => Some(halted),
            () = stop => None,
        };
        let end = match halted {
            Some(halted) => {
                let report = self.halt(halted).await;
                events.linger(Duration::from_millis(self.settings.timing.linger_ms)).await;
                NodeEnd::Halted(report)
            }
            None => NodeEnd::Stopped,
        };
        server.abort();
        events.end().await;
        Ok(end)
    }

    /// Makes the report of a halt, tells it, and has the surface show it.
    async fn halt(&self, halted: Halted) -> HaltReport {
        let halted = Arc::new(halted);
        let (home, reason) = (self.home.clone(), halted.clone());
        let report = self.desk.ask(move |driver| {
            let standing = driver.standing();
            let state_hash = standing.outcome.state_hash.to_string();
            report(driver.application().host(), standing.height, &state_hash, &reason, &home)
        });
        let report = report.await;
        let report = report.unwrap_or_else(|_| plain_report(&halted, &self.home));
        self.desk.note_halt(report.clone());
        tell(self.log.as_ref(), report)
    }
}

fn tell(log: &dyn NodeLog, report: HaltReport) -> HaltReport {
    log.say(&NodeEvent::Halted(report.clone()));
    report
}

fn plain_report(halted: &Halted, home: &Home) -> HaltReport {
    let mut text = halted.to_string();
    if halted.kind() == "host-fault" {
        let dir = home.dir().display();
        text += &format!(
            "\n  go on:       where the state or the records are damaged, at another validator `vathost-node export --home … FILE`,\n\
             \x20              and here `vathost-node import --home {dir} FILE`: the keys and consensus.wal of this home stay\n"
        );
    }
    let json = json!({ "kind": halted.kind(), "why": text, "exitCode": halted.exit_code() });
    HaltReport { exit_code: halted.exit_code(), text, json }
}

/// Makes the report of a halt. After a kernel panic it holds the lines that operators can agree on.
pub(crate) fn report(host: &Host, height: u64, state_hash: &str, halted: &Halted, home: &Home) -> HaltReport {
    // What is on disk is for `slog last`.
    let _ = host.slog().flush();
    let mut report = plain_report(halted, home);
    report.json["height"] = height.into();
    report.json["stateHash"] = state_hash.into();
    if let (Halted::Host(_), Some(epitaph)) = (halted, host.epitaph()) {
        report.text = panic_text(epitaph, home);
        report.json["epitaph"] = serde_json::to_value(epitaph).unwrap_or_default();
        report.json["waysOn"] = ways_on(epitaph).into();
    }
    report
}

/// Returns the directive lines that might take all validators past a kernel panic, each by itself.
fn ways_on(epitaph: &Epitaph) -> Vec<String> {
    epitaph.ways_out().into_iter().chain(epitaph.other_kernels()).collect()
}

fn panic_text(epitaph: &Epitaph, home: &Home) -> String {
    let dir = home.dir().display();
    // The inputs of the block are not in the state, since nothing of it is committed: they are in the copy.
    let mut text = epitaph.message(Some("COPY"));
    text += &format!("  COPY:        vathost-node fork --home {dir} COPY\n");
    text += &format!("  before it:   vathost slog last {}\n", home.recording().display());
    text += "  go on:       agree with the other operators on one line, as one of\n";
    for line in ways_on(epitaph) {
        text += &format!("                 {line}\n");
    }
    text += &format!(
        "               put it into {} at every validator, and start again\n",
        home.directives_file().display()
    );
    text
}
