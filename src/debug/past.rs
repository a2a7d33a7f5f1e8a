//! A vat's own history: committed deliveries, replayed from the nearest snapshot and the transcript.
//!
//! The kernel's tables of that time are gone: the transcript has only the vat's deliveries, syscalls and answers. So these, the vat's
//! heap and its vatstore can be seen, in the vat's own references.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    debug::{Answer, Base, Command, Refusal, Reply, command, place::summary, view},
    directive::Trigger,
    inspect::view::{
        find, kv,
        text::{counted, grouped},
        transcript, vats,
    },
    kernel::{self, Workers},
    model::{
        id::{DeliveryNum, VatId},
        value::{Bytes, Syscall},
    },
    state::{
        block::Block,
        transcript::{End, Entry},
    },
    vat::Warehouse,
};

/// A replay, between two deliveries of the vat, or at a syscall of the next.
pub(super) struct Past {
    /// The state as it was committed; it reads from the base, which must outlive it.
    block: Block,
    warehouse: Warehouse,
    _home: Base,
    vat: VatId,
    /// The delivery ahead.
    next: DeliveryNum,
    /// Syscalls of that delivery that were stepped to; the last one is shown, and not yet made.
    stepped: usize,
    /// The first delivery of the vat's present code.
    first: DeliveryNum,
    /// The delivery after the last recorded one.
    end: DeliveryNum,
}

impl Past {
    pub(super) fn open(
        (block, warehouse, home): (Block, Warehouse, Base),
        vat: VatId,
        next: DeliveryNum,
    ) -> Result<Past, Refusal> {
        let tables = block.tables();
        let row = tables.vats.get(&vat).filter(|_| tables.is_alive(vat));
        let Some(first) = row.map(|it| it.first_delivery) else {
            return Err(Refusal::new(
                format!("{vat} is dead: its transcript went with it"),
                "a recording may know: --slog FILE",
            ));
        };
        let end = DeliveryNum(tables.tallies.get(&vat).map_or(0, |it| it.deliveries));
        let mut past = Past { block, warehouse, _home: home, vat, next, stepped: 0, first, end };
        past.stand(next)?;
        Ok(past)
    }

    /// Brings the vat up to just before that delivery.
    fn stand(&mut self, next: DeliveryNum) -> Result<(), Refusal> {
        if next < self.first {
            let what =
                format!("{next} was made by an earlier incarnation of {}, whose code is not known any more", self.vat);
            return Err(Refusal::new(what, format!("its present code began with {}", self.first)));
        }
        self.warehouse.stop(self.vat);
        kernel::bring_up_to(&mut self.block, &mut self.warehouse, self.vat, next)?;
        (self.next, self.stepped) = (next, 0);
        Ok(())
    }

    pub(super) fn obey(&mut self, command: Command) -> Answer {
        let answer = match command {
            Command::Where => self.whereabouts(),
            Command::Delivery => self.delivery(),
            Command::Step => self.step(),
            Command::Next(count) => self.go(DeliveryNum(self.next.0.saturating_add(count))),
            Command::Continue => self.go(self.end),
            Command::Until(Trigger::Delivery(vat, number)) if vat == self.vat => self.until(number),
            Command::Until(_) => Err(Refusal::new(
                "only this vat's own deliveries can be gone to",
                format!("such as `until {}/{}`", self.vat, self.end),
            )),
            Command::Back(count) => self.back(count),
            Command::Mem { vat, at, len } => self.memory(vat.as_deref(), at, len),
            Command::Kv { vat, prefix } => self.check(vat.as_deref()).and_then(|()| self.kv(&prefix)),
            Command::Vats => view::rows(vats::list(&self.block))
                .map(|it| Reply { text: format!("as of the commit:\n{}", it.text), ..it }),
            Command::Help(form) => {
                let text = command::help(form)
                    + "\nHere, behind the commit: where, delivery, step, next, until, continue, back, mem, kv, quit.";
                Ok(Reply { value: json!({ "help": text }), text, place: String::new() })
            }
            Command::Quit => Ok(Reply { value: json!({}), ..Reply::default() }),
            _ => {
                let what = "this place lies behind the last commit: the tables of then (queue, c-lists, promises, objects) are gone, and \
                            what is committed cannot be tried otherwise";
                Err(Refusal::new(
                    what,
                    "there is: where, delivery, step, next, until, continue, back, mem, kv; the open work is at `vathost debug` without --at",
                ))
            }
        };
        answer.map(|it| Reply { place: self.name(), ..it })
    }

