//! Text to ids: `tokenizer.json` through the `tokenizers` crate, special tokens as
//! `tokenizer_config.json` names them.
//!
//! Raw prompts get the special tokens that the tokenizer's post-processor adds (BOS, mostly). A
//! rendered chat template gets none: what the template wrote is all there is. Special-token text
//! inside a *message* is ordinary text ([`guard`] marks it before rendering,
//! [`Tokenizer::encode_chat`] honours the marks).
use super::byte_letters::byte_of_letter;
use super::caught::caught;
use super::coverage::Coverage;
use super::quote::quote_value;
use super::{TextError, TextPart};
use crate::faults::{self, Point};
use serde_json::Value;
use std::collections::HashSet;

/// A private-use character that [`guard`] puts into special-token text; it stands in no token and
/// is removed again.
const MARK: char = '\u{f8ff0}';

/// Words whose pieces each of the two tokenizers remembers. The crate's own 10,000 could hold a
/// hundred megabytes of what a hostile client sent, for good.
const CACHED_WORDS: usize = 500;

/// A tokenizer and its special tokens.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// A second one, to which the text of a special token is ordinary text.
    literal: tokenizers::Tokenizer,
    special: Vec<(String, u32)>,
    /// The ids of these. A model may have thousands.
    special_ids: HashSet<u32>,
    config: Value,
    prepend: Option<u32>,
    coverage: Option<Coverage>,
}

/// The crate's error, which may quote the text.
fn cannot_be_tokenized(error: &tokenizers::Error) -> TextError {
    TextError::Encoding(format!("the text cannot be tokenized: {}", quote_value(error)))
}

/// The `tokenizers` crate's parser, which panics on some files instead of refusing them.
fn parse(json: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    // Most of those are no JSON at all.
    serde_json::from_slice::<serde::de::IgnoredAny>(json).map_err(|error| error.to_string())?;
    match std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(json)) {
        Ok(parsed) => parsed.map_err(|error| error.to_string()),
        Err(_) => Err("its parser panicked".to_owned()),
    }
}

/// Ids of `text` by the library, whose panic is an error.
fn encode(inner: &tokenizers::Tokenizer, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
    caught(TextPart::Tokenizer, || {
        faults::point(Point::Tokenizer);
        let encoding = inner.encode_fast(text, add_special).map_err(|error| cannot_be_tokenized(&error))?;
        Ok(encoding.get_ids().to_vec())
    })
}

