//! Handing a state over to a validator that does not have the history: one file, in which a certificate vouches for all that it holds.
//!
//! ```text
//!   the certificate of block H+1 ─▶ block H+1 ─▶ its parent: the id of block H, the state hash behind it, the digest of its result
//!                                                   │              └─▶ the archive of the state
//!                                                   └─▶ block H ─▶ block H-1 ─▶ … ─▶ the blocks whose submissions may not come again
//! ```
//!
//! Invariants: nothing of a file is taken over before all of it is verified, by the genesis that the operator has; a home keeps its keys and
//! its log of what it signed, and its old state and records stay beside the new ones.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use borsh::{BorshDeserialize, BorshSerialize};
use vathost::{
    host::staged::BlockResult,
    inspect::{archive, verify},
    model::blame::HostFault,
    state::table::Tables,
    store::{Aside, Database},
};

use crate::{
    block::Parent,
    driver::outcome_of,
    genesis::Genesis,
    home::Home,
    keys::Digest,
    store::{DecidedBlock, ExecutedBlock, SqliteStore, Store},
    submit::WINDOW,
};

const MAGIC: &[u8] = b"vathost-node export 1\n";

/// The most bytes of the blocks in a file.
const BLOCKS_BYTES_MAX: u64 = 2 << 30;

