//! `hostGetEnv`: the environment variables that the function was given, never the process's own.

use capsule_hdk::{HostFunction, HostFunctions, Reply};

/// Adds the function of this file.
pub fn add(host: &mut HostFunctions) {
    host.add(HostFunction::new("hostGetEnv", Reply::Raw, |context, [name]| {
        let value = std::str::from_utf8(name).ok().and_then(|name| context.capabilities().variable(name));
        Ok(value.unwrap_or_default().into())
    }));
}
