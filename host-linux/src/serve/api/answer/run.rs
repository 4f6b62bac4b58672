//! The events of a generation, as the calls of a dialect's writer.
use super::choices::ChoiceState;
use super::parsed::ParsedBody;
use super::room;
use super::teller::Teller;
use super::tokens::listed_tokens;
use super::usage::{Tally, usage};
use super::writer::{
    AnswerWriter, Brought, Finish, Head, Listed, PromptReport, Reason, StopReason, WholeChoice, append,
};
use crate::faults::{self, Point};
use crate::runtime::{
    Delta, Ending, Generation, GenerationError, Heard, StopCause, TextEvent, TextEventKind,
};
use crate::serve::active::Active;
use crate::serve::api::dialect::Dialect;
use crate::serve::budgets::{AnswerRoom, Queued};
use crate::serve::error::ApiError;
use crate::serve::events::Events;
use crate::serve::observe::Usage;
use crate::serve::server::{Server, now};
use crate::serve::transport::refusal;
use crate::text::parts::Part;
use serde_json::Value;
use std::io;
use std::time::Duration;

/// What came of a choice of an answer that is streamed.
enum Came {
    /// A token, and the parts that it brought.
    More(Delta, Vec<Part>),
    /// The parts that were held back, and the end.
    Last(Vec<Part>, Finish),
}

/// What came of a choice of an answer that is sent in one body.
#[derive(Debug, Default)]
struct Output {
    parts: Vec<Part>,
    /// With its tokens, where they are listed.
    deltas: Vec<Delta>,
    /// What they brought, where the writer keeps log-probabilities.
    brought: Vec<Brought>,
    finish: Option<Finish>,
}

/// What is done while a whole answer is waited for, so that its client waits on.
pub trait Patience {
    /// How long to wait before the next [`Patience::beat`].
    fn rest(&self) -> Duration;

    /// Tells the client that the answer is on its way.
    fn beat(&mut self);
}

/// An answer that is being made.
pub struct Answer<'a> {
    server: &'a Server,
    dialect: &'a dyn Dialect,
    parsed: &'a ParsedBody,
    active: &'a Active,
    id: String,
    created: u64,
}

impl std::fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<'a> Answer<'a> {
    /// The answer to a body of this request.
    pub fn new(
        server: &'a Server,
        dialect: &'a dyn Dialect,
        parsed: &'a ParsedBody,
        active: &'a Active,
    ) -> Self {
        let id = format!("{}{}", dialect.id_prefix(), active.sender.request_id);
        Self { server, dialect, parsed, active, id, created: now() }
    }

