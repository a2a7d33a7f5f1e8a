//! What SwingSet's kernel did, recorded: this kernel does the same, delivery by delivery.

use std::{collections::BTreeMap, fs, path::Path};

use vathost::inspect::conformance::{Difference, Vector, replay};

/// The differences on purpose, explained in ARCHITECTURE.md ("Acceptance"): in each a limited run leaves a message to a settled
/// promise in SwingSet's acceptance queue, and the host's own message `mid` overtakes the rejection that it leads to.
const KNOWN: [(&str, &str); 2] = [("random-161", "host 15: delivery 14"), ("random-172", "host 25: delivery 33")];

fn vectors() -> Vec<Vector> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
}

#[test]
fn every_vector_is_reproduced_but_for_the_known_differences() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 162);
    let mut differences: BTreeMap<String, Difference> = BTreeMap::new();
    for vector in &vectors {
        if let Err(difference) = replay(vector) {
            differences.insert(vector.name.clone(), difference);
        }
    }
    for (name, at) in KNOWN {
        let difference = differences.remove(name).unwrap();
        assert_eq!(difference.at, at);
        assert!(difference.expected.contains("mid"), "{difference:?}");
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn a_falsified_vector_is_not_reproduced() {
    let vector = vectors().into_iter().find(|it| it.name == "named-gc-reimport").unwrap();
    replay(&vector).unwrap();

    let mut delivery = vector.clone();
    delivery.deliveries[5].vat = "v9".to_owned();
    assert!(replay(&delivery).is_err_and(|it| it.at.contains("delivery 5")));

    let mut outcome = vector.clone();
    outcome.deliveries[5].outcome = "terminated: illegal-syscall".to_owned();
    assert!(replay(&outcome).is_err());

    let mut end = vector.clone();
    end.end["next"]["ko"] = 99.into();
    assert!(replay(&end).is_err_and(|it| it.at == "final"));
}
