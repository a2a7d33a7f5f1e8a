//! Many blocks, one after the other: while one runs, another thread writes the commit of the one before.
//!
//! ```text
//!   host's thread:     cranks of N ─▶ its hash ─▶ handed over ─▶ cranks of N + 1 ─▶ waits for N ─▶ told ─▶ handed over ─▶ …
//!   commit thread:                        └──────▶ packed, written, synced ──────────┘ (told at the next crank, if that is before)
//! ```
//!
//! Invariants: at most one commit is handed over at a time. Nothing of its block is told, and nothing else can be asked of the host, before
//! it is durable: it is at the latest when `run_blocks` returns, however it returns. If it fails, the host halts with that fault, whatever the
//! block that ran meanwhile came to, and that block is dropped. A block that sends something out of the host waits for its commit, and so
//! does every block of a host that has a mailbox's files: the order of what leaves stays as it is. A recorder is told of the commit of a
//! block once it is durable, when it has heard of some of the next block; the order in the file is that of the blocks all the same (see
//! `slog::writer`).

use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
};

use crate::{
    host::{
        controller::{
            Host, position,
            run::{BlockEnd, FilledBlock, commit_filled, fill_block, record_commit, record_end},
        },
        epitaph::HostPosition,
    },
    kernel::{Halt, Ran},
    slog::Slog,
    state::block::{
        Block, BlockPolicy,
        commit::{self, WriteBlock},
    },
    store::CommitOutcome,
    vat::{machine_threads, stack},
};

/// Cranks of a block from which on it is worth it to have its commit written by another thread. They take at least a tenth of a
/// millisecond, as long as a quick disk needs to sync. As measured, 100 cheap ones are written 1.6 times as fast so, 30 no faster, and
/// 10 slower.
const HANDED_OVER_MIN: u64 = 100;

/// A receiver of the ends of blocks: it says whether to go on.
pub type TellEnd<'a> = dyn FnMut(BlockEnd) -> bool + 'a;

/// A block whose commit was handed over, and of which nothing is told yet.
struct Unwritten {
    outcome: CommitOutcome,
    /// What is known of the last commit once it is this one.
    position: HostPosition,
    /// The end of the block, until it is told.
    end: Option<BlockEnd>,
    /// The time of the block, and the recorder that is told first.
    time: u64,
    slog: Slog,
}

impl Unwritten {
    /// Tells of the end if it is durable, and was not told yet. Returns whether to go on.
    fn tell(&mut self, ended: &mut TellEnd<'_>) -> bool {
        match self.outcome.get() {
            None => true,
            Some(Ok(())) => self.end.take().is_none_or(|end| {
                record_commit(&mut self.slog, end.height, self.time, end.state_hash);
                ended(end)
            }),
            Some(Err(_)) => false,
        }
    }
}

/// The thread that writes commits.
#[derive(Debug)]
pub(super) struct CommitThread {
    blocks: Option<mpsc::Sender<WriteBlock>>,
    thread: Option<JoinHandle<()>>,
}

impl CommitThread {
    /// Starts it; nothing where the system has no thread for it.
    fn start() -> Option<CommitThread> {
        let (blocks, given) = mpsc::channel::<WriteBlock>();
        let run = move || given.into_iter().for_each(|write| write());
        let thread = thread::Builder::new().name("commit".to_owned()).spawn(run).ok()?;
        Some(CommitThread { blocks: Some(blocks), thread: Some(thread) })
    }

    /// Has it write a block. Where it has ended, the outcome is told all the same.
    fn give(&self, write: WriteBlock) {
        if let Some(blocks) = &self.blocks {
            let _ = blocks.send(write);
        }
    }
}

impl Drop for CommitThread {
    fn drop(&mut self) {
        self.blocks = None;
        if let Some(thread) = self.thread.take() {
            // It cannot panic but by a bug, of which the panic and the outcome have told.
            let _ = thread.join();
        }
    }
}

