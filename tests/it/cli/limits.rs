//! A host that the system gives too little: it stops, says what it could not do, and goes on when there is more.

use std::process::Command;

use super::Place;

const RUN: &str = "run vats/bank --state @state --cranks-per-block 5 --json";

/// Runs it with these limits of the shell's; its exit code, and what it said.
fn limited(place: &Place, limits: &str) -> (i32, String) {
    let (code, said, _) = limited_to(place, limits, RUN);
    (code, said)
}

/// The same of another command; and its result.
fn limited_to(place: &Place, limits: &str, words: &str) -> (i32, String, String) {
    let vathost = place.command(words);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\"")).arg(vathost.get_program()).args(vathost.get_args());
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, value) in vathost.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().unwrap();
    let text = |it| String::from_utf8(it).unwrap();
    (output.status.code().unwrap(), text(output.stderr), text(output.stdout))
}

/// Blocks that the state has; `None` where nothing was committed.
fn height(place: &Place) -> Option<u64> {
    let look = place.vathost("inspect --state @state --json");
    (look.code == 0).then(|| look.json()["height"].as_u64().unwrap())
}

#[test]
fn a_disk_that_is_full_stops_the_run_wherever_it_is_and_with_room_it_goes_on_to_the_same_hash() {
    let golden = Place::new().vathost("run vats/bank --cranks-per-block 5 --json").ok().hash();
    let mut heights = Vec::new();
    // Blocks of 512 bytes that a file may have: from nothing to almost all that the log needs.
    for room in [0, 1, 8, 40, 200, 500, 900, 1_100] {
        let place = Place::new();
        // A signal comes with it, which the host does not take for its end.
        let (code, said, told) = limited_to(&place, &format!("ulimit -f {room}"), RUN);
        assert_eq!(code, 74, "{room}: {said}");
        // Who asked for an object gets one: at the opening, in block 0, and in a later block.
        assert!(told.starts_with("{\"hostFault\":{") || room == 0, "{room}: {told}");
        let named = said.contains("state`") && said.contains("File too large (os error 27)");
        // With no room at all there is none for the message.
        assert!(named || room == 0, "{room}: {said}");
        heights.push(height(&place));
        assert_eq!(place.vathost(RUN).ok().hash(), golden, "{room}");
        place.vathost("verify @state").ok();
    }
    assert!(heights.is_sorted() && heights[0].is_none() && heights.last().unwrap() > &Some(1), "{heights:?}");
}

#[test]
fn too_few_descriptors_stop_the_run_and_lose_nothing() {
    let golden = Place::new().vathost("run vats/bank --cranks-per-block 5 --json").ok().hash();
    let mut stopped = 0;
    for descriptors in 5..12 {
        let place = Place::new();
        let (code, said) = limited(&place, &format!("ulimit -n {descriptors}"));
        assert!(
            code == 0 || (code == 74 && (said.starts_with("error: ") || said.starts_with("host fault in crank"))),
            "{descriptors}: {code} {said}"
        );
        stopped += u32::from(code == 74);
        assert_eq!(place.vathost(RUN).ok().hash(), golden, "{descriptors}");
    }
    assert!(stopped > 0);
}

#[test]
fn where_there_are_few_addresses_fewer_vats_are_live_and_no_hash_changes() {
    let foreman = "run vats/foreman --state @state --json";
    let golden = Place::new().vathost("run vats/foreman --json").ok().hash();
    let place = Place::new();
    // A hundred vats take four gigabytes of addresses each, though hardly any memory: 60 GiB are enough for fourteen.
    let (code, said, _) = limited_to(&place, &format!("ulimit -v {}", 60 << 20), foreman);
    assert_eq!(code, 0, "{said}");
    assert_eq!(place.vathost(foreman).ok().hash(), golden);
}

#[test]
fn a_state_that_was_never_laid_out_is_begun_anew_and_says_so_to_who_looks() {
    let place = Place::new();
    place.write("state/state.sqlite", "");
    place.vathost("inspect --state @state").code(74).says("a host began to lay it out, and was stopped");
    place.vathost("run --state @state").code(2).says("there is no state in");
    let golden = place.vathost("run vats/bank --json").ok().hash();
    assert_eq!(place.vathost("run vats/bank --state @state --json").ok().hash(), golden);
}
