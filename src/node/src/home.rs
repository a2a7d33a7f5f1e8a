//! Homes: the folder of a validator, and the files in it.
//!
//! ```text
//!   HOME/node.toml        its settings, with comments            HOME/genesis.json   what all validators agreed on
//!   HOME/validator.key    signs votes: secret, 0600              HOME/directives     the operators' lines, read at each start
//!   HOME/network.key      proves who connects: secret, 0600      HOME/state/         the state of the kernel
//!   HOME/node.db          decided blocks, results                HOME/node.slog      the flight recorder
//!   HOME/consensus.wal    what the engine has signed             HOME/node.lock      held by the process that runs it
//! ```
//!
//! Invariants: a secret is written to a file that only its owner may read, and a key that others may read is refused; `validator.key` and
//! `consensus.wal` belong together, since a validator that forgets what it signed may sign something else.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use vathost::{
    directive::DirectiveSet,
    model::{blame::HostFault, files},
};

use crate::{genesis::Genesis, keys::SecretKey};

/// The most bytes of a settings file, or of a file of directives.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// The settings of a node: the file `node.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The name of the node in the genesis.
    pub name: String,
    /// The address at which the other validators reach it, as in `/ip4/0.0.0.0/tcp/27000`.
    pub listen: String,
    /// The addresses of the other validators.
    #[serde(default)]
    pub peers: Vec<String>,
    /// The address of its HTTP surface, as in `127.0.0.1:7200`.
    pub http: String,
    /// The times that the protocol waits.
    #[serde(default)]
    pub timing: Timing,
    /// Modules that an `upgrade … bundle` may name, beside the home.
    #[serde(default)]
    pub bundles: Vec<PathBuf>,
    /// Bugs that are planted in the kernel, in a chain for experiments.
    #[serde(default)]
    pub plants: Vec<String>,
}

/// The times that a node waits for others, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// For the proposal of a round.
    pub propose_ms: u64,
    /// For the votes of a round, after two thirds have voted.
    pub vote_ms: u64,
    /// Before a block with nothing in it is proposed; less than `propose_ms`.
    pub idle_ms: u64,
    /// After a halt, before the process ends: the others get the votes that are on their way.
    pub linger_ms: u64,
    /// Between two messages that tell the others this node's height.
    pub status_ms: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { propose_ms: 3_000, vote_ms: 1_000, idle_ms: 1_000, linger_ms: 1_500, status_ms: 1_000 }
    }
}

impl Settings {
    /// Returns the text of the file, with what each setting means.
    pub fn text(&self) -> String {
        let quoted = |it: &str| toml::Value::from(it).to_string();
        let list = |items: &[String]| {
            let lines: Vec<String> = items.iter().map(|it| format!("    {},\n", quoted(it))).collect();
            if lines.is_empty() { "[]".to_owned() } else { format!("[\n{}]", lines.concat()) }
        };
        let bundles: Vec<String> = self.bundles.iter().map(|it| it.display().to_string()).collect();
        let Timing { propose_ms, vote_ms, idle_ms, linger_ms, status_ms } = self.timing;
        format!(
            "# The settings of a vathost validator. They may differ from node to node: what all must agree on is in genesis.json.\n\n\
             # The name of this node in genesis.json.\nname = {}\n\n\
             # Where the other validators reach it.\nlisten = {}\n\n\
             # The other validators. The end of each, /p2p/…, is what `vathost-node init` printed there as its peer id: only who\n\
             # proves to have that key is let in.\npeers = {}\n\n\
             # Where people and programs reach it. There is no TLS: across a network put a proxy in front.\nhttp = {}\n\n\
             # Modules that a directive `upgrade … bundle` may name; paths are relative to the home.\nbundles = {}\n\n\
             # Bugs to plant in the kernel, as in \"resolve-non-decider@crank-0\": only in a chain for experiments.\nplants = {}\n\n\
             # Milliseconds.\n[timing]\n\
             # For the proposal of a round: longer than the longest block takes.\npropose_ms = {propose_ms}\n\
             # For the rest of the votes, once two thirds have voted.\nvote_ms = {vote_ms}\n\
             # Before an empty block is proposed: less than propose_ms. A submission ends the wait.\nidle_ms = {idle_ms}\n\
             # After a halt, so that the others get this node's last votes.\nlinger_ms = {linger_ms}\n\
             # Between two messages that tell the others this node's height.\nstatus_ms = {status_ms}\n",
            quoted(&self.name),
            quoted(&self.listen),
            list(&self.peers),
            quoted(&self.http),
            list(&bundles),
            list(&self.plants),
        )
    }
}

/// The text of a new file of directives.
const NEW_DIRECTIVES: &str = "# Directives: one line each, the same lines at every validator, as `crank-1234: skip v2 expect f1091baa`.\n\
                              # `vathost directives grammar` prints the grammar. The file is read when the node starts.\n";

