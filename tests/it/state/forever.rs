//! Nothing grows for ever but what the map says does: long lives in which everything comes and goes, period by period, each table counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use vathost::{
    Device, DeviceState, HostOptions, Options, StaticVat, VRef,
    host::{
        controller::{Arg, BlockPolicy, Host, Sent, SessionEvent},
        scenario::Scenario,
        staged::{BlockHeader, BlockInput, StagedHost},
    },
    model::{
        id::{BundleId, KRef},
        value::{CapData, Message, Syscall},
    },
    state::{
        retention::Keep,
        table::{DeviceRow, KernelObject, Owner},
    },
};

use super::*;

/// Blocks are small, so that what waits between two cranks reaches the file.
const POLICY: BlockPolicy = BlockPolicy { cranks: 4, fuel: None, wall_millis: None, block_time: 5 };

/// Rows of a table that may be more in a later period than in any earlier one: snapshots and chunks have periods of their own.
const SLACK: u64 = 3;

/// What the map says of the rows of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Growth {
    Flat,
    /// They go when there are so many others.
    Behind(u64),
    ForEver,
}

/// Reads what the map says of each table.
fn map() -> BTreeMap<String, Growth> {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let (_, section) = map.split_once("## What a state consists of").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut tables = BTreeMap::new();
    for line in section.lines().filter(|it| it.starts_with("| `")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let growth = match cells[2].split_once("behind ") {
            Some((_, bound)) => {
                let digits = bound.chars().take_while(|it| it.is_ascii_digit() || *it == ',').filter(|it| *it != ',');
                Growth::Behind(digits.collect::<String>().parse().unwrap())
            }
            None if cells[2].contains("for ever") => Growth::ForEver,
            None => Growth::Flat,
        };
        let names = cells[0].trim_start_matches("| ").split(", ").map(|it| it.trim_matches('`').to_owned());
        tables.extend(names.map(|it| (it, growth)));
    }
    tables
}

/// Rows and bytes of each table.
type Sizes = BTreeMap<String, (u64, u64)>;

fn sizes(dir: &Path) -> Sizes {
    let sizes = Database::open_read_only(dir).unwrap().table_sizes().unwrap();
    let mut sizes: Sizes = sizes.into_iter().map(|it| (it.name, (it.rows, it.bytes))).collect();
    // What a staged host keeps beside the state is in a state of its own alone.
    for table in ["undo", "block_result"] {
        let count = sqlite(dir).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
        sizes.insert(table.to_owned(), (count.map_or(0, i64::cast_unsigned), 0));
    }
    sizes
}

/// The sizes at the ends of a life's periods; and the tables that had rows at any time.
struct Watch {
    life: &'static str,
    ends: Vec<Sizes>,
    seen: BTreeSet<String>,
}

impl Watch {
    fn of(life: &'static str) -> Watch {
        Watch { life, ends: Vec::new(), seen: BTreeSet::new() }
    }

    fn look(&mut self, dir: &Path) -> Sizes {
        let sizes = sizes(dir);
        self.seen.extend(sizes.iter().filter(|(_, it)| it.0 > 0).map(|(name, _)| name.clone()));
        sizes
    }

    fn end(&mut self, dir: &Path) {
        let sizes = self.look(dir);
        self.ends.push(sizes);
    }

    /// What grew: the later periods have more of it than the earlier ones, of which the first do not count.
    fn grown(&self) -> Vec<String> {
        let map = map();
        let half = self.ends.len() / 2;
        let (early, late) = (&self.ends[3..half], &self.ends[half..]);
        let most = |ends: &[Sizes], name: &str, what: fn(&(u64, u64)) -> u64| {
            ends.iter().filter_map(|it| it.get(name)).map(what).max().unwrap_or(0)
        };
        let mut grown = Vec::new();
        let mut bytes = [0, 0];
        for name in self.ends[0].keys() {
            let [before, after] = [early, late].map(|it| most(it, name, |it| it.0));
            // It has the changes of one block: some blocks change more rows than others.
            let slack = if name == "undo" { before } else { SLACK };
            let is_flat = match map[name] {
                Growth::Flat => after <= before + slack,
                Growth::Behind(bound) => after <= bound,
                Growth::ForEver => true,
            };
            if !is_flat {
                grown.push(format!("{}: `{name}` had {before} rows, and {after} later", self.life));
            }
            if map[name] == Growth::Flat {
                bytes[0] += most(early, name, |it| it.1);
                bytes[1] += most(late, name, |it| it.1);
            }
        }
        if bytes[1] > bytes[0] + bytes[0] / 20 {
            grown.push(format!("{}: the file had {} bytes, and {} later", self.life, bytes[0], bytes[1]));
        }
        grown
    }
}

