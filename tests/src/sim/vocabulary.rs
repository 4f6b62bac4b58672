//! Words for the ids of the simulated model, and the real grammars that its outputs may obey.
//!
//! Ids 0 to 255 are bytes; the others are pieces of what the grammars allow, so that a grammar
//! often allows several ways to write the same text.
use super::world::VOCAB;
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock};
use verbatim::grammar::{Compiler, Constraint, GrammarSource};
use verbatim::text::Tokenizer;

/// Texts from which the tokens beyond single bytes are cut.
const TEXTS: [&str; 16] = [
    "{\"kind\": \"reading\", \"value\": 1",
    "\"event\", \"value\": ",
    "false}",
    "true}",
    "null",
    "alpha beta",
    "gamma",
    "delta",
    "0123456789",
    "abcd",
    "[[]",
    "], [",
    "\", \"",
    "}, {\"",
    "é",
    "\n  ",
];

/// The real grammars, which end after some tens of tokens mostly.
fn sources() -> Vec<GrammarSource> {
    let reading = json!({
        "type": "object",
        "properties": {
            "kind": {"enum": ["reading", "event"]},
            "value": {"type": "integer", "minimum": 0, "maximum": 99_999},
            "ok": {"type": "boolean"},
        },
        "required": ["kind", "value", "ok"],
        "additionalProperties": false,
    });
    let names = json!({"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 4});
    vec![
        GrammarSource::JsonSchema(reading),
        GrammarSource::JsonSchema(names),
        GrammarSource::JsonObject,
        GrammarSource::Regex("(alpha|beta|gam+a|[a-d]{2,4}|é)( [0-9]{1,3})?(, [a-d]*){0,3}".to_owned()),
        GrammarSource::Choice(["alpha beta", "alpha", "gamma delta", "é"].map(str::to_owned).to_vec()),
        GrammarSource::Gbnf("root ::= \"[\" (root (\", \" root)?)? \"]\" | [0-9]{1,4}".to_owned()),
    ]
}

/// The letter by which byte-level vocabularies write a byte.
fn letter(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|before| !is_printable(*before)).count() as u32;
    char::from_u32(0x100 + before).expect("a letter")
}

/// A byte-level tokenizer with exactly the ids of the model.
fn tokenizer() -> Tokenizer {
    let mut ids: Map<String, Value> = Map::new();
    for byte in 0..=255_u8 {
        ids.insert(letter(byte).to_string(), json!(byte));
    }
    let mut merges = Vec::new();
    let pieces = (2..16).flat_map(|len| {
        TEXTS.iter().flat_map(move |text| {
            let letters: Vec<char> = text.bytes().map(letter).collect();
            letters.windows(len).map(<[char]>::to_vec).collect::<Vec<_>>()
        })
    });
    for piece in pieces {
        if ids.len() == VOCAB {
            break;
        }
        let (last, first) = piece.split_last().expect("two letters at least");
        let (first, last) = (String::from_iter(first), last.to_string());
        let both = format!("{first}{last}");
        if ids.contains_key(&first) && !ids.contains_key(&both) {
            ids.insert(both, json!(ids.len()));
            merges.push(json!([first, last]));
        }
    }
    assert_eq!(ids.len(), VOCAB, "too few pieces");
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": ids, "merges": merges},
    });
    Tokenizer::new(file.to_string().as_bytes(), None).expect("a tokenizer")
}

/// A real grammar, by any number.
pub fn grammar(number: u64) -> &'static Arc<Constraint> {
    static GRAMMARS: LazyLock<Vec<Arc<Constraint>>> = LazyLock::new(|| {
        let compiler = Compiler::new(Arc::new(tokenizer()));
        let compile = |source| compiler.compile(&source).expect("a grammar");
        sources().into_iter().map(compile).collect()
    });
    &GRAMMARS[(number % GRAMMARS.len() as u64) as usize]
}
