//! How long a state keeps the transcripts of its vats: as an operator chooses, and never less than its vats need.
//!
//! A vat needs the deliveries that its heap would be brought back from: those since its snapshot, or since its incarnation began.
//!
//! A vat that has ended needs none. Without an archive its transcript goes with its last row; with one it stays until it is there.
//!
//! Invariants: what leaves, and when, is in no hash, and changes no result. It leaves in the transaction of a block, or in one of its own,
//! never more at a time than a bound. With an archive it is in a file there before; what cannot be written there stays.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, BundleId, DeliveryNum, VatId},
    },
    state::{
        snapshot::Snapshots,
        table::{Status, Tables},
    },
    store::{Digest, Heads, Leaving, Left, MayLeave, SpanFolder, Transaction},
};

/// The transcripts that a host keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Keeps all.
    #[default]
    All,
    /// Keeps what the vats need, and nothing else.
    Needed,
    /// Keeps what the vats need, and the deliveries of this many blocks.
    Blocks(u64),
    /// Keeps what the vats need, and the deliveries of this many days, by the time of the blocks.
    Days(u64),
}

/// Says what a text has to be that it is not.
const FORMS: &str = "`all`, `needed`, `blocks=N` or `days=N`";

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Keep, String> {
        let wrong = || format!("`{text}` is none of {FORMS}");
        match text.split_once('=') {
            None if text == "all" => Ok(Keep::All),
            None if text == "needed" => Ok(Keep::Needed),
            Some(("blocks", number)) => number.parse().map(Keep::Blocks).map_err(|_| wrong()),
            Some(("days", number)) => number.parse().map(Keep::Days).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::All => f.write_str("all"),
            Keep::Needed => f.write_str("needed"),
            Keep::Blocks(blocks) => write!(f, "blocks={blocks}"),
            Keep::Days(days) => write!(f, "days={days}"),
        }
    }
}

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;
/// The least number of chunks that may leave with a block.
const CHUNKS_MIN: u64 = 16;

/// The most chunks of a span that leaves with a block, and the bytes with which it ends.
const SPAN_MAX: (u64, u64) = (512, 2 << 20);
/// Bytes with which a span ends that leaves where nothing else is done.
const SPAN_BYTES_AT_REST: u64 = 8 << 20;
/// The least chunks that leave with a block into an archive, unless they have so many bytes: there shall not be a million files.
const SPAN_MIN: (u64, u64) = (64, 1 << 20);
/// Blocks from a write that failed to the next that is tried.
const PATIENCE: u64 = 64;
/// The most blocks, one behind the other, that another thread writes: nothing leaves with them, and what may leaves with the next.
const PUT_OFF_MAX: u64 = 7;

/// News of the archive into which a host writes.
#[derive(Clone, Debug)]
pub enum ArchiveNews {
    /// A span could not be written: until one can, nothing leaves.
    Broken(HostFault),
    /// Spans are written again.
    GoesOn,
}

/// The pruning of a state's transcripts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retention {
    pub(crate) keep: Keep,
    /// The archive that takes what leaves, if there is one.
    pub(crate) archive: Option<SpanFolder>,
    /// What became of the archive since this was asked for.
    pub(crate) news: Option<ArchiveNews>,
    /// The blocks until the archive is tried again, while it cannot be written.
    broken: Option<u64>,
    /// The vat that was looked at last: the others come first.
    cursor: VatId,
    /// Whether no transcript of a vat that ended was waiting for the archive, when that was last looked at.
    none_waits: bool,
    /// Blocks since something last could leave.
    put_off: u64,
}

/// The parts of a state on which it depends what may leave.
pub(crate) struct PastOf<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) snapshots: &'a Snapshots,
}

/// The ends of the transcripts, as whoever writes a commit knows them.
pub(crate) struct Ends<'a> {
    pub(crate) heads: &'a mut Heads,
    /// The digest of the heads, in the facts.
    pub(crate) digest: &'a mut Digest,
    /// The vats that were cleaned up, and whose transcripts wait for the archive.
    pub(crate) waiting: &'a mut BTreeSet<VatId>,
}

impl PastOf<'_> {
    /// Returns the first delivery that a vat needs to come back: that behind its snapshot, or that with which its incarnation began. `None`
    /// if there is no such vat alive.
    pub(crate) fn needed(&self, vat: VatId) -> Option<DeliveryNum> {
        let row = self.tables.vats.get(&vat).filter(|it| !matches!(it.status, Status::Terminated { .. }))?;
        // A snapshot that is not of this incarnation is of no use.
        Some(self.snapshots.position(vat).map_or(row.first_delivery, |it| it.max(row.first_delivery)))
    }
}

impl Retention {
    /// Makes the pruning of a state that keeps this much.
    pub(crate) fn of(keep: Keep, archive: Option<SpanFolder>) -> Retention {
        Retention { keep, archive, ..Retention::default() }
    }

