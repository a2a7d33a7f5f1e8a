//! One life of a node: Malachite's own state machine of the consensus, and the driver, in the places that the engine's actors and the
//! loop of `engine/events.rs` have in a real process. The kernel's thread answers in the order in which it is asked, while the consensus
//! goes on.
//!
//! ```text
//!   network, timers ─▶ mailbox ─▶ process! ─▶ effects ─┬▶ log, signatures, timers, messages
//!                         ▲                             └▶ desk: the driver's turn comes later ─▶ answer ─┐
//!                         └───────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use arc_malachitebft_app_channel::app::metrics::Metrics;
use arc_malachitebft_core_consensus::{
    Effect, Error, Input, LivenessMsg, LocallyProposedValue, Params, PeerId, ProposedValue, Resumable as _, Resume,
    SignedConsensusMsg, State, process,
};
use arc_malachitebft_core_types::{
    ExtendedCommitCertificate, LinearTimeouts, Round, Timeout, Validity, ValueOrigin, ValuePayload, ValueResponse,
    VoteExtensionPolicy, VoteExtensions,
};

use super::{
    disk::{DiskStore, EngineLog, Fate},
    replica::Replica,
    signing::Notary,
};
use crate::{
    block::Proposal,
    certificate::Certificate,
    driver::{Driver, Halted, JudgedProposal},
    engine::context::{ChainContext, Height, Members, Part, certificate, commit_certificate, number, part_bytes},
    keys::{Address, Digest, SecretKey},
    submit::Submission,
};

/// The most inputs of heights to come that the consensus queues, and the most of one height.
const QUEUE: (usize, usize) = (10, 1_000);

/// Milliseconds after which a node that catches up asks another one.
const PATIENCE: u64 = 3_000;

/// The first second of simulated time.
const EPOCH: u64 = 1_800_000_000;

/// A message from one node to another.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Consensus(SignedConsensusMsg<ChainContext>),
    Liveness(LivenessMsg<ChainContext>),
    Part(Part),
    /// The last block of the sender.
    Status(u64),
    /// Asks for the blocks from a height on.
    Ask(u64),
    Blocks(Vec<(Vec<u8>, Certificate)>),
}

/// Something that a node gives out.
#[derive(Debug)]
pub(super) enum Output {
    /// To all others.
    Publish(Message),
    Send(usize, Message),
    /// After so many milliseconds, with the timer's number.
    Timer(u64, u64),
}

/// What the consensus is given, one after another.
enum Mail {
    Begin(u64),
    Input(Box<Input<ChainContext>>),
    Timer(u64),
}

/// What waits for the driver.
enum Question {
    GetValue(u64, u32),
    Restream(u64, u32, Option<u32>, Digest),
    Received(Box<Proposal>),
    Decided(Certificate),
    Finalized(u64),
    Synced { certificate: Certificate, proposer: Address, bytes: Vec<u8> },
    Submit(Submission),
    Blocks { to: usize, from: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Recovering,
    Running,
}

/// The parts of a node that outlive its process, or that no process changes.
#[derive(Clone)]
pub(super) struct Body {
    pub(super) key: SecretKey,
    pub(super) me: Address,
    pub(super) chain: Digest,
    pub(super) members: Members,
    pub(super) timeouts: LinearTimeouts,
    pub(super) log: Rc<RefCell<EngineLog>>,
    pub(super) fate: Fate,
    pub(super) notary: Rc<Notary>,
    /// Seconds by which the node's clock is ahead.
    pub(super) skew: u64,
}

/// The process of a node.
pub(super) struct Life {
    body: Body,
    pub(super) driver: Driver<Replica, DiskStore>,
    consensus: Option<State<ChainContext>>,
    metrics: Metrics,
    phase: Phase,
    mailbox: VecDeque<Mail>,
    held: VecDeque<Mail>,
    desk: VecDeque<Question>,
    timers: Vec<(Timeout, u64)>,
    timers_made: u64,
    peers: BTreeMap<usize, u64>,
    asked: Option<(u64, u64)>,
    asks: usize,
    answers: BTreeMap<u64, (usize, Vec<u8>, Certificate)>,
    now: u64,
    pub(super) output: Vec<Output>,
    /// What happened, for the coverage of the simulation.
    pub(super) notes: Vec<&'static str>,
    pub(super) halted: Option<Halted>,
    /// The engine met what it should never meet.
    pub(super) broken: Option<String>,
}

impl Life {
    pub(super) fn new(body: Body, driver: Driver<Replica, DiskStore>) -> Life {
        let mut life = Life {
            body,
            driver,
            consensus: None,
            metrics: Metrics::new(),
            phase: Phase::Waiting,
            mailbox: VecDeque::new(),
            held: VecDeque::new(),
            desk: VecDeque::new(),
            timers: Vec::new(),
            timers_made: 0,
            peers: BTreeMap::new(),
            asked: None,
            asks: 0,
            answers: BTreeMap::new(),
            now: 0,
            output: Vec::new(),
            notes: Vec::new(),
            halted: None,
            broken: None,
        };
        let first = life.driver.ready();
        life.mailbox.push_back(Mail::Begin(first));
        life
    }

