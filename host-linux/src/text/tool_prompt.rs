//! Calls of functions with chat templates that know none: what such a template cannot write stands
//! in the messages that it can.
//!
//! Functions are offered in the system's message, or in the first of the user where the template
//! has no system; calls are asked for, and written in a history, as Hermes writes them; results of
//! functions are the user's messages.
use super::template::python_json;
use serde_json::{Value, json};

/// Offers functions in the messages. `has_system` is whether the template knows the system's role.
pub(super) fn offer(tools: &[Value], messages: &mut Vec<Value>, has_system: bool) {
    let mut words =
        "You can call functions. Each line between <tools> and </tools> describes one:\n<tools>\n".to_owned();
    for tool in tools {
        words.push_str(&python_json(tool));
        words.push('\n');
    }
    words.push_str(
        "</tools>\nTo call a function, answer with its name and arguments as JSON, in this form:\n<tool_call>\n\
         {\"name\": \"the function's name\", \"arguments\": {}}\n</tool_call>",
    );
    let role = if has_system { "system" } else { "user" };
    let place = if has_system {
        messages.first_mut().filter(|message| message["role"] == role)
    } else {
        messages.iter_mut().find(|message| message["role"] == role)
    };
    match place {
        Some(message) => {
            let content = message["content"].as_str().unwrap_or_default();
            let parts = if has_system { [content, &words] } else { [&words, content] };
            let whole: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            message["content"] = Value::String(whole.join("\n\n"));
        }
        None => messages.insert(0, json!({"role": role, "content": words})),
    }
}

/// Messages in which calls and their results are text.
pub(super) fn without_calls(messages: Vec<Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(messages.len());
    let mut is_behind_result = false;
    for mut message in messages {
        let content = message["content"].as_str().unwrap_or_default();
        if message["role"] == "tool" || message["role"] == "function" {
            let result = format!("<tool_response>\n{content}\n</tool_response>");
            match out.last_mut().filter(|_| is_behind_result) {
                Some(last) => {
                    let before = last["content"].as_str().unwrap_or_default();
                    last["content"] = Value::String(format!("{before}\n{result}"));
                }
                None => out.push(json!({"role": "user", "content": result})),
            }
            is_behind_result = true;
            continue;
        }
        is_behind_result = false;
        if let Some(Value::Array(calls)) = message.get("tool_calls") {
            let mut blocks: Vec<String> = calls.iter().map(block).collect();
            if !content.is_empty() {
                blocks.insert(0, content.to_owned());
            }
            message["content"] = Value::String(blocks.join("\n"));
            if let Some(map) = message.as_object_mut() {
                map.shift_remove("tool_calls");
            }
        }
        out.push(message);
    }
    out
}

/// A call as Hermes writes it.
fn block(call: &Value) -> String {
    let function = &call["function"];
    let call = json!({"name": function["name"], "arguments": function["arguments"]});
    format!("<tool_call>\n{}\n</tool_call>", python_json(&call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_offered_in_a_message() {
        let tools = [json!({"type": "function", "function": {"name": "f"}})];
        let user = json!({"role": "user", "content": "hi"});
        let mut messages = vec![json!({"role": "system", "content": "Be brief."}), user.clone()];
        offer(&tools, &mut messages, true);
        let text = messages[0]["content"].as_str().unwrap();
        assert!(text.starts_with("Be brief.\n\nYou can call functions."), "{text}");
        assert!(
            text.contains("<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"f\"}}\n</tools>"),
            "{text}"
        );
        let mut messages = vec![user.clone()];
        offer(&tools, &mut messages, true);
        assert_eq!((messages.len(), &messages[0]["role"], &messages[1]), (2, &json!("system"), &user));
        let mut messages = vec![user];
        offer(&tools, &mut messages, false);
        assert_eq!(messages.len(), 1);
        assert!(messages[0]["content"].as_str().unwrap().ends_with("</tool_call>\n\nhi"));
    }

    #[test]
    fn a_history_of_calls_is_text() {
        let call = |name: &str| json!({"id": "x", "type": "function", "function": {"name": name, "arguments": {"a": 1}}});
        let messages = without_calls(vec![
            json!({"role": "assistant", "content": "I look.", "tool_calls": [call("f"), call("g")]}),
            json!({"role": "tool", "tool_call_id": "x", "content": "1"}),
            json!({"role": "tool", "tool_call_id": "y", "content": "2"}),
            json!({"role": "assistant", "content": "", "tool_calls": [call("h")]}),
            json!({"role": "user", "content": "so?"}),
        ]);
        let block = |name: &str| {
            format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {{\"a\": 1}}}}\n</tool_call>")
        };
        assert_eq!(
            messages,
            [
                json!({"role": "assistant", "content": format!("I look.\n{}\n{}", block("f"), block("g"))}),
                json!({"role": "user", "content":
                    "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"}),
                json!({"role": "assistant", "content": block("h")}),
                json!({"role": "user", "content": "so?"}),
            ]
        );
    }
}
