//! Secrets out of texts that people and logs see.

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Parts of a query key that announce a secret.
const SECRET_KEYS: [&str; 8] = ["token", "secret", "passw", "pwd", "key", "sig", "auth", "credential"];

/// A URL without its user information and without the secret values of its query. Works on any text, because a URL
/// that does not parse must not give away more than one that does.
pub fn url(text: &str) -> String {
    let (base, fragment) = cut(text, '#');
    let (base, query) = cut(base, '?');
    let (scheme, after) = match base.find("://") {
        Some(at) => base.split_at(at + 3),
        None => ("", base),
    };
    let authority = after.find(['/', '\\']).unwrap_or(after.len());
    // The last `@` of the authority ends the user information; a stray `/` in a password may put it further back.
    let mut out = match after[..authority].rfind('@').or_else(|| after.rfind('@')) {
        Some(at) => format!("{scheme}{MASK}@{}", &after[at + 1..]),
        None => format!("{scheme}{after}"),
    };
    for (index, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        out.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((key, _)) if is_secret_key(key) => {
                out.push_str(key);
                out.push('=');
                out.push_str(MASK);
            }
            _ => out.push_str(pair),
        }
    }
    if fragment.is_some() {
        out.push('#');
        out.push_str(MASK);
    }
    out
}

/// A flag's value as it may be shown: masked when it is a secret, without passwords when it is a URL.
pub fn value(secret: bool, text: &str) -> String {
    if secret {
        MASK.to_owned()
    } else if text.contains("://") {
        url(text)
    } else {
        text.to_owned()
    }
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|part| key.contains(part))
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_urls_are_masked() {
        for (text, expected) in [
            ("http://a.example/x", "http://a.example/x"),
            ("https://bob:pw@a.example:8080/x@y", "https://***@a.example:8080/x@y"),
            ("https://tok@a.example", "https://***@a.example"),
            ("https://a:b@c@d.example/", "https://***@d.example/"),
            ("redis://:pw@localhost:6379/2", "redis://***@localhost:6379/2"),
            ("bob:pw@host/x", "***@host/x"),
            ("https://bob:p/w@host/x", "https://***@host/x"),
            (
                "https://a/x?a=1&private_token=abc&X-Amz-Signature=z",
                "https://a/x?a=1&private_token=***&X-Amz-Signature=***",
            ),
            ("https://a/x?ref=main", "https://a/x?ref=main"),
            ("https://a/x#access", "https://a/x#***"),
            ("", ""),
            ("://@", "://***@"),
        ] {
            assert_eq!(url(text), expected, "{text}");
        }
        assert_eq!(value(true, "abc"), "***");
        assert_eq!(value(false, "abc@x"), "abc@x");
        assert_eq!(value(false, "http://u:p@x"), "http://***@x");
    }
}
