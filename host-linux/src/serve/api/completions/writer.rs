//! The answers of completions: text, and logprobs in lists.
use crate::serve::api::answer::openai::Shell;
use crate::serve::api::answer::scored::prompt_logprobs;
use crate::serve::api::answer::tokens::{ListedToken, TokenTexts, listed_prompt, number, token_ids};
use crate::serve::api::answer::usage::usage_before;
use crate::serve::api::answer::writer::{
    AnswerWriter, ChoiceHead, Finish, Head, Piece, PromptReport, WholeChoice, text_of,
};
use crate::serve::events::Events;
use crate::serve::observe::Usage;
use serde_json::{Map, Value, json};
use std::io;

/// Writes one answer, as text or as pieces of it.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    shell: Shell<'a>,
    texts: TokenTexts<'a>,
    /// How far each choice was written; those that were not begun are missing at the end.
    choices: Vec<Option<Progress>>,
}

/// How far a choice was written.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Characters before its next token; 0 where no logprobs are listed.
    offset: usize,
    /// Whether no event has told a token of it.
    is_first: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(head: Head<'a>) -> Self {
        let texts = TokenTexts { tokenizer: head.tokenizer, as_ids: head.parsed.tokens_as_ids };
        let shell = Shell::new(head, "text_completion", "text_completion");
        Self { shell, texts, choices: Vec::new() }
    }

    /// Characters before a choice's next token. They depend on its ids alone, so a stream that is
    /// resumed counts as one that was not cut.
    fn offset(&self, choice: &ChoiceHead<'_>) -> usize {
        let prompt = if self.shell.head.parsed.echo.is_some() {
            self.prompt_offsets(choice).1
        } else {
            let prompt = self.texts.tokenizer.decode(&choice.request.prompt, true);
            prompt.unwrap_or_default().chars().count()
        };
        let generated = choice.request.generated.iter().map(|token| self.texts.char_count(*token));
        prompt + generated.sum::<usize>()
    }

    /// The characters before each token of a prompt that an answer begins with, and in all of it.
    fn prompt_offsets(&self, choice: &ChoiceHead<'_>) -> (Vec<usize>, usize) {
        let (texts, request) = (self.texts, choice.request);
        let is_shown = |token: u32| !request.skips_special || !texts.tokenizer.is_special(token);
        let first = request.prompt.iter().find(|token| is_shown(**token));
        // Decoders may leave out the space of the first piece.
        let decoded = texts.tokenizer.decode(&request.prompt, request.skips_special).unwrap_or_default();
        let strips =
            first.is_some_and(|first| texts.text(*first).starts_with(' ')) && !decoded.starts_with(' ');
        let mut end = 0;
        let mut offsets = Vec::with_capacity(request.prompt.len());
        for token in &*request.prompt {
            offsets.push(end - usize::from(strips && end > 0));
            end += if is_shown(*token) { texts.char_count(*token) } else { 0 };
        }
        (offsets, end - usize::from(strips && end > 0))
    }

    fn progress(&mut self, choice: &ChoiceHead<'_>) -> &mut Progress {
        if self.choices.len() <= choice.at {
            self.choices.resize(choice.at + 1, None);
        }
        if self.choices[choice.at].is_none() {
            let offset = if self.shell.head.parsed.logprobs { self.offset(choice) } else { 0 };
            self.choices[choice.at] = Some(Progress { offset, is_first: true });
        }
        self.choices[choice.at].as_mut().expect("it was just put there")
    }

    /// The logprobs of some tokens of a choice, in order; null where none are listed.
    fn logprobs(&mut self, choice: &ChoiceHead<'_>, tokens: &[ListedToken<'_>]) -> Value {
        if !self.shell.head.parsed.logprobs {
            return Value::Null;
        }
        let texts = self.texts;
        let offset = &mut self.progress(choice).offset;
        let mut lists = Lists::default();
        for listed in tokens {
            lists.add(texts, listed, *offset);
            *offset += texts.char_count(listed.token.token);
        }
        lists.value()
    }

    /// The choice in the event of some tokens, which may be its last; none where there is nothing
    /// to tell.
    fn piece_value(
        &mut self,
        choice: &ChoiceHead<'_>,
        piece: &Piece<'_>,
        finish: Option<&Finish>,
    ) -> Option<Value> {
        let parsed = self.shell.head.parsed;
        let text = text_of(piece.parts);
        let is_told = (parsed.logprobs || parsed.token_ids) && !piece.tokens.is_empty();
        if text.is_empty() && !is_told && finish.is_none() {
            return None;
        }
        let logprobs = if is_told { self.logprobs(choice, piece.tokens) } else { Value::Null };
        let mut value = choice_value(choice, &text, logprobs, finish);
        if parsed.token_ids && !piece.tokens.is_empty() {
            value["token_ids"] = token_ids(piece.tokens);
            let is_begun = !choice.request.generated.is_empty();
            if !is_begun && std::mem::take(&mut self.progress(choice).is_first) {
                value["prompt_token_ids"] = json!(&*choice.request.prompt);
            }
        }
        Some(value)
    }

    /// The logprobs of a choice's prompt, and of some tokens after it.
    fn echoed_logprobs(
        &mut self,
        choice: &ChoiceHead<'_>,
        prompt: &PromptReport<'_>,
        tokens: &[ListedToken<'_>],
    ) -> Value {
        if !self.shell.head.parsed.logprobs {
            return Value::Null;
        }
        let (texts, count) = (self.texts, self.shell.head.parsed.top_logprobs);
        let mut lists = Lists::default();
        let (offsets, _) = self.prompt_offsets(choice);
        let scored = listed_prompt(prompt.tokens, count);
        for (at, (token, offset)) in choice.request.prompt.iter().zip(offsets).enumerate() {
            match at.checked_sub(1).and_then(|before| scored.get(before)) {
                Some(listed) => lists.add(texts, listed, offset),
                // Nothing precedes the first token.
                None => lists.add_unscored(texts, *token, offset),
            }
        }
        let offset = &mut self.progress(choice).offset;
        for listed in tokens {
            lists.add(texts, listed, *offset);
            *offset += texts.char_count(listed.token.token);
        }
        lists.value()
    }
}

