//! A binary recording tells what the one in JSON tells, line by line, however it ends.

use vathost::{
    inspect::recording::{Subject, Which, last, show, trace},
    slog::SlogFormat,
};

use super::*;

/// Runs a scenario for a few blocks.
fn run(scenario: &Path, slog: Slog) {
    run_cranks(scenario, slog, 150, 3);
}

fn run_cranks(scenario: &Path, slog: Slog, cranks: u64, blocks: usize) {
    let mut controller = Host::open(HostOptions { slog, ..HostOptions::default() }).unwrap();
    controller.install(&Scenario::read(scenario).unwrap()).unwrap();
    for _ in 0..blocks {
        let policy = BlockPolicy { cranks, ..BlockPolicy::default() };
        // Some end in a kernel panic, and that is recorded as well.
        match controller.run_block(&policy, &mut |_| true) {
            Ok(end) if !end.quiescent => (),
            _ => break,
        }
    }
    let _ = controller.slog().flush();
}

fn binary(path: &Path) -> Slog {
    Slog::new(Detail::Syscalls, Writer::append_as(path, SlogFormat::Binary).unwrap())
}

/// The lines of a recording as text, without the times.
fn lines(path: &Path) -> Vec<String> {
    let mut reader = Reader::open(path).unwrap();
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        let line = String::from_utf8(line).unwrap();
        let (event, times) = line.rsplit_once(",\"time\":").unwrap();
        let (time, monotime) = times.split_once(",\"monotime\":").unwrap();
        let decimals = |it: &str| it.split_once('.').unwrap().1.len();
        assert_eq!((decimals(time), decimals(monotime.trim_end_matches("}\n"))), (6, 9), "{line}");
        let event = event.rsplit_once(",\"seconds\":").map_or(event.to_owned(), |(it, _)| format!("{it} took time"));
        lines.push(event);
    }
    lines
}

