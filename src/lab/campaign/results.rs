//! The folder of a campaign's results.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `campaign.json` | what the results are of: base, build, golden run, limits |
//! | `results.jsonl` | one line an experiment, in the order in which they ended |
//! | `shrunk.json` | what findings of several faults were shrunk to |
//! | `report.*` | made from the others |
//!
//! Invariants: one process writes at a time; a line that a kill tore off is dropped when the folder is opened again; results of
//! another base, build or question never come together. Folders of shards are merged by concatenation of their `results.jsonl`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    lab::{
        campaign::{Campaign, Limit, Order},
        experiment::{BaseId, Build, Class, Golden, Outcome},
    },
    model::{files, id::hex},
};

/// Lines that a loss of power may take: they are forced to the disk after so many.
const SYNC_EVERY: u64 = 256;

const HEADER: &str = "campaign.json";
const RESULTS: &str = "results.jsonl";
const SHRUNK: &str = "shrunk.json";

/// The campaign that results belong to. All that a report says besides the results is in it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The version of this format.
    pub schema: u32,
    /// The campaign's name.
    pub name: String,
    /// The campaign's file, as it was typed.
    pub file: String,
    /// A hash of all that the results depend on: base, build, name, experiments, limits and invariants.
    pub key: String,
    /// The base's hash.
    pub base: String,
    /// The hash of the program that made the results.
    pub build: String,
    /// The campaign's seed.
    pub seed: u64,
    /// `singles`, `pairs` or `swarm`.
    pub order: String,
    /// Experiments of the whole campaign.
    pub total: u64,
    /// Experiments that there are, before some were drawn.
    pub space: u64,
    /// Cranks of the golden run.
    pub cranks: u64,
    /// The chained hash at its end.
    pub state_hash: String,
    /// The vats and their names.
    pub vats: Vec<(String, String)>,
    /// What the campaign must come to.
    pub accept: Vec<Limit>,
    /// What must hold once at least.
    pub sometimes: Vec<String>,
    /// Whether every experiment that there is belongs to the campaign: none was left out by drawing.
    #[serde(default)]
    pub exhaustive: bool,
    /// Whether seeds decide what some faults do, so that each stands for others.
    #[serde(default)]
    pub random: bool,
}

/// A reason why results cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// There are some already.
    #[error("there are results in `{0}` already")]
    Taken(PathBuf),
    /// There are none.
    #[error("there are no results in `{0}`")]
    None(PathBuf),
    /// Another process is at work there.
    #[error("another process is at work in `{0}`")]
    Busy(PathBuf),
    /// They are of something else.
    #[error(
        "the results in `{0}` are of another campaign: another base, another build of vathost, other faults, or other \
         invariants or limits"
    )]
    Foreign(PathBuf),
    /// Folders that are to be merged belong to different campaigns.
    #[error("`{0}` and `{1}` are not of one campaign: {2}")]
    Mixed(PathBuf, PathBuf, String),
    /// A line is no result.
    #[error("line {1} of `{0}` is no result: {2}")]
    Line(PathBuf, usize, String),
    /// One experiment, two results.
    #[error("experiment {0} has two results that differ: the host is not deterministic")]
    Differ(String),
    /// The disk failed at a file.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

/// The results that a folder had before a campaign goes on there.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// The names of the experiments.
    pub ids: BTreeSet<String>,
    /// Experiments by class.
    pub classes: BTreeMap<Class, u64>,
    /// Experiments whose class is a finding.
    pub findings: u64,
}

/// Results by the names of their experiments: of a few. There may be millions in a file.
pub type Results = BTreeMap<String, Outcome>;

impl Header {
    /// Returns whether this many results are all that there can be: then a share of them is exact, and has no interval.
    pub fn is_census(&self, run: u64) -> bool {
        self.exhaustive && !self.random && run >= self.total
    }

    /// The command that runs one experiment of it again.
    pub fn again(&self, outcome: &Outcome) -> String {
        let file = &self.file;
        let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-+".contains(it);
        let file = if file.chars().all(is_plain) { file.clone() } else { format!("'{}'", file.replace('\'', "'\\''")) };
        format!("vathost fault repro --campaign {file} {}", outcome.token)
    }

