//! The golden run: the base run on undisturbed, and all that experiments are compared with.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    directive::{Directive, Spot, Trigger},
    kernel::Halt,
    lab::experiment::{
        Base, BaseId, Until,
        end::Ends,
        machine::{Machine, Stepped},
        patience::Watchful,
    },
    lab::probe::{Counts, DeliveryRecord, Injector},
    model::{
        id::{BlockHeight, CrankNum, DeliveryNum, KRef, VatId},
        value::SYSCALL_KINDS,
    },
    state::{block::Block, table::CListEntry},
    store::{Digest, StateHash},
};

/// Whether a checkpoint is made after that many cranks: after each of the first, then after fewer and fewer, so that a long run
/// does not cost memory for every crank.
fn is_checkpoint(cranks: usize) -> bool {
    let every = match cranks {
        0..512 => 1,
        512..32_768 => 4,
        _ => 16,
    };
    cranks.is_multiple_of(every)
}

/// What tells a heap from others; `None` where there is none.
type Heap = Option<[u8; 32]>;

/// A crank of the golden run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crank {
    /// The digest of what is compared of the rows after it.
    pub(super) digest: Digest,
    /// What it delivered.
    pub(super) delivery: Option<(VatId, DeliveryNum)>,
    /// What a clock shows after it.
    pub(super) clock: Clock,
}

/// The position of a run within its blocks: what a vat with a device can find out, now and when the block ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Clock {
    time: u64,
    cranks: u64,
    /// The height, in a state whose answers expire by it.
    height: Option<BlockHeight>,
}

impl Clock {
    /// Reads the position from a block.
    pub(super) fn of(block: &Block) -> Clock {
        let (tables, cranks) = (block.tables(), block.cranks());
        let globals = tables.globals();
        Clock { time: globals.time, cranks, height: tables.answer_blocks().map(|_| globals.height) }
    }
}

/// A block of the golden run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoldenBlock {
    /// The block's height.
    pub height: BlockHeight,
    /// The chained hash at its end.
    pub state_hash: StateHash,
}

/// The undisturbed run of a base, as recorded.
#[derive(Debug)]
pub struct Golden {
    /// What it is the run of.
    pub base: BaseId,
    /// The state hash at its end.
    state_hash: StateHash,
    /// The first crank.
    pub start: CrankNum,
    /// Whether it fell silent.
    pub quiescent: bool,
    pub(super) cranks: Vec<Crank>,
    pub(super) by_digest: BTreeMap<Digest, Vec<usize>>,
    /// What each vat was told.
    pub(super) told: BTreeMap<VatId, Vec<DeliveryRecord>>,
    pub(super) ends: Ends,
    /// Whether a vat holds a device, or answers expire: then the time is part of the state.
    pub(super) is_clocked: bool,
    /// The blocks, in order.
    pub blocks: Vec<GoldenBlock>,
    /// The block before the first.
    pub before: GoldenBlock,
    /// Each vat's heap, with the number of cranks after which it became that.
    heaps: BTreeMap<VatId, Vec<(usize, Heap)>>,
    deliveries: BTreeMap<(VatId, DeliveryNum), usize>,
    syscalls: BTreeMap<VatId, Vec<(usize, Counts)>>,
    /// Vats, with their names.
    pub vats: BTreeMap<VatId, String>,
    /// How long it took to record.
    pub(super) took: Duration,
}

/// The fault space of a golden run, and its sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Points {
    /// Cranks: the first, and how many.
    pub cranks: (u64, u64),
    /// Commits: the first block's height, and how many.
    pub commits: (u64, u64),
    /// The places in each vat.
    pub vats: Vec<VatPoints>,
}

/// The places of one vat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VatPoints {
    /// The vat's id.
    pub vat: VatId,
    /// The vat's name.
    pub name: String,
    /// Attempts to deliver: the first, and how many.
    pub deliveries: (u64, u64),
    /// Syscalls by kind, where there are any.
    pub syscalls: Vec<(&'static str, u64)>,
}

