//! The archive of a vat that ended: its transcript goes there before it leaves the state, and is replayed and checked afterwards.

use vathost::{
    DirectiveSet, HostOptions, Options, StaticVat,
    host::{
        controller::{BlockPolicy, Host},
        scenario::Scenario,
        staged::{BlockHeader, BlockInput, StagedHost},
    },
    model::id::{BundleId, VatId},
    state::{
        block::history,
        retention::{ArchiveNews, Keep},
    },
    store::SpanFolder,
};

use super::{
    spans::{is_whole, say, spans},
    *,
};

const POLICY: BlockPolicy = BlockPolicy { cranks: 1, fuel: None, wall_millis: None, block_time: 5 };

/// The vat that ends, and the block with which it does.
const NORTH: VatId = VatId(1);
const END: u64 = 30;

fn mortal() -> Vec<u8> {
    fs::read(vats("mortal.wasm")).unwrap()
}

/// A module that only the vat that ends runs.
fn northern() -> Vec<u8> {
    [mortal(), vec![0, 2, 1, b'n']].concat()
}

fn vat(name: &str, wasm: Vec<u8>) -> StaticVat {
    StaticVat { name: name.to_owned(), wasm, options: Options::default(), parameters: "#{}".to_owned() }
}

/// Opens a state with two vats, of which one is ended by a directive.
fn begin(dir: &Path, keep: Keep, archive: Option<&Path>) -> Host {
    begin_with(dir, keep, archive, None)
}

fn begin_with(dir: &Path, keep: Keep, archive: Option<&Path>, handed_over_min: Option<u64>) -> Host {
    let mut directives = DirectiveSet::default();
    directives.read("test", format!("block-{END}: terminate {NORTH}").as_bytes()).unwrap();
    let archive = archive.map(Path::to_owned);
    let options =
        HostOptions { keep, archive, directives, snapshot_interval: Some(7), handed_over_min, ..options(dir) };
    let mut host = Host::open(options).unwrap();
    if host.is_new() {
        let vats = vec![vat("north", northern()), vat("south", mortal())];
        host.install(&Scenario { vats, ..Scenario::default() }).unwrap();
    }
    host
}

/// Runs blocks up to this height, each with a message to either vat, and returns their hashes.
fn blocks(host: &mut Host, to: u64) -> Vec<String> {
    let mut hashes = Vec::new();
    while host.report().unwrap().height < to {
        host.send("south", "increment", []).unwrap();
        if host.report().unwrap().height < END - 1 {
            host.send("north", "increment", []).unwrap();
        }
        hashes.push(host.run_block(&POLICY, &mut |_| true).unwrap().state_hash.to_string());
    }
    hashes
}

