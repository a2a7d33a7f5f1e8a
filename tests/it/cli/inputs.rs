//! What is no file, and files without an end: refused by kind or by size, wherever a file can be named.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use super::Place;

/// Runs it within a minute; its exit code, and what it said.
fn within_a_minute(place: &Place, words: &str) -> (i32, String) {
    let command = place.command(words);
    let mut timed = Command::new("timeout");
    timed.arg("60").arg(command.get_program()).args(command.get_args()).current_dir(place.path(""));
    timed.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = timed.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap_or_else(|| panic!("`{words}` was killed")), text)
}

/// Every place of the command line where a file can be named, that FILE; with the exit code of a refusal.
const NAMED: [(&str, i32); 22] = [
    ("run FILE", 2),
    ("run vat.toml --directives FILE", 2),
    ("run vat.toml --bundle FILE", 2),
    ("run bundle.toml", 2),
    ("run bundles.toml", 2),
    ("run mail.toml", 2),
    ("run out.toml", 2),
    ("run --state st", 2),
    ("check FILE", 2),
    ("directives check FILE", 2),
    ("directives plan --state ok --file FILE", 2),
    ("debug --state ok --directives FILE", 2),
    ("debug --state ok --commands FILE", 2),
    ("replay --state ok --vat v1 --wasm FILE", 2),
    ("conformance FILE", 2),
    ("import FILE new", 2),
    ("slog summary FILE", 2),
    ("slog diff FILE FILE", 2),
    ("slog show FILE --follow", 2),
    ("fault plan FILE", 2),
    ("fault run FILE", 2),
    ("bench --compare FILE ping", 2),
];

fn lay_out(place: &Place, file: &str) {
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/vats/clerk.wasm");
    let vat = format!("[vats.a]\nbundle = \"{module}\"\n");
    place.write("vat.toml", &vat);
    place.write("bundle.toml", &format!("[vats.a]\nbundle = \"{file}\"\n"));
    place.write("bundles.toml", &format!("{vat}[bundles]\nx = \"{file}\"\n"));
    place.write(
        "mail.toml",
        &std::fs::read_to_string("vats/clerk/vat.toml")
            .unwrap()
            .replace("../clerk.wasm", module)
            .replace("in.jsonl", file),
    );
    place.write(
        "out.toml",
        &std::fs::read_to_string("vats/clerk/vat.toml")
            .unwrap()
            .replace("../clerk.wasm", module)
            .replace("out.jsonl", file),
    );
    assert_eq!(within_a_minute(place, "run vat.toml --state ok").0, 0);
    assert_eq!(within_a_minute(place, "run vat.toml --state st").0, 0);
    place.write("st/host.toml", &format!("[host]\ndirectives = \"{file}\"\n"));
    place.write("in.jsonl", "");
}

#[track_caller]
fn each_is_refused(place: &Place, file: &str, why: &str) {
    lay_out(place, file);
    for (words, code) in NAMED {
        let words = words.replace("FILE", file);
        let (found, said) = within_a_minute(place, &words);
        assert_eq!(found, code, "{words}: {said}");
        assert!(
            said.contains(why) || words.starts_with("import") || said.contains("so it must be a file"),
            "{words}: {said}"
        );
    }
}

#[test]
fn a_fifo_is_refused_and_not_waited_for() {
    let place = Place::new();
    let fifo = place.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    each_is_refused(&place, fifo.to_str().unwrap(), "it is a FIFO");
}

#[test]
fn a_device_without_an_end_is_refused() {
    each_is_refused(&Place::new(), "/dev/zero", "it is a device");
}

