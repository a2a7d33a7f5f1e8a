//! The state machine between an engine and the host: the engine's events come in as calls, and each returns its answer.
//!
//! ```text
//!   ready ─▶ started_round ─▶ get_value / received / synced ─▶ decided ─▶ finalized ─▶ started_round (H + 1) …
//!               │ persisted        │ persisted                   │ persisted, executed, committed
//!               └──────────────────┴─── and then answered ───────┘
//! ```
//!
//! Invariants: a value is durable before the engine hears of it, since its log decides a height again after a crash but does not hand the
//! value back; a decided block is durable before it is executed, so a node that starts again executes it from its own records; the state,
//! its height, its hash and the result of the block are one transaction; the block after the last committed one is executed, the last
//! committed one is answered from its record, and any other is a permanent failure. Block H + 1 carries the outcome of block H: who came
//! to another votes for none, and halts when it is decided.
//!
//! Nothing here reads a clock, a network or a thread: the time comes in with the events.

mod application;
mod halt;
mod pool;

pub use application::Application;
pub use halt::{Divergence, Halted};
pub use pool::{WAITING_BYTES_MAX, WAITING_MAX};

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
};

use borsh::{BorshDeserialize, BorshSerialize};
use pool::Pool;
use vathost::{
    host::staged::{BlockInput, BlockResult},
    model::blame::HostFault,
};

use crate::{
    block::{Block, Parent, Proposal},
    certificate::Certificate,
    genesis::Genesis,
    keys::{Address, Digest},
    store::{DecidedBlock, ExecutedBlock, Store, SubmissionAnswer},
    submit::{Refusal, Submission, WINDOW},
};

/// Seconds by which a block's time may be ahead of a voter's clock.
pub const CLOCK_DRIFT: u64 = 30;

/// The most proposals of one round that are kept: a proposer that lies has as many tries.
const PROPOSALS_OF_A_ROUND_MAX: usize = 4;

/// The most proposals of later heights that are kept until their height begins.
const EARLY_MAX: usize = 64;

/// The most bytes of blocks that are given to a node that catches up, in one answer; one block is given in any case.
const CATCH_UP_BYTES_MAX: usize = 4 << 20;

/// The outcome of the last committed block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The height of the block.
    pub height: u64,
    /// The time of the block.
    pub time: u64,
    /// The outcome that the next block has to carry.
    pub outcome: Parent,
}

/// A proposal, and whether this node votes for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedProposal {
    /// The proposal.
    pub proposal: Proposal,
    /// The reason why this node votes for none.
    pub objection: Option<String>,
}

/// A decided block as it is given to a node that catches up: together with the next one, if that says that directives were obeyed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SyncedValue {
    /// The block.
    pub block: Block,
    /// The next block, which names the directives that were obeyed in this one.
    pub next: Option<DecidedBlock>,
}

/// The state of a submission that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmissionState {
    /// The submission waits for a block.
    Waiting,
    /// A block holds it.
    InBlock(SubmissionAnswer),
    /// This node does not know it.
    Unknown,
}

/// The driver of one node.
#[derive(Debug)]
pub struct Driver<A, S> {
    application: A,
    store: S,
    genesis: Arc<Genesis>,
    chain: Digest,
    me: Address,
    standing: Standing,
    /// The promises of the last block whose answers are told, and name nothing: the next block lets them go.
    told: Vec<BlockInput>,
    pool: Pool,
    /// The ids of the submissions in the last blocks, as many as the window is long, each with its height.
    seen: BTreeMap<Digest, u64>,
    /// Proposals of the heights to come.
    early: Vec<Proposal>,
    /// The directives that were obeyed in blocks to come, as later blocks say that are decided.
    obeyed: BTreeMap<u64, Vec<String>>,
}

