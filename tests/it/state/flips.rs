//! Bits that turn over while no host runs, rows that are lost, a log of another state: whoever would run the state is refused, by the name
//! of what is damaged; or the damage is in nobody's data, and the end is the same to the hash. Nothing is ever silent, a panic, or
//! the kernel's fault.
//!
//! A run of the tests turns some bits; `VATHOST_FLIPS=10000 VATHOST_FLIPS_SEED=7 cargo test --test it state::flips` turns more, and others.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::{params_from_iter, types::Value as Cell};
use vathost::{
    Audit,
    inspect::archive,
    model::blame::Fault,
    state::{block::Block, table::Tables},
};

use super::*;

use crate::dice::Dice;

/// Choices that another seed, in `VATHOST_FLIPS_SEED`, makes anew.
fn seeded(salt: u64) -> Dice {
    let seed: u64 = std::env::var("VATHOST_FLIPS_SEED").ok().map_or(1, |it| it.parse().unwrap());
    Dice(seed + salt)
}

/// How many bits to turn.
fn flips(usually: usize) -> usize {
    std::env::var("VATHOST_FLIPS").ok().map_or(usually, |it| it.parse().unwrap())
}

/// A state half way, with snapshots, and where it goes on to.
struct Base {
    dir: TempDir,
    file: Vec<u8>,
    end: String,
}

/// A host that uses its snapshots: with few instances at a time.
fn host(dir: &Path) -> HostOptions {
    HostOptions { snapshot_interval: Some(3), max_live: Some(1), audit: Audit::Never, ..options(dir) }
}

impl Base {
    fn new(scenario: &str) -> Base {
        Base::of(scenario, 1)
    }

    /// Three blocks whose part of the transcripts is in chunks, and these whose part is in the tail.
    fn of(scenario: &str, in_tail: usize) -> Base {
        let dir = TempDir::new().unwrap();
        let mut controller = Host::open(HostOptions { keep: IN_CHUNKS, ..host(dir.path()) }).unwrap();
        controller.install(&Scenario::read(&vats(scenario)).unwrap()).unwrap();
        go_on(&mut controller, 3, 6);
        drop(controller);
        drop(go_on(&mut Host::open(host(dir.path())).unwrap(), in_tail, 6));
        let file = fs::read(dir.path().join("state.sqlite")).unwrap();
        let copy = Base::with(&file);
        let Ended::At(end) = run(copy.path()) else { panic!("an undamaged state does not run") };
        Base { dir, file, end }
    }

    fn with(file: &[u8]) -> TempDir {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("state.sqlite"), file).unwrap();
        dir
    }

    /// A copy, to be damaged.
    fn copy(&self) -> TempDir {
        Base::with(&self.file)
    }

    /// What came of damage: the refusal, or nothing where it had no effect. Anything else fails the test.
    #[track_caller]
    fn judge(&self, dir: &Path, damage: &str) -> Option<String> {
        match run(dir) {
            Ended::Refused(told) => Some(told),
            Ended::At(end) => {
                assert_eq!(end, self.end, "{damage}: silent, and another hash");
                None
            }
            Ended::Blamed(what) => panic!("{damage}: {what}"),
        }
    }
}

#[derive(Debug)]
enum Ended {
    /// At this hash.
    At(String),
    /// By a fault of the machine.
    Refused(String),
    /// By a panic, or a fault of somebody else.
    Blamed(String),
}

