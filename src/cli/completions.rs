use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::cli::{Exit, output};

/// Print a completion script for a shell
///
/// It completes verbs and options. The line in the second example, in `~/.bashrc`, completes the vats of a state and their methods as
/// well: the shell asks this program. (`COMPLETE=zsh`, `fish` and others likewise.)
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost completions bash > ~/.local/share/bash-completion/completions/vathost
  echo 'source <(COMPLETE=bash vathost)' >> ~/.bashrc")]
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
