//! Outputs that are drawn at random under the masks of a grammar: they are in the language, and
//! what may follow is a function of the tokens.
mod limits;
mod stack;

use super::{Compiler, Constraint, ConstraintState, GrammarError, GrammarSource, Next};
use crate::load::builtin;
use crate::text::Tokenizer;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// The tokenizer of the built-in model, and a compiler for it.
static BUILT_IN: LazyLock<(Arc<Tokenizer>, Compiler)> = LazyLock::new(|| {
    let read = |name| builtin::folder().read_small(name, 1 << 24).unwrap().unwrap();
    let tokenizer = Tokenizer::new(&read("tokenizer.json"), Some(&read("tokenizer_config.json")));
    let tokenizer = Arc::new(tokenizer.unwrap());
    (Arc::clone(&tokenizer), Compiler::new(tokenizer))
});

/// Compiles a source, however long other tests compile theirs.
fn try_compile(source: &GrammarSource) -> Result<Arc<Constraint>, GrammarError> {
    loop {
        let result = BUILT_IN.1.compile(source);
        if !matches!(result, Err(GrammarError::Busy)) {
            return result;
        }
    }
}

fn compile(source: &GrammarSource) -> Arc<Constraint> {
    try_compile(source).unwrap_or_else(|error| panic!("{source:?} {error}"))
}

fn refusal(source: &GrammarSource) -> GrammarError {
    try_compile(source).expect_err("refused")
}

fn schema(schema: Value) -> GrammarSource {
    GrammarSource::JsonSchema(schema)
}

fn bytes(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| BUILT_IN.0.bytes(*id)).collect()
}

/// Whether a text is in the language, and whether nothing more may follow it: `None` if it is not.
fn judge(source: &GrammarSource, text: &str) -> Option<bool> {
    let ids = BUILT_IN.0.encode_plain(text, false).unwrap();
    assert_eq!(bytes(&ids), text.as_bytes(), "the tokenizer changes {text}");
    let mut state = ConstraintState::new(&compile(source));
    if !state.follow(&ids) {
        return None;
    }
    let is_complete = state.next(&[]) == Next::Complete;
    (is_complete || state.is_accepting()).then_some(is_complete)
}

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % count as u64) as usize
    }
}

fn allowed(mask: &[u32]) -> Vec<u32> {
    let ids = 0..mask.len() as u32 * 32;
    ids.filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1).collect()
}

/// An output drawn at random, and whether it came to its end. Short tokens are likelier, so that
/// words end; `END` ends it where it may.
fn draw(constraint: &Arc<Constraint>, random: &mut Random, max: usize) -> (Vec<u32>, bool) {
    const END: u32 = 0;
    assert!(BUILT_IN.0.is_special(END));
    let mut state = ConstraintState::new(constraint);
    let mut output = Vec::new();
    while output.len() < max {
        assert!(state.follow(&output), "{:?}", String::from_utf8_lossy(&bytes(&output)));
        let ids = match state.next(&[END]) {
            Next::Tokens(mask) => allowed(&mask),
            Next::Complete => return (output, true),
            Next::Impossible => panic!("no way on from {:?}", String::from_utf8_lossy(&bytes(&output))),
        };
        assert!(!ids.is_empty());
        if ids.contains(&END) {
            assert!(state.is_accepting());
            if random.below(3) == 0 {
                return (output, true);
            }
        }
        let ids: Vec<u32> = ids.into_iter().filter(|id| *id != END).collect();
        let closing = ids.iter().copied().filter(|id| matches!(&bytes(&[*id])[..], b"\"" | b"}" | b"]"));
        let closing: Vec<u32> = closing.collect();
        output.push(match random.below(2) {
            0 if !closing.is_empty() => closing[random.below(closing.len())],
            _ => ids[random.below(ids.len())],
        });
    }
    (output, false)
}

#[test]
fn a_choice_is_one_of_its_texts() {
    let source =
        GrammarSource::Choice(["yes", "no", "nothing", "a \"b\"\n\u{7f}é/"].map(String::from).to_vec());
    let mut random = Random(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let (output, ended) = draw(&compile(&source), &mut random, 60);
        assert!(ended);
        seen.insert(String::from_utf8(bytes(&output)).unwrap());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a \"b\"\n\u{7f}é/", "no", "nothing", "yes"]);
    assert_eq!((judge(&source, "no"), judge(&source, "yes")), (Some(false), Some(true)));
    assert_eq!((judge(&source, "noth"), judge(&source, "maybe")), (None, None));
}

