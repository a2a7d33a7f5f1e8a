//! What a state remembers of its past: transcripts, and the hashes of the last blocks.

use crate::{
    fault::HostFault,
    id::{DeliveryNum, VatId},
    store::{BLOCKS_KEPT, Database, Meta},
    table::{Status, Tables},
    transcript::{self, End},
    verify::Check,
};

/// What a transcript adds up to.
#[derive(Default)]
struct Sum {
    deliveries: u64,
    syscalls: u64,
    fuel: u64,
}

/// Every transcript decodes, has no gap, and adds up to what the vat's tally says.
pub(super) fn transcripts(database: &Database, tables: &Tables, check: &mut Check) {
    let mut total = 0;
    for vat in check.result(database.transcribed()).unwrap_or_default() {
        check.expect(tables.vats.contains(&vat), || format!("there is a transcript of {vat}, and no such vat"));
    }
    for (vat, row) in tables.vats.iter() {
        let Some(sum) = check.result(sum(database, *vat)) else { continue };
        total += sum.deliveries;
        let tally = tables.tallies.get(vat).copied().unwrap_or_default();
        let recorded = (tally.deliveries, tally.syscalls, tally.fuel);
        if matches!(row.status, Status::Terminated { cleaned: true, .. }) {
            check.expect(sum.deliveries == 0, || format!("{vat} is gone, and left a transcript"));
            continue;
        }
        let found = (sum.deliveries, sum.syscalls, sum.fuel);
        check.expect(found == recorded, || {
            format!(
                "{vat}: its tally (deliveries, syscalls, fuel) is {recorded:?}, its transcript adds up to {found:?}"
            )
        });
    }
    check.of = format!("{total} deliveries");
}

fn sum(database: &Database, vat: VatId) -> Result<Sum, HostFault> {
    let mut sum = Sum::default();
    for (first, chunk) in database.transcript(vat, DeliveryNum(0))? {
        let what = || format!("read the transcript of {vat} from {first}");
        if first.0 != sum.deliveries {
            let why = format!("{} should come next: deliveries are missing", DeliveryNum(sum.deliveries));
            return Err(HostFault::new(what(), why));
        }
        for entry in transcript::entries(first, &chunk) {
            let entry = entry.map_err(|err| HostFault::new(what(), err))?;
            sum.deliveries += 1;
            if let End::Done { fuel } = entry.end {
                sum.syscalls += entry.syscalls.len() as u64;
                sum.fuel = sum.fuel.saturating_add(fuel);
            }
        }
    }
    Ok(sum)
}

/// The last blocks follow each other, and the last of them is where the state stands.
pub(super) fn blocks(database: &Database, tables: &Tables, meta: Option<&Meta>, check: &mut Check) {
    let Some(blocks) = check.result(database.blocks()) else { return };
    check.of = format!("{} blocks", blocks.len());
    for (a, b) in blocks.iter().zip(blocks.iter().skip(1)) {
        check.expect(b.height.0 == a.height.0.wrapping_add(1) && b.next_crank >= a.next_crank, || {
            format!("{} ends before {}, {} before {}", a.height, a.next_crank, b.height, b.next_crank)
        });
    }
    let (globals, Some(meta)) = (tables.globals(), meta) else { return };
    let Some(last) = blocks.last() else { return check.find("the last block is missing") };
    let complete = blocks.len() as u64 == BLOCKS_KEPT.min(globals.height.0.saturating_add(1));
    check.expect(complete, || format!("{} of the last blocks are kept", blocks.len()));
    check.expect((last.height, last.next_crank) == (globals.height, globals.next_crank), || {
        format!(
            "the last is {}, before {}; the state is at {}, before {}",
            last.height, last.next_crank, globals.height, globals.next_crank
        )
    });
    check.expect(last.state_hash == meta.state_hash, || {
        format!("{} has hash {}, the state {}", last.height, last.state_hash, meta.state_hash)
    });
}
