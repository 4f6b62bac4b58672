//! No name that would change an answer is passed over anywhere: what one generating endpoint reads
//! or refuses is read or refused at all, at the top of a body and inside its objects.
use super::*;
use std::collections::BTreeSet;

/// The endpoints that generate, with their paths.
fn generating() -> impl Iterator<Item = (Endpoints, &'static str)> {
    ENDPOINTS.iter().copied().filter(|(bit, _)| GENERATES & bit != 0)
}

fn check(endpoint: Endpoints, name: &str, value: &Value) -> Result<Vec<String>, ApiError> {
    let body = [(name.to_owned(), value.clone())].into_iter().collect();
    checked(endpoint, &body, false)
}

/// Whether a name may change what an answer is.
fn matters(row: &Parameter) -> bool {
    !matches!(row.kind, Kind::WithoutEffect)
}

#[test]
fn a_name_that_matters_at_one_generating_endpoint_has_a_row_at_all() {
    let names: BTreeSet<&str> = generating()
        .flat_map(|(bit, _)| rows_of(bit))
        .filter(|row| matters(row))
        .map(|row| row.name)
        .collect();
    assert!(names.len() > 150, "{}", names.len());
    let missing: Vec<_> = names
        .iter()
        .flat_map(|name| generating().map(move |(bit, path)| (bit, path, *name)))
        .filter(|(bit, _, name)| find(*bit, name).is_none())
        .map(|(_, path, name)| format!("{name} at {path}"))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The rows inside an object of a body; `path` leads there by the names of fields.
fn inner(endpoint: Endpoints, path: &[&str]) -> &'static [Parameter] {
    fn rows(schema: &'static Schema) -> Option<&'static [Parameter]> {
        match schema {
            Schema::Table(rows) | Schema::Options(rows) => Some(rows),
            Schema::List(of, ..) => rows(of),
            Schema::OneOf(all) => all.iter().find_map(rows),
            _ => None,
        }
    }
    let mut found = rows(&find(endpoint, path[0]).expect(path[0]).schema).expect(path[0]);
    for name in &path[1..] {
        let row = found.iter().find(|row| row.name == *name).expect(name);
        found = rows(&row.schema).expect(name);
    }
    found
}

/// Objects that ask for the same thing in the words of different clients.
const ALIKE: &[&[(Endpoints, &[&str])]] = &[
    &[(CHAT, &["tools"]), (RESPONSES, &["tools"]), (MESSAGES, &["tools"])],
    &[(CHAT, &["tool_choice"]), (RESPONSES, &["tool_choice"]), (MESSAGES, &["tool_choice"])],
    &[
        (CHAT, &["response_format"]),
        (RESPONSES, &["text", "format"]),
        (MESSAGES, &["output_config", "format"]),
    ],
];

#[test]
fn a_name_that_matters_inside_an_object_has_a_row_in_those_alike() {
    let mut missing = Vec::new();
    for family in ALIKE {
        let tables: Vec<_> = family.iter().map(|(bit, path)| (path, inner(*bit, path))).collect();
        for row in tables.iter().flat_map(|(_, rows)| rows.iter()).filter(|row| matters(row)) {
            let lacks = |rows: &[Parameter]| !rows.iter().any(|at| at.name == row.name);
            let places = tables.iter().filter(|(_, rows)| lacks(rows));
            missing.extend(places.map(|(path, _)| format!("{path:?}.{}", row.name)));
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn names_of_other_endpoints_are_refused_with_what_to_say_instead() {
    for (bit, name, value, told) in [
        (RESPONSES, "max_tokens", json!(5), "`max_output_tokens`"),
        (MESSAGES, "grammar", json!("root ::= \"a\""), "`output_config.format`"),
        (OLLAMA_CHAT, "temperature", json!(0), "`options`"),
        (OLLAMA_CHAT, "response_format", json!({"type": "json_object"}), "`format`"),
        (OLLAMA_GENERATE, "tools", json!([{}]), "/v1/chat/completions"),
        (CHAT, "prompt", json!("a"), "`messages`"),
        (COMPLETIONS, "input", json!("a"), "`prompt`"),
    ] {
        let error = check(bit, name, &value).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(name)));
        assert!(error.message.contains(told), "{}", error.message);
    }
    for (bit, name, value, param) in [
        (OLLAMA_CHAT, "options", json!({"dry_multiplier": 0.8}), "options.dry_multiplier"),
        (OLLAMA_CHAT, "options", json!({"repetition_penalty": 1.1}), "options.repetition_penalty"),
        (OLLAMA_CHAT, "options", json!({"bad_words": ["a"]}), "options.bad_words"),
        (OLLAMA_CHAT, "options", json!({"format": "json"}), "options.format"),
        (
            CHAT,
            "tools",
            json!([{"function": {"name": "f", "input_schema": {}}}]),
            "tools[0].function.input_schema",
        ),
        (MESSAGES, "tools", json!([{"name": "f", "parameters": {}}]), "tools[0].parameters"),
        (
            RESPONSES,
            "text",
            json!({"format": {"type": "json_object", "json_schema": {}}}),
            "text.format.json_schema",
        ),
    ] {
        let error = check(bit, name, &value).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)));
        assert!(error.message.starts_with(param), "{}", error.message);
    }
    let told = check(OLLAMA_CHAT, "options", &json!({"x": 1, "dry_base": 1, "n": 1, "bad_words": null}));
    assert_eq!(told.unwrap(), ["options.x", "options.dry_base", "options.bad_words"]);
}

