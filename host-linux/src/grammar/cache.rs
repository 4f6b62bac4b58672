//! Compiled grammars, and refusals, by their sources; the least recently used are given up first.
use std::collections::HashMap;

/// Values by their key, of which no more are kept than a number of bytes.
#[derive(Debug)]
pub(super) struct Cache<T> {
    entries: HashMap<Vec<u8>, Entry<T>>,
    bytes: usize,
    bytes_max: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    bytes: usize,
    used: u64,
}

impl<T: Clone> Cache<T> {
    /// A cache that holds about so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, bytes_max, uses: 0 }
    }

    /// The value of a key, which counts as used now.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<T> {
        self.uses += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.uses;
        Some(entry.value.clone())
    }

    /// Adds a value that holds about so many bytes, and drops others until there is room for it.
    /// Whoever has one of those keeps it.
    pub(super) fn insert(&mut self, key: Vec<u8>, value: T, bytes: usize) {
        self.uses += 1;
        let entry = Entry { value, bytes, used: self.uses };
        self.bytes += bytes;
        if let Some(before) = self.entries.insert(key, entry) {
            self.bytes -= before.bytes;
        }
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
            if let Some(dropped) = self.entries.remove(&key) {
                self.bytes -= dropped.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_is_kept() {
        let mut cache = Cache::new(300);
        for key in 0..3u8 {
            cache.insert(vec![key], key, 100);
        }
        assert_eq!(cache.get(&[0]), Some(0));
        cache.insert(vec![3], 3, 100);
        cache.insert(vec![3], 4, 100);
        assert_eq!(
            (0..4).map(|key| cache.get(&[key]).is_some()).collect::<Vec<_>>(),
            [true, false, true, true]
        );
        assert_eq!(cache.get(&[3]), Some(4));
        cache.insert(vec![9], 9, 1000);
        assert_eq!(cache.entries.len(), 1, "one that is too large is alone");
    }
}
