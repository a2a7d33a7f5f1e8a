//! Events as they are unpacked, and how they are written as JSON.

use crate::{
    model::{
        id::{CrankNum, KRef, VRef, VatId},
        item::Item,
        value::{Answer, Delivery, Syscall},
    },
    slog::{At, CListMode, DeliverResult, Event, Queued, Shape, SyscallResult},
    store::CrankMark,
};

/// An event that was unpacked.
#[derive(Debug)]
pub(super) enum Kept<'a> {
    /// An event that is JSON already.
    Text(&'a [u8]),
    CrankStart {
        crank_type: &'static str,
        crank_num: CrankNum,
        message_type: &'static str,
        message: Option<Item>,
    },
    CrankFinish {
        crank_num: CrankNum,
        crankhash: CrankMark,
        activityhash: CrankMark,
    },
    CList {
        crank_num: CrankNum,
        mode: CListMode,
        vat: VatId,
        kobj: KRef,
        vobj: VRef,
    },
    Deliver {
        at: At,
        replay: bool,
        kd: Delivery<KRef>,
        vd: Delivery<VRef>,
    },
    DeliverResult {
        at: At,
        replay: bool,
        dispatch: &'a str,
        fuel: u64,
    },
    Syscall {
        at: At,
        syscall_num: u32,
        replay: bool,
        ksc: Option<Syscall<KRef>>,
        vsc: Syscall<VRef>,
    },
    SyscallResult {
        at: At,
        syscall_num: u32,
        replay: bool,
        ksr: Answer,
        vsr: Answer,
    },
}

impl Kept<'_> {
    /// Appends it as JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let event = match self {
            Kept::Text(json) => {
                out.extend_from_slice(json);
                return Ok(());
            }
            &Kept::CrankStart { crank_type, crank_num, message_type, ref message } => {
                Event::CrankStart { crank_type, crank_num, message_type, message: message.as_ref().map(Queued) }
            }
            &Kept::CrankFinish { crank_num, crankhash, activityhash } => {
                Event::CrankFinish { crank_num, crankhash, activityhash }
            }
            &Kept::CList { crank_num, mode, vat, kobj, vobj } => Event::CList { crank_num, mode, vat, kobj, vobj },
            &Kept::Deliver { at, replay, ref kd, ref vd } => {
                Event::Deliver { at, replay, dispatch: kd.kind(), kd: Shape(kd), vd: Shape(vd) }
            }
            &Kept::DeliverResult { at, replay, dispatch, fuel } => {
                Event::DeliverResult { at, replay, dispatch, dr: DeliverResult::Ok(fuel) }
            }
            &Kept::Syscall { at, syscall_num, replay, ref ksc, ref vsc } => {
                let (syscall, ksc, vsc) = (vsc.kind(), ksc.as_ref().map(Shape), Shape(vsc));
                Event::Syscall { at, syscall_num, replay, syscall, ksc, vsc }
            }
            &Kept::SyscallResult { at, syscall_num, replay, ref ksr, ref vsr } => {
                let (ksr, vsr) = (SyscallResult::Ok(ksr), SyscallResult::Ok(vsr));
                Event::SyscallResult { at, syscall_num, replay, ksr, vsr }
            }
        };
        serde_json::to_writer(out, &event)
    }
}
