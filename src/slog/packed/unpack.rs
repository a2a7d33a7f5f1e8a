//! Unpacks the events of a page, and writes them as lines of JSON.

use std::time::Duration;

use crate::{
    model::{
        id::{CrankNum, DeliveryNum, KRef, ObjectId, PromiseId, VRef, VatId},
        item::Item,
        value::{Answer, Bytes, CapData, Delivery, Message, Resolution, Syscall},
    },
    slog::{
        At, CListMode,
        packed::{CRANK_TYPE, MESSAGE_TYPES, kept::Kept, tag},
    },
    store::CrankMark,
};

/// Bytes of a page before its first event.
const EPOCH_BYTES: usize = 8;

/// A page, and how far it was unpacked.
#[derive(Debug, Default)]
pub(crate) struct Unpacker {
    /// The next byte.
    next: usize,
    /// The time of day when the monotonic time was 0, in nanoseconds.
    epoch: u64,
    monotonic: u64,
    crank: u64,
    at: Option<At>,
    body: Bytes,
}

/// The bytes of a page are not those of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

type Unpacked<T> = Result<T, Damaged>;

impl Unpacker {
    /// Appends the next event of a page as a line of JSON. Returns false at the end of the page.
    ///
    /// # Errors
    ///
    /// [`Damaged`].
    pub(crate) fn line(&mut self, page: &[u8], out: &mut Vec<u8>) -> Unpacked<bool> {
        let mut from = Bits { page, at: self.next };
        if self.next == 0 {
            if page.is_empty() {
                return Ok(false);
            }
            let epoch = from.take(EPOCH_BYTES)?;
            self.epoch = u64::from_le_bytes(epoch.try_into().map_err(|_| Damaged)?);
        }
        if from.at == page.len() {
            return Ok(false);
        }
        let tag = from.byte()?;
        self.monotonic = self.monotonic.wrapping_add(from.number()?);
        let seconds = if tag & tag::WITH_SECONDS > 0 { Some(from.number()?) } else { None };
        let replay = tag & tag::REPLAY > 0;
        let kept = self.kept(&mut from, tag & !(tag::WITH_SECONDS | tag::REPLAY), replay)?;
        self.next = from.at;
        kept.write(out).map_err(|_| Damaged)?;
        // The event is an object, and not an empty one: the stamps follow in place of its last brace.
        out.pop();
        if let Some(seconds) = seconds {
            stamp(out, ",\"seconds\":", seconds, 9);
        }
        stamp(out, ",\"time\":", self.epoch.wrapping_add(self.monotonic), 6);
        stamp(out, ",\"monotime\":", self.monotonic, 9);
        out.extend_from_slice(b"}\n");
        Ok(true)
    }

