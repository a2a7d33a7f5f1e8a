;; A vat that needs `_initialize`, as languages with static constructors do. It counts there how often that was called, and
;; answers every message with "initialized 1 times". 0 would mean that the host forgot; 2, that it called again where it
;; brought the vat up from a snapshot.
(module
  (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
  (import "vat1" "resolve" (func $resolve (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "#\22initialized 0 times\22")

  ;; 0..24    the head of a delivery: u32 kind, u32 n, u64 target, u64 result
  ;; 32..64   the resolution
  ;; 64..86   the answer, with its digit at 78
  (func (export "_initialize")
    (i32.store8 (i32.const 78) (i32.add (i32.load8_u (i32.const 78)) (i32.const 1))))

  (func (export "vat_deliver") (param $len i32)
    (call $input_read (i32.const 0) (i32.const 0) (select (local.get $len) (i32.const 24) (i32.lt_u (local.get $len) (i32.const 24))))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 1)) (then (return)))
    (if (i64.eqz (i64.load (i32.const 16))) (then (return)))
    (i64.store (i32.const 32) (i64.load (i32.const 16)))
    (i32.store (i32.const 40) (i32.const 0))
    (i32.store (i32.const 44) (i32.const 64))
    (i32.store (i32.const 48) (i32.const 22))
    (i32.store (i32.const 52) (i32.const 0))
    (i32.store (i32.const 56) (i32.const 0))
    (i32.store (i32.const 60) (i32.const 0))
    (call $resolve (i32.const 32) (i32.const 1))))
