//! The deepest sources that are compiled, which is done on a deep stack: their masks are made on
//! stacks like any other.
use super::{Random, allowed, compile, schema, try_compile};
use crate::grammar::{ConstraintState, GrammarSource, Next};
use serde_json::json;

/// Bytes of the stack of an ordinary thread are 2 MiB; what masks need has to be far from that.
const STACK_BYTES: usize = 1 << 20;
/// Bytes of a source that fills what is allowed.
const BYTES: usize = 65_000;

/// Depth of a schema at most: no body is deeper.
const JSON_DEPTH: usize = 120;

/// Sources of a kind, by how deep they are, and the depth from which it is looked for one.
type Family = (&'static str, usize, fn(usize) -> GrammarSource);

fn families() -> Vec<Family> {
    vec![
        ("groups of a regex", 10_000, |depth| {
            GrammarSource::Regex(format!("{}a{}", "(b".repeat(depth), ")*".repeat(depth)))
        }),
        ("a regex of many parts", 10_000, |count| GrammarSource::Regex("(a|bc)?[d-f]{0,2}".repeat(count))),
        ("nested repetitions", 10_000, |depth| {
            GrammarSource::Regex(format!("{}a{}", "(".repeat(depth), "[xy]?){0,3}".repeat(depth)))
        }),
        ("groups of Lark", 10_000, |depth| {
            GrammarSource::Lark(format!("start: {}\"a\"{}", "(\"b\" ".repeat(depth), ")*".repeat(depth)))
        }),
        ("rules of Lark", 10_000, |count| {
            let rules: String = (0..count).map(|i| format!("r{i}: \"a\" r{}\n", i + 1)).collect();
            GrammarSource::Lark(format!("start: r0\n{rules}r{count}: \"b\""))
        }),
        ("terminals of Lark", 10_000, |count| {
            let rules: String = (0..count).map(|i| format!("T{i}: \"a\" T{}\n", i + 1)).collect();
            GrammarSource::Lark(format!("start: T0\n{rules}T{count}: \"b\""))
        }),
        ("groups of GBNF", 10_000, |depth| {
            GrammarSource::Gbnf(format!("root ::= {}\"a\"{}", "(\"b\" ".repeat(depth), ")*".repeat(depth)))
        }),
        ("a long sequence of GBNF", 10_000, |count| {
            GrammarSource::Gbnf(format!("root ::= {}", "[ab] ".repeat(count)))
        }),
        ("arrays of a schema", JSON_DEPTH, |depth| {
            let nest = |inner, _| json!({"type": "array", "items": inner, "minItems": 1});
            schema((0..depth).fold(json!({"type": "null"}), nest))
        }),
        ("options of a schema", JSON_DEPTH, |depth| {
            let nest = |inner, at| json!({"anyOf": [inner, {"const": at}]});
            schema((0..depth).fold(json!({"type": "null"}), nest))
        }),
    ]
}

/// Makes masks on a small stack along two outputs that are drawn.
fn draw_on_a_small_stack(source: &GrammarSource) {
    let constraint = compile(source);
    let work = move || {
        for seed in 0..2 {
            let (mut state, mut output) = (ConstraintState::new(&constraint), Vec::new());
            let mut random = Random(seed);
            while output.len() < 24 && state.follow(&output) {
                state.forced();
                let Next::Tokens(mask) = state.next(&[]) else { break };
                let ids = allowed(&mask);
                output.push(ids[random.below(ids.len())]);
            }
            // And at once, as a resumed output comes.
            assert!(ConstraintState::new(&constraint).follow(&output[..output.len() / 2]));
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    thread.expect("a thread").join().expect("no panic");
}

#[test]
fn masks_of_the_deepest_grammars_fit_on_an_ordinary_stack() {
    let mut depths = Vec::new();
    for (name, deepest, source) in families() {
        // The deepest that is compiled, by halves from what the length of a source allows.
        let fits = |depth: usize| match source(depth).key() {
            Ok(key) => key.len() <= BYTES && try_compile(&source(depth)).is_ok(),
            Err(_) => false,
        };
        let depth = std::iter::successors(Some(deepest), |depth| Some(depth / 2));
        let depth = depth.take_while(|depth| *depth > 0).find(|depth| fits(*depth));
        let depth = depth.unwrap_or_else(|| panic!("{name}: none is compiled"));
        // Between it and twice of it.
        let depth = if fits(depth + depth / 2) { depth + depth / 2 } else { depth };
        draw_on_a_small_stack(&source(depth));
        depths.push((name, depth));
    }
    println!("{depths:?}");
    assert!(depths.iter().all(|(_, depth)| *depth >= 8), "{depths:?}");
}
