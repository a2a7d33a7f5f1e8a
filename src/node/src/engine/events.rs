//! The loop over the engine's events: each is handed to the driver, and the driver's answer goes back.

use std::{sync::Arc, time::Duration};

use arc_malachitebft_app_channel::{AppMsg, NetworkMsg, Reply};
use arc_malachitebft_core_types::{Round, Validity};
use arc_malachitebft_engine::{
    host::{LocallyProposedValue, Next, ProposedValue, SyncedValueOutcome},
    util::streaming::{StreamContent, StreamId, StreamMessage},
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Engine, Params,
    codec::raw_value,
    context::{ChainContext, Height, Part, certificate, number, part_bytes},
};
use crate::{
    block::Proposal,
    desk::{Gone, KernelDesk},
    driver::{Halted, JudgedProposal},
    genesis::Genesis,
    keys::{Digest, SecretKey},
    report::{NodeEvent, NodeLog, unix_seconds},
    submit::Submission,
};

/// The submissions that this node was given, on their way to the other nodes.
pub type Gossip = mpsc::Sender<Submission>;

/// A proposal that the engine waits for while there is nothing to propose.
struct IdleTurn {
    height: u64,
    round: u32,
    reply: Reply<LocallyProposedValue<ChainContext>>,
    until: Instant,
}

/// The reason why the loop ended.
#[derive(Debug)]
enum Stop {
    Halted(Halted),
    Gone,
}

impl From<Halted> for Stop {
    fn from(halted: Halted) -> Stop {
        Stop::Halted(halted)
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Stop {
        Stop::Gone
    }
}

/// The loop between the engine and the driver of a node.
pub struct EngineLoop {
    engine: Engine,
    desk: KernelDesk,
    genesis: Arc<Genesis>,
    chain: Digest,
    key: SecretKey,
    log: Arc<dyn NodeLog>,
    idle_wait: Duration,
    idle: Option<IdleTurn>,
    gossip: mpsc::Receiver<Submission>,
    streams: u64,
    /// The engine's question to which this node cannot say yes: it has halted.
    unanswered: Option<Reply<()>>,
}

impl EngineLoop {
    /// Makes the loop of an engine that has begun. Empty blocks are `idle_wait` apart.
    pub fn new(
        engine: Engine,
        desk: KernelDesk,
        genesis: Arc<Genesis>,
        key: SecretKey,
        log: Arc<dyn NodeLog>,
        idle_wait: Duration,
    ) -> (EngineLoop, Gossip) {
        let (sender, gossip) = mpsc::channel(1_024);
        let chain = genesis.id();
        let (idle, unanswered) = (None, None);
        let engine_loop =
            EngineLoop { engine, desk, genesis, chain, key, log, idle_wait, idle, gossip, streams: 0, unanswered };
        (engine_loop, sender)
    }

    /// Answers the engine until the node halts. Returns why it does.
    pub async fn run(&mut self) -> Halted {
        loop {
            let until = self.idle.as_ref().map(|it| it.until);
            let step = tokio::select! {
                message = self.engine.channels.consensus.recv() => match message {
                    Some(message) => self.answer(message).await,
                    None => return Halted::Permanent("the consensus engine has ended".to_owned()),
                },
                Some(submission) = self.gossip.recv() => self.pass_on(submission).await,
                () = sleep_until(until), if until.is_some() => self.propose_now().await,
            };
            match step {
                Ok(()) => (),
                Err(Stop::Halted(halted)) => return halted,
                Err(Stop::Gone) => return Halted::Permanent("the kernel's thread has ended".to_owned()),
            }
        }
    }

    /// Keeps the engine's connections for some time after a halt, so that the others get what this node has signed, and can ask for
    /// decided blocks.
    pub async fn linger(&mut self, time: Duration) {
        let until = tokio::time::sleep(time);
        tokio::pin!(until);
        let mut held = Vec::new();
        loop {
            let message = tokio::select! {
                message = self.engine.channels.consensus.recv() => message,
                () = &mut until => return,
            };
            match message {
                Some(about @ (AppMsg::GetHistoryMinHeight { .. } | AppMsg::GetDecidedValues { .. })) => {
                    if self.answer_about_history(about).await.is_err() {
                        return;
                    }
                }
                Some(other) => held.push(other),
                None => return,
            }
        }
    }

