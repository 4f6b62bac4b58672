//! Samplers and search of other servers, which are not supported, and other names of what is.
use super::endpoint::{GENERATES, MESSAGES, OLLAMA, OPENAI, RESPONSES};
use super::parameter::Plain::{Bool, EmptyList, Number, Text};
use super::parameter::{COUNT, OBJECT, Parameter, REAL, Schema, TEXTS, WHOLE, inert, refused};

const NONE: &[super::parameter::Plain] = &[];
const ZERO: &[super::parameter::Plain] = &[Number(0.0)];
const ONE: &[super::parameter::Plain] = &[Number(1.0)];

pub(super) const ROWS: &[Parameter] = &[
    refused("best_of", GENERATES, ONE, COUNT, "Generates several choices and returns the likeliest."),
    refused("best_of_n", GENERATES, ONE, COUNT, "Generates several choices and returns the likeliest."),
    refused("use_beam_search", GENERATES, &[Bool(false)], Schema::Bool, "Searches for a likely whole text."),
    refused("num_beams", GENERATES, ONE, COUNT, "Searches for a likely whole text."),
    refused("length_penalty", GENERATES, ONE, REAL, "Prefers long or short texts in a beam search."),
    refused("early_stopping", GENERATES, &[Bool(false)], Schema::Any, "When a beam search ends."),
    refused("watermarking", GENERATES, &[Bool(false)], Schema::Bool, "Hides a mark in the choice of tokens."),
    refused("repetition_detection", GENERATES, NONE, OBJECT, "Ends an output that repeats itself."),
    refused(
        "repeat_penalty",
        GENERATES,
        ONE,
        REAL,
        "llama-server's penalty over the last tokens; \
         `repetition_penalty` is over all.",
    ),
    refused(
        "repeat_last_n",
        GENERATES,
        ZERO,
        Schema::Integer(-1, i64::MAX),
        "The tokens that llama-server's \
         penalties look at; here they look at all.",
    ),
    refused(
        "penalty_last_n",
        GENERATES,
        ZERO,
        Schema::Integer(-1, i64::MAX),
        "The tokens that llama-server's \
         penalties look at; here they look at all.",
    ),
    refused("penalize_nl", GENERATES, &[Bool(true)], Schema::Bool, "Whether line feeds are penalized."),
    refused("typical_p", GENERATES, ONE, REAL, "Locally typical sampling."),
    refused("tfs_z", GENERATES, ONE, REAL, "Tail-free sampling."),
    refused(
        "top_a",
        GENERATES,
        ZERO,
        REAL,
        "Leaves out tokens below a square of the likeliest one's probability.",
    ),
    refused(
        "top_n_sigma",
        GENERATES,
        &[Number(-1.0), Number(0.0)],
        REAL,
        "Leaves out tokens far below the best logit.",
    ),
    refused("mirostat", GENERATES, ZERO, Schema::Integer(0, 2), "Mirostat sampling."),
    inert("mirostat_tau", GENERATES, REAL, "Shapes `mirostat`, which is refused."),
    inert("mirostat_eta", GENERATES, REAL, "Shapes `mirostat`, which is refused."),
    refused("dynatemp_range", GENERATES, ZERO, REAL, "A temperature that follows the entropy."),
    inert("dynatemp_exponent", GENERATES, REAL, "Shapes `dynatemp_range`, which is refused."),
    refused("xtc_probability", GENERATES, ZERO, REAL, "Leaves out the likeliest tokens by chance."),
    inert("xtc_threshold", GENERATES, REAL, "Shapes `xtc_probability`, which is refused."),
    refused("dry_multiplier", GENERATES, ZERO, REAL, "Penalizes sequences that repeat."),
    inert("dry_base", GENERATES, REAL, "Shapes `dry_multiplier`, which is refused."),
    inert("dry_allowed_length", GENERATES, WHOLE, "Shapes `dry_multiplier`, which is refused."),
    inert("dry_penalty_last_n", GENERATES, WHOLE, "Shapes `dry_multiplier`, which is refused."),
    inert("dry_sequence_breakers", GENERATES, TEXTS, "Shapes `dry_multiplier`, which is refused."),
    refused("adaptive_target", GENERATES, &[Number(-1.0)], REAL, "Draws tokens near a probability."),
    inert("adaptive_decay", GENERATES, REAL, "Shapes `adaptive_target`, which is refused."),
    refused("min_keep", GENERATES, ZERO, COUNT, "Tokens that samplers leave at least."),
    refused("samplers", GENERATES, NONE, Schema::Any, "The order of samplers, which is fixed."),
    refused(
        "logit_bias_exp",
        GENERATES,
        &[super::parameter::Plain::EmptyObject],
        OBJECT,
        "Biases that fade.",
    ),
    refused("n_probs", GENERATES, ZERO, COUNT, "llama-server's name of `logprobs`."),
    refused(
        "post_sampling_probs",
        GENERATES,
        &[Bool(false)],
        Schema::Bool,
        "Probabilities after the samplers; those \
         that are told are of the model's own logits.",
    ),
    refused("n_predict", GENERATES, NONE, WHOLE, "llama-server's name of `max_tokens`."),
    refused(
        "num_predict",
        OPENAI | RESPONSES | MESSAGES | OLLAMA,
        NONE,
        WHOLE,
        "Ollama's name of `max_tokens`; it \
         stands in `options` of Ollama's own endpoints.",
    ),
    refused(
        "num_ctx",
        OPENAI | RESPONSES | MESSAGES | OLLAMA,
        NONE,
        COUNT,
        "Ollama's length of the context; \
         option `max-model-len` sets it.",
    ),
    refused("max_new_tokens", GENERATES, NONE, WHOLE, "Another name of `max_tokens`."),
    refused(
        "max_length",
        GENERATES,
        NONE,
        WHOLE,
        "The prompt and the output together; `max_tokens` bounds the output.",
    ),
    refused("min_new_tokens", GENERATES, ZERO, COUNT, "Another name of `min_tokens`."),
    refused("min_length", GENERATES, ZERO, COUNT, "Another name of `min_tokens`."),
    refused("n_cmpl", GENERATES, ONE, COUNT, "llama-server's name of `n`."),
    refused("n_choices", GENERATES, ONE, COUNT, "mistral.rs's name of `n`."),
    refused("n_indent", GENERATES, ZERO, COUNT, "Ends the output at a line of less indentation."),
    refused(
        "stop_sequences",
        OPENAI | RESPONSES | OLLAMA,
        &[EmptyList],
        TEXTS,
        "Anthropic's name of `stop`.",
    ),
    refused("stop_seqs", GENERATES, &[EmptyList], TEXTS, "mistral.rs's name of `stop`."),
    refused("no_repeat_ngram_size", GENERATES, ZERO, COUNT, "Forbids sequences that repeat."),
    refused(
        "truncate_sequence",
        GENERATES,
        &[Bool(false)],
        Schema::Bool,
        "Cuts prompts that are too long; here they \
         are refused.",
    ),
    refused("input_prefix", GENERATES, &[Text("")], Schema::Text, "Text before a gap to be filled."),
    refused("input_suffix", GENERATES, &[Text("")], Schema::Text, "Text behind a gap to be filled."),
    refused("input_extra", GENERATES, &[EmptyList], Schema::Any, "Files around a gap to be filled."),
    refused(
        "multimodal_data",
        GENERATES,
        &[EmptyList],
        Schema::Any,
        "Images or sound; the models read text alone.",
    ),
    refused("generation_prompt", GENERATES, NONE, Schema::Text, "What the template's rendering ends with."),
    refused("chat_format", GENERATES, NONE, Schema::Any, "How llama-server reads the output."),
    refused("chat_parser", GENERATES, NONE, Schema::Text, "How llama-server reads the output."),
    refused("preserved_tokens", GENERATES, &[EmptyList], TEXTS, "Special tokens that stay in the text."),
    refused(
        "adapters",
        GENERATES,
        &[EmptyList],
        Schema::Any,
        "Adapters of the model, of which none is loaded.",
    ),
];
