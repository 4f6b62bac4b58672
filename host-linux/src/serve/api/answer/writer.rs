//! What a dialect adds to a generation: a writer, which is fed the parts and tokens of an answer in
//! order, and makes events of them, or one body.
use super::call_ids::CallIds;
use super::parsed::ParsedBody;
use super::tokens::ListedToken;
use crate::runtime::{ChoiceTimes, OwnedRequest, PromptToken};
use crate::serve::error::ApiError;
use crate::serve::events::Events;
use crate::serve::observe::Usage;
use crate::text::Tokenizer;
use crate::text::parts::Part;
use serde_json::{Value, json};
use std::io;

/// What all events of an answer share.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The id of the answer, with the dialect's prefix.
    pub id: &'a str,
    /// When it was begun, in seconds since 1970.
    pub created: u64,
    /// The name of the model.
    pub model: &'a str,
    /// The fingerprint of the model.
    pub fingerprint: &'a str,
    /// The seed in use, given or drawn.
    pub seed: u64,
    /// Names of parameters that mean nothing here.
    pub ignored: &'a [String],
    /// The body that is answered.
    pub parsed: &'a ParsedBody,
    /// The tokenizer of the model.
    pub tokenizer: &'a Tokenizer,
}

impl Head<'_> {
    /// What is Verbatim's own in an answer. The seed is told as it can be given, with its sign.
    pub fn verbatim(&self) -> Value {
        json!({"seed": self.seed as i64, "fingerprint": self.fingerprint, "ignored": self.ignored})
    }

    /// What is Verbatim's own in an answer of one choice, which has these tokens: with the ids of
    /// prompt and output, where they are asked for.
    pub fn verbatim_with_ids(&self, tokens: &[u32]) -> Value {
        let mut verbatim = self.verbatim();
        if self.parsed.token_ids {
            verbatim["prompt_token_ids"] =
                json!(self.parsed.requests.first().map(|request| &*request.prompt));
            verbatim["token_ids"] = json!(tokens);
        }
        verbatim
    }
}

/// A choice of an answer.
#[derive(Clone, Copy, Debug)]
pub struct ChoiceHead<'a> {
    /// Its place among the choices of the answer, from 0.
    pub at: usize,
    /// Its number, as the answer says it. A choice that is resumed keeps the one that it had.
    pub index: usize,
    /// The request that it is a choice of.
    pub request: &'a OwnedRequest,
    /// Its number among the choices of its request, on which its noise depends.
    pub number: u32,
    /// The ids of calls in the answers to the request.
    pub call_ids: CallIds,
}

impl ChoiceHead<'_> {
    /// The id of a call, by its place among those of the choice.
    pub fn call_id_of(&self, call: usize) -> String {
        self.call_ids.id(self.number, call)
    }
}

/// What is told of a choice's prompt.
#[derive(Clone, Copy, Debug, Default)]
pub struct PromptReport<'p> {
    /// The text before the output, if the answer begins with one.
    pub echo: Option<&'p str>,
    /// The tokens of the prompt from the second one on, where they were scored.
    pub tokens: &'p [PromptToken],
}

/// What came of a choice at once. OpenAI's dialects tell it in one event, so that a token is told
/// whole or not at all.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'p> {
    /// Parts of the output; none while text is held back.
    pub parts: &'p [Part],
    /// The tokens that brought it; none where text was held back until the end.
    pub tokens: &'p [ListedToken<'p>],
    /// The usage of the whole answer so far.
    pub usage: Usage,
}

impl Piece<'_> {
    /// Whether it tells neither parts nor tokens.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.tokens.is_empty()
    }
}

/// Why a choice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A token or a string that ends the output.
    Stop,
    /// As many tokens as were asked for, or as the context holds.
    Length,
    /// It stopped, and has called tools.
    ToolCalls,
}

impl Reason {
    /// The word for it in OpenAI's API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// What of the request stopped a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// One of the strings in `stop`.
    Text(String),
    /// One of the ids that the request gave, not one that the model ends its answers with.
    Token(u32),
}

impl StopReason {
    /// The reason as vLLM's answers tell it: the string or the number.
    pub fn value(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Token(token) => Value::from(*token),
        }
    }
}

/// The end of a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Why the choice ended, in the words of OpenAI's API.
    pub reason: Reason,
    /// What stopped it, if the request named that.
    pub stop: Option<StopReason>,
    /// The usage of the whole answer so far.
    pub usage: Usage,
    /// Tokens of the choice that brought reasoning.
    pub reasoning_tokens: usize,
    /// When the choice came how far.
    pub times: ChoiceTimes,
}

