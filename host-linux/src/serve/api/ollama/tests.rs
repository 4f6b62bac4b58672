//! Bodies and answers of Ollama's calls, without a model.
use super::super::answer::writer::Reason;
use super::super::dialect::Dialect;
use super::super::fields::Fields;
use super::super::limits::{Reading, RequestBounds, RequestLimits};
use super::super::played::{Play, model};
use super::super::translation::Translation;
use super::chat::{OllamaChat, conversation};
use super::generate::OllamaGenerate;
use super::reading;
use crate::serve::error::ApiError;
use serde_json::{Value, json};

fn translated(mut body: Value) -> Result<Translation, ApiError> {
    body["model"] = json!(format!("{}:latest", model().name));
    reading::translate(&Fields::new(body.as_object().expect("an object")), model())
}

#[test]
fn options_have_the_names_of_chat() {
    let options = json!({
        "temperature": 0.5, "top_k": 4, "top_p": 0.9, "min_p": 0.1, "seed": 3, "stop": ["X"],
        "num_predict": 9, "num_ctx": 8, "repeat_penalty": 1.1, "repeat_last_n": -1,
        "presence_penalty": 0.1, "frequency_penalty": 0.2,
    });
    let translation = translated(json!({"options": options, "format": "json", "top_logprobs": 2})).unwrap();
    for (name, value) in [
        ("model", json!(model().name)),
        ("stream", json!(true)),
        ("temperature", json!(0.5)),
        ("top_k", json!(4)),
        ("seed", json!(3)),
        ("stop", json!(["X"])),
        ("max_tokens", json!(9)),
        ("repetition_penalty", json!(1.1)),
        ("response_format", json!({"type": "json_object"})),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(2)),
    ] {
        assert_eq!(translation.get(name), Some(&value), "{name}");
    }
    for unlimited in [-1, -2] {
        let translation =
            translated(json!({"options": {"num_predict": unlimited}, "stream": false})).unwrap();
        assert_eq!((translation.get("max_tokens"), translation.get("stream")), (None, Some(&json!(false))));
    }
    let schema = json!({"type": "object"});
    let translation = translated(json!({"format": schema})).unwrap();
    assert_eq!(translation.get("response_format").unwrap()["json_schema"]["schema"], schema);
}

#[test]
fn what_would_change_the_answer_is_refused() {
    for (body, param) in [
        (json!({"options": {"num_ctx": 1 << 30}}), "num_ctx"),
        (json!({"options": {"repeat_penalty": 1.1, "repeat_last_n": 64}}), "repeat_last_n"),
        (json!({"options": {"num_predict": -3}}), "num_predict"),
        (json!({"options": []}), "options"),
        (json!({"format": "xml"}), "format"),
        (json!({"think": 3}), "think"),
        (json!({"think": true}), "think"),
    ] {
        let error = translated(body.clone()).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{body}");
        assert!(error.message.contains(param), "{}", error.message);
    }
    // A window is no matter where nothing is penalised.
    assert!(
        translated(json!({"options": {"repeat_penalty": 1.0, "repeat_last_n": 64}, "think": false})).is_ok()
    );
}

#[test]
fn results_of_tools_find_their_calls() {
    let call = |name: &str| json!({"function": {"name": name, "arguments": {"a": 1}}});
    let list = json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "thinking": "hm", "tool_calls": [call("look"), call("hear"), call("look")]},
        {"role": "tool", "tool_name": "hear", "content": "heard"},
        {"role": "tool", "content": "seen"},
        {"role": "tool", "tool_call_id": "call_1_2", "content": "seen again"},
    ]);
    let mut translation = translated(json!({})).unwrap();
    conversation(list.as_array().unwrap(), &mut translation).unwrap();
    let messages = translation.messages().clone();
    let made = |id: &str, name: &str| {
        let function = json!({"name": name, "arguments": "{\"a\":1}"});
        json!({"id": id, "type": "function", "function": function})
    };
    let calls = json!([made("call_1_0", "look"), made("call_1_1", "hear"), made("call_1_2", "look")]);
    assert_eq!(messages[1]["tool_calls"], calls);
    assert_eq!(messages[1]["reasoning_content"], "hm");
    let results: Vec<_> = messages[2..]
        .iter()
        .map(|m| (m["tool_call_id"].as_str().unwrap(), m["name"].as_str().unwrap()))
        .collect();
    assert_eq!(results, [("call_1_1", "hear"), ("call_1_0", "look"), ("call_1_2", "look")]);
    for (wrong, says) in [
        (json!([{"role": "user", "content": "a", "images": ["x"]}]), "messages[0].images"),
        (json!([{"role": "assistant", "tool_calls": [{}]}]), "messages[0].tool_calls[0].function must be"),
        (
            json!([{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "{}"}}]}]),
            "arguments must be an object",
        ),
        (json!([{"content": "x"}]), "messages[0].role is missing"),
    ] {
        let error = conversation(wrong.as_array().unwrap(), &mut translation).unwrap_err();
        assert!(error.message.contains(says), "{}", error.message);
    }
}