    fn kept<'a>(&mut self, from: &mut Bits<'a>, tag: u8, replay: bool) -> Unpacked<Kept<'a>> {
        Ok(match tag {
            tag::TEXT => Kept::Text(from.bytes()?),
            tag::CRANK_START => {
                let crank_num = self.crank(from)?;
                let number = usize::try_from(from.number()?).map_err(|_| Damaged)?;
                let message_type = MESSAGE_TYPES.get(number).copied().ok_or(Damaged)?;
                let message = self.item(from)?;
                Kept::CrankStart { crank_type: CRANK_TYPE, crank_num, message_type, message }
            }
            tag::CRANK_FINISH => {
                let crank_num = self.crank(from)?;
                let (crankhash, activityhash) = (from.mark()?, from.mark()?);
                Kept::CrankFinish { crank_num, crankhash, activityhash }
            }
            tag::CLIST => {
                let crank_num = self.crank(from)?;
                let mode = match from.byte()? {
                    0 => CListMode::Import,
                    1 => CListMode::Export,
                    2 => CListMode::Drop,
                    _ => return Err(Damaged),
                };
                let (vat, kobj, vobj) = (VatId(from.number()?), KRef::unpack(from)?, VRef::unpack(from)?);
                Kept::CList { crank_num, mode, vat, kobj, vobj }
            }
            tag::DELIVER => {
                let at = self.place(from)?;
                let (kd, vd) = (self.delivery(from)?, self.delivery(from)?);
                Kept::Deliver { at, replay, kd, vd }
            }
            tag::DELIVER_RESULT => {
                let at = self.place(from)?;
                let dispatch = str::from_utf8(from.bytes()?).map_err(|_| Damaged)?;
                Kept::DeliverResult { at, replay, dispatch, fuel: from.number()? }
            }
            tag::SYSCALL => {
                let at = self.place(from)?;
                let syscall_num = from.small()?;
                let ksc = if from.flag()? { Some(self.syscall(from)?) } else { None };
                Kept::Syscall { at, syscall_num, replay, ksc, vsc: self.syscall(from)? }
            }
            tag::SYSCALL_RESULT => {
                let at = self.place(from)?;
                let syscall_num = from.small()?;
                let (ksr, vsr) = (self.answer(from)?, self.answer(from)?);
                Kept::SyscallResult { at, syscall_num, replay, ksr, vsr }
            }
            _ => return Err(Damaged),
        })
    }

    fn crank(&mut self, from: &mut Bits<'_>) -> Unpacked<CrankNum> {
        let turned = from.number()?;
        let distance = turned >> 1 ^ (turned & 1).wrapping_neg();
        self.crank = self.crank.wrapping_add(distance);
        Ok(CrankNum(self.crank))
    }

    fn place(&mut self, from: &mut Bits<'_>) -> Unpacked<At> {
        let Some(vat) = from.number()?.checked_sub(1) else { return self.at.ok_or(Damaged) };
        let at = At { vat: VatId(vat), crank_num: self.crank(from)?, delivery_num: DeliveryNum(from.number()?) };
        self.at = Some(at);
        Ok(at)
    }

    fn body(&mut self, from: &mut Bits<'_>) -> Unpacked<Bytes> {
        if let Some(length) = from.number()?.checked_sub(1) {
            self.body = Bytes::from(from.take(usize::try_from(length).map_err(|_| Damaged)?)?);
        }
        Ok(self.body.clone())
    }

    fn data<R: Unpack>(&mut self, from: &mut Bits<'_>) -> Unpacked<CapData<R>> {
        Ok(CapData { body: self.body(from)?, slots: from.refs()? })
    }

    fn message<R: Unpack>(&mut self, from: &mut Bits<'_>) -> Unpacked<(R, Message<R>)> {
        let (target, methargs) = (R::unpack(from)?, self.data(from)?);
        Ok((target, Message { methargs, result: from.refs()?.pop() }))
    }

    fn resolutions<R: Unpack>(&mut self, from: &mut Bits<'_>) -> Unpacked<Vec<Resolution<R>>> {
        let count = from.number()?;
        let one = |_| Ok(Resolution { promise: R::unpack(from)?, rejected: from.flag()?, data: self.data(from)? });
        (0..count).map(one).collect()
    }

    fn item(&mut self, from: &mut Bits<'_>) -> Unpacked<Option<Item>> {
        Ok(Some(match from.byte()? {
            0 => return Ok(None),
            1 => {
                let (target, message) = self.message(from)?;
                Item::Send { target, message }
            }
            2 => Item::Notify { vat: VatId(from.number()?), promise: PromiseId(from.number()?) },
            3 => Item::Reap(VatId(from.number()?)),
            4 => Item::Cleanup(VatId(from.number()?)),
            _ => return Err(Damaged),
        }))
    }

    fn delivery<R: Unpack>(&mut self, from: &mut Bits<'_>) -> Unpacked<Delivery<R>> {
        Ok(match from.byte()? {
            0 => Delivery::StartVat(self.data(from)?),
            1 => {
                let (target, message) = self.message(from)?;
                Delivery::Message { target, message }
            }
            2 => Delivery::Notify(self.resolutions(from)?),
            3 => Delivery::DropExports(from.refs()?),
            4 => Delivery::RetireExports(from.refs()?),
            5 => Delivery::RetireImports(from.refs()?),
            6 => Delivery::ChangeOptions(self.data(from)?),
            7 => Delivery::BringOutYourDead,
            _ => return Err(Damaged),
        })
    }

    fn syscall<R: Unpack>(&mut self, from: &mut Bits<'_>) -> Unpacked<Syscall<R>> {
        Ok(match from.byte()? {
            0 => {
                let (target, message) = self.message(from)?;
                Syscall::Send { target, message }
            }
            1 => Syscall::Subscribe(R::unpack(from)?),
            2 => Syscall::Resolve(self.resolutions(from)?),
            3 => Syscall::Exit { failure: from.flag()?, info: self.data(from)? },
            4 => Syscall::VatstoreGet(self.body(from)?),
            5 => {
                let value = self.body(from)?;
                Syscall::VatstoreSet(Bytes::from(from.bytes()?), value)
            }
            6 => Syscall::VatstoreDelete(self.body(from)?),
            7 => Syscall::VatstoreGetNextKey(self.body(from)?),
            8 => Syscall::VatstoreScan {
                prefix: self.body(from)?,
                after: Bytes::from(from.bytes()?),
                max: from.small()?,
            },
            9 => Syscall::DropImports(from.refs()?),
            10 => Syscall::RetireImports(from.refs()?),
            11 => Syscall::RetireExports(from.refs()?),
            12 => Syscall::AbandonExports(from.refs()?),
            13 => Syscall::CallNow { device: R::unpack(from)?, methargs: self.data(from)? },
            _ => return Err(Damaged),
        })
    }

    fn answer(&mut self, from: &mut Bits<'_>) -> Unpacked<Answer> {
        Ok(Answer::Value(if from.flag()? { Some(self.body(from)?) } else { None }))
    }
}

