//! How many tokens a text has at least, known without tokenizing it: what cannot fit a context is
//! refused in the time that it takes to read it once.
//!
//! A token covers a bounded part of the text, so a text of weight `w` has at least `w / max`
//! tokens, where `max` is the greatest weight that a token covers. Text weighs its bytes, but for
//! the following, all of which make the bound lower, never too high:
//!
//! * U+2581, which vocabularies write for a space, weighs 1 like a space.
//! * Where text is composed first (NFC, NFKC and their like), a character beyond ASCII, and one of
//!   ASCII before it, may shrink to a quarter: four bytes of U+1D400 become one `A`, eight bytes of
//!   a letter with two marks become two.
//! * Where pre-tokenizers or added tokens swallow space, space weighs nothing.
//! * Bytes that a vocabulary has no letter for, and drops, weigh nothing (SmolLM2's lacks some
//!   control characters).
//!
//! This is also what bounds the work of tokenizing, which is not cut into pieces and asks nobody
//! whether the client is still there. A text that gets so far weighs no more than a context of the
//! longest tokens: 4 MiB for a context of 32,768 and tokens of 128 bytes (Qwen2.5), which takes
//! about 5 seconds on one thread of lowered priority. Tokens of that length are rare: a text that
//! fits has some four bytes a token, and takes 0.2 seconds. What weighs less than its bytes, by the
//! rules above, is bounded by the bytes of a body, which by default are twice that many.
//!
//! For a tokenizer that may swallow anything else (an unknown run of any length as one token,
//! accents that are stripped, patterns that are replaced by less), nothing is known and the bound
//! is 0.
use super::byte_letters::{byte_letters, byte_of_letter};
use serde_json::Value;
use std::collections::HashMap;
use tokenizers::models::ModelWrapper;
use tokenizers::{AddedToken, Model, Tokenizer};

/// A character that vocabularies write for a space.
const SPACE_MARK: char = '\u{2581}';
/// Bytes to which a byte may grow when text is composed with compatibility (U+FDFA: 3 to 33).
const GROWTH_MAX: usize = 12;

/// For each byte, whether it belongs to a set.
type Bytes = [bool; 256];

/// What a tokenizer's tokens can cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The greatest weight that a token covers.
    token_max: usize,
    /// Whether text is composed before it is tokenized.
    composes: bool,
    /// Whether space may be swallowed.
    skips_space: bool,
    /// The bytes that are dropped.
    drops: Bytes,
}

impl Coverage {
    /// The coverage of a tokenizer's tokens; `None` where nothing is known.
    pub(super) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let mut pipeline = Pipeline::default();
        let normalizer = serde_json::to_value(tokenizer.get_normalizer()).ok()?;
        pipeline.normalizer(&normalizer)?;
        pipeline.pre_tokenizer(&serde_json::to_value(tokenizer.get_pre_tokenizer()).ok()?)?;
        let Pipeline { composes, byte_level, mut skips_space } = pipeline;
        let vocab = tokenizer.get_model().get_vocab();
        let drops = dropped(tokenizer.get_model(), &vocab, byte_level)?;
        if !normalizer.is_null() && drops.contains(&true) {
            return None; // another text is dropped than the one that is weighed
        }
        let piece = |piece: &String| if byte_level { piece.chars().count() } else { weight_of(piece) };
        // An unknown character is a token of up to four bytes.
        let mut token_max = vocab.keys().map(piece).max().unwrap_or(0).max(4);
        for token in tokenizer.get_added_tokens_decoder().values() {
            let AddedToken { content, lstrip, rstrip, normalized, .. } = token;
            skips_space |= lstrip | rstrip;
            let may_grow = composes && *normalized && !content.is_ascii();
            token_max = token_max.max(content.len() * if may_grow { GROWTH_MAX } else { 1 });
        }
        Some(Self { token_max, composes, skips_space, drops })
    }

    /// The greatest weight that a token covers, in bytes of text.
    pub fn token_max(&self) -> usize {
        self.token_max
    }

    /// Tokens that the text becomes, at least. Characters for which `is_nothing` holds are as if
    /// they were not there.
    pub(super) fn tokens_min(&self, text: &str, is_nothing: impl Fn(char) -> bool) -> usize {
        self.weight(text.chars().filter(|c| !is_nothing(*c))) / self.token_max
    }

    fn weight(&self, chars: impl Iterator<Item = char>) -> usize {
        let mut quarters = 0;
        let mut chars = chars.peekable();
        while let Some(c) = chars.next() {
            if self.skips_space && (c.is_whitespace() || c == SPACE_MARK) {
                continue;
            }
            let is_composed = !c.is_ascii() || chars.peek().is_some_and(|next| !next.is_ascii());
            let mut bytes = [0; 4];
            let bytes = c.encode_utf8(&mut bytes).bytes();
            let dropped = bytes.filter(|byte| self.drops[usize::from(*byte)]);
            let weight = char_weight(c).saturating_sub(dropped.count());
            quarters += if self.composes && is_composed { 1 } else { 4 } * weight;
        }
        quarters / 4
    }
}

fn char_weight(c: char) -> usize {
    if c == SPACE_MARK { 1 } else { c.len_utf8() }
}

fn weight_of(piece: &str) -> usize {
    piece.chars().map(char_weight).sum()
}

/// What happens to text on its way to a tokenizer's model.
#[derive(Clone, Copy, Debug, Default)]
struct Pipeline {
    composes: bool,
    byte_level: bool,
    skips_space: bool,
}

