//! What a running server tells its operator.
use super::guards::notices::GuardNotice;
use super::setting::Setting;
use crate::runtime::EngineNotice;
use crate::text::quote::quote;
use std::sync::Arc;

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
    /// A request was ended by somebody else than its client.
    RequestCancelled {
        /// The id of the request.
        request_id: String,
        /// The name of the key with which that was asked; none where no key is demanded.
        by: Option<Arc<str>>,
    },
    /// The server was asked to stop, and waits for running requests.
    Stopping,
}

impl Notice {
    /// Whether the operator may have to do something about it.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::ConnectionClosed(_) | Self::Engine(_) => true,
            Self::Guard(notice) => notice.is_trouble(),
            Self::UnknownParameter(_) | Self::Setting(_) | Self::RequestCancelled { .. } | Self::Stopping => {
                false
            }
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
            Self::ConnectionClosed(error) => write!(
                f,
                "a connection was closed, since the system gave no thread for it ({error}): \
                 fewer max-connections or a higher limit of tasks mends that"
            ),
            Self::UnknownParameter(name) => {
                write!(f, "ignoring the parameter \"{}\", which has no effect here", quote(name))
            }
            Self::Guard(notice) => notice.fmt(f),
            Self::Engine(notice) => notice.fmt(f),
            Self::Setting(Setting { name, value, reason, .. }) => write!(f, "{name}: {value} ({reason})"),
            Self::RequestCancelled { request_id, by } => {
                let by = by.as_deref().map(|key| format!(" with the key {}", quote(key)));
                write!(f, "the request {} was cancelled{}", quote(request_id), by.unwrap_or_default())
            }
            Self::Stopping => f.write_str("stopping"),
        }
    }
}
