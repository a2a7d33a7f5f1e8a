//! The options that a host is opened with: one struct, filled in by a program, by the command line, or from the file `host.toml` in a
//! state's folder.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    directive::DirectiveSet,
    host::scenario::{self, Bytes},
    kernel::Probe,
    model::{blame::HostFault, files},
    slog::Slog,
    state::{block::BlockPolicy, device::Device, retention::Keep},
    store::{Overlay, StateFiles, UpgradeWatch},
    vat::Runtime,
};

/// The name of the file in a state's folder that holds options for each start of its host.
pub const HOST_FILE: &str = "host.toml";

/// The extent to which a host proves a state that another runtime ran last, before it runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prove {
    /// The deliveries of each vat since its snapshot: as many as it takes to bring all vats up.
    #[default]
    Recent,
    /// All deliveries of each vat's incarnation that the state still has, and the heap at its snapshot.
    All,
}

impl FromStr for Prove {
    type Err = String;

    fn from_str(text: &str) -> Result<Prove, String> {
        match text {
            "recent" => Ok(Prove::Recent),
            "all" => Ok(Prove::All),
            _ => Err(format!("`{text}` is neither `recent` nor `all`")),
        }
    }
}

impl fmt::Display for Prove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Prove::Recent => "recent",
            Prove::All => "all",
        })
    }
}

/// The options for opening a state.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// The folder of the state. Without one, the state lives in memory.
    pub state: Option<PathBuf>,
    /// Whether the state is only read: nothing is ever committed to it.
    pub read_only: bool,
    /// A state to look at, instead of one in a folder: what the host commits stays in memory over it.
    pub over: Option<Overlay>,
    /// The flight recorder.
    pub slog: Slog,
    /// The folder for compiled code, if it is kept.
    pub code_cache: Option<PathBuf>,
    /// How often the host checks every invariant.
    pub audit: Audit,
    /// How blocks are cut. What is left open here is as the state keeps it; [`Host::policy`] returns the whole.
    ///
    /// [`Host::policy`]: crate::Host::policy
    pub blocks: BlockOptions,
    /// The blocks for which an answer to a message from outside is kept; 0 is until it is forgotten, `None` as the state has it. It decides
    /// hashes: another number than the state's is an input of the next block, and each replica needs it there.
    pub answer_blocks: Option<u64>,
    /// Whether inputs from outside are durable before their block runs, or together with it.
    pub inputs: Inputs,
    /// The directives to put in force. [`Host::set_directives`](crate::Host::set_directives) puts others in force later.
    pub directives: DirectiveSet,
    /// Whether to open a state that is past a directive of the set and has no record of it.
    pub accept_missed_directives: bool,
    /// The modules that an `upgrade … bundle` may name.
    pub bundles: Vec<Vec<u8>>,
    /// Whether a new state is made one for experiments.
    pub experimental: bool,
    /// The probe of the run, which only observes it or disturbs it: one that plants bugs needs a state for experiments.
    pub probe: Option<Arc<dyn Probe>>,
    /// The most live instances between two cranks; those without a delivery for the longest time are evicted.
    /// `None`: as many as this machine has mappings and addresses for.
    pub max_live: Option<usize>,
    /// Bytes that live instances and the rows of vatstores may take between two cranks: what was not used for longest leaves, and comes
    /// back. `None`: half of this machine's memory.
    pub memory_max: Option<u64>,
    /// Threads that run guests, each ahead of its turn; the kernel applies what they did in turn, so that no result differs.
    /// `None`: as many as this machine has cores. One: every guest runs in its turn.
    pub threads: Option<NonZeroUsize>,
    /// Fuel of a vat's deliveries from which on they are made ahead of their turn: less would make it slower. `None`: as was measured.
    pub ahead_fuel_min: Option<u64>,
    /// Cranks of a block from which on [`Host::run_blocks`](crate::Host::run_blocks) leaves its commit to another thread while the next
    /// block runs; 0 is every block. `None`: as was measured, and no block where this machine has one core.
    pub handed_over_min: Option<u64>,
    /// Deliveries of a vat from one snapshot to the next, instead of the vats' options; 0 is never.
    pub snapshot_interval: Option<u64>,
    /// How much of the vats' transcripts is kept; replicas may differ in it.
    pub keep: Keep,
    /// The folder of the archive: what leaves the transcripts is in a file there before; replicas may differ in it.
    pub archive: Option<PathBuf>,
    /// Who watches while a state of the layout before this one is brought to this one: that takes a while where it is large.
    pub upgrade_watch: Option<UpgradeWatch>,
    /// Whether to find changed pages by comparing them, even if the system could tell: slower, with the same result.
    pub compare_pages: bool,
    /// Another way to the files of the state than SQLite's own: only in an experiment.
    pub files: Option<Arc<dyn StateFiles>>,
    /// How far a state of another runtime is proved before it runs.
    pub prove: Prove,
    /// The runtime of the vats: another than this binary's only in a test.
    #[doc(hidden)]
    pub runtime: Runtime,
    /// Devices of the program itself. A new state gets all of them, for its life; to run a state that has some, the program must give these.
    pub devices: Vec<Arc<dyn Device>>,
}

