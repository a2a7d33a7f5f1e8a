use clap::Args;

use crate::cli::{Exit, Output};

/// Look into a state
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {}

pub(crate) fn cmd_inspect(_: InspectArgs, _: &Output) -> anyhow::Result<Exit> {
    Ok(Exit::Ok)
}
