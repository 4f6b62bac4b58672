//! Conversations with a real server: each question follows all that was said before, the server's
//! own answers among it, and is asked some time after the answer before it.
use super::super::asks::draws;
use super::super::client::{Client, Endpoint, Fault};
use super::super::measure::Sample;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use verbatim_tests::cluster::script::Scripted;
use verbatim_tests::draws::mix;

/// Bytes of the stack of a conversation's thread.
const STACK_BYTES: usize = 512 << 10;

/// What is said: token ids that a seed draws, other ones for each system prompt and each question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts {
    pub(super) seed: u64,
    /// Tokens of a system prompt.
    pub(super) system_tokens: u32,
    /// All ids are below.
    pub(super) vocabulary: u32,
}

impl Texts {
    fn ids(self, what: u64, count: u32) -> Vec<u32> {
        let mut draws = draws(self.seed, what);
        (0..count).map(|_| draws.below(self.vocabulary.max(1) as usize) as u32).collect()
    }

    /// The system prompt of a number.
    fn system(self, number: u32) -> Vec<u32> {
        self.ids(mix(u64::from(number)), self.system_tokens)
    }

    /// A question of a conversation, with so many tokens.
    fn question(self, (conversation, turn): (usize, usize), count: u32) -> Vec<u32> {
        self.ids(mix(((conversation as u64 + 1) << 32) + turn as u64), count)
    }
}

/// One load: who is asked, from when on, and what came of it so far.
struct Load<'a> {
    endpoint: &'a Endpoint,
    model: &'a str,
    texts: Texts,
    start: Instant,
    /// Requests that were sent.
    asked: AtomicUsize,
    samples: Mutex<Vec<Sample>>,
}

/// Has all conversations, each as soon as it begins. Returns a sample for each request, whose
/// number is its place in the order of asking; a conversation ends at its first request that fails.
/// An error if the system has too few threads.
pub(super) fn talk(
    endpoint: &Endpoint,
    model: &str,
    script: &[Scripted],
    texts: Texts,
) -> Result<Vec<Sample>, String> {
    let (asked, samples) = (AtomicUsize::new(0), Mutex::default());
    let load = Load { endpoint, model, texts, start: Instant::now(), asked, samples };
    let spawned = std::thread::scope(|scope| {
        script.iter().enumerate().try_for_each(|(number, one)| {
            let load = &load;
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, move || load.converse(number, one)).map(|_| ())
        })
    });
    spawned.map_err(|error| format!("a thread for each conversation: {error}"))?;
    Ok(load.samples.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Load<'_> {
    fn converse(&self, number: usize, one: &Scripted) {
        let mut client = Client::new(self.endpoint);
        let mut said = self.texts.system(one.system);
        let mut due = self.start + Duration::from_nanos(one.at_ns);
        for (place, turn) in one.turns.iter().enumerate() {
            said.extend(self.texts.question((number, place), turn.question));
            let body = self.body(&said, turn.answer, (number, place));
            due += Duration::from_nanos(turn.think_ns);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            let (streamed, mut fault) = client.stream(&body, None);
            let end = Instant::now();
            let found = streamed.token_ids.len();
            if fault.is_none() && found != turn.answer as usize {
                fault = Some(Fault::Malformed(format!("{found} token ids of {}", turn.answer)));
            }
            said.extend(&streamed.token_ids);
            let has_failed = fault.is_some();
            let sample = Sample::new(asked, streamed, fault, (self.start, due, end));
            self.samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
            if has_failed {
                return;
            }
            due = end;
        }
    }

    /// The body of a request. Tokens are drawn, with a seed of its own: a model with random weights
    /// would repeat itself.
    fn body(&self, prompt: &[u32], tokens: u32, (conversation, turn): (usize, usize)) -> String {
        let body = json!({
            "model": self.model, "prompt": prompt, "max_tokens": tokens, "ignore_eos": true,
            "stream": true, "stream_options": {"include_usage": true}, "return_token_ids": true,
            "temperature": 1.0, "seed": conversation * 1000 + turn,
        });
        body.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{Ill, endpoint, fake};
    use super::*;
    use verbatim_tests::cluster::script::ScriptedTurn;

    #[test]
    fn a_question_follows_all_that_was_said() {
        let server = fake(Ill::Nothing);
        let turn = |think_ns, question, answer| ScriptedTurn { think_ns, question, answer };
        let script = [
            Scripted { at_ns: 0, system: 0, turns: vec![turn(0, 5, 3), turn(1000, 7, 4), turn(0, 1, 1)] },
            Scripted { at_ns: 2_000_000, system: 1, turns: vec![turn(0, 9, 2)] },
        ];
        let texts = Texts { seed: 1, system_tokens: 20, vocabulary: 50 };
        let mut samples = talk(&endpoint(&server.url, false), "fake", &script, texts).unwrap();
        samples.sort_by_key(|sample| sample.number);
        let mut usage: Vec<_> = samples.iter().map(|sample| sample.streamed.usage.unwrap()).collect();
        usage.sort_unstable();
        assert_eq!(usage, [(25, 3), (29, 2), (35, 4), (40, 1)]);
        assert!(samples.iter().all(|sample| sample.fault.is_none() && sample.streamed.cached == Some(16)));
        let numbers: Vec<_> = samples.iter().map(|sample| sample.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
    }

    #[test]
    fn a_seed_says_the_same_and_no_question_is_another() {
        let texts = Texts { seed: 1, system_tokens: 20, vocabulary: 1000 };
        assert_eq!(texts.system(3), texts.system(3));
        assert_ne!(texts.system(3), texts.system(4));
        assert_ne!(texts.system(3), Texts { seed: 2, ..texts }.system(3));
        assert_ne!(texts.question((0, 1), 20), texts.question((1, 0), 20));
        assert_ne!(texts.question((0, 1), 20), texts.question((0, 2), 20));
        assert!(texts.system(0).iter().all(|id| *id < 1000));
    }
}
