//! The staged form of a host, for a consensus engine: a block is begun, filled and run, and only then either committed or given up.
//!
//! ```text
//!   begin_block ─▶ deliver ─▶ deliver ─▶ … ─▶ run ─▶ BlockResult ─┬▶ commit ─▶ (undo_last)
//!        └──────────────┴──────────────────────┴──────────────────┴▶ abort: as if it had never been begun
//! ```
//!
//! Invariants: nothing of a block is durable before its commit, which writes rows, height, hash, and result in one transaction; a
//! block that was given up or undone leaves nothing: the state hash is the one before it. [`decide`](StagedHost::decide) executes the block
//! after the last committed one, answers for the last committed one from its record, and refuses any other.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    host::{
        block_run::{BlockRun, Step},
        controller::{Arg, Host, Sent, To, gone, prove_runtime, run},
        report::Report,
    },
    kernel::Halt,
    model::{
        blame::HostFault,
        id::{BlockHeight, PromiseId, hex},
    },
    slog::{Detail, Event},
    state::block::{Block, BlockPolicy, undo},
    vat::stack,
};

/// The header of a block: what the engine decides of it besides its inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockHeader {
    /// The height of the block.
    pub height: u64,
    /// The time of the block, in the vats' seconds; not earlier than that of the block before.
    pub time: u64,
    /// The state hash of the block before.
    pub prev_state_hash: String,
}

/// An input of a block, as a payload of the engine holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind", deny_unknown_fields)]
pub enum BlockInput {
    /// A message; its target and its arguments may name references as in [`Arg::Told`].
    Send {
        /// The name of a vat, or `@v3`, `@ko31`, `@kp41`.
        to: String,
        /// The method.
        method: String,
        /// The arguments.
        args: Vec<Value>,
    },
    /// A result that is no longer of interest, by its promise.
    Forget {
        /// The promise for the result, as in `kp41`.
        result: PromiseId,
    },
    /// A message into the mailbox.
    Mail {
        /// The number of the message.
        number: u64,
        /// The message.
        message: Value,
    },
    /// An acknowledgement: the outside has the mailbox's messages up to this one.
    AcknowledgeMail {
        /// The number of the message.
        number: u64,
    },
    /// An input for a device of the program.
    Device {
        /// The name of the device.
        name: String,
        /// The input.
        input: Value,
    },
}

/// The answer to an input when it is delivered: the input waits for the block's run, or was refused, on every replica alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The promise for the result of a message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<PromiseId>,
    /// The reason why the input was refused; the block continues without it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<String>,
}

/// A result of a message that was settled in a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettledResult {
    /// The promise for the result.
    pub result: PromiseId,
    /// The word `fulfilled` or `rejected`.
    pub status: String,
    /// The body of its data.
    pub body: String,
    /// What the body names.
    pub slots: Vec<String>,
}

/// The result of a block: the same on every replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockResult {
    /// The block's header.
    pub header: BlockHeader,
    /// The state hash behind the block.
    pub state_hash: String,
    /// The cranks of the block.
    pub cranks: u64,
    /// The fuel of the block.
    pub fuel: u64,
    /// Whether nothing is left to do, now or at a later time.
    pub quiescent: bool,
    /// A receipt for each input, in order.
    pub receipts: Vec<Receipt>,
    /// The results of messages that were settled in the block.
    pub settled: Vec<SettledResult>,
    /// The directives that were obeyed in the block.
    pub fired: Vec<String>,
}

/// The position of a replica: its last committed block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaInfo {
    /// The height of the block.
    pub height: u64,
    /// The time of the block.
    pub time: u64,
    /// The state hash behind the block.
    pub state_hash: String,
    /// The version of the kernel.
    pub kernel_version: u32,
    /// A digest of all directives that were obeyed, with their cranks.
    pub directives_fired_digest: String,
}

/// The reason why a staged host refused a call, or halted in it.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The block is not the one after the last committed one (nor, for [`StagedHost::decide`], the last committed one itself).
    #[error("block {asked} cannot be executed: block {saved} is the last that is committed")]
    Height {
        /// The height in the header.
        asked: u64,
        /// The height of the last committed block.
        saved: u64,
    },
    /// The block follows another state hash: this replica, or the one that proposed the block, has diverged.
    #[error("block {height} follows the state hash {theirs}, and this replica's is {ours}")]
    HashMismatch {
        /// The height in the header.
        height: u64,
        /// The hash in the header.
        theirs: String,
        /// The hash of the state.
        ours: String,
    },
    /// The time of the block is earlier than that of the block before.
    #[error("block {height} has the time {time}, and the block before it {before}")]
    Time {
        /// The height in the header.
        height: u64,
        /// The time in the header.
        time: u64,
        /// The time of the block before.
        before: u64,
    },
    /// The call comes in the wrong order.
    #[error("{asked}: {why}")]
    Order {
        /// The call.
        asked: &'static str,
        /// What has to come first.
        why: &'static str,
    },
    /// The host has halted: nothing of the block is committed.
    #[error(transparent)]
    Halt(#[from] Box<Halt>),
}