    /// Says why results under another header do not belong to these; `None` if they do.
    fn other_than(&self, other: &Header) -> Option<String> {
        let differ = |what: &str, one: &dyn std::fmt::Display, other: &dyn std::fmt::Display| {
            let (one, other) = (one.to_string(), other.to_string());
            (one != other).then(|| format!("their {what} are {one} and {other}"))
        };
        differ("names", &self.name, &other.name)
            .or_else(|| differ("bases", &self.base, &other.base))
            .or_else(|| differ("builds", &self.build, &other.build))
            .or_else(|| differ("seeds", &self.seed, &other.seed))
            .or_else(|| differ("numbers of experiments", &self.total, &other.total))
            .or_else(|| (self.key != other.key).then(|| "their faults, limits or invariants differ".to_owned()))
            .or_else(|| (self.accept != other.accept).then(|| "their `[accept]` differs".to_owned()))
    }

    /// Makes the header of a campaign on a base; `total` is the number of its experiments.
    pub fn of(campaign: &Campaign, golden: &Golden, build: Build, total: u64) -> Header {
        let file = campaign.file.display().to_string();
        let order = match campaign.space.order {
            Order::Singles => "singles",
            Order::Pairs => "pairs",
            Order::Swarm => "swarm",
        };
        Header {
            schema: 1,
            name: campaign.name.clone(),
            file,
            key: key(campaign, golden.base, build),
            base: golden.base.to_string(),
            build: build.to_string(),
            seed: campaign.space.seed,
            order: order.to_owned(),
            total,
            space: campaign.space.len(),
            cranks: golden.len() as u64,
            state_hash: golden.state_hash().to_string(),
            vats: golden.vats.iter().map(|(vat, name)| (vat.to_string(), name.clone())).collect(),
            accept: campaign.accept.clone(),
            sometimes: campaign.invariants.iter().filter(|it| it.sometimes).map(|it| it.name.clone()).collect(),
            exhaustive: campaign.space.is_exhaustive(),
            random: campaign.space.is_random(),
        }
    }
}

fn key(campaign: &Campaign, base: BaseId, build: Build) -> String {
    let Campaign { name, space, .. } = campaign;
    let text = format!("{base} {build} {} {name} {}", campaign.question(), space.id());
    hex(&blake3::hash(text.as_bytes()).as_bytes()[..16])
}

/// An open folder: more results can be put in it.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    file: File,
    unsynced: u64,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ResultsError + use<> {
    let path = path.to_owned();
    move |err| ResultsError::Io(path, err)
}

