//! Rows of figures, printed as they come: aligned for people, or one JSON object a line.

use serde_json::{Map, Value};

/// What a column is called, for people and in JSON; its unit stands behind each figure.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) key: &'static str,
    pub(super) unit: &'static str,
    /// Digits behind the point.
    pub(super) digits: usize,
}

/// A column of figures.
pub(super) const fn column(title: &'static str, key: &'static str, unit: &'static str, digits: usize) -> Column {
    Column { title, key, unit, digits }
}

/// Rows with a name and figures.
pub(super) struct Table {
    columns: &'static [Column],
    json: bool,
}

/// How wide names are.
const NAME: usize = 38;
/// How wide figures are, with their units.
const FIGURE: usize = 13;

impl Table {
    /// Prints the head.
    pub(super) fn new(json: bool, title: &str, columns: &'static [Column]) -> Table {
        let table = Table { columns, json };
        if !json {
            let titles = columns.iter().map(|column| format!("{:>FIGURE$}", column.title));
            println!("{}", line(title, titles));
        }
        table
    }

    /// Prints a row: a figure for each column, `None` where there is none.
    pub(super) fn row(&self, name: &str, figures: &[Option<f64>]) {
        println!("{}", if self.json { self.object(name, figures).to_string() } else { self.aligned(name, figures) });
    }

    fn aligned(&self, name: &str, figures: &[Option<f64>]) -> String {
        let cells = self.columns.iter().zip(figures).map(|(column, figure)| match figure {
            Some(figure) => format!("{:>FIGURE$}", format!("{figure:.*}{}", column.digits, column.unit)),
            None => " ".repeat(FIGURE),
        });
        line(name, cells)
    }

    fn object(&self, name: &str, figures: &[Option<f64>]) -> Value {
        let mut object = Map::new();
        object.insert("name".to_owned(), name.into());
        for (column, figure) in self.columns.iter().zip(figures) {
            if let Some(figure) = figure {
                let scale = 10_f64.powi(i32::try_from(column.digits).unwrap_or_default());
                object.insert(column.key.to_owned(), ((figure * scale).round() / scale).into());
            }
        }
        object.into()
    }
}

fn line(name: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.collect();
    format!("{name:<NAME$}{cells}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[column("time", "milliseconds", "ms", 2), column("ratio", "ratio", "", 1)];

    #[test]
    fn figures_are_rounded_and_may_be_missing() {
        let table = Table { columns: COLUMNS, json: false };
        assert_eq!(table.aligned("a", &[Some(1.239), None]), format!("{:<38}{:>13}", "a", "1.24ms"));
        assert_eq!(table.object("a", &[None, Some(0.25)]).to_string(), r#"{"name":"a","ratio":0.3}"#);
    }
}
