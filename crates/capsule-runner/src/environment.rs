//! Which of the runner's environment variables a module may read.

use capsule_cmd::capabilities::PassEnv;

/// The runner's own secrets: never passed on, whatever `--passEnv` says. A trailing `*` stands for any rest.
const SECRETS: &[&str] = &[
    "CAPSULE_AUTH_HEADER_VALUE",
    "CAPSULE_FAAS_TOKEN",
    "CAPSULE_FAAS_TOKEN_FILE",
    "CAPSULE_NATS_*",
    "CAPSULE_MQTT_*",
    "NATS_*",
    "MQTT_*",
    "NGROK_*",
    "REDIS_*",
];

/// True for a variable that holds a secret of the runner.
pub fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|secret| match secret.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *secret,
    })
}

/// The module's environment: what is passed on of `own`, then what was given for it, which wins.
pub fn of_module(
    own: impl Iterator<Item = (String, String)>,
    passed: &PassEnv,
    given: &[(String, String)],
) -> Vec<(String, String)> {
    of_hosted(own.filter(|(name, _)| !is_secret(name)), passed, given)
}

/// The same for a function in a process that its server has started: nothing in `own` is a secret from it.
pub fn of_hosted(
    own: impl Iterator<Item = (String, String)>,
    passed: &PassEnv,
    given: &[(String, String)],
) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = own
        .filter(|(name, _)| match passed {
            PassEnv::All => true,
            PassEnv::Names(names) => names.contains(name),
        })
        .filter(|(name, _)| given.iter().all(|(other, _)| other != name))
        .collect();
    variables.extend(given.iter().cloned());
    variables
}

/// A `REDIS_*` variable: of those given for the module when there is one among them, else of the runner's `own`. Never of both:
/// an address given for the module must not meet a password of the runner.
pub fn redis(name: &str, given: &[(String, String)], own: impl Fn(&str) -> Option<String>) -> Option<String> {
    if given.iter().any(|(name, _)| name.starts_with("REDIS_")) {
        return given.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.clone());
    }
    own(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passed: PassEnv, given: &[(&str, &str)], expected: &[(&str, &str)]) {
        let owned = |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect::<Vec<_>>();
        let own = [
            ("HOME", "/root"),
            ("CAPSULE_FAAS_TOKEN", "t"),
            ("NGROK_AUTHTOKEN", "n"),
            ("REDIS_URI", "redis://:p@h"),
            ("MESSAGE", "m"),
        ];
        assert_eq!(of_module(owned(&own).into_iter(), &passed, &owned(given)), owned(expected));
    }

    #[test]
    fn secrets_are_never_passed_on() {
        check(PassEnv::All, &[], &[("HOME", "/root"), ("MESSAGE", "m")]);
        check(PassEnv::Names(vec!["REDIS_URI".into(), "MESSAGE".into()]), &[], &[("MESSAGE", "m")]);
        check(PassEnv::Names(Vec::new()), &[], &[]);
        for name in ["CAPSULE_FAAS_TOKEN_FILE", "NGROK_API_KEY", "NATS_CREDS", "MQTT_PASSWORD", "REDIS_PWD"] {
            assert!(is_secret(name), "{name}");
        }
        assert!(!is_secret("CAPSULE_DOMAIN") && !is_secret("MY_REDIS_URI"));
    }

    #[test]
    fn what_a_server_gives_to_its_process_is_the_functions() {
        let own = [("REDIS_URI".to_owned(), "mine".to_owned()), ("PATH".to_owned(), "/bin".to_owned())];
        let passed = PassEnv::Names(vec!["REDIS_URI".into()]);
        assert_eq!(of_hosted(own.into_iter(), &passed, &[]), [("REDIS_URI".into(), "mine".into())]);
    }

    #[test]
    fn what_is_given_wins_and_may_be_anything() {
        check(PassEnv::All, &[("MESSAGE", "other")], &[("HOME", "/root"), ("MESSAGE", "other")]);
        check(PassEnv::Names(Vec::new()), &[("REDIS_URI", "mine")], &[("REDIS_URI", "mine")]);
    }

    #[test]
    fn redis_is_described_from_one_side_only() {
        let own = |name: &str| (name == "REDIS_PWD").then(|| "secret".to_owned());
        let given = [("REDIS_ADDR".to_owned(), "other:1".to_owned())];
        assert_eq!(redis("REDIS_PWD", &[], own).as_deref(), Some("secret"));
        assert_eq!(redis("REDIS_ADDR", &given, own).as_deref(), Some("other:1"));
        assert_eq!(redis("REDIS_PWD", &given, own), None);
    }
}