fn wasm(name: &str) -> Vec<u8> {
    fs::read(vats(&format!("{name}.wasm"))).unwrap()
}

/// Returns the same module as another bundle: with a custom section more.
fn again(mut wasm: Vec<u8>, number: u8) -> Vec<u8> {
    wasm.extend([0, 2, 1, number]);
    wasm
}

fn vat(name: &str, wasm: Vec<u8>, parameters: &str) -> StaticVat {
    StaticVat { name: name.to_owned(), wasm, options: Options::default(), parameters: parameters.to_owned() }
}

/// A host that keeps no more than it must.
fn thrifty(dir: &Path) -> HostOptions {
    HostOptions { keep: Keep::Needed, snapshot_interval: Some(3), answer_blocks: Some(100), ..options(dir) }
}

/// Runs until nothing is left to do; where it looks at the file in between, after each crank.
fn run(host: &mut Host, watch: &mut Watch, dir: &Path, looks: bool) {
    let policy = BlockPolicy { cranks: if looks { 1 } else { POLICY.cranks }, ..POLICY };
    while !host.is_quiescent().unwrap() {
        host.run_block(&policy, &mut |_| true).unwrap();
        if looks {
            watch.look(dir);
        }
    }
}

fn slot(host: &Host, sent: Sent, at: usize) -> KRef {
    let outcome = host.outcome(sent).unwrap();
    outcome.data().unwrap_or_else(|| panic!("{outcome:?}")).slots[at]
}

/// The scenario of the first life; the code of `north` is the `number`th.
fn office(number: u8) -> Scenario {
    let clerk = vat("clerk", wasm("clerk"), "#{}");
    let vats = vec![clerk, vat("north", again(wasm("mortal"), number), "#{}"), vat("vault", wasm("vault"), "#{}")];
    Scenario {
        bundles: vats
            .iter()
            .map(|it| (it.name.clone(), it.wasm.clone()))
            .chain([("mortal".to_owned(), wasm("mortal"))])
            .collect(),
        vats,
        bootstrap: Some("clerk".to_owned()),
        devices: vec![DeviceRow::named("mailbox").unwrap()],
        ..Scenario::default()
    }
}

