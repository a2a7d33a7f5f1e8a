;; Puts what steers a terminal wherever a guest's words are kept: the console, the vatstore, and the answer, which is rejected where the
;; body of the message is as long as `#["reject",[]]`.
(module
  (import "vat1" "input_read" (func $input (param i32 i32 i32)))
  (import "vat1" "resolve" (func $resolve (param i32 i32)))
  (import "vat1" "vatstore_set" (func $set (param i32 i32 i32 i32)))
  (import "vat1" "console" (func $console (param i32 i32 i32)))
  (memory (export "memory") 1)
  ;; ESC [ 2 K, BEL, CR LF, DEL, CSI as one character, the turn of direction
  (data (i32.const 1024) "#\22\1b[2K\07\r\nstate hash 00\7f\c2\9b31m\e2\80\ae\22")
  (data (i32.const 2056) "\00\00\00\00\00\04\00\00\21\00\00\00")
  (func (export "vat_deliver") (param $len i32)
    (call $input (i32.const 0) (i32.const 0) (local.get $len))
    (br_if 0 (i32.ne (i32.load (i32.const 0)) (i32.const 1)))
    (call $console (i32.const 3) (i32.const 1024) (i32.const 33))
    (call $set (i32.const 1024) (i32.const 33) (i32.const 1024) (i32.const 33))
    (i64.store (i32.const 2048) (i64.load (i32.const 16)))
    (i32.store (i32.const 2056) (i32.eq (i32.load (i32.const 24)) (i32.const 13)))
    (call $resolve (i32.const 2048) (i32.const 1))))
