//! Each class of outcome, by an experiment that comes to it.

use vathost::{
    lab::experiment::{Answer, Class, Isolation, Limits, Looks, View, Watcher, When},
    model::id::VatId,
};

use super::lab::{class, faults, on, on_text, run, runner};

#[test]
fn not_reached_where_no_place_comes() {
    for line in ["v99/delivery-1: skip", "crank-5000: skip", "v2/delivery-3/syscall-99: error illegal"] {
        let (class, outcome) = class("bank", line);
        assert_eq!((class, outcome.done.len()), (Class::NotReached, 0), "{line}");
    }
}

#[test]
fn no_effect_where_nothing_can_be_done_and_the_reason_is_told() {
    for (line, why) in [
        ("v2/delivery-0: skip", "startVat cannot be skipped: terminate the vat instead"),
        ("crank-5000: skip\ncrank-36: duplicate", "only a message can come twice"),
        ("v2/delivery-1: trap after 1000000000 fuel", "the delivery used "),
        ("v2/delivery-1: flip v77 memory bit random", "v77 is not alive"),
        ("v2/delivery-1: flip v2 memory bit 99999999999.0", "v2 has "),
        ("v1/delivery-1/syscall-0: value \"x\"", "the syscall answers with nothing"),
        ("crank-36: delay 3 cranks", "nothing stands behind it in the run-queue"),
    ] {
        let (class, outcome) = class("bank", line);
        assert_eq!(class, Class::NoEffect, "{line}: {outcome:?}");
        assert!(outcome.detail.as_deref().unwrap().starts_with(why), "{line}: {:?}", outcome.detail);
    }
}

#[test]
fn kernel_panic_where_an_invariant_breaks_at_a_crank_a_syscall_or_the_end_of_a_delivery() {
    let mut bank = on("bank");
    for (line, invariant) in [
        ("v2/delivery-3: kernel-panic object.counts", "object.counts"),
        ("crank-9: kernel-panic audit.queue", "audit.queue"),
        ("v2/syscall-resolve-3: kernel-panic promise.decider", "promise.decider"),
        ("v2/delivery-3/syscall-0: kernel-panic audit.clist-target", "audit.clist-target"),
        ("v2/delivery-3 end: kernel-panic kernel.no-panic", "kernel.no-panic"),
        ("crank-4: plant lost-decref", "audit.object-counts"),
        ("crank-4: plant poison-queue", "promise.known"),
    ] {
        let outcome = run(&mut bank, line);
        assert_eq!((outcome.class, outcome.detail.as_deref()), (Class::KernelPanic, Some(invariant)), "{line}");
        assert_eq!(outcome.done.len(), 1, "{line}");
    }
    // The halt took the block: the next experiment has it again.
    assert_eq!(run(&mut bank, "crank-5: delay 2 cranks").class, Class::Recovered);
}

#[test]
fn the_poison_panics_a_later_crank_that_has_no_vat() {
    let (_, outcome) = class("bank", "crank-4: plant poison-queue");
    assert_eq!(outcome.done[0].crank, Some(4));
    assert!(outcome.cranks > 5, "{outcome:?}");
}

/// This vat is alive.
struct Lives(u64, When);

impl Watcher for Lives {
    fn name(&self) -> &str {
        "lives"
    }
    fn when(&self) -> When {
        self.1
    }
    fn ask(&mut self, view: &View<'_>) -> Result<Answer, String> {
        let lives = view.block.tables().is_alive(VatId(self.0));
        Ok(if lives { Answer::Holds } else { Answer::Broken })
    }
    fn looks_at(&self) -> Looks {
        Looks::State
    }
}

#[test]
fn invariant_where_one_of_the_campaigns_does_not_hold() {
    for when in [When::EveryCrank, When::EveryBlock, When::End] {
        let mut bank = on("bank");
        bank.set_watchers(vec![Box::new(Lives(2, when))]).unwrap();
        let outcome = run(&mut bank, "v2/delivery-2: terminate");
        assert_eq!((outcome.class, outcome.detail.as_deref()), (Class::Invariant, Some("lives")), "{when:?}");
        assert_eq!(run(&mut bank, "v2/delivery-3: skip").class, Class::Spread, "{when:?}");
    }
    let refused = on("bank").set_watchers(vec![Box::new(Lives(4, When::End))]).unwrap_err();
    assert_eq!(refused.to_string(), "the invariant `lives` does not hold in the golden run");
}

#[test]
fn stalled_where_somebody_waits_for_ever() {
    let (class, outcome) = class("bank", "v2/delivery-1: pause");
    assert_eq!((class, outcome.detail.as_deref()), (Class::Stalled, Some("market.bootstrap is pending")));
}

#[test]
fn stalled_where_the_state_repeats_and_that_is_a_proof() {
    let text = "[vats.looper]\nbundle = \"looper.wat\"\noptions = { reap_interval = 2 }\n[[send]]\nto = \"looper\"\nmethod = \"look\"\n";
    let mut looper = on_text(text, ("looper.wat", include_str!("looper.wat")));
    let outcome = run(&mut looper, "v1/syscall-vatstoreGet-1: error absent");
    assert_eq!((outcome.class, outcome.end.as_str()), (Class::Stalled, "repeats"), "{outcome:?}");
    assert!(outcome.cranks < 50, "long before any limit: {outcome:?}");
}

