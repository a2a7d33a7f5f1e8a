//! What every flood does to two honest vats that play ping-pong: it takes them twice as many cranks, at the most.

use std::{cell::RefCell, collections::BTreeSet};

use vathost::{
    model::{
        id::VRef,
        limits,
        value::{Delivery, Syscall},
    },
    state::table::{OnFault, Options},
};

use super::{Role, Stage, Turn, own, role};

/// Exchanges that are waited for, and cranks for what begins and ends.
const EXCHANGES: usize = 150;
const SLACK: u64 = 20;

/// Never brings out its dead, so that cranks are counted exactly.
fn plain() -> Options {
    Options { reap_interval: None, reap_gc_krefs: None, ..Options::default() }
}

/// Calls its friend, waits for the answer, and calls again.
fn ping() -> Role {
    role(|it| {
        if matches!(it.delivery, Delivery::Notify(_)) || it.word() == "play" {
            let result = it.fresh(0);
            it.send(VRef::imported_object(50), "hi", &[], Some(result))?;
            it.call(Syscall::Subscribe(result))?;
        }
        Ok(())
    })
}

/// Answers everybody who wants an answer.
fn pong() -> Role {
    role(|it| it.result().map_or(Ok(()), |result| it.resolve(result, &[])))
}

/// Does it with every message and every notify, and in the beginning.
fn at_each(act: impl Fn(&mut Turn<'_>) -> Result<(), vathost::model::blame::Fault> + 'static) -> Role {
    role(move |it| match it.delivery {
        Delivery::Message { .. } | Delivery::Notify(_) => act(it),
        _ => Ok(()),
    })
}

/// The cranks of so many exchanges beside a vat that does this; it is told `go` with these.
fn cranks(version: u32, flood: Option<(Role, &[&str], Options)>, most: u64) -> u64 {
    let mut vats = vec![("ping", plain(), ping()), ("pong", plain(), pong())];
    let with = flood.as_ref().map(|it| it.1);
    if let Some((role, _, options)) = flood {
        // Whoever comes first in the order of numbers: it is not to matter.
        vats.insert(0, ("flood", options, role));
    }
    let mut stage = Stage::new(version, None, vats);
    stage.roles.borrow_mut().insert("child".to_owned(), at_each(twice));
    if let Some(with) = with {
        stage.tell("flood", "go", with);
        // It is well under way before the others begin.
        stage.run(50);
    }
    stage.tell("ping", "play", &["pong"]);
    stage.run_until("ping", EXCHANGES, most)
}

fn twice(it: &mut Turn<'_>) -> Result<(), vathost::model::blame::Fault> {
    (0..2).try_for_each(|_| it.send(VRef::ROOT, "go", &[], None))
}

#[track_caller]
fn check(name: &str, role: Role, with: &[&str], options: Options) {
    let alone = cranks(3, None, 10_000);
    let beside = cranks(3, Some((role, with, options)), 100_000);
    assert!(beside <= 2 * alone + SLACK, "beside {name} it took {beside} cranks, alone {alone}");
    assert!(beside > alone, "{name} did nothing: {beside} cranks, alone {alone}");
}

#[test]
fn an_exchange_takes_two_cranks_alone() {
    assert_eq!(cranks(3, None, 10_000), cranks(1, None, 10_000));
    assert!(cranks(3, None, 10_000) <= 2 * EXCHANGES as u64 + 3);
}

#[test]
fn in_swingsets_order_a_flood_starves_the_others() {
    let starved = std::panic::catch_unwind(|| cranks(1, Some((at_each(twice), &[], plain())), 20_000));
    assert!(starved.is_err(), "it took {starved:?} cranks");
}

#[test]
fn a_vat_that_sends_itself_two_messages_a_delivery_delays_the_others_by_as_much_as_they_do() {
    check("two a delivery", at_each(twice), &[], plain());
}

#[test]
fn so_does_one_that_sends_itself_thousands_at_once() {
    let flood = role(|it| match it.word().as_str() {
        "go" => (0..20_000).try_for_each(|_| it.send(VRef::ROOT, "more", &[], None)),
        _ => Ok(()),
    });
    check("20,000 at once", flood, &[], plain());
}

/// Floods the honest ones, and itself so that it goes on.
fn at_honest(method: &'static str, target: u64, answers: bool) -> Role {
    at_each(move |it| {
        if it.word() != "go" {
            return Ok(());
        }
        it.send(VRef::ROOT, "go", &[], None)?;
        for at in 0..20 {
            let result = answers.then(|| it.fresh(at));
            it.send(VRef::imported_object(target), method, &[], result)?;
            result.map_or(Ok(()), |it_is| it.call(Syscall::Subscribe(it_is)))?;
        }
        Ok(())
    })
}

#[test]
fn so_does_one_that_floods_the_honest_with_messages() {
    check("messages to pong", at_honest("hi", 50, false), &["pong", "ping"], plain());
    check("messages to ping", at_honest("hi", 51, false), &["pong", "ping"], plain());
}

#[test]
fn so_does_one_that_wants_the_honest_to_answer_its_flood() {
    check("calls of pong", at_honest("hi", 50, true), &["pong", "ping"], plain());
}

#[test]
fn so_does_one_that_calls_itself_and_waits_for_the_answers() {
    // The news of what it settled itself is dropped when its turn comes: a crank all the same.
    let flood = at_each(|it| {
        it.result().map_or(Ok(()), |result| it.resolve(result, &[]))?;
        for at in 0..2 {
            let result = it.fresh(at);
            it.send(VRef::ROOT, "hi", &[], Some(result))?;
            it.call(Syscall::Subscribe(result))?;
        }
        Ok(())
    });
    check("calls of itself", flood, &[], plain());
}

#[test]
fn so_does_one_whose_children_flood_as_well() {
    // Each child is told to flood itself when it is up: the creator gets its root with the notify.
    let flood = at_each(|it| {
        if it.word() == "go" {
            let results: Vec<VRef> = (0..40).map(|at| it.fresh(at)).collect();
            for result in results {
                it.send_raw(VRef::imported_object(50), "#[\"createVat\",[\"child\",{},{\"name\":\"child\"}]]", result)?;
                it.call(Syscall::Subscribe(result))?;
            }
        }
        if let Delivery::Notify(news) = it.delivery {
            let roots: Vec<VRef> = news.iter().filter_map(|it| it.data.slots.first().copied()).collect();
            roots.into_iter().try_for_each(|root| it.send(root, "go", &[], None))?;
        }
        it.send(VRef::ROOT, "more", &[], None)
    });
    check("forty children", flood, &["vatAdmin"], plain());
}

#[test]
fn so_does_one_that_is_woken_a_hundred_times_a_second() {
    let flood = at_each(|it| {
        let device = VRef::device(70);
        for _ in 0..100 {
            let methargs = vathost::model::value::CapData {
                body: format!("#[\"setWakeup\",[\"+{}\",\"$0\"]]", it.age / 100 + 1).into(),
                slots: vec![VRef::ROOT],
            };
            it.call(Syscall::CallNow { device, methargs })?;
        }
        it.send(VRef::ROOT, "more", &[], None)
    });
    check("a hundred wakeups", flood, &["timer"], plain());
}

#[test]
fn so_does_one_that_faults_at_each_delivery_and_lives_on() {
    // What it sends first is let through; each of those faults.
    let flood = role(|it| match it.word().as_str() {
        "go" => (0..2_000).try_for_each(|_| it.send(VRef::ROOT, "fault", &[], None)),
        "fault" => Err(vathost::model::blame::VatFault::Trap("planted".to_owned()).into()),
        _ => Ok(()),
    });
    check("faults", flood, &[], Options { on_fault: OnFault::Reject, ..plain() });
}

#[test]
fn so_does_one_that_is_told_to_bring_out_its_dead_after_each_delivery() {
    check("reaps", at_each(twice), &[], Options { reap_interval: Some(1), ..plain() });
}

#[test]
fn weight_is_how_many_cranks_a_vat_has_in_one_turn() {
    let heavy = Options { weight: 4, ..plain() };
    let light = cranks(3, Some((at_each(twice), &[], plain())), 100_000);
    let heavy = cranks(3, Some((at_each(twice), &[], heavy)), 100_000);
    // Two cranks of the honest, then one of the flood, or four.
    let per_exchange = |cranks: u64| (cranks + EXCHANGES as u64 / 2) / EXCHANGES as u64;
    assert_eq!((per_exchange(light), per_exchange(heavy)), (3, 6));
}

/// Gives its friend four objects in each message, without end; and hears of each that it was dropped before it hears that it is retired.
fn maker() -> Role {
    let dropped = RefCell::new(BTreeSet::new());
    role(move |it| match it.delivery {
        Delivery::Message { .. } => {
            let objects: Vec<VRef> = (0..4).map(|at| own("o", 1 + it.age * 4 + at)).collect();
            it.send(VRef::imported_object(50), "take", &objects, None)?;
            it.send(VRef::ROOT, "more", &[], None)
        }
        Delivery::DropExports(all) => {
            dropped.borrow_mut().extend(all.iter().copied());
            Ok(())
        }
        Delivery::RetireExports(all) => {
            assert!(all.iter().all(|it| dropped.borrow().contains(it)), "retired, and not dropped: {all:?}");
            Ok(())
        }
        _ => Ok(()),
    })
}

/// Drops what it is given.
fn dropper() -> Role {
    role(|it| match it.delivery {
        Delivery::Message { .. } => {
            let slots = it.slots().to_vec();
            it.call(Syscall::DropImports(slots.clone()))?;
            it.call(Syscall::RetireImports(slots))
        }
        _ => Ok(()),
    })
}

/// One that gives and one that drops: news of garbage without end.
#[test]
fn garbage_without_end_delays_the_others_by_a_third_at_the_most() {
    let run = |version: u32, garbage: bool| {
        let vats = vec![
            ("maker", plain(), maker()),
            ("dropper", plain(), if garbage { dropper() } else { pong() }),
            ("ping", plain(), ping()),
            ("pong", plain(), pong()),
        ];
        let mut stage = Stage::new(version, None, vats);
        stage.tell("maker", "go", &["dropper"]);
        stage.run(50);
        stage.tell("ping", "play", &["pong"]);
        stage.run_until("ping", EXCHANGES, 100_000)
    };
    for version in [3, 4] {
        let (with, without) = (run(version, true), run(version, false));
        assert!(3 * with <= 4 * without + SLACK, "{with} cranks with garbage, {without} without");
        assert!(with > without, "there was no garbage: {with}, {without}");
    }
}

/// While the run-queue never runs empty, until version 4 only the first vat hears of its garbage.
#[test]
fn garbage_without_end_does_not_keep_that_of_others_from_its_turn() {
    let run = |version: u32| {
        let vats = vec![
            ("first", plain(), maker()),
            ("dropper", plain(), dropper()),
            ("second", plain(), maker()),
            ("other", plain(), dropper()),
        ];
        let mut stage = Stage::new(version, None, vats);
        stage.tell("first", "go", &["dropper"]);
        stage.tell("second", "go", &["other"]);
        stage.run(2_000);
        let heard = |name: &str, what: &str| stage.told(stage.vat(name)).iter().filter(|it| *it == what).count();
        let each = ["first", "second"].map(|it| [heard(it, "dropExports"), heard(it, "retireExports")]);
        (each, stage.block().tables().gc.len())
    };
    assert_eq!(run(3), ([[375, 125], [0, 0]], 3_000));
    let (each, waiting) = run(4);
    assert!(each.as_flattened().iter().all(|it| *it > 90), "{each:?}");
    assert!(waiting < 100, "{waiting}");
}

/// A search passes over so many paused vats and no more, however many a guest made and has waiting with garbage; the next goes on there.
#[test]
fn garbage_of_paused_vats_keeps_nobody_from_its_turn_and_costs_no_search_more_than_a_bound() {
    const PAUSED: usize = 2 * limits::GC_PAUSED_MAX + 10;
    let giver = role(|it| match it.word().as_str() {
        "go" => it.send(VRef::imported_object(50), "take", &[own("o", 1)], None),
        _ => Ok(()),
    });
    let hoarder = role(|it| match it.word().as_str() {
        "drop" => {
            let all: Vec<VRef> = (50..50 + PAUSED as u64).map(VRef::imported_object).collect();
            it.call(Syscall::DropImports(all.clone()))?;
            it.call(Syscall::RetireImports(all))
        }
        _ => Ok(()),
    });
    let givers: Vec<String> = (0..PAUSED).map(|at| format!("giver{at}")).collect();
    let mut vats: Vec<_> = givers.iter().map(|it| (it.as_str(), plain(), giver.clone())).collect();
    vats.extend([("hoarder", plain(), hoarder), ("last", plain(), maker()), ("other", plain(), dropper())]);
    let mut stage = Stage::new(4, None, vats);
    givers.iter().for_each(|it| stage.tell(it, "go", &["hoarder"]));
    stage.run(u64::MAX);
    let next = stage.block().tables().globals().next_crank.0;
    stage.order(&givers.iter().map(|it| format!("crank-{next}: pause {}\n", stage.vat(it))).collect::<String>());
    stage.tell("hoarder", "drop", &[]);
    stage.run(u64::MAX);
    assert_eq!(stage.block().tables().gc.len(), 2 * PAUSED);

    stage.tell("last", "go", &["other"]);
    let mut stops = BTreeSet::new();
    for _ in 0..400 {
        stage.step();
        stops.extend(stage.block().tables().globals().turn.garbage.served.map(|(vat, _)| vat));
    }
    let last = stage.vat("last");
    stops.remove(&last);
    assert!(!stops.is_empty() && stops.iter().all(|it| stage.block().tables().is_paused(*it)), "{stops:?}");
    let heard = stage.told(last).iter().filter(|it| it.ends_with("Exports")).count();
    assert!((40..60).contains(&heard), "{heard}");
    assert!(stage.block().tables().gc.len() < 2 * PAUSED + 100);
}
