//! Devices that every host has: the timer, the mailbox, the console (those of an embedder: `bridge`). A vat calls them within its delivery, and is answered at once; what
//! they have to say of themselves comes as messages, and only at the beginning of a block.
//!
//! Invariants: a device answers from rows alone, so that every replica answers alike; a wrong call is an answer, never
//! a fault; what goes outside is part of the crank that sent it, and leaves the host only after that was committed.

use serde_json::{Value, json};

use crate::{
    kernel::{
        Ledger,
        request::{Refused, Request},
    },
    model::{
        blame::{Fault, KernelPanic},
        body,
        id::{DeviceId, KRef, ObjectId, VatId},
        limits, smallcaps,
        value::{Answer, CapData},
    },
    slog::{At, Detail, Event},
    state::{
        block::Printed,
        table::{DeviceRow, Mailbox, Outgoing, Wakeup},
    },
};

/// The methods of the console.
const LEVELS: [&str; 5] = ["debug", "log", "info", "warn", "error"];

/// A smallcaps body without references; or a refusal; or a broken kernel.
pub(super) type Called = Result<Result<Value, Refused>, Fault>;

// ---- from outside

impl Ledger {
    /// Adds a device, for the state's life. There is at most one of a kind: a second is the first.
    pub fn add_device(&mut self, device: DeviceRow) -> DeviceId {
        let known = self.tables().devices.iter().find(|(_, it)| it.name() == device.name()).map(|(id, _)| *id);
        known.unwrap_or_else(|| {
            let last = self.tables().devices.iter().next_back().map(|(id, _)| id.next());
            let id = last.unwrap_or(DeviceId(limits::FIRST_DEVICE));
            self.tables_mut().devices.insert(id, device);
            id
        })
    }

    /// Sends the wakeups that are due by now.
    pub(super) fn wake(&mut self) -> Result<(), Fault> {
        let now = self.tables().globals().time;
        let due: Vec<_> = self.tables().wakeups.range(..=(now, u64::MAX)).map(|(key, it)| (*key, *it)).collect();
        for (key, Wakeup { handler, asker }) in due {
            self.act_for(Some(asker));
            self.tables_mut().wakeups.remove(&key);
            let wake = CapData::plain(format!("#[\"wake\",[\"+{}\"]]", key.0));
            self.queue_from_outside(handler.into(), wake, None)?;
            self.change_counts(handler, -1, -1)?;
        }
        self.act_for(None);
        Ok(())
    }

    fn mailbox(&self) -> Option<(DeviceId, Mailbox)> {
        self.tables().devices.iter().find_map(|(id, it)| match it {
            DeviceRow::Mailbox(mailbox) => Some((*id, *mailbox)),
            _ => None,
        })
    }

    /// Receives a message from outside, for the handler of the mailbox. Returns whether it was taken in: not if it is
    /// not the next one, or nobody handles them. One that no vat could be given is refused, which is an answer as
    /// well.
    pub fn receive_mail(&mut self, number: u64, message: &Value) -> Result<bool, Fault> {
        let Some(handler) = self.tables().mail_handler() else { return Ok(false) };
        let data = match mail_methargs(number, message) {
            Ok(data) => data,
            Err(why) => return Ok(self.refuse_mail(number, &why)),
        };
        let taken = self.count_mail(number);
        if taken {
            self.queue_from_outside(handler.into(), data, None)?;
        }
        Ok(taken)
    }

    /// Refuses a message from outside that no vat can be given: it counts as received, and the outside gets the
    /// reason. (Where the outbox is full it is not told: what it does not acknowledge must not fill the state.)
    /// Whether it was the next one.
    pub fn refuse_mail(&mut self, number: u64, why: &str) -> bool {
        let taken = self.tables().mail_handler().is_some() && self.count_mail(number);
        if taken {
            let _told = self.send_outside(&Outgoing::Refused { number, why });
        }
        taken
    }

