//! The mailbox's two files: JSON lines that come in, and JSON lines that go out, each message exactly once.
//!
//! ```text
//!   in.jsonl, appended to by others                out.jsonl, appended to by the host, after the commit
//!     {"num": 1, "body": {"deposit": 50}}            {"num": 1, "body": "thanks"}
//!     {"num": 2, "body": "bye"}                      {"ack": 2}      messages up to 2 were acknowledged by a vat
//!     {"ack": 1}   they have our message 1
//! ```
//!
//! Invariants: the state knows how far it took messages in and which are still to go out; the files are read and completed
//! by that. So whoever sends may send again, a crash between a commit and the writing loses nothing, and nothing is written twice. A
//! line that is not finished yet is not there yet.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{controller::Controller, fault::HostFault, files, scenario::MailboxPaths};

/// Messages that come in with one block at the most; the others wait in their file for the next.
pub const MESSAGES_PER_BLOCK: usize = 1_000;

/// A line of either file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Message { num: u64, body: Value },
    Acknowledged { ack: u64 },
}

/// The files of a mailbox, open.
#[derive(Debug, Default)]
pub struct MailboxFiles {
    inbound: Option<Inbound>,
    outbound: Option<Outbound>,
}

#[derive(Debug)]
struct Inbound {
    path: PathBuf,
    /// Where the next line begins, and which it is.
    offset: u64,
    line: u64,
}

#[derive(Debug)]
struct Outbound {
    path: PathBuf,
    file: File,
    /// The last acknowledgement that stands in it.
    acknowledged: u64,
    /// What stands in it of messages that the state has not sent yet: it was another time, and must be said again the same way.
    known: BTreeMap<u64, Value>,
    /// The last message that stands in it.
    last: u64,
}

impl MailboxFiles {
    /// Opens the files, and completes the outbound one by what was committed. Refused where another state wrote it.
    pub fn open(paths: &MailboxPaths, controller: &Controller) -> Result<MailboxFiles, HostFault> {
        let inbound = paths.inbound.clone().map(|path| Inbound { path, offset: 0, line: 0 });
        let outbound = paths.outbound.as_deref().map(|path| Outbound::open(path, controller)).transpose()?;
        let mut files = MailboxFiles { inbound, outbound };
        files.release(controller)?;
        Ok(files)
    }

    /// Gives the controller what came in since, for its next block.
    pub fn read(&mut self, controller: &mut Controller) -> Result<(), HostFault> {
        match &mut self.inbound {
            Some(inbound) if controller.mailbox().is_some_and(|it| it.handler.is_some()) => inbound.read(controller),
            _ => Ok(()),
        }
    }

    /// Writes what was committed since.
    pub fn release(&mut self, controller: &Controller) -> Result<(), HostFault> {
        match (&mut self.outbound, controller.mailbox()) {
            (Some(outbound), Some(mailbox)) => outbound.write(controller, mailbox.acknowledged),
            _ => Ok(()),
        }
    }
}

/// Whether this JSON is that value.
fn is_said_by(json: &str, value: &Value) -> bool {
    serde_json::from_str::<Value>(json).is_ok_and(|it| it == *value)
}

impl Inbound {
    fn read(&mut self, controller: &mut Controller) -> Result<(), HostFault> {
        let failed = |path: &Path, why: &dyn std::fmt::Display| {
            HostFault::new(format_args!("read the mailbox's messages from {}", path.display()), why)
        };
        let mut file = match files::open(&self.path) {
            Ok(file) => BufReader::new(file),
            // Nobody has written yet.
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(failed(&self.path, &err)),
        };
        file.seek(SeekFrom::Start(self.offset)).map_err(|err| failed(&self.path, &err))?;
        let (mut text, mut taken) = (String::new(), 0);
        while taken < MESSAGES_PER_BLOCK {
            text.clear();
            let at = |why: &dyn std::fmt::Display| failed(&self.path, &format_args!("line {}: {why}", self.line + 1));
            read_line(&mut file, &mut text).map_err(|err| at(&err))?;
            let Some(line) = text.strip_suffix('\n') else { break };
            if !line.trim().is_empty() {
                let line = serde_json::from_str(line)
                    .map_err(|_| at(&"neither `{\"num\": N, \"body\": …}` nor `{\"ack\": N}`"))?;
                taken += usize::from(take(line, controller).map_err(|why| at(&why))?);
            }
            self.line += 1;
            self.offset += text.len() as u64;
        }
        Ok(())
    }
}