/// Opens a state and runs it to its end.
fn run(dir: &Path) -> Ended {
    let to_the_end = || -> Result<String, Fault> {
        let mut controller = Host::open(host(dir))?;
        let policy = BlockPolicy { cranks: 6, ..BlockPolicy::default() };
        for _ in 0..200 {
            if controller.is_quiescent().map_err(|it| it.fault)? {
                break;
            }
            controller.run_block(&policy, &mut |_| true).map_err(|it| {
                let told = it.to_string();
                match it.fault {
                    Fault::Host(_) => Fault::Host(vathost::model::blame::HostFault::new("halt", told)),
                    other => other,
                }
            })?;
        }
        Ok(controller.standing().state_hash.clone())
    };
    match catch_unwind(AssertUnwindSafe(to_the_end)) {
        Ok(Ok(hash)) => Ended::At(hash),
        Ok(Err(Fault::Host(fault))) => Ended::Refused(fault.to_string()),
        Ok(Err(other)) => Ended::Blamed(format!("{other:?}")),
        Err(_) => Ended::Blamed("a panic".to_owned()),
    }
}

/// Turns a bit over of what a column of a row has. `None` where it has none, or where the row cannot be changed so.
fn flip_cell(dir: &Path, table: &str, random: &mut Dice) -> Option<String> {
    let sqlite = sqlite(dir);
    let count: i64 = sqlite.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0)).unwrap();
    let count = usize::try_from(count).unwrap();
    let at = random.place(count.max(1));
    let mut statement = sqlite.prepare(&format!("SELECT * FROM \"{table}\" LIMIT 1 OFFSET {at}")).ok()?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let row: Vec<Cell> = statement.query_row([], |row| (0..columns.len()).map(|it| row.get(it)).collect()).ok()?;
    drop(statement);
    let column = random.place(columns.len());
    let bad = match &row[column] {
        Cell::Blob(bytes) if !bytes.is_empty() => {
            let mut bytes = bytes.clone();
            let at = random.place(bytes.len());
            bytes[at] ^= 1 << random.place(8);
            Cell::Blob(bytes)
        }
        Cell::Integer(number) => Cell::Integer(number ^ 1 << random.place(64)),
        _ => return None,
    };
    let same: Vec<String> = (0..columns.len()).map(|it| format!("\"{}\" IS ?{}", columns[it], it + 2)).collect();
    let sql = format!("UPDATE \"{table}\" SET \"{}\" = ?1 WHERE {}", columns[column], same.join(" AND "));
    let changed = sqlite.execute(&sql, params_from_iter(std::iter::once(bad).chain(row)));
    (changed == Ok(1)).then(|| columns[column].clone())
}

/// Tables of which a host reads a row only when it needs it.
const READ_LATER: [&str; 5] = ["bundle", "crank_mark", "page", "snapshot", "transcript"];

#[test]
fn a_bit_of_a_row_that_turns_over_is_refused_by_the_name_of_its_table_or_has_no_effect() {
    let bases = ["bank", "clock", "clerk"].map(Base::new);
    let mut random = seeded(0);
    let (mut refused, mut later, mut tables_seen) = (0, 0, std::collections::BTreeSet::new());
    for number in 0..flips(90) {
        let base = &bases[number % bases.len()];
        let copy = base.copy();
        let layouts = Database::open_read_only(copy.path()).unwrap().layouts().unwrap();
        // All tables in turn, so that the few rows of some are not lost among the many of others.
        let table = &layouts[(number / bases.len()) % layouts.len()].name;
        let Some(column) = flip_cell(copy.path(), table, &mut random) else { continue };
        let damage = format!("{table}.{column}, flip {number}");
        // Never unseen: whoever looks for damage finds it.
        assert!(findings(copy.path()).is_some(), "{damage}: `verify` does not see it");
        match base.judge(copy.path(), &damage) {
            Some(told) => {
                assert!(told.contains(&format!("`{table}`")), "{damage}: {told}");
                refused += 1;
            }
            None => {
                assert!(READ_LATER.contains(&&**table), "{damage}: it has an effect, and none was seen");
                later += 1;
            }
        }
        tables_seen.insert(table.clone());
    }
    assert!(refused > later && tables_seen.len() > 12, "{refused} {later} {tables_seen:?}");
}

