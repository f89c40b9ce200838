//! `blue=90,green=10`: how calls are split between revisions, as it is typed and shown.

use std::collections::BTreeMap;

use capsule_faas_model::names::Revision;
use capsule_faas_model::route::Weights;

/// Reads `revision=share` with commas between; `none` is no route at all: everything goes to the default revision.
///
/// # Errors
/// What was expected and what was found.
pub(crate) fn parse(text: &str) -> Result<Option<Weights>, String> {
    if text == "none" {
        return Ok(None);
    }
    let wrong = || format!("expected shares such as `blue=90,green=10`, found `{}`", text.escape_debug());
    let mut weights = BTreeMap::new();
    for part in text.split(',') {
        let (revision, share) = part.trim().split_once('=').ok_or_else(wrong)?;
        let revision = Revision::new(revision.trim()).map_err(|_| wrong())?;
        let digits = share.trim();
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let share: u32 = digits.parse().map_err(|_| wrong())?;
        if weights.insert(revision.clone(), share).is_some() {
            return Err(format!("expected one share for each revision, found two for `{revision}`"));
        }
    }
    match Weights::new(weights) {
        Ok(weights) => Ok(Some(weights)),
        Err(_) => Err(format!("expected a share above 0, found `{text}`")),
    }
}

pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// The same as it is shown.
pub(crate) fn shown(weights: Option<&Weights>) -> String {
    match weights {
        None => format!("{}=100", Revision::default()),
        Some(weights) => {
            let parts: Vec<String> = weights.iter().map(|(revision, share)| format!("{revision}={share}")).collect();
            parts.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        let weights = parse("green=10, blue=90,old=0").unwrap();
        assert_eq!(shown(weights.as_ref()), "blue=90, green=10, old=0");
        assert_eq!(serde_json::to_string(&weights).unwrap(), r#"{"blue":90,"green":10,"old":0}"#);
        assert_eq!(serde_json::to_string(&parse("none").unwrap()).unwrap(), "null");
        assert_eq!(shown(None), "default=100");
        for bad in ["", "blue", "blue=", "=1", "blue=-1", "blue=+1", "blue=1.5", "blue=1,", "a/b=1", "blue=4294967296"]
        {
            let expected = format!("expected shares such as `blue=90,green=10`, found `{bad}`");
            assert_eq!(parse(bad).unwrap_err(), expected);
        }
        assert_eq!(parse("a=1,a=2").unwrap_err(), "expected one share for each revision, found two for `a`");
        assert_eq!(parse("a=0,b=0").unwrap_err(), "expected a share above 0, found `a=0,b=0`");
    }
}
