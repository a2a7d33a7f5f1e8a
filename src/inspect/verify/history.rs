//! Checks of a state's past: transcripts, and the hashes of the last blocks.

use crate::{
    inspect::verify::Check,
    inspect::view::text::{counted, grouped},
    model::{blame::HostFault, id::VatId},
    state::{
        block::proof,
        table::Tables,
        transcript::{self, End},
    },
    store::{Database, Heads, Meta, Proof, Reach},
};

/// The sums over a transcript.
#[derive(Default)]
struct Sum {
    /// Deliveries that are not in the state any more.
    before: u64,
    /// Deliveries that are in the archive.
    archived: u64,
    deliveries: u64,
    syscalls: u64,
    fuel: u64,
}

/// Checks that every transcript decodes, has no gap, adds up to what the vat's tally says, and ends as it was
/// committed.
pub(super) fn transcripts(database: &Database, tables: &Tables, meta: Option<&Meta>, check: &mut Check) {
    let (mut total, mut left, mut archived) = (0, 0, 0);
    let Some(heads) = check.result(database.heads()) else { return };
    for vat in heads.vats() {
        check.expect(tables.vats.contains(&vat), || format!("there is a transcript of {vat}, and no such vat"));
    }
    for (vat, row) in tables.vats.iter() {
        if let Some(gap) = check.result(Reach::of(database, *vat)).and_then(|it| it.gap) {
            check.find(gap);
        }
        let Some(sum) = check.result(sum(database, &heads, *vat)) else { continue };
        (total, left, archived) = (total + sum.deliveries, left + sum.before, archived + sum.archived);
        let tally = tables.tallies.get(vat).copied().unwrap_or_default();
        let recorded = (tally.deliveries, tally.syscalls, tally.fuel);
        // Its deliveries can be made again with its module alone.
        if row.status.is_cleaned() && sum.archived > 0 {
            check.result(database.bundle(row.bundle));
        }
        // That of a vat which is gone went with it, unless it waits for an archive, or is there.
        if row.status.is_cleaned() && (sum.deliveries, sum.before) == (0, 0) {
            continue;
        }
        if tables.is_session(*vat) {
            check.expect(sum.deliveries == 0, || format!("{vat} is a session, and left a transcript"));
            continue;
        }
        let found = (sum.deliveries, sum.syscalls, sum.fuel);
        // Where the beginning has left, the rest is less than the sums.
        let adds_up = match sum.before {
            0 => found == recorded,
            before => before + found.0 == recorded.0 && found.1 <= recorded.1 && found.2 <= recorded.2,
        };
        check.expect(adds_up, || {
            let left = match sum.before {
                0 => String::new(),
                before => format!(", behind {before} deliveries that have left"),
            };
            format!(
                "{vat}: its tally (deliveries, syscalls, fuel) is {recorded:?}, its transcript adds up to {found:?}{left}"
            )
        });
    }
    check.of = counted(total, "delivery", "deliveries");
    if archived > 0 {
        check.of += &format!(", {} of them in the archive", grouped(archived));
    }
    if left > 0 {
        check.of += &format!(", behind {} that have left", grouped(left));
    }
    let nothing = Proof::default();
    if check.is_ok() {
        check.list(|damaged| proof::heads(database, tables, meta.map_or(&nothing, |it| &it.proof), damaged));
    }
}

fn sum(database: &Database, heads: &Heads, vat: VatId) -> Result<Sum, HostFault> {
    let begin = database.begins_at(vat)?;
    let mut sum = Sum { before: begin.0, ..Sum::default() };
    let (archived, next) = Reach::chunks_from(database, vat, begin)?;
    sum.archived = next.0 - begin.0;
    for chunk in archived.chain(database.transcript(heads, vat, next)?.into_iter().map(Ok)) {
        let chunk = chunk?;
        let what = || format!("read the transcript of {vat} from {}", chunk.first);
        for entry in transcript::entries(&chunk) {
            let entry = entry.map_err(|err| err.within(what()))?;
            sum.deliveries += 1;
            if let End::Done { fuel } = entry.end {
                sum.syscalls += entry.syscalls.len() as u64;
                sum.fuel = sum.fuel.saturating_add(fuel);
            }
        }
    }
    Ok(sum)
}

/// Checks that the last blocks follow each other, and that the last of them is the state's; and the same for the
/// cranks that are remembered.
pub(super) fn blocks(database: &Database, tables: &Tables, meta: Option<&Meta>, check: &mut Check) {
    let globals = tables.globals();
    let count = check.list(|damaged| proof::marks(database, globals, meta, damaged));
    check.of = counted(count.unwrap_or(0) as u64, "block", "blocks");
    let Some(cranks) = check.result(database.crank_marks()) else { return };
    let next = cranks.last_key_value().map(|(crank, _)| crank.next());
    check.expect(next.is_none_or(|it| it == globals.next_crank), || {
        format!("the marks of cranks end with that before {}", next.unwrap_or_default())
    });
}
