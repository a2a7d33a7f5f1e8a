//! Campaigns that are killed, torn, sharded and resumed come to the same report, byte by byte.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Stdio},
};

use crate::cli::Place;

/// How often a file is looked at before a test gives up.
const LOOKS_MAX: usize = 300_000;

const REPORTS: [&str; 4] = ["report.html", "report.md", "report.xml", "report.json"];

/// Pairs of faults on the bank, some hundreds of them.
fn write(place: &Place) {
    let bank = concat!(env!("CARGO_MANIFEST_DIR"), "/vats/bank");
    let text = format!(
        "schema = 1\nname = \"pairs\"\nseed = 3\n[base]\nscenario = \"{bank}\"\n\
         [[fault]]\nid = \"one\"\nat = \"{{vat}}/delivery-{{n}}\"\ndo = [\"skip\", \"terminate\", \"duplicate\"]\n\
         vat = [\"v1\", \"v2\", \"v3\"]\nn = \"1..=8\"\n[schedule]\norder = 2\nsample = 400\n\
         [[invariant]]\nname = \"money\"\ncheck = '''.kernel.results[0].value | if type == \"object\" then .north + .south == 200 else true end'''\n\
         [accept]\nspread = 0\n",
    );
    place.write("c.toml", &text);
}

fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |it| it.iter().filter(|it| **it == b'\n').count())
}

fn reports(dir: &Path) -> Vec<String> {
    REPORTS.map(|it| fs::read_to_string(dir.join(it)).unwrap()).to_vec()
}

/// Until there are so many results, or the process has ended.
fn wait_for(child: &mut Child, results: &Path, count: usize) {
    for _ in 0..LOOKS_MAX {
        if lines(results) >= count || child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Starts a campaign, and kills it once it has put down some more results. Whether it was still at work.
fn start_and_kill(place: &Place, more: usize) -> bool {
    let results = place.path("killed/results.jsonl");
    let before = lines(&results);
    let mut command = place.command("fault run @c.toml --out @killed --resume");
    let mut child: Child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&mut child, &results, before + more);
    let at_work = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    child.wait().unwrap();
    at_work
}

#[test]
fn a_campaign_that_is_killed_ten_times_and_resumed_gives_the_byte_identical_report() {
    let place = Place::new();
    write(&place);
    let whole = place.vathost("fault run @c.toml --out @whole");
    assert!(whole.code < 2, "{}", whole.stderr);
    let killed = (0..10).filter(|_| start_and_kill(&place, 20)).count();
    assert_eq!(killed, 10);
    let done = lines(&place.path("killed/results.jsonl"));
    assert!((200..400).contains(&done), "{done}");
    // The last line was torn off.
    let mut file = fs::OpenOptions::new().append(true).open(place.path("killed/results.jsonl")).unwrap();
    file.write_all(b"{\"id\":\"00ff").unwrap();
    drop(file);
    place.vathost("fault run @c.toml --out @killed").code(2).says("there are results in");
    let resumed = place.vathost("fault run @c.toml --out @killed --resume -j 2");
    assert_eq!(resumed.code, whole.code, "{}", resumed.stderr);
    assert!(resumed.stderr.contains(&format!("going on after {done} of ")), "{}", resumed.stderr);
    assert_eq!(reports(&place.path("killed")), reports(&place.path("whole")));
    // Shards, merged in either way, are the same campaign.
    for part in 1..=3 {
        let ran = place.vathost(&format!("fault run @c.toml --out @part-{part} --shard {part}/3 --isolation rollback"));
        assert!(ran.code < 2, "{}", ran.stderr);
    }
    let merged = place.vathost("fault report @part-2 @part-3 @part-1 --json").stdout;
    let whole_json = place.vathost("fault report @whole --json").stdout;
    let without = |text: &str| {
        let mut report: serde_json::Value = serde_json::from_str(text).unwrap();
        report["findings"].as_array_mut().unwrap().iter_mut().for_each(|it| it["shrunk"] = serde_json::Value::Null);
        report
    };
    assert_eq!(without(&merged), without(&whole_json));
    let parts: Vec<u8> =
        (1..=3).flat_map(|it| fs::read(place.path(&format!("part-{it}/results.jsonl"))).unwrap()).collect();
    fs::write(place.path("part-1/results.jsonl"), parts).unwrap();
    assert_eq!(without(&place.vathost("fault report @part-1 --json").stdout), without(&merged));
}

#[test]
fn an_interrupt_keeps_what_is_done_and_harms_no_experiment() {
    let place = Place::new();
    write(&place);
    let mut command = place.command("fault run @c.toml --out @out -j 2");
    // As a terminal does it: the signal goes to everybody in the group.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let results = place.path("out/results.jsonl");
    wait_for(&mut child, &results, 50);
    let sent = std::process::Command::new("sh").arg("-c").arg(format!("kill -INT -{}", child.id())).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let kept = fs::read_to_string(&results).unwrap();
    assert!((50..400).contains(&kept.lines().count()), "{}", kept.lines().count());
    assert!(!kept.contains("HOST-CRASH") && !kept.contains("HARNESS"), "{kept}");
    assert!(fs::read_to_string(place.path("out/report.md")).unwrap().contains("accepted"));
}

#[test]
fn results_of_another_question_are_not_gone_on_with() {
    let place = Place::new();
    write(&place);
    place.vathost("fault run @c.toml --out @out --time 0s");
    assert!(lines(&place.path("out/results.jsonl")) < 400);
    let text = fs::read_to_string(place.path("c.toml")).unwrap();
    place.write("c.toml", &text.replace("== 200", "<= 200"));
    place.vathost("fault run @c.toml --out @out --resume").code(2).says("other invariants or limits").says("--fresh");
    place.write("d/other.txt", "mine");
    place.vathost("fault run @c.toml --out @d --fresh").code(2).says("is no folder of results");
    assert_eq!(fs::read_to_string(place.path("d/other.txt")).unwrap(), "mine");
    assert!(place.vathost("fault run @c.toml --out @out --fresh --fail-fast").code < 2);
    assert!(lines(&place.path("out/results.jsonl")) < 400);
}