#[test]
fn every_scenario_is_recorded_in_binary_as_it_is_in_json() {
    let vats = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats");
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for entry in fs::read_dir(vats).unwrap() {
        let scenario = entry.unwrap().path();
        if !scenario.join("vat.toml").exists() {
            continue;
        }
        let name = scenario.file_name().unwrap().to_str().unwrap().to_owned();
        let (json, packed) = (dir.path().join(format!("{name}.slog")), dir.path().join(&name));
        run(&scenario, Slog::new(Detail::Syscalls, Writer::append(&json).unwrap()));
        run(&scenario, binary(&packed));
        let (ours, theirs) = (lines(&packed), lines(&json));
        assert!(ours.len() > 3, "{name}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{name}");
        }
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let size = |path: &Path| fs::metadata(path).unwrap().len();
        assert!(size(&packed) * 3 < size(&json), "{name}: {} of {}", size(&packed), size(&json));
        count += 1;
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn a_binary_recording_is_read_up_to_where_it_breaks_off_and_is_gone_on_with() {
    let lab = Lab::busy();
    let path = lab.path("whole");
    // Page by page, a page a commit.
    let by_cranks = |path: &Path| run_cranks(lab.0.path(), binary(path), 1, 40);
    by_cranks(&path);
    let (whole, bytes) = (lines(&path), fs::read(&path).unwrap());
    assert_eq!(whole.len(), events(&path).len());
    let torn = lab.path("torn");
    let mut lengths = BTreeSet::new();
    for cut in (0..bytes.len()).step_by(7).chain([1, 3, 23, 24, bytes.len() - 1]) {
        fs::write(&torn, &bytes[..cut]).unwrap();
        let found: Vec<Value> = Reader::open(&torn).unwrap().map(|it| it.unwrap().value).collect();
        lengths.insert(found.len());
        let kinds = |events: &[Value]| events.iter().map(redacted).collect::<Vec<_>>();
        assert_eq!(kinds(&found), kinds(&events(&path)[..found.len()]), "{cut}");
        if cut % 10 == 0 {
            by_cranks(&torn);
            let all = lines(&torn);
            assert_eq!((&all[..found.len()], &all[found.len()..]), (&whole[..found.len()], &whole[..]), "{cut}");
        }
    }
    assert!(lengths.len() > 8, "{lengths:?}");
    // Neither is taken for the other.
    let json = lab.record("a.slog");
    assert!(Writer::append_as(&json, SlogFormat::Binary).unwrap_err().to_string().contains("plain"));
    assert!(Writer::append(&path).unwrap_err().to_string().contains("binary"));
    let other = bytes.iter().map(|it| if *it == b'1' { b'9' } else { *it }).collect::<Vec<u8>>();
    fs::write(lab.path("other"), other).unwrap();
    assert!(Reader::open(&lab.path("other")).unwrap_err().to_string().contains("no recording of a version"));
}

#[test]
fn every_verb_says_of_a_binary_recording_what_it_says_of_json() {
    let lab = Lab::busy();
    lab.vathost("run . --slog a.slog").ok();
    lab.vathost("run . --slog a.vslog").ok();
    assert_eq!(SlogFormat::of_file(&lab.path("a.slog")), Some(SlogFormat::Json));
    assert_eq!(SlogFormat::of_file(&lab.path("a.vslog")), Some(SlogFormat::Binary));
    // What is there counts more than its name; what is asked for counts most.
    fs::rename(lab.path("a.vslog"), lab.path("b.slog")).unwrap();
    lab.vathost("run . --slog b.slog").ok();
    lab.vathost("run . --slog b.slog --slog-format json --blocks 1").code.filter(|it| *it != 0).unwrap();
    lab.vathost("run . --slog c.slog --slog-format binary").ok();
    lab.vathost("run . --slog d --slog-format json").ok();
    for (file, format) in [("b.slog", SlogFormat::Binary), ("c.slog", SlogFormat::Binary), ("d", SlogFormat::Json)] {
        assert_eq!(SlogFormat::of_file(&lab.path(file)), Some(format), "{file}");
    }
    for args in [
        "slog last FILE",
        "slog show FILE --crank 6",
        "slog show FILE --vat alice --delivery 1",
        "slog trace kp41 FILE",
        "slog trace --crank 6 FILE",
        "slog grep work FILE",
        "slog export FILE --format dot",
    ] {
        let [json, packed] = ["a.slog", "c.slog"].map(|it| lab.vathost(&args.replace("FILE", it)));
        assert_eq!(redacted_text(&packed.stdout), redacted_text(&json.stdout), "{args}: {}", packed.stderr);
        assert_eq!(packed.code, Some(0), "{args}: {packed:?}");
    }
    let [json, packed] = ["a.slog", "c.slog"].map(|it| lab.vathost(&format!("slog cat {it}")));
    json.ok();
    fs::write(lab.path("cat.slog"), &packed.stdout).unwrap();
    assert_eq!(lines(&lab.path("cat.slog")), lines(&lab.path("a.slog")));
    assert_eq!(json.stdout, fs::read_to_string(lab.path("a.slog")).unwrap());
    assert_eq!(lab.vathost("slog diff a.slog c.slog").code, Some(0));
}

#[test]
fn a_binary_recording_is_searched_by_an_index_as_others_are() {
    let lab = Lab::busy();
    let path = lab.path("a.vslog");
    for _ in 0..4 {
        lab.run(binary(&path));
    }
    let small = Indexing { without_bytes: 0, piece_bytes: 900, postings: 100 };
    let said = |rules: Indexing| {
        let mut said = vec![serde_json::to_string(&last(&path, rules).unwrap()).unwrap()];
        for crank in 0..14 {
            let shown = show(&path, &Which::Crank(crank), rules).unwrap();
            said.push(format!("{:?}", shown.map(|it| serde_json::to_string(&it).unwrap())));
            for subject in [Subject::Crank(crank), Subject::Reference(format!("kp{}", 40 + crank))] {
                let traced = trace(&path, &subject, 100, rules).unwrap();
                said.push(format!("{:?}", traced.map(|it| serde_json::to_string(&it).unwrap())));
            }
        }
        said
    };
    let whole = said(Indexing::NONE);
    assert_eq!(said(small), whole);
    assert!(fs::metadata(lab.path("a.vslog.index")).unwrap().len() > 1_000);
    assert_eq!(said(small), whole);
}
