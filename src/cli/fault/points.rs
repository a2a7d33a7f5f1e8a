use clap::Args;
use serde_json::json;

use crate::cli::{
    Exit, Output,
    fault::{BaseArgs, prepare, store_ops},
    output::{grouped, harmless, table},
};

/// Count the places where faults can be injected
///
/// The undisturbed run is made twice: in memory, and on a disk, to count what each commit does to its files.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost fault points vats/bank
  vathost fault points ./state --json")]
pub(crate) struct PointsArgs {
    #[command(flatten)]
    base: BaseArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_points(args: &PointsArgs, output: &Output) -> anyhow::Result<Exit> {
    let experiments = prepare(args.base.path()?, &args.base.run, output)?;
    let golden = experiments.golden();
    let points = golden.points();
    let store_ops = store_ops(&experiments)?;
    if args.json {
        let range = |(first, count): (u64, u64)| json!({ "first": first, "count": count });
        let vats: Vec<_> = points
            .vats
            .iter()
            .map(|it| {
                let syscalls: serde_json::Map<_, _> =
                    it.syscalls.iter().map(|(kind, count)| ((*kind).to_owned(), (*count).into())).collect();
                json!({ "vat": it.vat.to_string(), "name": it.name, "deliveries": range(it.deliveries), "syscalls": syscalls })
            })
            .collect();
        output.json(&json!({
            "base": golden.base.to_string(),
            "stateHash": golden.state_hash().to_string(),
            "quiescent": golden.quiescent,
            "cranks": range(points.cranks),
            "commits": range(points.commits),
            "storeOps": store_ops.iter().map(|(height, ops)| json!({ "commit": height.0, "count": ops })).collect::<Vec<_>>(),
            "vats": vats,
        }))?;
        return Ok(Exit::Ok);
    }
    let span = |prefix: &str, (first, count): (u64, u64)| match count {
        0 => "none".to_owned(),
        1 => format!("{prefix}{first}"),
        _ => format!("{prefix}{first} … {}", first + count - 1),
    };
    output.page();
    output.line(format!("{} cranks    {}", grouped(points.cranks.1), span("crank-", points.cranks)))?;
    output.line(format!("{} commits   {}", grouped(points.commits.1), span("commit-", points.commits)))?;
    let (all, most) = store_ops.iter().fold((0, 0), |(all, most), (_, ops)| (all + ops, (*ops).max(most)));
    output.line(format!("{} operations of them on files    commit-N/store-op-1 … {most} at the most", grouped(all)))?;
    output.line("")?;
    let rows = points.vats.iter().map(|it| {
        let kinds: Vec<_> = it.syscalls.iter().map(|(kind, count)| format!("{kind} {}", grouped(*count))).collect();
        vec![
            it.vat.to_string(),
            harmless(&it.name),
            grouped(it.deliveries.1),
            span("delivery-", it.deliveries),
            kinds.join(", "),
        ]
    });
    output.line(table(&["vat", "name", "deliveries", "", "syscalls"], &[0, 1, 3, 4], rows))?;
    Ok(Exit::Ok)
}
