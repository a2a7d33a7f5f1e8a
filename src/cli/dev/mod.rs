//! `dev`: builds a vat, runs its scenario, and does so again whenever a source changes, in the state that exists.
//!
//! ```text
//!   build ─▶ read the scenario ─▶ a new state: install ──────────────────────────┐
//!     ▲                └────────▶ the state that exists: upgrade, add, send again ┴─▶ run ─▶ wait for a change ─┐
//!     └─────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariant: nothing is left behind. The state is in memory unless `--state` names a folder, and the build runs in a
//! process group of its own, which ends with this process.

mod build;
mod kept;
mod state;
mod stop;
mod watch;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    cli::{
        Exit, Output, Usage,
        dev::{build::Build, state::Dev, stop::Stop, watch::SourceWatch},
        host::PolicyArgs,
        named::is_state,
    },
    host::scenario::Scenario,
};

/// Build a vat, run its scenario, and do so again on every change
///
/// Builds what is in the folder (`cargo wasm`, or `./build.sh`), runs the scenario in its `vat.toml`, and shows console lines, results and
/// rejections as they come. On a change of a source it builds again, upgrades the vats whose code is another in the state that exists, adds
/// vats that are new, and sends the scenario's messages again. What no upgrade can change, such as options, begins anew. ^C ends it, and
/// leaves nothing behind.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost dev                                    the vat in this folder
  vathost dev ./echo --fresh                     … with a new state after every change
  vathost dev ./echo --state ./state             … in a state that stays, to be looked at afterwards
  vathost dev ./echo --build 'make echo.wasm' --watch ../common")]
pub(crate) struct DevArgs {
    /// The folder of the vat, with its `vat.toml`
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
    /// The folder of the state, made if absent; without it the state lives in memory and ends with the command
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Begin with a new state after every change, instead of upgrading the vats
    #[arg(long, conflicts_with = "state")]
    fresh: bool,
    /// How the vat is built: a command for the shell, run in its folder [default: `cargo wasm` or `./build.sh`, whichever fits]
    #[arg(long, value_name = "COMMAND")]
    build: Option<String>,
    /// Watch this file or folder, too (repeatable)
    #[arg(long, value_name = "PATH")]
    watch: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
}

pub(crate) fn cmd_dev(args: DevArgs, output: &Output) -> anyhow::Result<Exit> {
    check(&args)?;
    let stop = Stop::install()?;
    let build = Build::of(&args.dir, args.build.as_deref())?;
    let mut watch = SourceWatch::new(&args.dir, &args.watch, args.state.as_deref(), build.makes_modules(), output);
    let mut dev = Dev::new(&args, &stop, output);
    while !stop.is_asked() {
        watch.note();
        if build.run(&stop, output)? {
            turn(&mut dev, &args.dir, &mut watch, output)?;
        } else if !stop.is_asked() {
            output.note(match dev.is_running() {
                true => "the build failed: the vats keep the code that they have",
                false => "the build failed: nothing runs yet",
            });
        }
        if stop.is_asked() {
            break;
        }
        output.note("waiting for a change; ^C ends");
        watch.wait(&stop);
    }
    dev.end(output);
    Ok(Exit::Interrupted)
}

/// Runs what was built. If the scenario cannot be read, it prints why; the next change may mend it.
fn turn(dev: &mut Dev<'_>, dir: &Path, watch: &mut SourceWatch, output: &Output) -> anyhow::Result<()> {
    match Scenario::read(dir) {
        Ok(scenario) => dev.turn(scenario, watch),
        Err(err) => {
            output.error(&err.into());
            Ok(())
        }
    }
}

fn check(args: &DevArgs) -> Result<(), Usage> {
    let dir = args.dir.display();
    if is_state(&args.dir) {
        let hint = format!("name the folder of the vat, and the state with `--state {dir}`");
        return Err(Usage::new(format!("`{dir}` is the folder of a state"), hint));
    }
    if !args.dir.join("vat.toml").is_file() {
        let hint = "name the folder of a vat, or begin one: `vathost new echo --lang rust`, then `vathost dev echo`";
        return Err(Usage::new(format!("there is no vat.toml in `{dir}`"), hint));
    }
    let missing = args.watch.iter().find(|it| !it.exists());
    missing.map_or(Ok(()), |it| {
        Err(Usage::new(format!("`{}` does not exist", it.display()), "--watch names a file or folder"))
    })
}
