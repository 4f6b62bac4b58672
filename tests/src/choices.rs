//! The choices of answers in one form, whether they came whole or as events: text, reasoning,
//! calls, ids, logprobs, and how they ended.
use serde_json::{Value, json};

/// A body with more in it.
///
/// # Panics
/// If one of them is no object.
pub fn with(body: &Value, more: &Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

fn empty() -> Value {
    json!({"text": "", "reasoning": "", "calls": [], "ids": [], "logprobs": {}, "end": null})
}

fn add_text(whole: &mut Value, name: &str, more: &Value) {
    let joined = whole[name].as_str().unwrap_or_default().to_owned() + more.as_str().unwrap_or_default();
    whole[name] = json!(joined);
}

fn add_list(whole: &mut Value, more: &Value) {
    let list = whole.as_array_mut().expect("a list");
    list.extend(more.as_array().into_iter().flatten().cloned());
}

/// Adds what an event says of a call.
fn add_call(calls: &mut Value, delta: &Value) {
    let at = delta["index"].as_u64().expect("an index") as usize;
    let calls = calls.as_array_mut().expect("a list");
    // Of a stream that is resumed the beginnings of calls may be missing.
    while calls.len() < at {
        calls.push(Value::Null);
    }
    if calls.len() == at {
        let name = &delta["function"]["name"];
        calls.push(
            json!({"id": delta["id"], "type": delta["type"], "function": {"name": name, "arguments": ""}}),
        );
    }
    add_text(&mut calls[at]["function"], "arguments", &delta["function"]["arguments"]);
}

/// Adds what a choice of an event or of a whole answer says.
fn add(whole: &mut Value, choice: &Value) {
    add_text(whole, "text", &choice["text"]);
    for message in [&choice["delta"], &choice["message"]] {
        add_text(whole, "text", &message["content"]);
        add_text(whole, "reasoning", &message["reasoning_content"]);
    }
    choice["delta"]["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .for_each(|call| add_call(&mut whole["calls"], call));
    add_list(&mut whole["calls"], &choice["message"]["tool_calls"]);
    add_list(&mut whole["ids"], &choice["token_ids"]);
    // A stream without tokens lists nothing, where a whole answer has empty lists.
    let has_some = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    let lists = choice["logprobs"].as_object().into_iter().flatten();
    for (name, entries) in lists.filter(|(_, entries)| has_some(entries)) {
        let lists = whole["logprobs"].as_object_mut().expect("an object");
        add_list(lists.entry(name.clone()).or_insert_with(|| json!([])), entries);
    }
    if !choice["finish_reason"].is_null() {
        assert!(whole["end"].is_null(), "a choice ends once");
        whole["end"] = json!([choice["finish_reason"], choice["stop_reason"]]);
    }
}

/// The choices that some events tell of, put together; there are `count`.
///
/// # Panics
/// If they are no events of such choices.
pub fn joined(events: &[Value], count: usize) -> Vec<Value> {
    let mut choices = vec![empty(); count];
    for choice in events.iter().filter_map(|event| event["choices"].get(0)) {
        add(&mut choices[choice["index"].as_u64().expect("an index") as usize], choice);
    }
    choices
}

/// The choices of a whole answer.
///
/// # Panics
/// If it is none.
pub fn of_whole(answer: &Value) -> Vec<Value> {
    let choices = answer["choices"].as_array().unwrap_or_else(|| panic!("no choices: {answer}"));
    let one = |choice: &Value| {
        let mut whole = empty();
        add(&mut whole, choice);
        whole
    };
    choices.iter().map(one).collect()
}
