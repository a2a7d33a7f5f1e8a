//! Checks on the source itself: its layers, what it must not mention, and that its tables tell the truth.
//!
//! rustc cannot enforce layers inside one crate. Comments do not count, so that prose may name what code must not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use vathost::host::scenario::Scenario;

/// Lowest first: a module uses only what stands before it, and itself.
const LAYERS: [&str; 14] = [
    "model",
    "directive",
    "store",
    "slog",
    "state",
    "kernel",
    "vat",
    "host",
    "serve",
    "inspect",
    "lab",
    "debug",
    "bench",
    "cli",
];

/// The package of the validators, which lies in the core's `src` and is none of its rooms.
const NODE: &str = "src/node";

/// The rooms of the validators' package, lowest first.
const NODE_LAYERS: [&str; 18] = [
    "keys",
    "genesis",
    "certificate",
    "submit",
    "block",
    "store",
    "driver",
    "home",
    "report",
    "mortal",
    "desk",
    "engine",
    "sim",
    "http",
    "node",
    "abci",
    "handover",
    "cli",
];

/// What stands at the crate's root, and every layer may use.
const EVERYWHERE: [&str; 1] = ["invariant"];

/// Ways to read what differs from replica to replica.
const NONDETERMINISM: [&str; 9] =
    ["time", "Instant", "SystemTime", "HashMap", "HashSet", "rand", "thread", "f32", "f64"];

/// Ways to print.
const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

const LINES_MAX: usize = 800;

/// The most methods of a type, over all its `impl` blocks; of any that is not named here [`METHODS_MAX`].
const METHODS: [(&str, usize); 4] = [("Crank", 40), ("Ledger", 160), ("Host", 80), ("Block", 38)];

const METHODS_MAX: usize = 65;

/// Below the kernel: the database waits for a reader's lock, and what decodes JSON is handed floats, which it ignores.
const EXEMPT: [(&str, &str); 4] = [
    ("src/store/database.rs", "time"),
    ("src/model/body.rs", "f64"),
    // Where both are refused.
    ("src/store/canon/mod.rs", "f32"),
    ("src/store/canon/mod.rs", "f64"),
];

struct Source {
    /// Relative to the root of the checkout.
    path: PathBuf,
    /// The module of the crate that it belongs to.
    module: String,
    text: String,
    /// Without comments.
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            // A link leads to a file that has its place elsewhere.
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources(dir: &str) -> Vec<Source> {
    let dir = root().join(dir);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let inside = path.strip_prefix(&dir).unwrap();
        let module =
            inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let code = text.lines().map(|it| it.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
        Source { path: path.strip_prefix(root()).unwrap().to_owned(), module, text, code }
    };
    // A package of its own, with its own rooms.
    let other = (dir != root().join(NODE)).then(|| root().join(NODE));
    files(&dir, "rs")
        .into_iter()
        .filter(|it| other.as_ref().is_none_or(|other| !it.starts_with(other)))
        .map(read)
        .collect()
}

/// The identifiers of a text, in order.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|it: char| !it.is_alphanumeric() && it != '_').filter(|it| !it.is_empty())
}

/// The modules of this crate that the code uses: the first word of every path that begins with `crate::`.
fn uses(code: &str) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => used.extend(words(rest).next()),
            Some(list) => used.extend(top_level(list).filter_map(|it| words(it).next())),
        }
    }
    used
}

/// The items of a list in braces whose opening brace is gone: those inside inner braces belong to their item.
fn top_level(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 1;
    let mut ends = vec![];
    for (at, it) in list.char_indices() {
        match it {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => ends.push(at),
            _ => (),
        }
        if depth == 0 {
            ends.push(at);
            break;
        }
    }
    ends.into_iter().scan(0, |from, to| Some(&list[std::mem::replace(from, to + 1)..to]))
}

#[track_caller]
fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Only these modules mention any of the words.
#[track_caller]
fn only(modules: &[&str], forbidden: &[&str]) {
    let outside = sources("src").into_iter().filter(|it| !modules.contains(&&*it.module));
    none(
        outside
            .flat_map(|source| {
                let found: BTreeSet<&str> = words(&source.code).filter(|it| forbidden.contains(it)).collect();
                found.into_iter().map(|it| format!("{}: mentions `{it}`", source.path.display())).collect::<Vec<_>>()
            })
            .collect(),
    );
}

