//! The head of an HTTP/1 request, as far as it must be known to relay the request safely.
//!
//! Another parser reads the request after this one. So this one refuses what two parsers may
//! understand differently: two lengths, a length beside chunks, folded lines, carriage returns
//! alone.
use crate::serve::error::ApiError;

/// The header by which a handler finds the [client](super::Client) of its request. A client's own
/// header of that name is dropped.
pub(in crate::serve) const ID_HEADER: &str = "x-verbatim-client";
/// The largest head, in bytes.
pub(super) const HEAD_MAX: usize = 32 << 10;
/// The largest number of headers.
const HEADERS_MAX: usize = 100;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length in bytes.
    Length(u64),
    /// By the framing of chunks.
    Chunked,
}

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Method, target and version.
    pub(super) line: String,
    /// The headers that are passed on, without those that frame this connection.
    pub(super) headers: Vec<(String, String)>,
    /// How the body is delimited.
    pub(super) framing: Framing,
    /// Whether the connection ends with the answer.
    pub(super) close: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

/// The length of the head at the start of `bytes`, its empty line included, if it is whole.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let end = |separator: &[u8]| {
        bytes.windows(separator.len()).position(|window| window == separator).map(|at| at + separator.len())
    };
    end(b"\r\n\r\n")
}

fn refused(status: u16, message: &str) -> ApiError {
    ApiError { status, ..ApiError::invalid("", message) }
}

fn wrong(what: &str) -> ApiError {
    refused(400, &format!("the request is not HTTP: {what}"))
}

/// Whether `text` may be a method or the name of a header.
fn is_token(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(known)
}

/// Checks the first line of a request; `true` if its version is HTTP/1.0, `false` if HTTP/1.1.
fn is_http_1_0(line: &str) -> Result<bool, ApiError> {
    let mut words = line.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let version = version.filter(|_| words.next().is_none()).ok_or_else(|| wrong("its first line"))?;
    if version != "HTTP/1.1" && version != "HTTP/1.0" {
        return Err(refused(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"));
    }
    if !method.is_some_and(is_token) || !target.is_some_and(|t| t.is_ascii() && t.starts_with('/')) {
        return Err(wrong("its first line"));
    }
    Ok(version == "HTTP/1.0")
}

impl Head {
    /// Parses a head that ends with its empty line. An error has the status to answer with.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("its head is not UTF-8"))?;
        let text = text.strip_suffix("\r\n\r\n").ok_or_else(|| wrong("its head does not end"))?;
        if text.bytes().any(|byte| byte < b' ' && !matches!(byte, b'\r' | b'\n' | b'\t')) {
            return Err(wrong("a control character in its head"));
        }
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default();
        if text.split("\r\n").any(|line| line.contains(['\r', '\n'])) {
            return Err(wrong("a bare line end in its head"));
        }
        let is_old = is_http_1_0(line)?;
        let mut head = Self {
            line: line.to_owned(),
            headers: Vec::new(),
            framing: Framing::Length(0),
            // In HTTP/1.0 only the end of the connection ends a stream.
            close: is_old,
            expects_continue: false,
        };
        let (mut length, mut chunked) = (None, false);
        for (number, line) in lines.enumerate() {
            if number >= HEADERS_MAX {
                return Err(refused(431, "more headers than 100"));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| wrong("a header without a colon"))?;
            if !is_token(name) {
                return Err(wrong("the name of a header"));
            }
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                    // A length beyond a u64 is beyond every limit.
                    let parsed = value.parse().unwrap_or(u64::MAX);
                    if !digits || length.is_some_and(|other| other != parsed) {
                        return Err(wrong("its Content-Length"));
                    }
                    length = Some(parsed);
                }
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") && !chunked => chunked = true,
                "transfer-encoding" => {
                    return Err(refused(501, "the only Transfer-Encoding known here is chunked"));
                }
                "connection" => {
                    head.close |= value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"));
                }
                "expect" if value.eq_ignore_ascii_case("100-continue") => head.expects_continue = true,
                "expect" => return Err(refused(417, "the only expectation known here is 100-continue")),
                "keep-alive" | "upgrade" | "te" | "trailer" | ID_HEADER => {}
                // tiny_http ends the connection without an answer when a header is not ASCII. No
                // header that is used here is one.
                _ if !value.is_ascii() => {}
                _ => head.headers.push((name.to_owned(), value.to_owned())),
            }
        }
        head.framing = match (chunked, length) {
            (true, Some(_)) => return Err(wrong("both a Content-Length and chunks")),
            (true, None) if is_old => return Err(wrong("chunks in HTTP/1.0")),
            (true, None) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Head, u16> {
        Head::parse(text.as_bytes()).map_err(|error| error.status)
    }

    #[test]
    fn heads_are_read() {
        let head = parse(
            "POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length:  12 \r\nExpect: 100-continue\r\n\r\n",
        )
        .unwrap();
        assert_eq!((head.framing, head.close, head.expects_continue), (Framing::Length(12), false, true));
        assert_eq!(head.headers, [("Host".to_owned(), "a".to_owned())]);
        let head =
            parse("GET / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nConnection: x, Close\r\n\r\n").unwrap();
        assert_eq!((head.framing, head.close), (Framing::Chunked, true));
        assert!(parse("GET / HTTP/1.0\r\n\r\n").unwrap().close);
    }

    #[test]
    fn what_parsers_may_disagree_on_is_refused() {
        for (text, status) in [
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
            ("GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nname : x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nx: a\nb: c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nx: a\0\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\n\r\n", 400),
            ("GET a HTTP/1.1\r\n\r\n", 400),
            ("PRI * HTTP/2.0\r\n\r\n", 505),
            ("\r\n\r\n", 400),
        ] {
            assert_eq!(parse(text), Err(status), "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(101));
        assert_eq!(parse(&many), Err(431));
        let huge = parse("GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n").unwrap();
        assert_eq!(huge.framing, Framing::Length(u64::MAX));
    }
}
