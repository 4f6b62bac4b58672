//! What Ollama's endpoints take and no other does.
use super::endpoint::{OLLAMA, OLLAMA_CHAT, OLLAMA_EMBED, OLLAMA_GENERATE, OLLAMA_SHOW};
use super::parameter::Plain::{Bool, EmptyList, Number, Text};
use super::parameter::{
    COUNT, INNER, MANY, OBJECT, Parameter, Plain, REAL, Schema, TEXTS, WHOLE, inert, refused, used,
};

const ZERO: &[Plain] = &[Number(0.0)];
const ONE: &[Plain] = &[Number(1.0)];

/// The fields of `options`: of the model's runner, and of how tokens are drawn.
pub(super) const OPTIONS: &[Parameter] = &[
    used(
        "num_predict",
        INNER,
        Schema::Integer(-2, i64::MAX),
        "Tokens of the output, at most; a negative number is as many as there is room for.",
    ),
    used(
        "temperature",
        INNER,
        Schema::Number(0.0, 100.0),
        "Divides the logits; 0 takes the likeliest token.",
    ),
    used(
        "top_k",
        INNER,
        Schema::Integer(-1, u32::MAX as i64),
        "Draws from so many of the likeliest tokens; 0 is off.",
    ),
    used(
        "top_p",
        INNER,
        Schema::Above(0.0, 1.0),
        "Draws from the likeliest tokens that together have this probability.",
    ),
    used(
        "min_p",
        INNER,
        Schema::Number(0.0, 1.0),
        "Leaves out tokens less likely than this fraction of the likeliest.",
    ),
    used("seed", INNER, WHOLE, "The same seed draws the same tokens."),
    used(
        "stop",
        INNER,
        Schema::OneOf(&[Schema::Nonempty, Schema::List(&Schema::Nonempty, 0, 1 << 20)]),
        "Strings that \
         end the output.",
    ),
    used(
        "presence_penalty",
        INNER,
        Schema::Number(-100.0, 100.0),
        "Is subtracted from the logits of tokens in the output.",
    ),
    used(
        "frequency_penalty",
        INNER,
        Schema::Number(-100.0, 100.0),
        "Is subtracted for each time that a token stands in \
         the output.",
    ),
    used(
        "repeat_penalty",
        INNER,
        Schema::Number(0.01, 100.0),
        "As `repetition_penalty` of the other endpoints: over the prompt and the whole output.",
    ),
    refused("typical_p", INNER, ONE, REAL, "Locally typical sampling."),
    refused("tfs_z", INNER, ONE, REAL, "Tail-free sampling."),
    refused("mirostat", INNER, ZERO, Schema::Integer(0, 2), "Mirostat sampling."),
    inert("mirostat_tau", INNER, REAL, "Shapes `mirostat`, which is refused."),
    inert("mirostat_eta", INNER, REAL, "Shapes `mirostat`, which is refused."),
    used(
        "repeat_last_n",
        INNER,
        Schema::Integer(-1, i64::MAX),
        "The tokens that penalties look at. They look at all, so less than all is refused where there is one.",
    ),
    refused("penalize_newline", INNER, &[Bool(true)], Schema::Bool, "Whether line feeds are penalized."),
    refused("draft_num_predict", INNER, ZERO, COUNT, "Tokens of a draft; the server decides it."),
    used(
        "num_ctx",
        INNER,
        Schema::Integer(1, i64::MAX),
        "The context that is needed. More than the server has is refused; option `max-model-len` sets it.",
    ),
    inert("num_keep", INNER, WHOLE, "Tokens that stay when the context is full; the output ends then."),
    inert("num_batch", INNER, COUNT, "Tokens of a step; it changes no bit of an answer."),
    inert("num_thread", INNER, COUNT, "Threads; they change no bit of an answer."),
    inert("num_gpu", INNER, WHOLE, "Layers on a GPU; there is none."),
    inert("main_gpu", INNER, WHOLE, "The GPU in use; there is none."),
    inert("numa", INNER, Schema::Bool, "Where memory lies; it changes no bit of an answer."),
    inert("low_vram", INNER, Schema::Bool, "Memory of a GPU; there is none."),
    inert("f16_kv", INNER, Schema::Bool, "The format of the cache; option `kv` sets it."),
    inert("logits_all", INNER, Schema::Bool, "Keeps logits; it changes no bit of an answer."),
    inert("vocab_only", INNER, Schema::Bool, "Loads no weights; the model is loaded."),
    inert("use_mmap", INNER, Schema::Bool, "How weights are read; it changes no bit of an answer."),
    inert("use_mlock", INNER, Schema::Bool, "How weights stay in memory; it changes no bit of an answer."),
    inert("embedding_only", INNER, Schema::Bool, "What the model is loaded for."),
];

