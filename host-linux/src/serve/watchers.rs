//! Those who watch the server live: few at once, since each is sent everything over and over.
use super::error::ApiError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many may watch at once.
pub const WATCHERS_MAX: usize = 8;

/// How many watch now.
#[derive(Debug, Default)]
pub struct Watchers(AtomicUsize);

/// One of them, until this is dropped.
#[derive(Debug)]
pub struct Watching<'w>(&'w Watchers);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watchers {
    /// Lets one more watch, or refuses it with 503 where too many do.
    pub fn enter(&self) -> Result<Watching<'_>, ApiError> {
        let fits = |count: usize| (count < WATCHERS_MAX).then_some(count + 1);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(Watching(self)),
            Err(count) => {
                let message = format!("{count} watch this server already, which is the most; close one");
                Err(ApiError::server(503, message))
            }
        }
    }

    /// How many watch now.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_may_watch_and_no_more() {
        let watchers = Watchers::default();
        let mut all: Vec<_> = (0..WATCHERS_MAX).map(|_| watchers.enter().expect("a place")).collect();
        assert_eq!(watchers.enter().unwrap_err().status, 503);
        all.pop();
        assert_eq!(watchers.count(), WATCHERS_MAX - 1);
        assert!(watchers.enter().is_ok());
        drop(all);
        assert_eq!(watchers.count(), 0);
    }
}