    /// Returns the time on the node's clock, in seconds.
    fn clock(&self) -> u64 {
        EPOCH + self.body.skew + self.now / 1_000
    }

    /// Returns whether the driver has something to answer.
    pub(super) fn has_questions(&self) -> bool {
        !self.desk.is_empty()
    }

    fn height(&self) -> Option<u64> {
        self.consensus.as_ref().map(|it| it.height().0)
    }

    pub(super) fn describe(&self) -> String {
        let (height, round) = self.consensus.as_ref().map_or((0, -1), |it| (it.height().0, it.round().as_i64()));
        format!("height {height}, round {round}, {} is committed", self.driver.standing().height)
    }

    // ---- what comes in

    /// Gives the consensus all that waits for it.
    pub(super) fn run(&mut self, now: u64) {
        self.now = now;
        while let Some(mail) = self.mailbox.pop_front() {
            if self.halted.is_some() || self.broken.is_some() {
                return;
            }
            self.take(mail);
        }
    }

    /// Lets the driver answer one question.
    pub(super) fn answer(&mut self, now: u64) {
        self.now = now;
        if let Some(question) = self.desk.pop_front() {
            self.answer_question(question);
        }
        self.run(now);
    }

    pub(super) fn timer(&mut self, now: u64, number: u64) {
        self.mailbox.push_back(Mail::Timer(number));
        self.run(now);
    }

    pub(super) fn submit(&mut self, now: u64, submission: Submission) {
        self.desk.push_back(Question::Submit(submission));
        self.run(now);
    }

    /// Tells the others how far this node is.
    pub(super) fn tell(&mut self, now: u64) {
        self.now = now;
        let height = self.driver.standing().height;
        self.output.push(Output::Publish(Message::Status(height)));
        self.catch_up();
    }

    pub(super) fn receive(&mut self, now: u64, from: usize, message: Message) {
        self.now = now;
        let input = match message {
            Message::Consensus(SignedConsensusMsg::Vote(vote)) => Input::Vote(vote),
            Message::Consensus(SignedConsensusMsg::Proposal(proposal)) => Input::Proposal(proposal),
            Message::Liveness(LivenessMsg::Vote(vote)) => Input::Vote(vote),
            Message::Liveness(LivenessMsg::PolkaCertificate(it)) => Input::PolkaCertificate(it),
            Message::Liveness(LivenessMsg::SkipRoundCertificate(it)) => Input::RoundCertificate(it),
            Message::Part(part) => return self.receive_part(part),
            Message::Status(height) => {
                self.peers.insert(from, height);
                return self.catch_up();
            }
            Message::Ask(height) => return self.desk.push_back(Question::Blocks { to: from, from: height }),
            Message::Blocks(blocks) => {
                self.asked = None;
                for (bytes, certificate) in blocks {
                    self.answers.insert(certificate.height, (from, bytes, certificate));
                }
                self.feed();
                return self.run(now);
            }
        };
        self.mailbox.push_back(Mail::Input(Box::new(input)));
        self.run(now);
    }

    fn receive_part(&mut self, part: Part) {
        match part {
            Part::Block(proposal, signature) => {
                let bytes = part_bytes(&proposal, &self.body.chain);
                if self.body.notary.is_of(&proposal.proposer, &signature, &bytes) {
                    self.desk.push_back(Question::Received(proposal));
                }
            }
            Part::Submission(bytes) => {
                if let Ok(submission) = borsh::from_slice(&bytes) {
                    self.desk.push_back(Question::Submit(submission));
                }
            }
        }
    }