/// Checks that each module uses those before it in the list, and itself.
#[track_caller]
fn check_layers(sources: Vec<Source>, layers: &[&str]) {
    let rank = |module: &str| layers.iter().position(|it| *it == module);
    let mut wrong = vec![];
    for source in sources {
        if source.module == "lib" || source.module == "main" {
            continue;
        }
        let Some(here) = rank(&source.module) else {
            wrong.push(format!("{}: `{}` has no place among the layers", source.path.display(), source.module));
            continue;
        };
        for used in uses(&source.code) {
            match rank(used) {
                Some(there) if there <= here => (),
                Some(_) => wrong.push(format!("{}: uses `{used}` from above", source.path.display())),
                None if EVERYWHERE.contains(&used) => (),
                None => wrong.push(format!("{}: uses `{used}`, which has no place", source.path.display())),
            }
        }
    }
    none(wrong);
}

#[test]
fn modules_only_look_downwards() {
    check_layers(sources("src"), &LAYERS);
    check_layers(node_sources(), &NODE_LAYERS);
}

/// The sources of the validators' package, without its tests.
fn node_sources() -> Vec<Source> {
    let mut found = sources(NODE);
    found.retain(|it| it.path.starts_with(Path::new(NODE).join("src")));
    for source in &mut found {
        let inside = source.path.strip_prefix(Path::new(NODE).join("src")).unwrap();
        source.module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
    }
    found
}

#[test]
fn in_a_node_only_the_command_line_prints_and_only_the_records_touch_a_database() {
    let speaks = |it: &&Source| !it.path.ends_with("cli/output.rs") && words(&it.code).any(|it| PRINTING.contains(&it));
    let keeps = |it: &&Source| it.module != "store" && words(&it.code).any(|it| it == "rusqlite");
    let sources = node_sources();
    assert!(sources.len() > 20, "{}", sources.len());
    none(sources.iter().filter(speaks).map(|it| format!("{}: prints past `Output`", it.path.display())).collect());
    none(sources.iter().filter(keeps).map(|it| format!("{}: touches a database", it.path.display())).collect());
}

#[test]
fn the_state_machine_of_a_node_reads_nothing_that_differs_from_replica_to_replica() {
    let checked = ["keys", "genesis", "certificate", "submit", "block", "driver"];
    let mut wrong = vec![];
    for source in node_sources().into_iter().filter(|it| checked.contains(&&*it.module)) {
        let found = words(&source.code).filter(|it| NONDETERMINISM.contains(it) && *it != "time");
        wrong.extend(found.map(|it| format!("{}: mentions `{it}`", source.path.display())));
    }
    none(wrong);
}

#[test]
fn the_core_is_built_without_the_crates_of_a_consensus_engine() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "vathost", "--edges", "normal,build", "--prefix", "none"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    let of_engine = ["arc-malachitebft", "libp2p", "tendermint", "ed25519", "ractor", "borsh"];
    let found = tree.lines().filter(|it| of_engine.iter().any(|name| it.starts_with(name))).map(str::to_owned);
    none(found.collect());
    assert!(tree.contains("wasmtime v"), "{tree}");
}

#[test]
fn every_layer_exists_and_is_used_as_listed() {
    let modules: BTreeSet<String> = sources("src").into_iter().map(|it| it.module).collect();
    let listed = LAYERS.iter().chain(&["lib", "main"]).map(|it| (*it).to_owned()).collect();
    assert_eq!(modules, listed);
}

#[test]
fn the_check_of_layers_sees_every_way_to_write_a_use() {
    let code = "use crate::{a::{self, x}, b, c::y::{z, w}};\nuse crate::d::e;\nlet it = crate::f::g(crate::H);";
    assert_eq!(uses(code), ["H", "a", "b", "c", "d", "f"].into());
}

#[test]
fn only_the_store_touches_the_database() {
    only(&["store"], &["rusqlite"]);
}

