use super::*;
use crate::{
    model::{
        id::{CrankNum, DeliveryNum, KRef, ObjectId, VRef, VatId},
        item::Item,
        value::{Answer, CapData, Delivery, Message, Resolution, Syscall},
    },
    slog::{At, CListMode, DeliverResult, Event, Queued, Shape, SyscallResult, clock::Clock},
    store::CrankMark,
};

#[test]
fn what_is_packed_is_formatted_as_it_would_have_been_at_once() {
    let at = At { crank_num: CrankNum(7), vat: VatId(2), delivery_num: DeliveryNum(3) };
    let body = || crate::model::value::Bytes::from("#[\"a\",[]]");
    let kernel = Message { methargs: CapData { body: body(), slots: vec![KRef::from(ObjectId(20))] }, result: None };
    let vat = Message {
        methargs: CapData { body: body(), slots: vec![VRef::imported_object(50)] },
        result: Some(VRef::imported_promise(60)),
    };
    let item = Item::Send { target: ObjectId(21).into(), message: kernel.clone() };
    let kd = Delivery::Message { target: ObjectId(21).into(), message: kernel.clone() };
    let vd = Delivery::Message { target: VRef::ROOT, message: vat.clone() };
    let ksc = Syscall::Send { target: ObjectId(20).into(), message: kernel };
    let vsc = Syscall::Send { target: VRef::imported_object(50), message: vat };
    let (answer, fault) = (Answer::Value(Some("\u{1}".into())), crate::model::blame::VatFault::OutOfFuel);
    let (replay, syscall_num, dispatch) = (false, 1, "message");
    let (crank_type, message_type) = ("delivery", "send");
    let hash = CrankMark;
    let before = At { crank_num: CrankNum(u64::MAX), ..at };
    let data = || CapData { body: crate::model::value::Bytes::from(&[0xff, 0xfe][..]), slots: Vec::new() };
    let told =
        Delivery::Notify(vec![Resolution { promise: ObjectId(u64::MAX >> 2).into(), rejected: true, data: data() }]);
    let own = Resolution {
        promise: VRef::own_promise(7),
        rejected: false,
        data: CapData { body: body(), slots: vec![VRef::ROOT] },
    };
    let vat_told = Delivery::Notify(vec![own.clone(), own]);
    let notify = Item::Notify { vat: at.vat, promise: crate::model::id::PromiseId(40) };
    let (set, own_set) = (Syscall::VatstoreSet(body(), "".into()), Syscall::VatstoreSet(body(), body()));
    let scan = Syscall::VatstoreScan { prefix: body(), after: "".into(), max: u32::MAX };
    let own_scan = Syscall::VatstoreScan { prefix: "".into(), after: body(), max: 0 };
    let events = [
        Event::CrankStart { crank_type, crank_num: at.crank_num, message_type, message: Some(Queued(&item)) },
        Event::CrankStart { crank_type, crank_num: at.crank_num, message_type: "gc-action", message: None },
        Event::CrankFinish { crank_num: at.crank_num, crankhash: hash(1), activityhash: hash(2) },
        Event::CList {
            crank_num: at.crank_num,
            mode: CListMode::Import,
            vat: at.vat,
            kobj: ObjectId(20).into(),
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
        Event::CrankStart { crank_type: "other", crank_num: at.crank_num, message_type: "send", message: None },
        Event::CrankStart { crank_type, crank_num: at.crank_num, message_type: "unheard-of", message: None },
        Event::Deliver { at: before, replay: true, dispatch: "notify", kd: Shape(&told), vd: Shape(&vat_told) },
        Event::CrankStart {
            crank_type,
            crank_num: CrankNum(2),
            message_type: "notify",
            message: Some(Queued(&notify)),
        },
        Event::Syscall {
            at,
            syscall_num,
            replay,
            syscall: "vatstoreSet",
            ksc: Some(Shape(&set)),
            vsc: Shape(&own_set),
        },
        Event::Syscall {
            at,
            syscall_num,
            replay,
            syscall: "vatstoreScan",
            ksc: Some(Shape(&scan)),
            vsc: Shape(&own_scan),
        },
    ];
    let mut clock = Clock::start();
    clock.set();
    let mut packer = Packer::default();
    // Twice: the second time most of it is left out.
    for event in events.iter().chain(&events) {
        packer.add(event, clock.now(), Some(std::time::Duration::from_nanos(1_200_000_034))).expect("packed");
    }
    let page = packer.take(Vec::new());
    let mut unpacker = Unpacker::default();
    let mut times = Vec::new();
    for event in events.iter().chain(&events) {
        let mut line = Vec::new();
        assert_eq!(unpacker.line(&page, &mut line), Ok(true));
        let line = String::from_utf8(line).expect("text");
        let at_once = serde_json::to_string(event).expect("formats");
        let (event, stamps) = line.split_once(",\"seconds\":1.200000034,\"time\":").expect("stamps");
        assert_eq!(format!("{event}}}"), at_once);
        let (time, monotonic) = stamps.split_once(",\"monotime\":").expect("both times");
        times.push((time.to_owned(), monotonic.to_owned()));
    }
    assert_eq!(unpacker.line(&page, &mut Vec::new()), Ok(false));
    assert!(times.is_sorted(), "{times:?}");
    assert!(page.len() < 2_000, "{}", page.len());
    // Whatever the bytes are, it is no panic.
    for at in 0..page.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut damaged = page.clone();
            damaged[at] = byte;
            let (mut unpacker, mut out) = (Unpacker::default(), Vec::new());
            while unpacker.line(&damaged, &mut out) == Ok(true) {}
            let mut unpacker = Unpacker::default();
            while unpacker.line(&page[..at], &mut out) == Ok(true) {}
        }
    }
}
