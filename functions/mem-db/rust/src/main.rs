//! A function for the terminal that stores values in the runner's memory, deletes one and lists the rest.

use capsule_mdk::{Result, cache, print};

capsule_mdk::handle!(run);

fn run(_: &[u8]) -> Result<&'static str> {
    for (key, value) in [("one", "👋 hello world 🌍"), ("two", "two"), ("three", "three"), ("four", "four")] {
        cache::set(key, value)?;
    }
    print(format!("📝: {}", String::from_utf8_lossy(&cache::get("one")?)));

    cache::del("three")?;
    for key in cache::keys("*")? {
        print(format!("🔑 {key}"));
    }
    Ok("👋 Hello")
}

fn main() {}

#[cfg(test)]
mod tests {
    use capsule_mdk::standin;

    #[test]
    fn three_keys_are_left() {
        assert_eq!(super::run(b"").unwrap(), "👋 Hello");
        let printed = standin::printed();
        assert_eq!(printed[0], "📝: 👋 hello world 🌍");
        let mut keys = printed[1..].to_vec();
        keys.sort();
        assert_eq!(keys, ["🔑 four", "🔑 one", "🔑 two"]);
    }
}
