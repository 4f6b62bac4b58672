//! Tools that a model may call, and how it thinks before it answers.
use super::endpoint::{
    APPLY_TEMPLATE, CHAT, COMPLETIONS, GENERATES, MESSAGES, OLLAMA, OLLAMA_GENERATE, OPENAI, RESPONSES,
    TOKENIZE,
};
use super::parameter::Plain::{Bool, EmptyList, ListOf, Number, OfType, Text};
use super::parameter::{INNER, MANY, OBJECT, Parameter, Schema, inert, refused, used};

/// The fields of a function.
const FUNCTION: &[Parameter] = &[
    used("name", INNER, Schema::Nonempty, "The name by which the model calls it."),
    used("description", INNER, Schema::Text, "What it does, in words for the model."),
    used("parameters", INNER, OBJECT, "The JSON schema of its arguments."),
    used("strict", INNER, Schema::Bool, "The arguments of a call follow the schema."),
    refused("input_schema", INNER, &[], Schema::Any, "It is `parameters` here."),
    refused("input_examples", INNER, &[EmptyList], Schema::Any, EXAMPLES),
    refused("defer_loading", INNER, &[Bool(false)], Schema::Bool, "Hides the tool until it is searched for."),
    refused("allowed_callers", INNER, &[ListOf("direct")], Schema::Any, "Who may call the tool."),
];

const EXAMPLES: &str = "Arguments as they might be; put them into the description.";
const IN_FUNCTION: &str = "It stands in `function` here.";

/// The fields of a tool.
pub(super) const TOOL: &[Parameter] = &[
    used("type", INNER, Schema::Choice(&["function"]), "The kind of tool: functions alone are supported."),
    used("function", INNER, Schema::Table(FUNCTION), "The function."),
    inert("name", INNER, Schema::Text, IN_FUNCTION),
    inert("description", INNER, Schema::Text, IN_FUNCTION),
    refused("parameters", INNER, &[], Schema::Any, IN_FUNCTION),
    refused("strict", INNER, &[Bool(false)], Schema::Bool, IN_FUNCTION),
    refused("input_schema", INNER, &[], Schema::Any, "It is `function.parameters` here."),
    refused("input_examples", INNER, &[EmptyList], Schema::Any, EXAMPLES),
    refused("custom", INNER, &[], Schema::Any, "A tool that takes free text."),
    refused("defer_loading", INNER, &[Bool(false)], Schema::Bool, "Hides the tool until it is searched for."),
    refused("allowed_callers", INNER, &[ListOf("direct")], Schema::Any, "Who may call the tool."),
];

/// The fields of a `tool_choice` that names a tool.
pub(super) const NAMED_TOOL: &[Parameter] = &[
    used("type", INNER, Schema::Choice(&["function"]), "The kind of tool: functions alone are supported."),
    used(
        "function",
        INNER,
        Schema::Table(&[used("name", INNER, Schema::Nonempty, "The function that must be called.")]),
        "The function that must be called.",
    ),
    refused("name", INNER, &[], Schema::Any, "It stands in `function` here."),
    refused("allowed_tools", INNER, &[], Schema::Any, "The tools among which the model chooses."),
    refused("tools", INNER, &[], Schema::Any, "The tools among which the model chooses."),
    refused("mode", INNER, &[], Schema::Any, "How the model chooses among some tools."),
    refused("custom", INNER, &[], Schema::Any, "A tool that takes free text."),
    refused(
        "disable_parallel_tool_use",
        INNER,
        &[Bool(false)],
        Schema::Bool,
        "It is `parallel_tool_calls` of the body here.",
    ),
];

