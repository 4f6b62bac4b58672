//! Reads HTTP answers off a connection, one after another: heads by `httparse`, bodies by their
//! framing. What comes is bounded, so that a server that has gone wrong cannot hurt its test.
use std::io::{Error, ErrorKind, Read, Result};

/// Bytes that a head or the line of a chunk's size may have.
const HEAD_BYTES: usize = 64 << 10;
const HEADERS: usize = 64;
/// Bytes that one read asks for.
const PIECE_BYTES: usize = 16 << 10;

/// The status line and the headers of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status, such as 200.
    pub status: u16,
    minor_version: u8,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of the first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the server says that it closes the connection behind this answer.
    pub fn closes(&self) -> bool {
        let says = |word: &str| self.header("connection").is_some_and(|v| v.eq_ignore_ascii_case(word));
        says("close") || (self.minor_version == 0 && !says("keep-alive"))
    }
}

/// How the rest of a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Bytes that are to come.
    Length(u64),
    /// Bytes that are to come of the current chunk; 0 before a line with the next one's size.
    Chunked(u64),
    /// Everything until the server closes.
    ToEnd,
    Done,
}

/// The answers that come from a reader. One body must be read to its end before the next head.
#[derive(Debug)]
pub struct Answers<R> {
    from: R,
    /// What was read and not yet taken is `bytes[start..end]`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    framing: Framing,
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, what.into())
}

fn cut_off() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "the connection ended inside an answer")
}

impl<R: Read> Answers<R> {
    /// No answer has begun.
    pub fn new(from: R) -> Self {
        Self { from, bytes: vec![0; PIECE_BYTES], start: 0, end: 0, framing: Framing::Done }
    }

    /// What the answers come from.
    pub fn source(&self) -> &R {
        &self.from
    }

    /// Whether nothing of a next answer has come yet.
    pub fn is_between(&self) -> bool {
        self.framing == Framing::Done && self.start == self.end
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> Result<bool> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            self.bytes.resize(2 * self.end, 0);
        }
        loop {
            match self.from.read(&mut self.bytes[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => {
                    return read.map(|count| {
                        self.end += count;
                        count > 0
                    });
                }
            }
        }
    }

    /// The next head, which may be an interim one (1xx).
    ///
    /// # Errors
    /// `UnexpectedEof` if the connection has ended, `InvalidData` if this is not HTTP, and whatever
    /// reading gives.
    pub fn head(&mut self) -> Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut parsed = httparse::Response::new(&mut headers);
            let bytes = &self.bytes[self.start..self.end];
            match parsed.parse(bytes).map_err(|error| wrong(format!("no head of an answer: {error}")))? {
                httparse::Status::Complete(len) => {
                    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                    let headers = parsed.headers.iter();
                    let head = Head {
                        status: parsed.code.unwrap_or_default(),
                        minor_version: parsed.version.unwrap_or_default(),
                        headers: headers.map(|h| (h.name.to_owned(), text(h.value))).collect(),
                    };
                    self.start += len;
                    self.framing = framing(&head)?;
                    return Ok(head);
                }
                httparse::Status::Partial if bytes.len() > HEAD_BYTES => return Err(wrong("a huge head")),
                httparse::Status::Partial => {
                    if !self.fill()? {
                        return Err(cut_off());
                    }
                }
            }
        }
    }

    /// The head of the next answer that is not an interim one.
    ///
    /// # Errors
    /// As for [`Self::head`].
    pub fn final_head(&mut self) -> Result<Head> {
        loop {
            let head = self.head()?;
            if head.status >= 200 {
                return Ok(head);
            }
        }
    }

    /// A line without its end.
    fn line(&mut self) -> Result<String> {
        loop {
            let bytes = &self.bytes[self.start..self.end];
            if let Some(len) = bytes.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&bytes[..len]).trim_end_matches('\r').to_owned();
                self.start += len + 1;
                return Ok(line);
            }
            if bytes.len() > HEAD_BYTES {
                return Err(wrong("a huge line"));
            }
            if !self.fill()? {
                return Err(cut_off());
            }
        }
    }

    /// Moves at most `limit` bytes that have come, at least one, to `part`; false at the end.
    fn take(&mut self, limit: u64, part: &mut Vec<u8>) -> Result<u64> {
        if self.start == self.end && !self.fill()? {
            return Ok(0);
        }
        let count = limit.min((self.end - self.start) as u64);
        part.extend_from_slice(&self.bytes[self.start..self.start + count as usize]);
        self.start += count as usize;
        Ok(count)
    }

    /// Adds what comes next of the body to `part`; false when the body has ended.
    ///
    /// # Errors
    /// As for [`Self::head`].
    pub fn part(&mut self, part: &mut Vec<u8>) -> Result<bool> {
        match self.framing {
            Framing::Done | Framing::Length(0) => {
                self.framing = Framing::Done;
                Ok(false)
            }
            Framing::ToEnd => {
                let has_more = self.take(u64::MAX, part)? > 0;
                if !has_more {
                    self.framing = Framing::Done;
                }
                Ok(has_more)
            }
            Framing::Length(left) => match self.take(left, part)? {
                0 => Err(cut_off()),
                count => {
                    self.framing = Framing::Length(left - count);
                    Ok(true)
                }
            },
            Framing::Chunked(0) => {
                let line = self.line()?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| wrong("no size of a chunk"))?;
                if size > 0 {
                    self.framing = Framing::Chunked(size);
                    return self.part(part);
                }
                while !self.line()?.is_empty() {}
                self.framing = Framing::Done;
                Ok(false)
            }
            Framing::Chunked(left) => match self.take(left, part)? {
                0 => Err(cut_off()),
                count => {
                    if count == left && !self.line()?.is_empty() {
                        return Err(wrong("a chunk is longer than its size"));
                    }
                    self.framing = Framing::Chunked(left - count);
                    Ok(true)
                }
            },
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As for [`Self::head`]; `InvalidData` if it has more than `limit` bytes.
    pub fn body(&mut self, limit: usize) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while self.part(&mut body)? {
            if body.len() > limit {
                return Err(wrong(format!("a body of more than {limit} bytes")));
            }
        }
        Ok(body)
    }
}

