//! What a campaign says can be trusted: a token keeps its verdict, campaigns do not mix, shares are exact where they can be, and a
//! comparison compares like with like.

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use vathost::lab::{
    campaign::{self, Campaign},
    experiment::{Class, Outcome},
};

use crate::{cli::Place, fault::lab};

const TALLY: &str = "vats/tally/lost-messages.toml";

/// A campaign on the bank with these lines.
fn on_the_bank(lines: &str) -> String {
    let bank = concat!(env!("CARGO_MANIFEST_DIR"), "/vats/bank");
    format!("schema = 1\nname = \"c\"\n[base]\nscenario = \"{bank}\"\n{lines}\n")
}

fn skips(action: &str, numbers: &str) -> String {
    on_the_bank(&format!("[[fault]]\nid = \"a\"\nat = \"v2/delivery-{{n}}\"\ndo = \"{action}\"\nn = \"{numbers}\""))
}

/// Runs `vathost` with words that may hold spaces.
fn typed(place: &Place, words: &str, more: &[&str]) -> (i32, String, String) {
    let output = place.command(words).args(more).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_token_names_its_campaign_and_gives_its_verdict_again() {
    let place = Place::new();
    let report = place.vathost(&format!("fault run {TALLY} --out @out --json")).code(1).json();
    let outcome = &report["findings"][0]["outcome"];
    let (id, token) = (outcome["id"].as_str().unwrap(), outcome["token"].as_str().unwrap());
    let again = place.vathost(&format!("fault repro {token} --json")).ok();
    assert_eq!(&serde_json::from_str::<Value>(&again.stdout).unwrap(), outcome);
    // The command that `show` prints is one that gives the same class.
    let shown = place.vathost(&format!("fault show {id} --in @out")).ok().stdout;
    let (_, command) = shown.split_once("again: vathost ").unwrap();
    let said = place.vathost(command.trim()).ok().stdout;
    assert!(said.starts_with("INVARIANT: the replicas agree\n"), "{said}");
}

#[test]
fn a_campaign_that_asks_for_something_else_by_now_is_not_taken_for_the_tokens() {
    let place = Place::new();
    let asks = "[[invariant]]\nname = \"i\"\ncheck = 'any(.vats[]; .status == \"running\")'";
    let text = format!("{}\n{asks}", skips("skip", "1..=2"));
    place.write("c.toml", &text);
    let path = place.path("c.toml").display().to_string();
    let (_, line, _) = typed(&place, "fault one --json --campaign", &[&path, "v2/delivery-1: skip"]);
    let token = serde_json::from_str::<Value>(&line).unwrap()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("vf2-"), "{token}");
    place.vathost(&format!("fault repro {token}")).ok();
    place.write("c.toml", &text.replace("any(.vats[]; .status == \"running\")", "[.vats[]] | length > 0"));
    place.vathost(&format!("fault repro {token}")).code(2).says("other limits or invariants").says("--campaign FILE");
    let (code, _, said) = typed(&place, &format!("fault repro {token} --campaign"), &[&path]);
    assert!(code == 0 && said.contains("warning: "), "{said}");
    fs::remove_file(&path).unwrap();
    place.vathost(&format!("fault repro {token}")).code(2).says("the campaign of this experiment");
}

#[test]
fn an_invariant_is_shrunk_under_its_campaign() {
    let place = Place::new();
    let faults = ["v2/delivery-1: duplicate", "v3/delivery-900: skip", "crank-900: skip"];
    let (code, said, note) = typed(&place, &format!("fault shrink --campaign {TALLY}"), &faults);
    assert!(code == 0 && said.starts_with("INVARIANT: the replicas agree\n"), "{said}{note}");
    assert!(note.contains("3 faults shrunk to 1 by "), "{note}");
    let (_, _, without) = typed(&place, "fault shrink vats/tally", &faults);
    assert!(without.contains("faults shrunk to 1 by "), "{without}");
    // A token has all of it.
    let (_, line, _) = typed(&place, &format!("fault one --json --campaign {TALLY}"), &faults);
    let outcome: Value = serde_json::from_str(&line).unwrap();
    let (_, said, note) = typed(&place, "fault shrink", &[outcome["token"].as_str().unwrap()]);
    assert!(
        said.starts_with("INVARIANT: the replicas agree\n") && note.contains("3 faults shrunk to 1"),
        "{said}{note}"
    );
    let (code, _, note) = typed(&place, "fault one", &[outcome["token"].as_str().unwrap(), "crank-5: skip"]);
    assert!(code == 2 && note.contains("a token has its base and its faults"), "{note}");
}

