//! The state hash at the end of each of the last [`BLOCKS_KEPT`] blocks, and the marks of their cranks: of the last `CRANKS_KEPT`.
//!
//! Invariants: the blocks follow each other without a gap, and the last is where the state stands; so do the cranks,
//! as far back as they are remembered. Those of the last blocks are in the tail (see `tail`).

use std::collections::BTreeMap;

use rusqlite::{Row, params};

use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, CrankNum},
    },
    store::{
        database::{Database, Transaction},
        fold::CrankMark,
        hash::{Digest, RowHash, StateHash},
        proof::DAMAGED,
        tail::{self, AppendedBlock},
    },
};

/// The number of past blocks at which two states can be compared, at least: a few weeks of them, in less than a megabyte.
pub const BLOCKS_KEPT: u64 = 10_000;
/// The most past cranks at which two states can be compared, besides those of the last commit: some 8 MB. Blocks of ten thousand
/// cranks would otherwise keep 800 MB, of which every reader makes a map.
pub(super) const CRANKS_KEPT: u64 = 1 << 20;
/// The marks of so many blocks, or of so many cranks, leave together: each time that some do, pages are written which otherwise stay as they
/// are, two of the eleven of a block of one delivery.
const LEAVE_TOGETHER: u64 = 64;
pub(super) const LAYOUT: &str = "
    CREATE TABLE block (height INTEGER PRIMARY KEY, next_crank INTEGER NOT NULL, state_hash BLOB NOT NULL, checksum INTEGER NOT NULL);
    CREATE TABLE crank_mark (first INTEGER PRIMARY KEY, marks BLOB NOT NULL, checksum INTEGER NOT NULL);";

/// The columns of a mark.
const MARK: &str = "height, next_crank, state_hash, checksum";

/// The chained hash at the end of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockMark {
    /// The height of the block.
    pub height: BlockHeight,
    /// The first crank after it.
    pub next_crank: CrankNum,
    /// The chained hash.
    pub state_hash: StateHash,
}

impl BlockMark {
    pub(super) fn hash(&self) -> RowHash {
        let [height, crank] = [self.height.0, self.next_crank.0].map(u64::to_le_bytes);
        RowHash::of_parts("block", &[&height, &crank, &self.state_hash.0])
    }

    /// The mark in a row, and whether it has its checksum.
    fn read(row: &Row<'_>) -> rusqlite::Result<(BlockMark, bool)> {
        let mark = BlockMark {
            height: BlockHeight(row.get::<_, i64>(0)?.cast_unsigned()),
            next_crank: CrankNum(row.get::<_, i64>(1)?.cast_unsigned()),
            state_hash: StateHash(row.get(2)?),
        };
        Ok((mark, mark.hash().checksum() == row.get::<_, i64>(3)?))
    }
}

/// The marks of the last blocks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// The marks, oldest first.
    pub blocks: Vec<BlockMark>,
    /// The digest of the marks.
    pub digest: Digest,
}

/// Bytes of a crank's mark.
pub(super) const MARK_BYTES: usize = size_of::<u64>();

fn crank_checksum(first: i64, marks: &[u8]) -> i64 {
    RowHash::of_parts("crank_mark", &[&first.to_le_bytes(), marks]).checksum()
}

/// Returns the height of the last block; `None` in a state that has none.
pub(super) fn last_height(database: &Database) -> Result<Option<i64>, HostFault> {
    let sql = "SELECT coalesce((SELECT height FROM tail ORDER BY id DESC LIMIT 1), (SELECT max(height) FROM block))";
    let read = database.connection.lock().query_row(sql, [], |row| row.get(0));
    read.map_err(|err| database.failed("read the last block", &err))
}

impl Database {
    /// Reads the marks of the last blocks, oldest first; each as it was written.
    pub fn blocks(&self) -> Result<Vec<BlockMark>, HostFault> {
        let mut first = Ok(());
        let marks = self.marks(&mut |fault| first = first.clone().and(Err(fault)))?;
        first.map(|()| marks.blocks)
    }

    /// Reads the marks of the last blocks, with their digest. `damaged` receives each that is not what was written.
    pub fn marks(&self, damaged: &mut dyn FnMut(HostFault)) -> Result<Marks, HostFault> {
        let what = "read the last blocks";
        let failed = |err| self.failed(what, &err);
        let connection = self.connection.lock();
        let mut statement = connection.prepare(&format!("SELECT {MARK} FROM block ORDER BY height")).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut marks = Marks::default();
        while let Some(row) = rows.next().map_err(failed)? {
            let (mark, sound) = BlockMark::read(row).map_err(failed)?;
            if !sound {
                damaged(self.damaged(format!("read the mark of {}", mark.height), DAMAGED, "block"));
            }
            marks.blocks.push(mark);
        }
        marks.blocks.extend(tail::marks(&connection).map_err(failed)?.0);
        marks.blocks.iter().for_each(|it| marks.digest.add(&it.hash()));
        Ok(marks)
    }

