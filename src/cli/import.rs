use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    cli::{Exit, Output, named::state_and, output::grouped, progress::Progress, state},
    inspect::archive,
    state::table::Tables,
    store::{Aside, Database},
};

/// Make a state of a file that `vathost export` wrote
///
/// Everything is checked: the file's checksums, the digest of the rows, the hashes of the bundles, and what `vathost verify`
/// checks. The state appears when all of it is good, and not before.
#[derive(Args, Debug)]
#[command(
    override_usage = "vathost import [OPTIONS] FILE DIR\n       vathost import [OPTIONS] FILE --state DIR",
    after_help = "\
Examples:
  vathost import bank.vathost ./state
  vathost import bank.vathost ./state && vathost run --state ./state"
)]
pub(crate) struct ImportArgs {
    /// The file
    #[arg(value_name = "FILE")]
    first: Option<PathBuf>,
    /// The folder of the state to be, which must be absent or empty
    #[arg(value_name = "DIR")]
    second: Option<PathBuf>,
    /// The same
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_import(args: ImportArgs, output: &Output) -> anyhow::Result<Exit> {
    let given = [args.first.as_deref(), args.second.as_deref()];
    let [file, dir] = state_and(args.state.as_deref(), given, ["FILE", "DIR"], "import")?;
    state::must_be_a_file(&file)?;
    state::must_be_free(&dir)?;
    let aside = Aside::new(&dir)?;
    let mut database = Database::draft(&aside.file(), &Tables::layout())?;
    let progress = Progress::new(output, "importing", "bytes");
    let read = archive::read(&file, &mut database, &mut |done, total| progress.set(done, total));
    let elapsed = progress.finish();
    let summary = read?;
    drop(database);
    aside.place()?;
    let head = &summary.head;
    if args.json {
        output.json(&json!({
            "state": dir, "rows": summary.rows, "height": head.height, "stateHash": head.state_hash,
            "stateDigest": head.state_digest, "engine": head.engine, "scenario": head.scenario,
        }))?;
    } else {
        let (rows, height) = (grouped(summary.rows), head.height);
        let name = dir.display();
        output.line(format!("{name}: {rows} rows, verified, height {height}, {:.1} s", elapsed.as_secs_f32()))?;
        output.line(format!("state hash   {}", head.state_hash))?;
        output.line(format!("state digest {}", head.state_digest))?;
    }
    Ok(Exit::Ok)
}