/// A period of the first life: vats on meters come, are upgraded, keep rows, owe answers, and end; another is upgraded; messages, mail and a
/// client come and go.
fn office_period(host: &mut Host, period: u8, run: &mut dyn FnMut(&mut Host)) {
    let tables = host.block().unwrap().tables();
    let is_admin = |owner: Option<Owner>| owner == Some(Owner::Kernel(KernelObject::VatAdmin));
    let admin = tables.objects.iter().find(|(_, it)| is_admin(it.owner)).map(|(id, _)| KRef::Object(*id)).unwrap();
    for _ in 0..3 {
        host.send("north", "child", []).unwrap();
    }
    let boxed = host.send("vault", "makeBox", []).unwrap();
    let meter = host.send(admin, "createMeter", [10_000_000_000_u64.into(), 9_999_999_999_u64.into()]).unwrap();
    run(host);
    let meter = slot(host, meter, 0);
    host.send(meter, "notify", []).unwrap();
    host.send(slot(host, boxed, 0), "put", [period.into()]).unwrap();
    let created = [Arg::from("mortal"), json!({}).into(), Arg::Told(json!({ "meter": format!("@{meter}") }))];
    let created = host.send(admin, "createVat", created).unwrap();
    run(host);
    let (root, facet) = (slot(host, created, 0), slot(host, created, 1));
    host.send(facet, "done", []).unwrap();
    host.send(root, "fill", [20.into()]).unwrap();
    host.send(root, "child", []).unwrap();
    run(host);
    host.send(facet, "upgrade", [Arg::from("mortal"), json!({}).into()]).unwrap();
    run(host);
    // It owes these when it ends.
    host.send(root, "hang", []).unwrap();
    host.send(root, "hang", []).unwrap();
    run(host);
    // And to a client, too.
    let session = host.open_session("client").unwrap();
    host.give(session, root, 1).unwrap();
    host.keep_with_inputs(vec![(vec![b'z', period], Some(vec![1, 2, 3])), (vec![b'z', period.wrapping_sub(1)], None)]);
    run(host);
    let given = host.outbox_of(session, 0).find_map(|(_, it)| match it {
        SessionEvent::Given { vref, .. } => Some(vref),
        _ => None,
    });
    let result: VRef = "p+1".parse().unwrap();
    let message = Message { methargs: CapData::plain("#[\"hang\",[]]"), result: Some(result) };
    host.act(session, vec![Syscall::Send { target: given.unwrap(), message }, Syscall::Subscribe(result)]).unwrap();
    run(host);
    host.send(facet, "terminate", [Arg::from("redundant")]).unwrap();
    host.upgrade(&office(period), &POLICY).unwrap();
    run(host);
    // Mail.
    let mailbox = host.mailbox().unwrap();
    host.receive_mail(mailbox.received + 1, json!({ "amount": 3 })).unwrap();
    run(host);
    let out = host.outbox().map(|(number, _)| number).last();
    out.into_iter().for_each(|it| host.acknowledge_mail(it).unwrap());
    host.end_session(session, "the day is over").unwrap();
    run(host);
    let last = host.outbox_of(session, 0).map(|(number, _)| number).last();
    last.into_iter().for_each(|it| host.acknowledge(session, it));
    run(host);
}

fn office_life(periods: u8) -> Watch {
    let (dir, mut watch) = (TempDir::new().unwrap(), Watch::of("office"));
    let mut host = Host::open(thrifty(dir.path())).unwrap();
    host.install(&office(0)).unwrap();
    for period in 1..=periods {
        office_period(&mut host, period, &mut |host| run(host, &mut watch, dir.path(), period == 1));
        watch.end(dir.path());
        if period % 5 == 0 {
            drop(host);
            host = Host::open(thrifty(dir.path())).unwrap();
        }
    }
    drop(host);
    assert_eq!(findings(dir.path()), None);
    watch
}

/// A life with a timer: it rings once a block.
fn clock_life(periods: u8) -> Watch {
    let (dir, mut watch) = (TempDir::new().unwrap(), Watch::of("clock"));
    let mut host = Host::open(thrifty(dir.path())).unwrap();
    let clock = vat("clock", wasm("clock"), "#{\"every\":5,\"rings\":1000000}");
    let devices = ["timer", "console"].map(|it| DeviceRow::named(it).unwrap()).to_vec();
    host.install(&Scenario { vats: vec![clock], bootstrap: Some("clock".to_owned()), devices, ..Scenario::default() })
        .unwrap();
    for _ in 0..periods {
        (0..10).for_each(|_| drop(host.run_block(&POLICY, &mut |_| true).unwrap()));
        watch.end(dir.path());
    }
    watch
}

/// A device of the program, which keeps a note under each name, and sends each.
#[derive(Debug)]
struct Notes;

impl Device for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn call(&self, state: &mut DeviceState<'_>, _method: &str, args: &[Value]) -> Result<Value, String> {
        let name = args[0].as_str().ok_or("a note has a name")?;
        state.set(name, args[1].to_string())?;
        state.send(&args[1])?;
        Ok(Value::Null)
    }
}

/// A staged life, with a device of the program.
fn staged_life(periods: u8) -> Watch {
    let (dir, mut watch) = (TempDir::new().unwrap(), Watch::of("staged"));
    let options = HostOptions { devices: vec![Arc::new(Notes)], ..thrifty(dir.path()) };
    let mut host = Host::open(options).unwrap();
    let keeper = vat("keeper", wasm("keeper"), "#{}");
    host.install(&Scenario { vats: vec![keeper], bootstrap: Some("keeper".to_owned()), ..Scenario::default() })
        .unwrap();
    let mut staged = StagedHost::new(host, true).unwrap();
    for period in 0..periods {
        for block in 0..10 {
            let info = staged.info().unwrap();
            let header = BlockHeader { height: info.height + 1, time: info.time + 5, prev_state_hash: info.state_hash };
            let args = vec![json!(format!("note {block}")), json!(format!("{period}"))];
            let send = BlockInput::Send { to: "keeper".to_owned(), method: "keep".to_owned(), args };
            staged.decide(&header, [send], &BlockPolicy::default()).unwrap();
            watch.look(dir.path());
        }
        watch.end(dir.path());
    }
    watch
}