#[test]
fn results_of_two_campaigns_are_not_merged_and_those_of_two_shards_are() {
    let place = Place::new();
    place.write("a.toml", &skips("skip", "1..=3"));
    place.write("b.toml", &skips("terminate", "1..=3"));
    for one in ["a", "b"] {
        place.vathost(&format!("fault run @{one}.toml --json"));
    }
    let refused = place.vathost("fault report @a.results @b.results").code(2);
    refused.says("are not of one campaign: their faults, limits or invariants differ").says("--compare DIR");
    place.write("c.toml", &skips("skip", "1..=3").replace("name = \"c\"", "name = \"d\""));
    place.vathost("fault run @c.toml --json");
    place.vathost("fault report @a.results @c.results").code(2).says("their names are c and d");
    place.write("a.toml", &skips("skip", "1..=4"));
    place.vathost("fault run @a.toml --resume").code(2).says("other faults");
}

#[test]
fn the_debugger_obeys_the_faults_of_the_experiment_that_it_stands_in() {
    let place = Place::new();
    place.write("script", "next\nback\nnext\n");
    for (fault, does) in [
        ("v2/delivery-3: trap after 0 fuel", "ended: out of fuel"),
        ("v2/delivery-3: skip", "skipped"),
        ("v2/delivery-3/syscall-0: error illegal", "ended: "),
    ] {
        let (_, line, _) = typed(&place, "fault one first:bank --json", &[fault]);
        let outcome: Value = serde_json::from_str(&line).unwrap();
        let token = outcome["token"].as_str().unwrap();
        let dir = format!("@{}", fault.len());
        let said = place.vathost(&format!("fault repro {token} --debug {dir} --commands @script")).ok().stdout;
        let crank = outcome["done"][0]["crank"].as_u64().unwrap();
        let done = said.lines().filter(|it| it.starts_with(&format!("crank-{crank}, ")) && it.contains(does)).count();
        assert_eq!(done, 2, "{fault}: on the way, and again after going back: {said}");
        // A later session in the folder has them as well.
        let later = place.vathost(&format!("debug {dir} --at crank-{crank} --commands @script")).ok().stdout;
        assert!(later.contains(does), "{fault}: {later}");
    }
    // A folder whose token was damaged is no folder to stand in.
    place.write("19/experiment", "vf1-x");
    place
        .vathost("debug @19 --commands @script")
        .code(2)
        .says("the token is damaged")
        .says("fault repro TOKEN --debug DIR");
}

#[test]
fn a_random_bit_is_one_of_a_page_in_use_and_what_only_lies_in_a_heap_is_latent() {
    let mut counter = lab::on("counter");
    let outcome = lab::run(&mut counter, "v1/delivery-1: flip v1 memory bit 1114100.0");
    assert_eq!((outcome.class, outcome.hurt.len()), (Class::Latent, 0), "{outcome:?}");
    // A page that holds nothing but zeros is most of a guest's memory: seldom is a bit of one in use.
    let mut classes = BTreeSet::new();
    let mut shown = 0;
    for seed in 0..60 {
        let outcome = counter.run(&lab::faults("v1/delivery-1: flip v1 memory bit random"), seed);
        shown += usize::from(!matches!(outcome.class, Class::Latent | Class::Masked | Class::Recovered));
        classes.insert(outcome.class);
    }
    assert!(shown >= 1, "{shown} of 60 flips showed: {classes:?}");
}

#[test]
fn a_duplicate_of_a_message_with_a_result_acts_and_its_copy_has_no_result() {
    let mut bank = lab::on("bank");
    let outcome = lab::run(&mut bank, "crank-6: duplicate");
    assert_eq!(outcome.done[0].why_not, None, "{outcome:?}");
    assert!(!matches!(outcome.class, Class::NoEffect | Class::KernelPanic | Class::Harness), "{outcome:?}");
    assert_eq!(outcome.deviated, Some(6), "{outcome:?}");
}

