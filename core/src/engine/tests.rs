//! The engine on a tiny model: every schedule gives a request the tokens that it gets alone.
use super::*;
use crate::cache::BLOCK;
use crate::dtype::WeightFormat;
use crate::model::tests::{Memory, config, image, image_without};
use crate::model::{Architecture, ImageLayout, RowOutput};
use crate::pool::Serial;
use crate::sampling::SamplingParams;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

mod blocks;
mod draft;
mod loss;
mod order;
mod outputs;
mod plan;
mod requests;
mod view;

#[derive(Clone, Debug)]
struct Ask {
    prompt: Vec<u32>,
    max_tokens: usize,
    choices: u32,
    params: SamplingParams,
    /// Plans before it arrives.
    arrival: usize,
    /// Plans after which it is cancelled, if it is.
    cancel_after: Option<usize>,
    stop_ids: Vec<u32>,
    priority: i8,
    salt: u64,
}

/// (tokens, logprob bits, why it ended) of one choice.
type Answer = (Vec<u32>, Vec<u32>, Option<FinishReason>);

fn limits() -> EngineLimits {
    EngineLimits {
        model_len: 96,
        sequences: 3,
        queue: 20,
        kv_tokens: 96,
        rows: 24,
        head_rows: 2,
        kv_format: crate::dtype::KvFormat::Bf16,
        workers: 1,
        draft_len: 0,
        top_logprobs: 4,
        logit_bias: 2,
        stop_ids: 3,
    }
}

/// An engine with the CPU's runner of its steps: everything else is the engine's.
struct Rig<'a> {
    engine: Engine<'a>,
    cpu: CpuRunner<'a>,
}

impl<'a> core::ops::Deref for Rig<'a> {
    type Target = Engine<'a>;

    fn deref(&self) -> &Engine<'a> {
        &self.engine
    }
}

impl<'a> core::ops::DerefMut for Rig<'a> {
    fn deref_mut(&mut self) -> &mut Engine<'a> {
        &mut self.engine
    }
}

impl Rig<'_> {
    /// Runs a planned step with no masks, on the calling thread.
    fn execute(&mut self, plan: PlanId, observer: &mut dyn Observer) -> Result<Events<'_>, StepError> {
        self.engine.execute(plan, Masks::NONE, &mut self.cpu, &Serial, observer)
    }
}

/// How draft tokens are made.
#[derive(Clone, Copy, Debug)]
struct Drafts {
    speculation: Speculation,
    /// The cache of a draft model, and whether that is the served model itself.
    draft_model: Option<(DraftCache, bool)>,
}

const NO_DRAFTS: Drafts = Drafts { speculation: Speculation::OFF, draft_model: None };

/// Runs the asks together; answers by ask and choice, and what happened.
fn run(
    asks: &[Ask],
    limits: EngineLimits,
    budgets: &[usize],
    drafts: Drafts,
) -> (Vec<Vec<Answer>>, Counters) {
    let config = config(Architecture::Llama, WeightFormat::Bf16);
    let draft_config = crate::model::ModelConfig {
        weight_format: if drafts.draft_model.is_some_and(|(_, same)| !same) {
            WeightFormat::Int4
        } else {
            WeightFormat::Bf16
        },
        ..config
    };
    let (mut weights, mut draft_weights) = (image(&config), image(&draft_config));
    let draft_weights = parse(&mut draft_weights, &draft_config);
    let draft_model = drafts.draft_model.map(|(cache, _)| DraftModel { model: draft_weights, cache });
    let models = (parse(&mut weights, &config), draft_model);
    with_models(models, limits, Isa::detect(), |engine| drive(engine, asks, budgets, drafts))
}

