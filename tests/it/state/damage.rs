//! What `verify` finds, and that it finds all of it.

use expect_test::expect;
use rusqlite::params;
use vathost::{
    inspect::difference,
    slog::Slog,
    state::{block::Block, table::Tables},
    vat::Warehouse,
};

use super::*;

#[test]
fn verify_finds_nothing_after_any_scenario() {
    let mut scenarios = 0;
    for entry in fs::read_dir(vats("")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let dir = TempDir::new().unwrap();
        make(path.file_name().unwrap().to_str().unwrap(), dir.path(), ALL);
        let database = Database::open_read_only(dir.path()).unwrap();
        let found = verify::verify(&database).unwrap();
        assert!(found.is_ok() && found.0.iter().all(|it| it.skipped.is_none()), "{}: {found:#?}", path.display());
        let block = Block::over(database, Slog::default()).unwrap();
        let mut deliveries = 0;
        let mut workers = Warehouse::new(Some(&code_cache())).unwrap();
        let replayed = verify::replay(&block, &mut workers, &mut || deliveries += 1).unwrap();
        assert!(replayed.is_ok() && deliveries > 0, "{}: {replayed:#?}", path.display());
        scenarios += 1;
    }
    assert!(scenarios >= 10);
}

/// A record that gained a field reads as a damaged one in a state of before, unless the number of the schema says that it is
/// another. Where this fails, raise `SCHEMA` in `src/store/database.rs`, and take the new lengths.
#[test]
fn the_schema_number_is_raised_with_the_layout_of_the_rows() {
    let dir = TempDir::new().unwrap();
    make("clerk", dir.path(), 2);
    let sqlite = sqlite(dir.path());
    let number: u32 = sqlite.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let mut lengths = format!("schema {number}");
    for table in Tables::names() {
        let first = format!("SELECT length(value) FROM \"{table}\" ORDER BY key LIMIT 1");
        if let Ok(length) = sqlite.query_row(&first, [], |row| row.get::<_, u32>(0)) {
            lengths += &format!(", {table} {length}");
        }
    }
    expect!["schema 11, globals 13, vat 95, tally 19, clist 4, object 7, promise 6, vatstore 3, outside 17, bundle_name 33, device 8, settlement 16, engine 3"].assert_eq(&lengths);
}

/// Makes a state of two blocks whose transcripts are in chunks.
fn make_in_chunks(dir: &Path) {
    let mut host = Host::open(HostOptions { keep: IN_CHUNKS, ..options(dir) }).unwrap();
    host.install(&Scenario::read(&vats("bank")).unwrap()).unwrap();
    go_on(&mut host, 2, 10);
}

#[test]
fn every_bit_of_every_row_is_guarded() {
    let dir = TempDir::new().unwrap();
    make_in_chunks(dir.path());
    go_on(&mut open(dir.path()), 1, 10);
    assert_eq!(findings(dir.path()), None);
    let sqlite = sqlite(dir.path());
    let mut columns: Vec<(&str, &str)> = Tables::names().iter().flat_map(|it| [(*it, "key"), (*it, "value")]).collect();
    columns.extend([
        ("meta", "value"),
        ("bundle", "wasm"),
        ("bundle", "hash"),
        ("transcript", "entries"),
        ("tail", "entries"),
        ("block", "state_hash"),
        ("crank_mark", "marks"),
    ]);
    let mut flips = 0;
    for (table, column) in columns {
        let rows = format!("SELECT DISTINCT {column} FROM \"{table}\" WHERE length({column}) > 0 LIMIT 3");
        let rows: Vec<Vec<u8>> =
            sqlite.prepare(&rows).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        for good in rows {
            let update = format!("UPDATE \"{table}\" SET {column} = ? WHERE {column} = ?");
            for at in (0..good.len()).step_by(1 + good.len() / 12) {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                if sqlite.execute(&update, params![bad, good]).is_err() {
                    continue; // another row has that key
                }
                let found = findings(dir.path());
                assert!(found.is_some(), "{table}.{column} byte {at} of {good:?}");
                sqlite.execute(&update, params![good, bad]).unwrap();
                flips += 1;
            }
        }
    }
    assert!(flips > 200, "{flips}");
    assert_eq!(findings(dir.path()), None, "all is as it was");
}

