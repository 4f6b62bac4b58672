//! What does HTTP cost: requests a second on one connection that is kept, beside tiny_http's own
//! server with the same answer, in turns; and the server's CPU time for each streamed token.
use super::report::{Bar, Line, Report, median};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use verbatim::load::NoProgress;
use verbatim::runtime::{EngineHandle, Options, ServedModel};
use verbatim::serve::lifecycle::Lifecycle;
use verbatim::serve::notice::Notice;
use verbatim::serve::observe::{Observer, Record};
use verbatim::serve::options::ServeOptions;
use verbatim::serve::transport::listen::Listeners;

/// Turns of each server; the median counts.
const TURNS: usize = 5;
/// How long a turn takes.
const TURN_TIME: Duration = Duration::from_secs(2);
/// Requests a second that one client on one connection is to get.
const REQUESTS_BAR: f64 = 15_000.0;
/// How many times as many they are to be as tiny_http's own.
const RATIO_BAR: f64 = 3.0;
/// Microseconds of CPU time that a streamed token may cost the thread that sends it.
const TOKEN_BAR_US: f64 = 15.0;
/// Streams whose tokens are counted, and tokens of each.
const STREAMS: usize = 20;
const TOKENS: usize = 200;

type Failure = Box<dyn std::error::Error>;

/// Hears of everything and says nothing.
#[derive(Debug)]
struct Silent;

impl Observer for Silent {
    fn request_ended(&self, _: &Record) {}
    fn notice(&self, _: &Notice) {}
}

/// The built-in model behind our server.
struct Ours {
    address: SocketAddr,
    lifecycle: Arc<Lifecycle>,
    engine: EngineHandle,
    threads: Vec<JoinHandle<()>>,
}

impl Ours {
    fn start() -> Result<Self, Failure> {
        let options = Options { workers: Some(1), ..Options::default() };
        let model = Arc::new(ServedModel::open(&options, &NoProgress)?);
        let (engine, thread) = EngineHandle::start(Arc::clone(&model), options.step_ms)?;
        let mut listeners = Listeners::default();
        listeners.bind("127.0.0.1", 0)?;
        let address = listeners.addresses()[0];
        let lifecycle = Arc::new(Lifecycle::new()?);
        let (ours, handle) = (Arc::clone(&lifecycle), engine.clone());
        let server = std::thread::spawn(move || {
            let served = verbatim::serve::serve(
                &listeners,
                model,
                handle,
                Arc::new(Silent),
                ServeOptions::default(),
                ours,
            );
            served.expect("it was asked to stop");
        });
        Ok(Self { address, lifecycle, engine, threads: vec![server, thread] })
    }

    fn stop(self) {
        self.lifecycle.stop();
        self.engine.stop();
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// tiny_http's own server, which answers every request with `body`. It ends with the process.
fn theirs(body: Vec<u8>) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = tiny_http::Server::from_listener(listener, None).map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        let json = tiny_http::Header::from_bytes("Content-Type", "application/json").expect("a header");
        while let Ok(request) = server.recv() {
            let response = tiny_http::Response::from_data(body.clone()).with_header(json.clone());
            let _ = request.respond(response);
        }
    });
    Ok(address)
}

/// A connection that is kept.
struct Kept {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Kept {
    fn new(address: SocketAddr) -> Result<Self, Failure> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(writer.try_clone()?), writer })
    }

    /// Sends a request and reads its answer, which must have a length.
    fn get(&mut self) -> Result<Vec<u8>, Failure> {
        self.writer.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let (mut line, mut length) = (String::new(), None);
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.parse()?);
                }
                _ if line == "\r\n" || line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length.ok_or("an answer without a length")?];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }

    /// Streams tokens; returns the number of events.
    fn stream(&mut self) -> Result<usize, Failure> {
        let body = format!(
            r#"{{"prompt": [5], "max_tokens": {TOKENS}, "ignore_eos": true, "stream": true, "seed": 1, "return_token_ids": true}}"#
        );
        write!(
            self.writer,
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let (mut line, mut events) = (String::new(), 0);
        while line != "0\r\n" {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                return Err("the stream is not whole".into());
            }
            events += usize::from(line.starts_with("data: "));
        }
        self.reader.read_line(&mut line)?;
        Ok(events)
    }
}

/// Requests a second on one connection.
fn rate(address: SocketAddr) -> Result<f64, Failure> {
    let mut client = Kept::new(address)?;
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < TURN_TIME {
        client.get()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Requests a second as `wrk` counts them, if it is there.
fn wrk(address: SocketAddr) -> Option<f64> {
    let url = format!("http://{address}/health");
    let output = Command::new("wrk").args(["-t1", "-c1", "-d2s", &url]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?.trim().parse().ok()
}

/// CPU time of all threads that serve a client, in nanoseconds.
fn client_threads_ns() -> Result<u64, Failure> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "verbatim-client" {
            let time = std::fs::read_to_string(task.join("schedstat"))?;
            total += time.split(' ').next().ok_or("no time")?.parse::<u64>()?;
        }
    }
    Ok(total)
}

fn requests(report: &Report, ours: &Ours, theirs: SocketAddr) -> Result<(), Failure> {
    report.section("GET /health, one connection that is kept");
    let (mut mine, mut other) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        mine.push(rate(ours.address)?);
        other.push(rate(theirs)?);
    }
    let ratios = mine.iter().zip(&other).map(|(mine, other)| mine / other).collect();
    let (mine, other) = (median(mine), median(other));
    report.line(
        &Line::new("requests a second", mine, "1/s").peer("tiny_http", other).bar(Bar::AtLeast(REQUESTS_BAR)),
    );
    report.line(&Line::new("the same, beside tiny_http", median(ratios), "x").bar(Bar::AtLeast(RATIO_BAR)));
    match (wrk(ours.address), wrk(theirs)) {
        (Some(mine), Some(other)) => report.line(
            &Line::new("requests a second, wrk -t1 -c1", mine, "1/s")
                .peer("tiny_http", other)
                .bar(Bar::AtLeast(REQUESTS_BAR)),
        ),
        _ => report.left_out("requests a second, wrk -t1 -c1", "wrk is not installed"),
    }
    Ok(())
}

fn tokens(report: &Report, ours: &Ours) -> Result<(), Failure> {
    report.section("POST /v1/completions, streamed");
    let mut client = Kept::new(ours.address)?;
    client.stream()?;
    let (mut costs, mut count) = (Vec::new(), 0);
    for _ in 0..STREAMS {
        let before = client_threads_ns()?;
        let events = client.stream()?;
        costs.push((client_threads_ns()? - before) as f64 / 1000.0 / events as f64);
        count += events;
    }
    let note = format!("{count} events; JSON, text, a look at the client and a write");
    report.line(
        &Line::new("CPU time of a token's event", median(costs), "us")
            .bar(Bar::AtMost(TOKEN_BAR_US))
            .note(note),
    );
    Ok(())
}

/// Measures and prints all of it.
pub(crate) fn report(json: bool) -> Result<(), String> {
    let measure = || -> Result<(), Failure> {
        let ours = Ours::start()?;
        let theirs = theirs(Kept::new(ours.address)?.get()?)?;
        let report = Report::new("http", json, 1);
        requests(&report, &ours, theirs)?;
        tokens(&report, &ours)?;
        ours.stop();
        Ok(())
    };
    measure().map_err(|error| error.to_string())
}
