//! The log: a line for each request, and notices of the server, as events of `tracing`.
//!
//! Lines are bounded in length, and bytes of clients are escaped in them. They hold no key, and no
//! prompt or answer unless the server was told so.
use super::options::{LogFormat, WatchOptions};
use super::sink::Sink;
use crate::serve::notice::Notice;
use crate::serve::observe::{Finish, Generated, Observer, Record};
use crate::serve::setting::Setting;
use serde_json::{Map, Value, json};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::mem::Discriminant;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tracing::dispatcher::{Dispatch, set_global_default, with_default};
use tracing::{Level, error, event, info, warn};

/// Unknown parameters that are named; a client that draws names must not fill the log.
const NAMES_MAX: usize = 100;
/// Bytes of an unknown parameter's name.
const NAME_BYTES: usize = 64;
/// Bytes of a request's id, of a key's name, or of a parameter's.
const WORD_BYTES: usize = 128;
/// Bytes of a notice.
const NOTICE_BYTES: usize = 1000;
/// Bytes of a backtrace.
const TRACE_BYTES: usize = 16 << 10;
/// Bytes of a prompt, and of an answer, where they are logged.
pub const TEXT_BYTES: usize = 2048;
/// Notices of one kind come at most this often; those between are counted.
const NOTICE_EVERY: Duration = Duration::from_secs(1);

/// An observer that writes lines.
#[derive(Debug)]
pub struct Log {
    dispatch: Dispatch,
    format: LogFormat,
    /// None where nothing is written.
    sink: Option<Sink>,
    /// The fingerprint of the model, once that is loaded.
    fingerprint: OnceLock<String>,
    named: Mutex<BTreeSet<String>>,
    noticed: Mutex<HashMap<Discriminant<Notice>, Noticed>>,
}

/// What was noticed of one kind.
#[derive(Debug)]
struct Noticed {
    last: Instant,
    /// Notices since then, which were not written.
    unwritten: usize,
}

impl Log {
    /// Opens the log. An error names the file.
    pub fn open(options: &WatchOptions) -> Result<Self, String> {
        let sink = match (options.log, &options.log_file) {
            (LogFormat::Off, _) => None,
            (_, Some(path)) => {
                Some(Sink::file(path).map_err(|error| format!("{}: {error}", path.display()))?)
            }
            (_, None) => Some(Sink::stderr().map_err(|error| format!("the log: {error}"))?),
        };
        Ok(Self {
            dispatch: dispatch(options.log, sink.as_ref()),
            format: options.log,
            sink,
            fingerprint: OnceLock::new(),
            named: Mutex::default(),
            noticed: Mutex::default(),
        })
    }

    /// Makes it the process's log, to which all events of `tracing` go. As JSON it reports panics,
    /// too, so that every line is JSON. A process has one log: a second call changes nothing.
    pub fn install(&self) {
        if set_global_default(self.dispatch.clone()).is_ok() && self.format == LogFormat::Json {
            std::panic::set_hook(Box::new(|info| {
                let place = info.location().map(ToString::to_string);
                let payload = info.payload();
                let said = payload.downcast_ref::<&str>().copied();
                let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                let said = said.unwrap_or_default();
                // Empty unless it was asked for (RUST_BACKTRACE).
                let trace = Backtrace::capture();
                let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
                let trace = trace.as_deref().map(|trace| clipped(trace, TRACE_BYTES));
                error!(place, said = &*clipped(said, NOTICE_BYTES), backtrace = trace.as_deref(), "panic");
            }));
        }
    }

    /// Adds the fingerprint of the model to all lines of requests.
    pub fn serves(&self, fingerprint: &str) {
        let _ = self.fingerprint.set(fingerprint.to_owned());
    }

    /// Writes something that a user may not expect.
    pub fn note(&self, note: &str) {
        with_default(&self.dispatch, || warn!("{}", one_line(note)));
    }

    /// Waits until all lines are written, for `patience` at most.
    pub fn flush(&self, patience: Duration) {
        if let Some(sink) = &self.sink {
            sink.flush(patience);
        }
    }

    /// Names each unknown parameter once.
    fn name_ignored(&self, record: &Record) {
        for name in &record.ignored {
            let name = clipped(name, NAME_BYTES);
            let mut named = lock(&self.named);
            if named.len() < NAMES_MAX && !named.contains(&*name) {
                named.insert(name.clone().into_owned());
                drop(named);
                self.write_notice(&Notice::UnknownParameter(name.into_owned()), 0);
            }
        }
    }

