//! The tail of a state: what the last blocks appended, until it is dealt out. No hash, no transcript and no mark shows where it is stored.

use vathost::{
    HostOptions,
    model::id::{BlockHeight, CrankNum, DeliveryNum, VatId},
    state::{block::Block, retention::Keep, table::Tables},
    store::{Append, AppendedBlock, BlockMark, CrankMark, Heads, Proof, StateHash},
};

use super::*;

/// A vat of long deliveries, and one of short ones.
const VATS: [(&str, usize); 2] = [("long", 1_024), ("short", 1)];

/// Makes a scenario in which both are called this often, in turn.
fn both(calls: usize) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut toml = String::new();
    for (name, bytes) in VATS {
        toml += &format!("[vats.{name}]\nbundle = \"{name}.wat\"\n");
        fs::write(dir.path().join(format!("{name}.wat")), hoarder(bytes, "")).unwrap();
    }
    let sends = VATS.map(|(name, _)| format!("[[send]]\nto = \"{name}\"\nmethod = \"go\"\n")).concat();
    fs::write(dir.path().join("vat.toml"), toml + &sends.repeat(calls)).unwrap();
    dir
}

fn number(dir: &Path, sql: &str) -> u64 {
    sqlite(dir).query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned()
}

/// The rows of the tail, and the chunks of both vats.
fn stored(dir: &Path) -> [u64; 3] {
    let chunks = |vat| number(dir, &format!("SELECT count(*) FROM transcript WHERE vat = {vat}"));
    [number(dir, "SELECT count(*) FROM tail"), chunks(1), chunks(2)]
}

/// The entries of a vat's transcript from this delivery on.
fn entries(dir: &Path, vat: u64, from: u64) -> Vec<String> {
    let block = Block::open_read_only(dir).unwrap();
    let entries = block.transcript(VatId(vat), DeliveryNum(from)).unwrap();
    entries.map(|it| format!("{:?}", it.unwrap())).collect()
}

/// Runs to the end in blocks of two cranks, by a new process every so many of them. Returns the hash of each block, and what was stored
/// behind it.
fn life(dir: &Path, scenario: &Path, keep: Keep, blocks: usize) -> (Vec<String>, Vec<[u64; 3]>) {
    let open = || Host::open(HostOptions { keep, max_live: Some(1), ..options(dir) }).unwrap();
    let mut host = open();
    host.install(&Scenario::read(scenario).unwrap()).unwrap();
    let (mut hashes, mut all) = (Vec::new(), Vec::new());
    while !host.is_quiescent().unwrap() {
        hashes.push(go_on(&mut host, 1, 2));
        all.push(stored(dir));
        if hashes.len() % blocks == 0 {
            drop(host);
            host = open();
        }
    }
    (hashes, all)
}

#[test]
fn a_full_tail_is_dealt_out_and_no_hash_and_no_transcript_shows_it() {
    let scenario = both(24);
    let dirs = [(); 3].map(|()| TempDir::new().unwrap());
    let [once, often, chunks] = dirs.each_ref().map(TempDir::path);
    let (hashes, stored) = life(once, scenario.path(), Keep::All, 1_000);
    // A row each block, and one of the vats that were created; the block with which it is full is in the chunks already, where those of several
    // blocks are together if they are short.
    let full = stored.iter().position(|it| it[0] == 0).unwrap();
    assert!((10..20).contains(&full), "{stored:?}");
    for (at, it) in stored.iter().enumerate() {
        let [long, short] = if at < full { [0, 0] } else { [stored[full][1], stored[full][2]] };
        assert_eq!(*it, [if at < full { at + 2 } else { at - full } as u64, long, short], "{at}: {stored:?}");
    }
    assert!(stored[full][1] > 10 && (1..4).contains(&stored[full][2]), "{stored:?}");
    assert_eq!(life(often, scenario.path(), Keep::All, 1), (hashes.clone(), stored));
    let (hashes_in_chunks, stored) = life(chunks, scenario.path(), IN_CHUNKS, 5);
    assert_eq!(hashes_in_chunks, hashes);
    assert!(stored.iter().all(|it| it[0] == 0) && stored.last().unwrap()[2] > 20, "{stored:?}");
    for from in [0, 3, full as u64, full as u64 + 3] {
        for vat in [1, 2] {
            let [once, often, chunks] = [once, often, chunks].map(|it| entries(it, vat, from));
            assert!(once.len() as u64 == 25 - from && once == often && once == chunks, "from {from}: {}", once.len());
        }
    }
    for dir in [once, often, chunks] {
        assert_eq!(findings(dir), None);
        let said = vathost(&["replay", "--vat", "short", "--from", "0", "--json"], &[dir]);
        assert_eq!(said.json()["ok"], true, "{}{}", said.out, said.err);
    }
    assert_eq!(vathost(&["diff"], &[once, chunks]).code, 0);
}

