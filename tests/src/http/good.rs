//! Good clients: they stream one answer after another, each of which must be, to the last bit of
//! its log probabilities, what it is when nothing else is served. And the probe, which asks for
//! /health on a new connection each time, as a load balancer does.
use super::connection::{Connection, request};
use super::events::Events;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Tokens of each answer.
const TOKENS: usize = 300;
/// How long a token may take before the client gives up.
const TOKEN_PATIENCE: Duration = Duration::from_secs(60);
/// How long /health may take before the probe counts a failure.
const HEALTH_PATIENCE: Duration = Duration::from_secs(10);
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// What a stream has told, event by event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// The text of all events.
    pub text: String,
    /// Each token, with its log probability as it was written.
    pub tokens: Vec<(String, String)>,
    /// Why it ended; `None` if it did not.
    pub finish_reason: Option<String>,
}

/// Why there is no whole output.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// Refused with this status, before anything was generated.
    Refused(u16),
    /// A connection that was used before was closed before anything came back, as a server may.
    Stale,
    /// The answer began, or should have, and did not come whole.
    Lost {
        /// What had come before.
        output: Output,
        /// What went wrong then.
        why: String,
    },
}

impl Output {
    /// Adds an event; whether it told a token.
    fn add(&mut self, event: &Value) -> bool {
        let choice = &event["choices"][0];
        self.text.push_str(choice["text"].as_str().unwrap_or_default());
        let list = |name: &str| choice["logprobs"][name].as_array().cloned().unwrap_or_default();
        let told = list("tokens").into_iter().zip(list("token_logprobs"));
        let before = self.tokens.len();
        self.tokens.extend(told.map(|(token, logprob)| (token.to_string(), logprob.to_string())));
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
        self.tokens.len() > before
    }
}

/// Streams one completion. `at_token` is called when a token has come.
///
/// # Errors
/// What kept the output from being whole.
pub fn stream(
    connection: &mut Connection,
    body: &Value,
    mut at_token: impl FnMut(),
) -> Result<Output, Failure> {
    let mut output = Output::default();
    let begun = connection.send(&request("POST", "/v1/completions", &[], body.to_string().as_bytes()));
    let head = match begun.and_then(|()| connection.answers().final_head()) {
        Ok(head) => head,
        Err(error) => {
            let is_closed = matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            );
            if is_closed && connection.answers().is_between() {
                return Err(Failure::Stale);
            }
            return Err(Failure::Lost { output, why: error.to_string() });
        }
    };
    if head.status != 200 {
        let body = connection.answers().body(1 << 20);
        return match body {
            Ok(_) => Err(Failure::Refused(head.status)),
            Err(error) => Err(Failure::Lost { output, why: error.to_string() }),
        };
    }
    let (mut events, mut part, mut is_done) = (Events::default(), Vec::new(), false);
    loop {
        part.clear();
        match connection.answers().part(&mut part) {
            Ok(true) => events.push(&part),
            Ok(false) if is_done => return Ok(output),
            Ok(false) => return Err(Failure::Lost { output, why: "no [DONE]".to_owned() }),
            Err(error) => return Err(Failure::Lost { output, why: error.to_string() }),
        }
        while let Some(data) = events.pop() {
            if data == "[DONE]" {
                is_done = true;
                continue;
            }
            match serde_json::from_str::<Value>(&data) {
                Ok(event) if event.get("error").is_some() => return Err(Failure::Lost { output, why: data }),
                Ok(event) => {
                    if output.add(&event) {
                        at_token();
                    }
                }
                Err(error) => return Err(Failure::Lost { output, why: format!("{error}: {data}") }),
            }
        }
    }
}

/// What good clients have seen since they were last asked.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Milliseconds between tokens of a stream.
    pub gaps_ms: Vec<f64>,
    /// Milliseconds from a request to its first token.
    pub firsts_ms: Vec<f64>,
    /// Answers that came whole.
    pub whole: usize,
    /// Requests that were refused, and asked again later.
    pub refused: usize,
    /// Tokens that did not come.
    pub lost_tokens: usize,
    /// Answers that differ from the one that the request has alone.
    pub wrong: usize,
    /// The first thing that went wrong.
    pub why: Option<String>,
}

impl Seen {
    fn blame(&mut self, why: impl FnOnce() -> String) {
        self.why.get_or_insert_with(why);
    }

    fn add(&mut self, other: Self) {
        self.gaps_ms.extend(other.gaps_ms);
        self.firsts_ms.extend(other.firsts_ms);
        self.whole += other.whole;
        self.refused += other.refused;
        self.lost_tokens += other.lost_tokens;
        self.wrong += other.wrong;
        self.why = self.why.take().or(other.why);
    }
}

/// The value below which a share of the values lies; 0 without values.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((share * last as f64).round() as usize).copied().unwrap_or(0.0)
}

fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// The request of a good client, one of its two.
fn ask(client: usize, turn: usize) -> Value {
    let turn = turn % 2;
    let beginnings = ["The capital of France is", "Once upon a time there was", "One, two, three,"];
    json!({
        "prompt": format!("{} {client}", beginnings[(client + turn) % beginnings.len()]),
        "max_tokens": TOKENS, "ignore_eos": true, "temperature": 0.9, "seed": 100 * client + turn,
        "logprobs": 1, "stream": true,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A good client, and what it must be answered.
struct Client {
    address: SocketAddr,
    number: usize,
    /// The outputs of its two requests when nothing else is served.
    alone: [Output; 2],
    connection: Option<Connection>,
}

impl Client {
    fn connection(&mut self) -> std::io::Result<&mut Connection> {
        if self.connection.is_none() {
            let connection = Connection::open(self.address)?;
            connection.be_patient(TOKEN_PATIENCE)?;
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Asks once, and notes what came of it.
    fn turn(&mut self, turn: usize, seen: &Mutex<Seen>) {
        let body = ask(self.number, turn);
        let start = Instant::now();
        let mut last: Option<Instant> = None;
        let mut at_token = || {
            let now = Instant::now();
            let mut seen = lock(seen);
            match last.replace(now) {
                Some(before) => seen.gaps_ms.push(now.duration_since(before).as_secs_f64() * 1e3),
                None => seen.firsts_ms.push(now.duration_since(start).as_secs_f64() * 1e3),
            }
        };
        let was_open = self.connection.is_some();
        let result = match self.connection() {
            Ok(connection) => stream(connection, &body, &mut at_token),
            Err(error) => {
                Err(Failure::Lost { output: Output::default(), why: format!("connecting: {error}") })
            }
        };
        let mut noted = lock(seen);
        match result {
            Ok(output) if output == self.alone[turn % 2] => noted.whole += 1,
            Ok(output) => {
                noted.wrong += 1;
                noted.blame(|| format!("an answer differs: {:?}", output.text));
            }
            Err(Failure::Refused(status)) => {
                noted.refused += 1;
                noted.blame(|| format!("refused with {status}"));
                drop(noted);
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(Failure::Stale) if was_open => {
                drop(noted);
                self.connection = None;
                self.turn(turn, seen);
            }
            Err(failure) => {
                let (output, why) = match failure {
                    Failure::Lost { output, why } => (output, why),
                    _ => (Output::default(), "closed without an answer".to_owned()),
                };
                noted.lost_tokens += TOKENS.saturating_sub(output.tokens.len()).max(1);
                noted.blame(|| why);
                self.connection = None;
                drop(noted);
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Good clients, each on a thread of its own, until they are dropped.
#[derive(Debug)]
pub struct GoodClients {
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl GoodClients {
    /// Asks each request alone, then starts the clients.
    ///
    /// # Errors
    /// If a request fails where nothing else is served.
    pub fn start(address: SocketAddr, count: usize) -> Result<Self, String> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let is_over = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for number in 0..count {
            let mut client = Client { address, number, alone: Default::default(), connection: None };
            for turn in 0..2 {
                let connection = client.connection().map_err(|error| error.to_string())?;
                let output = stream(connection, &ask(number, turn), || {});
                client.alone[turn] = output.map_err(|failure| format!("{failure:?}"))?;
                if client.alone[turn].tokens.len() != TOKENS {
                    return Err(format!("{} tokens, expected {TOKENS}", client.alone[turn].tokens.len()));
                }
            }
            clients.push(client);
        }
        let start = |mut client: Client| {
            let (seen, is_over) = (Arc::clone(&seen), Arc::clone(&is_over));
            std::thread::spawn(move || {
                for turn in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    client.turn(turn, &seen);
                }
            })
        };
        let threads = clients.into_iter().map(start).collect();
        Ok(Self { seen, is_over, threads })
    }

    /// What they have seen since this was last called.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *lock(&self.seen))
    }

    /// Waits until another answer has come whole, at most so long, and adds to `seen` what came
    /// meanwhile.
    pub fn wait_for_one(&self, seen: &mut Seen, patience: Duration) {
        let (start, whole) = (Instant::now(), seen.whole);
        while seen.whole == whole && start.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(10));
            seen.add(self.take());
        }
    }

    /// Lets them end the answers that they are at, and returns what they have seen.
    pub fn stop(mut self) -> Seen {
        self.end();
        self.take()
    }

    fn end(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for GoodClients {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the probe has seen since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Probed {
    /// Times that /health was asked.
    pub count: usize,
    /// The longest time to a whole answer, its new connection included, in milliseconds.
    pub worst_ms: f64,
    /// Answers that were not 200, or did not come.
    pub failures: Vec<String>,
}

/// Asks for /health over and over, until it is dropped.
#[derive(Debug)]
pub struct Probe {
    probed: Arc<Mutex<Probed>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn probe_once(address: SocketAddr) -> Result<(), String> {
    let mut connection = Connection::open(address).map_err(|error| format!("connecting: {error}"))?;
    connection.be_patient(HEALTH_PATIENCE).map_err(|error| error.to_string())?;
    let request = request("GET", "/health", &[("Connection", "close")], b"");
    let answer = connection.ask(&request).map_err(|error| error.to_string())?;
    if answer.head.status == 200 { Ok(()) } else { Err(format!("status {}", answer.head.status)) }
}

impl Probe {
    /// Starts to ask a server.
    pub fn start(address: SocketAddr) -> Self {
        let probed = Arc::new(Mutex::new(Probed::default()));
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = {
            let (probed, is_over) = (Arc::clone(&probed), Arc::clone(&is_over));
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let result = probe_once(address);
                    let taken = ms_since(start);
                    let mut probed = lock(&probed);
                    probed.count += 1;
                    probed.worst_ms = probed.worst_ms.max(taken);
                    probed.failures.extend(result.err());
                    drop(probed);
                    std::thread::sleep(PROBE_INTERVAL);
                }
            })
        };
        Self { probed, is_over, thread: Some(thread) }
    }

    /// What it has seen since this was last called.
    pub fn take(&self) -> Probed {
        std::mem::take(&mut *lock(&self.probed))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
