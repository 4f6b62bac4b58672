//! What a seed decides for each request. Requests come in waves of 16: within one, a prompt may
//! repeat, extend or continue an earlier one's, so that prefixes are shared as in conversations;
//! the answers that it continues are the oracle's.
use super::ask::Ask;
use super::grammar::{Grammar, GrammarKind};
use super::options::{Feature, Options, Setup, TWO_SPLITS};
use super::oracle::Oracle;
use super::rng::{Rng, Stream};
use super::world::VOCAB;
use std::collections::HashMap;
use std::rc::Rc;
use verbatim_core::cache::BLOCK;
use verbatim_core::engine::Request;
use verbatim_core::model::RowOutput;
use verbatim_core::sampling::SamplingParams;

/// The moment at which a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// That number of turns after the request came, whatever it is doing.
    After(u64),
    /// When its first row was computed and no token has come.
    InPrefill,
    /// When that number of tokens has come.
    AtToken(usize),
}

/// A request: its key, and circumstances that may not change a bit.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The part that decides the answer.
    pub ask: Ask,
    /// The number of the first choice.
    pub first_choice: u32,
    /// How many choices are asked for.
    pub choices: u32,
    /// Output tokens of an earlier answer that the request brings, to be resumed.
    pub generated: Vec<u32>,
    /// The priority: lower is sooner.
    pub priority: i8,
    /// The cache salt; only requests with equal ones share prefixes.
    pub cache_salt: u64,
    /// When the client leaves, if it does.
    pub cancel: Option<Cancel>,
    /// Whether it is cancelled between plan and execution rather than before the plan.
    pub cancel_late: bool,
    /// The one choice, counted from the first, that leaves; all if `None`.
    pub cancels_one: Option<u32>,
    /// When it comes, the cache loses the block that prompts with this beginning have.
    pub forgets: Option<[u32; BLOCK]>,
}

impl Spec {
    /// The request for the engine.
    pub fn request(&self) -> Request<'_> {
        Request {
            generated: &self.generated,
            choices: self.choices,
            priority: self.priority,
            cache_salt: self.cache_salt,
            ..self.ask.request(self.first_choice)
        }
    }

    /// Tokens of one of its choices at the end.
    pub fn end_len(&self, options: &Options) -> usize {
        (self.ask.prompt.len() + self.ask.max_tokens).min(options.limits.model_len)
    }
}

/// The requests of a run.
#[derive(Debug)]
pub struct Workload {
    setup: Setup,
    options: Options,
    texts: Vec<Vec<u32>>,
    made: HashMap<usize, Rc<Spec>>,
}

/// Requests of a wave: a prompt depends on none of another wave.
const WAVE: usize = 16;

impl Workload {
    /// The workload of a run; requests are drawn when they are asked for.
    pub fn new(setup: &Setup, options: &Options) -> Self {
        let texts = (0..4).map(|i| text(setup.seed, i, options.limits.model_len)).collect();
        Self { setup: setup.clone(), options: options.clone(), texts, made: HashMap::new() }
    }

    /// Draws request `i`, or returns it as it was drawn before.
    pub fn request(&mut self, i: usize, oracle: &mut Oracle) -> Rc<Spec> {
        if let Some(spec) = self.made.get(&i) {
            return Rc::clone(spec);
        }
        if i.is_multiple_of(WAVE) {
            self.made.retain(|made, _| made + 2 * WAVE > i);
        }
        let spec = Rc::new(self.draw(i, oracle));
        self.made.insert(i, Rc::clone(&spec));
        spec
    }

