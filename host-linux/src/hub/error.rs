//! Why a model could not be fetched from the hub, or a cached one not be read or removed.
//!
//! What a server wrote is quoted, so that no message grows with what a server sends.
use crate::load::repository::is_short_commit;
use crate::load::{LoadError, RepositoryName};
use crate::text::figures::bytes;
use crate::text::quote::quote;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the hub, or the cache of its models, is of no use here.
#[derive(Debug)]
pub enum HubError {
    /// A setting of the environment cannot be used.
    Setting {
        /// The environment variable, or the file that it names.
        name: String,
        /// What is wrong with its value, and what it should be.
        what: String,
    },
    /// Nothing may be asked of the hub.
    Offline {
        /// What forbids it: the name of a setting.
        by: String,
    },
    /// No connection, or one that broke too often.
    Connection {
        /// The server: its scheme, host and port.
        host: String,
        /// What happened, in words.
        what: String,
    },
    /// The server's answer is no answer to what was asked.
    Answer {
        /// The address that was asked, without its query.
        address: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// The server asks to be left alone for longer than anyone waits.
    Busy {
        /// The server: its scheme, host and port.
        host: String,
        /// How long it asks to wait, if it says so.
        wait: Option<Duration>,
        /// The status of its last answer.
        status: u16,
    },
    /// There is no such repository, or it is private.
    NoRepository {
        /// The repository that was asked for.
        name: RepositoryName,
        /// The hub: its scheme, host and port.
        host: String,
        /// Whether the hub was told who asks.
        has_token: bool,
    },
    /// The repository has no such branch, tag or commit.
    NoRevision {
        /// The repository, with the revision.
        name: RepositoryName,
    },
    /// The repository has no such file, though it lists it.
    NoFile {
        /// The repository that was asked for.
        name: RepositoryName,
        /// The file in it.
        file: String,
    },
    /// The publisher wants its terms accepted first.
    Gated {
        /// The repository that was asked for.
        name: RepositoryName,
        /// The hub: its scheme, host and port.
        host: String,
        /// Whether the hub was told who asks.
        has_token: bool,
    },
    /// The hub does not accept the token.
    Token {
        /// Where the token was found.
        source: String,
        /// The hub: its scheme, host and port.
        host: String,
    },
    /// The repository has nothing that can be served.
    NothingToServe {
        /// The repository that was asked for.
        name: RepositoryName,
        /// What it has instead, and what to look for.
        what: String,
    },
    /// Several models, of which one has to be named, or none of the mix that was.
    Mix {
        /// The repository, with the mix that was asked for.
        name: RepositoryName,
        /// The mixes that it has, as they are written behind the colon, with their bytes.
        has: Vec<(String, u64)>,
    },
    /// Its configuration says that it cannot be served.
    Unsupported {
        /// The repository that was asked for.
        name: RepositoryName,
        /// Why it cannot be loaded.
        error: Box<LoadError>,
    },
    /// A file system has too little room.
    NoSpace {
        /// The folder of the cache.
        path: PathBuf,
        /// Bytes that are still to come.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// What came is not what the hub announced.
    WrongHash {
        /// The file in the repository.
        file: String,
        /// The hash that the hub announced.
        expected: String,
        /// The hash of what came.
        found: String,
    },
    /// Another process fetches or removes files of the same repository.
    InUse {
        /// The repository that is locked.
        name: RepositoryName,
    },
    /// The cache has no such model.
    NotCached {
        /// The model that was asked for.
        name: RepositoryName,
        /// The path that is not there.
        looked: PathBuf,
    },
    /// The operating system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: `open`, `write`, …
        action: &'static str,
        /// The error that it gave.
        error: io::Error,
    },
}

impl HubError {
    pub(crate) fn io(path: &Path, action: &'static str, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, error }
    }

    /// Whether a file system has no room left, or none for this user.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { error, .. } if matches!(error.kind(), StorageFull | QuotaExceeded))
    }

    pub(crate) fn setting(name: &str, what: impl Into<String>) -> Self {
        Self::Setting { name: name.to_owned(), what: what.into() }
    }

    pub(crate) fn answer(address: &str, what: impl Into<String>) -> Self {
        Self::Answer { address: quote(address), what: what.into() }
    }
}

