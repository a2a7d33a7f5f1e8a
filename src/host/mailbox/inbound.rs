//! Incoming mail: lines that other programs append to a file.
//!
//! Invariants: a line that cannot be used affects no other line. Each message is taken in, or refused with an answer, or passed over with a
//! warning to the operator. No line, however long or wrong, takes more memory than [`LINE_BYTES_MAX`].

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::line::{Line, Unusable, number_of};
use crate::{
    host::controller::{Host, waiting_mail},
    kernel,
    model::{blame::HostFault, files, limits},
};

/// Most messages that come in with one block; the others wait in their file for the next.
pub const MESSAGES_PER_BLOCK: usize = 1_000;

/// Most bytes of a line: each byte of the longest body may be written as an escape of six bytes.
const LINE_BYTES_MAX: u64 = 8 * limits::BODY_BYTES_MAX as u64;

/// Most bytes of a longer line, which is passed over: a file without an end is not read for ever.
const PASSED_OVER_MAX: u64 = 16 * LINE_BYTES_MAX;

/// Most warnings about single lines between two starts: a file that is no mailbox's must not flood the operator.
const TOLD_MAX: usize = 20;

#[derive(Debug)]
pub(super) struct Inbound {
    path: PathBuf,
    /// The byte at which the next line begins, and the number of lines before it.
    offset: u64,
    line: u64,
    /// Bytes read so far of a line that is too long, while its end has not come.
    passed_over: u64,
    /// Why lines without a readable number, since the last message with one, are no messages: each may have been one.
    unreadable: Vec<String>,
    /// The warnings that the operator has not seen.
    warnings: Vec<String>,
    told: usize,
}

/// A line of the file, as it was read.
enum Raw {
    Line,
    /// A line that is too long to be kept: its end has been read.
    Overlong,
    /// Nothing, or a line that its writer has not finished.
    Nothing,
}

