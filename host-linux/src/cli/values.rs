//! Values of flags: what each must be is said by one sentence that names its range.
use std::fmt::Display;
use std::str::FromStr;
use verbatim_core::sampling::SamplingParams;

/// A whole number of any size that its type holds.
pub(super) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected a whole number of 0 or more".to_owned())
}

/// A whole number that is not 0.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of 1 or more".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// A whole number from `low` to `high`.
fn within<T: FromStr + PartialOrd + Display>(text: &str, low: T, high: T) -> Result<T, String> {
    match text.parse() {
        Ok(number) if number >= low && number <= high => Ok(number),
        _ => Err(format!("expected a whole number from {low} to {high}")),
    }
}

/// A number of sequences that are measured at once.
pub(super) fn one_to_64(text: &str) -> Result<usize, String> {
    within(text, 1, 64)
}

/// A port of TCP.
pub(super) fn port(text: &str) -> Result<u16, String> {
    within(text, 0, u16::MAX)
}

/// A priority, as keys have them.
pub(super) fn priority(text: &str) -> Result<i8, String> {
    within(text, 0, i8::MAX)
}

/// The number of a descriptor that another program may have opened.
pub(super) fn descriptor(text: &str) -> Result<i32, String> {
    within(text, 1, i32::MAX)
}

/// A number in the range that the engine allows of the parameter which `put` sets.
fn sampling(text: &str, put: impl Fn(&mut SamplingParams, f32)) -> Result<f32, String> {
    // What is no number is outside of every range.
    let value = text.parse().unwrap_or(f32::NAN);
    let mut params = SamplingParams::GREEDY;
    put(&mut params, value);
    params.check().map(|()| value).map_err(|error| format!("expected a number {}", error.expected))
}

/// A temperature that the engine takes.
pub(super) fn temperature(text: &str) -> Result<f32, String> {
    sampling(text, |params, value| params.temperature = value)
}

/// A share of the probability, as of `top_p`.
pub(super) fn top_p(text: &str) -> Result<f32, String> {
    sampling(text, |params, value| params.top_p = value)
}

/// A share of the greatest probability, as of `min_p`.
pub(super) fn min_p(text: &str) -> Result<f32, String> {
    sampling(text, |params, value| params.min_p = value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_by_their_range() {
        assert_eq!(whole::<u32>("7"), Ok(7));
        for wrong in ["-1", "", "1.5", "x", "4294967296"] {
            assert_eq!(whole::<u32>(wrong).unwrap_err(), "expected a whole number of 0 or more", "{wrong}");
        }
        assert_eq!(at_least_one("1"), Ok(1));
        assert_eq!(at_least_one("0").unwrap_err(), "expected a whole number of 1 or more");
    }

    #[test]
    fn what_samples_has_the_engines_ranges() {
        assert_eq!(temperature("0.7"), Ok(0.7));
        for wrong in ["-1", "101", "nan", "inf", "warm", ""] {
            let error = temperature(wrong).unwrap_err();
            assert_eq!(error, "expected a number between 0 and 100", "{wrong}");
        }
        assert_eq!(top_p("0").unwrap_err(), "expected a number above 0 and at most 1");
        assert_eq!(min_p("2").unwrap_err(), "expected a number between 0 and 1");
    }
}
