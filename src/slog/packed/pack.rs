//! Packs events into a page.

use std::{ops::Range, time::Duration};

use crate::{
    model::{
        id::{CrankNum, KRef, VRef},
        item::Item,
        value::{Answer, CapData, Delivery, Message, Resolution, Syscall},
    },
    slog::{
        At, CListMode, DeliverResult, Event, Queued, Shape, SyscallResult,
        clock::Now,
        packed::{CRANK_TYPE, MESSAGE_TYPES, tag},
    },
};

/// A page that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    page: Vec<u8>,
    /// The monotonic time of the last event, in nanoseconds.
    monotonic: u64,
    crank: u64,
    at: Option<At>,
    /// The last body on the page.
    body: Range<usize>,
}

impl Packer {
    /// Returns the bytes on the page.
    pub(crate) fn len(&self) -> usize {
        self.page.len()
    }

    /// Takes the page, and goes on with an empty one in this memory.
    pub(crate) fn take(&mut self, mut empty: Vec<u8>) -> Vec<u8> {
        empty.clear();
        std::mem::replace(self, Packer { page: empty, ..Packer::default() }).page
    }

    /// Adds an event to the page.
    ///
    /// # Errors
    ///
    /// The event cannot be written as JSON.
    pub(crate) fn add(&mut self, event: &Event<'_>, now: Now, seconds: Option<Duration>) -> serde_json::Result<()> {
        // What is no event of the frequent ones is formatted first, since that may fail.
        let text = if is_frequent(event) { None } else { Some(serde_json::to_vec(event)?) };
        let monotonic = nanos(now.monotonic);
        if self.page.is_empty() {
            self.page.extend_from_slice(&nanos(now.wall).wrapping_sub(monotonic).to_le_bytes());
        }
        let begin = self.page.len();
        self.page.push(0);
        self.number(monotonic.wrapping_sub(self.monotonic));
        self.monotonic = monotonic;
        if let Some(seconds) = seconds {
            self.number(nanos(seconds));
        }
        let tag = match text {
            Some(text) => {
                self.bytes(&text);
                tag::TEXT
            }
            None => self.frequent(event),
        };
        self.page[begin] = tag | if seconds.is_some() { tag::WITH_SECONDS } else { 0 };
        Ok(())
    }

    fn frequent(&mut self, event: &Event<'_>) -> u8 {
        let with = |tag: u8, replay: bool| tag | if replay { tag::REPLAY } else { 0 };
        match *event {
            Event::CrankStart { crank_num, message_type, message, .. } => {
                self.crank(crank_num);
                let number = MESSAGE_TYPES.iter().position(|it| *it == message_type).unwrap_or(0);
                self.number(number as u64);
                self.item(message.map(|it| it.0));
                tag::CRANK_START
            }
            Event::CrankFinish { crank_num, crankhash, activityhash } => {
                self.crank(crank_num);
                self.page.extend_from_slice(&crankhash.0.to_le_bytes());
                self.page.extend_from_slice(&activityhash.0.to_le_bytes());
                tag::CRANK_FINISH
            }
            Event::CList { crank_num, mode, vat, kobj, vobj } => {
                self.crank(crank_num);
                self.page.push(match mode {
                    CListMode::Import => 0,
                    CListMode::Export => 1,
                    CListMode::Drop => 2,
                });
                self.number(vat.0);
                kobj.pack(self);
                vobj.pack(self);
                tag::CLIST
            }
            Event::Deliver { at, replay, kd: Shape(kd), vd: Shape(vd), .. } => {
                self.place(at);
                self.delivery(kd);
                self.delivery(vd);
                with(tag::DELIVER, replay)
            }
            Event::DeliverResult { at, replay, dispatch, dr: DeliverResult::Ok(fuel) } => {
                self.place(at);
                self.bytes(dispatch.as_bytes());
                self.number(fuel);
                with(tag::DELIVER_RESULT, replay)
            }
            Event::Syscall { at, syscall_num, replay, ref ksc, vsc: Shape(vsc), .. } => {
                self.place(at);
                self.number(syscall_num.into());
                self.page.push(u8::from(ksc.is_some()));
                if let Some(Shape(ksc)) = ksc {
                    self.syscall(ksc);
                }
                self.syscall(vsc);
                with(tag::SYSCALL, replay)
            }
            Event::SyscallResult {
                at,
                syscall_num,
                replay,
                ksr: SyscallResult::Ok(ksr),
                vsr: SyscallResult::Ok(vsr),
            } => {
                self.place(at);
                self.number(syscall_num.into());
                self.answer(ksr);
                self.answer(vsr);
                with(tag::SYSCALL_RESULT, replay)
            }
            _ => tag::TEXT,
        }
    }

