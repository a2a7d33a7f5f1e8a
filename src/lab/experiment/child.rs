//! A process of an experiment, from outside: started, spoken to, waited for, and ended when it does not answer.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

/// The way in which a process failed to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The process took too long, and was ended.
    Hung,
    /// The process ended: how, and its last words.
    Ended(String, String),
    /// The process could not be started or spoken to.
    Broken(String),
}

/// The settings with which a process is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// The `vathost` that is to run.
    pub exe: PathBuf,
    /// Bytes of data that a process may have.
    pub memory: Option<u64>,
    /// How long one answer may take.
    pub wall: Duration,
}

/// A process of an experiment. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    words: Arc<Mutex<String>>,
    wall: Duration,
}

/// Bytes of what a process said on its way out that are kept.
const WORDS_MAX: usize = 4_096;

impl Process {
    /// Starts `vathost` with these arguments.
    pub(crate) fn start(program: &Program, args: &[&std::ffi::OsStr]) -> Result<Process, Silence> {
        let mut command = match program.memory {
            None => Command::new(&program.exe),
            Some(bytes) => {
                // The data of a process, as against its address space, of which each instance reserves gigabytes.
                let mut command = Command::new("sh");
                command
                    .arg("-c")
                    .arg(format!("ulimit -c 0; ulimit -d {}; exec \"$0\" \"$@\"", bytes >> 10))
                    .arg(&program.exe);
                command
            }
        };
        // ^C is for the process that started it, which waits for what is under way.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let broken = |err: std::io::Error| Silence::Broken(format!("start {}: {err}", program.exe.display()));
        let mut child = command.spawn().map_err(broken)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (send, lines) = channel();
        let words = Arc::new(Mutex::new(String::new()));
        if let Some(stdout) = stdout {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        if let Some(mut stderr) = stderr {
            let words = words.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 1_024];
                while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                    words.push_str(&String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()));
                    if words.len() > 2 * WORDS_MAX {
                        let at = words.len() - WORDS_MAX;
                        let at = (at..).find(|it| words.is_char_boundary(*it)).unwrap_or(0);
                        words.drain(..at);
                    }
                }
            });
        }
        Ok(Process { child, stdin, lines, words, wall: program.wall })
    }

    /// Writes a line to the process.
    pub(crate) fn say(&mut self, line: &impl Serialize) -> Result<(), Silence> {
        let mut text = serde_json::to_string(line).map_err(|err| Silence::Broken(err.to_string()))?;
        text.push('\n');
        self.say_text(&text)
    }

    /// Says lines that are text already.
    pub(crate) fn say_text(&mut self, text: &str) -> Result<(), Silence> {
        let written = self.stdin.as_mut().map(|it| it.write_all(text.as_bytes()).and_then(|()| it.flush()));
        match written {
            Some(Ok(())) => Ok(()),
            _ => Err(self.end()),
        }
    }

    /// Reads a line from the process.
    pub(crate) fn hear<T: DeserializeOwned>(&mut self) -> Result<T, Silence> {
        self.hear_within(self.wall)
    }

    /// Hears a line that may take so long.
    pub(crate) fn hear_within<T: DeserializeOwned>(&mut self, wall: Duration) -> Result<T, Silence> {
        match self.lines.recv_timeout(wall) {
            Ok(line) => serde_json::from_str(&line).map_err(|err| Silence::Broken(format!("{err} in {line}"))),
            Err(RecvTimeoutError::Timeout) => {
                self.kill();
                Err(Silence::Hung)
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.end()),
        }
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the end of a process that has said its last word, and says how it ended.
    fn end(&mut self) -> Silence {
        self.stdin = None;
        let status = self.child.wait().map_or_else(|err| err.to_string(), describe);
        Silence::Ended(status, self.words.lock().unwrap_or_else(PoisonError::into_inner).trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Without what differs from run to run.
fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("ended by signal {signal}");
    }
    status.code().map_or("ended".to_owned(), |code| format!("exit code {code}"))
}
