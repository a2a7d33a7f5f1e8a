//! `vathost bench`: that it measures what it says, keeps it, and compares it. No test looks at a time.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;
use vathost::{
    bench::{Case, Results, WORKLOADS, amplification_cases, amplification_tried},
    vat::module::IMPORTS,
};

/// As small as it gets.
const SMALL: [&str; 6] = ["--quick", "--runs", "1", "--deliveries", "200", "--json"];

fn vathost(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vathost")).args(args).output().unwrap()
}

fn bench(args: &[&str]) -> (i32, Value, String) {
    let output = vathost(&[&["bench", "-q"], args, &SMALL].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), json, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn workload<'a>(result: &'a Value, name: &str) -> &'a Value {
    result["workloads"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap()
}

#[test]
fn every_workload_runs_and_says_what_the_contract_names() {
    let (code, result, err) = bench(&["--all"]);
    assert_eq!(code, 0, "{err}");
    for floor in ["call", "send"] {
        assert!(result["floors"][floor]["nsPerDelivery"].as_f64().unwrap() > 0.0);
    }
    for field in ["os", "arch", "cpu", "date"] {
        assert!(result["machine"][field].is_string(), "{field}");
    }
    let names: Vec<_> = result["workloads"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, WORKLOADS.iter().map(|it| &*it.name).collect::<Vec<_>>());
    for name in WORKLOADS.iter().map(|it| &*it.name).filter(|it| !["open", "breakpoint"].contains(it)) {
        let it = workload(&result, name);
        for field in ["nsPerDelivery", "deliveriesPerSecond", "blocks", "ratioToFloor", "fuelPerSecond"] {
            assert!(it[field].as_f64().is_some_and(|it| it > 0.0), "{name} {field}: {it}");
        }
        assert!(it["p50ns"].as_f64() <= it["p99ns"].as_f64(), "{name}: {it}");
        assert!(it["deliveries"].as_u64().unwrap() >= if name == "latency" { 20 } else { 200 }, "{name}: {it}");
        let syncs = it["fsyncsPerBlock"].as_f64();
        assert!(syncs.is_none_or(|it| (1.0..4.0).contains(&it)), "{name}: {it}");
        assert_eq!(syncs.is_some(), ["ping", "call", "store", "reads", "fanout", "gc"].contains(&name), "{name}: {it}");
    }
    assert_eq!(workload(&result, "latency")["cranksPerBlock"], 1);
    // Guests that returned at once would not be run ahead at all; in so short a run few are.
    for name in ["ahead20us", "ahead200us"] {
        let ahead = workload(&result, "parallel")["figures"].as_array().unwrap().iter().find(|it| it["name"] == name);
        assert!(ahead.unwrap()["value"].as_f64() > Some(0.0), "{name}: {result}");
    }
    for it in result["workloads"].as_array().unwrap() {
        for figure in it["figures"].as_array().unwrap().iter().filter(|it| it.get("target").is_some()) {
            assert!(figure["met"].is_boolean(), "{figure}");
        }
    }
    let live = &workload(&result, "fanout")["figures"][1];
    assert_eq!((&live["name"], &live["value"]), (&"liveVats".into(), &101.0.into()));
}

#[test]
fn every_delivery_of_a_load_goes_well() {
    use vathost::{
        host::controller::{BlockPolicy, Host},
        state::table::Status,
    };
    for letter in "psrcfgoq".chars() {
        let mut controller = Host::open(Default::default()).unwrap();
        let load = vathost::bench::Load { letter, number: 12, others: 3 };
        controller.install(&load.scenario().unwrap()).unwrap();
        let mut faults = Vec::new();
        controller
            .run_block(&BlockPolicy { cranks: 200, ..BlockPolicy::default() }, &mut |ran| {
                faults.extend(ran.ended.clone());
                true
            })
            .unwrap();
        assert_eq!(faults, [], "{letter}");
        let tables = controller.block().unwrap().tables();
        assert!(tables.vats.iter().all(|(_, it)| it.status == Status::Running), "{letter}");
        let deliveries = tables.globals().deliveries;
        assert!(deliveries > 150, "{letter}: it came to rest after {deliveries} deliveries");
    }
}