#[test]
fn only_vat_touches_wasmtime() {
    only(&["vat"], &["wasmtime", "wasmparser", "wasm_encoder"]);
}

#[test]
fn only_the_command_line_prints() {
    only(&["cli"], &PRINTING);
    // There, one file escapes what others wrote: nothing goes round it. (Native code goes to the host that asked for it.)
    let speaks =
        |it: &Source| it.module == "cli" && !it.path.ends_with("cli/output.rs") && !it.path.ends_with("cli/compile.rs");
    let prints = |it: &str| {
        let code = it.split_whitespace().collect::<String>();
        words(it).any(|it| ["stdout", "stderr"].contains(&it))
            || PRINTING.iter().any(|it| code.contains(&format!("{it}!(")))
    };
    none(
        sources("src")
            .into_iter()
            .filter(speaks)
            .filter(|it| prints(&it.code))
            .map(|it| format!("{}: prints past `Output`", it.path.display()))
            .collect(),
    );
    // What a child of ours prints is read, not printed.
    only(&["bench", "cli", "lab", "vat"], &["stdout", "stderr"]);
}

#[test]
fn files_that_somebody_names_are_read_by_kind_and_by_size() {
    let reads = ["fs::read(", "read_to_string(", "File::open(", "wat::parse_file("];
    let places =
        ["cli", "debug", "host/scenario.rs", "host/mailbox", "inspect/archive", "lab/campaign", "slog/reader.rs"];
    let named = |it: &Source| places.iter().any(|place| it.path.starts_with(Path::new("src").join(place)));
    let past = sources("src").into_iter().filter(named).flat_map(|it| {
        let code = it.code.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        let found = reads.into_iter().filter(move |read| code.contains(read));
        found
            .map(move |read| format!("{}: {read}…) knows no bound: see `files`", it.path.display()))
            .collect::<Vec<_>>()
    });
    none(past.collect());
}

#[test]
fn the_kernel_reads_nothing_that_differs_from_replica_to_replica() {
    let below = LAYERS.iter().position(|it| *it == "kernel").unwrap();
    let mut wrong = vec![];
    // The slog has a clock: it is write-only, so that nothing of it comes back.
    let checked = |it: &Source| LAYERS[..=below].contains(&&*it.module) && it.module != "slog";
    for source in sources("src").into_iter().filter(checked) {
        let path = source.path.to_str().unwrap();
        for (at, line) in source.code.lines().enumerate() {
            let is_time = line.contains("std::time") || line.contains("time::");
            let found = words(line).filter(|it| NONDETERMINISM.contains(it) && (*it != "time" || is_time));
            for it in found.filter(|it| !EXEMPT.contains(&(path, it))) {
                wrong.push(format!("{path}:{}: mentions `{it}`", at + 1));
            }
        }
    }
    none(wrong);
}

#[test]
fn no_file_is_too_long() {
    let all = sources("src").into_iter().chain(sources(NODE)).chain(sources("tests")).chain(sources("guests"));
    none(
        all.filter(|it| it.text.lines().count() > LINES_MAX)
            .map(|it| format!("{}: {} lines, at most {LINES_MAX}", it.path.display(), it.text.lines().count()))
            .collect(),
    );
}

#[test]
fn nothing_is_left_to_be_done_and_no_test_is_left_out() {
    let mut wrong = vec![];
    for source in sources("src").into_iter().chain(sources(NODE)).chain(sources("tests")) {
        for macro_name in ["todo", "unimplemented"] {
            if source.code.contains(&format!("{macro_name}!(")) {
                wrong.push(format!("{}: has a {macro_name}!", source.path.display()));
            }
        }
        if source.code.contains(concat!("#[", "ignore")) {
            wrong.push(format!("{}: has a test that never runs", source.path.display()));
        }
    }
    none(wrong);
}

/// The names in the first column of the table in the kernel's header.
fn tabled_invariants() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("src/kernel/mod.rs")).unwrap();
    let rows = text.lines().filter_map(|it| it.strip_prefix("//! | `")?.split_once("` |"));
    rows.map(|(name, _)| name.to_owned()).collect()
}