#[test]
fn a_bit_of_the_file_that_turns_over_is_refused_or_has_no_effect() {
    let base = Base::new("bank");
    let mut random = seeded(1 << 32);
    let (mut refused, mut without_effect) = (0, 0);
    for number in 0..flips(60) {
        let mut file = base.file.clone();
        let (at, bit) = (random.place(file.len()), random.place(8));
        file[at] ^= 1 << bit;
        let copy = Base::with(&file);
        match base.judge(copy.path(), &format!("flip {number}, byte {at}, bit {bit}")) {
            Some(_) => refused += 1,
            None => without_effect += 1,
        }
    }
    assert!(refused > 0 && without_effect > 0, "{refused} {without_effect}");
}

#[test]
fn a_bit_of_an_archive_that_turns_over_is_refused() {
    let base = Base::new("bank");
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("bank.vathost");
    let mut bytes = Vec::new();
    archive::write(&Database::open_read_only(base.dir.path()).unwrap(), &mut bytes, &mut |_, _| ()).unwrap();
    let mut random = seeded(1 << 33);
    for _ in 0..flips(60) {
        let (at, bit) = (random.place(bytes.len()), random.place(8));
        bytes[at] ^= 1 << bit;
        fs::write(&file, &bytes).unwrap();
        let read = archive::read(&file, &mut Database::memory(&Tables::layout()).unwrap(), &mut |_, _| ());
        assert!(read.is_err(), "byte {at}, bit {bit}");
        bytes[at] ^= 1 << bit;
    }
}

#[test]
fn a_log_of_another_state_is_refused_or_is_all_of_that_state() {
    let base = Base::new("bank");
    // A replica of another past, which a host runs: its log holds its last block.
    let other = TempDir::new().unwrap();
    make("bank", other.path(), 1);
    let mut controller = open(other.path());
    go_on(&mut controller, 1, 10);
    let log = fs::read(other.path().join("state.sqlite-wal")).unwrap();
    assert!(!log.is_empty());
    let copy = base.copy();
    fs::write(copy.path().join("state.sqlite-wal"), &log).unwrap();
    let told = base.judge(copy.path(), "another's log").expect("is refused");
    assert!(told.contains("the state is damaged"), "{told}");
    // A new host has all of its state in its log: that is a state, and no mixture.
    let other = TempDir::new().unwrap();
    let mut controller = Host::open(host(other.path())).unwrap();
    controller.install(&Scenario::read(&vats("bank")).unwrap()).unwrap();
    let hash = controller.standing().state_hash.clone();
    let copy = base.copy();
    fs::copy(other.path().join("state.sqlite-wal"), copy.path().join("state.sqlite-wal")).unwrap();
    match Block::open_read_only(copy.path()) {
        Ok(block) => assert_eq!(block.meta().state_hash.to_string(), hash),
        Err(fault) => assert!(fault.to_string().contains("the state is damaged"), "{fault}"),
    }
}

#[test]
fn a_log_that_turned_bad_is_refused_and_no_block_that_was_told_of_is_lost_without_a_word() {
    let base = Base::new("bank");
    let copy = base.copy();
    let mut controller = Host::open(host(copy.path())).unwrap();
    go_on(&mut controller, 3, 6);
    // As a host leaves it that is killed.
    let killed = TempDir::new().unwrap();
    let [file, log] = ["state.sqlite", "state.sqlite-wal"];
    for it in [file, log] {
        fs::copy(copy.path().join(it), killed.path().join(it)).unwrap();
    }
    drop(controller);
    let [file, log] = [file, log].map(|it| killed.path().join(it));
    let good = [&file, &log].map(|it| fs::read(it).unwrap());
    let mut random = seeded(1 << 34);
    let (mut refused, mut without_effect) = (0, 0);
    for number in 0..flips(20) {
        let mut bad = good[1].clone();
        let at = random.place(bad.len());
        bad[at] ^= 1 << random.place(8);
        fs::write(&file, &good[0]).unwrap();
        fs::write(&log, &bad).unwrap();
        match base.judge(killed.path(), &format!("flip {number}, byte {at} of the log")) {
            Some(_) => refused += 1,
            None => without_effect += 1,
        }
    }
    assert!(refused > without_effect, "{refused} {without_effect}");
    fs::write(&file, &good[0]).unwrap();
    let mut bad = good[1].clone();
    bad[40] ^= 1;
    fs::write(&log, &bad).unwrap();
    let why = "read the log `";
    for said in [vathost(&["verify"], &[killed.path()]).out, run_verb(killed.path())] {
        assert!(said.contains(why) && said.contains("has not its checksum"), "{said}");
    }
}

