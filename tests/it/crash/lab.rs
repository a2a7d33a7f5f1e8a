//! A workload on a disk that fails: what it is, its undisturbed run, and what must be true of what a crash leaves.

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

use tempfile::TempDir;
use vathost::{
    Audit,
    directive::DirectiveSet,
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        scenario::Scenario,
    },
    inspect::verify,
    lab::disk::{Asked, Disk, DiskVerdict, Errno, FileOp, Loss},
    model::{blame::Fault, id::BundleId},
    state::table::Tables,
    store::Database,
};

/// Blocks of one life of the host: it ends, and another begins, so that opening and closing are in it too.
const BLOCKS_PER_LIFE: u64 = 3;

/// Some banks; one of them is upgraded, another loses a message, by directives. Each vat has many snapshots.
pub(super) struct Workload {
    scenario: Scenario,
    bundle: Vec<u8>,
    directives: String,
    code_cache: TempDir,
}

/// Who writes the commits of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Commits {
    /// The thread that runs them, one after the other.
    InTurn,
    /// Another, while the next one runs.
    HandedOver,
}

/// What a run comes to: the hash at the end of each block, from block 0 on.
pub(super) type Blocks = Vec<String>;

/// Something went wrong with a host: what it said, and whose fault it took it for.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) is_host_fault: bool,
    pub(super) why: String,
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Stopped {
        Stopped { is_host_fault: matches!(fault, Fault::Host(_)), why: fault.to_string() }
    }
}

impl Workload {
    pub(super) fn get() -> &'static Workload {
        static WORKLOAD: OnceLock<Workload> = OnceLock::new();
        WORKLOAD.get_or_init(|| {
            let vats = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats");
            let bundle = std::fs::read(vats.join("counter.wasm")).unwrap();
            let id = BundleId::of(&bundle);
            Workload {
                scenario: Scenario::read(&vats.join("bank")).unwrap(),
                directives: format!("v3/delivery-4: upgrade v3 bundle {id}\nv2/delivery-9: skip\n"),
                bundle,
                code_cache: tempfile::tempdir().unwrap(),
            }
        })
    }

    fn open(&self, dir: &Path, disk: &Disk, commits: Commits) -> Result<Host, Stopped> {
        let open = HostOptions {
            state: Some(dir.to_owned()),
            code_cache: Some(self.code_cache.path().to_owned()),
            audit: Audit::Never,
            snapshot_interval: Some(2),
            files: Some(Arc::new(disk.clone())),
            handed_over_min: Some(if commits == Commits::HandedOver { 0 } else { u64::MAX }),
            ..HostOptions::default()
        };
        let mut controller = Host::open(open).map_err(Fault::from)?;
        controller.put_bundle(&self.bundle).map_err(|it| it.fault)?;
        let mut directives = DirectiveSet::default();
        directives.read("d", self.directives.as_bytes()).unwrap();
        controller.set_directives(directives, false).unwrap();
        Ok(controller)
    }

    /// Runs it in this folder, from wherever it stands to its end; tells of each block that is committed.
    pub(super) fn run(&self, dir: &Path, disk: &Disk, commits: Commits, told: &mut Blocks) -> Result<(), Stopped> {
        let policy = BlockPolicy { cranks: 4, ..BlockPolicy::default() };
        loop {
            let mut controller = self.open(dir, disk, commits)?;
            if controller.is_new() {
                controller.install(&self.scenario).map_err(|it| it.fault)?;
            }
            // What a host finds is as good as what it was told: it goes on from there.
            let found = &controller.standing().state_hash;
            if told.last() != Some(found) {
                told.push(found.clone());
            }
            let mut left = BLOCKS_PER_LIFE;
            while left > 0 {
                if controller.is_quiescent().map_err(|it| it.fault)? {
                    return Ok(());
                }
                let ran = controller.run_blocks(&policy, left, &mut |_| true, &mut |end| {
                    assert!(end.closed);
                    told.push(end.state_hash.to_string());
                    left -= 1;
                    true
                });
                ran.map_err(|it| it.fault)?;
            }
        }
    }
}

