use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        Exit, Output, Usage,
        fault::{BaseArgs, prepare, store_ops},
    },
    lab::campaign::preset::{Ground, Preset},
    store::Database,
};

/// Write a campaign to begin with
///
/// It is written for this base, with its vats and the numbers of their deliveries, and says in comments what else there is.
#[derive(Args, Debug)]
#[command(after_help = "\
Presets:
  skip-each        every delivery to every vat is skipped once
  kill-each        every vat is terminated at each of its deliveries
  syscall-errors   every syscall of every vat fails once
  oom              every delivery runs out of fuel or memory midway
  seu              one bit of a vat's memory turns over, now and then
  power-loss       the process is killed, the disk fails or loses power at each operation on a file
  swarm            random sets of skips, delays, duplicates, deaths and traps

Examples:
  vathost fault init vats/bank
  vathost fault init ./state --preset power-loss --out power.toml")]
pub(crate) struct InitArgs {
    #[command(flatten)]
    base: BaseArgs,
    /// What is to be tried
    #[arg(long, value_name = "NAME", default_value = "skip-each")]
    preset: Preset,
    /// The file to write; otherwise it is printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object: the text of the campaign, and the file, if one is written
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_init(args: &InitArgs, output: &Output) -> anyhow::Result<Exit> {
    let experiments = prepare(args.base.path()?, &args.base.run, output)?;
    let golden = experiments.golden();
    let dir = match &args.out {
        Some(file) => std::path::absolute(file)?.parent().map(PathBuf::from).unwrap_or_default(),
        None => std::env::current_dir()?,
    };
    let base = relative(&std::path::absolute(args.base.path()?)?, &dir);
    let store_ops = match args.preset.is_about_the_store() {
        true => store_ops(&experiments)?,
        false => Vec::new(),
    };
    let text = args.preset.write(&Ground {
        base: &base.display().to_string(),
        block_cranks: experiments.base().policy.cranks,
        is_state: Database::exists(args.base.path()?),
        state_hash: golden.before.state_hash.to_string().get(..16).unwrap_or_default(),
        points: &golden.points(),
        store_ops: &store_ops,
    });
    let Some(file) = &args.out else {
        match args.json {
            true => output.json(&json!({ "file": null, "campaign": text }))?,
            false => output.line(text.trim_end())?,
        }
        return Ok(Exit::Ok);
    };
    if file.exists() {
        let what = format!("`{}` is there already", file.display());
        return Err(Usage::new(what, "name another file, or remove it").into());
    }
    fs::write(file, &text)?;
    if args.json {
        output.json(&json!({ "file": file, "campaign": text }))?;
    }
    output.note(format!("wrote {0}\nnext:  vathost fault plan {0}", file.display()));
    Ok(Exit::Ok)
}

/// Returns a path as it is written in a file of that folder.
fn relative(path: &Path, dir: &Path) -> PathBuf {
    let common = path.components().zip(dir.components()).take_while(|(one, other)| one == other).count();
    // If only the root is in common, the absolute path is plainer.
    if common < 2 {
        return path.to_owned();
    }
    let up = dir.components().skip(common).map(|_| Component::ParentDir);
    let relative: PathBuf = up.chain(path.components().skip(common)).collect();
    if relative.as_os_str().is_empty() { PathBuf::from(".") } else { relative }
}
