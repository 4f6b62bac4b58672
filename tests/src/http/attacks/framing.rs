//! Attacks by how requests are written.
use super::target::{Target, Verdict, all_refused, expect, none_failed};
use crate::draws::Draws;
use crate::http::connection::{Connection, request};
use crate::http::crowd::Tally;
use std::io::ErrorKind;
use std::time::Duration;

/// Bytes of a head that no server takes.
const HUGE_HEAD: usize = 10 << 20;

/// Sends bytes on a connection of their own, says that nothing more follows, and adds what comes
/// back: every answer, then the end.
fn send_and_end(target: &Target, bytes: &[u8], tally: &mut Tally) {
    let Ok(mut connection) = Connection::open(target.address) else {
        tally.unconnected += 1;
        return;
    };
    let _ = connection.be_patient(target.patience());
    // A server may refuse in the middle of what it is sent.
    let _ = connection.send(bytes).and_then(|()| connection.half_close());
    let mut answer_count = 0;
    loop {
        match connection.answer() {
            Ok(answer) => {
                tally.answered(answer.head.status);
                answer_count += 1;
                if answer.head.closes() {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                tally.silent += 1;
                return;
            }
            Err(_) => {
                tally.closed += usize::from(answer_count == 0);
                return;
            }
        }
    }
}

/// The head of a completion with these headers, then what follows it.
fn post(headers: &str, rest: &str) -> Vec<u8> {
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    format!("{head}{headers}\r\n{rest}").into_bytes()
}

fn refused_or_closed(tally: Tally) -> Verdict {
    let tally = all_refused(tally)?;
    let is_right = tally.silent == 0;
    expect(tally, is_right, "the server keeps waiting although the client has ended")
}

/// Bodies that are shorter than they say, and lengths that are none or contradict each other, which
/// two servers in a row would read differently.
pub fn lying_lengths(target: &Target) -> Verdict {
    let good = r#"{"prompt":"a","max_tokens":1}"#;
    let len = good.len();
    let mut tally = Tally::default();
    for headers in [
        format!("Content-Length: {}\r\n", len + 10),
        "Content-Length: 9999999999999\r\n".to_owned(),
        "Content-Length: 18446744073709551615\r\n".to_owned(),
        "Content-Length: 18446744073709551616\r\n".to_owned(),
        "Content-Length: -1\r\n".to_owned(),
        format!("Content-Length: +{len}\r\n"),
        format!("Content-Length: 0x{len:x}\r\n"),
        format!("Content-Length: {len}a\r\n"),
        format!("Content-Length: {len} {len}\r\n"),
        format!("Content-Length: {len}, {}\r\n", len + 1),
        format!("Content-Length: {len}\r\nContent-Length: {}\r\n", len + 1),
        format!("Content-Length: {len}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Content-Length : {len}\r\n"),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".to_owned(),
    ] {
        for _ in 0..target.count(1, 8) {
            send_and_end(target, &post(&headers, good), &mut tally);
        }
    }
    // Too short a length: the rest of the body is no request.
    send_and_end(target, &post("Content-Length: 5\r\n", good), &mut tally);
    refused_or_closed(tally)
}

/// Chunks of 2^64 bytes, sizes that are none, extensions and trailers without an end; and a good
/// body in chunks of one byte, which may be answered.
pub fn chunk_bombs(target: &Target) -> Verdict {
    let chunked = |rest: &str| post("Transfer-Encoding: chunked\r\n", rest);
    let mut tally = Tally::default();
    let long = "e".repeat(target.count(1 << 20, 8 << 20));
    for rest in [
        "ffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "7fffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "10000000000000002\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}}\r\n0\r\n\r\n",
        "2 2\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}",
        &format!("2;{long}\r\n{{}}\r\n0\r\n\r\n"),
        &format!("2\r\n{{}}\r\n0\r\nT: {long}\r\n\r\n"),
        &format!("2\r\n{{}}\r\n0\r\n{}\r\n", "T: v\r\n".repeat(long.len() / 6)),
        &format!("{long}\r\n"),
    ] {
        send_and_end(target, &chunked(rest), &mut tally);
    }
    // Chunks that go on until the server has had enough.
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    send_and_end(target, &chunked(&chunk.repeat(target.count(256, 2048))), &mut tally);
    let refused = refused_or_closed(tally)?;
    let body =
        format!(r#"{{"prompt":"a","max_tokens":1,"user":"{}"}}"#, "u".repeat(target.count(4_000, 40_000)));
    let bytes: String = body.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    let mut tally = Tally::default();
    send_and_end(target, &chunked(&format!("{bytes}0\r\n\r\n")), &mut tally);
    tally.add(&refused);
    none_failed(tally)
}

/// Heads of 10 MB: in the request line, in one header, and in a hundred thousand headers; and none
/// of them is kept in memory.
pub fn huge_heads(target: &Target) -> Verdict {
    let mut tally = Tally::default();
    let long = "h".repeat(HUGE_HEAD);
    for head in [
        format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{long}: x\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(100_000)),
        format!("{long} / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ] {
        for _ in 0..target.count(1, 8) {
            send_and_end(target, head.as_bytes(), &mut tally);
        }
    }
    refused_or_closed(tally)
}

/// Requests for two pages in turns on one connection, all sent before the first answer is read.
/// Every one must be answered, in order.
pub fn pipelining(target: &Target) -> Verdict {
    let count = target.count(2_000, 10_000);
    let pair = [request("GET", "/health", &[], b""), request("GET", "/nothing", &[], b"")].concat();
    let mut tally = Tally::default();
    let Ok(mut connection) = Connection::open(target.address) else {
        return Err((tally, "no connection".to_owned()));
    };
    let Ok(stream) = connection.stream().try_clone() else {
        return Err((tally, "no second handle".to_owned()));
    };
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let _ = (&stream).write_all(&pair.repeat(count / 2));
    });
    // The writer is ahead by as much as the sockets hold.
    std::thread::sleep(Duration::from_millis(200));
    let mut complaint = None;
    for i in 0..count / 2 * 2 {
        match connection.answer() {
            Ok(answer) => {
                let status = answer.head.status;
                tally.answered(status);
                if status != [200, 404][i % 2] {
                    complaint = Some(format!("answer {i} has status {status}"));
                    break;
                }
            }
            Err(error) => {
                complaint = Some(format!("answer {i}: {error}"));
                break;
            }
        }
    }
    drop(connection.stream().shutdown(std::net::Shutdown::Both));
    let _ = writer.join();
    match complaint {
        None => Ok(tally),
        Some(complaint) => Err((tally, complaint)),
    }
}

/// Bytes that are no HTTP: noise, zeros, line ends, a TLS hello, HTTP/2's preface, other protocols.
/// Nothing may be answered with success, and the connection ends.
pub fn garbage(target: &Target) -> Verdict {
    let mut draws = Draws::new(0x6a);
    let mut tally = Tally::default();
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend((0..501).map(|_| draws.bits() as u8));
    let mut pieces: Vec<Vec<u8>> = vec![
        hello,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0".to_vec(),
        b"EHLO localhost\r\n".to_vec(),
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n".to_vec(),
        b"GET /health\r\n\r\n".to_vec(),
        b"GET http:// HTTP/1.1 HTTP/1.1\r\n\r\n".to_vec(),
        b"\0".repeat(100_000),
        b"\xff".repeat(100_000),
        b"\r\n".repeat(100_000),
        Vec::new(),
    ];
    for _ in 0..target.count(30, 500) {
        let len = 1 + draws.below(4096);
        pieces.push((0..len).map(|_| draws.bits() as u8).collect());
    }
    for piece in pieces {
        send_and_end(target, &piece, &mut tally);
    }
    refused_or_closed(tally)
}
