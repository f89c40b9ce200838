//! The host functions of the messaging runners, as every other runner links them: they answer F and say where they work.
//!
//! So a module that can serve a broker too still loads everywhere, and finds out by calling.

use capsule_hdk::{HostFunction, HostFunctions, Reply};

/// Adds the functions of this file.
pub fn add(host: &mut HostFunctions) {
    host.add(elsewhere::<2>("hostNatsPublish", "capsule-nats"));
    host.add(elsewhere::<3>("hostNatsRequest", "capsule-nats"));
    host.add(elsewhere::<1>("hostNatsReply", "capsule-nats"));
    host.add(elsewhere::<0>("hostNatsGetSubject", "capsule-nats"));
    host.add(elsewhere::<0>("hostNatsGetServer", "capsule-nats"));
    host.add(elsewhere::<3>("hostNatsConnectPublish", "capsule-nats"));
    host.add(elsewhere::<4>("hostNatsConnectRequest", "capsule-nats"));
    host.add(elsewhere::<2>("hostMqttPublish", "capsule-mqtt"));
    host.add(elsewhere::<4>("hostMqttConnectPublish", "capsule-mqtt"));
    host.add(elsewhere::<0>("hostMqttGetTopic", "capsule-mqtt"));
    host.add(elsewhere::<0>("hostMqttGetServer", "capsule-mqtt"));
    host.add(elsewhere::<0>("hostMqttGetClientId", "capsule-mqtt"));
}

/// A function of `N` inputs that only `runner` has.
fn elsewhere<const N: usize>(name: &'static str, runner: &'static str) -> HostFunction {
    HostFunction::new(name, Reply::Framed, move |_, _: [&[u8]; N]| {
        Err(format!("host function `{name}` is available in {runner}"))
    })
}
