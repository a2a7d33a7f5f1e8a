//! The settings that operators give their host on the command line, or in the file `host.toml` in the state's folder: how blocks are cut,
//! directives, and bundles to upgrade to.

use std::{
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    cli::{Output, Usage},
    directive::{Action, Directive, DirectiveSet},
    host::{
        controller::BlockPolicy,
        options::{BadFile, BlockOptions, HostFile, read_directives},
        scenario,
    },
    state::block::{Block, find_bundle},
    store::Database,
    vat::module::{self, Rules},
};

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
    pub(crate) fn policy(&self, host: &HostFile, kept: BlockPolicy) -> BlockPolicy {
        self.options().or(host.blocks).over(kept)
    }

    /// Returns the options for cutting blocks that the command line gives.
    pub(crate) fn options(&self) -> BlockOptions {
        let PolicyArgs { cranks_per_block, fuel_per_block, block_time } = *self;
        BlockOptions { cranks_per_block, fuel_per_block, block_time }
    }
}

/// Returns the block policy that the state in this folder keeps. A folder without a state, and a new state, has the default.
pub(crate) fn kept_policy(dir: &Path) -> anyhow::Result<BlockPolicy> {
    if !Database::exists(dir) {
        return Ok(BlockPolicy::default());
    }
    Ok(Database::open_read_only(dir)?.meta()?.map(|it| BlockPolicy::kept(&it)).unwrap_or_default())
}

/// Reads the `host.toml` of the state in this folder. Without the file, the result is empty.
pub(crate) fn host_file(state: Option<&Path>) -> Result<HostFile, Usage> {
    Ok(state.map(HostFile::of).transpose()?.unwrap_or_default())
}

/// Says where the deliveries are that left the state in this folder, if `host.toml` has an archive.
pub(crate) fn archive_hint(state: &Path) -> Option<String> {
    let archive = HostFile::of(state).ok()?.archive?;
    Some(format!("host.toml has an archive: --archive {}", archive.display()))
}

/// Reads the given directive file, or else the one that `host.toml` names.
pub(crate) fn directives_of(host: &HostFile, given: Option<&Path>) -> Result<Option<DirectiveSet>, Usage> {
    Ok(given.or(host.directives.as_deref()).map(read_directives).transpose()?)
}

/// Reads the modules that `host.toml` names, and the given ones.
pub(crate) fn bundles_of(host: &HostFile, given: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
    host.bundles.iter().chain(given).map(|it| read_module(it)).collect()
}

impl From<BadFile> for Usage {
    fn from(bad: BadFile) -> Usage {
        Usage::new(bad.what, bad.hint)
    }
}

/// Reads a module, which must be one that a vat could run.
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
            && find_bundle(block, bundle)?.is_none()
        {
            missing.push(directive);
        }
    }
    Ok(missing)
}

/// Warns of each directive whose bundle the state does not hold, and says what to do.
pub(crate) fn warn_of_missing_bundles(missing: &[&Directive], output: &Output) {
    for directive in missing {
        output.warn(format!(
            "{directive}: the state does not hold that bundle; `run --bundle FILE.wasm` gives it, \
             or `bundles` in host.toml"
        ));
    }
}
