//! Bodies and answers of `/v1/responses`, without a model.
use super::super::answer::writer::Reason;
use super::super::fields::Fields;
use super::super::played::Play;
use super::super::translation::Translation;
use super::{Responses, input};
use crate::serve::error::ApiError;
use serde_json::{Value, json};

fn translated(body: &Value) -> Result<Translation, ApiError> {
    input::translate(&Fields::new(body.as_object().expect("an object")))
}

#[test]
fn items_are_the_messages_of_chat() {
    let body = json!({
        "instructions": "Be brief.", "max_output_tokens": 9, "temperature": 0.5, "top_logprobs": 2,
        "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": null}],
        "tool_choice": {"type": "function", "name": "look"},
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true},
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "input": [
            {"role": "developer", "content": "x"},
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {
                "type": "reasoning", "id": "rs_1", "summary": [],
                "content": [{"type": "reasoning_text", "text": "hm"}],
            },
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
            {"type": "function_call", "call_id": "call_2", "name": "look", "arguments": "{\"a\":1}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "seen"},
            {
                "type": "function_call_output", "call_id": "call_2",
                "output": [{"type": "input_text", "text": "too"}],
            },
            {"type": "function_call", "call_id": "call_3", "name": "look", "arguments": "{}"},
        ],
    });
    let mut translation = translated(&body).unwrap();
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    let call = |id: &str, arguments: &str| {
        let function = json!({"name": "look", "arguments": arguments});
        json!({"id": id, "type": "function", "function": function})
    };
    let expected = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "x"},
        {"role": "user", "content": text("Hi")},
        {
            "role": "assistant", "content": text("I look."), "reasoning_content": "hm",
            "tool_calls": [call("call_1", "{}"), call("call_2", "{\"a\":1}")],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "seen"},
        {"role": "tool", "tool_call_id": "call_2", "content": text("too")},
        {"role": "assistant", "content": "", "tool_calls": [call("call_3", "{}")]},
    ]);
    assert_eq!(json!(translation.messages()), expected);
    let schema = json!({"name": "n", "schema": {"type": "object"}, "strict": true});
    for (name, value) in [
        ("max_completion_tokens", json!(9)),
        ("temperature", json!(0.5)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(2)),
        (
            "tools",
            json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]),
        ),
        ("tool_choice", json!({"type": "function", "function": {"name": "look"}})),
        ("response_format", json!({"type": "json_schema", "json_schema": schema})),
        ("reasoning_effort", json!("low")),
    ] {
        assert_eq!(translation.get(name), Some(&value), "{name}");
    }
}

#[test]
fn two_messages_of_the_assistant_stay_two() {
    let answer = json!({"type": "message", "role": "assistant", "content": "a"});
    let mut translation = translated(&json!({"input": [answer, answer]})).unwrap();
    let message = json!({"role": "assistant", "content": "a"});
    assert_eq!(json!(translation.messages()), json!([message, message]));
}

#[test]
fn what_is_wrong_is_named_by_its_place() {
    let item = |item: Value| json!({"input": [{"role": "user", "content": "a"}, item]});
    let image = json!({"role": "user", "content": [{"type": "input_image", "image_url": "x"}]});
    for (body, param, says) in [
        (json!({}), "input", "input is missing"),
        (json!({"input": []}), "input", "at least one item"),
        (json!({"input": 3}), "input", "input must be a string"),
        (
            item(json!({"type": "item_reference", "id": "x"})),
            "input",
            "input[1]: items of type \"item_reference\"",
        ),
        (item(json!({"role": "tool", "content": "x"})), "input", "input[1].role must be"),
        (item(json!({"role": "user"})), "input", "input[1].content is missing"),
        (item(image), "input", "input[1].content[0]: parts of type input_image"),
        (
            item(json!({"type": "function_call", "name": "a", "arguments": "{}"})),
            "input",
            "input[1].call_id is missing",
        ),
        (
            json!({"include": ["web_search_call.results"], "input": "a"}),
            "include",
            "include: \"web_search_call.results\" is not",
        ),
        (json!({"instructions": [], "input": "a"}), "instructions", "must be a string"),
        (
            json!({"tools": [{"type": "web_search"}], "input": "a"}),
            "tools",
            "tools of type web_search are not",
        ),
        (json!({"tool_choice": {"type": "mcp"}, "input": "a"}), "tool_choice", "type mcp is not"),
        (json!({"text": {"format": {}}, "input": "a"}), "text.format", "text.format.type is missing"),
    ] {
        let error = translated(&body).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{body}");
        assert!(error.message.contains(says), "{body}: {}", error.message);
    }
}

