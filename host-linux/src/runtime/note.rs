//! What a user should know about a model that was opened, though nothing is wrong.
use crate::load::LoadNote;

/// Something about an opened model that its user may not expect. `Display` is one line.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// About the served model.
    Model(LoadNote),
    /// About the draft model.
    DraftModel(LoadNote),
    /// The context is shorter than the model's, since the KV cache holds no more.
    ContextCut {
        /// The context, and the KV capacity, in tokens.
        capacity: usize,
        /// The model's own context.
        model_len: usize,
    },
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Model(note) => note.fmt(f),
            Self::DraftModel(note) => write!(f, "the draft model: {note}"),
            Self::ContextCut { capacity, model_len } => {
                write!(f, "the context is {capacity} tokens, not {model_len}: that is the KV capacity")
            }
        }
    }
}
