//! Ids to text, a token at a time.
//!
//! What a token adds depends on those before it (a decoder may strip the first piece's space), and
//! a character's bytes may be spread over several tokens. So a short window is decoded twice,
//! without and with the new ids; the difference is what is new, held back while it ends in an
//! incomplete character. The window starts at the last place where text was complete, so the cost
//! of a token does not grow with the output.
use super::{TextError, Tokenizer};
use std::ops::Deref;
use std::sync::Arc;

/// Prompt ids that are looked back at.
const CONTEXT: usize = 8;
/// Bytes of a character at most, each of which may be a token: longer runs of replacement
/// characters are real.
const HELD_MAX: usize = 8;

/// Turns one sequence's ids into text.
#[derive(Debug)]
pub struct Detokenizer<T> {
    tokenizer: T,
    skip_special: bool,
    /// Special tokens that are not skipped.
    kept: Arc<[u32]>,
    ids: Vec<u32>,
    /// Start of the window.
    start: usize,
    /// Ids whose text was given out.
    read: usize,
}

impl<T: Deref<Target = Tokenizer>> Detokenizer<T> {
    /// A detokenizer of the ids that follow `prompt`. `tokenizer` is a reference, or an `Arc` where
    /// the detokenizer outlives its caller.
    pub fn new(tokenizer: T, prompt: &[u32], skip_special: bool) -> Self {
        let ids = prompt[prompt.len().saturating_sub(CONTEXT)..].to_vec();
        let read = ids.len();
        Self { tokenizer, skip_special, kept: Arc::default(), ids, start: 0, read }
    }

    /// This detokenizer, which gives the text of some special tokens even where it skips them.
    pub fn keeping(self, kept: Arc<[u32]>) -> Self {
        Self { kept, ..self }
    }

    /// The text that is complete with this id.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        self.ids.push(id);
        let (before, now) = self.decode()?;
        let text = new_part(&before, &now);
        let held = self.ids.len() - self.read;
        if text.is_empty() || (text.ends_with('\u{fffd}') && held < HELD_MAX) {
            return Ok(String::new());
        }
        let text = text.to_owned();
        // Never into the middle of a character.
        if now.starts_with(&before) {
            self.start = self.read;
        }
        self.read = self.ids.len();
        if self.start > 64 {
            self.ids.drain(..self.start);
            self.read -= self.start;
            self.start = 0;
        }
        Ok(text)
    }

    /// What is still held back: incomplete characters become U+FFFD.
    pub fn finish(&mut self) -> Result<String, TextError> {
        let (before, now) = self.decode()?;
        self.start = self.ids.len();
        self.read = self.ids.len();
        Ok(new_part(&before, &now).to_owned())
    }

    fn decode(&self) -> Result<(String, String), TextError> {
        let before = self.text(&self.ids[self.start..self.read])?;
        let now = self.text(&self.ids[self.start..])?;
        Ok((before, now))
    }

    fn text(&self, ids: &[u32]) -> Result<String, TextError> {
        if !self.skip_special || self.kept.is_empty() {
            return self.tokenizer.decode(ids, self.skip_special);
        }
        let is_shown = |id: &u32| self.kept.contains(id) || !self.tokenizer.is_special(*id);
        let shown: Vec<u32> = ids.iter().copied().filter(is_shown).collect();
        self.tokenizer.decode(&shown, false)
    }
}

