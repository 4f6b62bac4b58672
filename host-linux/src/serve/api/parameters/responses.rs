//! What `/v1/responses` takes and no other endpoint does, and what its clients ask for in vain at
//! any.
use super::endpoint::{GENERATES, RESPONSES};
use super::parameter::Plain::{Bool, EmptyList, EmptyObject, ListOf, Number, Text};
use super::parameter::{COUNT, INNER, MANY, OBJECT, Parameter, Schema, inert, refused, used};

/// The fields of `text.format`.
const FORMAT: &[Parameter] = &[
    used(
        "type",
        INNER,
        Schema::Choice(&["text", "json_object", "json_schema"]),
        "Free text, a JSON object, or what a schema says.",
    ),
    inert("name", INNER, Schema::Text, "A name, which no model is told."),
    inert("description", INNER, Schema::Text, "What it is for, which no model is told."),
    used("schema", INNER, OBJECT, "The JSON schema that the output follows."),
    inert("strict", INNER, Schema::Bool, "Every schema is followed strictly."),
    refused("json_schema", INNER, &[], Schema::Any, "Its fields stand beside `type` here."),
    refused("format", INNER, &[], Schema::Any, "A structural tag of vLLM."),
    refused("structures", INNER, &[], Schema::Any, "Structural tags of vLLM."),
    refused("triggers", INNER, &[], Schema::Any, "What begins a structural tag of vLLM."),
];

/// The fields of `text`.
const TEXT: &[Parameter] = &[
    used("format", INNER, Schema::Table(FORMAT), "The form of the output."),
    refused(
        "verbosity",
        INNER,
        &[Text("medium")],
        Schema::Choice(&["low", "medium", "high"]),
        "How long an answer the model gives; say it in a message.",
    ),
];

