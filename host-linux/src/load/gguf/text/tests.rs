//! Tokenizers of metadata that are written here, whole and wrong.
use super::*;
use crate::load::gguf::value::{NumberType, Numbers, Texts, Value};
use crate::text::Tokenizer;
use std::path::Path;
use verbatim_tests::draws::Draws;

mod golden;
mod real;

fn texts<'t>(list: impl IntoIterator<Item = &'t str>) -> Value {
    let mut texts = Texts::default();
    list.into_iter().for_each(|text| texts.push(text));
    Value::Texts(texts)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn integers(list: &[i32]) -> Value {
    let bytes = list.iter().flat_map(|n| n.to_le_bytes()).collect();
    Value::Numbers(Numbers::new(NumberType::Signed(4), bytes).unwrap())
}

fn floats(list: &[f32]) -> Value {
    let bytes = list.iter().flat_map(|n| n.to_le_bytes()).collect();
    Value::Numbers(Numbers::new(NumberType::Float(4), bytes).unwrap())
}

fn metadata(values: impl IntoIterator<Item = (&'static str, Value)>) -> Metadata {
    let mut metadata = Metadata::new(Path::new("m.gguf"));
    for (key, value) in values {
        metadata.insert(key.to_owned(), value);
    }
    metadata
}

/// A byte-level tokenizer of a few letters: `Ġ` is a space.
fn byte_level() -> Metadata {
    metadata([
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        (
            "tokenizer.ggml.tokens",
            texts(["a", "b", "1", "\u{120}", "ab", "\u{120}ab", "11", "<|end|>", "<tool>", ""]),
        ),
        ("tokenizer.ggml.token_type", integers(&[1, 1, 1, 1, 1, 1, 1, 3, 4, 5])),
        ("tokenizer.ggml.merges", texts(["a b", "\u{120} ab", "1 1"])),
        ("tokenizer.ggml.bos_token_id", Value::Unsigned(7)),
        ("tokenizer.ggml.eos_token_id", Value::Unsigned(7)),
    ])
}

/// Bytes at 3, pieces from 259 on.
const PIECES: [(&str, f32); 8] = [
    ("\u{2581}", -8.0),
    ("a", -9.0),
    ("b", -10.0),
    ("ab", -3.0),
    ("\u{2581}a", -1.0),
    ("\u{2581}ab", -4.0),
    ("ba", -2.0),
    ("\u{2581}\u{2581}", -5.0),
];

/// A tokenizer of SentencePiece with scores.
fn sentence_piece() -> Metadata {
    let bytes: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
    let special = ["<unk>", "<s>", "</s>"];
    let tokens = special.into_iter().chain(bytes.iter().map(String::as_str));
    let tokens = tokens.chain(PIECES.map(|(piece, _)| piece)).chain(["  \n"]);
    let scores: Vec<f32> =
        std::iter::repeat_n(0.0, 259).chain(PIECES.map(|(_, score)| score)).chain([0.0]).collect();
    let types: Vec<i32> = [2, 3, 3]
        .into_iter()
        .chain(std::iter::repeat_n(6, 256))
        .chain(PIECES.map(|_| 1))
        .chain([4])
        .collect();
    metadata([
        ("tokenizer.ggml.model", text("llama")),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.scores", floats(&scores)),
        ("tokenizer.ggml.token_type", integers(&types)),
        ("tokenizer.ggml.bos_token_id", Value::Unsigned(1)),
        ("tokenizer.ggml.eos_token_id", Value::Unsigned(2)),
        ("tokenizer.ggml.unknown_token_id", Value::Unsigned(0)),
    ])
}

fn tokenizer(metadata: &Metadata) -> Tokenizer {
    let files = text_files(metadata).unwrap();
    assert_eq!(text_files(metadata).unwrap(), files, "the same metadata give the same bytes");
    Tokenizer::new(&files.tokenizer_json, Some(&files.tokenizer_config_json)).unwrap()
}

#[test]
fn bytes_are_merged_within_words() {
    let mut metadata = byte_level();
    let of = |metadata: &Metadata, text: &str| tokenizer(metadata).encode(text, true).unwrap();
    assert_eq!(of(&metadata, "ab ab111"), [4, 5, 6, 2]);
    assert_eq!(of(&metadata, "a<|end|>b<tool>"), [0, 7, 1, 8]);
    let found = tokenizer(&metadata);
    assert_eq!(found.encode_plain("a<tool>", true).unwrap(), [0, 8], "only special text is ordinary");
    assert_eq!(found.decode(&[5, 7, 4], true).unwrap(), " abab");
    assert!(found.is_special(7) && !found.is_special(8));
    assert_eq!(found.id_end(), 9, "an unused token at the end is left out");

    // Digits one by one; the token that begins a text, where the file says so.
    metadata.insert(PRE.to_owned(), text("smollm"));
    metadata.insert("tokenizer.ggml.add_bos_token".to_owned(), Value::Flag(true));
    metadata.insert("tokenizer.ggml.add_eos_token".to_owned(), Value::Flag(true));
    assert_eq!(of(&metadata, "11"), [7, 2, 2, 7]);
    // A token that no merges lead to, with a name that takes whole words and begins texts.
    metadata.insert(PRE.to_owned(), text("llama-bpe"));
    metadata.insert("tokenizer.ggml.add_eos_token".to_owned(), Value::Flag(false));
    metadata.insert("tokenizer.ggml.merges".to_owned(), texts([]));
    assert_eq!(of(&metadata, "ab ab"), [7, 4, 5]);
}

#[test]
fn special_tokens_at_the_end_keep_their_ids_where_merges_need_them() {
    let mut metadata = byte_level();
    metadata.insert(
        "tokenizer.ggml.tokens".to_owned(),
        texts(["a", "b", "1", "\u{120}", "<|end|>", "ab", "11", "<|x|>", "to ol", ""]),
    );
    metadata.insert("tokenizer.ggml.token_type".to_owned(), integers(&[1, 1, 1, 1, 3, 4, 4, 3, 4, 5]));
    metadata.insert("tokenizer.ggml.merges".to_owned(), texts(["a b"]));
    let found = tokenizer(&metadata);
    for (id, piece) in ["<|end|>", "ab", "11", "<|x|>", "to ol"].iter().enumerate() {
        assert_eq!(found.id_of(piece), Some(id as u32 + 4), "{piece}");
    }
    assert_eq!(found.bytes(8), b"to ol", "added as it is, no letters of bytes");
    assert_eq!(found.bytes(3), b" ");
}

#[test]
fn scores_are_merges() {
    let mut metadata = sentence_piece();
    let id = |piece: &str| 259 + PIECES.iter().position(|(text, _)| *text == piece).unwrap() as u32;
    let (a_space, ab, ba) = (id("\u{2581}a"), id("ab"), id("ba"));
    let found = tokenizer(&metadata);
    let of = |text: &str| found.encode(text, true).unwrap();
    // The space comes first and takes the first letter: a higher score than any other.
    assert_eq!(of("ab"), [1, id("\u{2581}ab")], "a piece of two that were merged before it");
    assert_eq!(of("abab"), [1, a_space, ba, id("b")], "not two of ab, whose score is lower than that of ba");
    assert_eq!(of("bab"), [1, id("\u{2581}"), ba, id("b")]);
    assert_eq!(of("\u{e9}"), [1, id("\u{2581}"), 3 + 0xc3, 3 + 0xa9], "bytes of what has no piece");
    assert_eq!(of("ab  \nab"), [1, id("\u{2581}ab"), 267, id("\u{2581}ab")], "matched before all else");
    assert_eq!(of("</s>ab"), [1, 2, id("\u{2581}ab")]);
    assert_eq!(found.decode(&of("ab \u{e9}"), true).unwrap(), "ab \u{e9}");
    metadata.insert(SPACE_PREFIX.to_owned(), Value::Flag(false));
    metadata.insert("tokenizer.ggml.add_bos_token".to_owned(), Value::Flag(false));
    assert_eq!(tokenizer(&metadata).encode("ab a", true).unwrap(), [ab, a_space]);

    // All of one score: in order of ids, as the merges were learned.
    metadata.insert("tokenizer.ggml.scores".to_owned(), floats(&[-1000.0; 268]));
    assert_eq!(tokenizer(&metadata).encode("bab", true).unwrap(), [id("b"), ab]);
    // Merges that are given are taken instead.
    metadata.insert("tokenizer.ggml.merges".to_owned(), texts(["b a"]));
    assert_eq!(tokenizer(&metadata).encode("bab", true).unwrap(), [ba, id("b")]);
}

#[test]
fn what_ends_a_turn_and_how_tokens_are_drawn() {
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let mut metadata = byte_level();
    let files = text_files(&metadata).unwrap();
    assert_eq!(
        json(&files.generation_config_json),
        serde_json::json!({"eos_token_id": [7], "bos_token_id": 7})
    );
    assert_eq!(
        json(&files.tokenizer_config_json),
        serde_json::json!({"bos_token": "<|end|>", "eos_token": "<|end|>"})
    );

    let tokens = ["<|return|>", "<|end|>", "<|call|>", "a", "<|endoftext|>", "<eos>"];
    for (key, value) in [
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.token_type", integers(&[3, 3, 4, 1, 3, 1])),
        ("tokenizer.ggml.merges", texts([])),
        ("tokenizer.ggml.bos_token_id", Value::Unsigned(3)),
        ("tokenizer.ggml.eos_token_id", Value::Unsigned(4)),
        ("tokenizer.ggml.eot_token_id", Value::Unsigned(0)),
        ("general.sampling.temp", Value::Float(0.5)),
        ("general.sampling.top_p", Value::Float(1.0)),
        ("general.sampling.top_k", Value::Signed(20)),
        ("tokenizer.chat_template", text("{{ 1 }}")),
    ] {
        metadata.insert(key.to_owned(), value);
    }
    let files = text_files(&metadata).unwrap();
    assert_eq!(
        json(&files.generation_config_json),
        serde_json::json!({"eos_token_id": [4, 0, 2], "bos_token_id": 3, "temperature": 0.5, "top_p": 1.0, "top_k": 20}),
        "<|end|> ends a message, and <eos> is a piece of text here"
    );
    assert_eq!(json(&files.tokenizer_config_json)["chat_template"], "{{ 1 }}");
    metadata.insert("tokenizer.chat_template.tool_use".to_owned(), text("{{ 2 }}"));
    let files = text_files(&metadata).unwrap();
    assert_eq!(
        json(&files.tokenizer_config_json)["chat_template"],
        serde_json::json!([{"name": "default", "template": "{{ 1 }}"}, {"name": "tool_use", "template": "{{ 2 }}"}])
    );
}

#[test]
fn what_is_wrong_is_named() {
    let with = |mut metadata: Metadata, key: &str, value: Value| {
        metadata.insert(format!("tokenizer.ggml.{key}"), value);
        text_files(&metadata).unwrap_err().to_string()
    };
    let bytes = |key: &str, value| with(byte_level(), key, value);
    let pieces = |key: &str, value| with(sentence_piece(), key, value);
    let long = "x".repeat(1000);
    for (told, key, expected) in [
        (bytes("model", text("bert")), "model", "llama, gemma4 or gpt2"),
        (
            bytes("pre", text("new-one")),
            "pre",
            "found \"new-one\", expected the name of a known pre-tokenizer",
        ),
        (bytes("tokens", texts([])), "tokens", "expected 1 to 1048576 tokens"),
        (bytes("tokens", Value::Unsigned(1)), "tokens", "expected a list of strings"),
        (
            bytes("tokens", texts(["a", "b", "c", "d", "e", "f", "g", "h", "a", ""])),
            "tokens",
            "0 and 8 are the same",
        ),
        (bytes("token_type", integers(&[1; 9])), "token_type", "one for each of 10 tokens"),
        (bytes("token_type", integers(&[7; 10])), "token_type", "numbers from 0 to 6, but one is 7"),
        (
            bytes("bos_token_id", Value::Unsigned(10)),
            "bos_token_id",
            "found 10, expected the id of one of 10",
        ),
        (bytes("eot_token_id", Value::Unsigned(1 << 33)), "eot_token_id", "expected the id of one of 10"),
        (bytes("merges", texts(["a b", "ab"])), "merges", "but one is \"ab\""),
        (bytes("merges", texts(["a 1"])), "merges", "two tokens that make a third"),
        (bytes("merges", texts([long.as_str()])), "merges", "\u{2026}"),
        (pieces("scores", floats(&[0.0])), "scores", "one for each of 268 tokens"),
        (pieces("unknown_token_id", Value::Flag(true)), "unknown_token_id", "an integer"),
        (pieces("model", text("gemma4")), "merges", "found nothing, expected the merges"),
        (pieces("add_bos_token", text("yes")), "add_bos_token", "expected true or false"),
    ] {
        assert!(told.starts_with(&format!("m.gguf: tokenizer.ggml.{key}: found ")), "{told}");
        assert!(told.contains(expected), "{told}");
        assert!(told.chars().count() < 320, "{told}");
    }
}

/// What a hostile file may say: whatever is taken makes a tokenizer that takes any text.
#[test]
fn spoiled_metadata_are_refused_or_make_a_tokenizer() {
    let mut draws = Draws::new(30);
    let mut taken = 0;
    for round in 0..600 {
        let mut metadata = if round % 2 == 0 { byte_level() } else { sentence_piece() };
        for _ in 0..=draws.below(2) {
            spoil(&mut metadata, &mut draws);
        }
        let Ok(files) = text_files(&metadata) else { continue };
        taken += 1;
        let made = Tokenizer::new(&files.tokenizer_json, Some(&files.tokenizer_config_json));
        let tokenizer = made.unwrap_or_else(|error| panic!("{error}: {metadata:?}"));
        for text in ["", "ab ab111<|end|><tool>  \nbab", "\u{e9}\u{1f642}</s><0x41>"] {
            let ids = tokenizer.encode(text, true).unwrap_or_else(|error| panic!("{error}: {metadata:?}"));
            tokenizer.decode(&ids, true).unwrap();
            tokenizer.encode_plain(text, false).unwrap();
        }
    }
    assert!((100..500).contains(&taken), "{taken} of 600: either all are taken or none is");
}

/// Changes one value of metadata: a key is lost, two tokens or merges change places or become the
/// same, types, scores and ids are drawn anew.
fn spoil(metadata: &mut Metadata, draws: &mut Draws) {
    let keys: Vec<String> = metadata.iter().map(|(key, _)| key.to_owned()).collect();
    let key = keys[draws.below(keys.len())].clone();
    let value = match metadata.get(&key).unwrap() {
        Value::Texts(list) => {
            let mut list: Vec<String> = list.iter().map(str::to_owned).collect();
            let (a, b) = (draws.below(list.len()), draws.below(list.len()));
            match draws.below(6) {
                0 => list.swap(a, b),
                1 => list[a] = list[b].clone(),
                2 => list[a] = "a".to_owned(),
                3 => list[a].clear(),
                4 => list[a].push('b'),
                _ => list.truncate(a + 1),
            }
            texts(list.iter().map(String::as_str))
        }
        Value::Numbers(numbers) if matches!(numbers.kind(), NumberType::Signed(_)) => {
            let len = numbers.len() - usize::from(draws.below(8) == 0);
            integers(&(0..len).map(|_| draws.below(7) as i32).collect::<Vec<_>>())
        }
        Value::Numbers(numbers) => {
            let scores = [0.0, -1.0, 1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e9];
            floats(&(0..numbers.len()).map(|_| scores[draws.below(7)]).collect::<Vec<_>>())
        }
        Value::Text(_) => text(["gpt2", "llama", "gemma4", "qwen2", "tekken", "bert"][draws.below(6)]),
        _ => Value::Unsigned(draws.below(12) as u64),
    };
    metadata.insert(key, value);
}

#[test]
fn work_is_bounded() {
    let piece = "ab".repeat(25_000);
    let tokens: Vec<String> = (0..8).map(|n| format!("{piece}{n}")).collect();
    let special = |count: usize| (0..count).map(|n| format!("<{n}>")).collect::<Vec<String>>();
    let mut metadata = metadata([
        ("tokenizer.ggml.model", text("llama")),
        ("tokenizer.ggml.unknown_token_id", Value::Unsigned(0)),
        ("tokenizer.ggml.tokens", texts(tokens.iter().map(String::as_str))),
    ]);
    let told = text_files(&metadata).unwrap_err().to_string();
    assert!(
        told.contains("tokenizer.ggml.merges: found nothing") && told.contains("as long as these"),
        "{told}"
    );
    let many = special(40_000);
    metadata.insert("tokenizer.ggml.tokens".to_owned(), texts(many.iter().map(String::as_str)));
    metadata.insert("tokenizer.ggml.token_type".to_owned(), integers(&[3; 40_000]));
    let told = text_files(&metadata).unwrap_err().to_string();
    assert!(told.contains("at most 32768 of types 2, 3 and 4, but 40000 are"), "{told}");
}