#[test]
fn contained_where_only_the_faulted_vat_is_changed() {
    let mut counter = on("counter");
    // Its sender, the outside, is told; and nobody else.
    let outcome = run(&mut counter, "v1/delivery-4: skip\nv1/delivery-3: skip");
    assert_eq!(outcome.class, Class::Contained, "{outcome:?}");
    assert!(outcome.hurt.is_empty());
}

#[test]
fn spread_where_others_are_hurt_and_told() {
    let (class, outcome) = class("bank", "v2/delivery-3: skip");
    assert_eq!((class, outcome.label().as_str()), (Class::Spread, "SPREAD(3)"));
    assert_eq!((outcome.hurt, outcome.deviated), (vec!["v1".into(), "v3".into(), "outside".into()], Some(15)));
    assert_eq!(outcome.path[0].vat, "v2");
}

#[test]
fn silent_where_others_are_hurt_and_nobody_is_told() {
    let (class, outcome) = class("counter", "v2/syscall:vatstoreGet #3: error absent");
    assert_eq!((class, outcome.hurt_count, &*outcome.hurt), (Class::Silent, Some(1), &["outside".to_owned()][..]));
}

#[test]
fn recovered_where_the_run_comes_back_and_that_ends_it() {
    let (class, outcome) = class("bank", "crank-5: delay 2 cranks");
    assert_eq!((class, outcome.end.as_str(), outcome.deviated), (Class::Recovered, "met-golden", Some(5)));
    assert!(outcome.cranks < 15, "{outcome:?}");
}

#[test]
fn masked_where_nothing_is_any_different() {
    let (class, outcome) = class("counter", "v2/syscall:vatstoreGet #2: error absent");
    assert_eq!((class, outcome.deviated, outcome.done[0].times), (Class::Masked, None, 1), "{outcome:?}");
}

#[test]
fn diverged_where_replicas_differ() {
    let mut pingpong = on("pingpong");
    pingpong.set_replicas(2);
    let outcome = run(&mut pingpong, "v2/delivery-30: skip");
    assert_ne!(outcome.class, Class::Diverged, "{outcome:?}");
    let outcome = run(&mut pingpong, "crank-30: plant replay-charges");
    assert_eq!(outcome.class, Class::Diverged, "{outcome:?}");
    pingpong.set_replicas(1);
    assert_eq!(run(&mut pingpong, "crank-30: plant replay-charges").class, Class::Masked);
}

#[test]
fn host_crash_and_host_hang_cost_one_experiment() {
    let mut runner = runner("bank", Isolation::Rollback, Limits { wall_ms: 1_500, ..Limits::default() });
    let outcome = runner.run(&faults("crank-9: plant host-abort"), 0);
    assert_eq!((outcome.class, outcome.detail.as_deref()), (Class::HostCrash, Some("the process ended by signal 6")));
    let outcome = runner.run(&faults("crank-9: plant host-hang"), 0);
    assert_eq!((outcome.class, outcome.detail.as_deref()), (Class::HostHang, Some("no answer in its time")));
    assert_eq!(runner.run(&faults("crank-5: delay 2 cranks"), 0).class, Class::Recovered);
}

#[test]
fn a_plant_that_ends_a_process_ends_only_one_that_was_made_to_die() {
    let mut bank = on("bank");
    for plant in ["host-abort", "host-hang", "half-commit"] {
        let outcome = run(&mut bank, &format!("crank-9: plant {plant}"));
        assert_eq!(outcome.class, Class::Harness, "{outcome:?}");
    }
    let place = crate::cli::Place::new();
    place.vathost("run vats/bank --state @state --experimental --cranks-per-block 5 --blocks 2").ok();
    for plant in ["host-abort", "host-hang", "half-commit"] {
        let planted = format!("--plant {plant}@crank-12");
        let mut plan = place.command("directives plan --state @state --json --add");
        let output = plan.arg("crank-90: halt").args(planted.split(' ')).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains(&format!("obey the plant `{plant}`: it ends its process")), "{said}");
        let remedy = place.vathost(&format!("fault remedy @state {planted}"));
        assert!(remedy.code == 74 && remedy.stderr.contains("was not made to die"), "{}", remedy.stderr);
    }
    // Whoever runs a host with it wants that.
    let status = place.command("run --state @state --plant half-commit@crank-12").status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{status}");
}

#[test]
fn harness_where_the_experiment_itself_cannot_be_made() {
    let mut starved = runner("bank", Isolation::Fork, Limits { memory: Some(1 << 20), ..Limits::default() });
    let outcome = starved.run(&faults("v2/delivery-3: skip"), 0);
    assert_eq!(outcome.class, Class::Harness, "{outcome:?}");
    let mut bank = on("bank");
    assert_eq!(run(&mut bank, "commit-2: kill -9").class, Class::Harness);
}

#[test]
fn durability_where_a_commit_is_not_one() {
    let mut bank = runner("bank", Isolation::Rollback, Limits::default());
    let outcome = bank.run(&faults("crank-7: plant half-commit"), 0);
    assert_eq!((outcome.class, outcome.done.len()), (Class::Durability, 1), "{outcome:?}");
    let class = bank.run(&faults("commit-2: kill -9"), 0).class;
    assert!(matches!(class, Class::Recovered | Class::Masked), "{class}");
}