#[test]
fn verify_says_what_is_damaged() {
    let source = TempDir::new().unwrap();
    make_in_chunks(source.path());
    let cases = [
        ("UPDATE object SET value = CAST(x'01' || value AS BLOB)", "records: table `object`, key 0000000000000014"),
        ("UPDATE object SET value = x'0102' WHERE key = (SELECT min(key) FROM object)", "records: table `object`"),
        ("DELETE FROM clist WHERE key = (SELECT min(key) FROM clist)", "invariants: `audit."),
        ("DELETE FROM vatstore WHERE key = (SELECT min(key) FROM vatstore)", "digest: the rows have digest"),
        ("UPDATE bundle SET wasm = CAST(wasm || x'00' AS BLOB)", "bundles: read bundle"),
        ("DELETE FROM bundle", "is needed, and missing"),
        (
            "UPDATE transcript SET entries = CAST(entries || x'00' AS BLOB) WHERE vat = 2",
            "transcripts: read the transcript of v2",
        ),
        ("DELETE FROM transcript WHERE vat = 2 AND first > 0", "transcripts: v2: its tally"),
        ("DELETE FROM transcript WHERE vat = 2 AND first = 0", "deliveries are missing"),
        ("UPDATE transcript SET vat = 77 WHERE vat = 2", "there is a transcript of v77, and no such vat"),
        ("UPDATE object SET value = 'text'", "records: read table `object`: Invalid type"),
        ("UPDATE meta SET value = CAST(value || x'00' AS BLOB)", "facts: read the state's facts"),
        ("DELETE FROM meta", "facts: there is no committed block"),
        ("DELETE FROM block WHERE height = 1", "blocks: table `block`: block-0 ends before"),
        ("DELETE FROM block WHERE height = 2", "blocks: table `block`: 2 of the last blocks are kept"),
        (
            "UPDATE block SET state_hash = zeroblob(32)",
            "blocks: read the mark of block-0: its bytes do not have its checksum",
        ),
        ("UPDATE crank_mark SET marks = zeroblob(80)", "blocks: read the marks of the last cranks from crank-"),
        ("DELETE FROM crank_mark WHERE first = (SELECT max(first) FROM crank_mark)", "blocks: the marks of cranks end"),
        ("CREATE TABLE stranger (it)", "tables: table `stranger` is not known"),
        ("DROP TABLE gc", "tables: table `gc`"),
        ("ALTER TABLE gc RENAME COLUMN value TO valve", "tables: table `gc`"),
        ("PRAGMA user_version = 99", "file: open the state: it has schema version 99"),
    ];
    says_what_is_damaged(source.path(), &cases);
    // What the last blocks appended to the transcripts.
    (0..2).for_each(|_| drop(go_on(&mut open(source.path()), 1, 5)));
    let cases = [
        (
            "UPDATE tail SET entries = CAST(entries || x'00' AS BLOB) WHERE id = 2",
            "transcripts: read the tail of the state, row 2: its bytes",
        ),
        (
            "UPDATE tail SET height = height + 1 WHERE id = 1",
            "transcripts: read the tail of the state, row 1: its bytes",
        ),
        ("UPDATE tail SET time = time + 1 WHERE id = 1", "transcripts: read the tail of the state, row 1: its bytes"),
        ("DELETE FROM tail WHERE id = 1", "transcripts: read the tail of the state, row 2: its bytes"),
        ("DELETE FROM tail WHERE id = 2", "its transcript adds up to"),
        ("DELETE FROM tail", "its transcript adds up to"),
        ("DELETE FROM transcript WHERE vat = 1", "transcripts: read the transcript of v1 from delivery-"),
    ];
    says_what_is_damaged(source.path(), &cases);
}

