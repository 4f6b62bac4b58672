//! Bodies and answers of `/v1/messages`, without a model.
use super::super::answer::writer::{Reason, StopReason};
use super::super::fields::Fields;
use super::super::played::{Play, model};
use super::super::translation::Translation;
use super::{Messages, input};
use crate::serve::error::ApiError;
use serde_json::{Value, json};

fn translated(body: &Value) -> Result<Translation, ApiError> {
    input::translate(&Fields::new(body.as_object().expect("an object")), model())
}

#[test]
fn a_conversation_is_that_of_chat() {
    let body = json!({
        "system": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief.", "cache_control": {}}],
        "stop_sequences": ["X"], "seed": 3, "top_k": 4, "max_tokens": 9,
        "tools": [{"name": "look", "description": "Looks", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "call_1", "name": "look", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {
                    "type": "tool_result", "tool_use_id": "call_1",
                    "content": [{"type": "text", "text": "seen"}],
                },
                {"type": "text", "text": "And?"},
            ]},
        ],
    });
    let mut translation = translated(&body).unwrap();
    let text = |text: &str| json!({"type": "text", "text": text});
    let expected = json!([
        {"role": "system", "content": [text("Be "), text("brief.")]},
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant", "content": [text("I look.")], "reasoning_content": "hm",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"a\":1}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": [text("seen")]},
        {"role": "user", "content": [text("And?")]},
    ]);
    assert_eq!(json!(translation.messages()), expected);
    let tool = json!({"name": "look", "description": "Looks", "parameters": {"type": "object"}});
    for (name, value) in [
        ("stop", json!(["X"])),
        ("seed", json!(3)),
        ("top_k", json!(4)),
        ("tools", json!([{"type": "function", "function": tool}])),
        ("tool_choice", json!("required")),
        ("parallel_tool_calls", json!(false)),
    ] {
        assert_eq!(translation.get(name), Some(&value), "{name}");
    }
    assert_eq!(translation.get("continue_final_message"), None);
}

#[test]
fn an_answer_that_was_begun_is_continued() {
    let message = |content: Value| {
        let messages = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": content}]);
        translated(&json!({"messages": messages})).unwrap()
    };
    let translation = message(json!("My name"));
    assert_eq!(translation.get("continue_final_message"), Some(&json!(true)));
    assert_eq!(translation.get("add_generation_prompt"), Some(&json!(false)));
    let call = json!([{"type": "tool_use", "id": "c", "name": "look", "input": {}}]);
    assert_eq!(message(call).get("continue_final_message"), None);
}

#[test]
fn what_is_wrong_is_named_by_its_place() {
    let message = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let image = json!([{"type": "text", "text": "a"}, {"type": "image", "source": {}}]);
    let result = json!([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]}]);
    for (body, param, says) in [
        (json!({}), "messages", "messages is missing"),
        (json!({"messages": []}), "messages", "at least one"),
        (json!({"messages": [{"role": "tool", "content": ""}]}), "messages", "messages[0].role must be"),
        (message(Value::Null), "messages", "messages[0].content is missing"),
        (message(image), "messages", "messages[0].content[1]: blocks of type image"),
        (message(result), "messages", "messages[0].content[0].content[0]: blocks of type image"),
        (message(json!([{"type": "text"}])), "messages", "messages[0].content[0].text is missing"),
        (json!({"system": 3, "messages": [1]}), "system", "system must be a string"),
        (
            json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}),
            "tools",
            "tools[0].type = \"bash_20250124\"",
        ),
        (json!({"tools": [{"name": "a"}]}), "tools", "tools[0].input_schema"),
        (json!({"tool_choice": {"type": "some"}}), "tool_choice", "auto, any, tool or none"),
        (json!({"tool_choice": {"type": "tool"}}), "tool_choice", "tool_choice.name is missing"),
        (json!({"thinking": {"type": "much"}}), "thinking", "enabled, disabled or adaptive"),
        (json!({"stop_sequences": "X"}), "stop_sequences", "a list of strings"),
    ] {
        let error = translated(&body).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{body}");
        assert!(error.message.contains(says), "{body}: {}", error.message);
    }
}