#[test]
fn a_regular_expression_is_matched_from_end_to_end() {
    for (regex, good, bad) in [
        ("[0-9]{3}-[a-f]+", &["123-abc", "000-f"][..], &["12-a", "123-", "123-g", "x123-a"][..]),
        ("(a|b/c)*", &["aab/c", "b/c"], &["b", "ab/"]),
        (r"\d+\.\d{2}", &["3.14", "10.00"], &["3.1", "3,14"]),
        ("é|日本", &["é", "日本"], &["e", "日"]),
    ] {
        let source = GrammarSource::Regex(regex.into());
        good.iter().for_each(|text| assert!(judge(&source, text).is_some(), "{regex}: {text}"));
        bad.iter().for_each(|text| assert_eq!(judge(&source, text), None, "{regex}: {text}"));
    }
    for regex in ["", "[", "(", "(?=a)b", "a**{"] {
        assert!(try_compile(&GrammarSource::Regex(regex.into())).is_err(), "{regex}");
    }
}

/// Lines of llama.cpp's own grammar for lists, and one with recursion.
#[test]
fn grammars_of_llama_cpp_mean_what_they_mean_there() {
    let list = GrammarSource::Gbnf(
        "root ::= item+\n# a list\nitem ::= \"- \" [^\\r\\n\\x0b]{1,20} \"\\n\"\n".into(),
    );
    assert!(judge(&list, "- a\n- b c\n").is_some());
    assert_eq!((judge(&list, "- a"), judge(&list, "a\n")), (None, None));
    let sums = GrammarSource::Gbnf(
        "root ::= expr\nexpr ::= term (ws \"+\" ws term)*\nterm ::= [0-9]+ | \"(\" ws expr ws \")\"\n\
         ws ::= | \" \" ws2\nws2 ::= [ \\t]{0,3}"
            .into(),
    );
    for good in ["1", "12 + 3", "(1+2)", "((7) + (8 +9))+1", "( 1 )"] {
        assert!(judge(&sums, good).is_some(), "{good}");
    }
    for bad in ["", "+", "1+", "(1", "1)", "a"] {
        assert_eq!(judge(&sums, bad), None, "{bad}");
    }
    let mut random = Random(5);
    for _ in 0..20 {
        let (output, ended) = draw(&compile(&sums), &mut random, 80);
        assert!(!ended || judge(&sums, std::str::from_utf8(&bytes(&output)).unwrap()).is_some());
    }
    let error = refusal(&GrammarSource::Gbnf("root ::= missing".into()));
    assert!(error.to_string().contains("no rule named missing"), "{error}");
}

#[test]
fn lark_is_taken_as_it_is() {
    let source = GrammarSource::Lark(
        "start: greeting \" \" NAME\ngreeting: \"Hello\" | \"Bye\"\nNAME: /[A-Z][a-z]+/".into(),
    );
    assert!(judge(&source, "Hello World").is_some());
    assert_eq!(judge(&source, "Hello world"), None);
    assert!(matches!(refusal(&GrammarSource::Lark("start: missing".into())), GrammarError::Invalid(_)));
    assert!(matches!(refusal(&GrammarSource::Lark(String::new())), GrammarError::Invalid(_)));
}

