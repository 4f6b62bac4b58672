//! Plays an answer to the writer of a dialect, and reads what its client would get. For tests
//! alone.
use super::answer::call_ids::CallIds;
use super::answer::parsed::ParsedBody;
use super::answer::tokens::ListedToken;
use super::answer::writer::{
    Brought, ChoiceHead, Finish, Head, Piece, PromptReport, Reason, StopReason, WholeChoice, append,
};
use super::dialect::Dialect;
use crate::load::NoProgress;
use crate::runtime::{ChoiceTimes, Options, OwnedRequest, ServedModel};
use crate::serve::error::ApiError;
use crate::serve::events::Events;
use crate::serve::lifecycle::Lifecycle;
use crate::serve::observe::Usage;
use crate::serve::transport::client::Client;
use crate::serve::transport::head::Head as RequestHead;
use crate::serve::transport::stream::Stream;
use crate::text::parts::Part;
use serde_json::Value;
use std::io::Read;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use verbatim_core::sampling::{SamplingParams, TokenLogprob};

/// How an answer goes that is played.
pub(super) struct Play {
    /// The body that is answered; it has one request.
    pub parsed: ParsedBody,
    /// What each token brings, in order.
    pub parts: Vec<Vec<Part>>,
    /// How it ends, if no error ends it.
    pub reason: Reason,
    /// What stops it, if the request names that.
    pub stop: Option<StopReason>,
    /// Whether an error ends it instead.
    pub fails: bool,
}

impl Play {
    /// An answer that thinks, says `Hi.`, and calls a tool twice, to a prompt of five tokens of
    /// which two were cached.
    pub(super) fn of_all_parts() -> Self {
        let text = |text: &str| Part::Text(text.to_owned());
        let begins = |call| Part::CallBegins { call, name: "look".to_owned() };
        let arguments = |call, text: &str| Part::Arguments { call, fragment: text.to_owned() };
        let parts = vec![
            vec![Part::Reasoning("So".to_owned())],
            vec![Part::Reasoning(", hm".to_owned())],
            vec![text("\n\n")],
            vec![text("Hi")],
            vec![],
            vec![text("."), begins(0), arguments(0, "{\"a\"")],
            vec![arguments(0, ":1}")],
            vec![text("\n")],
            vec![begins(1), arguments(1, "{}")],
        ];
        Self { parts, reason: Reason::ToolCalls, ..Self::of_text(&[]) }
    }

    /// An answer of text that its model ends.
    pub(super) fn of_text(pieces: &[&str]) -> Self {
        let request = OwnedRequest::new(vec![1, 2, 3, 4, 5], SamplingParams::GREEDY, 100);
        let parsed = ParsedBody { requests: vec![request], seed: 7, ..ParsedBody::default() };
        let parts = pieces.iter().map(|piece| vec![Part::Text((*piece).to_owned())]).collect();
        Self { parsed, parts, reason: Reason::Stop, stop: None, fails: false }
    }

    fn usage(&self, tokens: usize) -> Usage {
        Usage { prompt_tokens: 5, completion_tokens: tokens, cached_tokens: 2 }
    }

    fn finish(&self) -> Finish {
        let thinks = |parts: &&Vec<Part>| parts.iter().any(|part| matches!(part, Part::Reasoning(_)));
        let start = Instant::now();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let times = ChoiceTimes {
            admitted: at(1),
            first_token: at(3),
            last_token: at(10),
            ..ChoiceTimes::submitted(start)
        };
        Finish {
            reason: self.reason,
            stop: self.stop.clone(),
            usage: self.usage(self.parts.len()),
            reasoning_tokens: self.parts.iter().filter(thinks).count(),
            times,
        }
    }

