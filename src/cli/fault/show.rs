use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::{
        Exit, Output, Usage,
        fault::{campaign::refused, one},
    },
    lab::{
        campaign::{self, Header},
        experiment::Outcome,
    },
};

/// Show one experiment of a campaign
///
/// Looks in the folders of results below the current one, or in those that are given.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost fault show 1f3a9c
  vathost fault show 1f3a9c --in vats/bank/kill-each.results --json")]
pub(crate) struct ShowArgs {
    /// The beginning of the experiment's name
    id: String,
    /// Folders of results
    #[arg(long = "in", value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_show(args: &ShowArgs, output: &Output) -> anyhow::Result<Exit> {
    let dirs =
        if args.dirs.is_empty() { campaign::folders_below(&std::env::current_dir()?) } else { args.dirs.clone() };
    let (mut found, mut headers) = (Vec::new(), Vec::new());
    for dir in &dirs {
        let is_meant = |it: &Outcome| it.id.starts_with(&args.id);
        let mut keep = |_: &Header, it: Outcome| found.extend(is_meant(&it).then_some(it));
        let (header, shrunk) = campaign::load(std::slice::from_ref(dir), &mut keep).map_err(refused)?;
        found.extend(shrunk.into_values().filter(is_meant));
        headers.resize(found.len(), header);
    }
    let mut found: Vec<(Outcome, Header)> = found.into_iter().zip(headers).collect();
    found.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    found.dedup_by(|(a, _), (b, _)| a.id == b.id);
    match &found[..] {
        [(one, header)] => {
            one::say_again(one, &header.again(one), args.json, output)?;
            Ok(Exit::Ok)
        }
        [] => {
            let what = format!("there is no experiment `{}` in {} folders of results", args.id, dirs.len());
            Err(Usage::new(what, "--in DIR names the folder").into())
        }
        many => {
            let names: Vec<&str> = many.iter().take(5).map(|(it, _)| &*it.id).collect();
            let what = format!("`{}` is the beginning of {} experiments: {} …", args.id, many.len(), names.join(", "));
            Err(Usage::new(what, "give more digits").into())
        }
    }
}
