use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::id::TextOrd;
use crate::store::{Digest, Fold, Journaled, database::TableLayout};

const TEST: TableLayout = TableLayout { name: "test", has_long_values: true, has_value_index: false };

/// Counts the rows, and those in memory.
#[derive(Default, Debug)]
struct Counts {
    all: i64,
    in_memory: i64,
}

impl Index<u64, u64> for Counts {
    fn changed(&mut self, _: &u64, old: Option<&u64>, new: Option<&u64>) {
        let more = i64::from(new.is_some()) - i64::from(old.is_some());
        self.all += more;
        self.in_memory += more;
    }

    fn moved(&mut self, _: &u64, _: &u64, is_in_memory: bool) {
        self.in_memory += if is_in_memory { 1 } else { -1 };
    }
}

#[derive(Clone, Debug)]
enum Move {
    Get(u64),
    Walk(u64, u64, usize),
    Insert(u64, u64),
    Remove(u64),
    Update(u64),
    Rewind,
    Seal,
    Flush,
    Trim(i64),
}

fn step() -> impl Strategy<Value = Move> {
    let key = || 0..12_u64;
    prop_oneof![
        3 => key().prop_map(Move::Get),
        3 => (key(), key(), 0..6_usize).prop_map(|(from, to, max)| Move::Walk(from, to, max)),
        4 => (key(), 0..4_u64).prop_map(|(key, value)| Move::Insert(key, value)),
        3 => key().prop_map(Move::Remove),
        2 => key().prop_map(Move::Update),
        1 => Just(Move::Rewind),
        3 => Just(Move::Seal),
        2 => Just(Move::Flush),
        3 => (0..6_i64).prop_map(Move::Trim),
    ]
}

/// Each four keys are near each other.
fn near(key: &u64) -> CutRange<u64> {
    (Cut::before(key / 4 * 4), Cut::before(key / 4 * 4 + 4))
}

