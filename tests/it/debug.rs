//! The debugger as its users meet it: scripts are run over real states, in the open work and behind the commit.

mod guest;
mod matrix;
mod past;
mod tries;
mod views;

use std::{collections::BTreeMap, fs};

use expect_test::expect;
use serde_json::Value;

use crate::cli::{Place, Ran};

const BANK: &str = "run first:bank --cranks-per-block 5";

/// A state of the bank in which everything is still to be done.
fn untouched() -> Place {
    let place = Place::new();
    place.write("halt", "crank-0: halt");
    place.vathost(&format!("{BANK} --state @state --directives @halt")).code(3);
    place
}

/// A state in which the kernel panicked in crank 3.
fn panicked() -> Place {
    let place = Place::new();
    let vats = concat!(env!("CARGO_MANIFEST_DIR"), "/vats");
    let scenario = r#"
        send = [
            { to = "honest", method = "increment", args = [40] },
            { to = "forger", method = "forge", args = ["resolve-what-another-decides", "@honest"] },
            { to = "honest", method = "increment", args = [2] },
        ]
        [vats.honest]
        bundle = "VATS/counter.wasm"
        [vats.forger]
        bundle = "VATS/forger.wasm""#;
    place.write("vat.toml", &scenario.replace("VATS", vats));
    let plant = "--experimental --plant resolve-non-decider@crank-0";
    place.vathost(&format!("run @vat.toml --state @state --cranks-per-block 2 {plant}")).code(70);
    place
}

/// Runs a script over the state in `@state`.
fn debug(place: &Place, flags: &str, script: &str) -> Ran {
    place.write("script", script);
    // What an epitaph does not say, the flags must.
    let told = place.path("state/panic-3.json").exists() || flags.contains("--cranks-per-block");
    let course = if told { "" } else { "--cranks-per-block 5" };
    place.vathost(&format!("debug --state @state --commands @script {course} {flags}"))
}