    /// Writes a number, seven bits to a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.page.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.page.push(number.to_le_bytes()[0]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.page.extend_from_slice(bytes);
    }

    /// Writes a crank by its distance from the one before, which is mostly 0 or 1.
    fn crank(&mut self, CrankNum(crank): CrankNum) {
        let distance = crank.wrapping_sub(self.crank).cast_signed();
        self.number((distance << 1 ^ distance >> 63).cast_unsigned());
        self.crank = crank;
    }

    /// Writes 0 for the place of the event before.
    fn place(&mut self, at: At) {
        let same = |it: At| (it.crank_num, it.vat, it.delivery_num) == (at.crank_num, at.vat, at.delivery_num);
        if self.at.is_some_and(same) {
            return self.number(0);
        }
        self.number(at.vat.0 + 1);
        self.crank(at.crank_num);
        self.number(at.delivery_num.0);
        self.at = Some(at);
    }

    /// Writes 0 for the body before.
    fn body(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && self.page[self.body.clone()] == *bytes {
            return self.number(0);
        }
        self.number(bytes.len() as u64 + 1);
        self.body = self.page.len()..self.page.len() + bytes.len();
        self.page.extend_from_slice(bytes);
    }

    fn refs<R: Packed>(&mut self, refs: &[R]) {
        self.number(refs.len() as u64);
        refs.iter().for_each(|it| it.pack(self));
    }

    fn data<R: Packed>(&mut self, data: &CapData<R>) {
        self.body(&data.body);
        self.refs(&data.slots);
    }

    fn message<R: Packed>(&mut self, target: R, message: &Message<R>) {
        target.pack(self);
        self.data(&message.methargs);
        self.refs(message.result.as_slice());
    }

    fn resolutions<R: Packed>(&mut self, resolutions: &[Resolution<R>]) {
        self.number(resolutions.len() as u64);
        for it in resolutions {
            it.promise.pack(self);
            self.page.push(u8::from(it.rejected));
            self.data(&it.data);
        }
    }

    fn item(&mut self, item: Option<&Item>) {
        match item {
            None => self.page.push(0),
            Some(Item::Send { target, message }) => {
                self.page.push(1);
                self.message(*target, message);
            }
            Some(Item::Notify { vat, promise }) => {
                self.page.push(2);
                self.number(vat.0);
                self.number(promise.0);
            }
            Some(Item::Reap(vat)) => {
                self.page.push(3);
                self.number(vat.0);
            }
            Some(Item::Cleanup(vat)) => {
                self.page.push(4);
                self.number(vat.0);
            }
            Some(Item::StartVat { .. } | Item::UpgradeVat { .. } | Item::ChangeOptions { .. }) => (),
        }
    }

    fn delivery<R: Packed>(&mut self, delivery: &Delivery<R>) {
        let kind = match delivery {
            Delivery::StartVat(_) => 0,
            Delivery::Message { .. } => 1,
            Delivery::Notify(_) => 2,
            Delivery::DropExports(_) => 3,
            Delivery::RetireExports(_) => 4,
            Delivery::RetireImports(_) => 5,
            Delivery::ChangeOptions(_) => 6,
            Delivery::BringOutYourDead => 7,
        };
        self.page.push(kind);
        match delivery {
            Delivery::StartVat(data) | Delivery::ChangeOptions(data) => self.data(data),
            Delivery::Message { target, message } => self.message(*target, message),
            Delivery::Notify(resolutions) => self.resolutions(resolutions),
            Delivery::DropExports(refs) | Delivery::RetireExports(refs) | Delivery::RetireImports(refs) => {
                self.refs(refs);
            }
            Delivery::BringOutYourDead => (),
        }
    }

    fn syscall<R: Packed>(&mut self, syscall: &Syscall<R>) {
        let kind = match syscall {
            Syscall::Send { .. } => 0,
            Syscall::Subscribe(_) => 1,
            Syscall::Resolve(_) => 2,
            Syscall::Exit { .. } => 3,
            Syscall::VatstoreGet(_) => 4,
            Syscall::VatstoreSet(..) => 5,
            Syscall::VatstoreDelete(_) => 6,
            Syscall::VatstoreGetNextKey(_) => 7,
            Syscall::VatstoreScan { .. } => 8,
            Syscall::DropImports(_) => 9,
            Syscall::RetireImports(_) => 10,
            Syscall::RetireExports(_) => 11,
            Syscall::AbandonExports(_) => 12,
            Syscall::CallNow { .. } => 13,
        };
        self.page.push(kind);
        match syscall {
            Syscall::Send { target, message } => self.message(*target, message),
            Syscall::Subscribe(promise) => promise.pack(self),
            Syscall::Resolve(resolutions) => self.resolutions(resolutions),
            Syscall::Exit { failure, info } => {
                self.page.push(u8::from(*failure));
                self.data(info);
            }
            Syscall::VatstoreGet(key) | Syscall::VatstoreDelete(key) | Syscall::VatstoreGetNextKey(key) => {
                self.body(key);
            }
            // The value first: the key is not what the answer repeats.
            Syscall::VatstoreSet(key, value) => {
                self.body(value);
                self.bytes(key);
            }
            Syscall::VatstoreScan { prefix, after, max } => {
                self.body(prefix);
                self.bytes(after);
                self.number((*max).into());
            }
            Syscall::DropImports(refs)
            | Syscall::RetireImports(refs)
            | Syscall::RetireExports(refs)
            | Syscall::AbandonExports(refs) => self.refs(refs),
            Syscall::CallNow { device, methargs } => {
                device.pack(self);
                self.data(methargs);
            }
        }
    }

    fn answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Done | Answer::Value(None) => self.page.push(0),
            Answer::Value(Some(body)) | Answer::Device(Ok(body) | Err(body)) => {
                self.page.push(1);
                self.body(body);
            }
        }
    }
}