    /// Counts the next message from outside; whether this is it.
    fn count_mail(&mut self, number: u64) -> bool {
        let Some((id, mailbox)) = self.mailbox() else { return false };
        let is_next = mailbox.received.checked_add(1) == Some(number);
        if is_next {
            self.tables_mut().devices.insert(id, DeviceRow::Mailbox(Mailbox { received: number, ..mailbox }));
        }
        is_next
    }

    /// Gives the next message to the outside its number, unless too many wait to be acknowledged.
    fn send_outside(&mut self, message: &Outgoing<'_>) -> Result<u64, Refused> {
        let Some((id, mailbox)) = self.mailbox() else { return Err(Refused("there is no mailbox".to_owned())) };
        let (row, outbox) = (message.row(), &self.tables().outbox);
        let (messages, bytes) = (outbox.len() as u64, outbox.bytes());
        let (messages_max, bytes_max) = (limits::OUTBOX_MESSAGES_MAX, limits::OUTBOX_BYTES_MAX);
        if messages >= messages_max || bytes + row.len() as u64 > bytes_max {
            return Err(Refused(format!(
                "the outbox is full: {messages} messages of {bytes} bytes wait for the outside to acknowledge them, and at most \
                 {messages_max} of {bytes_max} may"
            )));
        }
        let number = mailbox.sent + 1;
        self.tables_mut().devices.insert(id, DeviceRow::Mailbox(Mailbox { sent: number, ..mailbox }));
        self.tables_mut().outbox.insert(number, row);
        Ok(number)
    }

    /// Drops the mailbox's messages up to this one, which the outside has received.
    pub fn acknowledge_mail(&mut self, number: u64) {
        let Some((id, mut mailbox)) = self.mailbox() else { return };
        let number = number.min(mailbox.sent);
        if number > mailbox.taken {
            (mailbox.taken + 1..=number).for_each(|it| drop(self.tables_mut().outbox.remove(&it)));
            mailbox.taken = number;
            self.tables_mut().devices.insert(id, DeviceRow::Mailbox(mailbox));
        }
    }
}

// ---- from vats

impl Ledger {
    /// Calls a device for a vat.
    pub(super) fn call_now(&mut self, at: At, device: KRef, methargs: &CapData<KRef>) -> Result<Answer, Fault> {
        let KRef::Device(id) = device else { return Err(KernelPanic::new("clist.known", device).into()) };
        let row = self.tables().devices.get(&id).cloned().ok_or_else(|| KernelPanic::new("clist.known", id))?;
        let called = match (Request::decode(methargs), row) {
            (Err(refused), _) => Err(refused),
            (Ok(request), DeviceRow::Timer) => self.call_timer(at.vat, &request)?,
            (Ok(request), DeviceRow::Mailbox(mailbox)) => self.call_mailbox(id, mailbox, &request)?,
            (Ok(request), DeviceRow::Console) => self.call_console(at, &request),
            (Ok(request), DeviceRow::Own(own)) => self.call_own(id, own, &request)?,
        };
        Ok(Answer::Device(match called {
            Ok(value) => Ok(format!("#{value}").into()),
            Err(Refused(why)) => Err(body::error::<KRef>(&why).body),
        }))
    }

    fn call_timer(&mut self, asker: VatId, request: &Request) -> Called {
        match &*request.method {
            "getLastPolled" => Ok(Ok(bigint(self.tables().globals().time))),
            "setWakeup" => {
                let (time, handler) = match (request.number(0), request.held_object(1)) {
                    (Ok(time), Ok(handler)) => (time, handler),
                    (Err(refused), _) | (_, Err(refused)) => return Ok(Err(refused)),
                };
                if let Err(refused) = self.may_be_woken(asker, time) {
                    return Ok(Err(refused));
                }
                let last = self.tables().wakeups.range((time, 0)..=(time, u64::MAX)).next_back();
                let place = last.map_or(0, |((_, place), _)| place + 1);
                self.tables_mut().wakeups.insert((time, place), Wakeup { handler, asker });
                self.incref(handler.into())?;
                Ok(Ok(bigint(time)))
            }
            "removeWakeup" => match request.held_object(0) {
                Ok(handler) => self.remove_wakeups(handler).map(Ok),
                Err(refused) => Ok(Err(refused)),
            },
            other => Ok(Err(no_method("timer", other))),
        }
    }

