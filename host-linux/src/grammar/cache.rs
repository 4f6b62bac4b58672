//! Compiled grammars by their sources, the least recently used given up first.
use std::collections::HashMap;
use std::sync::Arc;

/// What a compiled grammar is taken to hold whatever its source: tables of the lexer.
const BYTES_MIN: usize = 128 << 10;
/// Bytes that a compiled grammar is taken to hold for each byte of its source.
const BYTES_EACH: usize = 64;

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
    value: Arc<T>,
    bytes: usize,
    used: u64,
}

impl<T> Cache<T> {
    /// A cache that holds about so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, bytes_max, uses: 0 }
    }

    /// The value of a key, which counts as used now.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<Arc<T>> {
        self.uses += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.uses;
        Some(Arc::clone(&entry.value))
    }

    /// Adds a value, and drops others until there is room for it. Whoever has one of those keeps
    /// it.
    pub(super) fn insert(&mut self, key: Vec<u8>, value: Arc<T>) {
        let bytes = BYTES_MIN + BYTES_EACH * key.len();
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
        let mut cache = Cache::new(3 * (BYTES_MIN + BYTES_EACH));
        for key in 0..3u8 {
            cache.insert(vec![key], Arc::new(key));
        }
        assert_eq!(cache.get(&[0]).as_deref(), Some(&0));
        cache.insert(vec![3], Arc::new(3));
        cache.insert(vec![3], Arc::new(4));
        assert_eq!(
            (0..4).map(|key| cache.get(&[key]).is_some()).collect::<Vec<_>>(),
            [true, false, true, true]
        );
        assert_eq!(cache.get(&[3]).as_deref(), Some(&4));
        cache.insert(vec![9; 1 << 20], Arc::new(9));
        assert_eq!(cache.entries.len(), 1, "one that is too large is alone");
    }
}
