//! How long an answer asks to be left alone.
use std::time::{Duration, SystemTime};
use ureq::http::HeaderMap;

/// The pause that the headers of an answer ask for: `Retry-After`, in seconds or as the date when
/// to come back, or the hub's `t=` in `RateLimit`. A date is compared with the answer's own `Date`,
/// since clocks differ, and with `now` where it has none; one in the past is no pause. `None` if
/// they ask for nothing that can be read.
pub(super) fn asked_pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |name: &str| httpdate::parse_http_date(header(name)?).ok();
    let until = || {
        let sent = date("date").unwrap_or(now);
        Some(date("retry-after")?.duration_since(sent).unwrap_or(Duration::ZERO))
    };
    let reset = || {
        let mut parts = header("ratelimit")?.split([';', ',']);
        parts.find_map(|part| seconds(part.trim().strip_prefix("t=")?))
    };
    header("retry-after").and_then(seconds).or_else(until).or_else(reset)
}

/// A number of seconds. One that is too large for a number is longer than anyone waits, too.
fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;
    use ureq::http::{HeaderName, HeaderValue};

    /// What headers ask for, where the clock here says 1994-11-06 08:49:37.
    fn of(headers: &[(&str, &str)]) -> Option<u64> {
        let header = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        asked_pause(&headers.iter().map(header).collect(), now).map(|pause| pause.as_secs())
    }

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        assert_eq!(of(&[("Retry-After", " 7 ")]), Some(7));
        assert_eq!(of(&[("Retry-After", "0")]), Some(0));
        assert_eq!(of(&[("Retry-After", "99999999999999999999999")]), Some(u64::MAX));
        for date in
            ["Sun, 06 Nov 1994 08:50:07 GMT", "Sunday, 06-Nov-94 08:50:07 GMT", "Sun Nov  6 08:50:07 1994"]
        {
            assert_eq!(of(&[("Retry-After", date)]), Some(30), "{date}");
            // The server's clock is 20 seconds before this one.
            let sent = ("Date", "Sun, 06 Nov 1994 08:49:57 GMT");
            assert_eq!(of(&[("Retry-After", date), sent]), Some(10), "{date}");
        }
        assert_eq!(of(&[("Retry-After", "Sat, 05 Nov 1994 08:50:07 GMT")]), Some(0), "that is past");
    }

    #[test]
    fn the_hub_says_when_its_limit_ends() {
        assert_eq!(of(&[("RateLimit", "\"api\";r=0;t=55")]), Some(55));
        assert_eq!(of(&[("RateLimit", "\"api\";r=0;t=55"), ("Retry-After", "3")]), Some(3));
        assert_eq!(of(&[("RateLimit", "\"api\";r=0;t=55"), ("Retry-After", "soon")]), Some(55));
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        for text in ["", "soon", "-1", "1.5", "+3", "Sun, 99 Nov 1994 08:50:07 GMT", "Nov 1994"] {
            assert_eq!(of(&[("Retry-After", text)]), None, "{text}");
        }
        assert_eq!(of(&[("RateLimit", "t=")]), None);
        assert_eq!(of(&[]), None);
    }
}