    fn write_request(&self, record: &Record) {
        let fingerprint = self.fingerprint.get().map(String::as_str);
        let line = Line::of(record);
        let Line { id, key, error, param, generated, first_token_ms, total_ms } = &line;
        let usage = generated.map(|_| record.usage);
        let texts = generated.and_then(|generated| generated.texts.as_ref());
        macro_rules! write_at {
            ($level:expr) => {
                event!(
                    target: "verbatim::request",
                    $level,
                    request_id = &**id,
                    key = key.as_deref(),
                    route = record.route.unwrap_or("none"),
                    status = record.status,
                    error,
                    param = param.as_deref(),
                    prompt_tokens = usage.map(|usage| usage.prompt_tokens),
                    cached_tokens = usage.map(|usage| usage.cached_tokens),
                    completion_tokens = usage.map(|usage| usage.completion_tokens),
                    queue_ms = generated.and_then(queue).map(milliseconds),
                    first_token_ms,
                    total_ms,
                    finish = generated.map(finish).as_deref(),
                    seed = generated.map(|generated| generated.seed as i64),
                    n = generated.map(|generated| generated.n),
                    stream = generated.map(|generated| generated.stream),
                    fingerprint,
                    prompt = texts.map(|texts| clipped(&texts.prompt, TEXT_BYTES)).as_deref(),
                    answer = texts.map(|texts| clipped(&texts.answer, TEXT_BYTES)).as_deref(),
                    "request"
                )
            };
        }
        with_default(&self.dispatch, || match record.status {
            500.. => write_at!(Level::WARN),
            _ => write_at!(Level::INFO),
        });
    }

    /// Writes a setting; as JSON its parts are fields, which programs can find.
    fn write_setting(&self, setting: &Setting) {
        let Setting { name, value, reason, limit, .. } = setting;
        let (value, reason) = (&*clipped(value, NOTICE_BYTES), &*clipped(reason, NOTICE_BYTES));
        with_default(&self.dispatch, || info!(setting = name, value, reason, limit, "setting"));
    }

    fn write_notice(&self, notice: &Notice, unwritten: usize) {
        if let (Notice::Setting(setting), LogFormat::Json) = (notice, self.format) {
            return self.write_setting(setting);
        }
        let text = notice.to_string();
        let text = one_line(&text);
        let more = (unwritten > 0).then_some(unwritten);
        with_default(&self.dispatch, || {
            if notice.is_trouble() { warn!(more, "{text}") } else { info!(more, "{text}") }
        });
    }
}

/// What formats events and hands them to the sink.
fn dispatch(format: LogFormat, sink: Option<&Sink>) -> Dispatch {
    let Some(sink) = sink.cloned() else { return Dispatch::none() };
    let lines = tracing_subscriber::fmt()
        .with_writer(move || sink.clone())
        .with_max_level(Level::INFO)
        .with_target(false)
        .with_ansi(false);
    match format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            Dispatch::new(lines.finish())
        }
        LogFormat::Text | LogFormat::Off => Dispatch::new(lines.finish()),
    }
}

/// The parts of a request's line that are not in its record as they are written.
struct Line<'r> {
    id: Cow<'r, str>,
    key: Option<Cow<'r, str>>,
    error: Option<&'static str>,
    param: Option<Cow<'r, str>>,
    generated: Option<&'r Generated>,
    first_token_ms: Option<f64>,
    total_ms: f64,
}

impl<'r> Line<'r> {
    fn of(record: &'r Record) -> Self {
        let generated = record.generated.as_ref();
        let first_token = generated.and_then(|generated| {
            let first = generated.choices.iter().filter_map(|choice| choice.times.first_token).min()?;
            Some(first.saturating_duration_since(record.arrived?))
        });
        let error = record.error.as_ref();
        let param = error.and_then(|error| error.param.as_deref());
        Self {
            id: clipped(&record.request_id, WORD_BYTES),
            key: record.key.as_deref().map(|key| clipped(key, WORD_BYTES)),
            error: error.map(|error| error.kind),
            param: param.map(|param| clipped(param, WORD_BYTES)),
            generated,
            first_token_ms: first_token.map(milliseconds),
            total_ms: milliseconds(record.duration),
        }
    }
}

