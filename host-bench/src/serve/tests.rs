//! The load generator against a server of a few lines, which streams what a seed says, and fails
//! where it is told to.
use super::arrivals::{Arrivals, Job, poisson, run};
use super::asks::{drawn, tests::args};
use super::client::{Client, Endpoint, Fault, Leave};
use super::measure::{Bounds, Repeats, Summary};
use super::options::SoakArgs;
use super::soak;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How the server misbehaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ill {
    Nothing,
    /// Closes each connection behind the answer without saying so.
    Closes,
    /// Every third answer differs from the others.
    Wavers,
    /// Every third request is refused with 429.
    Refuses,
    /// Every third stream ends in the middle.
    Cuts,
    /// Every third stream ends with an error.
    Reports,
}

pub(super) struct Fake {
    pub(super) url: String,
    count: Arc<AtomicUsize>,
}

pub(super) fn fake(ill: Ill) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let served = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_nodelay(true).unwrap();
            let served = Arc::clone(&served);
            std::thread::spawn(move || while serve_one(&stream, ill, &served).is_some() {});
        }
    });
    Fake { url, count }
}

/// Answers one request; `None` when the connection is to end.
fn serve_one(stream: &TcpStream, ill: Ill, served: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length, mut path) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let text = line.trim_end();
        if path.is_empty() {
            path = text.split(' ').nth(1)?.to_owned();
        } else if let Some(value) = text.strip_prefix("Content-Length: ") {
            length = value.parse().ok()?;
        } else if text.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut to = stream;
    if path == "/v1/models" {
        let list = r#"{"data": [{"id": "fake", "max_model_len": 2048, "meta": {"n_vocab": 99}}]}"#;
        write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{list}", list.len()).ok()?;
        return Some(());
    }
    if path == "/metrics" {
        let text = "# TYPE steps counter\nverbatim:steps_total{kind=\"decode\"} 4\nverbatim:steps_total{kind=\"prefill\"} 1\n";
        write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).ok()?;
        return Some(());
    }
    let ask: Value = serde_json::from_slice(&body).ok()?;
    assert_eq!(ask["model"], "fake");
    let is_third = served.fetch_add(1, Ordering::Relaxed) % 3 == 2;
    if is_third && ill == Ill::Refuses {
        write!(to, "HTTP/1.1 429 Too Many\r\nContent-Length: 2\r\n\r\n{{}}").ok()?;
        return Some(());
    }
    write!(to, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
    let mut send = |value: String| {
        let event = format!("data: {value}\n\n");
        to.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).ok()
    };
    let is_chat = path.ends_with("chat/completions");
    let tokens = ask["max_tokens"].as_u64()?;
    let prompt = if is_chat { &ask["messages"][0]["content"] } else { &ask["prompt"] };
    let seed = prompt.to_string().len() as u64 + ask["seed"].as_u64()?;
    for token in 0..tokens {
        if is_third && token == tokens / 2 {
            match ill {
                Ill::Cuts => return None,
                Ill::Reports => {
                    send(json!({"error": {"message": "failed"}}).to_string())?;
                    break;
                }
                _ => {}
            }
        }
        let waver = u64::from(is_third && ill == Ill::Wavers && token + 1 == tokens);
        let text = format!("{} ", (seed + token * token + waver) % 97);
        let mut choice = if is_chat { json!({"delta": {"content": text}}) } else { json!({"text": text}) };
        if ask["return_token_ids"] == true {
            choice["token_ids"] = json!([token]);
        }
        send(json!({"choices": [choice]}).to_string())?;
        std::thread::sleep(Duration::from_micros(200));
    }
    let end = json!({"choices": [{"text": "", "delta": {}, "finish_reason": "length"}]});
    send(end.to_string())?;
    let prompt_tokens = prompt.as_array().map_or(3, Vec::len);
    let mut usage = json!({"prompt_tokens": prompt_tokens, "completion_tokens": tokens});
    usage["prompt_tokens_details"] = json!({"cached_tokens": 16});
    send(json!({"choices": [], "usage": usage}).to_string())?;
    send("[DONE]".to_owned())?;
    to.write_all(b"0\r\n\r\n").ok()?;
    (ill != Ill::Closes).then_some(())
}

const BOUNDS: Bounds = Bounds { ttft_ms: 1e4, itl_ms: 1e4 };

pub(super) fn endpoint(url: &str, is_chat: bool) -> Endpoint {
    Endpoint::new(url, Some("key"), is_chat, Duration::from_secs(10)).unwrap()
}

/// The samples of a load, and the comparison with each request alone.
fn load(ill: Ill, is_chat: bool, arrivals: &Arrivals) -> (Summary, Repeats) {
    let healthy = fake(Ill::Nothing);
    let alone_at = endpoint(&healthy.url, is_chat);
    let server = fake(ill);
    let endpoint = endpoint(&server.url, is_chat);
    assert_eq!(endpoint.first_model().as_deref(), Ok("fake"));
    assert_eq!(
        [endpoint.metric("verbatim:steps_total"), endpoint.metric("verbatim:steps")],
        [Some(5.0), None]
    );
    let asks = drawn(&args(), 30, 0);
    let jobs: Vec<Job<'_>> = asks.iter().enumerate().map(|(number, ask)| Job { number, ask }).collect();
    let samples = run(&endpoint, "fake", &jobs, arrivals);
    let mut client = Client::new(&alone_at);
    let mut repeats = Repeats::default();
    for sample in samples.iter().filter(|sample| sample.fault.is_none()) {
        let (alone, fault) = client.stream(&asks[sample.number].body("fake", is_chat), None);
        assert_eq!(fault, None);
        repeats.add(sample.number, &sample.streamed, &alone);
    }
    (Summary::new(&samples, BOUNDS), repeats)
}