fn run_verb(state: &Path) -> String {
    let said = vathost(&["run", "--state", state.to_str().unwrap()], &[]);
    assert_eq!(said.code, 74, "{}", said.err);
    said.err
}

/// Damages a copy, and says what each verb makes of it: its code, and what it says.
fn verbs(base: &Base, sql: &str, args: &[&str]) -> Said {
    let copy = base.copy();
    sqlite(copy.path()).execute_batch(sql).unwrap();
    let (state, out) = (copy.path().to_str().unwrap(), copy.path().join("out"));
    let args: Vec<&str> = args.iter().map(|it| if *it == "STATE" { state } else { it }).collect();
    let args: Vec<&str> = args.into_iter().map(|it| if it == "OUT" { out.to_str().unwrap() } else { it }).collect();
    let said = vathost(&args, &[]);
    assert!(!out.exists() || said.code == 0, "{sql}: {args:?} left something");
    said
}

#[test]
fn every_verb_that_uses_a_state_refuses_a_damaged_one_and_says_what_can_be_done() {
    every_verb_refuses(
        &Base::of("bank", 0),
        &[
            (
                "UPDATE vatstore SET value = x'0300' WHERE key = (SELECT min(key) FROM vatstore)",
                "table `vatstore`, key 0000",
            ),
            ("DELETE FROM object WHERE key = (SELECT max(key) FROM object)", "table `object`: its rows"),
            ("INSERT INTO outbox VALUES (x'0000000000000007', x'0301', 3)", "table `outbox`, key 0000000000000007"),
            ("UPDATE block SET state_hash = zeroblob(32) WHERE height = 1", "read the mark of block-1"),
            ("DELETE FROM block WHERE height = 3", "table `block`"),
            ("DELETE FROM transcript WHERE vat = 2", "by its transcript"),
            ("UPDATE transcript SET vat = 77 WHERE vat = 2", "there is a transcript of v77"),
            ("UPDATE meta SET checksum = 7", "read the state's facts"),
            ("DELETE FROM meta", "table `meta`: there are rows, and no facts"),
            ("DELETE FROM tally WHERE key = x'0000000000000001'", "table `tally`"),
            (
                "DROP TABLE gc; CREATE TABLE gc (key BLOB PRIMARY KEY, value BLOB, checksum INTEGER)",
                "table `gc`: it is missing, or",
            ),
        ],
    );
    every_verb_refuses(
        &Base::new("bank"),
        &[
            ("DELETE FROM transcript WHERE vat = 2", "read the transcript of v2 from delivery-"),
            ("DELETE FROM tail", "by its transcript"),
            ("UPDATE tail SET id = 2", "read the tail of the state, row 2"),
            ("UPDATE tail SET height = height - 1", "read the tail of the state, row 1"),
            ("DROP TABLE tail", "table `tail`: it is missing, or"),
        ],
    );
}

