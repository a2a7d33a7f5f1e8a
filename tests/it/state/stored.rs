//! Vatstores that are larger than the memory: rows are read when they are needed, and none of that is in a result; and states and
//! archives of the layout before this one.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use vathost::{
    host::scrub,
    state::block::{Block, stored},
    store::{UpgradeProgress, UpgradeStep, UpgradeWatch},
};

use super::*;

/// What the hoarder does besides: one key of long ago is read, the one behind another, and one in eight goes.
const AND_READS: &str = "
            (i32.store8 (i32.const 1024) (i32.shr_u (global.get $calls) (i32.const 1)))
            (drop (call $get (i32.const 1024) (i32.const 2)))
            (i32.store8 (i32.const 1024) (i32.shr_u (global.get $calls) (i32.const 2)))
            (drop (call $next (i32.const 1024) (i32.const 2)))
            (if (i32.eqz (i32.and (local.get $at) (i32.const 7)))
                (then (call $delete (i32.const 1024) (i32.const 2))))";

/// More blocks than there are.
const MANY: usize = 1_000;

/// A scenario of a vat that is called this often.
fn hoard(calls: usize) -> TempDir {
    let dir = TempDir::new().unwrap();
    let send = "[[send]]\nto = \"hoarder\"\nmethod = \"go\"\n";
    let toml = format!("[vats.hoarder]\nbundle = \"hoarder.wat\"\n{}", send.repeat(calls));
    fs::write(dir.path().join("vat.toml"), toml).unwrap();
    fs::write(dir.path().join("hoarder.wat"), hoarder(1_024, AND_READS)).unwrap();
    dir
}

/// Runs to the end in blocks of four cranks, as a new process every so many of them.
fn live(dir: &Path, scenario: &Path, memory: Option<u64>, blocks: usize) -> String {
    let open = || Host::open(HostOptions { memory_max: memory, ..options(dir) }).unwrap();
    let mut host = open();
    host.install(&Scenario::read(scenario).unwrap()).unwrap();
    loop {
        let hash = go_on(&mut host, blocks, 4);
        if host.is_quiescent().unwrap() {
            return hash;
        }
        drop(host);
        host = open();
    }
}

#[test]
fn what_is_in_memory_changes_no_hash() {
    let own = hoard(12);
    let lives = [(Some(0), MANY), (Some(0), 1), (Some(2 << 20), 2), (None, 3)];
    let of = |scenario: &Path, lives: &[(Option<u64>, usize)]| {
        let life = |memory, blocks| live(TempDir::new().unwrap().path(), scenario, memory, blocks);
        let expected = life(None, MANY);
        for (memory, blocks) in lives {
            assert_eq!(life(*memory, *blocks), expected, "{scenario:?}, {memory:?}, {blocks}");
        }
    };
    of(own.path(), &lives);
    let scenarios = fs::read_dir(vats("")).unwrap().map(|it| it.unwrap().path());
    // All but the hog, which is there to take long.
    let scenarios: Vec<_> = scenarios.filter(|it| it.join("vat.toml").exists() && !it.ends_with("hog")).collect();
    assert!(scenarios.len() > 12, "{scenarios:?}");
    // Of each, a life in which nothing stays in memory from one crank to the next; of some, all.
    for it in scenarios {
        let is_rich = ["bank", "gc", "vault"].iter().any(|name| it.ends_with(name));
        of(&it, if is_rich { &lives } else { &[(Some(0), 50)] });
    }
}

