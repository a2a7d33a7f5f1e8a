use clap::Args;
use indicatif::ProgressBar;

use crate::{
    bench::{Siege, Until, attacker_names, siege},
    cli::{
        Exit, Output, Usage,
        output::{grouped, shortened, size},
    },
};

/// Let twelve hostile vats do what they can beside four honest ones, and compare those with the same work in peace
///
/// Floods of messages, bursts, notifies, a store without end, vats that create vats, the console, traps, timers, garbage, large
/// rejections, promises, memory. The honest vats must answer, store and ask exactly what they do without them; an answer may take as many
/// cranks more as there are hostile vats for each that it takes in peace; and rows, memory and disk must not grow. Exit 1 where not.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench siege
  vathost bench siege --minutes 30 --json
  vathost bench siege --cranks 20000 --burst 100 --attacker self-flood")]
pub(super) struct SiegeArgs {
    /// Cranks of the siege
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    cranks: u64,
    /// Minutes of it, instead
    #[arg(long, value_name = "N", conflicts_with = "cranks", value_parser = clap::value_parser!(u64).range(1..))]
    minutes: Option<u64>,
    /// Messages of a burst
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1..))]
    burst: u32,
    /// Only this one of the hostile vats (repeatable)
    #[arg(long, value_name = "NAME")]
    attacker: Vec<String>,
    /// Cranks of a block: an answer is heard at its end
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    cranks_per_block: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_siege(args: &SiegeArgs, output: &Output) -> anyhow::Result<Exit> {
    let dir = tempfile::tempdir()?;
    let until = args.minutes.map_or(Until::Cranks(args.cranks), Until::Minutes);
    let bar = match until {
        Until::Cranks(cranks) if output.progress() => ProgressBar::new(cranks),
        _ => ProgressBar::hidden(),
    };
    let names = attacker_names();
    if let Some(name) = args.attacker.iter().find(|it| !names.contains(&it.as_str())) {
        return Err(
            Usage::new(format!("there is no attacker `{name}`"), format!("there are: {}", names.join(", "))).into()
        );
    }
    let (burst, attackers, cranks_per_block) = (args.burst, args.attacker.clone(), args.cranks_per_block);
    let what = Siege { until, burst, attackers, cranks_per_block };
    let besieged = siege(&what, dir.path(), &mut |cranks| bar.set_position(cranks));
    bar.finish_and_clear();
    let besieged = besieged?;
    let good = besieged.equal() && besieged.in_time() && besieged.flat();
    if args.json {
        output.json(&besieged)?;
        return Ok(if good { Exit::Ok } else { Exit::Findings });
    }
    let verdict = |good: bool| if good { "ok" } else { "FOUND" };
    output.line(format!(
        "{} cranks, {} deliveries of which {} to honest vats; {} hostile vats fell and were replaced",
        grouped(besieged.cranks),
        grouped(besieged.deliveries[0]),
        grouped(besieged.deliveries[1]),
        grouped(besieged.fallen)
    ))?;
    let told = match &besieged.differs {
        Some(differs) => shortened(differs, 400),
        None => format!("digest {}", shortened(&besieged.digests[0], 16)),
    };
    output.line(format!("{:5}  {} answers, as in peace: {told}", verdict(besieged.equal()), besieged.answers))?;
    let [siege, peace] = besieged.latency;
    output.line(format!(
        "{:5}  cranks to an answer: {:.0}, at the most {}; in peace {:.0}: {:.1} times as many, of at most {:.1}",
        verdict(besieged.in_time()),
        siege.cranks,
        grouped(siege.most_cranks),
        peace.cranks,
        besieged.slower,
        besieged.slower_at_most
    ))?;
    output.line(format!(
        "{:5}  after a tenth, half, all: rows {}, memory {}, disk {}",
        verdict(besieged.flat()),
        besieged.rows.map(grouped).join(", "),
        besieged.memory.map(size).join(", "),
        besieged.disk.map(size).join(", ")
    ))?;
    Ok(if good { Exit::Ok } else { Exit::Findings })
}
