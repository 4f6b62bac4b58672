//! A client of the OpenAI API: one connection that is kept, and streams over it. Times are taken as
//! the bytes of an event arrive, by the thread that waits for them.
use serde_json::Value;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use verbatim_tests::http::answer::Answers;
use verbatim_tests::http::events::Events;

const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of a body that is no stream, at most.
const BODY_BYTES: usize = 4 << 20;

/// A server and how it is asked.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    address: SocketAddr,
    /// Everything of a head but the path and the length.
    headers: String,
    /// The path before `/v1`.
    base: String,
    pub(super) is_chat: bool,
    /// How long it may be silent.
    patience: Duration,
}

/// Why a request has no whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An answer with another status than 200.
    Status(u16),
    /// No connection came about, for this reason.
    Unconnected(String),
    /// Silent for too long.
    TimedOut,
    /// Ended before the stream did.
    Cut(String),
    /// An error as an event of the stream.
    Reported(String),
    /// What came is not what the API says.
    Malformed(String),
}

impl Fault {
    /// The kind under which it is counted.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Status(status) => format!("status {status}"),
            Self::Unconnected(_) => "not connected".to_owned(),
            Self::TimedOut => "timed out".to_owned(),
            Self::Cut(_) => "cut off".to_owned(),
            Self::Reported(_) => "error event".to_owned(),
            Self::Malformed(_) => "malformed".to_owned(),
        }
    }

    fn of(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::InvalidData => Self::Malformed(error.to_string()),
            _ => Self::Cut(error.to_string()),
        }
    }
}

/// What a stream has told until it ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Streamed {
    pub(super) text: String,
    pub(super) finish_reason: Option<String>,
    /// Tokens of prompt and answer, as the server counts them.
    pub(super) usage: Option<(usize, usize)>,
    /// Of the prompt's tokens, those that the server had in its cache, if it tells.
    pub(super) cached: Option<usize>,
    /// The answer's token ids, where they were asked for.
    pub(super) token_ids: Vec<u32>,
    /// When each event with text or token ids came.
    pub(super) times: Vec<Instant>,
    /// Whether this client has left on purpose.
    pub(super) has_left: bool,
}

impl Streamed {
    /// Tokens of the answer: by the server's word, else one for each event with text.
    pub(super) fn tokens(&self) -> usize {
        self.usage.map_or(self.times.len(), |(_, tokens)| tokens)
    }

    /// Adds an event's data that came at `now`.
    fn add(&mut self, data: &str, now: Instant) -> Result<(), Fault> {
        let event: Value = serde_json::from_str(data).map_err(|error| Fault::Malformed(error.to_string()))?;
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            return Err(Fault::Reported(error.to_string()));
        }
        let usage = &event["usage"];
        if let (Some(prompt), Some(tokens)) =
            (usage["prompt_tokens"].as_u64(), usage["completion_tokens"].as_u64())
        {
            self.usage = Some((prompt as usize, tokens as usize));
            let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
            self.cached = cached.map(|cached| cached as usize);
        }
        let choice = &event["choices"][0];
        let delta = &choice["delta"];
        let before = self.text.len() + self.token_ids.len();
        let ids = choice["token_ids"].as_array().into_iter().flatten();
        self.token_ids.extend(ids.filter_map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())));
        for text in [&choice["text"], &delta["reasoning_content"], &delta["content"]] {
            self.text.push_str(text.as_str().unwrap_or_default());
        }
        if self.text.len() + self.token_ids.len() > before {
            self.times.push(now);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
        Ok(())
    }
}

