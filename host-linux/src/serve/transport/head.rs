//! The head of an HTTP/1 request.
//!
//! `httparse` reads the lines; what they mean for the connection is decided here. What a proxy in
//! front of this server may understand differently is refused: two lengths, a length beside
//! chunks, bare line ends, two hosts.
use std::fmt;
use std::str::FromStr;
use tiny_http::Method;

/// The largest head, in bytes.
pub const HEAD_MAX: usize = 32 << 10;
/// The largest number of headers.
pub const HEADERS_MAX: usize = 100;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its length in bytes.
    Length(u64),
    /// By the framing of chunks.
    Chunked,
}

/// The version of HTTP that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0, which has no chunks, no `100 Continue`, and one request a connection unless asked.
    Http10,
    /// HTTP/1.1, the version of answers.
    Http11,
}

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The method, known or not.
    pub method: Method,
    /// The path that is asked for, without its query, as it was sent.
    pub path: String,
    /// What stands behind the question mark, as it was sent; empty without one.
    pub query: String,
    /// The version of the request.
    pub version: Version,
    /// All headers in order. Bytes that are no UTF-8 have become U+FFFD.
    pub headers: Vec<(String, String)>,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the connection ends with the answer.
    pub close: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It is not HTTP, for this reason.
    NotHttp(&'static str),
    /// It is of an HTTP version that is not spoken here.
    Version,
    /// It has more bytes than [`HEAD_MAX`].
    TooLarge,
    /// It has more headers than [`HEADERS_MAX`].
    TooManyHeaders,
    /// Its body is encoded in a way that is not known here.
    Encoding,
    /// It expects something other than `100-continue`.
    Expectation,
}

impl HeadError {
    /// The HTTP status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::NotHttp(_) => 400,
            Self::Version => 505,
            Self::TooLarge | Self::TooManyHeaders => 431,
            Self::Encoding => 501,
            Self::Expectation => 417,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp(what) => write!(f, "the request is not HTTP: {what}"),
            Self::Version => f.write_str("only HTTP/1.0 and HTTP/1.1 are spoken here"),
            Self::TooLarge => write!(f, "the head of the request is larger than {HEAD_MAX} bytes"),
            Self::TooManyHeaders => write!(f, "the request has more headers than {HEADERS_MAX}"),
            Self::Encoding => f.write_str("the only Transfer-Encoding known here is chunked"),
            Self::Expectation => f.write_str("the only expectation known here is 100-continue"),
        }
    }
}

impl std::error::Error for HeadError {}

/// Whether the first line names a version of HTTP, well-formed but for its number.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    words.len() == 3 && words[2].starts_with(b"HTTP/")
}

fn refused(error: httparse::Error, bytes: &[u8]) -> HeadError {
    match error {
        httparse::Error::Version if names_a_version(bytes) => HeadError::Version,
        httparse::Error::Version | httparse::Error::Token => HeadError::NotHttp("its first line"),
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::HeaderName => HeadError::NotHttp("the name of a header"),
        httparse::Error::HeaderValue => HeadError::NotHttp("the value of a header"),
        httparse::Error::NewLine => HeadError::NotHttp("a bare line end in its head"),
        httparse::Error::Status => HeadError::NotHttp("its head"),
    }
}

/// A line end without its carriage return may be one for this server, and none for a proxy.
fn has_bare_line_end(head: &[u8]) -> bool {
    head.first() == Some(&b'\n') || head.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
}

