//! The file of API keys: one key a line.
//!
//! ```text
//! # NAME KEY [requests-per-minute=N] [tokens-per-minute=N] [concurrent=N] [max-priority=N]
//! #          [admin=true]
//! ann    sk-8d1f...  requests-per-minute=60 tokens-per-minute=100000
//! batch  sk-77c0...  concurrent=4 max-priority=0
//! sk-0b5e...         # a key alone is called by its number: key-3
//! ```
//!
//! An error names the file and the line, and quotes nothing: any word may be a key.
use super::keys::{KEY_BYTES_MAX, Keys, Secret};
use super::quotas::KeyLimits;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The largest file in bytes.
const FILE_BYTES_MAX: usize = 1 << 20;
/// The longest line in bytes.
const LINE_BYTES_MAX: usize = KEY_BYTES_MAX + 1024;
/// The greatest number of keys.
const KEYS_MAX: usize = 10_000;
/// The longest name in characters.
const NAME_MAX: usize = 64;

const EXPECTED: &str = "expected NAME KEY, then settings such as requests-per-minute=60";

/// A file of keys as it was read.
#[derive(Debug)]
pub struct KeyFile {
    text: String,
    /// Whether every user of the machine can read it.
    pub is_open: bool,
}

/// Reads a file of keys. The error names the file.
pub fn read(path: &Path) -> Result<KeyFile, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    // A pipe without a writer would hold up whoever opens it.
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| wrong(&error))?;
    let about = file.metadata().map_err(|error| wrong(&error))?;
    if !about.is_file() {
        return Err(wrong(&"this is no regular file"));
    }
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(wrong(&format_args!("a file of keys has at most {FILE_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        wrong(&format_args!("line {line}: this is not UTF-8"))
    })?;
    Ok(KeyFile { text, is_open: about.mode() & 0o004 != 0 })
}

impl KeyFile {
    /// Adds the keys of the file to `keys`. What a line does not say is as in `defaults`. The error
    /// names the line, but not the file.
    pub fn add_to(&self, keys: &mut Keys, defaults: KeyLimits) -> Result<(), String> {
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(&self.text);
        let before = keys.len();
        for (i, line) in text.lines().enumerate() {
            let add = |keys: &mut Keys| {
                let Some(Line { name, secret, limits }) = Line::parse(line, defaults)? else { return Ok(()) };
                if keys.len() >= KEYS_MAX {
                    return Err(format!("there are more than {KEYS_MAX} keys"));
                }
                keys.add(name, secret, limits)
            };
            add(keys).map_err(|what| format!("line {}: {what}", i + 1))?;
        }
        if keys.len() == before { Err("there is no key in the file".to_owned()) } else { Ok(()) }
    }
}

/// One line of the file that has a key.
#[derive(Debug)]
struct Line<'t> {
    name: Option<&'t str>,
    secret: Secret,
    limits: KeyLimits,
}

impl<'t> Line<'t> {
    /// Reads a line; none if nothing is on it but a comment.
    fn parse(line: &'t str, defaults: KeyLimits) -> Result<Option<Self>, String> {
        if line.len() > LINE_BYTES_MAX {
            return Err(format!("a line has at most {LINE_BYTES_MAX} bytes"));
        }
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        let is_setting = |word: &&&str| setting(word).is_some();
        let count = words.iter().take_while(|word| !is_setting(word)).count();
        let (name, key) = match words[..count] {
            [] if words.is_empty() => return Ok(None),
            [key] => (None, key),
            [name, key] => (Some(name), key),
            _ => return Err(EXPECTED.to_owned()),
        };
        if let Some(name) = name {
            check_name(name)?;
        }
        let secret = Secret::new(key)?;
        let mut limits = defaults;
        let mut seen = Vec::new();
        for word in &words[count..] {
            let (name, value) = setting(word).ok_or(EXPECTED)?;
            if seen.contains(&name) {
                return Err("a setting is there twice".to_owned());
            }
            seen.push(name);
            set(&mut limits, name, value)?;
        }
        Ok(Some(Self { name, secret, limits }))
    }
}

/// The two sides of a word that is written like a setting. A key may end in `=`, as base64 does,
/// and is none.
fn setting(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (is_name && !value.trim_start_matches('=').is_empty()).then_some((name, value))
}

/// A name goes into logs and metrics, so a key that is written in its place must not pass for one.
fn check_name(name: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.len() > NAME_MAX || !name.chars().all(known) {
        return Err(format!("a name has up to {NAME_MAX} letters, digits and - _ . @"));
    }
    if name.starts_with("sk-") {
        return Err("the first word looks like a key; the name comes first, then the key".to_owned());
    }
    Ok(())
}

