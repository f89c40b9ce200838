//! A function for the terminal: it reads the environment, writes a file and reads it back, and greets.

use capsule_mdk::{Result, get_env, print, read_file, write_file};

capsule_mdk::handle!(hello);

fn hello(name: &str) -> Result<String> {
    print(format!("Environment variable → MESSAGE: {}", get_env("MESSAGE")));

    write_file("./hello.txt", "👋 Hello World! 🌍")?;
    let content = read_file("./hello.txt")?;
    print(format!("📝: {}", String::from_utf8_lossy(&content)));

    Ok(format!("👋 Hello {name}"))
}

fn main() {}

#[cfg(test)]
mod tests {
    use capsule_mdk::standin;

    #[test]
    fn greets_and_writes_a_file() {
        standin::set_env("MESSAGE", "🎉");
        assert_eq!(super::hello("Bob").unwrap(), "👋 Hello Bob");
        assert_eq!(standin::printed(), ["Environment variable → MESSAGE: 🎉", "📝: 👋 Hello World! 🌍"]);
        assert_eq!(standin::file("./hello.txt").unwrap(), "👋 Hello World! 🌍".as_bytes());
    }
}
