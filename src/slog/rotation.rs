//! Rotation: a recording that goes on in a new file once its own is large enough, always between two blocks.
//!
//! ```text
//!   bank.000001.slog  bank.000002.slog  …  bank.slog      the recording, oldest first; the last is being written
//!   bank.000001.slog.zst              …  bank.slog.zst    compressed
//! ```
//!
//! Invariants: a part is a whole recording, which begins with what its readers need of those before it; what is rotated is renamed once,
//! so that a crash leaves the file under one name or the other; a number is not used twice while a part has it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The rules for when a recording goes on in a new file, and how much of it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of a file from which on the next block goes to a new one.
    pub max_bytes: u64,
    /// Number of earlier files that are kept; the oldest is removed first. `None` keeps them all.
    pub keep: Option<usize>,
}

/// An earlier file of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) path: PathBuf,
}

/// Digits of a part's number, at least: so that names sort by age.
const DIGITS: usize = 6;

/// Returns the earlier files of a recording, the oldest first. There are none where the folder cannot be read.
pub(super) fn parts(path: &Path) -> Vec<Part> {
    let Some((stem, rest)) = split(path) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(folder(path)) else { return Vec::new() };
    let number = |name: &str| {
        let digits = name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(rest)?;
        let number: u64 = digits.parse().ok()?;
        (number > 0 && format!("{number:0DIGITS$}") == digits).then_some(number)
    };
    let entries = entries.filter_map(Result::ok);
    let mut parts: Vec<Part> = entries
        .filter_map(|entry| Some(Part { number: number(entry.file_name().to_str()?)?, path: entry.path() }))
        .collect();
    parts.sort_by_key(|part| part.number);
    parts
}

/// Gives the file the name of the next part, and removes the oldest parts that are too many. Returns the new part.
pub(super) fn rotate(path: &Path, rotation: Rotation) -> io::Result<Part> {
    let (stem, rest) = split(path).ok_or_else(|| io::Error::other("its name is not UTF-8"))?;
    let mut parts = parts(path);
    let number = parts.last().map_or(1, |last| last.number + 1);
    let part = Part { number, path: folder(path).join(format!("{stem}.{number:0DIGITS$}{rest}")) };
    fs::rename(path, &part.path)?;
    // If one was made: without it, it is made again.
    let _ = fs::rename(index_of(path), index_of(&part.path));
    parts.push(part.clone());
    let surplus = rotation.keep.map_or(0, |keep| parts.len().saturating_sub(keep));
    for old in parts.iter().take(surplus) {
        let _ = fs::remove_file(index_of(&old.path));
        match fs::remove_file(&old.path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => (),
        }
    }
    Ok(part)
}

/// Identity of a file, whatever its name: device and number.
pub(super) type FileId = (u64, u64);

/// Returns the identity of the file that has this name now.
pub(super) fn id_of(path: &Path) -> Option<FileId> {
    path.metadata().ok().map(|it| (it.dev(), it.ino()))
}

/// Returns where the index of a file is.
pub(super) fn index_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".index");
    PathBuf::from(name)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Splits the name of a file at the place of the number: `bank.slog.zst` into `bank` and `.slog.zst`.
fn split(path: &Path) -> Option<(&str, &str)> {
    let name = path.file_name()?.to_str()?;
    let plain = [".zst", ".gz"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(name);
    let at = plain.rfind('.').filter(|at| *at > 0).unwrap_or(plain.len());
    Some(name.split_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_part_stands_before_what_the_name_ends_with() {
        for (name, halves) in [
            ("bank.slog", ("bank", ".slog")),
            ("bank.slog.zst", ("bank", ".slog.zst")),
            ("my.bank.slog.gz", ("my.bank", ".slog.gz")),
            ("bank", ("bank", "")),
            ("bank.zst", ("bank", ".zst")),
            (".hidden", (".hidden", "")),
        ] {
            assert_eq!(split(Path::new(name)), Some(halves), "{name}");
        }
    }

    #[test]
    fn parts_are_numbered_on_and_the_oldest_ones_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bank.slog");
        for other in
            ["bank.0000001.slog", "bank.000000.slog", "bank.00001.slog", "tank.000001.slog", "bank.000001.slog.zst"]
        {
            fs::write(dir.path().join(other), other).expect("written");
        }
        let numbers = || parts(&path).iter().map(|part| part.number).collect::<Vec<_>>();
        assert!(numbers().is_empty());
        for number in 1..=4 {
            fs::write(&path, format!("{number}")).expect("written");
            fs::write(index_of(&path), format!("{number}")).expect("written");
            let part = rotate(&path, Rotation { max_bytes: 1, keep: Some(2) }).expect("rotated");
            assert_eq!((part.number, fs::read_to_string(&part.path).ok()), (number, Some(number.to_string())));
            assert_eq!(fs::read_to_string(index_of(&part.path)).ok(), Some(number.to_string()));
        }
        // The indexes go with their files.
        let is_index = |it: &PathBuf| it.extension().is_some_and(|it| it == "index");
        let files = fs::read_dir(dir.path()).expect("a folder").map(|it| it.expect("an entry").path());
        assert_eq!(files.filter(is_index).count(), 2);
        assert_eq!(numbers(), [3, 4]);
        assert!(dir.path().join("bank.000003.slog").exists());
        // One million and more: still in order.
        fs::write(dir.path().join("bank.1000000.slog"), "").expect("written");
        fs::write(&path, "").expect("written");
        assert_eq!(rotate(&path, Rotation { max_bytes: 1, keep: None }).expect("rotated").number, 1_000_001);
        assert_eq!(numbers(), [3, 4, 1_000_000, 1_000_001]);
    }
}