/// Checks that each of these damages to a state is refused by the verbs that use it, and that they say why.
fn every_verb_refuses(base: &Base, damages: &[(&str, &str)]) {
    let verbs_that_act: [&[&str]; 6] = [
        &["run", "--state", "STATE"],
        &["inspect", "--state", "STATE", "vats"],
        &["replay", "--state", "STATE", "--vat", "v1"],
        &["export", "STATE", "OUT"],
        &["fork", "STATE", "OUT"],
        &["verify", "STATE"],
    ];
    for (at, (sql, why)) in damages.iter().enumerate() {
        // Each damage with two of the verbs, so that each verb meets several.
        for args in [verbs_that_act[0], verbs_that_act[1 + at % 5]] {
            let said = verbs(base, sql, args);
            if args[0] == "verify" {
                assert_eq!(said.code, 1, "{sql}: {}", said.out);
                continue;
            }
            assert_eq!(said.code, 74, "{sql}: {args:?}: {}", said.err);
            let named = args[0] == "export" || args[0] == "fork" || said.err.contains(why);
            assert!(named && said.err.contains("the state is damaged"), "{sql}: {args:?}: {}", said.err);
            assert!(said.err.contains("`vathost verify`") && said.err.contains("`vathost import`"), "{}", said.err);
            assert!(!said.err.contains("kernel panic"), "{}", said.err);
        }
    }
}

#[test]
fn a_hole_in_a_transcript_is_refused_by_whoever_reads_it_and_names_vat_and_delivery() {
    let base = Base::new("bank");
    let chunks = "SELECT first FROM transcript WHERE vat = 1 ORDER BY first";
    let firsts: Vec<i64> = {
        let sqlite = sqlite(base.dir.path());
        let mut statement = sqlite.prepare(chunks).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert!(firsts.len() >= 3, "{firsts:?}");
    let sql = format!("DELETE FROM transcript WHERE vat = 1 AND first = {}", firsts[1]);
    let missing = format!("delivery-{} should come next: deliveries are missing", firsts[1]);
    for args in [
        &["replay", "--state", "STATE", "--vat", "v1"][..],
        &["inspect", "--state", "STATE", "transcript", "v1"],
        &["export", "STATE", "OUT"],
        &["fork", "STATE", "OUT"],
    ] {
        let said = verbs(&base, &sql, args);
        assert_eq!(said.code, 74, "{args:?}: {}{}", said.out, said.err);
        assert!(said.err.contains("the transcript of v1") && said.err.contains(&missing), "{args:?}: {}", said.err);
    }
    assert_eq!(verbs(&base, &sql, &["verify", "STATE"]).code, 1);
    // Whose snapshot is gone with it needs all of it: a host without snapshots refuses when the vat is to come up.
    let copy = TempDir::new().unwrap();
    let state = copy.path().join("state");
    let forked = vathost(&["fork", "--without-snapshots"], &[base.dir.path(), &state]);
    assert_eq!(forked.code, 0, "{}", forked.err);
    sqlite(&state).execute_batch(&sql).unwrap();
    let Ended::Refused(told) = run(&state) else { panic!("a hole is accepted") };
    assert!(told.contains("crank-") && told.contains(" to v1 (") && told.contains(&missing), "{told}");
}

#[test]
fn a_state_goes_on_without_its_snapshots_where_they_are_damaged() {
    let base = Base::new("bank");
    let copy = base.copy();
    sqlite(copy.path()).execute_batch("UPDATE page SET bytes = zeroblob(4096)").unwrap();
    let Ended::Refused(told) = run(copy.path()) else { panic!("damaged pages are accepted") };
    assert!(told.contains("read page ") && told.contains("(table `page` of ") && told.contains(" to v"), "{told}");
    let into = TempDir::new().unwrap();
    let mended = into.path().join("mended");
    assert_eq!(vathost(&["fork"], &[copy.path(), &mended]).code, 74);
    assert!(!mended.exists());
    let forked = vathost(&["fork", "--without-snapshots"], &[copy.path(), &mended]);
    assert_eq!(forked.code, 0, "{}", forked.err);
    assert_eq!(findings(&mended), None);
    let Ended::At(end) = run(&mended) else { panic!("it does not go on") };
    assert_eq!(end, base.end);
}
