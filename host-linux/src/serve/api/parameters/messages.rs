//! What Anthropic's `/v1/messages` takes and no other endpoint does, and what its clients ask for
//! in vain at any.
use super::endpoint::{COUNT_TOKENS, GENERATES, MESSAGES};
use super::parameter::Plain::{EmptyList, Number, Text};
use super::parameter::{COUNT, INNER, MANY, OBJECT, Parameter, Schema, TEXTS, inert, refused, used};

const BOTH: u32 = MESSAGES | COUNT_TOKENS;

/// The fields of `thinking`.
const THINKING: &[Parameter] = &[
    used(
        "type",
        INNER,
        Schema::Choice(&["enabled", "disabled", "adaptive"]),
        "Whether the model thinks, for templates that know `enable_thinking`.",
    ),
    inert("budget_tokens", INNER, COUNT, "Tokens that the model may think; they count as output."),
    inert("display", INNER, Schema::Text, "How thoughts are shown; they are told whole."),
];

/// The fields of a tool.
const TOOL: &[Parameter] = &[
    used(
        "type",
        INNER,
        Schema::Choice(&["custom"]),
        "The kind of tool: the client's own alone are supported.",
    ),
    used("name", INNER, Schema::Nonempty, "The name by which the model calls it."),
    used("description", INNER, Schema::Text, "What it does, in words for the model."),
    used("input_schema", INNER, OBJECT, "The JSON schema of its arguments."),
    used("strict", INNER, Schema::Bool, "The arguments of a call follow the schema."),
    refused("parameters", INNER, &[], Schema::Any, "It is `input_schema` here."),
    refused("function", INNER, &[], Schema::Any, "Its fields stand beside `type` here."),
    refused("custom", INNER, &[], Schema::Any, "A tool that takes free text."),
    inert("cache_control", INNER, Schema::Any, "What is cached; equal prefixes are shared anyway."),
    inert("eager_input_streaming", INNER, Schema::Bool, "Arguments are streamed as they come."),
    refused(
        "input_examples",
        INNER,
        &[EmptyList],
        Schema::Any,
        "Arguments as they might be; put them into the description.",
    ),
    refused(
        "defer_loading",
        INNER,
        &[super::parameter::Plain::Bool(false)],
        Schema::Bool,
        "Hides the tool until it is \
         searched for.",
    ),
    refused(
        "allowed_callers",
        INNER,
        &[super::parameter::Plain::ListOf("direct")],
        Schema::Any,
        "Who may call the tool.",
    ),
];

/// The fields of `tool_choice`.
const TOOL_CHOICE: &[Parameter] = &[
    used(
        "type",
        INNER,
        Schema::Choice(&["auto", "any", "tool", "none"]),
        "Whether the model calls a tool: as it likes, at least one, the one that is named, or never.",
    ),
    used("name", INNER, Schema::Nonempty, "The tool that must be called."),
    used("disable_parallel_tool_use", INNER, Schema::Bool, "An answer has one call at most."),
    refused("function", INNER, &[], Schema::Any, "Its `name` stands beside `type` here."),
    refused("allowed_tools", INNER, &[], Schema::Any, "The tools among which the model chooses."),
    refused("tools", INNER, &[], Schema::Any, "The tools among which the model chooses."),
    refused("mode", INNER, &[], Schema::Any, "How the model chooses among some tools."),
    refused("custom", INNER, &[], Schema::Any, "A tool that takes free text."),
];

/// The fields of `output_config`.
const OUTPUT: &[Parameter] = &[
    used(
        "format",
        INNER,
        Schema::Table(&[
            used("type", INNER, Schema::Choice(&["json_schema"]), "What a schema says."),
            used("schema", INNER, OBJECT, "The JSON schema that the output follows."),
            inert("name", INNER, Schema::Text, "A name, which no model is told."),
            inert("description", INNER, Schema::Text, "What it is for, which no model is told."),
            inert("strict", INNER, Schema::Bool, "Every schema is followed strictly."),
            refused("json_schema", INNER, &[], Schema::Any, "Its `schema` stands beside `type` here."),
            refused("format", INNER, &[], Schema::Any, "A structural tag of vLLM."),
            refused("structures", INNER, &[], Schema::Any, "Structural tags of vLLM."),
            refused("triggers", INNER, &[], Schema::Any, "What begins a structural tag of vLLM."),
        ]),
        "The form of the output.",
    ),
    used(
        "effort",
        INNER,
        Schema::Text,
        "How much the model thinks, for templates that know `reasoning_effort`.",
    ),
    refused("task_budget", INNER, &[], Schema::Any, "Tokens that a whole task may take."),
];