    /// Ends the engine, with all its connections.
    pub async fn end(self) {
        let _ = self.engine.handle.actor.kill_and_wait(Some(Duration::from_secs(2))).await;
    }

    fn params(&self) -> &Params {
        &self.engine.params
    }

    async fn answer(&mut self, message: AppMsg<ChainContext>) -> Result<(), Stop> {
        match message {
            AppMsg::ConsensusReady { reply } => {
                let height = self.desk.ask(|driver| driver.ready()).await?;
                let _ = reply.send((Height(height), self.params().of_height()));
                self.log.answered("ready");
            }
            AppMsg::StartedRound { height, round, reply_value, .. } => {
                self.idle = None;
                let (height, round) = (height.0, number(round));
                let found = self.desk.ask(move |it| it.started_round(height, round, unix_seconds())).await??;
                let _ = reply_value.send(found.into_iter().map(|it| self.proposed(it)).collect());
                self.log.answered("started-round");
            }
            AppMsg::GetValue { height, round, reply, .. } => {
                let until = Instant::now() + self.idle_wait;
                self.idle = Some(IdleTurn { height: height.0, round: number(round), reply, until });
                let has_work = self.desk.ask(|driver| driver.has_work(unix_seconds())).await?;
                if has_work || self.idle_wait.is_zero() {
                    self.propose_now().await?;
                }
            }
            AppMsg::RestreamProposal { height, round, valid_round, value_id, .. } => {
                let (height, round, valid_round) = (height.0, number(round), valid_round.as_u32());
                let found = self.desk.ask(move |it| it.restream(height, round, valid_round, value_id)).await??;
                if let Some(proposal) = found {
                    self.publish(proposal).await;
                }
            }
            AppMsg::ReceivedProposalPart { part, reply, .. } => {
                let received = match part.content {
                    StreamContent::Data(part) => self.received(part).await?,
                    StreamContent::Fin => None,
                };
                let _ = reply.send(received);
                self.log.answered("received");
            }
            AppMsg::Decided { certificate: theirs, reply, .. } => {
                // Decided in another round, or by the others: no value is wanted for this height any more.
                self.idle = None;
                let (ours, begun) = (certificate(&theirs), Instant::now());
                match self.desk.ask(move |driver| driver.decided(ours)).await? {
                    Ok(result) => {
                        self.log.say(&NodeEvent::Block { result: Box::new(result), took: begun.elapsed() });
                        let _ = reply.send(());
                        self.log.answered("committed");
                    }
                    Err(halted) => {
                        // The engine takes a reply that is dropped for the end of the application, and would end at once.
                        self.unanswered = Some(reply);
                        return Err(halted.into());
                    }
                }
            }
            AppMsg::Finalized { certificate, reply, .. } => {
                let height = certificate.height.0;
                let next = self.desk.ask(move |driver| driver.finalized(height)).await??;
                let _ = reply.send(Next::Start(Height(next), self.params().of_height()));
                self.log.answered("finalized");
            }
            other => self.answer_about_history(other).await?,
        }
        Ok(())
    }

