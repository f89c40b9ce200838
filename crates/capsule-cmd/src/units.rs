//! Values with a unit: durations, sizes, counts, ports and booleans, as a person types them.
//!
//! Every error is half a sentence, `expected ..., found ...`; the parser puts the flag in front. `0` and `none`
//! switch a limit off, which is `None` here.

use std::time::Duration;

/// The longest duration that is accepted: ten years. Clocks and timers still add it without overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Reads a duration: `500ms`, `10s`, `2m`, `1m30s`, `1.5h`, `1d`; a plain number is seconds; `0` and `none` are off.
///
/// # Errors
/// What was expected and what was found.
pub fn duration(text: &str) -> Result<Option<Duration>, String> {
    let wrong = || format!("expected a duration such as `500ms`, `10s` or `2m`, found `{text}`");
    if is_off(text) {
        return Ok(None);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, |c| c.is_ascii_alphabetic() || c == 'µ');
        let unit_nanos: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "" if number.len() == text.len() => 1_000_000_000,
            _ => return Err(wrong()),
        };
        let part = scaled(number, unit_nanos).ok_or_else(wrong)?;
        nanos = nanos.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    if nanos == 0 {
        return Ok(None);
    }
    match u64::try_from(nanos).map(Duration::from_nanos) {
        Ok(value) if value <= MAX_DURATION => Ok(Some(value)),
        _ => Err(format!("expected a duration of at most `3650d`, found `{text}`")),
    }
}

/// Reads a size in bytes: `64MiB`, `10MB`, `1GiB`, `1.5 GiB`; a plain number is bytes; `0` and `none` are off.
///
/// `kB`, `MB`, `GB`, `TB` are powers of 1000, `KiB`, `MiB`, `GiB`, `TiB` powers of 1024; upper and lower case are the same.
///
/// # Errors
/// What was expected and what was found.
pub fn size(text: &str) -> Result<Option<u64>, String> {
    let wrong = || format!("expected a size such as `64MiB`, `10MB` or a number of bytes, found `{text}`");
    if is_off(text) {
        return Ok(None);
    }
    let (number, unit) = split(text, |c| c.is_ascii_digit() || c == '.');
    let unit_bytes: u128 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = scaled(number, unit_bytes).ok_or_else(wrong)?;
    if bytes == 0 {
        return Ok(None);
    }
    u64::try_from(bytes).map(Some).map_err(|_| format!("expected a size below 16 EiB, found `{text}`"))
}

/// Reads a number of things; `0` and `none` are off.
///
/// # Errors
/// What was expected and what was found.
pub fn count(text: &str) -> Result<Option<u64>, String> {
    if is_off(text) {
        return Ok(None);
    }
    let value = digits(text).ok_or_else(|| format!("expected a whole number or `none`, found `{text}`"))?;
    Ok((value != 0).then_some(value))
}

/// Reads a port number; 0 lets the system choose a free one.
///
/// # Errors
/// What was expected and what was found.
pub fn port(text: &str) -> Result<u16, String> {
    digits(text)
        .and_then(|value| u16::try_from(value).ok())
        .ok_or_else(|| format!("expected a port number from 0 to 65535, found `{text}`"))
}

/// Reads a boolean, in the spellings of Go's `strconv.ParseBool`.
///
/// # Errors
/// What was expected and what was found.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("expected `true` or `false`, found `{text}`")),
    }
}

fn is_off(text: &str) -> bool {
    text == "0" || text.eq_ignore_ascii_case("none")
}

/// Splits at the first character that does not belong.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// Digits alone: `u64::from_str` would also take a leading `+`.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A decimal number times a unit, rounded down; exact, because floating point would lose bytes.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !whole.is_empty() && !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    // 19 digits fit a u64; more would say nothing about a byte or a nanosecond.
    if fraction.len() > 19 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = if fraction.is_empty() { 0 } else { u128::from(digits(fraction)?) };
    u128::from(digits(whole)?).checked_mul(unit)?.checked_add(fraction.checked_mul(unit)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |value| Ok(Some(Duration::from_millis(value)));
        for (text, expected) in [
            ("500ms", ms(500)),
            ("10s", ms(10_000)),
            ("2m", ms(120_000)),
            ("1m30s", ms(90_000)),
            ("1.5h", ms(5_400_000)),
            ("1d", ms(86_400_000)),
            ("7", ms(7_000)),
            ("0.25", ms(250)),
            ("250us", Ok(Some(Duration::from_micros(250)))),
            ("250µs", Ok(Some(Duration::from_micros(250)))),
            ("10ns", Ok(Some(Duration::from_nanos(10)))),
            ("0", Ok(None)),
            ("0s", Ok(None)),
            ("none", Ok(None)),
            ("None", Ok(None)),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
        for text in
            ["", "s", "-5s", "+5", "5 s", "1m30", "10x", "1.s", ".5s", "1.2.3s", "1e3s", "ten", "5S", "\u{0}", "٣s"]
        {
            let message = duration(text).unwrap_err();
            assert_eq!(message, format!("expected a duration such as `500ms`, `10s` or `2m`, found `{text}`"));
        }
        assert_eq!(duration("3650d"), Ok(Some(MAX_DURATION)));
        for text in ["3651d", "18446744073709551615s", "18446744073709551615"] {
            assert_eq!(duration(text).unwrap_err(), format!("expected a duration of at most `3650d`, found `{text}`"));
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("64MiB", Some(64 << 20)),
            ("64 MiB", Some(64 << 20)),
            ("64mib", Some(64 << 20)),
            ("10MB", Some(10_000_000)),
            ("1GiB", Some(1 << 30)),
            ("1.5GiB", Some(3 << 29)),
            ("2kB", Some(2_000)),
            ("2KiB", Some(2_048)),
            ("1TB", Some(1_000_000_000_000)),
            ("1TiB", Some(1 << 40)),
            ("123", Some(123)),
            ("123B", Some(123)),
            ("18446744073709551615", Some(u64::MAX)),
            ("0", None),
            ("0MiB", None),
            ("none", None),
        ] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "MiB", "-1", "+1", "64M", "64m", "1,5MB", "64 MiB x", "0x10", "1..5MB", "99999999999999999999"]
        {
            let message = size(text).unwrap_err();
            assert_eq!(
                message,
                format!("expected a size such as `64MiB`, `10MB` or a number of bytes, found `{text}`")
            );
        }
        assert_eq!(size("16777216TiB").unwrap_err(), "expected a size below 16 EiB, found `16777216TiB`");
    }

    #[test]
    fn counts_ports_and_booleans() {
        assert_eq!(count("1024"), Ok(Some(1024)));
        assert_eq!(count("0"), Ok(None));
        assert_eq!(count("00"), Ok(None));
        assert_eq!(count("none"), Ok(None));
        assert_eq!(count("-1").unwrap_err(), "expected a whole number or `none`, found `-1`");
        assert_eq!(count("1.5").unwrap_err(), "expected a whole number or `none`, found `1.5`");
        assert_eq!(port("0"), Ok(0));
        assert_eq!(port("65535"), Ok(65535));
        assert_eq!(port("65536").unwrap_err(), "expected a port number from 0 to 65535, found `65536`");
        assert_eq!(port("+80").unwrap_err(), "expected a port number from 0 to 65535, found `+80`");
        assert_eq!(boolean("T"), Ok(true));
        assert_eq!(boolean("false"), Ok(false));
        assert_eq!(boolean("yes").unwrap_err(), "expected `true` or `false`, found `yes`");
    }
}
