//! How the calls of a function without a revision are split among its revisions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names::Revision;
use crate::refusal::{Refusal, quote};
use crate::start::kind;
use crate::stored;

/// How many routes before the current one are kept.
pub const HISTORY: usize = 10;

/// Weights of revisions, such as `{"blue": 90, "green": 10}`. At least one is above zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<Revision, u32>")]
pub struct Weights(BTreeMap<Revision, u32>);

impl Weights {
    /// Checks weights.
    ///
    /// # Errors
    /// They sum to zero.
    pub fn new(weights: BTreeMap<Revision, u32>) -> Result<Self, Refusal> {
        if weights.values().all(|weight| *weight == 0) {
            return Err(Refusal::invalid("the weights: expected at least one above zero, found none"));
        }
        Ok(Self(weights))
    }

    /// Reads the body of `PUT /functions/route/:name`: an object of whole numbers, or `null` for no route at all, which
    /// sends everything to `default`.
    ///
    /// # Errors
    /// What is wrong with which weight.
    pub fn parse(body: &[u8]) -> Result<Option<Self>, Refusal> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| Refusal::invalid(format!("the body is not JSON: {error}")))?;
        let fields = match value {
            Value::Null => return Ok(None),
            Value::Object(fields) => fields,
            other => {
                let found = kind(&other);
                return Err(Refusal::invalid(format!(
                    "the body: expected an object such as `{{\"blue\": 90, \"green\": 10}}`, found {found}"
                )));
            }
        };
        let mut weights = BTreeMap::new();
        for (name, value) in fields {
            let revision = Revision::new(&name)?;
            let weight = value.as_u64().and_then(|weight| u32::try_from(weight).ok()).ok_or_else(|| {
                let found = quote(&value.to_string());
                Refusal::invalid(format!("`{revision}`: expected a whole number from 0 to {}, found {found}", u32::MAX))
            })?;
            weights.insert(revision, weight);
        }
        Self::new(weights).map(Some)
    }

    /// All revisions with their weights.
    pub fn iter(&self) -> impl Iterator<Item = (&Revision, u32)> {
        self.0.iter().map(|(revision, weight)| (revision, *weight))
    }

    /// The revisions that get calls.
    pub fn used(&self) -> impl Iterator<Item = &Revision> {
        self.0.iter().filter(|(_, weight)| **weight > 0).map(|(revision, _)| revision)
    }

    /// Whether this revision gets calls.
    pub fn uses(&self, revision: &Revision) -> bool {
        self.0.get(revision).is_some_and(|weight| *weight > 0)
    }

    /// The revision for a call. `pick` may be random or simply count the calls; both share the calls out by weight, and
    /// counting mixes the revisions evenly instead of in blocks.
    pub fn choose(&self, pick: u64) -> &Revision {
        // Multiples of the golden ratio fall evenly over the whole range of `u64`.
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let sum: u64 = self.0.values().map(|weight| u64::from(*weight)).sum();
        let scaled = u128::from(pick.wrapping_mul(GOLDEN)) * u128::from(sum);
        let mut point = (scaled >> 64) as u64;
        for (revision, weight) in &self.0 {
            match point.checked_sub(u64::from(*weight)) {
                Some(rest) => point = rest,
                None => return revision,
            }
        }
        unreachable!("the point lies below the sum of the weights, and the sum is above zero")
    }
}

impl TryFrom<BTreeMap<Revision, u32>> for Weights {
    type Error = Refusal;

    fn try_from(weights: BTreeMap<Revision, u32>) -> Result<Self, Refusal> {
        Self::new(weights)
    }
}

/// The route of one function with those before it, as it is stored too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Counts the changes; 0 before the first.
    #[serde(deserialize_with = "stored::counter")]
    pub version: u64,
    /// The weights in force; none sends everything to `default`.
    pub current: Option<Weights>,
    /// Those before, the latest last.
    #[serde(default)]
    pub history: Vec<Option<Weights>>,
    /// What the file of functions last asked for.
    #[serde(default)]
    pub from_file: Option<Weights>,
}