impl Endpoint {
    /// The server at a URL.
    pub(super) fn new(
        url: &str,
        key: Option<&str>,
        is_chat: bool,
        patience: Duration,
    ) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url}: expected http://HOST:PORT"))?;
        let (host, base) = rest.split_once('/').unwrap_or((rest, ""));
        let base = base.trim_end_matches('/');
        let base = base.strip_suffix("v1").unwrap_or(base).trim_end_matches('/');
        let name = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let mut addresses = name.to_socket_addrs().map_err(|error| format!("{url}: {error}"))?;
        let address = addresses.next().ok_or_else(|| format!("{url}: the name has no address"))?;
        let mut headers = format!("Host: {host}\r\nContent-Type: application/json\r\n");
        if let Some(key) = key {
            if key.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
                return Err("--api-key: expected visible ASCII characters".to_owned());
            }
            headers.push_str(&format!("Authorization: Bearer {key}\r\n"));
        }
        let base = if base.is_empty() { String::new() } else { format!("/{base}") };
        Ok(Self { address, headers, base, is_chat, patience })
    }

    fn connect(&self) -> std::io::Result<Answers<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(Answers::new(stream))
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let Self { base, headers, .. } = self;
        format!("{method} {base}{path} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    }

    /// The bytes of a request for a stream.
    pub(super) fn stream_request(&self, body: &str) -> Vec<u8> {
        self.request("POST", if self.is_chat { "/v1/chat/completions" } else { "/v1/completions" }, body)
    }

    /// Sends bytes on a connection of their own and leaves: by closing, or by a reset.
    pub(super) fn send_and_leave(&self, bytes: &[u8], by_reset: bool) -> std::io::Result<()> {
        let connection = self.connect()?;
        let mut stream = connection.source();
        stream.write_all(bytes)?;
        if by_reset { reset(stream) } else { Ok(()) }
    }

    /// The name of the first model that the server lists.
    pub(super) fn first_model(&self) -> Result<String, String> {
        let name = self.first_listed()?["id"].as_str().map(str::to_owned);
        name.ok_or_else(|| format!("/v1/models at {}: the first has no `id`", self.address))
    }

    /// What the server lists of its first model: an object with its `id`, and what else it tells.
    pub(super) fn first_listed(&self) -> Result<Value, String> {
        let (status, body) = self.get("/v1/models")?;
        let mut models: Value = serde_json::from_slice(&body).unwrap_or_default();
        let listed = models.pointer_mut("/data/0").map(Value::take);
        listed.ok_or_else(|| format!("/v1/models at {}: status {status}, no model", self.address))
    }

    /// The sum of a metric's lines at `/metrics`, whatever their labels; `None` where the server
    /// tells none.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let (_, body) = self.get("/metrics").ok()?;
        let text = String::from_utf8_lossy(&body);
        let of = |line: &str| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
            rest.rsplit_once(' ')?.1.parse::<f64>().ok()
        };
        text.lines().filter_map(of).reduce(|sum, value| sum + value)
    }

    /// The status of a path, and what lies there.
    fn get(&self, path: &str) -> Result<(u16, Vec<u8>), String> {
        let failed = |error: std::io::Error| format!("{path} at {}: {error}", self.address);
        let mut connection = self.connect().map_err(failed)?;
        connection.source().write_all(&self.request("GET", path, "")).map_err(failed)?;
        let head = connection.final_head().map_err(failed)?;
        let body = connection.body(BODY_BYTES).map_err(failed)?;
        Ok((head.status, body))
    }
}

/// Has the connection end by a reset when it is dropped.
fn reset(stream: &TcpStream) -> std::io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// One client, which keeps its connection from request to request.
#[derive(Debug)]
pub(super) struct Client<'e> {
    endpoint: &'e Endpoint,
    connection: Option<Answers<TcpStream>>,
}

/// When a client leaves a stream: at its so many-th event with text, by a reset or by closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leave {
    pub(super) at_event: usize,
    pub(super) by_reset: bool,
}

impl<'e> Client<'e> {
    /// A client that has not connected yet.
    pub(super) fn new(endpoint: &'e Endpoint) -> Self {
        Self { endpoint, connection: None }
    }

    /// Asks for a stream, and reads it to its end unless it is to leave before.
    pub(super) fn stream(&mut self, body: &str, leave: Option<Leave>) -> (Streamed, Option<Fault>) {
        let mut streamed = Streamed::default();
        let request = self.endpoint.stream_request(body);
        let was_open = self.connection.is_some();
        let mut result = self.attempt(&request, leave, &mut streamed);
        if was_open && result == Err(None) {
            // The server had closed a connection that was idle, which it may.
            result = self.attempt(&request, leave, &mut streamed);
        }
        let fault = match result {
            Ok(()) => None,
            Err(fault) => Some(fault.unwrap_or_else(|| Fault::Cut("closed before an answer".to_owned()))),
        };
        (streamed, fault)
    }

    /// One attempt; `Err(None)` if the connection ended before a byte came.
    fn attempt(
        &mut self,
        request: &[u8],
        leave: Option<Leave>,
        streamed: &mut Streamed,
    ) -> Result<(), Option<Fault>> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let opened = self.endpoint.connect();
                opened.map_err(|error| Some(Fault::Unconnected(error.to_string())))?
            }
        };
        let sent = connection.source().write_all(request);
        let head = match connection.final_head() {
            Ok(head) => head,
            Err(error) if Fault::of(&error) == Fault::TimedOut => return Err(Some(Fault::TimedOut)),
            Err(_) if connection.is_between() => return Err(None),
            Err(error) => return Err(Some(Fault::of(&sent.err().unwrap_or(error)))),
        };
        if head.status != 200 {
            let read = connection.body(BODY_BYTES);
            if read.is_ok() && !head.closes() {
                self.connection = Some(connection);
            }
            return Err(Some(Fault::Status(head.status)));
        }
        let (mut events, mut part, mut is_done) = (Events::default(), Vec::new(), false);
        loop {
            part.clear();
            match connection.part(&mut part).map_err(|error| Some(Fault::of(&error)))? {
                true => {}
                false if is_done => break,
                false => return Err(Some(Fault::Cut("no [DONE]".to_owned()))),
            }
            let now = Instant::now();
            events.push(&part);
            while let Some(data) = events.pop() {
                if data == "[DONE]" {
                    is_done = true;
                } else {
                    streamed.add(&data, now).map_err(Some)?;
                }
            }
            if let Some(leave) = leave.filter(|leave| !is_done && streamed.times.len() >= leave.at_event) {
                streamed.has_left = true;
                if leave.by_reset {
                    let _ = reset(connection.source());
                }
                return Ok(());
            }
        }
        if !head.closes() {
            self.connection = Some(connection);
        }
        Ok(())
    }
}