    fn draw(&mut self, i: usize, oracle: &mut Oracle) -> Spec {
        let without = self.setup.without;
        let off = |feature| without.has(feature);
        let mut rng = Rng::new(self.setup.seed, Stream::Request, i as u64);
        // Resumed: a client that lost its stream and tries again.
        if rng.percent(8) && !i.is_multiple_of(WAVE) && !off(Feature::Sharing) {
            let before = self.request(i - 1, oracle);
            return Spec { cancel: None, forgets: None, ..(*before).clone() };
        }
        let is_long = self.options.long && (i == 0 || rng.percent(4));
        let role = self.orphan_role(i).filter(|_| !is_long);
        let prompt = self.prompt(i, is_long, &mut rng, oracle);
        let prompt = role.map_or(prompt, |role| role.prompt(self.setup.seed, i));
        let lost = match role {
            Some(OrphanRole::Replaces) => OrphanRole::Writes.prompt(self.setup.seed, i),
            _ if rng.percent(self.options.forget_percent) => prompt.clone(),
            _ => Vec::new(),
        };
        let forgets = lost.first_chunk().copied();
        let len = prompt.len();

        let mut params = self.params(&mut rng);
        let mut logit_bias: Vec<(u32, f32)> =
            (0..rng.pick(&[0, 0, 1, 4])).map(|_| (rng.below(VOCAB) as u32, 3.0 * rng.signed())).collect();
        let wanted = [4, 12, 24, 40, 90][rng.below(5)];
        let max_tokens = rng.within(1..=wanted).min(if is_long { 12 } else { 90 });
        let room = self.capacity().saturating_sub(len);
        let is_tight = self.capacity() >= self.options.limits.block_count() * BLOCK;
        let fills = rng.percent(if is_tight { 60 } else { 10 }) && (1..=90).contains(&room) && !is_long;
        let max_tokens = if fills { room } else { max_tokens };
        let mut stop_ids: Vec<u32> =
            (0..rng.pick(&[0, 0, 0, 1, 3])).map(|_| rng.below(VOCAB) as u32).collect();
        if let (Some(stop), true) = (stop_ids.first(), rng.percent(70)) {
            logit_bias.truncate(3);
            logit_bias.push((*stop, 2.0 + 2.0 * rng.signed()));
        }
        let min_tokens = if rng.percent(30) { rng.within(1..=max_tokens + 2) } else { 0 };
        let grammar = rng.percent(30).then(|| Grammar {
            seed: rng.bits(),
            kind: match rng.below(8) {
                0..3 => GrammarKind::Half,
                3 => GrammarKind::EndsAt(len + rng.within(1..=16)),
                4..6 => GrammarKind::Narrow,
                _ => GrammarKind::Real,
            },
        });
        let outputs = [RowOutput::NextLogprob, RowOutput::NextLogprob, RowOutput::Hidden, RowOutput::Logits];
        let output = rng.pick(&outputs);
        let prompt_output = if rng.percent(15) && len < TWO_SPLITS { output } else { RowOutput::None };
        let max_tokens = if prompt_output != RowOutput::None && rng.percent(30) { 0 } else { max_tokens };

        if off(Feature::Penalties) {
            logit_bias.clear();
            params = SamplingParams {
                repetition_penalty: 1.0,
                presence_penalty: 0.0,
                frequency_penalty: 0.0,
                ..params
            };
        }
        if off(Feature::Sampling) {
            params.temperature = 0.0;
        }
        if off(Feature::Stops) {
            stop_ids.clear();
        }
        let ask = Ask {
            prompt,
            params,
            logit_bias,
            stop_ids,
            max_tokens: if off(Feature::PromptOutput) { max_tokens.max(1) } else { max_tokens },
            min_tokens,
            prompt_output: if off(Feature::PromptOutput) { RowOutput::None } else { prompt_output },
            grammar: grammar.filter(|_| !off(Feature::Masks)),
        };

        let first_choice = if rng.percent(10) { rng.within(1..=3) as u32 } else { 0 };
        let choices = if rng.percent(25) { rng.within(2..=4) as u32 } else { 1 };
        let resumed = rng.percent(if fills { 60 } else { 15 });
        let given_share = if rng.percent(if fills { 60 } else { 20 }) { 99 } else { rng.below(100) };
        let priority = if rng.percent(25) { rng.within(0..=4) as i8 - 2 } else { 0 };
        let cache_salt = rng.pick(&[0, 0, 0, 0, 1]);
        let cancel = rng.percent(12).then(|| match rng.below(4) {
            0 => Cancel::After(0),
            1 => Cancel::After(rng.within(1..=12) as u64),
            2 => Cancel::InPrefill,
            _ => Cancel::AtToken(rng.within(1..=max_tokens.max(1))),
        });
        let cancel_late = rng.percent(50);
        let cancels_one = rng.percent(40).then(|| rng.below(choices as usize) as u32);
        let mut spec = Spec {
            ask,
            first_choice,
            choices: if is_long || off(Feature::Choices) { 1 } else { choices },
            generated: Vec::new(),
            priority: if off(Feature::Priorities) { 0 } else { priority },
            cache_salt: if off(Feature::Salts) || role.is_some() { 0 } else { cache_salt },
            cancel: cancel.filter(|_| !off(Feature::Cancels)),
            cancel_late,
            cancels_one: cancels_one.filter(|_| choices > 1 && !is_long && !off(Feature::Choices)),
            forgets,
        };
        if resumed && !is_long && !off(Feature::Resume) {
            (spec.choices, spec.cancels_one) = (1, None);
            let whole = oracle.answer(i, &spec.ask, first_choice).ids();
            spec.generated = whole[..whole.len() * given_share / 99].to_vec();
        }
        spec
    }