pub(super) const ROWS: &[Parameter] = &[
    used("messages", BOTH, Schema::List(&OBJECT, 1, MANY), "The conversation so far, oldest first."),
    used(
        "system",
        BOTH,
        Schema::OneOf(&[Schema::Text, Schema::List(&OBJECT, 0, MANY)]),
        "A system prompt before the conversation: text, or blocks of it.",
    ),
    used(
        "max_tokens",
        MESSAGES,
        Schema::Integer(1, i64::MAX),
        "Tokens of the output, at most; it must be given.",
    ),
    used(
        "stop_sequences",
        MESSAGES,
        Schema::List(&Schema::Nonempty, 0, 1 << 20),
        "Strings that end the output.",
    ),
    used(
        "tools",
        BOTH,
        Schema::List(&Schema::Table(TOOL), 0, MANY),
        "The functions that the model may call.",
    ),
    used("tool_choice", BOTH, Schema::Table(TOOL_CHOICE), "Whether the model calls a tool."),
    used("thinking", BOTH, Schema::Table(THINKING), "Whether the model thinks."),
    used("output_config", BOTH, Schema::Table(OUTPUT), "The form of the output."),
    inert("cache_control", BOTH, Schema::Any, "What is cached; equal prefixes are shared anyway."),
    inert("speed", BOTH, Schema::Text, "A price; there is none."),
    inert("billing_policy", BOTH, OBJECT, "Who pays; nobody does."),
    inert("fallback_credit_token", MESSAGES, Schema::Any, "A price; there is none."),
    inert(
        "fallbacks",
        MESSAGES,
        Schema::Any,
        "Models for what this one declines to answer; it declines nothing.",
    ),
    inert("compaction", COUNT_TOKENS, Schema::Any, "A summary instead of an answer; the count is the same."),
    refused("compaction", GENERATES, &[], Schema::Any, "A summary of the conversation instead of an answer."),
    refused("thread", GENERATES, &[], Schema::Any, "A conversation that is kept; none is, so send it."),
    inert("user_profile_id", BOTH, Schema::Text, "Who asks."),
    inert("workspace_id", BOTH, Schema::Text, "Who asks."),
    inert("inference_geo", MESSAGES, Schema::Text, "Where it is computed: here."),
    inert("diagnostics", MESSAGES, Schema::Any, "Why a prefix was not shared; the metrics have counts."),
    refused("container", MESSAGES, &[], Schema::Any, "A place where code runs; none does."),
    refused("context_management", BOTH, &[], Schema::Any, "Shortens long conversations."),
    refused("mcp_servers", BOTH, &[EmptyList], Schema::Any, "Tools elsewhere; the server calls none."),
    refused("stop", MESSAGES, &[EmptyList], TEXTS, "It is `stop_sequences` here."),
    refused("n", MESSAGES, &[Number(1.0)], COUNT, "Several choices; this endpoint gives one."),
    refused(
        "response_format",
        MESSAGES,
        &[super::parameter::Plain::OfType("text")],
        Schema::Any,
        "It is \
         `output_config.format` here.",
    ),
    refused("max_completion_tokens", MESSAGES, &[], COUNT, "It is `max_tokens` here."),
    refused("reasoning_effort", MESSAGES, &[], Schema::Text, "It is `thinking` here."),
    refused("output_format", BOTH, &[], Schema::Any, "The older name of `output_config.format`."),
    refused("betas", BOTH, &[EmptyList], TEXTS, "Features of Anthropic's that are not settled."),
    refused("prompt", MESSAGES, &[Text("")], Schema::Any, "It is `messages` here."),
];
