//! What operators give a host: bundles to upgrade to, a `host.toml`; and orders of a program.

use vathost::{directive::HexPrefix, host::controller::Refusal, model::id::VatId, slog::Reader, state::block::Block};

use super::*;

/// A vat that cannot start.
const BAD: &str = "(module (memory (export \"memory\") 1) (func (export \"vat_deliver\") (param i32) unreachable))";

fn hash_of(path: &std::path::Path) -> String {
    BundleId::of(&wat::parse_file(path).unwrap()).to_string()[..12].to_owned()
}

#[test]
fn a_bundle_that_is_given_is_what_an_upgrade_may_name_and_changes_no_hash_until_then() {
    let (place, with, without) = (Place::new(), Place::new(), Place::new());
    let bundle = hash_of("vats/counter.wasm".as_ref());
    let line = format!("v2/delivery-10: upgrade v2 bundle {bundle}");
    // A fault of the machine says where it was, and what would go past it; however quiet.
    run(&place, &line, "-q")
        .code(74)
        .says(&bundle)
        .says("--bundle FILE.wasm")
        .says("host fault in crank 21: delivery 10 to v2 (pong): obey `v2/delivery-10")
        .says("state is intact at block 1")
        .says("crank-21: skip v2 expect ")
        .says("crank-21: pause v2");
    let json = run(&place, &line, "").code(74).json();
    assert_eq!([&json["hostFault"]["crank"], &json["hostFault"]["delivery"]], [21, 10]);
    let upgraded = run(&place, &line, "--bundle vats/counter.wasm").ok();
    assert_eq!(upgraded.json()["vats"]["pong"]["incarnation"], 1);
    let unused = run(&with, "", "--bundle vats/counter.wasm").ok();
    assert_eq!(unused.json(), run(&without, "", "").ok().json());
    // It was stored with the blocks: it need not be given again.
    run(&with, "", "--blocks 1").ok();
    place.vathost("verify @state").ok();
    run(&place, "", "--bundle Cargo.toml").code(2);
}

#[test]
fn a_bundle_that_is_missing_is_told_of_at_once() {
    let place = Place::new();
    run(&place, "", "--blocks 1").ok();
    place.write("u", "v2/delivery-100: upgrade v2 bundle 0123456789abcdef");
    let check = place.vathost("directives check @u --state @state").ok();
    check.says("warning: v2/delivery-100: upgrade v2 bundle 0123456789abcdef: the state does not hold that bundle");
    let json = place.vathost("directives check @u --state @state --json").ok().json();
    assert_eq!(json["directives"][0]["missingBundle"], true);
    place.vathost(&format!("{RUN} --state @state --directives @u --blocks 1")).ok().says("does not hold that bundle");
}

#[test]
fn an_upgrade_that_fails_halts_and_commits_nothing_of_its_block() {
    let place = Place::new();
    place.write("bad.wat", BAD);
    let bundle = hash_of(&place.path("bad.wat"));
    for _ in 0..2 {
        let line = format!("crank-50: upgrade v2 bundle {bundle}");
        run(&place, &line, "--bundle @bad.wat").code(3).says("the upgrade failed: trap");
        assert_eq!(committed(&place, "@state"), (2, hash_at(&place, 2)));
    }
    place.write("d", &format!("crank-50: upgrade v2 bundle {bundle}"));
    let plan =
        place.vathost("directives plan --state @state --file @d --bundle @bad.wat --cranks-per-block 20 --json").ok();
    assert_eq!(plan.json()["plans"][0]["end"], "halted");
    assert_eq!(run(&place, "", "").ok().hash(), place.vathost(RUN).ok().hash());
}

/// Whoever asked for an object gets one, wherever the host stops: in block 0, before it, or in the run behind a message.
#[test]
fn a_halt_is_told_as_json_wherever_it_happens() {
    let place = Place::new();
    place.vathost("run first:bank --state @state --blocks 1 --json").ok();
    std::fs::write(place.path("state/state.sqlite"), "no database").unwrap();
    for words in ["run @state --json", "call @state north makePurse 5 --json", "send @state north makePurse 5 --json"] {
        let told = place.vathost(words).code(74).json();
        assert!(told["hostFault"]["what"].is_string() && told["hostFault"]["why"].is_string(), "{words}: {told}");
    }
    let other = Place::new();
    other.vathost("run first:bank --state @state --json").ok();
    let next = other.vathost("inspect @state --json").ok().json()["cranks"].as_u64().unwrap();
    other.write("d", &format!("crank-{next}: halt"));
    let told = other.vathost("call @state north makePurse 5 --json --directives @d").code(3).json();
    assert_eq!(told["halted"]["crank"], next, "{told}");
}

