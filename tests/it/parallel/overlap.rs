//! Guests that run while cranks do: whoever comes to their vats meanwhile finds what would be there without them.

use vathost::{
    BlockPolicy, Fault, Host, Scenario, StaticVat, VatId,
    slog::{Event, Recorder},
    state::table::{OnFault, Options},
    vat::{Interrupter, Speculations},
};

use super::{
    Log, Seen, Way,
    causes::{became, counted, forgiving, mules, next_crank, run, say},
    same, sum,
};
use crate::dice::Dice;

/// Has each of these vats read its store, in its turn.
fn read_alone(host: &mut Host, vats: &str) {
    for vat in vats.split_whitespace() {
        say(host, &format!("{vat}r"));
        run(host);
    }
}

#[test]
fn vats_that_read_their_store_run_ahead_before_the_first_crank() {
    let used = became("readers", &Way::default(), &forgiving(), |host| {
        read_alone(host, "b c");
        say(host, "as br cr ds");
        run(host);
    });
    assert_eq!(used, counted(4, 4, 0));
}

#[test]
fn all_vats_of_a_round_may_be_readers() {
    let used = became("all readers", &Way::default(), &forgiving(), |host| {
        read_alone(host, "a b c d");
        say(host, "ar br cr dr");
        run(host);
    });
    assert_eq!(used, counted(4, 4, 0));
}

#[test]
fn a_read_while_cranks_run_gives_the_speculation_up() {
    let taken = became("a read", &Way::default(), &forgiving(), |host| {
        say(host, "as br cr dw");
        run(host);
    });
    assert_eq!(taken, counted(4, 2, 2));
}

#[test]
fn a_vat_that_no_longer_reads_runs_while_cranks_do() {
    let taken = became("no longer", &Way::default(), &forgiving(), |host| {
        read_alone(host, "b c");
        for words in ["aw bw cw", "aw bw cw", "aw br cw"] {
            say(host, words);
            run(host);
        }
    });
    assert_eq!(taken, counted(9, 8, 1), "the last read came when it was no longer taken to read");
}

/// The four vats work for long, and `order` comes at the first crank, for each of them: some run then, some wait, one is at home.
#[track_caller]
fn ordered(order: &str, way: &Way, options: &Options) -> Vec<Speculations> {
    (1..5)
        .map(|vat| {
            became(&format!("{order} v{vat}"), way, options, |host| {
                let wasm = wat::parse_str(include_str!("mule.wat")).unwrap();
                let bundle = host.put_bundle(&wasm).unwrap();
                say(host, "as bs cs ds");
                let order = order.replace("VAT", &format!("v{vat}")).replace("BUNDLE", &bundle.to_string());
                host.order(&format!("crank-{}: {order}", next_crank(host))).unwrap();
                run(host);
                host.order(&format!("crank-{}: resume v{vat}", next_crank(host))).ok();
                for vat in ["a", "b", "c", "d"] {
                    // One of them may have ended.
                    let _ = host.send(vat, "w", []);
                }
                run(host);
            })
        })
        .collect()
}

#[test]
fn a_vat_ends_while_its_guest_is_out() {
    for taken in ordered("terminate VAT", &Way::default(), &forgiving()) {
        assert_eq!(taken, counted(7, 6, 1));
    }
}

#[test]
fn a_vat_is_upgraded_while_its_guest_is_out() {
    for taken in ordered("upgrade VAT bundle BUNDLE", &Way::default(), &forgiving()) {
        assert_eq!(taken, counted(7, 6, 1));
    }
}

#[test]
fn a_vat_is_paused_while_its_guest_is_out() {
    for taken in ordered("pause VAT", &Way::default(), &forgiving()) {
        assert_eq!(taken.used, taken.made, "it waits");
    }
}

#[test]
fn a_vat_leaves_while_its_guest_is_out() {
    for (max_live, interval) in [(2, 0), (2, 1), (2, 100), (3, 0)] {
        let way = Way { max_live: Some(max_live), snapshot_interval: Some(interval), ..Way::default() };
        let taken = became("evict", &way, &forgiving(), |host| {
            for words in ["cs bs as ds", "as bs cs ds", "ds as bs cs"] {
                say(host, words);
                run(host);
            }
        });
        assert!(taken.made > 0 && taken.made == taken.used + taken.taken_back, "{max_live}, {interval}: {taken:?}");
    }
}

#[test]
fn whoever_evicts_or_looks_at_a_vat_waits_for_its_guest() {
    for look in [false, true] {
        for vat in 1..5 {
            let taken = became("look", &Way::default(), &forgiving(), |host| {
                say(host, "as bs cs ds");
                host.run_block(&BlockPolicy::default(), &mut |_| false).unwrap();
                match look {
                    true => drop(host.heap(VatId(vat)).unwrap()),
                    false => host.evict_all(),
                }
                run(host);
            });
            let undone = if look { u64::from(vat > 1) } else { 3 };
            assert_eq!(taken, counted(4, 4 - undone, undone), "v{vat} {look}");
        }
    }
}

#[test]
fn the_engine_is_replaced_while_guests_are_out() {
    let way = Way { engine: Some(1), ..Way::default() };
    let taken = became("engine", &way, &forgiving(), |host| {
        say(host, "as bs cs ds");
        let height = host.block().unwrap().tables().globals().height.0;
        host.order(&format!("block-{}: replace-engine 2", height + 2)).unwrap();
        let policy = BlockPolicy { cranks: 1, ..BlockPolicy::default() };
        for _ in 0..4 {
            host.run_block(&policy, &mut |_| true).unwrap();
        }
        run(host);
    });
    assert!(taken.taken_back > 0, "{taken:?}");
}

