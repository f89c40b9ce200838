//! What `functions/json` does, natively.

use serde::{Deserialize, Serialize};

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

/// The sum of an order, both as JSON.
///
/// # Errors
/// It is no order.
pub(crate) fn of(order: &[u8]) -> serde_json::Result<String> {
    let order: Order = serde_json::from_slice(order)?;
    let total = order.items.iter().fold(0, |sum: u64, item| sum.saturating_add(item.price.saturating_mul(item.count)));
    let names = order.items.into_iter().map(|item| item.name).collect();
    serde_json::to_string(&Sum { customer: order.customer, names, total })
}

#[cfg(test)]
mod tests {
    #[test]
    fn adds_up_what_the_items_cost() {
        let order = br#"{"customer":"Bob","items":[{"name":"tea","price":250,"count":2},{"name":"cup","price":900,"count":1}]}"#;
        assert_eq!(super::of(order).unwrap(), r#"{"customer":"Bob","names":["tea","cup"],"total":1400}"#);
        assert!(super::of(b"Bob").is_err());
    }
}