#[test]
fn a_body_that_asks_for_nothing_loads_the_model() {
    let bounds = RequestBounds::new(&RequestLimits::default(), model());
    let parse = |dialect: &dyn Dialect, body: Value| {
        dialect.parse(&Fields::new(body.as_object().unwrap()), Reading { model: model(), bounds: &bounds })
    };
    for dialect in [&OllamaChat as &dyn Dialect, &OllamaGenerate] {
        let parsed = parse(dialect, json!({"model": model().name, "stream": false})).unwrap();
        assert!(parsed.requests.is_empty() && !parsed.streaming.stream);
        let mut play = Play::of_text(&[]);
        play.parsed = parsed;
        let body = play.whole(dialect);
        assert_eq!((&body["done"], &body["done_reason"]), (&json!(true), &json!("load")));
        let error = parse(
            dialect,
            json!({"model": "another:latest", "prompt": "a", "messages": [{"role": "user", "content": "a"}]}),
        );
        assert_eq!(error.unwrap_err().status, 404);
        assert_eq!(parse(dialect, json!({"model": 3})).unwrap_err().param.as_deref(), Some("model"));
    }
}

fn lines(play: &Play, dialect: &dyn Dialect) -> Vec<Value> {
    play.streamed(dialect).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_message_has_calls_as_objects_and_a_last_line_its_times() {
    let mut play = Play::of_all_parts();
    play.parsed.token_ids = true;
    let (whole, lines) = (play.whole(&OllamaChat), lines(&play, &OllamaChat));
    let message = &whole["message"];
    assert_eq!((&message["content"], &message["thinking"]), (&json!("\n\nHi."), &json!("So, hm")));
    let call = |at: usize, arguments: Value| {
        let function = json!({"index": at, "name": "look", "arguments": arguments});
        json!({"id": message["tool_calls"][at]["id"], "function": function})
    };
    assert_eq!(message["tool_calls"], json!([call(0, json!({"a": 1})), call(1, json!({}))]));
    for (name, value) in [
        ("model", json!("tiny:latest")),
        ("created_at", json!("2024-02-29T00:00:00Z")),
        ("done", json!(true)),
        ("done_reason", json!("stop")),
        ("total_duration", json!(10_000_000)),
        ("load_duration", json!(0)),
        ("prompt_eval_count", json!(5)),
        ("prompt_eval_duration", json!(2_000_000)),
        ("eval_count", json!(9)),
        ("eval_duration", json!(7_000_000)),
    ] {
        assert_eq!(whole[name], value, "{name}");
        assert_eq!(lines.last().unwrap()[name], value, "{name}");
    }
    let joined =
        |name: &str| lines.iter().filter_map(|line| line["message"][name].as_str()).collect::<String>();
    assert_eq!((joined("content"), joined("thinking")), ("\n\nHi.".to_owned(), "So, hm".to_owned()));
    let calls: Vec<&Value> =
        lines.iter().filter_map(|line| line["message"]["tool_calls"].as_array()).flatten().collect();
    assert_eq!(json!(calls), message["tool_calls"]);
    assert!(lines[..lines.len() - 1].iter().all(|line| line["done"] == false));
    assert_eq!(lines.last().unwrap()["verbatim"], whole["verbatim"]);
}

#[test]
fn a_response_is_text_beside_all_else() {
    let mut play = Play { reason: Reason::Length, ..Play::of_text(&["a", "", "b"]) };
    play.parsed.logprobs = true;
    let (whole, lines) = (play.whole(&OllamaGenerate), lines(&play, &OllamaGenerate));
    assert_eq!((&whole["response"], &whole["done_reason"]), (&json!("ab"), &json!("length")));
    assert!(whole.get("message").is_none());
    let text: String = lines.iter().filter_map(|line| line["response"].as_str()).collect();
    assert_eq!(text, "ab");
    let listed: Vec<&Value> = lines.iter().filter_map(|line| line["logprobs"].as_array()).flatten().collect();
    assert_eq!((listed.len(), json!(listed)), (3, whole["logprobs"].clone()));
}

#[test]
fn an_error_within_a_stream_is_its_last_line() {
    let lines = lines(&Play { fails: true, ..Play::of_text(&["a"]) }, &OllamaChat);
    assert_eq!(lines.last(), Some(&json!({"error": "it broke"})));
}
