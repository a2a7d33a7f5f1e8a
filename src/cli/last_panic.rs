//! The newest kernel panic of a state: how its host ran, for tools that must reach the same place.
//!
//! Invariant: if the state is not past the panic, a tool's settings are those of the command line, or else those of the epitaph; the tool says
//! in what they differ. Otherwise the settings are those of the command line, or else of `host.toml` and the state. (Directives in force
//! come from `host.toml` before the epitaph.)

use std::path::Path;

use anyhow::Context;

use crate::{
    cli::{
        Output, Usage,
        host::{PolicyArgs, directives_of},
    },
    directive::DirectiveSet,
    host::{controller::BlockPolicy, epitaph::Epitaph, options::HostFile},
    lab::probe::PlantedBug,
    model::{files, id::CrankNum},
    store::Database,
};

/// The last panic of a state's host, read from its epitaphs; see the module.
pub(crate) struct LastPanic {
    /// The epitaph of the highest crank in the folder.
    pub(crate) newest: Option<Epitaph>,
    /// The newest epitaph, if the state has not gone past it.
    pub(crate) epitaph: Option<Epitaph>,
    /// The first crank that is not committed.
    pub(crate) next_crank: CrankNum,
    /// How the state's last blocks were cut.
    kept: BlockPolicy,
}

impl LastPanic {
    /// Reads the last panic of the state in this folder.
    pub(crate) fn of(dir: &Path) -> anyhow::Result<LastPanic> {
        LastPanic::beside(dir, &Database::open_read_only(dir)?)
    }

    /// Reads the last panic of a folder whose state is open as `database`.
    pub(crate) fn beside(dir: &Path, database: &Database) -> anyhow::Result<LastPanic> {
        let next_crank = database.blocks()?.last().map_or(CrankNum(0), |it| it.next_crank);
        let kept = database.meta()?.map(|it| BlockPolicy::kept(&it)).unwrap_or_default();
        let newest = newest(dir)?;
        let epitaph = newest.clone().filter(|it| it.crank.is_some_and(|crank| crank >= next_crank.0));
        Ok(LastPanic { newest, epitaph, next_crank, kept })
    }

    /// Returns the block policy that the host ran with when it panicked, or else the one it would run with now.
    pub(crate) fn policy(&self, given: &PolicyArgs, host: &HostFile) -> BlockPolicy {
        match &self.epitaph {
            Some(epitaph) => given.policy(&HostFile::default(), epitaph.run.policy()),
            None => given.policy(host, self.kept),
        }
    }

    /// Returns the given plants, or else the bugs that were planted in the host.
    pub(crate) fn plants(&self, given: &[PlantedBug]) -> anyhow::Result<Vec<PlantedBug>> {
        match &self.epitaph {
            Some(epitaph) if given.is_empty() => {
                Ok(epitaph.run.plants.iter().map(|it| it.parse()).collect::<Result<_, _>>()?)
            }
            _ => Ok(given.to_vec()),
        }
    }

    /// Returns how often the host checked its invariants.
    pub(crate) fn audit(&self) -> Option<u64> {
        self.epitaph.as_ref()?.run.audit
    }

    /// Returns the directives in force: those of the given file, or of `host.toml`, or else those that the host had when it panicked.
    pub(crate) fn directives(&self, given: Option<&Path>, host: &HostFile) -> anyhow::Result<DirectiveSet> {
        if let Some(set) = directives_of(host, given)? {
            return Ok(set);
        }
        let mut set = DirectiveSet::default();
        if let Some(epitaph) = &self.epitaph {
            set.read(&epitaph.file_name(), epitaph.directives.join("\n").as_bytes())
                .map_err(|refused| Usage::new(refused, "it is no epitaph of this version: move it away"))?;
        }
        Ok(set)
    }

    /// Prints how the tool runs, and in what that differs from the host that panicked.
    pub(crate) fn say(&self, policy: &BlockPolicy, plants: &[PlantedBug], directives: &DirectiveSet, output: &Output) {
        let Some(epitaph) = &self.epitaph else { return };
        let (then, name) = (epitaph.run.policy(), epitaph.file_name());
        let planted = plants.iter().map(|it| format!(", --plant {it}")).collect::<String>();
        output.note(format!("as {name} says: {} cranks a block{planted}", policy.cranks));
        if (policy.cranks, policy.fuel, policy.block_time) != (then.cranks, then.fuel, then.block_time) {
            output.note(format!(
                "note: the host that panicked cut its blocks in another way ({} cranks, {} s apart): it may come to another place",
                then.cranks, then.block_time
            ));
        }
        let texts: Vec<String> = plants.iter().map(ToString::to_string).collect();
        if texts != epitaph.run.plants {
            let then = epitaph.run.plants.join(", ");
            output.note(format!("note: the host that panicked had other bugs planted: {then}"));
        }
        for line in directives.iter().map(ToString::to_string).filter(|it| !epitaph.directives.contains(it)) {
            output.note(format!("note: in force here, as it was not then: {line}"));
        }
        let lacks = |it: &&String| !directives.iter().any(|mine| mine.to_string() == **it);
        for line in epitaph.directives.iter().filter(lacks) {
            output.note(format!("note: not in force here, as it was then: {line}"));
        }
    }
}

fn newest(dir: &Path) -> anyhow::Result<Option<Epitaph>> {
    let mut newest: Option<Epitaph> = None;
    for entry in std::fs::read_dir(dir).with_context(|| format!("look into {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        if !(name.starts_with("panic-") && name.ends_with(".json")) {
            continue;
        }
        let bytes = files::read(&path, files::RECORD_BYTES_MAX).with_context(|| format!("read {}", path.display()))?;
        let read = serde_json::from_slice::<Epitaph>(&bytes);
        let epitaph =
            read.map_err(|err| Usage::new(format!("{}: {err}", path.display()), "it is no epitaph: move it away"))?;
        if newest.as_ref().is_none_or(|it| it.crank < epitaph.crank) {
            newest = Some(epitaph);
        }
    }
    Ok(newest)
}
