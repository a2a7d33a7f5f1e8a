//! `new` makes vats that work at once.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use vathost::vat::module::{Rules, prepare};
use wasmparser::{Parser, Payload};

use crate::cli::Place;

/// The vat is made in a fixed place with a target folder that stays, so that only itself is built anew.
#[test]
fn a_rust_vat_builds_and_passes_its_tests_and_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/new-test");
    let dir = root.join("hello");
    let _ = fs::remove_dir_all(&dir);
    let place = Place::new();
    let told = place.vathost("new hello --lang rust --path target/new-test").ok().stdout;
    assert_eq!(
        told,
        "made target/new-test/hello. Next:\n\n  cd target/new-test/hello\n  cargo wasm\n  cargo test\n  vathost run .\n"
    );
    // The versions that this checkout is built with, so that nothing is fetched.
    fs::copy(root.join("../../Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    fs::create_dir_all(root.join("target")).unwrap();
    std::os::unix::fs::symlink(root.join("target"), dir.join("target")).unwrap();

    cargo(&dir, &["wasm", "--offline"]);
    let tests = cargo(&dir, &["test", "--offline"]);
    assert!(tests.contains("test result: ok. 3 passed; 0 failed"), "{tests}");
    let report = place.vathost("run target/new-test/hello --json").ok().json();
    let results: Vec<_> = report["results"].as_array().unwrap().iter().map(|it| it["body"].as_str().unwrap()).collect();
    let refusal = r##"#{"#error":"hello: argument 1: expected a string, found a number","name":"Error"}"##;
    assert_eq!(results, ["#\"hello, Ada\"", "#\"hello, Ada\"", refusal, "#1"]);
    place.vathost("check target/new-test/target/wasm32-unknown-unknown/release/hello.wasm").ok();

    cargo(&dir, &["wasm-debug", "--offline"]);
    place.vathost("check target/new-test/target/wasm32-unknown-unknown/debug/hello.wasm").ok();
    let wasm = fs::read(root.join("target/wasm32-unknown-unknown/debug/hello.wasm")).unwrap();
    let prepared = prepare(&wasm, &Rules::default()).unwrap().wasm;
    assert!(debug_sections(&prepared) == debug_sections(&wasm), "the load pass keeps them as they are");
    assert!(debug_sections(&wasm).iter().any(|(name, bytes)| name == ".debug_info" && !bytes.is_empty()));
}

/// The sections with debug information.
fn debug_sections(wasm: &[u8]) -> Vec<(String, Vec<u8>)> {
    let sections = Parser::new(0).parse_all(wasm).filter_map(|it| match it.unwrap() {
        Payload::CustomSection(it) => Some((it.name().to_owned(), it.data().to_vec())),
        _ => None,
    });
    sections.filter(|(name, _)| name.starts_with(".debug_")).collect()
}

/// Runs cargo without what an outer cargo, clippy or coverage run left in the environment.
fn cargo(dir: &Path, words: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(dir).args(words);
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "CARGO_TARGET_DIR"]
    {
        cargo.env_remove(name);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "cargo {words:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_c_vat_is_whole_and_where_there_is_a_clang_builds_and_runs() {
    let place = Place::new();
    place.vathost("new hello --lang c --path @").ok();
    let dir = place.path("hello");
    assert_eq!(files(&dir), [".gitignore", "README.md", "build.sh", "hello.c", "vat.toml", "vat1.h"]);
    assert_ne!(fs::metadata(dir.join("build.sh")).unwrap().permissions().mode() & 0o100, 0, "it can be run");
    let header = fs::read_to_string(dir.join("vat1.h")).unwrap();
    assert_eq!(header, fs::read_to_string("guests/vat1.h").unwrap());
    for name in files(&dir) {
        let text = fs::read_to_string(dir.join(&name)).unwrap();
        assert!(!text.contains("{{"), "{name} has a hole");
    }
    let Some(clang) = clang_with_wasm() else { return };
    let built = Command::new(dir.join("build.sh")).env("CLANG", clang).output().unwrap();
    assert!(built.status.success() && built.stderr.is_empty(), "{}", String::from_utf8_lossy(&built.stderr));
    let report = place.vathost("run @hello --json").ok().json();
    let results: Vec<_> =
        report["results"].as_array().unwrap().iter().map(|it| it["status"].as_str().unwrap()).collect();
    assert_eq!(results, ["fulfilled", "rejected"]);
    assert_eq!(report["results"][0]["body"], "#\"hello, Ada\"");
}

/// Asks a vat that never answers, and names the promise of the answer by the header.
const ASKER: &str = r##"
#include "vat1.h"
static struct { vat_u32 kind, n; vat_ref target, result; vat_u32 body_len, nslots; vat_ref slot; char rest[1024]; } in;
__attribute__((export_name("vat_deliver"))) void vat_deliver(vat_u32 len) {
    vat_input_read(&in, 0, len < sizeof in ? len : sizeof in);
    if (in.kind != VAT_MESSAGE || in.nslots == 0) return;
    vat_ref answer = NAME;
    vat_send(in.slot, "#[\"hang\",[]]", 12, 0, 0, answer);
    vat_subscribe(answer);
    vat_resolution done = {.promise = in.result, .body = "#\"asked\"", .body_len = 8};
    vat_resolve(&done, 1);
}
"##;

#[test]
fn names_by_the_header_are_new_after_an_upgrade() {
    let Some(clang) = clang_with_wasm() else { return };
    let place = Place::new();
    let header = concat!(env!("CARGO_MANIFEST_DIR"), "/guests");
    place.write("hang.wat", "(module (memory (export \"memory\") 1) (func (export \"vat_deliver\") (param i32)))");
    let go = "[[send]]\nto = \"ask\"\nmethod = \"go\"\nargs = [\"@hang\"]\n";
    place
        .write("vat.toml", &format!("[vats.ask]\nbundle = \"ask.wasm\"\n[vats.hang]\nbundle = \"hang.wat\"\n{go}{go}"));
    let ran = |name: &str| {
        place.write("ask.c", &ASKER.replace("NAME", name));
        let mut command = Command::new(clang);
        command.args([
            "--target=wasm32-unknown-unknown",
            "-Oz",
            "-nostdlib",
            "-ffreestanding",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-I",
            header,
        ]);
        let built =
            command.args(["-Wl,--no-entry", "-o", "ask.wasm", "ask.c"]).current_dir(place.path("")).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let bundle = place.vathost("check @ask.wasm --json").ok().json()["bundle"].as_str().unwrap().to_owned();
        place.write("d", &format!("v1/delivery-2: upgrade v1 bundle {}", &bundle[..12]));
        let report = place.vathost("run @vat.toml --directives @d --json").ok().json();
        assert_eq!(report["vats"]["ask"]["incarnation"], 1, "{report}");
        report["vats"]["ask"]["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(ran("vat1_fresh_promise()"), "running");
    // Who counts from 1 again names what is taken.
    assert_eq!(ran("VAT_PROMISE | VAT_OURS | 1"), "terminated");
}

/// A clang that makes wasm, linker included.
fn clang_with_wasm() -> Option<&'static str> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("it.c"), "int it(void) { return 1; }").unwrap();
    ["clang", "clang-21", "clang-20", "clang-19", "clang-18"].into_iter().find(|clang| {
        let mut command = Command::new(clang);
        command.current_dir(&dir).args(["--target=wasm32-unknown-unknown", "-nostdlib", "-Wl,--no-entry", "it.c"]);
        command.output().is_ok_and(|it| it.status.success())
    })
}

/// All files below a folder, sorted.
fn files(dir: &Path) -> Vec<String> {
    let mut names = vec![];
    let mut dirs: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                names.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    names
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    place.write("hello/mine.txt", "mine");
    for lang in ["rust", "c"] {
        place.vathost(&format!("new hello --lang {lang} --path @")).code(2).says("is there already").says("hint: ");
    }
    assert_eq!(files(&place.path("hello")), ["mine.txt"]);
    place.write("world", "a file");
    place.vathost("new world --lang c --path @").code(2).says("is there already");
    assert_eq!(fs::read_to_string(place.path("world")).unwrap(), "a file");
}

#[test]
fn a_name_that_is_none_is_refused_before_anything_is_made() {
    let place = Place::new();
    place
        .vathost("new Hello --lang rust --path @")
        .code(2)
        .says("it does not begin with a lower-case letter")
        .says("hint: ");
    place.vathost("new ../hello --lang c --path @").code(2).says("error: `../hello` cannot be the name of a vat");
    place.vathost("new hel.lo --lang c --path @").code(2).says("'.' is in it");
    place.vathost("new self --lang rust --path @").code(2).says("have a meaning for it");
    place.vathost("new hello --lang cobol --path @").code(2).says("possible values: rust, c");
    place.vathost("new hello --path @").code(2).says("--lang");
    assert_eq!(files(&place.path("")), [] as [&str; 0]);
}

#[test]
fn without_an_sdk_a_rust_vat_is_not_begun() {
    let place = Place::new();
    let told = "the SDK is the folder `guests` of a checkout of vathost";
    place.vathost("new hello --lang rust --path @ --sdk @none").code(2).says("there is no SDK in").says(told);
    assert!(!place.path("hello").exists());
    place.vathost("new hello --lang rust --path @ --sdk guests").ok();
    let manifest = fs::read_to_string(place.path("hello/Cargo.toml")).unwrap();
    let sdk = format!("path = \"{}/guests\"", env!("CARGO_MANIFEST_DIR"));
    assert!(manifest.contains(&sdk), "{manifest}");
    assert_eq!(
        files(&place.path("hello")),
        [
            ".cargo/config.toml",
            ".gitignore",
            "Cargo.toml",
            "README.md",
            "rust-toolchain.toml",
            "src/main.rs",
            "vat.toml"
        ]
    );
}

/// The binary carries the SDK: a vat that it makes needs no checkout, and no path of the machine that built it.
#[test]
fn a_rust_vat_comes_with_the_sdk_that_vathost_was_built_with() {
    let place = Place::new();
    place.vathost("new hello --lang rust --path @").ok();
    let dir = place.path("hello");
    let made = files(&dir);
    for (ours, theirs) in [("guests/src", "sdk/src"), ("guests/macros/src", "sdk/macros/src")] {
        for name in files(Path::new(ours)).iter().filter(|it| !it.starts_with("bin/")) {
            let path = format!("{theirs}/{name}");
            assert!(made.contains(&path), "{path} is missing: src/cli/new/sdk.rs lists the sources");
            assert_eq!(fs::read(dir.join(&path)).unwrap(), fs::read(Path::new(ours).join(name)).unwrap(), "{path}");
        }
    }
    for name in made {
        let text = fs::read_to_string(dir.join(&name)).unwrap();
        assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "{name} names a folder of the machine that built vathost");
    }
}
