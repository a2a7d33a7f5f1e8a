//! Guests of the benches that misbehave, written as WebAssembly text: one frame, with code of a case for each kind of delivery.
//!
//! ```text
//!   start                 its `startVat`
//!   setup                 `#["setup",[]]`, once: whatever is not to be measured
//!   go                    `#["go",[N]]`: N times the extreme; N is `$times`
//!   other                 every other message; its first two slots are `$held` and `$second`
//!   told                  a notify; the first two slots of its first resolution are `$held` and `$facet`
//!   garbage               a GC delivery: `dropExports`, `retireExports`, `retireImports`
//! ```
//!
//! Memory: the head of the delivery from 0, resolutions from 0x2000, scratch from 0x3000, texts from 0x4000, slots from 0x10000, a body
//! from 0x100000, large tables from 0x200000. A body that the setup wrote stays, so that `go` costs next to no fuel of its own.

use std::fmt::Write as _;

use crate::{
    model::limits::{BODY_BYTES_MAX, SLOTS_MAX},
    vat::module::{IMPORT_MODULE, IMPORTS},
};

/// The address of a message body in the guest's memory, as WAT.
pub(super) const BODY: &str = "(i32.const 0x100000)";
/// The length of the body that was written last.
pub(super) const LEN: &str = "(global.get $blen)";
/// The address of slots in the guest's memory, as WAT.
pub(super) const SLOTS: &str = "(i32.const 0x10000)";
/// A vat's own root.
pub(super) const ROOT: &str = "(i64.const 0x2000000000000000)";
/// The reference that the vat was given last.
pub(super) const HELD: &str = "(global.get $held)";
/// The second reference of the message that the vat was given last.
pub(super) const SECOND: &str = "(global.get $second)";
/// The admin facet of the vat that it created last.
pub(super) const FACET: &str = "(global.get $facet)";
/// A promise that was never named before.
pub(super) const FRESH_PROMISE: &str = "(call $p (call $fresh))";
/// No reference.
pub(super) const NONE: &str = "(i64.const 0)";
/// Nothing: a length, an address.
pub(super) const ZERO: &str = "(i32.const 0)";

/// Code that writes a word of each 4 KiB page from 2 MiB up to 62 MiB, another word each time.
pub(super) const DIRTY: &str = "(local.set $i (i32.const 0x200000))
     (global.set $count (i32.add (global.get $count) (i32.const 1)))
     (loop $dirty
       (i32.store (local.get $i) (i32.mul (i32.add (global.get $count) (local.get $i)) (i32.const 0x9e3779b1)))
       (br_if $dirty (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 65536000))))";

/// The largest number of slots that a body may have.
pub(super) const ALL_SLOTS: u32 = SLOTS_MAX;

const FRAME: &str = r#"
(global $times (mut i32) (i32.const 0))
(global $left (mut i32) (i32.const 0))
(global $next (mut i32) (i32.const 100))
(global $blen (mut i32) (i32.const 0))
(global $count (mut i32) (i32.const 0))
(global $held (mut i64) (i64.const 0))
(global $second (mut i64) (i64.const 0))
(global $facet (mut i64) (i64.const 0))
(func $p (param $i i32) (result i64) (i64.or (i64.const 0x6000000000000000) (i64.extend_i32_u (local.get $i))))
(func $o (param $i i32) (result i64) (i64.or (i64.const 0x2000000000000000) (i64.extend_i32_u (local.get $i))))
(func $fresh (result i32) (global.set $next (i32.add (global.get $next) (i32.const 1))) (global.get $next))
(func $slot (param $i i32) (param $v i64)
  (i64.store (i32.add (i32.const 0x10000) (i32.shl (local.get $i) (i32.const 3))) (local.get $v)))
