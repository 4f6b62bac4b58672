//! What the model goes on from: prompts, conversations, and how they become tokens.
use super::endpoint::{APPLY_TEMPLATE, CHAT, COMPLETIONS, GENERATES, OPENAI, RENDERS, TOKENIZE};
use super::endpoint::{
    COUNT_TOKENS, DETOKENIZE, EMBEDDINGS, MESSAGES, OLLAMA_CHAT, OLLAMA_GENERATE, RERANK, RESPONSES, SCORE,
};
use super::parameter::Plain::{Bool, EmptyList, EmptyObject, Number, Text};
use super::parameter::{COUNT, INNER, MANY, OBJECT, Parameter, Schema, TEXTS, TOKENS, refused, used};

/// A prompt of text or ids, or several.
pub(super) const PROMPT: Schema =
    Schema::OneOf(&[Schema::Text, TOKENS, TEXTS, Schema::List(&TOKENS, 0, MANY)]);

/// A conversation of one message at least.
pub(super) const CONVERSATION: Schema = Schema::List(&OBJECT, 1, MANY);

/// Lists of ids, one for each of several, or the list of one alone.
const LISTS: Schema = Schema::OneOf(&[TOKENS, Schema::List(&Schema::Any, 1, MANY)]);

const RESUME: &[Parameter] = &[
    used(
        "token_ids",
        INNER,
        LISTS,
        "The ids that each choice has so far, in the order of `index`; null for one that had ended. One \
         choice may give its list alone. With `resume.prompt_tokens` in chat: prompt and output.",
    ),
    used(
        "prompt_token_ids",
        INNER,
        LISTS,
        "The ids of the prompt, or a list for each of several, as they were told. Neither tokenizer nor \
         template is asked then.",
    ),
    used("fingerprint", INNER, Schema::Text, "As `system_fingerprint`."),
    used(
        "prompt_tokens",
        INNER,
        Schema::Integer(1, u32::MAX as i64),
        "Of one choice, whose ids follow those of the prompt in one list: how many are the prompt. The \
         list is `prompt`, or in chat `resume.token_ids`.",
    ),
    used(
        "choice",
        INNER,
        Schema::Integer(0, u32::MAX as i64),
        "Beside `resume.prompt_tokens`: the number that the choice had.",
    ),
];

