//! The `vathost-node` command. See `vathost-node --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    vathost_node::cli::main()
}