    /// Returns whether nothing need leave with the next commit; `forgets`: a vat's last row goes with it, or a bundle may.
    pub(crate) fn can_be_put_off(&self, forgets: bool) -> bool {
        let archives = self.archive.is_some() && (forgets || !self.none_waits);
        !archives && (self.keep == Keep::All || self.put_off < PUT_OFF_MAX)
    }

    /// Notes that a block is committed, and nothing leaves with it.
    pub(crate) fn put_off(&mut self) {
        self.put_off += 1;
    }

    /// Returns the bounds up to which chunks of a vat may leave; `None` if none may.
    fn may_leave(&self, vat: VatId, kept: &PastOf<'_>, chunks: u64, bytes: u64) -> Option<MayLeave> {
        let globals = kept.tables.globals();
        if kept.tables.vats.get(&vat).is_some_and(|it| it.status.is_cleaned()) {
            let (needed, height) = (DeliveryNum(u64::MAX), BlockHeight(u64::MAX));
            return Some(MayLeave { needed, height, time: u64::MAX, chunks, bytes, last: true });
        }
        let (height, time) = match self.keep {
            Keep::All => return None,
            Keep::Needed => (BlockHeight(u64::MAX), u64::MAX),
            Keep::Blocks(blocks) => (BlockHeight(globals.height.0.checked_sub(blocks)?), u64::MAX),
            Keep::Days(days) => (BlockHeight(u64::MAX), globals.time.checked_sub(days.saturating_mul(DAY))?),
        };
        Some(MayLeave { needed: kept.needed(vat)?, height, time, chunks, bytes, last: false })
    }

    /// Lets chunks leave with the transaction of a block, if `written` others came since that was last done: some more than those, so that
    /// what is to leave becomes less, but not all at once.
    pub(crate) fn step(
        &mut self,
        transaction: &Transaction<'_>,
        kept: &PastOf<'_>,
        ends: &mut Ends<'_>,
        written: u64,
    ) -> Result<Left, HostFault> {
        self.put_off = 0;
        if (self.keep == Keep::All && ends.waiting.is_empty()) || self.waits() {
            self.none_waits = ends.waiting.is_empty();
            return Ok(Left::default());
        }
        let (chunks_max, vats_max) = (CHUNKS_MIN.max(written.saturating_mul(2)), written.saturating_add(2));
        let Some(mut left) = self.leave_ended(transaction, kept, ends, chunks_max)? else { return Ok(Left::default()) };
        if self.keep == Keep::All {
            return Ok(left);
        }
        let behind = kept.tables.vats.range(VatId(self.cursor.0.saturating_add(1))..).map(|(vat, _)| *vat);
        let around = behind.chain(kept.tables.vats.range(..=self.cursor).map(|(vat, _)| *vat));
        let vats: Vec<VatId> = around.take(usize::try_from(vats_max).unwrap_or(usize::MAX)).collect();
        for vat in vats {
            if left.chunks >= chunks_max {
                break;
            }
            self.cursor = vat;
            left += match self.archive.is_some() {
                false => self.leave(transaction, kept, ends, vat, chunks_max - left.chunks)?,
                true => match self.leave_archived(transaction, kept, ends, vat)? {
                    Some(archived) => archived,
                    None => break,
                },
            };
        }
        Ok(left)
    }

    /// Lets transcripts leave that wait for the archive, with the transaction of a block; `None` if it cannot be written. In a host
    /// without one they wait no longer, and go.
    fn leave_ended(
        &mut self,
        transaction: &Transaction<'_>,
        kept: &PastOf<'_>,
        ends: &mut Ends<'_>,
        chunks_max: u64,
    ) -> Result<Option<Left>, HostFault> {
        let mut all = Left::default();
        let vats: Vec<VatId> =
            ends.waiting.iter().take(usize::try_from(chunks_max).unwrap_or(usize::MAX)).copied().collect();
        for vat in vats {
            if all.chunks >= chunks_max {
                break;
            }
            if self.archive.is_none() {
                ends.delete(transaction, vat)?;
                continue;
            }
            let Some(left) = self.leave_archived(transaction, kept, ends, vat)? else { return Ok(None) };
            all += left;
        }
        self.none_waits = ends.waiting.is_empty();
        Ok(Some(all))
    }

    /// Returns whether the archive could not be written a short while ago, and is not tried again yet.
    fn waits(&mut self) -> bool {
        match &mut self.broken {
            Some(blocks) if *blocks > 0 => {
                *blocks -= 1;
                true
            }
            _ => false,
        }
    }