impl From<HostFault> for StageError {
    fn from(fault: HostFault) -> StageError {
        StageError::Halt(fault.into())
    }
}

/// The stage that the present block has reached.
#[derive(Debug)]
enum Stage {
    Idle,
    Begun { header: BlockHeader, receipts: Vec<Receipt> },
    Ran(Box<BlockResult>),
}

/// A host whose blocks an engine decides.
#[derive(Debug)]
pub struct StagedHost {
    host: Host,
    stage: Stage,
    /// The results that nobody has settled yet.
    pending: BTreeSet<PromiseId>,
}

impl StagedHost {
    /// Takes a host over. With `keeps_undo` each commit leaves a record, by which its block can be undone.
    ///
    /// # Errors
    ///
    /// The host has halted, or its last block is open, or inputs wait in it. Or another runtime ran the state last, and
    /// this one does not do the same.
    pub fn new(mut host: Host, keeps_undo: bool) -> Result<StagedHost, StageError> {
        if host.block()?.meta().open || !host.inputs.is_empty() {
            let why = "its last block is open, or inputs wait for the next: `run_block` ends it first";
            return Err(StageError::Order { asked: "stage the blocks of a host", why });
        }
        prove_runtime(&mut host, &mut |_| ())?;
        let block = host.block_mut()?;
        undo::keep_results(block)?;
        if keeps_undo {
            undo::keep_undo(block, true)?;
        }
        let mut staged = StagedHost { host, stage: Stage::Idle, pending: BTreeSet::new() };
        staged.find_pending()?;
        Ok(staged)
    }

    /// Returns the host, to read its state: from the run of a block until its end, the state behind that block.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Gives the host back; a block that is not committed is given up.
    pub fn into_host(mut self) -> Result<Host, StageError> {
        self.abort()?;
        undo::keep_undo(self.host.block_mut()?, false)?;
        Ok(self.host)
    }

    /// Gives the host back with this block open: its inputs are committed, and nothing of it has run. A consensus engine has no use for it;
    /// it is for a copy of the state, where a debugger looks at a block that halts.
    ///
    /// # Errors
    ///
    /// The block cannot follow the last committed one.
    pub fn into_open_block(
        mut self,
        header: &BlockHeader,
        inputs: impl IntoIterator<Item = BlockInput>,
        policy: &BlockPolicy,
    ) -> Result<Host, StageError> {
        self.begin_block(header.clone())?;
        for input in inputs {
            self.deliver(input)?;
        }
        self.host.tell_time(header.time)?;
        let policy = BlockPolicy { wall_millis: None, ..*policy };
        if self.host.inputs.is_empty() {
            let block = self.host.begin_block(&policy)?;
            self.host.block = Some(block.commit(true).map_err(Box::<Halt>::from)?);
            self.host.stand();
        } else {
            self.host.take_in(&policy)?;
        }
        self.stage = Stage::Idle;
        Ok(self.host)
    }

    /// Returns where the replica is: its last committed block.
    pub fn info(&self) -> Result<ReplicaInfo, StageError> {
        let standing = self.host.standing();
        let globals = self.host.block()?.tables().globals();
        if matches!(self.stage, Stage::Ran(_)) {
            return Err(StageError::Order { asked: "info", why: "a block has run: `commit` or `abort` comes first" });
        }
        Ok(ReplicaInfo {
            height: standing.height,
            time: globals.time,
            state_hash: standing.state_hash.clone(),
            kernel_version: standing.kernel_version,
            directives_fired_digest: fired_digest(self.host.block()?),
        })
    }

    /// Checks whether a block with this header can follow the last committed one. It is cheap and changes nothing, so it can serve a vote.
    pub fn check_block(&self, header: &BlockHeader) -> Result<(), StageError> {
        let info = self.info()?;
        if header.height != info.height + 1 {
            return Err(StageError::Height { asked: header.height, saved: info.height });
        }
        if header.prev_state_hash != info.state_hash {
            let (theirs, ours) = (header.prev_state_hash.clone(), info.state_hash);
            return Err(StageError::HashMismatch { height: header.height, theirs, ours });
        }
        if header.time < info.time {
            return Err(StageError::Time { height: header.height, time: header.time, before: info.time });
        }
        Ok(())
    }

