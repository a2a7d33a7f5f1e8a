//! Devices: the timer, the mailbox, the console. A vat calls them within its delivery, and is answered at once; what they have to
//! say of themselves comes as messages, and only at the beginning of a block.
//!
//! Invariants: a device answers from rows alone, so that every replica answers alike; a wrong call is an answer, never a fault;
//! what goes outside is part of the crank that sent it, and leaves the host only after that was committed.

use serde_json::{Value, json};

use crate::{
    block::Printed,
    body,
    fault::{Fault, KernelPanic},
    id::{DeviceId, KRef, ObjectId, VatId},
    kernel::{
        Crank,
        request::{Refused, Request},
    },
    limits,
    slog::{At, Detail, Event},
    smallcaps,
    table::{Device, Mailbox, Wakeup},
    value::{Answer, CapData},
};

/// The methods of the console.
const LEVELS: [&str; 5] = ["debug", "log", "info", "warn", "error"];

/// A smallcaps body without references; or a refusal; or a broken kernel.
type Called = Result<Result<Value, Refused>, Fault>;

// ---- from outside

impl Crank {
    /// A device, for the state's life. There is one of a kind at the most: a second is the first.
    pub fn add_device(&mut self, device: Device) -> DeviceId {
        let known = self.tables().devices.iter().find(|(_, it)| it.name() == device.name()).map(|(id, _)| *id);
        known.unwrap_or_else(|| {
            let last = self.tables().devices.iter().next_back().map(|(id, _)| id.next());
            let id = last.unwrap_or(DeviceId(limits::FIRST_DEVICE));
            self.tables_mut().devices.insert(id, device);
            id
        })
    }

    /// Wakes whoever asked to be woken by now.
    pub(super) fn wake(&mut self) -> Result<(), Fault> {
        let now = self.tables().globals().time;
        let due: Vec<_> = self.tables().wakeups.range(..=(now, u64::MAX)).map(|(key, it)| (*key, *it)).collect();
        for (key, Wakeup { handler, by }) in due {
            self.act_for(Some(by));
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
            Device::Mailbox(mailbox) => Some((*id, *mailbox)),
            Device::Timer | Device::Console => None,
        })
    }

    /// A message from outside, for whoever handles the mailbox's. Whether it was taken in: not if it is not the next one, or
    /// nobody handles them.
    pub fn receive_mail(&mut self, number: u64, message: &Value) -> Result<bool, Fault> {
        let Some((id, mut mailbox)) = self.mailbox() else { return Ok(false) };
        let Some(handler) = mailbox.handler.filter(|_| number == mailbox.received + 1) else { return Ok(false) };
        mailbox.received = number;
        self.tables_mut().devices.insert(id, Device::Mailbox(mailbox));
        let args = json!(["deliverInbound", [format!("+{number}"), smallcaps::from_json(message)]]);
        self.queue_from_outside(handler.into(), CapData::plain(format!("#{args}")), None)?;
        Ok(true)
    }

    /// The outside has the mailbox's messages up to this one, and they need not be kept.
    pub fn acknowledge_mail(&mut self, number: u64) {
        let Some((id, mut mailbox)) = self.mailbox() else { return };
        let number = number.min(mailbox.sent);
        if number > mailbox.taken {
            (mailbox.taken + 1..=number).for_each(|it| drop(self.tables_mut().outbox.remove(&it)));
            mailbox.taken = number;
            self.tables_mut().devices.insert(id, Device::Mailbox(mailbox));
        }
    }
}

// ---- from vats

impl Crank {
    /// A vat calls a device.
    pub(super) fn call_now(&mut self, at: At, device: KRef, methargs: &CapData<KRef>) -> Result<Answer, Fault> {
        let KRef::Device(id) = device else { return Err(KernelPanic::new("clist.known", device).into()) };
        let row = self.tables().devices.get(&id).copied().ok_or_else(|| KernelPanic::new("clist.known", id))?;
        let called = match (Request::decode(methargs), row) {
            (Err(refused), _) => Err(refused),
            (Ok(request), Device::Timer) => self.call_timer(at.vat, &request)?,
            (Ok(request), Device::Mailbox(mailbox)) => self.call_mailbox(id, mailbox, &request)?,
            (Ok(request), Device::Console) => self.call_console(at, &request),
        };
        Ok(Answer::Device(match called {
            Ok(value) => Ok(format!("#{value}").into()),
            Err(Refused(why)) => Err(body::error::<KRef>(&why).body),
        }))
    }

    fn call_timer(&mut self, by: VatId, request: &Request) -> Called {
        match &*request.method {
            "getLastPolled" => Ok(Ok(bigint(self.tables().globals().time))),
            "setWakeup" => {
                let (time, handler) = match (request.number(0), request.held_object(1)) {
                    (Ok(time), Ok(handler)) => (time, handler),
                    (Err(refused), _) | (_, Err(refused)) => return Ok(Err(refused)),
                };
                let last = self.tables().wakeups.range((time, 0)..=(time, u64::MAX)).next_back();
                let place = last.map_or(0, |((_, place), _)| place + 1);
                self.tables_mut().wakeups.insert((time, place), Wakeup { handler, by });
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
                let handler = match request.held_object(0) {
                    Ok(handler) => handler,
                    Err(refused) => return Ok(Err(refused)),
                };
                self.incref(handler.into())?;
                if let Some(old) = mailbox.handler.replace(handler) {
                    self.change_counts(old, -1, -1)?;
                }
                json!("#undefined")
            }
            "add" => {
                let message = match smallcaps::to_json(request.arg(0)) {
                    Ok(message) => message.to_string(),
                    Err(why) => return Ok(Err(Refused(format!("only plain data leaves by the mailbox: {why}")))),
                };
                mailbox.sent += 1;
                self.tables_mut().outbox.insert(mailbox.sent, message.as_str().into());
                bigint(mailbox.sent)
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
        self.tables_mut().devices.insert(id, Device::Mailbox(mailbox));
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
        self.printed.push(Printed { vat: at.vat, level, text });
        Ok(json!("#undefined"))
    }
}

fn bigint(number: u64) -> Value {
    json!(format!("+{number}"))
}

fn no_method(device: &str, method: &str) -> Refused {
    Refused(format!("device {device} has no method {method}"))
}
