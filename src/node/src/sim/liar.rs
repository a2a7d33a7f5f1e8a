//! A Byzantine validator: it runs the same code as the others, and what it gives out is changed on the way.

use std::collections::BTreeMap;

use arc_malachitebft_core_consensus::SignedConsensusMsg;
use arc_malachitebft_core_types::NilOrVal;

use super::{dice::Dice, engine::Message, signing::Notary};
use crate::{
    block::{BLOCK_BYTES_MAX, Block, Proposal, SUBMISSIONS_MAX},
    engine::context::{IdProposal, Part},
    keys::{Digest, SecretKey},
    submit::{INPUT_BYTES_MAX, Submission},
};

/// A change that the liar makes in a block that it proposes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lie {
    /// Another block that is as good as the first: some are told of one, some of the other.
    Equivocation,
    WrongStateHash,
    WrongParent,
    WrongResult,
    /// Directives that nobody obeyed.
    Fired,
    TimeBefore,
    TimeAhead,
    WrongHeight,
    TooManySubmissions,
    TooManyBytes,
    MalformedSubmission,
    Duplicate,
    OldSubmission,
}

pub(super) const LIES: [Lie; 13] = [
    Lie::Equivocation,
    Lie::WrongStateHash,
    Lie::WrongParent,
    Lie::WrongResult,
    Lie::Fired,
    Lie::TimeBefore,
    Lie::TimeAhead,
    Lie::WrongHeight,
    Lie::TooManySubmissions,
    Lie::TooManyBytes,
    Lie::MalformedSubmission,
    Lie::Duplicate,
    Lie::OldSubmission,
];

/// The liar's memory: what it told of the blocks that it proposed.
#[derive(Default)]
pub(super) struct Liar {
    /// The false twin of each block that it proposed.
    twins: BTreeMap<Digest, Digest>,
    /// Submissions of earlier blocks.
    old: Vec<Submission>,
    /// The lie in the last block.
    pub(super) told: Option<Lie>,
}

impl Liar {
    /// Returns what each of so many nodes is told instead of a message.
    pub(super) fn tell(
        &mut self,
        dice: &mut Dice,
        notary: &Notary,
        key: &SecretKey,
        nodes: usize,
        message: Message,
    ) -> Vec<Vec<Message>> {
        let false_one = match &message {
            Message::Part(Part::Block(proposal, _)) => self.block(dice, notary, key, proposal),
            Message::Consensus(SignedConsensusMsg::Proposal(it)) => self.twins.get(&it.value).map(|twin| {
                let twin = IdProposal { value: *twin, ..it.message.clone() };
                Message::Consensus(SignedConsensusMsg::Proposal(notary.sign_proposal(key, twin)))
            }),
            Message::Consensus(SignedConsensusMsg::Vote(vote)) => {
                let mut other = vote.message.clone();
                other.value = match &other.value {
                    NilOrVal::Val(id) => self.twins.get(id).map_or(NilOrVal::Nil, |it| NilOrVal::Val(*it)),
                    NilOrVal::Nil => self.twins.keys().next_back().map_or(NilOrVal::Nil, |it| NilOrVal::Val(*it)),
                };
                Some(Message::Consensus(SignedConsensusMsg::Vote(notary.sign_vote(key, other))))
            }
            Message::Blocks(blocks) => {
                let mut blocks = blocks.clone();
                for (bytes, _) in &mut blocks {
                    if let Some(byte) = bytes.last_mut() {
                        *byte ^= 1;
                    }
                }
                Some(Message::Blocks(blocks))
            }
            Message::Status(height) => Some(Message::Status(height + dice.below(5))),
            _ => None,
        };
        let choose = |_| match (dice.below(4), &false_one) {
            (0 | 1, _) | (_, None) => vec![message.clone()],
            (2, Some(it)) => vec![it.clone()],
            (_, Some(it)) => vec![message.clone(), it.clone()],
        };
        (0..nodes).map(choose).collect()
    }

    fn block(&mut self, dice: &mut Dice, notary: &Notary, key: &SecretKey, proposal: &Proposal) -> Option<Message> {
        let lie = dice.one_of(&LIES)?;
        let block = self.lie(dice, lie, proposal.block.clone());
        self.told = Some(lie);
        self.old.extend(proposal.block.submissions.iter().cloned());
        self.twins.insert(proposal.block.id(), block.id());
        Some(Message::Part(notary.part(key, Proposal { block, ..proposal.clone() })))
    }

    fn lie(&self, dice: &mut Dice, lie: Lie, mut block: Block) -> Block {
        let junk = |nonce, bytes: usize| Submission {
            nonce,
            last_height: block.height,
            input: vec![b' '; bytes],
            signed: None,
        };
        match lie {
            Lie::Equivocation => block.time += 1,
            Lie::WrongStateHash => block.parent.state_hash.0[0] ^= 1,
            Lie::WrongParent => block.parent.block.0[0] ^= 1,
            Lie::WrongResult => block.parent.result.0[0] ^= 1,
            Lie::Fired => block.parent.fired.push("crank-1: crank-1: skip".to_owned()),
            Lie::TimeBefore => block.time = 1,
            Lie::TimeAhead => block.time += 1_000,
            Lie::WrongHeight => block.height += 1 + dice.below(2),
            Lie::TooManySubmissions => block.submissions = vec![junk(0, 3); SUBMISSIONS_MAX + 1],
            Lie::TooManyBytes => {
                let count = BLOCK_BYTES_MAX / INPUT_BYTES_MAX + 1;
                block.submissions = (0..count as u64).map(|it| junk(it, INPUT_BYTES_MAX)).collect();
            }
            Lie::MalformedSubmission => block.submissions = vec![junk(dice.next(), 7)],
            Lie::Duplicate => block.submissions.extend(block.submissions.clone()),
            Lie::OldSubmission => block.submissions.extend(self.old.iter().cloned()),
        }
        block
    }
}
