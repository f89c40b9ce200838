//! Where guests run: looping ones do not hold up their neighbours.

use std::time::{Duration, Instant};

use capsule_hdk::{Contract, EngineConfig, Function, Host, HostFunctions, Module};

use crate::support::{DEADLINE, TRICKS, answer_at_last, config};

/// Two guests that loop for ever on a runtime with one I/O thread: a third function is called all the while.
#[test]
fn looping_guests_do_not_hold_up_a_third() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut settings = EngineConfig::default();
        settings.long_threads = 2;
        let engine = capsule_hdk::Engine::new(&settings).unwrap();
        let host = Host::new(&engine, &HostFunctions::new()).unwrap();
        let module = Module::from_bytes(&engine, "tricks", TRICKS.as_bytes()).unwrap();
        let make = |contract| {
            let (mut settings, _) = config(contract);
            settings.limits.call_timeout = None;
            Function::new(&host, &module, settings).unwrap()
        };
        let (one, two, third) = (make(Contract::Fresh), make(Contract::Fresh), make(Contract::Instances(1)));
        third.start().await.unwrap();
        let loops = [one.clone(), two.clone()].map(|function| tokio::spawn(async move { function.handle("l").await }));
        let called = tokio::spawn(async move {
            while one.stats().instances + two.stats().instances < 2 {
                tokio::task::yield_now().await;
            }
            let mut times = Vec::new();
            for _ in 0..101 {
                let begin = Instant::now();
                assert_eq!(third.handle("echo").await.unwrap(), "echo");
                times.push(begin.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            times
        });
        // Without the pool nobody would ever be answered.
        let mut times = tokio::time::timeout(DEADLINE, called).await.unwrap().unwrap();
        for looping in loops {
            looping.abort();
            assert!(looping.await.unwrap_err().is_cancelled(), "it did not loop all the while");
        }
        times.sort();
        // A loaded machine is slow now and then; half of the calls are not.
        assert!(times[50] < Duration::from_millis(250), "a neighbour waited: {times:?}");
    });
}

/// On a runtime with a single thread the time limit ends a loop too, and calls after it are served.
#[tokio::test(flavor = "current_thread")]
async fn many_loops_of_one_function_end_at_their_deadline() {
    let (mut settings, _) = config(Contract::Instances(8));
    let limit = Duration::from_secs(1);
    settings.limits.call_timeout = Some(limit);
    let function = crate::support::try_function(TRICKS, settings).unwrap();
    let begin = Instant::now();
    let loops = (0..8).map(|_| function.handle("l"));
    for result in futures_util::future::join_all(loops).await {
        let late = result.unwrap_err().to_string();
        assert!(late.ends_with("the call exceeded its time limit of 1s (flag `--callTimeout`)"), "{late}");
    }
    // One after the other they would take eight times the limit.
    assert!(begin.elapsed() < 8 * limit, "eight loops took {:?}", begin.elapsed());
    // Each is counted once, whether it noticed its deadline or never came to its turn.
    let all_counted = async {
        loop {
            let counted = function.stats();
            if counted.timed_out + counted.trapped >= 8 {
                return counted;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let counted = tokio::time::timeout(Duration::from_secs(30), all_counted).await.unwrap();
    assert_eq!((counted.timed_out, counted.trapped, counted.succeeded), (8, 0, 0));
    assert_eq!(answer_at_last(&function, "c").await, "43");
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
