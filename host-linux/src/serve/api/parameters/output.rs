//! How long the output is, where it ends, and what is told of it.
use super::endpoint::{CHAT, COMPLETIONS, GENERATES, MESSAGES, OPENAI, RESPONSES};
use super::parameter::Plain::{Bool, Number};
use super::parameter::{INNER, MANY, Parameter, Schema, inert, refused, used};

/// The fields of `stream_options`.
pub(super) const STREAM_OPTIONS: &[Parameter] = &[
    used(
        "include_usage",
        INNER,
        Schema::Bool,
        "One more event before the last tells the usage; it has no choices.",
    ),
    used(
        "continuous_usage_stats",
        INNER,
        Schema::Bool,
        "With `include_usage`, every event tells the usage so far.",
    ),
    used(
        "interval_ms",
        INNER,
        Schema::Integer(0, 10_000),
        "Milliseconds between two events of a choice, at least: each tells all tokens since the one before, \
         which costs whatever stands between server and client less. The first comes at once, and nothing \
         waits longer than this. 0, as without it: each token is told as it comes.",
    ),
    inert(
        "include_obfuscation",
        INNER,
        Schema::Bool,
        "Padding against who listens on the network; no event has any here.",
    ),
];

/// Strings that end the output: one, or some.
const STOP: Schema = Schema::OneOf(&[Schema::Nonempty, Schema::List(&Schema::Nonempty, 0, 1 << 20)]);

pub(super) const ROWS: &[Parameter] = &[
    used(
        "stream",
        OPENAI | RESPONSES | MESSAGES,
        Schema::Bool,
        "The answer comes as server-sent events, a piece at a time.",
    )
    .or(Bool(false)),
    used("stream_options", OPENAI, Schema::Table(STREAM_OPTIONS), "What a stream tells; needs `stream`."),
    inert(
        "stream_options",
        RESPONSES,
        Schema::Table(&[inert(
            "include_obfuscation",
            INNER,
            Schema::Bool,
            "Padding against who listens on the network; no event has any here.",
        )]),
        "What a stream tells.",
    ),
    used(
        "max_tokens",
        COMPLETIONS | CHAT,
        Schema::Integer(0, i64::MAX),
        "Tokens of the output, at most. Without it 16 for completions, and for chat what the context has \
         room for. With 0 the prompt alone is computed, and scored if that is asked for.",
    ),
    used(
        "max_completion_tokens",
        COMPLETIONS | CHAT,
        Schema::Integer(0, i64::MAX),
        "The newer name of `max_tokens`, which it goes before.",
    ),
    used(
        "min_tokens",
        OPENAI | RESPONSES | MESSAGES,
        Schema::Integer(0, u32::MAX as i64),
        "Tokens before which neither an end token nor a stop string ends the output.",
    )
    .or(Number(0.0)),
    used(
        "stop",
        OPENAI | RESPONSES,
        STOP,
        "Strings that end the output and are not part of it. At most option `max-stop-strings`, of \
         option `max-stop-chars` characters each.",
    ),
    used(
        "include_stop_str_in_output",
        GENERATES,
        Schema::Bool,
        "The string or token of `stop` or `stop_token_ids` that ended the output is part of its text.",
    )
    .or(Bool(false)),
    used(
        "logprobs",
        COMPLETIONS,
        Schema::Integer(0, 20),
        "Lists the log-probability of each token, and so many of the likeliest in its place.",
    ),
    used("logprobs", CHAT, Schema::Bool, "Lists the log-probability of each token.").or(Bool(false)),
    used(
        "top_logprobs",
        CHAT,
        Schema::Integer(0, 20),
        "Lists so many of the likeliest tokens in each place; needs `logprobs`.",
    ),
    refused(
        "logprob_token_ids",
        GENERATES,
        &[],
        Schema::List(&super::parameter::TOKEN, 1, MANY),
        "Tokens whose log-probabilities are listed everywhere.",
    ),
    used(
        "prompt_logprobs",
        OPENAI,
        Schema::Integer(0, 20),
        "Lists the log-probability of each token of the prompt, and so many of the likeliest in its place. In \
         whole answers only.",
    ),
    used(
        "echo",
        OPENAI,
        Schema::Bool,
        "Begins the output with the prompt, and its logprobs where `logprobs` are listed. In chat, with the \
         last message if the answer goes on with it.",
    )
    .or(Bool(false)),
    refused("echo", GENERATES & !OPENAI, &[Bool(false)], Schema::Bool, "Begins the output with the prompt."),
    used(
        "return_tokens_as_token_ids",
        OPENAI,
        Schema::Bool,
        "Names tokens as `token_id:N` among the log-probabilities.",
    )
    .or(Bool(false)),
    used(
        "return_token_ids",
        GENERATES,
        Schema::Bool,
        "Tells the token ids of the prompt and of the output, from which a stream can be resumed.",
    )
    .or(Bool(false)),
    used(
        "skip_special_tokens",
        GENERATES,
        Schema::Bool,
        "Whether special tokens are left out of the text; true without it.",
    )
    .or(Bool(true)),
    refused(
        "spaces_between_special_tokens",
        GENERATES,
        &[Bool(true)],
        Schema::Bool,
        "Puts spaces between special tokens, which are not part of the text here.",
    ),
    refused(
        "detokenize",
        GENERATES,
        &[Bool(true)],
        Schema::Bool,
        "Leaves the text out of the answer; `return_token_ids` adds the ids to it.",
    ),
    inert(
        "stream_interval",
        OPENAI,
        Schema::Integer(1, i64::MAX),
        "Tokens of one event. Here each event has what is ready; the text together is the same.",
    ),
];
