//! What the guards of a running server know and count.
use super::hosts::{Hosts, is_address};
use super::key_file;
use super::keys::Keys;
use super::notices::GuardNotice;
use super::options::GuardOptions;
use super::quotas::KeyLimits;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// The guards' part of a server.
#[derive(Debug)]
pub struct Guards {
    options: GuardOptions,
    keys: RwLock<Arc<Keys>>,
    /// Names that the server is called by.
    hosts: Hosts,
    /// Whether it may be called by these alone.
    checks_hosts: bool,
}

/// The keys that the options tell of, and what is to be said about them.
fn load_keys(options: &GuardOptions) -> Result<(Keys, Option<GuardNotice>), String> {
    let defaults = KeyLimits { max_priority: options.max_priority, ..KeyLimits::default() };
    let mut keys = Keys::default();
    for secret in &options.api_keys {
        keys.add(None, *secret, defaults)?;
    }
    let Some(path) = &options.api_key_file else { return Ok((keys, None)) };
    let file = key_file::read(path)?;
    file.add_to(&mut keys, defaults).map_err(|what| format!("{}: {what}", path.display()))?;
    Ok((keys, file.is_open.then(|| GuardNotice::OpenKeyFile(path.clone()))))
}

impl Guards {
    /// The guards of a server that listens at `addresses`; sockets of other kinds are not among
    /// them. What the operator should know comes along. The error, about keys, names the file and
    /// the line.
    pub fn open(
        options: &GuardOptions,
        addresses: &[SocketAddr],
    ) -> Result<(Self, Vec<GuardNotice>), String> {
        let (keys, notice) = load_keys(options)?;
        let mut notices: Vec<_> = notice.into_iter().collect();
        let beyond = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback());
        if let Some(address) = beyond.filter(|_| keys.is_empty()) {
            notices.push(GuardNotice::Exposed(address.to_string()));
        }
        // Beyond the loopback nobody can know all names of a machine, unless they were told.
        let is_local = beyond.is_none() && !addresses.is_empty();
        let mut hosts = options.allowed_hosts.clone();
        let checks_hosts = is_local || !hosts.is_empty();
        if let Some(host) = &options.host {
            // A name that is none can be no browser's either.
            let _ = hosts.allow(host);
        }
        let (options, keys) = (options.clone(), RwLock::new(Arc::new(keys)));
        Ok((Self { options, keys, hosts, checks_hosts }, notices))
    }

    /// Reads the keys anew. If that fails, the old ones stay.
    pub fn reload(&self) -> Vec<GuardNotice> {
        let loaded = load_keys(&self.options);
        let (mut keys, notice) = match loaded {
            Ok(loaded) => loaded,
            Err(reason) => return vec![GuardNotice::KeysKept(reason)],
        };
        let mut notices: Vec<_> = notice.into_iter().collect();
        if self.options.api_key_file.is_some() {
            notices.push(GuardNotice::KeysReread(keys.len()));
        }
        keys.inherit(&self.keys());
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        notices
    }

    /// The keys that are taken now. If there are none, everybody is served.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was decided when the server was started.
    pub fn options(&self) -> &GuardOptions {
        &self.options
    }

    /// Whether the server may be called so in a `Host` header.
    pub fn knows_host(&self, host: &str) -> bool {
        !self.checks_hosts || self.hosts.knows(host)
    }

    /// Whether a page that calls the server so, and calls itself so, too, is of this server. A name
    /// that nobody has told the server may be one that a foreign page has pointed to it; only a key
    /// shows then that its user meant to ask.
    pub fn may_have_pages(&self, host: &str) -> bool {
        self.hosts.knows(host) || is_address(host) || !self.keys().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Secret;
    use super::*;
    use std::path::PathBuf;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn open(options: &GuardOptions, list: &[&str]) -> (Guards, Vec<GuardNotice>) {
        Guards::open(options, &addresses(list)).unwrap()
    }

    /// A file that is removed when dropped.
    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("verbatim-{name}-{}", std::process::id()));
            let file = Self(path);
            file.write(text);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&file.0, mode).unwrap();
            file
        }

        fn write(&self, text: &str) {
            std::fs::write(&self.0, text).unwrap();
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn listening_beyond_the_loopback_without_a_key_is_told() {
        let with_key = GuardOptions { api_keys: vec![Secret::new("k").unwrap()], ..GuardOptions::default() };
        for (list, is_exposed) in [
            (&["127.0.0.1:80"][..], false),
            (&["[::1]:80"], false),
            (&["[::ffff:127.0.0.1]:80"], false),
            (&[], false),
            (&["0.0.0.0:80"], true),
            (&["127.0.0.1:80", "[::]:80"], true),
            (&["192.0.2.1:80"], true),
        ] {
            let told = !open(&GuardOptions::default(), list).1.is_empty();
            assert_eq!(told, is_exposed, "{list:?}");
            assert!(open(&with_key, list).1.is_empty(), "{list:?}");
        }
    }

    #[test]
    fn hosts_are_checked_on_the_loopback_or_where_they_are_listed() {
        let knows =
            |options: &GuardOptions, list: &[&str], host: &str| open(options, list).0.knows_host(host);
        let plain = GuardOptions { host: Some("box.lan".to_owned()), ..GuardOptions::default() };
        assert!(knows(&plain, &["127.0.0.1:80"], "localhost:80"));
        assert!(knows(&plain, &["127.0.0.1:80"], "box.lan:80"));
        assert!(!knows(&plain, &["127.0.0.1:80"], "evil.example"));
        assert!(knows(&plain, &["0.0.0.0:80"], "any.example"));
        assert!(knows(&plain, &[], "any.example"), "a Unix socket has no name");
        let mut listed = plain.clone();
        listed.allowed_hosts.allow("api.example").unwrap();
        for (host, is_known) in [("api.example", true), ("box.lan", true), ("evil.example", false)] {
            assert_eq!(knows(&listed, &["0.0.0.0:80"], host), is_known, "{host}");
            assert_eq!(knows(&listed, &["127.0.0.1:80"], host), is_known, "{host}");
        }
    }

    #[test]
    fn keys_come_from_options_and_file_and_the_file_is_read_anew() {
        let file = File::new("reload", "ann sk-a max-priority=3\n");
        let options = GuardOptions {
            api_keys: vec![Secret::new("sk-0").unwrap()],
            api_key_file: Some(file.0.clone()),
            max_priority: 1,
            ..GuardOptions::default()
        };
        let (guards, notices) = open(&options, &["0.0.0.0:80"]);
        assert_eq!(notices, []);
        let name = |key: &str| guards.keys().find([key]).map(|key| key.name.to_string());
        assert_eq!((name("sk-0").as_deref(), name("sk-a").as_deref()), (Some("key-1"), Some("ann")));
        let max_priority = |name: &str| guards.keys().named(name).map(|key| key.limits.max_priority);
        assert_eq!((max_priority("ann"), max_priority("key-1")), (Some(3), Some(1)));

        file.write("bob sk-b\nann sk-a2");
        assert_eq!(guards.reload(), [GuardNotice::KeysReread(3)]);
        assert_eq!((name("sk-a"), name("sk-b").as_deref()), (None, Some("bob")));
        assert_eq!(name("sk-a2").as_deref(), Some("ann"));
        assert_eq!((max_priority("ann"), max_priority("gone")), (Some(1), None));

        for (text, wrong) in
            [("ann sk-c\nann sk-d", "line 2: "), ("", "there is no key"), ("ann sk-0", "key-1")]
        {
            file.write(text);
            let notices = guards.reload();
            let [GuardNotice::KeysKept(reason)] = &notices[..] else { panic!("{notices:?}") };
            assert!(reason.contains(wrong) && reason.starts_with(file.0.to_str().unwrap()), "{reason}");
            assert_eq!(name("sk-b").as_deref(), Some("bob"), "the old keys stay");
        }
        std::fs::remove_file(&file.0).unwrap();
        assert!(matches!(guards.reload()[..], [GuardNotice::KeysKept(_)]));
        assert!(Guards::open(&options, &[]).is_err(), "at the start it is an error");
    }

    #[test]
    fn a_file_that_everybody_can_read_is_told() {
        let file = File::new("open", "sk-a");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&file.0, mode).unwrap();
        let options = GuardOptions { api_key_file: Some(file.0.clone()), ..GuardOptions::default() };
        let (guards, notices) = open(&options, &[]);
        assert_eq!(notices, [GuardNotice::OpenKeyFile(file.0.clone())]);
        assert_eq!(guards.reload().len(), 2);
    }
}