#[test]
fn a_result_is_kept_and_a_worse_one_is_a_finding() {
    let dir = TempDir::new().unwrap();
    let (kept, better) = (dir.path().join("kept.json"), dir.path().join("better.json"));
    let (code, ..) = bench(&["ping", "replay", "--save", kept.to_str().unwrap()]);
    assert_eq!(code, 0);
    let mut result: Results = serde_json::from_str(&fs::read_to_string(&kept).unwrap()).unwrap();
    let with = |result: &mut Results, ratio: f64| {
        for it in &mut result.workloads {
            it.deliveries.as_mut().unwrap().ratio_to_floor = ratio;
            it.figures.retain(|it| it.name != "liveToReplay");
        }
        fs::write(&better, serde_json::to_string(&result).unwrap()).unwrap();
    };
    // Nothing is as bad as this: whatever is measured now is better.
    with(&mut result, 1e12);
    let (code, now, err) = bench(&["ping", "--compare", better.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(now["changes"].as_array().unwrap().len(), 1, "{}", now["changes"]);
    assert_eq!(now["changes"][0]["regressed"], false);
    with(&mut result, 1e-12);
    let (code, now, _) = bench(&["ping", "--compare", better.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert_eq!(now["changes"][0]["figure"], "ratioToFloor");
    assert_eq!(now["changes"][0]["regressed"], true);
}

#[test]
fn a_ratio_is_worse_in_the_direction_of_its_target_and_by_more_than_a_tenth() {
    let of = |to_floor: f64, to_replay: f64| -> Results {
        serde_json::from_value(serde_json::json!({
            "machine": { "os": "", "arch": "", "cores": 1, "cpu": "", "date": "", "release": true, "load": 0.0 },
            "runs": 1,
            "floors": { "call": { "nsPerDelivery": 1.0 }, "send": { "nsPerDelivery": 1.0 } },
            "workloads": [
                { "name": "directives", "figures": [
                    { "name": "ratioToWithout", "value": to_floor, "unit": "×", "target": { "atMost": 1.0 } },
                    { "name": "ns", "value": 7.0, "unit": "ns" },
                ] },
                { "name": "replay", "figures": [
                    { "name": "liveToReplay", "value": to_replay, "unit": "×", "target": { "atLeast": 3.0 } },
                ] },
            ],
        }))
        .unwrap()
    };
    let regressed = |before: &Results, after: &Results| -> Vec<bool> {
        vathost::bench::compare(before, after).iter().map(|it| it.regressed).collect()
    };
    let before = of(1.0, 4.0);
    assert_eq!(regressed(&before, &of(1.09, 3.7)), [false, false]);
    assert_eq!(regressed(&before, &of(1.11, 4.0)), [true, false]);
    assert_eq!(regressed(&before, &of(0.5, 3.6)), [false, true]);
    assert_eq!(regressed(&before, &of(1.0, 9.0)), [false, false]);
}

#[test]
fn what_cannot_be_compared_with_is_named() {
    let dir = TempDir::new().unwrap();
    let (text, other) = (dir.path().join("text"), dir.path().join("other.json"));
    fs::write(&text, "fast").unwrap();
    let (code, _, err) = bench(&["ping", "--compare", text.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(err.contains("cannot be compared with") && err.contains("--save"), "{err}");
    assert_eq!(bench(&["gc", "--save", other.to_str().unwrap()]).0, 0);
    let (code, _, err) = bench(&["ping", "--compare", other.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(err.contains("no workload in common"), "{err}");
}

#[test]
fn an_unknown_workload_is_refused_with_the_names_that_there_are() {
    let (code, _, err) = bench(&["pong"]);
    assert_eq!(code, 2);
    assert!(err.contains("there is no workload `pong`") && err.contains("ping (") && err.contains("open ("), "{err}");
}

#[test]
fn the_users_own_scenario_is_measured_to_its_end() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vats/bank");
    let (code, result, err) = bench(&["--scenario", path.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    let it = &result["workloads"][0];
    assert_eq!(it["name"], path.to_str().unwrap());
    assert!(it["deliveries"].as_u64().unwrap() > 5, "{it}");
    assert_eq!(bench(&["--scenario", "nowhere"]).0, 2);
}

#[test]
fn memory_is_told_by_the_vat_the_object_and_the_promise() {
    let output = vathost(&["bench", "memory", "--quick", "--json", "-q"]);
    let memory: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&memory["vats"], &memory["live"]), (&100.into(), &101.into()));
    for field in ["objects", "perIdleVat", "perObject", "perPromise", "perObjectOnDisk", "peakBytes"] {
        assert!(memory[field].as_u64().unwrap() > 0, "{field}: {memory}");
    }
    for field in ["entry", "object", "promise", "settlement", "subscriber"] {
        assert!(memory["rows"][field].as_u64().unwrap() > 0, "{field}: {memory}");
    }
}

#[test]
fn a_workload_runs_once_for_a_profiler_and_prints_nothing() {
    let output = vathost(&["bench", "ping", "--once", "--deliveries", "100"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b""[..]));
    assert!(!vathost(&["bench", "latency", "--once"]).status.success(), "it is a comparison");
}

#[test]
fn instructions_are_counted_by_valgrind_and_compared() {
    let dir = TempDir::new().unwrap();
    // Counts a million, and so many for each delivery.
    let valgrind = |each: u64| {
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\n[ $last = --version ] || echo \"==1== I   refs:   $((1000000 + {each} * last))\" >&2\n"
        );
        let path = dir.path().join("valgrind");
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let saved = dir.path().join("counts.json");
    let saved = saved.to_str().unwrap();
    let run = |args: &[&str], path: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vathost"));
        command.args(["bench", "instructions", "-q", "--json"]).args(args).env("PATH", path);
        let output = command.output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), json, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    valgrind(11_800);
    let (code, counts, err) = run(&["ping", "gc", "--save", saved], dir.path());
    assert_eq!(
        (code, &counts["instructions"]["ping"], &counts["instructions"]["gc"]),
        (0, &11_800.into(), &11_800.into()),
        "{err}"
    );
    valgrind(12_100);
    assert_eq!(run(&["ping", "--compare", saved], dir.path()).0, 0);
    valgrind(12_200);
    let (code, counts, err) = run(&["--compare", saved], dir.path());
    assert_eq!((code, &counts["changes"][1]["regressed"]), (1, &true.into()), "{err}");
    assert!(err.contains("`ping` takes 12,200 instructions a delivery; it took 11,800: +3.4 %"), "{err}");
    let (code, _, err) = run(&["--deliveries", "500", "--compare", saved], dir.path());
    assert!(code == 2 && err.contains("it was counted with `--deliveries 20000`, not 500"), "{err}");
    let (code, _, err) = run(&["ping"], &dir.path().join("nowhere"));
    assert!(code == 2 && err.contains("valgrind is not installed"), "{err}");
    assert_eq!(run(&["no-such-workload"], dir.path()).0, 2);
}

#[test]
fn growth_is_told_point_by_point_and_drawn() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("growth.svg");
    let args = ["bench", "growth", "--svg", path.to_str().unwrap(), "-q"];
    let output = vathost(&[&args[..], &SMALL].concat());
    let growth: Value = serde_json::from_slice(&output.stdout).unwrap();
    let curves = growth["curves"].as_array().unwrap();
    let names: Vec<_> = curves.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["vats", "objects", "queue", "history", "directives"]);
    let svg = fs::read_to_string(path).unwrap();
    let elements = elements(&svg);
    let points: usize = curves.iter().map(|it| it["points"].as_array().unwrap().len()).sum();
    assert_eq!(elements.iter().filter(|it| *it == "circle").count(), points);
    assert_eq!(elements.iter().filter(|it| *it == "polyline").count(), curves.len());
    for curve in curves {
        for point in curve["points"].as_array().unwrap() {
            assert!(point["nsPerDelivery"].as_f64().unwrap() > 0.0);
            let title = format!("<title>{}: {} ns</title>", point["of"], point["nsPerDelivery"].as_f64().unwrap());
            assert!(svg.contains(&title), "{title}");
        }
    }
}

#[test]
fn states_of_growing_size_are_measured_and_drawn() {
    let dir = TempDir::new().unwrap();
    let (path, state) = (dir.path().join("scale.svg"), dir.path().join("state"));
    let (drawn, kept) = (path.to_str().unwrap(), state.to_str().unwrap());
    let scale = |size: &str| -> Value {
        let args = ["bench", "scale", "--size", size, "--state", kept, "--svg", drawn, "--json", "-q"];
        serde_json::from_slice(&vathost(&args).stdout).unwrap()
    };
    let first = scale("2MB");
    let points = first["points"].as_array().unwrap();
    assert_eq!(points.len(), 2, "{first}");
    for it in points {
        for cost in ["fill", "ping", "store", "read", "hotRead", "hotReadInMemory"] {
            assert!(it[cost]["wallUs"].as_f64() > Some(0.0), "{cost}: {it}");
        }
        assert!(it["diskBytesPerRow"].as_f64() > Some(1_032.0) && it["rows"].as_u64() > Some(900), "{it}");
    }
    let svg = fs::read_to_string(&path).unwrap();
    let count = |name: &str| elements(&svg).iter().filter(|it| *it == name).count();
    assert_eq!((count("polyline"), count("circle")), (7, 14));
    // It goes on from there, and writes nothing where there is enough.
    let again = scale("2MB");
    assert_eq!(
        (&again["points"][0]["rows"], &again["points"][0]["fill"]),
        (&points[1]["rows"], &Value::Null),
        "{again}"
    );
}

#[test]
fn a_life_is_measured_period_by_period_and_goes_on() {
    let dir = TempDir::new().unwrap();
    let (path, state) = (dir.path().join("life.svg"), dir.path().join("state"));
    let (drawn, kept) = (path.to_str().unwrap(), state.to_str().unwrap());
    let life = |deliveries: &str| -> Vec<Value> {
        let sizes = ["--deliveries", deliveries, "--periods", "4", "--cranks-per-block", "50"];
        let args = [&["bench", "life", "store", "--state", kept, "--svg", drawn, "--json", "-q"], &sizes[..]].concat();
        let life: Value = serde_json::from_slice(&vathost(&args).stdout).unwrap();
        life["points"].as_array().unwrap().clone()
    };
    let points = life("400");
    let lived: Vec<_> = points.iter().map(|it| it["deliveries"].as_u64().unwrap()).collect();
    assert!(
        lived.len() == 4 && lived.iter().zip(1..).all(|(it, at)| (100 * at..100 * at + 60).contains(it)),
        "{lived:?}"
    );
    assert!(points.iter().all(|it| it["diskBytes"].as_u64() > Some(0) && it["residentBytes"].as_u64() > Some(0)));
    assert_eq!(elements(&fs::read_to_string(&path).unwrap()).iter().filter(|it| *it == "polyline").count(), 3);
    // Of a longer life of the same state the second half is left.
    assert_eq!(life("800").len(), 2);
    assert_eq!(vathost(&["bench", "life", "knit"]).status.code(), Some(2));
}

/// The names of the elements of an XML text, which must be well-formed as far as we write any.
fn elements(xml: &str) -> Vec<String> {
    let (mut open, mut found) = (Vec::new(), Vec::new());
    let mut rest = xml;
    while let Some((text, tail)) = rest.split_once('<') {
        assert!(!text.contains('&') && !text.contains('>'), "{text}");
        let (tag, tail) = tail.split_once('>').unwrap();
        rest = tail;
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
            None => {
                let name = tag.split([' ', '/']).next().unwrap().to_owned();
                found.push(name.clone());
                if !tag.ends_with('/') {
                    open.push(name);
                }
            }
        }
    }
    assert_eq!((open.as_slice(), rest.trim()), (&[][..], ""));
    found
}

#[test]
fn experiments_are_measured_in_every_isolation_beside_runs_from_the_beginning() {
    let output = vathost(&["bench", "experiments", "--base", "vats/counter", "--long", "vats/counter", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rates: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(rates["experiments"].as_u64() > Some(10), "{rates}");
    let figures = rates["figures"].as_array().unwrap();
    for name in
        ["rollback", "rollback, memoised", "fork", "process", "from the beginning", "late to from the beginning"]
    {
        let figure = figures.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{name}: {rates}"));
        assert!(figure["value"].as_f64() > Some(0.0), "{figure}");
    }
    let shrunk = figures.iter().find(|it| it["name"] == "10 faults shrunk").unwrap();
    assert_eq!((&shrunk["target"]["atMost"], shrunk["met"].is_boolean()), (&5.0.into(), true), "{shrunk}");
}

// ---- amplification

fn amplification(args: &[&str]) -> (i32, Value, String) {
    let output = vathost(&[&["bench", "amplification", "-q", "--json"], args].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), json, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn no_import_is_forgotten() {
    let cases = amplification_cases().unwrap();
    let names: Vec<_> = cases.iter().map(Case::full_name).collect();
    for import in IMPORTS {
        assert!(cases.iter().any(|it| it.group == import.name), "nobody runs `{}` at its extremes", import.name);
    }
    for it in &names {
        assert_eq!(names.iter().filter(|other| *other == it).count(), 1, "{it} is there twice");
    }
    let (code, listed, _) = amplification(&["--list"]);
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!((code, listed), (0, names));
}

#[test]
fn a_case_does_as_often_as_it_is_told_what_it_says() {
    let mut tried = BTreeMap::new();
    // Two of each group; the bench itself says of all how their guests ended.
    for case in amplification_cases().unwrap() {
        let of_group: &mut u32 = tried.entry(case.group).or_default();
        *of_group += 1;
        if *of_group > 2 {
            continue;
        }
        let name = case.full_name();
        let (fuel, ended) = amplification_tried(&case, &[1, 3]).unwrap_or_else(|err| panic!("{name}: {err:#}"));
        assert_eq!(ended, None, "{name}");
        assert!(fuel[1] > fuel[0], "{name}: {fuel:?}");
    }
    assert_eq!(tried.len(), IMPORTS.len() + 2, "{tried:?}");
}

#[test]
fn what_a_guest_causes_is_paid_for() {
    // The least fuel for doing it once.
    let least = [
        // Parsed into trees, by the byte of 1 MiB.
        ("call_now/records-1-mib", 32 << 20),
        ("resolve/older-1-mib", 48 << 20),
        ("send/createVat-records-1-mib", 64 << 20),
        // Of 40,000 promises that the vat decides each ends, and is back again where the upgrade fails.
        ("send/admin-upgrade-that-fails", 40_000 * 8_000),
        ("send/admin-upgrade-that-ends", 40_000 * 8_000),
        // A thousand pages of memory.
        ("host/large-children", 1_000 * 30_000),
        ("host/grown-children", 1_000 * 30_000),
        // The 15,500 pages of 4 KiB that may have been written, or as many as there is fuel for.
        ("host/traps-62-mib-at-once", 15_500 * 3_000),
        // What `_initialize` may use, and what it did use.
        ("host/initialized-and-trap", 100_000_000),
        ("host/initialized", 60_000_000),
    ];
    let cases = amplification_cases().unwrap();
    for (name, least) in least {
        let case = cases.iter().find(|it| it.full_name() == name).unwrap_or_else(|| panic!("{name} is gone"));
        let (fuel, ended) = amplification_tried(case, &[1]).unwrap_or_else(|err| panic!("{name}: {err:#}"));
        assert_eq!(ended, None, "{name}");
        assert!(fuel[0] >= least, "{name}: {} of fuel, and it takes {least} at the least", fuel[0]);
    }
}

#[test]
fn a_case_that_only_ends_its_guest_is_no_measure() {
    let long = ["--enough-cpu", "1000", "--enough-fuel", "300000000"];
    let only = ["--only", "instructions/divide", "--only", "instructions/grow-past-the-limit"];
    let (_, result, err) = amplification(&[&long[..], &only].concat());
    let rows = result["rows"].as_array().unwrap_or_else(|| panic!("{err}"));
    assert_eq!(rows.len(), 3, "{result}");
    for it in rows {
        assert!(it["fuel"].as_u64() >= Some(300_000_000), "{it}");
        assert!(it.get("ended").is_none() && !it["exceeds"].as_array().unwrap().contains(&"unmeasured".into()), "{it}");
    }
}

#[test]
fn amplification_is_told_for_a_billion_of_fuel_beside_an_empty_loop_the_worst_first() {
    let only = ["--quick", "--only", "console", "--only", "vatstore_get/1-mib"];
    let (code, result, err) = amplification(&only);
    let rows = result["rows"].as_array().unwrap_or_else(|| panic!("{err}"));
    let row = |name: &str| rows.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{name}: {result}"));
    assert!(result["emptyLoop"].as_f64() > Some(0.0), "{result}");
    assert_eq!(row("instructions/empty-loop")["ratio"], 1.0, "{result}");
    assert_eq!(rows.len(), 8, "{result}");
    let limits = &result["limits"];
    let share = |row: &Value| {
        let of = |name: &str| row[name].as_f64().unwrap() / limits[name].as_f64().unwrap();
        ["ratio", "memory", "disk", "slog"].map(of).into_iter().fold(0.0, f64::max)
    };
    for it in rows {
        assert!(it["fuel"].as_u64() > Some(0) && it["times"].as_u64() > Some(0) && it.get("stopped").is_none(), "{it}");
        assert_eq!(share(it) > 1.0, !it["exceeds"].as_array().unwrap().is_empty(), "{it}");
    }
    assert!(rows.windows(2).all(|it| share(&it[0]) >= share(&it[1])), "{result}");
    assert_eq!(code, i32::from(rows.iter().any(|it| share(it) > 1.0)), "{result}");
    // What the console is told is in the slog, and nowhere on the state's disk.
    let nul = row("console/nul");
    assert!(nul["slog"].as_f64() > Some(1e8) && nul["disk"].as_f64() < Some(1e8), "{nul}");
}

#[test]
fn a_case_past_its_limits_is_ended_and_a_finding() {
    let (code, result, err) = amplification(&["--quick", "--only", "console/empty", "--memory", "1"]);
    let rows = result["rows"].as_array().unwrap_or_else(|| panic!("{err}"));
    assert_eq!((code, &rows[0]["name"]), (1, &"console/empty".into()), "{result}");
    assert_eq!(rows[0]["stopped"], "more than 1 MiB of memory", "{result}");
    assert_eq!(rows[0]["exceeds"], serde_json::json!(["stopped"]), "{result}");
}

#[test]
fn an_unknown_case_is_refused_with_the_way_to_find_them() {
    let (code, _, err) = amplification(&["--only", "sned"]);
    assert_eq!(code, 2);
    assert!(err.contains("there is no case `sned`") && err.contains("--list"), "{err}");
}
