//! A run that is ended in the middle, by the machine or by ^C, and goes on.

use serde_json::Value;

use super::Place;

const RUN: &str = "run @vat.toml --state @state --cranks-per-block 20 --json";

/// The hash of the endless scenario at this height, run straight through.
fn straight_through(place: &Place, height: u64) -> String {
    place.vathost(&format!("run @vat.toml --cranks-per-block 20 --blocks {height} --json")).ok().hash()
}

#[test]
fn a_killed_run_goes_on_to_the_same_hash() {
    let place = Place::new();
    place.write_endless("vat.toml");
    let mut before = 0;
    for _ in 0..3 {
        let run = place.start(RUN);
        place.wait_for_height("@state", before + 2);
        run.kill();
        before = place.wait_for_height("@state", before + 2);
    }
    let on = place.vathost(&format!("{RUN} --blocks 3")).ok();
    assert_eq!(on.json()["height"], before + 3);
    assert_eq!(on.hash(), straight_through(&place, before + 3));
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_hash() {
    let place = Place::new();
    place.write_endless("vat.toml");
    let run = place.start(RUN);
    place.wait_for_height("@state", 2);
    assert_eq!(run.interrupt().code(), Some(130));
    let overview = place.vathost("inspect --state @state --json").ok().json();
    // The block that was interrupted is finished first; it has its height already.
    let closed = overview["height"].as_u64().unwrap() - u64::from(overview["open"] == true);
    let on = place.vathost(&format!("{RUN} --blocks 3")).ok();
    assert_eq!(on.json()["height"], closed + 3);
    assert_eq!(on.hash(), straight_through(&place, closed + 3));
}

#[test]
fn a_long_delivery_is_interrupted_in_its_middle() {
    let place = Place::new();
    // It would end after some twenty seconds, by its own fault.
    place.write(
        "vat.toml",
        "[vats.a]\nbundle = \"guest.wat\"\noptions = { fuel_per_delivery = 20_000_000_000 }\n\
         [[send]]\nto = \"a\"\nmethod = \"go\"\n",
    );
    place.write(
        "guest.wat",
        r#"(module
          (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
          (memory (export "memory") 1)
          (func (export "vat_deliver") (param i32)
            (call $input_read (i32.const 0) (i32.const 0) (i32.const 4))
            (if (i32.eq (i32.load (i32.const 0)) (i32.const 1)) (then (loop $ever (br $ever))))))"#,
    );
    let run = place.start("run @vat.toml --state @state --cranks-per-block 1");
    place.wait_for_height("@state", 1);
    assert_eq!(run.interrupt().code(), Some(130));
    let overview = place.vathost("inspect --state @state --json").ok().json();
    assert_eq!([&overview["cranks"], &overview["open"]], [&Value::from(1), &Value::from(true)]);
    place.vathost("verify @state").ok();
}

#[test]
fn an_open_block_is_closed_where_it_would_have_been() {
    let place = Place::new();
    place.write_endless("vat.toml");
    // Interrupted between two looks, a run of large blocks is hardly ever at the end of one.
    let large = "run @vat.toml --state @state --cranks-per-block 3000 --json";
    let mut open = false;
    for _ in 0..10 {
        let run = place.start(large);
        let height = place.wait_for_height("@state", 1);
        place.wait_for_height("@state", height);
        assert_eq!(run.interrupt().code(), Some(130));
        open |= place.vathost("inspect --state @state --json").ok().json()["open"] == true;
        if open {
            break;
        }
    }
    assert!(open, "no block was interrupted");
    let on = place.vathost(&format!("{large} --blocks 1")).ok();
    let height = on.json()["height"].as_u64().unwrap();
    assert_eq!(on.json()["cranks"], 3000 * height);
    let straight = format!("run @vat.toml --cranks-per-block 3000 --blocks {height} --json");
    assert_eq!(on.hash(), place.vathost(&straight).ok().hash());
}

#[test]
fn a_state_that_is_run_is_refused_to_others_and_shown_to_all() {
    let place = Place::new();
    place.write_endless("vat.toml");
    let mut run = place.start(RUN);
    let first = place.wait_for_height("@state", 1);
    place.vathost(RUN).code(74).says("another process has it open");
    let later = place.wait_for_height("@state", first + 1);
    assert!(later > first);
    let vats = place.vathost("inspect --state @state vats --json").ok().json();
    assert_eq!([&vats[0]["name"], &vats[1]["name"]], ["ping", "pong"]);
    place.vathost("inspect --state @state transcript pong --from 3 --to 5").ok();
    run.is_at_work();
}
