//! Ids by llama.cpp of the same metadata (`tests/goldens/make_gguf_tokenizers.py`).
use super::super::pre_tokenizer::TABLE;
use super::{floats, integers, metadata, text, texts, tokenizer};
use crate::load::gguf::metadata::Metadata;
use crate::load::gguf::value::Value;
use crate::text::Tokenizer;
use serde::Deserialize;
use std::collections::BTreeMap;
use verbatim_tests::golden;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    byte_level: ByteLevel,
    sentence_piece: SentencePiece,
    pre_tokenizers: Vec<Names>,
    variants: Vec<Variant>,
}

#[derive(Deserialize)]
struct ByteLevel {
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
    bos: u32,
    /// The ids of the last text where special tokens are ordinary text, by the pre-tokenizer qwen2.
    plain: Vec<u32>,
}

#[derive(Deserialize)]
struct SentencePiece {
    tokens: Vec<String>,
    types: Vec<i32>,
    scores: Vec<f32>,
}

#[derive(Deserialize)]
struct Names {
    names: Vec<String>,
    ids: Vec<Vec<u32>>,
    adds_bos: Vec<String>,
    /// The third text as llama.cpp was given it, where it would cut the whole of it wrongly.
    text: Option<String>,
    /// The ids of the whole third text by Hugging Face's library, where these two differ.
    own: Option<Vec<u32>>,
}

#[derive(Deserialize)]
struct Variant {
    fields: BTreeMap<String, bool>,
    ids: Vec<Vec<u32>>,
}

fn read() -> Golden {
    golden::read(&golden::folder().join("tokenizer_gguf.json"))
}

fn list(strings: &[String]) -> Value {
    texts(strings.iter().map(String::as_str))
}

fn byte_level(golden: &ByteLevel, pre_tokenizer: &str) -> Metadata {
    metadata([
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text(pre_tokenizer)),
        ("tokenizer.ggml.tokens", list(&golden.tokens)),
        ("tokenizer.ggml.token_type", integers(&golden.types)),
        ("tokenizer.ggml.merges", list(&golden.merges)),
        ("tokenizer.ggml.bos_token_id", Value::Unsigned(golden.bos.into())),
        ("tokenizer.ggml.eos_token_id", Value::Unsigned(golden.bos.into())),
    ])
}

/// What first differs from the ids of a text, if anything does.
fn difference(tokenizer: &Tokenizer, text: &str, ids: &[u32]) -> Option<String> {
    let own = tokenizer.encode(text, false).unwrap();
    let same = own.iter().zip(ids).take_while(|(own, id)| own == id).count();
    let from = |ids: &[u32]| tokenizer.decode(&ids[same..ids.len().min(same + 4)], false).unwrap();
    (own != ids).then(|| format!("{:?} for {:?}", from(&own), from(ids)))
}

#[test]
fn every_pre_tokenizer_gives_the_ids_of_llama_cpp() {
    let golden = read();
    let mut seen: Vec<&str> = Vec::new();
    let mut wrong: Vec<(&str, String)> = Vec::new();
    for Names { names, ids, adds_bos, text, own } in &golden.pre_tokenizers {
        let mut cases: Vec<(&str, &[u32])> =
            golden.texts.iter().zip(ids).map(|(text, ids)| (text.as_str(), ids.as_slice())).collect();
        if let Some(text) = text {
            cases[2].0 = text;
        }
        cases.extend(own.iter().map(|ids| (golden.texts[2].as_str(), ids.as_slice())));
        for name in names {
            let found = tokenizer(&byte_level(&golden.byte_level, name));
            for (text, ids) in &cases {
                wrong.extend(difference(&found, text, ids).map(|what| (name.as_str(), what)));
                assert_eq!(found.decode(ids, false).unwrap(), *text, "{name}");
            }
            assert!(found.token_bytes_max().is_some(), "{name}: what a token covers must be known");
            let begins: Vec<u32> =
                adds_bos.contains(name).then_some(golden.byte_level.bos).into_iter().collect();
            assert_eq!(found.encode("", true).unwrap(), begins, "{name}");
            seen.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut known: Vec<&str> = TABLE.iter().flat_map(|entry| entry.names).copied().collect();
    known.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, known, "a name without ids to compare with, or one that stands twice");
}

#[test]
fn special_tokens_that_a_client_wrote_are_text() {
    let golden = read();
    let found = tokenizer(&byte_level(&golden.byte_level, "qwen2"));
    assert_eq!(found.encode_plain(&golden.texts[2], false).unwrap(), golden.byte_level.plain);
}

#[test]
fn models_that_compose_text_still_do() {
    let golden = read();
    for (name, composes) in [("qwen2", true), ("qwen35", true), ("llama-bpe", false)] {
        let found = tokenizer(&byte_level(&golden.byte_level, name));
        let of = |text| found.encode(text, false).unwrap();
        assert_eq!(of("caf\u{e9}") == of("cafe\u{301}"), composes, "{name}");
    }
}

#[test]
fn pieces_with_scores_give_the_ids_of_llama_cpp() {
    let Golden { texts: all, sentence_piece: SentencePiece { tokens, types, scores }, variants, .. } = read();
    for Variant { fields, ids } in variants {
        let mut metadata = metadata([
            ("tokenizer.ggml.model", text("llama")),
            ("tokenizer.ggml.tokens", list(&tokens)),
            ("tokenizer.ggml.token_type", integers(&types)),
            ("tokenizer.ggml.scores", floats(&scores)),
            ("tokenizer.ggml.bos_token_id", Value::Unsigned(1)),
            ("tokenizer.ggml.eos_token_id", Value::Unsigned(2)),
            ("tokenizer.ggml.unknown_token_id", Value::Unsigned(0)),
        ]);
        for (name, value) in &fields {
            metadata.insert(format!("tokenizer.ggml.{name}"), Value::Flag(*value));
        }
        let found = tokenizer(&metadata);
        assert!(found.token_bytes_max().is_some());
        for (text, ids) in all.iter().zip(ids) {
            assert_eq!(found.encode(text, true).unwrap(), ids, "{fields:?}: {text:?}");
        }
    }
}