;; So many slots: fresh objects.
(func $objects (param $n i32) (local $i i32)
  (loop $l
    (call $slot (local.get $i) (call $o (call $fresh)))
    (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))
;; So many slots: fresh promises.
(func $promises (param $n i32) (local $i i32)
  (loop $l
    (call $slot (local.get $i) (call $p (call $fresh)))
    (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))
;; One resolution, with the slots at their place.
(func $settle (param $p i64) (param $rejected i32) (param $body i32) (param $len i32) (param $nslots i32)
  (call $record (i32.const 0x2000) (local.get $p) (local.get $rejected) (local.get $body) (local.get $len) (local.get $nslots))
  (call $resolve (i32.const 0x2000) (i32.const 1)))
(func $record (param $at i32) (param $p i64) (param $rejected i32) (param $body i32) (param $len i32) (param $nslots i32)
  (i64.store (local.get $at) (local.get $p)) (i32.store offset=8 (local.get $at) (local.get $rejected))
  (i32.store offset=12 (local.get $at) (local.get $body)) (i32.store offset=16 (local.get $at) (local.get $len))
  (i32.store offset=20 (local.get $at) (i32.const 0x10000)) (i32.store offset=24 (local.get $at) (local.get $nslots))
  (i32.store offset=28 (local.get $at) (i32.const 0)))
;; The body: `pre`, n times `each`, `post`.
(func $build (param $pre i32) (param $prelen i32) (param $each i32) (param $eachlen i32) (param $n i32) (param $post i32) (param $postlen i32)
  (local $at i32)
  (local.set $at (i32.const 0x100000))
  (memory.copy (local.get $at) (local.get $pre) (local.get $prelen))
  (local.set $at (i32.add (local.get $at) (local.get $prelen)))
  (block $end (loop $l
    (br_if $end (i32.eqz (local.get $n)))
    (memory.copy (local.get $at) (local.get $each) (local.get $eachlen))
    (local.set $at (i32.add (local.get $at) (local.get $eachlen)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $l)))
  (memory.copy (local.get $at) (local.get $post) (local.get $postlen))
  (global.set $blen (i32.sub (i32.add (local.get $at) (local.get $postlen)) (i32.const 0x100000))))
;; What `go` says: digits behind `#["go",[`.
(func $parse (local $at i32) (local $digit i32)
  (global.set $times (i32.const 0))
  (local.set $at (i32.const 40))
  (block $end (loop $l
    (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
    (br_if $end (i32.gt_u (local.get $digit) (i32.const 9)))
    (global.set $times (i32.add (i32.mul (global.get $times) (i32.const 10)) (local.get $digit)))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $l))))
(func $message (param $len i32) (local $nslots i32) (local $what i32)
  (local.set $nslots (i32.load (i32.const 28)))
  (if (i32.and (i32.eqz (local.get $nslots)) (i32.ge_u (i32.load (i32.const 24)) (i32.const 8))) (then
    (local.set $what (i32.load8_u (i32.const 35)))
    (if (i32.eq (local.get $what) (i32.const 115)) (then (global.set $up (i32.const 1)) (call $setup (local.get $len)) (return)))
    (if (i32.eq (local.get $what) (i32.const 103)) (then (call $parse) (call $go (local.get $len)) (return)))))
  (if (i32.eqz (global.get $up)) (then (return)))
  (if (local.get $nslots) (then (global.set $held (i64.load (i32.const 32)))))
  (if (i32.gt_u (local.get $nslots) (i32.const 1)) (then (global.set $second (i64.load (i32.const 40)))))
  (call $other (local.get $len)))
(func (export "vat_deliver") (param $len i32) (local $kind i32)
  (call $input_read (i32.const 0) (i32.const 0)
    (select (local.get $len) (i32.const 4096) (i32.lt_u (local.get $len) (i32.const 4096))))
  (local.set $kind (i32.load (i32.const 0)))
  (if (i32.eq (local.get $kind) (i32.const 1)) (then (call $message (local.get $len))))
  (if (i32.eq (local.get $kind) (i32.const 2)) (then
    (if (i32.load (i32.const 28)) (then (global.set $held (i64.load (i32.const 32)))))
    (if (i32.gt_u (i32.load (i32.const 28)) (i32.const 1)) (then (global.set $facet (i64.load (i32.const 40)))))
    (call $told (local.get $len))))
  (if (i32.and (i32.ge_u (local.get $kind) (i32.const 3)) (i32.le_u (local.get $kind) (i32.const 5)))
    (then (call $garbage (local.get $len))))
  (if (i32.eq (local.get $kind) (i32.const 6)) (then (call $start (local.get $len)))))
"#;

/// A guest under construction.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    /// Code for its start.
    pub(super) start: String,
    /// Code for the message `setup`.
    pub(super) setup: String,
    /// Code for the message `go`.
    pub(super) go: String,
    /// Code for any other message.
    pub(super) other: String,
    /// Code for a notify.
    pub(super) told: String,
    /// Code for a GC delivery.
    pub(super) garbage: String,
    /// Further fields of the module: functions, tables and the like.
    pub(super) fields: String,
    /// Pages of memory at the beginning.
    pub(super) pages: u32,
    /// Whether other messages are handled before there was a `setup`.
    pub(super) awake: bool,
    pub(super) texts: String,
    /// The address of the next text: below 0x10000, or from 0x200000 on.
    pub(super) free: usize,
}

impl Default for Guest {
    fn default() -> Guest {
        Guest {
            start: String::new(),
            setup: String::new(),
            go: String::new(),
            other: String::new(),
            told: String::new(),
            garbage: String::new(),
            fields: String::new(),
            pages: 64,
            awake: false,
            texts: String::new(),
            free: 0x4000,
        }
    }
}

impl Guest {
    /// Puts a text into the guest's memory, and returns its address and its length.
    pub(super) fn text(&mut self, text: &str) -> (usize, usize) {
        let at = self.free;
        self.free += text.len();
        let _ = write!(self.texts, "(data (i32.const {at}) \"");
        for byte in text.bytes() {
            let _ = match byte {
                b'"' | b'\\' | 0..0x20 | 0x7f.. => write!(self.texts, "\\{byte:02x}"),
                _ => write!(self.texts, "{}", char::from(byte)),
            };
        }
        self.texts.push_str("\")\n");
        (at, text.len())
    }

    /// Returns code that writes a body: `pre`, `each` this many times, `post`.
    pub(super) fn build(&mut self, pre: &str, each: &str, times: usize, post: &str) -> String {
        let mut args = String::new();
        for (text, count) in [(pre, None), (each, Some(times)), (post, None)] {
            let (at, len) = self.text(text);
            let _ = write!(args, " (i32.const {at}) (i32.const {len})");
            if let Some(count) = count {
                let _ = write!(args, " (i32.const {count})");
            }
        }
        format!("(call $build{args})")
    }

    /// Returns code that writes a body of the greatest length.
    pub(super) fn fill(&mut self, pre: &str, each: &str, post: &str) -> String {
        self.fill_to(BODY_BYTES_MAX as usize, pre, each, post)
    }

    /// Returns code that writes a body of at most so many bytes.
    pub(super) fn fill_to(&mut self, max: usize, pre: &str, each: &str, post: &str) -> String {
        self.build(pre, each, max.saturating_sub(pre.len() + post.len()) / each.len().max(1), post)
    }

    /// Returns code that writes a body which is one text, of the greatest length.
    pub(super) fn long_text(&mut self) -> String {
        self.fill("#\"", "aaaaaaaa", "\"")
    }

    /// Returns code that writes a body of empty lists, of the greatest length.
    pub(super) fn lists(&mut self) -> String {
        self.fill("#[", "[],", "[]]")
    }

    /// Returns code that writes a short body.
    pub(super) fn body(&mut self, body: &str) -> String {
        self.build(body, "", 0, "")
    }

    /// Returns code that sends a short body.
    pub(super) fn say(&mut self, target: &str, body: &str, nslots: u32, result: &str) -> String {
        let (at, len) = self.text(body);
        send(target, &format!("(i32.const {at})"), &format!("(i32.const {len})"), nslots, result)
    }

    /// Returns the module as WebAssembly text.
    pub(super) fn wat(&self) -> String {
        let mut text = "(module\n".to_owned();
        for it in IMPORTS {
            let list = |what: &str, types: &[crate::vat::module::Num]| match types {
                [] => String::new(),
                _ => format!(" ({what}{})", types.iter().map(|it| format!(" {it}")).collect::<String>()),
            };
            let (name, params, results) = (it.name, list("param", it.params), list("result", it.results));
            let _ = writeln!(text, "(import \"{IMPORT_MODULE}\" \"{name}\" (func ${name}{params}{results}))");
        }
        let _ = writeln!(text, "(memory (export \"memory\") {})", self.pages);
        let _ = writeln!(text, "(global $up (mut i32) (i32.const {}))", i32::from(self.awake));
        text.push_str(FRAME);
        text.push_str(&self.texts);
        text.push_str(&self.fields);
        let parts = [
            ("start", &self.start),
            ("setup", &self.setup),
            ("go", &self.go),
            ("other", &self.other),
            ("told", &self.told),
            ("garbage", &self.garbage),
        ];
        for (name, body) in parts {
            let _ = writeln!(
                text,
                "(func ${name} (param $len i32) (local $i i32) (local $j i32) (local $k i32) (local $x i64) (local $f f64) {body})"
            );
        }
        text.push(')');
        text
    }
}

/// Returns code for the setup, after which the vat holds a promise of its own that is settled with the body, as it would hold another
/// vat's. The code `body` may use any slots.
pub(super) fn hold_settled(rejected: bool, body: &str, nslots: u32) -> String {
    let send = send(ROOT, ZERO, ZERO, 1, NONE);
    format!(
        "(call $slot {ZERO} (call $p (i32.const 1))) {send} {body}
         (call $settle (call $p (i32.const 1)) (i32.const {}) {BODY} {LEN} (i32.const {nslots}))",
        i32::from(rejected)
    )
}

/// Returns WAT that repeats the body as often as `go` was told, with `$i` as the counter.
pub(super) fn times(body: &str) -> String {
    counted("i", "(global.get $times)", body)
}

/// Returns WAT that repeats the body this many times, with `$j` as the counter.
pub(super) fn repeat(times: u32, body: &str) -> String {
    counted("j", &format!("(i32.const {times})"), body)
}

fn counted(name: &str, times: &str, body: &str) -> String {
    format!(
        "(local.set ${name} (i32.const 0)) (block $end{name} (loop $again{name}
           (br_if $end{name} (i32.ge_u (local.get ${name}) {times}))
           {body}
           (local.set ${name} (i32.add (local.get ${name}) (i32.const 1))) (br $again{name})))"
    )
}

/// Returns code that sends the body at this address, of this length, with so many of the slots.
pub(super) fn send(target: &str, body: &str, len: &str, nslots: u32, result: &str) -> String {
    format!("(call $send {target} {body} {len} {SLOTS} (i32.const {nslots}) {result})")
}

/// Returns code that sends the body that was written last.
pub(super) fn send_body(target: &str, nslots: u32, result: &str) -> String {
    send(target, BODY, LEN, nslots, result)
}

/// Returns code that sends an empty body.
pub(super) fn send_empty(target: &str, result: &str) -> String {
    send(target, ZERO, ZERO, 0, result)
}

/// Returns code that runs only if a condition holds.
pub(super) fn when(condition: &str, body: &str) -> String {
    format!("(if {condition} (then {body}))")
}