/// The form of an output.
const FORMAT: Schema = Schema::OneOf(&[Schema::Choice(&["", "json"]), OBJECT]);

pub(super) const ROWS: &[Parameter] = &[
    used(
        "model",
        OLLAMA | OLLAMA_EMBED | OLLAMA_SHOW,
        Schema::Text,
        "The model that is asked: its name, or an alias.",
    ),
    used("messages", OLLAMA_CHAT, Schema::List(&OBJECT, 0, MANY), "The conversation so far, oldest first."),
    used("prompt", OLLAMA_GENERATE, Schema::Text, "The text to answer or, with `raw`, to go on from."),
    used("system", OLLAMA_GENERATE, Schema::Text, "A system prompt before the prompt."),
    used("raw", OLLAMA_GENERATE, Schema::Bool, "The prompt goes to the model without a template."),
    used(
        "stream",
        OLLAMA,
        Schema::Bool,
        "The answer comes as lines of JSON, a piece at a time; true without it.",
    ),
    used("format", OLLAMA, FORMAT, "The form of the output: `json`, or a JSON schema."),
    used("options", OLLAMA, Schema::Options(OPTIONS), "How tokens are drawn, and how long the output is."),
    inert("options", OLLAMA_EMBED | OLLAMA_SHOW, OBJECT, "How tokens are drawn; none are."),
    used(
        "tools",
        OLLAMA_CHAT,
        Schema::List(&Schema::Table(super::tools::TOOL), 0, MANY),
        "The functions that the model \
         may call.",
    ),
    used(
        "think",
        OLLAMA,
        Schema::OneOf(&[Schema::Bool, Schema::Text]),
        "Whether the model thinks, for templates that \
         know it.",
    ),
    used("logprobs", OLLAMA, Schema::Bool, "Lists the log-probability of each token."),
    used(
        "top_logprobs",
        OLLAMA,
        Schema::Integer(0, 20),
        "Lists so many of the likeliest tokens in each place.",
    ),
    refused("images", OLLAMA, &[EmptyList], Schema::Any, "Images; the models read text alone."),
    refused("suffix", OLLAMA_GENERATE, &[Text("")], Schema::Text, "Text behind what is generated."),
    refused(
        "template",
        OLLAMA | OLLAMA_SHOW,
        &[Text("")],
        Schema::Text,
        "A template of the request's own; the server's \
         is chosen with option `chat-template`.",
    ),
    refused(
        "context",
        OLLAMA_GENERATE,
        &[EmptyList],
        super::parameter::TOKENS,
        "The ids of an earlier conversation; send \
         its messages to /api/chat.",
    ),
    inert(
        "truncate",
        OLLAMA | OLLAMA_EMBED,
        Schema::Bool,
        "Cuts prompts that are too long; here they are refused.",
    ),
    inert("shift", OLLAMA, Schema::Bool, "Drops old tokens when the context is full; here the output ends."),
    refused("width", OLLAMA_GENERATE, ZERO, COUNT, "The width of an image; the models write text alone."),
    refused("height", OLLAMA_GENERATE, ZERO, COUNT, "The height of an image; the models write text alone."),
    refused("steps", OLLAMA_GENERATE, ZERO, COUNT, "The steps of an image; the models write text alone."),
    used(
        "input",
        OLLAMA_EMBED,
        Schema::OneOf(&[Schema::Text, TEXTS]),
        "The texts whose vectors are computed.",
    ),
    used("prompt", OLLAMA_EMBED, Schema::Text, "The text whose vector is computed, at /api/embeddings."),
    used("dimensions", OLLAMA_EMBED, Schema::Integer(1, 1 << 20), "Numbers of a vector that are kept."),
    inert("verbose", OLLAMA_SHOW, Schema::Bool, "Tells more of the model."),
    inert("system", OLLAMA_SHOW, Schema::Text, "A system prompt; the server has none."),
    used("name", OLLAMA_SHOW, Schema::Text, "The older name of `model`."),
];
