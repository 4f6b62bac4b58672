//! What prompts yield besides tokens: each output once, and from where it is asked for.
use super::*;

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
                            EventKind::PromptLogprob { position, token, logprob, rank, .. } => {
                                assert_eq!(token, prompt[position]);
                                assert!(logprob < 0.0 && rank >= 1);
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