    /// Checks that a vat may wait for one more wakeup, at this time.
    fn may_be_woken(&self, asker: VatId, time: u64) -> Result<(), Refused> {
        let (now, ahead) = (self.tables().globals().time, limits::WAKEUP_HORIZON);
        if time > now.saturating_add(ahead) {
            return Err(Refused(format!("a wakeup may be at most {ahead} seconds ahead: it is {now} now")));
        }
        match self.tables().wakeups.asked_by(asker) {
            many if many >= limits::WAKEUPS_MAX => {
                Err(Refused(format!("{many} wakeups are still to come, and a vat may wait for no more")))
            }
            _ => Ok(()),
        }
    }

    /// The times that were asked for.
    fn remove_wakeups(&mut self, handler: ObjectId) -> Result<Value, Fault> {
        let keys: Vec<_> = self.tables().wakeups.of(handler).collect();
        for key in &keys {
            self.tables_mut().wakeups.remove(key);
            self.change_counts(handler, -1, -1)?;
        }
        Ok(keys.into_iter().map(|(time, _)| bigint(time)).collect())
    }

    fn call_mailbox(&mut self, id: DeviceId, mut mailbox: Mailbox, request: &Request) -> Called {
        let answer = match &*request.method {
            "registerInboundHandler" => {
                match self.replace_handler(mailbox.handler, request)? {
                    Ok(handler) => mailbox.handler = Some(handler),
                    Err(refused) => return Ok(Err(refused)),
                }
                json!("#undefined")
            }
            "add" => {
                let message = match smallcaps::to_json(request.arg(0)) {
                    Ok(message) => message.to_string(),
                    Err(why) => return Ok(Err(Refused(format!("only plain data leaves by the mailbox: {why}")))),
                };
                return Ok(self.send_outside(&Outgoing::Message(&message)).map(bigint));
            }
            "ackInbound" => match request.number(0) {
                Ok(number) if number <= mailbox.received => {
                    mailbox.acknowledged = mailbox.acknowledged.max(number);
                    json!("#undefined")
                }
                Ok(number) => return Ok(Err(Refused(format!("message {number} has not come in")))),
                Err(refused) => return Ok(Err(refused)),
            },
            other => return Ok(Err(no_method("mailbox", other))),
        };
        self.tables_mut().devices.insert(id, DeviceRow::Mailbox(mailbox));
        Ok(Ok(answer))
    }

    fn call_console(&mut self, at: At, request: &Request) -> Result<Value, Refused> {
        let Some(level) = LEVELS.into_iter().find(|it| *it == request.method) else {
            return Err(no_method("console", &request.method));
        };
        let words = request.args().iter().map(|it| match it.as_str().and_then(smallcaps::as_text) {
            Some(text) => text.to_owned(),
            None => smallcaps::to_json(it).unwrap_or_else(|_| it.clone()).to_string(),
        });
        let mut text = words.collect::<Vec<_>>().join(" ");
        text.truncate(text.floor_char_boundary(limits::CONSOLE_BYTES_MAX as usize));
        let event = || Event::Console { at, level, args: [&text], source: "device" };
        self.slog().record(Detail::Deliveries, event);
        self.print(Printed { vat: at.vat, level, text });
        Ok(json!("#undefined"))
    }
}

/// Builds the method and arguments that the mailbox's handler receives for a message from outside, or says why it
/// cannot.
pub fn mail_methargs(number: u64, message: &Value) -> Result<CapData<KRef>, String> {
    let args = json!(["deliverInbound", [bigint(number), smallcaps::from_json(message)]]);
    let body = format!("#{args}");
    let max = limits::BODY_BYTES_MAX as usize;
    match body.len() {
        bytes if bytes > max => Err(format!("it is {bytes} bytes long for a vat, which is given {max} at the most")),
        _ => Ok(CapData::plain(body)),
    }
}

fn bigint(number: u64) -> Value {
    json!(format!("+{number}"))
}

fn no_method(device: &str, method: &str) -> Refused {
    Refused(format!("device {device} has no method {method}"))
}
