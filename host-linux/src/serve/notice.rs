//! What a running server tells its operator, who chooses where it goes.
use std::sync::OnceLock;

/// Something that happened to a running server. `Display` is one line.
#[derive(Debug)]
pub enum Notice {
    /// A connection was closed, since the system gave no thread for it.
    ConnectionClosed(std::io::Error),
    /// A request was refused, since the system gave no thread for it.
    RequestRefused(std::io::Error),
    /// A request has a parameter that is unknown and was ignored. Each is told once.
    UnknownParameter(String),
    /// The server was asked to stop, and waits for running requests.
    Stopping,
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ConnectionClosed(error) => write!(f, "a connection was closed: no thread: {error}"),
            Self::RequestRefused(error) => write!(f, "a request was refused: no thread: {error}"),
            Self::UnknownParameter(name) => write!(f, "ignoring the unknown parameter {name:?}"),
            Self::Stopping => f.write_str("stopping"),
        }
    }
}

static SINK: OnceLock<fn(&Notice)> = OnceLock::new();

/// Sends all further notices of this process to `sink`. The first call counts; without one,
/// notices go nowhere.
pub fn send_to(sink: fn(&Notice)) {
    // A second call is no error: the first sink hears everything.
    let _ = SINK.set(sink);
}

pub(super) fn tell(notice: &Notice) {
    if let Some(sink) = SINK.get() {
        sink(notice);
    }
}