#[test]
fn no_effect_gives_its_reasons_in_plan_and_report() {
    let place = Place::new();
    place.write("c.toml", &skips("trap after 1000000000 fuel", "1..=3"));
    let plan = place.vathost("fault plan @c.toml --json").ok().json();
    assert_eq!(plan["noEffect"][0]["why"], "the delivery used N");
    assert_eq!(plan["noEffect"][0]["count"], 3);
    let said = place.vathost("fault plan @c.toml").ok().stdout;
    assert!(
        said.contains("no effect in 3 of 3 that were tried: the delivery used N, as in `v2/delivery-1: trap"),
        "{said}"
    );
    let said = place.vathost("fault run @c.toml").ok().stdout;
    assert!(said.contains("no effect in 3: the delivery used N, as in `v2/delivery-"), "{said}");
    let report = place.vathost("fault report @c.results --json").ok().json();
    assert_eq!(report["noEffect"][0]["count"], 3);
    for (form, text) in [("--html", "Without effect"), ("--md", "No effect in 3: the delivery used N")] {
        let said = place.vathost(&format!("fault report @c.results {form}")).ok().stdout;
        assert!(said.contains(text), "{said}");
    }
}

#[test]
fn a_campaign_that_runs_all_there_is_has_exact_shares_and_a_sample_has_intervals() {
    let place = Place::new();
    let accept = "\n[accept]\nspread = \"<= 10% @95\"";
    place.write("all.toml", &format!("{}{accept}", skips("skip", "1..=60")));
    place.write("some.toml", &format!("{}\n[schedule]\nsample = 5{accept}", skips("skip", "1..=6")));
    place.write("random.toml", &skips("flip v2 memory bit random", "1..=3"));
    let all = place.vathost("fault run @all.toml");
    assert!(all.stdout.contains("all that there are") && !all.stdout.contains("95 % interval"), "{}", all.stdout);
    assert!(all.stdout.contains("which are all that there are: "), "{}", all.stdout);
    // Not all came to their places: of those that did, the shares stand beside the others.
    assert!(all.stdout.contains("of those reached"), "{}", all.stdout);
    let report = place.vathost("fault report @all.results --json").json();
    let of =
        |class: &str| report["classes"].as_array().unwrap().iter().find(|it| it["class"] == class).unwrap().clone();
    let (spread, lost) = (of("SPREAD"), of("NOT-REACHED"));
    let (count, unreached) = (spread["count"].as_f64().unwrap(), lost["count"].as_f64().unwrap());
    assert_eq!((&report["census"], &lost["ofReached"]), (&true.into(), &Value::Null));
    assert_eq!(spread["low"], spread["high"]);
    assert!((spread["ofReached"].as_f64().unwrap() - count / (60.0 - unreached)).abs() < 1e-9, "{spread}");
    for file in ["some", "random"] {
        let said = place.vathost(&format!("fault run @{file}.toml"));
        assert!(
            said.stdout.contains("95 % interval") && !said.stdout.contains("all that there are"),
            "{}",
            said.stdout
        );
    }
    let said = place.vathost("fault plan @all.toml").ok().stdout;
    assert!(said.contains("shares will be exact") && !said.contains("too few"), "{said}");
    assert!(place.vathost("fault plan @some.toml").ok().stdout.contains("too few"));
}

