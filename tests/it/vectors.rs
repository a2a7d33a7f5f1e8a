//! What SwingSet's kernel did, recorded: this kernel does the same, delivery by delivery.

use std::{fs, path::Path};

use vathost::conformance::{Vector, replay};

#[test]
fn every_vector_is_reproduced() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut failed = vec![];
    let mut total = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let vector: Vector = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        total += 1;
        if let Err(it) = replay(&vector) {
            failed.push(format!("{}: {}\n  expected {}\n  actual   {}", vector.name, it.at, it.expected, it.actual));
        }
    }
    assert_eq!(total, 162);
    assert!(failed.is_empty(), "{} of {total} differ\n{}", failed.len(), failed.join("\n"));
}
