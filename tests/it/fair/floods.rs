//! What every flood does to two honest vats that play ping-pong: it takes them twice as many cranks, at the most.

use vathost::{
    model::{
        id::VRef,
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

/// Two that pass each other objects and drop them: news of garbage without end.
#[test]
fn garbage_without_end_delays_the_others_by_a_third_at_the_most() {
    let maker = at_each(|it| {
        let objects: Vec<VRef> = (0..4).map(|at| own("o", 1 + it.age * 4 + at)).collect();
        it.send(VRef::imported_object(50), "take", &objects, None)?;
        it.send(VRef::ROOT, "more", &[], None)
    });
    let dropper = role(|it| match it.delivery {
        Delivery::Message { .. } => {
            let slots = it.slots().to_vec();
            it.call(Syscall::DropImports(slots.clone()))?;
            it.call(Syscall::RetireImports(slots))
        }
        _ => Ok(()),
    });
    let run = |garbage: bool| {
        let dropper = if garbage { dropper.clone() } else { pong() };
        let vats = vec![
            ("maker", plain(), maker.clone()),
            ("dropper", plain(), dropper),
            ("ping", plain(), ping()),
            ("pong", plain(), pong()),
        ];
        let mut stage = Stage::new(3, None, vats);
        stage.tell("maker", "go", &["dropper"]);
        stage.run(50);
        stage.tell("ping", "play", &["pong"]);
        stage.run_until("ping", EXCHANGES, 100_000)
    };
    let (with, without) = (run(true), run(false));
    assert!(3 * with <= 4 * without + SLACK, "{with} cranks with garbage, {without} without");
    assert!(with > without, "there was no garbage: {with}, {without}");
}