    /// Reads the marks of the cranks of the last blocks, as far back as they are remembered.
    pub fn crank_marks(&self) -> Result<BTreeMap<CrankNum, CrankMark>, HostFault> {
        let what = "read the marks of the last cranks";
        let failed = |err| self.failed(what, &err);
        let sql = "SELECT first, marks, checksum FROM crank_mark ORDER BY first";
        let connection = self.connection.lock();
        let mut statement = connection.prepare(sql).map_err(failed)?;
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?));
        let mut runs = Vec::new();
        let at = |first: i64| format!("{what} from {}", CrankNum(first.cast_unsigned()));
        for row in statement.query_map([], read).map_err(failed)? {
            let (first, marks, sum) = row.map_err(failed)?;
            if sum != crank_checksum(first, &marks) {
                return Err(self.damaged(at(first), DAMAGED, "crank_mark"));
            }
            runs.push((first, marks));
        }
        runs.extend(tail::marks(&connection).map_err(failed)?.1);
        let (mut found, mut next) = (BTreeMap::new(), None);
        for (first, marks) in runs {
            if next.is_some_and(|it| it != first.cast_unsigned()) {
                return Err(self.damaged(at(first), "cranks before it are missing", "crank_mark"));
            }
            let marks = marks.as_chunks().0.iter().map(|it| CrankMark(u64::from_le_bytes(*it)));
            next = Some(first.cast_unsigned().wrapping_add(marks.len() as u64));
            found.extend((first.cast_unsigned()..).map(CrankNum).zip(marks));
        }
        Ok(found)
    }
}