    /// The part of request `i` in a group that makes an orphan, if it belongs to one.
    fn orphan_role(&self, i: usize) -> Option<OrphanRole> {
        let is_off = self.options.forget_percent == 0 || self.setup.without.has(Feature::Sharing);
        match i % WAVE {
            _ if is_off || self.prompt_max(false) < 3 * BLOCK => None,
            2 | 8 => Some(OrphanRole::Writes),
            3 | 9 => Some(OrphanRole::Replaces),
            4 | 10 => Some(OrphanRole::Finds),
            _ => None,
        }
    }

    fn params(&self, rng: &mut Rng) -> SamplingParams {
        let mut params = SamplingParams { seed: rng.bits(), ..SamplingParams::GREEDY };
        params.top_logprobs = rng.pick(&[0, 0, 1, 3]);
        if rng.percent(60) {
            params.temperature = rng.pick(&[0.2, 0.7, 1.0, 1.3]);
            params.top_k = rng.pick(&[0, 0, 1, 5, 40]);
            params.top_p = rng.pick(&[1.0, 1.0, 0.9, 0.5]);
            params.min_p = rng.pick(&[0.0, 0.0, 0.05]);
        }
        if rng.percent(25) {
            params.repetition_penalty = rng.pick(&[1.0, 1.2, 0.9]);
            params.presence_penalty = rng.pick(&[0.0, 0.5]);
            params.frequency_penalty = rng.pick(&[0.0, 0.3, -0.2]);
        }
        params
    }

    /// The length at which sequences end.
    fn capacity(&self) -> usize {
        let limits = &self.options.limits;
        limits.model_len.min(limits.block_count() * BLOCK)
    }

    /// Tokens of a prompt at most, which leaves room for one of output, and for the engine to hold
    /// it.
    fn prompt_max(&self, is_long: bool) -> usize {
        let max = self.capacity() - 1;
        if is_long { max } else { max.min(120) }
    }

