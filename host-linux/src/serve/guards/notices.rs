//! What the guards tell whoever runs the server.
use std::path::PathBuf;

/// Something about keys that the operator should know. `Display` is one line without any key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardNotice {
    /// Other machines can reach the server at this address, and no key is demanded.
    Exposed(String),
    /// Every user of the machine can read the file of keys.
    OpenKeyFile(PathBuf),
    /// The keys were read anew; so many there are.
    KeysReread(usize),
    /// The keys could not be read anew, so the old ones stay.
    KeysKept(String),
}

impl GuardNotice {
    /// Whether the operator should do something about it.
    pub fn is_trouble(&self) -> bool {
        !matches!(self, Self::KeysReread(_))
    }
}

impl std::fmt::Display for GuardNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exposed(address) => write!(
                f,
                "{address} can be reached from other machines, and whoever reaches it is served: \
                 no API key is set (api-key-file)"
            ),
            Self::OpenKeyFile(path) => {
                write!(
                    f,
                    "{}: every user of this machine can read the API keys (chmod 600 mends that)",
                    path.display()
                )
            }
            Self::KeysReread(1) => f.write_str("the API keys were read anew: there is 1"),
            Self::KeysReread(count) => write!(f, "the API keys were read anew: there are {count}"),
            Self::KeysKept(reason) => write!(f, "the API keys stay as they were: {reason}"),
        }
    }
}
