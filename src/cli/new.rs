use clap::Args;

use crate::cli::{Exit, Output};

/// Begin a vat of your own
#[derive(Args, Debug)]
pub(crate) struct NewArgs {}

pub(crate) fn cmd_new(_: NewArgs, _: &Output) -> anyhow::Result<Exit> {
    Ok(Exit::Ok)
}