/// Checks that `verify` says what is expected of each damage to a state.
fn says_what_is_damaged(source: &Path, cases: &[(&str, &str)]) {
    for &(sql, expected) in cases {
        let dir = TempDir::new().unwrap();
        Database::copy(source, &dir.path().join("state.sqlite")).unwrap();
        sqlite(dir.path()).execute_batch(sql).unwrap();
        let said = vathost(&["verify"], &[dir.path()]);
        let found = findings(dir.path()).unwrap_or_default();
        assert_eq!(said.code, 1, "{sql}: {}{}", said.out, said.err);
        assert!(found.contains(expected), "{sql}: {found}");
        assert!(said.out.contains(expected.split_once(": ").map_or(expected, |(_, it)| it)), "{sql}: {}", said.out);
    }
}

#[test]
fn verify_says_what_is_damaged_of_the_snapshots() {
    let source = TempDir::new().unwrap();
    let open = HostOptions { snapshot_interval: Some(5), ..options(source.path()) };
    let mut controller = Host::open(open).unwrap();
    controller.install(&Scenario::read(&vats("pingpong")).unwrap()).unwrap();
    go_on(&mut controller, 3, 10);
    drop(controller);
    let cases = [
        ("UPDATE page SET bytes = zeroblob(4096) WHERE hash = (SELECT min(hash) FROM page)", "snapshots: read page"),
        ("DELETE FROM page WHERE hash = (SELECT min(hash) FROM page)", "is needed by a snapshot, and missing"),
        ("UPDATE page SET refs = refs + 1 WHERE hash = (SELECT min(hash) FROM page)", "snapshots: read how often page"),
        ("DELETE FROM snapshot WHERE vat = 1", "is named by 0 snapshots"),
        ("UPDATE page SET checksum = checksum + 1", "snapshots: read how often page"),
        ("UPDATE snapshot SET position = position + 100000", "snapshots: read the snapshot of v1"),
        ("UPDATE snapshot SET manifest = CAST(manifest || x'00' AS BLOB)", "snapshots: read the snapshot of v1"),
    ];
    for (sql, expected) in cases {
        let dir = TempDir::new().unwrap();
        Database::copy(source.path(), &dir.path().join("state.sqlite")).unwrap();
        assert_eq!(findings(dir.path()), None);
        assert!(sqlite(dir.path()).execute(sql, []).unwrap() > 0, "{sql}");
        let found = findings(dir.path()).unwrap_or_default();
        assert!(found.contains(expected), "{sql}: {found}");
    }
}

#[test]
fn no_flip_of_a_bit_on_a_page_of_the_file_is_a_panic_or_goes_unnoticed() {
    let source = TempDir::new().unwrap();
    make("counter", source.path(), 2);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("state.sqlite");
    Database::copy(source.path(), &file).unwrap();
    let good = fs::read(&file).unwrap();
    let original = Database::open_read_only(source.path()).unwrap();
    let mut noticed = 0;
    for at in (0..good.len()).step_by(1013) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&file, bad).unwrap();
        match findings(dir.path()) {
            Some(_) => noticed += 1,
            // Only what no row uses may be damaged without a finding.
            None => {
                let damaged = Database::open_read_only(dir.path()).unwrap();
                assert!(difference::compare(&original, &damaged, 1).unwrap().is_none(), "byte {at}");
            }
        }
    }
    for length in [0, 1, 100, 4096, good.len() / 2, good.len() - 1] {
        fs::write(&file, &good[..length]).unwrap();
        assert!(findings(dir.path()).is_some(), "cut to {length} bytes");
    }
    assert!(noticed > 20, "{noticed}");
}

#[test]
fn a_reference_that_is_still_to_be_given_out_is_found() {
    let dir = TempDir::new().unwrap();
    make("bank", dir.path(), 2);
    // Without its tally a vat has been given no reference yet.
    sqlite(dir.path()).execute_batch("DELETE FROM tally WHERE key = x'0000000000000001'").unwrap();
    let said = vathost(&["verify", "--json"], &[dir.path()]);
    let checks = said.json()["checks"].as_array().unwrap().clone();
    let invariants = checks.iter().find(|it| it["name"] == "invariants").unwrap()["findings"].to_string();
    assert!(invariants.contains("v1 has no tally"), "{invariants}");
    assert!(invariants.contains("o-50 of v1 has a number that is still to be given out"), "{invariants}");
}
