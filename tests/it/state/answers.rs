//! Answers to messages from outside that expire: each replica lets them go in the same block, with all that they held, and whoever asks
//! for one is told so.

use tempfile::TempDir;
use vathost::{
    Audit, HostOptions,
    host::{
        controller::{BlockPolicy, Host, Outcome, Sent, VatAct},
        scenario::Scenario,
        staged::{BlockHeader, StagedHost},
    },
};

use super::*;

/// A host of banks whose answers are kept for so many blocks.
fn bank(state: Option<&Path>, answer_blocks: Option<u64>) -> Host {
    let state = state.map(Path::to_owned);
    let given = HostOptions { state, code_cache: Some(code_cache()), answer_blocks, ..HostOptions::default() };
    let mut host = Host::open(HostOptions { audit: Audit::EACH, ..given }).unwrap();
    if host.is_new() {
        host.install(&Scenario::read(&vats("bank")).unwrap()).unwrap();
    }
    host
}

fn block(host: &mut Host) -> String {
    host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap().state_hash.to_string()
}

fn purse(host: &mut Host, balance: u64) -> Sent {
    host.send("north", "makePurse", [balance.into()]).unwrap()
}

/// The numbers of rows that messages from outside have.
fn rows(host: &Host) -> [usize; 6] {
    let tables = host.block().unwrap().tables();
    let lens = [tables.outside.len(), tables.answers.len(), tables.promises.len(), tables.settlements.len()];
    [lens[0], lens[1], lens[2], lens[3], tables.objects.len(), tables.clist.len()]
}

fn is_expired(host: &Host, sent: Sent) -> bool {
    matches!(host.outcome(sent).unwrap(), Outcome::Expired(_))
}

#[test]
fn an_answer_is_there_for_as_many_blocks_as_the_state_says_and_then_whoever_asks_is_told() {
    let mut host = bank(None, Some(3));
    while !host.is_quiescent().unwrap() {
        block(&mut host);
    }
    let sent = purse(&mut host, 7);
    assert_eq!(host.outcome(sent).unwrap(), Outcome::Pending);
    for _ in 0..3 {
        block(&mut host);
        assert!(matches!(host.outcome(sent).unwrap(), Outcome::Fulfilled(_)));
    }
    let named = host.outcome(sent).unwrap().data().unwrap().slots[0];
    block(&mut host);
    assert_eq!(host.outcome(sent).unwrap().json(), None);
    let told = host.outcome(sent).unwrap().decode::<u64>().unwrap_err().to_string();
    assert_eq!(
        told,
        "the answer has expired: this state keeps one for 3 blocks (answer_blocks), unless it is forgotten before"
    );
    let refused = host.send(named, "balance", []).unwrap_err().to_string();
    assert!(refused.contains("until it is forgotten or expires"), "{refused}");
    // One that waits is not too old, however long it waits.
    let north = host.block().unwrap().tables().vat_named("north").unwrap();
    host.administrate(north, VatAct::Pause("to see".to_owned())).unwrap();
    let waiting = purse(&mut host, 8);
    (0..9).for_each(|_| drop(block(&mut host)));
    assert_eq!(host.outcome(waiting).unwrap(), Outcome::Pending);
    host.administrate(north, VatAct::Resume).unwrap();
    block(&mut host);
    assert!(matches!(host.outcome(waiting).unwrap(), Outcome::Fulfilled(_)));
}

#[test]
fn however_many_messages_come_the_rows_stay_as_many() {
    let lives = |answer_blocks| {
        let mut host = bank(None, answer_blocks);
        let mut at = Vec::new();
        for round in 0..60 {
            for it in 0..20 {
                purse(&mut host, it);
            }
            block(&mut host);
            if round % 20 == 19 {
                at.push(rows(&host));
            }
        }
        at
    };
    let kept = lives(None);
    assert!(kept[0][0] + 400 <= kept[1][0] && kept[1][2] + 400 <= kept[2][2], "{kept:?}");
    let flat = lives(Some(2));
    assert_eq!([flat[1], flat[2]], [flat[0], flat[0]]);
    assert!(flat[0][0] <= 2 * 20, "{flat:?}");
}