impl Golden {
    /// Runs it, and leaves checkpoints in the machine.
    ///
    /// # Errors
    ///
    /// A halt, or [`Endless`](super::Endless).
    pub(super) fn record(
        machine: &mut Machine,
        base: &Base,
        until: Until,
        watchful: &mut Watchful<'_>,
    ) -> anyhow::Result<Golden> {
        let block = machine.block().map_err(|it| *it)?;
        let globals = block.tables().globals();
        let state_hash = block.state_hash()?;
        let before = GoldenBlock { height: globals.height, state_hash };
        let mut golden = Golden {
            base: BaseId::of(state_hash, &base.policy),
            state_hash,
            start: globals.next_crank,
            quiescent: false,
            cranks: Vec::new(),
            by_digest: BTreeMap::new(),
            told: BTreeMap::new(),
            ends: Ends::default(),
            is_clocked: false,
            blocks: Vec::new(),
            before,
            heaps: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            syscalls: BTreeMap::new(),
            vats: BTreeMap::new(),
            took: Duration::ZERO,
        };
        golden.first_heaps(machine).map_err(|it| *it)?;
        machine.arm(|_, _| Injector::default()).map_err(|it| *it)?;
        let max = match until {
            Until::Cranks(cranks) => Some(cranks),
            Until::Quiescent | Until::EndOfGolden => None,
        };
        let (mut noted, mut count) = (0, 0);
        while max.is_none_or(|max| count < max) {
            let step = golden.cranks.len();
            if !machine.is_at_rest().map_err(|it| *it)? {
                watchful.goes_on(count, max.is_none())?;
            }
            match machine.step().map_err(|it| *it)? {
                Stepped::Quiescent => {
                    golden.quiescent = true;
                    break;
                }
                Stepped::Ran(ran, closed) => {
                    if let Some(height) = closed {
                        let state_hash = machine.block().map_err(|it| *it)?.state_hash()?;
                        golden.blocks.push(GoldenBlock { height, state_hash });
                    }
                    noted = golden.note(machine, step, ran.delivery, noted).map_err(|it| *it)?;
                    if is_checkpoint(step + 1) {
                        machine.checkpoint(step + 1).map_err(|it| *it)?;
                    }
                    count += 1;
                }
            }
        }
        golden.ends = Ends::of(machine).map_err(|it| *it)?;
        golden.state_hash = machine.block().map_err(|it| *it)?.state_hash()?;
        let has_device = |it: &CListEntry| matches!(it.kref, KRef::Device(_));
        let tables = machine.block().map_err(|it| *it)?.tables();
        golden.is_clocked = tables.answer_blocks().is_some() || tables.clist.iter().any(|(_, it)| has_device(it));
        golden.vats = tables.vats.iter().map(|(vat, row)| (*vat, row.name.clone())).collect();
        golden.took = watchful.took();
        Ok(golden)
    }

    fn first_heaps(&mut self, machine: &mut Machine) -> Result<(), Box<Halt>> {
        let vats: Vec<VatId> = machine.block()?.tables().vats.iter().map(|(vat, _)| *vat).collect();
        for vat in vats {
            let heap = machine.fingerprint(vat)?;
            self.heaps.insert(vat, vec![(0, heap)]);
        }
        Ok(())
    }

    /// Notes a crank; `noted` is how much of what was told is noted already.
    fn note(
        &mut self,
        machine: &mut Machine,
        step: usize,
        delivery: Option<(VatId, DeliveryNum)>,
        noted: usize,
    ) -> Result<usize, Box<Halt>> {
        let clock = Clock::of(machine.block()?);
        let (digest, told) = (machine.watch().digest(), machine.watch().told_from(noted));
        let now = noted + told.len();
        let counts = machine.injected().map(|it| it.counts()).unwrap_or_default();
        self.by_digest.entry(digest).or_default().push(step);
        self.cranks.push(Crank { digest, delivery, clock });
        let mut vats: Vec<VatId> = delivery.map(|(vat, _)| vat).into_iter().collect();
        if let Some(key) = delivery {
            self.deliveries.insert(key, step);
        }
        for it in told {
            self.deliveries.insert((it.vat, it.number), step);
            self.told.entry(it.vat).or_default().push(it);
            vats.push(it.vat);
        }
        vats.sort_unstable();
        vats.dedup();
        for vat in vats {
            let heap = machine.fingerprint(vat)?;
            self.heaps.entry(vat).or_default().push((step + 1, heap));
            if let Some(counts) = counts.get(&vat) {
                self.syscalls.entry(vat).or_default().push((step, *counts));
            }
        }
        Ok(now)
    }