fn set(limits: &mut KeyLimits, name: &str, value: &str) -> Result<(), String> {
    let number = |min: u64, max: u64| {
        let digits = value.bytes().all(|byte| byte.is_ascii_digit()).then_some(value);
        let number = digits.and_then(|digits| digits.parse().ok()).filter(|n| (min..=max).contains(n));
        number.ok_or_else(|| format!("{name} must be a whole number between {min} and {max}"))
    };
    match name {
        "requests-per-minute" => limits.requests_per_minute = Some(number(1, 1_000_000_000)?),
        "tokens-per-minute" => limits.tokens_per_minute = Some(number(1, 1_000_000_000_000)?),
        "concurrent" => limits.concurrent = Some(number(1, 1_000_000)?),
        "max-priority" => limits.max_priority = number(0, 127)? as i8,
        "admin" if value == "true" || value == "false" => limits.is_admin = value == "true",
        "admin" => return Err("admin must be true or false".to_owned()),
        _ => {
            let known = "requests-per-minute, tokens-per-minute, concurrent, max-priority and admin";
            return Err(format!("a setting is unknown; known are {known}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Keys, String> {
        let mut keys = Keys::default();
        let file = KeyFile { text: text.to_owned(), is_open: false };
        file.add_to(&mut keys, KeyLimits { max_priority: 1, ..KeyLimits::default() }).map(|()| keys)
    }

    #[test]
    fn keys_are_read_with_their_settings() {
        let text = "\u{feff}# keys\r\n\r\nann sk-a requests-per-minute=60 tokens-per-minute=1000 \
             concurrent=4 max-priority=9 admin=true\r\n  sk-b # alone\n\tbob\tc2VjcmV0Cg==\n\
             ZXhhbXBsZQ= max-priority=0\nk#y #\n#ann sk-c";
        let keys = keys(text).unwrap();
        let limits = |name: &str| keys.named(name).unwrap().limits;
        let all = KeyLimits {
            requests_per_minute: Some(60),
            tokens_per_minute: Some(1000),
            concurrent: Some(4),
            max_priority: 9,
            is_admin: true,
        };
        assert_eq!(limits("ann"), all);
        assert_eq!(limits("bob"), KeyLimits { max_priority: 1, ..KeyLimits::default() });
        assert_eq!(limits("key-4"), KeyLimits::default());
        let found = |key: &str| keys.find([key]).map(|key| key.name.to_string());
        assert_eq!(found("sk-a").as_deref(), Some("ann"));
        assert_eq!(found("sk-b").as_deref(), Some("key-2"));
        assert_eq!(found("c2VjcmV0Cg==").as_deref(), Some("bob"));
        assert_eq!(found("ZXhhbXBsZQ=").as_deref(), Some("key-4"));
        assert_eq!(found("k#y").as_deref(), Some("key-5"));
        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_not_quoted() {
        let long = format!("ann {}", "x".repeat(2000));
        let many: String = (0..=KEYS_MAX).map(|i| format!("sk-{i}\n")).collect();
        for (text, error) in [
            ("", "there is no key in the file"),
            ("# nothing\n\n", "there is no key in the file"),
            ("sk-a\nann sk-b x", "line 2: expected NAME KEY"),
            ("concurrent=3", "line 1: expected NAME KEY"),
            ("ann sk-secret concurrent=0", "line 1: concurrent must be a whole number between 1 and"),
            ("ann sk-secret concurrent=+1", "line 1: concurrent must be"),
            ("ann sk-secret concurrent=99999999999999999999", "line 1: concurrent must be"),
            ("ann sk-secret max-priority=128", "line 1: max-priority must be"),
            ("ann sk-secret max-priority=-1", "line 1: max-priority must be"),
            ("ann sk-secret concurrent=1 concurrent=2", "line 1: a setting is there twice"),
            ("ann sk-secret admin=1", "line 1: admin must be true or false"),
            ("ann sk-secret priority=2", "line 1: a setting is unknown; known are requests-per-minute"),
            ("sk-secret request-per-minute=2", "line 1: a setting is unknown"),
            ("sk-secret concurrent=2 more", "line 1: expected NAME KEY, then"),
            ("sk-secret ann", "line 1: the first word looks like a key"),
            ("a/b sk-secret", "line 1: a name has up to 64"),
            ("ann sk-é-secret", "line 1: the key has blanks or characters beyond ASCII"),
            ("ann sk-secret\nann sk-b", "line 2: there is another key named ann"),
            ("ann sk-secret\nbob sk-secret", "line 2: the key is the same as that of ann"),
            (&long, "line 1: a line has at most"),
            (&many, "line 10001: there are more than 10000 keys"),
        ] {
            let found = keys(text).unwrap_err();
            assert!(found.starts_with(error), "{text:.40}: {found}");
            assert!(!found.contains("secret") && found.len() < 200, "{found}");
        }
    }

    #[test]
    fn files_are_read_with_care() {
        let folder = std::env::temp_dir().join(format!("verbatim-keys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("keys");
        let write = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
        write(b"sk-a\n");
        assert!(read(&path).is_ok());
        let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, mode(0o600)).unwrap();
        assert!(!read(&path).unwrap().is_open);
        std::fs::set_permissions(&path, mode(0o644)).unwrap();
        assert!(read(&path).unwrap().is_open);
        write(b"sk-a\nsk-\xff");
        assert!(read(&path).unwrap_err().ends_with("keys: line 2: this is not UTF-8"));
        write(&vec![b'\n'; FILE_BYTES_MAX]);
        assert!(read(&path).is_ok());
        write(&vec![b'\n'; FILE_BYTES_MAX + 1]);
        assert!(read(&path).unwrap_err().contains("at most"));
        assert!(read(&folder).unwrap_err().ends_with("this is no regular file"));
        for path in ["/dev/zero", "/dev/null"] {
            assert!(read(Path::new(path)).unwrap_err().ends_with("this is no regular file"));
        }
        assert!(read(&folder.join("none")).unwrap_err().contains("none: "));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
