//! Names that one generating endpoint takes or refuses, at the others: what they would ask for is
//! said otherwise there, or not at all, so that none is passed over.
use super::endpoint::{
    CHAT, COMPLETIONS, Endpoints, GENERATES, MESSAGES, OLLAMA, OLLAMA_CHAT, OLLAMA_GENERATE, OPENAI,
    RESPONSES,
};
use super::parameter::Plain::{Bool, EmptyList, EmptyObject, Number, OfType, Text};
use super::parameter::{COUNT, OBJECT, Parameter, Plain, REAL, Schema, TEXTS, WHOLE, inert, refused};

const NONE: &[Plain] = &[];
const ZERO: &[Plain] = &[Number(0.0)];
const ONE: &[Plain] = &[Number(1.0)];
const FALSE: &[Plain] = &[Bool(false)];

/// The endpoints that take a form of the output under one name of their own.
const OTHERS: Endpoints = RESPONSES | MESSAGES | OLLAMA;
/// Those that have no structured outputs as vLLM's clients ask for them.
const WITHOUT_VLLM: Endpoints = MESSAGES | OLLAMA;

/// Where the form of the output is asked for at the endpoints that refuse another name of it.
const FORM: &str = "The form of the output; it is `text.format`, `output_config.format` or `format` at the \
                    endpoints of other APIs, each by its own name.";
/// Where a conversation or a prompt stands.
const PLACE: &str =
    "What is answered; it is `prompt`, `messages` or `input`, as the endpoint's own clients say it.";
/// Where the length of the output stands.
const LENGTH: &str = "Tokens of the output, at most; it is `max_tokens`, `max_output_tokens` or \
                      `options.num_predict`, as the endpoint's own clients say it.";
/// Where Ollama's clients say how tokens are drawn.
const OPTION: &str = "It stands in `options` here.";

