//! The faults of a schedule that lie in the store, as the policy of a disk; and how many places for them a run has.
//!
//! What is counted are the operations of a commit that change a file. They are the same in each run of a base by one build: the commit
//! of a block, SQLite and its file are all that they depend on.
//!
//! | order | at `commit-N` | at `commit-N/store-op-K` |
//! | --- | --- | --- |
//! | `kill -9` | before its first operation | before that one |
//! | `eio`, `enospc` | its first operation fails, and all that follow | that one fails, and no other |
//! | `lose unsynced`, `tear at S` | when it has returned, and must be there | before that one; `tear`: in it |

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    directive::{Action, Disturbance, Spot, Trigger},
    host::controller::{Host, HostOptions},
    lab::Schedule,
    lab::{
        disk::{Asked, Disk, DiskPolicy, DiskVerdict, Errno, Loss},
        experiment::{Base, runner::copy_base},
    },
    model::id::BlockHeight,
    state::block::Block,
};

/// The receiver of reports on faults whose places come.
pub(super) trait Says: Send {
    /// An operation fails.
    fn failed(&self, fault: usize);
    /// The process is to be killed. Does not return as long as somebody is there to do it.
    fn here(&self, fault: usize, crank: Option<u64>);
}

/// A fault of the store.
#[derive(Clone)]
struct Fault {
    /// The fault's position in the schedule.
    at: usize,
    spot: Spot,
    disturbance: Disturbance,
}

impl Fault {
    fn errno(&self) -> Option<Errno> {
        match self.disturbance {
            Disturbance::Eio => Some(Errno::Eio),
            Disturbance::Enospc => Some(Errno::Enospc),
            _ => None,
        }
    }

    /// What is lost, where it is a loss of power.
    fn loss(&self, seed: u64) -> Option<Loss> {
        match self.disturbance {
            Disturbance::LoseUnsynced => Some(Loss::Unsynced),
            Disturbance::Tear { sector } => Some(Loss::Torn { sector, seed }),
            _ => None,
        }
    }
}

/// Where a run is.
#[derive(Clone, Copy, Default)]
struct DiskPlace {
    /// The block whose commit comes, or is under way; `None` before and after all.
    block: Option<BlockHeight>,
    /// Operations of it so far.
    ops: u64,
}

/// The faults of a schedule that lie in the store, and the disk that they act on.
pub(super) struct DiskFaults {
    disk: Disk,
    place: Arc<Mutex<DiskPlace>>,
    faults: Vec<Fault>,
    seed: u64,
}

fn locked(place: &Mutex<DiskPlace>) -> MutexGuard<'_, DiskPlace> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DiskFaults {
    /// Makes the faults of a schedule that lie in the store; `None` if it has none.
    pub(super) fn of(schedule: &Schedule, seed: u64, says: impl Says + 'static) -> Option<DiskFaults> {
        let in_store = |(at, fault): (usize, &crate::directive::Directive)| match (fault.trigger, &fault.action) {
            (Trigger::Spot(spot), Action::Disturb(disturbance)) if spot.is_in_store() => {
                Some(Fault { at, spot, disturbance: disturbance.clone() })
            }
            _ => None,
        };
        let faults: Vec<Fault> = schedule.faults().enumerate().filter_map(in_store).collect();
        if faults.is_empty() {
            return None;
        }
        let seed = blake3::hash(format!("{seed} {schedule}").as_bytes());
        let seed = seed.as_bytes().first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        let place = Arc::new(Mutex::new(DiskPlace::default()));
        let (broken, ended) = (None, None);
        let policy = Faulty { faults: faults.clone(), place: place.clone(), seed, says: Box::new(says), broken, ended };
        Some(DiskFaults { disk: Disk::new(policy), place, faults, seed })
    }

    /// The disk to open the state on.
    pub(super) fn disk(&self) -> Disk {
        self.disk.clone()
    }

    /// The commit of the block that is open, or else the next, comes.
    pub(super) fn enter(&self, block: &Block) {
        let globals = block.tables().globals();
        let height = if block.meta().open { globals.height } else { globals.height.next() };
        *locked(&self.place) = DiskPlace { block: Some(height), ops: 0 };
    }

    /// A commit has returned.
    pub(super) fn leave(&self, height: BlockHeight, says: &impl Says) -> io::Result<()> {
        *locked(&self.place) = DiskPlace::default();
        let here = |it: &&Fault| it.spot == Spot::Commit(height);
        if let Some((fault, loss)) = self.faults.iter().filter(here).find_map(|it| Some((it, it.loss(self.seed)?))) {
            self.disk.lose(loss)?;
            says.here(fault.at, None);
        }
        Ok(())
    }
}

