//! A test of the command line in a few lines: a temporary folder, commands as a shell would take them, what came of them.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
};

use expect_test::Expect;
use serde_json::Value;
use tempfile::TempDir;

/// How often a condition is looked at before a test gives up. Each look is a process: some ten milliseconds, so this is a minute.
const LOOKS_MAX: usize = 6_000;

/// A temporary folder. In a command, `@x` is the path of `x` in it, and `first:x` the scenario `vats/x` under kernel version 1.
pub(crate) struct Place(TempDir);

/// A committed scenario in SwingSet's order, for tests that say which crank does what.
pub(crate) fn under_the_first_kernel(name: &str) -> PathBuf {
    static DIR: OnceLock<TempDir> = OnceLock::new();
    let path = DIR.get_or_init(|| tempfile::tempdir().unwrap()).path().join(name);
    let vats = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats");
    let text = fs::read_to_string(vats.join(name).join("vat.toml")).unwrap();
    let text = format!("kernel = 1\n{}", text.replace("\"../", &format!("\"{}/", vats.display())));
    fs::create_dir_all(&path).unwrap();
    // Written aside first: another test may be reading it.
    let mut file = tempfile::NamedTempFile::new_in(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.persist(path.join("vat.toml")).unwrap();
    path
}

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // In one step: who watches the folder must not meet half a file.
        let draft = self.path(".draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, path).unwrap();
    }

    /// The command, to be run where the sources are.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vathost"));
        for word in words.split_whitespace() {
            match (word.strip_prefix('@'), word.strip_prefix("first:")) {
                (Some(name), _) => command.arg(self.path(name)),
                (_, Some(name)) => command.arg(under_the_first_kernel(name)),
                _ => command.arg(word),
            };
        }
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        // Compiled code is kept from one test to the next, and out of the user's own cache.
        command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command.env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs it to its end.
    pub(crate) fn vathost(&self, words: &str) -> Ran {
        self.vathost_with(words, &[])
    }

    /// The same, with arguments behind it that hold blanks.
    pub(crate) fn vathost_with(&self, words: &str, arguments: &[&str]) -> Ran {
        let output = self.command(words).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or_else(|| panic!("`{words}` was killed: {}", output.status));
        Ran { words: words.to_owned(), code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts it, and does not wait.
    pub(crate) fn start(&self, words: &str) -> Running {
        let mut command = self.command(words);
        Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Looks at the state until its last committed block has this height, and says which it has.
    pub(crate) fn wait_for_height(&self, state: &str, height: u64) -> u64 {
        for _ in 0..LOOKS_MAX {
            // The state may not be there yet.
            let look = self.vathost(&format!("inspect --state {state} --json"));
            if let Ok(overview) = serde_json::from_str::<Value>(&look.stdout)
                && let Some(it) = overview["height"].as_u64().filter(|it| *it >= height)
            {
                return it;
            }
        }
        panic!("the host did not come to height {height} in {LOOKS_MAX} looks");
    }

    /// A scenario that goes on for longer than any test.
    pub(crate) fn write_endless(&self, name: &str) {
        let text = r#"
            bootstrap = "ping"
            [vats.ping]
            bundle = "VATS/ping.wasm"
            parameters = { rounds = 1_000_000_000 }
            [vats.pong]
            bundle = "VATS/pong.wasm""#;
        self.write(name, &text.replace("VATS", concat!(env!("CARGO_MANIFEST_DIR"), "/vats")));
    }
}

/// What a command came to.
pub(crate) struct Ran {
    words: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "vathost {}\n{}\n{}", self.words, self.stdout, self.stderr);
        self
    }

    /// It ended well, and had nothing to complain about.
    #[track_caller]
    pub(crate) fn ok(self) -> Ran {
        let ran = self.code(0);
        assert!(!ran.stderr.contains("error"), "vathost {}\n{}", ran.words, ran.stderr);
        ran
    }

    /// It said this among the rest of what is no result.
    /// It printed this among its results.
    #[track_caller]
    pub(crate) fn shows(self, text: &str) -> Ran {
        assert!(self.stdout.contains(text), "vathost {}\nshowed nothing of `{text}`:\n{}", self.words, self.stdout);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Ran {
        assert!(self.stderr.contains(text), "vathost {}\nsaid nothing of `{text}`:\n{}", self.words, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|err| panic!("vathost {}: {err}\n{}", self.words, self.stdout))
    }

    /// The state hash of the object that it printed.
    #[track_caller]
    pub(crate) fn hash(&self) -> String {
        self.json()["stateHash"].as_str().expect("a state hash").to_owned()
    }

    /// What it printed, hashes masked.
    #[track_caller]
    pub(crate) fn prints(&self, expect: Expect) {
        expect.assert_eq(&mask(&self.stdout, is_hash, "<hash>"));
    }

    /// What it printed; hashes and fuel, which change with the guests' bytes, and lines of our sources are masked.
    #[track_caller]
    pub(crate) fn prints_but_for_fuel(&self, expect: Expect) {
        let masked = mask(&mask(&self.stdout, is_hash, "<hash>"), is_large, "<fuel>");
        expect.assert_eq(&without_lines(&masked));
    }
}

/// Places in our own sources move.
fn without_lines(text: &str) -> String {
    let mut parts = text.split(".rs:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, it| all + ".rs:<line>" + it.trim_start_matches(|it: char| it.is_ascii_digit() || it == ':'))
}

fn is_hash(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|it| it.is_ascii_hexdigit())
}

/// 10,000 or more.
fn is_large(word: &str) -> bool {
    word.len() > "9,999".len() && word.bytes().all(|it| it.is_ascii_digit() || it == b',')
}

/// Replaces words, which are letters, digits and commas.
fn mask(text: &str, wanted: fn(&str) -> bool, mask: &str) -> String {
    let is_word = |it: char| it.is_ascii_alphanumeric() || it == ',';
    let masked = text.split_inclusive(|it| !is_word(it)).map(|it| {
        let word = it.trim_end_matches(|it| !is_word(it));
        if wanted(word) { format!("{mask}{}", &it[word.len()..]) } else { it.to_owned() }
    });
    masked.collect()
}

/// A command that runs meanwhile; ended with the test if not before.
pub(crate) struct Running(Child);

impl Running {
    /// Ends it as a power failure would. It must still have been at work.
    #[track_caller]
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.code(), None, "it had ended before it was killed: {status}");
    }

    /// ^C; how it ended then.
    pub(crate) fn interrupt(mut self) -> ExitStatus {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -INT {}", self.0.id())).status().unwrap();
        assert!(sent.success());
        self.0.wait().unwrap()
    }

    #[track_caller]
    pub(crate) fn is_at_work(&mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None, "it has ended");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
