//! Figures in words that a person reads at a glance.
use std::time::Duration;

/// Bytes with three significant digits, in units of 1000.
pub fn bytes(count: u64) -> String {
    scaled(count as f64, &["B", "kB", "MB", "GB", "TB"])
}

/// A rate, such as bytes or operations a second, with three significant digits.
pub fn rate(each_second: f64, unit: &str) -> String {
    let prefixed = scaled(each_second, &["", "k", "M", "G", "T"]);
    format!("{prefixed}{unit}/s")
}

/// Tokens a second, with as many digits as tell something.
pub fn tokens(each_second: f64) -> String {
    let digits = if each_second < 9.995 { 2 } else { usize::from(each_second < 99.95) };
    format!("{each_second:.digits$} tokens/s")
}

/// So many tokens, and how fast those behind the first one came, which took `time`; where that is
/// none, nothing is said of it.
pub fn tokens_behind(count: usize, time: Duration) -> String {
    if count < 2 || time.is_zero() {
        return format!("{count} tokens");
    }
    let each = time.as_secs_f64() / (count - 1) as f64;
    format!("{count} tokens, {:.2} ms/token, {:.1} tokens/s", each * 1e3, 1.0 / each)
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // What rounds to 1000 of a unit is one of the next.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 && value.fract() == 0.0 {
        0
    } else if value < 9.995 {
        2
    } else {
        usize::from(value < 99.95)
    };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_told_where_there_is_one() {
        let told = |micros| tokens_behind(11, Duration::from_micros(micros));
        assert_eq!(told(100_000), "11 tokens, 10.00 ms/token, 100.0 tokens/s");
        assert_eq!(told(0), "11 tokens");
        assert_eq!(tokens_behind(1, Duration::from_secs(1)), "1 tokens");
    }

    #[test]
    fn three_digits_are_enough() {
        let told = [0, 999, 1000, 9_996, 123_456, 999_500_000, 2_200_000_000, u64::MAX].map(bytes);
        let expected = ["0 B", "999 B", "1.00 kB", "10.0 kB", "123 kB", "1.00 GB", "2.20 GB", "18446744 TB"];
        assert_eq!(told, expected);
        assert_eq!(rate(37.25e9, "B"), "37.2 GB/s");
        let told = [0.5, 12.34, 6549.6].map(tokens);
        assert_eq!(told, ["0.50 tokens/s", "12.3 tokens/s", "6550 tokens/s"]);
    }
}
