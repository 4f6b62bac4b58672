//! `tokenizer.json` of what a GGUF file says, as Hugging Face's library writes and reads it.
use super::merges::Merge;
use super::vocabulary::{TokenKind, Vocabulary};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Value, json};

/// What stands for a space in vocabularies of SentencePiece.
const SPACE_MARK: &str = "\u{2581}";

/// A tokenizer of byte-pair encoding, in the terms of Hugging Face's file.
#[derive(Debug)]
pub(super) struct TokenizerJson<'v> {
    /// The tokens; special and added ones at the end are kept out of the model's own vocabulary.
    pub(super) vocabulary: &'v Vocabulary<'v>,
    /// The merges, the earliest first.
    pub(super) merges: Vec<Merge>,
    /// The id of the token for what no token covers.
    pub(super) unknown: Option<u32>,
    /// Whether bytes that no piece covers become tokens of type 6.
    pub(super) byte_fallback: bool,
    /// Whether a word that is a token is taken whole, even if no merges lead to it.
    pub(super) ignore_merges: bool,
    /// What is done to text first; null is nothing.
    pub(super) normalizer: Value,
    /// How text is cut into words; null is not at all.
    pub(super) pre_tokenizer: Value,
    /// How tokens become text.
    pub(super) decoder: Value,
    /// The ids that are put before and behind a raw prompt.
    pub(super) around: (Option<u32>, Option<u32>),
}

impl TokenizerJson<'_> {
    /// The bytes of the file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers have a form in JSON")
    }

    /// Where the model's own vocabulary ends and where all tokens do. The library gives added
    /// tokens that the model lacks the ids behind its vocabulary, in their order: those at the end
    /// need not be in it, so that no merge makes one of them, and unused ones behind them need not
    /// be at all.
    fn ends(&self) -> (usize, usize) {
        let kinds = || (0..self.vocabulary.len()).rev().map(|id| self.vocabulary.kind(id as u32));
        let end = self.vocabulary.len() - kinds().take_while(|kind| *kind == TokenKind::Unused).count();
        let unused = self.vocabulary.len() - end;
        let matched = kinds().skip(unused).take_while(|kind| kind.is_matched()).count();
        let ids = self.merges.iter().flat_map(|merge| [merge.left, merge.right, merge.whole]);
        let needed = ids.chain(self.unknown).max().map_or(0, |id| id as usize + 1);
        ((end - matched).max(needed), end.max(needed))
    }

    /// What is put around a raw prompt, as a template.
    fn post_processor(&self) -> Value {
        let (before, behind) = self.around;
        if before.or(behind).is_none() {
            return Value::Null;
        }
        let token = |id: u32| json!({"SpecialToken": {"id": self.vocabulary.text(id), "type_id": 0}});
        let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
        let around = |texts: &[&str]| {
            let texts = texts.iter().map(|name| text(name));
            before.map(token).into_iter().chain(texts).chain(behind.map(token)).collect::<Value>()
        };
        let special: serde_json::Map<String, Value> = before
            .into_iter()
            .chain(behind)
            .map(|id| {
                let text = self.vocabulary.text(id).to_owned();
                (text.clone(), json!({"id": text, "ids": [id], "tokens": [text]}))
            })
            .collect();
        json!({"type": "TemplateProcessing", "single": around(&["A"]), "pair": around(&["A", "B"]),
               "special_tokens": special})
    }
}

impl Serialize for TokenizerJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (model_end, end) = self.ends();
        let mut file = serializer.serialize_map(None)?;
        file.serialize_entry("version", "1.0")?;
        file.serialize_entry("truncation", &())?;
        file.serialize_entry("padding", &())?;
        file.serialize_entry("added_tokens", &AddedTokens { vocabulary: self.vocabulary, end })?;
        file.serialize_entry("normalizer", &self.normalizer)?;
        file.serialize_entry("pre_tokenizer", &self.pre_tokenizer)?;
        file.serialize_entry("post_processor", &self.post_processor())?;
        file.serialize_entry("decoder", &self.decoder)?;
        file.serialize_entry("model", &Model { tokenizer: self, end: model_end })?;
        file.end()
    }
}

/// The tokens that are matched before text is tokenized.
struct AddedTokens<'v> {
    vocabulary: &'v Vocabulary<'v>,
    end: usize,
}

impl Serialize for AddedTokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for (id, content) in self.vocabulary.iter().take(self.end) {
            let kind = self.vocabulary.kind(id);
            if kind.is_matched() {
                list.serialize_element(&json!({
                    "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": kind == TokenKind::Special,
                }))?;
            }
        }
        list.end()
    }
}

/// The vocabulary with its merges.
struct Model<'v> {
    tokenizer: &'v TokenizerJson<'v>,
    end: usize,
}

impl Serialize for Model<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let TokenizerJson { vocabulary, merges, unknown, byte_fallback, ignore_merges, .. } = self.tokenizer;
        let mut model = serializer.serialize_map(None)?;
        model.serialize_entry("type", "BPE")?;
        model.serialize_entry("dropout", &())?;
        model.serialize_entry("unk_token", &unknown.map(|id| vocabulary.text(id)))?;
        model.serialize_entry("continuing_subword_prefix", &())?;
        model.serialize_entry("end_of_word_suffix", &())?;
        model.serialize_entry("fuse_unk", &unknown.is_some())?;
        model.serialize_entry("byte_fallback", byte_fallback)?;
        model.serialize_entry("ignore_merges", ignore_merges)?;
        model.serialize_entry("vocab", &Vocab { vocabulary, end: self.end })?;
        model.serialize_entry("merges", &Merges { vocabulary, merges })?;
        model.end()
    }
}

/// The model's own vocabulary.
struct Vocab<'v> {
    vocabulary: &'v Vocabulary<'v>,
    end: usize,
}

impl Serialize for Vocab<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tokens = self.vocabulary.iter().take(self.end);
        serializer.collect_map(tokens.map(|(id, text)| (text, id)))
    }
}

/// The merges by their texts.
struct Merges<'v> {
    vocabulary: &'v Vocabulary<'v>,
    merges: &'v [Merge],
}

impl Serialize for Merges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |id| self.vocabulary.text(id);
        serializer.collect_seq(self.merges.iter().map(|merge| [text(merge.left), text(merge.right)]))
    }
}

/// Composes text first, as NFC does.
pub(super) fn composed() -> Value {
    json!({"type": "NFC"})
}

/// Cuts text by one pattern after the other, then writes each byte as a letter.
pub(super) fn words(patterns: &[&str]) -> Value {
    let split = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let letters =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let steps: Vec<Value> = patterns.iter().map(split).chain([letters]).collect();
    json!({"type": "Sequence", "pretokenizers": steps})
}

/// Letters to the bytes that they stand for.
pub(super) fn from_letters() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})
}

/// Writes spaces as SentencePiece does, with one before a text where `prefix` says so.
pub(super) fn marked_spaces(prefix: bool) -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK});
    if !prefix {
        return replace;
    }
    json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE_MARK}, replace]})
}

/// Pieces of SentencePiece to text, without the space that was put before it.
pub(super) fn from_marked_spaces(prefix: bool) -> Value {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}
