//! How much a key may ask for: requests and tokens a minute, and requests at once.
//!
//! Each of the first two is a bucket that holds a minute's worth, is full at first, and fills
//! evenly. A request takes 1 when it comes. Tokens are known only after the answer, so they are
//! taken then, and the bucket may fall below empty; until it holds a token again, nothing more is
//! let in. Time is handed in by the caller.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Nanoseconds of a minute.
const MINUTE_NS: u128 = 60_000_000_000;

/// What the holder of a key may ask for. None is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Requests that generate, in a minute; at least 1.
    pub requests_per_minute: Option<u64>,
    /// Tokens of prompts and outputs, in a minute; at least 1.
    pub tokens_per_minute: Option<u64>,
    /// Requests that generate, at once; at least 1.
    pub concurrent: Option<u64>,
    /// The greatest priority that a request may have; the engine's, where a greater one is sooner.
    pub max_priority: i8,
    /// Whether the holder may see and cancel the requests of all keys.
    pub is_admin: bool,
}

/// What was taken from a bucket and has not come back yet.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    /// In parts of a token (or request), so many that one a minute comes back each nanosecond.
    owed: u128,
    /// When the above was right; none before the first use.
    at: Option<Instant>,
}

impl Meter {
    /// Gives back what has come back by `now`.
    fn settle(&mut self, per_minute: u64, now: Instant) {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.owed = self.owed.saturating_sub(passed.as_nanos().saturating_mul(per_minute.into()));
        self.at = Some(now);
    }

    fn take(&mut self, count: u64) {
        self.owed = self.owed.saturating_add(u128::from(count) * MINUTE_NS);
    }

    /// Time until `owed` is at most `most`.
    fn wait(&self, per_minute: u64, most: u128) -> Duration {
        let excess = self.owed.saturating_sub(most).div_ceil(u128::from(per_minute.max(1)));
        Duration::from_nanos(u64::try_from(excess).unwrap_or(u64::MAX))
    }

    /// Time until one more can be taken; zero if it can be now.
    fn wait_for_one(&self, per_minute: u64) -> Duration {
        self.wait(per_minute, (u128::from(per_minute) * MINUTE_NS).saturating_sub(MINUTE_NS))
    }

    fn standing(&self, per_minute: u64) -> Standing {
        let left = (u128::from(per_minute) * MINUTE_NS).saturating_sub(self.owed) / MINUTE_NS;
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        Standing { limit: per_minute, left, full_in: self.wait(per_minute, 0) }
    }
}

/// How a bucket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it holds when it is full.
    pub limit: u64,
    /// What can be taken now.
    pub left: u64,
    /// Time until it is full, if nothing more is taken.
    pub full_in: Duration,
}

/// Why a request is not let in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// The minute's requests are spent, for so long.
    Requests(u64, Duration),
    /// The minute's tokens are spent, for so long.
    Tokens(u64, Duration),
    /// So many requests are running.
    Concurrent(u64),
}

impl Spent {
    /// Whole seconds until the same request would be let in, as far as is known; at least 1.
    pub fn retry_after_s(&self) -> u64 {
        match self {
            Self::Requests(_, wait) | Self::Tokens(_, wait) => {
                (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
            }
            Self::Concurrent(_) => 1,
        }
    }

    /// The names of all budgets of keys.
    pub const BUDGETS: [&'static str; 3] =
        ["key-requests-per-minute", "key-tokens-per-minute", "key-concurrent"];

    /// The budget's name, for whoever counts refusals.
    pub fn budget(&self) -> &'static str {
        let [requests, tokens, concurrent] = Self::BUDGETS;
        match self {
            Self::Requests(..) => requests,
            Self::Tokens(..) => tokens,
            Self::Concurrent(_) => concurrent,
        }
    }
}

impl std::fmt::Display for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.retry_after_s();
        match self {
            Self::Requests(limit, _) => {
                write!(f, "this key may send {limit} requests a minute; try again in {seconds} s")
            }
            Self::Tokens(limit, _) => {
                write!(f, "this key may use {limit} tokens a minute; try again in {seconds} s")
            }
            Self::Concurrent(limit) => write!(f, "this key may have {limit} requests at once"),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    requests: Meter,
    tokens: Meter,
    running: u64,
}

/// What was taken with a key. It outlives the limits, which may be read anew.
#[derive(Debug, Default)]
pub struct Account(Mutex<Taken>);

/// A place among the requests of a key that run at once, given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<Account>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken().running -= 1;
    }
}

impl Account {
    /// Each method leaves it whole, so that a panic elsewhere does no harm.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request in, if all limits allow it; what is refused takes nothing.
    pub fn admit(self: &Arc<Self>, limits: &KeyLimits, now: Instant) -> Result<Place, Spent> {
        let mut taken = self.taken();
        if let Some(limit) = limits.concurrent.filter(|limit| taken.running >= *limit) {
            return Err(Spent::Concurrent(limit));
        }
        if let Some(limit) = limits.tokens_per_minute {
            taken.tokens.settle(limit, now);
            let wait = taken.tokens.wait_for_one(limit);
            if !wait.is_zero() {
                return Err(Spent::Tokens(limit, wait));
            }
        }
        if let Some(limit) = limits.requests_per_minute {
            taken.requests.settle(limit, now);
            let wait = taken.requests.wait_for_one(limit);
            if !wait.is_zero() {
                return Err(Spent::Requests(limit, wait));
            }
            taken.requests.take(1);
        }
        taken.running += 1;
        drop(taken);
        Ok(Place(Arc::clone(self)))
    }

