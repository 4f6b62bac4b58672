//! What a running server tells its operator.
use super::guards::notices::GuardNotice;
use super::setting::Setting;
use crate::runtime::EngineNotice;
use crate::text::quote::quote;

/// Something that happened to a running server. `Display` is one line.
#[derive(Debug)]
pub enum Notice {
    /// A connection was closed, because the system gave no thread for it.
    ConnectionClosed(std::io::Error),
    /// A request had a parameter that is unknown, or has no effect, and was ignored.
    UnknownParameter(String),
    /// Something about API keys.
    Guard(GuardNotice),
    /// The engine was started again, is slow, or has failed.
    Engine(EngineNotice),
    /// A setting in use.
    Setting(Setting),
    /// The server was asked to stop, and waits for running requests.
    Stopping,
}

impl Notice {
    /// Whether the operator may have to do something about it.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::ConnectionClosed(_) | Self::Engine(_) => true,
            Self::Guard(notice) => notice.is_trouble(),
            Self::UnknownParameter(_) | Self::Setting(_) | Self::Stopping => false,
        }
    }

    /// Whether it may come as often as clients like. An observer may leave out some of these.
    pub fn may_come_often(&self) -> bool {
        matches!(self, Self::ConnectionClosed(_))
    }
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ConnectionClosed(error) => write!(f, "a connection was closed: no thread: {error}"),
            Self::UnknownParameter(name) => {
                write!(f, "ignoring the parameter \"{}\", which has no effect here", quote(name))
            }
            Self::Guard(notice) => notice.fmt(f),
            Self::Engine(notice) => notice.fmt(f),
            Self::Setting(Setting { name, value, reason, .. }) => write!(f, "{name}: {value} ({reason})"),
            Self::Stopping => f.write_str("stopping"),
        }
    }
}