/// The name in `KernelPanic::new("name", …)`, `invariant!(…, "name", …)` and `fail("name", …)`: the first text of that form.
fn used_invariants(code: &str) -> BTreeSet<String> {
    let is_name = |it: &str| {
        let (family, name) = it.split_once('.').unwrap_or_default();
        let good = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_lowercase() || it == b'-');
        good(family) && good(name)
    };
    let mut used = BTreeSet::new();
    for call in ["KernelPanic::new(", "invariant!(", "fail("] {
        for (at, _) in code.match_indices(call) {
            let texts = code[at..].split('"').skip(1).step_by(2);
            used.extend(texts.take(1).filter(|it| is_name(it)).map(str::to_owned));
        }
    }
    used
}

#[test]
fn the_table_of_invariants_and_the_code_name_the_same() {
    let tabled = tabled_invariants();
    let used: BTreeSet<String> = sources("src").iter().flat_map(|it| used_invariants(&it.code)).collect();
    assert!(!tabled.is_empty());
    let unused: Vec<_> = tabled.difference(&used).collect();
    let unlisted: Vec<_> = used.difference(&tabled).collect();
    assert!(unused.is_empty() && unlisted.is_empty(), "in the table only: {unused:?}, in the code only: {unlisted:?}");
}

#[test]
fn every_scenario_reads() {
    let mut wrong = vec![];
    let mut seen = 0;
    // The others are campaigns: see `campaign::vats`.
    for path in files(&root().join("vats"), "toml").into_iter().filter(|it| it.ends_with("vat.toml")) {
        seen += 1;
        if let Err(why) = Scenario::read(&path) {
            wrong.push(why.to_string());
        }
    }
    assert!(seen > 0);
    none(wrong);
}

#[test]
fn the_binary_is_nothing_but_a_door() {
    let lines = fs::read_to_string(root().join("src/main.rs")).unwrap().lines().count();
    assert!(lines <= 30, "src/main.rs has {lines} lines");
}

#[test]
fn the_runtime_names_the_wasmtime_that_is_pinned() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let (_, wasmtime) = manifest.split_once("[dependencies.wasmtime]").unwrap();
    let (_, version) = wasmtime.split_once("version = \"=").unwrap();
    let (version, _) = version.split_once('"').unwrap();
    let runtime = vathost::vat::Runtime::here();
    let name = runtime.name();
    assert!(name.starts_with(&format!("wasmtime-{version} ")), "{name} is not of wasmtime {version}");
}

/// The methods of each type, in all its `impl` blocks. rustfmt tells where a block begins and ends.
fn methods() -> BTreeMap<String, usize> {
    let mut methods: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources("src") {
        let mut of = None;
        for line in source.code.lines() {
            if let Some(header) = line.strip_prefix("impl") {
                // `impl<'a> Trait for Type<'a> {`: what stands behind the `for`, or else behind the parameters.
                let header = header.rsplit(" for ").next().unwrap_or_default();
                let header = header.strip_prefix('<').map_or(header, |it| it.split_once("> ").map_or(it, |it| it.1));
                of = words(header).next().map(str::to_owned);
            } else if line.starts_with('}') {
                of = None;
            } else if let (Some(of), Some(item)) = (&of, line.strip_prefix("    "))
                && !item.starts_with(' ')
                && words(item)
                    .take_while(|it| *it != "fn")
                    .all(|it| ["pub", "super", "crate", "in", "const", "unsafe", "async", "extern"].contains(&it))
                && words(item).any(|it| it == "fn")
            {
                *methods.entry(of.clone()).or_default() += 1;
            }
        }
    }
    methods
}

#[test]
fn no_type_is_a_heap_of_methods() {
    let methods = methods();
    let max = |name: &str| METHODS.iter().find(|(it, _)| *it == name).map_or(METHODS_MAX, |(_, max)| *max);
    let too_many = methods.iter().filter(|(name, count)| **count > max(name));
    let too_many: Vec<_> = too_many.map(|(name, count)| format!("{name}: {count}, at most {}", max(name))).collect();
    assert_eq!(too_many, [""; 0]);
    for (name, _) in METHODS {
        assert!(methods.get(name).is_some_and(|it| *it > 20), "{name} is counted: {:?}", methods.get(name));
    }
}
