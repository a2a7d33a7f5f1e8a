//! A host that is stopped in the middle of a delivery: the crank is undone, and comes again, to the same hash.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use vathost::{
    directive::DirectiveSet,
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        scenario::Scenario,
    },
    kernel::Halt,
    model::blame::Fault,
    slog::{Detail, Event, Recorder, Slog},
    vat::Interrupter,
};

use super::lab::{Lab, patiently};

/// Stops the host where an event of this kind comes for the nth time.
#[derive(Clone, Default)]
struct Trip(Arc<Mutex<Armed>>);

#[derive(Default)]
struct Armed {
    kind: &'static str,
    left: usize,
    interrupter: Option<Interrupter>,
}

impl Recorder for Trip {
    fn record(&mut self, event: &Event<'_>) {
        let mut armed = self.0.lock().unwrap();
        if armed.left == 0 || serde_json::to_value(event).unwrap()["type"] != armed.kind {
            return;
        }
        armed.left -= 1;
        if armed.left == 0 {
            armed.interrupter.as_ref().unwrap().stop();
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const POLICY: BlockPolicy = BlockPolicy { cranks: 7, fuel: Some(3_000_000), wall_millis: None, block_time: 5 };

fn open(lab: &Lab, trip: &Trip, directives: &str, max_live: Option<usize>) -> Host {
    let mut controller = patiently(|| {
        Host::open(HostOptions {
            state: Some(lab.state()),
            slog: Slog::new(Detail::Syscalls, trip.clone()),
            code_cache: Some(lab.0.path().join("code")),
            snapshot_interval: Some(5),
            max_live,
            // A delivery that was made ahead of its turn is over when its crank comes: it cannot be interrupted.
            threads: NonZeroUsize::new(1),
            ..HostOptions::default()
        })
    });
    let mut set = DirectiveSet::default();
    set.read("test", directives.as_bytes()).unwrap();
    controller.set_directives(set, false).unwrap();
    controller
}

/// A scenario whose cranks are in SwingSet's order, so that the directives of a test meet deliveries.
fn in_one_queue(lab: &Lab, scenario: &str) -> Scenario {
    Scenario { kernel: Some(1), ..lab.scenario(scenario) }
}

/// What a run comes to that is stopped at every nth event of this kind, and begins anew each time; and how often it was.
fn run(
    scenario: &str,
    directives: &str,
    (kind, mut every): (&'static str, usize),
    max_live: Option<usize>,
) -> Result<(String, usize), Box<Halt>> {
    let lab = Lab::new();
    let mut stopped = 0;
    open(&lab, &Trip::default(), "", None).install(&in_one_queue(&lab, scenario))?;
    loop {
        let trip = Trip::default();
        let mut controller = open(&lab, &trip, directives, max_live);
        *trip.0.lock().unwrap() = Armed { kind, left: every, interrupter: Some(controller.interrupter()) };
        loop {
            let before = controller.report()?.cranks;
            let end = controller.run_block(&POLICY, &mut |_| true)?;
            if !end.closed {
                stopped += 1;
                assert_eq!(controller.report()?.cranks, before + end.cranks, "the crank is undone");
                // Where it is stopped at the same place again it would never end.
                every += 1;
                break;
            }
            if end.quiescent {
                return Ok((serde_json::to_string(&controller.report()?).unwrap(), stopped));
            }
        }
    }
}

#[test]
fn a_delivery_that_is_interrupted_comes_again_to_the_same_hash() {
    let places = [("deliver", 1), ("syscall", 1), ("syscall", 9), ("syscall-result", 4), ("crank-finish", 2)];
    // The foreman has vats that are upgraded, and is long: it is stopped now and then.
    let foreman = [("syscall", 60)];
    for (scenario, places) in [("bank", &places[..]), ("gc", &places), ("counter", &places), ("foreman", &foreman)] {
        let (expected, stopped) = run(scenario, "", ("", 0), None).unwrap();
        assert_eq!(stopped, 0);
        for place in places {
            let (found, stopped) = run(scenario, "", *place, None).unwrap();
            assert!(stopped > 1, "{scenario}: {place:?} stopped only {stopped} times");
            assert_eq!(found, expected, "{scenario}: {place:?}");
        }
    }
}

#[test]
fn so_does_a_delivery_whose_vat_was_still_being_brought_up() {
    for scenario in ["initialize", "pingpong"] {
        let (expected, _) = run(scenario, "", ("", 0), None).unwrap();
        for kind in ["crank-start", "start-replay", "heap-snapshot-load"] {
            // Each delivery brings its vat up.
            let (found, stopped) = run(scenario, "", (kind, 1), Some(0)).unwrap();
            // One of the two has no snapshot yet where it ends.
            assert!(stopped > 0 || (scenario, kind) == ("initialize", "heap-snapshot-load"), "{scenario}: {kind}");
            assert_eq!(found, expected, "{scenario}: {kind}");
        }
    }
}

#[test]
fn where_directives_had_begun_the_crank_the_block_is_lost_and_comes_again() {
    let directives = "crank-9: pause v4\ncrank-11: resume v4\n";
    let (expected, _) = run("bank", directives, ("", 0), None).unwrap();
    assert_ne!(expected, run("bank", "", ("", 0), None).unwrap().0);
    let lab = Lab::new();
    let trip = Trip::default();
    let mut controller = open(&lab, &trip, directives, None);
    controller.install(&in_one_queue(&lab, "bank")).unwrap();
    let interrupter = Some(controller.interrupter());
    *trip.0.lock().unwrap() = Armed { kind: "directive", left: 1, interrupter };
    let mut committed = controller.standing().state_hash.clone();
    let halt = loop {
        match controller.run_block(&POLICY, &mut |_| true) {
            Ok(end) => {
                assert!(!end.quiescent, "no directive was obeyed");
                committed = end.state_hash.to_string();
            }
            Err(halt) => break halt,
        }
    };
    assert!(matches!(halt.fault, Fault::Interrupted(_)), "{halt}");
    drop(controller);
    let mut controller = open(&lab, &Trip::default(), directives, None);
    assert_eq!(controller.standing().state_hash, committed);
    while !controller.run_block(&POLICY, &mut |_| true).unwrap().quiescent {}
    assert_eq!(serde_json::to_string(&controller.report().unwrap()).unwrap(), expected);
}