/// The mixes of a repository in words, the first few of them.
fn mixes(has: &[(String, u64)]) -> String {
    const NAMED_MAX: usize = 12;
    let mut words: Vec<String> =
        has.iter().take(NAMED_MAX).map(|(mix, size)| format!("{} ({})", quote(mix), bytes(*size))).collect();
    if has.len() > NAMED_MAX {
        words.push(format!("and {} more", has.len() - NAMED_MAX));
    }
    words.join(", ")
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { name, what } => write!(f, "{name}: {what}"),
            Self::Offline { by } => write!(f, "{by} keeps this program from asking the hub"),
            Self::Connection { host, what } => write!(f, "{host}: {what}"),
            Self::Answer { address, what } => write!(f, "{address}: {what}"),
            Self::Busy { host, wait: Some(wait), status } => {
                write!(f, "{host} answers with status {status} and asks to wait {} s", wait.as_secs())
            }
            Self::Busy { host, wait: None, status } => {
                write!(f, "{host} answers with status {status} however often it is asked; try again later")
            }
            Self::NoRepository { name, host, has_token } => {
                write!(f, "{host} has no model {}, or it is private", name.id())?;
                if *has_token {
                    write!(f, " and the token may not read it")
                } else {
                    write!(f, ": check the name, or set HF_TOKEN to a token from {host}/settings/tokens")
                }
            }
            Self::NoRevision { name } => {
                write!(f, "{} has no branch, tag or commit {}", name.id(), quote(name.revision()))?;
                match is_short_commit(name.revision()) {
                    true => write!(f, "; a commit that has it is found by all its 40 digits"),
                    false => Ok(()),
                }
            }
            Self::NoFile { name, file } => write!(f, "{}: the hub has no file {}", name.id(), quote(file)),
            Self::Gated { name, host, has_token } => {
                let id = name.id();
                write!(f, "{id} is gated: accept its terms at {host}/{id}")?;
                match has_token {
                    true => write!(f, " as the user whose token this is"),
                    false => write!(f, ", then set HF_TOKEN to a token from {host}/settings/tokens"),
                }
            }
            Self::Token { source, host } => {
                write!(f, "{host} does not accept the token of {source}: {host}/settings/tokens has another")
            }
            Self::NothingToServe { name, what } => write!(f, "{}: {what}", name.id()),
            Self::Mix { name, has } => match &name.mix {
                Some(mix) => {
                    write!(f, "{} has no one GGUF model {}, but {}", name.id(), quote(mix), mixes(has))
                }
                None => write!(f, "{} has {} GGUF models: {}", name.id(), has.len(), mixes(has)),
            },
            Self::Unsupported { name, error } => write!(f, "{} cannot be served: {error}", name.id()),
            Self::NoSpace { path, needed, free } => write!(
                f,
                "{}: {} are still to come and {} are free; HF_HOME moves the cache",
                path.display(),
                bytes(*needed),
                bytes(*free)
            ),
            Self::WrongHash { file, expected, found } => write!(
                f,
                "{}: has the hash {found}, not {expected} as the hub says; what came was deleted",
                quote(file)
            ),
            Self::InUse { name } => {
                write!(f, "another process fetches or removes {}: try again once it has ended", name.id())
            }
            Self::NotCached { name, looked } => {
                write!(f, "{name} is not in the cache: found no {}", looked.display())
            }
            Self::Io { path, action, error } => write!(f, "{}: cannot {action}: {error}", path.display()),
        }
    }
}

impl std::error::Error for HubError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Unsupported { error, .. } => Some(&**error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_named_with_their_sizes() {
        let name = RepositoryName::parse("org/small:Q9").unwrap();
        let has = vec![("Q4_K_M".to_owned(), 2_000), ("Q8_0".to_owned(), 4_000)];
        let error = HubError::Mix { name: name.clone(), has: has.clone() }.to_string();
        assert_eq!(error, "org/small has no one GGUF model Q9, but Q4_K_M (2.00 kB), Q8_0 (4.00 kB)");
        let error = HubError::Mix { name: name.with_mix(None), has }.to_string();
        assert_eq!(error, "org/small has 2 GGUF models: Q4_K_M (2.00 kB), Q8_0 (4.00 kB)");
    }
}
