//! Lines of the log as their readers find them.
use super::*;
use crate::runtime::ChoiceTimes;
use crate::serve::guards::notices::GuardNotice;
use crate::serve::observe::{GeneratedChoice, RecordedError, Texts, Usage};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A log in a file of its own, which is removed when it is dropped.
struct Written {
    log: Log,
    path: PathBuf,
}

impl Written {
    fn new(format: LogFormat) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("verbatim-lines-{}-{number}", std::process::id()));
        let options = WatchOptions { log: format, log_file: Some(path.clone()), log_prompts: false };
        Self { log: Log::open(&options).expect("a log"), path }
    }

    /// All lines so far.
    fn lines(&self) -> Vec<String> {
        self.log.flush(Duration::from_secs(20));
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "lines are whole: {text:?}");
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Line ends, escape sequences of terminals, and quotes.
const HOSTILE: &str = "a\nb\r\x1b[31mc\u{9b}1m\"d\\";

/// A request for two choices of which one was not finished.
fn record() -> Record {
    let start = Instant::now();
    let at = |ms| Some(start + Duration::from_millis(ms));
    let mut times = ChoiceTimes::submitted(start + Duration::from_millis(1));
    (times.admitted, times.first_token, times.last_token) = (at(3), at(40), at(90));
    let choice =
        GeneratedChoice { prompt_tokens: 7, cached_tokens: 0, tokens: 4, finish: Finish::Stop, times };
    let aborted = GeneratedChoice { finish: Finish::Abort, ..choice };
    let choices = vec![choice, aborted];
    Record {
        request_id: "r-1".to_owned(),
        key: Some("ops".into()),
        route: Some("/v1/completions"),
        status: 200,
        arrived: Some(start),
        duration: Duration::from_micros(91_250),
        usage: Usage { prompt_tokens: 7, completion_tokens: 8, cached_tokens: 0 },
        generated: Some(Generated { seed: 9, n: 2, max_tokens: 4, stream: true, choices, texts: None }),
        ..Record::default()
    }
}

#[test]
fn a_request_is_one_line_of_json() {
    let written = Written::new(LogFormat::Json);
    written.log.serves("v2-abc");
    written.log.request_ended(&record());
    let lines = written.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let mut line: Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert!(line["timestamp"].as_str().is_some_and(|time| time.starts_with("20") && time.ends_with('Z')));
    line.as_object_mut().expect("an object").remove("timestamp");
    let expected = json!({
        "level": "INFO", "message": "request", "request_id": "r-1", "key": "ops", "route": "/v1/completions",
        "status": 200, "prompt_tokens": 7, "cached_tokens": 0, "completion_tokens": 8, "queue_ms": 2.0,
        "first_token_ms": 40.0, "total_ms": 91.25, "finish": "stop:1 abort:1", "seed": 9, "n": 2,
        "stream": true, "fingerprint": "v2-abc",
    });
    assert_eq!(line, expected);
}

#[test]
fn a_request_is_one_line_of_text() {
    let written = Written::new(LogFormat::Text);
    let refused = Record {
        status: 503,
        error: Some(RecordedError { kind: "server_error", param: None }),
        generated: None,
        ..record()
    };
    written.log.request_ended(&refused);
    let lines = written.lines();
    let (time, rest) = lines[0].split_once(' ').expect("a time");
    assert!(time.ends_with('Z'), "{time}");
    let expected = "WARN request request_id=\"r-1\" key=\"ops\" route=\"/v1/completions\" status=503 \
        error=\"server_error\" total_ms=91.25";
    assert_eq!((rest.trim_start(), lines.len()), (expected, 1));
}

