use clap::Args;
use indicatif::ProgressBar;

use crate::{
    cli::{
        Exit, Output,
        output::{grouped, size},
    },
    lab::soak::{Soak, soak},
};

/// Let four replicas live the same long random life in different ways, and compare them at every block
///
/// Vats are created, made to hold and touch each other, tripped, upgraded, paused, dropped and ended; replicas are restarted, their vats
/// evicted, with different snapshots. All must have one hash at every block, and pass the audit; memory must stay flat.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench soak
  vathost bench soak --blocks 5000 --seed 7 --json")]
pub(super) struct SoakArgs {
    /// Blocks
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(2..))]
    blocks: u64,
    /// Cranks of a block at the most
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    cranks_per_block: u64,
    /// Another life
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Check every invariant after each crank whose number this divides; 0 never
    #[arg(long, value_name = "N", default_value_t = 10)]
    audit: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_soak(args: &SoakArgs, output: &Output) -> anyhow::Result<Exit> {
    let dir = tempfile::tempdir()?;
    let bar = if output.progress() { ProgressBar::new(args.blocks) } else { ProgressBar::hidden() };
    let what =
        Soak { blocks: args.blocks, cranks_per_block: args.cranks_per_block, seed: args.seed, audit: args.audit };
    let soaked = soak(&what, dir.path(), &mut |block| bar.set_position(block));
    bar.finish_and_clear();
    let soaked = soaked?;
    if args.json {
        output.json(&soaked)?;
        return Ok(Exit::Ok);
    }
    let [half, end] = soaked.memory_bytes.map(size);
    output.line(format!(
        "{} blocks, {} cranks on each of 4 replicas: one hash at every block",
        grouped(soaked.blocks),
        grouped(soaked.cranks)
    ))?;
    output.line(format!(
        "{} vats created, {} ended, {} upgrades, {} restarts; the audit is clean",
        soaked.vats, soaked.terminated, soaked.upgrades, soaked.restarts
    ))?;
    output.line(format!(
        "at the most in the first half and in the second: rows {} and {}, memory {half} and {end}",
        soaked.rows[0], soaked.rows[1]
    ))?;
    output.line(format!("state hash {}", soaked.state_hash))?;
    Ok(Exit::Ok)
}
