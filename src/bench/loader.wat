;; The load of the benchmarks: a guest that does next to nothing, so that what is measured is the kernel.
;;
;; Its parameters are a letter and a number. On the way in a message is read to address 0:
;;   0 kind, 8 target, 16 result, 24 length of the body, 28 count of slots, 32 slots
;;
;;   p N  balls: N messages fly between two vats for ever
;;   s N  the same, with 4 writes and 4 reads of the vatstore at each
;;   r N  the same, with 100 reads
;;   c N  calls: N answers are awaited, and asked for again
;;   f _  fan: one vat sends to all others, a hundred at a time
;;   w N  work: the same, and each of the others takes N steps of a loop
;;   g N  garbage: each message brings an object, which is dropped and retired
;;   o N  N objects are given to the other vat, a thousand at a time; then one ball
;;   q N  N promises, likewise
(module
  (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
  (import "vat1" "send" (func $send (param i64 i32 i32 i32 i32 i64)))
  (import "vat1" "subscribe" (func $subscribe (param i64)))
  (import "vat1" "resolve" (func $resolve (param i32 i32)))
  (import "vat1" "vatstore_get" (func $get (param i32 i32) (result i32)))
  (import "vat1" "vatstore_set" (func $set (param i32 i32 i32 i32)))
  (import "vat1" "drop_imports" (func $drop_imports (param i32 i32)))
  (import "vat1" "retire_imports" (func $retire_imports (param i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 0x1f000) "#[\"ball\",[\"0123456789abcdef0123456789abcdef0123456789abcdef0123\"]]")
  (data (i32.const 0x1f080) "#\"done\"")
  (global $mode (mut i32) (i32.const 0))
  (global $peer (mut i64) (i64.const 0))
  (global $peers (mut i64) (i64.const 0))
  (global $left (mut i32) (i32.const 0))
  (global $next (mut i64) (i64.const 0))

  ;; Sends the ball, with this many slots of those at 0x1c000.
  (func $throw (param $to i64) (param $slots i32)
    (call $send (local.get $to) (i32.const 0x1f000) (i32.const 64) (i32.const 0x1c000) (local.get $slots) (i64.const 0)))

  ;; One call whose answer is awaited.
  (func $ask (local $promise i64)
    (global.set $next (i64.add (global.get $next) (i64.const 1)))
    (local.set $promise (i64.or (i64.const 0x6000000000000000) (global.get $next)))
    (call $send (global.get $peer) (i32.const 0x1f000) (i32.const 64) (i32.const 0) (i32.const 0) (local.get $promise))
    (call $subscribe (local.get $promise)))

  (func $answer (param $promise i64)
    (i64.store (i32.const 0x1d000) (local.get $promise))
    (i32.store (i32.const 0x1d00c) (i32.const 0x1f080))
    (i32.store (i32.const 0x1d010) (i32.const 7))
    (call $resolve (i32.const 0x1d000) (i32.const 1)))

  (func $key (param $number i64)
    (i64.store (i32.const 0x1e000) (i64.and (local.get $number) (i64.const 1023))))

  (func $store (local $i i32)
    (loop $again
      (global.set $next (i64.add (global.get $next) (i64.const 1)))
      (call $key (global.get $next))
      (i64.store (i32.const 0x1e010) (global.get $next))
      (call $set (i32.const 0x1e000) (i32.const 8) (i32.const 0x1e010) (i32.const 32))
      (call $key (i64.sub (global.get $next) (i64.const 8)))
      (drop (call $get (i32.const 0x1e000) (i32.const 8)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 4)))))

  (func $read (local $i i32)
    (loop $again
      (call $key (i64.extend_i32_u (local.get $i)))
      (drop (call $get (i32.const 0x1e000) (i32.const 8)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 100)))))

  ;; Writes what `read` reads.
  (func $write (local $i i32)
    (loop $again
      (call $key (i64.extend_i32_u (local.get $i)))
      (call $set (i32.const 0x1e000) (i32.const 8) (i32.const 0x1e010) (i32.const 32))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 100)))))

  ;; To the next hundred of the others, and to itself.
  (func $fan (local $i i32) (local $few i64)
    (loop $again
      (call $throw (i64.add (global.get $peer) (global.get $next)) (i32.const 0))
      (global.set $next (i64.rem_u (i64.add (global.get $next) (i64.const 1)) (global.get $peers)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 100))))
    (call $throw (i64.const 0x2000000000000000) (i32.const 0)))

  ;; Takes so many steps, each of which waits for the one before.
  (func $work (param $steps i32) (local $x i64)
    (local.set $x (i64.load (i32.const 0x1e000)))
    (loop $again
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1)))
      (br_if $again (local.tee $steps (i32.sub (local.get $steps) (i32.const 1)))))
    (i64.store (i32.const 0x1e000) (local.get $x)))

  ;; References of its own from here on, all with these high bits.
  (func $give (param $high i64) (param $count i32) (local $i i32)
    (loop $again
      (global.set $next (i64.add (global.get $next) (i64.const 1)))
      (i64.store
        (i32.add (i32.const 0x1c000) (i32.shl (local.get $i) (i32.const 3)))
        (i64.or (local.get $high) (global.get $next)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (local.get $count))))
    (call $throw (global.get $peer) (local.get $count)))

  ;; The next thousand; after the last of them the ball.
  (func $hand_over (param $high i64) (local $count i32)
    (local.set $count
      (select (i32.const 1000) (global.get $left) (i32.gt_u (global.get $left) (i32.const 1000))))
    (global.set $left (i32.sub (global.get $left) (local.get $count)))
    (call $give (local.get $high) (local.get $count))
    (if (global.get $left)
      (then (call $throw (i64.const 0x2000000000000000) (i32.const 0)))
      (else (call $throw (global.get $peer) (i32.const 0)))))

  ;; More balls into the air, as many as a delivery may send.
  (func $fill (local $i i32)
    (loop $again
      (if (i32.and (global.get $left) (i32.const -1))
        (then
          (if (i32.eq (global.get $mode) (i32.const 99))
            (then (call $ask))
            (else (call $throw (global.get $peer) (i32.const 0))))
          (global.set $left (i32.sub (global.get $left) (i32.const 1)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $i) (i32.const 10000)))))))

  (func $start (local $at i32) (local $end i32)
    (local.set $at (i32.const 17))
    (local.set $end (i32.add (i32.const 16) (i32.load (i32.const 8))))
    (global.set $mode (i32.load8_u (i32.const 16)))
    (loop $again
      (if (i32.lt_u (local.get $at) (local.get $end))
        (then
          (global.set $left
            (i32.add
              (i32.mul (global.get $left) (i32.const 10))
              (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $again)))))

  ;; The roots are its own, those of the others, and the vat admin's.
  (func $bootstrap (param $slots i32)
    (global.set $peer (i64.load (i32.const 40)))
    (global.set $peers (i64.extend_i32_u (i32.sub (local.get $slots) (i32.const 2))))
    (i64.store (i32.const 0x1c000) (i64.const 0x2000000000000000))
    (call $throw (global.get $peer) (i32.const 1)))

  ;; What a message is answered with, by the mode.
  (func $on (param $slots i32)
    (local $mode i32)
    (local.set $mode (global.get $mode))
    (if (i32.eq (local.get $mode) (i32.const 102)) ;; f
      (then
        (if (i64.ne (global.get $peers) (i64.const 0)) (then (call $fan)))
        (return)))
    (if (i32.eq (local.get $mode) (i32.const 119)) ;; w
      (then
        (if (i64.ne (global.get $peers) (i64.const 0)) (then (call $fan)))
        (return)))
    (if (i32.eq (local.get $mode) (i32.const 103)) ;; g
      (then
        (if (i64.ne (global.get $peers) (i64.const 0)) (then (call $give (i64.const 0x2000000000000000) (i32.const 1)) (return)))
        (call $drop_imports (i32.const 32) (i32.const 1))
        (call $retire_imports (i32.const 32) (i32.const 1))
        (call $throw (global.get $peer) (i32.const 0))
        (return)))
    (if (i32.eqz (i64.eqz (global.get $peers)))
      (then
        (if (i32.eq (local.get $mode) (i32.const 111)) ;; o
          (then (if (global.get $left) (then (call $hand_over (i64.const 0x2000000000000000)) (return)))))
        (if (i32.eq (local.get $mode) (i32.const 113)) ;; q
          (then (if (global.get $left) (then (call $hand_over (i64.const 0x6000000000000000)) (return)))))
        (if (global.get $left) (then (call $fill)))))
    (if (local.get $slots) (then (return)))
    (if (i32.eq (local.get $mode) (i32.const 115)) (then (call $store))) ;; s
    (if (i32.eq (local.get $mode) (i32.const 114)) (then (call $read))) ;; r
    (call $throw (global.get $peer) (i32.const 0)))

  (func (export "vat_deliver") (param $len i32)
    (local $kind i32)
    (local $slots i32)
    (local.set $len
      (select (local.get $len) (i32.const 0x18000) (i32.lt_u (local.get $len) (i32.const 0x18000))))
    (call $input_read (i32.const 0) (i32.const 0) (local.get $len))
    (local.set $kind (i32.load (i32.const 0)))
    (if (i32.eq (local.get $kind) (i32.const 6)) (then (call $start) (if (i32.eq (global.get $mode) (i32.const 114)) (then (call $write))) (return)))
    (if (i32.eq (local.get $kind) (i32.const 2)) (then (call $ask) (return)))
    (if (i32.ne (local.get $kind) (i32.const 1)) (then (return)))
    (local.set $slots (i32.load (i32.const 28)))
    (if (i64.ne (i64.load (i32.const 16)) (i64.const 0))
      (then
        (if (i32.eqz (local.get $slots))
          (then (call $answer (i64.load (i32.const 16))) (return)))
        (call $bootstrap (local.get $slots))
        (if (i32.or
              (i32.or (i32.eq (global.get $mode) (i32.const 102)) (i32.eq (global.get $mode) (i32.const 103)))
              (i32.or
                (i32.eq (global.get $mode) (i32.const 119))
                (i32.or (i32.eq (global.get $mode) (i32.const 111)) (i32.eq (global.get $mode) (i32.const 113)))))
          (then (call $on (i32.const 0)))
          (else (call $fill)))
        (return)))
    ;; Those who work know nobody.
    (if (i32.and (i32.eq (global.get $mode) (i32.const 119)) (i64.eqz (global.get $peers)))
      (then (call $work (global.get $left)) (return)))
    ;; The other vat introduces itself.
    (if (i64.eqz (global.get $peer))
      (then
        (if (local.get $slots) (then (global.set $peer (i64.load (i32.const 32)))))
        (return)))
    (call $on (local.get $slots))))
