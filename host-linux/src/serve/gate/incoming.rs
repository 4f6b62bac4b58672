//! Reads what a client sends: heads and bodies, each bounded in bytes and in time.
use super::head::{Framing, HEAD_MAX, Head, end_of_head};
use crate::serve::error::ApiError;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The largest body, in bytes.
pub(super) const BODY_MAX: usize = 16 << 20;
/// How long a connection may be idle between requests.
const IDLE: Duration = Duration::from_secs(75);
/// How long a head may take to arrive, from its first byte.
const HEAD_TIME: Duration = Duration::from_secs(20);
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(120);
/// The longest line between chunks, which has a chunk's size or a trailer, in bytes.
const CHUNK_LINE_MAX: usize = 4096;

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Missing {
    /// The client is gone or was idle for too long, so nobody waits for an answer.
    Closed,
    /// The client is told the error, and the connection ends.
    Refused(ApiError),
}

impl From<ApiError> for Missing {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

fn refused(status: u16, message: String) -> Missing {
    Missing::Refused(ApiError { status, ..ApiError::invalid("", message) })
}

/// The bytes that a connection sends, and those of them that were read ahead.
#[derive(Debug)]
pub(super) struct Incoming<'s> {
    stream: &'s TcpStream,
    ahead: Vec<u8>,
}

impl<'s> Incoming<'s> {
    pub(super) fn new(stream: &'s TcpStream) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    /// The number of bytes that were read and not yet used.
    pub(super) fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Reads what has arrived and waits until `deadline` for the first byte. Returns the number of
    /// bytes, which is 0 at the end of the connection.
    pub(super) fn fill(&mut self, deadline: Instant) -> Result<usize, Missing> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(refused(408, "the request took too long to arrive".to_owned()));
        }
        // A socket that takes no time-out is closed.
        self.stream.set_read_timeout(Some(left)).map_err(|_| Missing::Closed)?;
        let mut piece = [0; 16 << 10];
        loop {
            match self.stream.read(&mut piece) {
                Ok(count) => {
                    self.ahead.extend_from_slice(&piece[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(refused(408, "the request took too long to arrive".to_owned()));
                }
                Err(_) => return Err(Missing::Closed),
            }
        }
    }

    /// Reads the head of the next request.
    pub(super) fn head(&mut self) -> Result<Head, Missing> {
        if self.ahead.is_empty() {
            match self.fill(Instant::now() + IDLE) {
                Ok(1..) => {}
                _ => return Err(Missing::Closed),
            }
        }
        let deadline = Instant::now() + HEAD_TIME;
        loop {
            // Some clients send an empty line after a body, which is no part of the next request.
            let empty = self.ahead.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.ahead.drain(..empty);
            let end = end_of_head(&self.ahead);
            if let Some(end) = end.filter(|end| *end <= HEAD_MAX) {
                let head = Head::parse(&self.ahead[..end])?;
                self.ahead.drain(..end);
                return Ok(head);
            }
            if end.is_some() || self.ahead.len() > HEAD_MAX {
                return Err(refused(431, format!("the head of the request is larger than {HEAD_MAX} bytes")));
            }
            if self.fill(deadline)? == 0 {
                return Err(Missing::Closed);
            }
        }
    }

    /// Reads the whole body that follows a head.
    pub(super) fn body(&mut self, framing: Framing) -> Result<Vec<u8>, Missing> {
        let deadline = Instant::now() + BODY_TIME;
        match framing {
            Framing::Length(length) => {
                let length = usize::try_from(length).ok().filter(|length| *length <= BODY_MAX);
                let length = length.ok_or_else(too_large)?;
                self.take(length, deadline)
            }
            Framing::Chunked => {
                let mut body = Vec::new();
                loop {
                    let line = self.line(deadline)?;
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let size = usize::from_str_radix(size, 16).unwrap_or(usize::MAX);
                    if !digits {
                        return Err(refused(400, "the request is not HTTP: the size of a chunk".to_owned()));
                    }
                    if size > BODY_MAX - body.len() {
                        return Err(too_large());
                    }
                    if size == 0 {
                        break;
                    }
                    body.extend(self.take(size, deadline)?);
                    if !self.line(deadline)?.is_empty() {
                        return Err(refused(400, "the request is not HTTP: the end of a chunk".to_owned()));
                    }
                }
                // Trailers are skipped.
                while !self.line(deadline)?.is_empty() {}
                Ok(body)
            }
        }
    }

    fn take(&mut self, count: usize, deadline: Instant) -> Result<Vec<u8>, Missing> {
        while self.ahead.len() < count {
            if self.fill(deadline)? == 0 {
                let message = format!("the body ends after {} of {count} bytes", self.ahead.len());
                return Err(refused(400, message));
            }
        }
        let rest = self.ahead.split_off(count);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    fn line(&mut self, deadline: Instant) -> Result<String, Missing> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
                self.ahead.drain(..end + 2);
                return Ok(line);
            }
            if self.ahead.len() > CHUNK_LINE_MAX {
                return Err(refused(400, "the request is not HTTP: a chunk without a size".to_owned()));
            }
            if self.fill(deadline)? == 0 {
                return Err(refused(400, "the body ends within its chunks".to_owned()));
            }
        }
    }
}

fn too_large() -> Missing {
    refused(413, format!("the body is larger than {BODY_MAX} bytes"))
}
