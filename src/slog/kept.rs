//! Events on their way from where they happen to the thread that formats them.
//!
//! The frequent ones are kept as they are, which takes a fraction of the time that formatting takes; all others as text.

use crate::{
    model::item::Item,
    model::{
        id::{CrankNum, KRef, VRef, VatId},
        value::{Answer, CapData, Delivery, Syscall},
    },
    slog::{At, CListMode, DeliverResult, Event, Queued, Shape, SyscallResult, clock::Now},
    store::CrankMark,
};

/// An event, and when it was.
#[derive(Debug)]
pub(super) struct Stamped {
    pub(super) kept: Kept,
    pub(super) now: Now,
    /// The duration of what the event ends.
    pub(super) seconds: Option<std::time::Duration>,
}

/// An event, kept in a compact form until it is written.
#[derive(Debug)]
pub(super) enum Kept {
    /// An event that is JSON already.
    Text(Vec<u8>),
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

    /// Returns about how many bytes the event keeps from being freed.
    pub(super) fn bytes(&self) -> usize {
        let held = match self {
            Kept::Text(json) => json.len(),
            Kept::CrankStart { message: Some(Item::Send { message, .. }), .. } => data(&message.methargs),
            Kept::Deliver { kd, .. } => delivery(kd),
            Kept::Syscall { vsc, .. } => syscall(vsc),
            Kept::SyscallResult { vsr: Answer::Value(Some(body)) | Answer::Device(Ok(body) | Err(body)), .. } => {
                body.len()
            }
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
        Syscall::VatstoreSet(one, other) | Syscall::VatstoreScan { prefix: one, after: other, .. } => {
            one.len() + other.len()
        }
        Syscall::VatstoreGet(key) | Syscall::VatstoreDelete(key) | Syscall::VatstoreGetNextKey(key) => key.len(),
        Syscall::DropImports(refs)
        | Syscall::RetireImports(refs)
        | Syscall::RetireExports(refs)
        | Syscall::AbandonExports(refs) => size_of_val(&refs[..]),
        Syscall::Subscribe(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{id::DeliveryNum, value::Message};

    #[test]
    fn what_is_kept_is_formatted_as_it_would_have_been_at_once() {
        let at = At { crank_num: CrankNum(7), vat: VatId(2), delivery_num: DeliveryNum(3) };
        let body = || crate::model::value::Bytes::from("#[\"a\",[]]");
        let kernel = Message {
            methargs: CapData { body: body(), slots: vec![KRef::from(crate::model::id::ObjectId(20))] },
            result: None,
        };
        let vat = Message {
            methargs: CapData { body: body(), slots: vec![VRef::imported_object(50)] },
            result: Some(VRef::imported_promise(60)),
        };
        let item = Item::Send { target: crate::model::id::ObjectId(21).into(), message: kernel.clone() };
        let kd = Delivery::Message { target: crate::model::id::ObjectId(21).into(), message: kernel.clone() };
        let vd = Delivery::Message { target: VRef::ROOT, message: vat.clone() };
        let ksc = Syscall::Send { target: crate::model::id::ObjectId(20).into(), message: kernel };
        let vsc = Syscall::Send { target: VRef::imported_object(50), message: vat };
        let (answer, fault) = (Answer::Value(Some("\u{1}".into())), crate::model::blame::VatFault::OutOfFuel);
        let (replay, syscall_num, dispatch) = (false, 1, "message");
        let (crank_type, message_type) = ("delivery", "send");
        let hash = CrankMark;
        let events = [
            Event::CrankStart { crank_type, crank_num: at.crank_num, message_type, message: Some(Queued(&item)) },
            Event::CrankStart { crank_type, crank_num: at.crank_num, message_type: "gc-action", message: None },
            Event::CrankFinish { crank_num: at.crank_num, crankhash: hash(1), activityhash: hash(2) },
            Event::CList {
                crank_num: at.crank_num,
                mode: CListMode::Import,
                vat: at.vat,
                kobj: crate::model::id::ObjectId(20).into(),
                vobj: VRef::imported_object(50),
            },
            Event::Deliver { at, replay, dispatch, kd: Shape(&kd), vd: Shape(&vd) },
            Event::DeliverResult { at, replay, dispatch, dr: DeliverResult::Ok(9) },
            Event::DeliverResult { at, replay, dispatch, dr: DeliverResult::Error(&fault) },
            Event::Syscall { at, syscall_num, replay, syscall: "send", ksc: Some(Shape(&ksc)), vsc: Shape(&vsc) },
            Event::Syscall { at, syscall_num, replay, syscall: "send", ksc: None, vsc: Shape(&vsc) },
            Event::SyscallResult {
                at,
                syscall_num,
                replay,
                ksr: SyscallResult::Ok(&answer),
                vsr: SyscallResult::Ok(&Answer::Done),
            },
            Event::VatStartupStart { vat: at.vat },
        ];
        for event in events {
            let mut written = Vec::new();
            Kept::of(&event).and_then(|it| it.write(&mut written)).expect("formats");
            let at_once = serde_json::to_vec(&event).expect("formats");
            assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&at_once));
        }
    }
}