    /// Returns the number of its cranks.
    pub fn len(&self) -> usize {
        self.cranks.len()
    }

    /// Returns whether it has no cranks.
    pub fn is_empty(&self) -> bool {
        self.cranks.is_empty()
    }

    /// A vat's heap after that many cranks.
    pub(super) fn heap_after(&self, vat: VatId, cranks: usize) -> Option<[u8; 32]> {
        let heaps = self.heaps.get(&vat)?;
        let at = heaps.partition_point(|(step, _)| *step <= cranks);
        heaps.get(at.checked_sub(1)?)?.1
    }

    /// The crank in which the place of a fault comes, counted from the base; `None` where it never does. Commits are no matter of
    /// a run in memory.
    pub(super) fn locate(&self, fault: &Directive) -> Option<usize> {
        match fault.trigger {
            Trigger::Crank(CrankNum(crank)) => {
                let step = usize::try_from(crank.checked_sub(self.start.0)?).ok()?;
                (step < self.cranks.len()).then_some(step)
            }
            Trigger::Delivery(vat, delivery)
            | Trigger::Spot(Spot::DeliveryEnd(vat, delivery) | Spot::Syscall(vat, delivery, _)) => {
                self.deliveries.get(&(vat, delivery)).copied()
            }
            Trigger::Spot(Spot::DeliveryEvery(vat, every)) => {
                let all = self.deliveries.range((vat, DeliveryNum(1))..=(vat, DeliveryNum(u64::MAX)));
                all.filter(|((_, number), _)| number.0.is_multiple_of(every)).map(|(_, step)| *step).next()
            }
            Trigger::Spot(Spot::SyscallOfKind(vat, kind, number)) => {
                let kind = SYSCALL_KINDS.iter().position(|it| *it == kind)?;
                let counts = self.syscalls.get(&vat)?;
                let at = counts.partition_point(|(_, counts)| counts.get(kind).is_none_or(|it| *it < number));
                counts.get(at).map(|(step, _)| *step)
            }
            Trigger::Spot(Spot::Commit(_) | Spot::StoreOp(..)) | Trigger::Block(_) => None,
        }
    }

    /// Returns whether the place of a fault comes in the run. Of an operation of a commit it is only known whether the commit does:
    /// see `store_ops`.
    pub fn comes(&self, fault: &Directive) -> bool {
        match fault.trigger {
            Trigger::Spot(Spot::Commit(height) | Spot::StoreOp(height, _)) => {
                self.blocks.iter().any(|it| it.height == height)
            }
            _ => self.locate(fault).is_some(),
        }
    }

    /// The vat that this crank delivers to.
    pub(super) fn vat_of(&self, crank: CrankNum) -> Option<VatId> {
        let step = usize::try_from(crank.0.checked_sub(self.start.0)?).ok()?;
        self.cranks.get(step)?.delivery.map(|(vat, _)| vat)
    }

    /// The chained hash at the end of a block; the base's before the first.
    pub fn hash_at(&self, height: BlockHeight) -> Option<StateHash> {
        let blocks = std::iter::once(&self.before).chain(&self.blocks);
        blocks.filter(|it| it.height == height).map(|it| it.state_hash).next()
    }

    /// The chained hash at its end.
    pub fn state_hash(&self) -> StateHash {
        self.state_hash
    }

    /// Returns the fault space of the run.
    pub fn points(&self) -> Points {
        let vat = |(vat, name): (&VatId, &String)| {
            let all = self.deliveries.range((*vat, DeliveryNum(0))..=(*vat, DeliveryNum(u64::MAX)));
            let numbers: Vec<u64> = all.map(|((_, number), _)| number.0).collect();
            let counts = self.syscalls.get(vat).and_then(|it| it.last()).map(|(_, it)| *it).unwrap_or_default();
            let syscalls = SYSCALL_KINDS.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect();
            let deliveries = (numbers.first().copied().unwrap_or(0), numbers.len() as u64);
            VatPoints { vat: *vat, name: name.clone(), deliveries, syscalls }
        };
        Points {
            cranks: (self.start.0, self.cranks.len() as u64),
            commits: (self.before.height.next().0, self.blocks.len() as u64),
            vats: self.vats.iter().map(vat).collect(),
        }
    }
}
