//! The engine on a tiny model: every schedule gives a request the tokens that it gets alone.
use super::*;
use crate::cache::planes::BlockCopy;
use crate::cache::{BLOCK, BlockId};
use crate::dtype::WeightFormat;
use crate::model::tests::{Memory, config, image, image_without};
use crate::model::{
    Architecture, BlockTables, DeviceLost, HeadOutput, HeadWants, ImageLayout, Row, RowOutput, Runner,
};
use crate::pool::Serial;
use crate::sampling::SamplingParams;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

mod draft;
mod loss;

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

#[test]
fn a_resumed_request_goes_on_as_if_it_had_never_stopped() {
    let prompt = [5, 9, 33, 7];
    let params = SamplingParams {
        temperature: 1.1,
        seed: 42,
        repetition_penalty: 1.2,
        presence_penalty: 0.4,
        ..SamplingParams::GREEDY
    };
    let request = Request { params, ..Request::greedy(&prompt, 20) };
    with_engine(limits(), |engine| {
        let whole = tokens(engine, &request);
        assert_eq!(whole.len(), 20);
        for at in 0..20 {
            let resumed = Request { generated: &whole[..at], ..request };
            assert_eq!(tokens(engine, &resumed), whole[at..], "resumed at {at}");
        }
    });
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

#[test]
fn what_is_resumed_at_its_end_ends() {
    let prompt = [5, 9, 33, 7];
    let generated: Vec<u32> = (0..92).collect();
    with_engine(limits(), |engine| {
        let resumed = |at| Request { generated: &generated[..at], ..Request::greedy(&prompt, 200) };
        assert_eq!(end(engine, &resumed(91)), (1, FinishReason::Length));
        assert_eq!(end(engine, &resumed(92)), (0, FinishReason::Length));
        let few = Request { max_tokens: 10, ..resumed(10) };
        assert_eq!(end(engine, &few), (0, FinishReason::Length));
        let stopped = Request { stop_ids: &[9], ..resumed(10) };
        assert_eq!(end(engine, &stopped), (0, FinishReason::StopId(9)));
        let not_yet = Request { min_tokens: 10, max_tokens: 12, ..stopped };
        assert_eq!(end(engine, &not_yet).0, 2);
        let goes_on = Request { stop_ids: &[8], max_tokens: 11, ..resumed(10) };
        assert_eq!(end(engine, &goes_on).0, 1);
    });
}

/// All blocks hold its tokens, so there is none to copy the last one into.
#[test]
fn a_cached_prompt_may_fill_the_kv_cache() {
    for blocks in 1..3 {
        let tokens = blocks * BLOCK;
        with_engine(EngineLimits { model_len: tokens, kv_tokens: tokens, ..limits() }, |engine| {
            let ids: Vec<u32> = (0..tokens as u32).collect();
            let (prompt, generated) = ids.split_at(tokens - 1);
            let request = Request { generated, ..Request::greedy(prompt, 1) };
            for _ in 0..3 {
                assert_eq!(end(engine, &request), (0, FinishReason::Length));
            }
            assert_eq!(engine.counters().hit_tokens, 2 * (tokens - BLOCK) as u64);
        });
    }
}

#[test]
fn what_is_cancelled_leaves_no_events_and_no_choice_of_its_own() {
    let prompt = token_ids(20);
    with_engine(limits(), |engine| {
        for _ in 0..100 {
            let id = engine.submit(&Request::greedy(&prompt, 3)).unwrap();
            assert!(engine.plan(Budget::UNLIMITED).is_some());
            assert!(engine.cancel(id));
        }
        let id = engine.submit(&Request { choices: 2, ..Request::greedy(&prompt, 3) }).unwrap();
        let mut ends = vec![];
        let mut steps = 0;
        while let Some(plan) = engine.plan(Budget::UNLIMITED) {
            for event in engine.execute(plan, &mut ()).unwrap() {
                assert_eq!(event.request, id);
                assert!(steps < 2 || event.choice == 1, "an event after the end");
                if matches!(event.kind, EventKind::Finished(_)) {
                    ends.push(event.choice);
                }
            }
            steps += 1;
            if steps == 2 {
                assert!(engine.cancel_choice(id, 0) && !engine.cancel_choice(id, 0));
            }
        }
        assert_eq!(ends, [1]);
    });
}

/// The positions whose logits came as prompt outputs, and how many hidden states came.
struct Count(Vec<usize>, usize);

impl Observer for Count {
    fn logits(&mut self, row: &PlannedRow, logits: &[f32]) {
        assert_eq!(logits.len(), 150);
        if row.output == RowOutput::Logits {
            self.0.push(row.position);
        }
    }
    fn hidden(&mut self, _row: &PlannedRow, hidden: &[f32]) {
        assert_eq!(hidden.len(), 48);
        self.1 += 1;
    }
}

#[test]
fn prompt_outputs_come_once_each() {
    let prompt: Vec<u32> = (0..30).collect();
    for output in [RowOutput::NextLogprob, RowOutput::Logits, RowOutput::Hidden] {
        for max_tokens in [0, 3] {
            with_engine(limits(), |engine| {
                let request = Request { prompt_output: output, ..Request::greedy(&prompt, max_tokens) };
                engine.submit(&request).unwrap();
                let mut count = Count(vec![], 0);
                let (mut positions, mut drawn, mut ended) = (vec![], 0, 0);
                while let Some(plan) = engine.plan(Budget { rows: 7 }) {
                    for event in engine.execute(plan, &mut count).unwrap() {
                        match event.kind {
                            EventKind::PromptLogprob { position, token, logprob, .. } => {
                                assert_eq!(token, prompt[position]);
                                assert!(logprob < 0.0);
                                positions.push(position);
                            }
                            EventKind::Token { .. } => drawn += 1,
                            EventKind::Finished(reason) => {
                                assert_eq!(reason, FinishReason::Length);
                                ended += 1;
                            }
                            EventKind::Admitted { .. } => {}
                            EventKind::Preempted => panic!("nobody else is here"),
                        }
                    }
                }
                assert_eq!((drawn, ended), (max_tokens, 1));
                let expected: Vec<usize> = (1..30).collect();
                assert_eq!(positions == expected, output == RowOutput::NextLogprob);
                assert_eq!(count.0 == (0..30).collect::<Vec<_>>(), output == RowOutput::Logits);
                assert_eq!(count.1, if output == RowOutput::Hidden { 30 } else { 0 });
            });
        }
    }
}

/// Positions of prompt rows whose hidden states came.
struct HiddenAt(Vec<usize>);

impl Observer for HiddenAt {
    fn hidden(&mut self, row: &PlannedRow, _: &[f32]) {
        self.0.push(row.position);
    }
}

#[test]
fn prompt_outputs_begin_where_they_are_asked_for() {
    let prompt: Vec<u32> = (0..40).collect();
    with_engine(limits(), |engine| {
        let mut ask = |from: usize| -> Result<(Vec<usize>, usize), Refusal> {
            let hidden = Request { prompt_output: RowOutput::Hidden, ..Request::greedy(&prompt, 0) };
            engine.submit(&Request { prompt_output_from: from, ..hidden })?;
            let (mut at, mut cached) = (HiddenAt(vec![]), 0);
            while let Some(plan) = engine.plan(Budget { rows: 7 }) {
                for event in engine.execute(plan, &mut at).unwrap() {
                    if let EventKind::Admitted { cached_tokens } = event.kind {
                        cached = cached_tokens;
                    }
                }
            }
            Ok((at.0, cached))
        };
        assert_eq!(ask(0), Ok(((0..40).collect(), 0)));
        // What is before it comes from the cache, as far as blocks are full.
        assert_eq!(ask(39), Ok((vec![39], 40 / BLOCK * BLOCK)));
        assert_eq!(ask(20), Ok(((20..40).collect(), 20 / BLOCK * BLOCK)));
        assert_eq!(ask(0), Ok(((0..40).collect(), 0)));
        assert_eq!(ask(40), Err(Refusal::NothingAsked));
    });
}

#[test]
fn prompt_outputs_come_once_each_though_prompts_are_computed_again() {
    let prompts = [0, 30].map(|first| (first..first + 30).collect::<Vec<u32>>());
    for output in [RowOutput::NextLogprob, RowOutput::Logits, RowOutput::Hidden] {
        with_engine(limits(), |engine| {
            // Each alone fits the cache, both at their full length do not: one is preempted and has
            // its blocks taken.
            let ids = prompts.each_ref().map(|prompt| {
                engine.submit(&Request { prompt_output: output, ..Request::greedy(prompt, 50) }).unwrap()
            });
            let (mut rows, mut positions) = (Count(vec![], 0), [vec![], vec![]]);
            while let Some(plan) = engine.plan(Budget::UNLIMITED) {
                for event in engine.execute(plan, &mut rows).unwrap() {
                    if let EventKind::PromptLogprob { position, .. } = event.kind {
                        positions[usize::from(event.request == ids[1])].push(position);
                    }
                }
            }
            assert!(engine.counters().preemptions > 0);
            let expected: Vec<usize> = (1..30).collect();
            let (logprobs, others) =
                if output == RowOutput::NextLogprob { (expected, 0) } else { (vec![], 60) };
            assert_eq!(positions, [logprobs.clone(), logprobs]);
            assert_eq!(rows.0.len() + rows.1, others);
        });
    }
}

/// A sequence without a row in a step takes no block for it: another may need that one more.
#[test]
fn blocks_are_taken_for_the_rows_of_a_step_alone() {
    for rows in 1..=3 {
        with_engine(EngineLimits { rows: 3 * BLOCK, ..limits() }, |engine| {
            for token in 1..=3 {
                engine.submit(&Request::greedy(&[token; BLOCK], 5)).unwrap();
            }
            let plan = engine.plan(Budget::UNLIMITED).unwrap();
            engine.execute(plan, &mut ()).unwrap();
            assert_eq!(engine.decoding_count(), 3);
            engine.plan(Budget { rows }).unwrap();
            assert_eq!(engine.state.blocks.pending_work().fresh.len(), rows);
        });
    }
}

/// A block that is given back before its step has run must leave the list of blocks to be zeroed:
/// once it is taken again, it is there again.
#[test]
fn plans_that_are_dropped_leave_no_fresh_blocks_behind() {
    with_engine(EngineLimits { kv_tokens: 64, queue: 1, ..limits() }, |engine| {
        let stays = Request::greedy(&[1, 2, 3], 20);
        engine.submit(&stays).unwrap();
        for i in 0..40 {
            let leaves = engine.submit(&Request::greedy(&[4; 17], 5)).unwrap();
            let plan = engine.plan(Budget::UNLIMITED).unwrap();
            assert!(engine.cancel(leaves), "{i}");
            let fresh = engine.state.blocks.pending_work().fresh;
            assert_eq!(fresh, &engine.state.tables.of(0)[..1], "the block of the one that stays");
            assert_eq!(engine.execute(plan, &mut ()).unwrap_err(), StepError::StalePlan);
        }
        engine.check_invariants().unwrap();
    });
}

#[test]
fn what_cannot_be_served_is_refused_with_its_numbers() {
    let prompt = [1, 2, 3];
    let base = Request::greedy(&prompt, 5);
    let long = vec![1; 97];
    let half = vec![1; 60];
    with_engine(EngineLimits { kv_tokens: 48, queue: 1, ..limits() }, |engine| {
        let refused = |engine: &mut Rig<'_>, request: Request<'_>| engine.submit(&request).unwrap_err();
        assert_eq!(refused(engine, Request { prompt: &[], ..base }), Refusal::EmptyPrompt);
        assert_eq!(refused(engine, Request { max_tokens: 0, ..base }), Refusal::NothingAsked);
        assert_eq!(refused(engine, Request { choices: 0, ..base }), Refusal::NothingAsked);
        assert_eq!(
            refused(engine, Request { prompt: &long, ..base }),
            Refusal::ContextExceeded { prompt_tokens: 97, model_len: 96 }
        );
        assert_eq!(
            refused(engine, Request { prompt: &half, ..base }),
            Refusal::KvCapacityExceeded { needed_tokens: 65, kv_tokens: 48 }
        );
        assert_eq!(
            refused(engine, Request { prompt: &[1, 150], ..base }),
            Refusal::TokenOutOfRange { field: "prompt", token: 150, vocab_size: 150 }
        );
        assert_eq!(
            refused(engine, Request { stop_ids: &[1; 4], ..base }),
            Refusal::TooMany { field: "stop_ids", given: 4, max: 3 }
        );
        let params = SamplingParams { top_p: 2.0, ..base.params };
        assert!(matches!(refused(engine, Request { params, ..base }), Refusal::Parameter(_)));
        assert_eq!(
            refused(engine, Request { choices: 5, ..base }),
            Refusal::TooMany { field: "choices", given: 5, max: 4 }
        );
        for _ in 0..3 {
            engine.submit(&base).unwrap();
        }
        assert_eq!(refused(engine, Request { choices: 2, ..base }), Refusal::QueueFull { queue: 1 });
        engine.submit(&base).unwrap();
        assert_eq!(refused(engine, base), Refusal::QueueFull { queue: 1 });
    });
}

#[test]
fn stop_ids_end_a_request_and_not_before_min_tokens() {
    let prompt = [5, 9, 33, 7];
    with_engine(limits(), |engine| {
        let whole = tokens(engine, &Request::greedy(&prompt, 12));
        let stop = [whole[2]];
        let stopped = tokens(engine, &Request { stop_ids: &stop, ..Request::greedy(&prompt, 12) });
        let first = whole.iter().position(|token| *token == stop[0]).unwrap();
        assert_eq!(stopped, whole[..=first]);
        let request = Request { stop_ids: &stop, min_tokens: 6, ..Request::greedy(&prompt, 12) };
        let later = tokens(engine, &request);
        assert!(later.len() > 6 && !later[..6].contains(&stop[0]));
    });
}

#[test]
fn limits_that_make_no_sense_are_named() {
    let config = config(Architecture::Llama, WeightFormat::F32);
    for (limits, expected) in [
        (EngineLimits { model_len: 5000, ..limits() }, "model_len"),
        (EngineLimits { rows: 0, ..limits() }, "rows"),
        (EngineLimits { kv_tokens: 0, ..limits() }, "kv_tokens"),
        (EngineLimits { head_rows: 25, ..limits() }, "head_rows"),
    ] {
        let error = MemoryPlan::new(&config, &limits).unwrap_err();
        assert!(matches!(error, MemoryPlanError::Limit { field, .. } if field == expected), "{error}");
    }
    let mut small = Memory::new(64);
    let mut weights = image(&config);
    let total = ImageLayout::new(&config, &[]).unwrap().total_bytes();
    let model = PackedModel::parse(weights.bytes(total)).unwrap();
    let error = Engine::on_cpu(model, limits(), Isa::detect(), &Serial, small.bytes(64)).unwrap_err();
    assert!(matches!(error, MemoryPlanError::Arena(_)), "{error}");
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

#[test]
fn a_prefix_is_computed_once_for_all_who_share_it() {
    // All at once: one computes, the others wait for it and compute what is their own.
    let asks: Vec<Ask> =
        (0..3).map(|i| plain(&[&token_ids(40)[..], &[100 + i, 7, 8]].concat(), 4, 0)).collect();
    let (_, counters) = run(&asks, EngineLimits { kv_tokens: 480, ..limits() }, &[24], NO_DRAFTS);
    // Two full blocks, and half of a third that the first one holds.
    assert_eq!((counters.prefix_hits, counters.hit_tokens), (2, 80));
    assert!(counters.deferrals >= 2 && counters.copies >= 1);
    assert_eq!(counters.rows, 43 + 2 * 3 + 3 * 3);
    // With salts of their own nobody shares.
    let salted: Vec<Ask> = asks.iter().zip(0..).map(|(ask, salt)| Ask { salt, ..ask.clone() }).collect();
    let (_, counters) = run(&salted, EngineLimits { kv_tokens: 480, ..limits() }, &[24], NO_DRAFTS);
    assert_eq!((counters.prefix_hits, counters.rows), (0, 3 * 43 + 3 * 3));
    // Later: the blocks are free, and are revived; a prompt that ends with a block has its last row
    // computed again.
    let later = [plain(&token_ids(32), 2, 0), plain(&token_ids(32), 2, 30), plain(&token_ids(33), 2, 60)];
    let (_, counters) = run(&later, limits(), &[24], NO_DRAFTS);
    assert_eq!((counters.boundary_hits, counters.hit_tokens, counters.copies), (1, 31 + 32, 1));
    assert!(counters.revivals >= 3);
}

#[test]
fn choices_share_their_prompt_and_the_block_it_ends_in() {
    let ask = Ask { choices: 3, ..plain(&token_ids(20), 6, 0) };
    let (_, counters) = run(&[ask], limits(), &[24], NO_DRAFTS);
    // Each but the first computes the last row of the prompt again, for its own draw, in a copy of
    // the block.
    assert_eq!((counters.hit_tokens, counters.copies), (2 * 19, 2));
    assert_eq!(counters.rows, 20 + 2 + 3 * 5);
}

#[test]
fn priority_is_a_head_start() {
    with_engine(limits(), |engine| {
        let ids: Vec<RequestId> = [0_i8, 0, 0, 0, 5, -5]
            .map(|priority| {
                let request = Request { priority, ..Request::greedy(&[1, 2, 3], 3) };
                engine.submit(&request).unwrap()
            })
            .to_vec();
        let mut ends = vec![];
        while let Some(plan) = engine.plan(Budget { rows: 3 }) {
            for event in engine.execute(plan, &mut ()).unwrap() {
                if matches!(event.kind, EventKind::Finished(_)) {
                    ends.push(event.request);
                }
            }
        }
        assert_eq!((ends[0], ends[5]), (ids[4], ids[5]));
        assert_eq!(ends[1..5], ids[..4]);
    });
}

#[test]
fn a_long_prompt_does_not_hold_up_who_is_ahead_of_it() {
    with_engine(EngineLimits { kv_tokens: 288, ..limits() }, |engine| {
        // The second choice waits for the first one's prompt, so the long one is let past it: for
        // as long as that takes.
        let short = token_ids(20);
        let choices = engine.submit(&Request { choices: 2, ..Request::greedy(&short, 2) }).unwrap();
        let long: Vec<u32> = token_ids(90).into_iter().rev().collect();
        let long = engine.submit(&Request::greedy(&long, 1)).unwrap();
        let mut ends = vec![];
        while let Some(plan) = engine.plan(Budget { rows: 24 }) {
            for event in engine.execute(plan, &mut ()).unwrap() {
                if matches!(event.kind, EventKind::Finished(_)) {
                    ends.push(event.request);
                }
            }
        }
        assert_eq!(engine.counters().deferrals, 1);
        assert_eq!(ends, [choices, choices, long]);
    });
}

#[test]
fn nobody_waits_for_what_is_computed_behind_them() {
    with_engine(EngineLimits { kv_tokens: 288, ..limits() }, |engine| {
        let shared = token_ids(60);
        let low = engine.submit(&Request { priority: -5, ..Request::greedy(&shared, 1) }).unwrap();
        let mut ends = vec![];
        let mut ids = vec![low];
        while let Some(plan) = engine.plan(Budget { rows: 4 }) {
            for event in engine.execute(plan, &mut ()).unwrap() {
                if matches!(event.kind, EventKind::Finished(_)) {
                    ends.push(event.request);
                }
            }
            if ids.len() < 2 {
                // The tokens that the low one has begun; in the end it gets the high one's blocks,
                // or uses its own.
                ids.push(engine.submit(&Request { priority: 5, ..Request::greedy(&shared, 1) }).unwrap());
            }
        }
        assert_eq!(engine.counters().deferrals, 0);
        assert_eq!(ends, [ids[1], low]);
    });
}

#[test]
fn who_waits_for_a_prefix_keeps_a_slot() {
    with_engine(EngineLimits { sequences: 2, kv_tokens: 288, ..limits() }, |engine| {
        let short = token_ids(20);
        let choices = engine.submit(&Request { choices: 2, ..Request::greedy(&short, 4) }).unwrap();
        // It could begin in the first step, and would then keep the second choice waiting to its
        // end.
        let other = engine.submit(&Request::greedy(&[7, 8, 9], 40)).unwrap();
        let mut ends = vec![];
        while let Some(plan) = engine.plan(Budget::UNLIMITED) {
            for event in engine.execute(plan, &mut ()).unwrap() {
                if matches!(event.kind, EventKind::Finished(_)) {
                    ends.push(event.request);
                }
            }
        }
        assert_eq!(ends, [choices, choices, other]);
    });
}

/// A runner that keeps everything itself, and is lost from the start.
struct Device;

impl Runner for Device {
    fn copy_blocks(&mut self, _: &[BlockCopy]) {}

    fn layers(&mut self, _: StepKind, _: &[Row], _: BlockTables<'_>, _: &[BlockId]) {}

    fn head(&mut self, _: StepKind, _: &[u32], _: HeadWants) -> Result<HeadOutput<'_>, DeviceLost> {
        Err(DeviceLost)
    }
}

/// A device has activations and KV of its own: the engine's arena holds its tables alone.
#[test]
fn the_memory_over_a_device_is_the_rest_of_that_on_the_cpu() {
    let served = config(Architecture::Llama, WeightFormat::F32);
    let draft = DraftModelSize { config: served, cache: DraftCache::Own };
    let limits = limits();
    let cpu = MemoryPlan::with_draft_model(&served, Some(&draft), &limits).unwrap();
    let device = MemoryPlan::for_runner(&Device, &served, Some(&draft), &limits).unwrap();
    let mut runner = crate::memory::Layout::default();
    CpuMemory::carve(&mut runner, &served, Some(&draft), &limits.runner()).unwrap();
    assert_eq!(cpu.total_bytes(), device.total_bytes() + runner.total_bytes());
    assert!(runner.total_bytes() > cpu.kv_bytes());
    for name in ["KV blocks", "residual stream", "logits", "hidden states"] {
        assert!(device.layout().regions().iter().all(|region| region.name != name), "{name}");
    }
    let mut memory = Memory::new(device.total_bytes());
    let memory = memory.bytes(device.total_bytes());
    let engine = Engine::over_device(&served, Some(&draft), limits, Isa::detect(), memory).unwrap();
    assert_eq!(engine.status().blocks, limits.block_count());
}

#[test]
fn a_pool_of_more_workers_than_were_planned_for_is_refused() {
    struct Many;
    #[allow(unsafe_code)]
    // SAFETY: it runs nothing here.
    unsafe impl Pool for Many {
        fn workers(&self) -> usize {
            2
        }
        fn run(&self, _: crate::pool::Phase, _: usize, _: &(dyn Fn(usize, usize) + Sync)) {
            unreachable!("the pool is refused")
        }
    }
    let config = config(Architecture::Llama, WeightFormat::F32);
    let mut weights = image(&config);
    let plan = MemoryPlan::new(&config, &limits()).unwrap();
    let mut memory = Memory::new(plan.total_bytes());
    let memory = memory.bytes(plan.total_bytes());
    let error = Engine::on_cpu(parse(&mut weights, &config), limits(), Isa::detect(), &Many, memory);
    let expected = MemoryPlanError::Limit { field: "workers", found: 1, min: 2, max: 4096 };
    assert_eq!(error.err(), Some(expected));
}