impl Inbound {
    pub(super) fn new(path: PathBuf) -> Inbound {
        let (unreadable, warnings) = (Vec::new(), Vec::new());
        Inbound { path, offset: 0, line: 0, passed_over: 0, unreadable, warnings, told: 0 }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the warnings that the operator has not seen yet.
    pub(super) fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    pub(super) fn read(&mut self, controller: &mut Host) -> Result<(), HostFault> {
        let Some(mut file) = self.open()? else { return Ok(()) };
        let (mut bytes, mut taken) = (Vec::new(), waiting_mail(controller));
        while taken < MESSAGES_PER_BLOCK {
            let read = match self.next(&mut file, &mut bytes).map_err(|err| failed(&self.path, err))? {
                Raw::Nothing => break,
                Raw::Line if bytes.trim_ascii().is_empty() => continue,
                Raw::Line => Line::read(&bytes),
                Raw::Overlong => {
                    Err(Unusable { number: None, why: format!("it is longer than {LINE_BYTES_MAX} bytes") })
                }
            };
            taken += usize::from(match read {
                Ok(Line::Message(number, body)) => self.take(number, Ok(body), controller)?,
                Ok(Line::Acknowledged(number)) => {
                    self.acknowledge(number, controller)?;
                    false
                }
                Err(Unusable { number: Some(number), why }) => self.take(number, Err(why), controller)?,
                Err(Unusable { number: None, why }) => {
                    self.warn(format_args!("it is passed over: {why}"));
                    self.unreadable.push(why);
                    false
                }
            });
        }
        Ok(())
    }

    /// Counts the messages in the unread rest of the file, when no vat takes them.
    pub(super) fn count_waiting(&mut self, controller: &Host) -> Result<u64, HostFault> {
        let Some(mut file) = self.open()? else { return Ok(0) };
        let received = controller.mailbox().unwrap_or_default().received;
        let stood_at = (self.offset, self.line, self.passed_over);
        let (mut bytes, mut waiting) = (Vec::new(), 0);
        loop {
            match self.next(&mut file, &mut bytes).map_err(|err| failed(&self.path, err))? {
                Raw::Line => waiting += u64::from(number_of(&bytes).is_some_and(|it| it > received)),
                Raw::Overlong => waiting += 1,
                Raw::Nothing => break,
            }
        }
        (self.offset, self.line, self.passed_over) = stood_at;
        Ok(waiting)
    }

    /// Opens the file where the next line begins; `None` if nothing has been written yet.
    fn open(&mut self) -> Result<Option<BufReader<File>>, HostFault> {
        let at = |err: &dyn std::fmt::Display| failed(&self.path, err);
        // To open a pipe may block for ever, and a pipe cannot be read again after a crash.
        let file = match files::open(&self.path) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(at(&err)),
        };
        let length = file.metadata().map_err(|err| at(&err))?.len();
        let mut file = BufReader::new(file);
        if length < self.offset {
            // Somebody began the file anew: the numbers tell which messages came in already.
            (self.offset, self.line, self.passed_over) = (0, 0, 0);
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(|err| failed(&self.path, err))?;
        Ok(Some(file))
    }

    /// Reads the next line into `bytes`.
    fn next(&mut self, file: &mut BufReader<File>, bytes: &mut Vec<u8>) -> io::Result<Raw> {
        loop {
            bytes.clear();
            let read = file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', bytes)? as u64;
            if bytes.ends_with(b"\n") {
                self.offset += read;
                self.line += 1;
                return Ok(if std::mem::take(&mut self.passed_over) > 0 { Raw::Overlong } else { Raw::Line });
            }
            if read < LINE_BYTES_MAX {
                return Ok(Raw::Nothing);
            }
            self.offset += read;
            self.passed_over += read;
            if self.passed_over > PASSED_OVER_MAX {
                let (line, max) = (self.line + 1, PASSED_OVER_MAX >> 20);
                return Err(io::Error::other(format!(
                    "line {line} has more than {max} MiB, and no end: this is no mailbox's file"
                )));
            }
        }
    }

    /// Gives a message to the host, or has it refused. Returns whether the host took it either way.
    fn take(&mut self, number: u64, body: Result<Value, String>, controller: &mut Host) -> Result<bool, HostFault> {
        let received = controller.mailbox().unwrap_or_default().received;
        let unreadable = std::mem::take(&mut self.unreadable);
        let Some(missing) = number.checked_sub(received + 1) else {
            // The message was sent again: it came in, or was refused.
            return Ok(false);
        };
        if missing > unreadable.len() as u64 {
            self.warn(format_args!(
                "message {number} comes after message {received}: it is passed over, and must be sent again after those between"
            ));
            return Ok(false);
        }
        // Each line without a number takes the place of a missing message.
        for (number, why) in (received + 1..number).zip(&unreadable) {
            controller.refuse_mail(number, why)?;
        }
        let body = body.and_then(|it| kernel::mail_methargs(number, &it).map(|_| it));
        match body {
            Ok(body) => controller.receive_mail(number, body),
            Err(why) => {
                self.warn(format_args!("message {number} is refused: {why}"));
                controller.refuse_mail(number, &why)
            }
        }
    }

    fn acknowledge(&mut self, number: u64, controller: &mut Host) -> Result<(), HostFault> {
        let sent = controller.mailbox().unwrap_or_default().sent;
        if number > sent {
            self.warn(format_args!("it is passed over: message {number} is acknowledged, and {sent} were sent"));
            return Ok(());
        }
        controller.acknowledge_mail(number)
    }

    /// Keeps a warning for the operator about the line that was just read.
    fn warn(&mut self, what: impl std::fmt::Display) {
        self.told += 1;
        let place = format!("the mailbox's {}, line {}", self.path.display(), self.line);
        match self.told {
            told if told < TOLD_MAX => self.warnings.push(format!("{place}: {what}")),
            TOLD_MAX => {
                self.warnings.push(format!("{place}: {what}; of further lines nothing is said until the next start"))
            }
            _ => (),
        }
    }
}

fn failed(path: &Path, why: impl std::fmt::Display) -> HostFault {
    HostFault::new(format_args!("read the mailbox's messages from {}", path.display()), why)
}
