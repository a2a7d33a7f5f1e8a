//! What the turns keep: the order between a sender and a target, and everybody's turn.

use std::collections::BTreeMap;

use expect_test::expect;
use proptest::prelude::*;
use vathost::{
    model::id::{VRef, VatId},
    state::table::{Options, QueueId, Sender, Turn as Whose},
    store::StateHash,
};

use super::{Role, Stage, role};

const VATS: usize = 4;

fn options(weight: u32) -> Options {
    Options { reap_interval: Some(7), weight, ..Options::default() }
}

/// Each of its first deliveries sends messages to some of the others, numbered for each of them, as the seed has it.
fn random(seed: u64) -> Role {
    role(move |it| {
        if it.word() == "startVat" || it.word() == "bringOutYourDead" || it.age > 30 {
            return it.result().map_or(Ok(()), |result| it.resolve(result, &[]));
        }
        let mut dice = seed ^ (it.vat.0 << 40) ^ (it.age << 20);
        let mut roll = |below: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % below
        };
        for at in 0..roll(4) {
            // Itself, or one of the others, which it knows from the beginning.
            let target = match roll(VATS as u64) {
                0 => VRef::ROOT,
                other => VRef::imported_object(49 + other),
            };
            let number = it.age * 10 + at;
            let result = (roll(3) == 0).then(|| it.fresh(at));
            it.send(target, &format!("{}:{target}:{number}", it.vat), &[], result)?;
            if let Some(result) = result.filter(|_| roll(2) == 0) {
                it.call(vathost::model::value::Syscall::Subscribe(result))?;
            }
        }
        it.result().map_or(Ok(()), |result| it.resolve(result, &[]))
    })
}

fn name(at: usize) -> String {
    format!("v{at}")
}

fn stage(seed: u64, weights: &[u32], dir: Option<&std::path::Path>) -> Stage {
    let names: Vec<String> = (0..VATS).map(name).collect();
    let vats = names.iter().zip(weights).map(|(name, weight)| (&**name, options(*weight), random(seed))).collect();
    let mut stage = Stage::new(3, dir, vats);
    stage.block.as_mut().unwrap().set_audit(1);
    for at in 0..VATS {
        let others: Vec<String> = (0..VATS).filter(|it| *it != at).map(name).collect();
        let others: Vec<&str> = others.iter().map(|it| &**it).collect();
        stage.tell(&name(at), "go", &others);
    }
    stage
}

/// Runs to the end in blocks of so many cranks; the hash after each, and what was delivered.
fn hashes(mut stage: Stage, cranks: u64, dir: Option<&std::path::Path>) -> (Vec<StateHash>, Vec<Vec<String>>) {
    let mut hashes = Vec::new();
    loop {
        let ran = stage.run(cranks);
        stage.begin_block();
        hashes.push(stage.block().state_hash().expect("hashes"));
        if let Some(dir) = dir {
            stage.block = Some(stage.block.take().unwrap().commit(true).unwrap());
            drop(stage.block.take());
            stage.cast.evict_all();
            let mut block = vathost::state::block::Block::open(dir, vathost::slog::Slog::default()).unwrap();
            block.set_audit(1);
            stage.block = Some(block);
        }
        if ran < cranks {
            return (hashes, (0..VATS).map(|it| stage.told(stage.vat(&name(it)))).collect());
        }
    }
}

