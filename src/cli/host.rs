//! The directives, and the bundles to upgrade to, that operators give their host. On the command line, or in the file
//! `host.toml` in the state's folder.

use std::{
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;

use crate::{
    cli::{Output, Usage},
    directive::{Action, Directive, DirectiveSet},
    host::{controller::BlockPolicy, scenario},
    model::files,
    state::block::Block,
    store::Database,
    vat::module::{self, Rules},
};

/// The name of the file.
const FILE: &str = "host.toml";

/// The contents of the file `host.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostToml {
    #[serde(default)]
    host: HostConfig,
}

/// The `[host]` section of `host.toml`. Paths are relative to the folder of the state.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostConfig {
    /// A directive file.
    pub(crate) directives: Option<PathBuf>,
    /// Modules that an `upgrade … bundle` may name.
    #[serde(default)]
    bundles: Vec<PathBuf>,
    cranks_per_block: Option<NonZeroU64>,
    fuel_per_block: Option<u64>,
    block_time: Option<u64>,
}

/// The options for how the host cuts its blocks: that decides every hash, so the state keeps it.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct PolicyArgs {
    /// A block ends after this many cranks; 1,000 in a new state, and otherwise as the state's last blocks did
    #[arg(long, value_name = "N")]
    cranks_per_block: Option<NonZeroU64>,
    /// A block ends after this much fuel, too (0: no matter how much); otherwise as in the state
    #[arg(long, value_name = "F")]
    fuel_per_block: Option<u64>,
    /// Seconds from one block to the next, as the vats are told; 5 in a new state, and otherwise as in the state
    #[arg(long, value_name = "S")]
    block_time: Option<u64>,
}

impl PolicyArgs {
    /// Returns the block policy: the command line comes first, then `host.toml`, then what the state keeps.
    pub(crate) fn policy(&self, host: &HostConfig, kept: BlockPolicy) -> BlockPolicy {
        let fuel = match self.fuel_per_block.or(host.fuel_per_block) {
            Some(0) => None,
            given => given.or(kept.fuel),
        };
        BlockPolicy {
            cranks: self.cranks_per_block.or(host.cranks_per_block).map_or(kept.cranks, NonZeroU64::get),
            fuel,
            wall_millis: None,
            block_time: self.block_time.or(host.block_time).unwrap_or(kept.block_time),
        }
    }
}

/// Returns the block policy that the state in this folder keeps. A folder without a state, and a new state, has the default.
pub(crate) fn kept_policy(dir: &Path) -> anyhow::Result<BlockPolicy> {
    if !Database::exists(dir) {
        return Ok(BlockPolicy::default());
    }
    Ok(Database::open_read_only(dir)?.meta()?.map(|it| BlockPolicy::kept(&it)).unwrap_or_default())
}

impl HostConfig {
    /// Reads the `host.toml` of the state in this folder. Without the file, the result is empty.
    pub(crate) fn of(state: Option<&Path>) -> anyhow::Result<HostConfig> {
        let Some(dir) = state.filter(|it| it.join(FILE).exists()) else { return Ok(HostConfig::default()) };
        let path = dir.join(FILE);
        let name = path.display();
        let text =
            files::read_text(&path, files::TEXT_BYTES_MAX).map_err(|err| Usage::new(format!("{name}: {err}"), ""))?;
        let hint = "it holds `[host]`, and in it `directives = \"FILE\"` and `bundles = [\"FILE.wasm\"]`, `cranks_per_block`, \
                    `fuel_per_block` and `block_time`";
        let file: HostToml = toml::from_str(&text).map_err(|err| Usage::new(format!("{name}: {err}"), hint))?;
        let there = |it: PathBuf| dir.join(it);
        let HostConfig { directives, bundles, .. } = file.host;
        Ok(HostConfig {
            directives: directives.map(there),
            bundles: bundles.into_iter().map(there).collect(),
            ..file.host
        })
    }

    /// Reads the given directive file, or else the one that `host.toml` names.
    pub(crate) fn directives(&self, given: Option<&Path>) -> anyhow::Result<Option<DirectiveSet>> {
        given.or(self.directives.as_deref()).map(read_directives).transpose()
    }

    /// Reads the modules that `host.toml` names, and the given ones.
    pub(crate) fn bundles(&self, given: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
        self.bundles.iter().chain(given).map(|it| read_module(it)).collect()
    }
}

/// Reads a directive file. A mistake in it refuses the start before there is a state.
pub(crate) fn read_directives(path: &Path) -> anyhow::Result<DirectiveSet> {
    let name = path.display().to_string();
    let bytes = files::read(path, files::TEXT_BYTES_MAX).map_err(|err| Usage::new(format!("{name}: {err}"), ""))?;
    let mut set = DirectiveSet::default();
    set.read(&name, &bytes).map_err(|refused| Usage::new(refused, GRAMMAR_HINT))?;
    Ok(set)
}

/// The hint that says where to read the grammar of directive files.
pub(crate) const GRAMMAR_HINT: &str = "`vathost directives grammar` prints the grammar";

/// A module: it must be one that a vat could run.
pub(crate) fn read_module(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let wasm = scenario::read_module(path)?;
    module::prepare(&wasm, &Rules::default())
        .map_err(|refusals| Usage::new(format!("{name}: {refusals}"), format!("`vathost check {name}` says more")))?;
    Ok(wasm)
}

/// Returns the directives that upgrade to a bundle which the state does not hold.
pub(crate) fn missing_bundles<'a>(
    block: &Block,
    directives: impl IntoIterator<Item = &'a Directive>,
) -> anyhow::Result<Vec<&'a Directive>> {
    let mut missing = Vec::new();
    for directive in directives {
        if let Action::Upgrade { bundle, .. } = &directive.action
            && block.find_bundle(bundle)?.is_none()
        {
            missing.push(directive);
        }
    }
    Ok(missing)
}

/// Says so, and what to do.
pub(crate) fn warn_of_missing_bundles(missing: &[&Directive], output: &Output) {
    for directive in missing {
        output.warn(format!(
            "{directive}: the state does not hold that bundle; `run --bundle FILE.wasm` gives it, \
             or `bundles` in host.toml"
        ));
    }
}
