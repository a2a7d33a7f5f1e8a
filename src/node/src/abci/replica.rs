//! The replica behind CometBFT: what a block means to the host, without the protocol's messages.
//!
//! ```text
//!   check ─▶ CometBFT's own pool ─▶ prepare ─▶ process ─▶ finalize ─▶ (staged) ─▶ commit
//!                                                            │ persisted              │ state, height, hash, result: one transaction
//! ```
//!
//! Invariants: the block after the last committed one is executed, and staged until the commit; the last committed one is answered from
//! its record; any other is a permanent failure. What a transaction comes to is the same on every replica, and so is whether it is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use vathost::{
    host::staged::{BlockInput, BlockResult, ReplicaInfo, StagedHost},
    model::blame::HostFault,
};

use crate::{
    block::{BLOCK_BYTES_MAX, Block, Parent, SUBMISSIONS_MAX},
    certificate::Certificate,
    driver::{Halted, inputs_of, told},
    genesis::Genesis,
    keys::Digest,
    store::{DecidedBlock, ExecutedBlock, Store, SubmissionAnswer},
    submit::{Refusal, Submission, WINDOW},
};

/// The outcome of a transaction of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxOutcome {
    /// The kernel took it in.
    Done {
        /// The id of the submission.
        id: Digest,
        /// The promise for the answer to a message.
        promise: Option<String>,
    },
    /// The kernel refused it.
    RefusedByKernel {
        /// The id of the submission.
        id: Digest,
        /// The reason.
        why: String,
    },
    /// The bytes are no submission that the block may hold.
    Refused(String),
}

/// The outcome of a block that was executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finalized {
    /// The state hash behind the block: the application hash.
    pub state_hash: Digest,
    /// The outcome of each transaction, in order.
    pub transactions: Vec<TxOutcome>,
    /// The result of the block.
    pub result: BlockResult,
}

/// A block that has run, and is not committed.
#[derive(Debug)]
struct Staged {
    time: u64,
    transactions: Vec<Vec<u8>>,
    ids: Vec<Digest>,
    finalized: Finalized,
}

/// The host of a validator that runs CometBFT, with its records.
#[derive(Debug)]
pub struct AbciReplica<S> {
    host: StagedHost,
    store: S,
    genesis: Arc<Genesis>,
    chain: Digest,
    /// The last committed block.
    standing: ReplicaInfo,
    /// The promises of that block whose answers are told, and name nothing.
    told: Vec<BlockInput>,
    /// The ids of the submissions in the last blocks, each with its height.
    seen: BTreeMap<Digest, u64>,
    staged: Option<Staged>,
}

impl<S: Store> AbciReplica<S> {
    /// Makes the replica of a host and its records.
    ///
    /// # Errors
    ///
    /// They do not belong together.
    pub fn new(host: StagedHost, mut store: S, genesis: Arc<Genesis>) -> Result<AbciReplica<S>, Halted> {
        let standing = host.info()?;
        store.forget_executed_above(standing.height)?;
        let chain = genesis.id();
        let seen = BTreeMap::new();
        let mut replica = AbciReplica { host, store, genesis, chain, standing, told: Vec::new(), seen, staged: None };
        replica.mend_records()?;
        let height = replica.standing.height;
        let last = if height == 0 { None } else { replica.store.executed(height)? };
        replica.told = last.as_ref().map(told).unwrap_or_default();
        let since = replica.store.ids_since(height.saturating_sub(WINDOW))?;
        replica.seen = since.into_iter().map(|(height, id)| (id, height)).collect();
        Ok(replica)
    }

    /// Writes the records again that a crash lost after the host had committed a block.
    fn mend_records(&mut self) -> Result<(), Halted> {
        let last = self.store.last_executed()?.unwrap_or(0);
        for lost in last + 1..=self.standing.height {
            let found = self.host.result_of(lost)?.zip(self.store.decided(lost)?);
            let (result, decided) = found.ok_or_else(|| {
                let why = "the state and `node.db` do not belong together: put back both from one copy";
                HostFault::new(format_args!("find what came of block {lost}"), why)
            })?;
            let ids = decided.block.submissions.iter().map(|it| it.id(&self.chain)).collect();
            self.store.put_executed(&ExecutedBlock { result, ids })?;
        }
        Ok(())
    }

    /// Returns the last committed block.
    pub fn standing(&self) -> &ReplicaInfo {
        &self.standing
    }

    /// Returns the host, to read its state.
    pub fn host(&self) -> &StagedHost {
        &self.host
    }

    /// Returns what became of a submission, if a block holds it.
    pub fn answer(&self, id: &Digest) -> Result<Option<SubmissionAnswer>, Halted> {
        Ok(self.store.answer(id)?)
    }