#[test]
fn the_values_that_an_invariant_saw_are_shown() {
    let place = Place::new();
    let asks = |check: &str| format!("{}\n[[invariant]]\nname = \"i\"\ncheck = '{check}'", skips("terminate", "2..=2"));
    place.write("sides.toml", &asks("[.vats[] | select(.status == \"running\")] | length >= 3"));
    place.write("all.toml", &asks("any(.vats[]; .id == \"v2\" and .status == \"running\")"));
    let saw = |name: &str| {
        place.vathost(&format!("fault run @{name}.toml --json")).code(1).json()["findings"][0]["outcome"]["saw"].clone()
    };
    let sides = saw("sides");
    assert_eq!(sides[0], "2 >= 3", "{sides}");
    assert_eq!(sides[1], ".vats.north.status = \"terminated\" (golden run: \"running\")", "{sides}");
    assert_eq!(saw("all")[0], sides[1]);
    let said = place.vathost("fault report @sides.results").code(1).stdout;
    assert!(said.contains("  saw 2 >= 3\n"), "{said}");
    let line = fs::read_to_string(place.path("sides.results/results.jsonl")).unwrap();
    let outcome: Outcome = serde_json::from_str(line.trim()).unwrap();
    let said = place.vathost(&format!("fault show {} --in @sides.results", outcome.id)).ok().stdout;
    assert!(said.contains("  saw 2 >= 3\n"), "{said}");
    for form in ["--html", "--md"] {
        let said = place.vathost(&format!("fault report @sides.results {form}")).code(1).stdout;
        assert!(said.contains("2 &gt;= 3") || said.contains("2 \\>= 3"), "{said}");
    }
}

#[test]
fn a_comparison_shows_transitions_of_the_experiments_that_are_in_both() {
    let place = Place::new();
    place.write("a.toml", &skips("skip", "1..=4"));
    place.vathost("fault run @a.toml --out @before --json");
    // The same faults on a bank that is never asked for anything: another base.
    place.write("b.toml", &skips("skip", "2..=6").replace("[base]", "[base]\nuntil = \"+6 cranks\""));
    place.vathost("fault run @b.toml --out @now --json");
    let change = place.vathost("fault report @now --compare @before --json").json()["change"].clone();
    assert_eq!((&change["compared"], &change["onlyBefore"], &change["onlyNow"]), (&3.into(), &1.into(), &2.into()));
    let moved: u64 = change["transitions"].as_array().unwrap().iter().map(|it| it[2].as_u64().unwrap()).sum();
    assert!(moved >= 2, "{change}");
    let said = place.vathost("fault report @now --compare @before").stdout;
    assert!(said.contains("compared: 3 experiments are in both; 1 is only in the earlier run"), "{said}");
    assert!(said.contains("SPREAD → NOT-REACHED: 1 experiment\n"), "{said}");
    place.write("c.toml", &skips("terminate", "1..=2"));
    place.vathost("fault run @c.toml --out @other --json");
    place.vathost("fault report @now --compare @other").code(2).says("no experiment is in both results");
    place.vathost("fault run @c.toml --out @new --compare @nothing").code(2).says("there are no results in");
    assert!(!place.path("new").exists(), "refused before anything was run");
}

#[test]
fn vats_are_named_in_places_and_results_have_their_numbers() {
    let place = Place::new();
    let (code, said, _) = typed(&place, "fault one vats/bank", &["north/delivery-3: skip"]);
    assert!(code == 0 && said.contains("\n  v2/delivery-3: skip: done in crank "), "{said}");
    let (code, said, _) = typed(&place, "fault one vats/bank", &["crank-9: flip north memory bit random"]);
    assert!(code == 0 && said.contains("crank-9: flip v2 memory bit random"), "{said}");
    let (code, _, said) = typed(&place, "fault one vats/bank", &["nroth/delivery-3: skip"]);
    assert!(code == 2 && said.contains("there is no vat `nroth`") && said.contains("did you mean `north`?"), "{said}");
    let text = on_the_bank(
        "[[fault]]\nid = \"a\"\nat = \"{vat}/delivery-{n}\"\ndo = \"terminate\"\nvat = [\"north\", \"v3\"]\nn = \"1..=2\"",
    );
    place.write("c.toml", &text);
    place.vathost("fault run @c.toml --json");
    let lines = fs::read_to_string(place.path("c.results/results.jsonl")).unwrap();
    assert_eq!(lines.matches("\"v2/delivery-").count(), 2, "{lines}");
    place.write("wrong.toml", &text.replace("\"north\"", "\"nobody at all\""));
    place.vathost("fault run @wrong.toml").code(2).says("there is no vat `nobody at all`").says("north (v2)");
    // A state has names, too.
    place.vathost("run vats/bank --state @state --cranks-per-block 5 --blocks 1").ok();
    let dir = place.path("state").display().to_string();
    let (code, said, _) = typed(&place, "fault one", &[&dir, "north/delivery-3: skip"]);
    assert!(code == 0 && said.contains("v2/delivery-3: skip: done"), "{said}");
}