impl Route {
    /// The revision for a call that names none.
    pub fn choose(&self, pick: u64) -> Option<&Revision> {
        self.current.as_ref().map(|weights| weights.choose(pick))
    }

    /// The route after setting weights; the current ones are remembered, the oldest ones forgotten.
    #[must_use]
    pub fn set(&self, weights: Option<Weights>) -> Self {
        let mut next = self.next();
        if next.current != weights {
            next.history.push(std::mem::replace(&mut next.current, weights));
            let surplus = next.history.len().saturating_sub(HISTORY);
            next.history.drain(..surplus);
        }
        next
    }

    /// The route after going back one step; none when there is nothing to go back to.
    pub fn back(&self) -> Option<Self> {
        let mut next = self.next();
        next.current = next.history.pop()?;
        Some(next)
    }

    fn next(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(json: &str) -> Weights {
        Weights::parse(json.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn wrong_weights_are_named() {
        for (body, expected) in [
            ("[]", "the body: expected an object such as `{\"blue\": 90, \"green\": 10}`, found an array"),
            ("{}", "the weights: expected at least one above zero, found none"),
            (r#"{"blue":0}"#, "the weights: expected at least one above zero, found none"),
            (r#"{"blue":-1}"#, "`blue`: expected a whole number from 0 to 4294967295, found `-1`"),
            (r#"{"blue":1.5}"#, "`blue`: expected a whole number from 0 to 4294967295, found `1.5`"),
            (r#"{"blue":"1"}"#, "`blue`: expected a whole number from 0 to 4294967295, found `\"1\"`"),
            (r#"{"blue":4294967296}"#, "`blue`: expected a whole number from 0 to 4294967295, found `4294967296`"),
            (r#"{"drop":1}"#, "revision: `drop` is reserved for a route of the server"),
        ] {
            let refusal = Weights::parse(body.as_bytes()).unwrap_err();
            assert_eq!((refusal.to_string().as_str(), refusal.status()), (expected, 422), "{body}");
        }
        assert_eq!(Weights::parse(b"null").unwrap(), None);
        assert!(serde_json::from_str::<Weights>(r#"{"blue":0}"#).is_err());
    }

    #[test]
    fn shares_follow_the_weights() {
        let split = weights(r#"{"blue":90,"green":10,"grey":0}"#);
        let green = (0..1_000).filter(|pick| split.choose(*pick).as_str() == "green").count();
        assert!((99..=101).contains(&green), "{green}");
        // Mixed, not in blocks: no hundred calls in a row without the smaller one.
        let first = (0..100).filter(|pick| split.choose(*pick).as_str() == "green").count();
        assert!((9..=11).contains(&first), "{first}");
        assert!((0..10_000).all(|pick| split.choose(pick).as_str() != "grey"));
        let huge = weights(r#"{"a":4294967295,"b":4294967295,"c":4294967295}"#);
        let b = (0..3_000).filter(|pick| huge.choose(*pick).as_str() == "b").count();
        assert!((998..=1002).contains(&b), "{b}");
        assert_eq!(weights(r#"{"a":1}"#).choose(u64::MAX).as_str(), "a");
    }

    #[test]
    fn ten_steps_lead_back() {
        let mut route = Route::default();
        for weight in 1..=20 {
            route = route.set(Some(weights(&format!("{{\"blue\":{weight}}}"))));
        }
        assert_eq!((route.version, route.history.len()), (20, HISTORY));
        // The same again is no step.
        assert_eq!(route.set(route.current.clone()).history, route.history);
        let stored = serde_json::to_string(&route).unwrap();
        assert_eq!(serde_json::from_str::<Route>(&stored).unwrap(), route);
        for weight in (10..20).rev() {
            route = route.back().unwrap();
            assert_eq!(route.current, Some(weights(&format!("{{\"blue\":{weight}}}"))));
        }
        assert_eq!(route.back(), None);
        let once = Route::default().set(Some(weights(r#"{"blue":1}"#)));
        assert_eq!(once.back().unwrap().current, None);
    }
}
