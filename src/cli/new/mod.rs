//! `new`: makes a folder with a vat that works at once. The templates are the files beside this one, in `rust/` and `c/`.

mod sdk;

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::{Exit, Output, Usage};

/// Begin a vat of your own
///
/// Makes a folder of that name with a small vat, its test, and a scenario that runs it. Nothing is overwritten.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost new echo --lang rust
  vathost new echo --lang c --path ./my-vats")]
pub(crate) struct NewArgs {
    /// The vat's name, and the folder's: lower-case letters, digits, `-` and `_`
    name: String,
    /// What it is written in
    #[arg(long, value_enum)]
    lang: Lang,
    /// Where the folder goes, instead of here
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    path: PathBuf,
    /// The folder of the Rust SDK in a checkout of vathost; otherwise the SDK that this vathost was built with is written beside the vat
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Lang {
    Rust,
    C,
}

/// A file to be written: its path, its text, and whether it is executable. `{{name}}` and `{{sdk}}` are filled in.
struct Template(&'static str, &'static str, bool);

const RUST: &[Template] = &[
    Template("Cargo.toml", include_str!("rust/Cargo.toml.in"), false),
    Template("src/main.rs", include_str!("rust/main.rs.in"), false),
    Template("vat.toml", include_str!("rust/vat.toml.in"), false),
    Template("README.md", include_str!("rust/README.md.in"), false),
    Template(".cargo/config.toml", include_str!("rust/config.toml.in"), false),
    Template(".gitignore", "/target\n", false),
    // The vat is built with the toolchain of its SDK.
    Template("rust-toolchain.toml", include_str!("../../../rust-toolchain.toml"), false),
];

const C: &[Template] = &[
    Template("{{name}}.c", include_str!("c/vat.c.in"), false),
    Template("vat1.h", include_str!("c/vat1.h"), false),
    Template("build.sh", include_str!("c/build.sh.in"), true),
    Template("vat.toml", include_str!("c/vat.toml.in"), false),
    Template("README.md", include_str!("c/README.md.in"), false),
    Template(".gitignore", "/*.wasm\n", false),
];

pub(crate) fn cmd_new(args: NewArgs, output: &Output) -> anyhow::Result<Exit> {
    check_name(&args.name)?;
    let (templates, sdk, next) = match args.lang {
        Lang::Rust => (RUST, sdk_of(args.sdk.as_deref())?, ["cargo wasm", "cargo test", "vathost run ."]),
        Lang::C => (C, String::new(), ["./build.sh", "vathost check {{name}}.wasm", "vathost run ."]),
    };
    let dir = args.path.join(&args.name);
    fs::create_dir_all(&args.path).with_context(|| format!("make `{}`", args.path.display()))?;
    fs::create_dir(&dir).map_err(|err| match err.kind() {
        ErrorKind::AlreadyExists => Usage::new(
            format!("`{}` is there already, and nothing is overwritten", dir.display()),
            "take another name, or another folder with `--path DIR`",
        )
        .into(),
        _ => anyhow::Error::new(err).context(format!("make `{}`", dir.display())),
    })?;
    let fill = |text: &str| text.replace("{{name}}", &args.name).replace("{{sdk}}", &sdk);
    let mut files = Vec::new();
    let own_sdk = if args.lang == Lang::Rust && args.sdk.is_none() { sdk::SDK } else { &[] };
    for template in templates {
        let path = write(&dir, template, fill)?;
        output.detail(format!("wrote {}", path.display()));
        files.push(path);
    }
    for template in own_sdk {
        // The SDK's sources are written as they are, without filling anything in.
        files.push(write(&dir, template, str::to_owned)?);
    }
    if args.json {
        let next: Vec<String> = next.iter().map(|it| fill(it)).collect();
        output.json(&json!({ "folder": dir, "files": files, "next": next }))?;
        return Ok(Exit::Ok);
    }
    output.line(format!("made {}. Next:\n\n  cd {}", dir.display(), dir.display()))?;
    next.iter().try_for_each(|command| output.line(format!("  {}", fill(command))))?;
    Ok(Exit::Ok)
}

fn write(
    dir: &Path,
    Template(path, text, executable): &Template,
    fill: impl Fn(&str) -> String,
) -> anyhow::Result<PathBuf> {
    let path = dir.join(fill(path));
    let create = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mode = if *executable { 0o777 } else { 0o666 };
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?.write_all(fill(text).as_bytes())
    };
    create().with_context(|| format!("write `{}`", path.display()))?;
    Ok(path)
}

/// The SDK as a dependency in TOML: in the new folder itself, or in the folder that was given.
fn sdk_of(given: Option<&Path>) -> anyhow::Result<String> {
    let Some(dir) = given else { return Ok(r#"{ path = "sdk" }"#.to_owned()) };
    if !dir.join("Cargo.toml").is_file() {
        let hint = "the SDK is the folder `guests` of a checkout of vathost: name it with `--sdk DIR`";
        return Err(Usage::new(format!("there is no SDK in `{}`", dir.display()), hint).into());
    }
    let dir = fs::canonicalize(dir).with_context(|| format!("look at `{}`", dir.display()))?;
    let text = dir.to_str().with_context(|| format!("`{}` is not UTF-8", dir.display()))?;
    Ok(format!("{{ package = \"vathost-vat\", path = {} }}", toml::Value::from(text)))
}

/// Checks that a name can be that of a crate, a file, and a vat.
fn check_name(name: &str) -> Result<(), Usage> {
    const LENGTH_MAX: usize = 64;
    /// Keywords, and names of crates and folders that the vat's build uses.
    const TAKEN: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn \
        for gen if impl in let loop macro match mod move mut override priv pub ref return self static struct super trait true \
        try type typeof unsafe unsized use virtual where while yield alloc build core deps examples guests incremental \
        proc-macro std test vat vat-macros vathost-vat vathost-vat-macros";
    let hint = "use lower-case letters, digits, `-` and `_`, beginning with a letter, as in `my-vat`";
    let refuse = |why: &str| Err(Usage::new(format!("`{name}` cannot be the name of a vat: {why}"), hint));
    if !name.starts_with(|it: char| it.is_ascii_lowercase()) {
        return refuse("it does not begin with a lower-case letter");
    }
    if let Some(wrong) = name.chars().find(|it| !matches!(it, 'a'..='z' | '0'..='9' | '-' | '_')) {
        return refuse(&format!("{wrong:?} is in it"));
    }
    if name.len() > LENGTH_MAX {
        return refuse("it is too long");
    }
    if TAKEN.split_whitespace().any(|it| it == name) {
        return refuse("Rust, cargo or the SDK have a meaning for it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_crate() {
        let longest = "x".repeat(64);
        for name in ["a", "my-vat", "my_vat2", "a-", &longest] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let too_long = "x".repeat(65);
        for name in
            ["", "-a", "2a", "_a", "Vat", "a/b", "..", "a b", "vät", "a.b", "fn", "test", "vat", "std", &too_long]
        {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
