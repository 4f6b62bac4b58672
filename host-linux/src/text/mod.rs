//! Between strings and token ids.
//!
//! * [`tokenizer`]: text to ids, as Hugging Face's `tokenizers` does it.
//! * [`template`]: a conversation to the text that a model was trained on.
//! * [`conversation`]: messages to the ids of a prompt, through template and tokenizer.
//!   `tool_prompt`: calls of functions with templates that know none.
//! * [`detokenize`]: ids to text, a token at a time, never half a character.
//! * [`parts`]: an answer's text to reasoning, text and calls of functions.
//! * [`stop`]: stop strings, held back while they may still come.
//! * `byte_letters`: the letters of byte-level vocabularies. [`coverage`]: how many tokens a text
//!   has at least. [`quote`]: foreign text in errors. [`figures`]: numbers that people read.
//! * `caught`: panics of the libraries behind these, as errors of one request.
mod byte_letters;
mod caught;
pub mod conversation;
pub mod coverage;
pub mod detokenize;
pub mod error;
pub mod figures;
pub mod parts;
pub mod quote;
pub mod stop;
pub mod template;
pub mod tokenizer;
mod tool_prompt;

pub use conversation::{ChatEncoder, Conversation, RenderedChat};
pub use detokenize::Detokenizer;
pub use error::{TextError, TextPart};
pub use stop::{StopMatcher, StopStrings};
pub use template::{ChatTemplate, TemplateInput};
pub use tokenizer::Tokenizer;
