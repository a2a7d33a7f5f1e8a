//! The guest ABI at its edges: small guests in wat, through the real sandbox and the kernel.
//!
//! A [`Guest`] imports everything and does what its body says when it gets a message. In the body, `o-50` is the root of a peer
//! that does nothing, `p-60` the promise for the answer.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use expect_test::{Expect, expect};
use vathost::{
    kernel,
    model::{
        id::{DeliveryNum, KRef, VatId},
        limits,
        value::CapData,
    },
    slog::{Detail, Event, Recorder, Slog},
    state::{
        block::Block,
        table::{Options, Status},
    },
    vat::{
        Warehouse,
        module::{IMPORTS, Num},
    },
};

/// Where the memory of a guest ends that asked for the usual two pages.
const END: u32 = 2 << 16;

/// A guest, as wat.
pub(crate) struct Guest {
    body: String,
    fields: String,
    pages: u32,
    options: Options,
}

/// What became of it.
pub(crate) struct Outcome {
    pub(crate) block: Block,
    /// Why it ended, or nothing.
    pub(crate) fault: Option<String>,
    /// What the message cost, if it was kept.
    pub(crate) fuel: u64,
    pub(crate) console: Vec<String>,
}

/// A guest that does this with a message.
pub(crate) fn guest(body: &str) -> Guest {
    let options = Options { reap_interval: None, reap_gc_krefs: None, ..Options::default() };
    Guest { body: body.to_owned(), fields: String::new(), pages: END >> 16, options }
}

/// The guest's vat.
pub(crate) const GUEST: VatId = VatId(1);

impl Guest {
    /// With more fields in its module.
    pub(crate) fn fields(mut self, fields: &str) -> Guest {
        self.fields += fields;
        self
    }

    /// With a memory of so many pages.
    pub(crate) fn pages(mut self, pages: u32) -> Guest {
        self.pages = pages;
        self
    }

    pub(crate) fn fuel(mut self, fuel: u64) -> Guest {
        self.options.fuel_per_delivery = fuel;
        self
    }

    pub(crate) fn memory_max(mut self, bytes: u64) -> Guest {
        self.options.memory_max = bytes;
        self
    }

    /// A module that imports everything, and calls the body for a message only.
    pub(crate) fn wat(&self) -> String {
        let mut imports = String::new();
        for it in IMPORTS {
            let types = |nums: &[Num]| nums.iter().map(Num::to_string).collect::<Vec<_>>().join(" ");
            let (name, params, results) = (it.name, types(it.params), types(it.results));
            let result = if results.is_empty() { results } else { format!("(result {results})") };
            writeln!(imports, "(import \"vat1\" \"{name}\" (func ${name} (param {params}) {result}))").unwrap();
        }
        let Guest { body, fields, pages, .. } = self;
        format!(
            r#"(module {imports}
                (memory (export "memory") {pages})
                {fields}
                (func $go (param $len i32) (local $i i32) {body})
                (func (export "vat_deliver") (param $len i32)
                    (local $head i32) (local $old i32)
                    (local.set $old (i32.load (i32.const 0)))
                    (call $input_read (i32.const 0) (i32.const 0) (i32.const 4))
                    (local.set $head (i32.load (i32.const 0)))
                    (i32.store (i32.const 0) (local.get $old))
                    (if (i32.eq (local.get $head) (i32.const 1)) (then (call $go (local.get $len))))))"#
        )
    }

    /// Starts the guest and its peer, and sends the guest one message `go(peer)`.
    pub(crate) fn run(&self) -> Outcome {
        let wasm = wat::parse_str(self.wat()).unwrap_or_else(|err| panic!("{err}"));
        run(&wasm, self.options.clone())
    }

    /// Why it ends, or `ok`.
    pub(crate) fn verdict(&self) -> String {
        self.run().fault.unwrap_or("ok".to_owned())
    }
}

struct Console(Arc<Mutex<Vec<String>>>);