    fn name(&self) -> String {
        match self.stepped {
            0 => format!("{}/{}", self.vat, self.next),
            count => format!("{}/{} syscall {}", self.vat, self.next, count - 1),
        }
    }

    fn entry(&self) -> Result<Option<Entry>, Refusal> {
        let first = self.block.transcript(self.vat, self.next)?.next().transpose()?;
        Ok(first.filter(|it| it.number == self.next))
    }

    fn line(&self) -> Result<String, Refusal> {
        let name = self.block.tables().vats.get(&self.vat).map(|it| it.name.clone()).unwrap_or_default();
        let name = crate::inspect::view::brief(name.as_bytes());
        Ok(match self.entry()? {
            Some(entry) => format!("before {} of {} {name}, {}", self.next, self.vat, kind(&entry)),
            None => format!(
                "after the last recorded delivery of {} {name}: `--at {}/{}` goes on in the open work",
                self.vat, self.vat, self.end
            ),
        })
    }

    fn whereabouts(&self) -> Answer {
        let line = self.line()?;
        let text = format!(
            "{line}\n  behind the commit: the vat alone is replayed; it has {} to {} of this code\n  \
             the tables of then are gone: no queue, c-list, promises, or crank numbers",
            self.first,
            DeliveryNum(self.end.0.saturating_sub(1)),
        );
        let value = json!({
            "stop": "past", "vatID": self.vat.to_string(), "delivery": self.next.0, "syscall": self.stepped.checked_sub(1),
            "first": self.first.0, "end": self.end.0,
        });
        Ok(Reply { value, text, place: self.name() })
    }

    fn delivery(&self) -> Answer {
        let Some(entry) = self.entry()? else { return Err(self.over()) };
        let text = transcript::text_of(&entry);
        Ok(Reply { value: transcript::json_of(&entry), text, place: String::new() })
    }

    fn over(&self) -> Refusal {
        let hint = format!("`back`, or `vathost debug --at {}/{}` for the open work", self.vat, self.end);
        Refusal::new("the recorded history ends here", hint)
    }

    /// Shows the next recorded syscall; after the last one the delivery is replayed.
    fn step(&mut self) -> Answer {
        let Some(entry) = self.entry()? else { return Err(self.over()) };
        let Some((syscall, answer)) = entry.syscalls.get(self.stepped) else { return self.go(self.next.next()) };
        let text = format!(
            "{} to {}, syscall {}: {}\n  vat     {}{}",
            self.next,
            self.vat,
            self.stepped,
            syscall.kind(),
            transcript::describe_syscall(syscall),
            transcript::describe_answer(answer),
        );
        let syscalls = transcript::json_of(&entry)["syscalls"][self.stepped].clone();
        let value = json!({ "stop": "syscall", "vatID": self.vat.to_string(), "delivery": self.next.0, "syscall": self.stepped, "made": syscalls });
        self.stepped += 1;
        Ok(Reply { value, text, place: String::new() })
    }

    /// Replays deliveries up to that one, each compared with its record.
    fn go(&mut self, to: DeliveryNum) -> Answer {
        if self.next >= self.end {
            return Err(self.over());
        }
        let mut lines = Vec::new();
        let gone = || Refusal::new(format!("{} is gone", self.vat), "");
        let row = self.block.tables().vats.get(&self.vat).cloned().ok_or_else(gone)?;
        let mut version = self.block.tables().engine_version_of(self.vat, self.next);
        while self.next < to.min(self.end) {
            let Some(entry) = self.entry()? else { break };
            if self.warehouse.worker(self.vat).is_none() {
                return Err(Refusal::new("the vat is not up", "`back` brings it up again"));
            }
            kernel::repeat(&self.block, &mut self.warehouse, (self.vat, &row), entry.clone(), &mut version)?;
            lines.push(format!("{}: {}, as recorded", entry.number, end(&entry)));
            (self.next, self.stepped) = (self.next.next(), 0);
        }
        let first = lines.len().saturating_sub(5);
        let mut shown = lines.split_off(first);
        shown.push(self.line()?);
        let value = json!({ "stop": "delivery", "vatID": self.vat.to_string(), "delivery": self.next.0 });
        Ok(Reply { value, text: shown.join("\n"), place: String::new() })
    }

