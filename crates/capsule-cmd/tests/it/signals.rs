//! Requests to stop, by the program and by real signals.

use capsule_cmd::signals::Shutdown;

#[tokio::test]
async fn the_first_request_drains_and_the_second_quits() {
    let shutdown = Shutdown::new();
    assert!(!shutdown.is_requested());
    let waiter = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.requested().await;
            let forced = tokio::time::timeout(std::time::Duration::ZERO, shutdown.forced()).await.is_ok();
            shutdown.request();
            shutdown.forced().await;
            forced
        }
    });
    shutdown.request();
    assert!(!waiter.await.unwrap(), "one request was taken for two");
    assert!(shutdown.is_requested());
    // A late waiter does not miss what happened.
    shutdown.requested().await;
    shutdown.forced().await;
}

#[cfg(unix)]
#[tokio::test]
async fn real_signals_are_requests() {
    let shutdown = Shutdown::on_signals().unwrap();
    let send = |signal: &str| {
        let status = std::process::Command::new("kill").args([signal, &std::process::id().to_string()]).status();
        assert!(status.unwrap().success());
    };
    send("-TERM");
    shutdown.requested().await;
    send("-INT");
    shutdown.forced().await;
}