    // ---- catching up, as the engine's sync actor does it

    fn catch_up(&mut self) {
        let Some(height) = self.height() else { return };
        let is_waiting = self.asked.is_some_and(|(asked, until)| asked == height && self.now < until);
        let ahead: Vec<usize> = self.peers.iter().filter(|(_, it)| **it >= height).map(|(peer, _)| *peer).collect();
        if is_waiting || ahead.is_empty() || self.answers.contains_key(&height) {
            return;
        }
        self.asks += 1;
        let to = ahead[self.asks % ahead.len()];
        self.asked = Some((height, self.now + PATIENCE));
        self.output.push(Output::Send(to, Message::Ask(height)));
    }

    /// Gives the consensus the block that somebody sent for its height.
    fn feed(&mut self) {
        let Some(height) = self.height().filter(|_| self.phase == Phase::Running) else { return };
        let Some((from, bytes, certificate)) = self.answers.get(&height).cloned() else { return };
        let peer = PeerId::from_bytes(&[0, 1, u8::try_from(from).unwrap()]).unwrap();
        let certificate = ExtendedCommitCertificate::from_commit_certificate_and_extensions(
            commit_certificate(&certificate),
            VoteExtensions::default(),
        );
        let response = ValueResponse::new(peer, bytes.into(), certificate);
        self.mailbox.push_back(Mail::Input(Box::new(Input::SyncValueResponse(response))));
    }