impl Folder {
    /// Opens the folder of a campaign, which is made if it is not there; with the names of the experiments that it has results of.
    ///
    /// # Errors
    ///
    /// Where there are results, and they are not to be gone on with, or are of something else; or another process is at work.
    pub fn open(dir: &Path, header: &Header, resume: bool) -> Result<(Folder, Earlier), ResultsError> {
        fs::create_dir_all(dir).map_err(failed(dir))?;
        let path = dir.join(RESULTS);
        if path.exists() {
            drop(files::open(&path).map_err(failed(&path))?);
        }
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path).map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(ResultsError::Busy(dir.to_owned())),
            Err(TryLockError::Error(err)) => return Err(ResultsError::Io(path, err)),
        }
        if let Some(known) = read_header(dir)? {
            if !resume {
                return Err(ResultsError::Taken(dir.to_owned()));
            }
            if known.key != header.key {
                return Err(ResultsError::Foreign(dir.to_owned()));
            }
        }
        write_whole(&dir.join(HEADER), &pretty(header))?;
        let mut known = Known::new();
        let mut earlier = Earlier::default();
        let whole = read_results(&path, &mut known, &mut |it| {
            *earlier.classes.entry(it.class).or_default() += 1;
            earlier.findings += u64::from(header.is_finding(it.class));
        })?;
        earlier.ids = known.into_keys().collect();
        // A line that a kill tore off.
        file.set_len(whole).map_err(failed(&path))?;
        Ok((Folder { dir: dir.to_owned(), file, unsynced: 0 }, earlier))
    }

    /// Appends a result to the file.
    ///
    /// # Errors
    ///
    /// Of the disk.
    pub fn put(&mut self, outcome: &Outcome) -> Result<(), ResultsError> {
        let mut line = serde_json::to_vec(outcome).map_err(|err| self.failed(err.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|err| self.failed(err))?;
        self.unsynced += 1;
        if self.unsynced >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    /// Forces all results to the disk.
    ///
    /// # Errors
    ///
    /// Of the disk.
    pub fn sync(&mut self) -> Result<(), ResultsError> {
        self.unsynced = 0;
        self.file.sync_data().map_err(|err| self.failed(err))
    }

    /// Keeps what findings were shrunk to, by the names of their experiments.
    ///
    /// # Errors
    ///
    /// Of the disk.
    pub fn put_shrunk(&self, shrunk: &Results) -> Result<(), ResultsError> {
        write_whole(&self.dir.join(SHRUNK), &pretty(shrunk))
    }

    fn failed(&self, err: io::Error) -> ResultsError {
        ResultsError::Io(self.dir.join(RESULTS), err)
    }
}

/// Reads the results of folders, of one campaign all, and shows each once; with what findings were shrunk to.
///
/// # Errors
///
/// Where there are none, or they do not belong together.
pub fn load(dirs: &[PathBuf], show: &mut dyn FnMut(&Header, Outcome)) -> Result<(Header, Results), ResultsError> {
    let (mut header, mut known, mut shrunk) = (None::<Header>, Known::new(), Results::new());
    for dir in dirs {
        let one = read_header(dir)?.ok_or_else(|| ResultsError::None(dir.clone()))?;
        if let (Some(why), Some(first)) = (header.as_ref().and_then(|it| it.other_than(&one)), dirs.first()) {
            return Err(ResultsError::Mixed(first.clone(), dir.clone(), why));
        }
        let header = header.get_or_insert(one);
        read_results(&dir.join(RESULTS), &mut known, &mut |it| show(header, it))?;
        let path = dir.join(SHRUNK);
        if path.exists() {
            let text = files::read(&path, files::RECORD_BYTES_MAX).map_err(failed(&path))?;
            let one: Results =
                serde_json::from_slice(&text).map_err(|err| ResultsError::Line(path, err.line(), err.to_string()))?;
            shrunk.extend(one);
        }
    }
    let header = header.ok_or_else(|| ResultsError::None(PathBuf::new()))?;
    Ok((header, shrunk))
}

/// How deep folders of results are looked for.
const DEPTH_MAX: usize = 4;

/// The folders of results below this one, in order.
pub fn folders_below(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut level) = (Vec::new(), vec![dir.to_owned()]);
    for _ in 0..=DEPTH_MAX {
        let mut next = Vec::new();
        for dir in level {
            if dir.join(HEADER).exists() && dir.join(RESULTS).exists() {
                found.push(dir);
                continue;
            }
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten().map(|it| it.path());
            let hidden = |it: &PathBuf| {
                it.file_name().is_some_and(|it| it == "target" || it.as_encoded_bytes().starts_with(b"."))
            };
            next.extend(entries.filter(|it| it.is_dir() && !hidden(it)));
        }
        level = next;
    }
    found.sort();
    found
}

fn read_header(dir: &Path) -> Result<Option<Header>, ResultsError> {
    let path = dir.join(HEADER);
    if !path.exists() {
        return Ok(None);
    }
    let text = files::read(&path, files::RECORD_BYTES_MAX).map_err(failed(&path))?;
    serde_json::from_slice(&text).map(Some).map_err(|err| ResultsError::Line(path, err.line(), err.to_string()))
}

/// The names of experiments, with hashes of their lines.
type Known = BTreeMap<String, [u8; 16]>;

/// Shows each result that is not known yet. Returns where the last whole line ends.
fn read_results(path: &Path, known: &mut Known, show: &mut dyn FnMut(Outcome)) -> Result<u64, ResultsError> {
    let mut file = BufReader::new(files::open(path).map_err(failed(path))?);
    let (mut line, mut whole) = (Vec::new(), 0);
    for at in 1.. {
        line.clear();
        file.by_ref().take(files::LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed(path))?;
        let Some(text) = line.strip_suffix(b"\n") else {
            if line.len() as u64 >= files::LINE_BYTES_MAX {
                return Err(ResultsError::Line(path.to_owned(), at, "it is too long for one".to_owned()));
            }
            break;
        };
        whole += line.len() as u64;
        if text.is_empty() {
            continue;
        }
        let outcome: Outcome =
            serde_json::from_slice(text).map_err(|err| ResultsError::Line(path.to_owned(), at, err.to_string()))?;
        let hash = blake3::hash(text).as_bytes().first_chunk().copied().unwrap_or_default();
        match known.insert(outcome.id.clone(), hash) {
            None => show(outcome),
            Some(other) if other != hash => return Err(ResultsError::Differ(outcome.id)),
            Some(_) => (),
        }
    }
    Ok(whole)
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Writes a file as a whole, or not at all.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), ResultsError> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&beside, path)
    };
    write().map_err(failed(path))
}
