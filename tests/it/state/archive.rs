//! Export and import.

use vathost::{
    inspect::archive::{self, ArchiveError},
    state::table::Tables,
};

use super::*;

fn read_archive(path: &Path) -> Result<archive::Summary, ArchiveError> {
    archive::read(path, &mut Database::memory(&Tables::layout()).unwrap(), &mut |_, _| ())
}

#[test]
fn an_exported_state_is_imported_with_proof_and_goes_on_to_the_same_end() {
    let dir = TempDir::new().unwrap();
    let [a, b, file] = ["a", "b", "bank.vathost"].map(|it| dir.path().join(it));
    let hash = make("bank", &a, 2);
    let exported = vathost(&["export", "--json"], &[&a, &file]);
    assert_eq!((exported.code, exported.json()["stateHash"].as_str()), (0, Some(&*hash)), "{}", exported.err);
    let imported = vathost(&["import", "--json"], &[&file, &b]);
    assert_eq!(imported.code, 0, "{}", imported.err);
    for name in ["stateHash", "stateDigest", "height", "rows", "scenario", "engine"] {
        assert_eq!(imported.json()[name], exported.json()[name], "{name}");
    }
    let verified = vathost(&["verify", "--replay", "--json"], &[&b]);
    assert_eq!((verified.code, &verified.json()["ok"]), (0, &Value::Bool(true)), "{}", verified.out);
    assert_eq!(vathost(&["diff"], &[&a, &file]).code, 0);
    assert_eq!(finish(&b), finish(&a));
    assert_ne!(finish(&a), hash, "there was something left to do");
}

#[test]
fn nothing_is_overwritten_and_what_is_no_archive_is_refused() {
    let dir = TempDir::new().unwrap();
    let [a, file, text, none] = ["a", "f", "text", "none"].map(|it| dir.path().join(it));
    make("globals", &a, 1);
    assert_eq!(vathost(&["export"], &[&a, &file]).code, 0);
    fs::write(&text, "a diary").unwrap();
    let refused = [
        (vathost(&["export"], &[&a, &file]), "exists"),
        (vathost(&["export"], &[&none, &dir.path().join("new")]), "there is no state"),
        (vathost(&["import"], &[&file, &a]), "something is in it"),
        (vathost(&["import"], &[&file, &text]), "something is in it"),
        (vathost(&["import"], &[&none, &none]), "there is no file"),
        (vathost(&["import"], &[&text, &none]), "no archive of a vathost state"),
        (vathost(&["import"], &[&vats("bank.wasm"), &none]), "no archive of a vathost state"),
        (vathost(&["fork"], &[&a, &a]), "something is in it"),
        (vathost(&["fork"], &[&none, &none]), "there is no state"),
        (vathost(&["verify"], &[&none]), "there is no state"),
        (vathost(&["diff"], &[&a, &none]), "there is no state"),
    ];
    for (said, why) in refused {
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains(why), "{} should say: {why}", said.err);
    }
    assert!(!none.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left behind");
}

#[test]
fn every_damage_to_an_archive_is_found_and_says_where() {
    let dir = TempDir::new().unwrap();
    let [a, good, bad] = ["a", "good", "bad"].map(|it| dir.path().join(it));
    make("globals", &a, ALL);
    assert_eq!(vathost(&["export"], &[&a, &good]).code, 0);
    let bytes = fs::read(&good).unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        read_archive(&bad).expect_err("damage is accepted").to_string()
    };
    for at in (0..bytes.len()).step_by(1 + bytes.len() / 700) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let why = refusal(&damaged);
        assert!(at < 4 || why.contains("damaged at"), "byte {at}: {why}");
        assert!(refusal(&bytes[..at]).contains(if at < 8 { "no archive" } else { "ends there" }), "{at}");
    }
    let more = [&bytes[..], b"more"].concat();
    assert!(refusal(&more).contains("stand behind its end"));
    // A whole piece is gone, and its frame with it: every hash that is left is right.
    let marks: Vec<_> =
        (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(&0x184D_2A56_u32.to_le_bytes())).collect();
    let without = [&bytes[..marks[1]], &bytes[marks[2]..]].concat();
    assert!(refusal(&without).contains("damaged at its end"), "{}", refusal(&without));
    // A piece of a table that has a name.
    let at = bytes.windows(8).position(|it| it == b"\"object\"").unwrap();
    let next = *marks.iter().find(|it| **it > at).unwrap();
    let mut damaged = bytes.clone();
    damaged[next - 1] ^= 1;
    assert!(refusal(&damaged).contains("a piece of table `object`"));
    read_archive(&good).unwrap();
}

#[test]
fn a_damaged_archive_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let [a, into, file] = ["a", "into", "f"].map(|it| dir.path().join(it));
    make("globals", &a, ALL);
    assert_eq!(vathost(&["export"], &[&a, &file]).code, 0);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::create_dir(&into).unwrap();
    let said = vathost(&["import"], &[&file, &into.join("state")]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("damaged at bytes"), "{}", said.err);
    assert!(is_empty(&into));
}
