//! The mailbox's two files: JSON lines that come in, and JSON lines that go out, each message exactly once.
//!
//! ```text
//!   in.jsonl, appended to by others                out.jsonl, appended to by the host, after the commit
//!     {"num": 1, "body": {"deposit": 50}}            {"num": 1, "body": "thanks"}
//!     {"num": 2, "body": "bye"}                      {"ack": 2}      messages up to 2 were acknowledged by a vat
//!     {"num": 3, "body": "\ud800"}                   {"num": 2, "refused": 3, "why": "its JSON is wrong at …"}
//!     {"ack": 1}   they have our message 1
//! ```
//!
//! Invariants: the state records which messages it has taken in and which are still to go out; the files are read and completed from that
//! record. So a sender may send again, a crash between a commit and the writing loses nothing, and nothing is written twice. An unfinished
//! line does not count yet. A message that no vat can receive is refused: the sender gets that answer, the message is not taken when it is
//! sent again, and it stops no other message.

mod inbound;
mod line;

pub use inbound::MESSAGES_PER_BLOCK;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use inbound::Inbound;
use line::Said;
use serde_json::Value;

use crate::{
    host::{controller::Host, scenario::MailboxPaths},
    model::{blame::HostFault, files},
    state::table::Outgoing,
};

/// The files of a mailbox, open.
#[derive(Debug, Default)]
pub struct MailboxFiles {
    inbound: Option<Inbound>,
    outbound: Option<Outbound>,
}

#[derive(Debug)]
struct Outbound {
    path: PathBuf,
    file: File,
    /// The last acknowledgement in the file.
    acknowledged: u64,
    /// Messages in the file that the state has not sent yet: an earlier run wrote them, so the state must send the same
    /// again.
    known: BTreeMap<u64, Said>,
    /// The last message in the file.
    last: u64,
    /// The last message of the state that was compared with the file, or written to it.
    compared: u64,
}

impl MailboxFiles {
    /// Opens the files, and completes the outbound one with what was committed. Refused if another state wrote it.
    pub fn open(paths: &MailboxPaths, controller: &Host) -> Result<MailboxFiles, HostFault> {
        let inbound = paths.inbound.clone().map(Inbound::new);
        let outbound = paths.outbound.as_deref().map(|path| Outbound::open(path, controller)).transpose()?;
        let mut files = MailboxFiles { inbound, outbound };
        files.release(controller)?;
        Ok(files)
    }

    /// Returns whether there is any file.
    pub fn are_open(&self) -> bool {
        self.inbound.is_some() || self.outbound.is_some()
    }

    /// Returns whether there is a file from which messages come in.
    pub fn has_inbound(&self) -> bool {
        self.inbound.is_some()
    }

    /// Gives the host the messages that came in since the last call, for its next block.
    pub fn read(&mut self, controller: &mut Host) -> Result<(), HostFault> {
        match &mut self.inbound {
            Some(inbound) if controller.handles_mail() => inbound.read(controller),
            _ => Ok(()),
        }
    }

    /// Appends the messages that were committed since the last call to the outbound file.
    pub fn release(&mut self, controller: &Host) -> Result<(), HostFault> {
        match (&mut self.outbound, controller.mailbox()) {
            (Some(outbound), Some(mailbox)) => outbound.write(controller, mailbox.acknowledged),
            _ => Ok(()),
        }
    }

    /// Takes the warnings for the operator about lines that could not be used, since the last call.
    pub fn warnings(&mut self) -> Vec<String> {
        self.inbound.as_mut().map(Inbound::warnings).unwrap_or_default()
    }

    /// Returns the warnings for the operator when the host is at rest and no vat handles the incoming mail.
    pub fn left_behind(&mut self, controller: &Host) -> Result<Vec<String>, HostFault> {
        let (Some(inbound), Some(mailbox)) = (&mut self.inbound, controller.mailbox()) else { return Ok(Vec::new()) };
        if controller.handles_mail() {
            return Ok(Vec::new());
        }
        let why = match mailbox.handler {
            Some(_) => {
                "the vat that handled the mailbox's messages ended, or was upgraded and did not ask for them again"
            }
            None => "no vat asked for the mailbox's messages",
        };
        let mut told = Vec::new();
        let waiting = inbound.count_waiting(controller)?;
        if waiting > 0 {
            told.push(format!("{waiting} messages wait in the mailbox's {}: {why}", inbound.path().display()));
        }
        let (first, last) = (mailbox.acknowledged + 1, mailbox.received);
        if mailbox.handler.is_some() && first <= last {
            told.push(format!(
                "the mailbox took messages {first} to {last} in, and no vat acknowledged them: {why}; what reached nobody must be \
                 sent again under new numbers"
            ));
        }
        Ok(told)
    }
}

