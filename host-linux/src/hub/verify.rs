//! The hashes by which the hub names what files hold, and files of the cache are called.
//!
//! Large files are named by their SHA-256. Small ones lie in git, which names them by the SHA-1 of
//! a line with their length, and of what they hold; that finds damage and no forger, who would have
//! to be the hub itself.
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What a file's content is called: hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentHash {
    /// The SHA-256 of the content: 64 digits.
    Sha256(String),
    /// Git's id of the content as a blob: 40 digits.
    Git(String),
}

impl ContentHash {
    /// Reads a hash, or an ETag that holds one; the length says which it is. `None` if it is
    /// neither.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match digits.len() {
            64 if is_hex => Some(Self::Sha256(digits)),
            40 if is_hex => Some(Self::Git(digits)),
            _ => None,
        }
    }

    /// Its digits, which name the file's place in the cache, too.
    pub fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) => digits,
        }
    }

    /// Begins to compute the same kind of hash, of a content of `bytes` bytes.
    pub fn hasher(&self, bytes: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Git(_) => {
                let mut sha1 = Sha1::new();
                sha1.update(format!("blob {bytes}\0"));
                Hasher::Git(sha1)
            }
        }
    }
}

/// A hash that is being computed.
#[derive(Debug)]
pub enum Hasher {
    /// Of a large file.
    Sha256(Sha256),
    /// Of a file in git.
    Git(Sha1),
}

impl Hasher {
    /// Takes in what comes next.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    /// The digits of the hash of all that was taken in.
    pub fn digits(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Git(hasher) => hex(&hasher.finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(like: &str, content: &[u8]) -> String {
        let mut hasher = ContentHash::parse(like).unwrap().hasher(content.len() as u64);
        content.chunks(2).for_each(|part| hasher.update(part));
        hasher.digits()
    }

    #[test]
    fn hashes_are_those_of_sha256sum_and_of_git() {
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(of(sha256, b"hello"), sha256);
        // as `git hash-object` says
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        assert_eq!(of(git, b"hello"), git);
    }

    #[test]
    fn an_etag_holds_a_hash_or_is_none() {
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        for text in [format!("\"{git}\""), format!("W/\"{git}\""), git.to_ascii_uppercase()] {
            assert_eq!(ContentHash::parse(&text), Some(ContentHash::Git(git.to_owned())), "{text}");
        }
        for text in ["", "\"abc\"", "../../../../../../../../../../../etc/passwd", &"g".repeat(64)] {
            assert_eq!(ContentHash::parse(text), None, "{text}");
        }
    }
}