impl Host {
    /// Runs a block as [`run_block`](Host::run_block) does, and the next ones for as long as the commit of each can be left to another
    /// thread while the next one runs; at the most so many. `ended` hears of each block when it is durable, and says whether to go
    /// on: if it says no, the block that runs is the last. All are durable when this returns, and the hashes are those of
    /// `run_block`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use vathost::{BlockPolicy, Host, HostOptions};
    /// # let mut host = Host::open(HostOptions::default())?;
    /// while !host.is_quiescent()? {
    ///     host.run_blocks(&BlockPolicy::default(), u64::MAX, &mut |_crank| true, &mut |end| {
    ///         println!("block {} is durable", end.height);
    ///         true
    ///     })?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_blocks(
        &mut self,
        policy: &BlockPolicy,
        most: u64,
        each: &mut dyn FnMut(&Ran) -> bool,
        ended: &mut TellEnd<'_>,
    ) -> Result<(), Box<Halt>> {
        let mut unwritten = None;
        let mut left = most;
        while left > 0 {
            left -= 1;
            if unwritten.is_none() {
                self.read_mailbox()?;
            }
            let kept = self.to_keep(policy);
            let can_wait = kept.is_none() && left > 0;
            let run = stack::for_block(|| run_behind(self, &mut unwritten, policy, can_wait, each, ended));
            let goes_on = run.map_err(|halt| {
                // What was decided before counts first.
                let halt = settle(self, unwritten.take(), ended).err().unwrap_or(halt);
                self.record_halt(&halt);
                self.keep(kept);
                halt
            })?;
            if !goes_on {
                break;
            }
        }
        settle(self, unwritten, ended).map(drop)
    }
}

/// Runs a block while the one before it is written, and hands its commit over in turn, if that can wait. Returns whether to go on.
fn run_behind(
    host: &mut Host,
    unwritten: &mut Option<Unwritten>,
    policy: &BlockPolicy,
    can_wait: bool,
    each: &mut dyn FnMut(&Ran) -> bool,
    ended: &mut TellEnd<'_>,
) -> Result<bool, Box<Halt>> {
    let mut goes_on = true;
    let filled = fill_block(host, policy, &mut |ran| {
        let runs_on = each(ran);
        let Some(before) = unwritten else { return runs_on };
        goes_on &= before.tell(ended);
        runs_on && !matches!(before.outcome.get(), Some(Err(_)))
    })?;
    goes_on &= settle(host, unwritten.take(), ended)?;
    if !(goes_on && can_wait && can_hand_over(host, &filled)) {
        ended(commit_filled(host, filled)?);
        return Ok(false);
    }
    let FilledBlock { mut block, facts } = filled;
    // Without the thread, which there is, nobody would write it: the outcome says so.
    let record = record_end(&mut block, facts.height, facts.time);
    let outcome = commit::hand_over(&mut block, record, |write| {
        if let Some(thread) = &host.commit_thread {
            thread.give(write);
        }
    })?;
    let end = facts.end(&mut block);
    goes_on = !end.quiescent;
    let (position, slog, time) = (position(host, &block), block.slog().clone(), facts.time);
    *unwritten = Some(Unwritten { outcome, position, end: Some(end), time, slog });
    host.block = Some(block);
    Ok(goes_on)
}

/// Waits until a block that was handed over is durable, and tells of it. Returns whether to go on.
///
/// # Errors
///
/// It could not be written: nothing that came after it is left.
fn settle(host: &mut Host, unwritten: Option<Unwritten>, ended: &mut TellEnd<'_>) -> Result<bool, Box<Halt>> {
    let Some(mut before) = unwritten else { return Ok(true) };
    if let Err(fault) = before.outcome.wait() {
        host.block = None;
        return Err(fault.into());
    }
    let goes_on = before.tell(ended);
    host.standing = before.position;
    Ok(goes_on)
}

/// Returns whether the commit of this block can be left to another thread, and is worth it.
fn can_hand_over(host: &mut Host, filled: &FilledBlock) -> bool {
    let options = &host.options;
    let is_alone = || machine_threads().get() == 1;
    let min = options.handed_over_min.unwrap_or_else(|| if is_alone() { u64::MAX } else { HANDED_OVER_MIN });
    let is_in_file = options.state.is_some() && !options.read_only && options.over.is_none();
    let can = filled.facts.closed
        && filled.facts.cranks >= min
        && is_in_file
        && !sends(host, &filled.block)
        && commit::can_be_handed_over(&filled.block);
    if can && host.commit_thread.is_none() {
        host.commit_thread = CommitThread::start();
    }
    can && host.commit_thread.is_some()
}

/// Returns whether something may leave the host with the commit of this block.
fn sends(host: &Host, block: &Block) -> bool {
    host.mailbox_files.are_open() || (!host.devices.is_empty() && !block.tables().device_messages.is_empty())
}

#[cfg(test)]
mod tests;