#[test]
fn a_host_that_halts_or_is_dropped_waits_for_its_guests() {
    for halts in [false, true] {
        same(&format!("{halts}"), |threads| {
            let folder = tempfile::TempDir::new().unwrap();
            let way = Way { state: Some(folder.path().join("state")), ..Way::default() };
            let (mut host, log) = mules(&way, &forgiving(), threads);
            say(&mut host, "as bs cs ds");
            if halts {
                host.order(&format!("crank-{}: halt", next_crank(&host) + 1)).unwrap();
                let halt = host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap_err();
                assert!(matches!(halt.fault, Fault::Halted(_)), "{halt}");
                host.evict_all();
                let Speculations { made, used, taken_back } = Speculations::of(&host);
                assert_eq!(made, used + taken_back, "none is out");
            } else {
                host.run_block(&BlockPolicy::default(), &mut |_| false).unwrap();
            }
            let speculations = Speculations::of(&host);
            drop(host);
            let mut host = way.open(threads, &log);
            say(&mut host, "aw bw cw dw");
            run(&mut host);
            let (hashes, report) = (vec![host.standing().state_hash.clone()], host.report().unwrap());
            (Seen { hashes, report: serde_json::to_string(&report).unwrap(), events: Vec::new() }, speculations)
        });
    }
}

/// Stops the host at the first delivery of a life, while the guests of others are out.
struct Stopper {
    log: Log,
    interrupter: std::sync::Arc<std::sync::Mutex<Option<Interrupter>>>,
}

impl Recorder for Stopper {
    fn record(&mut self, event: &Event<'_>) {
        self.log.record(event);
        if serde_json::to_value(event).unwrap()["type"] == "crank-start"
            && let Some(interrupter) = self.interrupter.lock().unwrap().take()
        {
            interrupter.stop();
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stop_ends_the_guests_that_are_out_and_changes_no_result() {
    let life = |threads: usize, stops: bool| {
        let stop = std::sync::Arc::default();
        let recorder = Stopper { log: Log::default(), interrupter: std::sync::Arc::clone(&stop) };
        let mut host = Way::default().open_with(threads, recorder);
        install(&mut host, 4);
        if stops {
            *stop.lock().unwrap() = Some(host.interrupter());
        }
        for _ in 0..4 {
            for vat in 0..4 {
                host.send(format!("m{vat}").as_str(), "s", []).unwrap();
            }
            host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
        }
        run(&mut host);
        serde_json::to_string(&host.report().unwrap().vats).unwrap()
    };
    let expected = life(1, false);
    for threads in [1, 2, 4] {
        assert_eq!(life(threads, true), expected, "{threads} threads");
    }
}

/// Installs so many mules, `m0`, `m1`, ….
fn install(host: &mut Host, count: u64) {
    let wasm = wat::parse_str(include_str!("mule.wat")).unwrap();
    let on_fault = [OnFault::Pause, OnFault::Terminate, OnFault::Reject];
    let vat = |number: u64| StaticVat {
        name: format!("m{number}"),
        wasm: wasm.clone(),
        options: Options { on_fault: on_fault[usize::try_from(number % 7).unwrap().min(2)], ..Options::default() },
        parameters: "#{}".to_owned(),
    };
    host.install(&Scenario { vats: (0..count).map(vat).collect(), ..Scenario::default() }).unwrap();
    run(host);
}

/// A life of some 1,000 deliveries to 40 vats, in blocks of any size: most work, some read, few fault.
fn crowd(seed: u64, way: &Way, threads: usize) -> (Seen, Speculations) {
    let (log, mut dice, mut seen) = (Log::default(), Dice(seed), Seen::default());
    let mut host = way.open(threads, &log);
    install(&mut host, 40);
    let readers = 1 + dice.below(20);
    for _ in 0..16 {
        for vat in 0..40 {
            for _ in 0..dice.below(4) {
                let method = match dice.below(100) {
                    0..6 => "s",
                    6 => "t",
                    7 => "b",
                    8 => "g",
                    9..12 => "r",
                    _ if vat < readers => "r",
                    _ => "w",
                };
                // One that faulted may be gone.
                let _ = host.send(format!("m{vat}").as_str(), method, []);
            }
        }
        if dice.below(4) == 0 {
            host.heap(VatId(1 + dice.below(7))).ok();
        }
        let policy = BlockPolicy { cranks: 20 + dice.below(150), ..BlockPolicy::default() };
        seen.hashes.push(host.run_block(&policy, &mut |_| true).unwrap().state_hash.to_string());
    }
    run(&mut host);
    seen.hashes.push(host.standing().state_hash.to_string());
    seen.report = serde_json::to_string(&host.report().unwrap()).unwrap();
    seen.events = std::mem::take(&mut log.0.lock().unwrap());
    (seen, Speculations::of(&host))
}

#[test]
fn a_long_life_of_many_vats_is_alike_on_any_number_of_threads_and_so_are_its_speculations() {
    let mut all = Vec::new();
    for (seed, max_live) in [(1, None), (2, None), (3, Some(25))] {
        let way = Way { max_live, ..Way::default() };
        let [two, four] = same("crowd", |threads| crowd(seed, &way, threads));
        assert_eq!(two, four, "what is chosen depends on the life alone");
        for _ in 0..3 {
            assert_eq!(crowd(seed, &way, 2).1, two, "whatever the threads do");
        }
        all.push(two);
    }
    let all = sum(&all);
    assert!(all.used > 200 && all.taken_back > 50, "{all:?}");
}
