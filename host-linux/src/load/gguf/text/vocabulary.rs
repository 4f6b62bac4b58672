//! The vocabulary of a GGUF file: its tokens in order of id, checked, with what each is for.
use crate::load::error::LoadError;
use crate::load::gguf::metadata::Metadata;
use crate::load::gguf::value::Texts;
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The key of the tokens.
const TOKENS: &str = "tokenizer.ggml.tokens";
/// The key of the tokens' types.
const TYPES: &str = "tokenizer.ggml.token_type";
/// The key of the tokens' scores.
const SCORES: &str = "tokenizer.ggml.scores";
/// Tokens of a vocabulary at most: four times the largest in use.
const TOKENS_MAX: usize = 1 << 20;
/// Tokens that are matched before text is tokenized at most. Time to set them up grows with their
/// square: these take about a second.
const MATCHED_MAX: usize = 1 << 15;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A piece of text.
    Piece,
    /// It stands for no text of a message: the start of a turn, its end, an unknown character.
    Special,
    /// A piece of text that is matched as a whole before the rest is tokenized.
    Added,
    /// A byte that no piece covers.
    Byte,
    /// Nothing: its place is kept, and no text becomes it.
    Unused,
}

impl TokenKind {
    /// The kind that a number of `tokenizer.ggml.token_type` stands for.
    fn of(number: i64) -> Option<Self> {
        Some(match number {
            0 | 1 => Self::Piece,
            2 | 3 => Self::Special,
            4 => Self::Added,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }

    /// Whether a token of this kind is matched before the rest of a text is tokenized.
    pub(super) fn is_matched(self) -> bool {
        matches!(self, Self::Special | Self::Added)
    }
}

/// The tokens of a file, no two of them the same.
#[derive(Debug)]
pub(super) struct Vocabulary<'m> {
    texts: Vec<Cow<'m, str>>,
    kinds: Vec<TokenKind>,
    ids: HashMap<&'m str, u32>,
    scores: Option<Vec<f32>>,
}

impl<'m> Vocabulary<'m> {
    /// Reads the tokens with their types and scores. Where a file has no types, all tokens are
    /// pieces but those of the ids in `special`.
    pub(super) fn read(metadata: &'m Metadata, special: &[u32]) -> Result<Self, LoadError> {
        let list = tokens(metadata)?;
        let mut ids = HashMap::with_capacity(list.len());
        let mut texts = Vec::with_capacity(list.len());
        for (id, text) in (0..).zip(list.iter()) {
            // A token without text is one that no text becomes.
            if text.is_empty() {
                texts.push(Cow::Owned(format!("[EMPTY_{id}]")));
                continue;
            }
            texts.push(Cow::Borrowed(text));
            match ids.entry(text) {
                Entry::Vacant(place) => drop(place.insert(id)),
                Entry::Occupied(first) => {
                    let expected = format!("tokens that differ, but {} and {id} are the same", first.get());
                    return Err(metadata.error(TOKENS, expected));
                }
            }
        }
        let is_taken =
            |text: &&Cow<'_, str>| matches!(text, Cow::Owned(name) if ids.contains_key(name.as_str()));
        if let Some(name) = texts.iter().find(is_taken) {
            return Err(metadata.error(TOKENS, format!("no token {name:?}")));
        }
        let kinds = kinds(metadata, &texts, special)?;
        let matched = kinds.iter().filter(|kind| kind.is_matched()).count();
        if matched > MATCHED_MAX {
            let expected = format!("at most {MATCHED_MAX} of types 2, 3 and 4, but {matched} are");
            return Err(metadata.error(TYPES, expected));
        }
        let scores = metadata.floats(SCORES)?.map(Iterator::collect::<Vec<f32>>);
        if scores.as_ref().is_some_and(|scores| scores.len() != texts.len()) {
            return Err(metadata.error(SCORES, format!("one for each of {} tokens", texts.len())));
        }
        Ok(Self { texts, kinds, ids, scores })
    }

    /// How many tokens there are; ids are below.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The text of a token, as the file writes it.
    ///
    /// # Panics
    /// If there is no such id.
    pub(super) fn text(&self, id: u32) -> &str {
        &self.texts[id as usize]
    }

    /// What a token is for.
    ///
    /// # Panics
    /// If there is no such id.
    pub(super) fn kind(&self, id: u32) -> TokenKind {
        self.kinds[id as usize]
    }

    /// The id of a token by its text.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// The ids with their texts, in order of id.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, &str)> + ExactSizeIterator {
        self.texts.iter().enumerate().map(|(id, text)| (id as u32, text.as_ref()))
    }

    /// How early a piece is merged, the higher the earlier; 0 where the file has no scores.
    pub(super) fn score(&self, id: u32) -> f32 {
        // 0 and -0 are the same score.
        self.scores.as_ref().map_or(0.0, |scores| scores[id as usize] + 0.0)
    }
}

/// The tokens that a file has, as many as there may be.
pub(super) fn tokens(metadata: &Metadata) -> Result<&Texts, LoadError> {
    let list = metadata.texts(TOKENS)?.filter(|list| (1..=TOKENS_MAX).contains(&list.len()));
    list.ok_or_else(|| metadata.error(TOKENS, format!("1 to {TOKENS_MAX} tokens")))
}

/// What each token is for.
fn kinds(metadata: &Metadata, texts: &[Cow<'_, str>], special: &[u32]) -> Result<Vec<TokenKind>, LoadError> {
    let without_text = |id: usize| matches!(texts[id], Cow::Owned(_));
    let mut kinds = match metadata.integers(TYPES)? {
        Some(types) if types.len() != texts.len() => {
            return Err(metadata.error(TYPES, format!("one for each of {} tokens", texts.len())));
        }
        Some(types) => types
            .map(|number| {
                TokenKind::of(number)
                    .ok_or_else(|| metadata.error(TYPES, format!("numbers from 0 to 6, but one is {number}")))
            })
            .collect::<Result<Vec<_>, _>>()?,
        None => {
            let is_special = |id: usize| special.contains(&(id as u32));
            let kind = |id| if is_special(id) { TokenKind::Special } else { TokenKind::Piece };
            (0..texts.len()).map(kind).collect()
        }
    };
    for (_, kind) in kinds.iter_mut().enumerate().filter(|(id, _)| without_text(*id)) {
        *kind = TokenKind::Unused;
    }
    Ok(kinds)
}
