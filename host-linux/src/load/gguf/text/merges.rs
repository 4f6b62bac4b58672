//! The merges of a vocabulary: which two pieces become one, the earliest first.
//!
//! Byte-level vocabularies bring them. Those of SentencePiece mostly bring scores instead, by which
//! any two neighbours that make a token are merged, the highest score first. The same comes of
//! merges: for each piece all ways to cut it in two that are pieces themselves, in order of the
//! scores of the whole.
use super::vocabulary::{TokenKind, Vocabulary};
use crate::load::error::LoadError;
use crate::load::gguf::metadata::Metadata;
use crate::text::quote::quote;

/// The key of the merges.
const MERGES: &str = "tokenizer.ggml.merges";
/// Bytes that are compared to cut all pieces at all places, at most: about two seconds. A
/// vocabulary of 262,144 pieces takes a hundredth of them.
const CUT_BYTES_MAX: usize = 1 << 31;
/// Bytes of the merges that were made of pieces, at most: a sixteenth of a `tokenizer.json`.
const MADE_BYTES_MAX: usize = 64 << 20;

/// Two pieces that become one, by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Merge {
    /// The piece on the left.
    pub(super) left: u32,
    /// The piece on the right.
    pub(super) right: u32,
    /// The piece that the two become, whose text is theirs together.
    pub(super) whole: u32,
}

/// The merges that a file has, each `LEFT RIGHT`; `None` if it has none.
pub(super) fn given(
    metadata: &Metadata,
    vocabulary: &Vocabulary<'_>,
) -> Result<Option<Vec<Merge>>, LoadError> {
    let Some(list) = metadata.texts(MERGES)? else { return Ok(None) };
    let mut merges = Vec::with_capacity(list.len());
    let mut whole = String::new();
    for merge in list.iter() {
        // A piece may begin with a space, but for the first none has one.
        let cut = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
        let found = cut.and_then(|(at, _)| {
            let (left, right) = (&merge[..at], &merge[at + 1..]);
            whole.clear();
            whole.extend([left, right]);
            let id = |text| vocabulary.id(text);
            Some(Merge { left: id(left)?, right: id(right)?, whole: id(&whole)? })
        });
        merges.push(found.ok_or_else(|| {
            let expected = format!("two tokens that make a third, but one is \"{}\"", quote(merge));
            metadata.error(MERGES, expected)
        })?);
    }
    Ok(Some(merges))
}

/// The merges that a file must have; an error that says so if it has none.
pub(super) fn required(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Vec<Merge>, LoadError> {
    given(metadata, vocabulary)?.ok_or_else(|| metadata.error(MERGES, "the merges of the tokenizer"))
}

/// The merges that scores stand for. Pieces of one score are merged in order of their ids.
pub(super) fn derived(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Vec<Merge>, LoadError> {
    let is_piece = |id: u32| vocabulary.kind(id) == TokenKind::Piece;
    let mut work = 0_usize;
    let mut made = 0;
    let mut merges: Vec<Merge> = Vec::new();
    for (whole, text) in vocabulary.iter().filter(|(id, _)| is_piece(*id)) {
        work = work.saturating_add(text.len().saturating_mul(text.len()));
        if work > CUT_BYTES_MAX || made > MADE_BYTES_MAX {
            return Err(metadata.error(MERGES, "the merges of a tokenizer with tokens as long as these"));
        }
        let first = merges.len();
        for (at, _) in text.char_indices().skip(1) {
            let piece = |text| vocabulary.id(text).filter(|id| is_piece(*id));
            if let Some(left) = piece(&text[..at])
                && let Some(right) = piece(&text[at..])
            {
                merges.push(Merge { left, right, whole });
            }
        }
        merges[first..].sort_unstable();
        made += (merges.len() - first) * text.len();
    }
    // Stable: the ways to make a piece stay in their order.
    let score = |merge: &Merge| vocabulary.score(merge.whole);
    merges.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.whole.cmp(&b.whole)));
    Ok(merges)
}
