//! Attacks by asking for what one has no right to.
use super::target::{Target, Verdict, none_failed};
use crate::http::connection::{Connection, request};
use crate::http::crowd::{Crowd, From, Tally};
use std::time::Duration;

/// Forty clients ask for the greatest priority. Whether they are refused or served, nobody else may
/// wait for them longer than for any others.
pub fn high_priority(target: &Target) -> Verdict {
    let mut tally = Tally::default();
    for _ in 0..target.count(1, 4) {
        let mut crowd = Crowd::open(target.address, target.count(20, 40), From::OneAddress);
        let body = r#"{"prompt":"a","max_tokens":40,"ignore_eos":true,"priority":-127}"#;
        crowd.post("/v1/completions", body.as_bytes(), target.patience());
        crowd.read_statuses(target.patience());
        tally.add(&crowd.tally());
    }
    let served = tally.count(|status| status == 200);
    if served > 0 {
        return Err((tally, format!("{served} clients without a key had the greatest priority")));
    }
    none_failed(tally)
}

/// What a page of another site can make a browser send to this server: a form's content type, a
/// name that was made to point here, and the question whether it may do more.
pub fn foreign_pages(target: &Target) -> Verdict {
    let body = r#"{"prompt":"a","max_tokens":1}"#;
    let len = body.len();
    let mut tally = Tally::default();
    let ask = |text: String| {
        let mut connection = Connection::open(target.address).ok()?;
        connection.be_patient(Duration::from_secs(10)).ok()?;
        connection.ask(text.as_bytes()).ok()
    };
    let origin = "Origin: https://foreign.example\r\n";
    for (what, headers) in [
        ("a form", format!("Host: localhost\r\n{origin}Content-Type: text/plain\r\n")),
        ("no content type", format!("Host: localhost\r\n{origin}")),
        ("another host", "Host: foreign.example\r\nContent-Type: application/json\r\n".to_owned()),
    ] {
        let request =
            format!("POST /v1/completions HTTP/1.1\r\n{headers}Content-Length: {len}\r\n\r\n{body}");
        match ask(request) {
            Some(answer) => {
                tally.answered(answer.head.status);
                if !(400..500).contains(&answer.head.status) {
                    return Err((tally, format!("{what} was answered with {}", answer.head.status)));
                }
            }
            None => tally.closed += 1,
        }
    }
    let question = request(
        "OPTIONS",
        "/v1/completions",
        &[
            ("Origin", "https://foreign.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type"),
        ],
        b"",
    );
    if let Some(answer) = ask(String::from_utf8_lossy(&question).into_owned()) {
        tally.answered(answer.head.status);
        if answer.head.header("access-control-allow-origin").is_some() {
            return Err((tally, "a foreign page is let in".to_owned()));
        }
    }
    Ok(tally)
}
