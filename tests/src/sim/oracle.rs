//! The solo runs: each choice of a request alone, from its beginning, on one thread, in an engine
//! of its own.
use super::answer::{Answer, Watch};
use super::ask::Ask;
use super::grammar::{Followed, mask_words};
use super::options::Options;
use super::world::{self, Memory, VOCAB};
use std::collections::HashMap;
use std::rc::Rc;
use verbatim_core::cache::BLOCK;
use verbatim_core::engine::{Budget, Engine, EngineLimits, Masks, MemoryPlan, Request};
use verbatim_core::model::PackedModel;
use verbatim_core::pool::Serial;

/// Answers of requests alone, each computed once.
#[derive(Debug)]
pub struct Oracle {
    model: PackedModel<'static>,
    options: Options,
    answers: HashMap<(usize, u32), Rc<Answer>>,
    /// Steps that the answers took.
    pub steps: u64,
}

impl Oracle {
    /// An oracle for the requests of a run.
    pub fn new(options: &Options) -> Self {
        let model = world::served(options.weights);
        Self { model, options: options.clone(), answers: HashMap::new(), steps: 0 }
    }

    /// The answer to one choice of request `i`, whose key is `ask`.
    pub fn answer(&mut self, i: usize, ask: &Ask, choice: u32) -> Rc<Answer> {
        if let Some(answer) = self.answers.get(&(i, choice)) {
            return Rc::clone(answer);
        }
        #[cfg(mutants)]
        let mutant = verbatim_core::mutants::set(None);
        let answer = Rc::new(self.run(ask, choice, &[]));
        #[cfg(mutants)]
        verbatim_core::mutants::set(mutant);
        self.answers.insert((i, choice), Rc::clone(&answer));
        answer
    }

    /// Drops the answers of requests before `i`, to which no later request refers.
    pub fn forget_before(&mut self, i: usize) {
        self.answers.retain(|(of, _), _| *of >= i);
    }

    /// What a choice gets in a new engine when it is resumed there after `generated`.
    pub fn resumed(&mut self, ask: &Ask, choice: u32, generated: &[u32]) -> Answer {
        self.run(ask, choice, generated)
    }

    fn run(&mut self, ask: &Ask, choice: u32, generated: &[u32]) -> Answer {
        let end_len = (ask.prompt.len() + ask.max_tokens).min(self.options.limits.model_len);
        let rows = end_len.min(64);
        let limits = EngineLimits {
            sequences: 1,
            queue: 0,
            kv_tokens: end_len.next_multiple_of(BLOCK),
            rows,
            head_rows: rows.min(8),
            workers: 1,
            draft_len: 0,
            ..self.options.limits
        };
        let plan = MemoryPlan::new(self.model.config(), &limits).expect("limits of one request");
        let mut memory = Memory::new(plan.total_bytes());
        let (lent, _) = memory.parts();
        let (model, isa) = (self.model.clone(), self.options.oracle_isa);
        let engine = Engine::on_cpu(model, limits, isa, &Serial, lent);
        let (mut engine, mut cpu) = engine.expect("an engine");
        let id = engine.submit(&Request { generated, ..ask.request(choice) }).expect("a request that fits");
        let mut watch = Watch::default();
        let (mut mask, mut followed) = (vec![0; mask_words(VOCAB)], Followed::default());
        while let Some(plan) = engine.plan(Budget::UNLIMITED) {
            let mut masked = None;
            if let Some(grammar) = &ask.grammar
                && let Some((at, row)) = engine.rows(plan).enumerate().find(|(_, row)| row.samples)
            {
                let context = (ask.prompt.len(), engine.context(&row));
                grammar.allow(&mut followed, context, VOCAB, &mut mask);
                masked = Some((at, &mask[..]));
            }
            let masks = Masks { rows: masked.as_slice() };
            let events = engine.execute(plan, masks, &mut cpu, &Serial, &mut watch).expect("a step");
            for event in events {
                let answer = watch.answers.entry((id, choice)).or_default();
                answer.note(&event.kind).expect("nothing after the end");
            }
            self.steps += 1;
        }
        watch.answers.remove(&(id, choice)).expect("a request has an end")
    }
}
