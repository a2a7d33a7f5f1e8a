//! The demonstration runs as it says.

use std::process::Command;

use expect_test::expect;

#[test]
fn four_replicas_panic_at_one_crank_and_go_on_to_one_hash_by_one_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_vathost")).args(["demo", "panic"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // Hashes change with the engine and the guests; that the replicas' are one, and the planned one, the demonstration checks.
    let is_hash = |it: &str| it.len() >= 8 && it.bytes().all(|it| it.is_ascii_hexdigit());
    let words = text.split_inclusive([' ', '\n', '…', ':']).map(|word| {
        let bare = word.trim_end_matches([' ', '\n', '…', ':']);
        if is_hash(bare) { format!("#{}", &word[bare.len()..]) } else { word.to_owned() }
    });
    let stable: String = words.collect();
    expect![[r##"
        4 replicas run the same blocks: an honest counter, and a vat that settles a promise it does not decide.
        The kernel has a bug: it does not check that at the boundary. (--plant resolve-non-decider@crank-0)

        replica 0: kernel panic in crank 3: delivery 1 to v2, syscall 1 resolve: invariant `promise.decider` failed: v2 settles kp43, which nobody decides
        replica 1: kernel panic in crank 3: delivery 1 to v2, syscall 1 resolve: invariant `promise.decider` failed: v2 settles kp43, which nobody decides
        replica 2: kernel panic in crank 3: delivery 1 to v2, syscall 1 resolve: invariant `promise.decider` failed: v2 settles kp43, which nobody decides
        replica 3: kernel panic in crank 3: delivery 1 to v2, syscall 1 resolve: invariant `promise.decider` failed: v2 settles kp43, which nobody decides

        All at the same crank; nothing of block 2 is committed, each stands at block 1 (state hash #…).

        Which delivery did it? (vathost slog last)

            kernel panic: crank 3 of block 2; block 1 is committed
              vat       v2 (forger)
              delivery  1, message
                        message ko21 forge("resolve-what-another-decides", <honest ko20>) result kp41

        Just before it, on a state that is only read. (vathost debug --at panic)

            (debug) delivery
            crank-3: delivery-1 to v2 forger, message forge
              kernel  message ko21 forge("resolve-what-another-decides", <honest ko20>) result kp41
              vat     message o+0 forge("resolve-what-another-decides", <honest o-50>) result p-60
              hash    #
            (debug) step
            crank-3, delivery-1 to v2, syscall 0: send
              vat     send o-50 forged() result p+1125899906842624
              kernel  send ko20 forged() result kp43
            (debug) step
            crank-3, delivery-1 to v2, syscall 1: resolve
              vat     resolve p+1125899906842624 fulfilled null
              kernel  resolve kp43 fulfilled null

        The ways out, each tried on the state, which is only read. (vathost directives plan)

            crank-3: skip v2 expect #
                → quiescent, block 3, state hash #…
            crank-3: terminate v2
                → quiescent, block 3, state hash #…
                  vat forger: running → terminated
            crank-3: pause v2
                → quiescent, block 3, state hash #…
                  vat forger: running → paused
            crank-3: upgrade v2 bundle #
                → quiescent, block 3, state hash #…
                  vat forger: running → running, incarnation 1
            block-2: replace-kernel 2
                → quiescent, block 4, state hash #…
                  vat forger: running → terminated

        The operators agree on `crank-3: terminate v2` (directives digest #…).
        replica 0: with the line: goes on, block 3, state hash #…
        replica 1: with the line: goes on, block 3, state hash #…
        replica 2: with `crank-3: skip v2` instead: block 3, state hash #…
                   compared with replica 0: parted in block-2, at crank-3: the marks after it differ, those after the crank before do not (vathost diff)
                   restored to where it stood before that
        replica 2: with the line: goes on, block 3, state hash #…
        replica 3: started without the line: panics again, alone, in crank 3
        replica 3: with the line: goes on, block 3, state hash #…

        One hash. The honest counter never noticed:
            honest.increment fulfilled #"+40"
            forger.forge rejected #{"#error":"vat terminated","name":"Error"}
            honest.increment fulfilled #"+42"
    "##]].assert_eq(&stable);
}
