//! Packages of npm in a folder of their own, for tests that speak to the real ones; nothing of them is kept.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// The packages of a CapTP client, of versions that are known to fit together.
const PACKAGES: [&str; 3] = ["@endo/captp@4.5.1", "@endo/init@1.1.13", "ws@8"];

/// Installs the packages into a folder. Where there is no npm, or no registry, it says so, and what cannot be tested for that.
#[expect(clippy::print_stderr, reason = "who runs the tests is told what was not tested")]
pub(super) fn install(dir: &Path) -> bool {
    std::fs::create_dir_all(dir).unwrap();
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(dir).args(PACKAGES);
    match npm.stdout(Stdio::null()).stderr(Stdio::piped()).output() {
        Ok(done) if done.status.success() => true,
        Ok(done) => {
            eprintln!("not tested: npm has no package: {}", String::from_utf8_lossy(&done.stderr));
            false
        }
        Err(err) => {
            eprintln!("not tested: there is no npm: {err}");
            false
        }
    }
}

/// Runs a script in the folder to its end, and returns what it printed.
#[track_caller]
pub(super) fn node(dir: &Path, script: &str, args: &[&str]) -> String {
    let run = Command::new("node").arg("--expose-gc").arg(script).args(args).current_dir(dir).output();
    let run = run.expect("there is npm, and so there is node");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}\n{said}", String::from_utf8_lossy(&run.stdout));
    String::from_utf8(run.stdout).unwrap()
}