#[test]
fn a_second_pause_says_in_the_summary_that_it_had_no_effect() {
    let place = Place::new();
    let ran = run(&place, "crank-30: pause v2 reason \"first\"\ncrank-31: pause v2\ncrank-40: resume v1", "").ok();
    let statuses = |ran: &Ran| -> Vec<String> {
        ran.json()["directives"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["status"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(statuses(&ran)[..2], ["applied", "no effect: already paused"]);
    let summary = place.vathost("run --state @state").ok();
    assert!(summary.stdout.contains("crank-31: pause v2: no effect: already paused, crank 31"), "{}", summary.stdout);
}

#[test]
fn the_file_in_the_states_folder_says_what_its_host_is_given() {
    let place = Place::new();
    let bundle = hash_of("vats/counter.wasm".as_ref());
    place.write("state/host.toml", "[host]\ndirectives = \"d\"\nbundles = [\"counter.wasm\"]\n");
    place.write("state/d", &format!("v2/delivery-10: upgrade v2 bundle {bundle}"));
    std::fs::copy("vats/counter.wasm", place.path("state/counter.wasm")).unwrap();
    let start = format!("{RUN} --state @state");
    place.vathost(&format!("{start} --blocks 1")).ok().says("directives digest");
    let check = place.vathost("directives check --state @state").ok();
    assert!(check.stdout.contains("v2/delivery-10: upgrade") && !check.stderr.contains("warning"), "{}", check.stderr);
    let upgraded = place.vathost(&start).ok();
    assert_eq!(upgraded.json()["vats"]["pong"]["incarnation"], 1);
    // What is given on the command line counts instead.
    let other = Place::new();
    other.write("state/host.toml", "[host]\ndirectives = \"d\"\n");
    other.write("state/d", "crank-50: halt");
    run(&other, "", "").ok();
    other.vathost(&format!("{start} --blocks 1")).code(0);
}

#[test]
fn a_mistake_in_the_states_file_is_shown_where_it_is() {
    let place = Place::new();
    for (text, why) in [
        ("[host]\ndirective = \"d\"\n", "line 2, column 1"),
        ("[hosts]\n", "line 1, column 2"),
        ("[host\n", "line 1"),
        ("[host]\ndirectives = \"none\"\n", "none"),
    ] {
        place.write("state/host.toml", text);
        let refused = place.vathost(&format!("{RUN} --state @state")).code(2).says("");
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(!place.path("state/state.sqlite").exists());
    }
    place.vathost("directives check --state @nowhere").code(2);
    place.vathost("directives check").code(2);
}

#[test]
fn a_replay_to_what_is_not_committed_obeys_what_its_host_obeyed() {
    let place = Place::new();
    run(&place, "", "--blocks 2").ok();
    let replay = "replay --state @state --vat v2 --delivery";
    let next = committed_deliveries(&place) + 1;
    // Skipped, the delivery is attempted, and not made.
    place.write("d", &format!("v2/delivery-{next}: skip"));
    let events = |ran: Ran| ran.json()["events"].to_string();
    let without = events(place.vathost(&format!("{replay} {next} --json")).ok());
    assert!(without.contains("\"deliver\"") && !without.contains("\"directive\""), "{without}");
    place.write("h", "crank-41: halt");
    place.vathost(&format!("{replay} {} --directives @h", next + 10)).code(3).says("halted before crank-41");
    place.write("state/host.toml", "[host]\ndirectives = \"../h\"\n");
    place.vathost(&format!("{replay} {}", next + 10)).code(3).says("halted before crank-41");
    place.vathost(&format!("{replay} {next} --plant object.counts@crank-41")).code(2).says("--experimental");
    let lab = Place::new();
    run(&lab, "", "--experimental --blocks 2").ok();
    lab.vathost(&format!("{replay} {} --plant object.counts@crank-45", next + 10)).code(70);
}

/// How many deliveries to pong are committed.
fn committed_deliveries(place: &Place) -> u64 {
    let block = Block::open_read_only(&place.path("state")).unwrap();
    block.tables().tallies.get(&VatId(2)).unwrap().deliveries
}

#[test]
fn a_host_that_is_killed_within_a_block_obeys_again_what_was_pending() {
    let place = Place::new();
    place.write_endless("vat.toml");
    place.write("d", "crank-30: pause v2\ncrank-31: resume v2\ncrank-33: resume v1");
    let start = "run @vat.toml --state @state --directives @d --slog @s --json --cranks-per-block";
    // The block never ends: whatever is recorded of it is lost.
    let host = place.start(&format!("{start} 1000000000"));
    place.wait_for_height("@state", 0);
    let obeyed = || {
        // No further than needed: the host may write faster than this reads.
        let events = Reader::open(&place.path("s"))
            .map(|it| it.filter_map(Result::ok).filter(|it| it.kind() == "directive").take(3).count());
        events.unwrap_or(0) >= 3
    };
    let mut looks = 0;
    while !obeyed() {
        // A look, which takes its time.
        place.vathost("inspect --state @state");
        looks += 1;
        assert!(looks < 6_000, "the host did not come to its directives");
    }
    host.kill();
    assert_eq!(committed(&place, "@state").0, 0);
    let on = place.vathost(&format!("{start} 20 --blocks 3")).ok().says("crank-30: pause v2: pending");
    let straight = place.vathost("run @vat.toml --directives @d --json --cranks-per-block 20 --blocks 3").ok();
    assert_eq!((on.hash(), super::obeyed(&on)), (straight.hash(), 3));
}

// ---- orders of a program

fn game() -> Host {
    let mut controller = Host::open(HostOptions::default()).unwrap();
    let scenario = Scenario { kernel: Some(1), ..Scenario::read("vats/pingpong".as_ref()).unwrap() };
    controller.install(&scenario).unwrap();
    controller
}

fn play(controller: &mut Host) -> String {
    while !controller.run_block(&BlockPolicy { cranks: 20, ..BlockPolicy::default() }, &mut |_| true).unwrap().quiescent
    {
    }
    controller.block().unwrap().state_hash().expect("hashes").to_string()
}

#[test]
fn what_a_program_orders_is_what_a_file_says() {
    let lines = "crank-5: pause v2 reason \"wait\"\ncrank-6: resume v2\nv2/delivery-10: skip\nblock-2: replace-kernel 2\ncrank-38: terminate v2\ncrank-39: break";
    let mut controller = game();
    for line in lines.lines() {
        assert_eq!(controller.order(line).unwrap().to_string(), line);
    }
    let mut set = DirectiveSet::default();
    set.read("test", lines.as_bytes()).unwrap();
    assert_eq!(controller.block().unwrap().directives(), &set);
    assert_eq!(controller.standing().directives_digest, set.digest().to_string());
    assert_eq!(play(&mut controller), run(&Place::new(), lines, "").ok().hash());
}

#[test]
fn a_program_may_upgrade_and_halt() {
    let mut controller = game();
    let wasm = std::fs::read("vats/counter.wasm").unwrap();
    let bundle = controller.put_bundle(&wasm).unwrap();
    let bundle = HexPrefix::of(&bundle.0);
    controller.order(&format!("crank-30: upgrade v2 bundle {bundle} reason \"better\"")).unwrap();
    controller.order("crank-32: halt").unwrap();
    let policy = BlockPolicy { cranks: 20, ..BlockPolicy::default() };
    let halt = (0..5).find_map(|_| controller.run_block(&policy, &mut |_| true).err()).unwrap();
    assert_eq!(halt.to_string(), "halted before crank-32 by `crank-32: halt`");
    let gone = controller.order("crank-33: break").unwrap_err();
    assert!(matches!(gone, Refusal::Halted), "{gone}");
}

#[test]
fn orders_are_refused_by_the_rules_of_the_file() {
    let mut controller = game();
    controller.run_block(&BlockPolicy { cranks: 20, ..BlockPolicy::default() }, &mut |_| true).unwrap();
    let skip = format!("v2/delivery-500: skip expect {}", "07".repeat(32));
    controller.order(&skip).unwrap();
    let before = controller.block().unwrap().directives().clone();
    let refused = [
        controller.order("v2/delivery-500: pause"),
        controller.order(&skip),
        controller.order("crank-19: halt"),
        controller.order("v2/delivery-0: terminate"),
        controller.order("v2/delivery-500: replace-kernel 2"),
        controller.order("block-0: skip"),
        controller.order("crank-40: jump"),
        controller.order("# nothing"),
        controller.order("crank-40: skip\ncrank-41: skip"),
    ];
    let said = refused.map(|it| it.unwrap_err().to_string().lines().next().unwrap().to_owned() + "\n");
    expect_test::expect![[r#"
        `v2/delivery-500: pause` contradicts `v2/delivery-500: skip expect 0707070707070707070707070707070707070707070707070707070707070707`: a delivery is either skipped or kept for later
        `v2/delivery-500: skip expect 0707070707070707070707070707070707070707070707070707070707070707` contradicts `v2/delivery-500: skip expect 0707070707070707070707070707070707070707070707070707070707070707`: it is the same line twice
        the state is past these directives and has no record of them:
        the state is past these directives and has no record of them:
        order:1:1: this makes no sense
        order:1:1: this makes no sense
        order:1:11: unexpected `jump`
        an order is one line of a directive file, such as `crank-7: skip`
        an order is one line of a directive file, such as `crank-7: skip`
    "#]].assert_eq(&said.concat());
    assert_eq!(controller.block().unwrap().directives(), &before);
    let mut later = game();
    later.run_block(&BlockPolicy { cranks: 20, ..BlockPolicy::default() }, &mut |_| true).unwrap();
    later.order("crank-20: skip").unwrap();
    assert_eq!(later.report().unwrap().directives[0].status, "pending");
}
