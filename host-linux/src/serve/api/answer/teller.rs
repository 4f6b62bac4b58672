//! The events of an answer that is streamed, on their way from its choices to its client.
use super::choices::ChoiceState;
use super::gathered::{Gathered, Held};
use super::parsed::ParsedBody;
use super::tokens::listed_tokens;
use super::writer::{AnswerWriter, ChoiceHead, Finish, Piece, append};
use crate::runtime::Delta;
use crate::serve::error::ApiError;
use crate::serve::events::Events;
use crate::serve::observe::Usage;
use crate::text::parts::Part;
use serde_json::Value;
use std::io;
use std::time::{Duration, Instant};

/// How long a stream may be silent: proxies cut connections on which nothing comes.
const PING_EVERY: Duration = Duration::from_secs(10);

/// A writer with what it has not told yet, and the events that it sends. An error means that the
/// client is gone.
pub struct Teller<'t> {
    /// Makes events of what it is told.
    pub writer: Box<dyn AnswerWriter + 't>,
    /// The stream to the client, on which nothing else sends in the meantime.
    pub events: &'t mut Events,
    parsed: &'t ParsedBody,
    gathered: Gathered,
}

impl std::fmt::Debug for Teller<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").field("gathered", &self.gathered).finish_non_exhaustive()
    }
}

impl<'t> Teller<'t> {
    /// Tells of so many choices of the answer to a body.
    pub fn new(
        writer: Box<dyn AnswerWriter + 't>,
        events: &'t mut Events,
        parsed: &'t ParsedBody,
        choices: usize,
    ) -> Self {
        let gathered = Gathered::new(parsed.streaming.interval, choices, Instant::now());
        Self { writer, events, parsed, gathered }
    }

    /// How long nothing need be told, if nothing more comes.
    pub fn rest(&self) -> Duration {
        self.events.rest(PING_EVERY).min(self.gathered.rest(Instant::now()))
    }

    /// Takes what came of a choice, and tells what is due. Text that no token brings waits for the
    /// end of the choice, which comes next: whoever was told the end was told all of it.
    pub fn take(
        &mut self,
        choices: &[ChoiceState<'_>],
        at: usize,
        (delta, parts): (Delta, Vec<Part>),
        usage: Usage,
    ) -> io::Result<()> {
        if delta.token.is_none() {
            self.gathered.add_last(at, delta, parts);
            return Ok(());
        }
        self.gathered.add(at, delta, parts);
        self.tell_due(choices, usage)
    }

    /// Tells what is due, or that the answer is on its way where nothing was told for long.
    pub fn after_silence(&mut self, choices: &[ChoiceState<'_>], usage: Usage) -> io::Result<()> {
        self.tell_due(choices, usage)?;
        if self.events.rest(PING_EVERY).is_zero() { self.events.ping() } else { Ok(()) }
    }

    fn tell_due(&mut self, choices: &[ChoiceState<'_>], usage: Usage) -> io::Result<()> {
        while let Some((at, held)) = self.gathered.due(Instant::now()) {
            self.tell(&choices[at].head, &held, usage)?;
        }
        Ok(())
    }

    fn tell(&mut self, choice: &ChoiceHead<'_>, held: &Held, usage: Usage) -> io::Result<()> {
        let tokens = listed_tokens(&held.deltas, self.parsed.top_logprobs);
        let piece = Piece { parts: &held.parts, tokens: &tokens, usage };
        self.writer.piece(choice, &piece, self.events)
    }

    /// Tells what is held of a choice, its last `parts`, and its end.
    pub fn end(&mut self, choice: &ChoiceHead<'_>, parts: Vec<Part>, finish: &Finish) -> io::Result<()> {
        let mut held = self.gathered.take(choice.at);
        parts.into_iter().for_each(|part| append(&mut held.parts, part));
        let tokens = listed_tokens(&held.deltas, self.parsed.top_logprobs);
        let piece = Piece { parts: &held.parts, tokens: &tokens, usage: finish.usage };
        self.writer.end(choice, &piece, finish, self.events)
    }

    /// Tells all that is held, and the error that ends the answer; `body` is the error in the
    /// dialect's words.
    pub fn fail(
        &mut self,
        choices: &[ChoiceState<'_>],
        usage: Usage,
        error: &ApiError,
        body: &Value,
    ) -> io::Result<()> {
        while let Some((at, held)) = self.gathered.any() {
            self.tell(&choices[at].head, &held, usage)?;
        }
        self.writer.fail(error, body, self.events)
    }
}
