//! The mailbox of a state, as a program uses it: messages for the next block, and messages that vats sent.

use crate::{
    host::{
        controller::{Host, input::Input},
        mailbox::MailboxFiles,
        scenario::MailboxPaths,
    },
    model::blame::HostFault,
    state::table::{Mailbox, Outgoing},
};

impl Host {
    /// Opens the mailbox's files. From then on each block begins with the messages in the inbound file, and the messages that a block sends
    /// are appended to the outbound file after its commit. Committed messages that the file lacks are written at once.
    ///
    /// # Errors
    ///
    /// A file cannot be opened, or the outbound one was written by another state.
    pub fn open_mailbox(&mut self, paths: &MailboxPaths) -> Result<(), HostFault> {
        self.mailbox_files = MailboxFiles::open(paths, self)?;
        Ok(())
    }

    /// Takes in the messages that are in the mailbox's inbound file by now, for the next block. `run_block` does this by itself; the call is
    /// for callers that ask first whether there is anything to do. Returns whether there is such a file: others append to it at any time.
    pub fn read_mailbox(&mut self) -> Result<bool, HostFault> {
        with_files(self, |files, host| files.read(host).map(|()| files.has_inbound()))
    }

    /// Appends to the mailbox's outbound file the messages that were committed since the last call.
    pub(super) fn write_mailbox(&mut self) -> Result<(), HostFault> {
        with_files(self, |files, host| files.release(host))
    }

    /// Takes the warnings for the operator, since the last call, about lines of the inbound file that could not be used.
    pub fn mailbox_warnings(&mut self) -> Vec<String> {
        self.mailbox_files.warnings()
    }

    /// Returns the warnings for the operator if the host is at rest and no vat handles the incoming mail.
    pub fn mail_left_behind(&mut self) -> Result<Vec<String>, HostFault> {
        with_files(self, |files, host| files.left_behind(host))
    }

    /// Returns the counters of the state's mailbox, if it has one, including the inputs that wait for the next block.
    pub fn mailbox(&self) -> Option<Mailbox> {
        let mut mailbox = self.block.as_ref()?.tables().mailbox()?;
        for input in &self.inputs {
            match input {
                Input::Mail(number, _) | Input::RefuseMail(number, _) => mailbox.received = *number,
                Input::AcknowledgeMail(number) => mailbox.taken = mailbox.taken.max(*number),
                _ => (),
            }
        }
        Some(mailbox)
    }

    /// Returns whether a vat handles the mailbox's messages. None does before a vat asked to, nor after that vat
    /// ended, or was upgraded and did not ask again.
    pub fn handles_mail(&self) -> bool {
        self.block.as_ref().is_some_and(|it| it.tables().mail_handler().is_some())
    }

    /// Puts a message into the mailbox with the next block. Returns whether it is taken: only the message after the last one is, and only
    /// if a vat handles the messages. A message that is too long for a vat is taken, and then refused.
    ///
    /// # Errors
    ///
    /// The host has halted.
    pub fn receive_mail(&mut self, number: u64, message: serde_json::Value) -> Result<bool, HostFault> {
        let taken = is_next(self, number)?;
        if taken {
            self.inputs.push(Input::Mail(number, message));
        }
        Ok(taken)
    }

    /// Refuses a message to the mailbox, with the next block: it counts as received, no vat receives it, and the
    /// outside is sent the reason. Returns whether the message is the next one.
    ///
    /// # Errors
    ///
    /// The host has halted.
    pub fn refuse_mail(&mut self, number: u64, why: &str) -> Result<bool, HostFault> {
        let taken = is_next(self, number)?;
        if taken {
            self.inputs.push(Input::RefuseMail(number, why.to_owned()));
        }
        Ok(taken)
    }

    /// Acknowledges, with the next block, the mailbox's messages up to this one: the state no longer keeps them.
    ///
    /// # Errors
    ///
    /// The host has halted.
    pub fn acknowledge_mail(&mut self, number: u64) -> Result<(), HostFault> {
        self.check_alive()?;
        if self.mailbox().is_some_and(|it| it.taken < number) {
            self.inputs.push(Input::AcknowledgeMail(number));
        }
        Ok(())
    }

    /// Returns the outgoing messages of the mailbox that the outside has not acknowledged, by number, as of the last
    /// committed block.
    pub fn outbox(&self) -> impl Iterator<Item = (u64, Outgoing<'_>)> {
        self.outbox_from(0)
    }

    /// Returns the unacknowledged outgoing messages, from this number on.
    pub fn outbox_from(&self, from: u64) -> impl Iterator<Item = (u64, Outgoing<'_>)> {
        let block = self.block.iter();
        block.flat_map(move |it| it.tables().outbox.range(from..)).map(|(number, it)| (*number, Outgoing::of(it)))
    }
}

fn with_files<T>(host: &mut Host, act: impl FnOnce(&mut MailboxFiles, &mut Host) -> T) -> T {
    let mut files = std::mem::take(&mut host.mailbox_files);
    let result = act(&mut files, host);
    host.mailbox_files = files;
    result
}

/// Returns how many messages from outside wait for the next block.
pub(in crate::host) fn waiting_mail(host: &Host) -> usize {
    host.inputs.iter().filter(|input| matches!(input, Input::Mail(..) | Input::RefuseMail(..))).count()
}

fn is_next(host: &Host, number: u64) -> Result<bool, HostFault> {
    host.check_alive()?;
    Ok(host.handles_mail() && host.mailbox().is_some_and(|it| it.received.checked_add(1) == Some(number)))
}
