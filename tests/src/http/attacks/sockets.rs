//! Attacks by how connections are used.
use super::target::{Target, Verdict, expect, none_failed};
use crate::http::connection::{Connection, request};
use crate::http::crowd::{Crowd, From, Tally};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A body that streams much text, with as much beside each token as may be asked for.
fn long_stream() -> Vec<u8> {
    let body =
        r#"{"prompt":"a","max_tokens":400,"ignore_eos":true,"n":4,"logprobs":5,"seed":1,"stream":true}"#;
    body.as_bytes().to_vec()
}

fn crowd_is_idle(target: &Target, from: From) -> Verdict {
    let crowd = Crowd::open(target.address, target.count(1_100, 2_000), from);
    std::thread::sleep(target.hold());
    let mut crowd = crowd;
    crowd.read_to_end(Duration::from_millis(100));
    none_failed(crowd.tally())
}

/// More connections than the server has descriptors, all from one address, which say nothing.
/// Newcomers must get in all the same, which the probe of /health tries all the time.
pub fn idle_crowd(target: &Target) -> Verdict {
    crowd_is_idle(target, From::OneAddress)
}

/// As [`idle_crowd`], each connection from an address of its own, so that no bound for an address
/// helps.
pub fn idle_crowd_of_many(target: &Target) -> Verdict {
    crowd_is_idle(target, From::ManyAddresses)
}

/// Heads that come a byte at a time and never end. Each byte is as little work as there can be for
/// the attacker, and must not keep the connection alive for ever.
pub fn slow_heads(target: &Target) -> Verdict {
    let mut crowd = Crowd::open(target.address, target.count(300, 1_000), From::ManyAddresses);
    let head = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}", "s".repeat(10_000));
    crowd.drip(head.as_bytes(), 1, Duration::from_millis(40), 3 * target.hold());
    crowd.read_to_end(Duration::from_millis(100));
    let tally = crowd.tally();
    let answered = tally.count(|status| status < 400);
    expect(tally, answered == 0, "half a head was answered")
}

/// Bodies that come a byte at a time and never end.
pub fn slow_bodies(target: &Target) -> Verdict {
    let mut crowd = Crowd::open(target.address, target.count(300, 1_000), From::ManyAddresses);
    let whole = request("POST", "/v1/completions", &[], &[b' '; 10_000]);
    let head = whole.len() - 10_000;
    crowd.send(&whole[..head], target.hold());
    crowd.drip(&whole[head..], 1, Duration::from_millis(40), 3 * target.hold());
    crowd.read_to_end(Duration::from_millis(100));
    let tally = crowd.tally();
    let answered = tally.count(|status| status < 400);
    expect(tally, answered == 0, "half a body was answered")
}

/// As many connections at once as there are places, with a request each, which is answered or
/// refused; and the same again.
pub fn bursts(target: &Target) -> Verdict {
    let mut tally = Tally::default();
    for round in 0..target.count(3, 10) {
        let from = [From::ManyAddresses, From::OneAddress][round % 2];
        let mut crowd = Crowd::open(target.address, target.count(300, 1_000), from);
        crowd.send(&request("GET", "/v1/models", &[("Connection", "close")], b""), target.patience());
        crowd.read_statuses(target.patience());
        tally.add(&crowd.tally());
    }
    let silent = tally.silent;
    let tally = none_failed(tally)?;
    expect(tally, silent == 0, "requests had no answer")
}

/// Connections that are reset before a head, in a head, in a body, before an answer, and in a
/// stream.
pub fn resets(target: &Target) -> Verdict {
    let get = request("GET", "/health", &[], b"");
    let post = request("POST", "/v1/completions", &[], &long_stream());
    let mut tally = Tally::default();
    for bytes in [&[][..], &get[..get.len() / 2], &post[..post.len() - 20], &get, &post] {
        let mut crowd = Crowd::open(target.address, target.count(20, 200), From::ManyAddresses);
        crowd.send(bytes, target.patience());
        crowd.reset();
        tally.add(&crowd.tally());
    }
    for _ in 0..target.count(5, 50) {
        let Ok(mut connection) = Connection::open(target.address) else { continue };
        if connection.send(&post).is_ok() && connection.answers().final_head().is_ok() {
            let _ = connection.answers().part(&mut Vec::new());
        }
        let _ = connection.reset();
    }
    Ok(tally)
}

/// Streams that nobody reads: the server must not wait for them with anything that others need.
pub fn stopped_readers(target: &Target) -> Verdict {
    let mut crowd = Crowd::open(target.address, target.count(12, 64), From::ManyAddresses);
    crowd.post("/v1/completions", &long_stream(), target.patience());
    std::thread::sleep(2 * target.hold());
    Ok(crowd.tally())
}

fn signal(child: &Child, name: &str) {
    let _ = Command::new("kill").args([name, &child.id().to_string()]).status();
}

/// Client processes that read streams and are stopped by SIGSTOP in the middle: their sockets stay
/// open, and nothing says that nobody reads them.
pub fn stopped_clients(target: &Target) -> Verdict {
    let mut crowd = Crowd::open(target.address, target.count(4, 16), From::ManyAddresses);
    crowd.post("/v1/completions", &long_stream(), target.patience());
    let tally = crowd.tally();
    let mut clients = Vec::new();
    for stream in crowd.into_streams() {
        let _ = stream.set_nonblocking(false);
        let input = Stdio::from(OwnedFd::from(stream));
        clients.extend(Command::new("cat").stdin(input).stdout(Stdio::null()).spawn());
    }
    std::thread::sleep(Duration::from_millis(100));
    clients.iter().for_each(|client| signal(client, "-STOP"));
    std::thread::sleep(2 * target.hold());
    for mut client in clients {
        let _ = client.kill();
        let _ = client.wait();
    }
    Ok(tally)
}
