//! What a path below `/functions/` and `/notify/` asks for.
//!
//! The paths are taken as they come in the request line, without the query. Names hold no character that needs an
//! escape, so nothing is decoded, and an escaped slash can never become one.

use std::fmt;

use crate::names::{DEFAULT_REVISION, FunctionName, Index, Revision};
use crate::refusal::{Refusal, quote};

/// A function, perhaps one revision of it, perhaps one index of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The function.
    pub name: FunctionName,
    /// Its revision; none when the path ends before it.
    pub revision: Option<Revision>,
    /// The index; none when the path ends before it. Never there without a revision.
    pub index: Option<Index>,
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.revision.as_ref().map_or(DEFAULT_REVISION, Revision::as_str);
        match self.index {
            Some(index) => write!(f, "{}/{revision}/{index}", self.name),
            None => write!(f, "{}/{revision}", self.name),
        }
    }
}

/// What a path below `/functions/` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// Call a function, with any method.
    Call {
        /// Whom.
        selector: Selector,
        /// The path that the function sees: what follows the index, `/` at least.
        path: &'a str,
    },
    /// An administrative act, or a question.
    Admin(Admin),
}

/// A route whose first word is reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// `start`: start a function.
    Start,
    /// `processes`: list all records.
    Processes,
    /// `modules`: take the bytes of a module.
    Modules,
    /// `prune`: remove modules that nobody refers to.
    Prune,
    /// `duplicate/:name/:revision/:new`: give a process a second revision name.
    Duplicate {
        /// The function.
        name: FunctionName,
        /// The revision that is there.
        revision: Revision,
        /// Its second name.
        new: Revision,
    },
    /// `drop/:name[/:revision[/:index]]`: stop and forget.
    Drop(Selector),
    /// `health/:name[/:revision[/:index]]`: ask for its health.
    Health(Selector),
    /// `logs/:name[/:revision[/:index]]`: its last lines.
    Logs(Selector),
    /// `route/:name`: split its calls by weight.
    Route(FunctionName),
    /// `rollback/:name`: restore the route before.
    Rollback(FunctionName),
    /// `scale/:name/:revision/:n`: have this many indexes.
    Scale {
        /// The function.
        name: FunctionName,
        /// Its revision.
        revision: Revision,
        /// How many indexes are wanted; checked by the registry.
        count: Index,
    },
}

impl Admin {
    /// The method of the route; others are answered with 405.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Start | Self::Prune | Self::Rollback(_) => "POST",
            Self::Processes | Self::Health(_) | Self::Logs(_) => "GET",
            Self::Modules | Self::Duplicate { .. } | Self::Route(_) | Self::Scale { .. } => "PUT",
            Self::Drop(_) => "DELETE",
        }
    }

    /// Whether the administrator's token is needed: for everything but health.
    pub fn is_guarded(&self) -> bool {
        !matches!(self, Self::Health(_))
    }
}

/// Reads what follows `/functions/`, without the query.
///
/// # Errors
/// A call of a name, revision or index that cannot exist is not found; an administrative route with one is invalid,
/// and with too few or too many parts not found.
pub fn parse(tail: &str) -> Result<Target<'_>, Refusal> {
    let (word, rest) = match head_and_rest(Some(tail)) {
        (Some(word), rest) => (word, rest.unwrap_or_default()),
        (None, _) => (tail, ""),
    };
    let admin = match word {
        "start" | "processes" | "modules" | "prune" if rest.is_empty() => match word {
            "start" => Admin::Start,
            "processes" => Admin::Processes,
            "modules" => Admin::Modules,
            _ => Admin::Prune,
        },
        "duplicate" => match parts(rest)[..] {
            [name, revision, new] => {
                Admin::Duplicate { name: name.parse()?, revision: revision.parse()?, new: new.parse()? }
            }
            _ => return Err(shape(tail, "duplicate/name/revision/new")),
        },
        "scale" => match parts(rest)[..] {
            [name, revision, count] => {
                let count = count
                    .parse()
                    .map_err(|_| Refusal::invalid(format!("count: expected a number, found {}", quote(count))))?;
                Admin::Scale { name: name.parse()?, revision: revision.parse()?, count }
            }
            _ => return Err(shape(tail, "scale/name/revision/count")),
        },
        "drop" => Admin::Drop(selector(rest)?.ok_or_else(|| shape(tail, "drop/name[/revision[/index]]"))?),
        "health" => Admin::Health(selector(rest)?.ok_or_else(|| shape(tail, "health/name[/revision[/index]]"))?),
        "logs" => Admin::Logs(selector(rest)?.ok_or_else(|| shape(tail, "logs/name[/revision[/index]]"))?),
        "route" | "rollback" => match parts(rest)[..] {
            [name] if word == "route" => Admin::Route(name.parse()?),
            [name] => Admin::Rollback(name.parse()?),
            _ => return Err(shape(tail, &format!("{word}/name"))),
        },
        _ => return call(tail),
    };
    Ok(Target::Admin(admin))
}

