//! What the endpoints of vectors and scores take.
use super::endpoint::{EMBEDDINGS, OLLAMA_EMBED, POOLS, RERANK, SCORE};
use super::parameter::Plain::{Bool, EmptyList, EmptyObject, Text};
use super::parameter::{MANY, OBJECT, Parameter, Schema, TOKENS, WHOLE, inert, refused, used};
use super::prompts::CONVERSATION;

/// The endpoints of OpenAI's and vLLM's shapes.
const OWN: u32 = EMBEDDINGS | RERANK | SCORE;

/// Texts or token ids: one, or several.
const TEXTS_OR_IDS: Schema = Schema::OneOf(&[Schema::Text, TOKENS, Schema::List(&TEXT_OR_IDS, 0, MANY)]);
/// A text, or its token ids.
const TEXT_OR_IDS: Schema = Schema::OneOf(&[Schema::Text, TOKENS]);
/// A text, or an object whose field `text` is one.
const DOCUMENT: Schema = Schema::OneOf(&[Schema::Text, OBJECT]);
/// One text, or several.
const ONE_OR_MORE: Schema = Schema::OneOf(&[Schema::Text, OBJECT, Schema::List(&DOCUMENT, 0, MANY)]);

pub(super) const ROWS: &[Parameter] = &[
    used("input", EMBEDDINGS, TEXTS_OR_IDS, "The texts or token ids whose vectors are computed."),
    used(
        "messages",
        EMBEDDINGS,
        CONVERSATION,
        "A conversation whose vector is computed, in place of `input`.",
    ),
    used("encoding_format", EMBEDDINGS, Schema::Choice(&["float", "base64"]), "How numbers are written."),
    used("dimensions", EMBEDDINGS, Schema::Integer(1, 1 << 20), "Numbers of a vector that are kept."),
    used(
        "truncate_prompt_tokens",
        OWN,
        Schema::Integer(-1, i64::MAX),
        "Keeps so many of a text's tokens; -1 is as many as the context has room for.",
    ),
    used(
        "add_special_tokens",
        OWN,
        Schema::Bool,
        "Whether special tokens are added to texts; true without it.",
    ),
    used("cache_salt", OWN, Schema::Nonempty, "Prefixes are shared only among requests with the same salt."),
    refused("truncate_prompt_tokens", OLLAMA_EMBED, &[], WHOLE, "Cuts texts that are too long."),
    refused("truncation_side", POOLS, &[], Schema::Text, "Which end `truncate_prompt_tokens` cuts off."),
    refused(
        "embed_dtype",
        EMBEDDINGS,
        &[Text("float32")],
        Schema::Text,
        "The format of the numbers in base64.",
    ),
    refused(
        "endianness",
        EMBEDDINGS,
        &[Text("native"), Text("little")],
        Schema::Text,
        "The order of bytes in base64.",
    ),
    refused(
        "embd_normalize",
        EMBEDDINGS,
        &[],
        Schema::Any,
        "The norm of vectors; the model's own files say it.",
    ),
    refused("normalize", EMBEDDINGS, &[], Schema::Bool, "The norm of vectors; the model's own files say it."),
    refused("content", EMBEDDINGS, &[], Schema::Any, "It is `input` here."),
    refused(
        "input_type",
        EMBEDDINGS,
        &[],
        Schema::Text,
        "What a text is for; begin it with the instruction.",
    ),
    refused("chat_template", EMBEDDINGS, &[], Schema::Text, "A template of the request's own."),
    refused("chat_template_kwargs", EMBEDDINGS, &[EmptyObject], OBJECT, "Variables for the chat template."),
    refused("use_activation", POOLS, &[Bool(true)], Schema::Bool, "Whether scores are normalized."),
    refused("padding", POOLS, &[Text("do_not_pad")], Schema::Text, "Pads texts."),
    refused("mm_processor_kwargs", POOLS, &[EmptyObject], OBJECT, "Arguments of a reader of images."),
    inert("priority", POOLS, WHOLE, "When it is its turn; each waits for those before it."),
    used("query", RERANK, DOCUMENT, "The text that the documents are compared with."),
    used("documents", RERANK, Schema::List(&DOCUMENT, 0, MANY), "The texts that are put in order."),
    used("top_n", RERANK, Schema::Integer(0, u32::MAX as i64), "How many of the best are told; 0 is all."),
    used("return_documents", RERANK, Schema::Bool, "Whether the texts are told; true without it."),
    refused("texts", RERANK, &[EmptyList], Schema::Any, "They are `documents` here."),
    refused("max_tokens_per_doc", RERANK, &[], Schema::Any, "Cuts documents; `truncate_prompt_tokens` does."),
    refused("max_chunks_per_doc", RERANK, &[], Schema::Any, "Cuts documents into pieces."),
    refused("rank_fields", RERANK, &[EmptyList], Schema::Any, "The fields of documents that are read."),
    refused("raw_scores", RERANK, &[Bool(false)], Schema::Bool, "Scores before they are normalized."),
    refused("return_text", RERANK, &[Bool(false)], Schema::Bool, "It is `return_documents` here."),
    used("text_1", SCORE, ONE_OR_MORE, "One text, or several."),
    used("text_2", SCORE, ONE_OR_MORE, "The texts that those of `text_1` are compared with."),
    refused("queries", SCORE, &[], Schema::Any, "It is `text_1` here."),
    refused("data_1", SCORE, &[], Schema::Any, "It is `text_1` here."),
    refused("documents", SCORE, &[], Schema::Any, "It is `text_2` here."),
    refused("items", SCORE, &[], Schema::Any, "It is `text_2` here."),
    refused("data_2", SCORE, &[], Schema::Any, "It is `text_2` here."),
];