    fn writer(&self) -> Box<dyn AnswerWriter + '_> {
        let model = &self.server.model;
        self.dialect.writer(Head {
            id: &self.id,
            created: self.created,
            model: &model.name,
            fingerprint: &model.fingerprint,
            seed: self.parsed.seed,
            ignored: &self.parsed.ignored,
            parsed: self.parsed,
            tokenizer: &model.tokenizer,
        })
    }

    fn choices(&self, generation: &Generation) -> Vec<ChoiceState<'a>> {
        ChoiceState::all(self.parsed, &self.server.model.fingerprint, generation)
    }

    /// What is told of a choice's prompt.
    fn prompt<'g>(&'g self, choice: &ChoiceState<'_>, generation: &'g Generation) -> PromptReport<'g> {
        let echo = self.parsed.echo.as_ref().and_then(|texts| texts.get(choice.prompt));
        PromptReport { echo: echo.map(String::as_str), tokens: generation.prompt_tokens(choice.head.at) }
    }

    /// How a choice ended, or the error that ended it.
    fn finish(
        &self,
        ending: Ending,
        choice: &ChoiceState<'_>,
        (usage, generation): (Usage, &Generation),
    ) -> Result<Finish, ApiError> {
        let reason = match ending {
            Ending::Stop if choice.reader.calls() > 0 => Reason::ToolCalls,
            Ending::Stop => Reason::Stop,
            Ending::Length => Reason::Length,
            Ending::Error(GenerationError::Unwanted) if self.active.is_cancelled() => {
                return Err(ApiError::cancelled());
            }
            Ending::Error(GenerationError::Unwanted) if self.server.lifecycle.is_cut() => {
                return Err(refusal::cut_off());
            }
            Ending::Error(error) => return Err(error.into()),
        };
        let own_ends = &self.server.model.loaded.generation().eos_ids;
        let stop = match generation.stop_cause(choice.head.at) {
            Some(StopCause::Text(text)) => Some(StopReason::Text(text.clone())),
            // What the model itself ends an answer with is no word of the request.
            Some(StopCause::Token(token)) if !own_ends.contains(token) => Some(StopReason::Token(*token)),
            _ => None,
        };
        let (reasoning_tokens, times) = (choice.reasoning.tokens(), generation.times(choice.head.at));
        Ok(Finish { reason, stop, usage, reasoning_tokens, times })
    }

    /// The end of a choice, and the parts that were held back until it. After an error they stay
    /// held back, for whoever resumes the choice.
    fn end(
        &self,
        ending: Ending,
        choice: &mut ChoiceState<'_>,
        (usage, generation): (Usage, &Generation),
    ) -> Result<(Vec<Part>, Finish), ApiError> {
        let mut parts = Vec::new();
        if !matches!(ending, Ending::Error(_)) {
            choice.reader.finish(&mut parts);
            choice.reasoning.note(0, &parts);
        }
        let finish = self.finish(ending, choice, (usage, generation))?;
        Ok((parts, finish))
    }

    /// The whole answer in one body; an error if its lists of tokens take more than there is room.
    pub fn whole(
        &self,
        generation: &mut Generation,
        queued: &mut Queued<'_>,
        room: &mut AnswerRoom<'_>,
        patience: &mut dyn Patience,
    ) -> Result<Value, ApiError> {
        let mut choices = self.choices(generation);
        let mut tally = Tally::new(self.parsed, &choices, generation);
        let mut outputs: Vec<Output> = choices.iter().map(|_| Output::default()).collect();
        let (mut writer, listed) = (self.writer(), Listed::by(self.parsed));
        let are_placed = writer.keeps().logprobs;
        room.grow(room::prompt_bytes(listed, self.parsed))?;
        loop {
            let TextEvent { choice: at, kind } = match generation.next_within(patience.rest()) {
                Heard::Event(event) => event,
                Heard::Silence => {
                    patience.beat();
                    continue;
                }
                Heard::End => break,
            };
            queued.heard_of(at);
            let (choice, output) = (&mut choices[at], &mut outputs[at]);
            let usage = tally.heard(choice, generation);
            let (mut parts, before) = (Vec::new(), output.deltas.len());
            match kind {
                TextEventKind::Delta(delta) => {
                    choice.push(&delta, &mut parts);
                    if listed != Listed::default() && delta.token.is_some() {
                        room.grow(room::delta_bytes(listed, &delta))?;
                        output.deltas.push(Delta { text: String::new(), ..delta });
                    }
                }
                TextEventKind::End(ending) => {
                    let (rest, finish) = self.end(ending, choice, (usage, generation))?;
                    parts = rest;
                    output.finish = Some(finish);
                }
            }
            if are_placed {
                let tokens = output.deltas.len() - before;
                output.brought.push(Brought { tokens, parts: parts.clone().into() });
            }
            parts.into_iter().for_each(|part| append(&mut output.parts, part));
        }
        let count = self.parsed.top_logprobs;
        let tokens: Vec<_> = outputs.iter().map(|output| listed_tokens(&output.deltas, count)).collect();
        let of = choices.iter().zip(&outputs).zip(&tokens);
        let wholes = of.filter_map(|((choice, output), tokens)| {
            let (parts, brought, finish) = (&*output.parts, &*output.brought, output.finish.clone()?);
            let prompt = self.prompt(choice, generation);
            Some(WholeChoice { head: choice.head, prompt, parts, tokens, brought, finish })
        });
        let wholes: Vec<_> = wholes.collect();
        Ok(writer.whole(&wholes, usage(self.parsed, generation)))
    }

    /// The answer as events. An error of the generation is the last event, and so is one of lists
    /// that are to be kept and for which there is no room; an error of the connection is returned.
    pub fn stream(
        &self,
        generation: &mut Generation,
        queued: &mut Queued<'_>,
        room: &mut AnswerRoom<'_>,
        events: &mut Events,
    ) -> io::Result<()> {
        let mut choices = self.choices(generation);
        let mut tally = Tally::new(self.parsed, &choices, generation);
        let mut teller = Teller::new(self.writer(), events, self.parsed, choices.len());
        let kept = teller.writer.keeps();
        teller.writer.open(teller.events)?;
        let begun = room.grow(room::prompt_bytes(kept, self.parsed));
        let mut error = begun.err();
        while error.is_none() {
            let TextEvent { choice: at, kind } = match generation.next_within(teller.rest()) {
                Heard::Event(event) => event,
                Heard::Silence => {
                    teller.after_silence(&choices, tally.usage())?;
                    continue;
                }
                Heard::End => return teller.writer.close(usage(self.parsed, generation), teller.events),
            };
            queued.heard_of(at);
            faults::point(Point::Stream);
            let choice = &mut choices[at];
            let usage = tally.heard(choice, generation);
            let came = match kind {
                TextEventKind::Delta(delta) => room.grow(room::delta_bytes(kept, &delta)).map(|()| {
                    let mut parts = Vec::new();
                    choice.push(&delta, &mut parts);
                    Came::More(delta, parts)
                }),
                TextEventKind::End(ending) => {
                    let ended = self.end(ending, choice, (usage, generation));
                    ended.map(|(parts, finish)| Came::Last(parts, finish))
                }
            };
            if came.is_ok() {
                self.tell_prompt(choice, generation, &mut teller)?;
            }
            match came {
                Ok(Came::More(delta, parts)) => teller.take(&choices, at, (delta, parts), usage)?,
                Ok(Came::Last(parts, finish)) => teller.end(&choice.head, parts, &finish)?,
                Err(cut) => error = Some(cut),
            }
        }
        let Some(error) = error else { return Ok(()) };
        teller.fail(&choices, tally.usage(), &error, &self.dialect.error(&error))
    }

    /// Sends what is told of a choice's prompt, once and if anything is: not where a stream is
    /// resumed.
    fn tell_prompt(
        &self,
        choice: &mut ChoiceState<'_>,
        generation: &Generation,
        teller: &mut Teller<'_>,
    ) -> io::Result<()> {
        let is_told = self.parsed.echo.is_some() && choice.head.request.generated.is_empty();
        if !is_told || std::mem::replace(&mut choice.has_prompt, true) {
            return Ok(());
        }
        teller.writer.prompt(&choice.head, &self.prompt(choice, generation), teller.events)
    }
}