/// The path of a request target, and the host that an absolute one names.
fn split_target<'t>(method: &Method, target: &'t str) -> Result<(&'t str, Option<&'t str>), HeadError> {
    let (path, host) = if target.starts_with('/') || (target == "*" && *method == Method::Options) {
        (target, None)
    } else {
        let is_http = target.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"));
        let is_https = target.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
        let rest = match (is_http, is_https) {
            (true, _) => &target[7..],
            (_, true) => &target[8..],
            _ => return Err(HeadError::NotHttp("its target")),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        if end == 0 {
            return Err(HeadError::NotHttp("its target"));
        }
        let path = if rest[end..].starts_with('/') { &rest[end..] } else { "/" };
        (path, Some(&rest[..end]))
    };
    Ok((path.split(['?', '#']).next().unwrap_or_default(), host))
}

/// What stands behind the question mark of a request target.
fn query_of(target: &str) -> &str {
    let target = target.split('#').next().unwrap_or_default();
    target.split_once('?').map_or("", |(_, query)| query)
}

/// What the headers say about the connection and the body.
#[derive(Debug, Default)]
struct Meaning {
    length: Option<u64>,
    chunked: bool,
    unknown_encoding: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    hosts: usize,
}

impl Meaning {
    fn note(&mut self, name: &str, value: &str) -> Result<(), HeadError> {
        let words = || value.split(',').map(|word| word.trim_matches([' ', '\t']));
        if name.eq_ignore_ascii_case("content-length") {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            // A length beyond a u64 is beyond every limit.
            let parsed = value.parse().unwrap_or(u64::MAX);
            if !digits || self.length.is_some_and(|other| other != parsed) {
                return Err(HeadError::NotHttp("its Content-Length"));
            }
            self.length = Some(parsed);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.unknown_encoding |= self.chunked || !value.eq_ignore_ascii_case("chunked");
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            self.close |= words().any(|word| word.eq_ignore_ascii_case("close"));
            self.keep_alive |= words().any(|word| word.eq_ignore_ascii_case("keep-alive"));
        } else if name.eq_ignore_ascii_case("expect") {
            if !value.eq_ignore_ascii_case("100-continue") {
                return Err(HeadError::Expectation);
            }
            self.expects_continue = true;
        } else if name.eq_ignore_ascii_case("host") {
            self.hosts += 1;
        }
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, HeadError> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(HeadError::NotHttp("both a Content-Length and a Transfer-Encoding")),
            (true, None) if version == Version::Http10 => Err(HeadError::NotHttp("chunks in HTTP/1.0")),
            (true, None) if self.unknown_encoding => Err(HeadError::Encoding),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

impl Head {
    /// Reads the head at the start of `bytes`; with it comes the number of its bytes. `None` if it
    /// is not whole yet. What cannot become a head is refused before it is whole.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length <= HEAD_MAX => length,
            Ok(httparse::Status::Partial) if bytes.len() <= HEAD_MAX => return Ok(None),
            Ok(_) => return Err(HeadError::TooLarge),
            Err(error) => return Err(refused(error, bytes)),
        };
        if has_bare_line_end(&bytes[..length]) {
            return Err(HeadError::NotHttp("a bare line end in its head"));
        }
        let head = Self::from_parsed(&request)?;
        Ok(Some((head, length)))
    }

    fn from_parsed(request: &httparse::Request<'_, '_>) -> Result<Self, HeadError> {
        // A head that is whole has all three.
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version)
        else {
            return Err(HeadError::NotHttp("its first line"));
        };
        let method = Method::from_str(method).map_err(|()| HeadError::NotHttp("its method"))?;
        let version = if version == 0 { Version::Http10 } else { Version::Http11 };
        let (path, host) = split_target(&method, target)?;
        let (path, query) = (path.to_owned(), query_of(target).to_owned());
        let mut meaning = Meaning::default();
        let mut headers = Vec::with_capacity(request.headers.len());
        for header in request.headers.iter() {
            let mut value = String::from_utf8_lossy(header.value).into_owned();
            meaning.note(header.name, &value)?;
            // The host of an absolute target is the one that counts.
            if let Some(host) = host.filter(|_| header.name.eq_ignore_ascii_case("host")) {
                host.clone_into(&mut value);
            }
            headers.push((header.name.to_owned(), value));
        }
        if meaning.hosts > 1 {
            return Err(HeadError::NotHttp("more than one Host"));
        }
        if meaning.hosts == 0 && version == Version::Http11 {
            return Err(HeadError::NotHttp("no Host"));
        }
        Ok(Self {
            method,
            path,
            query,
            version,
            headers,
            framing: meaning.framing(version)?,
            close: meaning.close || (version == Version::Http10 && !meaning.keep_alive),
            expects_continue: meaning.expects_continue && version == Version::Http11,
        })
    }

    /// What stands for a head that could not be read, so that its refusal can be sent and noted.
    pub(super) fn unknown() -> Self {
        Self {
            method: Method::Get,
            path: String::new(),
            query: String::new(),
            version: Version::Http11,
            headers: Vec::new(),
            framing: Framing::Length(0),
            close: true,
            expects_continue: false,
        }
    }

    /// The value of the first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Head, u16> {
        match Head::parse(text.as_bytes()) {
            Ok(Some((head, length))) => {
                assert!(length <= text.len());
                Ok(head)
            }
            Ok(None) => panic!("{text:?} is not whole"),
            Err(error) => Err(error.status()),
        }
    }

    #[test]
    fn heads_are_read() {
        let head = parse(
            "POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length:  12 \r\nExpect: 100-continue\r\n\r\nx",
        )
        .unwrap();
        assert_eq!((&head.method, head.path.as_str()), (&Method::Post, "/v1/x"));
        assert_eq!((head.framing, head.close, head.expects_continue), (Framing::Length(12), false, true));
        assert_eq!(head.headers[0], ("Host".to_owned(), "a".to_owned()));
        assert_eq!(head.header("content-length"), Some("12"));
        let head =
            parse("GET / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\nConnection: x, Close\r\n\r\n");
        assert_eq!(head.map(|head| (head.framing, head.close)), Ok((Framing::Chunked, true)));
    }

    #[test]
    fn http_1_0_closes_unless_it_is_asked_not_to() {
        let head = parse("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").unwrap();
        assert!(head.close && head.version == Version::Http10 && !head.expects_continue);
        assert!(!parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap().close);
        assert!(parse("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n").unwrap().close);
    }

    #[test]
    fn absolute_targets_name_path_and_host() {
        for (target, path, host) in [
            ("http://h:8080/v1/models?x", "/v1/models", "h:8080"),
            ("HTTPS://h", "/", "h"),
            ("http://h?x=/y", "/", "h"),
            ("/health?x", "/health", "a"),
        ] {
            let head = parse(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            assert_eq!((head.path.as_str(), head.header("host")), (path, Some(host)), "{target}");
        }
        assert_eq!(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().path, "*");
        for target in ["http:///x", "ftp://h/x", "*", "h:443", "x"] {
            assert_eq!(parse(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")), Err(400), "{target}");
        }
    }

    #[test]
    fn bytes_that_are_not_ascii_are_taken() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nx-name: J\xf6rg \xe2\x82\xac\r\n\r\n";
        let (head, _) = Head::parse(bytes).unwrap().unwrap();
        assert_eq!(head.header("X-Name"), Some("J\u{fffd}rg €"));
    }

    #[test]
    fn what_parsers_may_disagree_on_is_refused() {
        for (text, status) in [
            ("Content-Length: 1\r\nContent-Length: 2\r\n", 400),
            ("Content-Length: 1, 1\r\n", 400),
            ("Content-Length: -1\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: 0x1\r\n", 400),
            ("Content-Length:\r\n", 400),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Content-Length: 1\r\nTransfer-Encoding: identity\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
            ("Transfer-Encoding: identity\r\n", 501),
            ("Expect: 200-ok\r\n", 417),
            ("host: b\r\n", 400),
            (" folded: x\r\n", 400),
            ("x: y\r\n folded\r\n", 400),
            ("no colon\r\n", 400),
            ("name : x\r\n", 400),
            (": x\r\n", 400),
            ("x: a\nb: c\r\n", 400),
            ("x: a\rb: c\r\n", 400),
            ("x: a\0\r\n", 400),
        ] {
            assert_eq!(parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{text}\r\n")), Err(status), "{text:?}");
        }
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("GET / HTTP/1.1\nHost: a\n\n", 400),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("GET / HTTP/3.0\r\n\r\n", 505),
            ("\x16\x03\x01\0\u{a5}\x01", 400),
            ("{\"prompt\"", 400),
        ] {
            assert_eq!(parse(text), Err(status), "{text:?}");
        }
        let huge = parse("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n");
        assert_eq!(huge.unwrap().framing, Framing::Length(u64::MAX));
    }

    #[test]
    fn heads_are_bounded() {
        let many = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(count));
        assert_eq!(parse(&many(HEADERS_MAX - 1)).unwrap().headers.len(), HEADERS_MAX);
        assert_eq!(parse(&many(HEADERS_MAX)), Err(431));
        let long = |count| format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(count));
        let room = HEAD_MAX - long(0).len();
        assert!(parse(&long(room)).is_ok());
        assert_eq!(parse(&long(room + 1)), Err(431));
        assert_eq!(Head::parse(&vec![b'a'; HEAD_MAX]), Ok(None));
        assert_eq!(Head::parse(&vec![b'a'; HEAD_MAX + 1]), Err(HeadError::TooLarge));
    }

    proptest! {
        /// No bytes do harm, and a head that is whole is the same whatever follows it.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((head, length))) = Head::parse(&bytes) {
                prop_assert_eq!(Head::parse(&bytes[..length]), Ok(Some((head, length))));
            }
        }

        /// A part of a good head is no reason to refuse it.
        #[test]
        fn every_part_of_a_head_may_become_one(cut in 0_usize..72) {
            let text = b"POST /v1/x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nx: \xc3\xa9y\r\nx-a: b, c\r\n\r\n";
            prop_assert_eq!(text.len(), 72);
            prop_assert_eq!(Head::parse(&text[..cut]), Ok(None));
        }
    }
}