#[test]
fn a_state_with_large_vatstores_is_opened_without_reading_them() {
    let (scenario, dir, other) = (hoard(48), TempDir::new().unwrap(), TempDir::new().unwrap());
    let begin = |dir: &Path| {
        let mut host = open(dir);
        host.install(&Scenario::read(scenario.path()).unwrap()).unwrap();
        go_on(&mut host, 11, 4);
        host
    };
    // Undisturbed, it never leaves the memory.
    let expected = go_on(&mut begin(other.path()), MANY, 4);
    drop(begin(dir.path()));
    let block = Block::open_read_only(dir.path()).unwrap();
    let vatstore = &block.tables().vatstore;
    assert!(!vatstore.is_whole() && stored::reads(&block) == 0, "{vatstore:?}");
    let keys = usize::try_from(vatstore.all_keys()).unwrap();
    assert!(keys > 8_000, "{keys}");
    let state = dir.path().to_str().unwrap();
    let listed = vathost(&["inspect", state, "kv", "hoarder"], &[]);
    assert_eq!(listed.out.lines().count(), keys + 1, "{}", listed.err);
    let listed = vathost(&["inspect", state, "kv", "hoarder", "--json", "--limit", "1500"], &[]);
    assert_eq!(listed.json().as_array().unwrap().len(), 1_500);
    assert!(listed.err.contains("1500 rows; a larger --limit shows more"), "{}", listed.err);
    let listed = vathost(&["inspect", state, "kv", "hoarder", "--limit", "1000"], &[]);
    assert_eq!(listed.out.lines().filter(|it| !it.is_empty()).count(), listed.out.lines().count());
    assert_eq!(listed.out.lines().count(), 1_001, "the header, and a whole piece");
    assert_eq!(vathost(&["inspect", state, "--json"], &[]).json()["counts"]["vatstore"], keys);
    assert_eq!(findings(dir.path()), None);
    drop(block);
    for memory in [Some(0), None] {
        let copy = copy_of(dir.path());
        let mut host = Host::open(HostOptions { memory_max: memory, ..options(copy.path()) }).unwrap();
        assert_eq!(go_on(&mut host, MANY, 4), expected, "{memory:?}");
    }
}

#[test]
fn a_row_that_was_damaged_is_named_when_it_is_read_and_a_missing_one_by_verify() {
    let (scenario, dir) = (hoard(48), TempDir::new().unwrap());
    let mut host = open(dir.path());
    host.install(&Scenario::read(scenario.path()).unwrap()).unwrap();
    go_on(&mut host, 11, 4);
    drop(host);
    let damaged = |sql: &str| {
        let copy = copy_of(dir.path());
        sqlite(copy.path()).execute_batch(sql).unwrap();
        copy
    };
    // It is read after half as many calls again.
    let key = "(SELECT key FROM vatstore WHERE hex(key) LIKE '%1605' LIMIT 1)";
    let copy = damaged(&format!("UPDATE vatstore SET value = x'030141' WHERE key = {key}"));
    let mut host = open(copy.path());
    let policy = BlockPolicy { cranks: 4, ..BlockPolicy::default() };
    let halt = loop {
        if let Err(halt) = host.run_block(&policy, &mut |_| true) {
            break halt.to_string();
        }
    };
    assert!(halt.contains("table `vatstore`, key 00000000000000011605"), "{halt}");
    assert!(halt.contains("the state is damaged"), "{halt}");
    for sql in [
        format!("DELETE FROM vatstore WHERE key = {key}"),
        "UPDATE vatstore_sum SET keys = keys + 1".to_owned(),
        "DELETE FROM vatstore_sum".to_owned(),
    ] {
        assert!(findings(damaged(&sql).path()).is_some(), "{sql}");
    }
    let refused = Block::open_read_only(damaged("UPDATE vatstore_sum SET bytes = bytes - 1").path()).unwrap_err();
    assert!(refused.to_string().contains("the size of the vatstore of v1"), "{refused}");
}