#[test]
fn what_clients_write_breaks_no_line() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let written = Written::new(format);
        let texts = Texts { prompt: HOSTILE.repeat(2000), answer: HOSTILE.to_owned() };
        let mut hostile = record();
        hostile.request_id = HOSTILE.repeat(100);
        hostile.key = Some(HOSTILE.into());
        hostile.ignored = vec![HOSTILE.to_owned(), "x".repeat(1 << 20)];
        hostile.error = Some(RecordedError { kind: "code", param: Some(HOSTILE.repeat(1 << 16)) });
        hostile.generated = hostile.generated.map(|of| Generated { texts: Some(texts), ..of });
        written.log.request_ended(&hostile);
        written.log.notice(&Notice::ConnectionClosed(std::io::Error::other(HOSTILE.repeat(1000))));
        written.log.note(HOSTILE);
        let lines = written.lines();
        assert_eq!(lines.len(), 5, "{lines:#?}");
        for line in &lines {
            assert!(!line.contains(char::is_control) && line.len() < 20_000, "{} {line:?}", line.len());
            if format == LogFormat::Json {
                serde_json::from_str::<Value>(line).expect("JSON");
            }
        }
    }
}

#[test]
fn prompts_and_answers_are_written_only_where_they_were_noted() {
    let written = Written::new(LogFormat::Json);
    written.log.request_ended(&record());
    let mut open = record();
    let texts = Texts { prompt: "A secret".to_owned(), answer: "é".repeat(TEXT_BYTES) };
    open.generated = open.generated.map(|of| Generated { texts: Some(texts), ..of });
    written.log.request_ended(&open);
    let lines: Vec<Value> = written.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[0].get("prompt"), lines[0].get("answer")), (None, None));
    assert_eq!(lines[1]["prompt"], "A secret");
    assert_eq!(lines[1]["answer"], "é".repeat(TEXT_BYTES / 2) + "…");
}

#[test]
fn an_unknown_parameter_is_named_once_and_not_without_end() {
    let written = Written::new(LogFormat::Text);
    let tell = |names: &[&str]| {
        let ignored = names.iter().map(|name| (*name).to_owned()).collect();
        written.log.request_ended(&Record { ignored, ..Record::default() });
    };
    let named = || written.lines().iter().filter(|line| line.contains("ignoring the parameter")).count();
    tell(&["a\nb", "a\nb"]);
    tell(&["a\nb"]);
    assert!(written.lines()[0].ends_with("INFO ignoring the parameter \"a\\nb\", which has no effect here"));
    assert_eq!(named(), 1);
    (0..2 * NAMES_MAX).for_each(|i| tell(&[&i.to_string()]));
    assert_eq!(named(), NAMES_MAX);
}

#[test]
fn probes_that_are_answered_well_and_floods_of_notices_are_left_out() {
    let written = Written::new(LogFormat::Text);
    for (route, status) in [("/health", 200), ("/metrics", 200), ("/health", 503)] {
        written.log.request_ended(&Record { route: Some(route), status, ..Record::default() });
    }
    assert_eq!(written.lines().len(), 1);
    for _ in 0..5000 {
        written.log.notice(&Notice::ConnectionClosed(std::io::Error::other("none")));
    }
    written.log.notice(&Notice::Stopping);
    let lines = written.lines();
    let refused = lines.iter().filter(|line| line.contains("a connection was closed")).count();
    assert!((1..20).contains(&refused), "{refused} notices were written");
    assert!(lines[lines.len() - 1].ends_with(" INFO stopping"), "{lines:?}");
}

#[test]
fn what_an_operator_must_mend_is_a_warning() {
    let written = Written::new(LogFormat::Text);
    let told = [
        (Notice::Guard(GuardNotice::Exposed("0.0.0.0:80".to_owned())), "WARN"),
        (Notice::Guard(GuardNotice::KeysKept("line 2".to_owned())), "WARN"),
        (Notice::Guard(GuardNotice::KeysReread(2)), "INFO"),
        (Notice::Setting(Setting::budget("max-things", 3, "a test")), "INFO"),
    ];
    told.iter().for_each(|(notice, _)| written.log.notice(notice));
    for ((notice, level), line) in told.iter().zip(written.lines()) {
        assert!(line.contains(&format!(" {level} {notice}")), "{line}");
    }
}

#[test]
fn a_log_that_is_off_writes_nothing() {
    let written = Written::new(LogFormat::Off);
    written.log.request_ended(&record());
    written.log.notice(&Notice::Stopping);
    written.log.note("a note");
    assert!(written.lines().is_empty() && !written.path.exists());
}
