//! The form that an output must have.
use super::endpoint::{GENERATES, OPENAI, RESPONSES};
use super::parameter::Plain::Text;
use super::parameter::{INNER, OBJECT, Parameter, Schema, TEXTS, inert, refused, used};

/// A JSON schema: an object, or one of the two truth values.
const JSON_SCHEMA: Schema = Schema::OneOf(&[OBJECT, Schema::Bool]);

/// The fields of `response_format.json_schema`.
const NAMED_SCHEMA: &[Parameter] = &[
    inert("name", INNER, Schema::Text, "A name, which no model is told."),
    inert("description", INNER, Schema::Text, "What it is for, which no model is told."),
    used("schema", INNER, JSON_SCHEMA, "The JSON schema that the output follows."),
    inert("strict", INNER, Schema::Bool, "Every schema is followed strictly."),
];

/// The fields of `response_format`.
pub(super) const RESPONSE_FORMAT: &[Parameter] = &[
    used(
        "type",
        INNER,
        Schema::Choice(&["text", "json_object", "json_schema"]),
        "Free text, a JSON object, or what a schema says.",
    ),
    used("json_schema", INNER, Schema::Table(NAMED_SCHEMA), "The schema, for the type `json_schema`."),
    used("schema", INNER, JSON_SCHEMA, "The schema, where llama-server's clients put it."),
    refused("format", INNER, &[], Schema::Any, "A structural tag of vLLM."),
    refused("structures", INNER, &[], Schema::Any, "Structural tags of vLLM."),
    refused("triggers", INNER, &[], Schema::Any, "What begins a structural tag of vLLM."),
];

/// The fields of `structured_outputs`.
pub(super) const STRUCTURED_OUTPUTS: &[Parameter] = &[
    used(
        "json",
        INNER,
        Schema::OneOf(&[OBJECT, Schema::Bool, Schema::Text]),
        "The JSON schema that the output follows, or its text.",
    ),
    used("regex", INNER, Schema::Text, "The regular expression that the whole output matches."),
    used("choice", INNER, Schema::List(&Schema::Text, 1, 1 << 20), "The texts of which the output is one."),
    used("grammar", INNER, Schema::Text, "A grammar in Lark's syntax or in GBNF."),
    used("json_object", INNER, Schema::Bool, "The output is a JSON object."),
    refused(
        "structural_tag",
        INNER,
        &[],
        Schema::Any,
        "Parts of the output between tags that follow schemas.",
    ),
    refused(
        "disable_any_whitespace",
        INNER,
        &[super::parameter::Plain::Bool(false)],
        Schema::Bool,
        "JSON without blanks between its tokens.",
    ),
    refused(
        "disable_additional_properties",
        INNER,
        &[super::parameter::Plain::Bool(false)],
        Schema::Bool,
        "Objects without fields that their schema does not name.",
    ),
    refused(
        "whitespace_pattern",
        INNER,
        &[],
        Schema::Text,
        "The blanks that JSON may have between its tokens.",
    ),
];

pub(super) const ROWS: &[Parameter] = &[
    used(
        "response_format",
        OPENAI,
        Schema::Table(RESPONSE_FORMAT),
        "The form of the output: free text, a JSON object, or what a schema says.",
    ),
    used(
        "structured_outputs",
        OPENAI | RESPONSES,
        Schema::Table(STRUCTURED_OUTPUTS),
        "The form of the output, as vLLM's clients ask for it; one field says what it is.",
    ),
    used(
        "guided_json",
        OPENAI,
        Schema::OneOf(&[OBJECT, Schema::Bool, Schema::Text]),
        "The older name of `structured_outputs.json`.",
    ),
    used("guided_regex", OPENAI, Schema::Text, "The older name of `structured_outputs.regex`."),
    used("guided_choice", OPENAI, TEXTS, "The older name of `structured_outputs.choice`."),
    used("guided_grammar", OPENAI, Schema::Text, "The older name of `structured_outputs.grammar`."),
    refused(
        "guided_decoding_backend",
        GENERATES,
        &[Text("auto")],
        Schema::Text,
        "The library that constrains the output; there is one.",
    ),
    refused(
        "guided_whitespace_pattern",
        GENERATES,
        &[],
        Schema::Text,
        "The blanks that JSON may have between its tokens.",
    ),
    refused(
        "guided_json_object",
        GENERATES,
        &[super::parameter::Plain::Bool(false)],
        Schema::Bool,
        "The output is a JSON object; `response_format` asks for that.",
    ),
    used(
        "grammar",
        OPENAI,
        Schema::Text,
        "A grammar in GBNF that the output follows, as llama-server's clients ask for it.",
    ),
    used(
        "json_schema",
        OPENAI,
        JSON_SCHEMA,
        "The JSON schema that the output follows, as llama-server's clients ask for it.",
    ),
    refused(
        "grammar_lazy",
        GENERATES,
        &[super::parameter::Plain::Bool(false)],
        Schema::Bool,
        "Follows the grammar only after one of `grammar_triggers`.",
    ),
    refused(
        "grammar_triggers",
        GENERATES,
        &[super::parameter::Plain::EmptyList],
        Schema::List(&Schema::Any, 0, super::parameter::MANY),
        "What the grammar begins after.",
    ),
    refused("grammar_type", GENERATES, &[], Schema::Text, "What llama-server made a grammar from."),
];
