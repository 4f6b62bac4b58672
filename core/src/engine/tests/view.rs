//! What is shown of sequences and blocks between steps.
use super::*;

/// How many blocks there are of each use: empty, cached, held by one, by two, by three.
fn uses(engine: &Engine<'_>) -> [usize; 5] {
    let mut uses = [9; 64];
    let count = engine.block_uses(&mut uses);
    assert_eq!(count, engine.status().blocks);
    assert!(uses[count..].iter().all(|of| *of == 9), "nothing is written beyond the blocks");
    core::array::from_fn(|of| uses[..count].iter().filter(|state| usize::from(**state) == of).count())
}

#[test]
fn sequences_are_shown_from_their_queue_to_their_end() {
    let prompt = token_ids(2 * BLOCK as u32);
    with_engine(EngineLimits { sequences: 1, kv_tokens: 6 * BLOCK, ..limits() }, |engine| {
        assert_eq!((engine.sequences().count(), uses(engine)), (0, [6, 0, 0, 0, 0]));
        let first = engine.submit(&Request::greedy(&prompt, 3)).unwrap();
        let second = engine.submit(&Request::greedy(&[5, 6], 4)).unwrap();
        let plan = engine.plan(Budget { rows: 20 }).unwrap();
        engine.execute(plan, &mut ()).unwrap();
        let views: Vec<_> = engine.sequences().collect();
        let of = |view: &SequenceView| (view.request, view.choice, view.is_running);
        assert_eq!(views.iter().map(of).collect::<Vec<_>>(), [(first, 0, true), (second, 0, false)]);
        let of = |view: &SequenceView| (view.prompt_tokens, view.computed, view.tokens, view.tokens_max);
        assert_eq!(views.iter().map(of).collect::<Vec<_>>(), [(32, 20, 32, 35), (2, 0, 2, 6)]);
        assert_eq!((views[0].blocks, views[1].blocks, views[0].drafts), (2, 0, 0));
        assert_eq!(uses(engine), [4, 0, 2, 0, 0]);
        let plan = engine.plan(Budget::UNLIMITED).unwrap();
        engine.execute(plan, &mut ()).unwrap();
        let first = engine.sequences().next().unwrap();
        assert_eq!((first.computed, first.tokens), (32, 33), "its first token was drawn");
        while let Some(plan) = engine.plan(Budget::UNLIMITED) {
            engine.execute(plan, &mut ()).unwrap();
        }
        let status = engine.status();
        assert_eq!((engine.sequences().count(), status.cached_blocks), (0, 2));
        assert_eq!(uses(engine), [4, 2, 0, 0, 0], "full blocks stay in the cache");
    });
}

#[test]
fn blocks_tell_how_many_hold_them() {
    let prompt = token_ids(2 * BLOCK as u32 + 3);
    with_engine(EngineLimits { kv_tokens: 12 * BLOCK, rows: 3 * BLOCK, ..limits() }, |engine| {
        engine.submit(&Request { choices: 3, ..Request::greedy(&prompt, 4) }).unwrap();
        for _ in 0..2 {
            let plan = engine.plan(Budget::UNLIMITED).unwrap();
            engine.execute(plan, &mut ()).unwrap();
        }
        assert_eq!(engine.status().running, 3);
        let [empty, cached, one, two, three] = uses(engine);
        assert_eq!((empty + cached + one + two + three, three), (12, 2), "the prompt's are shared");
        let mut few = [9; 2];
        assert_eq!(engine.block_uses(&mut few), 2, "as many as there is room for");
    });
}