/// Returns whether this row says the same as the line in the file.
fn is_said_by(message: &Outgoing<'_>, said: &Said) -> bool {
    match (message, said) {
        (Outgoing::Message(json), Said::Message(_, body)) => {
            serde_json::from_str::<Value>(json).is_ok_and(|it| it == *body)
        }
        (Outgoing::Refused { number, why }, Said::Refused(_, refused, because)) => number == refused && *why == because,
        _ => false,
    }
}

impl Outbound {
    fn open(path: &Path, controller: &Host) -> Result<Outbound, HostFault> {
        let failed = |why: &dyn std::fmt::Display| {
            HostFault::new(format_args!("use {} for the mailbox's messages", path.display()), why)
        };
        // To open a pipe may block for ever, and its contents could not be read.
        if path.exists() {
            drop(files::open(path).map_err(|err| failed(&err))?);
        }
        let options = OpenOptions::new().read(true).append(true).create(true).clone();
        let file = options.open(path).map_err(|err| failed(&err))?;
        let (mut acknowledged, mut last, mut known, mut whole) = (0, 0, BTreeMap::new(), 0);
        let sent = controller.mailbox().unwrap_or_default().sent;
        let waiting: BTreeMap<u64, Outgoing<'_>> = controller.outbox().collect();
        let mut reader = BufReader::new(&file);
        let mut text = String::new();
        loop {
            text.clear();
            read_line(&mut reader, &mut text).map_err(|err| failed(&err))?;
            let Some(line) = text.strip_suffix('\n') else { break };
            let foreign =
                || failed(&format_args!("it has a line that is not this state's, `{line}`: name another file"));
            match Said::read(line).map_err(|_| foreign())? {
                Said::Acknowledged(number) => acknowledged = acknowledged.max(number),
                said @ (Said::Message(number, _) | Said::Refused(number, ..)) => {
                    if number != last + 1 || waiting.get(&number).is_some_and(|it| !is_said_by(it, &said)) {
                        return Err(foreign());
                    }
                    last = number;
                    if number > sent {
                        known.insert(number, said);
                    }
                }
            }
            whole += text.len() as u64;
        }
        // What follows is an unfinished line: the host died while it wrote it.
        file.set_len(whole).map_err(|err| failed(&err))?;
        Ok(Outbound { path: path.to_owned(), file, acknowledged, known, last, compared: 0 })
    }

    fn write(&mut self, controller: &Host, acknowledged: u64) -> Result<(), HostFault> {
        let failed = |path: &Path, why: &dyn std::fmt::Display| {
            HostFault::new(format_args!("write the mailbox's messages to {}", path.display()), why)
        };
        let mut lines = Vec::new();
        let first = controller.outbox_from(self.compared + 1).next().map_or(0, |(number, _)| number);
        if first > self.last + 1 {
            let why =
                format_args!("its last message is {}, and the outside acknowledged those before {first}", self.last);
            return Err(failed(&self.path, &why));
        }
        for (number, message) in controller.outbox_from(self.compared + 1) {
            let again = self.known.remove(&number);
            if again.is_some_and(|it| !is_said_by(&message, &it)) {
                let why =
                    format_args!("its message {number} was another one: it is not this state's; name another file");
                return Err(failed(&self.path, &why));
            }
            if number > self.last {
                lines.extend_from_slice(line(number, &message).as_bytes());
                self.last = number;
            }
            self.compared = number;
        }
        if acknowledged > self.acknowledged {
            lines.extend_from_slice(format!("{{\"ack\":{acknowledged}}}\n").as_bytes());
            self.acknowledged = acknowledged;
        }
        self.file.write_all(&lines).map_err(|err| failed(&self.path, &err))
    }
}

/// A line of the outbound file.
fn line(number: u64, message: &Outgoing<'_>) -> String {
    match message {
        Outgoing::Message(json) => format!("{{\"num\":{number},\"body\":{json}}}\n"),
        Outgoing::Refused { number: refused, why } => {
            format!("{{\"num\":{number},\"refused\":{refused},\"why\":{}}}\n", Value::from(*why))
        }
    }
}

/// The next line, whose end may be still to come; never more than a line may have.
fn read_line(file: &mut impl BufRead, text: &mut String) -> io::Result<()> {
    file.take(files::LINE_BYTES_MAX).read_line(text)?;
    if text.len() as u64 == files::LINE_BYTES_MAX && !text.ends_with('\n') {
        return Err(io::Error::other(format!("a line of more than {} MiB", files::LINE_BYTES_MAX >> 20)));
    }
    Ok(())
}