/// The interval at which a host checks every invariant of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Option<u64>", into = "Option<u64>")]
pub enum Audit {
    /// Checks after each crank in a debug build, and none otherwise.
    #[default]
    AsBuilt,
    /// No checks at all.
    Never,
    /// Checks after each crank whose number this divides.
    Every(NonZeroU64),
}

impl Audit {
    /// An audit after each crank.
    pub const EACH: Audit = Audit::Every(NonZeroU64::MIN);

    /// Returns the interval between audits, 0 for never; `None` as the build has it.
    pub fn interval(self) -> Option<u64> {
        match self {
            Audit::AsBuilt => None,
            Audit::Never => Some(0),
            Audit::Every(cranks) => Some(cranks.get()),
        }
    }
}

impl From<Option<u64>> for Audit {
    fn from(interval: Option<u64>) -> Audit {
        interval.map_or(Audit::AsBuilt, |every| NonZeroU64::new(every).map_or(Audit::Never, Audit::Every))
    }
}

impl From<Audit> for Option<u64> {
    fn from(audit: Audit) -> Option<u64> {
        audit.interval()
    }
}

/// The time at which inputs from outside become durable. Either way the hashes are the same, and after a kernel panic the same inputs are
/// met again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inputs {
    /// In a commit of their own, before the first crank of their block: a crash of the process loses none.
    #[default]
    First,
    /// With the cranks of their block, in one commit: half the waiting for the disk. If the block halts, the host opens the state
    /// anew and commits the inputs alone. A crash of the process loses inputs whose block was not committed: for callers that answer
    /// only then.
    WithBlock,
}

/// The parts of a [`BlockPolicy`] that are given; the rest is as the state keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockOptions {
    /// The cranks of a block.
    pub cranks_per_block: Option<NonZeroU64>,
    /// The fuel of a block; 0 is no limit.
    pub fuel_per_block: Option<u64>,
    /// Seconds from one block to the next.
    pub block_time: Option<u64>,
}

impl BlockOptions {
    /// Returns these options, completed from `other` where they leave something open.
    #[must_use]
    pub fn or(self, other: BlockOptions) -> BlockOptions {
        BlockOptions {
            cranks_per_block: self.cranks_per_block.or(other.cranks_per_block),
            fuel_per_block: self.fuel_per_block.or(other.fuel_per_block),
            block_time: self.block_time.or(other.block_time),
        }
    }

    /// Returns the policy that these options make of the one that the state keeps.
    pub fn over(self, kept: BlockPolicy) -> BlockPolicy {
        let fuel = match self.fuel_per_block {
            Some(0) => None,
            given => given.or(kept.fuel),
        };
        BlockPolicy {
            cranks: self.cranks_per_block.map_or(kept.cranks, NonZeroU64::get),
            fuel,
            wall_millis: None,
            block_time: self.block_time.unwrap_or(kept.block_time),
        }
    }
}

/// The contents of the file `host.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostToml {
    #[serde(default)]
    host: HostSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HostSection {
    directives: Option<PathBuf>,
    bundles: Vec<PathBuf>,
    cranks_per_block: Option<NonZeroU64>,
    fuel_per_block: Option<u64>,
    block_time: Option<u64>,
    answer_blocks: Option<u64>,
    keep: Option<String>,
    archive_dir: Option<PathBuf>,
    memory: Option<Bytes>,
    threads: Option<NonZeroUsize>,
}