impl<A: Application, S: Store> Driver<A, S> {
    /// Makes the driver of a node that stands where its application does. [`catch_up`](Driver::catch_up) comes next.
    ///
    /// # Errors
    ///
    /// The state and the records do not belong together, or not to this chain.
    pub fn new(application: A, mut store: S, genesis: Arc<Genesis>, me: Address) -> Result<Driver<A, S>, Halted> {
        let info = application.info()?;
        store.forget_executed_above(info.height)?;
        let chain = genesis.id();
        let mut driver = Driver {
            application,
            store,
            standing: beginning(&genesis, &chain),
            genesis,
            chain,
            me,
            told: Vec::new(),
            pool: Pool::default(),
            seen: BTreeMap::new(),
            early: Vec::new(),
            obeyed: BTreeMap::new(),
        };
        driver.mend_records(info.height)?;
        driver.stand_at(info.height)?;
        if driver.standing.outcome.state_hash.to_string() != info.state_hash {
            let (ours, height) = (info.state_hash, info.height);
            let why = format!("the records say {}, the state has {ours}", driver.standing.outcome.state_hash);
            let what = format_args!("find the state of block {height} among the node's records");
            return Err(HostFault::new(what, why).into());
        }
        driver.seen = driver.store.ids_since(info.height.saturating_sub(WINDOW))?.into_iter().map(swap).collect();
        Ok(driver)
    }

    /// Writes the records again that a crash lost after the kernel had committed a block.
    fn mend_records(&mut self, height: u64) -> Result<(), Halted> {
        let last = self.store.last_executed()?.unwrap_or(0);
        for lost in last + 1..=height {
            let Some(result) = self.application.result_of(lost)? else {
                let why = "neither the state nor `node.db` has its result: they do not belong together. Put back both from one copy, \
                           or begin again from an export";
                return Err(HostFault::new(format_args!("find what came of block {lost}"), why).into());
            };
            let ids = self.decided_at(lost)?.block.submissions.iter().map(|it| it.id(&self.chain)).collect();
            self.store.put_executed(&ExecutedBlock { result, ids })?;
        }
        Ok(())
    }

    fn decided_at(&self, height: u64) -> Result<DecidedBlock, Halted> {
        let missing = || {
            let why = "`node.db` does not have it, and the state is past it: put back both from one copy, or begin again from an export";
            HostFault::new(format_args!("find block {height}"), why)
        };
        Ok(self.store.decided(height)?.ok_or_else(missing)?)
    }

    /// Takes over the outcome of this block, of which the records are complete.
    fn stand_at(&mut self, height: u64) -> Result<(), Halted> {
        if height == 0 {
            self.standing = beginning(&self.genesis, &self.chain);
            return Ok(());
        }
        let block = self.decided_at(height)?.block;
        let Some(result) = self.store.executed(height)? else {
            return Err(
                HostFault::new(format_args!("find what came of block {height}"), "`node.db` does not have it").into()
            );
        };
        self.stand(&block, &result)
    }

    fn stand(&mut self, block: &Block, result: &BlockResult) -> Result<(), Halted> {
        self.told = told(result);
        self.standing = Standing { height: block.height, time: block.time, outcome: outcome_of(block, result)? };
        Ok(())
    }

    /// Executes the next decided block that the application has not committed yet, from this node's own records.
    pub fn catch_up_by_one(&mut self) -> Result<Option<BlockResult>, Halted> {
        let decided = self.store.decided(self.standing.height + 1)?;
        decided.map(|it| self.execute(&it)).transpose()
    }