/// A validator's home, which may not be complete yet.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// Names the home in this folder, which may not exist.
    pub fn at(dir: impl Into<PathBuf>) -> Home {
        Home { dir: dir.into() }
    }

    /// Returns the path of the folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the folder of the kernel's state.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Returns the file of the node's own records.
    pub fn records(&self) -> PathBuf {
        self.dir.join("node.db")
    }

    /// Returns the file of the flight recorder.
    pub fn recording(&self) -> PathBuf {
        self.dir.join("node.slog")
    }

    /// Returns the engine's log of what it has signed.
    pub fn engine_log(&self) -> PathBuf {
        self.dir.join("consensus.wal")
    }

    /// Returns the file of the operators' directives.
    pub fn directives_file(&self) -> PathBuf {
        self.dir.join("directives")
    }

    /// Returns the file of the genesis.
    pub fn genesis_file(&self) -> PathBuf {
        self.dir.join("genesis.json")
    }

    fn settings_file(&self) -> PathBuf {
        self.dir.join("node.toml")
    }

    /// Returns whether somebody has made this home.
    pub fn exists(&self) -> bool {
        self.settings_file().exists()
    }

    /// Makes the folder, with new keys, a file of directives and these settings. Nothing that exists is replaced.
    pub fn make(&self, settings: &Settings) -> Result<(), HostFault> {
        let bad = |err: std::io::Error| HostFault::new(format_args!("make the home {}", self.dir.display()), err);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(bad)?;
        for name in ["validator.key", "network.key"] {
            write_new(&self.dir.join(name), 0o600, &SecretKey::new()?.write())?;
        }
        write_new(&self.directives_file(), 0o644, NEW_DIRECTIVES)?;
        write_new(&self.settings_file(), 0o644, &settings.text())
    }

    /// Replaces the settings of this home.
    pub fn put_settings(&self, settings: &Settings) -> Result<(), HostFault> {
        replace(&self.settings_file(), &settings.text())
    }

    /// Writes the genesis, where there is none yet or the same.
    pub fn put_genesis(&self, genesis: &Genesis) -> Result<(), HostFault> {
        let path = self.genesis_file();
        if path.exists() {
            return if Genesis::read(&path)? == *genesis {
                Ok(())
            } else {
                Err(HostFault::new("take over the genesis", format_args!("{} is of another chain", path.display())))
            };
        }
        write_new(&path, 0o644, &genesis.text())
    }

    /// Reads the genesis of this home.
    pub fn genesis(&self) -> Result<Genesis, HostFault> {
        Genesis::read(&self.genesis_file())
    }

    /// Reads the settings of this home.
    pub fn settings(&self) -> Result<Settings, HostFault> {
        let path = self.settings_file();
        let bad = |why: &dyn std::fmt::Display| HostFault::new(format_args!("read {}", path.display()), why);
        let text = files::read_text(&path, TEXT_BYTES_MAX).map_err(|err| bad(&err))?;
        toml::from_str(&text).map_err(|err| bad(&err))
    }

    /// Reads the key that signs the validator's votes.
    pub fn validator_key(&self) -> Result<SecretKey, HostFault> {
        read_key(&self.dir.join("validator.key"))
    }

    /// Reads the key that proves to the others who connects.
    pub fn network_key(&self) -> Result<SecretKey, HostFault> {
        read_key(&self.dir.join("network.key"))
    }

    /// Reads the operators' directives. Without the file there are none.
    pub fn directives(&self) -> Result<DirectiveSet, HostFault> {
        let path = self.directives_file();
        let mut set = DirectiveSet::default();
        if !path.exists() {
            return Ok(set);
        }
        let bytes = files::read(&path, TEXT_BYTES_MAX)
            .map_err(|err| HostFault::new(format_args!("read {}", path.display()), err))?;
        set.read(&path.display().to_string(), &bytes).map_err(|err| HostFault::new("read the directives", err))?;
        Ok(set)
    }

    /// Takes the home for this process, until the answer is dropped.
    ///
    /// # Errors
    ///
    /// Another process has it.
    pub fn lock(&self) -> Result<HomeLock, HostFault> {
        let path = self.dir.join("node.lock");
        let bad = |why: &dyn std::fmt::Display| HostFault::new(format_args!("take {}", path.display()), why);
        let options = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path);
        let file = options.map_err(|err| bad(&err))?;
        match file.try_lock() {
            Ok(()) => Ok(HomeLock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(bad(
                &"another process runs on this home: stop it first. Two with one key would sign against each other",
            )),
            Err(fs::TryLockError::Error(err)) => Err(bad(&err)),
        }
    }
}

/// The right to run on a home, which one process has at a time.
#[derive(Debug)]
pub struct HomeLock {
    _file: File,
}

/// Reads a key, which nobody but its owner may be able to read.
pub fn read_key(path: &Path) -> Result<SecretKey, HostFault> {
    let bad = |why: &dyn std::fmt::Display| HostFault::new(format_args!("read {}", path.display()), why);
    let mode = fs::metadata(path).map_err(|err| bad(&err))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(bad(&format_args!("others may read it (mode {:o}): `chmod 600` it", mode & 0o777)));
    }
    let text = files::read_text(path, 1_000).map_err(|err| bad(&err))?;
    SecretKey::read(&text).map_err(|err| bad(&err))
}

/// Writes a new file of this mode.
pub fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), HostFault> {
    let bad = |err: std::io::Error| HostFault::new(format_args!("write {}", path.display()), err);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path).map_err(bad)?;
    file.write_all(text.as_bytes()).map_err(bad)?;
    file.sync_all().map_err(bad)
}

fn replace(path: &Path, text: &str) -> Result<(), HostFault> {
    let bad = |err: std::io::Error| HostFault::new(format_args!("write {}", path.display()), err);
    let new = path.with_extension("new");
    fs::write(&new, text).map_err(bad)?;
    fs::rename(&new, path).map_err(bad)
}