#[test]
fn what_json_may_be_is_said_by_the_schema() {
    let person = schema(json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        },
        "required": ["name", "age"],
        "additionalProperties": false,
    }));
    for good in [
        r#"{"name":"Ann","age":30}"#,
        r#"{"name": "Ann", "age": 150, "tags": ["a", "b"]}"#,
        "{\n  \"name\": \"Zoë\",\n  \"age\": 0\n}",
    ] {
        assert_eq!(judge(&person, good), Some(true), "{good}");
    }
    for bad in [
        r#"{"name":"Ann"}"#,
        r#"{"name":"Ann","age":151}"#,
        r#"{"name":"Ann","age":1.5}"#,
        r#"{"name":"Ann","age":1,"more":2}"#,
        r#"{"name":"Ann","age":1,"tags":["c"]}"#,
        "{\"name\":\"Ann\",\n\n\"age\":1}",
        r#"["name"]"#,
    ] {
        assert_eq!(judge(&person, bad), None, "{bad}");
    }
    assert_eq!(judge(&GrammarSource::JsonObject, r#"{"any": [1, null, {"x": "y"}]}"#), Some(true));
    assert_eq!(judge(&GrammarSource::JsonObject, "[1]"), None);
    assert!(judge(&schema(json!(true)), "[1]").is_some());
    let node = json!({"type": "object", "required": ["next"], "additionalProperties": false,
        "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}});
    assert_eq!(judge(&schema(node), r#"{"next": {"next": null}}"#), Some(true));
}

#[test]
fn a_schema_that_cannot_be_obeyed_exactly_is_refused_and_says_why() {
    for (schema, told) in [
        (json!({"not": {"type": "string"}}), "not"),
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"type": "object", "dependentRequired": {"a": ["b"]}}), "dependentRequired"),
        (json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "oneOf"),
        (json!({"$ref": "https://example.com/other.json"}), ""),
        (json!({"$ref": "#/$defs/missing"}), ""),
        (json!({"type": "text"}), "text"),
        (json!({"type": "string", "pattern": "("}), ""),
        (json!({"type": "string", "format": "no-such-format"}), "no-such-format"),
        (json!({"x-guidance": {"lenient": true}}), "x-guidance"),
        (json!(false), "no output"),
        (json!({"enum": []}), ""),
        (json!({"type": "integer", "minimum": 3, "maximum": 2}), ""),
    ] {
        let error = refusal(&GrammarSource::JsonSchema(schema.clone())).to_string();
        assert!(error.contains(told), "{schema}: {error}");
        assert!(error.chars().count() < 320 && !error.contains('\n'), "{error}");
    }
}

/// What a hostile client may send costs little and ends in an error or a constraint, never in a
/// panic that is seen or a stack that overflows.
#[test]
fn hostile_grammars_are_bounded() {
    let deep_schema = |depth: usize| {
        (0..depth).fold(json!({"type": "string"}), |inner, _| json!({"type": "array", "items": inner}))
    };
    let doubled: String = (0..60).map(|i| format!("T{i}: T{} T{}\n", i + 1, i + 1)).collect();
    let chain: String = (0..4000).map(|i| format!("T{i}: T{}\n", i + 1)).collect();
    let rules: String = (0..4000).map(|i| format!("r{i}: r{}\n", i + 1)).collect();
    let gbnf: String = (0..400).map(|i| format!("a{i} ::= a{} a{}\n", i + 1, i + 1)).collect();
    let properties: serde_json::Map<String, Value> =
        (0..1500).map(|i| (format!("p{i}"), json!({"type": "string", "pattern": "^(a|b){1,9}$"}))).collect();
    for source in [
        schema(deep_schema(60)),
        schema(json!({"type": "object", "properties": properties})),
        schema(json!({"type": "string", "minLength": 100_000, "maxLength": 1_000_000_000})),
        schema(json!({"type": "array", "minItems": 1_000_000_000, "items": {"type": "null"}})),
        schema(json!({"type": "string", "pattern": "^(.{1,300}){1,300}$"})),
        schema(json!({"allOf": vec![json!({"$ref": "#"}); 50]})),
        schema(json!({"type": "number", "multipleOf": 1e-300})),
        GrammarSource::Regex("(".repeat(20_000)),
        GrammarSource::Regex("(a|b|c|[^x]){0,1000}".repeat(300)),
        GrammarSource::Regex(format!("{}a{}", "(".repeat(10_000), ")*".repeat(10_000))),
        GrammarSource::Regex("(.*a.{20}|.*b.{20}){10}".into()),
        GrammarSource::Lark(format!("start: T0\n{doubled}T60: \"a\"")),
        GrammarSource::Lark(format!("start: T0\n{chain}T4000: \"a\"")),
        GrammarSource::Lark(format!("start: r0\n{rules}r4000: \"a\"")),
        GrammarSource::Lark(format!("start: {}\"a\"{}", "(".repeat(30_000), ")".repeat(30_000))),
        GrammarSource::Lark("start: start start | \"a\"".into()),
        GrammarSource::Lark("start: start".into()),
        GrammarSource::Gbnf(format!("root ::= a0\n{gbnf}a400 ::= \"a\"")),
        GrammarSource::Choice((0..5000).map(|i| format!("alternative {i}")).collect()),
    ] {
        let result = try_compile(&source);
        let Ok(constraint) = result else { continue };
        let mut random = Random(3);
        let mut state = ConstraintState::new(&constraint);
        let mut output = Vec::new();
        while output.len() < 20 {
            assert!(state.follow(&output) || output.is_empty());
            match state.next(&[]) {
                Next::Tokens(mask) => {
                    let ids = allowed(&mask);
                    output.push(ids[random.below(ids.len())]);
                }
                Next::Complete | Next::Impossible => break,
            }
        }
    }
}

/// Sources that say a little of everything.
fn sources() -> Vec<GrammarSource> {
    let reading = json!({
        "type": "object",
        "properties": {
            "kind": {"const": "reading"},
            "value": {"type": "number"},
            "unit": {"enum": ["kelvin", "celsius", "kilogram"]},
        },
        "required": ["kind", "value", "unit"],
        "additionalProperties": false,
    });
    let names = json!({
        "type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 1, "maxItems": 4,
    });
    let flag = json!({
        "type": "object", "properties": {"é": {"type": "boolean"}}, "required": ["é"],
        "additionalProperties": false,
    });
    vec![
        GrammarSource::JsonObject,
        schema(reading),
        schema(names),
        GrammarSource::Regex("(the|a) (quick|slow) (brown fox|dog)s?( and [a-z]{2,8}){0,2}".into()),
        GrammarSource::Gbnf("root ::= \"[\" (root (\",\" root)*)? \"]\" | [0-9]+".into()),
        GrammarSource::Lark(format!("start: \"<call>\" %json {flag} \"</call>\"")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever a state has been through, it allows what a new one allows after the same tokens.
    #[test]
    fn what_may_follow_depends_on_the_tokens_alone(
        which in 0_usize..6,
        seed in any::<u64>(),
        hops in prop::collection::vec((0_usize..60, prop::option::of(0_u32..600)), 1..12),
    ) {
        let constraint = compile(&sources()[which]);
        let (output, _) = draw(&constraint, &mut Random(seed), 40);
        let mut state = ConstraintState::new(&constraint);
        for (len, wrong) in hops {
            let output = &output[..len % (output.len() + 1)];
            // A draft token that may or may not be refused.
            if let Some(token) = wrong {
                let drafted = [output, &[token]].concat();
                let obeys = state.follow(&drafted);
                prop_assert_eq!(obeys, ConstraintState::new(&constraint).follow(&drafted));
                if obeys {
                    state.forced();
                    state.next(&[0]);
                }
            }
            prop_assert!(state.follow(output));
            let mut new = ConstraintState::new(&constraint);
            prop_assert!(new.follow(output));
            prop_assert_eq!(state.is_accepting(), new.is_accepting());
            if len % 2 == 0 {
                prop_assert_eq!(state.forced(), new.forced());
            }
            prop_assert_eq!(state.next(&[0]), new.next(&[0]));
        }
    }

    /// Forced tokens are those that the masks allow, and no others are.
    #[test]
    fn forced_tokens_are_the_only_ones(which in 0_usize..6, seed in any::<u64>()) {
        let constraint = compile(&sources()[which]);
        let (output, _) = draw(&constraint, &mut Random(seed), 40);
        let mut state = ConstraintState::new(&constraint);
        for len in 0..=output.len() {
            prop_assert!(state.follow(&output[..len]));
            let mut drafted = output[..len].to_vec();
            for token in state.forced() {
                prop_assert!(state.follow(&drafted));
                match state.next(&[0]) {
                    Next::Tokens(mask) => prop_assert_eq!(allowed(&mask), [token]),
                    other => prop_assert!(false, "{:?}", other),
                }
                drafted.push(token);
            }
        }
    }
}

/// Two ways to one place of the parser, of which one was given up.
#[test]
fn a_way_that_was_given_up_leaves_no_mask_behind() {
    let lark = "start: \"a\" N \";\" | \"b\" N \"!\"\nN: /[0-9]+/";
    let constraint = compile(&GrammarSource::Lark(lark.to_owned()));
    let ids = |text: &str| BUILT_IN.0.encode_plain(text, false).unwrap();
    let next = |state: &mut ConstraintState, text: &str| {
        assert!(state.follow(&ids(text)), "{text}");
        state.next(&[])
    };
    let fresh = |text: &str| next(&mut ConstraintState::new(&constraint), text);
    assert_ne!(fresh("a1"), fresh("b1"));
    let mut state = ConstraintState::new(&constraint);
    for text in ["a1", "b1", "a1", "b12", "b1"] {
        assert_eq!(next(&mut state, text), fresh(text), "{text}");
    }
}

#[test]
fn some_tokens_are_forced() {
    let constraint = compile(&sources()[1]);
    let (output, _) = draw(&constraint, &mut Random(2), 80);
    let mut state = ConstraintState::new(&constraint);
    let mut forced = 0;
    for len in 0..output.len() {
        state.follow(&output[..len]);
        forced += usize::from(!state.forced().is_empty());
    }
    assert!(2 * forced > output.len() / 2, "{forced} of {}", output.len());
}

#[test]
fn one_source_is_compiled_once() {
    let source = schema(json!({"type": "boolean"}));
    assert!(Arc::ptr_eq(&compile(&source), &compile(&source)));
}