    /// Executes all decided blocks that the application has not committed yet. Returns how many.
    pub fn catch_up(&mut self) -> Result<u64, Halted> {
        let mut count = 0;
        while self.catch_up_by_one()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Returns the outcome of the last committed block.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Returns the application, to read its state.
    pub fn application(&self) -> &A {
        &self.application
    }

    /// Returns the records of the node.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Gives the application and the records back.
    pub fn into_parts(self) -> (A, S) {
        (self.application, self.store)
    }

    /// Returns the number of submissions that wait for a block.
    pub fn waiting(&self) -> usize {
        self.pool.len()
    }

    /// Returns whether the next block would have something in it, or to run.
    pub fn has_work(&self, now: u64) -> bool {
        self.pool.len() > 0 || self.application.has_work(now)
    }

    /// The engine is ready. Returns the height to begin with.
    pub fn ready(&self) -> u64 {
        self.standing.height + 1
    }

    /// A round has started. Returns the values of that round that are here already: after a crash the engine does not have them.
    pub fn started_round(&mut self, height: u64, round: u32, now: u64) -> Result<Vec<JudgedProposal>, Halted> {
        let early = std::mem::take(&mut self.early);
        let (due, later): (Vec<_>, Vec<_>) =
            early.into_iter().filter(|it| it.block.height >= height).partition(|it| it.block.height == height);
        self.early = later;
        for proposal in due {
            self.keep(&proposal)?;
        }
        let found = self.store.undecided(height)?.into_iter().filter(|it| it.round == round);
        Ok(found.map(|it| self.judge(it, now)).collect())
    }

    /// The engine asks for a value to propose. Returns the one that was proposed in that round before, if there is one: a validator never
    /// proposes two.
    pub fn get_value(&mut self, height: u64, round: u32, now: u64) -> Result<Proposal, Halted> {
        if height != self.standing.height + 1 {
            let saved = self.standing.height;
            return Err(Halted::Permanent(format!("a value for block {height} is asked for, and {saved} is the last")));
        }
        let mine = |it: &Proposal| it.round == round && it.proposer == self.me;
        if let Some(proposal) = self.store.undecided(height)?.into_iter().find(mine) {
            return Ok(proposal);
        }
        let block = Block {
            height,
            time: now.max(self.standing.time),
            parent: self.standing.outcome.clone(),
            submissions: self.pool.for_block(),
        };
        let proposal = Proposal { round, valid_round: None, proposer: self.me, block };
        self.store.put_undecided(&proposal)?;
        Ok(proposal)
    }

    /// A proposal came in whose signature is right. Returns it with this node's judgment, or nothing if it is of no use now.
    pub fn received(&mut self, proposal: Proposal, now: u64) -> Result<Option<JudgedProposal>, Halted> {
        let (height, next) = (proposal.block.height, self.standing.height + 1);
        if height < next || self.genesis.proposer(height, proposal.round).address() != proposal.proposer {
            return Ok(None);
        }
        if height > next {
            if self.early.len() < EARLY_MAX && !self.early.contains(&proposal) {
                self.early.push(proposal);
            }
            return Ok(None);
        }
        let kept = self.keep(&proposal)?;
        Ok(kept.then(|| self.judge(proposal, now)))
    }

    /// Persists a proposal, unless there are too many of its round. Returns whether it is kept.
    fn keep(&mut self, proposal: &Proposal) -> Result<bool, Halted> {
        let undecided = self.store.undecided(proposal.block.height)?;
        if undecided.contains(proposal) {
            return Ok(true);
        }
        if undecided.iter().filter(|it| it.round == proposal.round).count() >= PROPOSALS_OF_A_ROUND_MAX {
            return Ok(false);
        }
        self.store.put_undecided(proposal)?;
        Ok(true)
    }

    /// The engine asks to send a value again, in a later round. Returns the proposal, if the value is here.
    pub fn restream(
        &mut self,
        height: u64,
        round: u32,
        valid_round: Option<u32>,
        id: Digest,
    ) -> Result<Option<Proposal>, Halted> {
        let undecided = self.store.undecided(height)?;
        let found = undecided.into_iter().find(|it| it.block.id() == id);
        Ok(found.map(|it| Proposal { round, valid_round, proposer: self.me, block: it.block }))
    }

    /// A value came in from a peer that has it decided, with a certificate that the engine verified. Returns nothing if the bytes are no
    /// such value: the peer is at fault.
    pub fn synced(
        &mut self,
        height: u64,
        round: u32,
        proposer: Address,
        bytes: &[u8],
    ) -> Result<Option<Proposal>, Halted> {
        let Ok(SyncedValue { block, next }) = borsh::from_slice::<SyncedValue>(bytes) else { return Ok(None) };
        if block.height != height {
            return Ok(None);
        }
        if let Some(next) = next {
            let follows = next.block.height == height + 1 && next.block.parent.block == block.id();
            let is_certified = next.certificate.block == next.block.id() && next.certificate.height == height + 1;
            if !follows || !is_certified || next.certificate.verify(&self.genesis).is_err() {
                return Ok(None);
            }
            self.obeyed.insert(height, next.block.parent.fired);
        }
        let proposal = Proposal { round, valid_round: None, proposer, block };
        self.store.put_undecided(&proposal)?;
        Ok(Some(proposal))
    }

    /// Judges whether this node votes for a proposal.
    fn judge(&self, proposal: Proposal, now: u64) -> JudgedProposal {
        let objection = self.objection(&proposal.block, now).err();
        JudgedProposal { proposal, objection }
    }

    fn objection(&self, block: &Block, now: u64) -> Result<(), String> {
        let Standing { height, time, outcome } = &self.standing;
        if block.height != height + 1 {
            return Err(format!("it is block {}, and {height} is the last one here", block.height));
        }
        if block.parent != *outcome {
            let (theirs, ours) = (&block.parent, outcome);
            return Err(format!(
                "its proposer came to the state hash {} behind block {height} (directives obeyed there: {}), this node to {} ({})",
                theirs.state_hash,
                listed(&theirs.fired),
                ours.state_hash,
                listed(&ours.fired)
            ));
        }
        if block.time < *time {
            return Err(format!("its time is {}, and that of the block before {time}", block.time));
        }
        if block.time > now.saturating_add(CLOCK_DRIFT) {
            return Err(format!("its time is {}, more than {CLOCK_DRIFT} s ahead of this node's clock", block.time));
        }
        block.check_form(&self.genesis, &self.chain)?;
        let mut ids = BTreeSet::new();
        for id in block.submissions.iter().map(|it| it.id(&self.chain)) {
            if self.seen.contains_key(&id) || !ids.insert(id) {
                return Err(format!("the submission {id} is in a block already"));
            }
        }
        Ok(())
    }

    /// The engine decided on a block. Persists the block, executes and commits it, or answers from the record if it is the last committed one.
    pub fn decided(&mut self, certificate: Certificate) -> Result<BlockResult, Halted> {
        let (height, saved) = (certificate.height, self.standing.height);
        if height == saved && certificate.block == self.standing.outcome.block {
            let record = self.store.executed(height)?;
            return record.ok_or_else(|| Halted::Permanent(format!("there is no record of block {height}")));
        }
        if height != saved + 1 {
            return Err(Halted::Permanent(format!("block {height} is decided, and block {saved} is the last here")));
        }
        let values = self.store.undecided(height)?;
        let value = values.into_iter().find(|it| it.block.id() == certificate.block);
        let block = value.ok_or_else(|| Halted::no_value(height, certificate.block))?.block;
        let decided = DecidedBlock { block, certificate };
        self.store.put_decided(&decided)?;
        self.execute(&decided)
    }

    fn execute(&mut self, decided: &DecidedBlock) -> Result<BlockResult, Halted> {
        let DecidedBlock { block, certificate } = decided;
        if block.parent != self.standing.outcome {
            let (theirs, ours) = (block.parent.clone(), self.standing.outcome.clone());
            let signers = certificate.signatures.len();
            return Err(Halted::Divergence(Box::new(Divergence { height: block.height, signers, theirs, ours })));
        }
        self.check_directives(block.height)?;
        let inputs = inputs_of(block, &self.genesis, self.told.clone())?;
        let result = self.application.execute(&block.header(), inputs, &self.genesis.policy())?;
        self.took(block, &result)?;
        Ok(result)
    }

    /// Takes over a block that is committed.
    fn took(&mut self, block: &Block, result: &BlockResult) -> Result<(), Halted> {
        let height = block.height;
        let ids: Vec<Digest> = block.submissions.iter().map(|it| it.id(&self.chain)).collect();
        self.store.put_executed(&ExecutedBlock { result: result.clone(), ids: ids.clone() })?;
        self.pool.drop_decided(&ids.iter().copied().collect(), height);
        self.seen.extend(ids.into_iter().map(|it| (it, height)));
        self.seen.retain(|_, at| *at + WINDOW >= height);
        self.obeyed = self.obeyed.split_off(&(height + 1));
        self.stand(block, result)
    }

    /// Refuses to execute a block if a later one says that directives were obeyed in it which this node does not have.
    fn check_directives(&self, height: u64) -> Result<(), Halted> {
        let obeyed = match self.obeyed.get(&height) {
            Some(lines) => lines.clone(),
            None => self.store.decided(height + 1)?.map(|it| it.block.parent.fired).unwrap_or_default(),
        };
        let ours = self.application.directives();
        // Each is written with its crank in front.
        let line = |it: &String| it.split_once(": ").map_or(it.clone(), |(_, line)| line.to_owned());
        let lines: Vec<String> = obeyed.iter().map(line).filter(|it| !ours.contains(it)).collect();
        if lines.is_empty() { Ok(()) } else { Err(Halted::MissingDirectives { height, lines }) }
    }

    /// The height is over for the engine. Returns the next one.
    pub fn finalized(&self, height: u64) -> Result<u64, Halted> {
        if height != self.standing.height {
            let saved = self.standing.height;
            return Err(Halted::Permanent(format!("block {height} is final, and block {saved} is the last here")));
        }
        Ok(height + 1)
    }

    /// Returns the lowest height that this node can give to one that catches up.
    pub fn history_begins(&self) -> Result<u64, Halted> {
        Ok(self.store.decided_heights()?.map_or(0, |(lowest, _)| lowest))
    }

    /// Returns decided blocks for a node that catches up, from the first height on, as many as fit in an answer.
    pub fn decided_values(&self, heights: RangeInclusive<u64>) -> Result<Vec<(SyncedValue, Certificate)>, Halted> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut ahead = self.store.decided(*heights.start())?;
        for height in heights {
            let Some(DecidedBlock { block, certificate }) = ahead.take() else { break };
            ahead = self.store.decided(height + 1)?;
            let next = ahead.clone().filter(|it| !it.block.parent.fired.is_empty());
            bytes += block.submissions.iter().map(Submission::size).sum::<usize>() + 1_000;
            if bytes > CATCH_UP_BYTES_MAX && !found.is_empty() {
                break;
            }
            found.push((SyncedValue { block, next }, certificate));
        }
        Ok(found)
    }