#[test]
fn progress_counts_what_was_run_before() {
    let place = Place::new();
    place.write("c.toml", &skips("skip", "1..=6"));
    place.vathost("fault run @c.toml --json --shard 1/2");
    let before = fs::read_to_string(place.path("c.results/results.jsonl")).unwrap().lines().count();
    assert!((1..6).contains(&before), "{before}");
    let said = place.vathost("fault run @c.toml --resume --progress json").stderr;
    let last: Value = said.lines().rfind(|it| it.starts_with('{')).map(|it| serde_json::from_str(it).unwrap()).unwrap();
    let counted: u64 = last["classes"].as_object().unwrap().values().map(|it| it.as_u64().unwrap()).sum();
    assert_eq!((counted, &last["done"], &last["total"]), (6, &6.into(), &6.into()), "{said}");
}

#[test]
fn a_mistake_in_a_file_or_a_folder_ends_with_2_and_says_the_way_out() {
    let place = Place::new();
    place.write("c.toml", &skips("skip", "1..=1"));
    place.vathost("fault run @c.toml --json");
    let line = fs::read_to_string(place.path("c.results/results.jsonl")).unwrap();
    place.write("c.results/results.jsonl", &format!("{line}{{\"id\":1}}\n"));
    place.vathost("fault report @c.results").code(2).says("line 2 of ").says("hint: ");
    place.write("c.results/campaign.json", "no JSON");
    place.vathost("fault report @c.results").code(2).says("hint: ");
    place.vathost("fault run @c.toml --out @c.toml").code(2).says("hint: ");
    place.vathost("fault run @c.toml --out @c.toml/inside").code(2).says("hint: ");
}

#[test]
fn results_of_before_are_read_and_have_intervals() {
    let place = Place::new();
    place.write("c.toml", &skips("skip", "1..=3"));
    place.vathost("fault run @c.toml --json");
    let path = place.path("c.results/campaign.json");
    let mut header: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for field in ["exhaustive", "random"] {
        assert!(header.as_object_mut().unwrap().remove(field).is_some(), "{field}");
    }
    fs::write(&path, header.to_string()).unwrap();
    let said = place.vathost("fault report @c.results").stdout;
    assert!(said.contains("95 % interval"), "{said}");
}

/// The first column of a table of the page, below that head.
fn column(page: &str, head: &str) -> BTreeSet<String> {
    let (_, table) = page.split_once(head).unwrap();
    let rows = table.lines().skip(2).take_while(|it| it.starts_with('|'));
    rows.map(|it| it.split('|').nth(1).unwrap().trim().trim_matches('`').to_owned()).collect()
}

#[test]
fn the_page_on_results_names_every_field_and_every_class() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/results.md")).unwrap();
    let blank = || -> Outcome {
        serde_json::from_value(serde_json::json!({
            "id": "1", "faults": ["crank-1: skip"], "seed": 1, "class": "SPREAD", "hurtCount": 1, "detail": "d", "done": [],
            "deviated": 1, "hurt": ["v1"], "path": [{ "crank": 1, "vat": "v1", "what": "notify" }], "noted": ["n"],
            "saw": ["1 == 2"], "end": "quiescent", "cranks": 1, "token": "t",
        }))
        .unwrap()
    };
    let written = serde_json::to_value(blank()).unwrap();
    let fields: BTreeSet<String> = written.as_object().unwrap().keys().cloned().collect();
    assert_eq!(column(&page, "| field |"), fields);
    let classes: BTreeSet<String> = Class::ALL.iter().map(|it| it.name().to_owned()).collect();
    assert_eq!(column(&page, "| class |"), classes);
    // Each class can be limited by its name.
    for class in Class::ALL {
        let text = format!("{}\n[accept]\n{} = 0", skips("skip", "1..=1"), campaign::key(class));
        Campaign::parse(std::path::Path::new("c.toml"), &text).unwrap_or_else(|it| panic!("{class}: {it}"));
    }
}
