//! Where guests run: looping ones do not hold up their neighbours.

use std::time::{Duration, Instant};

use capsule_hdk::{CallError, Contract, EngineConfig, Function, Host, HostFunctions, Module};

use crate::support::{TRICKS, config};

/// Two guests that loop for a second on a runtime with one I/O thread: a third function is called all the while.
#[test]
fn looping_guests_do_not_hold_up_a_third() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut settings = EngineConfig::default();
        settings.long_threads = 2;
        let engine = capsule_hdk::Engine::new(&settings).unwrap();
        let host = Host::new(&engine, &HostFunctions::new()).unwrap();
        let module = Module::from_bytes(&engine, "tricks", TRICKS.as_bytes()).unwrap();
        let make = |timeout| {
            let (mut settings, _) = config(Contract::Instances(1));
            settings.limits.call_timeout = Some(timeout);
            Function::new(&host, &module, settings).unwrap()
        };
        let (one, two, third) =
            (make(Duration::from_secs(1)), make(Duration::from_secs(1)), make(Duration::from_secs(10)));
        third.start().await.unwrap();
        let loops = [one, two].map(|function| tokio::spawn(async move { function.handle("l").await }));
        let worst = tokio::spawn(async move {
            let mut worst = Duration::ZERO;
            let mut calls = 0_u32;
            while loops.iter().any(|looping| !looping.is_finished()) {
                let begin = Instant::now();
                assert_eq!(third.handle("echo").await.unwrap(), "echo");
                worst = worst.max(begin.elapsed());
                calls += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            for looping in loops {
                assert!(matches!(looping.await.unwrap(), Err(CallError::Deadline(_))));
            }
            assert!(calls > 50, "only {calls} calls were made beside the loops");
            worst
        })
        .await
        .unwrap();
        // A wide margin for busy machines; without the pool it would be the whole second.
        assert!(worst < Duration::from_millis(250), "a neighbour waited {worst:?}");
    });
}

/// On a runtime with a single thread the time limit ends a loop too, and calls after it are served.
#[tokio::test(flavor = "current_thread")]
async fn many_loops_of_one_function_end_at_their_deadline() {
    let (mut settings, _) = config(Contract::Instances(8));
    settings.limits.call_timeout = Some(Duration::from_millis(200));
    let function = crate::support::try_function(TRICKS, settings).unwrap();
    let begin = Instant::now();
    let loops = (0..8).map(|_| function.handle("l"));
    for result in futures_util::future::join_all(loops).await {
        assert!(matches!(result, Err(CallError::Deadline(_))), "{result:?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(2), "eight loops took {:?}", begin.elapsed());
    assert_eq!(function.handle("c").await.unwrap(), "43");
}

#[tokio::test]
async fn a_long_call_moves_to_the_pool_and_comes_back_with_its_result() {
    let function = crate::support::tricks(Contract::Instances(1));
    for _ in 0..5 {
        assert_eq!(function.handle("b").await.unwrap(), "");
    }
    assert_eq!(function.handle("c").await.unwrap(), "48");
}

/// A call of a fresh instance ends with its caller; the place for an instance comes back.
#[tokio::test]
async fn a_fresh_call_ends_with_its_caller() {
    let (mut settings, _) = config(Contract::Fresh);
    settings.limits.call_timeout = None;
    let function = crate::support::try_function(TRICKS, settings).unwrap();
    for _ in 0..40 {
        let call = tokio::time::timeout(Duration::from_millis(5), function.handle("l"));
        assert!(call.await.is_err());
    }
    assert_eq!(function.handle("c").await.unwrap(), "43", "there are only 16 places for instances");
}