pub(super) const ROWS: &[Parameter] = &[
    used(
        "model",
        OPENAI
            | RESPONSES
            | MESSAGES
            | COUNT_TOKENS
            | EMBEDDINGS
            | RERANK
            | SCORE
            | TOKENIZE
            | DETOKENIZE
            | APPLY_TEMPLATE,
        Schema::Text,
        "The model that is asked: its name, or an alias. Without it, the one that is served.",
    ),
    used(
        "system_fingerprint",
        GENERATES,
        Schema::Text,
        "Where the server's fingerprint is another, it answers with status 409 and `code` \
         `fingerprint_mismatch`.",
    ),
    used("prompt", COMPLETIONS, PROMPT, "The text or token ids to go on from, or a list of either."),
    used(
        "messages",
        CHAT,
        CONVERSATION,
        "The conversation so far, oldest first, each with a role and content.",
    ),
    used(
        "resume",
        OPENAI,
        Schema::Table(RESUME),
        "Goes on where an answer was cut, with the same bits; all else stands in the body as it did, and \
         `seed` as it was told. See below.",
    ),
    refused(
        "suffix",
        GENERATES & !OLLAMA_GENERATE,
        &[Text("")],
        Schema::Text,
        "Text behind what is generated.",
    ),
    refused(
        "chat_template",
        RENDERS | GENERATES,
        &[],
        Schema::Text,
        "A template of the request's own; the server's is chosen with option `chat-template`.",
    ),
    used(
        "chat_template_kwargs",
        RENDERS | OLLAMA_GENERATE,
        OBJECT,
        "Variables for the chat template, such as `enable_thinking`.",
    ),
    refused(
        "chat_template_kwargs",
        COMPLETIONS,
        &[EmptyObject],
        OBJECT,
        "Variables for the chat template, such as `enable_thinking`.",
    ),
    used(
        "add_generation_prompt",
        CHAT | TOKENIZE | APPLY_TEMPLATE,
        Schema::Bool,
        "Whether the rendered conversation ends with the beginning of an answer.",
    )
    .or(Bool(true)),
    refused(
        "add_generation_prompt",
        (RENDERS | GENERATES) & !(CHAT | TOKENIZE | APPLY_TEMPLATE),
        &[Bool(true)],
        Schema::Bool,
        "Whether the rendered conversation ends with the beginning of an answer.",
    ),
    used(
        "continue_final_message",
        CHAT | TOKENIZE | APPLY_TEMPLATE,
        Schema::Bool,
        "Goes on with the last message rather than answering it.",
    )
    .or(Bool(false)),
    refused(
        "continue_final_message",
        (RENDERS | GENERATES) & !(CHAT | TOKENIZE | APPLY_TEMPLATE),
        &[Bool(false)],
        Schema::Bool,
        "Goes on with the last message rather than answering it.",
    ),
    refused(
        "add_special_tokens",
        CHAT,
        &[Bool(false)],
        Schema::Bool,
        "Adds special tokens to those of the template.",
    ),
    refused(
        "add_special_tokens",
        COMPLETIONS,
        &[Bool(true)],
        Schema::Bool,
        "Whether special tokens, such as that of the beginning, are added to a prompt of text.",
    ),
    used(
        "documents",
        CHAT,
        Schema::List(&OBJECT, 0, MANY),
        "Documents for templates that know them; refused where the model's does not.",
    ),
    refused(
        "documents",
        GENERATES & !CHAT,
        &[EmptyList],
        Schema::List(&Schema::Any, 0, MANY),
        "Documents for templates that quote them; put their text into a message.",
    ),
    used(
        "truncate_prompt_tokens",
        OPENAI,
        Schema::Integer(-1, i64::MAX),
        "Keeps so many of the prompt's last tokens; -1 as many as leave room for `max_tokens`. Without it a \
         prompt that is too long is refused.",
    ),
    refused(
        "truncate_prompt_tokens",
        GENERATES & !OPENAI,
        &[],
        Schema::Integer(-1, i64::MAX),
        "Keeps so many of the prompt's last tokens. A prompt that is too long is refused otherwise.",
    ),
    refused(
        "truncation_side",
        GENERATES,
        &[Text("left")],
        Schema::Choice(&["left", "right"]),
        "Which end of the prompt `truncate_prompt_tokens` cuts off.",
    ),
    refused("prompt_embeds", GENERATES, &[], Schema::Any, "Vectors instead of a prompt."),
    refused(
        "images",
        GENERATES & !(OLLAMA_CHAT | OLLAMA_GENERATE),
        &[EmptyList],
        Schema::List(&Schema::Any, 0, MANY),
        "Images; the models read text alone.",
    ),
    refused("audio", GENERATES, &[], Schema::Any, "An answer as sound; the models write text alone."),
    refused(
        "modalities",
        GENERATES,
        &[EmptyList, super::parameter::Plain::ListOf("text")],
        Schema::List(&Schema::Choice(&["text", "audio"]), 0, MANY),
        "What the answer is made of; the models write text alone.",
    ),
    refused(
        "mm_processor_kwargs",
        GENERATES,
        &[EmptyObject],
        OBJECT,
        "Arguments of a reader of images or sound, of which there is none.",
    ),
    refused(
        "media_io_kwargs",
        GENERATES,
        &[EmptyObject],
        OBJECT,
        "Arguments of a reader of images or sound, of which there is none.",
    ),
    refused(
        "system",
        OPENAI | RESPONSES | OLLAMA_CHAT,
        &[Text("")],
        Schema::Text,
        "A system prompt; it is the first message here, of role `system`.",
    ),
    refused(
        "n_keep",
        GENERATES,
        &[Number(0.0)],
        Schema::Integer(-1, i64::MAX),
        "Tokens of the prompt that stay when \
         the context is full; here the output ends then.",
    ),
    refused(
        "n_discard",
        GENERATES,
        &[Number(0.0)],
        COUNT,
        "Tokens that are dropped when the context is full; here the \
         output ends then.",
    ),
];
