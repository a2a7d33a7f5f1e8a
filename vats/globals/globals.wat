;; A vat that keeps its state in a mutable global, as compilers do which are not LLVM (AssemblyScript for one): memory is
;; not the whole state of a vat. It answers every message with the number of messages so far.
(module
  (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
  (import "vat1" "resolve" (func $resolve (param i32 i32)))
  (memory (export "memory") 1)

  ;; Not exported: the host must find it all the same.
  (global $messages (mut i64) (i64.const 0))

  ;; 0..24   the head of a delivery: u32 kind, u32 n, u64 target, u64 result
  ;; 32..64  the resolution
  ;; 64..96  the body, "#" and digits; it is written from its end
  (func (export "vat_deliver") (param $len i32)
    (call $input_read (i32.const 0) (i32.const 0) (select (local.get $len) (i32.const 24) (i32.lt_u (local.get $len) (i32.const 24))))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 1)) (then (return)))
    (global.set $messages (i64.add (global.get $messages) (i64.const 1)))
    (if (i64.eqz (i64.load (i32.const 16))) (then (return)))
    (call $answer (i64.load (i32.const 16)) (call $number (global.get $messages))))

  ;; Writes a number, and returns where its body begins.
  (func $number (param $n i64) (result i32)
    (local $at i32)
    (local.set $at (i32.const 96))
    (loop $digits
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i64.store8 (local.get $at) (i64.add (i64.const 48) (i64.rem_u (local.get $n) (i64.const 10))))
      (local.set $n (i64.div_u (local.get $n) (i64.const 10)))
      (br_if $digits (i64.ne (local.get $n) (i64.const 0))))
    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
    (i32.store8 (local.get $at) (i32.const 35))
    (local.get $at))

  ;; Fulfils a promise with the body that ends at 96.
  (func $answer (param $promise i64) (param $body i32)
    (i64.store (i32.const 32) (local.get $promise))
    (i32.store (i32.const 40) (i32.const 0))
    (i32.store (i32.const 44) (local.get $body))
    (i32.store (i32.const 48) (i32.sub (i32.const 96) (local.get $body)))
    (i32.store (i32.const 52) (i32.const 0))
    (i32.store (i32.const 56) (i32.const 0))
    (i32.store (i32.const 60) (i32.const 0))
    (call $resolve (i32.const 32) (i32.const 1))))