/// Reads what follows `/notify/`: `name/revision[/index]`, where the revision may be missing too.
///
/// # Errors
/// Not such a path, or names that break the rules.
pub fn notify(tail: &str) -> Result<Selector, Refusal> {
    selector(tail)?
        .ok_or_else(|| Refusal::not_found(format!("expected `/notify/name/revision[/index]`, found {}", quote(tail))))
}

fn call(tail: &str) -> Result<Target<'_>, Refusal> {
    let unknown = || Refusal::not_found(format!("no function {}", quote(tail)));
    let (name, rest) = head_and_rest(Some(tail));
    let (revision, rest) = head_and_rest(rest);
    let (index, rest) = head_and_rest(rest);
    let name: FunctionName = name.unwrap_or_default().parse().map_err(|_| unknown())?;
    // One slash at the end is no part of its own.
    let empty_inside = (revision == Some("") && index.is_some()) || (index == Some("") && rest.is_some());
    if empty_inside {
        return Err(unknown());
    }
    let revision = revision.filter(|part| !part.is_empty()).map(Revision::new).transpose().map_err(|_| unknown())?;
    let index = index.filter(|part| !part.is_empty()).map(str::parse).transpose().map_err(|_| unknown())?;
    // The slash in front of the rest belongs to the path that the function sees.
    let path = rest.map_or("/", |rest| &tail[tail.len() - rest.len() - 1..]);
    Ok(Target::Call { selector: Selector { name, revision, index }, path })
}

/// What is in front of the first slash, and what is behind it. Asked for every call: a look at the bytes takes less time than a
/// search for a character.
fn head_and_rest(path: Option<&str>) -> (Option<&str>, Option<&str>) {
    let Some(path) = path else { return (None, None) };
    match path.bytes().position(|byte| byte == b'/') {
        Some(at) => (Some(&path[..at]), Some(&path[at + 1..])),
        None => (Some(path), None),
    }
}

/// The parts between slashes, without an empty one at the end.
fn parts(path: &str) -> Vec<&str> {
    // Five are enough to see that there are too many.
    path.strip_suffix('/').unwrap_or(path).splitn(5, '/').collect()
}

/// None when there are too few or too many parts.
fn selector(path: &str) -> Result<Option<Selector>, Refusal> {
    let parts = parts(path);
    if path.is_empty() || parts.len() > 3 {
        return Ok(None);
    }
    Ok(Some(Selector {
        name: parts[0].parse()?,
        revision: parts.get(1).map(|part| part.parse()).transpose()?,
        index: parts.get(2).map(|part| part.parse()).transpose()?,
    }))
}