#[test]
fn a_vat_that_ends_takes_its_part_of_the_tail_along() {
    let (scenario, dir) = (both(6), TempDir::new().unwrap());
    let (_, before) = life(dir.path(), scenario.path(), Keep::All, 1_000);
    assert!(before.last().unwrap()[0] > 4, "{before:?}");
    let kept = entries(dir.path(), 2, 0);
    assert_eq!(vathost(&["terminate"], &[dir.path(), Path::new("long")]).code, 0);
    while !open(dir.path()).is_quiescent().unwrap() {
        go_on(&mut open(dir.path()), 1, 100);
    }
    assert_eq!(findings(dir.path()), None);
    let heads = Database::open_read_only(dir.path()).unwrap().heads().unwrap();
    assert_eq!(heads.vats().into_iter().collect::<Vec<_>>(), [VatId(2)]);
    assert_eq!(entries(dir.path(), 2, 0)[..kept.len()], kept);
    let [rows, long, short] = stored(dir.path());
    assert!(rows < 3 && (long, short) == (0, 1), "{rows} {long} {short}: that of the other is to be dealt out");
}

#[test]
fn a_tail_of_short_rows_is_dealt_out_too_and_its_end_is_attested() {
    let mut database = Database::memory(&Tables::layout()).unwrap();
    let (mut heads, mut proof) = (Heads::default(), Proof::default());
    let transaction = database.transaction().unwrap();
    let put = |height, number, heads: &mut Heads, proof: &mut Proof| {
        let (height, next_crank) = (BlockHeight(height), CrankNum(height));
        let mark = BlockMark { height, next_crank, state_hash: StateHash::default() };
        let block = AppendedBlock { mark, time: 0, cranks: &[], has_mark: false, gathers: true };
        let append = |append: &mut Append<'_>| append(VatId(1), DeliveryNum(number), b"entry");
        transaction.put_block(&block, heads, proof, append)
    };
    let mut dealt_out = Vec::new();
    for height in 0..4_100 {
        let written = put(height, height, &mut heads, &mut proof).unwrap();
        assert_eq!(heads.digest(), proof.transcripts, "{height}");
        if written > 0 {
            dealt_out.push((height, written));
        }
    }
    // Together: 20 KiB.
    assert_eq!(dealt_out, [(4_096, 1)]);
    // Another than the next is refused.
    for number in [4_099, 4_101] {
        let told = put(4_100, number, &mut heads, &mut proof).unwrap_err().to_string();
        assert!(told.contains("delivery-4100 is the next of v1"), "{told}");
    }
    transaction.commit().unwrap();
    let read = database.heads().unwrap();
    assert_eq!((read.digest(), read.next(VatId(1))), (proof.transcripts, DeliveryNum(4_100)));
    let chunks = database.transcript(&read, VatId(1), DeliveryNum(0)).unwrap();
    let ends: Vec<_> = chunks.iter().map(|it| (it.first.0, it.next.0)).collect();
    assert_eq!(ends, [(0, 4_097), (4_097, 4_100)]);
    // Marks of cranks fill it as well.
    let transaction = database.transaction().unwrap();
    let mark =
        BlockMark { height: BlockHeight(4_100), next_crank: CrankNum(604_100), state_hash: StateHash::default() };
    let cranks = vec![CrankMark::default(); 600_000];
    let block = AppendedBlock { mark, time: 0, cranks: &cranks, has_mark: false, gathers: true };
    assert_eq!(transaction.put_block(&block, &mut heads, &mut proof, |_| Ok(())).unwrap(), 1);
}