    /// Takes a submission in, to be proposed. Returns its id.
    pub fn submit(&mut self, submission: Submission) -> Result<Digest, Refusal> {
        submission.check(&self.genesis, &self.chain, self.standing.height + 1)?;
        let id = submission.id(&self.chain);
        if self.seen.contains_key(&id) {
            return Err(Refusal::Duplicate(id));
        }
        self.pool.put(id, submission)?;
        Ok(id)
    }

    /// Returns what this node knows of a submission.
    pub fn submission(&self, id: &Digest) -> Result<SubmissionState, Halted> {
        if self.pool.contains(id) {
            return Ok(SubmissionState::Waiting);
        }
        Ok(self.store.answer(id)?.map_or(SubmissionState::Unknown, SubmissionState::InBlock))
    }

    /// Takes the last committed block back, durably. [`catch_up`](Driver::catch_up) executes it again.
    pub fn undo_last(&mut self) -> Result<(), Halted> {
        let info = self.application.undo_last()?;
        self.store.forget_executed_above(info.height)?;
        self.seen.retain(|_, at| *at <= info.height);
        self.stand_at(info.height)
    }
}

fn beginning(genesis: &Genesis, chain: &Digest) -> Standing {
    let outcome = Parent { block: *chain, state_hash: genesis.state_hash, result: Digest::NONE, fired: Vec::new() };
    Standing { height: 0, time: 0, outcome }
}

