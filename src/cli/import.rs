use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    archive,
    cli::{Exit, Output, output::grouped, progress::Progress, state},
    store::{Aside, Database},
    table::Tables,
};

/// Make a state of a file that `vathost export` wrote
///
/// Everything is checked: the file's checksums, the digest of the rows, the hashes of the bundles, and what `vathost verify`
/// checks. The state appears when all of it is good, and not before.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost import bank.vathost ./state
  vathost import bank.vathost ./state && vathost run --state ./state")]
pub(crate) struct ImportArgs {
    /// The file
    file: PathBuf,
    /// The folder of the state to be, which must be absent or empty
    state: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_import(args: ImportArgs, output: &Output) -> anyhow::Result<Exit> {
    state::must_be_a_file(&args.file)?;
    state::must_be_free(&args.state)?;
    let aside = Aside::new(&args.state)?;
    let mut database = Database::draft(&aside.file(), &Tables::names())?;
    let progress = Progress::new(output, "importing", "bytes");
    let read = archive::read(&args.file, &mut database, &mut |done, total| progress.set(done, total));
    let elapsed = progress.finish();
    let summary = read?;
    drop(database);
    aside.place()?;
    let head = &summary.head;
    if args.json {
        output.json(&json!({
            "state": args.state, "rows": summary.rows, "height": head.height, "stateHash": head.state_hash,
            "stateDigest": head.state_digest, "engine": head.engine, "scenario": head.scenario,
        }))?;
    } else {
        let (rows, height) = (grouped(summary.rows), head.height);
        let name = args.state.display();
        output.line(format!("{name}: {rows} rows, verified, height {height}, {:.1} s", elapsed.as_secs_f32()))?;
        output.line(format!("state hash   {}", head.state_hash))?;
        output.line(format!("state digest {}", head.state_digest))?;
    }
    Ok(Exit::Ok)
}