fn drive(
    engine: &mut Rig<'_>,
    asks: &[Ask],
    budgets: &[usize],
    drafts: Drafts,
) -> (Vec<Vec<Answer>>, Counters) {
    engine.set_speculation(drafts.speculation);
    engine.cpu.kv_bytes_mut().fill(0xff);
    let mut answers: Vec<Vec<Answer>> =
        asks.iter().map(|ask| vec![(vec![], vec![], None); ask.choices as usize]).collect();
    let mut ids = vec![None; asks.len()];
    let mut cancelled = vec![false; asks.len()];
    let mut ticks = 0;
    loop {
        for (i, ask) in asks.iter().enumerate() {
            if ask.arrival == ticks {
                let request = Request {
                    choices: ask.choices,
                    params: ask.params,
                    stop_ids: &ask.stop_ids,
                    priority: ask.priority,
                    cache_salt: ask.salt,
                    ..Request::greedy(&ask.prompt, ask.max_tokens)
                };
                ids[i] = Some(engine.submit(&request).unwrap());
            }
            if let (Some(id), Some(after)) = (ids[i], ask.cancel_after)
                && ticks == ask.arrival + after
            {
                cancelled[i] = engine.cancel(id);
                assert!(!engine.cancel(id));
            }
        }
        let budget = Budget { rows: budgets[ticks % budgets.len()] };
        ticks += 1;
        assert!(ticks < 20_000, "the engine does not come to an end");
        let Some(plan) = engine.plan(budget) else {
            if asks.iter().all(|ask| ask.arrival < ticks) {
                break;
            }
            continue;
        };
        assert!(engine.rows(plan).count() <= budget.rows.max(1));
        for event in engine.execute(plan, &mut ()).unwrap() {
            let ask = ids.iter().position(|id| *id == Some(event.request)).unwrap();
            assert!(!cancelled[ask], "an event after the end");
            let answer = &mut answers[ask][event.choice as usize];
            assert_eq!(answer.2, None, "an event after the end");
            match event.kind {
                EventKind::Token { token, logprob, .. } => {
                    answer.0.push(token);
                    answer.1.push(logprob.to_bits());
                }
                EventKind::Finished(reason) => answer.2 = Some(reason),
                EventKind::Admitted { .. } | EventKind::Preempted => {}
                EventKind::PromptLogprob { .. } => panic!("nobody asked"),
            }
        }
        assert_eq!(engine.check_invariants(), Ok(()));
        assert_eq!(engine.execute(plan, &mut ()).err(), Some(StepError::StalePlan));
    }
    let status = engine.status();
    assert_eq!((status.running, status.waiting, status.free_blocks), (0, 0, status.blocks));
    for (ask, answers) in answers.iter().enumerate() {
        for answer in answers {
            assert!(cancelled[ask] || answer.2.is_some(), "a request was lost");
        }
    }
    (answers, *engine.counters())
}

/// Tokens that other prompts begin with too, and that repeat themselves; then tokens of its own, or
/// none.
fn prompt() -> impl Strategy<Value = Vec<u32>> {
    let shared = (0_usize..3, prop_oneof![0_usize..49, Just(16), Just(32), Just(48)]);
    (shared, prop::collection::vec(0_u32..150, 0..12)).prop_map(|((which, len), own)| {
        let shared =
            (0..len).map(|i| [[7, 8, 9, 7, 11, 12], [7, 8, 9, 10, 11, 12], [3, 3, 3, 3, 3, 4]][which][i % 6]);
        let prompt: Vec<u32> = shared.chain(own).collect();
        if prompt.is_empty() { vec![1] } else { prompt }
    })
}

