//! The commands that look, and those that move, between two cranks and within one.

use expect_test::expect;
use serde_json::json;

use super::{answers, debug, hash, panicked, untouched};

#[test]
fn every_view_has_an_answer_for_people() {
    let place = untouched();
    let script = "vats\nvat\nqueue\nclist\npromise\npromise kp41\nobject ko20\nkv\nmem 0x100000 20\ndirectives\nbreak\nwhy ko22\nhelp mem";
    debug(&place, "--at crank-12", script).ok().prints_but_for_fuel(expect![[r#"
        before crank-12: delivery-4 to v1 market, notify
          block 3, 2 of its cranks ran; the state is committed up to crank-0
          state hash    <hash>
          message hash  <hash>
        (crank-12) vats
        vat  name    deliveries  syscalls       fuel  memory  c-list  keys  queued  status
        v1   market           4         6  <fuel>   1 MiB       9     1       1  running
        v2   north            3        20  <fuel>   1 MiB       3     6       0  running
        v3   south            4        16  <fuel>   1 MiB       2     5       0  running
        v4   west             1         8  <fuel>   1 MiB       1     4       0  running
        (crank-12) vat
        vat                  v1
        name                 market
        status               running
        incarnation          0, since delivery-0
        bundle               <hash> (68 KiB)
        deliveries           4, 4 of them in the transcript
        syscalls             6
        fuel                 <fuel>
        memory               1 MiB
        c-list               9 (exports 1, imports 5, promises 3)
        promises it decides  2
        next ids             o-55, p-62
        vatstore keys        1
        since the last reap  deliveries 3, GC references 0
        awaited by           nobody
        queued               1
        option               critical = false
        option               fuel_per_delivery = <fuel>
        option               memory_max = <fuel>
        option               on_fault = "terminate"
        option               pipelining = false
        option               queued_bytes_max = <fuel>
        option               queued_max = 65536
        option               reap_gc_krefs = 20
        option               reap_interval = 1000
        option               refs_max = <fuel>
        option               snapshot_interval = 200
        option               store_max = <fuel>
        option               vats_max = 65536
        option               weight = 1
        (crank-12) queue
        queue  kind    made by   target  goes to    method  result
        run    notify  v3 south  kp46    v1 market  -       -
        (crank-12) clist
        vat's  kernel's  kind     reachable  about
        o-50   ko21      import   yes        of v2 north
        o-51   ko22      import   yes        of v3 south
        o-52   ko23      import   yes        of v4 west
        o-53   ko24      import   yes        of kernel: vatAdmin
        o-54   ko26      import   yes        of v2 north
        o+0    ko20      export   yes        of v1 market
        p-60   kp40      promise  yes        decided by v1 market
        p-61   kp41      promise  yes        decided by v1 market
        p+2    kp46      promise  yes        fulfilled
        (crank-12) promise
        promise  state       decider    subscribers  refs  queued  settled with
        kp40     unresolved  v1 market  -               2       0
        kp41     unresolved  v1 market  -               2       0
        kp42     fulfilled   -          -               1       0  <Purse ko25>
        kp43     rejected    -          -               1       0  Error: makePurse: argument 1: expected an integer, found a string
        kp44     rejected    -          -               1       0  Error: target has no method robBank
        kp46     fulfilled   -          -               2       0  <Purse ko27>
        (crank-12) promise kp41
        promise  state       decider    subscribers  refs  queued  settled with
        kp41     unresolved  v1 market  -               2       0
        (crank-12) object ko20
        object  owner      export  reachable  recognizable  pinned  importers
        ko20    v1 market  o+0             1             1  yes     -
        (crank-12) kv
        key              bytes  value
        vat.incarnation      1  1
        (crank-12) mem 0x100000 20
        <fuel>  5b 28 61 b1 20 eb b9 17 2e 10 ca bf 30 f6 b4 2d  [(a. .......0..-
        <fuel>  08 00 00 00                                      ....
        (crank-12) directives
        none is in force
        (crank-12) break
        there are no breakpoints
        (crank-12) why ko22
        ko22
          crank-4: it waited in the queue: send
          crank-4: v1 gets to know it, as o-51
          crank-4, delivery-1 to v1: delivered: message
          crank-7: it waited in the queue: send
          crank-7, delivery-1 to v3: delivered: message
          crank-8: it waited in the queue: send
          … and 4 times more
          v1 market knows it as o-51: since delivery-1, message bootstrap
          v3 south knows it as o+0: since delivery-1, message makePurse
          object  owner     export  reachable  recognizable  pinned  importers
          ko22    v3 south  o+0             2             2  yes     v1 o-51
          looked at: this session, the transcripts of those who know it
        (crank-12) help mem
        usage: mem [VAT] ADDR LEN
          bytes of a vat's memory
    "#]]);
}

#[test]
fn help_knows_every_command() {
    let place = untouched();
    debug(&place, "", "help").ok().prints(expect![[r#"
        before crank-0: delivery-0 to v1 market, startVat
          block 1, 0 of its cranks ran; the state is committed up to crank-0
          state hash    <hash>
          message hash  <hash>
        (crank-0) help
        command                              short  what it does
        where                                w      the crank ahead, the block, the hashes
        delivery                             d      what is delivered, in the kernel's references and the vat's
        vats                                        all vats
        vat [VAT]                                   all about a vat
        queue                                       what waits, in the order in which it is taken
        clist [VAT]                                 what a vat knows, and under which names
        promise [kp41]                       p      one promise, or all
        object [ko20]                        o      one object, or all
        kv [VAT [PREFIX]]                           the vatstore of a vat
        mem [VAT] ADDR LEN                          bytes of a vat's memory
        directives                                  the directives in force, and what was tried
        why kp41|ko20                               how it came to be, who decides, who waits
        next [N]                             n      runs a crank, or N
        step                                 s      runs to the next syscall
        continue                             c      runs to a breakpoint, a panic, or the end
        until PLACE                          u      runs to just before `crank-12`, `v3/delivery-5`, `block-7` or a `panic`
        back [N]                             b      a crank back, or N, by running again from the commit
        break [PLACE|syscall KIND|VAT|kp41]         stops there from now on; alone: lists the places
        unbreak N                                   forgets a breakpoint, by its number
        skip                                        tries: the vat is not given the delivery
        pause [VAT] [reason WORDS]                  tries: the vat gets nothing from this crank on
        resume VAT                                  tries: a paused vat gets what it was kept from
        terminate [VAT] [reason WORDS]              tries: the vat dies before this crank
        upgrade [VAT] FILE                          tries: the vat runs this module from this crank on
        retry                                r      runs the last crank again, with the directives as they are now
        add LINE                                    one more directive, to be obeyed when its place comes
        forget                                      forgets all that was tried
        write-directive FILE                        writes the directives in force, and what was tried, into a file
        help [COMMAND]                       ?      this, or more on one command
        quit                                 q      ends the session
    "#]]);
}

#[test]
fn a_delivery_is_stepped_through_with_views_of_its_open_crank() {
    let place = untouched();
    let at = answers(&place, "--at crank-4", "step\ndelivery\nstep\nwhere\nnext");
    assert_eq!(at[1]["reply"]["stop"], "syscall");
    assert_eq!(at[1]["reply"]["syscall"], 0);
    assert_eq!(at[1]["place"], "crank-4 syscall 0");
    assert_eq!(
        at[2]["reply"]["syscall"],
        at[1]["reply"]
            .as_object()
            .map(|it| {
                let mut syscall = it.clone();
                syscall.remove("stop");
                syscall.remove("stateHash");
                json!(syscall)
            })
            .unwrap()
    );
    assert_eq!(at[3]["reply"]["syscall"], 1);
    assert_eq!(at[4]["reply"], at[3]["reply"]);
    assert_eq!(at[5]["place"], "crank-5");
    // However it was come to, the crank is the same.
    assert_eq!(hash(&at[5]), hash(&answers(&place, "--at crank-5", "")[0]));
}

#[test]
fn the_kernels_syscall_and_the_vats_are_the_recorded_ones() {
    let place = untouched();
    place.vathost(&format!("{} --slog @slog", super::BANK)).ok();
    let slog = std::fs::read_to_string(place.path("slog")).unwrap();
    let records = slog.lines().map(|it| serde_json::from_str::<serde_json::Value>(it).unwrap());
    let recorded: Vec<_> = records
        .filter(|it| it["type"] == "syscall")
        .map(|it| (it["crankNum"].clone(), it["vsc"].clone(), it["ksc"].clone()))
        .collect();
    let script = "step\n".repeat(recorded.len() + 20);
    let stepped: Vec<_> = answers(&place, "", &script)
        .into_iter()
        .map(|it| it["reply"].clone())
        .filter(|it| it["stop"] == "syscall")
        .map(|it| (it["crank"].clone(), it["vsc"].clone(), it["ksc"].clone()))
        .collect();
    assert!(stepped.len() > 30, "{}", stepped.len());
    assert_eq!(stepped, recorded[..stepped.len()]);
}

#[test]
fn from_within_a_delivery_one_goes_on_back_or_elsewhere() {
    let place = untouched();
    let straight = answers(&place, "", "next 5\ncontinue");
    let (five, end) = (hash(&straight[1]), hash(&straight[2]));
    let at = |script: &str| answers(&place, "--at crank-4", script).pop().unwrap();
    assert_eq!(hash(&at("step\nnext")), five);
    assert_eq!(hash(&at("step\nstep\nuntil crank-6\nback")), five);
    assert_eq!(hash(&at("step\ncontinue")), end);
    assert_eq!(at("step\nback")["place"], "crank-4");
    assert_eq!(at("step\nback 2")["place"], "crank-3");
    assert_eq!(hash(&at("step\nback\nnext")), five);
    assert_eq!(at("step\nnext 3")["place"], "crank-7");
    assert_eq!(at("step\nretry")["place"], "crank-5");
    assert_eq!(hash(&at("step\nskip\nback\nforget\nnext")), five);
    assert_eq!(at("step\nbreak syscall resolve")["place"], "crank-4");
    // The session ends within the delivery.
    debug(&place, "--at crank-7", "step").ok();
    debug(&place, "--at crank-7", "step\nquit").ok();
}

#[test]
fn memory_is_that_of_the_moment() {
    let place = untouched();
    let bytes = |script: &str| {
        let mut all = answers(&place, "--at crank-7", script);
        all.pop().unwrap()["reply"]["bytes"].as_str().unwrap().to_owned()
    };
    let whole = "mem 0x0 0x120000";
    let (before, within, after) =
        (bytes(whole), bytes(&format!("step\n{whole}")), bytes("next\nback\nmem 0x0 0x120000"));
    assert_ne!(before, within, "the guest runs");
    assert_eq!(before, after, "the crank was undone");
    debug(&place, "--at crank-7", "mem 0xffffff00 16").code(2).says("its memory ends at");
    debug(&place, "--at crank-7", "step\nmem v1 0 16").code(2).says("only");
}

#[test]
fn breakpoints_of_every_kind_stop_before_what_they_name() {
    let place = untouched();
    let stop = |script: &str| {
        let last = answers(&place, "", script).pop().unwrap();
        (last["place"].as_str().unwrap().to_owned(), last["reply"]["why"].as_str().unwrap_or_default().to_owned())
    };
    let why = |number: u32, text: &str| format!("breakpoint {number}: {text}");
    assert_eq!(stop("break crank-6\ncontinue"), ("crank-6".into(), why(1, "crank-6")));
    assert_eq!(stop("break block-2\ncontinue"), ("crank-5".into(), why(1, "block-2")));
    let (place_of_delivery, _) = stop("break v2/delivery-3\ncontinue");
    assert_eq!(stop("until v2/delivery-3").0, place_of_delivery);
    assert_eq!(stop("next 4\nbreak v1\ncontinue").1, why(1, "every delivery to v1"));
    let (at, _) = stop("break syscall resolve\ncontinue");
    assert!(at.contains(" syscall "), "{at}");
    let (at, _) = stop("break kp45\ncontinue");
    assert_ne!(at, "end");
    assert_eq!(stop("break crank-6\nunbreak 1\ncontinue").0, "end");
    assert_eq!(stop("break crank-1000\ncontinue").0, "end");
    debug(&place, "", "unbreak 3").code(2).says("there is no breakpoint 3");
    place.write("d", "crank-9: break");
    let stopped = answers(&place, "--directives @d", "continue").pop().unwrap();
    assert_eq!((&stopped["place"], &stopped["reply"]["why"]), (&json!("crank-9"), &json!("`crank-9: break`")));
}

#[test]
fn a_panic_is_a_stop_and_not_the_end() {
    let place = panicked();
    let at = answers(&place, "--at panic", "next\nnext\nretry\ncontinue\nback\ncontinue\nskip\ncontinue");
    let stops: Vec<_> = at.iter().map(|it| it["reply"]["stop"].as_str().unwrap_or_default()).collect();
    assert_eq!(stops, ["", "panic", "panic", "panic", "panic", "back", "panic", "crank", "end"]);
    assert_eq!(at[1]["reply"]["halt"]["invariant"], "promise.decider");
    let hashes: Vec<_> = [0, 1, 2, 3, 4, 6].iter().map(|it| hash(&at[*it])).collect();
    assert!(hashes.iter().all(|it| *it == hashes[0]), "{hashes:?}");
}

#[test]
fn a_place_behind_a_panic_is_not_come_to() {
    let place = panicked();
    let at = answers(&place, "--at crank-5", "where");
    assert_eq!((&at[0]["place"], &at[0]["reply"]["stop"]), (&json!("crank-3"), &json!("panic")));
}

#[test]
fn why_takes_what_a_recording_knows() {
    let place = untouched();
    place.vathost(&format!("{} --slog @slog --state @done", super::BANK)).ok();
    let told = debug(&place, "--slog @slog", "why kp45").ok().stdout;
    assert!(told.contains("syscall") && told.contains("looked at: this session, slog"), "{told}");
    debug(&place, "", "why kp45").code(2).says("--slog FILE");
}
