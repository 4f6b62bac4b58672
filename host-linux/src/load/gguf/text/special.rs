//! The tokens of a GGUF file that stand for no text: what begins a text and what ends it.
use super::vocabulary::Vocabulary;
use crate::load::error::LoadError;
use crate::load::gguf::metadata::Metadata;

/// Texts of special tokens that end a turn. Files name one end, at most three; the models' own
/// `generation_config.json` names all that the model was trained to stop with.
const ENDS: &[&str] = &[
    "</s>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<eos>",
    "<EOT>",
    "<turn|>",
    "<|tool_response>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
];

/// With this token, `<|end|>` ends a message within a turn.
const HARMONY_END: &str = "<|return|>";

/// The ids of special tokens that a file names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpecialIds {
    /// What begins a text.
    pub(super) bos: Option<u32>,
    /// What ends a text.
    pub(super) eos: Option<u32>,
    /// What ends a turn.
    pub(super) eot: Option<u32>,
    /// What ends a message in the middle of a turn.
    pub(super) eom: Option<u32>,
    /// What stands for text that no token covers.
    pub(super) unknown: Option<u32>,
    /// What fills up short texts.
    pub(super) padding: Option<u32>,
}

impl SpecialIds {
    /// Reads the ids, all of which are below `tokens`.
    pub(super) fn read(metadata: &Metadata, tokens: usize) -> Result<Self, LoadError> {
        let id = |name: &str| {
            let key = format!("tokenizer.ggml.{name}_token_id");
            let Some(id) = metadata.unsigned(&key)? else { return Ok(None) };
            let known = u32::try_from(id).ok().filter(|id| (*id as usize) < tokens);
            known.map(Some).ok_or_else(|| metadata.error(&key, format!("the id of one of {tokens} tokens")))
        };
        Ok(Self {
            bos: id("bos")?,
            eos: id("eos")?,
            eot: id("eot")?,
            eom: id("eom")?,
            unknown: id("unknown")?,
            padding: id("padding")?,
        })
    }

    /// All ids that there are.
    pub(super) fn all(&self) -> Vec<u32> {
        let Self { bos, eos, eot, eom, unknown, padding } = *self;
        [bos, eos, eot, eom, unknown, padding].into_iter().flatten().collect()
    }

    /// The ids that end a turn: those that are named, then those of known texts, each once.
    pub(super) fn ends(&self, vocabulary: &Vocabulary<'_>) -> Vec<u32> {
        let matched = |text: &&str| vocabulary.id(text).filter(|id| vocabulary.kind(*id).is_matched());
        let is_harmony = matched(&HARMONY_END).is_some();
        let known = ENDS.iter().filter(|text| !(is_harmony && **text == "<|end|>")).filter_map(matched);
        let mut ends = Vec::new();
        for id in [self.eos, self.eot, self.eom].into_iter().flatten().chain(known) {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
        ends
    }
}

/// The ids that are put before and behind a raw prompt: `tokenizer.ggml.add_bos_token` and
/// `add_eos_token`, or where the file does not say, what its kind of tokenizer does.
pub(super) fn around(
    metadata: &Metadata,
    ids: &SpecialIds,
    adds_bos: bool,
) -> Result<(Option<u32>, Option<u32>), LoadError> {
    let id = |id: Option<u32>, name: &str, by_default: bool| {
        let told = metadata.flag(&format!("tokenizer.ggml.add_{name}_token"))?;
        if told == Some(true) && id.is_none() {
            let key = format!("tokenizer.ggml.{name}_token_id");
            return Err(metadata.error(&key, format!("an id, because add_{name}_token is true")));
        }
        Ok(id.filter(|_| told.unwrap_or(by_default)))
    };
    Ok((id(ids.bos, "bos", adds_bos)?, id(ids.eos, "eos", false)?))
}