    fn prompt(&mut self, i: usize, is_long: bool, rng: &mut Rng, oracle: &mut Oracle) -> Vec<u32> {
        let max = self.prompt_max(true);
        let usual = self.prompt_max(is_long);
        let own =
            |rng: &mut Rng, len: usize| -> Vec<u32> { (0..len).map(|_| rng.below(VOCAB) as u32).collect() };
        let wave_start = i / WAVE * WAVE;
        let earlier = (i > wave_start).then(|| rng.within(wave_start..=i - 1));
        let text = rng.below(self.texts.len());
        let kind = rng.below(10);
        let len = rng.within(1..=usual);
        if is_long {
            let begun = rng.within(TWO_SPLITS - 20..=max - 21);
            let mut prompt = self.texts[0][..begun].to_vec();
            let more = rng.within(21..=max - begun);
            prompt.extend(own(rng, more));
            prompt.truncate(max);
            return prompt;
        }
        if self.setup.without.has(Feature::Sharing) {
            return own(rng, len);
        }
        let mut prompt = match (kind, earlier) {
            // The beginning of a text, in whole blocks.
            (0 | 1, _) => self.texts[text][..len.next_multiple_of(BLOCK).min(usual / BLOCK * BLOCK)].to_vec(),
            // The same blocks after another one.
            (2, _) if len > BLOCK => {
                let other = self.texts[rng.below(self.texts.len())][..BLOCK].to_vec();
                [&other, &self.texts[text][BLOCK..len]].concat()
            }
            // The beginning of a text, and an end of its own.
            (2 | 3, _) => {
                let mut prompt = self.texts[text][..len].to_vec();
                let more = rng.within(1..=24);
                prompt.extend(own(rng, more));
                prompt
            }
            // An earlier prompt once more, all or part of it.
            (4, Some(j)) => {
                let mut prompt = self.request(j, oracle).ask.prompt.clone();
                if rng.percent(30) {
                    prompt.truncate(rng.within(1..=prompt.len()));
                }
                prompt
            }
            // A conversation goes on.
            (5 | 6, Some(j)) => {
                let before = self.request(j, oracle);
                let mut prompt = before.ask.prompt.clone();
                if prompt.len() < TWO_SPLITS / 2 {
                    prompt.extend(oracle.answer(j, &before.ask, before.first_choice).ids());
                }
                let more = rng.within(1..=16);
                prompt.extend(own(rng, more));
                prompt
            }
            // A phrase again and again.
            (7, _) => {
                let phrase_len = rng.within(2..=9);
                let phrase = own(rng, phrase_len);
                phrase.iter().copied().cycle().take(len).collect()
            }
            _ => own(rng, len),
        };
        prompt.truncate(usual);
        if prompt.is_empty() { own(rng, 1) } else { prompt }
    }
}

/// What a request does in a group of three that makes an orphan, where they are alone: a cached
/// block whose parent is gone, and a prompt that would go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrphanRole {
    /// Computes two blocks and more of a text.
    Writes,
    /// Comes when the first of them is lost, and computes it again, or another one in its place;
    /// then it goes another way.
    Replaces,
    /// After that block, it goes the way of the first.
    Finds,
}

impl OrphanRole {
    /// The prompt of request `i`.
    fn prompt(self, seed: u64, i: usize) -> Vec<u32> {
        // Texts for each half of a wave, none of those that repeat.
        let half = (i / (WAVE / 2)) as u64;
        let mut prompt = text(seed, 4 + 4 * half, 2 * BLOCK + 1);
        if half % 2 == 1 && self != Self::Writes {
            prompt[..BLOCK].copy_from_slice(&text(seed, 6 + 4 * half, BLOCK));
        }
        if self == Self::Replaces {
            prompt.truncate(BLOCK);
        }
        prompt.push((i % VOCAB) as u32);
        prompt
    }
}

/// A text that prompts begin with; every other one repeats a phrase.
fn text(seed: u64, i: u64, len: usize) -> Vec<u32> {
    let mut rng = Rng::new(seed, Stream::Text, i);
    let phrase: Vec<u32> = (0..if i % 2 == 1 { 11 } else { len }).map(|_| rng.below(VOCAB) as u32).collect();
    phrase.into_iter().cycle().take(len).collect()
}