    /// Begins the block of this header, which its inputs are to follow.
    pub fn begin_block(&mut self, header: BlockHeader) -> Result<(), StageError> {
        if !matches!(self.stage, Stage::Idle) {
            return Err(StageError::Order {
                asked: "begin_block",
                why: "a block is begun: `commit` or `abort` comes first",
            });
        }
        self.check_block(&header)?;
        self.stage = Stage::Begun { header, receipts: Vec::new() };
        Ok(())
    }

    /// Takes an input into the block. Nothing of it is run yet.
    pub fn deliver(&mut self, input: BlockInput) -> Result<Receipt, StageError> {
        let Stage::Begun { receipts, .. } = &mut self.stage else {
            return Err(StageError::Order {
                asked: "deliver",
                why: "`begin_block` comes first, and `run` ends the inputs",
            });
        };
        self.host.block()?;
        let receipt = match take_in(&mut self.host, input) {
            Ok(result) => Receipt { result, refused: None },
            Err(fault) => Receipt { result: None, refused: Some(fault.to_string()) },
        };
        self.pending.extend(receipt.result);
        receipts.push(receipt.clone());
        Ok(receipt)
    }

    /// Runs the block, up to a limit of the policy or until nothing is left to do. Nothing of it is durable yet.
    pub fn run(&mut self, policy: &BlockPolicy) -> Result<BlockResult, StageError> {
        let Stage::Begun { header, receipts } = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return Err(StageError::Order { asked: "run", why: "`begin_block` comes first, and a block runs once" });
        };
        let obeyed = self.host.block()?.tables().applied.len();
        self.host.tell_time(header.time)?;
        let ran = run(&mut self.host, policy)?;
        let block = self.host.block()?;
        let tables = block.tables();
        let mut result = BlockResult {
            header,
            state_hash: block.state_hash()?.to_string(),
            cranks: ran,
            fuel: block.fuel(),
            quiescent: crate::kernel::is_quiescent(block) && tables.wakeups.is_empty(),
            receipts,
            settled: Vec::new(),
            fired: tables.applied.iter().skip(obeyed).map(|(_, it)| format!("{}: {}", it.crank, it.text)).collect(),
        };
        result.settled = self.pending.iter().filter_map(|it| settled(block, *it)).collect();
        self.stage = Stage::Ran(Box::new(result.clone()));
        Ok(result)
    }

    /// Commits the block that was run: rows, height, hash, and result are one transaction.
    pub fn commit(&mut self) -> Result<ReplicaInfo, StageError> {
        let Stage::Ran(result) = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return Err(StageError::Order { asked: "commit", why: "`run` comes first" });
        };
        let bytes = serde_json::to_vec(&result).map_err(|err| HostFault::new("write the result of a block", err))?;
        undo::put_result(self.host.block_mut()?, bytes);
        commit(&mut self.host)?;
        for it in &result.settled {
            self.pending.remove(&it.result);
        }
        self.info()
    }

    /// Gives up the block that was begun, if there is one: nothing of it is left.
    pub fn abort(&mut self) -> Result<(), StageError> {
        let has_run = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => return Ok(()),
            Stage::Begun { .. } => false,
            Stage::Ran(_) => true,
        };
        self.host.inputs.clear();
        self.host.clock = None;
        if has_run {
            replace(&mut self.host, undo::reopen)?;
        }
        self.find_pending()
    }

    /// Undoes the last committed block, durably; a block that is begun is given up. The state is the one before it.
    ///
    /// # Errors
    ///
    /// The block was committed without an undo record, or the last block was undone already: only one block can be undone.
    pub fn undo_last(&mut self) -> Result<ReplicaInfo, StageError> {
        self.abort()?;
        undo::check_undo(self.host.block()?)?;
        replace(&mut self.host, undo::take_back)?;
        // Messages of the undone block may have left already. Those that are in the state now leave once more.
        self.host.left.clear();
        self.find_pending()?;
        self.info()
    }

    /// Returns the result of a committed block; those of the last hundred are kept.
    pub fn result_of(&self, height: u64) -> Result<Option<BlockResult>, StageError> {
        let Some(bytes) = undo::result_of(self.host.block()?, BlockHeight(height))? else { return Ok(None) };
        let read = serde_json::from_slice(&bytes);
        Ok(Some(read.map_err(|err| HostFault::new(format_args!("read the result of block {height}"), err))?))
    }

    /// Executes and commits a block that the engine decided, or answers with the record of the one that is saved: what an engine
    /// decides again after a crash is not executed again.
    pub fn decide(
        &mut self,
        header: &BlockHeader,
        inputs: impl IntoIterator<Item = BlockInput>,
        policy: &BlockPolicy,
    ) -> Result<BlockResult, StageError> {
        let saved = self.info()?.height;
        if header.height == saved {
            let record = self.result_of(saved)?.filter(|it| it.header == *header);
            return record.ok_or(StageError::Height { asked: header.height, saved });
        }
        self.begin_block(header.clone())?;
        for input in inputs {
            self.deliver(input)?;
        }
        let result = self.run(policy)?;
        self.commit()?;
        Ok(result)
    }

    /// Returns a summary of the state.
    pub fn report(&self) -> Result<Report, StageError> {
        Ok(self.host.report()?)
    }

    fn find_pending(&mut self) -> Result<(), StageError> {
        let tables = self.host.block()?.tables();
        let is_pending = |it: &PromiseId| tables.settling(*it).1.is_none();
        self.pending = tables.outside.iter().map(|(promise, _)| *promise).filter(is_pending).collect();
        Ok(())
    }
}

