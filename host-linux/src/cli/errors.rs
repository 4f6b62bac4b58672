//! The errors and notes of the library in words of the flags that lead to them or out of them.
use crate::load::{LoadError, LoadNote, NotCompressed};
use crate::runtime::{DraftError, Limit, LimitError, Note, OpenError};

/// Why a model cannot be opened.
pub(super) fn open(error: &OpenError) -> String {
    match error {
        OpenError::Workers { error, .. } => format!("--threads: {error}"),
        OpenError::Load(error) => load(error),
        OpenError::Limit(error) => limit(error),
        OpenError::Draft(error) => draft(error),
        OpenError::NoTokenizer { .. } | OpenError::Text(_) | OpenError::Plan(_) => error.to_string(),
    }
}

/// Why a model cannot be loaded.
pub(super) fn load(error: &LoadError) -> String {
    match error {
        LoadError::NotCodable { .. } => format!("{error}, expected no --compress on"),
        LoadError::NotFound { .. } => {
            format!("{error}; expected a path, or ORG/NAME of the Hugging Face Hub")
        }
        LoadError::Io { action: "map", .. } => format!("{error} (--copy reads the file instead)"),
        _ => error.to_string(),
    }
}

fn flag(limit: Limit) -> &'static str {
    match limit {
        Limit::ModelLen => "--max-model-len",
        Limit::Sequences => "--max-seqs",
        Limit::Queue => "--max-queue",
        Limit::KvTokens => "--kv-tokens",
        Limit::Rows => "--max-rows",
        Limit::Workers => "--threads",
    }
}

fn limit(error: &LimitError) -> String {
    match *error {
        LimitError::Range { limit, found, min, max } => {
            let whose = if limit == Limit::ModelLen { "the model's " } else { "" };
            format!("{} {found}: expected between {min} and {whose}{max}", flag(limit))
        }
        LimitError::KvBelowContext { kv_tokens, model_len, is_given } => {
            let what = if is_given { flag(Limit::KvTokens) } else { "memory for" };
            format!("{what} {kv_tokens} tokens: expected at least {} {model_len}", flag(Limit::ModelLen))
        }
    }
}

fn draft(error: &DraftError) -> String {
    match error {
        DraftError::SameFormat => format!("--speculate self: {error}"),
        DraftError::SameLoad(error) => format!("--speculate self: {}", load(error)),
        DraftError::SameImage { .. } => format!(
            "--speculate self: {error}; serve the checkpoint, or give --speculate an image packed with --weights int4"
        ),
        DraftError::Load(error) => format!("--speculate: {}", load(error)),
        DraftError::Vocabulary { .. } => format!("--speculate {error}"),
        DraftError::Plan(_) => format!("--speculate: {error}"),
    }
}

/// What a user may not expect of a model: what it is, what it costs, and what to do about it.
/// `None` if there is nothing to do.
pub(super) fn note(note: &Note) -> Option<String> {
    let hint = match note {
        Note::ContextCut { .. } => {
            "longer requests are refused; --kv int8, --kv-tokens or free memory make room"
        }
        Note::Model(of) | Note::DraftModel(of) => match of {
            LoadNote::NotCompressed(NotCompressed::TooManyExponents { .. }) => return None,
            LoadNote::NotCompressed(NotCompressed::NoGain(_) | NotCompressed::Image(_)) => {
                "so they take 16 bits each, not 12; --compress on does it all the same"
            }
            LoadNote::Compressed(_) => {
                "so it decodes slower; `verbatim pack --compress off` makes another image"
            }
            LoadNote::RoundedToBf16 { .. } => "--weights f32 keeps all of them, in twice the memory",
            LoadNote::Quantized(_) => {
                "answers are not quite the source's; bf16 weights are closer, in more memory"
            }
        },
    };
    Some(format!("{note} ({hint})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::NoGain;
    use std::path::PathBuf;

    #[test]
    fn limits_are_told_by_their_flags() {
        let range = |limit, found| limit_text(LimitError::Range { limit, found, min: 1, max: 512 });
        assert_eq!(
            range(Limit::ModelLen, 513),
            "--max-model-len 513: expected between 1 and the model's 512"
        );
        assert_eq!(range(Limit::Rows, 0), "--max-rows 0: expected between 1 and 512");
        let below =
            |is_given| limit_text(LimitError::KvBelowContext { kv_tokens: 100, model_len: 200, is_given });
        assert_eq!(below(true), "--kv-tokens 100 tokens: expected at least --max-model-len 200");
        assert_eq!(below(false), "memory for 100 tokens: expected at least --max-model-len 200");
    }

    fn limit_text(error: LimitError) -> String {
        open(&OpenError::Limit(error))
    }

    #[test]
    fn what_a_flag_can_change_names_the_flag() {
        let note = |of: &Note| note(of).expect("there is something to do");
        let path = PathBuf::from("x.vb");
        let image = open(&OpenError::Draft(DraftError::SameImage { path: path.clone() }));
        assert!(image.starts_with("--speculate self: x.vb is an image"), "{image}");
        let codable = load(&LoadError::NotCodable { path, name: "q".to_owned() });
        assert!(codable.ends_with("expected no --compress on"), "{codable}");
        let why = NoGain::InstructionSet { isa: "portable" };
        assert_eq!(
            note(&Note::Model(LoadNote::NotCompressed(NotCompressed::NoGain(why)))),
            "weights are not compressed: that is not known to pay on portable \
             (so they take 16 bits each, not 12; --compress on does it all the same)"
        );
        assert_eq!(
            note(&Note::DraftModel(LoadNote::Compressed(why))),
            "the draft model: weights are compressed: that is not known to pay on portable \
             (so it decodes slower; `verbatim pack --compress off` makes another image)"
        );
        let cut = Note::ContextCut { capacity: 96, model_len: 128 };
        assert_eq!(
            note(&cut),
            "the context is 96 tokens, not 128: that is the KV capacity \
             (longer requests are refused; --kv int8, --kv-tokens or free memory make room)"
        );
        let nothing_to_do = NotCompressed::TooManyExponents { tensor: "q".to_owned() };
        assert_eq!(super::note(&Note::Model(LoadNote::NotCompressed(nothing_to_do))), None);
    }
}
