//! Who comes first, and who waits for whom.
use super::*;

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
