//! How tokens are drawn.
use super::endpoint::{CHAT, COMPLETIONS, GENERATES, MESSAGES, OLLAMA, OPENAI, RESPONSES};
use super::parameter::Plain::{Bool, EmptyList, EmptyObject, Number};
use super::parameter::{Parameter, REAL, Schema, TEXTS, TOKEN, TOKENS, WHOLE, refused, used};

/// Where a sampling parameter stands at the top of the body.
const DRAWS: u32 = OPENAI | RESPONSES | MESSAGES;

pub(super) const ROWS: &[Parameter] = &[
    used(
        "temperature",
        DRAWS,
        Schema::Number(0.0, 100.0),
        "Divides the logits; 0 takes the likeliest token. Without it, the model's own default, else 1.",
    )
    .or(Number(1.0)),
    used(
        "top_p",
        DRAWS,
        Schema::Above(0.0, 1.0),
        "Draws from the likeliest tokens that together have this probability. Without it, the model's own \
         default, else 1, which is off.",
    )
    .or(Number(1.0)),
    used(
        "top_k",
        DRAWS,
        Schema::Integer(-1, u32::MAX as i64),
        "Draws from so many of the likeliest tokens; 0 and -1 are off. Without it, the model's own default, \
         else off.",
    )
    .or(Number(0.0)),
    used(
        "min_p",
        DRAWS,
        Schema::Number(0.0, 1.0),
        "Leaves out tokens that are less likely than this fraction of the likeliest one's probability.",
    )
    .or(Number(0.0)),
    used(
        "seed",
        DRAWS,
        WHOLE,
        "The same seed draws the same tokens. Without it one is drawn, and told in `verbatim.seed`.",
    ),
    used(
        "repetition_penalty",
        DRAWS,
        Schema::Number(0.01, 100.0),
        "Divides the positive logits of tokens that stand in the prompt or the output, and multiplies the \
         negative ones; 1 is off.",
    )
    .or(Number(1.0)),
    used(
        "presence_penalty",
        DRAWS,
        Schema::Number(-100.0, 100.0),
        "Is subtracted from the logits of tokens that stand in the output; 0 is off.",
    )
    .or(Number(0.0)),
    used(
        "frequency_penalty",
        DRAWS,
        Schema::Number(-100.0, 100.0),
        "Is subtracted from a token's logit for each time that it stands in the output; 0 is off.",
    )
    .or(Number(0.0)),
    used(
        "logit_bias",
        DRAWS,
        Schema::Map(&Schema::Number(-100.0, 100.0)),
        "Maps token ids, as strings, to what is added to their logits.",
    ),
    used(
        "bad_words",
        GENERATES,
        TEXTS,
        "Strings whose tokens are never generated one after the other, with or without a space before them.",
    ),
    used(
        "allowed_token_ids",
        GENERATES,
        Schema::List(&TOKEN, 1, super::parameter::MANY),
        "The only tokens that may be generated.",
    ),
    used(
        "n",
        COMPLETIONS | CHAT,
        Schema::Integer(1, 1 << 20),
        "Choices of each prompt; choice i draws with (seed, i). \
         At most option `max-choices`.",
    )
    .or(Number(1.0)),
    used("stop_token_ids", GENERATES, TOKENS, "Tokens that end the output, besides the model's own."),
    used("ignore_eos", DRAWS, Schema::Bool, "The model's own end tokens do not end the output.")
        .or(Bool(false)),
    refused(
        "logits_processors",
        GENERATES,
        &[EmptyList],
        Schema::List(&Schema::Any, 0, super::parameter::MANY),
        "Code that changes logits; no request may bring any.",
    ),
    refused(
        "vllm_xargs",
        GENERATES,
        &[EmptyObject],
        super::parameter::OBJECT,
        "Arguments of vLLM's extensions, of which there are none here.",
    ),
    refused(
        "options",
        GENERATES & !OLLAMA,
        &[EmptyObject],
        super::parameter::OBJECT,
        "Ollama's options stand under its own endpoints; here they are parameters of the body.",
    ),
    refused("logits_bias", GENERATES, &[EmptyObject], super::parameter::OBJECT, "Spelled `logit_bias` here."),
    refused("temp", GENERATES, &[], REAL, "Spelled `temperature` here."),
];
