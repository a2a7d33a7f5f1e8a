//! The reading of a state when it is opened, proved against what its last commit attests.
//!
//! ```text
//!   the layout ─▶ the facts ─▶ the rows ─▶ the digest of each table ─▶ the ends of the transcripts ─▶ the marks of the blocks ─▶ the snapshots
//! ```
//!
//! Invariant: what comes of [`read`] is the state that was committed, whole. What was not read yet (entries,
//! manifests, pages, bundles, and the rows of vatstores, c-lists, objects and promises where there are too many) is bound to it, and proved when it is read.

use std::{collections::BTreeMap, ops::ControlFlow};

use crate::{
    model::{blame::HostFault, id::VatId},
    state::{
        block::stored,
        table::{Globals, Tables},
    },
    store::{
        BLOCKS_KEPT, Cut, Database, Digest, Heads, Journaled, Listed, Marks, Meta, Proof, Reading, StoreSum,
        UpgradeStep, digest_of_sums, tell_rows,
    },
};

/// A state that was read.
pub(crate) struct Proved {
    pub(crate) tables: Tables,
    pub(crate) meta: Meta,
    pub(crate) heads: Heads,
    pub(crate) snapshots: Vec<Listed>,
}

/// Hears of each thing that is not as it was committed.
pub(crate) type Damaged<'a> = dyn FnMut(HostFault) + 'a;

/// Reads a state, and proves it. The fault is the first of all that are found, and says how many there are.
pub(crate) fn read(database: &Database) -> Result<Proved, HostFault> {
    let mut faults: Vec<HostFault> = Vec::new();
    let proved = read_all(database, &mut |it| faults.push(it));
    let more = faults.len().saturating_sub(1);
    match faults.into_iter().next() {
        None => proved,
        Some(first) if more == 0 => Err(first),
        Some(first) => {
            let why = format!("{} (the first of {} findings)", first.why, more + 1);
            Err(first.because(why))
        }
    }
}

fn read_all(database: &Database, damaged: &mut Damaged<'_>) -> Result<Proved, HostFault> {
    layout(database, damaged)?;
    let meta = database.meta()?;
    let mut tables = Tables::default();
    let mut digests = Vec::new();
    let sums = sums(database, meta.as_ref(), damaged)?;
    if let Some(sums) = stored::too_large(&sums).then(|| sums.clone()) {
        tables.vatstore.index_mut().commit(Some(sums));
        tables.vatstore.leave_in_file(Cut::End, None);
    }
    let references_stay = stored::too_many(database)?;
    for at in 0..Tables::COUNT {
        // The first table has the counters, from which it is known what can be in the file.
        if at == 1 && references_stay {
            let globals = tables.globals();
            stored::leave_references(&mut tables, database, &globals);
        }
        let table = &mut *tables.each()[at];
        if table.is_in_file() {
            digests.push(None);
            continue;
        }
        let (mut reading, mut sound) = (Reading::default(), true);
        database.load(table.name(), |row| {
            if let Err(fault) = table.load(row, &mut reading) {
                sound = false;
                damaged(fault);
            }
            Ok(())
        })?;
        // Of a table with a row that is named there is no more to say.
        digests.push(sound.then_some(reading.digest));
    }
    if tables.vatstore.is_whole() {
        counted(&tables, &sums, damaged);
        tables.vatstore.index_mut().commit(None);
    }
    let proof = meta.as_ref().map(|it| it.proof.clone()).unwrap_or_default();
    if meta.is_none() && digests.iter().any(|it| *it != Some(Digest::default())) {
        damaged(HostFault::damage("table `meta`", "there are rows, and no facts of the commit that wrote them"));
    }
    self::digests(&digests, &proof, damaged);
    let heads = heads(database, &tables, &proof, damaged)?;
    marks(database, tables.globals(), meta.as_ref(), damaged)?;
    let snapshots = snapshots(database, &proof, damaged)?;
    Ok(Proved { tables, meta: meta.unwrap_or_default(), heads, snapshots })
}

