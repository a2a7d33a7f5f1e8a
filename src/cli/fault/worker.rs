use std::{
    io::{BufReader, stdin},
    path::PathBuf,
    time::Duration,
};

use clap::Args;

use crate::{
    cli::{Exit, output},
    lab::{
        campaign::{self, Ask, Invariant},
        experiment,
    },
};

/// Serves experiments to the process that started it
#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// Run the state in this folder, once
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
}

pub(crate) fn cmd_worker(args: &WorkerArgs) -> anyhow::Result<Exit> {
    let input = BufReader::new(stdin());
    match &args.disk {
        Some(dir) => experiment::run_on_disk(dir, input, output::wire())?,
        None => experiment::serve(input, output::wire(), &|hello, experiments| {
            let invariants: Option<Vec<Invariant>> = serde_json::from_value(hello.campaign.clone())?;
            let ask = Ask { exe: std::env::current_exe()?, wall: Duration::from_millis(hello.limits.wall_ms) };
            campaign::dress(&invariants.unwrap_or_default(), experiments, &ask)
        })?,
    }
    Ok(Exit::Ok)
}