/// What `now` has beyond `before`. A prompt of ids may end within a character, which `now` has
/// whole: it is new then.
fn new_part<'a>(before: &str, now: &'a str) -> &'a str {
    let cut = || now.strip_prefix(before.trim_end_matches('\u{fffd}'));
    now.strip_prefix(before).or_else(cut).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn tokenizer(vocab: Map<String, Value>, decoder: &Value) -> Tokenizer {
        let special = json!({"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                             "normalized": false, "special": true});
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "pre_tokenizer": null, "added_tokens": [special], "decoder": decoder,
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": true, "vocab": vocab,
                      "merges": []},
        });
        Tokenizer::new(json.to_string().as_bytes(), None).unwrap()
    }

    /// As Llama's: pieces with a mark for spaces, bytes for what has no piece, the first space
    /// stripped.
    fn with_byte_fallback() -> Tokenizer {
        let mut vocab = Map::new();
        vocab.insert("<s>".to_owned(), json!(0));
        for byte in 0..256 {
            vocab.insert(format!("<0x{byte:02X}>"), json!(byte + 1));
        }
        for (i, piece) in
            ["\u{2581}", "\u{2581}a", "b", "\u{e9}", "\u{65e5}", "\u{1f642}", "\u{2581}\u{2581}"]
                .iter()
                .enumerate()
        {
            vocab.insert((*piece).to_owned(), json!(257 + i));
        }
        let decoder = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]});
        tokenizer(vocab, &decoder)
    }

    /// As GPT-2's: a letter for each byte.
    fn byte_level() -> Tokenizer {
        let printable = |code: u32| matches!(code, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let mut vocab = Map::new();
        vocab.insert("<s>".to_owned(), json!(0));
        let mut others = 0x100;
        for byte in 0..256 {
            let code = if printable(byte) { byte } else { others };
            others += u32::from(!printable(byte));
            vocab.insert(char::from_u32(code).unwrap().to_string(), json!(byte + 1));
        }
        tokenizer(
            vocab,
            &json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}),
        )
    }

    fn id_of_byte(byte: u8) -> u32 {
        u32::from(byte) + 1
    }

    proptest! {
        #[test]
        fn pieces_are_whole_characters_and_add_up(text in "[ab \u{e9}\u{65e5}\u{1f642}]{0,24}", from in 0_usize..6) {
            for tokenizer in [with_byte_fallback(), byte_level()] {
                // The text as bytes: every character longer than one byte is spread over tokens.
                let ids: Vec<u32> = std::iter::once(0).chain(text.bytes().map(id_of_byte)).collect();
                // The prompt may end within a character, which then is new as a whole.
                let boundary = from.min(text.len());
                let mut detokenizer = Detokenizer::new(&tokenizer, &ids[..=boundary], true);
                let mut out = String::new();
                for id in &ids[boundary + 1..] {
                    let piece = detokenizer.push(*id).unwrap();
                    prop_assert!(!piece.contains('\u{fffd}'), "half a character");
                    out.push_str(&piece);
                }
                out.push_str(&detokenizer.finish().unwrap());
                let whole = tokenizer.decode(&ids, true).unwrap();
                let before = tokenizer.decode(&ids[..=boundary], true).unwrap();
                prop_assert_eq!(format!("{}{out}", before.trim_end_matches('\u{fffd}')), whole);
            }
        }

        #[test]
        fn any_ids_give_what_they_give_together(ids in prop::collection::vec(0_u32..257, 0..20)) {
            let tokenizer = byte_level();
            let mut detokenizer = Detokenizer::new(&tokenizer, &[], true);
            let mut out = String::new();
            for id in &ids {
                out.push_str(&detokenizer.push(*id).unwrap());
            }
            out.push_str(&detokenizer.finish().unwrap());
            // Runs of invalid bytes longer than a character may be cut elsewhere than in one piece;
            // the valid characters are the same, in the same order.
            let valid = |text: &str| text.replace('\u{fffd}', "");
            prop_assert_eq!(valid(&out), valid(&tokenizer.decode(&ids, true).unwrap()));
        }
    }

    #[test]
    fn some_special_tokens_may_be_kept() {
        for tokenizer in [with_byte_fallback(), byte_level()] {
            let ids = [id_of_byte(b'a'), 0, id_of_byte(b'b')];
            for (kept, expected) in [(vec![], "ab"), (vec![0], "a<s>b")] {
                let mut detokenizer = Detokenizer::new(&tokenizer, &[], true).keeping(kept.into());
                let mut text: String = ids.iter().map(|id| detokenizer.push(*id).unwrap()).collect();
                text.push_str(&detokenizer.finish().unwrap());
                assert_eq!(text, expected);
            }
        }
    }

    #[test]
    fn the_space_of_a_first_piece_is_kept_in_a_continuation() {
        let tokenizer = with_byte_fallback();
        let a = tokenizer.id_of("\u{2581}a").unwrap();
        let mut fresh = Detokenizer::new(&tokenizer, &[0], true);
        assert_eq!(fresh.push(a).unwrap(), "a");
        let mut going_on = Detokenizer::new(&tokenizer, &[0, a], true);
        assert_eq!(going_on.push(a).unwrap(), " a");
    }
}