#[test]
fn what_was_not_read_is_proved_while_the_host_runs_and_what_is_missing_ends_it() {
    let (scenario, dir) = (hoard(48), TempDir::new().unwrap());
    let mut host = open(dir.path());
    host.install(&Scenario::read(scenario.path()).unwrap()).unwrap();
    go_on(&mut host, 11, 4);
    assert!(scrub::progress(&host).is_none(), "all of it is in memory");
    drop(host);
    let scrubbed = |host: &Host| {
        let progress = scrub::progress(host).expect("a scrub");
        (progress.is_done && progress.rows == progress.of, progress.rows)
    };
    let patience = Instant::now() + Duration::from_secs(60);
    let host = open(dir.path());
    while !scrubbed(&host).0 {
        assert!(Instant::now() < patience, "{:?}", scrub::progress(&host));
        thread::sleep(Duration::from_millis(5));
    }
    drop(host);
    // One that no vat ever asks for again.
    sqlite(dir.path()).execute_batch("DELETE FROM vatstore WHERE hex(key) LIKE '%2105'").unwrap();
    let mut host = open(dir.path());
    let halt = loop {
        assert!(Instant::now() < patience, "{:?}", scrub::progress(&host));
        if let Err(halt) = host.run_block(&BlockPolicy { cranks: 1, ..BlockPolicy::default() }, &mut |_| true) {
            break halt.to_string();
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert!(halt.contains("while it runs") && halt.contains("table `vatstore`: its rows are not those"), "{halt}");
    assert!(host.run_block(&BlockPolicy::default(), &mut |_| true).is_err(), "it is over");
    // It was in no hurry to be closed, either.
    drop(open(dir.path()));
}

/// What these came from: `vathost run vats/bank --blocks 2 --cranks-per-block 8`, and where they go on to.
const NEXT: &str = "7f4bb6b36f55bab9752f8afa1969c3b376ce4672146da6c9a5fbecd4d7a9eee7";

/// The same of those of schema 10, which ran on the second engine.
const NEXT_OF_10: &str = "26352f1655bb41b57f48c22ca7d45226b5a1ca694a29a8eed0f4c90ae60ae0f6";

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/states").join(name)
}

/// The file of a state of this layout.
fn kept_file(schema: u32) -> Vec<u8> {
    zstd::decode_all(fs::File::open(kept(&format!("schema-{schema}.sqlite.zst"))).unwrap()).unwrap()
}

/// Puts the file of a state of this layout into a folder of its own, and checks that who only reads refuses it.
fn old_state(schema: u32) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("state.sqlite"), kept_file(schema)).unwrap();
    let refused = Block::open_read_only(dir.path()).unwrap_err().to_string();
    let told = format!("it has schema version {schema}");
    assert!(refused.contains(&told) && refused.contains("vathost prune"), "{refused}");
    dir
}

#[test]
fn a_state_of_the_layout_before_is_brought_to_this_one_and_goes_on_to_the_same_hash() {
    let dir = old_state(9);
    // One that is damaged is refused, and the file as it was is still there.
    let damaged = copy_of(dir.path());
    sqlite(damaged.path()).execute_batch("UPDATE vatstore SET value = x'030141'").unwrap();
    let refused = Host::open(options(damaged.path())).unwrap_err().to_string();
    assert!(
        refused.contains("table `vatstore`") && refused.contains("state.sqlite.schema-9` is as it was"),
        "{refused}"
    );
    let copy = Connection::open(damaged.path().join("state.sqlite.schema-9")).unwrap();
    assert_eq!(copy.query_row("PRAGMA user_version", [], |it| it.get(0)), Ok(9));
    let mut host = open(dir.path());
    let copy = dir.path().join("state.sqlite.schema-9");
    assert!(!copy.exists(), "all is proved");
    assert_eq!(go_on(&mut host, MANY, 8), NEXT);
    drop(host);
    assert_eq!(findings(dir.path()), None);
    // One that a process left that was stopped before its proof goes with the proof of the next.
    fs::write(&copy, kept_file(9)).unwrap();
    drop(open(dir.path()));
    assert!(!copy.exists());
}