/// The fields of `reasoning`.
const REASONING: &[Parameter] = &[
    used(
        "effort",
        INNER,
        Schema::Choice(&["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        "How much the model thinks, for templates that know it.",
    ),
    inert("summary", INNER, Schema::Text, "A summary of what the model thought; none is made."),
    inert("generate_summary", INNER, Schema::Text, "The older name of `summary`."),
    inert("context", INNER, Schema::Text, "Which thoughts of earlier turns are read; those that are sent."),
];

/// The fields of a tool, which are not in an object of their own here.
const TOOL: &[Parameter] = &[
    used("type", INNER, Schema::Choice(&["function"]), "The kind of tool: functions alone are supported."),
    used("name", INNER, Schema::Nonempty, "The name by which the model calls it."),
    used("description", INNER, Schema::Text, "What it does, in words for the model."),
    used("parameters", INNER, OBJECT, "The JSON schema of its arguments."),
    used("strict", INNER, Schema::Bool, "The arguments of a call follow the schema."),
    refused("function", INNER, &[], Schema::Any, "Its fields stand beside `type` here."),
    refused("input_schema", INNER, &[], Schema::Any, "It is `parameters` here."),
    refused(
        "input_examples",
        INNER,
        &[EmptyList],
        Schema::Any,
        "Arguments as they might be; put them into the description.",
    ),
    refused("custom", INNER, &[], Schema::Any, "A tool that takes free text."),
    refused("defer_loading", INNER, &[Bool(false)], Schema::Bool, "Hides the tool until it is searched for."),
    refused("allowed_callers", INNER, &[ListOf("direct")], Schema::Any, "Who may call the tool."),
];

/// The fields of a `tool_choice` that names a tool.
const NAMED_TOOL: &[Parameter] = &[
    used("type", INNER, Schema::Choice(&["function"]), "The kind of tool: functions alone are supported."),
    used("name", INNER, Schema::Nonempty, "The function that must be called."),
    refused("function", INNER, &[], Schema::Any, "Its `name` stands beside `type` here."),
    refused("allowed_tools", INNER, &[], Schema::Any, "The tools among which the model chooses."),
    refused("tools", INNER, &[], Schema::Any, "The tools among which the model chooses."),
    refused("custom", INNER, &[], Schema::Any, "A tool that takes free text."),
    refused(
        "disable_parallel_tool_use",
        INNER,
        &[Bool(false)],
        Schema::Bool,
        "It is `parallel_tool_calls` of the body here.",
    ),
    refused("mode", INNER, &[], Schema::Any, "How the model chooses among some tools."),
];

pub(super) const ROWS: &[Parameter] = &[
    used(
        "input",
        RESPONSES,
        Schema::OneOf(&[Schema::Text, Schema::List(&OBJECT, 1, MANY)]),
        "The conversation so far: text, or messages, calls and what they returned, oldest first.",
    ),
    used("instructions", RESPONSES, Schema::Text, "A system prompt before the input."),
    used("max_output_tokens", RESPONSES, Schema::Integer(1, i64::MAX), "Tokens of the output, at most."),
    used("text", RESPONSES, Schema::Table(TEXT), "The form of the output."),
    used("reasoning", RESPONSES, Schema::Table(REASONING), "How much the model thinks."),
    used(
        "tools",
        RESPONSES,
        Schema::List(&Schema::Table(TOOL), 0, MANY),
        "The functions that the model may call.",
    ),
    used(
        "tool_choice",
        RESPONSES,
        Schema::OneOf(&[Schema::Choice(&["none", "auto", "required"]), Schema::Table(NAMED_TOOL)]),
        "Whether the model calls a tool: as it likes, never, at least one, or the one that is named.",
    ),
    used("parallel_tool_calls", RESPONSES, Schema::Bool, "Whether one answer may have several calls."),
    used(
        "top_logprobs",
        RESPONSES,
        Schema::Integer(0, 20),
        "Lists so many of the likeliest tokens in each place.",
    ),
    used(
        "include",
        RESPONSES,
        Schema::List(&Schema::Text, 0, 100),
        "What the answer tells besides; `message.output_text.logprobs` lists log-probabilities.",
    ),
    refused(
        "previous_response_id",
        GENERATES,
        &[],
        Schema::Text,
        "An earlier answer; none is kept, so send the \
         conversation.",
    ),
    refused(
        "previous_response",
        GENERATES,
        &[],
        Schema::Any,
        "An earlier answer; send its output in `input`.",
    ),
    refused(
        "previous_input_messages",
        GENERATES,
        &[EmptyList],
        Schema::Any,
        "Earlier messages; send them in `input`.",
    ),
    refused("conversation", GENERATES, &[], Schema::Any, "A conversation that is kept; none is, so send it."),
    refused("background", GENERATES, &[Bool(false)], Schema::Bool, "Answers later; answers are not kept."),
    inert("background_options", RESPONSES, OBJECT, "Shapes `background`, which is refused."),
    refused("prompt", RESPONSES, &[], Schema::Any, "A template that OpenAI keeps."),
    refused(
        "truncation",
        GENERATES,
        &[Text("disabled")],
        Schema::Choice(&["auto", "disabled"]),
        "Drops what is too \
         long for the context.",
    ),
    refused("max_tool_calls", GENERATES, &[], COUNT, "Calls of tools that the server runs; it runs none."),
    refused("context_management", RESPONSES, &[EmptyList], Schema::Any, "Shortens long conversations."),
    refused(
        "enable_response_messages",
        GENERATES,
        &[Bool(false)],
        Schema::Bool,
        "Tells the rendered messages.",
    ),
    refused("access_programs", GENERATES, &[EmptyObject], OBJECT, "Programs of OpenAI."),
    refused("image", GENERATES, &[], Schema::Any, "How images are read; the models read text alone."),
    refused("n", RESPONSES, &[Number(1.0)], COUNT, "Several choices; this endpoint gives one."),
    refused(
        "response_format",
        RESPONSES,
        &[super::parameter::Plain::OfType("text")],
        Schema::Any,
        "It is `text.format` \
         here.",
    ),
    refused("max_tokens", RESPONSES, &[], COUNT, "It is `max_output_tokens` here."),
    refused("max_completion_tokens", RESPONSES, &[], COUNT, "It is `max_output_tokens` here."),
    refused("reasoning_effort", RESPONSES, &[], Schema::Text, "It is `reasoning.effort` here."),
    refused("messages", RESPONSES, &[], Schema::Any, "They are `input` here."),
];
