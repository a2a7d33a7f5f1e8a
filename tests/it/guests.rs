//! The guests in `vats/*.wasm` are committed, so that a checkout runs without a wasm toolchain. They must be what their
//! sources build, byte for byte, wherever the tree stands.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// What to run where a guest differs from its source.
const UPDATE: &str = "UPDATE_GUESTS=1 cargo test --test it guests";

#[test]
fn the_committed_wasm_is_what_the_sources_build() -> Result<()> {
    let built = build_rust_guests()?;
    for name in rust_guests()? {
        let bytes = fs::read(built.join(&name).with_extension("wasm"))?;
        check_or_update(&name, &bytes)?;
    }
    Ok(())
}

#[test]
fn the_c_guest_is_there_and_built_by_the_command_in_its_head() -> Result<()> {
    let source = root().join("guests/c/greeter.c");
    let recipe = CRecipe::read(&source)?;
    if recipe.compiler_is_here() {
        let dir = tempfile::tempdir()?;
        check_or_update("greeter", &recipe.build(&dir.path().join("greeter.wasm"))?)?;
    }
    let committed = fs::read(root().join("vats/greeter.wasm")).context("vats/greeter.wasm")?;
    ensure!(committed.starts_with(b"\0asm"), "vats/greeter.wasm is not a wasm module");
    Ok(())
}

#[test]
fn every_committed_wasm_has_a_source() -> Result<()> {
    let mut sources = rust_guests()?;
    sources.extend(stems(&root().join("guests/c"), "c")?);
    let committed = stems(&root().join("vats"), "wasm")?;
    let strays: Vec<_> = committed.iter().filter(|name| !sources.contains(name)).collect();
    ensure!(strays.is_empty(), "vats/*.wasm without a source in guests/: {strays:?}");
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One guest a file.
fn rust_guests() -> Result<Vec<String>> {
    stems(&root().join("guests/src/bin"), "rs")
}

/// The names of the files with this extension, sorted.
fn stems(dir: &Path, extension: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension)
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Compares a guest with the committed one, or replaces that.
fn check_or_update(name: &str, built: &[u8]) -> Result<()> {
    let path = root().join("vats").join(name).with_extension("wasm");
    if std::env::var_os("UPDATE_GUESTS").is_some_and(|value| value == "1") {
        return fs::write(&path, built).with_context(|| path.display().to_string());
    }
    let committed =
        fs::read(&path).with_context(|| format!("{} is missing; make it with\n\n    {UPDATE}\n", path.display()))?;
    if committed != built {
        let (had, has) = (committed.len(), built.len());
        bail!(
            "{} ({had} bytes) is not what its source builds ({has} bytes); replace it with\n\n    {UPDATE}\n",
            path.display()
        );
    }
    Ok(())
}

/// Builds all Rust guests, and gives the directory they are in.
fn build_rust_guests() -> Result<PathBuf> {
    let target = root().join("target/guests");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root())
        .args(["build", "--package", "vathost-vat", "--bins", "--release"])
        .args(["--target", "wasm32-unknown-unknown", "--target-dir"])
        .arg(&target)
        // The release profile of the workspace is the host's.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env("CARGO_INCREMENTAL", "0")
        // An outer clippy or coverage run must not leak into the bytes.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", remap_paths()?);
    let output = cargo.output().context("cargo did not run")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(target.join("wasm32-unknown-unknown/release"))
}

/// Panic messages name source files. They must not name this machine's directories.
fn remap_paths() -> Result<OsString> {
    let mut flags = OsString::new();
    let places = [(root().to_path_buf(), "/vathost"), (cargo_home()?, "/cargo"), (sysroot()?, "/rust")];
    for (from, to) in places {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::home_dir().context("there is no home directory")?;
    Ok(home.join(".cargo"))
}

fn sysroot() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        Command::new(rustc).current_dir(root()).args(["--print", "sysroot"]).output().context("rustc did not run")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

/// How a C guest says that it is built, in the comment at its head.
struct CRecipe {
    /// The words of the command.
    command: Vec<String>,
    /// The first line of the compiler's `--version`. Another version makes other bytes.
    version: String,
}

impl CRecipe {
    fn read(source: &Path) -> Result<Self> {
        let text = fs::read_to_string(source).with_context(|| source.display().to_string())?;
        let head = text.split("*/").next().unwrap_or_default();
        let lines: Vec<&str> = head.lines().map(|line| line.trim_matches([' ', '*', '/'])).collect();
        let start = lines.iter().position(|line| line.starts_with("clang"));
        let start = start.context("the head of the file has no clang command")?;
        let length = lines[start..].iter().take_while(|line| line.ends_with('\\')).count() + 1;
        let words = lines[start..start + length].iter().flat_map(|line| line.split_whitespace());
        let version = lines.iter().find_map(|line| line.strip_prefix("Built with "));
        Ok(CRecipe {
            command: words.filter(|word| *word != "\\").map(Into::into).collect(),
            version: version.context("the head of the file names no compiler version")?.into(),
        })
    }

    fn compiler_is_here(&self) -> bool {
        Command::new(&self.command[0])
            .arg("--version")
            .output()
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().next() == Some(&self.version))
    }

    /// Runs the command with another output file, and gives what it made.
    fn build(&self, to: &Path) -> Result<Vec<u8>> {
        let mut clang = Command::new(&self.command[0]);
        clang.current_dir(root());
        let mut words = self.command[1..].iter();
        while let Some(word) = words.next() {
            clang.arg(word);
            if word == "-o" {
                words.next();
                clang.arg(to);
            }
        }
        let output = clang.output().context("clang did not run")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(fs::read(to)?)
    }
}
