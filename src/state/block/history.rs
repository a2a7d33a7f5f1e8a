//! How much of the vats' past a state keeps: see `retention`.

use std::path::Path;

use super::{Block, Inner, commit, heap};
use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, DeliveryNum, VatId},
    },
    state::retention::{ArchiveNews, Ends, Keep, PastOf, Retention},
    store::{Database, Left, Pruned, Reach, SpanFolder, TranscriptSize},
};

/// Chunks that leave in one transaction where nothing else is done.
const CHUNKS_AT_REST: u64 = 4_096;

/// Sets how much of the transcripts is kept from now on. Replicas may differ in it.
pub fn set_keep(block: &mut Block, keep: Keep) {
    block.0.retention.keep = keep;
}

/// Sets the folder of the archive into which goes what leaves from now on. Replicas may differ in it.
pub fn set_archive(block: &mut Block, archive: Option<&Path>) {
    block.0.retention.archive = archive.map(SpanFolder::at);
}

/// Returns what became of the archive since this was asked last, if anything did.
pub fn archive_news(block: &mut Block) -> Option<ArchiveNews> {
    block.0.retention.news.take()
}

/// Reads what has left of the transcripts from an archive, as if it were there.
pub fn read_archive(block: &mut Block, archive: &Path) {
    block.0.database.read_archive(SpanFolder::at(archive));
}

/// Returns the reason why the archive that is read does not reach back to a vat's first delivery; `None` if it does.
pub fn archive_gap(block: &Block, vat: VatId) -> Result<Option<String>, HostFault> {
    Ok(Reach::of(&block.0.database, vat)?.gap)
}

/// Returns the first delivery of a vat's transcript that can be read, in the state or in the archive that is read.
pub fn begins_at(block: &Block, vat: VatId) -> Result<DeliveryNum, HostFault> {
    block.0.database.begins_at(vat)
}

/// Returns what left of a vat's transcript, if anything did.
pub fn pruned(block: &Block, vat: VatId) -> Result<Option<Pruned>, HostFault> {
    block.0.database.pruned(vat)
}

/// Returns the first delivery that a vat needs to come back; `None` if there is no such vat alive.
pub fn needed(block: &Block, vat: VatId) -> Option<DeliveryNum> {
    PastOf { tables: &block.0.tables, snapshots: &block.0.snapshots }.needed(vat)
}

/// Returns the file of the state, to measure it: as of the same commit as the rows.
pub(crate) fn file(block: &Block) -> &Database {
    &block.0.database
}

/// Returns the bytes of the heap in a vat's snapshot; 0 if there is none.
pub fn snapshot_bytes(block: &Block, vat: VatId) -> Result<u64, HostFault> {
    Ok(heap::newest(block, vat)?.map_or(0, |it| it.heap.bytes()))
}

/// Measures a vat's transcript; what is of blocks after `since` is recent.
pub fn transcript_size(block: &Block, vat: VatId, since: BlockHeight) -> Result<TranscriptSize, HostFault> {
    let needed = needed(block, vat).unwrap_or_default();
    commit::with_heads(&block.0, |heads| block.0.database.transcript_size(heads, vat, since, needed))
}

/// Lets all leave that is not kept, in as many transactions as that takes; with a `keep`, what that does not keep. `each` hears what left
/// so far, and says whether to go on. With an `archive` it goes into that folder, and not where the host's goes.
///
/// # Errors
///
/// The last block can be undone: the state before it may need what would leave. Or the archive cannot be written: what is not there is
/// still in the state.
pub fn prune(
    block: &mut Block,
    keep: Option<Keep>,
    archive: Option<&Path>,
    each: &mut dyn FnMut(&Left) -> bool,
) -> Result<Left, HostFault> {
    let inner = &mut *block.0;
    let mut all = Left::default();
    let archive = archive.map(SpanFolder::at).or_else(|| inner.retention.archive.clone());
    let retention = Retention::of(keep.unwrap_or(inner.retention.keep), archive);
    inner.database.file.settle();
    if retention.keep == Keep::All && commit::with_ends(&inner.books, |ends| ends.waiting.is_empty()) {
        return Ok(all);
    }
    if inner.database.check_undo().is_ok() {
        let why =
            "its last block can be undone, and the state before it may need what would leave: run another block first";
        return Err(HostFault::new("prune the transcripts of the state", why));
    }
    let Inner { tables, snapshots, database, books, .. } = inner;
    commit::with_ends(books, |ends| if ends.heads.has_tail() { deal_out(database, ends) } else { Ok(()) })?;
    let kept = PastOf { tables, snapshots };
    for (vat, _) in tables.vats.iter() {
        loop {
            let left = commit::with_ends(books, |ends| leave(database, &retention, &kept, ends, *vat))?;
            if left.chunks == 0 {
                break;
            }
            all += left;
            if !each(&all) {
                return Ok(all);
            }
        }
    }
    Ok(all)
}

/// Deals out what the last blocks appended to the transcripts, in a transaction of its own: nothing leaves from their tail.
fn deal_out(database: &mut Database, ends: &mut Ends<'_>) -> Result<(), HostFault> {
    let Some(mut facts) = database.meta()? else { return Ok(()) };
    let transaction = database.transaction()?;
    transaction.deal_out(ends.heads, ends.digest, false)?;
    facts.proof.transcripts = *ends.digest;
    transaction.put_meta(&facts)?;
    transaction.commit()
}

/// Lets chunks of a vat leave in a transaction of their own.
fn leave(
    database: &mut Database,
    retention: &Retention,
    kept: &PastOf<'_>,
    ends: &mut Ends<'_>,
    vat: VatId,
) -> Result<Left, HostFault> {
    // Where the last chunk leaves, too, the facts attest that there is none.
    let facts = if ends.waiting.contains(&vat) { database.meta()? } else { None };
    let transaction = database.transaction()?;
    let left = retention.leave(&transaction, kept, ends, vat, CHUNKS_AT_REST)?;
    if left.chunks == 0 {
        return Ok(left);
    }
    if let Some(mut facts) = facts {
        facts.proof.transcripts = *ends.digest;
        transaction.put_meta(&facts)?;
    }
    transaction.commit().map(|()| left)
}