/// The longest that an export of a running node waits for the next block to be decided.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time between two looks whether the next block is decided.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The error of a file that cannot be made, or not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The file proves nothing, or is of another chain.
    #[error("{}: {why}", path.display())]
    Unproved {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The archive in the file is damaged or foreign.
    #[error(transparent)]
    Archive(#[from] archive::ArchiveError),
    /// This machine failed.
    #[error(transparent)]
    Machine(#[from] HostFault),
}

/// A block of the file with its result, as the host's record has it.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
struct PastBlock {
    decided: DecidedBlock,
    result: Vec<u8>,
}

/// What stands before the archive of the state.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
struct Head {
    chain: Digest,
    /// The last blocks, the last of which is that of the state.
    blocks: Vec<PastBlock>,
    /// The next block, which vouches for them.
    next: Option<DecidedBlock>,
}

/// The state that a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// The height of the state's last block.
    pub height: u64,
    /// The state hash there.
    pub state_hash: Digest,
    /// The validators whose signatures vouch for it; none if no later block is decided.
    pub signers: usize,
}

fn machine(what: &str, path: &Path, why: impl std::fmt::Display) -> HandoverError {
    HostFault::new(format_args!("{what} {}", path.display()), why).into()
}

/// Writes the state of a home into a new file, also while its node runs.
pub fn export(home: &Home, out: &Path) -> Result<HandedOver, HandoverError> {
    let genesis = home.genesis()?;
    let store = SqliteStore::open(&home.records())?;
    let parent = out.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut state = tempfile::tempfile_in(parent).map_err(|err| machine("write a file in", parent, err))?;
    let database = Database::open_read_only(&home.state())?;
    verify::prove(&database)?;
    let summary = archive::write(&database, &mut BufWriter::new(&mut state), &mut |_, _| ())?;
    drop(database);
    let height = summary.head.height;
    // A node that does not run decides nothing more.
    let patience = if home.lock().is_err() { PATIENCE } else { Duration::ZERO };
    let next = next_block(&store, height, patience)?;
    let head = Head { chain: genesis.id(), blocks: last_blocks(&store, height)?, next };
    let handed_over = check(&head, &genesis, out)?;
    let file = tempfile::NamedTempFile::new_in(parent).map_err(|err| machine("write a file in", parent, err))?;
    write(&head, &mut state, file.as_file()).map_err(|err| machine("write", out, err))?;
    file.persist_noclobber(out).map_err(|err| machine("write", out, err.error))?;
    Ok(handed_over)
}

fn last_blocks(store: &SqliteStore, height: u64) -> Result<Vec<PastBlock>, HandoverError> {
    let lowest = store.decided_heights()?.map_or(height, |(lowest, _)| lowest);
    let mut blocks = Vec::new();
    for at in lowest.max(height.saturating_sub(WINDOW) + 1).max(1)..=height {
        let missing = || HostFault::new(format_args!("find block {at} in node.db"), "it is not there");
        let decided = store.decided(at)?.ok_or_else(missing)?;
        let result = executed(store, at)?.ok_or_else(missing)?;
        let result = serde_json::to_vec(&result).map_err(|err| HostFault::new("write a result", err))?;
        blocks.push(PastBlock { decided, result });
    }
    Ok(blocks)
}

/// Returns the result of a block; a node that runs writes it right after it committed the block.
#[allow(clippy::disallowed_methods, reason = "it waits for another process")]
fn executed(store: &SqliteStore, height: u64) -> Result<Option<BlockResult>, HandoverError> {
    for _ in 0..20 {
        if let Some(result) = store.executed(height)? {
            return Ok(Some(result));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(None)
}

/// Returns the block after this one, as soon as it is decided, if that is soon.
#[allow(clippy::disallowed_methods, reason = "it waits for another process, which decides blocks")]
fn next_block(store: &SqliteStore, height: u64, patience: Duration) -> Result<Option<DecidedBlock>, HandoverError> {
    let until = Instant::now() + patience;
    loop {
        let next = store.decided(height + 1)?;
        if next.is_some() || Instant::now() >= until {
            return Ok(next);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn write(head: &Head, state: &mut File, mut out: &File) -> std::io::Result<()> {
    use std::io::{Seek, SeekFrom};
    let bytes = borsh::to_vec(head)?;
    out.write_all(MAGIC)?;
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(&bytes)?;
    state.seek(SeekFrom::Start(0))?;
    std::io::copy(state, &mut out)?;
    out.sync_all()
}

/// Takes the state of a file over into a home that has keys. Without a block that vouches for it, `trusted` must be its state hash.
pub fn import(
    home: &Home,
    genesis: &Genesis,
    path: &Path,
    trusted: Option<&Digest>,
) -> Result<HandedOver, HandoverError> {
    let unproved = |why: String| HandoverError::Unproved { path: path.to_owned(), why };
    let mut file = BufReader::new(File::open(path).map_err(|err| machine("open", path, err))?);
    let head =
        read_head(&mut file).map_err(|err| unproved(format!("it is no export of a node, or is cut off: {err}")))?;
    let handed_over = check(&head, genesis, path)?;
    if head.next.is_none() && trusted != Some(&handed_over.state_hash) {
        let HandedOver { height, state_hash, .. } = &handed_over;
        return Err(unproved(format!(
            "no later block vouches for block {height}: if you know from elsewhere that its state hash is {state_hash}, say so with --trust"
        )));
    }
    let aside = Aside::new(&home.dir().join("state.new"))?;
    read_state(&mut file, &aside, &handed_over, home, path)?;
    let records = home.dir().join("node.db.new");
    // What is left of an import that was interrupted.
    let _ = std::fs::remove_file(&records);
    write_records(&records, genesis, &head)?;
    put_aside(home)?;
    aside.place()?;
    rename(&home.dir().join("state.new"), &home.state())?;
    rename(&records, &home.records())?;
    Ok(handed_over)
}

fn read_head(file: &mut impl Read) -> std::io::Result<Head> {
    let mut magic = vec![0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    let mut len = [0; 8];
    file.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    if magic != MAGIC || len > BLOCKS_BYTES_MAX {
        return Err(std::io::Error::other("its first bytes are not those of one"));
    }
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    borsh::from_slice(&bytes)
}

/// Verifies the blocks of a file: each follows the one before, and the last one is vouched for, if there is a next one.
fn check(head: &Head, genesis: &Genesis, path: &Path) -> Result<HandedOver, HandoverError> {
    let unproved = |why: String| HandoverError::Unproved { path: path.to_owned(), why };
    if head.chain != genesis.id() {
        return Err(unproved("it is of another chain than the genesis".to_owned()));
    }
    let mut before: Option<(u64, Parent)> = None;
    for PastBlock { decided, result } in &head.blocks {
        let height = decided.block.height;
        certified(decided, genesis).map_err(|why| unproved(format!("block {height}: {why}")))?;
        if before.as_ref().is_some_and(|(last, outcome)| height != last + 1 || decided.block.parent != *outcome) {
            return Err(unproved(format!("block {height} does not follow the one before it")));
        }
        let result = serde_json::from_slice(result).map_err(|err| unproved(format!("block {height}: {err}")))?;
        let outcome = outcome_of(&decided.block, &result).map_err(|err| unproved(err.to_string()))?;
        before = Some((height, outcome));
    }
    let (height, outcome) =
        before.ok_or_else(|| unproved("it holds no block: a chain begins with its scenario".to_owned()))?;
    let mut signers = 0;
    if let Some(next) = &head.next {
        certified(next, genesis).map_err(|why| unproved(format!("block {}: {why}", height + 1)))?;
        if next.block.height != height + 1 || next.block.parent != outcome {
            return Err(unproved(format!("block {} does not vouch for block {height}", height + 1)));
        }
        signers = next.certificate.signatures.len();
    }
    Ok(HandedOver { height, state_hash: outcome.state_hash, signers })
}

fn certified(decided: &DecidedBlock, genesis: &Genesis) -> Result<(), String> {
    let DecidedBlock { block, certificate } = decided;
    if certificate.block != block.id() || certificate.height != block.height {
        return Err("its certificate is of another block".to_owned());
    }
    certificate.verify(genesis)
}

/// Reads the archive in the rest of the file into a draft of the state.
fn read_state(
    file: &mut impl Read,
    aside: &Aside,
    expected: &HandedOver,
    home: &Home,
    path: &Path,
) -> Result<(), HandoverError> {
    let bad = |err| machine("write a file in", home.dir(), err);
    let mut copy = tempfile::NamedTempFile::new_in(home.dir()).map_err(bad)?;
    std::io::copy(file, copy.as_file_mut()).map_err(bad)?;
    let mut database = Database::draft(&aside.file(), &Tables::layout())?;
    let summary = archive::read(copy.path(), &mut database, &mut |_, _| ())?;
    let (height, hash) = (summary.head.height, &summary.head.state_hash);
    if height != expected.height || *hash != expected.state_hash.to_string() {
        let why = format!(
            "its state is that of block {height} with the hash {hash}, and its blocks say block {} and {}",
            expected.height, expected.state_hash
        );
        return Err(HandoverError::Unproved { path: path.to_owned(), why });
    }
    Ok(())
}

fn write_records(path: &Path, genesis: &Genesis, head: &Head) -> Result<(), HandoverError> {
    let mut store = SqliteStore::open(path)?;
    let chain = genesis.id();
    for PastBlock { decided, result } in &head.blocks {
        let result = serde_json::from_slice(result).map_err(|err| HostFault::new("read a result", err))?;
        let ids = decided.block.submissions.iter().map(|it| it.id(&chain)).collect();
        store.put_decided(decided)?;
        store.put_executed(&ExecutedBlock { result, ids })?;
    }
    Ok(())
}

/// Puts the state and the records that the home has beside the new ones.
fn put_aside(home: &Home) -> Result<(), HandoverError> {
    let old = (1..).map(|it| home.dir().join(format!("before-import-{it}"))).find(|it| !it.exists());
    let Some(old) = old.filter(|_| home.state().exists() || home.records().exists()) else { return Ok(()) };
    std::fs::create_dir(&old).map_err(|err| machine("make", &old, err))?;
    for path in [home.state(), home.records(), home.dir().join("node.db-wal"), home.dir().join("node.db-shm")] {
        if let Some(name) = path.file_name().filter(|_| path.exists()) {
            rename(&path, &old.join(name))?;
        }
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), HandoverError> {
    std::fs::rename(from, to).map_err(|err| machine("rename", from, err))
}
