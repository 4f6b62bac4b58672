//! Draft tokens, by look-up and by a draft model: what they may take, and what a broken one must
//! not spoil.
use super::*;

#[test]
fn draft_tokens_leave_rows_to_prompts() {
    let prompt = token_ids(20);
    let limits = EngineLimits { draft_len: 4, kv_tokens: 288, ..limits() };
    with_engine(limits, |engine| {
        engine.set_speculation(Speculation { mode: SpeculationMode::Forced, ..Speculation::LOOKUP });
        for cache_salt in [1, 2] {
            engine.submit(&Request { cache_salt, ..Request::greedy(&prompt, 70) }).unwrap();
        }
        let (mut late, mut left) = (None, 20);
        while let Some(plan) = engine.plan(Budget { rows: 10 }) {
            let drafts = engine.rows(plan).filter(|row| row.drafted > 0).count();
            match late {
                Some(late) if left > 0 => {
                    let rows = engine.rows(plan).filter(|row| row.request == late).count();
                    assert!(rows >= left.min(PREFILL_ROWS_MIN), "{rows} rows beside {drafts} draft tokens");
                    left -= rows;
                }
                None if drafts == 8 => late = Some(engine.submit(&Request::greedy(&[9; 20], 1)).unwrap()),
                _ => {}
            }
            let _ = engine.execute(plan, &mut ()).unwrap();
        }
        assert_eq!(left, 0);
    });
}

/// A draft token's keys and values stand in the block beside those of rows that do not see them.
#[test]
fn a_draft_token_without_finite_numbers_spoils_no_row() {
    for format in crate::dtype::KvFormat::ALL {
        broken_draft(format);
    }
}

fn broken_draft(kv_format: crate::dtype::KvFormat) {
    struct Hidden(usize);
    impl Observer for Hidden {
        fn hidden(&mut self, _row: &PlannedRow, _hidden: &[f32]) {
            self.0 += 1;
        }
    }
    let served_config = config(Architecture::Llama, WeightFormat::F32);
    let draft_config = crate::model::ModelConfig { layer_count: 1, ..served_config };
    let limits = EngineLimits { draft_len: 3, kv_format, head_rows: 1, ..limits() };
    // The prompt's last row yields something, is sampled from, and has draft tokens beside it.
    let request = Request { prompt_output: RowOutput::Hidden, ..Request::greedy(&[5, 9], 12) };
    let outputs = |engine: &mut Rig<'_>| {
        engine.set_speculation(Speculation {
            lookup: false,
            mode: SpeculationMode::Forced,
            ..Speculation::AUTO
        });
        engine.submit(&request).unwrap();
        let (mut tokens, mut hidden) = (vec![], Hidden(0));
        let mut budget = Budget { rows: 1 };
        while let Some(plan) = engine.plan(budget) {
            budget = Budget::UNLIMITED;
            for event in engine.execute(plan, &mut hidden).unwrap() {
                match event.kind {
                    EventKind::Token { token, logprob, .. } => tokens.push((token, logprob.to_bits())),
                    EventKind::Finished(reason) => assert_eq!(reason, FinishReason::Length),
                    _ => {}
                }
            }
        }
        assert_eq!(hidden.0, 2, "a hidden state for each token of the prompt");
        (tokens, *engine.counters())
    };
    let (mut served, mut drafting) = (image(&served_config), image(&draft_config));
    let models = (parse(&mut served, &served_config), None);
    let (alone, _) = with_models(models, limits, Isa::detect(), outputs);
    // The draft model's first token, which the served model never draws.
    let models = (parse(&mut drafting, &draft_config), None);
    let first = |engine: &mut Rig<'_>| tokens(engine, &Request::greedy(&[5, 9], 1))[0];
    let draft = with_models(models, EngineLimits { draft_len: 0, ..limits }, Isa::detect(), first);
    assert!(
        draft != 5 && draft != 9 && alone.iter().all(|(token, _)| *token != draft),
        "{draft} is none of {alone:?}"
    );
    let mut broken = image_without(&served_config, Some(draft as usize));
    let draft_model = DraftModel { model: parse(&mut drafting, &draft_config), cache: DraftCache::Own };
    let models = (parse(&mut broken, &served_config), Some(draft_model));
    let (beside, counters) = with_models(models, limits, Isa::detect(), outputs);
    assert_eq!(beside, alone);
    assert!(counters.model.rejected > 0, "{counters:?}");
    // Rows that do see it end their request, whatever the instruction set.
    for isa in Isa::available().iter() {
        let models = (parse(&mut broken, &served_config), None);
        let seeing = |engine: &mut Rig<'_>| end(engine, &Request::greedy(&[5, draft, 9], 2)).1;
        let reason = with_models(models, limits, *isa, seeing);
        assert_eq!(reason, FinishReason::NonFinite { position: 2 }, "{isa:?}");
    }
}

