//! Which tokens a grammar allows is decided by more than the grammar: by how sources are
//! translated, by the white space that JSON may have, by which of several ways to write the same
//! text the library takes. That has a number here, as a model's arithmetic has one in the core.
//!
//! [`GRAMMAR_VERSION`] moves whenever a mask of any grammar could. Two tests below tell of it: one
//! compares a hash of masks, the other the versions of the libraries that make them.

/// The version of what grammars allow.
///
/// Fingerprints begin to have it with version 2: before that, there is none to tell it from, and
/// those that were given out stay.
pub const GRAMMAR_VERSION: u32 = 1;

#[cfg(all(test, feature = "structured-output"))]
mod tests {
    use super::super::{Compiler, ConstraintState, GrammarSource, Next};
    use super::GRAMMAR_VERSION;
    use crate::load::builtin;
    use crate::text::Tokenizer;
    use serde_json::json;
    use std::sync::Arc;

    /// The libraries that read grammars and compute masks, as this version has them.
    const LIBRARIES: [(&str, &str); 4] =
        [("llguidance", "1.9.1"), ("derivre", "0.3.13"), ("toktrie", "1.9.1"), ("regex-syntax", "0.8.12")];

    /// The hash of the masks of this version.
    const MASKS: &str = "27c7782894cfb8c0010f2718ef3eac004f49b8d0b65d7ad83b8c9249d189a01a";

    #[test]
    fn the_libraries_are_those_of_this_version() {
        let lock = include_str!("../../../Cargo.lock");
        for (name, version) in LIBRARIES {
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            let once = lock.matches(&format!("name = \"{name}\"\n")).count() == 1;
            assert!(
                once && lock.contains(&entry),
                "{name} is not {version}: if a mask could differ, and it is hard to be sure that none does, \
                 GRAMMAR_VERSION must become {}",
                GRAMMAR_VERSION + 1
            );
        }
    }

    fn sources() -> Vec<GrammarSource> {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": {"type": "string", "maxLength": 9, "pattern": "^[a-zé ]*$"},
                "b": {"type": "integer", "minimum": -3, "maximum": 1234},
                "c": {"type": "array", "items": {"enum": ["x y", null, 1.5]}, "maxItems": 3},
                "d": {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/e"}]},
            },
            "required": ["a", "b", "d"],
            "$defs": {"e": {"type": "object", "additionalProperties": {"type": "number"}}},
        });
        let choice = ["red", "green", "dark green", "grün"].map(str::to_owned);
        vec![
            GrammarSource::JsonObject,
            GrammarSource::JsonSchema(schema),
            GrammarSource::Regex("(ab|a b)+[^c\\s]{2,5}\\d?\\w\\p{Lu}".to_owned()),
            GrammarSource::Choice(choice.to_vec()),
            GrammarSource::Lark("start: \"a\" N \";\" | \"b\" N \"!\"\nN: /[0-9]+/".to_owned()),
            GrammarSource::Gbnf("root ::= (\"- \" [a-z]{1,5} \"\\n\"){1,3} [^x]?".to_owned()),
        ]
    }

    /// The next of a sequence that only looks random.
    fn next_number(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        *state >> 33
    }

    /// Walks through each grammar in a few ways, and hashes every mask on them.
    #[test]
    fn the_masks_are_those_of_this_version() {
        let read = |name| builtin::folder().read_small(name, 1 << 24).unwrap().unwrap();
        let tokenizer = Tokenizer::new(&read("tokenizer.json"), Some(&read("tokenizer_config.json")));
        let compiler = Compiler::new(Arc::new(tokenizer.unwrap()));
        let mut hasher = blake3::Hasher::new();
        let mut number = 7;
        for source in sources() {
            let constraint = compiler.compile(&source).expect("it compiles");
            for _ in 0..6 {
                let mut state = ConstraintState::new(&constraint);
                let mut output = Vec::new();
                while output.len() < 40 {
                    let Next::Tokens(bits) = state.next(&[]) else { break };
                    bits.iter().for_each(|word| _ = hasher.update(&word.to_le_bytes()));
                    let is_set = |id: &u32| bits[*id as usize / 32] >> (id % 32) & 1 == 1;
                    let allowed: Vec<u32> = (0..bits.len() as u32 * 32).filter(is_set).collect();
                    output.push(allowed[next_number(&mut number) as usize % allowed.len()]);
                    assert!(state.follow(&output), "{source:?} allows what it refuses: {output:?}");
                }
                hasher.update(&[u8::from(state.next(&[]) == Next::Complete)]);
            }
        }
        let found = hasher.finalize().to_hex();
        let next = GRAMMAR_VERSION + 1;
        assert_eq!(found.as_str(), MASKS, "masks have changed: GRAMMAR_VERSION must become {next}");
    }
}
