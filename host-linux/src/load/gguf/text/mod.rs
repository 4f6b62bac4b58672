//! The tokenizer, the chat template and the defaults of generation in a GGUF file, as the files
//! beside a checkpoint's weights: `tokenizer.json`, `tokenizer_config.json` and
//! `generation_config.json`.
//!
//! From there on nothing differs from a folder of Hugging Face's: the same code reads them, images
//! carry them, and the fingerprint covers them.
//!
//! * `vocabulary`: the tokens. `merges`: which become one. `pre_tokenizer`: how text is cut into
//!   words, by name. `special`: what begins and ends a text. `json`: `tokenizer.json` of these.
//! * `config`: the other two files.
mod config;
mod json;
mod merges;
mod pre_tokenizer;
mod special;
#[cfg(test)]
mod tests;
mod vocabulary;

use super::metadata::Metadata;
use crate::load::error::LoadError;
use json::TokenizerJson;
use pre_tokenizer::PreTokenizer;
use special::{SpecialIds, around};
use vocabulary::{Vocabulary, tokens};

/// The key of the kind of tokenizer.
const MODEL: &str = "tokenizer.ggml.model";
/// The key of the name of a byte-level tokenizer's pre-tokenizer.
const PRE: &str = "tokenizer.ggml.pre";
/// The key of whether a text of SentencePiece begins with a space that it does not have.
const SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";

/// The key of the token for what no other token covers.
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";

/// The files beside the weights that a GGUF file's metadata becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextFiles {
    /// `tokenizer.json`: the vocabulary, the merges, and what is done to text before and after.
    pub(crate) tokenizer_json: Vec<u8>,
    /// `tokenizer_config.json`: the texts of special tokens, and the chat template.
    pub(crate) tokenizer_config_json: Vec<u8>,
    /// `generation_config.json`: what ends a turn, and how tokens are drawn by default.
    pub(crate) generation_config_json: Vec<u8>,
}

/// Makes the files. The same metadata give the same bytes.
///
/// An error names the key that is missing or wrong, or the tokenizer that is not known.
pub(crate) fn text_files(metadata: &Metadata) -> Result<TextFiles, LoadError> {
    let kind = Kind::of(metadata)?;
    let ids = SpecialIds::read(metadata, tokens(metadata)?.len())?;
    let vocabulary = Vocabulary::read(metadata, &ids.all())?;
    let tokenizer = match kind {
        Kind::ByteLevel(pre_tokenizer) => byte_level(metadata, &vocabulary, &ids, pre_tokenizer)?,
        Kind::SentencePiece { needs_merges } => sentence_piece(metadata, &vocabulary, &ids, needs_merges)?,
    };
    Ok(TextFiles {
        tokenizer_json: tokenizer.bytes(),
        tokenizer_config_json: config::tokenizer_config(metadata, &vocabulary, &ids)?,
        generation_config_json: config::generation_config(metadata, &vocabulary, &ids)?,
    })
}

/// The kinds of tokenizers that are known.
enum Kind {
    /// Bytes as letters, cut into words, merged.
    ByteLevel(&'static PreTokenizer),
    /// Characters, spaces as marks, merged without regard to words; bytes for what has no piece.
    SentencePiece {
        /// Whether the file must have merges; otherwise they may come from scores.
        needs_merges: bool,
    },
}

impl Kind {
    /// The kind that the metadata name.
    fn of(metadata: &Metadata) -> Result<Self, LoadError> {
        match metadata.text(MODEL)? {
            Some("llama") => Ok(Self::SentencePiece { needs_merges: false }),
            Some("gemma4") => Ok(Self::SentencePiece { needs_merges: true }),
            Some("gpt2") => {
                let expected = "the name of a known pre-tokenizer; an older file may have to be made again \
                                from the checkpoint, or the checkpoint served instead";
                let name = metadata.text(PRE)?.and_then(PreTokenizer::of);
                name.map(Self::ByteLevel).ok_or_else(|| metadata.error(PRE, expected))
            }
            _ => {
                Err(metadata
                    .error(MODEL, "llama, gemma4 or gpt2; models with other tokenizers cannot be served"))
            }
        }
    }
}

/// A tokenizer that merges bytes within words.
fn byte_level<'v>(
    metadata: &Metadata,
    vocabulary: &'v Vocabulary<'v>,
    ids: &SpecialIds,
    pre_tokenizer: &PreTokenizer,
) -> Result<TokenizerJson<'v>, LoadError> {
    Ok(TokenizerJson {
        vocabulary,
        merges: merges::required(metadata, vocabulary)?,
        unknown: None,
        byte_fallback: false,
        ignore_merges: pre_tokenizer.ignore_merges,
        normalizer: if pre_tokenizer.composes { json::composed() } else { serde_json::Value::Null },
        pre_tokenizer: json::words(pre_tokenizer.patterns),
        decoder: json::from_letters(),
        around: around(metadata, ids, pre_tokenizer.adds_bos)?,
    })
}

/// A tokenizer that merges characters.
fn sentence_piece<'v>(
    metadata: &Metadata,
    vocabulary: &'v Vocabulary<'v>,
    ids: &SpecialIds,
    needs_merges: bool,
) -> Result<TokenizerJson<'v>, LoadError> {
    let merges = match merges::given(metadata, vocabulary)? {
        Some(merges) => merges,
        None if needs_merges => merges::required(metadata, vocabulary)?,
        None => merges::derived(metadata, vocabulary)?,
    };
    let prefix = metadata.flag(SPACE_PREFIX)?.unwrap_or(!needs_merges);
    // The library looks for bytes by their names.
    let has_bytes = (0..=255_u8).all(|byte| vocabulary.id(&format!("<0x{byte:02X}>")).is_some());
    if ids.unknown.is_none() && !has_bytes {
        return Err(metadata.error(UNKNOWN, "an id, because there are bytes that no token stands for"));
    }
    Ok(TokenizerJson {
        vocabulary,
        merges,
        unknown: ids.unknown,
        byte_fallback: true,
        ignore_merges: false,
        normalizer: json::marked_spaces(prefix),
        pre_tokenizer: serde_json::Value::Null,
        decoder: json::from_marked_spaces(prefix),
        around: around(metadata, ids, true)?,
    })
}
