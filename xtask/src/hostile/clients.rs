//! Tricks of clients: the attacks of the test harness, with crowds.

use std::path::Path;

use anyhow::Result;
use capsule_test::attack::{self, Scale};
use capsule_test::program::Program;

use super::Trick;

/// A trick for each of these attacks.
macro_rules! tricks {
    ($($name:literal)*) => { vec![$(Trick { name: $name, run: |programs| carry_out($name, programs) }),*] };
}

/// All tricks of clients.
pub(crate) fn tricks() -> Vec<Trick> {
    tricks! {
        "slow-head" "silent" "large-head"
        "slow-body" "short-body" "many-bodies"
        "never-read" "slow-read" "pipeline" "unread-answers"
        "idle-crowd" "idle-timeout" "full-of-idle" "full-of-slow" "half-closed" "hang-up"
        "smuggling" "methods"
        "h2-rapid-reset" "h2-continuation" "h2-headers" "h2-floods" "h2-windows" "h2-never-reads" "h2-malformed" "h2-slow"
        "tls-garbage" "tls-stall" "tls-renegotiation"
    }
}

fn carry_out(name: &str, programs: &Path) -> Result<String> {
    attack::named(name)?.carry_out(Program::at(programs.join("capsule-http")), Scale::Full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_is_a_trick() {
        let names: Vec<_> = attack::all().map(|attack| attack.name).collect();
        let tricks: Vec<_> = tricks().iter().map(|trick| trick.name).collect();
        assert_eq!(tricks, names);
    }
}
