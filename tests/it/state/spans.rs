//! The archive of what leaves a state: files from which `replay`, `verify` and `inspect transcript` read it, whatever happened meanwhile.

use tempfile::TempDir;
use vathost::{
    HostOptions,
    host::{
        controller::{BlockPolicy, Host},
        scenario::Scenario,
        staged::{BlockHeader, StagedHost},
    },
    state::{
        block::history,
        retention::{ArchiveNews, Keep},
    },
};

use super::*;

/// A block for each crank: many chunks.
const POLICY: BlockPolicy = BlockPolicy { cranks: 1, fuel: None, wall_millis: None, block_time: 5 };

fn host(dir: &Path, keep: Keep, archive: Option<&Path>) -> Host {
    let archive = archive.map(Path::to_owned);
    let mut host = Host::open(HostOptions { keep, archive, snapshot_interval: Some(7), ..options(dir) }).unwrap();
    if host.is_new() {
        host.install(&Scenario::read(&vats("pingpong")).unwrap()).unwrap();
    }
    host
}

/// Runs one block, and returns its hash; `None` at the end.
fn block(host: &mut Host) -> Option<String> {
    (!host.is_quiescent().unwrap()).then(|| host.run_block(&POLICY, &mut |_| true).unwrap().state_hash.to_string())
}

/// Runs to the end, and returns the hash of each block.
fn life(dir: &Path, keep: Keep, archive: Option<&Path>) -> Vec<String> {
    let mut host = host(dir, keep, archive);
    std::iter::from_fn(|| block(&mut host)).collect()
}

/// The spans of an archive, by name, with their bytes.
pub(super) fn spans(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(archive) else { return Vec::new() };
    let paths = entries.map(|it| it.unwrap().path()).filter(|it| it.extension().is_some_and(|it| it == "span"));
    let mut spans: Vec<_> =
        paths.map(|it| (it.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&it).unwrap())).collect();
    spans.sort();
    spans
}

/// Runs a verb on a state, and with an archive if there is one.
pub(super) fn say(words: &[&str], dir: &Path, archive: Option<&Path>) -> Said {
    let option = archive.iter().flat_map(|it| ["--archive", it.to_str().unwrap()]);
    vathost(&words.iter().copied().chain(option).collect::<Vec<_>>(), &[dir])
}

/// What the verbs say of a state and its archive, with the times of a replay left out.
fn told(dir: &Path, archive: Option<&Path>) -> Vec<Value> {
    let words: [&[&str]; 3] = [
        &["replay", "--vat", "ping", "--from", "0", "--json"],
        &["replay", "--vat", "pong", "--from", "3", "--to", "90", "--json"],
        &["inspect", "transcript", "ping", "--from", "0", "--json"],
    ];
    let told = words.iter().map(|words| {
        let mut said = say(words, dir, archive).json();
        if let Some(said) = said.as_object_mut() {
            assert_eq!(said["ok"], true);
            said.retain(|name, _| !["seconds", "deliveriesPerSecond"].contains(&name.as_str()));
        }
        said
    });
    told.collect()
}

/// Checks that a state and its archive are whole.
pub(super) fn is_whole(dir: &Path, archive: &Path) {
    let said = say(&["verify"], dir, Some(archive));
    assert!(said.code == 0 && said.out.contains(" of them in the archive\n"), "{} {}", said.out, said.err);
}

#[test]
fn what_left_is_in_the_archive_and_is_replayed_and_shown_as_if_it_had_stayed() {
    let all = TempDir::new().unwrap();
    let hashes = life(all.path(), Keep::All, None);
    let dir = TempDir::new().unwrap();
    let archive = dir.path().join("a/past");
    let state = dir.path().join("state");
    assert_eq!(life(&state, Keep::Needed, Some(&archive)), hashes);
    let with_blocks = spans(&archive).len();
    assert!(with_blocks >= 2, "{with_blocks}");
    let left = deliveries_kept(&state);
    assert!(left < deliveries_kept(all.path()));
    is_whole(&state, &archive);
    assert_eq!(told(&state, Some(&archive)), told(all.path(), None));
    // At rest the remainder follows, however little it is.
    let said = say(&["prune", "--keep", "needed"], &state, Some(&archive));
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(spans(&archive).len() > with_blocks && deliveries_kept(&state) < left);
    is_whole(&state, &archive);
    assert_eq!(told(&state, Some(&archive)), told(all.path(), None));
    let said = say(&["verify", "--replay"], &state, Some(&archive));
    assert!(said.code == 0 && said.out.contains("replay       ok"), "{}", said.out);
    // A file names itself, and can be read without this program.
    let (name, bytes) = &spans(&archive)[0];
    let head: Value = serde_json::from_slice(bytes.split(|it| *it == b'\n').next().unwrap()).unwrap();
    let span =
        format!("v{}-{:010}-{:010}.span", head["vat"], head["first"].as_u64().unwrap(), head["next"].as_u64().unwrap());
    assert_eq!(*name, span);
}

