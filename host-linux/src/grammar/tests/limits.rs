//! Limits that are met in the middle of an output: where it ends for that is a function of its
//! tokens, whatever the state has been through.
use super::{BUILT_IN, Random, allowed, schema};
use crate::grammar::limits::{PARSERS_BYTES, parser_limits};
use crate::grammar::{Compiler, Constraint, ConstraintState, GrammarSource, Next};
use llguidance::api::ParserLimits;
use serde_json::json;
use std::sync::Arc;

/// Grammars whose lexers have no end of states, whose rows have many items, or that count tokens.
fn sources() -> Vec<GrammarSource> {
    let text = json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 400}, "b": {"enum": ["one", "two"]},
        "c": {"type": "string", "pattern": "^([a-f]{1,9}-){3}[0-9]+$"},
    }, "required": ["a", "b", "c"], "additionalProperties": false});
    vec![
        schema(text),
        GrammarSource::Regex("(a|b)*a(a|b){12}c".to_owned()),
        GrammarSource::Regex("(.*x.{9}|.*y.{7})z".to_owned()),
        GrammarSource::Regex("([a-e ]{2,40}[.] ){1,20}".to_owned()),
        GrammarSource::Lark("start: x+\nx: \"a\" | \"b\" x | \"(\" x* \")\" | x \"+\" x\n".to_owned()),
        GrammarSource::Lark("start: (w \" \")* \"end\"\nw[max_tokens=3]: /[a-z]+/\nn: /[0-9]+/\n".to_owned()),
    ]
}

/// Limits from those that are met at once to those that are met late or never.
fn all_limits() -> Vec<ParserLimits> {
    let mut all = Vec::new();
    for fuel in [100, 250, 600, 2_000, 6_000] {
        all.push(ParserLimits { step_lexer_fuel: fuel, ..parser_limits() });
    }
    for states in [20, 40, 80, 300] {
        all.push(ParserLimits { max_lexer_states: states, ..parser_limits() });
    }
    for items in [40, 120, 500] {
        let row = items / 8;
        all.push(ParserLimits { step_max_items: items, max_items_in_row: row, ..parser_limits() });
    }
    all
}

/// What a state says after an output.
#[derive(Debug, PartialEq)]
struct Said {
    obeys: bool,
    forced: Vec<u32>,
    next: Next,
    is_accepting: bool,
}

fn ask(state: &mut ConstraintState, output: &[u32]) -> Said {
    let obeys = state.follow(output);
    Said { obeys, forced: state.forced(), next: state.next(&[0]), is_accepting: state.is_accepting() }
}

/// An output drawn under masks, and what the state that drew it said each time.
fn draw(constraint: &Arc<Constraint>, random: &mut Random, max: usize) -> (Vec<u32>, Vec<Said>) {
    let mut state = ConstraintState::new(constraint);
    let (mut output, mut said) = (Vec::new(), Vec::new());
    loop {
        let now = ask(&mut state, &output);
        let ids = match &now.next {
            Next::Tokens(mask) if now.obeys => allowed(mask),
            _ => Vec::new(),
        };
        said.push(now);
        let ids: Vec<u32> = ids.into_iter().filter(|id| *id != 0).collect();
        if ids.is_empty() || output.len() == max {
            return (output, said);
        }
        output.push(ids[random.below(ids.len())]);
    }
}

/// Draws with each grammar under some limits, and hands each output with what was said of its
/// beginnings to `check`. Returns how many of them met a limit, and how many did not.
fn draw_all(
    limits: &ParserLimits,
    bytes: usize,
    mut check: impl FnMut(&Arc<Constraint>, &[u32], &[Said]),
) -> (usize, usize) {
    let compiler = Compiler::with_limits(Arc::clone(&BUILT_IN.0), limits.clone(), bytes);
    let (mut met, mut free) = (0, 0);
    for (at, source) in sources().iter().enumerate() {
        let Ok(constraint) = compiler.compile(source) else { continue };
        for seed in 0..3 {
            let (output, said) = draw(&constraint, &mut Random(seed + 10 * at as u64), 60);
            let last = said.last().expect("something was said");
            match !last.obeys || last.next == Next::Impossible {
                true => met += 1,
                false => free += 1,
            }
            check(&constraint, &output, &said);
        }
    }
    (met, free)
}

#[test]
fn where_a_limit_is_met_depends_on_the_tokens_alone() {
    let (mut met, mut free) = (0, 0);
    for limits in all_limits() {
        let (now_met, now_free) = draw_all(&limits, PARSERS_BYTES, |constraint, output, said| {
            // At once, as a resumed output comes.
            for len in (0..=output.len()).rev().step_by(7) {
                let new = ask(&mut ConstraintState::new(constraint), &output[..len]);
                assert_eq!(new, said[len], "{limits:?}, {len} of {output:?}");
                let mut bare = ConstraintState::new(constraint);
                bare.follow(&output[..len]);
                assert_eq!(bare.next(&[0]), new.next, "{limits:?}, {len} of {output:?}");
            }
            // With draft tokens that are refused, or taken and given up, and ways back.
            let mut random = Random(output.len() as u64);
            let mut state = ConstraintState::new(constraint);
            let mut len = 0;
            while len <= output.len() {
                let ends = (len + random.below(4)).min(output.len());
                let mut drafted = output[..ends].to_vec();
                drafted.extend((0..random.below(4)).map(|_| random.below(600) as u32));
                ask(&mut state, &drafted);
                assert_eq!(ask(&mut state, &output[..len]), said[len], "{limits:?}, {len} of {output:?}");
                len += 1 + random.below(3);
            }
        });
        (met, free) = (met + now_met, free + now_free);
    }
    assert!(met >= 12 && free >= 12, "{met} met a limit, {free} did not");
}

#[test]
fn parsers_that_were_given_up_for_their_memory_say_the_same() {
    let limits = parser_limits();
    let mut kept = Vec::new();
    draw_all(&limits, PARSERS_BYTES, |_, output, _| kept.push(output.to_vec()));
    let mut outputs = kept.into_iter();
    draw_all(&limits, 0, |constraint, output, said| {
        assert_eq!(Some(output), outputs.next().as_deref());
        let mut state = ConstraintState::new(constraint);
        assert_eq!(&ask(&mut state, output), said.last().expect("something was said"));
    });
    assert_eq!(outputs.next(), None);
}
