//! WASI as a guest sees it: clocks, waiting, random numbers, the end of a command.

use std::time::{Duration, Instant, SystemTime};

use capsule_hdk::{CallError, Command, Contract, Host, HostFunctions, Module, Stream};

use crate::support::{config, engine};

const BADF: u32 = 8;
const INVAL: u32 = 28;
const HOUR: u64 = 3_600_000_000_000;

/// Runs a plain command: `_start` is `body`, and at 1024 there is `data`. Answers its exit code and what it has printed.
async fn run(body: &str, data: &[u8], timeout: Duration) -> (Result<i32, CallError>, Vec<u8>) {
    let data: String = data.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let text = format!(
        r#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
        (memory (export "memory") 4)
        (data (i32.const 1024) "{data}")
        (func (export "_start") {body}))"#
    );
    let engine = engine();
    let module = Module::from_bytes(&engine, "guest.wat", text.as_bytes()).unwrap();
    let (mut config, output) = config(Contract::default());
    config.limits.call_timeout = Some(timeout);
    let command = Command::new(&Host::new(&engine, &HostFunctions::new()).unwrap(), &module, config).unwrap();
    let ended = command.run().await;
    (ended, output.text(Stream::Stdout).into_bytes())
}

/// The exit code of such a command.
async fn code(body: &str) -> i32 {
    run(body, b"", Duration::from_secs(60)).await.0.unwrap()
}

/// The number that this call answers.
async fn answer(call: &str) -> u32 {
    u32::try_from(code(&format!("(call $proc_exit {call})")).await).unwrap()
}

/// What to wait for.
#[derive(Clone, Copy)]
enum For {
    /// A clock, a time, and whether that is a point in time.
    Clock(u32, u64, bool),
    Read(u32),
    Write(u32),
    /// What there is not.
    Unknown,
}

const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;

impl For {
    fn subscription(self, userdata: u64) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..8].copy_from_slice(&userdata.to_le_bytes());
        let (tag, value) = match self {
            For::Clock(id, ..) => (0, id),
            For::Read(fd) => (1, fd),
            For::Write(fd) => (2, fd),
            For::Unknown => (3, 0),
        };
        bytes[8] = tag;
        bytes[16..20].copy_from_slice(&value.to_le_bytes());
        if let For::Clock(_, time, absolute) = self {
            bytes[24..32].copy_from_slice(&time.to_le_bytes());
            bytes[40] = u8::from(absolute);
        }
        bytes
    }
}

/// Waits, and answers what came of it, each with the place of its subscription, its type and its number of bytes. All are
/// without errors of their own and flags.
async fn poll(subscriptions: &[For]) -> Result<Vec<(u8, u8, u8)>, u32> {
    let (ended, printed) = run(&poll_body(subscriptions.len()), &packed(subscriptions), Duration::from_secs(60)).await;
    assert_eq!(ended.unwrap(), 0);
    let number = |at: usize| u32::from_le_bytes(printed[at..at + 4].try_into().unwrap());
    if number(0) != 0 {
        return Err(number(0));
    }
    let events: Vec<_> = printed[8..].chunks_exact(32).take(number(4) as usize).collect();
    assert_eq!(events.len(), number(4) as usize);
    let mut found = Vec::new();
    for event in events {
        let mut expected = [0; 32];
        (expected[0], expected[10], expected[16]) = (event[0], event[10], event[16]);
        assert_eq!(event, expected);
        found.push((event[0], event[10], event[16]));
    }
    Ok(found)
}

fn packed(subscriptions: &[For]) -> Vec<u8> {
    subscriptions.iter().zip(0..).flat_map(|(one, userdata)| one.subscription(userdata % 100)).collect()
}

/// Waits, then prints the answer, the number of events and the events.
fn poll_body(count: usize) -> String {
    format!(
        "(i32.store (i32.const 0) (call $poll_oneoff (i32.const 1024) (i32.const 131072) (i32.const {count}) (i32.const 4)))
         (i32.store (i32.const 20) (i32.const 8))
         (i32.store (i32.const 24) (i32.const 131072))
         (i32.store (i32.const 28) (i32.mul (i32.load (i32.const 4)) (i32.const 32)))
         (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 2) (i32.const 12)))"
    )
}