impl Tokenizer {
    /// From the bytes of `tokenizer.json` and, where there is one, `tokenizer_config.json`.
    pub fn new(tokenizer_json: &[u8], tokenizer_config_json: Option<&[u8]>) -> Result<Self, TextError> {
        let wrong = |file: &str, problem: String| TextError::File { file: file.to_owned(), problem };
        let mut inner = parse(tokenizer_json)
            .map_err(|problem| wrong("tokenizer.json", format!("not a tokenizer: {problem}")))?;
        // A model's own limits on length are not for prompts.
        inner.with_truncation(None).map_err(|error| wrong("tokenizer.json", error.to_string()))?;
        inner.with_padding(None);
        // Each of a cache's words may take kilobytes, and a client chooses them.
        let mut model = inner.get_model().clone();
        model.resize_cache(CACHED_WORDS);
        inner.with_model(model);
        let coverage = Coverage::of(&inner);
        let mut literal = inner.clone();
        literal.set_encode_special_tokens(true);
        let config = match tokenizer_config_json {
            None => Value::Null,
            Some(bytes) => serde_json::from_slice(bytes)
                .map_err(|error| wrong("tokenizer_config.json", format!("not JSON: {error}")))?,
        };
        if !(config.is_null() || config.is_object()) {
            return Err(wrong("tokenizer_config.json", "found something else than an object".to_owned()));
        }
        let mut special: Vec<(String, u32)> = inner
            .get_added_tokens_decoder()
            .iter()
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, token)| (token.content.clone(), *id))
            .collect();
        // The longest first: it is the one that matches.
        special.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.cmp(b)));
        let special_ids = special.iter().map(|(_, id)| *id).collect();
        let mut tokenizer = Self { inner, literal, special, special_ids, config, prepend: None, coverage };
        // Some checkpoints leave BOS to tokenizer_config.json instead of the post-processor.
        if tokenizer.config.get("add_bos_token").and_then(Value::as_bool) == Some(true)
            && let Some(bos) = tokenizer.special_token("bos_token")
            && let Some(id) = tokenizer.inner.token_to_id(&bos)
            && tokenizer.encode("a", true)?.first() != Some(&id)
        {
            tokenizer.prepend = Some(id);
        }
        Ok(tokenizer)
    }

    /// Ids of `text`. With `add_special`, what the post-processor adds; special-token text is
    /// special.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        self.encode_with(&self.inner, text, add_special)
    }

    /// As [`Tokenizer::encode`], but special-token text is ordinary text.
    pub fn encode_plain(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        self.encode_with(&self.literal, text, add_special)
    }

    fn encode_with(
        &self,
        inner: &tokenizers::Tokenizer,
        text: &str,
        add_special: bool,
    ) -> Result<Vec<u32>, TextError> {
        let mut ids = encode(inner, text, add_special)?;
        if let Some(bos) = self.prepend.filter(|bos| add_special && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// Ids that a text has at least, raw or as a rendered chat template, in the time that it takes
    /// to read it; 0 where this is not known of the tokenizer.
    pub fn tokens_min(&self, text: &str) -> usize {
        self.coverage.map_or(0, |coverage| coverage.tokens_min(text, |c| c == MARK))
    }

    /// Bytes of text that a token covers at most, where that is known. What is longer than a
    /// context of such tokens cannot fit it.
    pub fn token_bytes_max(&self) -> Option<usize> {
        self.coverage.map(|coverage| coverage.token_max())
    }

    /// Ids of a rendered chat template: special tokens are special where the template wrote them,
    /// ordinary text where a message did.
    pub fn encode_chat(&self, rendered: &str) -> Result<Vec<u32>, TextError> {
        if !rendered.contains(MARK) {
            return self.encode(rendered, false);
        }
        let mut ids = Vec::new();
        let find = |from: usize, text: &str| rendered[from..].find(text).map(|at| from + at);
        // Where each special token comes next. It is searched for again only behind that place, so
        // that the text is read once for each, however many there are of them.
        let mut nexts: Vec<_> = self.special.iter().map(|(text, _)| find(0, text)).collect();
        let mut from = 0;
        while from < rendered.len() {
            for ((text, _), next) in self.special.iter().zip(&mut nexts) {
                if next.is_some_and(|at| at < from) {
                    *next = find(from, text);
                }
            }
            let found =
                self.special.iter().zip(&nexts).filter_map(|((text, id), at)| Some(((*at)?, text, *id)));
            let next = found.min_by_key(|(at, text, _)| (*at, usize::MAX - text.len()));
            let (at, len) = next.map_or((rendered.len(), 0), |(at, text, _)| (at, text.len()));
            let text: String = rendered[from..at].chars().filter(|c| *c != MARK).collect();
            if !text.is_empty() {
                ids.extend(encode(&self.literal, &text, false)?);
            }
            ids.extend(next.map(|(_, _, id)| id));
            from = at + len;
        }
        Ok(ids)
    }

    /// Marks special-token text in what a user wrote, so that [`Tokenizer::encode_chat`] takes it
    /// for text.
    pub fn guard(&self, text: &str) -> String {
        let mut guarded: String = text.chars().filter(|c| *c != MARK).collect();
        for (special, _) in &self.special {
            if guarded.contains(special.as_str()) {
                let mut broken = String::with_capacity(special.len() + MARK.len_utf8());
                let mut chars = special.chars();
                broken.extend(chars.next());
                broken.push(MARK);
                broken.extend(chars);
                guarded = guarded.replace(special.as_str(), &broken);
            }
        }
        guarded
    }

    /// Characters of which a text has one if [`Tokenizer::guard`] changes it.
    pub fn special_starts(&self) -> Vec<char> {
        let mut starts: Vec<char> = self.special.iter().filter_map(|(text, _)| text.chars().next()).collect();
        starts.push(MARK);
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    /// Rendered text as a person sees it: without marks.
    pub fn without_marks(rendered: &str) -> String {
        rendered.chars().filter(|c| *c != MARK).collect()
    }

    /// The text of ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        caught(TextPart::Detokenizer, || {
            faults::point(Point::Detokenizer);
            self.inner
                .decode(ids, skip_special)
                .map_err(|error| TextError::Encoding(format!("the ids cannot be decoded: {error}")))
        })
    }

    /// The piece of one id, as it stands in the vocabulary.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The bytes of one id: what it adds to the output, a byte of a character included.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        let Some(piece) = self.piece(id) else { return Vec::new() };
        if self.is_special(id) {
            return piece.into_bytes();
        }
        if let Some(hex) = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'))
            && let Ok(byte) = u8::from_str_radix(hex, 16)
        {
            return vec![byte];
        }
        // Byte-level vocabularies write a space as this letter, and every byte as a letter of its
        // own. A piece with other characters was added as it is.
        if self.id_of("\u{120}").is_some() {
            let bytes: Option<Vec<u8>> = piece.chars().map(byte_of_letter).collect();
            return bytes.unwrap_or_else(|| piece.into_bytes());
        }
        piece.replace('\u{2581}', " ").into_bytes()
    }

    /// The id of a piece.
    pub fn id_of(&self, piece: &str) -> Option<u32> {
        self.inner.token_to_id(piece)
    }

    /// Whether an id is a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// Ids of the vocabulary, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// One more than the largest id, which is more than [`Tokenizer::vocab_size`] where ids are
    /// left out.
    pub fn id_end(&self) -> u32 {
        self.inner.get_vocab(true).values().max().map_or(0, |id| id + 1)
    }

    /// The tokens that were added to the model's own vocabulary, special or not, with their texts.
    pub fn added(&self) -> impl Iterator<Item = (u32, String)> {
        self.inner.get_added_tokens_decoder().into_iter().map(|(id, token)| (id, token.content))
    }

    /// A special token of `tokenizer_config.json`: `bos_token`, `eos_token`, …
    pub fn special_token(&self, name: &str) -> Option<String> {
        let value = self.config.get(name)?;
        let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
        Some(text.to_owned())
    }

    /// The contents of `tokenizer_config.json`.
    pub fn config(&self) -> &Value {
        &self.config
    }
}
