//! The engine that a debugger needs comes to the same as the one that vats run on.

use std::path::Path;

use tempfile::TempDir;
use vathost::{
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        scenario::Scenario,
    },
    kernel,
    slog::Slog,
    state::block::{Block, heap},
    vat::Warehouse,
};

const SCENARIOS: [&str; 5] = ["bank", "counter", "globals", "initialize", "forger"];
const POLICY: BlockPolicy = BlockPolicy { cranks: 10, fuel: None, wall_millis: None, block_time: 5 };

/// A state with a scenario in it, of which so many blocks have run.
struct Lab(TempDir);

impl Lab {
    fn new(scenario: &str) -> Lab {
        let lab = Lab(tempfile::tempdir().unwrap());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats").join(scenario);
        lab.open().install(&Scenario::read(&path).unwrap()).unwrap();
        lab
    }

    fn cache(&self) -> std::path::PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache/vathost")
    }

    fn open(&self) -> Host {
        let state = Some(self.0.path().join("state"));
        // Snapshots, so that each engine begins with what the other left.
        let open =
            HostOptions { state, code_cache: Some(self.cache()), snapshot_interval: Some(3), ..HostOptions::default() };
        Host::open(open).unwrap()
    }

    /// Runs a block as the host does. Whether nothing is left.
    fn run(&self) -> bool {
        self.open().run_block(&POLICY, &mut |_| true).unwrap().quiescent
    }

    /// Runs a block on the engine for debuggers.
    fn run_debugged(&self) -> bool {
        let mut block = Block::open(&self.0.path().join("state"), Slog::default()).unwrap();
        heap::set_interval(&mut block, Some(3));
        let mut workers = Warehouse::for_debugger(Some(&self.cache())).unwrap();
        let height = block.tables().globals().height.next();
        (block, _) = kernel::outside(block, |crank| crank.begin_block(height, height.0 * POLICY.block_time)).unwrap();
        let mut quiescent = false;
        for _ in 0..POLICY.cranks {
            let (next, ran) = kernel::crank(block, &mut workers).unwrap();
            block = next;
            quiescent = ran.is_none();
            if quiescent {
                break;
            }
        }
        let quiescent = quiescent || kernel::is_quiescent(&block);
        block.commit(false).unwrap();
        quiescent
    }

    /// Everything that there is to know, fuel included.
    fn report(&self) -> String {
        serde_json::to_string_pretty(&self.open().report().unwrap()).unwrap()
    }
}

#[test]
fn whole_scenarios_come_to_the_same_hash_at_the_same_fuel() {
    for scenario in SCENARIOS {
        let (plain, debugged) = (Lab::new(scenario), Lab::new(scenario));
        while !plain.run() {}
        while !debugged.run_debugged() {}
        assert!(debugged.report() == plain.report(), "{scenario}\n{}\n{}", debugged.report(), plain.report());
    }
}

#[test]
fn each_engine_goes_on_from_the_snapshots_and_transcripts_of_the_other() {
    let (plain, mixed) = (Lab::new("bank"), Lab::new("bank"));
    while !plain.run() {}
    let mut blocks = 1;
    while !if blocks % 2 == 0 { mixed.run() } else { mixed.run_debugged() } {
        blocks += 1;
    }
    assert!(blocks > 3, "{blocks}");
    assert_eq!(mixed.report(), plain.report());
}
