//! Clients that mean harm: each attack of the harness, in small.

use capsule_test::attack::{self, Scale};
use capsule_test::program::Program;

/// A test for each of these attacks.
macro_rules! attacks {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            carry_out($name);
        })*

        #[test]
        fn every_attack_is_carried_out() {
            let names: Vec<_> = attack::all().map(|attack| attack.name).collect();
            assert_eq!([$($name),*].as_slice(), names);
        }
    };
}

attacks! {
    slow_head "slow-head"
    silent "silent"
    large_head "large-head"
    slow_body "slow-body"
    short_body "short-body"
    many_bodies "many-bodies"
    never_read "never-read"
    slow_read "slow-read"
    pipeline "pipeline"
    unread_answers "unread-answers"
    idle_crowd "idle-crowd"
    idle_timeout "idle-timeout"
    full_of_idle "full-of-idle"
    full_of_slow "full-of-slow"
    half_closed "half-closed"
    hang_up "hang-up"
    smuggling "smuggling"
    methods "methods"
    h2_rapid_reset "h2-rapid-reset"
    h2_continuation "h2-continuation"
    h2_headers "h2-headers"
    h2_floods "h2-floods"
    h2_windows "h2-windows"
    h2_never_reads "h2-never-reads"
    h2_malformed "h2-malformed"
    h2_slow "h2-slow"
    tls_garbage "tls-garbage"
    tls_stall "tls-stall"
    tls_renegotiation "tls-renegotiation"
}

#[expect(clippy::print_stdout, reason = "what was seen is shown when the test fails")]
fn carry_out(name: &str) {
    let program = Program::of_workspace("capsule-http").unwrap();
    println!("{name}: {}", attack::named(name).unwrap().carry_out(program, Scale::Test).unwrap());
}
