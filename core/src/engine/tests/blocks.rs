//! Blocks of the cache: who takes them, who shares them, and that they come back.
use super::*;

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