#[test]
fn a_whole_response_has_an_item_for_each_kind_of_part() {
    let mut play = Play::of_all_parts();
    play.parsed.input = json!({"metadata": {"a": "b"}, "tools": []});
    let body = play.whole(&Responses);
    let calls: Vec<&str> =
        body["output"].as_array().unwrap().iter().filter_map(|item| item["call_id"].as_str()).collect();
    let output = json!([
        {
            "id": "rs_id_1_0", "type": "reasoning", "summary": [], "status": "completed",
            "content": [{"type": "reasoning_text", "text": "So, hm"}],
        },
        {
            "id": "msg_id_1_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "\n\nHi.", "annotations": [], "logprobs": []}],
        },
        {
            "id": "fc_id_1_2", "type": "function_call", "call_id": calls[0], "name": "look",
            "arguments": "{\"a\":1}", "status": "completed",
        },
        {
            "id": "fc_id_1_3", "type": "function_call", "call_id": calls[1], "name": "look",
            "arguments": "{}", "status": "completed",
        },
    ]);
    assert_eq!(body["output"], output);
    assert_eq!((&body["object"], &body["status"]), (&json!("response"), &json!("completed")));
    assert_eq!((&body["metadata"]["a"], &body["error"]), (&json!("b"), &Value::Null));
    let usage = json!({
        "input_tokens": 5, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 14,
    });
    assert_eq!(body["usage"], usage);
}

/// The items that events make when they are put together as a client does.
fn put_together(events: &[Value]) -> Vec<Value> {
    let mut output: Vec<Value> = Vec::new();
    for event in events {
        let Some(at) = event["output_index"].as_u64().map(|at| at as usize) else { continue };
        let kind = event["type"].as_str().unwrap();
        if kind == "response.output_item.added" {
            assert_eq!((output.len(), &event["item"]["status"]), (at, &json!("in_progress")));
            output.push(event["item"].clone());
            continue;
        }
        let item = &mut output[at];
        assert!(event["item_id"].is_null() || event["item_id"] == item["id"], "{event}");
        match kind {
            "response.content_part.added" => {
                item["content"].as_array_mut().unwrap().push(event["part"].clone())
            }
            "response.output_text.delta" | "response.reasoning_text.delta" => {
                let part = &mut item["content"][0];
                part["text"] =
                    json!(format!("{}{}", part["text"].as_str().unwrap(), event["delta"].as_str().unwrap()));
                if let Some(more) = event["logprobs"].as_array() {
                    part["logprobs"].as_array_mut().unwrap().extend(more.iter().cloned());
                }
            }
            "response.function_call_arguments.delta" => {
                let text =
                    format!("{}{}", item["arguments"].as_str().unwrap(), event["delta"].as_str().unwrap());
                item["arguments"] = json!(text);
            }
            "response.output_text.done" => {
                assert_eq!(item["content"][0]["text"], event["text"]);
                assert_eq!(item["content"][0]["logprobs"], event["logprobs"]);
            }
            "response.reasoning_text.done" => assert_eq!(item["content"][0]["text"], event["text"]),
            "response.function_call_arguments.done" => assert_eq!(item["arguments"], event["arguments"]),
            "response.content_part.done" => assert_eq!(item["content"][0], event["part"]),
            "response.output_item.done" => {
                item["status"] = event["item"]["status"].clone();
                assert_eq!(*item, event["item"]);
            }
            other => panic!("{other}"),
        }
    }
    output
}

