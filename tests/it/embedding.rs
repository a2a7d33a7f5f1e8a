//! The controller as a library: messages from a program, their results, and that inputs are on disk before they have an effect.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use vathost::{
    Audit, Inputs,
    host::{
        controller::{Arg, BlockPolicy, Host, HostOptions, Outcome, Sent, To},
        scenario::Scenario,
    },
    lab::probe::{Life, PlantedBug, PlantedBugs},
    model::{
        id::{CrankNum, KRef, ObjectId},
        value::CapData,
    },
};

fn open(dir: &TempDir, plants: Vec<PlantedBug>) -> Host {
    open_with(dir, plants, Inputs::First)
}

fn open_with(dir: &TempDir, plants: Vec<PlantedBug>, inputs: Inputs) -> Host {
    let state = Some(dir.path().join("state"));
    let mut controller = Host::open(HostOptions {
        state,
        code_cache: Some(dir.path().join("code")),
        audit: Audit::EACH,
        experimental: true,
        probe: PlantedBugs::probe(&plants, Life::Dear),
        inputs,
        ..HostOptions::default()
    })
    .unwrap();
    if controller.is_new() {
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/bank");
        controller.install(&Scenario::read(&scenario).unwrap()).unwrap();
    }
    controller
}

fn bank() -> (TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let mut controller = open(&dir, Vec::new());
    run(&mut controller);
    (dir, controller)
}

fn run(controller: &mut Host) {
    while !controller.is_quiescent().unwrap() {
        controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    }
}

fn data(outcome: Outcome) -> CapData<KRef> {
    match outcome {
        Outcome::Fulfilled(data) => data,
        other => panic!("{other:?}"),
    }
}

fn body(outcome: Outcome) -> String {
    data(outcome).body.as_text().unwrap().to_owned()
}

#[test]
fn a_program_sends_messages_and_uses_what_it_is_answered_with() {
    let (_dir, mut controller) = bank();
    let [from, to] = [100, 1].map(|it| controller.send("north", "makePurse", [it.into()]).unwrap());
    assert_eq!(controller.outcome(from).unwrap(), Outcome::Pending);
    run(&mut controller);
    let [from_purse, to_purse] = [from, to].map(|it| data(controller.outcome(it).unwrap()).slots[0]);
    let paid = controller.send(from_purse, "withdraw", [30.into()]).unwrap();
    let put = controller.send(to_purse, "deposit", [30.into()]).unwrap();
    run(&mut controller);
    assert_eq!(body(controller.outcome(put).unwrap()), "#\"#undefined\"");
    let _ = controller.outcome(paid).unwrap();
    let balance = controller.send(To::Held(to_purse), "balance", []).unwrap();
    run(&mut controller);
    assert_eq!(body(controller.outcome(balance).unwrap()), "#\"+31\"");
}

#[test]
fn a_rejection_is_an_outcome_and_a_promise_can_be_sent_on() {
    let (_dir, mut controller) = bank();
    let refused = controller.send("north", "makePurse", ["five".into()]).unwrap();
    let closed = controller.send("north", "noSuchMethod", [json!({ "!x": ["+5"] }).into()]).unwrap();
    run(&mut controller);
    for sent in [refused, closed] {
        assert!(matches!(controller.outcome(sent), Ok(Outcome::Rejected(_))));
    }
}

#[test]
fn what_is_not_there_is_refused_before_anything_happens() {
    let (_dir, mut controller) = bank();
    let mut refusal = |to: To<'_>, args: Vec<Arg>| controller.send(to, "hi", args).unwrap_err().to_string();
    let nobody = KRef::Object(ObjectId(9_999));
    assert!(refusal(To::Root("nobody"), vec![]).contains("there is no vat `nobody`"));
    assert!(refusal(To::Root("west"), vec![]).contains("v4 (`west`) is terminated"));
    assert!(refusal(To::Held(nobody), vec![]).contains("there is no ko9999 to name"));
    assert!(refusal(To::Root("north"), vec![Arg::held(nobody)]).contains("there is no ko9999 to name"));
    assert!(refusal(To::Root("north"), vec!["x".repeat(1 << 20).into()]).contains("1048576 at the most"));
    assert!(controller.is_quiescent().unwrap());
}