#[test]
fn a_crash_between_the_file_and_the_commit_leaves_both_and_the_next_start_goes_on() {
    let all = TempDir::new().unwrap();
    let hashes = life(all.path(), Keep::All, None);
    let dir = TempDir::new().unwrap();
    let (archive, state, before) = (dir.path().join("past"), dir.path().join("state"), dir.path().join("before"));
    let (mut found, mut crashes) = (Vec::new(), 0);
    drop(host(&state, Keep::Needed, Some(&archive)));
    for hash in &hashes {
        let _ = fs::remove_dir_all(&before);
        fs::create_dir(&before).unwrap();
        Database::copy(&state, &before.join("state.sqlite")).unwrap();
        assert_eq!(block(&mut host(&state, Keep::Needed, Some(&archive))).as_ref(), Some(hash));
        let spans_now = spans(&archive);
        if spans_now.len() == found.len() {
            continue;
        }
        // As a crash before the commit leaves it, with the file whole, or torn, or only as a draft.
        let new = spans_now.iter().find(|it| !found.contains(*it)).unwrap();
        let (path, draft) = (archive.join(&new.0), archive.join(&new.0).with_extension("draft"));
        match crashes % 3 {
            0 => (),
            1 => fs::write(&path, &new.1[..new.1.len() / 2]).unwrap(),
            _ => {
                fs::remove_file(&path).unwrap();
                fs::write(&draft, [&new.1[..], &new.1[..]].concat()).unwrap();
            }
        }
        fs::remove_dir_all(&state).unwrap();
        fs::rename(&before, &state).unwrap();
        assert_eq!(block(&mut host(&state, Keep::Needed, Some(&archive))).as_ref(), Some(hash));
        assert_eq!(spans(&archive), spans_now);
        assert!(!draft.exists());
        (found, crashes) = (spans_now, crashes + 1);
        is_whole(&state, &archive);
    }
    assert!(crashes >= 2, "{crashes}");
    assert_eq!(told(&state, Some(&archive)), told(all.path(), None));
}

