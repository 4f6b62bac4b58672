//! The model's vocabulary as `llguidance` sees it: a trie of the bytes of all tokens.
//!
//! Special tokens have a marker before their text, a byte that is in no UTF-8, so that no grammar
//! reaches them but by name. A byte token of SentencePiece (`<0x41>`) that says the same as an
//! ordinary token has no bytes: no output needs it. Which ids end an output the library is not
//! told, because that is the request's to say.
use crate::text::Tokenizer;
use llguidance::toktrie::{INVALID_TOKEN, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use std::sync::Arc;

/// A character that stands before text whose tokens are asked for, so that a tokenizer that treats
/// the beginning of a text in a way of its own (most put a space there) does so with this one.
const BEFORE: &str = "\u{2}";
/// Bytes of a token at most that the trie takes; a longer one is in no output that is constrained.
const TOKEN_BYTES_MAX: usize = 1000;

/// The vocabulary of a model.
pub(super) struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
}

impl Vocabulary {
    pub(super) fn new(tokenizer: Arc<Tokenizer>) -> Self {
        let words = words(&tokenizer);
        let info = TokRxInfo::new(words.len() as u32, INVALID_TOKEN);
        Self { trie: TokTrie::from(&info, &words), tokenizer }
    }

    /// The tokens of a text within a text, as the tokenizer would make them.
    fn tokens_within(&self, text: &str) -> Option<Vec<TokenId>> {
        let ids = self.tokenizer.encode_plain(&format!("{BEFORE}{text}"), false).ok()?;
        let mut before = Vec::new();
        let begins = ids.iter().position(|id| {
            before.extend_from_slice(self.trie.token(*id));
            before.ends_with(BEFORE.as_bytes())
        })?;
        let ids = &ids[begins + 1..];
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.trie.token(*id)).copied().collect();
        (bytes == text.as_bytes()).then(|| ids.to_vec())
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        // Where the tokenizer changes the text (normalises it), the longest tokens will do.
        let of_text = |text: &str| {
            self.tokens_within(text).unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
        };
        self.trie.tokenize_with_greedy_fallback(bytes, of_text)
    }
}

/// The bytes of each id.
fn words(tokenizer: &Tokenizer) -> Vec<Vec<u8>> {
    let count = tokenizer.id_end().max(1);
    let mut words: Vec<Vec<u8>> = (0..count).map(|id| tokenizer.bytes(id)).collect();
    for (id, text) in tokenizer.added() {
        let Some(word) = words.get_mut(id as usize) else { continue };
        *word = text.into_bytes();
        if tokenizer.is_special(id) && !word.is_empty() {
            word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
        }
    }
    drop_twins(tokenizer, &mut words);
    for word in &mut words {
        if word.len() > TOKEN_BYTES_MAX {
            word.clear();
        }
    }
    words
}

/// Empties byte tokens beside which there is an ordinary token of that byte.
fn drop_twins(tokenizer: &Tokenizer, words: &mut [Vec<u8>]) {
    let mut bytes: [Vec<usize>; 256] = std::array::from_fn(|_| Vec::new());
    for (id, word) in words.iter().enumerate() {
        if let [byte] = word[..] {
            bytes[usize::from(byte)].push(id);
        }
    }
    for ids in bytes.iter().filter(|ids| ids.len() > 1) {
        let is_byte_token = |id: &&usize| tokenizer.piece(**id as u32).is_some_and(|p| p.starts_with("<0x"));
        if ids.iter().any(|id| !is_byte_token(&id)) {
            ids.iter().filter(is_byte_token).for_each(|id| words[*id].clear());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::builtin;

    fn vocabulary() -> Vocabulary {
        let read = |name| builtin::folder().read_small(name, 1 << 24).unwrap().unwrap();
        let tokenizer = Tokenizer::new(&read("tokenizer.json"), Some(&read("tokenizer_config.json")));
        Vocabulary::new(Arc::new(tokenizer.unwrap()))
    }

    #[test]
    fn tokens_of_a_text_are_those_of_the_tokenizer_and_have_its_bytes() {
        let vocabulary = vocabulary();
        for text in ["{\"name\": \"a\"}", " the end", "日本 🙂", "a", " ", "\n\n"] {
            let ids = vocabulary.tokenize_bytes(text.as_bytes());
            let bytes: Vec<u8> = ids.iter().flat_map(|id| vocabulary.trie.token(*id)).copied().collect();
            assert_eq!(bytes, text.as_bytes(), "{ids:?}");
        }
        let half = "é".as_bytes()[..1].to_vec();
        let ids = vocabulary.tokenize_bytes(&half);
        assert_eq!(vocabulary.trie.decode(&ids), half);
        assert_eq!(vocabulary.tokens_within(""), Some(Vec::new()));
    }

    #[test]
    fn special_tokens_are_out_of_reach() {
        let vocabulary = vocabulary();
        let mut special = 0;
        for id in 0..vocabulary.trie.vocab_size() as u32 {
            if vocabulary.tokenizer.is_special(id) {
                assert!(vocabulary.trie.is_special_token(id));
                special += 1;
            }
        }
        assert!(special > 0, "the built-in model has special tokens");
    }
}
