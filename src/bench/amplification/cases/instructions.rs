//! Cases without imports: the floor, and the dearest instructions that are known.

use super::Case;
use crate::{bench::guest::*, state::table::Options};

const GROUP: &str = "instructions";

/// Makes a case that runs the body 10,000 times in a loop for each time that its work is done.
fn looped(name: &'static str, about: &'static str, body: &str) -> Case {
    let mut guest = Guest { pages: 1_024, ..Guest::default() };
    guest.go = format!(
        "(local.set $f (f64.load (i32.const 0x3000)))
         (local.set $k (i32.mul (global.get $times) (i32.const 10000)))
         (loop $l {body} (br_if $l (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
         (f64.store (i32.const 0x3008) (local.get $f)) (i64.store (i32.const 0x3010) (local.get $x))"
    );
    // A denormal number.
    guest.setup = "(i64.store (i32.const 0x3000) (i64.const 0xfffffffffff))".to_owned();
    // Snapshots are measured elsewhere.
    let options = Options { snapshot_interval: None, ..Options::default() };
    Case::new(GROUP, name, about, guest).options(options)
}

/// Makes a case like [`looped`], all over a large memory whose pages were all written: unwritten ones would share one page of zeros.
fn looped_in_64_mib(name: &'static str, about: &'static str, body: &str) -> Case {
    let mut case = looped(name, about, body);
    case.guest.setup.push_str(DIRTY);
    case
}

/// Makes a case of a chain of operations, each on the result of the last, so that none can be done ahead.
fn chain(name: &'static str, about: &'static str, local: &str, pre: &str, post: &str) -> Case {
    const LENGTH: usize = 50;
    let chain = format!("{}(local.get {local}){}", pre.repeat(LENGTH), post.repeat(LENGTH));
    looped(name, about, &format!("(local.set {local} {chain})")).in_a_delivery(100)
}

pub(super) fn instructions() -> Vec<Case> {
    vec![
        looped("empty-loop", "the floor: a loop that does nothing", ""),
        chain("denormal-add", "f64.add of denormal numbers", "$f", "(f64.add (f64.const 1e-310) ", ")"),
        chain("denormal-multiply", "f64.mul of a denormal number", "$f", "(f64.mul (f64.const 0.9999999999) ", ")"),
        chain("denormal-divide", "f64.div of a denormal number", "$f", "(f64.div ", " (f64.const 1.0000000001))"),
        chain("denormal-root", "f64.sqrt, again and again, of a denormal number", "$f", "(f64.sqrt ", ")"),
        chain("round", "f64.nearest", "$f", "(f64.nearest ", ")"),
        chain("divide", "i64.div_u", "$x", "(i64.div_u ", " (i64.const 3))"),
        chain(
            "remainder",
            "i64.rem_s",
            "$x",
            "(i64.rem_s (i64.const -9223372036854775807) (i64.or (i64.const 3) ",
            "))",
        ),
        looped(
            "fill",
            "memory.fill of 64 KiB",
            "(memory.fill (i32.const 0x400000) (local.get $k) (i32.const 0x10000))",
        )
        .in_a_delivery(1),
        looped(
            "fill-nothing",
            "memory.fill of nothing",
            "(memory.fill (i32.const 0x400000) (local.get $k) (i32.const 0))",
        ),
        looped(
            "copy",
            "memory.copy of 64 KiB",
            "(memory.copy (i32.const 0x400000) (i32.const 0x500001) (i32.const 0x10000))",
        )
        .in_a_delivery(1),
        looped("grow-nothing", "memory.grow by nothing", "(drop (memory.grow (i32.const 0)))"),
        looped(
            "grow-past-the-limit",
            "memory.grow by a page more than there may be",
            "(drop (memory.grow (i32.const 1)))",
        )
        .in_a_delivery(50),
        looped("call", "a call of a function that does nothing", "(drop (call $o (local.get $k)))"),
        looped_in_64_mib(
            "scattered-loads",
            "loads that depend on each other, all over 64 MiB",
            "(local.set $x (i64.add
               (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407))
               (i64.load (i32.and (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const 33))) (i32.const 0x3fffff8)))))",
        )
        .known(MEMORY),
        chained_loads(),
    ]
}

/// The reason why loads that wait for memory are past the rule.
const MEMORY: &str = "it waits for memory: no price is right for a load that may take 1 ns or 200";

/// Makes the case of half a million places, each of which holds the address of the next: one circle through all of them, in an order that
/// a processor does not foresee.
fn chained_loads() -> Case {
    const PLACES: u32 = 1 << 19;
    let mut case = chain("chained-loads", "loads of where to load from next, all over 56 MiB", "$i", "(i32.load ", ")");
    let place = |at: &str| format!("(i32.add (i32.const 0x400000) (i32.mul {at} (i32.const 112)))");
    // Of full period: an odd step, and a factor that is one more than a multiple of four.
    let next = format!(
        "(i32.and (i32.add (i32.mul (local.get $j) (i32.const 1664525)) (i32.const 1013904223)) (i32.const {}))",
        PLACES - 1
    );
    let circle = format!("(i32.store {} {})", place("(local.get $j)"), place(&next));
    case.guest.setup.push_str(&repeat(PLACES, &circle));
    case.guest.go = format!("(local.set $i (i32.const 0x400000)) {}", case.guest.go);
    case.in_a_delivery(20).known(MEMORY)
}
