//! The numbers that requests leave behind; those of connections are the transport's.
//! [`families`](super::families) says under which names they are told.
use super::labelled::Labelled;
use crate::runtime::TokenMeters;
use crate::runtime::meters::{Counter, Histogram};
use crate::runtime::timing::TOKEN_SECONDS;
use crate::serve::observe::{Finish, Generated, GeneratedChoice, Record};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Seconds of a request and of its parts, by which choices are counted: vLLM's buckets.
const REQUEST_SECONDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];
/// Choices of a prompt, by which requests are counted: vLLM's buckets.
const CHOICES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];

/// Pairs of a route and a status that are counted: some ten routes, some ten statuses.
const ANSWERS_MAX: usize = 256;
/// Budgets whose refusals are counted.
const BUDGETS_MAX: usize = 64;

/// 1, 2, 5, 10, 20, 50, … up to `max`, as vLLM counts tokens.
fn one_two_five(max: usize) -> Vec<f64> {
    let tens = std::iter::successors(Some(1_usize), |ten| ten.checked_mul(10));
    let values = tens.flat_map(|ten| [1, 2, 5].map(|digit| ten.saturating_mul(digit)));
    values.take_while(|value| *value <= max).map(|value| value as f64).collect()
}

/// How long the parts of a choice took.
#[derive(Debug)]
pub struct Phases {
    /// From the request's arrival to the choice's last token.
    pub whole: Histogram,
    /// From the choice's submission to its first step.
    pub queue: Histogram,
    /// From its first step to its last token.
    pub inference: Histogram,
    /// From its first step to its first token.
    pub prefill: Histogram,
    /// From its first token to its last.
    pub decode: Histogram,
    /// Time of decoding by tokens after the first.
    pub each_token: Histogram,
}

/// How large choices and the requests for them were.
#[derive(Debug)]
pub struct Sizes {
    /// Tokens of the prompt.
    pub prompt: Histogram,
    /// Tokens of the prompt that were computed, since they were not in the cache.
    pub computed: Histogram,
    /// Tokens that were generated.
    pub generated: Histogram,
    /// The longest choice of a request.
    pub longest: Histogram,
    /// Tokens that were asked for, at most.
    pub max_tokens: Histogram,
    /// Choices that were asked for.
    pub n: Histogram,
}

/// All numbers of a server but those that the engine keeps itself. Everything in here is an atomic:
/// counting and reading never wait.
#[derive(Debug)]
pub struct Metrics {
    /// What is measured of tokens as they come; generations are given it.
    pub tokens: Arc<TokenMeters>,
    /// Prompt tokens of the requests that were answered.
    pub prompt_tokens: Counter,
    /// Those of them whose keys and values were in the cache.
    pub cached_tokens: Counter,
    /// How long choices took.
    pub phases: Phases,
    /// How large they were.
    pub sizes: Sizes,
    finished: [Counter; 4],
    answers: Labelled<(&'static str, u16)>,
    refusals: Labelled<&'static str>,
}

impl Metrics {
    /// The metrics of a server whose context has `model_len` tokens.
    pub fn new(model_len: usize) -> Self {
        let seconds = || Histogram::of_seconds(REQUEST_SECONDS);
        let tokens = || Histogram::of_counts(&one_two_five(model_len));
        Self {
            tokens: Arc::default(),
            prompt_tokens: Counter::default(),
            cached_tokens: Counter::default(),
            phases: Phases {
                whole: seconds(),
                queue: seconds(),
                inference: seconds(),
                prefill: seconds(),
                decode: seconds(),
                each_token: Histogram::of_seconds(TOKEN_SECONDS),
            },
            sizes: Sizes {
                prompt: tokens(),
                computed: tokens(),
                generated: tokens(),
                longest: tokens(),
                max_tokens: tokens(),
                n: Histogram::of_counts(CHOICES),
            },
            finished: Default::default(),
            answers: Labelled::new(ANSWERS_MAX),
            refusals: Labelled::new(BUDGETS_MAX),
        }
    }

    /// Counts a request that was refused since a budget is spent, by the name of the budget.
    pub fn refused(&self, budget: &'static str) {
        self.refusals.add(budget, 1);
    }

    /// Makes a budget known, so that it is read as 0 before it refuses anything.
    pub fn declare_budget(&self, budget: &'static str) {
        self.refusals.declare(budget);
    }

    /// Counts an answer that no handler gave, such as one to a head that makes no sense.
    pub fn answered(&self, route: Option<&'static str>, status: u16) {
        self.answers.add((route.unwrap_or("none"), status), 1);
    }

    /// Counts a request whose answer has ended.
    pub fn request_ended(&self, record: &Record) {
        self.answered(record.route, record.status);
        let Some(generated) = &record.generated else { return };
        let Generated { n, max_tokens, choices, .. } = generated;
        if choices.iter().any(|choice| choice.times.first_token.is_some()) {
            self.prompt_tokens.add(record.usage.prompt_tokens);
            self.cached_tokens.add(record.usage.cached_tokens);
        }
        self.sizes.n.note_count(*n);
        self.sizes.max_tokens.note_count(*max_tokens);
        self.sizes.longest.note_count(choices.iter().map(|choice| choice.tokens).max().unwrap_or(0));
        for choice in choices {
            self.choice_ended(choice, record);
        }
    }

