//! What verbs that only read leave behind beside a state: nothing.

use std::os::unix::{fs::PermissionsExt, process::CommandExt};

use super::{overlay::files, *};

#[test]
fn a_verb_that_reads_a_state_at_rest_leaves_its_folder_as_it_was() {
    let [dir, other, out] = [TempDir::new(), TempDir::new(), TempDir::new()].map(Result::unwrap);
    make("bank", dir.path(), 3);
    make("bank", other.path(), 4);
    let before = files(dir.path());
    assert_eq!(before.keys().map(String::as_str).collect::<Vec<_>>(), ["lock", "state.sqlite"]);
    let none = out.path().join("d");
    fs::write(&none, "").unwrap();
    fs::write(out.path().join("commands"), "vats\n").unwrap();
    let [file, copy, commands] = ["archive", "copy", "commands"].map(|it| out.path().join(it));
    let state = dir.path();
    let verbs: [(&[&str], &[&Path]); 13] = [
        (&["inspect"], &[state]),
        (&["inspect", "size"], &[state]),
        (&["inspect", "objects", "--json"], &[state]),
        (&["vats"], &[state]),
        (&["verify"], &[state]),
        (&["verify", "--replay"], &[state]),
        (&["export"], &[state, &file]),
        (&["fork"], &[state, &copy]),
        (&["diff"], &[state, other.path()]),
        (&["replay", "--vat", "v1"], &[state]),
        (&["debug", "--commands", commands.to_str().unwrap()], &[state]),
        (&["directives", "plan", "--add", "crank-9999:halt", "--state"], &[]),
        (&["inspect", "transcript", "v1", "--limit", "1"], &[state]),
    ];
    for (words, paths) in verbs {
        let state = state.to_str().unwrap();
        let words = if paths.is_empty() { [words, &[state]].concat() } else { words.to_vec() };
        let said = vathost(&words, paths);
        assert!([0, 1].contains(&said.code), "{words:?}: {} {}", said.out, said.err);
        assert_eq!(files(dir.path()).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{words:?}");
        assert!(files(dir.path()) == before, "{words:?}");
    }
}

#[test]
fn the_last_of_some_readers_leaves_nothing_and_none_takes_what_a_host_needs() {
    let dir = TempDir::new().unwrap();
    make("bank", dir.path(), 3);
    let before = files(dir.path());
    let readers = [0, 1, 2].map(|_| Database::open_read_only(dir.path()).unwrap());
    let names = |dir: &Path| files(dir).into_keys().collect::<Vec<_>>();
    assert_eq!(names(dir.path()), ["lock", "state.sqlite", "state.sqlite-shm", "state.sqlite-wal"]);
    let [first, second, third] = readers;
    drop(second);
    assert_eq!(third.meta().unwrap(), first.meta().unwrap());
    drop(first);
    assert!(third.meta().unwrap().is_some());
    drop(third);
    assert!(files(dir.path()) == before);
    // Beside a host that runs.
    let mut host = open(dir.path());
    go_on(&mut host, 1, 5);
    let reader = Database::open_read_only(dir.path()).unwrap();
    go_on(&mut host, 1, 5);
    drop(reader);
    go_on(&mut host, 1, 5);
    let hash = host.standing().state_hash.to_string();
    // What a host that was killed left is left for the next one.
    let killed = TempDir::new().unwrap();
    for name in ["state.sqlite", "state.sqlite-wal"] {
        fs::copy(dir.path().join(name), killed.path().join(name)).unwrap();
    }
    let log = fs::read(killed.path().join("state.sqlite-wal")).unwrap();
    assert!(log.len() > 4_096, "{}", log.len());
    let said = vathost(&["inspect", "--json"], &[killed.path()]);
    assert_eq!(said.json()["stateHash"], hash);
    assert_eq!(fs::read(killed.path().join("state.sqlite-wal")).unwrap(), log);
    drop(host);
    assert_eq!(names(dir.path()), ["lock", "state.sqlite"]);
}

/// A command that may read what others may read, and write nothing of ours: another user's, if this one may write everywhere.
fn of_another_user(place: &Path, words: &[&str]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_vathost"));
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        // The folder of the build may be closed to others.
        let copy = place.join("vathost");
        fs::copy(program, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        command = Command::new(copy);
        command.uid(65_534).gid(65_534);
    }
    command.env("XDG_CACHE_HOME", place.join("open")).current_dir("/").args(words);
    command
}

#[test]
fn a_state_in_a_folder_that_cannot_be_written_is_looked_at_in_a_copy() {
    let place = TempDir::new().unwrap();
    let [state, open_to_all] = ["state", "open"].map(|it| place.path().join(it));
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let hash = make("bank", &state, 3);
    fs::create_dir(&open_to_all).unwrap();
    mode(place.path(), 0o755);
    mode(&open_to_all, 0o777);
    for name in ["state.sqlite", "lock"] {
        mode(&state.join(name), 0o444);
    }
    mode(&state, 0o555);
    let before = files(&state);
    let copy = open_to_all.join("copy");
    let [state_name, copy_name] = [&state, &copy].map(|it| it.to_str().unwrap());
    let forked = of_another_user(place.path(), &["fork", state_name, copy_name, "--json"]).output().unwrap();
    let err = String::from_utf8_lossy(&forked.stderr).into_owned();
    assert!(forked.status.success(), "{err}");
    let told: Value = serde_json::from_slice(&forked.stdout).unwrap();
    assert_eq!((&told["stateHash"], told["shares"].as_bool()), (&Value::from(hash), Some(false)), "{told}");
    let replayed = of_another_user(place.path(), &["replay", state_name, "--vat", "v1"]).output().unwrap();
    let said = String::from_utf8_lossy(&replayed.stdout).into_owned();
    assert!(
        replayed.status.success() && said.contains("the same"),
        "{said} {}",
        String::from_utf8_lossy(&replayed.stderr)
    );
    assert!(files(&state) == before);
    mode(&state, 0o755);
}
