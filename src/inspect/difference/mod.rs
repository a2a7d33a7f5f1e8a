//! `vathost diff`: where two states parted, and what differs.
//!
//! The place is found by the hashes of the last blocks: they form a chain, so the blocks that two states have in common are a prefix of
//! it; within a block the marks of its cranks tell. The difference itself is the rows, table by table, and for each vat the first delivery of
//! its transcript that differs, or that only one of the states has.

mod show;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    inspect::view::transcript::{describe_answer, describe_delivery, describe_end, describe_syscall},
    model::{
        blame::HostFault,
        id::{BlockHeight, CrankNum, DeliveryNum, VatId},
    },
    state::{
        table::Tables,
        transcript::{self, Entry},
    },
    store::{BlockMark, Chunk, Database, Journaled, Meta, Reading, StoredRows},
};

/// The comparison of two states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The facts of both.
    pub meta: [Meta; 2],
    /// The place at which the states parted.
    pub parting: Parting,
    /// Rows that differ, by table.
    pub counts: BTreeMap<&'static str, u64>,
    /// The first rows that differ.
    pub rows: Vec<RowDifference>,
    /// The first delivery of each vat that differs, or that only one of the states has.
    pub deliveries: Vec<Delivery>,
}

/// The place at which two states parted, as far as their stored hashes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// The states end with the same block, under the same hash.
    Never,
    /// One is the past of the other.
    Past {
        /// Whether the first state is the past one.
        first: bool,
        /// The last block that they have in common.
        common: BlockMark,
    },
    /// Within this block.
    Block {
        /// The height of the block.
        height: BlockHeight,
        /// The block's first crank.
        from: CrankNum,
        /// The first crank after the block, in each state; the chains differ there.
        to: [CrankNum; 2],
        /// The first crank after which the marks differ; `None` if the states do not remember marks, as older ones do not, or if all
        /// cranks that both ran are the same.
        crank: Option<CrankNum>,
    },
    /// No block that both states remember is the same: they parted before this one. `None` if they remember none in common.
    Before(Option<BlockHeight>),
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDifference {
    /// The name of the table.
    pub table: &'static str,
    /// The vat of the row, if it belongs to one.
    pub vat: Option<VatId>,
    /// The key, for people.
    pub key: String,
    /// The value in each state, for people; `None` if a state has none.
    pub values: [Option<String>; 2],
}

/// The first delivery of a vat's transcript that differs, or that only one of the states has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The vat of the transcript.
    pub vat: VatId,
    /// The number of the delivery.
    pub number: DeliveryNum,
    /// The part that differs: the delivery itself, a syscall, or the end; `only one has it` if the other transcript is shorter.
    pub part: String,
    /// The text of that part in each state; `None` if a state has none.
    pub values: [Option<String>; 2],
}

impl Difference {
    /// Returns whether the two states are the same.
    pub fn is_none(&self) -> bool {
        self.parting == Parting::Never && self.counts.is_empty() && self.deliveries.is_empty()
    }
}

/// Compares two states, and keeps at most this many of the rows that differ.
pub fn compare(a: &Database, b: &Database, limit: usize) -> Result<Difference, HostFault> {
    let meta = [a.meta()?.unwrap_or_default(), b.meta()?.unwrap_or_default()];
    let (mut counts, mut rows) = (BTreeMap::new(), Vec::new());
    for table in Tables::names() {
        let (mut left, mut right) = (StoredRows::of(a, table), StoredRows::of(b, table));
        let [mut next_left, mut next_right] = [left.next().transpose()?, right.next().transpose()?];
        // The rows of one key, if a table still has any.
        while let Some(key) = next_left.iter().chain(&next_right).map(|(key, _)| key).min().cloned() {
            let [of_left, of_right] =
                [&mut next_left, &mut next_right].map(|it| it.take_if(|(it, _)| *it == key).map(|(_, value)| value));
            if of_left != of_right {
                *counts.entry(table).or_default() += 1;
                if rows.len() < limit {
                    rows.push(show::row(table, &key, [of_left.as_ref(), of_right.as_ref()]));
                }
            }
            if of_left.is_some() {
                next_left = left.next().transpose()?;
            }
            if of_right.is_some() {
                next_right = right.next().transpose()?;
            }
        }
    }
    let mut parting = parting(&meta, &a.blocks()?, &b.blocks()?);
    if let Parting::Block { from, crank, .. } = &mut parting {
        let (a, b) = (a.crank_marks()?, b.crank_marks()?);
        let both = a.range(*from..).filter_map(|(crank, mark)| Some((crank, mark, b.get(crank)?)));
        let first = both.filter(|(_, a, b)| a != b).map(|(crank, ..)| *crank).next();
        // Marks are folded: all behind the first that differs differ, so it must be known that the one before it does not.
        *crank = first.filter(|it| it == from || [&a, &b].iter().all(|marks| marks.contains_key(&CrankNum(it.0 - 1))));
    }
    Ok(Difference { meta, parting, counts, rows, deliveries: deliveries(a, b)? })
}