fn framing(head: &Head) -> Result<Framing> {
    if head.status < 200 || head.status == 204 || head.status == 304 {
        return Ok(Framing::Done);
    }
    if head.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(Framing::Chunked(0));
    }
    match head.header("content-length") {
        None => Ok(Framing::ToEnd),
        Some(length) => length.parse().map(Framing::Length).map_err(|_| wrong("no content length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of a few.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, to: &mut [u8]) -> Result<usize> {
            let count = self.1.min(self.0.len()).min(to.len());
            to[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn answers_are_read_whatever_their_pieces() {
        let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
            HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nde\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n\
            HTTP/1.0 404 No\r\n\r\nto the end";
        for piece in [1, 2, 3, 7, 1000] {
            let mut answers = Answers::new(Pieces(text, piece));
            assert_eq!(answers.head().unwrap().status, 100);
            let mut next = || {
                let head = answers.final_head().unwrap();
                (head.status, head.closes(), String::from_utf8(answers.body(100).unwrap()).unwrap())
            };
            assert_eq!(next(), (200, false, "abc".to_owned()));
            assert_eq!(next(), (200, false, "de0123456789".to_owned()));
            assert_eq!(next(), (404, true, "to the end".to_owned()));
            assert_eq!(answers.head().unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn what_is_cut_or_wrong_is_an_error() {
        let kind = |text: &[u8]| {
            let mut answers = Answers::new(text);
            answers.final_head().and_then(|_| answers.body(10)).unwrap_err().kind()
        };
        assert_eq!(kind(b"HTTP/1.1 200 OK\r\n"), ErrorKind::UnexpectedEof);
        assert_eq!(kind(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), ErrorKind::UnexpectedEof);
        assert_eq!(kind(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nabcdefghijk"), ErrorKind::InvalidData);
        assert_eq!(kind(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), ErrorKind::InvalidData);
        let chunked = |rest: &str| {
            kind(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}").as_bytes())
        };
        assert_eq!(chunked("2\r\nabc\r\n"), ErrorKind::InvalidData);
        assert_eq!(chunked("x\r\n"), ErrorKind::InvalidData);
        assert_eq!(chunked("2\r\nab\r\n"), ErrorKind::UnexpectedEof);
        assert_eq!(kind(b"SSH-2.0-x\r\n\r\n"), ErrorKind::InvalidData);
    }
}