/// `by_itself`: the table reads what it is asked for, rather than whoever asks.
fn compare(steps: Vec<Move>, by_itself: bool) -> Result<(), TestCaseError> {
    let mut file = Database::memory(&[TEST]).expect("a database");
    let mut table: Table<u64, u64, Counts> = Table::new(1, "test");
    match by_itself {
        true => table.leave_in_file(Cut::Start, Some(RowReader { file: file.file.clone(), near: Some(near) })),
        false => table.leave_in_file(Cut::End, None),
    }
    let (mut now, mut sealed, mut digest) = (BTreeMap::new(), BTreeMap::new(), Digest::default());
    for step in steps {
        match step {
            Move::Get(key) if by_itself => prop_assert_eq!(table.get(&key), now.get(&key)),
            Move::Get(key) => prop_assert_eq!(table.fetch(&file, &key).expect("reads"), now.get(&key)),
            Move::Walk(from, to, max) if by_itself => {
                let found = table.along((Cut::before(from), Cut::behind(to))).take(max + 1);
                let expected = now.iter().filter(|(key, _)| (from..=to).contains(key)).take(max + 1);
                prop_assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
            Move::Walk(from, to, max) => {
                let range = || (Cut::before(from), Cut::behind(to));
                let mut looked = Vec::new();
                let look = |key: &u64, value: &u64| {
                    looked.push((*key, *value));
                    looked.len() <= max
                };
                super::look(&table, &file, range(), look).expect("reads");
                let mut found = Vec::new();
                let each = |key: &u64, value: &u64| {
                    found.push((*key, *value));
                    found.len() <= max
                };
                table.walk(&file, range(), each).expect("reads");
                prop_assert_eq!(&looked, &found);
                let expected = now.iter().filter(|(key, _)| (from..=to).contains(key)).take(max + 1);
                prop_assert_eq!(found, expected.map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
            }
            Move::Insert(key, value) => {
                if !by_itself {
                    table.fetch(&file, &key).expect("reads");
                }
                table.insert(key, value);
                now.insert(key, value);
            }
            Move::Update(key) if by_itself => {
                table.update(&key, |it| *it += 1);
                now.entry(key).and_modify(|it| *it += 1);
            }
            Move::Update(_) => (),
            Move::Remove(key) => {
                if !by_itself {
                    table.fetch(&file, &key).expect("reads");
                }
                prop_assert_eq!(table.remove(&key), now.remove(&key));
            }
            Move::Rewind => {
                Journaled::rewind(&mut table);
                now.clone_from(&sealed);
            }
            Move::Seal | Move::Flush | Move::Trim(_) => {
                table.seal(&mut Fold::of_step("test"), None, None).expect("seals");
                sealed.clone_from(&now);
                if matches!(step, Move::Flush) {
                    let mut transaction = file.transaction().expect("begins");
                    table.flush(&mut transaction, &mut digest).expect("flushes");
                    transaction.commit().expect("commits");
                }
                if let Move::Trim(few) = step {
                    table.trim(|it, _| it.in_memory <= few);
                }
            }
        }
        prop_assert_eq!(table.index.all, i64::try_from(now.len()).expect("few"));
        prop_assert_eq!(table.index.in_memory, i64::try_from(table.rows.count()).expect("few"));
        file.file.check().expect("could be read");
    }
    table.seal(&mut Fold::of_step("test"), None, None).expect("seals");
    let mut transaction = file.transaction().expect("begins");
    table.flush(&mut transaction, &mut digest).expect("flushes");
    transaction.commit().expect("commits");
    table.trim(|it, _| it.in_memory == 0);
    prop_assert_eq!(table.rows.count(), 0, "what is committed may leave");
    table.fetch_all(&file).expect("reads");
    prop_assert_eq!(table.iter().map(|(key, value)| (*key, *value)).collect::<BTreeMap<_, _>>(), now);
    let mut swept = Digest::default();
    table.sweep(&mut swept).expect("sweeps");
    prop_assert_eq!(swept, digest);
    Ok(())
}

proptest! {
    #[test]
    fn a_table_in_a_file_equals_a_plain_map(steps in prop::collection::vec(step(), 0..100)) {
        compare(steps, false)?;
    }

    #[test]
    fn a_table_that_reads_by_itself_equals_a_plain_map(steps in prop::collection::vec(step(), 0..100)) {
        compare(steps, true)?;
    }
}

#[test]
fn the_rows_that_are_used_stay_in_memory_and_a_long_walk_reads_in_pieces() {
    let mut file = Database::memory(&[TEST]).expect("a database");
    let mut table: Table<u64, u64, Counts> = Table::new(1, "test");
    (0..2_000).for_each(|key| table.insert(key, key));
    table.seal(&mut Fold::of_step("test"), None, None).expect("seals");
    let mut transaction = file.transaction().expect("begins");
    table.flush(&mut transaction, &mut Digest::default()).expect("flushes");
    transaction.commit().expect("commits");
    table.leave_in_file(Cut::End, None);
    table.trim(|it, _| it.in_memory == 0);
    assert_eq!(table.rows.count(), 0);
    let mut count = 0;
    table
        .walk(&file, (Cut::Start, Cut::End), |_, _| {
            count += 1;
            true
        })
        .expect("reads");
    assert_eq!(
        (count, table.reads()),
        (2_000, 2_000_u64.div_ceil(AT_ONCE.rows as u64) + u64::from(2_000 % AT_ONCE.rows == 0))
    );
    // All of it is known to be there now.
    let reads = table.reads();
    assert_eq!(table.fetch(&file, &5_000).expect("reads"), None);
    assert_eq!(table.reads(), reads);
    // A first look forgets that each was used; those that are used again outlive the others.
    table.trim(|it, _| it.in_memory < 2_000);
    for key in 0..100 {
        table.fetch(&file, &key).expect("reads");
    }
    table.trim(|it, _| it.in_memory <= 200);
    assert!((0..100).all(|key| table.contains(&key)));
}

/// Numbers that stand in another order as texts.
const NUMBERS: [u64; 6] = [1, 2, 9, 10, 100, 1_000];

/// Keys of which the file has another order: those of one part are near each other.
fn of_part((part, _): &(u64, TextOrd)) -> CutRange<(u64, TextOrd)> {
    (Cut::before((*part, TextOrd(0))), Cut::before((part + 1, TextOrd(0))))
}

fn compare_texts(steps: Vec<Move>) -> Result<(), TestCaseError> {
    let mut file = Database::memory(&[TEST]).expect("a database");
    let mut table: Table<(u64, TextOrd), u64> = Table::new(1, "test");
    table.leave_in_file(Cut::Start, Some(RowReader { file: file.file.clone(), near: Some(of_part) }));
    let key = |it: u64| (it / 6, TextOrd(NUMBERS[usize::try_from(it % 6).expect("small")]));
    let (mut now, mut sealed, mut digest) = (BTreeMap::new(), BTreeMap::new(), Digest::default());
    for step in steps {
        match step {
            Move::Get(it) => prop_assert_eq!(table.get(&key(it)), now.get(&key(it))),
            Move::Walk(it, _, max) => {
                let (part, _) = key(it);
                let found = table.along(of_part(&key(it))).take(max + 1);
                let expected = now.iter().filter(|((it, _), _)| *it == part).take(max + 1);
                prop_assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
            Move::Insert(it, value) => {
                table.insert(key(it), value);
                now.insert(key(it), value);
            }
            Move::Update(it) => {
                table.update(&key(it), |it| *it += 1);
                now.entry(key(it)).and_modify(|it| *it += 1);
            }
            Move::Remove(it) => prop_assert_eq!(table.remove(&key(it)), now.remove(&key(it))),
            Move::Rewind => {
                Journaled::rewind(&mut table);
                now.clone_from(&sealed);
            }
            Move::Seal | Move::Flush | Move::Trim(_) => {
                table.seal(&mut Fold::of_step("test"), None, None).expect("seals");
                sealed.clone_from(&now);
                if matches!(step, Move::Flush) {
                    let mut transaction = file.transaction().expect("begins");
                    table.flush(&mut transaction, &mut digest).expect("flushes");
                    transaction.commit().expect("commits");
                }
                if let Move::Trim(few) = step {
                    table.trim(|(), rows| rows as i64 <= few);
                }
            }
        }
        file.file.check().expect("could be read");
    }
    table.fetch_all(&file).expect("reads");
    prop_assert_eq!(table.iter().map(|(key, value)| (*key, *value)).collect::<BTreeMap<_, _>>(), now);
    Ok(())
}

proptest! {
    #[test]
    fn a_table_in_another_order_than_its_file_equals_a_plain_map(steps in prop::collection::vec(step(), 0..100)) {
        compare_texts(steps)?;
    }
}

#[test]
fn many_rows_in_another_order_than_their_file_are_read_at_once() {
    let mut file = Database::memory(&[TEST]).expect("a database");
    let mut table: Table<(u64, TextOrd), u64> = Table::new(1, "test");
    let numbers = || (0..3_000_u64).map(TextOrd);
    numbers().for_each(|it| table.insert((7, it), it.0));
    table.seal(&mut Fold::of_step("test"), None, None).expect("seals");
    let mut transaction = file.transaction().expect("begins");
    table.flush(&mut transaction, &mut Digest::default()).expect("flushes");
    transaction.commit().expect("commits");
    table.leave_in_file(Cut::End, Some(RowReader { file: file.file.clone(), near: Some(of_part) }));
    table.trim(|(), rows| rows == 0);
    let mut expected: Vec<_> = numbers().collect();
    expected.sort();
    assert_eq!(table.along(of_part(&(7, TextOrd(0)))).map(|((_, it), _)| *it).collect::<Vec<_>>(), expected);
    table.trim(|(), rows| rows == 0);
    assert_eq!((table.get(&(7, TextOrd(2_000))), table.reads()), (Some(&2_000), 2));
    table.trim(|(), rows| rows == 0);
    table.fetch_all(&file).expect("reads");
    assert_eq!(table.iter().map(|((_, it), _)| *it).collect::<Vec<_>>(), expected);
}

#[test]
fn rows_that_wait_count_among_those_in_memory_and_leave_like_them() {
    let mut file = Database::memory(&[TEST]).expect("a database");
    let mut table: Table<u64, u64, Counts> = Table::new(1, "test");
    (0..100).for_each(|key| table.insert(key, key));
    table.seal(&mut Fold::of_step("test"), None, None).expect("seals");
    let mut transaction = file.transaction().expect("begins");
    table.flush(&mut transaction, &mut Digest::default()).expect("flushes");
    transaction.commit().expect("commits");
    table.leave_in_file(Cut::before(100), Some(RowReader { file: file.file.clone(), near: None }));
    table.trim(|_, rows| rows == 0);
    assert_eq!(table.in_memory(), 0);
    assert_eq!(table.along((Cut::Start, Cut::End)).count(), 100);
    assert_eq!(table.rows.count(), 0);
    assert_eq!(table.in_memory(), 100);
    table.trim(|_, rows| rows <= 10);
    assert!(table.in_memory() <= 10);
}
