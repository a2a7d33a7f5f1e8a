//! `vathost fault init | plan | run | show`, as they are typed.

use serde_json::Value;
use vathost::campaign::preset::PRESETS;

use crate::cli::Place;

#[test]
fn each_preset_writes_a_campaign_that_reads_plans_and_runs_without_a_bug_of_the_host() {
    let place = Place::new();
    for (at, (preset, _)) in PRESETS.into_iter().enumerate() {
        let more = if preset == "power-loss" { "--cranks-per-block 20" } else { "" };
        place.vathost(&format!("fault init vats/bank --preset {preset} --out @{at}.toml {more}")).ok();
        let text = std::fs::read_to_string(place.path(&format!("{at}.toml"))).unwrap();
        place.write(&format!("{at}.toml"), &sampled(&text));
        let plan = place.vathost(&format!("fault plan @{at}.toml --json")).ok().json();
        assert!(plan["strata"].as_array().unwrap().iter().all(|it| it["neverComes"] == 0), "{plan:#}");
        let report = place.vathost(&format!("fault run @{at}.toml --json")).ok().json();
        assert_eq!(report["experiments"], plan["experiments"], "{preset}");
        for class in report["classes"].as_array().unwrap() {
            assert_ne!(class["class"], "NOT-REACHED", "{preset}");
        }
    }
    place.vathost("fault init vats/bank --out @0.toml").code(2).says("is there already");
    place.vathost("fault init vats/bank --preset all").code(2).says("there is no preset `all`");
}

/// As much of a campaign as a test has the time for: of one about the store each experiment has two processes.
fn sampled(text: &str) -> String {
    let text = text.replace("sample = 1_000", "sample = 60");
    match text.contains("/store-op-") {
        true => text.replace("# [schedule]", "[schedule]").replace("# sample = 5_000", "sample = 25"),
        false => text,
    }
}

#[test]
fn a_plan_counts_and_runs_nothing_that_is_kept() {
    let place = Place::new();
    let bank = concat!(env!("CARGO_MANIFEST_DIR"), "/vats/bank");
    let text = format!(
        "schema = 1\nname = \"n\"\n[base]\nscenario = \"{bank}\"\n[[fault]]\nid = \"a\"\nat = \"v4/delivery-{{n}}\"\n\
         do = [\"skip\", \"terminate\"]\nn = \"0..=9\"\n[schedule]\norder = 2\n[accept]\nsilent = \"<= 1% @95\"\n"
    );
    place.write("c.toml", &text);
    let plan = place.vathost("fault plan @c.toml --json").ok().json();
    // Twenty faults, of which any two but those at one place go together.
    assert_eq!((&plan["space"], &plan["experiments"], &plan["contradictory"]), (&190.into(), &180.into(), &10.into()));
    // The bank is gone after its third delivery.
    assert_eq!((&plan["strata"][0]["faults"], &plan["strata"][0]["neverComes"]), (&10.into(), &7.into()));
    assert_eq!(plan["sampleSizes"], serde_json::json!([["silent <= 1% @95", 381]]));
    let said = place.vathost("fault plan @c.toml").ok().stdout;
    assert!(said.contains("`silent <= 1% @95` takes 381 experiments without one: too few"), "{said}");
    assert!(!place.path("c.results").exists());
}

#[test]
fn a_finding_is_shown_and_run_again_with_its_invariant_and_laid_down_for_the_debugger() {
    let place = Place::new();
    let report = place.vathost("fault run vats/tally/lost-messages.toml --out @out --json").code(1).json();
    let outcome = &report["findings"][0]["outcome"];
    let (id, token) = (outcome["id"].as_str().unwrap(), outcome["token"].as_str().unwrap());
    let shown = place.vathost(&format!("fault show {} --in @out", &id[..10])).ok().stdout;
    assert!(shown.starts_with("INVARIANT: the replicas agree\n  v2/delivery-1: duplicate: done in crank "), "{shown}");
    place.vathost("fault show ffff --in @out").code(2).says("there is no experiment `ffff`");
    let again = place.vathost(&format!("fault repro --campaign vats/tally/lost-messages.toml {token} --json")).ok();
    assert_eq!(&serde_json::from_str::<Value>(&again.stdout).unwrap(), outcome);
    let crank = outcome["done"][0]["crank"].as_u64().unwrap();
    let words = format!("fault repro --campaign vats/tally/lost-messages.toml {token} --debug @laid-down");
    place.vathost(&words).ok().says(&format!("--at crank-{crank}"));
    place.write("script", "where\ndelivery\n");
    let words =
        format!("fault repro --campaign vats/tally/lost-messages.toml {token} --debug @again --commands @script");
    let said = place.vathost(&words).ok().stdout;
    let (before, after) = said.split_once(&format!("before crank-{crank}: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(before.starts_with("INVARIANT: the replicas agree"), "{said}");
    assert!(after.contains(&format!("(crank-{crank}) delivery\n")) && after.contains("increment"), "{said}");
}

#[test]
fn a_base_that_is_not_the_expected_one_is_refused() {
    let place = Place::new();
    place.vathost("fault init vats/bank --out @c.toml").ok();
    let text = std::fs::read_to_string(place.path("c.toml")).unwrap();
    place.write("right.toml", &text.replace("# expect", "expect"));
    place.vathost("fault plan @right.toml").ok();
    let (_, rest) = text.split_once("# expect = \"state ").unwrap();
    let hash = rest.split('"').next().unwrap();
    place.write("wrong.toml", &text.replace("# expect", "expect").replace(hash, "0123456789abcdef"));
    place.vathost("fault run @wrong.toml").code(2).says("is not the expected base");
}
