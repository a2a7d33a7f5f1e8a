//! The build of a vat: a command, run in a process group of its own, whose output is shown as it comes.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    cli::{Output, Usage, dev::stop::Stop},
    model::files,
};

/// The interval at which the build is checked for its end.
const LOOK: Duration = Duration::from_millis(20);

/// The command that builds a vat, if there is anything to build.
pub(super) struct Build {
    dir: PathBuf,
    words: Vec<String>,
}

impl Build {
    /// Finds how the vat in this folder is built: by the given command, or as the templates of `new` are.
    pub(super) fn of(dir: &Path, given: Option<&str>) -> Result<Build, Usage> {
        let words: Vec<&str> = if let Some(command) = given {
            vec!["sh", "-c", command]
        } else if dir.join("Cargo.toml").is_file() {
            match has_alias(dir)? {
                true => vec!["cargo", "wasm"],
                false => vec!["cargo", "build", "--release", "--target", "wasm32-unknown-unknown"],
            }
        } else if dir.join("build.sh").is_file() {
            vec!["./build.sh"]
        } else {
            Vec::new()
        };
        Ok(Build { dir: dir.to_owned(), words: words.into_iter().map(str::to_owned).collect() })
    }

    /// Returns whether the build makes the modules, so that they are no sources.
    pub(super) fn makes_modules(&self) -> bool {
        !self.words.is_empty()
    }

    /// Runs the build, and returns whether it succeeded. The compiler's output is shown as it comes.
    #[expect(clippy::disallowed_methods, reason = "a build is waited for; nothing of the kernel is under way")]
    pub(super) fn run(&self, stop: &Stop, output: &Output) -> anyhow::Result<bool> {
        let Some((program, arguments)) = self.words.split_first() else { return Ok(true) };
        let name = self.words.join(" ");
        output.note(format!("building: {name}"));
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.dir).stdin(Stdio::null());
        output.beside_results(&mut command);
        let child = command.process_group(0).spawn().with_context(|| format!("start the build, `{name}`"))?;
        let mut group = Group(child);
        stop.set_build(group.pid());
        let ended = loop {
            match group.0.try_wait().with_context(|| format!("wait for `{name}`"))? {
                Some(status) => break status,
                None => thread::sleep(LOOK),
            }
        };
        stop.set_build(None);
        Ok(ended.success())
    }
}

/// A process group that is killed when this value is dropped.
struct Group(Child);

impl Group {
    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.pid() {
            // Most often nothing is left of it.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// Returns whether cargo knows `cargo wasm` in this folder.
fn has_alias(dir: &Path) -> Result<bool, Usage> {
    let path = dir.join(".cargo/config.toml");
    if !path.exists() {
        return Ok(false);
    }
    let wrong = |err: &dyn std::fmt::Display| Usage::new(format!("{}: {err}", path.display()), "");
    let text = files::read_text(&path, files::TEXT_BYTES_MAX).map_err(|err| wrong(&err))?;
    let config: toml::Table = toml::from_str(&text).map_err(|err| wrong(&err))?;
    Ok(config.get("alias").is_some_and(|it| it.get("wasm").is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vat_is_built_as_its_folder_says() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        let words =
            |given: Option<&str>| Build::of(dir.path(), given).map(|it| it.words.join(" ")).map_err(|it| it.what);
        assert_eq!(words(None), Ok(String::new()));
        write("build.sh", "");
        assert_eq!(words(None), Ok("./build.sh".to_owned()));
        write("Cargo.toml", "");
        assert_eq!(words(None), Ok("cargo build --release --target wasm32-unknown-unknown".to_owned()));
        write(".cargo/config.toml", include_str!("../new/rust/config.toml.in"));
        assert_eq!(words(None), Ok("cargo wasm".to_owned()));
        assert_eq!(words(Some("make it")), Ok("sh -c make it".to_owned()));
        write(".cargo/config.toml", "alias =");
        assert!(words(None).is_err_and(|it| it.contains("config.toml")));
    }
}
