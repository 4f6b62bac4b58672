//! A server of OpenAI's chat API as the partner of a conversation.
//!
//! A thread of its own waits for the answer, so that Ctrl-C is heard whatever the server does. When
//! the answer is not wanted any more, that thread ends with the next line, be it a comment, and the
//! connection with it, by which servers know that nobody waits.
use super::partner::{End, Figures, Partner, Piece, Stop, Told};
use super::settings;
use crate::cli::http::{Place, error_message, json};
use crate::cli::sse::Events;
use crate::text::quote::quote;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How often Ctrl-C is asked for while the server says nothing.
const ASK_EVERY: Duration = Duration::from_millis(30);
/// Events that may wait to be shown.
const WAITING: usize = 64;
/// Bytes of an answer, at most: a server may go on for ever.
const ANSWER_MAX: usize = 16 << 20;
/// Models of a server that are listed.
const MODELS_MAX: usize = 50;
/// Bytes of a model's name, at most: some servers name models by their paths.
const NAME_MAX: usize = 4096;

/// A server, and the model of it that is asked.
pub(super) struct Remote {
    place: Place,
    model: String,
    /// As the last answer has told it.
    fingerprint: Option<String>,
    /// Whether the server is asked to count tokens; one that refuses the question is not asked
    /// again.
    asks_usage: bool,
}

/// What the thread hears of the server.
enum Heard {
    /// The head of the answer, with its seed if that is told.
    Begins(Option<i64>),
    /// An event, or the whole answer where the server sends no events.
    Event(Value),
    /// Nothing comes any more; whether the server said so, rather than the connection's end.
    End {
        is_said: bool,
    },
    Failed(String),
}

impl Remote {
    /// A server; without a model's name it is asked for the first one that it has.
    pub(super) fn new(place: Place, model: Option<&str>) -> Result<Self, String> {
        let model = match model {
            Some(model) => model.to_owned(),
            None => {
                let models = models(&place).map_err(|error| format!("{error}; --model names one unasked"))?;
                models.into_iter().next().ok_or("the server lists no model; --model names one")?
            }
        };
        Ok(Self { place, model, fingerprint: None, asks_usage: true })
    }