fn count(dir: &Path, sql: &str) -> i64 {
    sqlite(dir).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Chunks of the vat that ended which are in the state.
fn chunks(dir: &Path) -> i64 {
    count(dir, &format!("SELECT count(*) FROM transcript WHERE vat = {}", NORTH.0))
}

/// The deliveries of the vat that ended, as `inspect` shows them.
fn shown(dir: &Path, archive: Option<&Path>) -> Vec<Value> {
    let said = say(&["inspect", "transcript", "v1", "--from", "0", "--limit", "1000", "--json"], dir, archive);
    assert_eq!(said.code, 0, "{}", said.err);
    said.json().as_array().unwrap().clone()
}

/// Checks that the transcript of the vat that ended is in the archive, whole, and nowhere else.
fn has_left(dir: &Path, archive: &Path) {
    assert_eq!(chunks(dir), 0);
    let told = say(&["replay", "--vat", "v1", "--from", "0", "--json"], dir, Some(archive)).json();
    let state = Database::open_read_only(dir).unwrap();
    let left = state.pruned(NORTH).unwrap().unwrap().next.0;
    assert_eq!((&told["ok"], &told["to"]), (&true.into(), &(left - 1).into()), "{told}");
    is_whole(dir, archive);
}

#[test]
fn the_transcript_of_a_vat_that_ends_goes_into_the_archive_and_no_hash_changes() {
    for keep in [Keep::All, Keep::Needed] {
        let dir = TempDir::new().unwrap();
        let [plain, state, archive] = ["plain", "state", "past"].map(|it| dir.path().join(it));
        let mut without = begin(&plain, keep, None);
        let mut hashes = blocks(&mut without, END - 1);
        let before = if keep == Keep::All { shown(&plain, None) } else { Vec::new() };
        hashes.extend(blocks(&mut without, END + 20));
        drop(without);
        // Without an archive all of it is gone, and nothing stays of it.
        assert_eq!((chunks(&plain), count(&plain, "SELECT count(*) FROM pruned WHERE vat = 1")), (0, 0));
        let mut with = begin(&state, keep, Some(&archive));
        assert_eq!(blocks(&mut with, END + 20), hashes);
        drop(with);
        has_left(&state, &archive);
        let after = shown(&state, Some(&archive));
        assert!(after.starts_with(&before) && after.len() > 9, "{} {}", after.len(), before.len());
        let mut database = Database::open_read_only(&state).unwrap();
        let bundle = BundleId::of(&northern());
        assert!(database.bundle(bundle).is_err());
        database.read_archive(SpanFolder::at(&archive));
        assert_eq!(database.bundle(bundle).unwrap(), northern());
        drop(database);
        // Two replicas of which one has an archive are the same.
        let said = vathost(&["diff"], &[&plain, &state]);
        assert_eq!(said.code, 0, "{}", said.out);
        // Who asks without the archive hears where it went.
        let said = say(&["replay", "--vat", "v1", "--from", "0"], &state, None);
        assert!(said.code != 0 && said.err.contains("left the state by block-"), "{}", said.err);
        let said = say(&["verify"], &state, None);
        assert!(said.code == 0 && said.out.contains("that have left"), "{}", said.out);
    }
}

#[test]
fn blocks_that_another_thread_writes_wait_for_what_goes_into_the_archive() {
    let dir = TempDir::new().unwrap();
    let lives = [("plain", None), ("state", Some(1))].map(|(name, handed_over_min)| {
        let (state, archive) = (dir.path().join(name), dir.path().join(format!("{name}-past")));
        let mut host = begin_with(&state, Keep::All, Some(&archive), handed_over_min);
        for to in ["north", "south", "south"].iter().cycle().take(90) {
            host.send(*to, "increment", []).unwrap();
        }
        let mut hashes = Vec::new();
        while !host.is_quiescent().unwrap() {
            host.run_blocks(&POLICY, 1_000, &mut |_| true, &mut |end| {
                hashes.push(end.state_hash.to_string());
                true
            })
            .unwrap();
        }
        drop(host);
        has_left(&state, &archive);
        assert!(archive.join(format!("bundle-{}.wasm", BundleId::of(&northern()))).exists());
        (hashes, spans(&archive))
    });
    assert!(lives[0].0.len() > 60 && lives[0] == lives[1], "{}", lives[0].0.len());
}

#[test]
fn a_crash_before_any_commit_leaves_what_the_next_start_makes_whole() {
    let dir = TempDir::new().unwrap();
    let [plain, state, archive, before] = ["plain", "state", "past", "before"].map(|it| dir.path().join(it));
    let hashes = blocks(&mut begin(&plain, Keep::Needed, None), END + 20);
    drop(begin(&state, Keep::Needed, Some(&archive)));
    let files = || -> Vec<(PathBuf, Vec<u8>)> {
        let Ok(entries) = fs::read_dir(&archive) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.map(|it| it.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|it| (it.clone(), fs::read(&it).unwrap())).collect()
    };
    let mut crashes = 0;
    for (at, hash) in hashes.iter().enumerate() {
        let height = 1 + at as u64;
        let found = files();
        let _ = fs::remove_dir_all(&before);
        fs::create_dir(&before).unwrap();
        Database::copy(&state, &before.join("state.sqlite")).unwrap();
        let run = || blocks(&mut begin(&state, Keep::Needed, Some(&archive)), height);
        assert_eq!(run(), std::slice::from_ref(hash));
        let made = files();
        for it in made.iter().filter(|it| !found.contains(it)) {
            // The file is whole, or torn, or only a draft, and the commit was not made.
            for crash in 0..3 {
                fs::remove_dir_all(&state).unwrap();
                fs::create_dir(&state).unwrap();
                fs::copy(before.join("state.sqlite"), state.join("state.sqlite")).unwrap();
                match crash {
                    0 => (),
                    1 => fs::write(&it.0, &it.1[..it.1.len() / 2]).unwrap(),
                    _ => fs::rename(&it.0, it.0.with_extension("draft")).unwrap(),
                }
                assert_eq!(run(), std::slice::from_ref(hash));
                assert_eq!(files(), made);
                crashes += 1;
            }
        }
    }
    assert!(crashes >= 6, "{crashes}");
    has_left(&state, &archive);
}

#[test]
fn a_file_of_a_vat_that_ended_is_named_where_it_is_missing_or_altered() {
    let dir = TempDir::new().unwrap();
    let [state, archive] = ["state", "past"].map(|it| dir.path().join(it));
    blocks(&mut begin(&state, Keep::All, Some(&archive)), END + 5);
    has_left(&state, &archive);
    let (name, _) = spans(&archive).into_iter().find(|it| it.0.starts_with("v1-")).unwrap();
    for name in [name, format!("bundle-{}.wasm", BundleId::of(&northern()))] {
        let path = archive.join(&name);
        let sound = fs::read(&path).unwrap();
        let mut altered = sound.clone();
        *altered.last_mut().unwrap() ^= 1;
        fs::write(&path, &altered).unwrap();
        let said = say(&["verify"], &state, Some(&archive));
        assert!(said.code != 0 && said.out.contains(&name), "{}", said.out);
        // A replay may find the code of a module in its cache.
        if name.ends_with(".span") {
            let said = say(&["replay", "--vat", "v1", "--from", "0"], &state, Some(&archive));
            assert!(said.code != 0 && said.err.contains(&name), "{}", said.err);
        }
        fs::remove_file(&path).unwrap();
        assert_ne!(say(&["verify"], &state, Some(&archive)).code, 0);
        fs::write(&path, &sound).unwrap();
    }
    has_left(&state, &archive);
}

#[test]
fn a_transcript_waits_in_the_state_until_the_archive_can_be_written_or_there_is_none() {
    let dir = TempDir::new().unwrap();
    let [plain, state, blocked] = ["plain", "state", "file"].map(|it| dir.path().join(it));
    let hashes = blocks(&mut begin(&plain, Keep::All, None), END + 200);
    fs::write(&blocked, "no folder").unwrap();
    let archive = blocked.join("past");
    let mut host = begin(&state, Keep::All, Some(&archive));
    let mut mine = blocks(&mut host, END + 20);
    assert!(matches!(history::archive_news(host.block_mut().unwrap()), Some(ArchiveNews::Broken(_))));
    drop(host);
    let held = chunks(&state);
    assert!(held > 9, "{held}");
    let bundle = BundleId::of(&northern());
    assert!(Database::open_read_only(&state).unwrap().bundle(bundle).is_ok());
    assert_eq!((findings(&state), vathost(&["diff"], &[&state, &state]).code), (None, 0));
    // Whoever has no archive lets it go.
    let other = dir.path().join("other");
    assert_eq!(vathost(&["fork"], &[&state, &other]).code, 0);
    let mut bare = begin(&other, Keep::All, None);
    blocks(&mut bare, END + 21);
    drop(bare);
    assert_eq!((chunks(&other), findings(&other)), (0, None));
    assert_eq!(count(&other, "SELECT count(*) FROM pruned WHERE vat = 1"), 0);
    let bare = dir.path().join("bare");
    assert_eq!(vathost(&["fork"], &[&state, &bare]).code, 0);
    assert_eq!(vathost(&["prune"], &[&bare]).code, 0);
    assert_eq!((chunks(&bare), count(&bare, "SELECT count(*) FROM pruned"), findings(&bare)), (0, 0, None));
    // At rest.
    assert_eq!(vathost(&["fork"], &[&state, &dir.path().join("rest")]).code, 0);
    let (rest, past) = (dir.path().join("rest"), dir.path().join("past"));
    assert_eq!(say(&["prune"], &rest, Some(&past)).code, 0);
    assert_eq!((chunks(&rest), findings(&rest)), (0, None));
    // With the blocks that follow once it can be written.
    fs::remove_file(&blocked).unwrap();
    let mut host = begin(&state, Keep::All, Some(&archive));
    mine.extend(blocks(&mut host, END + 200));
    drop(host);
    assert_eq!(mine, hashes);
    has_left(&state, &archive);
}

#[test]
fn blocks_that_are_undone_bring_the_transcript_back_and_leave_it_again() {
    let dir = TempDir::new().unwrap();
    let [state, archive] = ["state", "past"].map(|it| dir.path().join(it));
    let mut staged = StagedHost::new(begin(&state, Keep::All, Some(&archive)), true).unwrap();
    let decide = |staged: &mut StagedHost, seconds| {
        let info = staged.info().unwrap();
        let header =
            BlockHeader { height: info.height + 1, time: info.time + seconds, prev_state_hash: info.state_hash };
        let to = if info.height < END - 1 { "north" } else { "south" };
        let send = BlockInput::Send { to: to.to_owned(), method: "increment".to_owned(), args: vec![] };
        staged.decide(&header, [send], &POLICY).unwrap().state_hash
    };
    let mut held = Vec::new();
    while held.last() != Some(&0) || staged.info().unwrap().height < END + 5 {
        assert!(held.len() < 99, "it never leaves");
        let before = chunks(&state);
        let hash = decide(&mut staged, 5);
        held.push(chunks(&state));
        let files = spans(&archive);
        staged.undo_last().unwrap();
        assert_eq!(chunks(&state), before);
        // Another block comes in its place, and after it the same one.
        assert_ne!(decide(&mut staged, 6), hash);
        staged.undo_last().unwrap();
        assert_eq!(decide(&mut staged, 5), hash);
        assert_eq!((chunks(&state), spans(&archive)), (*held.last().unwrap(), files));
    }
    assert!(held.iter().max() > Some(&10), "{held:?}");
    drop(staged);
    has_left(&state, &archive);
}