#[test]
fn a_file_that_is_missing_altered_or_of_another_state_is_named() {
    let dir = TempDir::new().unwrap();
    let [archive, state, other] = ["past", "state", "other"].map(|it| dir.path().join(it));
    life(&state, Keep::All, None);
    assert_eq!(say(&["prune", "--keep", "needed"], &state, Some(&archive)).code, 0);
    let sound = spans(&archive);
    let (name, bytes) = sound.iter().find(|it| it.0.starts_with("v1-0000000000-")).unwrap();
    let path = archive.join(name);
    // The same deliveries of a state whose blocks have other times.
    let mut slower = host(&other, Keep::All, None);
    let policy = BlockPolicy { block_time: 6, ..POLICY };
    while !slower.is_quiescent().unwrap() {
        slower.run_block(&policy, &mut |_| true).unwrap();
    }
    drop(slower);
    assert_eq!(say(&["prune", "--keep", "needed"], &other, Some(&dir.path().join("theirs"))).code, 0);
    let foreign = fs::read(dir.path().join("theirs").join(name)).unwrap();
    let next = &name[name.rfind('-').unwrap()..];
    let mut altered = bytes.clone();
    *altered.last_mut().unwrap() ^= 1;
    for (contents, why) in [
        (None, format!("no file `v1-…{next}`")),
        (Some(&altered[..]), format!("{name}`: it is not as it was written")),
        (Some(&bytes[..100]), format!("{name}`: it is cut short")),
        (Some(&foreign[..]), format!("{name}` is of another state, or of another history of this one")),
    ] {
        match contents {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        for words in [
            &["verify"][..],
            &["replay", "--vat", "ping", "--from", "0"],
            &["inspect", "transcript", "ping", "--from", "0"],
        ] {
            let said = say(words, &state, Some(&archive));
            assert!(
                said.code != 0 && format!("{}{}", said.out, said.err).contains(&why),
                "{words:?}: {why}: {} {}",
                said.out,
                said.err
            );
        }
    }
    // Into the folder of another state nothing goes, and nothing leaves.
    let before = deliveries_kept(&state);
    fs::write(&path, bytes).unwrap();
    let copy = dir.path().join("copy");
    life(&copy, Keep::All, None);
    let kept = deliveries_kept(&copy);
    let said = say(&["prune", "--keep", "needed"], &copy, Some(&dir.path().join("theirs")));
    assert!(
        said.code == 74 && said.err.contains("name a folder of its own for each state"),
        "{} {}",
        said.code,
        said.err
    );
    assert_eq!((deliveries_kept(&state), deliveries_kept(&copy), spans(&archive)), (before, kept, sound));
}

#[test]
fn an_archive_that_cannot_be_written_stops_nothing_but_what_leaves_and_is_told_once() {
    let dir = TempDir::new().unwrap();
    let [all, state] = ["all", "state"].map(|it| dir.path().join(it));
    let hashes = life(&all, Keep::All, None);
    let blocked = dir.path().join("file");
    fs::write(&blocked, "no folder").unwrap();
    let archive = blocked.join("past");
    let mut host = host(&state, Keep::Needed, Some(&archive));
    let (mut mine, mut broken, mut again) = (Vec::new(), 0, 0);
    while let Some(hash) = block(&mut host) {
        mine.push(hash);
        match history::archive_news(host.block_mut().unwrap()) {
            Some(ArchiveNews::Broken(fault)) => {
                broken += 1;
                assert!(fault.to_string().contains(blocked.to_str().unwrap()), "{fault}");
                assert_eq!(deliveries_kept(&state), host.report().unwrap().deliveries);
                fs::remove_file(&blocked).unwrap();
            }
            Some(ArchiveNews::GoesOn) => again += 1,
            None => (),
        }
    }
    assert_eq!((mine, broken, again), (hashes, 1, 1));
    drop(host);
    is_whole(&state, &archive);
    // On the command line.
    let blocked = dir.path().join("again");
    fs::write(&blocked, "no folder").unwrap();
    let third = dir.path().join("third");
    let run = ["run", "--keep", "needed", "--cranks-per-block", "1", "--snapshot-interval", "7", "--state"];
    let run = [&run[..], &[third.to_str().unwrap()]].concat();
    let said = say(&run, &vats("pingpong"), Some(&blocked));
    let told = "nothing leaves the state until its archive can be written";
    assert_eq!((said.code, said.err.matches(told).count()), (0, 1), "{}", said.err);
    assert_eq!(deliveries_kept(&third), deliveries_kept(&all));
    let said = say(&["prune", "--keep", "needed"], &third, Some(&blocked));
    assert!(said.code == 74 && said.err.contains(blocked.to_str().unwrap()), "{} {}", said.code, said.err);
    assert_eq!(deliveries_kept(&third), deliveries_kept(&all));
}

#[test]
fn the_file_of_the_host_names_the_archive_and_who_asks_for_what_left_is_led_there() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    life(&state, Keep::All, None);
    fs::write(state.join("host.toml"), "[host]\nkeep = \"needed\"\narchive_dir = \"past\"\n").unwrap();
    let archive = state.join("past");
    assert_eq!(HostOptions::of_state(&state).unwrap().archive.as_ref(), Some(&archive));
    assert_eq!(vathost(&["prune"], &[&state]).code, 0);
    assert!(!spans(&archive).is_empty());
    is_whole(&state, &archive);
    for words in [&["replay", "--vat", "ping", "--from", "0"][..], &["inspect", "transcript", "ping", "--from", "0"]] {
        let said = say(words, &state, None);
        let hint = format!("host.toml has an archive: --archive {}", archive.display());
        assert!(said.code != 0 && said.err.contains(&hint), "{words:?}: {}", said.err);
    }
    let said = say(&["inspect", "transcript", "ping", "--limit", "1"], &state, Some(&archive));
    assert!(said.out.starts_with("delivery-0 "), "{}", said.out);
}

#[test]
fn a_block_that_is_undone_after_its_span_left_comes_again_and_another_one_too() {
    let dir = TempDir::new().unwrap();
    let (state, archive) = (dir.path().join("state"), dir.path().join("past"));
    let mut staged = StagedHost::new(host(&state, Keep::Needed, Some(&archive)), true).unwrap();
    let decide = |staged: &mut StagedHost, seconds| {
        let info = staged.info().unwrap();
        let header =
            BlockHeader { height: info.height + 1, time: info.time + seconds, prev_state_hash: info.state_hash };
        staged.decide(&header, [], &POLICY).unwrap().state_hash
    };
    let mut undone = 0;
    for _ in 0..180 {
        let before = spans(&archive);
        let hash = decide(&mut staged, 5);
        let after = spans(&archive);
        if after.len() > before.len() {
            undone += 1;
            staged.undo_last().unwrap();
            // Another block in its place, with which the same leaves.
            assert_ne!(decide(&mut staged, 6), hash);
            assert_eq!(spans(&archive), after);
        }
    }
    assert!(undone > 0);
    drop(staged);
    is_whole(&state, &archive);
}