    /// The body that is sent.
    fn body(&self, body: &Map<String, Value>) -> Value {
        let mut body = body.clone();
        body.insert("model".to_owned(), json!(self.model));
        body.insert("stream".to_owned(), json!(true));
        if self.asks_usage {
            body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        Value::Object(body)
    }

    fn try_answer(
        &mut self,
        body: &Value,
        stop: &Stop,
        tell: &mut dyn FnMut(Piece) -> Result<(), String>,
    ) -> Result<Told, String> {
        let start = Instant::now();
        let (sender, heard) = sync_channel(WAITING);
        let (place, body) = (self.place.clone(), body.clone());
        let has_left = Arc::<AtomicBool>::default();
        let left = Arc::clone(&has_left);
        let thread = std::thread::Builder::new().name("verbatim-remote".to_owned());
        let spawned = thread.spawn(move || listen(&place, &body, &sender, &left));
        spawned.map_err(|error| format!("the system gives no thread: {error}"))?;
        let mut answer = Answer { start, told: untold(), bytes: 0, has_reason: false, fingerprint: None };
        let ended = answer.hear(&heard, stop, tell);
        has_left.store(true, Ordering::SeqCst);
        if answer.fingerprint.is_some() {
            self.fingerprint = answer.fingerprint.take();
        }
        ended?;
        let figures = &mut answer.told.figures;
        figures.whole = start.elapsed();
        if figures.first.is_zero() {
            figures.first = figures.whole;
        }
        Ok(answer.told)
    }
}

/// An answer of which nothing was heard.
fn untold() -> Told {
    Told { end: End::Whole, seed: None, figures: Figures::default() }
}

/// The names of a server's models, as it wrote them.
fn models(place: &Place) -> Result<Vec<String>, String> {
    let body =
        json(place.get("/v1/models")?).map_err(|error| format!("{}: {error}", place.url("/v1/models")))?;
    let list = body.get("data").and_then(Value::as_array).into_iter().flatten();
    let names = list.filter_map(|model| model.get("id")?.as_str()).filter(|name| name.len() <= NAME_MAX);
    Ok(names.take(MODELS_MAX).map(str::to_owned).collect())
}

/// Sends the body, and hands on what comes, until whoever asked has left.
fn listen(place: &Place, body: &Value, sender: &SyncSender<Heard>, left: &Arc<AtomicBool>) {
    let send = |heard| sender.send(heard).is_ok();
    let answer = match place.post("/v1/chat/completions", body) {
        Ok(answer) => answer,
        Err(error) => {
            send(Heard::Failed(error));
            return;
        }
    };
    let seed = answer.headers().get("x-verbatim-seed").and_then(|seed| seed.to_str().ok()?.parse().ok());
    if !send(Heard::Begins(seed)) {
        return;
    }
    if answer.body().mime_type() == Some("application/json") {
        let whole = json(answer).map_or_else(Heard::Failed, Heard::Event);
        let _ = send(whole) && send(Heard::End { is_said: true });
        return;
    }
    let (_, body) = answer.into_parts();
    let left = Arc::clone(left);
    let events = Events::new(body.into_with_config().limit(u64::MAX).reader());
    let mut is_said = false;
    for data in events.while_wanted(move || !left.load(Ordering::SeqCst)) {
        let heard = match data {
            Ok(data) if data == "[DONE]" => {
                is_said = true;
                break;
            }
            Ok(data) => match serde_json::from_str(&data) {
                Ok(event) => Heard::Event(event),
                Err(error) => Heard::Failed(format!("the server sent an event that is no JSON: {error}")),
            },
            Err(error) => Heard::Failed(format!("the answer broke off: {error}")),
        };
        let is_last = matches!(heard, Heard::Failed(_));
        if !send(heard) || is_last {
            return;
        }
    }
    send(Heard::End { is_said });
}

/// An answer, as far as it has come.
struct Answer {
    start: Instant,
    told: Told,
    bytes: usize,
    /// Whether an event said why it has ended.
    has_reason: bool,
    fingerprint: Option<String>,
}

impl Answer {
    fn hear(
        &mut self,
        heard: &Receiver<Heard>,
        stop: &Stop,
        tell: &mut dyn FnMut(Piece) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            if stop.is_set() {
                self.told.end = End::Stopped;
                return Ok(());
            }
            match heard.recv_timeout(ASK_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Heard::Begins(seed)) => self.told.seed = seed,
                Ok(Heard::Event(event)) => self.event(&event, tell)?,
                Ok(Heard::Failed(error)) => return Err(error),
                Ok(Heard::End { is_said }) if is_said || self.has_reason => return Ok(()),
                Ok(Heard::End { .. }) | Err(RecvTimeoutError::Disconnected) => {
                    return Err("the answer broke off before its end".to_owned());
                }
            }
        }
    }

    /// Takes an event. What it does not have, or has in another type than OpenAI's, is not told.
    fn event(
        &mut self,
        event: &Value,
        tell: &mut dyn FnMut(Piece) -> Result<(), String>,
    ) -> Result<(), String> {
        if event.get("error").is_some_and(|error| !error.is_null()) {
            let message = error_message(event);
            return Err(message.unwrap_or_else(|| "the server ended the answer with an error".to_owned()));
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        if let Some(fingerprint) = text(event.get("system_fingerprint")) {
            self.fingerprint = Some(quote(&fingerprint));
        }
        if let Some(seed) = event.pointer("/verbatim/seed").and_then(Value::as_i64) {
            self.told.seed = Some(seed);
        }
        self.usage(event.get("usage"));
        let Some(choice) = event.pointer("/choices/0") else { return Ok(()) };
        if let Some(delta) = choice.get("delta").or_else(|| choice.get("message")) {
            let reasoning = delta.get("reasoning_content").filter(|value| !value.is_null());
            if let Some(thought) = text(reasoning.or_else(|| delta.get("reasoning"))) {
                self.piece(Piece::Reasoning(thought), tell)?;
            }
            if let Some(content) = text(delta.get("content")) {
                self.piece(Piece::Text(content), tell)?;
            }
        }
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.has_reason = true;
            if reason == "length" {
                self.told.end = End::Length;
            }
        }
        Ok(())
    }

    fn piece(
        &mut self,
        piece: Piece,
        tell: &mut dyn FnMut(Piece) -> Result<(), String>,
    ) -> Result<(), String> {
        let (Piece::Reasoning(text) | Piece::Text(text)) = &piece;
        if text.is_empty() {
            return Ok(());
        }
        self.bytes += text.len();
        if self.bytes > ANSWER_MAX {
            return Err(format!("the answer has more than {ANSWER_MAX} bytes"));
        }
        if self.told.figures.first.is_zero() {
            self.told.figures.first = self.start.elapsed();
        }
        tell(piece)
    }

    fn usage(&mut self, usage: Option<&Value>) {
        let count = |path: &str| usage?.pointer(path)?.as_u64().map(|count| count as usize);
        let figures = &mut self.told.figures;
        figures.prompt_tokens = count("/prompt_tokens").or(figures.prompt_tokens);
        figures.cached_tokens = count("/prompt_tokens_details/cached_tokens").or(figures.cached_tokens);
        figures.tokens = count("/completion_tokens").or(figures.tokens);
    }
}

impl Partner for Remote {
    fn name(&self) -> &str {
        &self.model
    }

    fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    fn describe(&mut self) -> Result<Vec<String>, String> {
        let mut lines = vec![format!("{} at {}", self.model, self.place.url(""))];
        if let Some(fingerprint) = &self.fingerprint {
            lines.push(format!("fingerprint {fingerprint}"));
        }
        let models: Vec<String> = models(&self.place)?.iter().map(|name| quote(name)).collect();
        lines.push(format!("the server has: {}", models.join(", ")));
        Ok(lines)
    }

    fn choose(&mut self, name: &str) -> Result<(), String> {
        name.clone_into(&mut self.model);
        self.fingerprint = None;
        Ok(())
    }

    fn takes_any_name(&self) -> bool {
        true
    }

    fn check(&self, parameters: &Map<String, Value>) -> Result<(), String> {
        parameters.iter().try_for_each(|(name, value)| settings::check_value(name, value))
    }

    fn answer(
        &mut self,
        body: &Map<String, Value>,
        stop: &Stop,
        tell: &mut dyn FnMut(Piece) -> Result<(), String>,
    ) -> Result<Told, String> {
        let answered = self.try_answer(&self.body(body), stop, tell);
        match answered {
            // Servers that know no `stream_options` say so before they answer anything.
            Err(error) if self.asks_usage && error.contains("stream_options") => {
                self.asks_usage = false;
                self.try_answer(&self.body(body), stop, tell)
            }
            answered => answered,
        }
    }
}