#[tokio::test]
async fn the_first_of_several_clocks() {
    use For::Clock;
    let (late, soon) = (Clock(MONOTONIC, HOUR, false), Clock(REALTIME, 1_000_000, false));
    assert_eq!(poll(&[late, soon, late]).await, Ok(vec![(1, 0, 0)]));
    assert_eq!(poll(&[Clock(MONOTONIC, 1_000_000, false), Clock(REALTIME, HOUR, false)]).await, Ok(vec![(0, 0, 0)]));
    let (begin, wait) = (Instant::now(), Duration::from_millis(30));
    assert_eq!(poll(&[Clock(MONOTONIC, wait.as_nanos() as u64, false)]).await, Ok(vec![(0, 0, 0)]));
    assert!(begin.elapsed() >= wait);
}

#[tokio::test]
async fn times_that_have_passed() {
    use For::Clock;
    let (now, never) = (Clock(MONOTONIC, 0, false), Clock(MONOTONIC, u64::MAX, false));
    let (past, past_of_wall) = (Clock(MONOTONIC, 1, true), Clock(REALTIME, 1, true));
    let far = [Clock(MONOTONIC, u64::MAX, true), Clock(REALTIME, u64::MAX, true)];
    assert_eq!(poll(&[now]).await, Ok(vec![(0, 0, 0)]));
    assert_eq!(
        poll(&[never, past, far[0], past_of_wall, now, far[1]]).await,
        Ok(vec![(1, 0, 0), (3, 0, 0), (4, 0, 0)])
    );
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert_eq!(poll(&[Clock(REALTIME, wall + HOUR, true), Clock(REALTIME, wall, true)]).await, Ok(vec![(1, 0, 0)]));
}

#[tokio::test]
async fn a_wait_without_end_ends_at_the_deadline() {
    for time in [u64::MAX, HOUR] {
        let subscriptions = [For::Clock(MONOTONIC, time, true), For::Clock(REALTIME, time, false)];
        let body = poll_body(subscriptions.len());
        let (ended, printed) = run(&body, &packed(&subscriptions), Duration::from_millis(100)).await;
        assert!(matches!(ended, Err(CallError::Deadline(_))), "{ended:?}");
        assert!(printed.is_empty());
    }
}

#[tokio::test]
async fn streams_and_clocks_together() {
    let late = For::Clock(MONOTONIC, HOUR, false);
    assert_eq!(poll(&[For::Write(1), late, For::Write(2)]).await, Ok(vec![(0, 2, 1), (2, 2, 1)]));
    // Nobody has given it a standard input: it is at its end.
    assert_eq!(poll(&[late, For::Read(0), For::Write(1)]).await, Ok(vec![(1, 1, 1), (2, 2, 1)]));
    // One that takes no time lets others go first.
    let now = For::Clock(MONOTONIC, 0, false);
    assert_eq!(poll(&[now, For::Read(0)]).await, Ok(vec![(1, 1, 1)]));
}

#[tokio::test]
async fn what_cannot_be_waited_for() {
    let now = For::Clock(MONOTONIC, 0, false);
    for wrong in [For::Read(1), For::Write(0), For::Read(9), For::Write(u32::MAX)] {
        assert_eq!(poll(&[now, wrong]).await, Err(BADF));
    }
    for wrong in [For::Clock(2, 0, false), For::Clock(3, 0, true), For::Clock(7, 0, false), For::Unknown] {
        assert_eq!(poll(&[now, wrong]).await, Err(INVAL));
    }
    assert_eq!(poll(&[]).await, Err(INVAL));
    assert_eq!(poll(&vec![now; 1024]).await.map(|events| events.len()), Ok(1024));
    assert_eq!(poll(&vec![now; 1025]).await, Err(INVAL));
    let wild = "(drop (call $poll_oneoff (i32.const -48) (i32.const 0) (i32.const 1) (i32.const 4)))";
    let ended = run(wild, b"", Duration::from_secs(60)).await.0;
    assert!(matches!(ended, Err(CallError::Trap(_))), "{ended:?}");
}