    /// Takes the tokens of an answer that has ended.
    pub fn charge(&self, limits: &KeyLimits, tokens: u64, now: Instant) {
        let Some(limit) = limits.tokens_per_minute else { return };
        let mut taken = self.taken();
        taken.tokens.settle(limit, now);
        taken.tokens.take(tokens);
    }

    /// How the buckets of requests and of tokens stand, where there are limits.
    pub fn standing(&self, limits: &KeyLimits, now: Instant) -> (Option<Standing>, Option<Standing>) {
        let mut taken = self.taken();
        let requests = limits.requests_per_minute.map(|limit| {
            taken.requests.settle(limit, now);
            taken.requests.standing(limit)
        });
        let tokens = limits.tokens_per_minute.map(|limit| {
            taken.tokens.settle(limit, now);
            taken.tokens.standing(limit)
        });
        (requests, tokens)
    }
}

/// A time as OpenAI's `x-ratelimit-reset-…` headers write it: `120ms`, `8.64s`, `6m0s`, `1h0m0s`.
pub fn reset_text(time: Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    if millis < 1000 {
        return format!("{millis}ms");
    }
    if millis < 60_000 {
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        return format!("{}s", text.trim_end_matches('0').trim_end_matches('.'));
    }
    let seconds = millis.div_ceil(1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}h{minutes}m{seconds}s") } else { format!("{minutes}m{seconds}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn requests_come_back_evenly() {
        let limits = KeyLimits { requests_per_minute: Some(6), ..KeyLimits::default() };
        let (account, start) = (Arc::new(Account::default()), Instant::now());
        let admit = |after: Duration| account.admit(&limits, start + after).map(drop);
        for _ in 0..6 {
            assert_eq!(admit(Duration::ZERO), Ok(()));
        }
        assert_eq!(admit(Duration::ZERO), Err(Spent::Requests(6, seconds(10))));
        let refused = admit(Duration::from_millis(9_001)).unwrap_err();
        assert_eq!((refused, refused.retry_after_s()), (Spent::Requests(6, Duration::from_millis(999)), 1));
        let refused = admit(Duration::from_millis(8_999)).unwrap_err();
        assert_eq!(refused.retry_after_s(), 1, "a clock that goes back gives nothing");
        assert_eq!(admit(seconds(10)), Ok(()), "what was refused took nothing");
        assert!(admit(seconds(10)).is_err());
        for _ in 0..6 {
            assert_eq!(admit(seconds(1000)), Ok(()), "no more than a minute's worth is held");
        }
        assert!(admit(seconds(1000)).is_err());
    }

    #[test]
    fn tokens_are_owed_until_they_have_come_back() {
        let limits = KeyLimits { tokens_per_minute: Some(60), ..KeyLimits::default() };
        let (account, start) = (Arc::new(Account::default()), Instant::now());
        let admit = |after| account.admit(&limits, start + seconds(after)).map(drop);
        assert_eq!(admit(0), Ok(()));
        account.charge(&limits, 59, start);
        assert_eq!(admit(0), Ok(()), "a token is left");
        account.charge(&limits, 100, start);
        // 99 are owed beyond the bucket's bottom, and one must be there.
        assert_eq!(admit(0), Err(Spent::Tokens(60, seconds(100))));
        assert_eq!(admit(0).unwrap_err().retry_after_s(), 100);
        assert_eq!(admit(99).unwrap_err().retry_after_s(), 1);
        assert_eq!(admit(100), Ok(()));
        let (requests, tokens) = account.standing(&limits, start + seconds(110));
        assert_eq!(requests, None);
        assert_eq!(tokens, Some(Standing { limit: 60, left: 11, full_in: seconds(49) }));
        account.charge(&limits, u64::MAX, start + seconds(110));
        account.charge(&limits, u64::MAX, start + seconds(110));
        assert!(admit(100_000).is_err(), "numbers without end do no harm");
        assert_eq!(account.standing(&limits, start).1.unwrap().left, 0);
    }

    #[test]
    fn places_are_given_back() {
        let limits = KeyLimits { concurrent: Some(2), ..KeyLimits::default() };
        let (account, now) = (Arc::new(Account::default()), Instant::now());
        let first = account.admit(&limits, now).unwrap();
        let _second = account.admit(&limits, now).unwrap();
        assert_eq!(account.admit(&limits, now).unwrap_err(), Spent::Concurrent(2));
        drop(first);
        let third = account.admit(&limits, now);
        assert!(third.is_ok() && account.admit(&limits, now).is_err());
        // Limits that are read anew count those that run.
        let wider = KeyLimits { concurrent: Some(3), ..limits };
        assert!(account.admit(&wider, now).is_ok());
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let (account, now) = (Arc::new(Account::default()), Instant::now());
        let limits = KeyLimits::default();
        for _ in 0..1000 {
            account.charge(&limits, 1000, now);
            assert!(account.admit(&limits, now).is_ok());
        }
        assert_eq!(account.standing(&limits, now), (None, None));
    }

    #[test]
    fn times_are_written_as_openai_does() {
        for (millis, text) in [
            (0, "0ms"),
            (120, "120ms"),
            (999, "999ms"),
            (1000, "1s"),
            (8640, "8.64s"),
            (59_999, "59.999s"),
            (60_000, "1m0s"),
            (360_000, "6m0s"),
            (3_599_001, "1h0m0s"),
            (7_384_000, "2h3m4s"),
        ] {
            assert_eq!(reset_text(Duration::from_millis(millis)), text);
        }
        assert_eq!(reset_text(Duration::from_nanos(1)), "1ms");
    }
}