/// Logprobs as lists, an entry of each for a token.
#[derive(Debug, Default)]
struct Lists {
    tokens: Vec<Value>,
    logprobs: Vec<Value>,
    tops: Vec<Value>,
    offsets: Vec<usize>,
    /// The bytes of each token, and the likeliest tokens in its place in order: names alone do not
    /// tell tokens apart that are parts of characters.
    bytes: Vec<Vec<u8>>,
    top_tokens: Vec<Value>,
}

impl Lists {
    fn add(&mut self, texts: TokenTexts<'_>, listed: &ListedToken<'_>, offset: usize) {
        let mut map = Map::new();
        // The token that was drawn is listed even where it is not among the likeliest.
        for at in listed.top.iter().chain([&listed.token]) {
            map.entry(texts.name(at.token)).or_insert_with(|| number(at.logprob));
        }
        self.tokens.push(Value::from(texts.name(listed.token.token)));
        self.logprobs.push(number(listed.token.logprob));
        self.tops.push(Value::Object(map));
        self.offsets.push(offset);
        self.bytes.push(texts.bytes(listed.token.token));
        self.top_tokens.push(listed.top.iter().map(|at| texts.entry(at)).collect());
    }

    fn add_unscored(&mut self, texts: TokenTexts<'_>, token: u32, offset: usize) {
        self.tokens.push(Value::from(texts.name(token)));
        self.logprobs.push(Value::Null);
        self.tops.push(Value::Null);
        self.offsets.push(offset);
        self.bytes.push(texts.bytes(token));
        self.top_tokens.push(Value::Null);
    }

    fn value(self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.logprobs,
            "top_logprobs": self.tops,
            "text_offset": self.offsets,
            "bytes": self.bytes,
            "top_tokens": self.top_tokens,
        })
    }
}

/// The choice in a body or in an event.
fn choice_value(choice: &ChoiceHead<'_>, text: &str, logprobs: Value, finish: Option<&Finish>) -> Value {
    let finish_reason = finish.map(|finish| finish.reason.name());
    let mut value =
        json!({"index": choice.index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason});
    if let Some(finish) = finish {
        value["stop_reason"] = finish.stop.as_ref().map_or(Value::Null, |stop| stop.value());
    }
    value
}

impl AnswerWriter for Writer<'_> {
    fn open(&mut self, _events: &mut Events) -> io::Result<()> {
        Ok(())
    }

    fn prompt(
        &mut self,
        choice: &ChoiceHead<'_>,
        prompt: &PromptReport<'_>,
        events: &mut Events,
    ) -> io::Result<()> {
        let logprobs = self.echoed_logprobs(choice, prompt, &[]);
        let value = choice_value(choice, prompt.echo.unwrap_or_default(), logprobs, None);
        let usage = usage_before(self.shell.head.parsed);
        events.send(&self.shell.chunk(value, usage))
    }

    /// Text that is held back waits; what else is told of its token comes at once, so that tokens
    /// stay in order.
    fn piece(&mut self, choice: &ChoiceHead<'_>, piece: &Piece<'_>, events: &mut Events) -> io::Result<()> {
        let value = self.piece_value(choice, piece, None);
        value.map_or(Ok(()), |value| events.send(&self.shell.chunk(value, piece.usage)))
    }

    fn end(
        &mut self,
        choice: &ChoiceHead<'_>,
        piece: &Piece<'_>,
        finish: &Finish,
        events: &mut Events,
    ) -> io::Result<()> {
        let value = self.piece_value(choice, piece, Some(finish));
        value.map_or(Ok(()), |value| events.send(&self.shell.end_chunk(value, finish)))
    }

    fn close(&mut self, usage: Usage, events: &mut Events) -> io::Result<()> {
        self.shell.close(usage, events)
    }

    fn whole(&mut self, choices: &[WholeChoice<'_>], usage: Usage) -> Value {
        let mut values = Vec::with_capacity(choices.len());
        for WholeChoice { head, prompt, parts, tokens, finish, .. } in choices {
            let is_echoed = prompt.echo.is_some() && head.request.generated.is_empty();
            let (echo, logprobs) = if is_echoed {
                (prompt.echo.unwrap_or_default(), self.echoed_logprobs(head, prompt, tokens))
            } else {
                ("", self.logprobs(head, tokens))
            };
            let text = echo.to_owned() + &text_of(parts);
            let mut value = choice_value(head, &text, logprobs, Some(finish));
            let parsed = self.shell.head.parsed;
            if let Some(count) = parsed.prompt_logprobs {
                value["prompt_logprobs"] = prompt_logprobs(prompt.tokens, count, self.texts);
            }
            if parsed.token_ids {
                value["token_ids"] = token_ids(tokens);
                value["prompt_token_ids"] = json!(&*head.request.prompt);
            }
            values.push(value);
        }
        let ends: Vec<_> = choices.iter().map(|choice| &choice.finish).collect();
        self.shell.body(values, &ends, usage)
    }
}
