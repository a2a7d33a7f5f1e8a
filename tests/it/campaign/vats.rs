//! The campaigns in `vats/`: each comes to what its head says.

use std::fs;

use serde_json::Value;
use vathost::lab::campaign::Campaign;

use crate::cli::Place;

fn run(campaign: &str) -> (i32, Value) {
    let place = Place::new();
    let ran = place.vathost(&format!("fault run vats/{campaign} --out @out --json -j 2"));
    assert!(ran.code < 2, "{}", ran.stderr);
    (ran.code, serde_json::from_str(&ran.stdout).unwrap())
}

fn count(report: &Value, class: &str) -> u64 {
    let all = report["classes"].as_array().unwrap();
    all.iter().find(|it| it["class"] == class).map_or(0, |it| it["count"].as_u64().unwrap())
}

#[test]
fn no_money_is_made_or_lost_whoever_dies() {
    let (code, report) = run("bank/kill-each.toml");
    assert_eq!((code, count(&report, "INVARIANT")), (0, 0), "{report:#}");
    assert!(count(&report, "SPREAD") > 10);
}

#[test]
fn no_block_is_lost_with_the_power_or_the_disk() {
    let (code, report) = run("bank/power-loss.toml");
    assert_eq!(code, 0, "{report:#}");
    // Of those in which the commit was disturbed, some have it, and some do not.
    assert!(count(&report, "RECOVERED") > 40 && count(&report, "MASKED") > 0, "{report:#}");
}

#[test]
fn a_bank_that_misreads_its_books_loses_money_and_is_found_out() {
    let place = Place::new();
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/bank");
    let text = fs::read_to_string(dir.join("kill-each.toml")).unwrap();
    let text = text.replace("scenario = \"vat.toml\"", &format!("scenario = \"{}\"", dir.display()));
    let north = "at = \"v2/delivery-{n}\"\ndo = [\"terminate\", \"skip\"]\nn  = \"0..=10\"";
    assert!(text.contains(north));
    let misread = "at = \"v2/syscall:vatstoreGet #{n}\"\ndo = 'value \"#\\\"+0\\\"\"'\nn = \"1..=20\"";
    place.write("c.toml", &text.replace(north, misread));
    let report = place.vathost("fault run @c.toml --json").code(1).json();
    let finding = &report["findings"][0];
    assert_eq!(finding["name"], "INVARIANT no money is made or lost", "{report:#}");
    // What is in the purse is read as nothing, and written back with what is paid in.
    assert!(finding["outcome"]["faults"][0].as_str().unwrap().starts_with("v2/syscall-vatstoreGet-"), "{finding:#}");
}

#[test]
fn an_escrow_is_fair_whatever_happens_to_one_delivery() {
    let (code, report) = run("escrow/any-one-dies.toml");
    assert_eq!((code, report["findings"].as_array().unwrap().len()), (0, 0), "{report:#}");
    assert_eq!(count(&report, "NOT-REACHED"), 0);
}

#[test]
fn a_counter_that_hopes_is_found_out() {
    let (code, report) = run("tally/lost-messages.toml");
    assert_eq!((code, &report["findings"][0]["name"]), (1, &"INVARIANT the replicas agree".into()), "{report:#}");
    assert_eq!(report["findings"][0]["outcome"]["faults"], serde_json::json!(["v2/delivery-1: duplicate"]));
}

#[test]
fn every_planted_bug_is_found_named_and_shrunk_to_what_it_takes() {
    for (campaign, bugs) in [("bank/planted.toml", 27), ("forger/planted.toml", 1)] {
        let (code, report) = run(campaign);
        assert_eq!(code, 0, "{report:#}");
        let planted = report["planted"].as_array().unwrap();
        assert_eq!(planted.len(), bugs);
        assert!(planted.iter().all(|it| it["found"].as_u64() > Some(0)), "{planted:#?}");
        for finding in report["findings"].as_array().unwrap() {
            let simplest = if finding["shrunk"].is_null() { &finding["outcome"] } else { &finding["shrunk"] };
            assert_eq!(simplest["faults"].as_array().unwrap().len(), 1, "{finding:#}");
        }
    }
}

#[test]
fn a_host_that_crashes_or_hangs_or_starves_costs_one_experiment() {
    let place = Place::new();
    let bank = concat!(env!("CARGO_MANIFEST_DIR"), "/vats/bank");
    let head = format!("schema = 1\n[base]\nscenario = \"{bank}\"\nlimits = {{ wall = \"3s\" }}\n");
    let faults = "[[fault]]\nat = \"crank-9\"\ndo = [\"plant host-abort\", \"plant host-hang\"]\n\
                  [[fault]]\nat = \"v2/delivery-{n}\"\ndo = \"skip\"\nn = \"1..=5\"\n";
    place.write("c.toml", &format!("{head}{faults}"));
    let report = place.vathost("fault run @c.toml --json").code(1).json();
    assert_eq!((count(&report, "HOST-CRASH"), count(&report, "HOST-HANG")), (1, 1));
    assert_eq!((report["experiments"].as_u64(), count(&report, "HARNESS")), (Some(7), 0));
    let starved = head.replace("wall = \"3s\"", "memory = \"1MiB\"");
    place.write("starved.toml", &format!("{starved}{faults}"));
    let report = place.vathost("fault run @starved.toml --json").code(1).json();
    assert_eq!(count(&report, "HARNESS"), 7, "{report:#}");
}

#[test]
fn every_campaign_in_vats_reads() {
    let vats = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vats");
    let mut seen = 0;
    for dir in fs::read_dir(vats).unwrap().map(|it| it.unwrap().path()).filter(|it| it.is_dir()) {
        for path in fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()) {
            if path.extension().is_some_and(|it| it == "toml") && path.file_name().is_some_and(|it| it != "vat.toml") {
                seen += 1;
                let text = fs::read_to_string(&path).unwrap();
                if let Err(refused) = Campaign::parse(&path, &text) {
                    panic!("{refused}");
                }
            }
        }
    }
    assert!(seen >= 5, "{seen}");
}