    /// Lets a span leave with the transaction of a block into the archive, if there is enough for one, or the vat has ended; `None` if it
    /// cannot be written.
    fn leave_archived(
        &mut self,
        transaction: &Transaction<'_>,
        kept: &PastOf<'_>,
        ends: &mut Ends<'_>,
        vat: VatId,
    ) -> Result<Option<Left>, HostFault> {
        let may = self.may_leave(vat, kept, SPAN_MAX.0, SPAN_MAX.1);
        // A block that is undone takes its own chunks back, and others may take their place: none of them is archived with it.
        let before = kept.tables.globals().height.0.checked_sub(1).map(BlockHeight);
        let may = may.zip(before).map(|(may, before)| MayLeave { height: may.height.min(before), ..may });
        let leaving = leaving(transaction, kept, ends, vat, may.as_ref())?;
        let has_ended = may.is_some_and(|it| it.last);
        let is_enough = |it: &Leaving| has_ended || it.amount.chunks >= SPAN_MIN.0 || it.amount.bytes >= SPAN_MIN.1;
        let Some(leaving) = leaving.filter(is_enough) else { return Ok(Some(Left::default())) };
        let span = transaction.span(&leaving)?;
        let put = self.archive.as_ref().map_or(Ok(()), |it| it.put(&span));
        if self.is_written(put) { ends.leave(transaction, vat, &leaving).map(Some) } else { Ok(None) }
    }

    /// Writes a module that is to leave with a block into the archive, if there is one, and returns whether it may leave.
    pub(crate) fn put_bundle(&mut self, id: BundleId, wasm: &[u8]) -> bool {
        let put = self.archive.as_ref().map(|it| it.put_bundle(id, wasm));
        put.is_none_or(|it| self.is_written(it))
    }

    /// Notes whether something was written into the archive, and returns it.
    fn is_written(&mut self, put: Result<(), HostFault>) -> bool {
        match put {
            Ok(()) if self.broken.take().is_some() => self.news = Some(ArchiveNews::GoesOn),
            Ok(()) => (),
            Err(fault) => {
                if self.broken.replace(PATIENCE).is_none() {
                    self.news = Some(ArchiveNews::Broken(fault));
                }
                return false;
            }
        }
        true
    }

    /// Lets chunks of one vat leave, however few: into the archive, if there is one.
    ///
    /// # Errors
    ///
    /// The archive cannot be written, or the chunks are damaged.
    pub(crate) fn leave(
        &self,
        transaction: &Transaction<'_>,
        kept: &PastOf<'_>,
        ends: &mut Ends<'_>,
        vat: VatId,
        chunks: u64,
    ) -> Result<Left, HostFault> {
        let bytes = if self.archive.is_some() { SPAN_BYTES_AT_REST } else { u64::MAX };
        let may = self.may_leave(vat, kept, chunks, bytes);
        let Some(leaving) = leaving(transaction, kept, ends, vat, may.as_ref())? else { return Ok(Left::default()) };
        match &self.archive {
            Some(archive) => archive.put(&transaction.span(&leaving)?)?,
            None if may.is_some_and(|it| it.last) => {
                return ends.delete(transaction, vat).map(|()| leaving.amount);
            }
            None => (),
        }
        ends.leave(transaction, vat, &leaving)
    }
}

impl Ends<'_> {
    /// Removes chunks of a vat, which waits no longer where they are the last.
    fn leave(&mut self, transaction: &Transaction<'_>, vat: VatId, leaving: &Leaving) -> Result<Left, HostFault> {
        let left = transaction.leave(leaving, self.heads, self.digest)?;
        if !self.heads.has(vat) {
            self.waiting.remove(&vat);
        }
        Ok(left)
    }

    /// Removes the transcript of a vat that ended, and all that is known of it.
    pub(crate) fn delete(&mut self, transaction: &Transaction<'_>, vat: VatId) -> Result<(), HostFault> {
        self.waiting.remove(&vat);
        transaction.delete_transcript(vat, self.heads, self.digest)
    }
}

/// The chunks of a vat that may leave.
fn leaving(
    transaction: &Transaction<'_>,
    kept: &PastOf<'_>,
    ends: &Ends<'_>,
    vat: VatId,
    may: Option<&MayLeave>,
) -> Result<Option<Leaving>, HostFault> {
    match (may, ends.heads.last_chunk(vat)) {
        (Some(may), Some(last)) => transaction.leaving(vat, may, last, kept.tables.globals().height),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_for_what_is_kept_or_is_refused_with_the_forms_that_there_are() {
        for keep in [Keep::All, Keep::Needed, Keep::Blocks(7), Keep::Days(0)] {
            assert_eq!(keep.to_string().parse(), Ok(keep));
        }
        for text in ["", "some", "blocks", "blocks=", "days=-1", "needed=1"] {
            assert_eq!(text.parse::<Keep>(), Err(format!("`{text}` is none of {FORMS}")));
        }
    }
}