fn drafts() -> impl Strategy<Value = Drafts> {
    let draft_model = prop_oneof![
        Just(None),
        Just(Some((DraftCache::Shared, false))),
        Just(Some((DraftCache::Shared, true))),
        Just(Some((DraftCache::Own, false))),
        Just(Some((DraftCache::Own, true))),
    ];
    let mode = prop_oneof![Just(SpeculationMode::Auto), Just(SpeculationMode::Forced)];
    (any::<bool>(), any::<bool>(), mode, draft_model).prop_map(|(lookup, model, mode, draft_model)| Drafts {
        speculation: Speculation { lookup, model, mode, ..Speculation::OFF },
        draft_model,
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let params = prop_oneof![
        Just(SamplingParams::GREEDY),
        (any::<u64>(), 0.5_f32..1.5, prop_oneof![Just(1.0_f32), Just(0.9)]).prop_map(
            |(seed, temperature, top_p)| {
                SamplingParams { seed, temperature, top_p, frequency_penalty: 0.3, ..SamplingParams::GREEDY }
            }
        ),
    ];
    (
        prompt(),
        1_usize..36,
        1_u32..3,
        params,
        0_usize..30,
        prop::option::weighted(0.2, 1_usize..20),
        prop::collection::vec(0_u32..150, 0..3),
        (any::<i8>(), prop_oneof![4 => Just(0_u64), 1 => Just(1)]),
    )
        .prop_map(
            |(prompt, max_tokens, choices, params, arrival, cancel_after, stop_ids, (priority, salt))| Ask {
                prompt,
                max_tokens,
                choices,
                params,
                arrival,
                cancel_after,
                stop_ids,
                priority,
                salt,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn every_schedule_gives_each_request_what_it_gets_alone(
        asks in prop::collection::vec(ask(), 1..7),
        budgets in prop::collection::vec(1_usize..30, 1..4),
        drafts in drafts(),
        draft_len in 0_usize..7,
    ) {
        let (together, _) = run(&asks, EngineLimits { draft_len, ..limits() }, &budgets, drafts);
        for (ask, answers) in asks.iter().zip(&together) {
            let alone = Ask { arrival: 0, cancel_after: None, ..ask.clone() };
            let alone = &run(&[alone], EngineLimits { kv_tokens: 960, ..limits() }, &[24], NO_DRAFTS).0[0];
            for (answer, alone) in answers.iter().zip(alone) {
                let len = answer.0.len();
                prop_assert!(ask.cancel_after.is_some() || len == alone.0.len());
                prop_assert_eq!(&answer.0[..], &alone.0[..len]);
                prop_assert_eq!(&answer.1[..], &alone.1[..len]);
                if answer.2.is_some() {
                    prop_assert_eq!(answer.2, alone.2);
                }
            }
        }
    }
}

/// Parses the image of a model with this configuration.
fn parse<'m>(image: &'m mut Memory, config: &crate::model::ModelConfig) -> PackedModel<'m> {
    let total = ImageLayout::new(config, &[]).unwrap().total_bytes();
    PackedModel::parse(image.bytes(total)).unwrap()
}

/// An engine for one test, with its memory.
fn with_models<R>(
    (model, draft_model): (PackedModel<'_>, Option<DraftModel<'_>>),
    limits: EngineLimits,
    isa: Isa,
    test: impl FnOnce(&mut Rig<'_>) -> R,
) -> R {
    let size = draft_model.as_ref().map(DraftModel::size);
    let plan = MemoryPlan::with_draft_model(model.config(), size.as_ref(), &limits).unwrap();
    let mut memory = Memory::new(plan.total_bytes());
    let memory = memory.bytes(plan.total_bytes());
    let engine = Engine::on_cpu_with_draft_model(model, draft_model, limits, isa, &Serial, memory);
    let (engine, cpu) = engine.unwrap();
    test(&mut Rig { engine, cpu })
}

/// An engine without a draft model, of a small Qwen 3.
fn with_engine<R>(limits: EngineLimits, test: impl FnOnce(&mut Rig<'_>) -> R) -> R {
    let config = config(Architecture::Qwen3, WeightFormat::F32);
    let mut weights = image(&config);
    with_models((parse(&mut weights, &config), None), limits, Isa::detect(), test)
}

fn tokens(engine: &mut Rig<'_>, request: &Request<'_>) -> Vec<u32> {
    let mut tokens = vec![];
    let mut take = |event: &Event<'_>| {
        if let EventKind::Token { token, .. } = event.kind {
            tokens.push(token);
        }
        core::ops::ControlFlow::Continue(())
    };
    engine.engine.generate(request, &mut engine.cpu, &Serial, &mut take).unwrap();
    tokens
}

/// How many tokens a request yields, and why it ends.
fn end(engine: &mut Rig<'_>, request: &Request<'_>) -> (usize, FinishReason) {
    engine.submit(request).unwrap();
    let (mut count, mut end) = (0, None);
    while let Some(plan) = engine.plan(Budget::UNLIMITED) {
        for event in engine.execute(plan, &mut ()).unwrap() {
            assert_eq!(end, None, "an event after the end");
            match event.kind {
                EventKind::Token { .. } => count += 1,
                EventKind::Finished(reason) => end = Some(reason),
                _ => {}
            }
        }
    }
    (count, end.unwrap())
}

/// A greedy request for one choice that is never cancelled.
fn plain(prompt: &[u32], max_tokens: usize, arrival: usize) -> Ask {
    Ask {
        prompt: prompt.to_vec(),
        max_tokens,
        choices: 1,
        params: SamplingParams::GREEDY,
        arrival,
        cancel_after: None,
        stop_ids: vec![],
        priority: 0,
        salt: 0,
    }
}

fn token_ids(len: u32) -> Vec<u32> {
    (0..len).map(|i| (i * i + 3 * i) % 149).collect()
}
