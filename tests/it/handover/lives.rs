//! Whole lives: each scenario there is, with its commits handed over and without.

use std::fs;

use tempfile::TempDir;
use vathost::{Host, HostOptions, Scenario, state::retention::Keep};

use super::{Gate, open, options, policy};

/// What a life is given.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    cranks: u64,
    max_live: Option<usize>,
    memory_max: Option<u64>,
    snapshot_interval: Option<u64>,
    keep: Keep,
    /// The host is closed and opened again after so many blocks.
    restarts_after: Option<u64>,
}

impl Way {
    fn over(self, options: HostOptions) -> HostOptions {
        let Way { max_live, memory_max, snapshot_interval, keep, .. } = self;
        HostOptions { max_live, memory_max, snapshot_interval, keep, ..options }
    }

    /// Leads a life; the hash of each block, and at the end the report.
    fn live(
        self,
        scenario: &Scenario,
        options: HostOptions,
        by: impl Fn(&mut Host, u64, &mut Vec<String>),
    ) -> Vec<String> {
        let (options, mut seen) = (self.over(options), Vec::new());
        let mut host = open(&options);
        host.install(scenario).unwrap();
        let most = usize::try_from((400 / self.cranks).max(1)).unwrap();
        while seen.len() < most && !host.is_quiescent().unwrap() {
            let left = (most - seen.len()) as u64;
            by(&mut host, self.restarts_after.map_or(left, |it| it.min(left)), &mut seen);
            if self.restarts_after.is_some() {
                drop(host);
                host = open(&options);
            }
        }
        seen.push(serde_json::to_string(&host.report().unwrap()).unwrap());
        seen
    }

    fn in_turn(self, scenario: &Scenario) -> Vec<String> {
        let dir = TempDir::new().unwrap();
        self.live(scenario, options(dir.path()), |host, _, seen| {
            seen.push(host.run_block(&policy(self.cranks), &mut |_| true).unwrap().state_hash.to_string());
        })
    }

    fn handed_over(self, scenario: &Scenario, gate: &Gate) -> Vec<String> {
        let dir = TempDir::new().unwrap();
        self.live(scenario, gate.options(dir.path()), |host, most, seen| {
            host.run_blocks(&policy(self.cranks), most, &mut |_| true, &mut |end| {
                seen.push(end.state_hash.to_string());
                true
            })
            .unwrap();
        })
    }
}

#[test]
fn every_scenario_lives_alike_whoever_writes_its_commits() {
    let ways = [
        Way { cranks: 20, ..Way::default() },
        Way { cranks: 15, max_live: Some(1), snapshot_interval: Some(2), keep: Keep::Needed, ..Way::default() },
        Way { cranks: 40, memory_max: Some(1), ..Way::default() },
        Way { cranks: 10, max_live: Some(1), restarts_after: Some(2), snapshot_interval: Some(3), ..Way::default() },
    ];
    let mut folders: Vec<_> =
        fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/vats")).unwrap().map(|it| it.unwrap().path()).collect();
    // What the hog does takes all fuel, and would take a minute here.
    folders.retain(|it| it.join("vat.toml").exists() && !it.ends_with("hog"));
    folders.sort();
    assert!(folders.len() > 12);
    let gate = Gate::default();
    for folder in &folders {
        let scenario = Scenario::read(folder).unwrap();
        for way in ways {
            let what = format!("{} {way:?}", folder.display());
            assert_eq!(way.handed_over(&scenario, &gate), way.in_turn(&scenario), "{what}");
        }
    }
    assert!(gate.asked() > 200, "only {} commits were handed over", gate.asked());
}
