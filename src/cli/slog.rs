use clap::Args;

use crate::cli::{Exit, Output};

/// Read a flight recording
#[derive(Args, Debug)]
pub(crate) struct SlogArgs {}

pub(crate) fn cmd_slog(_: SlogArgs, _: &Output) -> anyhow::Result<Exit> {
    Ok(Exit::Ok)
}
