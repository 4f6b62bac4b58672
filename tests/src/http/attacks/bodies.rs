//! Attacks by what is in a body.
use super::target::{Target, Verdict, all_refused, all_short, none_failed};
use crate::http::connection::{Connection, request};
use crate::http::crowd::{Crowd, From, Tally};
use std::io::ErrorKind;
use std::time::Duration;

const COMPLETIONS: &str = "/v1/completions";
const MB: usize = 1 << 20;
/// Bytes of the longest honest refusal, with its head.
const REFUSAL_BYTES: usize = 4 << 10;

/// Sends a body from each member of a crowd, and reads what each is answered.
fn crowd_posts(target: &Target, count: usize, body: &[u8]) -> Tally {
    let mut crowd = Crowd::open(target.address, count, From::OneAddress);
    crowd.post(COMPLETIONS, body, target.patience());
    crowd.read_statuses(target.patience());
    crowd.tally()
}

/// A body with one member after a prompt of one token.
fn body_with(member: &str) -> Vec<u8> {
    format!(r#"{{"prompt":"a","max_tokens":1,{member}}}"#).into_bytes()
}

/// Hundreds of clients send a parameter of 3 MB that is refused, and do not read the refusal, so
/// that a server which waits for room to answer, or drains what it refuses, holds all of them.
pub fn refused_unread(target: &Target) -> Verdict {
    let body = body_with(&format!(r#""suffix":"{}""#, "x".repeat(3 * MB)));
    let mut crowd = Crowd::open(target.address, target.count(120, 480), From::OneAddress);
    crowd.post(COMPLETIONS, &body, Duration::from_secs(4));
    std::thread::sleep(target.hold());
    crowd.read_statuses(Duration::from_secs(1));
    all_refused(crowd.tally())
}

/// Prompts of 300 and 240 KB arrive within seconds. None can fit the context, which a server must
/// see before it has turned them into tokens.
pub fn long_prompts(target: &Target) -> Verdict {
    let mut tally = Tally::default();
    // 300 KB, and what the least limit of a body lets in.
    for words in [25_000, 20_000] {
        let body = format!(r#"{{"prompt":"{}","max_tokens":1}}"#, "lorem ipsum ".repeat(words));
        tally.add(&crowd_posts(target, target.count(60, 500), body.as_bytes()));
    }
    all_refused(tally)
}

/// Bodies of 16 MB of empty arrays, whose parsed form is many times as large.
pub fn nested_arrays(target: &Target) -> Verdict {
    let body = format!(r#"{{"prompt":[{}[]]}}"#, "[],".repeat(16 * MB / 3));
    let mut tally = crowd_posts(target, target.count(4, 16), body.as_bytes());
    // As many as a body of the least limit holds.
    let small = format!(r#"{{"prompt":[{}[]]}}"#, "[],".repeat(80_000));
    tally.add(&crowd_posts(target, target.count(8, 64), small.as_bytes()));
    all_refused(tally)
}

/// Parameters that nobody knows, with names of 8 MB and of 200 KB, which must end up neither in
/// answers nor in logs.
pub fn long_names(target: &Target) -> Verdict {
    let mut tally = Tally::default();
    for (count, len) in [(target.count(4, 40), 8 * MB), (target.count(10, 100), 200_000)] {
        let body = body_with(&format!(r#""{}":1"#, "n".repeat(len)));
        tally.add(&crowd_posts(target, count, &body));
    }
    none_failed(all_short(tally, REFUSAL_BYTES)?)
}

/// Wrong values of 8 MB and of 200 KB, which errors must not bring back whole.
pub fn long_values(target: &Target) -> Verdict {
    let mut tally = Tally::default();
    for (count, len) in [(target.count(4, 16), 8 * MB), (target.count(4, 40), 200_000)] {
        for member in ["temperature", "model", "response_format"] {
            let body = body_with(&format!(r#""{member}":"{}""#, "v".repeat(len)));
            tally.add(&crowd_posts(target, count, &body));
        }
    }
    all_refused(all_short(tally, REFUSAL_BYTES)?)
}

/// 16 stop strings of 1 MB for 64 choices; then 16 of 1,000 characters, which may be allowed, and
/// which a text of the same letters nearly matches at every token.
pub fn stop_strings(target: &Target) -> Verdict {
    let strings = |len: usize| {
        let each = |i: usize| format!(r#""{}{i}""#, "a".repeat(len - 2));
        (10..26).map(each).collect::<Vec<_>>().join(",")
    };
    let body = |n: usize, tokens: usize, len: usize| {
        format!(r#"{{"prompt":"aaaa","n":{n},"max_tokens":{tokens},"stop":[{}]}}"#, strings(len)).into_bytes()
    };
    let refused = all_refused(crowd_posts(target, target.count(1, 4), &body(64, 64, MB)))?;
    let mut tally = crowd_posts(target, target.count(1, 4), &body(8, 32, 1000));
    tally.add(&refused);
    none_failed(tally)
}

/// Arrays and objects that are 10,000 deep, on which a parser that recurses ends.
pub fn deep_json(target: &Target) -> Verdict {
    let depth = 10_000;
    let mut tally = Tally::default();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
        let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        for body in
            [body_with(&format!(r#""x":{value}"#)), value.into_bytes(), open.repeat(depth).into_bytes()]
        {
            tally.add(&crowd_posts(target, target.count(2, 20), &body));
        }
    }
    all_refused(tally)
}

/// Every number of a request, set to what is no number, or is beyond every type. Each must be
/// answered, by a refusal or by what the number means.
pub fn wild_numbers(target: &Target) -> Verdict {
    let long = |unit: &str| unit.repeat(400);
    let values = [
        "1e999",
        "-1e999",
        "1e-999",
        "-0",
        "-0.0",
        "NaN",
        "Infinity",
        "-1",
        "0.5",
        "true",
        "null",
        "[]",
        "{}",
        "18446744073709551616",
        "-9223372036854775809",
        "4294967296",
        "1e308",
        "01",
        "1.",
        "+1",
        r#""1""#,
        r#""NaN""#,
    ];
    let values = values.map(str::to_owned).into_iter();
    let values: Vec<String> =
        values.chain([long("9"), format!("1{}", long("0")), format!("0.{}1", long("0"))]).collect();
    let names = [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "n",
        "min_tokens",
        "logprobs",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "priority",
        "max_completion_tokens",
    ];
    let mut tally = Tally::default();
    let mut connection = None;
    for name in names {
        for value in &values {
            let body = body_with(&format!(r#""{name}":{value}"#));
            let opened = connection.take().map_or_else(|| Connection::open(target.address), Ok);
            let Ok(mut opened) = opened else {
                tally.unconnected += 1;
                continue;
            };
            match opened.ask(&request("POST", COMPLETIONS, &[], &body)) {
                Ok(answer) => {
                    tally.answered(answer.head.status);
                    if answer.head.status >= 500 && answer.head.status != 503 {
                        return Err((tally, format!("{name}: {value} fails the server")));
                    }
                    if !answer.head.closes() {
                        connection = Some(opened);
                    }
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => tally.closed += 1,
                Err(error) => return Err((tally, format!("{name}: {value}: {error}"))),
            }
        }
    }
    if tally.closed > 0 { Err((tally, "numbers had no answer".to_owned())) } else { Ok(tally) }
}