    async fn answer_about_history(&self, message: AppMsg<ChainContext>) -> Result<(), Stop> {
        match message {
            AppMsg::GetHistoryMinHeight { reply } => {
                let lowest = self.desk.ask(|driver| driver.history_begins()).await??;
                let _ = reply.send(Height(lowest));
            }
            AppMsg::GetDecidedValues { range, reply } => {
                let heights = range.start().0..=range.end().0;
                let found = self.desk.ask(move |driver| driver.decided_values(heights)).await??;
                let values = found.into_iter().map(|(value, certificate)| {
                    // A vector takes everything that is written to it.
                    raw_value(borsh::to_vec(&value).unwrap_or_default(), &certificate)
                });
                let _ = reply.send(values.collect());
                self.log.answered("history");
            }
            AppMsg::ProcessSyncedValue { height, round, proposer, value_bytes, reply } => {
                let (at, in_round) = (height.0, number(round));
                let value = self.desk.ask(move |it| it.synced(at, in_round, proposer, &value_bytes)).await??;
                let outcome = value.map_or(SyncedValueOutcome::PeerFault, |proposal| {
                    SyncedValueOutcome::Verdict(self.proposed(JudgedProposal { proposal, objection: None }))
                });
                let _ = reply.send(outcome);
                self.log.answered("synced");
            }
            AppMsg::ExtendVote { reply, .. } => drop(reply.send(None)),
            AppMsg::VerifyVoteExtensions { extensions, reply, .. } => {
                let _ = reply.send(extensions.into_iter().map(|(voter, _)| (voter, Ok(()))).collect());
            }
            _ => (),
        }
        Ok(())
    }

    /// Returns a proposal in the engine's form, and tells the operator if this node votes for none.
    fn proposed(&self, judged: JudgedProposal) -> ProposedValue<ChainContext> {
        let JudgedProposal { proposal, objection } = judged;
        let validity = Validity::from_bool(objection.is_none());
        if let Some(why) = objection {
            let (height, round, proposer) = (proposal.block.height, proposal.round, proposal.proposer);
            let proposer = self.genesis.validator(&proposer).map_or_else(|| proposer.to_string(), |it| it.name.clone());
            self.log.say(&NodeEvent::Objection { height, round, proposer, why });
        }
        ProposedValue {
            height: Height(proposal.block.height),
            round: Round::new(proposal.round),
            valid_round: proposal.valid_round.map_or(Round::Nil, Round::new),
            proposer: proposal.proposer,
            value: proposal.block.id(),
            validity,
        }
    }

    async fn received(&mut self, part: Part) -> Result<Option<ProposedValue<ChainContext>>, Stop> {
        match part {
            Part::Block(proposal, signature) => {
                let validator = self.genesis.validator(&proposal.proposer);
                if !validator.is_some_and(|it| it.key.verifies(&signature, &part_bytes(&proposal, &self.chain))) {
                    return Ok(None);
                }
                let judged = self.desk.ask(move |driver| driver.received(*proposal, unix_seconds())).await??;
                Ok(judged.map(|it| self.proposed(it)))
            }
            Part::Submission(bytes) => {
                let Ok(submission) = borsh::from_slice::<Submission>(&bytes) else { return Ok(None) };
                // One that is refused here was refused, or is known already, at the node that it was given to.
                let taken = self.desk.ask(move |driver| driver.submit(submission)).await?.is_ok();
                if taken {
                    self.propose_now().await?;
                }
                Ok(None)
            }
        }
    }

    /// Proposes a block, if the engine waits for one.
    async fn propose_now(&mut self) -> Result<(), Stop> {
        let Some(IdleTurn { height, round, reply, .. }) = self.idle.take() else { return Ok(()) };
        let proposal = self.desk.ask(move |driver| driver.get_value(height, round, unix_seconds())).await??;
        let _ = reply.send(LocallyProposedValue::new(Height(height), Round::new(round), proposal.block.id()));
        self.log.answered("get-value");
        self.publish(proposal).await;
        Ok(())
    }

    /// Tells the other nodes of a submission, and proposes it if it is this node's turn.
    async fn pass_on(&mut self, submission: Submission) -> Result<(), Stop> {
        let bytes = borsh::to_vec(&submission).unwrap_or_default();
        self.send(Part::Submission(bytes)).await;
        self.propose_now().await
    }

    async fn publish(&mut self, proposal: Proposal) {
        let part = Part::of(proposal, &self.chain, &self.key);
        self.send(part).await;
    }

    async fn send(&mut self, part: Part) {
        self.streams += 1;
        let stream = StreamId::new(self.streams.to_be_bytes().to_vec().into());
        let message = StreamMessage::new(stream, 0, StreamContent::Data(part));
        // Without a network the engine has ended, and says so itself.
        let _ = self.engine.channels.network.send(NetworkMsg::PublishProposalPart(message)).await;
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
