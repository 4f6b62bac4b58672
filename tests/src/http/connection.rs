//! One connection of a client that sends what it likes, piece by piece, and waits within bounds.
use super::answer::{Answers, Head};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a client waits for a connection, for room to send, and for each piece of an answer,
/// unless it is told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of a body that a client takes.
const BODY_BYTES: usize = 16 << 20;

/// An answer that has come whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status and the headers.
    pub head: Head,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

/// Connects from an address of the loopback, so that a client can be told from others by its
/// address.
///
/// # Errors
/// Whatever the system gives, `TimedOut` after `patience`.
pub fn connect(from: Ipv4Addr, to: SocketAddr, patience: Duration) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if to.is_ipv4() {
        // Without this, each connection would take a port from all others of any address.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
    }
    socket.connect_timeout(&to.into(), patience)?;
    Ok(socket.into())
}

/// The bytes of a request with a `Host`, the headers given, and a length where there is a body.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    if !body.is_empty() || method == "POST" {
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// A connection. Everything that waits gives up after the connection's patience.
#[derive(Debug)]
pub struct Connection {
    answers: Answers<TcpStream>,
}

impl Connection {
    /// Opens a connection from 127.0.0.1.
    ///
    /// # Errors
    /// Whatever the system gives.
    pub fn open(to: SocketAddr) -> Result<Self> {
        Self::open_from(Ipv4Addr::LOCALHOST, to)
    }

    /// Opens a connection from an address of the loopback.
    ///
    /// # Errors
    /// Whatever the system gives.
    pub fn open_from(from: Ipv4Addr, to: SocketAddr) -> Result<Self> {
        let stream = connect(from, to, PATIENCE)?;
        stream.set_nodelay(true)?;
        let connection = Self { answers: Answers::new(stream) };
        connection.be_patient(PATIENCE)?;
        Ok(connection)
    }

    /// Bounds each wait from now on.
    ///
    /// # Errors
    /// If the bound is 0.
    pub fn be_patient(&self, patience: Duration) -> Result<()> {
        self.stream().set_read_timeout(Some(patience))?;
        self.stream().set_write_timeout(Some(patience))
    }

    /// The socket of the connection.
    pub fn stream(&self) -> &TcpStream {
        self.answers.source()
    }

    /// The answers that come back.
    pub fn answers(&mut self) -> &mut Answers<TcpStream> {
        &mut self.answers
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the server is gone or takes no more within the connection's patience.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        self.stream().write_all(bytes)
    }

    /// Sends bytes in pieces, with a wait behind each.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub fn drip(&self, bytes: &[u8], piece: usize, wait: Duration) -> Result<()> {
        bytes.chunks(piece).try_for_each(|piece| {
            self.send(piece)?;
            std::thread::sleep(wait);
            Ok(())
        })
    }

    /// Says that nothing more will be sent, and goes on reading.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn half_close(&self) -> Result<()> {
        self.stream().shutdown(Shutdown::Write)
    }

    /// Ends the connection by a reset, as when a client's machine fails.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn reset(self) -> Result<()> {
        SockRef::from(self.stream()).set_linger(Some(Duration::ZERO))
    }

    /// The next whole answer.
    ///
    /// # Errors
    /// `UnexpectedEof` or `ConnectionReset` if the server closes, `WouldBlock` or `TimedOut` if it
    /// is silent for too long, `InvalidData` if it speaks no HTTP.
    pub fn answer(&mut self) -> Result<Answer> {
        let head = self.answers.final_head()?;
        Ok(Answer { head, body: self.answers.body(BODY_BYTES)? })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// As for [`Self::answer`].
    pub fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        // A server that refuses may close before it has taken everything, and answers all the same.
        let sent = self.send(request);
        let answer = self.answer();
        if answer.is_err() {
            sent?;
        }
        answer
    }
}
