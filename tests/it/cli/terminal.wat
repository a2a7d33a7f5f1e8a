;; Puts what steers a terminal wherever a guest's words are kept: the console, the vatstore, the rejection of a message; and its last
;; words, where the body of the message is as long as `#["exit",[]]`.
(module
  (import "vat1" "input_read" (func $input (param i32 i32 i32)))
  (import "vat1" "resolve" (func $resolve (param i32 i32)))
  (import "vat1" "exit" (func $exit (param i32 i32 i32 i32 i32)))
  (import "vat1" "vatstore_set" (func $set (param i32 i32 i32 i32)))
  (import "vat1" "console" (func $console (param i32 i32 i32)))
  (memory (export "memory") 1)
  ;; ESC [ 2 K, BEL, CR LF, DEL, CSI as one character, the turn of direction
  (data (i32.const 1024) "#\22\1b[2K\07\r\nstate hash 00\7f\c2\9b31m\e2\80\ae\22")
  (data (i32.const 1100) "#{\22#error\22:\22bye \\u001b[2K\\u0007\\u009b\22,\22name\22:\22Error\22}")
  (data (i32.const 2056) "\01\00\00\00\00\04\00\00\20\00\00\00")
  (func (export "vat_deliver") (param $len i32)
    (call $input (i32.const 0) (i32.const 0) (local.get $len))
    (br_if 0 (i32.ne (i32.load (i32.const 0)) (i32.const 1)))
    (call $console (i32.const 3) (i32.const 1024) (i32.const 32))
    (call $set (i32.const 1024) (i32.const 32) (i32.const 1024) (i32.const 32))
    (if (i32.eq (i32.load (i32.const 24)) (i32.const 12)) (then
      (call $exit (i32.const 0) (i32.const 1100) (i32.const 54) (i32.const 0) (i32.const 0))))
    (i64.store (i32.const 2048) (i64.load (i32.const 16)))
    (call $resolve (i32.const 2048) (i32.const 1))))