#[test]
fn a_whole_message_has_a_block_for_each_kind_of_part() {
    let body = Play::of_all_parts().whole(&Messages);
    let ids: Vec<&str> =
        body["content"].as_array().unwrap().iter().filter_map(|block| block["id"].as_str()).collect();
    assert!(ids.len() == 2 && ids[0].starts_with("call_") && ids[0] != ids[1]);
    let content = json!([
        {"type": "thinking", "thinking": "So, hm", "signature": ""},
        {"type": "text", "text": "\n\nHi."},
        {"type": "tool_use", "id": ids[0], "name": "look", "input": {"a": 1}},
        {"type": "tool_use", "id": ids[1], "name": "look", "input": {}},
    ]);
    let usage = json!({
        "input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2, "output_tokens": 9,
    });
    let expected = json!({
        "id": "id_1", "type": "message", "role": "assistant", "model": "tiny", "content": content,
        "stop_reason": "tool_use", "stop_sequence": null, "usage": usage,
        "verbatim": {"seed": 7, "fingerprint": "vb-0", "ignored": []},
    });
    assert_eq!(body, expected);
}

/// The events put together, as a client does.
fn put_together(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut inputs: Vec<String> = Vec::new();
    for event in &events[1..] {
        let at = event["index"].as_u64().unwrap_or_default() as usize;
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(content.len(), at);
                content.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                let (name, kind) = match delta["type"].as_str().unwrap() {
                    "text_delta" => ("text", "text"),
                    "thinking_delta" => ("thinking", "thinking"),
                    "input_json_delta" => ("partial_json", "tool_use"),
                    other => panic!("{other}"),
                };
                let block = &mut message["content"][at];
                assert_eq!(block["type"], kind);
                let by = delta[name].as_str().unwrap();
                inputs[at].push_str(by);
                if kind != "tool_use" {
                    block[name] = json!(inputs[at]);
                }
            }
            "content_block_stop" if message["content"][at]["type"] == "tool_use" => {
                message["content"][at]["input"] = serde_json::from_str(&inputs[at]).unwrap();
            }
            "message_delta" => {
                for (name, value) in event["delta"].as_object().unwrap() {
                    message[name] = value.clone();
                }
                message["usage"] = event["usage"].clone();
                message["verbatim"] = event["verbatim"].clone();
            }
            "ping" | "content_block_stop" | "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    message
}

#[test]
fn events_put_together_are_the_whole_message() {
    let mut play = Play::of_all_parts();
    play.parsed.token_ids = true;
    let events = play.events(&Messages);
    let whole = play.whole(&Messages);
    assert_eq!(put_together(&events), whole);
    assert_eq!(whole["verbatim"]["token_ids"], json!((40..49).collect::<Vec<u32>>()));
    assert_eq!(whole["verbatim"]["prompt_token_ids"], json!([1, 2, 3, 4, 5]));
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(&kinds[..2], ["message_start", "ping"]);
    assert_eq!(&kinds[kinds.len() - 2..], ["message_delta", "message_stop"]);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 5);
    let count = |kind: &str| kinds.iter().filter(|other| **other == kind).count();
    assert_eq!((count("content_block_start"), count("content_block_stop")), (4, 4));
}

#[test]
fn an_end_has_its_reason() {
    for (reason, stop, expected) in [
        (Reason::Stop, None, ("end_turn", Value::Null)),
        (Reason::Stop, Some(StopReason::Text("X".to_owned())), ("stop_sequence", json!("X"))),
        (Reason::Stop, Some(StopReason::Token(3)), ("end_turn", Value::Null)),
        (Reason::Length, None, ("max_tokens", Value::Null)),
        (Reason::ToolCalls, None, ("tool_use", Value::Null)),
    ] {
        let play = Play { reason, stop, ..Play::of_text(&["a", " b"]) };
        let body = play.whole(&Messages);
        assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!(expected.0), &expected.1));
        assert_eq!(put_together(&play.events(&Messages)), body);
    }
}

#[test]
fn an_error_within_a_stream_is_an_event() {
    let events = Play { fails: true, ..Play::of_text(&["a"]) }.events(&Messages);
    let error = json!({"type": "error", "error": {"type": "api_error", "message": "it broke"}});
    assert_eq!(events.last(), Some(&error));
}
