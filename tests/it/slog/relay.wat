;; A vat of the tests of the flight recorder. The first letter of the method says what it does.
(module
  (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
  (import "vat1" "resolve" (func $resolve (param i32 i32)))
  (import "vat1" "send" (func $send (param i64 i32 i32 i32 i32 i64)))
  (import "vat1" "subscribe" (func $subscribe (param i64)))
  (import "vat1" "exit" (func $exit (param i32 i32 i32 i32 i32)))
  (import "vat1" "vatstore_get" (func $get (param i32 i32) (result i32)))
  (import "vat1" "vatstore_set" (func $set (param i32 i32 i32 i32)))
  (import "vat1" "console" (func $console (param i32 i32 i32)))
  (memory (export "memory") 1)

  ;; 0..      the delivery: u32 kind, u32 n, u64 target, u64 result, u32 body length, u32 slots, slots, body
  ;; 4096..   a resolution
  (data (i32.const 8192) "key")
  (data (i32.const 8200) "\ff\fe")
  (data (i32.const 8208) "#[\"hello\",[]]")
  (data (i32.const 8224) "#\"done\"")
  (data (i32.const 8240) "about to work\1b[31m")
  (data (i32.const 8272) "#[\"trap\",[]]")
  (data (i32.const 8288) "#[\"keep\",[]]")

  (func (export "vat_deliver") (param $len i32)
    (local $method i32)
    (call $input_read (i32.const 0) (i32.const 0) (local.get $len))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 1)) (then (return)))
    (call $console (i32.const 1) (i32.const 8240) (i32.const 18))
    ;; `#["` stands before the method.
    (local.set $method
      (i32.load8_u (i32.add (i32.const 35) (i32.mul (i32.const 8) (i32.load (i32.const 28))))))
    ;; ask
    (if (i32.eq (local.get $method) (i32.const 0x61)) (then
      (call $send (i64.load (i32.const 32)) (i32.const 8208) (i32.const 13) (i32.const 0) (i32.const 0)
        (i64.const 0x6000000000000005))
      (call $subscribe (i64.const 0x6000000000000005))))
    ;; poke
    (if (i32.eq (local.get $method) (i32.const 0x70)) (then
      (call $send (i64.load (i32.const 32)) (i32.const 8272) (i32.const 12) (i32.const 0) (i32.const 0)
        (i64.const 0x6000000000000007))
      (call $subscribe (i64.const 0x6000000000000007))))
    ;; wait
    (if (i32.eq (local.get $method) (i32.const 0x77)) (then
      (call $send (i64.load (i32.const 32)) (i32.const 8288) (i32.const 12) (i32.const 0) (i32.const 0)
        (i64.const 0x6000000000000005))
      (call $subscribe (i64.const 0x6000000000000005))))
    ;; keep
    (if (i32.eq (local.get $method) (i32.const 0x6b)) (then (return)))
    ;; bytes
    (if (i32.eq (local.get $method) (i32.const 0x62)) (then
      (call $set (i32.const 8192) (i32.const 3) (i32.const 8200) (i32.const 2))
      (drop (call $get (i32.const 8192) (i32.const 3)))))
    ;; forge
    (if (i32.eq (local.get $method) (i32.const 0x66)) (then
      (call $set (i32.const 8192) (i32.const 3) (i32.const 8192) (i32.const 3))
      (call $subscribe (i64.const 0x4000000000000063))))
    ;; trap
    (if (i32.eq (local.get $method) (i32.const 0x74)) (then
      (call $set (i32.const 8192) (i32.const 3) (i32.const 8192) (i32.const 3))
      (unreachable)))
    ;; exit
    (if (i32.eq (local.get $method) (i32.const 0x65)) (then
      (call $exit (i32.const 0) (i32.const 8224) (i32.const 7) (i32.const 0) (i32.const 0))))
    (if (i64.eqz (i64.load (i32.const 16))) (then (return)))
    (i64.store (i32.const 4096) (i64.load (i32.const 16)))
    (i32.store (i32.const 4108) (i32.const 8224))
    (i32.store (i32.const 4112) (i32.const 7))
    (call $resolve (i32.const 4096) (i32.const 1))))
