//! States of which there is too much to read it when they are opened: how they are made, and how all ways to live on from one are compared.

use vathost::{
    Audit,
    state::{
        block::{Block, stored},
        table::Tables,
    },
};

use super::*;

/// More blocks than there are.
pub(super) const MANY: usize = 1_000;

/// Returns which of the tables that a test is about are in memory as a whole.
pub(super) type InMemory = fn(&Tables) -> Vec<bool>;

/// Makes a scenario of a vat that makes things when it is told to `go`, seven times, and ends when it is told `x`; and of the holder that it
/// sends them to.
pub(super) fn exchange(maker: &str, wat: &str, holder: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let send = |method: &str| format!("[[send]]\nto = \"{maker}\"\nmethod = \"{method}\"\n");
    let vat = |name: &str| format!("[vats.{name}]\nbundle = \"{name}.wat\"\n");
    let toml = format!("bootstrap = \"{maker}\"\n{}{}", vat(maker), vat("holder"));
    fs::write(dir.path().join("vat.toml"), format!("{toml}{}{}", send("go").repeat(7), send("x"))).unwrap();
    fs::write(dir.path().join(format!("{maker}.wat")), wat).unwrap();
    fs::write(dir.path().join("holder.wat"), holder).unwrap();
    dir
}

/// Makes a state of this scenario, and runs it until there is enough in it.
pub(super) fn begun(scenario: &Path, audit: Audit, is_enough: impl Fn(&Host, &Path) -> bool) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut host = Host::open(HostOptions { audit, ..options(dir.path()) }).unwrap();
    host.install(&Scenario::read(scenario).unwrap()).unwrap();
    let mut blocks = 0;
    while !is_enough(&host, dir.path()) {
        go_on(&mut host, 1, 2);
        blocks += 1;
        assert!(blocks < 200, "{:?}", host.block().unwrap().tables());
    }
    dir
}

/// Opens a state, of which nothing is read then; the block, to look at.
pub(super) fn opened_unread(dir: &Path, in_memory: InMemory) -> Block {
    let block = Block::open_read_only(dir).unwrap();
    let whole = in_memory(block.tables());
    assert_eq!((whole.contains(&true), stored::reads(&block)), (false, 0), "{whole:?}");
    block
}

/// Lives on from a state with all of it in memory, and in three ways with as little as may be, to the same report. `check` looks at the
/// folder of each in the end.
pub(super) fn lives_alike<T: PartialEq + std::fmt::Debug>(
    dir: &Path,
    audit: Audit,
    in_memory: InMemory,
    check: impl Fn(&Path) -> T,
) {
    let copy = copy_of(dir);
    let mut host = Host::open(HostOptions { audit, ..options(copy.path()) }).unwrap();
    let block = host.block_mut().unwrap();
    stored::fetch_all(block).unwrap();
    let whole = in_memory(block.tables());
    assert!(!whole.contains(&false), "{whole:?}");
    let expected = go_on(&mut host, MANY, 2);
    let report = serde_json::to_value(host.report().unwrap()).unwrap();
    drop(host);
    let checked = check(copy.path());
    for (memory, blocks) in [(Some(0), MANY), (Some(1 << 20), 3), (None, 4)] {
        let copy = copy_of(dir);
        let open = || Host::open(HostOptions { memory_max: memory, ..options(copy.path()) }).unwrap();
        let mut host = open();
        assert!(!in_memory(host.block().unwrap().tables()).contains(&true));
        while !host.is_quiescent().unwrap() {
            go_on(&mut host, blocks, 2);
            if blocks < MANY {
                drop(host);
                host = open();
            }
        }
        assert_eq!(serde_json::to_value(host.report().unwrap()).unwrap(), report, "{memory:?}, {blocks}");
        assert_eq!(host.report().unwrap().state_hash, expected);
        drop(host);
        assert_eq!((findings(copy.path()), &check(copy.path())), (None, &checked), "{memory:?}, {blocks}");
    }
}

/// Runs a damaged state until its host halts; the halt, in words: a fault of the host that names the damage.
pub(super) fn halts(dir: &Path) -> String {
    let mut host = open(dir);
    let policy = BlockPolicy { cranks: 2, ..BlockPolicy::default() };
    let halt = (0..MANY).find_map(|_| host.run_block(&policy, &mut |_| true).err()).expect("a halt").to_string();
    assert!(halt.contains("the state is damaged") && !halt.contains("kernel panic"), "{halt}");
    halt
}