/// What a token brought, or the text that was held back until the end.
#[derive(Clone, Debug)]
pub struct Brought {
    /// How many tokens it was: one, or none.
    pub tokens: usize,
    /// The parts that it brought, or none while text is held back.
    pub parts: Box<[Part]>,
}

/// A choice of an answer that is sent in one body.
#[derive(Clone, Debug)]
pub struct WholeChoice<'w> {
    /// Which choice of the answer it is.
    pub head: ChoiceHead<'w>,
    /// What is told of its prompt.
    pub prompt: PromptReport<'w>,
    /// All its parts; those of one kind that follow each other are one.
    pub parts: &'w [Part],
    /// All its tokens, where they are listed.
    pub tokens: &'w [ListedToken<'w>],
    /// What they brought, one after another, for a writer that keeps log-probabilities; else empty.
    pub brought: &'w [Brought],
    /// How the choice has ended.
    pub finish: Finish,
}

impl<'w> WholeChoice<'w> {
    /// The choice piece by piece, as a stream would have told it; in one piece where it is not
    /// known which token brought what.
    pub fn pieces(&self) -> impl Iterator<Item = (&'w [ListedToken<'w>], &'w [Part])> + use<'w> {
        let whole = self.brought.is_empty().then_some((self.tokens, self.parts));
        let one_by_one = self.brought.iter().scan(self.tokens, |rest, brought| {
            let (now, later) = rest.split_at(brought.tokens.min(rest.len()));
            *rest = later;
            Some((now, &*brought.parts))
        });
        whole.into_iter().chain(one_by_one)
    }
}

/// Lists of an answer's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Log-probabilities of tokens, and of those that were as likely.
    pub logprobs: bool,
    /// Ids of tokens, as numbers.
    pub ids: bool,
}

impl Listed {
    /// The lists that a body asks for.
    pub fn by(parsed: &ParsedBody) -> Self {
        Self { logprobs: parsed.logprobs, ids: parsed.token_ids }
    }
}

/// Writes one answer. The calls come in the order of this trait; all of an answer that is streamed
/// but the last, and the last alone of one that is not. An error means that the client has gone.
pub trait AnswerWriter {
    /// The lists that it keeps while it streams, since it tells them again at the end: there must
    /// be room for them. Few do.
    fn keeps(&self) -> Listed {
        Listed::default()
    }

    /// Sends what comes before all choices.
    fn open(&mut self, events: &mut Events) -> io::Result<()>;

    /// Sends what is told of a choice's prompt, before all that comes of the choice. It is called
    /// where the answer begins with the prompt.
    fn prompt(
        &mut self,
        choice: &ChoiceHead<'_>,
        prompt: &PromptReport<'_>,
        events: &mut Events,
    ) -> io::Result<()> {
        let _ = (choice, prompt, events);
        Ok(())
    }

    /// Sends what came of a choice. There may be nothing to tell of it yet.
    fn piece(&mut self, choice: &ChoiceHead<'_>, piece: &Piece<'_>, events: &mut Events) -> io::Result<()>;

    /// Sends what is left of a choice, which may be nothing, and its end. Where both come in one
    /// event, it is never in doubt whether text that was held back was told.
    fn end(
        &mut self,
        choice: &ChoiceHead<'_>,
        piece: &Piece<'_>,
        finish: &Finish,
        events: &mut Events,
    ) -> io::Result<()>;

    /// Sends what comes after all choices, and ends the answer by [`Events::done`].
    fn close(&mut self, usage: Usage, events: &mut Events) -> io::Result<()>;

    /// Ends an answer that an error has cut, as [`Events::fail`] does; `body` is the error in the
    /// dialect's words.
    fn fail(&mut self, error: &ApiError, body: &Value, events: &mut Events) -> io::Result<()> {
        let _ = error;
        events.fail(body)
    }

    /// The body of an answer that is not streamed.
    fn whole(&mut self, choices: &[WholeChoice<'_>], usage: Usage) -> Value;
}

/// Adds a part to others; one that goes on with the last of them becomes a part of it.
pub fn append(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), &part) {
        (Some(Part::Text(text)), Part::Text(more)) | (Some(Part::Reasoning(text)), Part::Reasoning(more)) => {
            text.push_str(more);
        }
        (Some(Part::Arguments { call, fragment }), Part::Arguments { call: other, fragment: more })
            if call == other =>
        {
            fragment.push_str(more);
        }
        _ => parts.push(part),
    }
}

/// The text of the answer itself among some parts.
pub fn text_of(parts: &[Part]) -> String {
    let text = |part: &Part| if let Part::Text(text) = part { Some(text.clone()) } else { None };
    parts.iter().filter_map(text).collect()
}