    fn choice_ended(&self, choice: &GeneratedChoice, record: &Record) {
        self.finished[choice.finish as usize].add(1);
        let times = &choice.times;
        note(&self.phases.queue, times.queue());
        if !matches!(choice.finish, Finish::Stop | Finish::Length) {
            return; // how long half an answer took would say little of whole ones
        }
        let (sizes, phases) = (&self.sizes, &self.phases);
        sizes.prompt.note_count(choice.prompt_tokens);
        sizes.computed.note_count(choice.prompt_tokens.saturating_sub(choice.cached_tokens));
        sizes.generated.note_count(choice.tokens);
        let until_last = |from: Option<Instant>| Some(times.last_token?.saturating_duration_since(from?));
        note(&phases.whole, until_last(record.arrived));
        note(&phases.inference, until_last(times.admitted));
        note(&phases.prefill, times.prefill());
        note(&phases.decode, times.decode());
        let rest = u32::try_from(choice.tokens).unwrap_or(u32::MAX).saturating_sub(1);
        note(&phases.each_token, times.decode().map(|took| took.checked_div(rest).unwrap_or_default()));
    }

    /// Choices that ended for a reason.
    pub fn finished(&self, why: Finish) -> u64 {
        self.finished[why as usize].get()
    }

    /// Answers by route and status.
    pub fn answers(&self) -> impl Iterator<Item = ((&'static str, u16), u64)> {
        self.answers.read()
    }

    /// Refusals by the name of the budget.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refusals.read()
    }
}

/// Notes how long a phase took, if it has ended.
fn note(histogram: &Histogram, took: Option<Duration>) {
    if let Some(took) = took {
        histogram.note(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ChoiceTimes;
    use crate::serve::observe::Usage;

    #[test]
    fn tokens_are_counted_by_ones_twos_and_fives() {
        assert_eq!(one_two_five(10), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(one_two_five(4096).last(), Some(&2000.0));
        assert_eq!(one_two_five(0), [0.0; 0]);
    }

    #[test]
    fn a_request_is_counted_with_all_its_choices() {
        let start = Instant::now();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let mut times = ChoiceTimes::submitted(start);
        (times.admitted, times.first_token, times.last_token) = (at(100), at(600), at(2600));
        let choice =
            GeneratedChoice { prompt_tokens: 7, cached_tokens: 4, tokens: 5, finish: Finish::Length, times };
        let aborted = GeneratedChoice { finish: Finish::Abort, ..choice };
        let generated = Generated {
            seed: 1,
            n: 2,
            max_tokens: 5,
            stream: false,
            choices: vec![choice, aborted],
            texts: None,
        };
        let record = Record {
            route: Some("/v1/completions"),
            status: 200,
            arrived: Some(start),
            usage: Usage { prompt_tokens: 7, completion_tokens: 10, cached_tokens: 4 },
            generated: Some(generated),
            ..Record::default()
        };
        let metrics = Metrics::new(512);
        metrics.request_ended(&record);
        metrics.request_ended(&Record { status: 404, ..Record::default() });
        assert_eq!(metrics.prompt_tokens.get(), 7);
        assert_eq!(Finish::ALL.map(|why| metrics.finished(why)), [0, 1, 1, 0]);
        let answers: Vec<_> = metrics.answers().collect();
        assert_eq!(answers, [(("/v1/completions", 200), 1), (("none", 404), 1)]);
        let Phases { whole, queue, inference, prefill, decode, each_token } = &metrics.phases;
        let sum = |of: &Histogram| (of.read().count(), of.read().sum);
        assert_eq!(sum(queue), (2, 0.2), "what was aborted has waited, too");
        assert_eq!((sum(whole), sum(inference)), ((1, 2.6), (1, 2.5)));
        assert_eq!((sum(prefill), sum(decode), sum(each_token)), ((1, 0.5), (1, 2.0), (1, 0.5)));
        let Sizes { prompt, computed, generated, longest, max_tokens, n } = &metrics.sizes;
        assert_eq!((sum(prompt), sum(computed), sum(generated)), ((1, 7.0), (1, 3.0), (1, 5.0)));
        assert_eq!((sum(longest), sum(max_tokens), sum(n)), ((1, 5.0), (1, 5.0), (1, 2.0)));
    }

    #[test]
    fn budgets_are_counted_by_name() {
        let metrics = Metrics::new(1);
        metrics.declare_budget("bodies");
        metrics.refused("queue");
        metrics.refused("queue");
        assert_eq!(metrics.refusals().collect::<Vec<_>>(), [("bodies", 0), ("queue", 2)]);
    }
}
