//! Guests that misuse the host functions: the call traps, the next one works.

use capsule_hdk::CallError;
use capsule_hostfns::Services;

use crate::guest::{Guest, Input, wat};

/// Every function with inputs, and how many.
const FUNCTIONS: [(&str, usize); 13] = [
    ("hostTalk", 1),
    ("hostGetEnv", 1),
    ("hostReadFile", 1),
    ("hostWriteFile", 2),
    ("hostHTTP", 1),
    ("hostCacheSet", 2),
    ("hostCacheGet", 1),
    ("hostCacheDel", 1),
    ("hostCacheKeys", 1),
    ("hostRedisSet", 2),
    ("hostRedisGet", 1),
    ("hostRedisDel", 1),
    ("hostRedisKeys", 1),
];

fn trap(error: &CallError) -> String {
    error.trap().unwrap_or_else(|| panic!("{error} is no trap")).message.clone()
}

#[tokio::test]
async fn an_input_outside_of_the_memory_is_a_trap_of_that_call_alone() {
    for (name, inputs) in FUNCTIONS {
        let guest = Guest::new(name, inputs);
        for outside in 0..inputs {
            let inputs: Vec<_> =
                (0..inputs).map(|index| if index == outside { Input::Outside } else { Input::Bytes(b"x") }).collect();
            let error = guest.call(&inputs).await.unwrap_err();
            assert!(trap(&error).contains(name), "{name}: {error}");
        }
        guest.bytes(&vec![&b"x"[..]; inputs]).await;
    }
    for name in ["hostPrintString", "hostLogString"] {
        let guest = Guest::mute(name);
        assert!(trap(&guest.call(&[Input::Outside]).await.unwrap_err()).contains(name));
        guest.bytes(&[b"still here"]).await;
        assert!(guest.printed().ends_with("still here\n"));
    }
}

#[tokio::test]
async fn empty_inputs_may_point_anywhere() {
    for (name, inputs) in FUNCTIONS {
        let guest = Guest::new(name, inputs);
        let inputs: Vec<_> = (0..inputs).map(|_| Input::EmptyOutside).collect();
        guest.call(&inputs).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn cells_outside_of_the_memory_are_a_trap() {
    for (pointer, length) in [(0xffff_fff0, 20), (16, 65_533)] {
        let guest = Guest::of(&wat("hostGetEnv", 1, Some((pointer, length))), |_| Services::default());
        for _ in 0..2 {
            let error = guest.call(&[Input::Bytes(b"UNSET")]).await.unwrap_err();
            assert!(trap(&error).contains("hostGetEnv"), "{error}");
        }
    }
}
