//! How blocks are cut: the state keeps it, and whoever cuts them otherwise is told.

use super::{Place, Ran};

const RUN: &str = "run vats/bank --json";

fn golden(cranks: u64) -> String {
    Place::new().vathost(&format!("{RUN} --cranks-per-block {cranks}")).ok().hash()
}

fn blocks(place: &Place) -> serde_json::Value {
    place.vathost("inspect --state @state --json").ok().json()["blocks"].clone()
}

/// It said nothing of how blocks are cut.
fn is_silent(ran: &Ran) -> bool {
    !ran.stderr.contains("cut at")
}

#[test]
fn a_state_goes_on_as_it_was_begun_whatever_is_forgotten() {
    let place = Place::new();
    place.vathost(&format!("{RUN} --state @state --cranks-per-block 10 --blocks 2")).ok();
    let rest = place.vathost("run --state @state --json").ok();
    assert!(is_silent(&rest), "{}", rest.stderr);
    assert_eq!(rest.hash(), golden(10));
    assert_ne!(golden(10), golden(1_000), "it matters");
    assert_eq!(blocks(&place), serde_json::json!({ "cranks": 10, "fuel": null, "seconds": 5, "since": 1 }));
    place.vathost("inspect --state @state").ok().shows("10 cranks a block, 5 s apart, since block-1");
}

#[test]
fn a_change_is_made_and_told_however_quiet_and_is_kept_from_its_block_on() {
    let place = Place::new();
    place.vathost(&format!("{RUN} --state @state --cranks-per-block 5 --block-time 7 --blocks 2")).ok();
    let told = "warning: the blocks of this state were cut at 5 cranks a block, 7 s apart, and are at 6 cranks or 99999999999 \
                fuel a block, 7 s apart from block-3 on";
    let changed =
        place.vathost(&format!("{RUN} --state @state -q --cranks-per-block 6 --fuel-per-block 99999999999 --blocks 1"));
    changed.ok().says(told);
    assert_eq!(
        blocks(&place),
        serde_json::json!({ "cranks": 6, "fuel": 99_999_999_999_u64, "seconds": 7, "since": 3 })
    );
    let back = place.vathost(&format!("{RUN} --state @state --fuel-per-block 0 --blocks 1")).ok();
    back.says("and are at 6 cranks a block, 7 s apart from block-4 on");
    assert!(is_silent(&place.vathost(&format!("{RUN} --state @state"))));
}

#[test]
fn the_host_file_may_say_it_and_the_command_line_has_the_last_word() {
    let place = Place::new();
    place.write("state/host.toml", "[host]\ncranks_per_block = 10\n");
    place.vathost(&format!("{RUN} --state @state --blocks 1")).ok();
    assert_eq!(blocks(&place)["cranks"], 10);
    place.vathost("run --state @state --cranks-per-block 3 --blocks 1").ok().says("are at 3 cranks a block");
    place.write("state/host.toml", "[host]\ncranks_per_block = 0\n");
    place.vathost("run --state @state").code(2).says("host.toml");
}

#[test]
fn what_is_planned_is_what_the_host_will_come_to() {
    let place = Place::new();
    place.vathost(&format!("{RUN} --state @state --cranks-per-block 10 --block-time 9 --blocks 1")).ok();
    place.write("d", "crank-20: break");
    let plan = place.vathost("directives plan --state @state --file @d --json").ok().json();
    let real = place.vathost("run --state @state --json").ok();
    assert_eq!(plan["plans"][0]["stateHash"], real.hash());
}

#[test]
fn two_states_that_are_cut_otherwise_differ_in_that_too() {
    let place = Place::new();
    for (state, cranks) in [("a", 10), ("b", 7)] {
        place.vathost(&format!("{RUN} --state @{state} --cranks-per-block {cranks} --blocks 2")).ok();
    }
    place
        .vathost("diff @a @b")
        .code(1)
        .shows("their blocks are cut in different ways\n  A 10 cranks a block, 5 s apart, since block-1\n  B 7 cranks");
    let json = place.vathost("diff @a @b --json").code(1).json();
    assert_eq!([&json["a"]["blocks"]["cranks"], &json["b"]["blocks"]["cranks"]], [10, 7]);
}