#[test]
fn of_what_comes_and_goes_nothing_stays_but_what_the_map_says_stays_for_ever() {
    let lives = [office_life(20), clock_life(20), staged_life(20)];
    let grown: Vec<String> = lives.iter().flat_map(Watch::grown).collect();
    assert!(grown.is_empty(), "{grown:#?}");
    let seen: BTreeSet<&String> = lives.iter().flat_map(|it| &it.seen).collect();
    let unseen: Vec<String> = map().into_keys().filter(|it| !seen.contains(it)).collect();
    // A directive is an operator's; what is garbage in these lives is collected before its block ends; who keeps less than all has no tail.
    assert_eq!(unseen, ["directive", "gc", "tail"], "tables of which these lives say nothing");
}

#[test]
fn a_bundle_leaves_with_the_last_vat_that_runs_it() {
    let dir = TempDir::new().unwrap();
    let mut host = open(dir.path());
    host.install(&office(1)).unwrap();
    let stored = |host: &Host| {
        let block = host.block().unwrap();
        [1, 2, 3].map(|it| block.bundle(BundleId::of(&again(wasm("mortal"), it))).is_ok())
    };
    let mut seen = vec![stored(&host)];
    for number in [2, 3] {
        host.upgrade(&office(number), &POLICY).unwrap();
        go_on(&mut host, 9, 100);
        seen.push(stored(&host));
    }
    assert_eq!(seen, [[true, false, false], [false, true, false], [false, false, true]]);
    // One that an operator gave, and that nothing ran yet, stays.
    let given = host.put_bundle(&again(wasm("mortal"), 9)).unwrap();
    host.send("north", "child", []).unwrap();
    go_on(&mut host, 9, 100);
    host = {
        drop(host);
        open(dir.path())
    };
    assert!(host.block().unwrap().bundle(given).is_ok());
    assert_eq!(findings(dir.path()), None);
}

#[test]
fn a_bundle_that_left_with_a_block_is_back_when_the_block_is_undone() {
    let dir = TempDir::new().unwrap();
    let wasm = again(wasm("mortal"), 7);
    let bundle = BundleId::of(&wasm);
    let open = || {
        let mut directives = vathost::directive::DirectiveSet::default();
        directives.read("test", b"block-3: terminate v1").unwrap();
        let mut host = Host::open(HostOptions { directives, ..thrifty(dir.path()) }).unwrap();
        if host.is_new() {
            let vats = vec![vat("north", wasm.clone(), "#{}")];
            host.install(&Scenario { vats, ..Scenario::default() }).unwrap();
        }
        StagedHost::new(host, true).unwrap()
    };
    let decide = |host: &mut StagedHost| {
        let info = host.info().unwrap();
        let header = BlockHeader { height: info.height + 1, time: info.time + 5, prev_state_hash: info.state_hash };
        let send = BlockInput::Send { to: "north".to_owned(), method: "child".to_owned(), args: vec![] };
        host.decide(&header, [send], &BlockPolicy::default()).unwrap().state_hash
    };
    let is_there = || Database::open_read_only(dir.path()).unwrap().bundle(bundle).is_ok();
    let mut host = open();
    let mut hashes = vec![host.info().unwrap().state_hash];
    while is_there() {
        assert!(hashes.len() < 9, "it never leaves");
        hashes.push(decide(&mut host));
    }
    assert!(hashes.len() > 3, "{hashes:?}");
    drop(host);
    let mut host = open();
    assert_eq!(host.undo_last().unwrap().state_hash, hashes[hashes.len() - 2]);
    assert!(is_there());
    drop(host);
    assert_eq!(findings(dir.path()), None);
    assert_eq!(decide(&mut open()), hashes[hashes.len() - 1]);
    assert!(!is_there());
    assert_eq!(findings(dir.path()), None);
}
