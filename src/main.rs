//! The `vathost` command. See `vathost --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    vathost::cli::main()
}
