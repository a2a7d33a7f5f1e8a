//! What is tried in a session comes to what a host comes to that is given the file.

use super::{answers, debug, hash, panicked, untouched};
use crate::cli::Place;

/// Tries it, writes it, goes on to the end; then a host does as the file says.
#[track_caller]
fn holds(place: &Place, at: &str, tried: &str, run: &str) {
    let file = place.path("fix").display().to_string();
    let session = answers(place, at, &format!("{tried}\nwrite-directive {file}\ncontinue"));
    let end = session.last().unwrap();
    assert_eq!(end["place"], "end", "{tried}: {end}");
    let real = place.vathost(&format!("run --state @state --directives @fix --json {run}")).ok();
    assert_eq!(hash(end), real.hash(), "{tried}");
}

#[test]
fn what_was_tried_holds_for_a_host_with_the_file() {
    for tried in ["skip", "pause", "pause reason \"we wait\"", "terminate", "terminate v1", "skip\nback\nterminate"] {
        holds(&untouched(), "--at crank-7 --cranks-per-block 5", tried, "--cranks-per-block 5");
    }
    let bundle = "upgrade vats/bank.wasm";
    holds(&untouched(), "--at v2/delivery-2 --cranks-per-block 5", bundle, "--cranks-per-block 5");
    let plant = "--plant resolve-non-decider@crank-0";
    for tried in
        ["skip", "pause", "terminate", "step\nskip", "pause\nadd crank-5: resume v2\nadd crank-5: terminate v2"]
    {
        holds(&panicked(), "--at panic", tried, &format!("--cranks-per-block 2 {plant}"));
    }
}

#[test]
fn a_module_that_the_state_does_not_hold_is_brought_to_the_host_too() {
    let place = untouched();
    let at = "--at v2/delivery-2 --cranks-per-block 5";
    let tried = "upgrade v2 vats/counter.wasm";
    holds(&place, at, tried, "--cranks-per-block 5 --bundle vats/counter.wasm");
    let other = untouched();
    std::fs::copy(place.path("fix"), other.path("fix")).unwrap();
    other
        .vathost("run --state @state --directives @fix --cranks-per-block 5")
        .code(74)
        .says("the state holds no bundle whose hash begins with");
    debug(&other, at, "upgrade nowhere.wasm").code(2).says("nowhere.wasm");
}

#[test]
fn a_try_tells_what_came_of_it() {
    let place = panicked();
    let at = answers(&place, "--at panic", "skip\nback\npause\nback\nterminate");
    let ran = |at: &serde_json::Value| at["reply"]["ran"][0].clone();
    assert_eq!(ran(&at[1])["outcome"], "skipped");
    assert_eq!(ran(&at[1])["settled"][0]["promise"], "kp41");
    assert_eq!(ran(&at[1])["settled"][0]["how"], "rejected");
    assert_eq!(
        (ran(&at[3])["outcome"].clone(), ran(&at[3])["vats"][0].clone()),
        ("held".into(), "v2 forger: paused".into())
    );
    assert_eq!(
        (ran(&at[5])["outcome"].clone(), ran(&at[5])["vats"][0].clone()),
        ("ended".into(), "v2 forger: terminated".into())
    );
    let hashes = [1, 3, 5].map(|it| hash(&at[it]));
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
}

#[test]
fn what_was_tried_is_forgotten_as_if_it_had_not_been() {
    let place = untouched();
    let at = answers(&place, "--at crank-7", "next\nback\nskip\nforget\nnext\nback\nretry");
    assert_ne!(hash(&at[3]), hash(&at[1]));
    assert_eq!(hash(&at[4]), hash(&at[2]), "it stands where the line was tried");
    assert_eq!([hash(&at[5]), hash(&at[7])], [hash(&at[1]), hash(&at[1])]);
}

#[test]
fn forgetting_goes_to_before_the_first_line_that_was_tried_though_the_panic_lies_behind() {
    for tries in ["skip\nnext 3", "terminate\nnext 2", "pause\ncontinue", "skip\nuntil crank-6"] {
        let place = panicked();
        let at = answers(&place, "--at panic", &format!("{tries}\nforget\nwhere\nskip\nforget\nback\nnext"));
        let last = at.len() - 1;
        assert_eq!(hash(&at[last]), hash(&at[0]), "{tries}: {at:?}");
    }
}

#[test]
fn a_file_of_directives_is_added_to_and_not_replaced() {
    let place = untouched();
    place.write("d", "# ours\ncrank-6: skip v2   # if it is\ncrank-20: resume v1");
    let file = place.path("d").display().to_string();
    let flags = "--at crank-7 --cranks-per-block 5";
    debug(&place, flags, &format!("skip\nwrite-directive {file}")).code(2).says("not in force here");
    debug(&place, "--cranks-per-block 5 --directives @d", "until crank-6").ok();
    place.write("d", "# ours\ncrank-20: resume v1");
    debug(&place, &format!("{flags} --directives @d"), &format!("terminate v4\nwrite-directive {file}")).ok();
    let text = std::fs::read_to_string(place.path("d")).unwrap();
    assert_eq!(text, "# ours\ncrank-20: resume v1\ncrank-7: terminate v4\n");
    debug(&place, "", &format!("write-directive {file}")).code(2).says("nothing to write");
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let place = untouched();
    for (script, why) in [
        ("add crank-3: skp", "did you mean"),
        ("add", "needs a directive"),
        ("next 5\nadd crank-4: skip", "lies behind"),
        ("add crank-4: skip\nadd crank-4: pause v1\nadd crank-4: skip", "crank-4"),
        ("next 1000\nskip", "nothing is left to do"),
        ("pause nobody", "there is no vat"),
        ("retry", "no crank was run yet"),
    ] {
        debug(&place, "", script).code(2).says(why);
    }
}
