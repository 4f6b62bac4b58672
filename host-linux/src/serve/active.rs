//! Requests that the engine computes for now, by number. Whoever watches the engine finds in here
//! whose its sequences are, and who may ends them.
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whose request it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The request's id, as its answer's `x-request-id` says it. Clients choose it, so several may
    /// have the same.
    pub request_id: String,
    /// The path of its route.
    pub route: Option<&'static str>,
    /// The name of the API key that it came with.
    pub key: Option<Arc<str>>,
    /// Who owns what the request leaves behind; nobody where no key is demanded.
    pub owner: Option<Arc<str>>,
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Active {
    /// Its number among all since the server started, from 1: the tag of its sequences.
    pub number: u64,
    /// Who asked for it.
    pub sender: Sender,
    is_cancelled: AtomicBool,
}

impl Active {
    /// Whether somebody else than its client has ended it.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// All of them; there are no more than connections and lines of batches that are answered at once.
#[derive(Debug, Default)]
pub struct ActiveRequests {
    count: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<Active>>>,
}

/// A request that is among them until this is dropped.
#[derive(Debug)]
pub struct Entered<'a> {
    among: &'a ActiveRequests,
    active: Arc<Active>,
}

impl Entered<'_> {
    /// The request, for a thread of its own.
    pub fn shared(&self) -> Arc<Active> {
        Arc::clone(&self.active)
    }
}

impl Deref for Entered<'_> {
    type Target = Active;

    fn deref(&self) -> &Active {
        &self.active
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.among.all().remove(&self.active.number);
    }
}

impl ActiveRequests {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Active>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request, with the next number.
    pub fn enter(&self, sender: Sender) -> Entered<'_> {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let active = Arc::new(Active { number, sender, is_cancelled: AtomicBool::new(false) });
        self.all().insert(number, Arc::clone(&active));
        Entered { among: self, active }
    }

    /// Those with these numbers that are still there, in the same places.
    pub fn find(&self, numbers: impl Iterator<Item = u64>) -> Vec<Option<Arc<Active>>> {
        let all = self.all();
        numbers.map(|number| all.get(&number).cloned()).collect()
    }

    /// Ends the requests that have an id and that `may_end` takes: those that wait for the engine
    /// notice within a quarter of a second. Returns how many have the id, and how many were ended.
    pub fn cancel(&self, request_id: &str, may_end: impl Fn(&Sender) -> bool) -> (usize, usize) {
        let all = self.all();
        let with_id: Vec<_> = all.values().filter(|of| of.sender.request_id == request_id).collect();
        let ended = with_id.iter().filter(|of| may_end(&of.sender));
        (with_id.len(), ended.map(|of| of.is_cancelled.store(true, Ordering::Relaxed)).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_there_until_they_end() {
        let requests = ActiveRequests::default();
        let sender = |id: &str, owner: &str| Sender {
            request_id: id.to_owned(),
            owner: Some(owner.into()),
            ..Sender::default()
        };
        let first = requests.enter(sender("a", "ann"));
        let second = requests.enter(sender("a", "bob"));
        let third = requests.enter(sender("b", "ann"));
        assert_eq!((first.number, second.number), (1, 2));
        let found = requests.find([2, 9, 1].into_iter());
        let numbers: Vec<_> = found.iter().map(|of| of.as_ref().map(|of| of.number)).collect();
        assert_eq!(numbers, [Some(2), None, Some(1)]);
        let is_anns = |of: &Sender| of.owner.as_deref() == Some("ann");
        assert_eq!(requests.cancel("a", is_anns), (2, 1));
        assert_eq!([&first, &second, &third].map(|of| of.is_cancelled()), [true, false, false]);
        assert_eq!(requests.cancel("c", |_| true), (0, 0));
        let kept = second.shared();
        drop((first, second));
        assert_eq!(requests.cancel("a", |_| true), (0, 0));
        assert!(!kept.is_cancelled() && requests.find([1, 3].into_iter())[0].is_none());
    }
}
