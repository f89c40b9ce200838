use std::time::Duration;

use super::*;

fn full(limit: usize) -> Full {
    Full { limit, has_its_part: false }
}

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn the_limit_is_exact_and_what_is_dropped_comes_back() {
    let ceiling = Ceiling::new(100);
    let mut first = ceiling.reserve(60).unwrap();
    assert_eq!(ceiling.reserve(41).unwrap_err(), full(100));
    let second = ceiling.reserve(40).unwrap();
    assert_eq!((ceiling.held(), ceiling.free(), ceiling.refused()), (100, 0, 1));
    assert!(first.grow(1).is_err());
    drop(second);
    first.grow(40).unwrap();
    first.shrink(90);
    assert_eq!((first.bytes(), ceiling.held()), (10, 10));
    let part = first.split(Wish::of(4));
    first.shrink(1000);
    assert_eq!((first.bytes(), part.bytes(), ceiling.held()), (0, 4, 4));
    drop((first, part));
    assert_eq!((ceiling.held(), ceiling.refused()), (0, 2));
    assert_eq!(ceiling.reserve_between(10, 50).unwrap().bytes(), 50);
    let _most = ceiling.reserve(70).unwrap();
    assert_eq!(ceiling.reserve_between(10, 50).unwrap().bytes(), 30);
    assert!(ceiling.reserve_between(31, 50).is_err());
}

