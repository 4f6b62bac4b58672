//! API keys: who may ask, and who it was.
//!
//! Of a key only its hash is kept, so that no log and no dump of a type can show it. Hashes are
//! compared in constant time, and always all of them, so that the time of a refusal tells nothing.
use super::quotas::{Account, KeyLimits};
use std::collections::HashMap;
use std::sync::Arc;

/// The longest key in bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// The hash of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Secret(blake3::Hash);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Takes a key of visible ASCII characters, which is all that a header can carry. The error
    /// says what is wrong without quoting the key.
    pub fn new(key: &str) -> Result<Self, &'static str> {
        if key.is_empty() {
            return Err("the key is empty");
        }
        if key.len() > KEY_BYTES_MAX {
            return Err("the key is longer than 512 characters");
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the key has blanks or characters beyond ASCII");
        }
        Ok(Self::of(key))
    }

    fn of(key: &str) -> Self {
        Self(blake3::hash(key.as_bytes()))
    }
}

/// A key that is taken, and what its holder may ask for.
#[derive(Clone, Debug)]
pub struct Key {
    /// What the key is called in logs and metrics.
    pub name: Arc<str>,
    /// Whether the name was chosen by whoever wrote the key down.
    pub is_named: bool,
    /// Who owns what is kept for it beyond a start of the server.
    pub owner: Arc<str>,
    /// The hash of the key itself.
    pub secret: Secret,
    /// What its holder may ask for.
    pub limits: KeyLimits,
    /// What its holder has asked for.
    pub account: Arc<Account>,
}

/// Who owns what is kept for a key beyond a start of the server: its name if it was chosen, else a
/// hash of the key, since the place in a list that names it may be another's later.
fn owner_of(name: Option<&str>, secret: Secret) -> String {
    match name {
        Some(name) => format!("name {name}"),
        None => {
            let hash = blake3::derive_key("verbatim 2026 owner of files", secret.0.as_bytes());
            format!("key {}", &blake3::Hash::from_bytes(hash).to_hex()[..32])
        }
    }
}

/// All keys that are taken.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    list: Vec<Key>,
    by_name: HashMap<Arc<str>, usize>,
    by_secret: HashMap<Secret, usize>,
}

impl Keys {
    /// Adds a key, with an account of its own. The error says which other key has the same name or
    /// is the same.
    pub fn add(&mut self, name: Option<&str>, secret: Secret, limits: KeyLimits) -> Result<(), String> {
        if let Some(other) = self.by_secret.get(&secret) {
            return Err(format!("the key is the same as that of {}", self.list[*other].name));
        }
        let name_of_number = || format!("key-{}", self.list.len() + 1);
        let shown: Arc<str> = name.map_or_else(name_of_number, str::to_owned).into();
        if self.by_name.contains_key(&shown) {
            return Err(format!("there is another key named {shown}"));
        }
        self.by_name.insert(Arc::clone(&shown), self.list.len());
        self.by_secret.insert(secret, self.list.len());
        let (owner, account) = (owner_of(name, secret).into(), Arc::default());
        self.list.push(Key { name: shown, is_named: name.is_some(), owner, secret, limits, account });
        Ok(())
    }