/// The undisturbed run.
pub(super) struct Golden {
    pub(super) blocks: Blocks,
    /// Every operation that changes a file, in order, those of closing included.
    pub(super) ops: Vec<(FileOp, String)>,
}

impl Golden {
    pub(super) fn get() -> &'static Golden {
        static GOLDEN: OnceLock<Golden> = OnceLock::new();
        GOLDEN.get_or_init(|| Golden::record(Commits::InTurn))
    }

    pub(super) fn record(commits: Commits) -> Golden {
        let ops = Arc::new(Mutex::new(Vec::new()));
        let seen = ops.clone();
        let disk = Disk::new(move |asked: &Asked<'_>| {
            let name = asked.path.file_name().unwrap().to_str().unwrap().to_owned();
            seen.lock().unwrap().push((asked.op, name));
            DiskVerdict::Go
        });
        let (dir, mut blocks) = (tempfile::tempdir().unwrap(), Blocks::new());
        Workload::get().run(dir.path(), &disk, commits, &mut blocks).unwrap();
        drop(disk);
        let ops = ops.lock().unwrap().clone();
        Golden { blocks, ops }
    }

    /// The numbers of so many operations, evenly spread; of all where `CRASH_MATRIX=all` is set.
    pub(super) fn sample(&self, most: u64) -> Vec<u64> {
        let all = self.ops.len() as u64;
        let most = if std::env::var_os("CRASH_MATRIX").is_some_and(|it| it == "all") { all } else { most.min(all) };
        (1..=all).filter(|at| (at * most) / all != ((at - 1) * most) / all).collect()
    }

    /// The numbers of the syncs.
    pub(super) fn syncs(&self) -> impl Iterator<Item = u64> {
        self.ops.iter().zip(1..).filter(|((op, _), _)| *op == FileOp::Sync).map(|(_, at)| at)
    }

    /// The numbers of the operations before which what a loss of power leaves is another than before the one before: those after
    /// one that reaches the disk, or changes a folder. Between them there are only writes that nobody forced anywhere.
    pub(super) fn losses(&self) -> Vec<u64> {
        let lasts = |op: &FileOp| matches!(op, FileOp::Sync | FileOp::Create | FileOp::Delete);
        let after = self.ops.iter().zip(1..).filter(|((op, _), _)| lasts(op)).map(|(_, at)| at + 1);
        std::iter::once(1).chain(after).filter(|at| *at <= self.ops.len() as u64).collect()
    }
}

/// A policy that does this at the operation of that number, and lets all others be.
pub(super) fn at(number: u64, verdict: DiskVerdict) -> Disk {
    let mut count = 0;
    Disk::new(move |_: &Asked<'_>| {
        count += 1;
        if count == number { verdict } else { DiskVerdict::Go }
    })
}

/// One that does this at the operation of that number and at all that follow.
pub(super) fn from(number: u64, verdict: DiskVerdict) -> Disk {
    let mut count = 0;
    Disk::new(move |_: &Asked<'_>| {
        count += 1;
        if count >= number { verdict } else { DiskVerdict::Go }
    })
}

/// Where a crash leaves the state, as of the golden run's blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Found {
    /// Nothing was committed yet.
    Nothing,
    /// The last block that was told of.
    Old,
    /// The one after it.
    New,
}

