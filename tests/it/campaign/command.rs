//! `vathost fault init | plan | run | show`, as they are typed.

use serde_json::Value;
use vathost::lab::campaign::preset::PRESETS;

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
        let ran = place.vathost(&format!("fault run @{at}.toml --json"));
        // A sample may hold a fault of the disk or the heap that nobody notices: a finding, and no bug of the host.
        assert!(ran.code < 2, "{preset}: {}", ran.stderr);
        let report = ran.json();
        assert_eq!(report["experiments"], plan["experiments"], "{preset}");
        for class in report["classes"].as_array().unwrap() {
            let name = class["class"].as_str().unwrap();
            let bug = ["NOT-REACHED", "HARNESS", "HOST-CRASH", "HOST-HANG", "DURABILITY", "DIVERGED", "INVARIANT"];
            assert!(!bug.contains(&name), "{preset}: {name}");
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
    assert_eq!(plan["census"], true);
    place.write("c.toml", &text.replace("order = 2", "order = 2\nsample = 189"));
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

#[test]
fn an_invariant_without_an_end_is_a_mistake_of_the_campaign_and_the_wall_limit_bounds_it() {
    let place = Place::new();
    let bank = concat!(env!("CARGO_MANIFEST_DIR"), "/vats/bank");
    for (at, ask) in
        [r#"check = "def f: f; f""#, r#"check = "def f: [f]; f""#, r#"command = ["sleep", "1000"]"#].iter().enumerate()
    {
        let text = format!(
            "schema = 1\n[base]\nscenario = \"{bank}\"\nlimits = {{ wall = \"2s\" }}\n[[fault]]\nat = \"crank-5\"\ndo = \"skip\"\n\
             [[invariant]]\nname = \"i\"\n{ask}\n"
        );
        place.write(&format!("{at}.toml"), &text);
        for verb in ["plan", "run"] {
            place.vathost(&format!("fault {verb} @{at}.toml")).code(2).says("the invariant `i` cannot be asked: ");
        }
    }
    place.write("long.toml", &format!("schema = 1\n[base]\nscenario = \"{bank}\"\n[[fault]]\nat = \"crank-5\"\ndo = \"skip\"\n[[invariant]]\nname = \"i\"\ncheck = \"{}1{}\"\n", "[".repeat(9_000), "]".repeat(9_000)));
    place.vathost("fault plan @long.toml").code(2).says("expected 8192 at the most");
}

#[test]
fn a_campaign_is_the_same_from_every_folder() {
    let place = Place::new();
    let bank = concat!(env!("CARGO_MANIFEST_DIR"), "/vats/bank");
    place.write(
        "in/c.toml",
        &format!(
            "schema = 1\n[base]\nscenario = \"{bank}\"\n[[fault]]\nat = \"v2/delivery-{{n}}\"\ndo = \"skip\"\nn = \"1..=3\"\n\
             [[invariant]]\nname = \"beside\"\ncommand = [\"sh\", \"./check.sh\"]\n"
        ),
    );
    place.write("in/check.sh", "test -e beside && cat > /dev/null\n");
    place.write("in/beside", "");
    let fault = |dir: &str, words: &str| {
        let output = place.command(&format!("fault {words}")).current_dir(place.path(dir)).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words} in {dir}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let here = fault("in", "run c.toml --json");
    // Resumed from another folder, it is the same campaign, and nothing is left to run.
    let there = fault("", "run in/c.toml --resume --json");
    let of = |text: &str, field: &str| serde_json::from_str::<Value>(text).unwrap()[field].clone();
    for field in ["experiments", "classes", "findings", "accepted"] {
        assert_eq!(of(&here, field), of(&there, field), "{field}");
    }
    assert_eq!(of(&here, "campaign")["key"], of(&there, "campaign")["key"]);
    fault("in", "plan ./c.toml");
    // A scenario may be the folder that the campaign lies in.
    place.write("alone/vat.toml", &format!("[vats.a]\nbundle = \"{bank}.wasm\"\n"));
    place.write("alone/c.toml", "schema = 1\n[base]\nscenario = \".\"\n[[fault]]\nat = \"crank-0\"\ndo = \"skip\"\n");
    fault("alone", "plan c.toml");
}

#[test]
fn a_base_without_an_end_is_refused_with_the_way_out() {
    let place = Place::new();
    place.write_endless("vat.toml");
    let campaign = |golden: &str| {
        format!("schema = 1\n[base]\nscenario = \"vat.toml\"\n{golden}\n[[fault]]\nat = \"crank-5\"\ndo = \"skip\"\n")
    };
    place.write("c.toml", &campaign("golden = { cranks = 200 }"));
    for verb in ["plan", "run"] {
        let ran = place.vathost(&format!("fault {verb} @c.toml")).code(2);
        ran.says("the undisturbed run has no end in sight: after 200 cranks more is to be done")
            .says("`golden = { cranks = N }` in [base]");
    }
    place.write("wall.toml", &campaign("golden = { cpu = \"1ms\" }"));
    place.vathost("fault plan @wall.toml").code(2).says("seconds of the processor").says("--golden-cpu S");
    place.write("memory.toml", &campaign("golden = { memory = \"1MiB\", cpu = \"10m\", cranks = 100_000_000 }"));
    place
        .vathost("fault plan @memory.toml")
        .code(2)
        .says("cranks take more than 1 MiB of memory")
        .says("--golden-memory");
    place.write("until.toml", &campaign("until = \"+60 cranks\"\ngolden = { cranks = 50 }"));
    place.vathost("fault plan @until.toml").ok();
    for words in ["one @vat.toml crank-5:skip", "points @vat.toml", "shrink @vat.toml crank-5:skip", "init @vat.toml"] {
        place.vathost(&format!("fault {words} --golden-cranks 60")).code(2).says("after 60 cranks more is to be done");
    }
    place.vathost("fault one @vat.toml crank-5:skip --cranks 60").ok();
}

#[test]
fn a_plan_ends_no_process_and_counts_the_experiments_that_would() {
    let place = Place::new();
    let said = place.vathost("fault plan vats/bank/planted.toml").ok().stdout;
    assert!(said.contains("and 4 in processes of their own"), "{said}");
}