    /// Plays it whole: the body.
    pub(super) fn whole(&self, dialect: &dyn Dialect) -> Value {
        let tokens: Vec<_> = (0..self.parts.len()).map(token).collect();
        let tokens = if self.parsed.logprobs || self.parsed.token_ids { &tokens[..] } else { &[] };
        let mut parts = Vec::new();
        self.parts.iter().flatten().for_each(|part| append(&mut parts, part.clone()));
        let each = self.parts.iter().map(|parts| Brought { tokens: 1, parts: parts.clone().into() });
        let brought: Vec<_> = each.filter(|_| self.parsed.logprobs).collect();
        let choices: Vec<_> = self
            .heads()
            .into_iter()
            .map(|head| WholeChoice {
                head,
                prompt: PromptReport::default(),
                parts: &parts,
                tokens,
                brought: &brought,
                finish: self.finish(),
            })
            .collect();
        dialect.writer(self.head()).whole(&choices, self.usage(self.parts.len()))
    }

    /// Plays it as a stream: what the client reads behind the head.
    pub(super) fn streamed(&self, dialect: &dyn Dialect) -> String {
        let (ours, mut theirs) = Stream::pair();
        // To a client of HTTP/1.0 nothing stands around the events.
        let head =
            RequestHead::parse(b"POST / HTTP/1.0\r\n\r\n").expect("a good head").expect("a whole one").0;
        let time = Duration::from_secs(60);
        let lifecycle = Arc::new(Lifecycle::new().expect("two sockets"));
        let client = Client::new(&Arc::new(ours), &head, time, &lifecycle);
        client.open_stream(&[], dialect.framing().kind());
        self.play(dialect, &mut Events::new(Some(client), dialect.framing())).expect("it is read");
        let mut text = String::new();
        theirs.set_read_timeout(Some(time)).expect("a time-out");
        theirs.read_to_string(&mut text).expect("text");
        text.split_once("\r\n\r\n").expect("a head").1.to_owned()
    }

    /// The values of the events, where events have names, which are their types.
    pub(super) fn events(&self, dialect: &dyn Dialect) -> Vec<Value> {
        let event = |event: &str| {
            let (name, data) = event.split_once('\n').expect("two lines");
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{event}");
            data
        };
        self.streamed(dialect).split_terminator("\n\n").map(event).collect()
    }

    fn play(&self, dialect: &dyn Dialect, events: &mut Events) -> std::io::Result<()> {
        let mut writer = dialect.writer(self.head());
        writer.open(events)?;
        for choice in self.heads() {
            for (at, parts) in self.parts.iter().enumerate() {
                let tokens = [token(at)];
                writer.piece(
                    &choice,
                    &Piece { parts, tokens: &tokens, usage: self.usage(at + 1) },
                    events,
                )?;
            }
            if self.fails {
                let error = ApiError::server(500, "it broke");
                return writer.fail(&error, &dialect.error(&error), events);
            }
            let finish = self.finish();
            let rest = Piece { parts: &[], tokens: &[], usage: finish.usage };
            writer.end(&choice, &rest, &finish, events)?;
        }
        writer.close(self.usage(self.parts.len()), events)
    }

    fn head(&self) -> Head<'_> {
        Head {
            id: "id_1",
            created: 1_709_164_800,
            model: "tiny",
            fingerprint: "vb-0",
            seed: self.parsed.seed,
            ignored: &self.parsed.ignored,
            parsed: &self.parsed,
            tokenizer: &model().tokenizer,
        }
    }

    fn heads(&self) -> Vec<ChoiceHead<'_>> {
        let head = |request| {
            let call_ids = CallIds::new("vb-0", request, &[]);
            ChoiceHead { at: 0, index: 0, request, number: 0, call_ids }
        };
        self.parsed.requests.iter().map(head).collect()
    }
}

/// The ids of the answer's tokens are 40, 41, …
fn token(at: usize) -> ListedToken<'static> {
    ListedToken { token: TokenLogprob { token: 40 + at as u32, logprob: -0.5 }, top: &[] }
}

/// The built-in model, opened once.
pub(super) fn model() -> &'static ServedModel {
    static MODEL: LazyLock<ServedModel> = LazyLock::new(|| {
        let options = Options { workers: Some(1), ..Options::default() };
        ServedModel::open(&options, &NoProgress).expect("the built-in model")
    });
    &MODEL
}
