//! The cache of compiled code: whatever happens to its files, what runs is what the module says.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use vathost::{state::table::Options, vat::Warehouse};

use super::{corners::live, random::Random};

/// A guest with some code to damage: it computes, and keeps what comes out.
fn wasm() -> Vec<u8> {
    let steps: String = (1..200)
        .map(|it| {
            format!("(local.set $i (i32.xor (i32.mul (local.get $i) (i32.const {})) (i32.const {it})))", 2 * it + 1)
        })
        .collect();
    let body = format!(
        "(local.set $i (i32.const 1)) {steps} (i32.store (i32.const 8) (local.get $i))
         (call $set (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 4))"
    );
    let import = "(import \"vat1\" \"vatstore_set\" (func $set (param i32 i32 i32 i32)))";
    wat::parse_str(super::corners::vat(import, &body)).unwrap()
}

/// What the guest comes to with this cache.
fn run(dir: &Path) -> super::corners::Life {
    live(&mut Warehouse::new(Some(dir)).unwrap(), &wasm(), &Options::default()).unwrap()
}

/// The compiled code in a folder, by name.
fn kept(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut kept: Vec<_> = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()).collect();
    kept.retain(|it| it.extension().is_some_and(|it| it == "cwasm"));
    kept.sort();
    kept.into_iter().map(|it| (it.clone(), fs::read(it).unwrap())).collect()
}

fn inodes(dir: &Path) -> Vec<u64> {
    kept(dir).iter().map(|(path, _)| fs::metadata(path).unwrap().ino()).collect()
}

#[test]
fn compiled_code_is_taken_from_the_cache_the_second_time() {
    let dir = TempDir::new().unwrap();
    let first = run(dir.path());
    let before = inodes(dir.path());
    assert_eq!(before.len(), 2, "the guest's and its peer's");
    assert_eq!(run(dir.path()), first);
    assert_eq!(inodes(dir.path()), before, "nothing was compiled again");
}

#[test]
fn three_hundred_flipped_bits_change_nothing_and_are_repaired() {
    let dir = TempDir::new().unwrap();
    let whole = run(dir.path());
    let files = kept(dir.path());
    let mut random = Random(0x5eed);
    for _ in 0..300 {
        let (path, good) = &files[random.below(files.len())];
        let mut bad = good.clone();
        bad[random.below(good.len())] ^= 1 << random.below(8);
        fs::write(path, bad).unwrap();
        assert_eq!(run(dir.path()), whole);
        assert_eq!(kept(dir.path()), files);
    }
}

#[test]
fn cut_swapped_and_foreign_files_are_compiled_again() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let whole = run(dir.path());
    assert_eq!(run(other.path()), whole);
    let (files, foreign) = (kept(dir.path()), kept(other.path()));
    assert_ne!(files, foreign, "another folder has another key");
    for len in [0, 1, 31, 32, 33, files[0].1.len() - 1] {
        fs::write(&files[0].0, &files[0].1[..len]).unwrap();
        assert_eq!(run(dir.path()), whole);
        assert_eq!(kept(dir.path()), files, "cut to {len}");
    }
    for bad in [&files[1].1, &foreign[0].1] {
        fs::write(&files[0].0, bad).unwrap();
        assert_eq!(run(dir.path()), whole);
        assert_eq!(kept(dir.path()), files);
    }
    // A key that is gone is made anew, and seals anew.
    fs::remove_file(dir.path().join("key")).unwrap();
    assert_eq!(run(dir.path()), whole);
    assert_ne!(kept(dir.path()), files);
}

#[test]
fn the_key_is_for_its_owner_only_and_a_folder_for_all_is_not_used() {
    let dir = TempDir::new().unwrap();
    let whole = run(dir.path());
    let key = dir.path().join("key");
    assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
    let old = fs::read(&key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run(dir.path()), whole);
    assert_ne!(fs::read(&key).unwrap(), old, "others could read it");
    assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);

    let open = TempDir::new().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(run(open.path()), whole);
    assert_eq!(fs::read_dir(open.path()).unwrap().count(), 0);
}

#[test]
fn what_was_used_least_lately_leaves_a_full_folder() {
    let dir = TempDir::new().unwrap();
    let whole = run(dir.path());
    let files = kept(dir.path());
    // 700 MiB each, and not a block of the disk; a gigabyte is kept.
    let put = |name: &str, age: u64| {
        let file = fs::File::create(dir.path().join(name)).unwrap();
        file.set_len(700 << 20).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    put("older.cwasm", 2_000);
    put("newer.cwasm", 1_000);
    fs::write(dir.path().join("debug-history"), "not compiled code").unwrap();
    let aged = fs::File::open(&files[0].0).unwrap();
    aged.set_modified(SystemTime::now() - Duration::from_secs(3_000)).unwrap();
    fs::remove_file(&files[1].0).unwrap();
    assert_eq!(run(dir.path()), whole);
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(!names.contains(&"older.cwasm".to_owned()), "{names:?}");
    assert!(names.contains(&"newer.cwasm".to_owned()), "{names:?}");
    assert!(names.contains(&"debug-history".to_owned()), "{names:?}");
    // The first was the oldest of all: it was used before room was made, or compiled again.
    assert_eq!(names.iter().filter(|it| it.ends_with(".cwasm")).count(), 3, "{names:?}");
}
