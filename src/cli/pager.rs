//! The pager: on a terminal a list goes to the program that `PAGER` names, or to `less -FRX`, as git does it.
//!
//! ```text
//!   open ─▶ results, and notes if they go to a terminal, too, go into a pipe to the pager ─▶ close: as before, and the list was read
//! ```
//!
//! Invariant: whoever leaves the pager early ends the verb: the pipe is closed then, which is no error.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, ErrorKind, IsTerminal, Stderr, Stdout, Write},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
};

use parking_lot::Mutex;
use rustix::{
    io::fcntl_dupfd_cloexec,
    stdio::{dup2_stderr, dup2_stdout},
};

use crate::cli::Exit;

/// The pager that runs, if one does.
static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

#[derive(Debug)]
struct Running {
    pager: Child,
    /// The two streams as they were: the second, if that is the pager's now.
    out: OwnedFd,
    err: Option<OwnedFd>,
}

/// What only a shell understands.
const FOR_A_SHELL: &[char] =
    &['|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', '#', '~', '=', '%'];

/// Returns the program that shows lists; `None` if nobody wants one. `asked` is what `PAGER` says.
fn chosen(asked: Option<OsString>) -> Option<Command> {
    let Some(asked) = asked else {
        let mut less = Command::new("less");
        less.arg("-FRX");
        return Some(less);
    };
    let words: Vec<&str> = asked.to_str()?.split_ascii_whitespace().collect();
    let (program, options) = words.split_first().filter(|it| *it != (&"cat", &[]))?;
    let mut command = Command::new(program);
    command.args(options);
    if asked.to_str().is_some_and(|it| it.contains(FOR_A_SHELL)) {
        command = Command::new("sh");
        command.args([OsStr::new("-c"), &asked]);
    }
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    Some(command)
}

/// Sends all that comes to these streams to the pager from now on, if there is one. A program that cannot be started is none.
pub(super) fn open(out: Stdout, err: Stderr) {
    let mut running = RUNNING.lock();
    if running.is_none()
        && let Some(command) = chosen(std::env::var_os("PAGER"))
    {
        *running = start(command, out, err).ok();
    }
}

fn start(mut command: Command, mut out: Stdout, err: Stderr) -> io::Result<Running> {
    out.flush()?;
    let out = fcntl_dupfd_cloexec(out, 3)?;
    let err = if err.is_terminal() { Some(fcntl_dupfd_cloexec(err, 3)?) } else { None };
    let mut pager = command.stdin(Stdio::piped()).spawn()?;
    let pipe = pager.stdin.take().ok_or(ErrorKind::BrokenPipe)?;
    become_both(&pipe, err.is_some())?;
    // ^C is the pager's: whoever presses it gets no more to read, and has ended the verb once the pager is left.
    let _ = ctrlc::set_handler(|| {
        if let Some(Running { mut pager, err, .. }) = RUNNING.lock().take() {
            let _ = nowhere().and_then(|it| become_both(&it, err.is_some()));
            let _ = pager.wait();
        }
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(Running { pager, out, err })
}

fn nowhere() -> io::Result<File> {
    File::options().write(true).open("/dev/null")
}

/// Has the first stream, and the second if need be, be another file.
fn become_both(file: impl AsFd, err: bool) -> io::Result<()> {
    dup2_stdout(&file)?;
    if err { Ok(dup2_stderr(&file)?) } else { Ok(()) }
}

/// Returns whether a pager runs.
pub(super) fn is_open() -> bool {
    RUNNING.lock().is_some()
}

/// Ends what the pager is given, and waits until it was read.
pub(super) fn close(mut stream: Stdout) {
    let Some(Running { mut pager, out, err }) = RUNNING.lock().take() else { return };
    if stream.flush().is_err() {
        // What the pager did not take is still there, and is not for the terminal.
        let _ = nowhere().and_then(|it| become_both(&it, false)).and_then(|()| stream.flush());
    }
    // Nothing fails here that did not fail before: both files are open.
    let _ = dup2_stdout(&out);
    if let Some(err) = err {
        let _ = dup2_stderr(&err);
    }
    let _ = pager.wait();
}
