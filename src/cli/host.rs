//! What the operators of a state give its host: directives, and bundles to upgrade to. On the command line, or in the file
//! `host.toml` in the state's folder.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    block::Block,
    cli::{Output, Usage},
    directive::{Action, Directive, DirectiveSet},
    files, scenario,
    vat::module::{self, Rules},
};

/// The name of the file.
const FILE: &str = "host.toml";

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    host: Host,
}

/// Its one section. Paths are relative to the folder of the state.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Host {
    /// A directive file.
    pub(crate) directives: Option<PathBuf>,
    /// Modules that an `upgrade … bundle` may name.
    #[serde(default)]
    bundles: Vec<PathBuf>,
}

impl Host {
    /// Of the state in this folder; of one that has no such file, nothing.
    pub(crate) fn of(state: Option<&Path>) -> anyhow::Result<Host> {
        let Some(dir) = state.filter(|it| it.join(FILE).exists()) else { return Ok(Host::default()) };
        let path = dir.join(FILE);
        let name = path.display();
        let text =
            files::read_text(&path, files::TEXT_BYTES_MAX).map_err(|err| Usage::new(format!("{name}: {err}"), ""))?;
        let hint = "it holds `[host]`, and in it `directives = \"FILE\"` and `bundles = [\"FILE.wasm\"]`";
        let file: File = toml::from_str(&text).map_err(|err| Usage::new(format!("{name}: {err}"), hint))?;
        let Host { directives, bundles } = file.host;
        let there = |it: PathBuf| dir.join(it);
        Ok(Host { directives: directives.map(there), bundles: bundles.into_iter().map(there).collect() })
    }

    /// Its directives, unless others are given.
    pub(crate) fn directives(&self, given: Option<&Path>) -> anyhow::Result<Option<DirectiveSet>> {
        given.or(self.directives.as_deref()).map(read_directives).transpose()
    }

    /// Its modules, and those that are given.
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

/// Where to read what a directive file may say.
pub(crate) const GRAMMAR_HINT: &str = "`vathost directives grammar` prints the grammar";

/// A module: it must be one that a vat could run.
pub(crate) fn read_module(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let wasm = scenario::read_module(path)?;
    module::prepare(&wasm, &Rules::default())
        .map_err(|refusals| Usage::new(format!("{name}: {refusals}"), format!("`vathost check {name}` says more")))?;
    Ok(wasm)
}

/// Those of these directives that upgrade to a bundle which the state does not hold.
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
        output.note(format!(
            "warning: {directive}: the state does not hold that bundle; `run --bundle FILE.wasm` gives it, \
             or `bundles` in host.toml"
        ));
    }
}