impl Recorder for Console {
    fn record(&mut self, event: &Event<'_>) {
        if let Event::Console { level, args, .. } = event {
            self.0.lock().unwrap().push(format!("{level}: {}", args[0]));
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A vat that does nothing.
const PEER: &str = r#"(module (memory (export "memory") 1) (func (export "vat_deliver") (param i32)))"#;

pub(crate) fn run(wasm: &[u8], options: Options) -> Outcome {
    let console = Arc::new(Mutex::new(vec![]));
    let mut block = Block::memory(Slog::new(Detail::Deliveries, Console(console.clone()))).unwrap();
    let mut warehouse = Warehouse::new(None).unwrap();
    let (bundle, peer) = (block.put_bundle(wasm), block.put_bundle(&wat::parse_str(PEER).unwrap()));
    (block, _) = kernel::outside(block, |crank| {
        let guest = crank.create_vat("guest", bundle, options, CapData::plain("#{}"))?;
        let peer = crank.create_vat("peer", peer, Options::default(), CapData::plain("#{}"))?;
        let (guest, peer) = (crank.root(guest)?, crank.root(peer)?);
        crank.pin(guest)?;
        crank.pin(peer)?;
        let methargs = CapData { body: "#[\"go\",[\"$0\"]]".into(), slots: vec![KRef::Object(peer)] };
        crank.send_from_outside(guest.into(), methargs, Some(("guest", "go")))
    })
    .unwrap();
    let (mut fault, mut fuel) = (None, 0);
    loop {
        let (next, ran) = kernel::crank(block, &mut warehouse).unwrap();
        block = next;
        let Some(ran) = ran else { break };
        if ran.delivery.is_some_and(|(vat, _)| vat == GUEST) {
            fuel = ran.fuel;
        }
        if let Some(Status::Terminated { reason, .. }) = block.tables().vats.get(&GUEST).map(|it| &it.status) {
            fault = Some(reason.clone());
        }
    }
    let console = console.lock().unwrap().clone();
    Outcome { block, fault, fuel, console }
}

impl Outcome {
    /// The syscalls of the message, and what they were answered.
    pub(crate) fn syscalls(&self) -> String {
        let entries: Vec<_> = self.block.transcript(GUEST, DeliveryNum(1)).unwrap().map(|it| it.unwrap()).collect();
        let lines =
            entries.iter().flat_map(|it| &it.syscalls).map(|(syscall, answer)| format!("{syscall:?} -> {answer:?}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What the guest left in its store under a key.
    pub(crate) fn stored(&self, key: &str) -> Option<Vec<u8>> {
        self.block.tables().vatstore.get(&(GUEST, vathost::model::value::Bytes::from(key).into())).map(|it| it.to_vec())
    }
}

#[track_caller]
fn check(body: &str, expect: Expect) {
    let outcome = guest(body).fields(DATA).run();
    let fault = outcome.fault.as_ref().map_or(String::new(), |it| format!("\n{it}"));
    expect.assert_eq(&format!("{}{fault}", outcome.syscalls()));
}

/// Texts and references at known places.
const DATA: &str = r##"
    (data (i32.const 64) "key") (data (i32.const 72) "value")
    (data (i32.const 80) "#[\"hi\",[\"$0\"]]") (data (i32.const 96) "#\"done\"")
    (data (i32.const 128) "\32\00\00\00\00\00\00\00") (data (i32.const 136) "\05\00\00\00\00\00\00\20")
    (data (i32.const 192) "\3c\00\00\00\00\00\00\40\00\00\00\00\60\00\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")"##;

#[test]
fn a_message_looks_as_documented() {
    let outcome = guest(
        "(call $input_read (i32.const 1024) (i32.const 0) (local.get $len))
         (call $vatstore_set (i32.const 64) (i32.const 3) (i32.const 1024) (local.get $len))",
    )
    .fields(DATA)
    .run();
    let seen = outcome.stored("key").unwrap();
    let (words, body) = seen.split_at(40);
    let words: Vec<u64> = words.as_chunks().0.iter().map(|it| u64::from_le_bytes(*it)).collect();
    // Kind 1 and no count; target o+0; result p-60; 14 bytes of body and 1 slot; o-50.
    assert_eq!(words, [1, 1 << 61, (1 << 62) + 60, 14 + (1 << 32), 50]);
    assert_eq!(body, b"#[\"go\",[\"$0\"]]\0\0", "padded to 8");
}

#[test]
fn send_and_subscribe() {
    check(
        "(call $send (i64.const 50) (i32.const 80) (i32.const 14) (i32.const 136) (i32.const 1) (i64.const 0x6000000000000001))
         (call $subscribe (i64.const 0x6000000000000001))
         (call $send (i64.const 0x6000000000000001) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0))",
        expect![[r##"
            Send { target: o-50, message: Message { methargs: CapData { body: "#[\"hi\",[\"$0\"]]", slots: [o+5] }, result: Some(p+1) } } -> Done
            Subscribe(p+1) -> Done
            Send { target: p+1, message: Message { methargs: CapData { body: "", slots: [] }, result: None } } -> Done"##]],
    );
}

#[test]
fn resolve_takes_records() {
    check(
        "(call $resolve (i32.const 192) (i32.const 1)) (call $resolve (i32.const 0) (i32.const 0))",
        expect![[r##"
        Resolve([Resolution { promise: p-60, rejected: false, data: CapData { body: "#\"done\"", slots: [] } }]) -> Done
        Resolve([]) -> Done"##]],
    );
}

#[test]
fn a_flag_or_padding_of_a_record_that_is_no_zero_or_one_is_a_fault() {
    for (at, value) in [(200, 2), (200, -1), (220, 1)] {
        let body =
            format!("(i32.store (i32.const {at}) (i32.const {value})) (call $resolve (i32.const 192) (i32.const 1))");
        let fault = guest(&body).fields(DATA).verdict();
        assert_eq!(
            fault, "illegal syscall resolve: a flag that is neither 0 nor 1, or padding that is not 0",
            "{at} {value}"
        );
    }
}

#[test]
fn the_vatstore_answers_by_length_and_result_read() {
    check(
        "(drop (call $vatstore_get (i32.const 64) (i32.const 3)))
         (call $vatstore_set (i32.const 64) (i32.const 3) (i32.const 72) (i32.const 5))
         (if (i32.ne (call $vatstore_get (i32.const 64) (i32.const 3)) (i32.const 5)) (then unreachable))
         (call $result_read (i32.const 1024) (i32.const 0) (i32.const 5))
         (call $vatstore_set (i32.const 64) (i32.const 1) (i32.const 1025) (i32.const 4))
         (if (i32.ne (call $vatstore_next_key (i32.const 64) (i32.const 1)) (i32.const 3)) (then unreachable))
         (if (i32.ne (call $vatstore_next_key (i32.const 64) (i32.const 3)) (i32.const -1)) (then unreachable))
         (if (i32.ne (call $vatstore_scan (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 100)) (i32.const 29)) (then unreachable))
         (call $vatstore_delete (i32.const 64) (i32.const 3))
         (if (i32.ne (call $vatstore_get (i32.const 64) (i32.const 3)) (i32.const -1)) (then unreachable))",
        expect![[r#"
            VatstoreGet("key") -> Value(None)
            VatstoreSet("key", "value") -> Done
            VatstoreGet("key") -> Value(Some("value"))
            VatstoreSet("k", "alue") -> Done
            VatstoreGetNextKey("k") -> Value(Some("key"))
            VatstoreGetNextKey("key") -> Value(None)
            VatstoreScan { prefix: "k", after: "", max: 100 } -> Value(Some("\u{1}\0\0\0\u{4}\0\0\0kalue\u{3}\0\0\0\u{5}\0\0\0keyvalue"))
            VatstoreDelete("key") -> Done
            VatstoreGet("key") -> Value(None)"#]],
    );
}

#[test]
fn garbage_goes_out_by_lists() {
    check(
        "(call $drop_imports (i32.const 128) (i32.const 1))
         (call $retire_imports (i32.const 128) (i32.const 1))
         (call $send (i64.const 0x2000000000000000) (i32.const 80) (i32.const 14) (i32.const 136) (i32.const 1) (i64.const 0))
         (call $abandon_exports (i32.const 136) (i32.const 1))
         (call $retire_exports (i32.const 136) (i32.const 0))",
        expect![[r#"

            illegal syscall dropImports: o-50 is not in the c-list"#]],
    );
    let fault = guest("(call $retire_exports (i32.const 136) (i32.const 1))").fields(DATA).verdict();
    assert_eq!(fault, "illegal syscall retireExports: o+5 is not in the c-list");
}

#[test]
fn exit_ends_the_vat() {
    check(
        "(call $exit (i32.const 0) (i32.const 96) (i32.const 7) (i32.const 0) (i32.const 0))",
        expect![[r#"

            done"#]],
    );
    check(
        "(call $exit (i32.const 1) (i32.const 96) (i32.const 7) (i32.const 0) (i32.const 0))",
        expect![[r#"

            done"#]],
    );
}

#[test]
fn there_are_no_devices_to_call() {
    check(
        "(drop (call $call_now (i64.const 0x8000000000000046) (i32.const 96) (i32.const 7) (i32.const 0) (i32.const 0)))",
        expect![[r#"

            illegal syscall callNow: d-70 is not in the c-list"#]],
    );
}

#[test]
fn the_console_has_four_levels_and_is_no_syscall() {
    let say = |level: u32| format!("(call $console (i32.const {level}) (i32.const 96) (i32.const 7))");
    let outcome = guest(&(0..4).map(say).collect::<String>()).fields(DATA).run();
    assert_eq!(outcome.console, ["debug: #\"done\"", "info: #\"done\"", "warn: #\"done\"", "error: #\"done\""]);
    assert_eq!(outcome.syscalls(), "");
    for level in [4, u32::MAX] {
        let fault = format!("illegal syscall console: there is no level {level}");
        assert_eq!(guest(&say(level)).fields(DATA).verdict(), fault);
    }
}

#[test]
fn a_console_line_is_cut_at_its_limit_and_may_be_no_text() {
    let outcome = guest(
        "(memory.fill (i32.const 0) (i32.const 97) (i32.const 10000))
         (call $console (i32.const 1) (i32.const 0) (i32.const 10000))
         (i32.store (i32.const 0) (i32.const 0xfffe61ff))
         (call $console (i32.const 1) (i32.const 0) (i32.const 4))",
    )
    .run();
    assert_eq!(outcome.console[0].len(), "info: ".len() + limits::CONSOLE_BYTES_MAX as usize);
    assert_eq!(outcome.console[1], "info: \u{fffd}a\u{fffd}\u{fffd}");
}

#[test]
fn a_delivery_is_read_in_parts_and_never_past_its_end() {
    // The message is 56 bytes long.
    let read = |off: u32, len: u32| {
        guest(&format!("(call $input_read (i32.const 1024) (i32.const {off}) (i32.const {len}))")).verdict()
    };
    for (off, len) in [(0, 0), (0, 56), (8, 48), (55, 1), (56, 0)] {
        assert_eq!(read(off, len), "ok", "{off} {len}");
    }
    for (off, len) in [(0, 57), (56, 1), (57, 0), (u32::MAX, 0), (u32::MAX, 1), (1, u32::MAX - 1)] {
        let fault = read(off, len);
        let expected = if len > 1 << 24 {
            "out of fuel".to_owned()
        } else {
            format!("illegal syscall input_read: {len} bytes at {off} of 56")
        };
        assert_eq!(fault, expected);
    }
}

#[test]
fn an_answer_is_read_in_parts_and_never_past_its_end_nor_after_the_next_one() {
    let read = |off: u32, len: u32| {
        let body = format!(
            "(call $vatstore_set (i32.const 64) (i32.const 3) (i32.const 72) (i32.const 5))
             (drop (call $vatstore_get (i32.const 64) (i32.const 3)))
             (call $result_read (i32.const 1024) (i32.const {off}) (i32.const {len}))"
        );
        guest(&body).fields(DATA).verdict()
    };
    for (off, len) in [(0, 0), (0, 5), (2, 3), (5, 0)] {
        assert_eq!(read(off, len), "ok");
    }
    for (off, len) in [(0, 6), (5, 1), (6, 0), (u32::MAX, 1)] {
        assert_eq!(read(off, len), format!("illegal syscall result_read: {len} bytes at {off} of 5"));
    }
    let stale = "(call $vatstore_set (i32.const 64) (i32.const 3) (i32.const 72) (i32.const 5))
         (drop (call $vatstore_get (i32.const 64) (i32.const 3)))
         (drop (call $vatstore_get (i32.const 64) (i32.const 1)))
         (call $result_read (i32.const 1024) (i32.const 0) (i32.const 1))";
    assert_eq!(guest(stale).fields(DATA).verdict(), "illegal syscall result_read: 1 bytes at 0 of 0");
}

#[test]
fn an_answer_does_not_outlive_its_delivery() {
    let second = "(if (i32.load (i32.const 512)) (then (call $result_read (i32.const 1024) (i32.const 0) (i32.const 5))))
         (i32.store (i32.const 512) (i32.const 1))
         (call $vatstore_set (i32.const 64) (i32.const 3) (i32.const 72) (i32.const 5))
         (drop (call $vatstore_get (i32.const 64) (i32.const 3)))
         (call $send (i64.const 0x2000000000000000) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0))";
    assert_eq!(guest(second).fields(DATA).verdict(), "illegal syscall result_read: 5 bytes at 0 of 0");
}

/// Each place where a guest gives a pointer and a length: `PTR` and `LEN` stand for them; the unit of the length in bytes.
const POINTERS: [(&str, &str, u32); 17] = [
    ("input_read", "(call $input_read PTR (i32.const 0) LEN)", 1),
    ("send", "(call $send (i64.const 50) PTR LEN (i32.const 0) (i32.const 0) (i64.const 0))", 1),
    ("send", "(call $send (i64.const 50) (i32.const 0) (i32.const 0) PTR LEN (i64.const 0))", 8),
    ("exit", "(call $exit (i32.const 0) PTR LEN (i32.const 0) (i32.const 0))", 1),
    ("exit", "(call $exit (i32.const 0) (i32.const 0) (i32.const 0) PTR LEN)", 8),
    ("callNow", "(drop (call $call_now (i64.const 0x8000000000000046) PTR LEN (i32.const 0) (i32.const 0)))", 1),
    ("resolve", "(call $resolve PTR LEN)", 32),
    ("vatstoreGet", "(drop (call $vatstore_get PTR LEN))", 1),
    ("vatstoreGetNextKey", "(drop (call $vatstore_next_key PTR LEN))", 1),
    ("vatstoreSet", "(call $vatstore_set PTR LEN (i32.const 0) (i32.const 0))", 1),
    ("vatstoreSet", "(call $vatstore_set (i32.const 0) (i32.const 0) PTR LEN)", 1),
    ("vatstoreDelete", "(call $vatstore_delete PTR LEN)", 1),
    ("vatstoreScan", "(drop (call $vatstore_scan PTR LEN (i32.const 0) (i32.const 0) (i32.const 0)))", 1),
    ("vatstoreScan", "(drop (call $vatstore_scan (i32.const 0) (i32.const 0) PTR LEN (i32.const 0)))", 1),
    ("dropImports", "(call $drop_imports PTR LEN)", 8),
    ("abandonExports", "(call $abandon_exports PTR LEN)", 8),
    ("console", "(call $console (i32.const 1) PTR LEN)", 1),
];

#[test]
fn every_pointer_and_length_is_checked_against_the_end_of_memory() {
    let mut wrong = vec![];
    for (kind, call, unit) in POINTERS {
        let verdict = |at: u32, len: u32| {
            let body = call.replace("PTR", &format!("(i32.const {at})")).replace("LEN", &format!("(i32.const {len})"));
            guest(&body).verdict()
        };
        let outside = |at: u32, len: u32| {
            format!("illegal syscall {kind}: {} bytes at {at:#x} lie outside of memory", len * unit)
        };
        // Inside, whatever else is wrong with it: zeros are no references, and there is no device.
        for (at, len) in [(END, 0), (END - unit, 1), (END - 4 * unit, 4)] {
            let fault = verdict(at, len);
            if fault.contains("outside") {
                wrong.push(format!("{call} {at:#x} {len}: {fault}"));
            }
        }
        let mut beyond =
            vec![(END - unit + 1, 1), (END, 1), (END - 1, 4), (u32::MAX, 1), (u32::MAX - 3, 4), (0x8000_0000, 4)];
        if unit != 8 {
            // A list of no references is read from nowhere.
            beyond.extend([(END + 1, 0), (u32::MAX, 0)]);
        }
        for (at, len) in beyond {
            let fault = verdict(at, len);
            if fault != outside(at, len) {
                wrong.push(format!("{call} {at:#x} {len}: {fault}"));
            }
        }
        // The longest there is: refused by a limit or by its price, before anything is looked at.
        let fault = verdict(0, u32::MAX);
        if fault != "out of fuel"
            && !fault.ends_with("the limit is 65536")
            && !fault.contains("of 4294967295, the limit is")
        {
            wrong.push(format!("{call}, as long as can be: {fault}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pointers_inside_a_resolution_are_checked_too() {
    for (word, value, fault) in [
        (204, END, "7 bytes at 0x20000 lie outside of memory"),
        (204, u32::MAX, "7 bytes at 0xffffffff lie outside of memory"),
        (208, u32::MAX, "body of 4294967295, the limit is 1048576"),
        (216, u32::MAX, "slots of 4294967295, the limit is 4096"),
        (216, 4096, "0x0 is not a reference"),
    ] {
        let body =
            format!("(i32.store (i32.const {word}) (i32.const {value})) (call $resolve (i32.const 192) (i32.const 1))");
        let actual = guest(&body).fields(DATA).verdict();
        assert_eq!(actual, format!("illegal syscall resolve: {fault}"));
    }
}

#[test]
fn what_a_guest_gives_and_where_it_reads_to_may_overlap() {
    let outcome = guest(
        "(call $vatstore_set (i32.const 64) (i32.const 12) (i32.const 66) (i32.const 10))
         (drop (call $vatstore_get (i32.const 64) (i32.const 12)))
         (call $result_read (i32.const 65) (i32.const 0) (i32.const 10))
         (call $vatstore_set (i32.const 64) (i32.const 1) (i32.const 64) (i32.const 11))
         (call $send (i64.const 50) (i32.const 128) (i32.const 8) (i32.const 128) (i32.const 1) (i64.const 0))",
    )
    .fields(DATA)
    .run();
    assert_eq!((outcome.fault.clone(), outcome.stored("k")), (None, Some(b"ky\0\0\0\0\0valu".to_vec())));
}

#[test]
fn bits_that_name_nothing_are_a_fault_wherever_they_stand() {
    let nothing: [u64; 7] = [0, 3 << 62, 7 << 61, 1 << 60, 1 << 59, 7 << 59, u64::MAX];
    let places = [
        ("send", "(call $send BITS (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0))"),
        ("send", "(call $send (i64.const 50) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) BITS)"),
        (
            "send",
            "(i64.store (i32.const 8) BITS) (call $send (i64.const 50) (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 1) (i64.const 0))",
        ),
        ("callNow", "(drop (call $call_now BITS (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))"),
        ("subscribe", "(call $subscribe BITS)"),
        ("resolve", "(i64.store (i32.const 192) BITS) (call $resolve (i32.const 192) (i32.const 1))"),
        ("dropImports", "(i64.store (i32.const 8) BITS) (call $drop_imports (i32.const 8) (i32.const 1))"),
        ("retireImports", "(i64.store (i32.const 8) BITS) (call $retire_imports (i32.const 8) (i32.const 1))"),
        ("retireExports", "(i64.store (i32.const 8) BITS) (call $retire_exports (i32.const 8) (i32.const 1))"),
        ("abandonExports", "(i64.store (i32.const 8) BITS) (call $abandon_exports (i32.const 8) (i32.const 1))"),
    ];
    for (at, (kind, call)) in places.into_iter().enumerate() {
        for bits in nothing {
            let verdict = guest(&call.replace("BITS", &format!("(i64.const {bits:#x})"))).fields(DATA).verdict();
            // As a result, 0 is no reference, and says so.
            let expected = if at == 1 && bits == 0 {
                "ok".to_owned()
            } else {
                format!("illegal syscall {kind}: {bits:#x} is not a reference")
            };
            assert_eq!(verdict, expected, "{call}");
        }
    }
}

/// Fills memory from 1 MiB with this many references to the peer.
const MANY: &str = "(loop $l
    (i64.store (i32.add (i32.const 0x200000) (i32.shl (local.get $i) (i32.const 3))) (i64.const 50))
    (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 66000))))";

#[test]
fn every_size_is_legal_at_its_limit_and_a_fault_one_past_it() {
    let rows = [
        (
            "body",
            limits::BODY_BYTES_MAX,
            "(call $send (i64.const 50) (i32.const 0) N (i32.const 0) (i32.const 0) (i64.const 0))",
        ),
        (
            "slots",
            limits::SLOTS_MAX,
            "(call $send (i64.const 50) (i32.const 0) (i32.const 0) (i32.const 0x200000) N (i64.const 0))",
        ),
        ("slots", limits::SLOTS_MAX, "(call $exit (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0x200000) N)"),
        ("key", limits::KEY_BYTES_MAX, "(drop (call $vatstore_get (i32.const 0) N))"),
        ("key", limits::KEY_BYTES_MAX, "(call $vatstore_set (i32.const 0) N (i32.const 0) (i32.const 0))"),
        ("value", limits::VALUE_BYTES_MAX, "(call $vatstore_set (i32.const 0) (i32.const 1) (i32.const 0) N)"),
        (
            "answer",
            limits::SCAN_BYTES_MAX,
            "(drop (call $vatstore_scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) N))",
        ),
        ("references", limits::REFS_MAX, "(call $drop_imports (i32.const 0x200000) N)"),
    ];
    for (what, limit, call) in rows {
        let verdict =
            |n: u32| guest(&format!("{MANY} {}", call.replace('N', &format!("(i32.const {n})")))).pages(64).verdict();
        let legal = verdict(limit);
        // An exit says so, too.
        assert!(legal == "ok" || (call.contains("$exit") && legal.is_empty()), "{call}: {legal}");
        let fault = verdict(limit + 1);
        assert!(fault.ends_with(&format!("{what} of {}, the limit is {limit}", limit + 1)), "{call}: {fault}");
    }
    let fault = guest("(call $resolve (i32.const 0) (i32.const 65537))").pages(64).verdict();
    assert_eq!(fault, "illegal syscall resolve: resolutions of 65537, the limit is 65536");
}

#[test]
fn a_delivery_may_make_so_many_syscalls() {
    let body = |n: u32| {
        format!(
            "(loop $l (drop (call $vatstore_get (i32.const 0) (i32.const 1)))
             (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {n}))))"
        )
    };
    assert_eq!(guest(&body(limits::SYSCALLS_MAX)).verdict(), "ok");
    let fault = guest(&body(limits::SYSCALLS_MAX + 1)).verdict();
    assert_eq!(fault, "illegal syscall vatstoreGet: more than 65536 in a delivery");
}

#[test]
fn a_scan_frames_keys_and_values_in_byte_order_and_ends_at_a_whole_entry() {
    let set = |key: &str, value: &str| {
        let store = |at: u32, text: &str| {
            text.bytes()
                .enumerate()
                .map(|(i, it)| format!("(i32.store8 (i32.const {}) (i32.const {it}))", at as usize + i))
                .collect::<String>()
        };
        format!(
            "{}{} (call $vatstore_set (i32.const 600) (i32.const {}) (i32.const 700) (i32.const {}))",
            store(600, key),
            store(700, value),
            key.len(),
            value.len()
        )
    };
    let sets =
        [("kb", "2"), ("k", "0"), ("ka", "one"), ("kab", ""), ("l", "9")].map(|(key, value)| set(key, value)).concat();
    let scan = |after: &str, max: u32| {
        let body = format!(
            "{sets} {} (local.set $i (call $vatstore_scan (i32.const 64) (i32.const 1) (i32.const 600) (i32.const {}) (i32.const {max})))
             (call $result_read (i32.const 1024) (i32.const 0) (local.get $i))
             (call $vatstore_set (i32.const 64) (i32.const 3) (i32.const 1024) (local.get $i))",
            set(if after.is_empty() { "z" } else { after }, "x"),
            after.len()
        );
        let outcome = guest(&body).fields(DATA).run();
        assert_eq!(outcome.fault, None);
        let mut rest = &*outcome.stored("key").unwrap();
        let mut found = vec![];
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(8);
            let len = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()) as usize;
            let (key, tail) = tail.split_at(len(0));
            let (value, tail) = tail.split_at(len(4));
            found.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
            rest = tail;
        }
        found.join(" ")
    };
    assert_eq!(scan("", 1000), "k=0 ka=one kab= kb=2");
    assert_eq!(scan("", 10 + 13 + 11 + 11), "k=0 ka=one kab= kb=2");
    assert_eq!(scan("", 10 + 13 + 11 + 10), "k=0 ka=one kab=");
    assert_eq!(scan("", 9), "");
    assert_eq!(scan("ka", 1000), "kab= kb=2");
    assert_eq!(scan("l", 1000), "");
}

#[test]
fn initialize_may_compute_and_speak_to_itself_and_nothing_else() {
    let with = |body: &str| {
        guest("")
            .fields(&format!("(global $g (mut i32) (i32.const 0)) (func (export \"_initialize\") {body})"))
            .verdict()
    };
    assert_eq!(
        with(
            "(global.set $g (i32.const 1)) (i32.store (i32.const 0) (i32.const 7)) (drop (memory.grow (i32.const 1)))"
        ),
        "ok"
    );
    assert_eq!(with("(call $input_read (i32.const 0) (i32.const 0) (i32.const 0))"), "ok");
    assert_eq!(with("(call $console (i32.const 1) (i32.const 0) (i32.const 0))"), "ok");
    let start = |why: &str| format!("cannot start: {why}");
    for (call, kind) in [
        (
            "(call $send (i64.const 0x2000000000000000) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0))",
            "send",
        ),
        ("(call $subscribe (i64.const 0x6000000000000001))", "subscribe"),
        ("(call $resolve (i32.const 0) (i32.const 0))", "resolve"),
        ("(call $exit (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))", "exit"),
        ("(drop (call $vatstore_get (i32.const 0) (i32.const 0)))", "vatstoreGet"),
        ("(call $vatstore_set (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))", "vatstoreSet"),
        ("(call $drop_imports (i32.const 0) (i32.const 0))", "dropImports"),
    ] {
        assert_eq!(with(call), start(&format!("illegal syscall {kind}: made by _initialize")));
    }
    assert_eq!(
        with("(call $input_read (i32.const 0) (i32.const 0) (i32.const 1))"),
        start("illegal syscall input_read: 1 bytes at 0 of 0")
    );
    assert_eq!(with("(loop $l (br $l))"), start("out of fuel"));
    assert_eq!(with("unreachable"), start("trap: wasm trap: wasm `unreachable` instruction executed"));
    assert_eq!(with("(call $f)) (func $f (call $f)"), start("call stack exhausted"));
}

#[test]
fn how_a_vat_ends_is_told_apart() {
    let rows = [
        ("(loop $l (br $l))", "out of fuel"),
        ("unreachable", "trap: wasm trap: wasm `unreachable` instruction executed; in go"),
        ("(call $go (local.get $len))", "call stack exhausted"),
        ("(drop (i32.div_u (i32.const 1) (local.get $i)))", "trap: wasm trap: integer divide by zero; in go"),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", "trap: wasm trap: integer overflow; in go"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "trap: wasm trap: invalid conversion to integer; in go"),
        ("(drop (i32.load (i32.const -1)))", "trap: wasm trap: out of bounds memory access; in go"),
        (
            "(memory.fill (i32.const 1) (i32.const 0) (i32.const 0x20000))",
            "trap: wasm trap: out of bounds memory access; in go",
        ),
        ("(call_indirect (i32.const 9))", "trap: wasm trap: undefined element: out of bounds table access; in go"),
        ("(call_indirect (i32.const 0))", "trap: wasm trap: uninitialized element; in go"),
        ("(call_indirect (i32.const 1))", "trap: wasm trap: indirect call type mismatch; in go"),
        ("(call $subscribe (i64.const 50))", "illegal syscall subscribe: o-50 is not a promise"),
    ];
    for (body, reason) in rows {
        let verdict = guest(body).fuel(10_000_000).fields("(table 2 funcref) (elem (i32.const 1) $go)").verdict();
        assert_eq!(verdict, reason, "{body}");
    }
}

#[test]
fn a_guest_that_needs_more_memory_than_it_may_have_does_not_start() {
    assert_eq!(guest("").pages(4).memory_max(4 << 16).verdict(), "ok");
    assert_eq!(
        guest("").pages(4).memory_max((4 << 16) - 1).verdict(),
        "cannot start: it needs 262144 bytes of memory, its limit is 262143"
    );
}

#[test]
fn a_memory_grows_to_its_limit_and_no_further() {
    let grow = "(if (i32.ne (memory.grow (i32.const 1)) (i32.const 2)) (then unreachable))
         (if (i32.ne (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable))
         (if (i32.ne (memory.grow (i32.const 1)) (i32.const 3)) (then unreachable))
         (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
         (if (i32.ne (memory.grow (i32.const 0)) (i32.const 4)) (then unreachable))
         (i32.store (i32.const 0x3fffc) (i32.const 1))";
    let outcome = guest(grow).memory_max(4 << 16).run();
    assert_eq!(outcome.fault, None);
    assert_eq!(outcome.block.tables().tallies.get(&GUEST).unwrap().memory, 4 << 16);
    // Each page asked for has its price, granted or not.
    assert_eq!(guest("(drop (memory.grow (i32.const -1)))").verdict(), "out of fuel");
}

#[test]
fn what_a_message_costs_is_exact() {
    let bodies = [
        ("nothing", ""),
        (
            "a loop of 1000",
            "(loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))",
        ),
        ("input_read", "(call $input_read (i32.const 1024) (i32.const 0) (local.get $len))"),
        (
            "send",
            "(call $send (i64.const 50) (i32.const 80) (i32.const 14) (i32.const 136) (i32.const 1) (i64.const 0))",
        ),
        ("subscribe", "(call $subscribe (i64.const 0x400000000000003c))"),
        ("resolve", "(call $resolve (i32.const 192) (i32.const 1))"),
        ("vatstore_get", "(drop (call $vatstore_get (i32.const 64) (i32.const 3)))"),
        ("vatstore_next_key", "(drop (call $vatstore_next_key (i32.const 64) (i32.const 3)))"),
        ("vatstore_set", "(call $vatstore_set (i32.const 64) (i32.const 3) (i32.const 72) (i32.const 5))"),
        ("vatstore_delete", "(call $vatstore_delete (i32.const 64) (i32.const 3))"),
        (
            "vatstore_scan",
            "(drop (call $vatstore_scan (i32.const 64) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 100)))",
        ),
        ("drop_imports", "(call $drop_imports (i32.const 128) (i32.const 1))"),
        ("console", "(call $console (i32.const 1) (i32.const 96) (i32.const 7))"),
        ("memory.grow 1", "(drop (memory.grow (i32.const 1)))"),
        ("memory.fill 64 KiB", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))"),
    ];
    let table = || {
        let mut table = String::new();
        for (name, body) in bodies {
            let outcome = guest(body).fields(DATA).run();
            assert_eq!(outcome.fault, None, "{name}");
            writeln!(table, "{name:20}{:>8}", outcome.fuel).unwrap();
        }
        table
    };
    let first = table();
    expect![[r#"
        nothing                 6973
        a loop of 1000         13973
        input_read              7145
        send                   17604
        subscribe              10987
        resolve                25800
        vatstore_get           11006
        vatstore_next_key      11006
        vatstore_set           15086
        vatstore_delete        15024
        vatstore_scan          11009
        drop_imports           12988
        console                 8019
        memory.grow 1          37484
        memory.fill 64 KiB     72513
    "#]]
    .assert_eq(&first);
    assert_eq!(first, table());
}

/// The sandbox looks at the fuel at function entries, loops and calls of the host: what comes after the last of them is counted, and runs.
#[test]
fn a_delivery_succeeds_with_the_fuel_that_it_uses_and_not_with_less() {
    let body = "(call $vatstore_set (i32.const 64) (i32.const 3) (i32.const 72) (i32.const 5))
         (call $send (i64.const 50) (i32.const 80) (i32.const 14) (i32.const 136) (i32.const 1) (i64.const 0))";
    let with = |fuel| guest(body).fields(DATA).fuel(fuel).run();
    // What the message brings is paid for on top, and takes nothing from what the vat may use.
    let brought = guest("").fields(DATA).run().fuel - FUEL_OF_NOTHING;
    let fuel = with(1_000_000).fuel - brought;
    let exact = with(fuel);
    assert_eq!((exact.fault, exact.fuel), (None, fuel + brought));
    let least = (fuel - 100..=fuel).find(|it| with(*it).fault.is_none()).unwrap();
    assert!(least > fuel - 20, "{least} of {fuel}");
    for less in [least - 1, least - 100, 8_000, 1, 0] {
        assert_eq!(with(less).fault.as_deref(), Some("out of fuel"), "{less} of {fuel}");
    }
}

/// Fuel that a guest uses that looks at a message and does nothing.
const FUEL_OF_NOTHING: u64 = 137;

#[test]
fn a_syscall_that_cannot_be_paid_is_not_made() {
    // 8,000 and 8 for each byte, of which there are not enough left: the fault comes before the copy and before the key's limit.
    let fault = guest("(call $vatstore_set (i32.const 0) (i32.const 1025) (i32.const 0) (i32.const 9999))")
        .fuel(50_000)
        .verdict();
    assert_eq!(fault, "out of fuel");
}
