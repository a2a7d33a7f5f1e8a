//! Rows of two states for people: names for keys, text for values.

use std::fmt::Debug;

use crate::{
    directive::Applied,
    inspect::{difference::RowDifference, view::printable},
    model::{
        id::{BlockHeight, BundleId, DeviceId, KRef, ObjectId, PromiseId, TextOrd, VRef, VatId, hex},
        value::{Bytes, CapData},
    },
    state::table::{
        Awaited, CListEntry, DeviceRow, EngineChange, GcAction, Globals, Meter, Object, Outside, Promise, QueueId,
        Session, SessionEvent, Tally, Vat, Waiting, Wakeup,
    },
    store::codec::{self, Key},
};

/// Makes a row of the comparison from a row of this table and its value on either side.
pub(super) fn row(table: &'static str, key: &[u8], values: [Option<&Vec<u8>>; 2]) -> RowDifference {
    let show = match table {
        "globals" => row_of::<(), Globals>(key, values, |()| (None, "counters".to_owned())),
        "vat" => row_of::<VatId, Vat>(key, values, |vat| (Some(vat), "row".to_owned())),
        "tally" => row_of::<VatId, Tally>(key, values, |vat| (Some(vat), "row".to_owned())),
        "clist" => row_of::<(VatId, VRef), CListEntry>(key, values, |(vat, vref)| (Some(vat), vref.to_string())),
        "object" => row_of::<ObjectId, Object>(key, values, |id| (None, id.to_string())),
        "promise" => row_of::<PromiseId, Promise>(key, values, |id| (None, id.to_string())),
        "queue" => row_of::<(QueueId, i64), Waiting>(key, values, |(queue, at)| match queue {
            QueueId::Pause(vat) => (Some(vat), format!("pause queue {at}")),
            queue => (None, format!("{queue:?} {at}")),
        }),
        "gc" => row_of::<GcAction, ()>(key, values, |it| (Some(it.vat()), format!("{:?} {}", it.kind, it.object()))),
        "vatstore" => row_of::<(VatId, Bytes), Bytes>(key, values, |(vat, key)| (Some(vat), format!("{key:?}"))),
        "outside" => row_of::<PromiseId, Outside>(key, values, |id| (None, format!("message for {id}"))),
        "bundle_name" => row_of::<Bytes, BundleId>(key, values, |name| (None, format!("{name:?}"))),
        "meter" => row_of::<u64, Meter>(key, values, |at| (None, format!("meter {at}"))),
        "directive" => row_of::<u64, Applied>(key, values, |at| (None, format!("line {at}"))),
        "device" => row_of::<DeviceId, DeviceRow>(key, values, |id| (None, id.to_string())),
        "device_row" => {
            row_of::<(DeviceId, Bytes), Bytes>(key, values, |(id, key)| (None, format!("{id} {}", printable(&key))))
        }
        "device_message" => {
            row_of::<(DeviceId, u64), Bytes>(key, values, |(id, number)| (None, format!("message {number} of {id}")))
        }
        "wakeup" => row_of::<(u64, u64), Wakeup>(key, values, |(time, at)| (None, format!("at {time}, {at}"))),
        "settlement" => {
            row_of::<PromiseId, CapData<KRef>>(key, values, |id| (None, format!("what {id} was settled with")))
        }
        "sharers" => {
            row_of::<PromiseId, u64>(key, values, |id| (None, format!("promises that share {id}'s settlement")))
        }
        "subscriber" => row_of::<(PromiseId, TextOrd), ()>(key, values, |(id, vat)| {
            (Some(VatId(vat.0)), format!("subscribes to {id}"))
        }),
        "waiting" => {
            row_of::<(Awaited, PromiseId), ()>(key, values, |(what, id)| (None, format!("{id} waits for {what:?}")))
        }
        "session" => row_of::<VatId, Session>(key, values, |vat| (Some(vat), "session".to_owned())),
        "session_outbox" => row_of::<(VatId, u64), SessionEvent>(key, values, |(vat, number)| {
            (Some(vat), format!("event {number} of its session"))
        }),
        "engine" => row_of::<u64, EngineChange>(key, values, |at| (None, format!("engine change {at}"))),
        "state_option" => row_of::<Bytes, u64>(key, values, |name| (None, format!("option {}", printable(&name)))),
        "answer" => row_of::<PromiseId, BlockHeight>(key, values, |id| (None, format!("block of the answer {id}"))),
        "outbox" => row_of::<u64, Bytes>(key, values, |at| (None, format!("mail {at}"))),
        _ => None,
    };
    let ((vat, name), values) = show.unwrap_or_else(|| ((None, hex(key)), values.map(|it| it.map(|it| hex(it)))));
    RowDifference { table, vat, key: name, values }
}

type Shown = ((Option<VatId>, String), [Option<String>; 2]);

fn row_of<K: Key, V: Debug + serde::de::DeserializeOwned>(
    key: &[u8],
    values: [Option<&Vec<u8>>; 2],
    name: impl FnOnce(K) -> (Option<VatId>, String),
) -> Option<Shown> {
    let mut rest = key;
    let key = K::read(&mut rest).filter(|_| rest.is_empty())?;
    let value = |bytes: &Vec<u8>| match codec::decode::<V>(bytes) {
        Ok(value) => format!("{value:?}"),
        Err(_) => format!("damaged: {}", hex(bytes)),
    };
    Some((name(key), values.map(|it| it.map(value))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::table::Tables;

    #[test]
    fn every_table_is_shown_by_its_types() {
        for name in Tables::names() {
            let keys: [&[u8]; 5] =
                [&[], &[0; 8], &[0; 16], &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 17]];
            let shown = keys
                .iter()
                .any(|key| row(name, key, [Some(&vec![9]), None]).values[0].as_deref() == Some("damaged: 09"));
            assert!(shown, "{name}");
        }
    }
}
