//! What can be wrong with tokenizers and templates.

/// What can panic in a library that this crate calls with a request's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPart {
    /// The tokenizer, from text to ids.
    Tokenizer,
    /// The chat template, from a conversation to text.
    Template,
    /// The decoder, from ids to text.
    Detokenizer,
}

/// An error in one line: where, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextError {
    /// A file of the model is not what it should be.
    File {
        /// The name of the file in the model's folder.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The model has no chat template.
    NoTemplate,
    /// A message of a conversation is not what it should be.
    Message {
        /// Its index in the conversation.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A conversation was rendered to nothing.
    EmptyPrompt,
    /// A template refused the conversation, or could not be rendered with it.
    Template(String),
    /// Text could not be encoded or ids not decoded.
    Encoding(String),
    /// A library panicked. It depends on the input alone, so it would again.
    Panicked(TextPart),
}

impl std::fmt::Display for TextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { file, problem } => write!(f, "{file}: {problem}"),
            Self::NoTemplate => f.write_str("the model has no chat template; use raw completions"),
            Self::Message { index, problem } => write!(f, "messages[{index}]: {problem}"),
            Self::EmptyPrompt => f.write_str("the rendered prompt is empty"),
            Self::Template(problem) => write!(f, "chat template: {problem}"),
            Self::Encoding(problem) => f.write_str(problem),
            Self::Panicked(part) => {
                let part = match part {
                    TextPart::Tokenizer => "the tokenizer",
                    TextPart::Template => "the chat template",
                    TextPart::Detokenizer => "the detokenizer",
                };
                write!(f, "{part} failed on this input: an internal error was reported on standard error")
            }
        }
    }
}

impl std::error::Error for TextError {}
