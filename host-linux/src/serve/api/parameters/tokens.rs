//! What the endpoints of tokens and templates take.
use super::endpoint::{APPLY_TEMPLATE, DETOKENIZE, TOKENIZE};
use super::parameter::Plain::EmptyObject;
use super::parameter::{OBJECT, Parameter, Schema, TOKENS, refused, used};
use super::prompts::CONVERSATION;

pub(super) const ROWS: &[Parameter] = &[
    used("prompt", TOKENIZE, Schema::Text, "The text whose tokens are told."),
    used("content", TOKENIZE, Schema::Text, "llama-server's name of `prompt`."),
    used("messages", TOKENIZE | APPLY_TEMPLATE, CONVERSATION, "The conversation that is rendered."),
    used("add_special_tokens", TOKENIZE, Schema::Bool, "Whether special tokens are added."),
    used("add_special", TOKENIZE, Schema::Bool, "llama-server's name of `add_special_tokens`."),
    used(
        "parse_special",
        TOKENIZE,
        Schema::Bool,
        "Whether names of special tokens in `content` are those tokens; true without it.",
    ),
    used("return_token_strs", TOKENIZE, Schema::Bool, "Tells the text of each token, too."),
    used(
        "with_pieces",
        TOKENIZE,
        Schema::Bool,
        "Tells the text of each token beside its id, as llama-server does.",
    ),
    used("tokens", DETOKENIZE, TOKENS, "The token ids whose text is told."),
    refused("mm_processor_kwargs", TOKENIZE, &[EmptyObject], OBJECT, "Arguments of a reader of images."),
    refused("media_io_kwargs", TOKENIZE, &[EmptyObject], OBJECT, "Arguments of a reader of images."),
];