#[test]
fn a_result_is_kept_until_it_is_forgotten_and_then_nothing_of_it_is_left() {
    let (_dir, mut controller) = bank();
    let counts = |controller: &Host| {
        let tables = controller.block().unwrap().tables();
        (tables.outside.len(), tables.promises.len(), tables.objects.len(), tables.clist.len())
    };
    let mut round = || {
        let before = counts(&controller);
        let purses: Vec<Sent> = (0..5).map(|it| controller.send("north", "makePurse", [it.into()]).unwrap()).collect();
        run(&mut controller);
        assert_eq!(counts(&controller).0, before.0 + 5);
        purses.into_iter().for_each(|it| controller.forget(it).unwrap());
        run(&mut controller);
        counts(&controller)
    };
    // The first collections take what the bank had left lying about before.
    round();
    let before = round();
    assert_eq!([round(), round()], [before, before]);
    let late = controller.send("north", "makePurse", [1.into()]).unwrap();
    controller.forget(late).unwrap();
    run(&mut controller);
    assert_eq!(controller.outcome(late).unwrap(), Outcome::Pending);
    assert_eq!(counts(&controller), before);
}

#[test]
fn an_input_meets_a_kernel_panic_again_and_again_and_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut controller = open(&dir, Vec::new());
    run(&mut controller);
    let at = controller.block().unwrap().tables().globals().next_crank;
    drop(controller);
    let plant: PlantedBug = format!("object.counts@{}", CrankNum(at.0 + 1)).parse().unwrap();
    let mut hashes = vec![];
    let mut sent = None;
    for _ in 0..3 {
        let mut controller = open(&dir, vec![plant.clone()]);
        if sent.is_none() {
            sent = Some(controller.send("north", "makePurse", [1.into()]).unwrap());
            controller.send("north", "makePurse", [2.into()]).unwrap();
        }
        controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap_err();
        hashes.push(controller.standing().state_hash.clone());
    }
    assert_eq!(hashes[1], hashes[2]);
    let mut controller = open(&dir, Vec::new());
    run(&mut controller);
    assert_eq!(data(controller.outcome(sent.unwrap()).unwrap()).slots.len(), 1);
}

/// The hashes after a kernel panic under a message from outside, after the next one, and after a run without the bug.
fn under_a_panic(inputs: Inputs) -> (Vec<String>, CapData<KRef>) {
    let dir = tempfile::tempdir().unwrap();
    let mut host = open_with(&dir, Vec::new(), inputs);
    run(&mut host);
    let at = host.block().unwrap().tables().globals().next_crank;
    drop(host);
    let plant: PlantedBug = format!("object.counts@{}", CrankNum(at.0 + 1)).parse().unwrap();
    let mut host = open_with(&dir, vec![plant.clone()], inputs);
    let sent = host.send("north", "makePurse", [1.into()]).unwrap();
    host.send("north", "makePurse", [2.into()]).unwrap();
    host.tell_time(1_000).unwrap();
    host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap_err();
    assert_eq!(host.epitaph().unwrap().crank, Some(at.0 + 1));
    let block_of_panic = host.epitaph().unwrap().block;
    // Nothing is queued for nobody.
    assert!(
        host.block().is_err() && host.forget(sent).is_err() && host.set_directives(Default::default(), false).is_err()
    );
    assert!(host.keep_policy(&BlockPolicy::default()).is_err() && host.order("crank-9999: halt").is_err());
    assert!(host.tell_time(2_000).is_err() && host.receive_mail(1, true.into()).is_err());
    assert!(host.refuse_mail(1, "why").is_err() && host.acknowledge_mail(1).is_err());
    drop(host);
    assert!(dir.path().join("state").join(format!("panic-{}.json", at.0 + 1)).exists(), "the host leaves an epitaph");
    let mut host = open_with(&dir, vec![plant], inputs);
    let mut hashes = vec![host.standing().state_hash.clone()];
    assert_eq!(host.block().unwrap().tables().globals().time, 1_000);
    host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap_err();
    assert_eq!(host.epitaph().unwrap().block, block_of_panic, "the open block is met again");
    drop(host);
    let mut host = open_with(&dir, Vec::new(), inputs);
    hashes.push(host.standing().state_hash.clone());
    run(&mut host);
    hashes.push(host.standing().state_hash.clone());
    (hashes, data(host.outcome(sent).unwrap()))
}

