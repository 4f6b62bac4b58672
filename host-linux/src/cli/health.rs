//! `verbatim health`: asks a server whether it is alive, for supervisors that have no other client,
//! such as the health check of a container with nothing else in it.
use super::args::HealthArgs;
use super::output;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

/// Bytes of an answer that are read; its status stands in the first of them.
const ANSWER_MAX: u64 = 4096;

/// Succeeds if the server answers with status 200 in time.
pub(super) fn health(args: &HealthArgs) -> Result<(), String> {
    let url = args.url.clone().unwrap_or_else(|| default_url(&args.host, args.port));
    let place = Place::parse(&url)?;
    let limit = Duration::from_secs(args.health_seconds.max(1));
    let (sender, receiver) = mpsc::channel();
    // Names are looked up without a time limit, so a thread asks and this one watches the clock.
    // The process ends with this thread.
    std::thread::spawn(move || sender.send(place.status(limit)));
    match receiver.recv_timeout(limit) {
        Ok(Ok(200)) => output::line(format_args!("{url}: healthy")),
        Ok(Ok(status)) => Err(format!("{url}: status {status}")),
        Ok(Err(error)) => Err(format!("{url}: {error}")),
        Err(_) => Err(format!("{url}: no answer within {} s", limit.as_secs())),
    }
}

/// Where a server that listens on `host` can be reached from this machine.
fn default_url(host: &str, port: u16) -> String {
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    if host.contains(':') {
        format!("http://[{host}]:{port}/health")
    } else {
        format!("http://{host}:{port}/health")
    }
}

/// What to ask, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Host and port, with the brackets of an IPv6 address, and the path.
    Tcp { authority: String, path: String },
    /// The file of a Unix socket, which is asked for `/health`.
    Unix { file: String },
}

impl Place {
    fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("found the URL {url:?}, expected http://HOST:PORT/PATH or unix:FILE");
        if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(wrong());
        }
        if let Some(file) = url.strip_prefix("unix:").filter(|file| !file.is_empty()) {
            return Ok(Self::Unix { file: file.to_owned() });
        }
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(wrong());
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let path = if path.is_empty() { "/health" } else { path }.to_owned();
        Ok(Self::Tcp { authority, path })
    }

    /// The status of the answer. No single wait is longer than `limit`.
    fn status(&self, limit: Duration) -> Result<u16, String> {
        match self {
            Self::Tcp { authority, path } => {
                let addresses = authority.to_socket_addrs().map_err(|error| error.to_string())?;
                let mut last = "the name has no address".to_owned();
                for address in addresses {
                    match TcpStream::connect_timeout(&address, limit) {
                        Ok(stream) => return ask(stream, authority, path),
                        Err(error) => last = error.to_string(),
                    }
                }
                Err(last)
            }
            Self::Unix { file } => {
                let stream = UnixStream::connect(file).map_err(|error| error.to_string())?;
                ask(stream, "localhost", "/health")
            }
        }
    }
}

/// Sends the request and reads the status.
fn ask(mut stream: impl Read + Write, host: &str, path: &str) -> Result<u16, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_MAX).read_to_end(&mut answer);
    status_of(&answer).ok_or_else(|| match read {
        Err(error) => error.to_string(),
        Ok(_) => "the answer is not HTTP".to_owned(),
    })
}

/// The status of an answer that begins with these bytes.
fn status_of(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.")?;
    let digits = std::str::from_utf8(rest.get(2..5)?).ok()?;
    (rest[1] == b' ').then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn args(url: String) -> HealthArgs {
        HealthArgs { url: Some(url), host: String::new(), port: 0, health_seconds: 1 }
    }

    #[test]
    fn urls_are_taken_apart() {
        let tcp = |url: &str| match Place::parse(url).unwrap() {
            Place::Tcp { authority, path } => (authority, path),
            Place::Unix { file } => panic!("{file}"),
        };
        let expected = |authority: &str, path: &str| (authority.to_owned(), path.to_owned());
        assert_eq!(tcp("http://h:1/ready?x=1"), expected("h:1", "/ready?x=1"));
        assert_eq!(tcp("http://h"), expected("h:80", "/health"));
        assert_eq!(tcp("http://[::1]:8080/"), expected("[::1]:8080", "/"));
        assert_eq!(tcp("http://[::1]"), expected("[::1]:80", "/health"));
        let file = "/run/verbatim/http".to_owned();
        assert_eq!(Place::parse("unix:/run/verbatim/http"), Ok(Place::Unix { file }));
        for url in ["", "h:80", "https://h", "http://", "http:///health", "unix:", "http://h/\r\nx: y"] {
            let error = Place::parse(url).unwrap_err();
            assert!(error.contains("expected http://HOST:PORT/PATH"), "{error}");
        }
    }

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_loopback() {
        assert_eq!(default_url("0.0.0.0", 80), "http://127.0.0.1:80/health");
        assert_eq!(default_url("::", 8080), "http://[::1]:8080/health");
        assert_eq!(default_url("box", 8080), "http://box:8080/health");
    }

    #[test]
    fn only_status_200_is_healthy() {
        for (answer, error) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..], None),
            (b"HTTP/1.0 200 OK\r\n\r\n", None),
            (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Some("status 503")),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some("the answer is not HTTP")),
            (b"HTTP/1.1 2", Some("the answer is not HTTP")),
            (b"", Some("the answer is not HTTP")),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/health", listener.local_addr().unwrap());
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let count = stream.read(&mut request).unwrap();
                stream.write_all(answer).unwrap();
                String::from_utf8_lossy(&request[..count]).into_owned()
            });
            let found = health(&args(url)).err();
            let request = server.join().unwrap();
            assert!(request.starts_with("GET /health HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
            assert_eq!(found.is_some(), error.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().ends_with(error.unwrap_or_default()));
        }
    }

    #[test]
    fn a_server_that_is_silent_or_gone_is_not_healthy() {
        // Connections are taken into the backlog and never answered.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = health(&args(format!("http://{address}"))).unwrap_err();
        assert!(error.ends_with("no answer within 1 s"), "{error}");
        drop(listener);
        assert!(health(&args(format!("http://{address}"))).is_err());
        assert!(health(&args("unix:/nowhere/at/all".to_owned())).is_err());
    }
}