#[test]
fn a_file_without_an_end_is_read_up_to_a_bound() {
    let place = Place::new();
    // Of a terabyte, of which nothing is on the disk.
    let path = place.path("endless");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    lay_out(&place, path.to_str().unwrap());
    for (words, code) in NAMED {
        // A recording is read event by event; of an archive, the first bytes are wrong.
        // Nothing of the mail is read before there is a line of it; its lines are bounded.
        if ["slog", "import", "--commands", "out.toml"].iter().any(|it| words.contains(it)) {
            continue;
        }
        // A message that does not end is one of those who write the mail, not of the command line.
        let code = if words.contains("mail.toml") { 74 } else { code };
        let (found, said) = within_a_minute(&place, &words.replace("FILE", path.to_str().unwrap()));
        assert_eq!(found, code, "{words}: {said}");
        assert!(said.contains("MiB"), "{words}: {said}");
    }
}

#[test]
fn a_pipe_that_the_command_was_started_with_is_read() {
    let place = Place::new();
    let ran = |words: &str, text: &str| {
        place.write("text", text);
        let command = place.command(words);
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg("cat \"$0\" | \"$@\"")
            .arg(place.path("text"))
            .arg(command.get_program())
            .args(command.get_args());
        let output = shell.output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, said) = ran("directives check /dev/stdin", "crank-7: halt\n");
    assert!(code == Some(0) && said.contains("crank-7: halt"), "{said}");
    let (code, said) = ran("slog summary /dev/stdin", "{\"type\":\"crank-start\",\"crankNum\":1}\n");
    assert!(code == Some(0) && said.contains("1 event"), "{said}");
}

#[test]
fn what_is_no_module_is_told_what_it_is_instead() {
    let place = Place::new();
    let told = |name: &str, bytes: &[u8]| {
        std::fs::write(place.path(name), bytes).unwrap();
        place.vathost(&format!("check @{name}")).code(2).stderr
    };
    for (name, bytes, what) in [
        ("gz", &b"\x1f\x8b\x08\0"[..], "gzip"),
        ("zst", b"\x28\xb5\x2f\xfd\0", "Zstandard"),
        ("zip", b"PK\x03\x04\0", "a zip archive"),
        ("elf", b"\x7fELF\xff\0", "not a WebAssembly module"),
        ("words", b"hello", "this is neither a WebAssembly module nor the text of one"),
    ] {
        let said = told(name, bytes);
        assert!(said.contains(what) && said.contains("module"), "{said}");
    }
    std::fs::write(place.path("component.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    let said = place.vathost("check @component.wasm").code(1).stdout;
    assert!(said.contains("this is a component") && said.contains("wasm32-unknown-unknown"), "{said}");
    place.write(
        "ref.wat",
        "(module (func (param externref)) (memory (export \"memory\") 1) (func (export \"vat_deliver\") (param i32)))",
    );
    let said = place.vathost("check @ref.wat").code(1).stdout;
    assert!(said.contains("`externref`") && !said.contains("reference types"), "{said}");
}

#[test]
fn a_check_finds_a_memory_that_a_run_would_refuse() {
    let place = Place::new();
    place.write("large.wat", "(module (memory (export \"memory\") 2048) (func (export \"vat_deliver\") (param i32)))");
    let said = place.vathost("check @large.wat").code(1).stdout;
    assert!(said.contains("the memory begins with 128 MiB, and the vat may have 64 MiB"), "{said}");
    place.vathost("check @large.wat --memory-max 128MiB").ok();
    // It is what a run says, too.
    place.write("vat.toml", "[vats.a]\nbundle = \"large.wat\"\n[[send]]\nto = \"a\"\nmethod = \"x\"\n");
    let ran = place.vathost("run @vat.toml --json").ok().json();
    assert_eq!(ran["vats"]["a"]["status"], "terminated", "{ran}");
    place.write("vat.toml", "[vats.a]\nbundle = \"large.wat\"\noptions = { memory_max = \"128MiB\" }\n[[send]]\nto = \"a\"\nmethod = \"x\"\n");
    let ran = place.vathost("run @vat.toml --json").ok().json();
    assert_eq!(ran["vats"]["a"]["status"], "running", "{ran}");
}