/// Reads and proves the rows that stayed in the file when the state was opened, after its layout was brought to this one.
pub(crate) fn whole(database: &Database, read: &Proved) -> Result<(), HostFault> {
    tell_rows(database, UpgradeStep::Proving, 0);
    let left = left(&read.tables);
    rows(database, &read.meta, &left, &mut |rows| {
        tell_rows(database, UpgradeStep::Proving, rows);
        ControlFlow::Continue(())
    })
}

/// Returns the names of the tables whose rows stayed in the file, at least in part.
pub(crate) fn left(tables: &Tables) -> Vec<&'static str> {
    tables.all().into_iter().filter(|it| it.is_in_file()).map(|it| it.name()).collect()
}

/// Reads and proves the rows of some tables, until it is told to stop: `each` hears how many were read. That all are there is known
/// at the end alone.
pub(crate) fn rows(
    database: &Database,
    meta: &Meta,
    names: &[&str],
    each: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(), HostFault> {
    let mut first = None;
    let mut damaged = |fault: HostFault| {
        first.get_or_insert(fault);
    };
    let mut tables = Tables::default();
    tables.vatstore.leave_in_file(Cut::End, None);
    stored::leave_references(&mut tables, database, &Globals::INITIAL);
    let (mut digests, mut read) = (Vec::new(), 0);
    for table in tables.each() {
        if !table.is_in_file() || !names.contains(&table.name()) {
            digests.push(None);
            continue;
        }
        let (mut reading, mut is_stopped) = (Reading::default(), false);
        let loaded = database.load(table.name(), |row| {
            table.load(row, &mut reading)?;
            read += 1;
            is_stopped = each(read).is_break();
            if is_stopped { Err(HostFault::new("read the rows", "it was told to stop")) } else { Ok(()) }
        });
        if is_stopped {
            return Ok(());
        }
        loaded?;
        digests.push(Some(reading.digest));
    }
    self::digests(&digests, &meta.proof, &mut damaged);
    if names.contains(&tables.vatstore.name()) {
        let sums = sums(database, Some(meta), &mut damaged)?;
        counted(&tables, &sums, &mut damaged);
    }
    first.map_or(Ok(()), Err)
}

/// Reads the sizes of the vatstores, and checks that they are those that were committed.
pub(crate) fn sums(
    database: &Database,
    meta: Option<&Meta>,
    damaged: &mut Damaged<'_>,
) -> Result<BTreeMap<VatId, StoreSum>, HostFault> {
    let sums = database.sums()?;
    if meta.is_some_and(|it| digest_of_sums(&sums) != it.proof.sums) {
        damaged(HostFault::damage("table `vatstore_sum`", "its rows are not those that were committed"));
    }
    Ok(sums)
}

/// Checks that the vatstores have the sizes that were committed; all of their rows were counted.
pub(crate) fn counted(tables: &Tables, sums: &BTreeMap<VatId, StoreSum>, damaged: &mut Damaged<'_>) {
    if tables.vatstore.index().sums() != sums {
        damaged(HostFault::damage("table `vatstore_sum`", "its sizes are not those of the rows of `vatstore`"));
    }
}

/// Checks that the file is laid out as this version does it.
pub(crate) fn layout(database: &Database, damaged: &mut Damaged<'_>) -> Result<(), HostFault> {
    for name in database.altered(&Tables::layout())? {
        damaged(HostFault::damage(format_args!("table `{name}`"), "it is missing, or laid out in another way"));
    }
    Ok(())
}

/// Checks that the rows of each table are those that were committed: none too many, and none too few. `None` stands
/// for a table that is not asked.
pub(crate) fn digests(found: &[Option<Digest>], proof: &Proof, damaged: &mut Damaged<'_>) {
    for (at, (name, found)) in Tables::names().iter().zip(found).enumerate() {
        let attested = proof.tables.get(at).copied().unwrap_or_default();
        if found.is_some_and(|it| it != attested) {
            let why = "its rows are not those that were committed: some were changed, added or lost";
            damaged(HostFault::damage(format_args!("table `{name}`"), why));
        }
    }
}

/// Checks that the last blocks follow each other, are those that were committed, and end at the state's own height.
pub(crate) fn marks(
    database: &Database,
    globals: Globals,
    meta: Option<&Meta>,
    damaged: &mut Damaged<'_>,
) -> Result<usize, HostFault> {
    let Marks { blocks, digest } = database.marks(damaged)?;
    let mut find = |holds: bool, why: &dyn Fn() -> String| {
        if !holds {
            damaged(HostFault::damage("table `block`", why()));
        }
    };
    for (a, b) in blocks.iter().zip(blocks.iter().skip(1)) {
        find(b.height.0 == a.height.0.wrapping_add(1) && b.next_crank >= a.next_crank, &|| {
            format!("{} ends before {}, {} before {}", a.height, a.next_crank, b.height, b.next_crank)
        });
    }
    let attested = meta.map(|it| it.proof.blocks).unwrap_or_default();
    match (meta, blocks.last()) {
        (Some(meta), Some(last)) => {
            let complete = blocks.len() as u64 >= BLOCKS_KEPT.min(globals.height.0.saturating_add(1));
            find(complete, &|| format!("{} of the last blocks are kept", blocks.len()));
            find((last.height, last.next_crank) == (globals.height, globals.next_crank), &|| {
                format!(
                    "the last is {}, before {}; the state is at {}, before {}",
                    last.height, last.next_crank, globals.height, globals.next_crank
                )
            });
            find(last.state_hash == meta.state_hash, &|| {
                format!("{} has hash {}, the state {}", last.height, last.state_hash, meta.state_hash)
            });
        }
        (Some(_), None) => find(false, &|| "the last block is missing".to_owned()),
        (None, _) => (),
    }
    find(digest == attested, &|| "its rows are not those that were committed".to_owned());
    Ok(blocks.len())
}

/// Checks that the transcript of every vat ends as its tally says, with the chunk that was committed.
pub(crate) fn heads(
    database: &Database,
    tables: &Tables,
    proof: &Proof,
    damaged: &mut Damaged<'_>,
) -> Result<Heads, HostFault> {
    let heads = database.heads()?;
    let mut find = |why: String| damaged(HostFault::damage("table `transcript`", why));
    for vat in heads.vats() {
        if !tables.vats.contains(&vat) {
            find(format!("there is a transcript of {vat}, and no such vat"));
        }
    }
    // That of a vat which is gone goes with it, unless it waits for an archive.
    for (vat, row) in tables.vats.iter().filter(|(vat, it)| !it.status.is_cleaned() || heads.has(**vat)) {
        // Of a session no transcript is kept.
        let told = tables.tallies.get(vat).filter(|_| !tables.is_session(*vat));
        let deliveries = told.map_or(0, |it| it.deliveries);
        let recorded = heads.next(*vat).0;
        if recorded != deliveries {
            let name = &row.name;
            find(format!("{vat} ({name:?}) had {deliveries} deliveries by its tally, {recorded} by its transcript"));
        }
    }
    if heads.digest() != proof.transcripts {
        find("the transcripts do not end as they were committed".to_owned());
    }
    Ok(heads)
}

/// Checks that the snapshots are those that were committed.
pub(crate) fn snapshots(
    database: &Database,
    proof: &Proof,
    damaged: &mut Damaged<'_>,
) -> Result<Vec<Listed>, HostFault> {
    let listed = database.snapshots()?;
    if Listed::digest(&listed) != proof.snapshots {
        damaged(HostFault::damage("table `snapshot`", "its rows are not those that were committed"));
    }
    Ok(listed)
}
