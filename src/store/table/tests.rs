use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    model::value::Bytes,
    store::rows::{InRuns, Single},
};

#[derive(Default, Debug)]
struct ByValue(BTreeMap<u64, usize>);
impl<K> Index<K, u64> for ByValue {
    fn changed(&mut self, _: &K, old: Option<&u64>, new: Option<&u64>) {
        if let Some(old) = old {
            let count = self.0.get_mut(old).expect("counted before");
            *count -= 1;
            if *count == 0 {
                self.0.remove(old);
            }
        }
        if let Some(new) = new {
            *self.0.entry(*new).or_default() += 1;
        }
    }
}

impl<K: Key + Copy, I: Index<K, u64>, A: Arrangement<K>> Table<K, u64, I, A> {
    fn plain(&self) -> BTreeMap<K, u64> {
        self.iter().map(|(key, value)| (*key, *value)).collect()
    }
}

#[derive(Default)]
struct Disk(BTreeMap<Vec<u8>, (Vec<u8>, i64)>);
impl Rows for Disk {
    fn write(&mut self, _: &'static str, batch: Batch) -> Result<(), HostFault> {
        for (key, value) in batch.rows() {
            match value {
                Some((value, sum)) => drop(self.0.insert(key.to_vec(), (value.to_vec(), sum))),
                None => assert!(self.0.remove(key).is_some(), "a row that was never there is not deleted"),
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Move {
    Insert(u64, u64),
    Remove(u64),
    Update(u64, u64),
    Rewind,
    Seal,
    Flush,
    Revert,
}

fn step() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..6_u64, 0..4_u64).prop_map(|(k, v)| Move::Insert(k, v)),
        3 => (0..6_u64).prop_map(Move::Remove),
        3 => (0..6_u64, 0..4_u64).prop_map(|(k, v)| Move::Update(k, v)),
        1 => Just(Move::Rewind),
        2 => Just(Move::Seal),
        1 => Just(Move::Flush),
        1 => Just(Move::Revert),
    ]
}

#[test]
fn a_row_that_is_not_as_it_was_written_is_refused_by_name_whatever_the_length_of_its_key() {
    for length in [3, 254, 255, 300] {
        let mut table: Table<Bytes, u64> = Table::new(9, "test");
        table.insert(Bytes::from(vec![b'k'; length]), 7);
        let (mut disk, mut digest) = (Disk::default(), Digest::default());
        table.seal(&mut Fold::of_step("test"), None, None).expect("seals");
        table.flush(&mut disk, &mut digest).expect("flushes");
        let (key, (value, checksum)) = disk.0.into_iter().next().expect("is there");
        let load = |key: &[u8], value: &[u8], checksum| {
            let mut fresh: Table<Bytes, u64> = Table::new(9, "test");
            fresh.load(&StoredRow { key, value, checksum }, &mut Reading::default())
        };
        load(&key, &value, checksum).expect("loads");
        let flipped = |bytes: &[u8]| [&bytes[..bytes.len() - 1], &[bytes[bytes.len() - 1] ^ 1]].concat();
        let bad = [
            load(&flipped(&key), &value, checksum),
            load(&key, &flipped(&value), checksum),
            load(&key, &value, checksum ^ 1),
        ];
        for it in bad {
            let fault = it.expect_err("is refused");
            assert!(fault.what.starts_with("table `test`, key 6b6b"), "{fault}");
            assert!(fault.way_out.is_some());
        }
    }
}

/// Makes these moves on a table of some arrangement and on plain maps, and compares.
fn compare<K, A>(steps: Vec<Move>, key: impl Fn(u64) -> K) -> Result<(), TestCaseError>
where
    K: Key + Copy + fmt::Debug,
    A: Arrangement<K>,
{
    let mut table: Table<K, u64, ByValue, A> = Table::new(1, "test");
    let (mut now, mut sealed, mut flushed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let (mut disk, mut digest) = (Disk::default(), Digest::default());
    for step in steps {
        match step {
            Move::Insert(k, v) => {
                table.insert(key(k), v);
                now.insert(key(k), v);
            }
            Move::Remove(k) => prop_assert_eq!(table.remove(&key(k)), now.remove(&key(k))),
            Move::Update(k, v) => {
                table.update(&key(k), |it| *it = v);
                now.entry(key(k)).and_modify(|it| *it = v);
            }
            Move::Rewind => {
                table.rewind();
                now = sealed.clone();
            }
            Move::Revert => {
                table.revert();
                (now, sealed) = (flushed.clone(), flushed.clone());
            }
            Move::Seal | Move::Flush => {
                let mut changes = vec![];
                table.seal(&mut Fold::of_step("test"), Some(&mut changes), None).expect("seals");
                prop_assert_eq!(changes.is_empty(), now == sealed);
                sealed = now.clone();
                if matches!(step, Move::Flush) {
                    table.flush(&mut disk, &mut digest).expect("flushes");
                    flushed = now.clone();
                    let mut fresh: Table<K, u64, ByValue, A> = Table::new(1, "test");
                    let mut reading = Reading::default();
                    for (key, (value, checksum)) in &disk.0 {
                        let row = StoredRow { key, value, checksum: *checksum };
                        fresh.load(&row, &mut reading).expect("loads");
                    }
                    prop_assert_eq!(&fresh.plain(), &now);
                    prop_assert_eq!(&reading.digest, &digest);
                    let mut swept = Digest::default();
                    fresh.sweep(&mut swept).expect("sweeps");
                    prop_assert_eq!(&swept, &digest);
                }
            }
        }
        prop_assert_eq!(&table.plain(), &now);
        let mut counted = ByValue::default();
        for (k, v) in &now {
            counted.changed(k, None, Some(v));
        }
        prop_assert_eq!(&table.index.0, &counted.0);
        let changed: Vec<Vec<u8>> = table.changes().expect("lists").into_iter().map(|it| it.key).collect();
        let keys: std::collections::BTreeSet<&K> = now.keys().chain(flushed.keys()).collect();
        let differ = keys.into_iter().filter(|key| sealed.get(key) != flushed.get(key));
        let differ = differ.map(|key| {
            let mut bytes = Vec::new();
            key.write(&mut bytes);
            bytes
        });
        if now == sealed {
            prop_assert_eq!(changed, differ.collect::<Vec<_>>());
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_table_equals_three_plain_maps(steps in prop::collection::vec(step(), 0..80)) {
        compare::<u64, Sorted>(steps, |it| it)?;
    }

    #[test]
    fn a_table_in_runs_equals_three_plain_maps(steps in prop::collection::vec(step(), 0..80)) {
        compare::<(u8, i64), InRuns>(steps, |it| (u8::try_from(it % 2).expect("small"), 3 - it.cast_signed()))?;
    }
}

#[test]
fn a_row_behind_the_last_of_its_part_is_undone_sealed_and_found_as_any_other() {
    let mut table: Table<(u8, i64), u64, ByValue, InRuns> = Table::new(1, "it");
    append_row(&mut table, 1, 10);
    append_row(&mut table, 1, 11);
    append_row(&mut table, 2, 20);
    let seal = |table: &mut Table<(u8, i64), u64, ByValue, InRuns>| {
        let mut mark = Fold::of_step("crank");
        Journaled::seal(table, &mut mark, None, None).expect("seals");
        mark.mark()
    };
    seal(&mut table);
    let sealed = BTreeMap::from([((1, 0), 10), ((1, 1), 11), ((2, 0), 20)]);
    assert_eq!(table.plain(), sealed);
    // Its key is that of a row that the same crank took away.
    table.remove(&(2, 0));
    append_row(&mut table, 2, 21);
    append_row(&mut table, 1, 12);
    assert_eq!((table.get(&(2, 0)), table.get(&(1, 2))), (Some(&21), Some(&12)));
    Journaled::rewind(&mut table);
    assert_eq!(table.plain(), sealed);
    assert_eq!(table.index().0, BTreeMap::from([(10, 1), (11, 1), (20, 1)]));
    // To come back as it was is no change, and to join is the same as to be written there.
    let nothing = seal(&mut table);
    table.remove(&(2, 0));
    append_row(&mut table, 2, 20);
    assert_eq!(seal(&mut table), nothing);
    append_row(&mut table, 1, 12);
    let joined = seal(&mut table);
    table.remove(&(1, 2));
    seal(&mut table);
    table.insert((1, 2), 12);
    assert_eq!(seal(&mut table), joined);
}

#[test]
fn a_table_of_one_row_is_undone_and_sealed_as_any_other() {
    let mut table: Table<(), u64, ByValue, Single> = Table::new(1, "it");
    table.insert((), 1);
    Journaled::rewind(&mut table);
    assert!(table.is_empty() && table.get(&()).is_none());
    table.insert((), 1);
    Journaled::seal(&mut table, &mut Fold::of_step("crank"), None, None).expect("seals");
    table.update(&(), |it| *it = 2);
    assert_eq!((table.first(), table.last(), table.len()), (Some((&(), &2)), Some((&(), &2)), 1));
    Journaled::rewind(&mut table);
    assert_eq!((table.get(&()), table.iter().count(), table.range(..).count()), (Some(&1), 1, 1));
    assert_eq!((table.remove(&()), table.is_empty()), (Some(1), true));
    Journaled::revert(&mut table);
    assert!(table.is_empty());
}