/// Runs the workload on this disk, lets `after` happen when the host is gone, and checks what is left: it is a committed block's
/// state, sound in every respect, has all that was told of, and goes on to the golden run's end.
pub(super) fn disturbed(
    disk: &Disk,
    commits: Commits,
    after: impl FnOnce(&Disk),
) -> Result<(Result<(), Stopped>, Found), String> {
    let golden = Golden::get();
    let (dir, mut told) = (tempfile::tempdir().unwrap(), Blocks::new());
    let ran = Workload::get().run(dir.path(), disk, commits, &mut told);
    after(disk);
    if told != golden.blocks[..told.len()] {
        return Err("the blocks until then are not the golden run's".to_owned());
    }
    let found = find(dir.path(), &told)?;
    let disk = Disk::new(|_: &Asked<'_>| DiskVerdict::Go);
    let mut rest = Blocks::new();
    Workload::get()
        .run(dir.path(), &disk, commits, &mut rest)
        .map_err(|it| format!("it does not go on: {}", it.why))?;
    let from = match found {
        Found::Nothing => 0,
        Found::Old => told.len() - 1,
        Found::New => told.len(),
    };
    if rest != golden.blocks[from..] {
        return Err(format!("from {found:?} it goes on to another end"));
    }
    Ok((ran, found))
}

/// Runs the workload in one life after another, each of which ends at the operation of that number, until one comes to the end; how many
/// it took. After each, what is left is checked.
pub(super) fn lives(number: u64, commits: Commits, loss: impl Fn(u64) -> Loss) -> Result<u64, String> {
    let golden = &Golden::get().blocks;
    let (dir, mut told) = (tempfile::tempdir().unwrap(), Blocks::new());
    for life in 1..100 {
        let disk = at(number, DiskVerdict::Die(loss(life)));
        let ran = Workload::get().run(dir.path(), &disk, commits, &mut told);
        if told != golden[..told.len()] {
            return Err(format!("life {life} is not the golden run's"));
        }
        match find(dir.path(), &told)? {
            Found::New => told.push(golden[told.len()].clone()),
            Found::Old | Found::Nothing => (),
        }
        if ran.is_ok() && told == *golden {
            return Ok(life);
        }
    }
    Err("it never comes to an end".to_owned())
}

/// Runs the workload with a sync that fails; then again on the same machine, which has what was written in its memory; and there power is
/// lost so many operations after the sync. Whether both came to pass, and what is left was right.
pub(super) fn failed_then_lost(sync: u64, commits: Commits, later: u64) -> Result<bool, String> {
    let mut count = 0;
    let disk = Disk::new(move |_: &Asked<'_>| {
        count += 1;
        match count {
            it if it == sync => DiskVerdict::Fail(Errno::Eio),
            it if it == sync + later => DiskVerdict::Die(Loss::Unsynced),
            _ => DiskVerdict::Go,
        }
    });
    let (dir, mut told) = (tempfile::tempdir().unwrap(), Blocks::new());
    let first = Workload::get().run(dir.path(), &disk, commits, &mut told);
    let both = first.is_err() && !disk.is_dead();
    if both {
        let _ = Workload::get().run(dir.path(), &disk, commits, &mut told);
    }
    find(dir.path(), &told).map(|_| both && disk.is_dead())
}

/// What SQLite, with its own way to the files, finds there.
fn find(dir: &Path, told: &Blocks) -> Result<Found, String> {
    let golden = &Golden::get().blocks;
    let nothing = if told.is_empty() { Ok(Found::Nothing) } else { Err("nothing is left of the state".to_owned()) };
    if !Database::exists(dir) {
        return nothing;
    }
    // As a host does it: what is in the log belongs to it.
    let database = Database::open(dir, &Tables::layout()).map_err(|it| format!("it does not open: {it}"))?;
    let Some(meta) = database.meta().map_err(|it| it.to_string())? else { return nothing };
    let report = verify::verify(&database).map_err(|it| it.to_string())?;
    if let Some((check, finding)) = report.first_finding() {
        return Err(format!("{check}: {finding}"));
    }
    let at = golden.iter().position(|it| *it == meta.state_hash.to_string());
    match at {
        Some(at) if at + 1 == told.len() => Ok(Found::Old),
        Some(at) if at == told.len() => Ok(Found::New),
        Some(at) => Err(format!("it is at block {at}, and {} were told of", told.len())),
        None => Err("it is at no block of the golden run".to_owned()),
    }
}
