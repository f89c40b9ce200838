//! The list of functions as a table: one line for each, in columns.

use std::io::IsTerminal as _;

use capsule_faas_model::names::Key;
use capsule_faas_model::record::{Listing, Record};

/// The last column has no width.
const HEADS: [&str; 6] = ["FUNCTION", "STATUS", "STARTED", "PORT", "PID", "DESCRIPTION"];
/// What stands in a cell without a value.
const NONE: &str = "-";

/// Colour only for a terminal whose user did not switch it off.
pub(crate) fn stdout_has_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The table of an answer, in the order of names, revisions and numbers; `None` when it is no listing.
pub(crate) fn table(answer: &str, colour: bool) -> Option<String> {
    let listing: Listing = serde_json::from_str(answer).ok()?;
    let rows: Vec<[String; 6]> = listing.iter().map(|(key, record)| row(key, record)).collect();
    let mut widths = HEADS.map(str::len);
    for cells in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let (bold, plain) = if colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let mut out = format!("{bold}{}{plain}\n", line(&HEADS.map(str::to_owned), &widths));
    for cells in &rows {
        out.push_str(&line(cells, &widths));
        out.push('\n');
    }
    Some(out)
}

fn row(key: &Key, record: &Record) -> [String; 6] {
    let status = record.current_status.label();
    // The reason of a failure, where there is one.
    let reason = Some(record.status_description.as_str()).filter(|text| *text != status);
    let notes = [Some(record.description.as_str()), reason].into_iter().flatten().filter(|text| !text.is_empty());
    let notes: Vec<&str> = notes.collect();
    let cells = [
        key.to_string(),
        status.to_owned(),
        record.started_at.map(|time| format!("{time:.0}")).unwrap_or_default(),
        record.http_port.clone(),
        record.pid.to_string(),
        notes.join("; "),
    ];
    cells.map(|cell| clean(&cell))
}

/// A cell without control characters: a description must not drive the terminal.
fn clean(text: &str) -> String {
    if text.is_empty() {
        return NONE.to_owned();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn line(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        out.push_str(&format!("{cell:<width$}  "));
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(revision: &str, index: u32, more: Value) -> Value {
        let mut record =
            json!({"index": index, "functionName": "hello", "functionRevision": revision, "currentStatus": 1});
        for (name, value) in more.as_object().unwrap() {
            record[name] = value.clone();
        }
        record
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let answer = json!({
            "hello/default/10": record("default", 10, json!({
                "currentStatus": 7, "statusDescription": "Stopped", "pid": 7, "startedAt": "0001-01-01T00:00:00Z",
            })),
            "hello/default/9": record("default", 9, json!({
                "pid": 4711, "httpPort": "8081", "description": "a\u{1b}[2J\nb", "startedAt": "2026-03-01T10:20:30.123456+01:00",
            })),
            "hello/blue/0": record("blue", 0, json!({
                "currentStatus": 3, "statusDescription": "Failed: no\nmemory", "description": "blue", "args": [""], "env": null,
            })),
        });
        let expected = "\
FUNCTION          STATUS   STARTED               PORT  PID   DESCRIPTION
hello/blue/0      Failed   -                     -     0     blue; Failed: no memory
hello/default/9   Started  2026-03-01T09:20:30Z  8081  4711  a [2J b
hello/default/10  Stopped  -                     -     7     -
";
        assert_eq!(table(&answer.to_string(), false).unwrap(), expected);
        let coloured = table("{}", true).unwrap();
        assert_eq!(coloured, "\x1b[1mFUNCTION  STATUS  STARTED  PORT  PID  DESCRIPTION\x1b[0m\n");
        for wrong in ["", "[]", "null", "Capsule v0.4.2[faas]", r#"{"a":1}"#, r#"{"a/b/0":{}}"#] {
            assert_eq!(table(wrong, false), None, "{wrong}");
        }
    }
}