    // ---- the consensus

    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Begin(height) => self.begin(height),
            other if self.phase != Phase::Running => self.held.push_back(other),
            Mail::Input(input) => self.process(*input),
            Mail::Timer(number) => {
                // One that was cancelled, or set anew, is none.
                if let Some(at) = self.timers.iter().position(|(_, it)| *it == number) {
                    let (timeout, _) = self.timers.swap_remove(at);
                    self.process(Input::TimeoutElapsed(timeout));
                }
            }
        }
    }

    fn begin(&mut self, height: u64) {
        let members = self.body.members.clone();
        if self.consensus.is_none() {
            let params = Params {
                address: self.body.me,
                threshold_params: Default::default(),
                value_payload: ValuePayload::ProposalAndParts,
                enabled: true,
            };
            let (capacity, of_height) = QUEUE;
            self.consensus =
                Some(State::new(ChainContext, Height(height), members.clone(), params, capacity, of_height));
        }
        let entries = self.body.log.borrow_mut().begin(height);
        let policy = VoteExtensionPolicy::default();
        self.process(Input::StartHeight(Height(height), members, false, None, policy));
        if !entries.is_empty() {
            self.replay(entries);
        }
        self.phase = Phase::Running;
        self.answers = self.answers.split_off(&height);
        self.feed();
        self.catch_up();
        let held = std::mem::take(&mut self.held);
        for mail in held.into_iter().rev() {
            self.mailbox.push_front(mail);
        }
    }

    /// Replays what the engine's log has of this height, as the engine does.
    fn replay(&mut self, entries: Vec<Input<ChainContext>>) {
        self.phase = Phase::Recovering;
        self.notes.push("the engine's log is replayed");
        if let Some(state) = &mut self.consensus {
            state.record_recovered_own_precommit_extensions(entries.iter());
            state.index_wal_entries(entries.iter());
        }
        for entry in entries {
            self.process(entry);
        }
        if let Some(state) = &mut self.consensus {
            state.reset_entries_index();
        }
    }

    fn process(&mut self, input: Input<ChainContext>) {
        if self.halted.is_some() {
            return;
        }
        let Some(mut state) = self.consensus.take() else { return };
        let metrics = self.metrics.clone();
        let done: Result<(), Error<ChainContext>> = process!(
            input: input,
            state: &mut state,
            metrics: &metrics,
            with: effect => Ok::<_, Error<ChainContext>>(self.effect(effect))
        );
        self.consensus = Some(state);
        if let Err(err) = done {
            self.broken.get_or_insert_with(|| format!("the engine failed: {err}"));
        }
    }

    fn effect(&mut self, effect: Effect<ChainContext>) -> Resume<ChainContext> {
        let body = &self.body;
        match effect {
            Effect::SignVote(vote, r) => r.resume_with(body.notary.sign_vote(&body.key, vote)),
            Effect::SignProposal(proposal, r) => r.resume_with(body.notary.sign_proposal(&body.key, proposal)),
            Effect::VerifySignature(message, key, r) => r.resume_with(body.notary.verifies(&message, &key)),
            Effect::VerifyCommitCertificate(it, members, thresholds, r) => {
                r.resume_with(body.notary.commit_certificate(&it, &members, thresholds))
            }
            Effect::VerifyExtendedCommitCertificate(it, members, thresholds, policy, r) => {
                r.resume_with(body.notary.extended_certificate(&it, &members, thresholds, policy))
            }
            Effect::VerifyPolkaCertificate(it, members, thresholds, r) => {
                r.resume_with(body.notary.polka_certificate(&it, &members, thresholds))
            }
            Effect::VerifyRoundCertificate(it, members, thresholds, r) => {
                r.resume_with(body.notary.round_certificate(&it, &members, thresholds))
            }
            Effect::ExtendVote(.., r) => r.resume_with(None),
            Effect::VerifyVoteExtension(.., r) => r.resume_with(Ok(())),
            other => {
                self.act(other);
                Resume::Continue
            }
        }
    }

    /// Does what an effect asks for that has no answer.
    fn act(&mut self, effect: Effect<ChainContext>) {
        match effect {
            Effect::CancelAllTimeouts(_) => self.timers.clear(),
            Effect::CancelTimeout(timeout, _) => self.timers.retain(|(it, _)| *it != timeout),
            Effect::ScheduleTimeout(timeout, _) => self.set_timer(timeout),
            Effect::StartRound(height, round, ..) => self.start_round(height.0, round),
            Effect::PublishConsensusMsg(message, _) => {
                self.force_log();
                self.publish(Message::Consensus(message));
            }
            Effect::PublishLivenessMsg(message, _) => self.publish(Message::Liveness(message)),
            Effect::RepublishVote(vote, _) => self.publish(Message::Liveness(LivenessMsg::Vote(vote))),
            Effect::RepublishRoundCertificate(it, _) => {
                self.publish(Message::Liveness(LivenessMsg::SkipRoundCertificate(it)));
            }
            Effect::GetValue(height, round, ..) => self.desk.push_back(Question::GetValue(height.0, number(round))),
            Effect::RestreamProposal(height, round, valid_round, _, id, _) => {
                let question = Question::Restream(height.0, number(round), valid_round.as_u32(), id);
                self.desk.push_back(question);
            }
            Effect::Decide(theirs, ..) => {
                self.force_log();
                self.desk.push_back(Question::Decided(certificate(&theirs)));
            }
            Effect::Finalize(theirs, ..) => self.desk.push_back(Question::Finalized(theirs.height.0)),
            Effect::CertVerifiedSyncValue(value, proposer, _) => {
                let certificate = certificate(&value.certificate.trim_vote_extensions());
                self.desk.push_back(Question::Synced { certificate, proposer, bytes: value.value_bytes.to_vec() });
            }
            Effect::CertRejectedSyncValue(_, height, ..) => drop(self.answers.remove(&height.0)),
            Effect::WalAppend(height, entry, _) => {
                if self.phase != Phase::Recovering {
                    self.body.fate.point("before the engine's log is written");
                    self.body.log.borrow_mut().append(height.0, entry);
                    self.body.fate.point("after the engine's log is written");
                }
            }
            other => self.broken = Some(format!("an effect that nobody handles: {other:?}")),
        }
    }

    fn force_log(&self) {
        if self.phase != Phase::Recovering {
            self.body.fate.point("before the engine's log is forced");
            self.body.log.borrow_mut().force();
            self.body.fate.point("after the engine's log is forced");
        }
    }

    fn publish(&mut self, message: Message) {
        if self.halted.is_none() {
            self.output.push(Output::Publish(message));
        }
    }

    fn set_timer(&mut self, timeout: Timeout) {
        self.timers.retain(|(it, _)| *it != timeout);
        self.timers_made += 1;
        self.timers.push((timeout, self.timers_made));
        let millis = self.body.timeouts.duration_for(timeout).as_millis();
        self.output.push(Output::Timer(u64::try_from(millis).unwrap(), self.timers_made));
    }

    /// A round begins: the one call for whose answer the engine waits.
    fn start_round(&mut self, height: u64, round: Round) {
        self.notes.push(match number(round) {
            0 => "round 0",
            1..10 => "round 1 to 9",
            _ => "round 10 or later",
        });
        self.force_log();
        while let Some(question) = self.desk.pop_front() {
            self.answer_question(question);
        }
        if self.halted.is_some() {
            return;
        }
        match self.driver.started_round(height, number(round), self.clock()) {
            Ok(found) => {
                self.body.fate.point("before the reply to a round");
                found.into_iter().for_each(|it| self.propose_value(it, ValueOrigin::Consensus));
            }
            Err(halted) => self.halted = Some(halted),
        }
    }

    fn propose_value(&mut self, judged: JudgedProposal, origin: ValueOrigin) {
        let JudgedProposal { proposal, objection } = judged;
        if objection.is_some() {
            self.notes.push("no vote for a proposal");
        }
        let value = ProposedValue {
            height: Height(proposal.block.height),
            round: Round::new(proposal.round),
            valid_round: proposal.valid_round.map_or(Round::Nil, Round::new),
            proposer: proposal.proposer,
            value: proposal.block.id(),
            validity: Validity::from_bool(objection.is_none()),
        };
        self.mailbox.push_back(Mail::Input(Box::new(Input::ProposedValue(value, origin))));
    }

    // ---- the driver

    fn answer_question(&mut self, question: Question) {
        if self.halted.is_some() {
            return;
        }
        if let Err(halted) = self.try_to_answer(question) {
            self.halted = Some(halted);
        }
    }

    fn try_to_answer(&mut self, question: Question) -> Result<(), Halted> {
        let now = self.clock();
        match question {
            Question::GetValue(height, round) => {
                // The engine's question can be about a height that is over by now.
                if height != self.driver.standing().height + 1 {
                    return Ok(());
                }
                let proposal = self.driver.get_value(height, round, now)?;
                self.body.fate.point("before the reply with a value");
                let value = LocallyProposedValue::new(Height(height), Round::new(round), proposal.block.id());
                self.mailbox.push_back(Mail::Input(Box::new(Input::Propose(value))));
                self.publish_part(proposal);
            }
            Question::Restream(height, round, valid_round, id) => {
                self.notes.push("a value is sent again");
                if let Some(proposal) = self.driver.restream(height, round, valid_round, id)? {
                    self.publish_part(proposal);
                }
            }
            Question::Received(proposal) => {
                if let Some(judged) = self.driver.received(*proposal, now)? {
                    self.body.fate.point("before the reply with a value");
                    self.propose_value(judged, ValueOrigin::Consensus);
                }
            }
            Question::Decided(certificate) => {
                if certificate.round > 0 {
                    self.notes.push("decided in a later round");
                }
                self.driver.decided(certificate)?;
                self.body.fate.point("before the reply to a decision");
            }
            Question::Finalized(height) => {
                let next = self.driver.finalized(height)?;
                self.mailbox.push_back(Mail::Begin(next));
            }
            Question::Synced { certificate, proposer, bytes } => self.synced(&certificate, proposer, &bytes)?,
            Question::Submit(submission) => {
                if self.driver.submit(submission.clone()).is_ok() {
                    self.publish(Message::Part(Part::Submission(borsh::to_vec(&submission).unwrap())));
                }
            }
            Question::Blocks { to, from } => {
                let values = self.driver.decided_values(from..=from + 4)?;
                let raw = |(value, it)| (borsh::to_vec(&value).unwrap(), it);
                let values: Vec<_> = values.into_iter().map(raw).collect();
                self.output.push(Output::Send(to, Message::Blocks(values)));
            }
        }
        Ok(())
    }

    fn synced(&mut self, certificate: &Certificate, proposer: Address, bytes: &[u8]) -> Result<(), Halted> {
        let Certificate { height, round, block, .. } = *certificate;
        let value = self.driver.synced(height, round, proposer, bytes)?;
        self.body.fate.point("before the reply with a value");
        match value.filter(|it| it.block.id() == block) {
            Some(proposal) => {
                self.notes.push("a block of a peer is taken");
                self.propose_value(JudgedProposal { proposal, objection: None }, ValueOrigin::Sync);
            }
            // The peer is at fault: another one is asked.
            None => {
                self.notes.push("a block of a peer is refused");
                self.answers.remove(&height);
            }
        }
        Ok(())
    }

    fn publish_part(&mut self, proposal: Proposal) {
        let part = self.body.notary.part(&self.body.key, proposal);
        self.publish(Message::Part(part));
    }
}
