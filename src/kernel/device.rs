//! Devices that every host has: the timer, the mailbox, the console (those of an embedder: `bridge`). A vat calls them within its delivery, and is answered at once; what
//! they have to say of themselves comes as messages, and only at the beginning of a block.
//!
//! Invariants: a device answers from rows alone, so that every replica answers alike; a wrong call is an answer, never
//! a fault; what goes outside is part of the crank that sent it, and leaves the host only after that was committed.

use serde_json::{Value, json};

use crate::{
    kernel::{
        Ledger,
        request::{Refused, Request, Unanswered, refuse},
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
        table::{DeviceRow, Mailbox, Outgoing, Tables, Wakeup},
    },
};

/// The methods of the console.
const LEVELS: [&str; 5] = ["debug", "log", "info", "warn", "error"];

/// A call to a device by a vat.
pub(super) struct DeviceCall<'a> {
    pub(super) ledger: &'a mut Ledger,
    pub(super) at: At,
    pub(super) id: DeviceId,
    pub(super) request: &'a Request,
}

// ---- from outside

fn mailbox(tables: &Tables) -> Option<(DeviceId, Mailbox)> {
    tables.devices.iter().find_map(|(id, it)| match it {
        DeviceRow::Mailbox(mailbox) => Some((*id, *mailbox)),
        _ => None,
    })
}

/// Counts the next message from outside; returns whether this is it.
fn count_mail(tables: &mut Tables, number: u64) -> bool {
    let Some((id, mailbox)) = mailbox(tables) else { return false };
    let is_next = mailbox.received.checked_add(1) == Some(number);
    if is_next {
        tables.devices.insert(id, DeviceRow::Mailbox(Mailbox { received: number, ..mailbox }));
    }
    is_next
}

/// Gives the next message to the outside its number, unless too many wait to be acknowledged.
fn send_outside(tables: &mut Tables, message: &Outgoing<'_>) -> Result<u64, Refused> {
    let Some((id, mailbox)) = mailbox(tables) else { return Err(Refused("there is no mailbox".to_owned())) };
    let (row, outbox) = (message.row(), &tables.outbox);
    let (messages, bytes) = (outbox.len() as u64, outbox.bytes());
    let (messages_max, bytes_max) = (limits::OUTBOX_MESSAGES_MAX, limits::OUTBOX_BYTES_MAX);
    if messages >= messages_max || bytes + row.len() as u64 > bytes_max {
        return Err(Refused(format!(
            "the outbox is full: {messages} messages of {bytes} bytes wait for the outside to acknowledge them, and at most \
             {messages_max} of {bytes_max} may"
        )));
    }
    let number = mailbox.sent + 1;
    tables.devices.insert(id, DeviceRow::Mailbox(Mailbox { sent: number, ..mailbox }));
    tables.outbox.insert(number, row);
    Ok(number)
}

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

    /// Receives a message from outside, for the handler of the mailbox. Returns whether it was taken in: not if it is
    /// not the next one, or nobody handles them. One that no vat could be given is refused, which is an answer as
    /// well.
    pub fn receive_mail(&mut self, number: u64, message: &Value) -> Result<bool, Fault> {
        let Some(handler) = self.tables().mail_handler() else { return Ok(false) };
        let data = match mail_methargs(number, message) {
            Ok(data) => data,
            Err(why) => return Ok(self.refuse_mail(number, &why)),
        };
        let taken = count_mail(self.tables_mut(), number);
        if taken {
            self.queue_from_outside(handler.into(), data, None)?;
        }
        Ok(taken)
    }

    /// Refuses a message from outside that no vat can be given: it counts as received, and the outside gets the
    /// reason. (Where the outbox is full it is not told: what it does not acknowledge must not fill the state.)
    /// Whether it was the next one.
    pub fn refuse_mail(&mut self, number: u64, why: &str) -> bool {
        let taken = self.tables().mail_handler().is_some() && count_mail(self.tables_mut(), number);
        if taken {
            let _told = send_outside(self.tables_mut(), &Outgoing::Refused { number, why });
        }
        taken
    }

    /// Drops the mailbox's messages up to this one, which the outside has received.
    pub fn acknowledge_mail(&mut self, number: u64) {
        let Some((id, mut mailbox)) = mailbox(self.tables()) else { return };
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
        let called = Request::decode(methargs)
            .map_err(Unanswered::Refused)
            .and_then(|request| DeviceCall { ledger: self, at, id, request: &request }.answer(row));
        Ok(Answer::Device(match called {
            Ok(value) => Ok(format!("#{value}").into()),
            Err(Unanswered::Refused(Refused(why))) => Err(body::error::<KRef>(&why).body),
            Err(Unanswered::Broken(fault)) => return Err(fault),
        }))
    }
}