#[test]
fn a_block_that_halts_keeps_its_inputs_whether_they_are_committed_first_or_with_it() {
    let (first, answer) = under_a_panic(Inputs::First);
    assert_eq!(first[0], first[1], "the second panic changes nothing");
    assert_eq!((first, answer), under_a_panic(Inputs::WithBlock));
}

#[test]
fn a_block_with_its_inputs_is_one_commit_and_the_same_hash() {
    let run_to_the_end = |inputs| {
        let dir = tempfile::tempdir().unwrap();
        let mut host = open_with(&dir, Vec::new(), inputs);
        host.send("north", "makePurse", [1.into()]).unwrap();
        run(&mut host);
        host.standing().state_hash.clone()
    };
    assert_eq!(run_to_the_end(Inputs::First), run_to_the_end(Inputs::WithBlock));
}

#[test]
fn the_time_of_a_block_can_be_told_and_never_goes_back() {
    let (_dir, mut host) = bank();
    let time = |host: &Host| host.block().unwrap().tables().globals().time;
    host.tell_time(5_000).unwrap();
    host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    assert_eq!(time(&host), 5_000);
    host.tell_time(4_000).unwrap();
    host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    assert_eq!(time(&host), 5_000);
    host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    assert_eq!(time(&host), 5_005, "nobody told the time of this one");
    // A block that is open keeps its time; what was told is for the next one.
    host.send("north", "makePurse", [1.into()]).unwrap();
    host.take_in(&BlockPolicy::default()).unwrap();
    host.tell_time(9_000).unwrap();
    host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    assert_eq!(time(&host), 5_010);
    host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    assert_eq!(time(&host), 9_000);
}

#[test]
fn inputs_come_in_at_the_same_place_whether_the_block_was_interrupted_or_not() {
    let (_dir, mut controller) = bank();
    let sent: Vec<Sent> = (0..6).map(|it| controller.send("north", "makePurse", [it.into()]).unwrap()).collect();
    controller.run_block(&BlockPolicy::default(), &mut |ran| ran.crank.0 % 2 == 0).unwrap();
    let late = controller.send("south", "makePurse", [7.into()]).unwrap();
    run(&mut controller);
    for it in sent.into_iter().chain([late]) {
        assert_eq!(data(controller.outcome(it).unwrap()).slots.len(), 1);
    }
}

#[test]
fn the_clock_ends_a_block_between_two_cranks() {
    let (_dir, mut controller) = bank();
    for it in 0..4 {
        controller.send("north", "makePurse", [it.into()]).unwrap();
    }
    let policy = BlockPolicy { wall_millis: Some(0), ..BlockPolicy::default() };
    let end = controller.run_block(&policy, &mut |_| true).unwrap();
    assert_eq!((end.cranks, end.closed, end.quiescent), (0, true, false));
    run(&mut controller);
}

#[test]
fn on_a_thread_with_a_small_stack_one_is_mapped_once_around_a_block() {
    let left = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut host = open(&dir, Vec::new());
        let mut least = usize::MAX;
        let mut each = |_: &vathost::kernel::Ran| {
            least = least.min(stacker::remaining_stack().unwrap_or(0));
            true
        };
        host.run_block(&BlockPolicy::default(), &mut each).unwrap();
        least
    });
    let left = left.unwrap().join().unwrap();
    // What a guest asks for; with less, each delivery maps one.
    assert!(left > 9 << 20, "{left} bytes are left between two cranks");
}