/// Returns the outcome of a block, as the next one carries it.
pub(crate) fn outcome_of(block: &Block, result: &BlockResult) -> Result<Parent, Halted> {
    let fault =
        |err: &dyn std::fmt::Display| HostFault::new(format_args!("read the result of block {}", block.height), err);
    let state_hash = result.state_hash.parse().map_err(|err| fault(&err))?;
    let bytes = serde_json::to_vec(result).map_err(|err| fault(&err))?;
    let result_digest = Digest::of("vathost-node result", &bytes);
    Ok(Parent { block: block.id(), state_hash, result: result_digest, fired: result.fired.clone() })
}

/// Returns the inputs of a block: its submissions, and behind them those that let go of what the block before told.
pub(crate) fn inputs_of(block: &Block, genesis: &Genesis, told: Vec<BlockInput>) -> Result<Vec<BlockInput>, Halted> {
    let mut inputs = Vec::new();
    for (at, submission) in block.submissions.iter().enumerate() {
        inputs.push(submission.to_input(genesis).map_err(|why| {
            Halted::Permanent(format!("block {} is decided, and its submission {at} is none: {why}", block.height))
        })?);
    }
    inputs.extend(told);
    Ok(inputs)
}

/// Returns the inputs that let go of the answers which a block told in full: those that name nothing.
pub(crate) fn told(result: &BlockResult) -> Vec<BlockInput> {
    let plain = result.settled.iter().filter(|it| it.slots.is_empty());
    plain.map(|it| BlockInput::Forget { result: it.result }).collect()
}

fn listed(fired: &[String]) -> String {
    if fired.is_empty() { "none".to_owned() } else { fired.join(", ") }
}

fn swap((height, id): (u64, Digest)) -> (Digest, u64) {
    (id, height)
}
