//! The plan of a run, which follows from its seed: what goes wrong, how often, and until when.

use super::dice::Dice;

/// The ways in which the operators do not agree on a line, after a panic that all nodes met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dissent {
    /// They agree.
    Nobody,
    /// One writes another line than the others, and stays with it.
    One,
    /// One starts the node again before the line is in the file.
    Late,
    /// Half of them write another line than the others, and come over to them later.
    Split,
}

/// The plan of a run: all that goes wrong in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    /// Of a hundred messages, how many are lost, and how many come late or twice.
    pub(super) loss: u64,
    pub(super) slow: u64,
    /// Of a hundred messages that hold a block of a proposal, how many are lost beside.
    pub(super) lost_blocks: u64,
    pub(super) crashes: u64,
    /// Partitions of the network.
    pub(super) cuts: u64,
    /// The node that lies.
    pub(super) liar: Option<usize>,
    /// The milliseconds after which nothing goes wrong any more.
    pub(super) calm_at: u64,
    pub(super) submissions: u64,
    pub(super) is_last_late: bool,
    /// What the operators do about a panic, if there is one.
    pub(super) dissent: Option<Dissent>,
    /// For a driver that is broken on purpose.
    pub(super) is_forgetful: bool,
}

impl Plan {
    /// Makes the plan of this seed.
    pub(super) fn of(seed: u64) -> Plan {
        let dice = &mut Dice(seed ^ 0x51_u64);
        let nodes = dice.one_of(&[4, 4, 4, 4, 4, 4, 4, 4, 7, 7, 7, 1]).unwrap();
        let some = |dice: &mut Dice, most: u64| if dice.below(2) == 0 { 0 } else { dice.below(most + 1) };
        let mut plan = Plan {
            seed,
            nodes,
            loss: if dice.below(6) == 0 { dice.below(25) } else { some(dice, 4) },
            lost_blocks: 0,
            slow: some(dice, 8),
            crashes: some(dice, 16),
            cuts: some(dice, 5),
            liar: (nodes > 3 && dice.below(3) == 0).then(|| dice.place(nodes)),
            calm_at: if nodes == 1 { 4_000 } else { 10_000 + dice.below(30_000) },
            submissions: dice.below(60),
            is_last_late: nodes > 3 && dice.below(4) == 0,
            dissent: None,
            is_forgetful: false,
        };
        if nodes > 3 && dice.below(12) == 0 {
            // Votes come through, and blocks do not: the rounds become so many that the engine sends locked values again.
            (plan.loss, plan.slow, plan.lost_blocks, plan.calm_at) = (1, 3, 80 + dice.below(18), 120_000);
            (plan.crashes, plan.cuts, plan.is_last_late) = (plan.crashes / 3, 0, false);
        }
        plan.dissent = match dice.below(8) {
            0 => Some(Dissent::Nobody),
            1 => Some(Dissent::Late),
            // Beside a liar, one that stands still is too many for four nodes; a single node has nobody to differ from.
            2 if nodes > 3 && plan.liar.is_none() => Some(Dissent::One),
            3 if nodes == 4 && plan.liar.is_none() => Some(Dissent::Split),
            _ => None,
        };
        plan
    }
}