/// Returns whether an event is packed field by field.
fn is_frequent(event: &Event<'_>) -> bool {
    match event {
        Event::CrankStart { crank_type, message_type, message, .. } => {
            let is_rare = |it: Queued<'_>| {
                matches!(it.0, Item::StartVat { .. } | Item::UpgradeVat { .. } | Item::ChangeOptions { .. })
            };
            *crank_type == CRANK_TYPE && MESSAGE_TYPES.contains(message_type) && !message.is_some_and(is_rare)
        }
        Event::Deliver { dispatch, kd: Shape(kd), .. } => *dispatch == kd.kind(),
        Event::Syscall { syscall, vsc: Shape(vsc), .. } => *syscall == vsc.kind(),
        Event::CrankFinish { .. } | Event::CList { .. } => true,
        Event::DeliverResult { dr: DeliverResult::Ok(_), .. } => true,
        Event::SyscallResult { ksr: SyscallResult::Ok(_), vsr: SyscallResult::Ok(_), .. } => true,
        _ => false,
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A reference, as it is packed.
trait Packed: Copy {
    fn pack(self, packer: &mut Packer);
}

impl Packed for KRef {
    fn pack(self, packer: &mut Packer) {
        packer.number(match self {
            KRef::Object(it) => it.0 << 2,
            KRef::Promise(it) => it.0 << 2 | 1,
            KRef::Device(it) => it.0 << 2 | 2,
        });
    }
}

/// The flags of the reference lie in its highest bits: turned, a small number makes a short one.
impl Packed for VRef {
    fn pack(self, packer: &mut Packer) {
        packer.number(self.bits().rotate_left(5));
    }
}