/// The policy of the faulty disk.
struct Faulty {
    faults: Vec<Fault>,
    place: Arc<Mutex<DiskPlace>>,
    seed: u64,
    says: Box<dyn Says>,
    /// Everything fails from now on.
    broken: Option<Errno>,
    /// The fault that ended the machine.
    ended: Option<usize>,
}

impl DiskPolicy for Faulty {
    fn ask(&mut self, _asked: &Asked<'_>) -> DiskVerdict {
        if let Some(errno) = self.broken {
            return DiskVerdict::Fail(errno);
        }
        let Some((block, op)) = ({
            let mut place = locked(&self.place);
            place.ops += 1;
            place.block.map(|it| (it, place.ops))
        }) else {
            return DiskVerdict::Go;
        };
        for fault in &self.faults {
            let whole = fault.spot == Spot::Commit(block);
            if fault.spot != Spot::StoreOp(block, op) && !(whole && op == 1) {
                continue;
            }
            if let Some(errno) = fault.errno() {
                self.says.failed(fault.at);
                self.broken = whole.then_some(errno);
                return DiskVerdict::Fail(errno);
            }
            match fault.loss(self.seed) {
                // It comes when the commit has returned.
                Some(_) if whole => (),
                Some(loss) => {
                    self.ended = Some(fault.at);
                    return DiskVerdict::Die(loss);
                }
                None => {
                    self.says.here(fault.at, None);
                    return DiskVerdict::Die(Loss::Nothing);
                }
            }
        }
        DiskVerdict::Go
    }

    fn ended(&mut self) {
        if let Some(fault) = self.ended {
            self.says.here(fault, None);
        }
    }
}

/// Counts the operations that change a file in each commit of the golden run, in order: the places `commit-N/store-op-K`.
///
/// # Errors
///
/// Where the base cannot be laid down on a disk and run there.
pub fn store_ops(base: &Base, golden_cranks: u64) -> anyhow::Result<Vec<(BlockHeight, u64)>> {
    let dir = tempfile::tempdir()?;
    copy_base(base, dir.path())?;
    let ops = Arc::new(Mutex::new(DiskPlace::default()));
    let counted = ops.clone();
    let disk = Disk::new(move |_: &Asked<'_>| {
        locked(&counted).ops += 1;
        DiskVerdict::Go
    });
    let open = HostOptions {
        state: Some(dir.path().to_owned()),
        code_cache: base.code_cache.clone(),
        snapshot_interval: Some(0),
        files: Some(Arc::new(disk)),
        ..HostOptions::default()
    };
    let mut controller = Host::open(open)?;
    controller.block_mut().map_err(|it| *it)?.set_experimental();
    let (mut cranks, mut found) = (0, Vec::new());
    while cranks < golden_cranks && !controller.is_quiescent().map_err(|it| *it)? {
        locked(&ops).ops = 0;
        let each = &mut |_: &_| {
            cranks += 1;
            cranks < golden_cranks
        };
        let end = controller.run_block(&base.policy, each).map_err(|it| *it)?;
        found.push((end.height, locked(&ops).ops));
    }
    Ok(found)
}
