use std::io::{BufReader, stdin};

use clap::Args;

use crate::{
    cli::{Exit, output},
    lab::campaign,
};

/// Answers whether expressions hold of documents, to the process that started it
#[derive(Args, Debug)]
pub(crate) struct AskArgs {}

pub(crate) fn cmd_ask(_: &AskArgs) -> anyhow::Result<Exit> {
    // Called if an answer takes much too long and the process that asked is gone.
    let expire = || std::process::exit(Exit::Interrupted as i32);
    campaign::answer(BufReader::new(stdin()), output::wire(), expire)?;
    Ok(Exit::Ok)
}
