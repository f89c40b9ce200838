//! The body of `POST /functions/start`.

use serde::Serialize;
use serde::ser::SerializeMap as _;
use serde_json::{Map, Value};

use crate::names::{FunctionName, Revision};
use crate::refusal::Refusal;
use crate::spec::{Environment, Spec};

/// What is to be started. The server reads it, `capsctl` writes it.
///
/// Fields that are missing, null or of an unknown name are as if they were not there, as in the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartBody {
    /// The function.
    pub name: FunctionName,
    /// Its revision; an empty one is `default`.
    pub revision: Revision,
    /// What a person says about it; shown in the list.
    pub description: String,
    /// What to run. `module` is none until the server has read the bytes.
    pub spec: Spec,
}

impl StartBody {
    /// Reads a body.
    ///
    /// # Errors
    /// The field that is wrong, what was expected and which type was found; values are not repeated, but for names.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| Refusal::invalid(format!("the body is not JSON: {error}")))?;
        let Value::Object(mut fields) = value else {
            return Err(Refusal::invalid(format!("the body: expected an object, found {}", kind(&value))));
        };
        let fields = &mut fields;
        let name = text(fields, "name")?;
        if name.is_empty() {
            return Err(Refusal::invalid("`name`: expected the name of a function, found none"));
        }
        let revision = text(fields, "revision")?;
        Ok(Self {
            name: FunctionName::new(&name)?,
            revision: if revision.is_empty() { Revision::default() } else { Revision::new(&revision)? },
            description: text(fields, "description")?,
            spec: Spec {
                path: Some(text(fields, "path")?).filter(|path| !path.is_empty()),
                args: texts(fields, "args")?,
                env: Environment::new(texts(fields, "env")?)?,
                allow_hosts: texts(fields, "allowHosts")?,
                redis_prefix: Some(text(fields, "redisPrefix")?).filter(|prefix| !prefix.is_empty()),
                module: None,
            },
        })
    }
}

impl Serialize for StartBody {
    /// The body as the reference's client writes it; the fields that it does not know only when they are set.
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("revision", &self.revision)?;
        map.serialize_entry("description", &self.description)?;
        map.serialize_entry("path", self.spec.path.as_deref().unwrap_or_default())?;
        map.serialize_entry("args", &self.spec.args)?;
        map.serialize_entry("env", &self.spec.env)?;
        if !self.spec.allow_hosts.is_empty() {
            map.serialize_entry("allowHosts", &self.spec.allow_hosts)?;
        }
        if let Some(prefix) = &self.spec.redis_prefix {
            map.serialize_entry("redisPrefix", prefix)?;
        }
        map.end()
    }
}

fn text(fields: &mut Map<String, Value>, name: &str) -> Result<String, Refusal> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) if text.contains('\0') => {
            Err(Refusal::invalid(format!("`{name}`: expected a text without zero bytes, found one with")))
        }
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(Refusal::invalid(format!("`{name}`: expected a string, found {}", kind(&other)))),
    }
}

fn texts(fields: &mut Map<String, Value>, name: &str) -> Result<Vec<String>, Refusal> {
    let items = match fields.remove(name) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(other) => {
            let found = kind(&other);
            return Err(Refusal::invalid(format!("`{name}`: expected an array of strings, found {found}")));
        }
    };
    let check = |(position, item): (usize, Value)| match item {
        Value::String(text) if text.contains('\0') => {
            Err(Refusal::invalid(format!("`{name}[{position}]`: expected a text without zero bytes, found one with")))
        }
        Value::String(text) => Ok(text),
        other => Err(Refusal::invalid(format!("`{name}[{position}]`: expected a string, found {}", kind(&other)))),
    };
    items.into_iter().enumerate().map(check).collect()
}

/// How messages name the type of a JSON value.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_references_body_is_read() {
        let body = StartBody::parse(
            br#"{"name":"hello","revision":"","description":"d","path":"","args":["","-wasm=h.wasm","-stopAfter=10"],
                "env":["A=1"],"other":{"ignored":true}}"#,
        )
        .unwrap();
        assert_eq!((body.name.as_str(), body.revision.as_str(), &*body.description), ("hello", "default", "d"));
        assert_eq!(body.spec.path, None);
        assert_eq!(body.spec.args, ["", "-wasm=h.wasm", "-stopAfter=10"]);
        assert_eq!(body.spec.env.pairs().collect::<Vec<_>>(), [("A", "1")]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let body = StartBody::parse(
            br#"{"name":"hello","revision":"blue","path":"/usr/bin/capsule-http","args":[""],"env":null,
                "allowHosts":["localhost:6379"],"redisPrefix":"h:"}"#,
        )
        .unwrap();
        let json = serde_json::to_string(&body).unwrap();
        assert_eq!(StartBody::parse(json.as_bytes()).unwrap(), body);
        let plain = StartBody::parse(br#"{"name":"hello"}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&plain).unwrap(),
            r#"{"name":"hello","revision":"default","description":"","path":"","args":[],"env":[]}"#
        );
    }

    #[test]
    fn every_error_names_its_field() {
        for (body, expected) in [
            ("{", "the body is not JSON: EOF while parsing an object at line 1 column 1"),
            ("[]", "the body: expected an object, found an array"),
            ("{}", "`name`: expected the name of a function, found none"),
            (r#"{"name":null}"#, "`name`: expected the name of a function, found none"),
            (r#"{"name":7}"#, "`name`: expected a string, found a number"),
            (r#"{"name":"drop"}"#, "name: `drop` is reserved for a route of the server"),
            (
                r#"{"name":"a","revision":"x/y"}"#,
                "revision: expected 1 to 64 of the characters A-Z a-z 0-9 . _ -, found `x/y`",
            ),
            (r#"{"name":"a","description":[]}"#, "`description`: expected a string, found an array"),
            (r#"{"name":"a","args":"-wasm=x"}"#, "`args`: expected an array of strings, found a string"),
            (r#"{"name":"a","args":["",1]}"#, "`args[1]`: expected a string, found a number"),
            (r#"{"name":"a","env":{"A":"1"}}"#, "`env`: expected an array of strings, found an object"),
            (r#"{"name":"a","env":["A"]}"#, "`env[0]`: expected `NAME=value`, found a text without `=`"),
            (r#"{"name":"a","path":"\u0000"}"#, "`path`: expected a text without zero bytes, found one with"),
        ] {
            let refusal = StartBody::parse(body.as_bytes()).unwrap_err();
            assert_eq!((refusal.to_string().as_str(), refusal.status()), (expected, 422), "{body}");
        }
        let deep = format!("{{\"name\":{}", "[".repeat(100_000));
        assert!(StartBody::parse(deep.as_bytes()).is_err());
        assert!(StartBody::parse(b"{\"name\":\"\xff\"}").is_err());
    }
}