fn parting(meta: &[Meta; 2], a: &[BlockMark], b: &[BlockMark]) -> Parting {
    let (Some(last_a), Some(last_b)) = (a.last(), b.last()) else { return Parting::Before(None) };
    if meta[0].state_hash == meta[1].state_hash && last_a == last_b {
        return Parting::Never;
    }
    let of_b: BTreeMap<_, _> = b.iter().map(|it| (it.height, it)).collect();
    let both: Vec<_> = a.iter().filter_map(|it| Some((it, *of_b.get(&it.height)?))).collect();
    // The hashes are chained: once they differ, they differ for ever.
    let same = both.partition_point(|(a, b)| a.state_hash == b.state_hash);
    let Some((common, _)) = same.checked_sub(1).and_then(|at| both.get(at)) else {
        return Parting::Before(both.first().map(|(it, _)| it.height));
    };
    match both.get(same) {
        Some((a, b)) => {
            Parting::Block { height: a.height, from: common.next_crank, to: [a.next_crank, b.next_crank], crank: None }
        }
        None => Parting::Past { first: last_a.height < last_b.height, common: **common },
    }
}

/// Returns the first delivery of each vat that differs. If one transcript is only longer than the other, that is the first delivery
/// which the other does not have.
fn deliveries(a: &Database, b: &Database) -> Result<Vec<Delivery>, HostFault> {
    let (left, right) = (a.heads()?, b.heads()?);
    let vats = &left.vats() | &right.vats();
    let mut found = Vec::new();
    let is_in_both = |vat: VatId| left.has(vat) && right.has(vat);
    // That of a vat which is gone may wait for an archive in one of the states, and have left the other.
    let gone = match vats.iter().all(|it| is_in_both(*it)) {
        true => BTreeSet::new(),
        false => &gone(a)? & &gone(b)?,
    };
    for vat in vats.into_iter().filter(|it| is_in_both(*it) || !gone.contains(it)) {
        let from = a.begins_at(vat)?.max(b.begins_at(vat)?);
        let (a, b) = (a.transcript(&left, vat, from)?, b.transcript(&right, vat, from)?);
        let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        let (a, b) = (entries(&a[same..])?, entries(&b[same..])?);
        found.extend(a.iter().zip(&b).find(|(a, b)| a != b).map(|(a, b)| delivery(vat, a, b)));
        let shorter = a.len().min(b.len());
        if found.last().is_none_or(|it| it.vat != vat)
            && let Some(entry) = a.get(shorter).or(b.get(shorter))
        {
            let side = |it: &[Entry]| it.get(shorter).map(delivered);
            let values = [side(&a), side(&b)];
            found.push(Delivery { vat, number: entry.number, part: "only one has it".to_owned(), values });
        }
    }
    Ok(found)
}

/// Returns the vats that ended in this state, and were cleaned up.
fn gone(database: &Database) -> Result<BTreeSet<VatId>, HostFault> {
    let (mut tables, mut reading) = (Tables::default(), Reading::default());
    database.load(tables.vats.name(), |row| tables.vats.load(row, &mut reading))?;
    Ok(tables.vats.iter().filter(|(_, it)| it.status.is_cleaned()).map(|(vat, _)| *vat).collect())
}

fn entries(chunks: &[Chunk]) -> Result<Vec<Entry>, HostFault> {
    chunks.iter().flat_map(transcript::entries).collect()
}

/// Describes the delivery of an entry; if the entry keeps none, its end.
fn delivered(entry: &Entry) -> String {
    entry.delivery.as_ref().map_or_else(|| describe_end(&entry.end), describe_delivery)
}

/// Returns the difference between two entries of one number.
fn delivery(vat: VatId, a: &Entry, b: &Entry) -> Delivery {
    let (part, values) = if a.delivery != b.delivery {
        ("delivery".to_owned(), [a, b].map(|it| it.delivery.as_ref().map(|_| delivered(it))))
    } else if let Some(at) =
        (0..a.syscalls.len().max(b.syscalls.len())).find(|at| a.syscalls.get(*at) != b.syscalls.get(*at))
    {
        let show = |it: &Entry| {
            let made = it.syscalls.get(at);
            made.map(|(syscall, answer)| describe_syscall(syscall) + &describe_answer(answer))
        };
        (format!("syscall {at}"), [a, b].map(show))
    } else {
        ("end".to_owned(), [a, b].map(|it| Some(describe_end(&it.end))))
    };
    Delivery { vat, number: a.number, part, values }
}