pub(super) const ROWS: &[Parameter] = &[
    // How tokens are drawn stands in `options` of Ollama's endpoints.
    refused("temperature", OLLAMA, NONE, REAL, OPTION),
    refused("top_p", OLLAMA, NONE, REAL, OPTION),
    refused("top_k", OLLAMA, NONE, WHOLE, OPTION),
    refused("min_p", OLLAMA, ZERO, REAL, OPTION),
    refused("seed", OLLAMA, NONE, WHOLE, OPTION),
    refused("stop", OLLAMA, &[EmptyList], TEXTS, OPTION),
    refused("presence_penalty", OLLAMA, ZERO, REAL, OPTION),
    refused("frequency_penalty", OLLAMA, ZERO, REAL, OPTION),
    refused("repetition_penalty", OLLAMA, ONE, REAL, "It is `repeat_penalty` in `options` here."),
    refused("logit_bias", OLLAMA, &[EmptyObject], OBJECT, "Adds to logits; /v1/chat/completions takes it."),
    refused("ignore_eos", OLLAMA, FALSE, Schema::Bool, "Goes on after an end; /v1/completions takes it."),
    refused("min_tokens", OLLAMA, ZERO, COUNT, "Tokens before an end; /v1/completions takes it."),
    refused("n", OLLAMA, ONE, COUNT, "Several choices; this endpoint gives one."),
    // The form of the output.
    refused("response_format", OLLAMA, &[OfType("text")], Schema::Any, "It is `format` here."),
    refused("structured_outputs", WITHOUT_VLLM, &[EmptyObject], Schema::Any, FORM),
    refused("guided_json", OTHERS, NONE, Schema::Any, FORM),
    refused("guided_regex", OTHERS, NONE, Schema::Text, FORM),
    refused("guided_choice", OTHERS, NONE, TEXTS, FORM),
    refused("guided_grammar", OTHERS, NONE, Schema::Text, FORM),
    refused("grammar", OTHERS, &[Text("")], Schema::Text, FORM),
    refused("json_schema", OTHERS, NONE, Schema::Any, FORM),
    refused("format", GENERATES & !OLLAMA, &[Text("")], Schema::Any, FORM),
    refused("text", GENERATES & !RESPONSES, NONE, Schema::Any, FORM),
    refused("output_config", GENERATES & !MESSAGES, &[EmptyObject], OBJECT, FORM),
    refused("output_format", GENERATES & !MESSAGES, NONE, Schema::Any, FORM),
    // What is answered.
    refused("input", GENERATES & !RESPONSES, NONE, Schema::Any, PLACE),
    refused("messages", COMPLETIONS | OLLAMA_GENERATE, &[EmptyList], Schema::Any, PLACE),
    refused("prompt", CHAT | OLLAMA_CHAT, &[Text("")], Schema::Any, PLACE),
    refused("instructions", GENERATES & !RESPONSES, &[Text("")], Schema::Text, "A system prompt of `input`."),
    refused(
        "resume",
        OTHERS,
        NONE,
        OBJECT,
        "Goes on where an answer was cut; /v1/completions and /v1/chat/completions take it.",
    ),
    refused(
        "raw",
        GENERATES & !OLLAMA_GENERATE,
        FALSE,
        Schema::Bool,
        "Leaves the template out; see /v1/completions.",
    ),
    refused(
        "template",
        GENERATES & !OLLAMA,
        &[Text("")],
        Schema::Text,
        "A template of the request's own; the server's is chosen with option `chat-template`.",
    ),
    refused(
        "context",
        GENERATES & !OLLAMA_GENERATE,
        &[EmptyList],
        Schema::Any,
        "The ids of an earlier conversation.",
    ),
    refused(
        "add_special_tokens",
        OTHERS,
        NONE,
        Schema::Bool,
        "Whether special tokens are added to the prompt.",
    ),
    // How long the output is.
    refused("max_tokens", OLLAMA, NONE, COUNT, LENGTH),
    refused("max_completion_tokens", OLLAMA, NONE, COUNT, LENGTH),
    refused("max_output_tokens", GENERATES & !RESPONSES, NONE, COUNT, LENGTH),
    // What is told of it.
    refused(
        "logprobs",
        RESPONSES,
        FALSE,
        Schema::Any,
        "Probabilities of tokens; `include` asks for them here.",
    ),
    refused("logprobs", MESSAGES, FALSE, Schema::Any, "Probabilities of tokens; this endpoint tells none."),
    refused("top_logprobs", MESSAGES, ZERO, COUNT, "Probabilities of tokens; this endpoint tells none."),
    refused("top_logprobs", COMPLETIONS, ZERO, COUNT, "`logprobs` is the number here."),
    refused(
        "prompt_logprobs",
        OTHERS,
        NONE,
        COUNT,
        "Probabilities of the prompt; /v1/completions tells them.",
    ),
    refused("return_tokens_as_token_ids", OTHERS, FALSE, Schema::Bool, "Names tokens by their ids."),
    refused(
        "include",
        GENERATES & !RESPONSES,
        &[EmptyList],
        Schema::Any,
        "What /v1/responses tells besides.",
    ),
    inert("stream_options", MESSAGES | OLLAMA, OBJECT, "What a stream tells; its end always has the usage."),
    // How the model thinks, and what it calls.
    refused("reasoning_effort", OLLAMA, NONE, Schema::Text, "It is `think` here."),
    refused("reasoning", MESSAGES, NONE, Schema::Any, "How the model thinks; it is `thinking` here."),
    refused("reasoning", OLLAMA, NONE, Schema::Any, "How the model thinks; it is `think` here."),
    refused(
        "parallel_tool_calls",
        MESSAGES,
        &[Bool(true)],
        Schema::Bool,
        "It is `tool_choice.disable_parallel_tool_use` here.",
    ),
    refused(
        "parallel_tool_calls",
        OLLAMA_CHAT,
        &[Bool(true)],
        Schema::Bool,
        "Whether one message may have several calls; /v1/chat/completions takes it.",
    ),
    refused(
        "mcp_servers",
        GENERATES & !MESSAGES,
        &[EmptyList],
        Schema::Any,
        "Tools elsewhere; the server calls none.",
    ),
    refused("container", GENERATES & !MESSAGES, NONE, Schema::Any, "A place where code runs; none does."),
    refused(
        "betas",
        GENERATES & !MESSAGES,
        &[EmptyList],
        TEXTS,
        "Features of Anthropic's that are not settled.",
    ),
    // What is kept elsewhere, and what draws images.
    refused("context_management", OPENAI | OLLAMA, &[EmptyList], Schema::Any, "Shortens long conversations."),
    refused(
        "width",
        GENERATES & !OLLAMA_GENERATE,
        ZERO,
        COUNT,
        "The width of an image; the models write text alone.",
    ),
    refused(
        "height",
        GENERATES & !OLLAMA_GENERATE,
        ZERO,
        COUNT,
        "The height of an image; the models write text alone.",
    ),
    refused(
        "steps",
        GENERATES & !OLLAMA_GENERATE,
        ZERO,
        COUNT,
        "The steps of an image; the models write text alone.",
    ),
];
