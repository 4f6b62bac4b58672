//! Figures in words that a person reads at a glance.

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
    fn three_digits_are_enough() {
        let told = [0, 999, 1000, 9_996, 123_456, 999_500_000, 2_200_000_000, u64::MAX].map(bytes);
        let expected = ["0 B", "999 B", "1.00 kB", "10.0 kB", "123 kB", "1.00 GB", "2.20 GB", "18446744 TB"];
        assert_eq!(told, expected);
        assert_eq!(rate(37.25e9, "B"), "37.2 GB/s");
        let told = [0.5, 12.34, 6549.6].map(tokens);
        assert_eq!(told, ["0.50 tokens/s", "12.3 tokens/s", "6550 tokens/s"]);
    }
}
