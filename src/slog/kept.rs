//! Events on their way from where they happen to the thread that formats them.
//!
//! The frequent ones are kept as they are, which takes a fraction of the time that formatting takes; all others as text.

use crate::{
    id::{CrankNum, KRef, VRef, VatId},
    slog::{At, CListMode, DeliverResult, Event, Queued, Shape, SyscallResult, clock::Now},
    store::StateHash,
    table::Item,
    value::{Answer, CapData, Delivery, Syscall},
};

/// An event, and when it was.
#[derive(Debug)]
pub(super) struct Stamped {
    pub(super) kept: Kept,
    pub(super) now: Now,
    /// How long what it ends took.
    pub(super) seconds: Option<std::time::Duration>,
}

/// See the module.
#[derive(Debug)]
pub(super) enum Kept {
    /// JSON.
    Text(Vec<u8>),
    CrankStart {
        crank_type: &'static str,
        crank_num: CrankNum,
        message_type: &'static str,
        message: Option<Item>,
    },
    CrankFinish {
        crank_num: CrankNum,
        crankhash: StateHash,
        activityhash: StateHash,
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
        dispatch: &'static str,
        kd: Delivery<KRef>,
        vd: Delivery<VRef>,
    },
    DeliverResult {
        at: At,
        replay: bool,
        dispatch: &'static str,
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

impl Kept {
    pub(super) fn of(event: &Event<'_>) -> serde_json::Result<Kept> {
        Ok(match *event {
            Event::CrankStart { crank_type, crank_num, message_type, message } => {
                let message = message.map(|Queued(item)| item.clone());
                Kept::CrankStart { crank_type, crank_num, message_type, message }
            }
            Event::CrankFinish { crank_num, crankhash, activityhash } => {
                Kept::CrankFinish { crank_num, crankhash, activityhash }
            }
            Event::CList { crank_num, mode, vat, kobj, vobj } => Kept::CList { crank_num, mode, vat, kobj, vobj },
            Event::Deliver { at, replay, dispatch, kd: Shape(kd), vd: Shape(vd) } => {
                Kept::Deliver { at, replay, dispatch, kd: kd.clone(), vd: vd.clone() }
            }
            Event::DeliverResult { at, replay, dispatch, dr: DeliverResult::Ok(fuel) } => {
                Kept::DeliverResult { at, replay, dispatch, fuel }
            }
            Event::Syscall { at, syscall_num, replay, ref ksc, vsc: Shape(vsc), .. } => {
                let ksc = ksc.as_ref().map(|Shape(it)| (*it).clone());
                Kept::Syscall { at, syscall_num, replay, ksc, vsc: vsc.clone() }
            }
            Event::SyscallResult {
                at,
                syscall_num,
                replay,
                ksr: SyscallResult::Ok(ksr),
                vsr: SyscallResult::Ok(vsr),
            } => Kept::SyscallResult { at, syscall_num, replay, ksr: ksr.clone(), vsr: vsr.clone() },
            ref other => Kept::Text(serde_json::to_vec(other)?),
        })
    }

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
            &Kept::Deliver { at, replay, dispatch, ref kd, ref vd } => {
                Event::Deliver { at, replay, dispatch, kd: Shape(kd), vd: Shape(vd) }
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

    /// About how many bytes it keeps from being freed.
    pub(super) fn bytes(&self) -> usize {
        let held = match self {
            Kept::Text(json) => json.len(),
            Kept::CrankStart { message: Some(Item::Send { message, .. }), .. } => data(&message.methargs),
            Kept::Deliver { kd, .. } => delivery(kd),
            Kept::Syscall { vsc, .. } => syscall(vsc),
            Kept::SyscallResult { vsr: Answer::Value(Some(value)), .. } => value.len(),
            _ => 0,
        };
        size_of::<Stamped>() + held
    }
}

fn data<R>(data: &CapData<R>) -> usize {
    data.body.len() + data.slots.len() * size_of::<R>()
}

fn delivery<R>(delivery: &Delivery<R>) -> usize {
    match delivery {
        Delivery::StartVat(it) | Delivery::ChangeOptions(it) => data(it),
        Delivery::Message { message, .. } => data(&message.methargs),
        Delivery::Notify(resolutions) => resolutions.iter().map(|it| data(&it.data)).sum(),
        Delivery::DropExports(refs) | Delivery::RetireExports(refs) | Delivery::RetireImports(refs) => {
            size_of_val(&refs[..])
        }
        Delivery::BringOutYourDead => 0,
    }
}

fn syscall<R>(syscall: &Syscall<R>) -> usize {
    match syscall {
        Syscall::Send { message, .. } => data(&message.methargs),
        Syscall::Resolve(resolutions) => resolutions.iter().map(|it| data(&it.data)).sum(),
        Syscall::Exit { info, .. } => data(info),
        Syscall::CallNow { methargs, .. } => data(methargs),
        Syscall::VatstoreSet(key, value) => key.len() + value.len(),
        _ => 0,
    }
}