/// The id of a request and the figures of its line, those that it has, with no word of prompts and
/// answers.
pub(super) fn request_fields(record: &Record) -> (String, Map<String, Value>) {
    let Line { id, key, error, param, generated, first_token_ms, total_ms } = Line::of(record);
    let usage = generated.map(|_| record.usage);
    let fields = [
        ("key", key.map(|key| json!(key))),
        ("status", Some(json!(record.status))),
        ("error", error.map(|error| json!(error))),
        ("param", param.map(|param| json!(param))),
        ("prompt_tokens", usage.map(|usage| json!(usage.prompt_tokens))),
        ("cached_tokens", usage.map(|usage| json!(usage.cached_tokens))),
        ("completion_tokens", usage.map(|usage| json!(usage.completion_tokens))),
        ("queue_ms", generated.and_then(queue).map(|time| json!(milliseconds(time)))),
        ("first_token_ms", first_token_ms.map(|time| json!(time))),
        ("total_ms", Some(json!(total_ms))),
        ("finish", generated.map(|generated| json!(finish(generated)))),
    ];
    let known = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    (id.into_owned(), known.collect())
}

/// The longest wait of a request's choices for their first step.
fn queue(generated: &Generated) -> Option<Duration> {
    generated.choices.iter().filter_map(|choice| choice.times.queue()).max()
}

/// Why the choices of a request ended: one word where they agree, else each with a count.
fn finish(generated: &Generated) -> String {
    let count = |why: Finish| generated.choices.iter().filter(|choice| choice.finish == why).count();
    let reasons = Finish::ALL.map(|why| (why.name(), count(why)));
    let seen: Vec<_> = reasons.into_iter().filter(|(_, count)| *count > 0).collect();
    match seen.as_slice() {
        [(name, _)] => (*name).to_owned(),
        _ => seen.iter().map(|(name, count)| format!("{name}:{count}")).collect::<Vec<_>>().join(" "),
    }
}

/// Milliseconds with three digits after the point.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// The beginning of a text, of at most `max` bytes and a sign that it was longer, without those
/// control characters that JSON does not escape and that some terminals obey.
pub(super) fn clipped(text: &str, max: usize) -> Cow<'_, str> {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let (head, is_whole) = (&text[..end], end == text.len());
    let is_raw = |c| ('\u{7f}'..='\u{9f}').contains(&c);
    match (head.contains(is_raw), is_whole) {
        (false, true) => Cow::Borrowed(head),
        (_, _) => Cow::Owned(head.replace(is_raw, "\u{fffd}") + if is_whole { "" } else { "…" }),
    }
}

/// A text as a message, which is not escaped otherwise.
fn one_line(text: &str) -> String {
    let text = clipped(text, NOTICE_BYTES);
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a request only asked whether the server is well, and was told so, or for a file of a
/// page. Such requests come every few seconds for as long as the server runs, or many at once.
pub(super) fn is_probe(record: &Record) -> bool {
    const ROUTES: &[&str] = &[
        "/",
        "/page/{file*}",
        "/dashboard",
        "/dashboard/{file*}",
        "/health",
        "/ready",
        "/ping",
        "/load",
        "/metrics",
    ];
    record.route.is_some_and(|route| ROUTES.contains(&route)) && record.status < 400
}

impl Observer for Log {
    fn request_ended(&self, record: &Record) {
        if self.sink.is_some() && !is_probe(record) {
            self.name_ignored(record);
            self.write_request(record);
        }
    }

    fn notice(&self, notice: &Notice) {
        if self.sink.is_none() {
            return;
        }
        let (now, mut unwritten) = (Instant::now(), 0);
        if notice.may_come_often() {
            let mut noticed = lock(&self.noticed);
            if let Some(of) = noticed.get_mut(&std::mem::discriminant(notice))
                && now.saturating_duration_since(of.last) < NOTICE_EVERY
            {
                of.unwritten += 1;
                return;
            }
            let of = Noticed { last: now, unwritten: 0 };
            let before = noticed.insert(std::mem::discriminant(notice), of);
            unwritten = before.map_or(0, |before| before.unwritten);
        }
        self.write_notice(notice, unwritten);
    }

    fn reopen(&self) {
        if let Some(sink) = &self.sink {
            sink.reopen();
        }
    }

    fn lost_lines(&self) -> u64 {
        self.sink.as_ref().map_or(0, Sink::lost)
    }
}

#[cfg(test)]
mod tests;
