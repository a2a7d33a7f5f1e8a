//! How much of the disk a row takes.

use std::{fs, path::Path};

use vathost::{
    CapData,
    kernel::{self, ScriptedVat, Scripts, Usage},
    model::{
        id::BundleId,
        value::{Bytes, Delivery, Syscall},
    },
    slog::Slog,
    state::{block::Block, table::Options},
    store::Database,
};

/// Makes a state in which one vat has this many keys of 16 bytes, each with a value of this length; the bytes of its file.
fn bytes_of_state(dir: &Path, rows: usize, value: usize) -> u64 {
    let mut scripts = Scripts::new(move |_vat, _row| -> ScriptedVat {
        Box::new(move |delivery, _fuel, syscalls| {
            if let Delivery::Message { message, .. } = delivery {
                let block: usize = message.methargs.body.as_text().unwrap()[1..].parse().unwrap();
                for at in 0..100 {
                    // Keys in no order, as a vat's are.
                    let key = format!("{:016x}", ((block * 100 + at) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    syscalls.call(Syscall::VatstoreSet(Bytes::from(&*key), Bytes::from(vec![b'v'; value])))?;
                }
            }
            Ok(Usage { fuel: 1, memory: 0 })
        })
    });
    let mut block = Block::open(dir, Slog::default()).unwrap();
    block.set_audit(0);
    (block, ()) = kernel::outside(block, |crank| {
        let vat = crank.create_vat("hoard", BundleId::of(b""), Options::default(), CapData::plain("#{}"))?;
        let root = crank.root(vat)?;
        crank.pin(root)?;
        (0..rows / 100).try_for_each(|at| crank.queue_from_outside(root.into(), CapData::plain(format!("#{at}")), None))
    })
    .unwrap();
    while !kernel::is_quiescent(&block) {
        (block, _) = kernel::crank(block, &mut scripts).unwrap();
    }
    drop(block.commit(false).unwrap());
    dir.join("state.sqlite").metadata().unwrap().len()
}

#[test]
fn a_long_value_takes_little_more_than_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    // The transcript, which has each value once more, is packed to next to nothing.
    for (value, most) in [(100, 260), (1_024, 1_500), (2_500, 4_400), (65_536, 67_500)] {
        let rows = if value > 10_000 { 300 } else { 3_000 };
        let bytes = bytes_of_state(&dir.path().join(value.to_string()), rows, value) / rows as u64;
        assert!(bytes <= most, "a value of {value} bytes takes {bytes}");
    }
}

#[test]
fn the_map_says_of_each_table_what_makes_it_shrink() {
    let dir = tempfile::TempDir::new().unwrap();
    drop(Block::open(dir.path(), Slog::default()).unwrap());
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let (_, section) = map.split_once("## What a state consists of").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let named: Vec<&str> = section.lines().filter_map(|it| it.strip_prefix("| `")?.split(" |").next()).collect();
    for table in Database::open_read_only(dir.path()).unwrap().layouts().unwrap() {
        let is_named = named.iter().any(|it| it.split(", ").any(|name| name.trim_matches('`') == table.name));
        assert!(is_named, "ARCHITECTURE.md does not say when `{}` loses rows", table.name);
    }
}