/// The next line of either file, whose end may be still to come; never more than a line may have.
fn read_line(file: &mut impl BufRead, text: &mut String) -> io::Result<()> {
    file.take(files::LINE_BYTES_MAX).read_line(text)?;
    if text.len() as u64 == files::LINE_BYTES_MAX && !text.ends_with('\n') {
        return Err(io::Error::other(format!("a line of more than {} MiB", files::LINE_BYTES_MAX >> 20)));
    }
    Ok(())
}

/// Gives one line to the controller: whether it was a new message.
fn take(line: Line, controller: &mut Controller) -> Result<bool, String> {
    let mailbox = controller.mailbox().unwrap_or_default();
    match line {
        Line::Message { num, .. } if num <= mailbox.received => Ok(false),
        Line::Message { num, body } => {
            let taken = controller.receive_mail(num, body);
            taken.then_some(true).ok_or_else(|| format!("message {num} comes after message {}", mailbox.received))
        }
        Line::Acknowledged { ack } if ack > mailbox.sent => {
            Err(format!("message {ack} is acknowledged, and {} were sent", mailbox.sent))
        }
        Line::Acknowledged { ack } => {
            controller.acknowledge_mail(ack);
            Ok(false)
        }
    }
}

impl Outbound {
    fn open(path: &Path, controller: &Controller) -> Result<Outbound, HostFault> {
        let failed = |why: &dyn std::fmt::Display| {
            HostFault::new(format_args!("use {} for the mailbox's messages", path.display()), why)
        };
        if path.exists() {
            // What was written must be there to be read: no pipe, no device.
            drop(files::open(path).map_err(|err| failed(&err))?);
        }
        let options = OpenOptions::new().read(true).append(true).create(true).clone();
        let file = options.open(path).map_err(|err| failed(&err))?;
        let (mut acknowledged, mut last, mut known, mut whole) = (0, 0, BTreeMap::new(), 0);
        let sent = controller.mailbox().unwrap_or_default().sent;
        let waiting: BTreeMap<u64, &str> = controller.outbox().collect();
        let mut reader = BufReader::new(&file);
        let mut text = String::new();
        loop {
            text.clear();
            read_line(&mut reader, &mut text).map_err(|err| failed(&err))?;
            let Some(line) = text.strip_suffix('\n') else { break };
            let foreign =
                || failed(&format_args!("it has a line that is not this state's, `{line}`: name another file"));
            match serde_json::from_str(line).map_err(|_| foreign())? {
                Line::Message { num, body } => {
                    if num != last + 1 || waiting.get(&num).is_some_and(|it| !is_said_by(it, &body)) {
                        return Err(foreign());
                    }
                    last = num;
                    if num > sent {
                        known.insert(num, body);
                    }
                }
                Line::Acknowledged { ack } => acknowledged = acknowledged.max(ack),
            }
            whole += text.len() as u64;
        }
        // The host died while it wrote the rest.
        file.set_len(whole).map_err(|err| failed(&err))?;
        Ok(Outbound { path: path.to_owned(), file, acknowledged, known, last })
    }

    fn write(&mut self, controller: &Controller, acknowledged: u64) -> Result<(), HostFault> {
        let failed = |path: &Path, why: &dyn std::fmt::Display| {
            HostFault::new(format_args!("write the mailbox's messages to {}", path.display()), why)
        };
        let mut lines = Vec::new();
        let first = controller.outbox().next().map_or(0, |(number, _)| number);
        if first > self.last + 1 {
            let why =
                format_args!("its last message is {}, and the outside acknowledged those before {first}", self.last);
            return Err(failed(&self.path, &why));
        }
        for (number, message) in controller.outbox() {
            let again = self.known.remove(&number);
            if again.is_some_and(|it| !is_said_by(message, &it)) {
                let why =
                    format_args!("its message {number} was another one: it is not this state's; name another file");
                return Err(failed(&self.path, &why));
            }
            if number > self.last {
                lines.extend_from_slice(format!("{{\"num\":{number},\"body\":{message}}}\n").as_bytes());
                self.last = number;
            }
        }
        if acknowledged > self.acknowledged {
            lines.extend_from_slice(format!("{{\"ack\":{acknowledged}}}\n").as_bytes());
            self.acknowledged = acknowledged;
        }
        self.file.write_all(&lines).map_err(|err| failed(&self.path, &err))
    }
}