    fn until(&mut self, number: DeliveryNum) -> Answer {
        if number <= self.next {
            return Err(Refusal::new(format!("{number} lies behind"), "`back N` goes back by N deliveries"));
        }
        if number > self.end {
            return Err(Refusal::new(
                format!("the recorded history ends before {number}"),
                format!("the last is {}", DeliveryNum(self.end.0 - 1)),
            ));
        }
        self.go(number)
    }

    fn back(&mut self, count: u64) -> Answer {
        // From within a delivery, one step back is just before it.
        let count = if self.stepped > 0 { count - 1 } else { count };
        let to = self.next.0.checked_sub(count).map(DeliveryNum).filter(|it| *it >= self.first);
        let to = to.ok_or_else(|| Refusal::new(format!("the history of this code begins with {}", self.first), ""))?;
        self.stand(to)?;
        let value = json!({ "stop": "back", "vatID": self.vat.to_string(), "delivery": self.next.0 });
        Ok(Reply { value, text: self.line()?, place: String::new() })
    }

    fn check(&self, vat: Option<&str>) -> Result<(), Refusal> {
        match vat {
            Some(word) if find(self.block.tables(), word)? != self.vat => {
                Err(Refusal::new(format!("behind the commit only {} is replayed", self.vat), ""))
            }
            _ => Ok(()),
        }
    }

    fn memory(&mut self, vat: Option<&str>, at: u64, len: u64) -> Answer {
        self.check(vat)?;
        let worker = self.warehouse.worker(self.vat);
        let worker = worker.ok_or_else(|| Refusal::new("the vat is not up", "`back` brings it up again"))?;
        let image = worker.image(None)?.unwrap_or_default();
        view::memory(self.vat, at, &image.slice(at, len), image.heap.bytes())
    }

    /// Shows the vatstore at this place, rebuilt from the vat's recorded syscalls.
    fn kv(&self, prefix: &str) -> Answer {
        let mut rows: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        // From the first delivery on, or it would be another vatstore.
        for entry in self.block.transcript(self.vat, DeliveryNum(0))? {
            let entry = entry?;
            let syscalls = match entry.number {
                it if it > self.next => break,
                it if it == self.next => self.stepped.saturating_sub(1),
                _ => usize::MAX,
            };
            for (syscall, _) in entry.syscalls.into_iter().take(syscalls) {
                match syscall {
                    Syscall::VatstoreSet(key, value) => drop(rows.insert(key, value)),
                    Syscall::VatstoreDelete(key) => drop(rows.remove(&key)),
                    _ => (),
                }
            }
        }
        let rows = rows.iter().filter(|(key, _)| key.starts_with(prefix.as_bytes()));
        view::rows(rows.map(|(key, value)| kv::row(key, value)))
    }
}

fn kind(entry: &Entry) -> String {
    match (&entry.delivery, &entry.end) {
        (Some(delivery), _) => summary(delivery),
        (None, End::Skipped) => "which was skipped by a directive".to_owned(),
        (None, _) => "which came to nothing".to_owned(),
    }
}

fn end(entry: &Entry) -> String {
    match &entry.end {
        End::Done { fuel } => {
            let syscalls = counted(entry.syscalls.len() as u64, "syscall", "syscalls");
            format!("done, {syscalls}, fuel {}", grouped(*fuel))
        }
        End::Skipped => "skipped".to_owned(),
        End::Faulted(fault) => format!("faulted: {}", crate::inspect::view::brief(fault.to_string().as_bytes())),
    }
}