pub(super) const ROWS: &[Parameter] = &[
    used(
        "tools",
        CHAT | TOKENIZE | APPLY_TEMPLATE,
        Schema::List(&Schema::Table(TOOL), 0, MANY),
        "The functions that the model may call.",
    ),
    used(
        "tool_choice",
        CHAT,
        Schema::OneOf(&[Schema::Choice(&["none", "auto", "required"]), Schema::Table(NAMED_TOOL)]),
        "Whether the model calls a tool: as it likes, never, at least one, or the one that is named.",
    )
    .or(Text("auto")),
    refused(
        "tools",
        COMPLETIONS | OLLAMA_GENERATE,
        &[EmptyList],
        Schema::List(&Schema::Any, 0, MANY),
        "The functions that the model may call; /v1/chat/completions takes them.",
    ),
    refused(
        "tool_choice",
        COMPLETIONS | OLLAMA,
        &[Text("none"), Text("auto")],
        Schema::Any,
        "Whether the model calls a tool; /v1/chat/completions takes it.",
    ),
    inert(
        "parallel_tool_calls",
        COMPLETIONS | OLLAMA_GENERATE,
        Schema::Bool,
        "Whether one message may have several calls.",
    ),
    used("parallel_tool_calls", CHAT, Schema::Bool, "Whether one message may have several calls.")
        .or(Bool(true)),
    refused("functions", GENERATES, &[EmptyList], Schema::Any, "The older name of `tools`."),
    refused("function_call", GENERATES, &[Text("none")], Schema::Any, "The older name of `tool_choice`."),
    refused(
        "parse_tool_calls",
        GENERATES,
        &[],
        Schema::Bool,
        "Whether calls are read from the output; here they are where there are tools.",
    ),
    used(
        "reasoning_effort",
        CHAT,
        Schema::Text,
        "How much the model thinks, for templates that know it; refused where the model's does not.",
    ),
    refused(
        "reasoning_effort",
        COMPLETIONS,
        &[],
        Schema::Any,
        "How much the model thinks, for templates that know it; /v1/chat/completions takes it.",
    ),
    refused(
        "thinking",
        OPENAI | RESPONSES | OLLAMA,
        &[OfType("disabled")],
        Schema::Any,
        "How much the model thinks; `chat_template_kwargs` tells the template.",
    ),
    refused(
        "enable_thinking",
        GENERATES,
        &[],
        Schema::Bool,
        "Whether the model thinks; it stands in `chat_template_kwargs`.",
    ),
    refused(
        "think",
        OPENAI | RESPONSES | MESSAGES,
        &[],
        Schema::Any,
        "Ollama's name for whether the model thinks.",
    ),
    refused(
        "reasoning",
        OPENAI,
        &[],
        Schema::Any,
        "How the model thinks; `reasoning_effort` says it here, for templates that know it.",
    ),
    refused(
        "include_reasoning",
        GENERATES,
        &[Bool(true)],
        Schema::Bool,
        "Whether what the model thinks is told.",
    ),
    refused(
        "reasoning_format",
        GENERATES,
        &[Text("auto")],
        Schema::Text,
        "How what the model thinks is told; here it is `reasoning_content`.",
    ),
    refused(
        "thinking_token_budget",
        GENERATES,
        &[Number(-1.0)],
        Schema::Integer(-1, i64::MAX),
        "Tokens that the model may think.",
    ),
    refused(
        "thinking_budget_tokens",
        GENERATES,
        &[Number(-1.0)],
        Schema::Integer(-1, i64::MAX),
        "Tokens that the model may think.",
    ),
    refused(
        "reasoning_budget_tokens",
        GENERATES,
        &[Number(-1.0)],
        Schema::Integer(-1, i64::MAX),
        "Tokens that the model may think.",
    ),
    refused(
        "reasoning_control",
        GENERATES,
        &[Bool(false)],
        Schema::Bool,
        "Lets another request end the model's thinking.",
    ),
    inert(
        "reasoning_budget_start_tag",
        GENERATES,
        Schema::Text,
        "Where thinking begins, for a budget that is refused.",
    ),
    inert(
        "reasoning_budget_end_tag",
        GENERATES,
        Schema::Text,
        "Where thinking ends, for a budget that is refused.",
    ),
    inert(
        "reasoning_budget_end_tags",
        GENERATES,
        Schema::Any,
        "Where thinking ends, for a budget that is refused.",
    ),
    inert(
        "reasoning_budget_message",
        GENERATES,
        Schema::Text,
        "What ends thinking, for a budget that is refused.",
    ),
];