#[test]
fn a_host_that_is_opened_anew_before_each_block_comes_to_the_same_hashes() {
    let [one, other] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let mut steady = bank(Some(one.path()), Some(2));
    for round in 0..12 {
        // A state that exists keeps them as it did.
        let mut fresh = bank(Some(other.path()), (round == 0).then_some(2));
        for host in [&mut steady, &mut fresh] {
            // One of two is forgotten, before its time.
            let [first, _] = [round, round + 1].map(|it| purse(host, it));
            if round > 3 {
                host.forget(first).unwrap();
            }
        }
        assert_eq!(block(&mut steady), block(&mut fresh), "block {round}");
    }
    drop(steady);
    assert_eq!([findings(one.path()), findings(other.path())], [None, None]);
}

#[test]
fn a_staged_block_in_which_answers_expire_is_undone_and_done_again() {
    let host = bank(None, Some(1));
    let mut staged = StagedHost::new(host, true).unwrap();
    for _ in 0..6 {
        let info = staged.info().unwrap();
        let header = BlockHeader { height: info.height + 1, time: info.time, prev_state_hash: info.state_hash };
        let first = staged.decide(&header, [], &BlockPolicy::default()).unwrap();
        staged.undo_last().unwrap();
        assert_eq!(staged.decide(&header, [], &BlockPolicy::default()).unwrap(), first);
    }
    assert_eq!(rows(staged.host())[..2], [0, 0]);
}

#[test]
fn a_state_that_kept_all_answers_lets_them_go_from_the_block_on_in_which_it_is_told_to() {
    let dir = TempDir::new().unwrap();
    let mut host = bank(Some(dir.path()), None);
    let first = purse(&mut host, 1);
    (0..9).for_each(|_| drop(block(&mut host)));
    let hash = host.report().unwrap().state_hash;
    drop(host);
    // As it is, it can be said as often as one likes.
    let mut host = bank(Some(dir.path()), Some(0));
    assert!(host.is_quiescent().unwrap());
    assert_eq!(host.report().unwrap().state_hash, hash);
    drop(host);
    host = bank(Some(dir.path()), Some(2));
    assert!(!host.is_quiescent().unwrap(), "the change is an input");
    assert!(!is_expired(&host, first));
    (0..2).for_each(|_| drop(block(&mut host)));
    assert!(!is_expired(&host, first));
    block(&mut host);
    assert!(is_expired(&host, first));
    assert_eq!(rows(&host)[..2], [0, 0]);
    drop(host);
    // And back.
    host = bank(Some(dir.path()), Some(0));
    let second = purse(&mut host, 2);
    (0..9).for_each(|_| drop(block(&mut host)));
    assert!(matches!(host.outcome(second).unwrap(), Outcome::Fulfilled(_)));
    assert_eq!(rows(&host)[..2], [1, 0]);
}

#[test]
fn the_option_stands_in_a_scenario_in_host_toml_or_on_the_command_line_and_a_change_is_told() {
    let place = TempDir::new().unwrap();
    let (scenario, state) = (place.path().join("vat.toml"), place.path().join("state"));
    let text = fs::read_to_string(vats("bank/vat.toml")).unwrap().replace("../", &format!("{}/", vats("").display()));
    fs::write(&scenario, format!("answer_blocks = 4\n{text}")).unwrap();
    let run = |args: &[&str]| {
        let state = format!("--state={}", state.display());
        let ran = vathost(&[&["run", &state, "--json"], args].concat(), &[]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.err
    };
    let kept = || vathost(&["inspect", "--json"], &[&state]).json()["answerBlocks"].clone();
    run(&[scenario.to_str().unwrap(), "--blocks", "1"]);
    assert_eq!(kept(), 4);
    fs::write(state.join("host.toml"), "[host]\nanswer_blocks = 9\n").unwrap();
    let told = run(&[]);
    let change = "this state kept answers for 4 blocks, and keeps them for 9 blocks from block-2 on";
    assert!(told.contains(change), "{told}");
    assert_eq!(kept(), 9);
    let told = run(&["--answer-blocks", "0"]);
    assert!(told.contains("kept answers for 9 blocks, and keeps them until they are forgotten"), "{told}");
    assert!(kept().is_null());
    assert!(!run(&["--answer-blocks", "0"]).contains("kept answers"));
}