impl Transaction<'_> {
    /// Writes the mark of a block.
    pub(super) fn put_mark(&self, mark: &BlockMark) -> Result<(), HostFault> {
        let [height, next_crank] = [mark.height.0, mark.next_crank.0].map(u64::cast_signed);
        let row = params![height, next_crank, mark.state_hash.0, mark.hash().checksum()];
        self.execute("write a block's hash", "INSERT INTO block VALUES (?, ?, ?, ?)", row).map(drop)
    }

    /// Writes the marks of cranks that follow each other from the first.
    pub(super) fn put_crank_marks(&self, first: i64, marks: &[u8]) -> Result<(), HostFault> {
        let row = params![first, marks, crank_checksum(first, marks)];
        self.execute("write the marks of cranks", "INSERT OR REPLACE INTO crank_mark VALUES (?, ?, ?)", row).map(drop)
    }

    /// Removes the mark of a block that was open.
    pub(super) fn remove_block(&self, height: BlockHeight, digest: &mut Digest) -> Result<(), HostFault> {
        let height = height.0.cast_signed();
        self.remove_blocks(height, height, digest)
    }

    /// Lets the marks of blocks of long ago leave, now and then, and those of the cranks of blocks that left.
    pub(super) fn forget_marks(&self, block: &AppendedBlock<'_>, digest: &mut Digest) -> Result<(), HostFault> {
        let BlockMark { height, next_crank, .. } = block.mark;
        let cranks = block.cranks.len() as u64;
        if !height.0.is_multiple_of(LEAVE_TOGETHER) && cranks < LEAVE_TOGETHER {
            return Ok(());
        }
        self.remove_blocks(i64::MIN, height.0.cast_signed().saturating_sub_unsigned(BLOCKS_KEPT), digest)?;
        // Also with a block without cranks: it may be that only such have the heights at which marks leave. A row may have those of many
        // blocks: it stays while it has any of one that is kept.
        let sql = "DELETE FROM crank_mark WHERE first < ?1
                   OR first + length(marks) / ?2 <= (SELECT next_crank FROM block ORDER BY height LIMIT 1)";
        let first = next_crank.0.cast_signed().saturating_sub_unsigned(cranks);
        let oldest = first.min(next_crank.0.saturating_sub(CRANKS_KEPT).cast_signed());
        self.execute("forget the marks of cranks", sql, params![oldest, MARK_BYTES as i64]).map(drop)
    }

    fn remove_blocks(&self, from: i64, to: i64, digest: &mut Digest) -> Result<(), HostFault> {
        let mut remove = || -> rusqlite::Result<()> {
            let sql = format!("DELETE FROM block WHERE height BETWEEN ? AND ? RETURNING {MARK}");
            let mut statement = self.0.prepare_cached(&sql)?;
            let mut rows = statement.query([from, to])?;
            while let Some(row) = rows.next()? {
                digest.remove(&BlockMark::read(row)?.0.hash());
            }
            Ok(())
        };
        remove().map_err(|err| self.failed("forget the hashes of blocks", &err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Heads, Proof};

    #[test]
    fn marks_of_cranks_are_kept_for_the_last_commit_and_for_so_many_cranks_at_most() {
        let mut database = Database::memory(&[]).expect("a database");
        let (mut heads, mut proof) = (Heads::default(), Proof::default());
        let mut height = 0;
        let mut block = |from: u64, cranks: u64| {
            let marks: Vec<_> = (from..from + cranks).map(CrankMark).collect();
            let next_crank = CrankNum(from + cranks);
            let mark = BlockMark { height: BlockHeight(height), next_crank, state_hash: StateHash::default() };
            height += 1;
            let transaction = database.transaction().expect("a transaction");
            let block = AppendedBlock { mark, time: 0, cranks: &marks, has_mark: false, gathers: false };
            transaction.put_block(&block, &mut heads, &mut proof, |_| Ok(())).expect("written");
            transaction.commit().expect("committed");
            let kept = database.crank_marks().expect("read");
            assert!(kept.iter().all(|(crank, mark)| crank.0 == mark.0));
            kept.first_key_value().map(|(first, _)| first.0)
        };
        let half = CRANKS_KEPT / 2;
        assert_eq!([block(0, 0), block(0, half), block(half, half)], [None, Some(0), Some(0)]);
        // One crank more than are kept: a whole row leaves, once it is worth it.
        assert_eq!(block(2 * half, 1), Some(0));
        assert_eq!(block(2 * half + 1, LEAVE_TOGETHER), Some(half));
        let next = 2 * half + 1 + LEAVE_TOGETHER;
        assert_eq!(block(next, half), Some(2 * half));
        assert_eq!(block(next + half, 2 * half + 1), Some(next + half));
    }

    /// Writes more blocks than are kept. Checks that the digest is that of the marks that there are, and how many there are; `more` are the
    /// most cranks besides theirs of which there are marks.
    fn blocks_of_long_ago_leave(gathers: bool, more: usize) {
        let mut database = Database::memory(&[]).expect("a database");
        let (mut heads, mut proof) = (Heads::default(), Proof::default());
        let mut kept = Vec::new();
        for height in 0..BLOCKS_KEPT + 3 * LEAVE_TOGETHER {
            let mark = |hash| BlockMark {
                height: BlockHeight(height),
                next_crank: CrankNum(height.div_ceil(2)),
                state_hash: StateHash([hash; 32]),
            };
            // Every second block has a crank: never one at whose height marks leave.
            let cranks = if height % 2 == 1 { &[CrankMark(height)][..] } else { &[] };
            let block = AppendedBlock { mark: mark(2), time: 0, cranks, has_mark: height % 3 == 0, gathers };
            let transaction = database.transaction().expect("a transaction");
            let mut put = |block: AppendedBlock<'_>| {
                transaction.put_block(&block, &mut heads, &mut proof, |_| Ok(())).expect("written");
            };
            // An open block is written twice.
            if height % 3 == 0 {
                put(AppendedBlock { mark: mark(1), has_mark: false, ..block });
                put(AppendedBlock { cranks: &[], ..block });
            } else {
                put(block);
            }
            transaction.commit().expect("committed");
            if height > BLOCKS_KEPT - 2 {
                let marks = database.marks(&mut |fault| panic!("{fault}")).expect("reads");
                assert_eq!(marks.digest, proof.blocks, "{height}");
                assert!(marks.blocks.iter().all(|it| it.state_hash == StateHash([2; 32])));
                let cranks = database.crank_marks().expect("reads");
                assert!(cranks.iter().all(|(crank, mark)| mark.0 == 2 * crank.0 + 1));
                let of_blocks = marks.blocks.len().div_ceil(2);
                assert!((of_blocks - 1..=of_blocks + more).contains(&cranks.len()), "{height}: {}", cranks.len());
                kept.push(marks.blocks.len() as u64);
            }
        }
        assert_eq!(kept.iter().min(), Some(&BLOCKS_KEPT));
        assert_eq!(kept.iter().max(), Some(&(BLOCKS_KEPT + LEAVE_TOGETHER - 1)));
    }

    #[test]
    fn the_marks_of_blocks_of_long_ago_leave_together_and_the_digest_is_that_of_the_others() {
        blocks_of_long_ago_leave(false, 1);
        // Those of the cranks of as many blocks as the tail has rows leave together.
        blocks_of_long_ago_leave(true, 2_048);
    }
}