/// Whether all that each vat heard of each other stands in the order in which it was sent.
fn check_order(told: &[Vec<String>]) {
    for words in told {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for (who, number) in words.iter().filter_map(|it| it.rsplit_once(':')) {
            let number: u64 = number.parse().unwrap();
            let before = last.insert(who, number);
            assert!(before.is_none_or(|it| it < number), "{who}: {number} after {before:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_a_sender_and_a_target_is_kept_and_a_restart_changes_nothing(
        seed in any::<u64>(),
        weights in prop::collection::vec(1..4_u32, VATS),
        cranks in 5..40_u64,
    ) {
        let straight = hashes(stage(seed, &weights, None), cranks, None);
        check_order(&straight.1);
        let dir = tempfile::tempdir().unwrap();
        let restarted = hashes(stage(seed, &weights, Some(dir.path())), cranks, Some(dir.path()));
        prop_assert_eq!(straight.0, restarted.0);
        prop_assert_eq!(straight.1, restarted.1);
    }

    /// In as many cranks of the run-queue as two turns of everybody make, everybody with something to run has one.
    #[test]
    fn whoever_has_something_to_run_has_a_turn(seed in any::<u64>(), weights in prop::collection::vec(1..4_u32, VATS)) {
        let mut stage = stage(seed, &weights, None);
        // The outside is one of them, of weight 1.
        let window = 2 * (1 + weights.iter().sum::<u32>());
        let mut waited: BTreeMap<VatId, u32> = BTreeMap::new();
        loop {
            let first = |stage: &Stage| -> BTreeMap<VatId, (Sender, i64)> {
                let run = stage.block().tables().queue.run().map(|(sender, at, _)| (sender.family, (sender, at)));
                run.collect::<Vec<_>>().into_iter().rev().collect()
            };
            let before = first(&stage);
            let expected = vathost::kernel::run_order(stage.block().tables()).first().copied();
            if stage.step().is_none() {
                break;
            }
            let left = |key: &(Sender, i64)| stage.block().tables().queue.contains(&(QueueId::Run(key.0), key.1));
            let served: Vec<VatId> = before.iter().filter(|(_, key)| !left(key)).map(|(family, _)| *family).collect();
            prop_assert!(served.len() <= 1, "{served:?}");
            let Some(served) = served.first() else { continue };
            // What is shown to people is what is taken.
            prop_assert_eq!(expected, before.get(served).map(|it| (QueueId::Run(it.0), it.1)));
            for family in before.keys() {
                let waited = waited.entry(*family).or_default();
                *waited = if family == served { 0 } else { *waited + 1 };
                prop_assert!(*waited < window, "{family} waited for {waited} cranks");
            }
            waited.retain(|family, _| before.contains_key(family));
        }
    }
}

// ---- the schedule itself

/// The order in which these are run: `1/5: 1 2` is a vat v5 of the family of v1 with two items, which go to vats of those families.
fn schedule(queues: &str, weight: impl Fn(VatId) -> u32) -> String {
    let mut left: BTreeMap<Sender, Vec<u64>> = BTreeMap::new();
    for queue in queues.split("; ") {
        let (sender, items) = queue.split_once(": ").unwrap();
        let (family, vat) = sender.split_once('/').unwrap();
        let sender = Sender { family: VatId(family.parse().unwrap()), vat: VatId(vat.parse().unwrap()) };
        left.insert(sender, items.split(' ').map(|it| it.parse().unwrap()).collect());
    }
    let mut served: BTreeMap<VatId, VatId> = BTreeMap::new();
    let mut turn = Whose::default();
    let mut order = Vec::new();
    loop {
        let from = |sender: Sender| left.range(sender..).next().map(|(it, _)| *it);
        let last = |family| served.get(&family).copied().unwrap_or(family);
        let Some((sender, next)) = turn.next(from, &weight, last) else { return order.join(" ") };
        let items = left.get_mut(&sender).unwrap();
        turn = next.lent(sender, VatId(items.remove(0)));
        if items.is_empty() {
            left.remove(&sender);
        }
        served.insert(sender.family, sender.vat);
        order.push(sender.vat.to_string());
    }
}

#[test]
fn families_take_turns_and_within_one_its_vats() {
    let even = |_| 1;
    expect!["v1 v2 v3 v1 v2 v1"].assert_eq(&schedule("1/1: 1 1 1; 2/2: 2 2; 3/3: 3", even));
    // Two children of v1 have its turns among them.
    expect!["v4 v2 v5 v2 v1 v2 v4 v1"].assert_eq(&schedule("1/1: 1 1; 1/4: 1 1; 1/5: 1; 2/2: 2 2 2", even));
    // The outside is one of the senders.
    expect!["v1 v0 v1 v0"].assert_eq(&schedule("0/0: 0 0; 1/1: 1 1", even));
}

#[test]
fn a_turn_is_as_long_as_the_weight_of_the_family() {
    let weight = |family| if family == VatId(2) { 3 } else { 1 };
    expect!["v1 v2 v2 v2 v1 v2 v1"].assert_eq(&schedule("1/1: 1 1 1; 2/2: 2 2 2 2", weight));
}

#[test]
fn whoever_is_asked_may_answer_at_once_and_lends_to_nobody_meanwhile() {
    // v1 asks v3, which has one crank right behind it, and in that it asks v2, which gains nothing by it; but in its own turn
    // v3 asks v2 again, and v2 has one crank before the turn goes on.
    expect!["v1 v3 v2 v3 v2 v1"].assert_eq(&schedule("1/1: 3 3; 2/2: 2 2; 3/3: 2 2", |_| 1));
}

// ---- another kernel

#[test]
fn a_single_queue_is_dealt_out_when_the_kernel_is_replaced_and_loses_no_order() {
    let run = |line: &str| {
        let flood = role(|it| {
            let number = it.age;
            match it.word().as_str() {
                "go" => (0..6).try_for_each(|at| {
                    it.send(VRef::imported_object(50), &format!("{}:{number}{at}", it.vat), &[], None)
                }),
                _ => Ok(()),
            }
        });
        let listener = role(|_| Ok(()));
        let plain = || Options { reap_interval: None, ..Options::default() };
        let vats = vec![("a", plain(), flood.clone()), ("b", plain(), flood), ("c", plain(), listener)];
        let mut stage = Stage::new(1, None, vats);
        stage.tell("a", "go", &["c"]);
        stage.tell("b", "go", &["c"]);
        stage.tell("a", "go", &["c"]);
        stage.run(2);
        stage.begin_block();
        stage.order(line);
        stage.run(u64::MAX);
        let told = stage.told(stage.vat("c"));
        check_order(std::slice::from_ref(&told));
        let who = told.iter().skip(1).map(|it| it.split(':').next().unwrap());
        (stage.block().tables().globals().kernel_version, who.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(run(""), (1, "v1 v1 v1 v1 v1 v1 v2 v2 v2 v2 v2 v2 v1 v1 v1 v1 v1 v1".to_owned()));
    let (version, who) = run("block-1: replace-kernel 3");
    assert_eq!(version, 3);
    // What came from outside has its turn as well, and v1 one crank to answer it.
    expect!["v1 v2 v1 v1 v2 v1 v2 v1 v2 v1 v2 v1 v2 v1 v1 v1 v1 v1"].assert_eq(&who);
}

#[test]
fn what_waited_for_a_paused_vat_comes_before_what_its_sender_sent_since() {
    let talker = role(|it| {
        let method = it.word();
        if method == "startVat" {
            return Ok(());
        }
        (0..3).try_for_each(|at| it.send(VRef::imported_object(50), &format!("v1:{}{at}", it.age), &[], None))
    });
    let vats = vec![("talker", options(1), talker), ("listener", options(1), role(|_| Ok(())))];
    let mut stage = Stage::new(3, None, vats);
    let listener = stage.vat("listener");
    let next = stage.block().tables().globals().next_crank.0;
    stage.order(&format!("crank-{next}: pause {listener}"));
    stage.tell("talker", "go", &["listener"]);
    stage.run(3);
    assert_eq!(stage.block().tables().queue.of(QueueId::Pause(listener)).count(), 2);
    let next = stage.block().tables().globals().next_crank.0;
    stage.order(&format!("crank-{next}: resume {listener}"));
    stage.tell("talker", "again", &[]);
    stage.run(u64::MAX);
    let told = stage.told(listener);
    assert_eq!(told.len(), 1 + 6, "{told:?}");
    check_order(&[told]);
}