#[test]
fn a_healthy_server_has_every_answer_right() {
    let tokens: usize = drawn(&args(), 30, 0).iter().map(|ask| ask.max_tokens).sum();
    for (ill, is_chat) in [(Ill::Nothing, false), (Ill::Nothing, true), (Ill::Closes, false)] {
        for arrivals in [
            Arrivals::Clients(4),
            Arrivals::Clients(100),
            Arrivals::Times { at_s: poisson(1, 200.0, 30), in_flight: 3 },
        ] {
            let (summary, repeats) = load(ill, is_chat, &arrivals);
            assert_eq!((summary.requests, summary.whole, summary.good), (30, 30, 30), "{summary:?}");
            assert_eq!(summary.tokens, tokens);
            assert_eq!(summary.prompt_tokens, 90);
            assert_eq!((repeats.compared, repeats.equal), (30, 30), "{repeats:?}");
            assert_eq!(summary.ttft.values().len(), 30);
            assert!(summary.ttft.quantile(0.5) > 0.0 && summary.tokens_s() > 0.0);
        }
    }
}

#[test]
fn what_goes_wrong_is_counted_by_its_kind() {
    for (ill, kind) in [(Ill::Refuses, "status 429"), (Ill::Cuts, "cut off"), (Ill::Reports, "error event")] {
        let (summary, repeats) = load(ill, false, &Arrivals::Clients(1));
        assert_eq!(summary.faults.get(kind), Some(&10), "{:?}", summary.faults);
        assert_eq!((summary.whole, repeats.equal), (20, 20));
    }
    let (summary, repeats) = load(Ill::Wavers, false, &Arrivals::Clients(1));
    assert_eq!((summary.whole, repeats.compared, repeats.equal), (30, 30, 20));
    assert!(repeats.first.is_some());

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = endpoint(&format!("http://{closed}"), false);
    let (_, fault) = Client::new(&endpoint).stream("{}", None);
    assert!(matches!(fault, Some(Fault::Unconnected(_))), "{fault:?}");
    assert!(endpoint.first_model().is_err());
    for wrong in ["https://x", "localhost:1", "http://no such host/"] {
        assert!(Endpoint::new(wrong, None, false, Duration::from_secs(1)).is_err(), "{wrong}");
    }
}

#[test]
fn a_client_that_leaves_has_seen_the_beginning() {
    let server = fake(Ill::Nothing);
    let endpoint = endpoint(&server.url, false);
    let ask = drawn(&args(), 30, 0).into_iter().find(|ask| ask.max_tokens > 5).unwrap();
    let body = ask.body("fake", false);
    let mut client = Client::new(&endpoint);
    let (alone, _) = client.stream(&body, None);
    for by_reset in [false, true] {
        let (seen, fault) = client.stream(&body, Some(Leave { at_event: 2, by_reset }));
        assert!(fault.is_none() && seen.has_left && seen.times.len() >= 2);
        assert!(alone.text.starts_with(&seen.text) && seen.text.len() < alone.text.len());
    }
    // Who has left can ask again.
    assert_eq!(client.stream(&body, None).0.text, alone.text);
}

#[test]
fn a_soak_compares_every_answer_with_its_first() {
    let soak_of = |ill: Ill| {
        let healthy = fake(Ill::Nothing);
        let asks = drawn(&args(), 5, 0);
        let endpoint_alone = endpoint(&healthy.url, false);
        let mut client = Client::new(&endpoint_alone);
        let alone: Vec<_> = asks.iter().map(|ask| client.stream(&ask.body("fake", false), None).0).collect();
        let server = fake(ill);
        let pid = Some(std::process::id());
        let args = SoakArgs { soak_minutes: Some(0.02), cancels: 0.3, faults: 0.2, pid };
        let soaked = soak::run(&endpoint(&server.url, false), "fake", (&asks, &alone), &args, (3, 1));
        assert!(soaked.requests > 20 && soaked.left > 0 && soaked.faults > 0, "{soaked:?}");
        assert!(!soaked.memory.is_empty() && !soaked.has_died);
        assert!(server.count.load(Ordering::Relaxed) >= soaked.requests);
        soaked
    };
    let soaked = soak_of(Ill::Nothing);
    assert_eq!(soaked.repeats.equal, soaked.repeats.compared, "{:?}", soaked.repeats.first);
    assert_eq!(soaked.repeats.compared, soaked.requests);
    let soaked = soak_of(Ill::Wavers);
    assert!(soaked.repeats.equal < soaked.repeats.compared);
    // The one that is watched has ended.
    let args = SoakArgs { soak_minutes: Some(10.0), cancels: 0.0, faults: 0.0, pid: Some(u32::MAX) };
    let server = fake(Ill::Nothing);
    let asks = drawn(&super::asks::tests::args(), 1, 0);
    let at = endpoint(&server.url, false);
    let alone = vec![Client::new(&at).stream(&asks[0].body("fake", false), None).0];
    assert!(soak::run(&at, "fake", (&asks, &alone), &args, (1, 1)).has_died);
}