/// The `[host]` section of the `host.toml` in a state's folder.
#[derive(Debug, Clone, Default)]
pub struct HostFile {
    /// The directive file.
    pub directives: Option<PathBuf>,
    /// The modules that an `upgrade … bundle` may name.
    pub bundles: Vec<PathBuf>,
    /// How blocks are cut.
    pub blocks: BlockOptions,
    /// The blocks for which an answer to a message from outside is kept.
    pub answer_blocks: Option<u64>,
    /// How much of the vats' transcripts is kept.
    pub keep: Option<Keep>,
    /// The folder of the archive.
    pub archive: Option<PathBuf>,
    /// Bytes that live vats and rows may take.
    pub memory: Option<u64>,
    /// Threads that run guests.
    pub threads: Option<NonZeroUsize>,
}

/// An operator's file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct BadFile {
    /// The file, and what is wrong with it.
    pub what: String,
    /// What the file may hold; empty if it could not be read.
    pub hint: &'static str,
}

impl From<BadFile> for HostFault {
    fn from(bad: BadFile) -> HostFault {
        HostFault::new("read what the host is given", bad.what)
    }
}

/// The hint that says where to read the grammar of directive files.
pub const GRAMMAR_HINT: &str = "`vathost directives grammar` prints the grammar";

const FILE_HINT: &str = "it holds `[host]`, and in it `directives = \"FILE\"` and `bundles = [\"FILE.wasm\"]`, `cranks_per_block`, \
                         `fuel_per_block`, `block_time`, `answer_blocks`, `keep = \"needed\"`, `archive_dir = \"DIR\"`, `memory = \"2GiB\"`, and `threads`";

impl HostFile {
    /// Reads the `host.toml` of the state in this folder. Without the file, the result is empty.
    pub fn of(state: &Path) -> Result<HostFile, BadFile> {
        let path = state.join(HOST_FILE);
        if !path.exists() {
            return Ok(HostFile::default());
        }
        let name = path.display();
        let bad = |why: &dyn fmt::Display, hint| BadFile { what: format!("{name}: {why}"), hint };
        let text = files::read_text(&path, files::TEXT_BYTES_MAX).map_err(|err| bad(&err, ""))?;
        let HostToml { host } = toml::from_str(&text).map_err(|err| bad(&err, FILE_HINT))?;
        let HostSection {
            directives,
            bundles,
            cranks_per_block,
            fuel_per_block,
            block_time,
            answer_blocks,
            keep,
            archive_dir,
            memory,
            threads,
        } = host;
        let keep = keep.map(|it| it.parse()).transpose();
        let keep = keep.map_err(|why: String| bad(&format_args!("`keep`: {why}"), FILE_HINT))?;
        Ok(HostFile {
            directives: directives.map(|it| state.join(it)),
            bundles: bundles.into_iter().map(|it| state.join(it)).collect(),
            blocks: BlockOptions { cranks_per_block, fuel_per_block, block_time },
            answer_blocks,
            keep,
            archive: archive_dir.map(|it| state.join(it)),
            memory: memory.map(|it| it.0),
            threads,
        })
    }
}

/// Reads a directive file. A mistake in it refuses the start before there is a state.
pub fn read_directives(path: &Path) -> Result<DirectiveSet, BadFile> {
    let name = path.display().to_string();
    let bytes =
        files::read(path, files::TEXT_BYTES_MAX).map_err(|err| BadFile { what: format!("{name}: {err}"), hint: "" })?;
    let mut set = DirectiveSet::default();
    set.read(&name, &bytes).map_err(|refused| BadFile { what: refused.to_string(), hint: GRAMMAR_HINT })?;
    Ok(set)
}

impl HostOptions {
    /// Makes the options for the state in this folder, new or not, as the `host.toml` there says.
    ///
    /// # Errors
    ///
    /// The file, or one that it names, cannot be used.
    pub fn of_state(state: impl Into<PathBuf>) -> Result<HostOptions, HostFault> {
        let state = state.into();
        let HostFile { directives, bundles, blocks, answer_blocks, keep, archive, memory, threads } =
            HostFile::of(&state)?;
        let keep = keep.unwrap_or_default();
        let directives = directives.as_deref().map(read_directives).transpose()?.unwrap_or_default();
        let bundles = bundles.iter().map(|it| scenario::read_module(it).map_err(|err| module_fault(it, &err)));
        let bundles = bundles.collect::<Result<_, _>>()?;
        let given = HostOptions { state: Some(state), directives, bundles, blocks, keep, ..HostOptions::default() };
        Ok(HostOptions { answer_blocks, memory_max: memory, archive, threads, ..given })
    }
}

fn module_fault(path: &Path, why: &dyn fmt::Display) -> HostFault {
    HostFault::new(format_args!("read the module {}", path.display()), why)
}
