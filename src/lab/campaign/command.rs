//! A command that is asked about a document: on its standard input, answered with its exit code.

use std::{
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// Bytes of its last words that are looked at.
const WORDS_MAX: usize = 4_096;

/// Returns whether the command says that the document is right.
pub(super) fn holds(argv: &[String], dir: &Path, document: String, wall: Duration) -> Result<bool, String> {
    let (program, args) = argv.split_first().ok_or("the command is empty")?;
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|err| format!("start `{program}`: {err}"))?;
    let group = i32::try_from(child.id()).map(Pid::from_raw).map_err(|err| err.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not want all of it may close its input, or never look at it.
        thread::spawn(move || stdin.write_all(document.as_bytes()));
    }
    let (said, words) = channel();
    if let Some(mut stderr) = child.stderr.take() {
        thread::spawn(move || {
            let (mut words, mut bytes) = (Vec::new(), [0; 1_024]);
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                // The rest is read too, so that nobody waits for it to be.
                let room = WORDS_MAX.saturating_sub(words.len()).min(count);
                words.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
            said.send(words)
        });
    }
    let (ended, end) = channel();
    thread::spawn(move || ended.send(child.wait()));
    let status = match end.recv_timeout(wall) {
        Ok(status) => status.map_err(|err| format!("wait for `{program}`: {err}"))?,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            // Whoever is gone already needs no signal.
            let _ = killpg(group, Signal::SIGKILL);
            return Err(format!("`{program}` gave no answer in its time"));
        }
    };
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => {
            // What it left running may hold its standard error open.
            let words = words.recv_timeout(wall.min(WORDS_WALL)).unwrap_or_default();
            let words = String::from_utf8_lossy(&words);
            Err(format!("`{program}` ended with {status}: {}", words.lines().next().unwrap_or_default()))
        }
    }
}

/// How long the last words of a command that has ended are waited for.
const WORDS_WALL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(script: &str, document: &str, wall: u64) -> Result<bool, String> {
        let argv = ["sh", "-c", script].map(str::to_owned);
        holds(&argv, Path::new("/"), document.to_owned(), Duration::from_millis(wall))
    }

    #[test]
    fn a_command_that_never_answers_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().expect("a folder");
        let fifo = dir.path().join("alive");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).expect("a FIFO");
        // Both hold the FIFO open: its reader sees an end when the last of them is gone.
        let script = format!("exec 3>'{}'; sleep 1000 & sleep 1000", fifo.display());
        let reader = thread::spawn(move || std::fs::read(fifo));
        let said = asked(&script, "{}", 200);
        assert_eq!(said, Err("`sh` gave no answer in its time".to_owned()));
        assert_eq!(reader.join().expect("a thread").expect("reads"), b"");
    }

    #[test]
    fn a_command_that_does_not_read_or_does_not_stop_talking_is_heard() {
        let document = "x".repeat(1 << 20);
        assert_eq!(asked("exit 0", &document, 60_000), Ok(true));
        assert_eq!(asked("sleep 1000", &document, 200), Err("`sh` gave no answer in its time".to_owned()));
        let said = asked("head -c 1000000 /dev/zero >&2; exit 7", &document, 60_000).expect_err("no answer");
        assert!(said.starts_with("`sh` ended with exit status: 7: "), "{}", &said[..40]);
        assert!(said.len() < WORDS_MAX + 100);
    }
}