/// Runs a block with the inputs that wait, and commits nothing. Returns its cranks.
fn run(host: &mut Host, policy: &BlockPolicy) -> Result<u64, Box<Halt>> {
    let policy = BlockPolicy { wall_millis: None, ..*policy };
    stack::for_block(|| run_to_the_end(host, &policy)).inspect_err(|halt| host.record_halt(halt))
}

fn run_to_the_end(host: &mut Host, policy: &BlockPolicy) -> Result<u64, Box<Halt>> {
    let mut block = host.begin_block(policy)?;
    let (height, time) = (block.tables().globals().height, block.tables().globals().time);
    block.slog().record(Detail::Cranks, || Event::BeginBlock { block_height: height, block_time: time });
    let mut run = BlockRun::begun(block, *policy);
    while let Step::Crank(_) = run.step(&mut host.warehouse).map_err(|halt| host.clear_up(halt))? {}
    if !run.is_over()? {
        let why = "a delivery was interrupted: what a consensus engine decided runs to its end";
        return Err(HostFault::new("run a staged block", why).into());
    }
    let block = run.into_block()?;
    let cranks = block.cranks();
    host.block = Some(block);
    Ok(cranks)
}

/// Commits the block that was run.
fn commit(host: &mut Host) -> Result<(), Box<Halt>> {
    let block = host.block.take().ok_or_else(gone)?;
    let (height, time) = (block.tables().globals().height, block.tables().globals().time);
    let committed = run::commit(block, height, time, true).inspect_err(|halt| host.record_halt(halt))?;
    host.block = Some(committed);
    host.stand();
    host.let_leave()
}

/// Replaces the open state by the last committed one, or by the one before that. No instance outlives its block.
fn replace(host: &mut Host, by: impl FnOnce(Block) -> Result<Block, HostFault>) -> Result<(), Box<Halt>> {
    let block = host.block.take().ok_or_else(gone)?;
    host.warehouse.evict_all();
    host.block = Some(by(block)?);
    host.stand();
    Ok(())
}

/// Gives an input to the host. Returns the promise for its result, if it is a message.
fn take_in(host: &mut Host, input: BlockInput) -> Result<Option<PromiseId>, HostFault> {
    match input {
        BlockInput::Send { to, method, args } => {
            let args = args.into_iter().map(Arg::Told);
            let sent = match to.strip_prefix('@') {
                None => host.send(To::Root(&to), &method, args),
                Some(name) => host.send(host.named(name)?, &method, args),
            };
            return sent.map(|it| Some(it.promise()));
        }
        BlockInput::Forget { result } => host.forget(Sent::of(result))?,
        BlockInput::Mail { number, message } => {
            if !host.receive_mail(number, message)? {
                let why = "it is not the next message, or no vat handles the mailbox's";
                return Err(HostFault::new(format_args!("take message {number} into the mailbox"), why));
            }
        }
        BlockInput::AcknowledgeMail { number } => host.acknowledge_mail(number)?,
        BlockInput::Device { name, input } => host.tell_device(&name, input).map_err(|halt| match halt.fault {
            crate::model::blame::Fault::Host(fault) => fault,
            other => HostFault::new("tell a device", other),
        })?,
    }
    Ok(None)
}

fn settled(block: &Block, result: PromiseId) -> Option<SettledResult> {
    let (status, data) = block.tables().settling(result);
    let data = data?;
    Some(SettledResult {
        result,
        status: status.to_owned(),
        body: String::from_utf8_lossy(&data.body).into_owned(),
        slots: data.slots.iter().map(ToString::to_string).collect(),
    })
}

fn fired_digest(block: &Block) -> String {
    let mut hasher = blake3::Hasher::new();
    for (_, it) in block.tables().applied.iter() {
        hasher.update(format!("{}: {}\n", it.crank, it.text).as_bytes());
    }
    hex(hasher.finalize().as_bytes())
}
