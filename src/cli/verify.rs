use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{Exit, Output, named::StateArgs, output::grouped, progress::Progress, run::code_cache, state},
    inspect::verify::{self, Check, Verification},
    slog::Slog,
    state::block::Block,
    store::{Database, SpanFolder},
    vat::Warehouse,
};

/// Check everything that must hold of a state
///
/// The file, every record, every invariant of the kernel, the digest of the rows, bundles, transcripts, and the chain of blocks.
/// With `--replay` also that every live vat comes back from its transcript as it was. With `--archive` also what has left the transcripts,
/// back to the first delivery: a file that is missing, altered, or of another state is named.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost verify ./state
  vathost verify ./state --archive ./past
  vathost verify ./state --replay --json | jq '.checks[] | select(.ok | not)'")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Replay every live vat too, and compare its memory and fuel
    #[arg(long)]
    replay: bool,
    /// Check also the deliveries that have left the state, in the files in this folder
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_verify(args: VerifyArgs, output: &Output) -> anyhow::Result<Exit> {
    state::must_exist(&args.state)?;
    let verified = match Database::open_read_only(&args.state) {
        Ok(mut database) => {
            if let Some(archive) = &args.archive {
                database.read_archive(SpanFolder::at(archive));
            }
            let mut verified = verify::verify(&database)?;
            if args.replay {
                verified.0.push(replay(database, verified.is_ok(), output)?);
            }
            verified
        }
        Err(why) => verify::unreadable(&why),
    };
    if args.json {
        let checks: Vec<Value> = verified.0.iter().map(object).collect();
        output.json(&json!({ "ok": verified.is_ok(), "checks": checks }))?;
    } else {
        print(&verified, output)?;
    }
    Ok(if verified.is_ok() { Exit::Ok } else { Exit::Findings })
}

/// Makes the check `replay`, which is skipped if another check found something.
fn replay(database: Database, good: bool, output: &Output) -> anyhow::Result<Check> {
    if !good {
        return Ok(Check { skipped: Some("the state is damaged"), ..Check::new("replay") });
    }
    let block = Block::over(database, Slog::default())?;
    let total = block.tables().tallies.iter().map(|(_, it)| it.deliveries).sum();
    let progress = Progress::new(output, "replaying", "deliveries");
    let mut done = 0;
    let mut workers = Warehouse::new(code_cache().as_deref())?;
    let check = verify::replay(&block, &mut workers, &mut || {
        done += 1;
        progress.set(done, total);
    });
    progress.finish();
    Ok(check?)
}

fn object(check: &Check) -> Value {
    let mut object = json!({ "name": check.name, "ok": check.is_ok() && check.skipped.is_none(), "of": check.of });
    if let Some(why) = check.skipped {
        object["skipped"] = why.into();
    }
    if !check.is_ok() {
        object["findings"] = check.findings.clone().into();
        object["more"] = check.more.into();
    }
    object
}

fn print(verified: &Verification, output: &Output) -> std::io::Result<()> {
    for check in &verified.0 {
        let verdict = match (check.skipped, check.findings.len() + check.more) {
            (Some(why), _) => format!("not checked: {why}"),
            (None, 0) => format!("ok  {}", check.of),
            (None, 1) => "1 finding".to_owned(),
            (None, many) => format!("{} findings", grouped(many as u64)),
        };
        output.line(format!("{:<12} {verdict}", check.name))?;
        for finding in &check.findings {
            output.line(format!("             {finding}"))?;
        }
        if check.more > 0 {
            output.line(format!("             … and {} more", check.more))?;
        }
    }
    Ok(())
}