/// A response without the time at which it ended.
fn timeless(response: &Value) -> Value {
    let mut response = response.clone();
    response["completed_at"] = Value::Null;
    response
}

#[test]
fn events_put_together_are_the_whole_response() {
    let mut play = Play::of_all_parts();
    play.parsed.token_ids = true;
    let (events, whole) = (play.events(&Responses), play.whole(&Responses));
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(&kinds[..3], ["response.created", "response.in_progress", "response.output_item.added"]);
    assert_eq!(kinds.last(), Some(&"response.completed"));
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(json!(put_together(&events)), whole["output"]);
    assert_eq!(timeless(&events.last().unwrap()["response"]), timeless(&whole));
    assert_eq!(whole["verbatim"]["token_ids"], json!((40..49).collect::<Vec<u32>>()));
}

#[test]
fn probabilities_stand_beside_the_text() {
    let mut play = Play::of_text(&["", "a", "", "b"]);
    play.parsed.logprobs = true;
    let (events, whole) = (play.events(&Responses), play.whole(&Responses));
    assert_eq!(json!(put_together(&events)), whole["output"]);
    let listed = whole["output"][0]["content"][0]["logprobs"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["logprob"]), (4, &json!(-0.5)));
}

#[test]
fn an_end_by_length_is_incomplete() {
    let play = Play { reason: Reason::Length, ..Play::of_text(&["a"]) };
    let (events, whole) = (play.events(&Responses), play.whole(&Responses));
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(whole["output"][0]["status"], "incomplete");
    assert_eq!(events.last().unwrap()["type"], "response.incomplete");
    assert_eq!(json!(put_together(&events)), whole["output"]);
}

#[test]
fn an_error_within_a_stream_fails_the_response() {
    let events = Play { fails: true, ..Play::of_text(&["a"]) }.events(&Responses);
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(last["response"]["error"], json!({"code": "server_error", "message": "it broke"}));
}

/// A stream and a whole answer list the same tokens beside each text: those that brought it, or
/// came before it and brought nothing; not those of calls, of thoughts, and of what ends the
/// answer.
#[test]
fn each_text_has_the_tokens_that_brought_it() {
    let mut play = Play::of_all_parts();
    // A token that ends the answer, or begins a string that does.
    play.parts.extend([vec![], vec![]]);
    play.parsed.logprobs = true;
    let (events, whole) = (play.events(&Responses), play.whole(&Responses));
    assert_eq!(json!(put_together(&events)), whole["output"]);
    assert_eq!(timeless(&events.last().unwrap()["response"]), timeless(&whole));
    let listed: Vec<_> = whole["output"].as_array().unwrap().iter().map(tokens_of).collect();
    // Tokens 40 and 41 are thoughts, and 42 is white space that became a text with 43.
    assert_eq!(listed, [vec![], names(42..46), vec![], vec![]]);

    let mut cut = Play::of_text(&["a", "b"]);
    cut.parts.push(vec![]);
    cut.parsed.logprobs = true;
    let (events, whole) = (cut.events(&Responses), cut.whole(&Responses));
    assert_eq!(json!(put_together(&events)), whole["output"]);
    assert_eq!(tokens_of(&whole["output"][0]), names(40..42));
}

/// The texts of the tokens that an item lists.
fn tokens_of(item: &Value) -> Vec<String> {
    let listed = item["content"][0]["logprobs"].as_array();
    listed.into_iter().flatten().map(|at| at["token"].as_str().unwrap().to_owned()).collect()
}

/// The texts of these tokens.
fn names(ids: std::ops::Range<u32>) -> Vec<String> {
    let tokenizer = &super::super::played::model().tokenizer;
    ids.map(|id| String::from_utf8_lossy(&tokenizer.bytes(id)).into_owned()).collect()
}
