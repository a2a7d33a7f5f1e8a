//! The commands that look, and those that move, between two cranks and within one.

use expect_test::expect;
use serde_json::json;

use super::{answers, debug, hash, panicked, untouched};

#[test]
fn every_view_has_an_answer_for_people() {
    let place = untouched();
    let script = "vats\nvat\nqueue\nclist\npromise\npromise kp41\nobject ko20\nkv\nmem 0x100000 20\ndirectives\nbreak\nwhy ko22\nhelp mem";
    debug(&place, "--at crank-12", script).ok().prints_but_for_fuel(expect![[r#""#]]);
}

#[test]
fn help_knows_every_command() {
    let place = untouched();
    debug(&place, "", "help").ok().prints(expect![[r#""#]]);
}

#[test]
fn a_delivery_is_stepped_through_with_views_of_its_open_crank() {
    let place = untouched();
    let at = answers(&place, "--at crank-5", "step\ndelivery\nstep\nwhere\nnext");
    assert_eq!(at[1]["reply"]["stop"], "syscall");
    assert_eq!(at[1]["reply"]["syscall"], 0);
    assert_eq!(at[1]["place"], "crank-5 syscall 0");
    assert_eq!(
        at[2]["reply"]["syscall"],
        at[1]["reply"]
            .as_object()
            .map(|it| {
                let mut syscall = it.clone();
                syscall.remove("stop");
                syscall.remove("stateHash");
                json!(syscall)
            })
            .unwrap()
    );
    assert_eq!(at[3]["reply"]["syscall"], 1);
    assert_eq!(at[4]["reply"], at[3]["reply"]);
    assert_eq!(at[5]["place"], "crank-6");
    // However it was come to, the crank is the same.
    assert_eq!(hash(&at[5]), hash(&answers(&place, "--at crank-6", "")[0]));
}

#[test]
fn the_kernels_syscall_and_the_vats_are_the_recorded_ones() {
    let place = untouched();
    place.vathost(&format!("{} --slog @slog", super::BANK)).ok();
    let slog = std::fs::read_to_string(place.path("slog")).unwrap();
    let records = slog.lines().map(|it| serde_json::from_str::<serde_json::Value>(it).unwrap());
    let recorded: Vec<_> = records
        .filter(|it| it["type"] == "syscall")
        .map(|it| (it["crankNum"].clone(), it["vsc"].clone(), it["ksc"].clone()))
        .collect();
    let script = "step\n".repeat(recorded.len() + 60);
    let stepped: Vec<_> = answers(&place, "", &(script[..5 * (recorded.len() + 20)].to_owned()))
        .into_iter()
        .map(|it| it["reply"].clone())
        .filter(|it| it["stop"] == "syscall")
        .map(|it| (it["crank"].clone(), it["vsc"].clone(), it["ksc"].clone()))
        .collect();
    assert!(stepped.len() > 30, "{}", stepped.len());
    assert_eq!(stepped, recorded[..stepped.len()]);
}

#[test]
fn from_within_a_delivery_one_goes_on_back_or_elsewhere() {
    let place = untouched();
    let straight = answers(&place, "", "next 8\ncontinue");
    let (eight, end) = (hash(&straight[1]), hash(&straight[2]));
    let at = |script: &str| answers(&place, "--at crank-7", script).pop().unwrap();
    assert_eq!(hash(&at("step\nnext")), eight);
    assert_eq!(hash(&at("step\nstep\nuntil crank-8")), eight);
    assert_eq!(hash(&at("step\ncontinue")), end);
    assert_eq!(at("step\nback")["place"], "crank-7");
    assert_eq!(at("step\nback 2")["place"], "crank-5");
    assert_eq!(hash(&at("step\nback\nnext")), eight);
    assert_eq!(at("step\nnext 3")["place"], "crank-10");
    assert_eq!(at("step\nretry")["place"], "crank-8");
    assert_eq!(hash(&at("step\nskip\nback\nforget\nnext")), eight);
    assert_eq!(at("step\nbreak syscall resolve")["place"], "crank-7");
    // The session ends within the delivery.
    debug(&place, "--at crank-7", "step").ok();
    debug(&place, "--at crank-7", "step\nquit").ok();
}

#[test]
fn memory_is_that_of_the_moment() {
    let place = untouched();
    let bytes = |script: &str| {
        let mut all = answers(&place, "--at crank-7", script);
        all.pop().unwrap()["reply"]["bytes"].as_str().unwrap().to_owned()
    };
    let whole = "mem 0x0 0x120000";
    let (before, within, after) =
        (bytes(whole), bytes(&format!("step\n{whole}")), bytes("next\nback\nmem 0x0 0x120000"));
    assert_ne!(before, within, "the guest runs");
    assert_eq!(before, after, "the crank was undone");
    debug(&place, "--at crank-7", "mem 0xffffff00 16").code(2).says("its memory ends at");
    debug(&place, "--at crank-7", "step\nmem v3 0 16").code(2).says("only");
}

#[test]
fn breakpoints_of_every_kind_stop_before_what_they_name() {
    let place = untouched();
    let stop = |script: &str| {
        let last = answers(&place, "", script).pop().unwrap();
        (last["place"].as_str().unwrap().to_owned(), last["reply"]["why"].as_str().unwrap_or_default().to_owned())
    };
    let why = |number: u32, text: &str| format!("breakpoint {number}: {text}");
    assert_eq!(stop("break crank-6\ncontinue"), ("crank-6".into(), why(1, "crank-6")));
    assert_eq!(stop("break block-2\ncontinue"), ("crank-5".into(), why(1, "block-2")));
    let (place_of_delivery, _) = stop("break v2/delivery-3\ncontinue");
    assert_eq!(stop("until v2/delivery-3").0, place_of_delivery);
    assert_eq!(stop("next 4\nbreak v1\ncontinue").1, why(1, "every delivery to v1"));
    let (at, _) = stop("break syscall resolve\ncontinue");
    assert!(at.contains(" syscall "), "{at}");
    let (at, _) = stop("break kp45\ncontinue");
    assert_ne!(at, "end");
    assert_eq!(stop("break crank-6\nunbreak 1\ncontinue").0, "end");
    assert_eq!(stop("break crank-1000\ncontinue").0, "end");
    debug(&place, "", "unbreak 3").code(2).says("there is no breakpoint 3");
    place.write("d", "crank-9: break");
    let stopped = answers(&place, "--directives @d", "continue").pop().unwrap();
    assert_eq!((&stopped["place"], &stopped["reply"]["why"]), (&json!("crank-9"), &json!("`crank-9: break`")));
}

#[test]
fn a_panic_is_a_stop_and_not_the_end() {
    let place = panicked();
    let at = answers(&place, "--at panic", "next\nnext\nretry\ncontinue\nback\ncontinue\nskip\ncontinue");
    let stops: Vec<_> = at.iter().map(|it| it["reply"]["stop"].as_str().unwrap_or_default()).collect();
    assert_eq!(stops, ["place", "panic", "panic", "panic", "panic", "back", "panic", "crank", "end"]);
    assert_eq!(at[1]["reply"]["halt"]["invariant"], "promise.decider");
    let hashes: Vec<_> = [0, 1, 2, 3, 4, 6].iter().map(|it| hash(&at[*it])).collect();
    assert!(hashes.iter().all(|it| *it == hashes[0]), "{hashes:?}");
}

#[test]
fn a_place_behind_a_panic_is_not_come_to() {
    let place = panicked();
    let at = answers(&place, "--at crank-5", "where");
    assert_eq!((&at[0]["place"], &at[0]["reply"]["stop"]), (&json!("crank-3"), &json!("panic")));
}

#[test]
fn why_takes_what_a_recording_knows() {
    let place = untouched();
    place.vathost(&format!("{} --slog @slog --state @done", super::BANK)).ok();
    let told = debug(&place, "--slog @slog", "why kp45").ok().stdout;
    assert!(told.contains("syscall") && told.contains("looked at: this session, slog"), "{told}");
    debug(&place, "", "why kp45").code(2).says("--slog FILE");
}
