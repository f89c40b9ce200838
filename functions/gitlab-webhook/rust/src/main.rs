//! A GitLab webhook: when an issue or a comment on one names the bot, the bot answers with a comment.

use std::sync::OnceLock;

use capsule_mdk::{Request, Response, Result, get_env, http, log};
use serde_json::{Value, json};

/// The settings are read once, while the module starts.
static SETTINGS: OnceLock<Settings> = OnceLock::new();

capsule_mdk::handle_http!(|request| webhook(SETTINGS.get_or_init(Settings::read), &request));

fn main() {
    SETTINGS.get_or_init(Settings::read);
}

struct Settings {
    api_url: String,
    bot_token: String,
    bot_name: String,
    /// Empty: every caller is believed.
    webhook_token: String,
}

impl Settings {
    fn read() -> Settings {
        Settings {
            api_url: get_env("GITLAB_API_URL"),
            bot_token: get_env("GITLAB_BOT_TOKEN"),
            bot_name: get_env("GITLAB_BOT_NAME"),
            webhook_token: get_env("WEBHOOK_TOKEN"),
        }
    }
}

fn webhook(settings: &Settings, request: &Request<'_>) -> Result<Response> {
    let wanted = &settings.webhook_token;
    if !wanted.is_empty() && !same_secret(request.header("X-Gitlab-Token").unwrap_or_default(), wanted) {
        return answer(401, "error", "the webhook token does not match");
    }
    let event = request.json::<Value>().unwrap_or_else(|error| {
        log(error.to_string());
        Value::Null
    });
    let Some((text, issue)) = reply(settings, &event) else {
        return answer(200, "message", "this is not an issue or note event");
    };
    if let Err(error) = comment(settings, number(&event["project"]["id"]), issue, &text) {
        log(error.to_string());
        return answer(500, "error", &error.to_string());
    }
    answer(200, "message", "OK")
}

/// What the bot says, and on which issue, counted within its project. Nothing when the bot is not meant.
fn reply(settings: &Settings, event: &Value) -> Option<(String, i64)> {
    let names_bot = |text: &Value| {
        !settings.bot_name.is_empty() && text.as_str().is_some_and(|text| text.contains(&settings.bot_name))
    };
    let user = event["user"]["username"].as_str().unwrap_or_default();
    let attributes = &event["object_attributes"];
    match event["object_kind"].as_str()? {
        "issue" if names_bot(&attributes["description"]) => {
            Some((format!("😃 Hello @{user}"), number(&attributes["iid"])))
        }
        // A note on a merge request or a commit has no issue.
        "note" if event.get("issue").is_some() && names_bot(&attributes["note"]) => {
            Some((format!("🤗 Hey @{user}"), number(&event["issue"]["iid"])))
        }
        _ => None,
    }
}

/// Adds a comment to an issue.
fn comment(settings: &Settings, project: i64, issue: i64, text: &str) -> Result<()> {
    let uri = format!("{}/projects/{project}/issues/{issue}/notes", settings.api_url);
    let request = http::post(&uri).header("PRIVATE-TOKEN", &*settings.bot_token).json(&json!({ "body": text }))?;
    match request.send()?.status() {
        status @ 400.. => Err(format!("GitLab answers with status {status}").into()),
        _ => Ok(()),
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// Compares in a time that does not tell how much is right.
fn same_secret(given: &str, wanted: &str) -> bool {
    given.len() == wanted.len()
        && given.bytes().zip(wanted.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn answer(status: u16, field: &str, text: &str) -> Result<Response> {
    Ok(Response::json(&json!({ field: text }))?.with_status(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use capsule_mdk::standin;

    const ISSUE: &str = r#"{"object_kind":"issue","user":{"username":"bob"},"project":{"id":7},
        "object_attributes":{"iid":3,"description":"hello @bot"}}"#;
    const NOTE: &str = r#"{"object_kind":"note","user":{"username":"bob"},"project":{"id":7},"issue":{"iid":4},
        "object_attributes":{"note":"@bot?"}}"#;

    fn called(event: &str, token: Option<&str>) -> (u16, String) {
        standin::set_env("GITLAB_API_URL", "http://gitlab/api/v4");
        standin::set_env("GITLAB_BOT_TOKEN", "secret");
        standin::set_env("GITLAB_BOT_NAME", "@bot");
        let mut request = Request::new("POST", "http://h/").with_body(event);
        if let Some(token) = token {
            request = request.with_header("X-Gitlab-Token", token);
        }
        let answer = webhook(&Settings::read(), &request).unwrap();
        (answer.status(), String::from_utf8_lossy(answer.body()).into_owned())
    }

    #[test]
    fn comments_on_issues_and_notes_that_name_the_bot() {
        for (event, uri, body) in [
            (ISSUE, "http://gitlab/api/v4/projects/7/issues/3/notes", "{\"body\":\"😃 Hello @bob\"}"),
            (NOTE, "http://gitlab/api/v4/projects/7/issues/4/notes", "{\"body\":\"🤗 Hey @bob\"}"),
        ] {
            standin::reset();
            standin::answer_http(201, "application/json", "{}");
            assert_eq!(called(event, None), (200, r#"{"message":"OK"}"#.to_owned()));
            let sent = standin::sent().remove(0);
            assert_eq!((&*sent.method, &*sent.uri, &*sent.body), ("POST", uri, body.as_bytes()));
            assert!(sent.headers.contains(&("PRIVATE-TOKEN".to_owned(), "secret".to_owned())));
        }
    }

    #[test]
    fn other_events_are_not_for_the_bot() {
        for event in [
            "",
            "[]",
            r#"{"object_kind":"push"}"#,
            r#"{"object_kind":"issue","object_attributes":{"description":"hello"}}"#,
            r#"{"object_kind":"note","object_attributes":{"note":"@bot"}}"#,
        ] {
            assert_eq!(called(event, None), (200, r#"{"message":"this is not an issue or note event"}"#.to_owned()));
        }
        assert_eq!(standin::sent(), []);
    }

    #[test]
    fn a_wrong_token_is_401() {
        standin::set_env("WEBHOOK_TOKEN", "t");
        let refused = (401, r#"{"error":"the webhook token does not match"}"#.to_owned());
        assert_eq!(called(ISSUE, None), refused);
        assert_eq!(called(ISSUE, Some("x")), refused);
        assert_eq!(called("{}", Some("t")).0, 200);
    }

    #[test]
    fn a_call_that_fails_is_500() {
        assert_eq!(
            called(ISSUE, None),
            (
                500,
                r#"{"error":"no answer is scripted for POST http://gitlab/api/v4/projects/7/issues/3/notes"}"#
                    .to_owned()
            )
        );
        standin::answer_http(403, "application/json", "{}");
        assert_eq!(called(ISSUE, None), (500, r#"{"error":"GitLab answers with status 403"}"#.to_owned()));
    }
}