    /// Begins the chain on this state. Returns the state hash that block 1 follows.
    ///
    /// # Errors
    ///
    /// The state is not the one that this chain begins with.
    pub fn begin_chain(&self, name: &str, first: u64) -> Result<Digest, Halted> {
        let ReplicaInfo { height, state_hash, .. } = &self.standing;
        if first.max(1) != height + 1 {
            let why = format!("the chain begins with block {first}, and block {height} is the last one of the state");
            return Err(Halted::Permanent(why));
        }
        if name != self.genesis.chain {
            let ours = &self.genesis.chain;
            let why =
                format!("CometBFT's genesis names the chain `{name}`, and genesis.json `{ours}`: give both one name");
            return Err(Halted::Permanent(why));
        }
        if *height == 0 && self.genesis.state_hash.to_string() != *state_hash {
            let why = format!(
                "genesis.json begins with the state {}, and the home has {state_hash}",
                self.genesis.state_hash
            );
            return Err(Halted::Permanent(why));
        }
        self.state_hash()
    }

    fn state_hash(&self) -> Result<Digest, Halted> {
        digest(&self.standing.state_hash)
    }

    // ---- transactions

    /// Checks whether a transaction may wait for a block. Returns its id.
    pub fn check(&self, bytes: &[u8]) -> Result<Digest, Refusal> {
        self.read(bytes, self.standing.height + 1).map(|(id, _)| id)
    }

    /// Reads the submission that a transaction is, if a block of this height may hold it.
    fn read(&self, bytes: &[u8], height: u64) -> Result<(Digest, Submission), Refusal> {
        let read = borsh::from_slice::<Submission>(bytes);
        let submission = read.map_err(|err| Refusal::Malformed(format!("it is not a submission: {err}")))?;
        submission.check(&self.genesis, &self.chain, height)?;
        let id = submission.id(&self.chain);
        if self.seen.contains_key(&id) { Err(Refusal::Duplicate(id)) } else { Ok((id, submission)) }
    }

    /// Reads the transactions of a block, each with its submission or with the reason why it is none.
    fn read_all(&self, height: u64, transactions: &[Vec<u8>]) -> Vec<Result<(Digest, Submission), String>> {
        let (mut ids, mut count, mut bytes) = (BTreeSet::new(), 0, 0);
        let mut read = |transaction: &Vec<u8>| {
            let (id, submission) = self.read(transaction, height).map_err(|why| why.to_string())?;
            if ids.contains(&id) {
                return Err(Refusal::Duplicate(id).to_string());
            }
            if count == SUBMISSIONS_MAX || bytes + submission.size() > BLOCK_BYTES_MAX {
                return Err(format!(
                    "a block holds {SUBMISSIONS_MAX} submissions and {BLOCK_BYTES_MAX} bytes at the most"
                ));
            }
            count += 1;
            bytes += submission.size();
            ids.insert(id);
            Ok((id, submission))
        };
        transactions.iter().map(&mut read).collect()
    }

    /// Chooses the transactions of a block that this node proposes: those that every node takes, of this many bytes at the most.
    pub fn prepare(&self, transactions: Vec<Vec<u8>>, most: usize) -> Vec<Vec<u8>> {
        let read = self.read_all(self.standing.height + 1, &transactions);
        let mut bytes = 0;
        let fits = |(transaction, read): (Vec<u8>, Result<(Digest, Submission), String>)| {
            // What surrounds a transaction in a block of CometBFT takes some bytes, too.
            let size = transaction.len() + 10;
            let fits = read.is_ok() && bytes + size <= most;
            bytes += if fits { size } else { 0 };
            fits.then_some(transaction)
        };
        transactions.into_iter().zip(read).filter_map(fits).collect()
    }

    /// Judges a block that somebody proposed.
    ///
    /// # Errors
    ///
    /// The reason why this node votes for none.
    pub fn process(&self, height: u64, time: u64, transactions: &[Vec<u8>]) -> Result<(), String> {
        let saved = &self.standing;
        if height != saved.height + 1 {
            return Err(format!("it is block {height}, and {} is the last one here", saved.height));
        }
        if time < saved.time {
            return Err(format!("its time is {time}, and that of the block before {}", saved.time));
        }
        for (at, read) in self.read_all(height, transactions).into_iter().enumerate() {
            read.map_err(|why| format!("transaction {at}: {why}"))?;
        }
        Ok(())
    }

    // ---- blocks