fn shape(tail: &str, expected: &str) -> Refusal {
    Refusal::not_found(format!("expected `/functions/{expected}`, found {}", quote(&format!("/functions/{tail}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(tail: &str) -> String {
        match parse(tail) {
            Ok(Target::Call { selector, path }) => {
                let revision = selector.revision.map_or("-".to_owned(), |revision| revision.to_string());
                let index = selector.index.map_or("-".to_owned(), |index| index.to_string());
                format!("call {} {revision} {index} {path}", selector.name)
            }
            Ok(Target::Admin(Admin::Drop(selector))) => format!("drop {selector}"),
            Ok(Target::Admin(Admin::Health(selector))) => format!("health {selector}"),
            Ok(Target::Admin(Admin::Logs(selector))) => format!("logs {selector}"),
            Ok(Target::Admin(Admin::Scale { name, revision, count })) => format!("scale {name} {revision} {count}"),
            Ok(Target::Admin(Admin::Duplicate { name, revision, new })) => format!("duplicate {name} {revision} {new}"),
            Ok(Target::Admin(Admin::Route(name))) => format!("route {name}"),
            Ok(Target::Admin(Admin::Rollback(name))) => format!("rollback {name}"),
            Ok(Target::Admin(other)) => format!("{other:?}"),
            Err(refusal) => refusal.status().to_string(),
        }
    }

    #[test]
    fn calls() {
        for (tail, expected) in [
            ("hello", "call hello - - /"),
            ("hello/", "call hello - - /"),
            ("hello/blue", "call hello blue - /"),
            ("hello/blue/", "call hello blue - /"),
            ("hello/blue/3", "call hello blue 3 /"),
            ("hello/blue/3/", "call hello blue 3 /"),
            ("hello/blue/3/api/x", "call hello blue 3 /api/x"),
            ("hello/blue/3//a//", "call hello blue 3 //a//"),
            ("index.page", "call index.page - - /"),
            ("", "404"),
            ("/", "404"),
            ("hello//0", "404"),
            ("hello/blue//x", "404"),
            ("hello/blue/x", "404"),
            ("hello/blue/+1", "404"),
            ("hello/blue/01", "404"),
            ("hello/drop", "404"),
            ("a%2Fb", "404"),
            ("../etc/0/passwd", "404"),
        ] {
            assert_eq!(shown(tail), expected, "{tail}");
        }
    }

    #[test]
    fn administration() {
        for (tail, expected) in [
            ("start", "Start"),
            ("start/", "Start"),
            ("processes", "Processes"),
            ("modules", "Modules"),
            ("prune", "Prune"),
            ("prune/x", "404"),
            ("start/x", "404"),
            ("drop/hello", "drop hello/default"),
            ("drop/hello/blue", "drop hello/blue"),
            ("drop/hello/blue/1", "drop hello/blue/1"),
            ("drop/hello/blue/1/", "drop hello/blue/1"),
            ("drop", "404"),
            ("drop/", "404"),
            ("drop/hello/blue/1/2", "404"),
            ("drop/hello/blue/x", "422"),
            ("drop/..", "422"),
            ("health/hello", "health hello/default"),
            ("logs/hello/blue", "logs hello/blue"),
            ("scale/hello/blue/3", "scale hello blue 3"),
            ("scale/hello/blue/0", "scale hello blue 0"),
            ("scale/hello/blue/-1", "422"),
            ("scale/hello/blue", "404"),
            ("duplicate/hello/default/saved", "duplicate hello default saved"),
            ("duplicate/hello/default/drop", "422"),
            ("duplicate/hello/default", "404"),
            ("route/hello", "route hello"),
            ("route/hello/x", "404"),
            ("rollback/hello", "rollback hello"),
            ("rollback/", "422"),
        ] {
            assert_eq!(shown(tail), expected, "{tail}");
        }
    }

    #[test]
    fn notifications() {
        assert_eq!(notify("hello/blue/1").unwrap().to_string(), "hello/blue/1");
        assert_eq!(notify("hello").unwrap().to_string(), "hello/default");
        assert_eq!(notify("").unwrap_err().status(), 404);
        assert_eq!(notify("a/b/c").unwrap_err().status(), 422);
    }

    #[test]
    fn only_calls_and_health_are_open() {
        for (tail, method, guarded) in [
            ("start", "POST", true),
            ("processes", "GET", true),
            ("modules", "PUT", true),
            ("prune", "POST", true),
            ("duplicate/a/b/c", "PUT", true),
            ("drop/a", "DELETE", true),
            ("health/a", "GET", false),
            ("logs/a", "GET", true),
            ("route/a", "PUT", true),
            ("rollback/a", "POST", true),
            ("scale/a/b/2", "PUT", true),
        ] {
            let Ok(Target::Admin(admin)) = parse(tail) else { panic!("{tail}") };
            assert_eq!((admin.method(), admin.is_guarded()), (method, guarded), "{tail}");
        }
    }
}