    /// Takes over the accounts of older keys: of the same key, or of the same name if it was
    /// chosen. So neither a reload nor a new key for an old name forgives what was spent.
    pub fn inherit(&mut self, older: &Self) {
        for key in &mut self.list {
            let same_key = older.by_secret.get(&key.secret);
            let same_name = || older.by_name.get(&key.name).filter(|at| older.list[**at].is_named);
            let found = if key.is_named { same_name().or(same_key) } else { same_key };
            if let Some(at) = found {
                key.account = Arc::clone(&older.list[*at].account);
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The key that one of the texts is, each as it came in a request.
    pub fn find<'s>(&self, sent: impl IntoIterator<Item = &'s str>) -> Option<&Key> {
        let mut found = None;
        for text in sent {
            let secret = Secret::of(text);
            for key in &self.list {
                // blake3's hashes compare in constant time.
                if key.secret == secret {
                    found = Some(key);
                }
            }
        }
        found
    }

    /// The key of an owner.
    pub fn of_owner(&self, owner: &str) -> Option<&Key> {
        self.list.iter().find(|key| &*key.owner == owner)
    }

    /// The key of a name.
    #[cfg(test)]
    pub(super) fn named(&self, name: &str) -> Option<&Key> {
        self.by_name.get(name).map(|at| &self.list[*at])
    }

    /// Whether a key is still one of them.
    pub fn has(&self, secret: Secret) -> bool {
        self.limits(secret).is_some()
    }

    /// What a key may ask for; none if it is not one of them any more.
    pub fn limits(&self, secret: Secret) -> Option<&KeyLimits> {
        self.by_secret.get(&secret).map(|at| &self.list[*at].limits)
    }
}

/// The token in the value of an `Authorization` header of the scheme `Bearer`.
pub fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn secret(key: &str) -> Secret {
        Secret::new(key).unwrap()
    }

    fn keys(list: &[(Option<&str>, &str)]) -> Keys {
        let mut keys = Keys::default();
        for (name, key) in list {
            keys.add(*name, secret(key), KeyLimits::default()).unwrap();
        }
        keys
    }

    #[test]
    fn what_a_key_owns_does_not_pass_to_the_next_one() {
        let secret = |text: &str| Secret::new(text).unwrap();
        let keys = |of: &[(Option<&str>, &str)]| {
            let mut keys = Keys::default();
            for (name, text) in of {
                keys.add(*name, secret(text), KeyLimits::default()).unwrap();
            }
            keys
        };
        let before = keys(&[(None, "sk-a"), (None, "sk-b"), (Some("ann"), "sk-c")]);
        let after = keys(&[(None, "sk-b"), (Some("ann"), "sk-d")]);
        let owner = |text: &str| before.find([text]).unwrap().owner.to_string();
        assert_eq!(*before.named("key-2").unwrap().owner, *owner("sk-b"));
        assert!(after.of_owner(&owner("sk-a")).is_none(), "its place has another key");
        assert_eq!(after.of_owner(&owner("sk-b")).unwrap().secret, secret("sk-b"));
        assert_eq!(after.of_owner(&owner("sk-c")).unwrap().secret, secret("sk-d"), "the name is the same");
        assert!(!owner("sk-a").contains("sk-a"));
    }

    #[test]
    fn a_key_is_found_by_all_of_it() {
        let keys = keys(&[(Some("ann"), "sk-a"), (None, "sk-b"), (Some("cy"), "sk-c")]);
        let name = |sent: &[&str]| keys.find(sent.iter().copied()).map(|key| key.name.to_string());
        assert_eq!(name(&["sk-a"]).as_deref(), Some("ann"));
        assert_eq!(name(&["sk-b"]).as_deref(), Some("key-2"));
        assert_eq!(name(&["wrong", "sk-c"]).as_deref(), Some("cy"));
        for wrong in ["", "sk-", "sk-a ", "sk-aa", "SK-A", "ann"] {
            assert_eq!(name(&[wrong]), None, "{wrong}");
        }
        assert_eq!(name(&[]), None);
        assert_eq!(keys.named("key-2").unwrap().secret, secret("sk-b"));
        assert!(keys.named("sk-b").is_none() && keys.len() == 3);
    }

    #[test]
    fn the_same_name_or_key_twice_is_refused() {
        let mut keys = keys(&[(Some("ann"), "sk-a"), (Some("key-3"), "sk-b")]);
        let mut add = |name, key| keys.add(name, secret(key), KeyLimits::default()).unwrap_err();
        assert_eq!(add(Some("bob"), "sk-a"), "the key is the same as that of ann");
        assert_eq!(add(Some("ann"), "sk-c"), "there is another key named ann");
        assert_eq!(add(None, "sk-d"), "there is another key named key-3");
    }

    #[test]
    fn no_key_is_shown() {
        let keys = keys(&[(Some("ann"), "sk-very-hidden")]);
        let shown = format!("{keys:?}");
        let hash = blake3::hash(b"sk-very-hidden").to_hex();
        assert!(shown.contains("ann") && !shown.contains("hidden") && !shown.contains(hash.as_str()));
        for wrong in ["", "a b", "a\n", "é", &"x".repeat(513)] {
            let error = Secret::new(wrong).unwrap_err();
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn accounts_outlive_a_reload() {
        let old = keys(&[(Some("ann"), "sk-a"), (None, "sk-b"), (None, "sk-c"), (Some("dee"), "sk-d")]);
        let once = KeyLimits { requests_per_minute: Some(1), ..KeyLimits::default() };
        let now = Instant::now();
        for key in &old.list {
            key.account.admit(&once, now).unwrap();
        }
        // Ann has a new key, and the keys without a name have moved.
        let mut new = keys(&[(None, "sk-c"), (Some("ann"), "sk-new"), (None, "sk-e"), (Some("eve"), "sk-d")]);
        new.inherit(&old);
        let is_spent: Vec<_> = new.list.iter().map(|key| key.account.admit(&once, now).is_err()).collect();
        assert_eq!(is_spent, [true, true, false, true]);
    }

    #[test]
    fn a_bearer_is_read() {
        assert_eq!(bearer("Bearer sk-a"), Some("sk-a"));
        assert_eq!(bearer("bearer  sk-a "), Some("sk-a"));
        for wrong in ["sk-a", "Bearer", "Bearer ", "Basic sk-a", "Bearersk-a", ""] {
            assert_eq!(bearer(wrong), None, "{wrong}");
        }
    }
}
