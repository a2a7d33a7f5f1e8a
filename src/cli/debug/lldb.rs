//! lldb: finds one that is new enough, and starts it so that the locals of a Rust guest can be read.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::Path,
    process::{Child, Command},
};

use anyhow::Context;

use crate::cli::{Output, Usage, output::answer_of};

/// The first version that debugs WebAssembly.
const MAJOR_MIN: u32 = 22;

/// The highest version that is looked for by a name like `lldb-22`, as distributions install it.
const MAJOR_KNOWN: u32 = 40;

/// An lldb that can debug a guest.
pub(super) struct Lldb {
    program: String,
    /// The line that it prints as its version.
    pub(super) version: String,
}

impl Lldb {
    /// Finds the named one, or the newest on PATH.
    pub(super) fn find(program: &str) -> Result<Lldb, Usage> {
        let hint = format!(
            "install the package `lldb-{MAJOR_MIN}` (for Debian and Ubuntu it is at https://apt.llvm.org), or name one with --lldb=PROGRAM"
        );
        if !program.is_empty() {
            let version = version(program).ok_or_else(|| Usage::new(format!("`{program}` is no lldb"), &hint))?;
            return match major(&version) >= Some(MAJOR_MIN) {
                true => Ok(Lldb { program: program.to_owned(), version }),
                false => Err(Usage::new(format!("`{program}` is {version}: it cannot debug WebAssembly"), hint)),
            };
        }
        let names = (MAJOR_MIN..=MAJOR_KNOWN).rev().map(|it| format!("lldb-{it}")).chain(["lldb".to_owned()]);
        let mut older = String::new();
        for program in names {
            match version(&program) {
                Some(version) if major(&version) >= Some(MAJOR_MIN) => return Ok(Lldb { program, version }),
                Some(version) => older = format!(" (`{program}` is {version})"),
                None => (),
            }
        }
        Err(Usage::new(format!("there is no lldb {MAJOR_MIN} or newer on PATH{older}"), hint))
    }

    /// Starts it on this terminal, attached to the guest at this address.
    pub(super) fn start(&self, address: SocketAddr, more: &[OsString], output: &Output) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command.arg("--source-quietly");
        match formatters() {
            Some([import, commands]) => {
                command.args([OsStr::new("--one-line-before-file"), &import]);
                command.args([OsStr::new("--source-before-file"), &commands]);
            }
            None => {
                output.note("no rustc is found, whose formatters show strings, vectors and the like as what they are")
            }
        }
        // lldb has no plugin for Rust; the types of Rust are read, and expressions evaluated, as those of C++.
        command.args(["--one-line", "settings set target.language c++"]);
        command.args(["--one-line", &format!("process connect --plugin wasm connect://{address}")]);
        command.args(more);
        command.spawn().with_context(|| format!("start `{}`", self.program))
    }
}

/// The command that loads rustc's formatters, and the file that puts them to use.
fn formatters() -> Option<[OsString; 2]> {
    let sysroot = answer_of(Command::new("rustc").args(["--print", "sysroot"]))?;
    let folder = Path::new(sysroot.trim()).join("lib/rustlib/etc");
    let (script, commands) = (folder.join("lldb_lookup.py"), folder.join("lldb_commands"));
    let found = script.is_file() && commands.is_file();
    found.then(|| [format!("command script import \"{}\"", script.display()).into(), commands.into()])
}

/// Returns the line `lldb version 22.1.0` of a program; `None` if there is no such program, or it is something else.
fn version(program: &str) -> Option<String> {
    let told = answer_of(Command::new(program).arg("--version"))?;
    told.lines().find(|it| it.contains("lldb version")).map(|it| it.trim().to_owned())
}

fn major(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("lldb version ")?;
    number.split(['.', ' ', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let told = ["lldb version 22.1.0", "Debian lldb version 23.0.1-1~exp", "lldb version 14.0.6", "gdb 13"];
        assert_eq!(told.map(major), [Some(22), Some(23), Some(14), None]);
    }
}
