//! Submitting and cancelling: a request is checked, becomes a sequence for each choice, and can be
//! cancelled.
use super::Engine;
use super::draft::length::DraftLength;
use super::request::{PRIORITY_ROWS, Refusal, Request, RequestId};
use super::sequence::{Sequence, Source, Standing, UNDECIDED};
use super::state::Bias;
use crate::cache::BLOCK;
use crate::model::RowOutput;
use crate::sampling::ParamError;

/// The largest head start that a priority can give or cost, in rows. It is added to every arrival,
/// so that no head start goes below zero.
const HEAD_START_MAX: u64 = 128 * PRIORITY_ROWS;

/// One choice of a request that was let in.
struct Choice<'r> {
    id: RequestId,
    request: &'r Request<'r>,
    choice: u32,
    /// The count of tokens at which it ends.
    end_len: usize,
}

impl Engine<'_> {
    /// Takes a request, or returns the reason for refusing it. Its lists are copied.
    pub fn submit(&mut self, request: &Request<'_>) -> Result<RequestId, Refusal> {
        let end_len = self.check(request).inspect_err(|_| self.counters.refusals += 1)?;
        let id = RequestId(self.next_request);
        let mut slots = 0..self.state.sequences.len() as u32;
        for i in 0..request.choices {
            let free = slots.find(|slot| self.state.sequences[*slot as usize].standing == Standing::Free);
            let slot = free.expect("`check` counted the free slots");
            let choice = request.first_choice.wrapping_add(i);
            self.fill(slot, &Choice { id, request, choice, end_len });
            self.state.waiting.insert(slot, self.state.sequences);
        }
        self.next_request += 1;
        Ok(id)
    }

    /// Ends a request, whatever its choices are doing; no more events will come for it. `false` if
    /// it had ended.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        self.cancel_those(|sequence| sequence.request == id.0)
    }

    /// Ends one choice of a request; the others go on. `false` if it had ended.
    pub fn cancel_choice(&mut self, id: RequestId, choice: u32) -> bool {
        self.cancel_those(|sequence| (sequence.request, sequence.choice) == (id.0, choice))
    }

    fn cancel_those(&mut self, ends: impl Fn(&Sequence) -> bool) -> bool {
        let mut found = false;
        for slot in 0..self.state.sequences.len() as u32 {
            let sequence = self.state.sequences[slot as usize];
            if sequence.standing != Standing::Free && ends(&sequence) {
                let count = match sequence.standing {
                    Standing::Running if sequence.pending() > 1 => &mut self.counters.cancelled_prefill,
                    Standing::Running => &mut self.counters.cancelled_decode,
                    _ => &mut self.counters.cancelled_waiting,
                };
                *count += 1;
                self.drop_events_of(&sequence);
                self.state.free(slot);
                found = true;
            }
        }
        if found {
            // A planned step may have rows of it.
            self.planned = None;
        }
        found
    }

    /// Everything that a request must be; returns the count of tokens at which it ends. Of several
    /// faults the first one checked is named: a client sees them in this order.
    fn check(&self, request: &Request<'_>) -> Result<usize, Refusal> {
        if request.prompt.is_empty() {
            return Err(Refusal::EmptyPrompt);
        }
        let prompt_yields =
            request.prompt_output != RowOutput::None && request.prompt_output_from < request.prompt.len();
        let yields_nothing = request.max_tokens == 0 && !prompt_yields;
        if yields_nothing || request.choices == 0 {
            return Err(Refusal::NothingAsked);
        }
        let end_len = self.check_length(request)?;
        request.params.check().map_err(Refusal::Parameter)?;
        self.check_entries(request)?;
        self.check_token_ids(request)?;
        let limits = &self.limits;
        let taken = self.state.waiting.len() + self.state.running.len();
        let room = limits.slots() - taken;
        if request.choices as usize > room {
            return Err(Refusal::QueueFull { queue: limits.queue });
        }
        Ok(end_len)
    }

    /// Checks that context and KV cache can hold the request; returns the count of tokens at which
    /// it ends.
    fn check_length(&self, request: &Request<'_>) -> Result<usize, Refusal> {
        let limits = &self.limits;
        let prompt_tokens = request.prompt.len().saturating_add(request.generated.len());
        // What was resumed at the end of the context ends there; a new request is asked to leave
        // room.
        let needs_room = usize::from(request.max_tokens > 0 && request.generated.is_empty());
        if prompt_tokens.saturating_add(needs_room) > limits.model_len {
            return Err(Refusal::ContextExceeded { prompt_tokens, model_len: limits.model_len });
        }
        let is_stopped = request.generated.len() > request.min_tokens
            && request.generated.last().is_some_and(|last| request.stop_ids.contains(last));
        let max_tokens = if is_stopped { 0 } else { request.max_tokens };
        let end_len = request.prompt.len().saturating_add(max_tokens);
        let end_len = end_len.clamp(prompt_tokens, limits.model_len);
        let kv_tokens = limits.block_count() * BLOCK;
        if end_len > kv_tokens {
            return Err(Refusal::KvCapacityExceeded { needed_tokens: end_len, kv_tokens });
        }
        Ok(end_len)
    }

    /// Checks that the request's lists fit into the tables, and that every bias is finite.
    fn check_entries(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let limits = &self.limits;
        for (field, given, max) in [
            ("choices", request.choices as usize, limits.slots()),
            ("logit_bias", request.logit_bias.len(), limits.logit_bias),
            ("stop_ids", request.stop_ids.len(), limits.stop_ids),
            ("top_logprobs", request.params.top_logprobs as usize, limits.top_logprobs),
        ] {
            if given > max {
                return Err(Refusal::TooMany { field, given, max });
            }
        }
        if request.logit_bias.iter().any(|(_, amount)| !amount.is_finite()) {
            let error = ParamError { name: "logit_bias", expected: "made of finite numbers" };
            return Err(Refusal::Parameter(error));
        }
        Ok(())
    }

    /// Checks that every id of prompt, output and bias is in the vocabulary.
    fn check_token_ids(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let vocab_size = self.config.vocab_size;
        let bias_ids = request.logit_bias.iter().map(|(token, _)| *token);
        let ids = request.prompt.iter().copied().map(|token| ("prompt", token));
        let ids = ids.chain(request.generated.iter().copied().map(|token| ("generated", token)));
        let mut ids = ids.chain(bias_ids.map(|token| ("logit_bias", token)));
        match ids.find(|(_, token)| *token as usize >= vocab_size) {
            Some((field, token)) => Err(Refusal::TokenOutOfRange { field, token, vocab_size }),
            None => Ok(()),
        }
    }

    /// Copies what a choice needs into the tables, as a sequence that waits.
    fn fill(&mut self, slot: u32, choice: &Choice<'_>) {
        let Choice { id, request, choice, end_len } = *choice;
        let head_start = i64::from(request.priority) * PRIORITY_ROWS as i64;
        let prompt_len = request.prompt.len();
        let token_count = prompt_len + request.generated.len();
        let tokens = self.state.tokens.of_mut(slot);
        tokens[..prompt_len].copy_from_slice(request.prompt);
        tokens[prompt_len..token_count].copy_from_slice(request.generated);
        for (entry, (token, amount)) in self.state.bias.of_mut(slot).iter_mut().zip(request.logit_bias) {
            *entry = Bias { token: *token, amount: *amount };
        }
        self.state.stops.of_mut(slot)[..request.stop_ids.len()].copy_from_slice(request.stop_ids);
        self.state.sequences[slot as usize] = Sequence {
            standing: Standing::Waiting,
            request: id.0,
            choice,
            order: (self.counters.rows + HEAD_START_MAX).saturating_add_signed(-head_start),
            salt: request.cache_salt,
            prompt_len: prompt_len as u32,
            token_count: token_count as u32,
            computed: 0,
            valid: 0,
            block_count: 0,
            indexed: 0,
            end_len: end_len as u32,
            stop_from_len: prompt_len.saturating_add(request.min_tokens).min(u32::MAX as usize) as u32,
            delivered: request.prompt_output_from.min(prompt_len) as u32,
            prompt_output: request.prompt_output,
            params: request.params,
            bias_count: request.logit_bias.len() as u32,
            stop_count: request.stop_ids.len() as u32,
            draft_count: 0,
            draft_goal: UNDECIDED,
            draft_source: Source::Lookup,
            draft_computed: 0,
            lane: 0,
            lookup_length: DraftLength::NEW,
            model_length: DraftLength::NEW,
        };
    }
}