#[test]
fn a_draft_model_that_is_the_served_one_is_always_accepted() {
    // In 96 positions one is preempted on the way; 112 have room for both at their full length.
    for (cache, kv_tokens) in [(DraftCache::Shared, 96), (DraftCache::Own, 96), (DraftCache::Own, 112)] {
        let speculation = Speculation { model: true, mode: SpeculationMode::Forced, ..Speculation::OFF };
        let params =
            SamplingParams { temperature: 0.9, seed: 5, frequency_penalty: 0.2, ..SamplingParams::GREEDY };
        let asks = [Ask { params, ..plain(&token_ids(19), 41, 0) }, plain(&token_ids(5), 31, 3)];
        let limits = EngineLimits { draft_len: 4, kv_tokens, ..limits() };
        let (answers, counters) =
            run(&asks, limits, &[24], Drafts { speculation, draft_model: Some((cache, true)) });
        assert_eq!(answers, run(&asks, limits, &[24], NO_DRAFTS).0);
        assert_eq!(counters.model.accepted, counters.model.verified, "{cache:?}");
        assert_eq!(counters.preemptions > 0, kv_tokens == 96, "{counters:?}");
        // The first token comes of the prompt; then five a step.
        assert!(counters.steps <= 16, "{counters:?}");
        if kv_tokens == 112 {
            // A token is computed into that cache once, not again with each draft token after it;
            // the last tokens of each request are not computed.
            assert!((84..19 + 41 + 5 + 31).contains(&counters.draft_rows), "{counters:?}");
        }
    }
}

#[test]
fn tokens_that_repeat_themselves_are_looked_up() {
    let bias = [(7, 1e4)];
    let request = Request { logit_bias: &bias, ..Request::greedy(&[1, 2, 3], 60) };
    with_engine(EngineLimits { draft_len: 6, ..limits() }, |engine| {
        engine.set_speculation(Speculation::LOOKUP);
        assert_eq!(tokens(engine, &request), [7; 60]);
        let counters = *engine.counters();
        assert_eq!(counters.lookup.accepted, counters.lookup.verified);
        assert!(counters.steps < 20, "{counters:?}");
        engine.set_speculation(Speculation::OFF);
        assert_eq!(tokens(engine, &request), [7; 60]);
        assert_eq!(engine.counters().steps - counters.steps, 60);
    });
}

/// What a host proposes is verified like any draft token: right ones save steps, wrong ones a row.
#[test]
fn tokens_that_the_host_proposes_change_no_output() {
    let params = SamplingParams { temperature: 1.0, seed: 3, ..SamplingParams::GREEDY };
    let request = Request { params, ..Request::greedy(&[4, 8, 2], 40) };
    with_engine(EngineLimits { draft_len: 4, ..limits() }, |engine| {
        let alone = tokens(engine, &request);
        let before = *engine.counters();
        assert_eq!(engine.propose(RequestId(0), 0, &alone), 0, "nobody runs");
        let id = engine.submit(&request).unwrap();
        assert_eq!(engine.propose(id, 0, &alone), 0, "it waits");
        let (mut beside, mut turn) = (Vec::new(), 0);
        while let Some(plan) = engine.plan(Budget { rows: if beside.len() < 30 { 8 } else { 3 } }) {
            turn += 1;
            for event in engine.execute(plan, &mut ()).unwrap() {
                if let EventKind::Token { token, .. } = event.kind {
                    beside.push(token);
                }
            }
            let mut proposed = alone[beside.len()..].to_vec();
            // In every third step the second one is wrong, and in others one is out of range.
            match turn % 3 {
                0 => proposed.iter_mut().skip(1).take(1).for_each(|token| *token ^= 1),
                1 => proposed.iter_mut().skip(2).take(1).for_each(|token| *token = u32::MAX),
                _ => {}
            }
            let plan = engine.plan(Budget::UNLIMITED);
            let count = engine.propose(id, 0, &proposed);
            assert!(count <= 4 && count < (alone.len() - beside.len()).max(1), "{count}");
            if let Some(plan) = plan.filter(|_| count > 0) {
                assert_eq!(engine.execute(plan, &mut ()).err(), Some(StepError::StalePlan));
            }
        }
        assert_eq!(beside, alone);
        let drafts = engine.counters().proposed;
        assert!(drafts.accepted > 10 && drafts.rejected > 0, "{drafts:?}");
        assert!(engine.counters().steps - before.steps < 30);
        assert_eq!(engine.counters().lookup, before.lookup);
    });
}