#[test]
fn without_a_limit_nothing_is_refused() {
    let ceiling = Ceiling::default();
    let held = ceiling.reserve(usize::MAX - 1).unwrap();
    assert_eq!((ceiling.limit(), ceiling.held(), ceiling.free()), (None, usize::MAX - 1, 1));
    drop(held);
    assert_eq!(full(7).to_string(), "the memory of the process is at its limit of 7 bytes (flag `--maxTotalMemory`)");
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_memory_in_order_and_small_ones_are_not_held_up() {
    let ceiling = Ceiling::new(100);
    let mut held = ceiling.reserve(90).unwrap();
    let until = Instant::now() + LONG;
    let wait = |bytes| {
        let ceiling = ceiling.clone();
        tokio::spawn(async move { ceiling.reserve_until(Wish::of(bytes), until).await })
    };
    let (large, small) = (wait(60), wait(20));
    tokio::task::yield_now().await;
    assert!(ceiling.has_waiters());
    held.shrink(10);
    let small = small.await.unwrap().unwrap();
    assert!(!large.is_finished());
    held.shrink(40);
    tokio::task::yield_now().await;
    assert!(!large.is_finished(), "60 of 100 are taken");
    drop(small);
    assert_eq!(large.await.unwrap().unwrap().bytes(), 60);
    assert!(!ceiling.has_waiters());
    drop(held);
    assert_eq!((ceiling.held(), ceiling.refused()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_and_leaves_nothing() {
    let ceiling = Ceiling::new(100);
    let held = ceiling.reserve(90).unwrap();
    let soon = Instant::now() + Duration::from_secs(1);
    assert_eq!(ceiling.reserve_until(Wish::of(11), soon).await.unwrap_err(), full(100));
    assert_eq!((Instant::now() >= soon, ceiling.has_waiters()), (true, false));
    let begin = Instant::now();
    assert!(ceiling.reserve_until(Wish::of(101), begin + LONG).await.is_err(), "it can never come");
    assert_eq!(Instant::now(), begin);
    let waiting = tokio::spawn({
        let ceiling = ceiling.clone();
        async move { ceiling.reserve_until(Wish::of(11), begin + LONG).await }
    });
    tokio::task::yield_now().await;
    assert!(ceiling.has_waiters());
    waiting.abort();
    assert!(waiting.await.is_err());
    assert!(!ceiling.has_waiters(), "one that goes away leaves the queue");
    drop(held);
    assert_eq!((ceiling.held(), ceiling.refused()), (0, 2));
}

#[tokio::test]
async fn shortage_is_told_to_who_can_do_something() {
    let ceiling = Ceiling::new(100);
    let _held = ceiling.reserve(100).unwrap();
    assert!(ceiling.reserve(1).is_err());
    ceiling.short().await;
    let waits = ceiling.reserve_until(Wish::of(1), Instant::now() + LONG);
    tokio::select! {
        biased;
        _ = waits => panic!("there is no memory"),
        () = ceiling.short() => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_between_many() {
    let ceiling = Ceiling::new(10);
    let until = Instant::now() + LONG;
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let ceiling = ceiling.clone();
            tokio::spawn(async move {
                for round in 0..2_000 {
                    let reservation = ceiling.reserve_until(Wish::of(1 + (number + round) % 10), until).await.unwrap();
                    assert!(ceiling.held() <= 10);
                    tokio::task::yield_now().await;
                    drop(reservation);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((ceiling.held(), ceiling.has_waiters(), ceiling.refused()), (0, false, 0));
}

#[test]
fn who_shares_holds_no_more_than_is_left_for_others() {
    let ceiling = Ceiling::new(600);
    let (first, second, third) = (ceiling.share(), ceiling.share(), ceiling.share());
    let most = |share: &Ceiling| {
        let mut held = share.reserve(10).unwrap();
        while held.grow(10).is_ok() {}
        held
    };
    let held = most(&first);
    assert_eq!(held.bytes(), 300);
    let also = [most(&second), most(&third)];
    assert_eq!((also[0].bytes(), also[1].bytes()), (150, 80));
    let refused = first.reserve(1).unwrap_err();
    assert_eq!(refused, Full { limit: 600, has_its_part: true });
    assert!(refused.to_string().contains("as is left for others (flag `--maxTotalMemory`)"));
    // What is on nobody's account, and the first of each, may have all there is.
    drop(ceiling.reserve(70).unwrap());
    drop(ceiling.share().reserve(70).unwrap());
    assert_eq!(ceiling.share().reserve(71).unwrap_err(), full(600));
    // A copy is the same account; what is given back is there for all of them.
    assert!(first.clone().reserve(1).is_err());
    drop(also);
    assert!(first.reserve(1).is_err());
    drop(held);
    assert_eq!(most(&second).bytes(), 300);
    assert_eq!((ceiling.held(), ceiling.shared.sharers.load(Relaxed)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_makes_room_for_one_with_more_than_its_part() {
    let ceiling = Ceiling::new(100);
    let (large, small) = (ceiling.share(), ceiling.share());
    let mut most = large.reserve(50).unwrap();
    let rest = ceiling.reserve(45).unwrap();
    assert!(most.grow(10).is_err());
    let soon = || Instant::now() + Duration::from_secs(1);
    assert!(large.reserve_until(Wish::of(10), soon()).await.is_err());
    let told = tokio::time::timeout(Duration::from_secs(1), ceiling.short()).await;
    assert!(told.is_err() && !ceiling.is_short());
    let waits = tokio::spawn(async move { small.reserve_until(Wish::of(10), soon()).await });
    ceiling.short().await;
    assert!(ceiling.is_short());
    drop(rest);
    assert_eq!(waits.await.unwrap().unwrap().bytes(), 10);
}

#[test]
fn what_was_a_stack_stays_counted_for_the_next() {
    let ceiling = Ceiling::new(100);
    let wish = Wish { bytes: 30, stacks: 20 };
    let two = [ceiling.take(wish).unwrap(), ceiling.take(wish).unwrap()];
    assert_eq!((ceiling.held(), ceiling.idle(), ceiling.free()), (60, 0, 40));
    drop(two);
    assert_eq!((ceiling.held(), ceiling.idle(), ceiling.free()), (0, 40, 60));
    let rest = ceiling.reserve(60).unwrap();
    assert!(ceiling.reserve(1).is_err() && ceiling.take(wish).is_none());
    assert_eq!(ceiling.idle(), 40, "who gets nothing takes no stack");
    drop(rest);
    let again: Vec<_> = std::iter::from_fn(|| ceiling.take(wish)).collect();
    assert_eq!((again.len(), ceiling.held(), ceiling.idle()), (3, 90, 0));
    drop(again);
    assert_eq!((ceiling.held(), ceiling.idle()), (0, 60));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_not_overtaken_by_one_that_holds_as_much() {
    let ceiling = Ceiling::new(100);
    let (large, small) = (ceiling.share(), ceiling.share());
    let mut rest = ceiling.reserve(50).unwrap();
    let churn: Vec<_> = std::iter::from_fn(|| small.take(Wish::of(5))).collect();
    assert_eq!(churn.len(), 5);
    let waits = tokio::spawn(async move { large.reserve_until(Wish::of(30), Instant::now() + LONG).await });
    tokio::task::yield_now().await;
    assert!(ceiling.has_waiters());
    assert!(small.take(Wish::of(5)).is_none(), "25 are left, and it holds as many");
    rest.shrink(5);
    assert_eq!(waits.await.unwrap().unwrap().bytes(), 30);
}