/// Writes nanoseconds as seconds with this many decimals, at most 9. By hand: there are three of them in an event.
fn stamp(out: &mut Vec<u8>, name: &str, nanos: u64, decimals: usize) {
    const BILLION: u64 = 1_000_000_000;
    // Twenty digits, and then nine.
    let mut digits = [b'0'; 29];
    let mut put = |mut at: usize, mut number: u64| {
        while number > 0 {
            at -= 1;
            digits[at] = b"0123456789"[(number % 10) as usize];
            number /= 10;
        }
        at
    };
    put(29, Duration::from_nanos(nanos).subsec_nanos().into());
    let first = put(20, nanos / BILLION).min(19);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&digits[first..20]);
    out.push(b'.');
    out.extend_from_slice(&digits[20..20 + decimals]);
}

/// The bytes of a page that are still to be read.
struct Bits<'a> {
    page: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn take(&mut self, count: usize) -> Unpacked<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(Damaged)?;
        let taken = self.page.get(self.at..end).ok_or(Damaged)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Unpacked<u8> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Unpacked<bool> {
        Ok(self.byte()? > 0)
    }

    fn number(&mut self) -> Unpacked<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    fn small(&mut self) -> Unpacked<u32> {
        u32::try_from(self.number()?).map_err(|_| Damaged)
    }

    fn bytes(&mut self) -> Unpacked<&'a [u8]> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        self.take(length)
    }

    fn mark(&mut self) -> Unpacked<CrankMark> {
        let bytes = self.take(8)?;
        Ok(CrankMark(u64::from_le_bytes(bytes.try_into().map_err(|_| Damaged)?)))
    }

    fn refs<R: Unpack>(&mut self) -> Unpacked<Vec<R>> {
        let count = self.number()?;
        (0..count).map(|_| R::unpack(self)).collect()
    }
}

/// A reference that can be unpacked.
trait Unpack: Copy {
    fn unpack(from: &mut Bits<'_>) -> Unpacked<Self>;
}

impl Unpack for KRef {
    fn unpack(from: &mut Bits<'_>) -> Unpacked<KRef> {
        let packed = from.number()?;
        let number = packed >> 2;
        Ok(match packed & 3 {
            0 => ObjectId(number).into(),
            1 => PromiseId(number).into(),
            2 => crate::model::id::DeviceId(number).into(),
            _ => return Err(Damaged),
        })
    }
}

impl Unpack for VRef {
    fn unpack(from: &mut Bits<'_>) -> Unpacked<VRef> {
        VRef::from_bits(from.number()?.rotate_right(5)).ok_or(Damaged)
    }
}