#[test]
fn a_state_whose_rows_stay_as_they_are_is_brought_to_this_layout_without_a_copy() {
    let dir = old_state(10);
    let chunks = || sqlite(dir.path()).query_row("SELECT count(*) FROM transcript", [], |row| row.get(0));
    assert_eq!(chunks(), Ok(8));
    assert_eq!(go_on(&mut open(dir.path()), MANY, 8), NEXT_OF_10);
    assert_eq!(chunks(), Ok(6), "one vat ended; what came since of the others is in the tail");
    assert_eq!(findings(dir.path()), None);
    let beside =
        fs::read_dir(dir.path()).unwrap().filter(|it| it.as_ref().unwrap().path().to_string_lossy().contains("schema"));
    assert_eq!(beside.count(), 0);
    // On the command line.
    fs::write(dir.path().join("state.sqlite"), kept_file(10)).unwrap();
    let said = vathost(&["run", "--blocks", "1"], &[dir.path()]);
    let told = "this state has schema 10, and is brought to schema 11; binaries of before refuse it from now on";
    assert!(said.code == 0 && said.err.contains(told), "{}", said.err);
    let said = vathost(&["run", "--blocks", "1"], &[dir.path()]);
    assert!(said.code == 0 && !said.err.contains("schema"), "{}", said.err);
}

#[test]
fn who_upgrades_a_state_is_told_each_step_and_where_the_copy_is_kept() {
    let file = kept_file(9);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.sqlite");
    fs::write(&path, &file).unwrap();
    let seen: Arc<Mutex<Vec<UpgradeProgress>>> = Arc::default();
    let watch = {
        let seen = seen.clone();
        UpgradeWatch::new(move |it| {
            // The copy is there before anything is changed, and stays until all is proved.
            assert_eq!(it.copy.as_ref().unwrap().exists(), it.step != UpgradeStep::Copying);
            seen.lock().unwrap().push(it.clone());
        })
    };
    let open = || Host::open(HostOptions { upgrade_watch: Some(watch.clone()), ..options(dir.path()) }).unwrap();
    drop(open());
    let told = std::mem::take(&mut *seen.lock().unwrap());
    let mut steps: Vec<UpgradeStep> = told.iter().map(|it| it.step).collect();
    steps.dedup();
    assert_eq!(steps, [UpgradeStep::Copying, UpgradeStep::Counting, UpgradeStep::Proving]);
    let copied: Vec<_> = told.iter().filter(|it| it.step == UpgradeStep::Copying).collect();
    assert!(
        copied.first().unwrap().done == 0 && copied.last().map(|it| Some(it.done)) == copied.last().map(|it| it.of)
    );
    assert_eq!(told[0].copy, Some(dir.path().join("state.sqlite.schema-9")));
    // What is of this layout already is not upgraded.
    drop(open());
    assert_eq!(seen.lock().unwrap().len(), 0);
    // On the command line.
    fs::write(&path, &file).unwrap();
    let said = vathost(&["run", "--blocks", "1"], &[dir.path()]);
    let kept = "is brought to schema 11; until every row is proved a copy of it as it was is kept: `";
    assert!(said.code == 0 && said.err.contains(kept) && said.err.contains("schema-9`"), "{}", said.err);
    assert!(
        said.err.contains("the state has schema 11 now: every row was proved, the copy is removed"),
        "{}",
        said.err
    );
    let said = vathost(&["run", "--blocks", "1"], &[dir.path()]);
    assert!(said.code == 0 && !said.err.contains("schema"), "{}", said.err);
}

#[test]
fn an_archive_of_a_layout_before_is_imported_and_goes_on_to_the_same_hash() {
    let dir = TempDir::new().unwrap();
    for (schema, next) in [(9, NEXT), (10, NEXT_OF_10)] {
        let state = dir.path().join(schema.to_string());
        let said = vathost(&["import"], &[&kept(&format!("schema-{schema}.archive")), &state]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(go_on(&mut open(&state), MANY, 8), next);
        assert_eq!(findings(&state), None);
    }
}
