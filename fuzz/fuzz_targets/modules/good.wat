;; The neighbour: answers its argument.
(module
  (memory (export "memory") 1)
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "callHandle") (param $p i32) (param $n i32) (result i64)
    (i32.store8 (i32.const 1023) (i32.const 83))
    (i64.or (i64.shl (i64.const 1023) (i64.const 32)) (i64.extend_i32_u (i32.add (local.get $n) (i32.const 1))))))