#[tokio::test]
async fn clocks_of_a_cpu_are_not_there() {
    for id in [2, 3] {
        assert_eq!(answer(&format!("(call $clock_time_get (i32.const {id}) (i64.const 0) (i32.const 0))")).await, BADF);
        assert_eq!(answer(&format!("(call $clock_res_get (i32.const {id}) (i32.const 0))")).await, BADF);
    }
    for unknown in [
        "(call $clock_time_get (i32.const 4) (i64.const 0) (i32.const 0))",
        "(call $clock_res_get (i32.const -1) (i32.const 0))",
    ] {
        let ended = run(&format!("(drop {unknown})"), b"", Duration::from_secs(60)).await.0;
        assert!(matches!(ended, Err(CallError::Trap(_))), "{ended:?}");
    }
}

#[tokio::test]
async fn clocks_tell_the_time() {
    // A resolution above zero and below a second.
    for id in [REALTIME, MONOTONIC] {
        let body = format!(
            "(if (call $clock_res_get (i32.const {id}) (i32.const 0)) (then (unreachable)))
             (if (i64.gt_u (i64.sub (i64.load (i32.const 0)) (i64.const 1)) (i64.const 1000000000)) (then (unreachable)))"
        );
        assert_eq!(code(&body).await, 0);
    }
    // The time of the wall.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let body = format!(
        "(if (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)) (then (unreachable)))
         (if (i64.gt_u (i64.sub (i64.load (i32.const 0)) (i64.const {now})) (i64.const {HOUR})) (then (unreachable)))"
    );
    assert_eq!(code(&body).await, 0);
    // A clock of the instance: above zero, soon after its start, never back.
    let body = format!(
        "(if (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 0)) (then (unreachable)))
         (if (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 8)) (then (unreachable)))
         (if (i64.eqz (i64.load (i32.const 0))) (then (unreachable)))
         (if (i64.gt_u (i64.load (i32.const 0)) (i64.load (i32.const 8))) (then (unreachable)))
         (if (i64.gt_u (i64.load (i32.const 8)) (i64.const {HOUR})) (then (unreachable)))"
    );
    assert_eq!(code(&body).await, 0);
}

#[tokio::test]
async fn random_bytes_fill_all_of_a_buffer() {
    let body = "(if (call $random_get (i32.const 4096) (i32.const 200000)) (then (unreachable)))
        (if (i64.eqz (i64.load (i32.const 4096))) (then (unreachable)))
        (if (i64.eqz (i64.load (i32.const 204088))) (then (unreachable)))
        (if (i64.eq (i64.load (i32.const 4096)) (i64.load (i32.const 204088))) (then (unreachable)))
        (if (i32.ne (i32.load (i32.const 204096)) (i32.const 0)) (then (unreachable)))
        (if (i32.ne (i32.load (i32.const 4092)) (i32.const 0)) (then (unreachable)))";
    assert_eq!(code(body).await, 0);
    assert_eq!(answer("(call $random_get (i32.const 4096) (i32.const 0))").await, 0);
}

#[tokio::test]
async fn standard_input_is_empty_unless_it_is_given() {
    let body = "(i32.store (i32.const 4) (i32.const 8))
        (i32.store (i32.const 8) (i32.const 77))
        (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
        (if (i32.load (i32.const 8)) (then (unreachable)))";
    assert_eq!(code(body).await, 0);
}

#[tokio::test]
async fn exit_codes_below_those_of_shells() {
    assert_eq!(code("").await, 0);
    for expected in [0, 1, 125] {
        assert_eq!(code(&format!("(call $proc_exit (i32.const {expected}))")).await, expected);
    }
    for wrong in [126, -1] {
        let body = format!("(call $proc_exit (i32.const {wrong}))");
        match run(&body, b"", Duration::from_secs(60)).await.0 {
            Err(CallError::Trap(trap)) => {
                assert!(trap.message.starts_with("exit with invalid exit status outside of [0..126)"), "{trap:?}");
            }
            ended => panic!("{ended:?}"),
        }
    }
}
