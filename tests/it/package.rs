//! What `cargo publish` would pack: everything that the sources include must be in the package, since it is built from that alone.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files that cargo packs for a package.
fn packed(package: &str) -> BTreeSet<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["package", "--list", "--allow-dirty", "--offline", "--package", package])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("names in UTF-8").lines().map(PathBuf::from).collect()
}

/// A path without its `..`, by its words alone: as it is in a package, where a link is what it leads to.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// The files that a source includes in the program.
fn included(source: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(root().join(source)).expect("a source");
    let here = source.parent().expect("a folder");
    let parts = text.split("include_str!(\"").skip(1).chain(text.split("include_bytes!(\"").skip(1));
    parts.filter_map(|rest| rest.split_once('"')).map(|(path, _)| plain(&here.join(path))).collect()
}

#[test]
fn all_that_the_sources_include_is_in_the_package() {
    let packed = packed("vathost");
    let sources = packed.iter().filter(|it| it.extension().is_some_and(|ext| ext == "rs"));
    let included: Vec<(PathBuf, &PathBuf)> =
        sources.flat_map(|source| included(source).into_iter().map(move |it| (it, source))).collect();
    assert!(included.len() > 40, "the SDK alone has that many files: {}", included.len());
    for (path, by) in included {
        assert!(packed.contains(&path), "{} includes {}, which is not packed", by.display(), path.display());
    }
}

#[test]
fn the_sdk_is_packed_without_the_vats_of_the_scenarios() {
    let packed = packed("vathost-vat");
    assert!(packed.contains(Path::new("src/lib.rs")) && packed.contains(Path::new("vat1.h")), "{packed:?}");
    assert!(!packed.iter().any(|it| it.starts_with("src/bin")), "{packed:?}");
}
