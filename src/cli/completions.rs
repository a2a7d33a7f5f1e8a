use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::cli::{Exit, output};

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  vathost completions bash > ~/.local/share/bash-completion/completions/vathost")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn cmd_completions(args: CompletionsArgs, command: &mut Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    generate(args.shell, command, "vathost", &mut script);
    output::ours(&script)?;
    Ok(Exit::Ok)
}