impl DeviceCall<'_> {
    /// Returns the device's answer: a smallcaps body without references.
    fn answer(&mut self, row: DeviceRow) -> Result<Value, Unanswered> {
        match row {
            DeviceRow::Timer => self.call_timer(),
            DeviceRow::Mailbox(mailbox) => self.call_mailbox(mailbox),
            DeviceRow::Console => Ok(self.call_console()?),
            DeviceRow::Own(own) => self.call_own(own),
        }
    }

    fn call_timer(&mut self) -> Result<Value, Unanswered> {
        match &*self.request.method {
            "getLastPolled" => Ok(bigint(self.ledger.tables().globals().time)),
            "setWakeup" => {
                let (time, handler) = (self.request.number(0)?, self.request.held_object(1)?);
                let asker = self.at.vat;
                may_be_woken(self.ledger.tables(), asker, time)?;
                let last = self.ledger.tables().wakeups.range((time, 0)..=(time, u64::MAX)).next_back();
                let place = last.map_or(0, |((_, place), _)| place + 1);
                self.ledger.tables_mut().wakeups.insert((time, place), Wakeup { handler, asker });
                self.ledger.incref(handler.into())?;
                Ok(bigint(time))
            }
            "removeWakeup" => self.remove_wakeups(self.request.held_object(0)?),
            other => Err(no_method("timer", other).into()),
        }
    }

    /// Removes the wakeups of a handler, and returns the times that were asked for.
    fn remove_wakeups(&mut self, handler: ObjectId) -> Result<Value, Unanswered> {
        let keys: Vec<_> = self.ledger.tables().wakeups.of(handler).collect();
        for key in &keys {
            self.ledger.tables_mut().wakeups.remove(key);
            self.ledger.change_counts(handler, -1, -1)?;
        }
        Ok(keys.into_iter().map(|(time, _)| bigint(time)).collect())
    }

    fn call_mailbox(&mut self, mut mailbox: Mailbox) -> Result<Value, Unanswered> {
        match &*self.request.method {
            "registerInboundHandler" => mailbox.handler = Some(self.replace_handler(mailbox.handler)?),
            "add" => {
                let message = smallcaps::to_json(self.request.arg(0))
                    .map_err(|why| Refused(format!("only plain data leaves by the mailbox: {why}")))?;
                return Ok(bigint(send_outside(self.ledger.tables_mut(), &Outgoing::Message(&message.to_string()))?));
            }
            "ackInbound" => match self.request.number(0)? {
                number if number <= mailbox.received => mailbox.acknowledged = mailbox.acknowledged.max(number),
                number => return refuse(format!("message {number} has not come in")),
            },
            other => return Err(no_method("mailbox", other).into()),
        }
        self.ledger.tables_mut().devices.insert(self.id, DeviceRow::Mailbox(mailbox));
        Ok(json!("#undefined"))
    }

    /// Holds the object that a vat registers for what comes from outside, instead of the one before.
    pub(super) fn replace_handler(&mut self, old: Option<ObjectId>) -> Result<ObjectId, Unanswered> {
        let handler = self.request.held_object(0)?;
        self.ledger.incref(handler.into())?;
        if let Some(old) = old {
            self.ledger.change_counts(old, -1, -1)?;
        }
        Ok(handler)
    }

    fn call_console(&mut self) -> Result<Value, Refused> {
        let Some(level) = LEVELS.into_iter().find(|it| *it == self.request.method) else {
            return Err(no_method("console", &self.request.method));
        };
        let words = self.request.args().iter().map(|word| match word.as_str().and_then(smallcaps::as_text) {
            Some(text) => text.to_owned(),
            None => smallcaps::to_json(word).unwrap_or_else(|_| word.clone()).to_string(),
        });
        let mut text = words.collect::<Vec<_>>().join(" ");
        text.truncate(text.floor_char_boundary(limits::CONSOLE_BYTES_MAX as usize));
        let at = self.at;
        let event = || Event::Console { at, level, args: [&text], source: "device" };
        self.ledger.slog().record(Detail::Deliveries, event);
        self.ledger.keep_line(Printed { vat: at.vat, level, text });
        Ok(json!("#undefined"))
    }
}

/// Checks that a vat may wait for one more wakeup, at this time.
fn may_be_woken(tables: &Tables, asker: VatId, time: u64) -> Result<(), Refused> {
    let (now, ahead) = (tables.globals().time, limits::WAKEUP_HORIZON);
    if time > now.saturating_add(ahead) {
        return Err(Refused(format!("a wakeup may be at most {ahead} seconds ahead: it is {now} now")));
    }
    match tables.wakeups.asked_by(asker) {
        many if many >= limits::WAKEUPS_MAX => {
            Err(Refused(format!("{many} wakeups are still to come, and a vat may wait for no more")))
        }
        _ => Ok(()),
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
