//! Where clients connect: TCP over IPv4 and IPv6, a Unix socket, or sockets that the service
//! manager has opened.
use super::stream::Stream;
use crate::sys::sockets::set_backlog;
use listenfd::ListenFd;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections that may wait to be accepted. The system may allow fewer.
const BACKLOG: usize = 4096;

/// Why the server cannot listen.
#[derive(Debug)]
pub enum ListenError {
    /// The host is not known, or has no address.
    Host {
        /// The host as it was given.
        host: String,
        /// What the system says; none if it knows the host, and no address.
        error: Option<io::Error>,
    },
    /// An address cannot be listened on.
    Address {
        /// The address, with its port.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A socket file cannot be made.
    Path {
        /// The path of the file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another server listens on the socket file.
    InUse {
        /// The path of the file.
        path: PathBuf,
    },
    /// A socket that the service manager has handed over is no listening stream socket.
    Inherited {
        /// Its number among those that were handed over.
        index: usize,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, error: Some(error) } => write!(f, "{host}: {error}"),
            Self::Host { host, error: None } => write!(f, "{host}: it has no address"),
            Self::Address { address, error } => write!(f, "{address}: {error}"),
            Self::Path { path, error } => write!(f, "{}: {error}", path.display()),
            Self::InUse { path } => write!(f, "{}: another server listens there", path.display()),
            Self::Inherited { index, error } => {
                write!(f, "socket {index} of the service manager: {error}")
            }
        }
    }
}

impl std::error::Error for ListenError {}

/// A socket that accepts connections.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Listener {
    fn set_up(self) -> io::Result<Self> {
        match &self {
            Self::Tcp(listener) => listener.set_nonblocking(true)?,
            Self::Unix(listener) => listener.set_nonblocking(true)?,
        }
        set_backlog(self.as_fd(), BACKLOG)?;
        Ok(self)
    }

    /// The next connection, and the address that it comes from if it has one.
    pub(super) fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((stream.into(), Some(address.ip().to_canonical())))
            }
            Self::Unix(listener) => Ok((listener.accept()?.0.into(), None)),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http://{address}"),
                Err(_) => "a socket without an address".to_owned(),
            },
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or("a Unix socket".to_owned(), |path| format!("unix:{}", path.display()))
            }
        }
    }
}

/// A socket file that is removed when the server ends.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// All sockets on which a server listens.
#[derive(Debug, Default)]
pub struct Listeners {
    all: Vec<Listener>,
    files: Vec<SocketFile>,
}

impl Listeners {
    /// The sockets that the service manager has handed over (`LISTEN_FDS`); none if it has not.
    pub fn inherited() -> Result<Self, ListenError> {
        let mut given = ListenFd::from_env();
        let mut listeners = Self::default();
        for index in 0..given.len() {
            let failed = |error| ListenError::Inherited { index, error };
            let listener = match given.take_tcp_listener(index) {
                Ok(Some(listener)) => Listener::Tcp(listener),
                _ => match given.take_unix_listener(index).map_err(failed)? {
                    Some(listener) => Listener::Unix(listener),
                    None => continue,
                },
            };
            listeners.all.push(listener.set_up().map_err(failed)?);
        }
        Ok(listeners)
    }

    /// Listens on all addresses of a host name, or on an IP address; port 0 is any that is free. An
    /// IPv6 address may stand in brackets.
    pub fn bind(&mut self, host: &str, port: u16) -> Result<(), ListenError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let unknown = |error| ListenError::Host { host: host.to_owned(), error };
        let mut addresses: Vec<SocketAddr> =
            (bare, port).to_socket_addrs().map_err(|error| unknown(Some(error)))?.collect();
        addresses.sort_unstable();
        addresses.dedup();
        if port == 0 {
            // Two addresses would get two ports.
            addresses.truncate(1);
        }
        let (mut bound, mut last) = (Vec::new(), unknown(None));
        for address in addresses {
            let listener = TcpListener::bind(address).map(Listener::Tcp).and_then(Listener::set_up);
            match listener {
                Ok(listener) => bound.push(listener),
                // A host name may have an IPv6 address where the system has no IPv6.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                    last = ListenError::Address { address, error };
                }
                Err(error) => return Err(ListenError::Address { address, error }),
            }
        }
        if bound.is_empty() {
            return Err(last);
        }
        self.all.extend(bound);
        Ok(())
    }

    /// Listens on a socket file, which is removed when the server ends. One that a server has left
    /// behind is replaced.
    pub fn bind_unix(&mut self, path: &Path) -> Result<(), ListenError> {
        let failed = |error| ListenError::Path { path: path.to_owned(), error };
        if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            // Whatever else goes wrong, such as a queue that is full, somebody may listen there.
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Ok(_) => return Err(ListenError::InUse { path: path.to_owned() }),
                Err(error) => return Err(failed(error)),
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        self.files.push(SocketFile(path.to_owned()));
        self.all.push(Listener::Unix(listener).set_up().map_err(failed)?);
        Ok(())
    }

    /// Whether there is no socket.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Where clients connect, as URLs; `unix:` and a path for socket files.
    pub fn urls(&self) -> Vec<String> {
        self.iter().map(Listener::describe).collect()
    }

    /// The addresses of the TCP sockets.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let of = |listener: &Listener| match listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        };
        self.iter().filter_map(of).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.all.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for (host, url) in
            [("127.0.0.1", "http://127.0.0.1:"), ("[::1]", "http://[::1]:"), ("::1", "http://[::1]:")]
        {
            let mut listeners = Listeners::default();
            match listeners.bind(host, 0) {
                Ok(()) => assert!(listeners.urls()[0].starts_with(url), "{:?}", listeners.urls()),
                // A system without IPv6.
                Err(error) => assert!(host.contains(':'), "{error}"),
            }
        }
        let mut listeners = Listeners::default();
        listeners.bind("localhost", 0).unwrap();
        assert_eq!(listeners.addresses().len(), 1);
        let taken = listeners.addresses()[0];
        let error = listeners.bind(&taken.ip().to_string(), taken.port()).unwrap_err();
        assert!(error.to_string().starts_with(&taken.to_string()), "{error}");
        let error = listeners.bind("no such host", 1).unwrap_err();
        assert!(matches!(error, ListenError::Host { .. }), "{error}");
    }

    #[test]
    fn a_socket_file_is_made_replaced_and_removed() {
        let name = format!("verbatim-listen-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut first = Listeners::default();
        first.bind_unix(&path).unwrap();
        assert_eq!(first.urls(), [format!("unix:{}", path.display())]);
        let error = Listeners::default().bind_unix(&path).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
        let (stream, address) = {
            let _client = UnixStream::connect(&path).unwrap();
            // The probe of the second server came first.
            first.all[0].accept().unwrap();
            first.all[0].accept().unwrap()
        };
        assert!(address.is_none(), "{stream:?}");
        drop(first);
        assert!(!path.exists());
        // A server that was killed leaves its file behind.
        drop(UnixListener::bind(&path).unwrap());
        Listeners::default().bind_unix(&path).unwrap();
        std::fs::write(&path, "no socket").unwrap();
        let error = Listeners::default().bind_unix(&path).unwrap_err();
        assert!(matches!(error, ListenError::Path { .. }), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}