/// What a script answers, an object a command; the first is where it begins.
fn answers(place: &Place, flags: &str, script: &str) -> Vec<Value> {
    let ran = debug(place, &format!("--json {flags}"), script).ok();
    ran.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

/// The place that a reply tells of.
fn place_of(answer: &Value) -> &Value {
    let reply = &answer["reply"];
    if reply["place"].is_object() { &reply["place"] } else { reply }
}

/// The mark of the crank before the place of an answer.
fn mark(answer: &Value) -> &str {
    place_of(answer)["mark"].as_str().unwrap_or_else(|| panic!("no mark: {answer}"))
}

fn hash(answer: &Value) -> &str {
    place_of(answer)["stateHash"].as_str().unwrap_or_else(|| panic!("no hash: {answer}"))
}

/// Every file of the state, by name.
fn files(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(place.path("state")).unwrap();
    entries
        .map(|it| it.unwrap())
        .map(|it| (it.file_name().into_string().unwrap(), fs::read(it.path()).unwrap()))
        .collect()
}

#[test]
fn from_a_panic_to_just_before_its_delivery_and_to_a_way_out() {
    let place = panicked();
    let script = "where\ndelivery\nstep\nclist\nstep\nwhy kp43\nnext\nskip\nback\nterminate reason it forges\ncontinue";
    debug(&place, "--at panic", script).ok().prints_but_for_fuel(expect![[r#"
        before crank-3: delivery-1 to v2 forger, message forge
          block 2, 1 of its cranks ran; the state is committed up to crank-2
          state hash    <hash>
          message hash  <hash>
          epitaph       kernel panic in crank 3: delivery 1 to v2 (forger), syscall 1 resolve: invariant `promise.decider` failed: v2 settles kp43, which nobody decides
        (crank-3) where
        before crank-3: delivery-1 to v2 forger, message forge
          block 2, 1 of its cranks ran; the state is committed up to crank-2
          state hash    <hash>
          message hash  <hash>
          epitaph       kernel panic in crank 3: delivery 1 to v2 (forger), syscall 1 resolve: invariant `promise.decider` failed: v2 settles kp43, which nobody decides
        (crank-3) delivery
        crank-3: delivery-1 to v2 forger, message forge
          kernel  message ko21 forge("resolve-what-another-decides", <honest ko20>) result kp41
          vat     message o+0 forge("resolve-what-another-decides", <honest o-50>) result p-60
          hash    <hash>
        (crank-3) step
        crank-3, delivery-1 to v2, syscall 0: send
          vat     send o-50 forged() result p+<fuel>
          kernel  send ko20 forged() result kp43
        (crank-3 syscall 0) clist
        vat's               kernel's  kind     reachable  about
        o-50                ko20      import   yes        of v1 honest
        o+0                 ko21      export   yes        of v2 forger
        p-60                kp41      promise  yes        decided by v2 forger
        p+<fuel>  kp43      promise  yes        decided by v2 forger
        (crank-3 syscall 0) step
        crank-3, delivery-1 to v2, syscall 1: resolve
          vat     resolve p+<fuel> fulfilled null
          kernel  resolve kp43 fulfilled null
        (crank-3 syscall 1) why kp43
        kp43
          crank-3: v2 introduces it, as p+<fuel>
          crank-3, delivery-1 to v2: syscall 0, send: the result of this message
          crank-3, delivery-1 to v2: syscall 1, resolve
          v2 forger knows it as p+<fuel>: its transcript does not name it yet
          promise  state       decider  subscribers  refs  queued  settled with
          kp43     unresolved  -        -               2       0
          looked at: this session, the transcripts of those who know it
        (crank-3 syscall 1) next
        kernel panic: invariant `promise.decider` failed: v2 settles kp43, which nobody decides
          in delivery-1 to v2, message
          at syscall 1 resolve
          found by src/kernel/promise.rs:<line>
        again before crank-3: delivery-1 to v2 forger, message forge
        (crank-3) skip
        crank-3, delivery-1 to v2: skipped
          kp41 rejected Error: delivery skipped by directive
          state hash <hash>
        before crank-4: delivery-2 to v1 honest, message increment
        (crank-4) back
        before crank-3: delivery-1 to v2 forger, message forge
        (crank-3) terminate reason it forges
        crank-3, delivery-1 to v2: ended: Error: it forges
          kp41 rejected Error: vat terminated
          v2 forger: terminated
          state hash <hash>
        before crank-4: rows of the dead v2 forger are removed
        (crank-4) continue
        crank-4: no delivery
          state hash <hash>
        crank-5, delivery-2 to v1: done, 3 syscalls, fuel <fuel>
          kp42 fulfilled 42n
          state hash <hash>
        at the end: nothing is left to do
    "#]]);
}

#[test]
fn the_state_is_not_touched_however_it_was_left() {
    let halted = untouched();
    let finished = Place::new();
    finished.vathost(&format!("{BANK} --state @state")).ok();
    for place in [halted, finished, panicked()] {
        let before = files(&place);
        let script =
            "delivery\nnext\nbreak v1\ncontinue\nterminate v1\nback\nmem v1 0x100000 16\nforget\nwrite-directive @d";
        debug(&place, "", script);
        debug(&place, "--at v1/delivery-0", "next\nkv\nback");
        assert_eq!(files(&place), before);
    }
}

#[test]
fn the_state_of_a_running_host_is_looked_at_as_it_was_committed() {
    let place = Place::new();
    place.write_endless("vat.toml");
    let host = place.start("run @vat.toml --state @state --cranks-per-block 50");
    let height = place.wait_for_height("@state", 2);
    let at = answers(&place, "--cranks-per-block 50", "next\nback");
    assert!(at[0]["reply"]["block"].as_u64().unwrap() > height);
    assert_eq!(hash(&at[0]), hash(&at[2]));
    host.kill();
}

#[test]
fn the_first_mistake_ends_a_script_with_its_line() {
    let place = untouched();
    let ran = debug(&place, "", "where\n\n# a comment\nnxt\nwhere").code(2);
    assert_eq!(ran.stdout.matches("before crank-0").count(), 2, "{}", ran.stdout);
    ran.says(":4: there is no command `nxt`").says("hint: did you mean `next`?");
    let ran = debug(&place, "--json", "clist nobody").code(2);
    let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["what"], "there is no vat `nobody`");
    assert_eq!(last["error"]["line"], 1);
    debug(&place, "--at crnk-7", "").code(2).says("did you mean `crank-7`?");
    debug(&place, "--at panic", "").code(2).says("there is no panic-N.json");
    place.vathost("debug --state @nowhere").code(2).says("there is no state");
    place.vathost("debug --state @state --commands @nowhere").code(2);
    debug(&place, "--plant object.known@crank-1", "").code(2).says("--experimental");
}

#[test]
fn commands_may_come_from_a_pipe_and_quit_ends_them() {
    let place = untouched();
    let run = |flags: &str| {
        let mut command = place.command(&format!("debug --state @state {flags}"));
        command.stdin(fs::File::open(place.path("script")).unwrap());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    place.write("script", "next\nquit\nthis is never read");
    let told = run("");
    assert!(told.ends_with("(crank-1) quit\n"), "{told}");
    assert_eq!(run("--commands -"), told);
}

#[test]
fn a_panic_that_was_recovered_from_is_no_place_any_more() {
    let place = panicked();
    place.write("d", "crank-3: skip v2");
    let plant = "--plant resolve-non-decider@crank-0";
    place.vathost(&format!("run --state @state --cranks-per-block 2 --directives @d {plant}")).ok();
    debug(&place, "--at panic", "").code(2).says("was in crank 3").says("recovered");
    debug(&place, "--at v2/delivery-1", "").ok();
}