    /// Executes a decided block, and commits nothing of it yet; or answers from the record of the last committed one.
    ///
    /// # Errors
    ///
    /// The host halted, or this is neither of the two blocks.
    pub fn finalize(&mut self, height: u64, time: u64, transactions: Vec<Vec<u8>>) -> Result<Finalized, Halted> {
        let saved = self.standing.height;
        if height == saved && height > 0 {
            return self.recorded(height, time, &transactions);
        }
        if height != saved + 1 {
            return Err(Halted::Permanent(format!("block {height} is decided, and block {saved} is the last here")));
        }
        if let Some(staged) = &self.staged {
            if staged.time == time && staged.transactions == transactions {
                return Ok(staged.finalized.clone());
            }
            self.staged = None;
            self.host.abort()?;
        }
        let read = self.read_all(height, &transactions);
        let submissions = read.iter().filter_map(|it| it.as_ref().ok()).map(|(_, it)| it.clone()).collect();
        let parent =
            Parent { block: Digest::NONE, state_hash: self.state_hash()?, result: Digest::NONE, fired: Vec::new() };
        // A second is the smallest time of the vats; those of CometBFT never go back.
        let block = Block { height, time: time.max(self.standing.time), parent, submissions };
        self.persist(&block)?;
        let result = self.execute(&block)?;
        let ids = block.submissions.iter().map(|it| it.id(&self.chain)).collect();
        let finalized = finalized(result, read)?;
        self.staged = Some(Staged { time, transactions, ids, finalized: finalized.clone() });
        Ok(finalized)
    }

    /// Keeps a decided block: after a crash its submissions are the names of what the host committed. The proof that it is decided is
    /// CometBFT's.
    fn persist(&mut self, block: &Block) -> Result<(), Halted> {
        if let Some(known) = self.store.decided(block.height)? {
            if (known.block.time, &known.block.submissions) != (block.time, &block.submissions) {
                let why = format!("block {} is decided, and another one was decided before", block.height);
                return Err(Halted::Permanent(why));
            }
            return Ok(());
        }
        let certificate = Certificate { height: block.height, round: 0, block: block.id(), signatures: Vec::new() };
        Ok(self.store.put_decided(&DecidedBlock { block: block.clone(), certificate })?)
    }

    fn execute(&mut self, block: &Block) -> Result<BlockResult, Halted> {
        let inputs = inputs_of(block, &self.genesis, self.told.clone())?;
        self.host.begin_block(block.header())?;
        for input in inputs {
            self.host.deliver(input)?;
        }
        Ok(self.host.run(&self.genesis.policy())?)
    }

    fn recorded(&self, height: u64, time: u64, transactions: &[Vec<u8>]) -> Result<Finalized, Halted> {
        let record = self.host.result_of(height)?.zip(self.store.decided(height)?);
        let record = record.filter(|(result, _)| result.header.time == time);
        let other = || Halted::Permanent(format!("block {height} is decided, and another one is committed here"));
        let (result, decided) = record.ok_or_else(other)?;
        let mut held = decided.block.submissions.into_iter().peekable();
        let read = |transaction: &Vec<u8>| {
            let submission = borsh::from_slice::<Submission>(transaction).ok();
            let next = held.next_if(|it| submission.as_ref() == Some(it));
            next.map(|it| (it.id(&self.chain), it)).ok_or_else(|| "the block was executed without it".to_owned())
        };
        let read = transactions.iter().map(read).collect();
        if held.peek().is_some() {
            return Err(other());
        }
        finalized(result, read)
    }

    /// Commits the block that was executed. Returns its result.
    pub fn commit(&mut self) -> Result<BlockResult, Halted> {
        let nothing = || Halted::Permanent("a commit is asked for, and no block has run".to_owned());
        let Staged { ids, finalized, .. } = self.staged.take().ok_or_else(nothing)?;
        self.standing = self.host.commit()?;
        let height = self.standing.height;
        self.told = told(&finalized.result);
        let executed = ExecutedBlock { result: finalized.result, ids };
        self.store.put_executed(&executed)?;
        let ExecutedBlock { result, ids } = executed;
        self.seen.extend(ids.into_iter().map(|it| (it, height)));
        self.seen.retain(|_, at| *at + WINDOW >= height);
        Ok(result)
    }
}

fn digest(text: &str) -> Result<Digest, Halted> {
    Ok(text.parse().map_err(|err| HostFault::new("read a state hash", err))?)
}

/// Joins the result of a block with its transactions: the receipts of those that it holds come first in the result, in order.
fn finalized(result: BlockResult, read: Vec<Result<(Digest, Submission), String>>) -> Result<Finalized, Halted> {
    let mut receipts = result.receipts.iter();
    let outcome = |read| match (read, receipts.as_slice().first()) {
        (Err(why), _) => TxOutcome::Refused(why),
        (Ok((id, _)), receipt) => {
            receipts.next();
            match receipt.and_then(|it| it.refused.clone()) {
                Some(why) => TxOutcome::RefusedByKernel { id, why },
                None => TxOutcome::Done { id, promise: receipt.and_then(|it| it.result).map(|it| it.to_string()) },
            }
        }
    };
    let transactions = read.into_iter().map(outcome).collect();
    Ok(Finalized { state_hash: digest(&result.state_hash)?, transactions, result })
}
