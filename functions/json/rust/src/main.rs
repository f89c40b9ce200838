//! A function over HTTP that reads an order as JSON and answers its sum as JSON. The native server of the benchmarks does the same
//! (`benches/floor`): what is left to measure is what the sandbox costs.

use capsule_mdk::{Request, Response, Result};
use serde::{Deserialize, Serialize};

capsule_mdk::handle_http!(sum);

#[derive(Deserialize)]
struct Order {
    customer: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    price: u64,
    count: u64,
}

#[derive(Serialize)]
struct Sum {
    customer: String,
    names: Vec<String>,
    total: u64,
}

fn sum(request: Request<'_>) -> Result<Response> {
    let order: Order = request.json()?;
    let total = order.items.iter().fold(0, |sum: u64, item| sum.saturating_add(item.price.saturating_mul(item.count)));
    let names = order.items.into_iter().map(|item| item.name).collect();
    Ok(Response::json(&Sum { customer: order.customer, names, total })?)
}

fn main() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_what_the_items_cost() {
        let order =
            r#"{"customer":"Bob","items":[{"name":"tea","price":250,"count":2},{"name":"cup","price":900,"count":1}]}"#;
        let answer = sum(Request::new("POST", "http://h/").with_body(order)).unwrap();
        assert_eq!(answer.body(), br#"{"customer":"Bob","names":["tea","cup"],"total":1400}"#);
        let error = sum(Request::new("POST", "http://h/").with_body("Bob")).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "expected value at line 1 column 1");
    }
}