/// Names of peers that were once taken with 200 and passed over, each with a value that would
/// change the answer. Those that are honoured since are not among the refused.
const PASSED_OVER: &[(&str, &str)] = &[
    ("typical_p", "0.5"),
    ("mirostat", "2"),
    ("grammar", "\"root ::= \\\"a\\\"\""),
    ("json_schema", "{\"type\": \"object\"}"),
    ("repeat_penalty", "1.1"),
    ("truncate_prompt_tokens", "2"),
    ("bad_words", "[\"a\"]"),
    ("allowed_token_ids", "[5]"),
    ("length_penalty", "2"),
    ("skip_special_tokens", "false"),
    ("chat_template", "\"{{ messages }}\""),
    ("documents", "[{\"text\": \"a\"}]"),
    ("reasoning_effort", "\"low\""),
    ("verbosity", "\"low\""),
    ("prediction", "{\"type\": \"content\", \"content\": \"a\"}"),
    ("web_search_options", "{}"),
    ("dry_multiplier", "0.8"),
    ("xtc_probability", "0.5"),
    ("use_beam_search", "true"),
    ("n_predict", "5"),
    ("min_new_tokens", "5"),
    ("tfs_z", "0.5"),
    ("guided_decoding_backend", "\"outlines\""),
    ("logits_processors", "[\"a\"]"),
    ("best_of_n", "2"),
    ("system", "\"a\""),
    ("num_predict", "5"),
    ("num_ctx", "512"),
    ("thinking", "{\"type\": \"enabled\"}"),
    ("enable_thinking", "true"),
    ("detokenize", "false"),
    ("prompt_embeds", "\"a\""),
    ("vllm_xargs", "{\"a\": 1}"),
    ("images", "[\"a\"]"),
    ("suffix", "\"a\""),
    ("best_of", "2"),
    ("audio", "{}"),
    ("modalities", "[\"audio\"]"),
    ("functions", "[{}]"),
    ("function_call", "\"auto\""),
];

#[test]
fn no_name_that_would_change_an_answer_is_passed_over() {
    for (endpoint, path) in generating() {
        for (name, value) in PASSED_OVER {
            let value: Value = serde_json::from_str(value).expect("JSON");
            let row = find(endpoint, name).unwrap_or_else(|| panic!("{name} has no row at {path}"));
            let result = check(endpoint, name, &value);
            match row.kind {
                Kind::Used => assert_eq!(result, Ok(Vec::new()), "{name} at {path}"),
                Kind::WithoutEffect => panic!("{name} would change the answer"),
                Kind::RefusedUnless(_) => {
                    let error = result.expect_err(name);
                    assert_eq!((error.status, error.param.as_deref()), (400, Some(*name)), "{path}");
                }
            }
        }
    }
}

/// What the server says that it honours, besides how vectors are written.
const HONOURED: &str = "model prompt messages stream stream_options max_tokens max_completion_tokens temperature \
    top_p top_k min_p seed n stop stop_token_ids include_stop_str_in_output echo logprobs top_logprobs \
    prompt_logprobs return_tokens_as_token_ids logit_bias presence_penalty frequency_penalty \
    repetition_penalty ignore_eos min_tokens response_format structured_outputs tools tool_choice \
    parallel_tool_calls chat_template_kwargs add_generation_prompt continue_final_message priority \
    cache_salt request_id";
/// What it takes without effect.
const TAKEN: &str = "user store metadata service_tier safety_identifier prompt_cache_key";

#[test]
fn what_openai_s_clients_are_promised_is_in_the_table() {
    let kinds = |name: &str| {
        let rows =
            [COMPLETIONS, CHAT].map(|bit| find(bit, name).unwrap_or_else(|| panic!("{name} has no row")));
        rows.map(|row| row.kind)
    };
    for name in HONOURED.split_whitespace() {
        assert!(kinds(name).iter().any(|kind| matches!(kind, Kind::Used)), "{name}");
    }
    for name in TAKEN.split_whitespace() {
        assert!(kinds(name).iter().all(|kind| matches!(kind, Kind::WithoutEffect)), "{name}");
    }
    assert!(find(EMBEDDINGS, "encoding_format").is_some_and(matters));
}
