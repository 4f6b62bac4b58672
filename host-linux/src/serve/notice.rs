//! What a running server tells its operator.

/// Something that happened to a running server. `Display` is one line.
#[derive(Debug)]
pub enum Notice {
    /// A connection was closed, because the system gave no thread for it.
    ConnectionClosed(std::io::Error),
    /// A request was refused, because the system gave no thread for it.
    RequestRefused(std::io::Error),
    /// A request had a parameter that is unknown and was ignored.
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
