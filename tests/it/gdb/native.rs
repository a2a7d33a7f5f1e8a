//! gdb on the kernel itself: it stops where a directive says `break`.

use std::process::Command;

use crate::cli::Place;

use super::is_here;

/// A dev build has line tables only, so that `info args` has nothing to tell; the calling convention has.
const FIRST_ARGUMENT: &str =
    if cfg!(target_arch = "x86_64") { "printf \"crank %lu\\n\", $rdi" } else { "printf \"crank %lu\\n\", $x0" };

#[test]
fn gdb_stops_the_kernel_at_the_crank_of_a_break() {
    if !is_here("gdb") {
        return;
    }
    let place = Place::new();
    place.write("d", "crank-7: break\ncrank-9: break");
    let vathost = place.command("run vats/pingpong --directives @d --json");
    let mut gdb = Command::new("gdb");
    gdb.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, value) in vathost.get_envs() {
        match value {
            Some(value) => gdb.env(name, value),
            None => gdb.env_remove(name),
        };
    }
    gdb.args(["--nx", "--batch"]);
    for it in [
        "set debuginfod enabled off",
        "break vathost_breakpoint",
        "run",
        FIRST_ARGUMENT,
        "backtrace 4",
        "continue",
        FIRST_ARGUMENT,
        "continue",
    ] {
        gdb.args(["-ex", it]);
    }
    let output = gdb.arg("--args").arg(vathost.get_program()).args(vathost.get_args()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let straight = place.vathost("run vats/pingpong --json").ok().hash();
    let mut rest = &*told;
    for part in [
        "Breakpoint 1, vathost_breakpoint",
        "crank 7\n",
        "#0 ",
        "#1 ",
        "carry_out",
        "Breakpoint 1, ",
        "crank 9\n",
        &straight,
    ] {
        let at = rest.find(part).unwrap_or_else(|| {
            panic!("`{part}` does not follow in\n{told}\n{}", String::from_utf8_lossy(&output.stderr))
        });
        rest = &rest[at + part.len()..];
    }
}
