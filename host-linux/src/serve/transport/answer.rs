//! The bytes of answers: whole ones, and the head and pieces of streams.
use std::io::{self, Write};
use tiny_http::{HTTPVersion, Header, Response, StatusCode};

/// What an answer says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Nothing: HTTP/1.1 connections stay open.
    Implied,
    /// That the connection stays open, which an HTTP/1.0 client has asked for.
    KeepAlive,
    /// That the connection ends with this answer.
    Close,
}

impl Persistence {
    fn line(self) -> &'static str {
        match self {
            Self::Implied => "",
            Self::KeepAlive => "Connection: keep-alive\r\n",
            Self::Close => "Connection: close\r\n",
        }
    }
}

/// A kind of answer that is sent in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) struct StreamKind {
    /// What the pieces are together.
    pub(in crate::serve) content_type: &'static str,
    /// Bytes that mean nothing between two pieces, for a client that must be seen to be there.
    pub(in crate::serve) filler: &'static [u8],
}

impl StreamKind {
    /// Server-sent events, between which a comment may stand.
    pub(in crate::serve) const EVENTS: Self =
        Self { content_type: "text/event-stream", filler: b": ping\n\n" };
}

/// Whether a header can be sent as it is. Others are left out: what would end a line has no place
/// in a head.
fn is_sendable(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || matches!(byte, b' '..=b'~'))
}

/// A whole answer. With `is_head` it ends before its body, whose length it tells.
pub(super) fn whole(
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
    is_head: bool,
    persistence: Persistence,
) -> Vec<u8> {
    let mut response = Response::new(StatusCode(status), Vec::new(), io::empty(), Some(body.len()), None)
        .with_chunked_threshold(usize::MAX);
    for (name, value) in [("Server", "verbatim")].iter().chain(headers) {
        if is_sendable(value)
            && let Ok(header) = Header::from_bytes(name.as_bytes(), value.as_bytes())
        {
            response.add_header(header);
        }
    }
    let mut bytes = Vec::with_capacity(512 + body.len());
    // tiny_http writes the head. It never writes a header that concerns the connection.
    let printed = response.raw_print(&mut bytes, HTTPVersion(1, 1), &[], true, None);
    debug_assert!(printed.is_ok(), "memory takes everything");
    let has_content = !matches!(status, 204 | 304);
    if !has_content {
        // An answer that has no content has no length of it either.
        let head = String::from_utf8_lossy(&bytes).replace("Content-Length: 0\r\n", "");
        bytes = head.into_bytes();
    }
    bytes.truncate(bytes.len().saturating_sub(2));
    bytes.extend_from_slice(persistence.line().as_bytes());
    bytes.extend_from_slice(b"\r\n");
    if !is_head && has_content {
        bytes.extend_from_slice(body);
    }
    bytes
}

/// The head of an answer in pieces, in chunks or until the end of the connection.
pub(super) fn stream_head(
    headers: &[(&str, &str)],
    content_type: &str,
    is_chunked: bool,
    persistence: Persistence,
) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 200 OK\r\nServer: verbatim\r\nContent-Type: {content_type}\r\n\
         Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n",
    );
    for (name, value) in headers.iter().filter(|(_, value)| is_sendable(value)) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if is_chunked {
        head.push_str("Transfer-Encoding: chunked\r\n");
    }
    head.push_str(persistence.line());
    head.push_str("\r\n");
    head.into_bytes()
}

/// Hexadecimal digits of the size of a chunk, and its line end.
const SIZE_LINE: usize = 18;

/// Writes what `fill` appends as one piece of a stream into `buffer`, which keeps its memory from
/// piece to piece. Returns the bytes to send. With `is_last` the end of the stream follows.
pub(super) fn piece(
    buffer: &mut Vec<u8>,
    is_chunked: bool,
    is_last: bool,
    fill: impl FnOnce(&mut Vec<u8>),
) -> &[u8] {
    buffer.clear();
    if !is_chunked {
        fill(buffer);
        return buffer;
    }
    // The size is known last and stands first, so there is room for the largest.
    buffer.resize(SIZE_LINE, 0);
    fill(buffer);
    let length = buffer.len() - SIZE_LINE;
    if length == 0 {
        // An empty chunk would end the stream.
        buffer.clear();
        buffer.extend_from_slice(if is_last { b"0\r\n\r\n" } else { b"" });
        return buffer;
    }
    let mut size = [0; SIZE_LINE];
    let mut left = &mut size[..];
    // Sixteen digits and a line end always have room.
    let _ = write!(left, "{length:x}\r\n");
    let digits = SIZE_LINE - left.len();
    let start = SIZE_LINE - digits;
    buffer[start..SIZE_LINE].copy_from_slice(&size[..digits]);
    buffer.extend_from_slice(if is_last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
    &buffer[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn whole_answers_say_what_becomes_of_the_connection() {
        let headers = [("Content-Type", "application/json"), ("x-bad", "a\r\nx: y"), ("x-good", "b")];
        let answer = whole(413, &headers, b"{}", false, Persistence::Close);
        let (head, body) = text(&answer).split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{head}");
        for line in ["Content-Type: application/json", "x-good: b", "Content-Length: 2", "Connection: close"]
        {
            assert!(head.split("\r\n").any(|other| other == line), "{line}: {head}");
        }
        assert!(head.contains("\r\nDate: ") && head.contains("\r\nServer: verbatim\r\n"), "{head}");
        assert!(!head.contains("x-bad") && body == "{}");
        let answer = whole(200, &[], b"{}", true, Persistence::KeepAlive);
        assert!(text(&answer).ends_with("\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n"));
        let large = vec![b'x'; 100_000];
        let answer = whole(200, &[], &large, false, Persistence::Implied);
        assert!(text(&answer).contains("Content-Length: 100000\r\n\r\nx"), "never in chunks");
        let answer = whole(204, &[], b"", false, Persistence::Implied);
        assert!(text(&answer).starts_with("HTTP/1.1 204 ") && !text(&answer).contains("Length"));
    }

    #[test]
    fn pieces_are_chunks_where_the_client_knows_them() {
        let mut buffer = Vec::new();
        let mut of = |bytes: &[u8], is_chunked, is_last| {
            piece(&mut buffer, is_chunked, is_last, |buffer| buffer.extend_from_slice(bytes)).to_vec()
        };
        assert_eq!(of(b"abc", true, false), b"3\r\nabc\r\n");
        assert_eq!(of(b"abc", true, true), b"3\r\nabc\r\n0\r\n\r\n");
        assert_eq!(of(b"abc", false, true), b"abc");
        assert_eq!((of(b"", true, false), of(b"", true, true)), (Vec::new(), b"0\r\n\r\n".to_vec()));
        let long = of(&[b'x'; 0x1_0000], true, false);
        assert!(long.starts_with(b"10000\r\nx") && long.ends_with(b"x\r\n"));
    }
}
