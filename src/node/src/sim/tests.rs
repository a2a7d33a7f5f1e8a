use std::{
    io::{Write as _, stderr},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    disk::POINTS,
    liar::LIES,
    plan::{Dissent, Plan},
    world::{Coverage, World},
};

/// Runs a plan, with stand-ins or with real kernels. Returns its blocks, and what happened.
fn run(plan: &Plan, is_real: bool) -> Result<(u64, Coverage), String> {
    let dir = is_real.then(|| tempfile::tempdir().unwrap());
    let run = || {
        let mut world = World::new(plan.clone(), dir.as_ref().map(|it| it.path()));
        world.run().map(|blocks| (blocks, world.coverage().clone()))
    };
    let ran = catch_unwind(AssertUnwindSafe(run));
    let ran = ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
        Err(format!("a panic: {}", text.unwrap_or_default()))
    });
    ran.map_err(|why| format!("VATHOST_SIM_SEED={}: {why}\n{plan:?}", plan.seed))
}

/// The seeds of a test: so many, or as many as are asked for, or the one that is asked for.
fn seeds(count: u64) -> Range<u64> {
    #[allow(clippy::disallowed_methods, reason = "a test is told how many seeds to run")]
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    match (number("VATHOST_SIM_SEED"), number("VATHOST_SIM_RUNS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count_asked) => 0..count_asked.unwrap_or(count),
    }
}

/// What some runs came to.
#[derive(Default)]
struct Ran {
    blocks: u64,
    coverage: Coverage,
    failed: Vec<String>,
}

/// Runs the plans of these seeds on two cores.
fn runs(seeds: Range<u64>, is_real: bool, plan: impl Fn(u64) -> Plan + Sync) -> Ran {
    let (next, ran) = (AtomicU64::new(seeds.start), Mutex::new(Ran::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let one = run(&plan(seed), is_real);
            let mut ran = ran.lock().unwrap();
            match one {
                Ok((blocks, coverage)) => {
                    ran.blocks += blocks;
                    for (what, count) in coverage {
                        *ran.coverage.entry(what).or_default() += count;
                    }
                }
                Err(why) => ran.failed.push(why),
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    ran.into_inner().unwrap()
}

fn all_hold(seeds: Range<u64>, is_real: bool, plan: impl Fn(u64) -> Plan + Sync) -> Coverage {
    let count = seeds.end - seeds.start;
    let Ran { blocks, coverage, failed } = runs(seeds, is_real, plan);
    let _ = writeln!(stderr(), "{count} runs, {blocks} blocks, {} failed\n{coverage:#?}", failed.len());
    let some: Vec<_> = failed.iter().take(3).cloned().collect();
    assert!(failed.is_empty(), "{} of {count}\n{}", failed.len(), some.join("\n"));
    coverage
}

#[test]
fn no_two_nodes_part_and_all_go_on_whatever_goes_wrong() {
    let seeds = seeds(200);
    let is_whole = seeds.end - seeds.start >= 200;
    let coverage = all_hold(seeds, false, Plan::of);
    if is_whole {
        // All that can go wrong did: at each persist and before each reply, and with each lie.
        let crashes = POINTS.iter().map(|it| format!("crash {it}"));
        let lies = LIES.iter().map(|it| format!("lie {it:?}"));
        let others = ["halt kernel-panic", "halt divergence", "halt missing-directives", "undo", "round 10 or later"];
        let wanted = crashes.chain(lies).chain(others.map(str::to_owned));
        let missing: Vec<String> = wanted.filter(|it| !coverage.contains_key(it)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        assert_eq!(run(&Plan::of(seed), false), run(&Plan::of(seed), false));
    }
}

#[test]
fn real_kernels_part_as_little() {
    all_hold(seeds(10), true, Plan::of);
}

#[test]
fn each_way_to_disagree_on_a_line_ends_in_one_chain() {
    for dissent in [Dissent::Nobody, Dissent::One, Dissent::Late, Dissent::Split] {
        let plan = |seed| Plan { nodes: 4, liar: None, is_last_late: false, dissent: Some(dissent), ..Plan::of(seed) };
        all_hold(0..10, false, plan);
    }
}

#[test]
fn a_driver_that_answers_before_a_value_is_durable_is_found() {
    let plan = |seed| Plan { is_forgetful: true, crashes: 12, ..Plan::of(seed) };
    let failed = runs(0..40, false, plan).failed;
    let found = failed.iter().filter(|it| it.contains("is not among those that were persisted")).count();
    assert!(found > 0, "{failed:?}");
}