impl Pipeline {
    /// Takes a normalizer into account, as `tokenizer.json` has it; `None` if it may swallow text.
    fn normalizer(&mut self, json: &Value) -> Option<()> {
        let Some(kind) = json.get("type") else { return json.is_null().then_some(()) };
        match kind.as_str()? {
            "Sequence" => json["normalizers"].as_array()?.iter().try_for_each(|part| self.normalizer(part)),
            "Prepend" => Some(()),
            "ByteLevel" => {
                self.byte_level = true;
                Some(())
            }
            "NFC" | "NFD" | "NFKC" | "NFKD" => {
                self.composes = true;
                Some(())
            }
            "Replace" => {
                let (old, new) = (json["pattern"]["String"].as_str()?, json["content"].as_str()?);
                (weight_of(new) >= weight_of(old)).then_some(())
            }
            _ => None,
        }
    }

    /// Takes a pre-tokenizer into account in the way of [`Pipeline::normalizer`].
    fn pre_tokenizer(&mut self, json: &Value) -> Option<()> {
        let Some(kind) = json.get("type") else { return json.is_null().then_some(()) };
        match kind.as_str()? {
            "Sequence" => {
                json["pretokenizers"].as_array()?.iter().try_for_each(|part| self.pre_tokenizer(part))
            }
            "ByteLevel" => {
                self.byte_level = true;
                Some(())
            }
            "Metaspace" | "Digits" | "UnicodeScripts" | "FixedLength" => Some(()),
            "Split" | "Punctuation" => (json["behavior"].as_str()? != "Removed").then_some(()),
            "Whitespace" | "WhitespaceSplit" | "BertPreTokenizer" => {
                self.skips_space = true;
                Some(())
            }
            _ => None,
        }
    }
}

/// The bytes that are dropped of what comes to the model; `None` if several characters that are in
/// no piece may become one token.
fn dropped(model: &ModelWrapper, vocab: &HashMap<String, u32>, byte_level: bool) -> Option<Bytes> {
    let has_bytes = || (0..=255_u8).all(|byte| vocab.contains_key(&format!("<0x{byte:02X}>")));
    match model {
        ModelWrapper::BPE(bpe) => {
            let is_token_each = bpe.unk_token.is_some() && !bpe.fuse_unk;
            if is_token_each || (bpe.byte_fallback && has_bytes()) {
                return Some([false; 256]);
            }
            let is_plain = bpe.continuing_subword_prefix.is_none() && bpe.end_of_word_suffix.is_none();
            if !byte_level || !is_plain {
                return None;
            }
            let mut drops = [false; 256];
            for letter in byte_letters().filter(|letter| !vocab.contains_key(letter.to_string().as_str())) {
                drops[usize::from(byte_of_letter(letter)?)] = true;
            }
            (bpe.unk_token.is_none() || !drops.contains(&true)).then_some(drops)
        }
        ModelWrapper::Unigram(unigram) => (unigram.byte_fallback() && has_bytes()).then_some([false; 256]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pipeline(normalizer: &Value, pre_tokenizer: &Value) -> Option<Pipeline> {
        let mut pipeline = Pipeline::default();
        pipeline.normalizer(normalizer)?;
        pipeline.pre_tokenizer(pre_tokenizer)?;
        Some(pipeline)
    }

    #[test]
    fn what_swallows_text_leaves_nothing_known() {
        let replace = |old: &str, new: &str| {
            json!({"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "\u{2581}"},
                {"type": "Replace", "pattern": {"String": old}, "content": new},
            ]})
        };
        assert!(pipeline(&replace(" ", "\u{2581}"), &Value::Null).is_some());
        assert!(pipeline(&replace("``", "\""), &Value::Null).is_none());
        let regex = json!({"type": "Replace", "pattern": {"Regex": " +"}, "content": " "});
        for unknown in [regex, json!({"type": "StripAccents"}), json!({"type": "BertNormalizer"})] {
            assert!(pipeline(&unknown, &Value::Null).is_none(), "{unknown}");
        }
        let split = |behavior: &str| json!({"type": "Split", "pattern": {"Regex": "x"}, "behavior": behavior, "invert": false});
        let both = json!({"type": "Sequence", "pretokenizers": [split("Isolated"), {"type": "ByteLevel"}]});
        let found = pipeline(&json!({"type": "NFC"}), &both).expect("all of it is kept");
        assert!(found.composes && found.byte_level && !found.skips_space);
        assert!(pipeline(&Value::Null, &split("Removed")).is_none());
        assert!(pipeline(&Value::Null, &json!({"type": "WhitespaceSplit"})).expect("known").skips_space);
    }

    #[test]
    fn text_weighs_no_more_than_what_becomes_of_it() {
        let weight = |composes, skips_space, text: &str| {
            let mut drops = [false; 256];
            drops[4] = true;
            Coverage { token_max: 1, composes, skips_space, drops }.tokens_min(text, |c| c == 'x')
        };
        assert_eq!(weight(false, false, "a é\u{2581}x\u{4}"), 5);
        assert_eq!(weight(false, true, "a é\u{2581}\n"), 3);
        // What NFKC makes of these: "A", "ǖ", the composed letter of Hangul, "abc".
        for (text, max) in [("\u{1d400}", 1), ("\u{1d42e}\u{308}\u{304}", 2), ("\u{1112}\u{1161}\u{11ab}", 3)]
        {
            let found = weight(true, false, text);
            assert!((1..=max).contains(&found), "{text}: {found}");
        }
        assert_eq!(weight(true, false, "abc"), 3);
    }
}
