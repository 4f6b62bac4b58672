//! Streams over HTTP. One that is cut at any token and resumed at another server goes on event for
//! event as if it had not been cut. The choices of a request come interleaved, and each is what it
//! is alone.
use serde_json::{Value, json};
use verbatim_tests::choices::{joined, with};
use verbatim_tests::cut::Stream;
use verbatim_tests::fixture::Files;
use verbatim_tests::process::Running;

fn serve(more: &[&str]) -> Running {
    let directory = Files::tiny().directory("resume");
    let path = directory.path().to_str().expect("UTF-8");
    Running::start(&[&["--served-model-name", "tiny", "--model", path], more].concat())
}

/// Two servers that share nothing but the model: threads, steps and instruction set differ.
fn two() -> (Running, Running) {
    let other =
        ["--threads", "1", "--max-rows", "7", "--max-seqs", "2", "--isa", "portable", "--step-ms", "0"];
    (serve(&[]), serve(&other))
}

/// What events say of their choices; which prompt it was is said once, in the first.
fn choices(events: &[Value]) -> Vec<Value> {
    let choice = |event: &Value| {
        let mut choices = event["choices"].clone();
        for choice in choices.as_array_mut().expect("choices") {
            choice.as_object_mut().expect("an object").remove("prompt_token_ids");
        }
        choices
    };
    events.iter().map(choice).collect()
}

fn ids_of(choice: &Value) -> Vec<u64> {
    let ids = choice[0]["token_ids"].as_array();
    ids.into_iter().flatten().map(|id| id.as_u64().expect("an id")).collect()
}

/// Letters, a character of two bytes and one of three, each byte a token: halves of characters and
/// beginnings of stop strings are everywhere.
fn ask() -> Value {
    let bias: serde_json::Map<String, Value> =
        "ab é日".bytes().map(|byte| (byte.to_string(), json!(60))).collect();
    json!({
        "prompt": "Hello".bytes().collect::<Vec<u8>>(), "max_tokens": 48, "temperature": 1.3, "top_p": 1, "top_k": 0,
        "seed": 11, "logit_bias": bias, "presence_penalty": 0.6, "frequency_penalty": 0.4,
        "repetition_penalty": 1.1, "min_tokens": 6, "logprobs": 2, "return_token_ids": true, "stream": true,
        "stream_options": {"include_usage": true},
    })
}

/// Cuts a stream after every token, and compares what another server makes of it.
fn cut_everywhere(ask: &Value, (one, other): &(Running, Running)) -> Vec<Value> {
    let whole = one.stream("/v1/completions", ask);
    let expected = choices(&whole);
    let prompt = whole[0]["choices"][0]["prompt_token_ids"].as_array().expect("ids").clone();
    let mut ids = prompt.clone();
    for (at, event) in expected.iter().enumerate() {
        let new = ids_of(event);
        if new.is_empty() {
            continue;
        }
        ids.extend(new.into_iter().map(Value::from));
        let mut rest = ask.clone();
        rest["prompt"] = json!(ids);
        rest["resume"] = json!({"prompt_tokens": prompt.len()});
        let events = other.stream("/v1/completions", &rest);
        assert_eq!(choices(&events), expected[at + 1..], "cut after {} ids", ids.len() - prompt.len());
        let usage = |events: &[Value]| {
            let mut usage = events.last().expect("usage")["usage"].clone();
            usage.as_object_mut().expect("an object").remove("prompt_tokens_details");
            usage
        };
        assert_eq!(usage(&events), usage(&whole));
    }
    expected
}

fn text_of(choice: &Value) -> &str {
    choice[0]["text"].as_str().unwrap_or_default()
}

#[test]
fn a_stream_cut_at_any_token_goes_on_elsewhere() {
    let servers = two();
    let ask = ask();
    let events = cut_everywhere(&ask, &servers);
    let text: String = events[..events.len() - 1].iter().map(text_of).collect();
    // An empty text stands for a part of a character that was held back over the cut.
    let held = events.iter().filter(|event| text_of(event).is_empty() && !ids_of(event).is_empty()).count();
    assert!(held >= 3 && text.contains(['é', '日']), "{held} tokens were held back in {text:?}");

    // Stop strings that begin now and then before they are complete.
    let letters: Vec<char> = text.chars().collect();
    let stop = letters.windows(3).skip(12).find(|stop| {
        let end = letters.windows(3).position(|window| window == *stop).expect("it is there");
        end > 8 && letters[..end].contains(&stop[0]) && !stop.contains(&'\u{fffd}')
    });
    let stop: String = stop.expect("a string that is not the first of its kind").iter().collect();
    let mut stopped = ask.clone();
    stopped["stop"] = json!([stop, "nowhere"]);
    let events = cut_everywhere(&stopped, &servers);
    assert_eq!(
        events.iter().rev().find(|event| event[0].is_object()).expect("events")[0]["finish_reason"],
        "stop"
    );

    // A prompt as text, greedy, up to a stop id.
    let mut greedy = ask.clone();
    greedy["prompt"] = json!("Once");
    greedy["temperature"] = json!(0);
    cut_everywhere(&greedy, &servers);
    let mut to_the_end = ask;
    to_the_end["logit_bias"]["257"] = json!(62);
    let events = cut_everywhere(&to_the_end, &servers);
    let last = events.iter().rev().find(|event| event[0].is_object()).expect("events");
    assert_eq!(last[0]["finish_reason"], "stop");
    assert!(events.iter().map(|event| ids_of(event).len()).sum::<usize>() > 6, "min_tokens holds");
}

#[test]
fn choices_are_what_each_is_alone_and_come_interleaved() {
    let (one, other) = two();
    let mut ask = ask();
    ask["n"] = json!(3);
    let events = one.stream("/v1/completions", &ask);
    let of = |events: &[Value], index: u64| -> Vec<Value> {
        let choices = choices(events);
        choices.into_iter().filter(|choice| choice[0]["index"].as_u64() == Some(index)).collect()
    };
    let order: Vec<u64> = events.iter().filter_map(|event| event["choices"][0]["index"].as_u64()).collect();
    let place = |index: u64, last: bool| {
        let found = |at: &u64| *at == index;
        if last { order.iter().rposition(found) } else { order.iter().position(found) }
            .expect("every choice comes")
    };
    assert!(place(2, false) < place(0, true), "choices come as they are made: {order:?}");
    let mut whole = ask.clone();
    whole["stream"] = json!(false);
    whole.as_object_mut().expect("an object").remove("stream_options");
    let (status, whole) = other.post("/v1/completions", &whole);
    assert_eq!(status, 200, "{whole}");
    let mut tokens = 0;
    let mut texts = Vec::new();
    for index in 0..3 {
        let mut alone = ask.clone();
        alone["n"] = json!(1);
        alone["resume"] = json!({"prompt_tokens": 5, "choice": index});
        let expected = of(&events, index);
        assert_eq!(of(&other.stream("/v1/completions", &alone), index), expected, "choice {index}");
        let choice = &whole["choices"][index as usize];
        let text: String = expected.iter().map(text_of).collect();
        assert_eq!((&choice["index"], &choice["text"]), (&json!(index), &json!(text)));
        let ids: Vec<u64> = expected.iter().flat_map(ids_of).collect();
        assert_eq!(choice["token_ids"], json!(ids));
        tokens += ids.len();
        texts.push(text);
    }
    assert!(texts[0] != texts[1] && texts[1] != texts[2], "every choice has noise of its own");
    let usage = &whole["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(5), &json!(tokens)));

    let chat = json!({"messages": [{"role": "user", "content": "hi"}], "n": 2, "max_tokens": 9, "seed": 3,
                      "ignore_eos": true});
    let (status, answer) = one.post("/v1/chat/completions", &chat);
    assert_eq!(status, 200, "{answer}");
    let mut streamed = chat;
    streamed["stream"] = json!(true);
    let events = other.stream("/v1/chat/completions", &streamed);
    for index in 0..2 {
        let deltas = events.iter().filter(|event| event["choices"][0]["index"] == json!(index));
        let text: String =
            deltas.filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(answer["choices"][index]["message"]["content"], json!(text));
    }
}

#[test]
fn a_choice_that_stops_early_leaves_the_others_alone() {
    let (one, other) = two();
    let mut ask = ask();
    ask["n"] = json!(4);
    ask["stream"] = json!(false);
    ask.as_object_mut().expect("an object").remove("stream_options");
    let (_, whole) = one.post("/v1/completions", &ask);
    let text = whole["choices"][1]["text"].as_str().expect("text");
    let stop: String = text.chars().skip(9).take(2).collect();
    ask["stop"] = json!(stop);
    let (_, stopped) = one.post("/v1/completions", &ask);
    assert_eq!(stopped["choices"][1]["finish_reason"], "stop");
    let (_, again) = other.post("/v1/completions", &ask);
    assert_eq!(stopped["choices"], again["choices"]);
    // Nobody is left behind in the engine.
    let (_, health) = one.send("GET", "/health", "");
    let mut health: Value = serde_json::from_str(&health).expect("JSON");
    while health["running"] != json!(0) {
        health = serde_json::from_str(&one.send("GET", "/health", "").1).expect("JSON");
    }
}

/// Two such servers whose chat template is this one.
fn two_of(template: &str, more: &[&str]) -> (Running, Running) {
    let mut files = Files::tiny();
    files.edit("tokenizer_config.json", |config| config["chat_template"] = json!(template));
    let directory = files.directory("resume");
    let path = directory.path().to_str().expect("UTF-8");
    let args = [&["--served-model-name", "tiny", "--model", path], more].concat();
    let other = [&args[..], &["--threads", "1", "--max-rows", "7", "--isa", "portable"]].concat();
    (Running::start(&args), Running::start(&other))
}

/// A form that is complete with the last token that the answer may have ends it, whatever number of
/// its tokens came from elsewhere: all of them, and none of them too.
#[test]
fn a_form_that_is_complete_at_the_limit_ends_the_same_when_resumed() {
    let template = "{% for t in tools or [] %}{{ t.function.name }};{% endfor %}\
        {% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}";
    let (one, other) = two_of(template, &[]);
    let functions = json!([{"type": "function", "function": {"name": "f"}}]);
    let chat = json!({"messages": [{"role": "user", "content": "hi"}], "tools": functions,
                      "tool_choice": "required", "parallel_tool_calls": false, "max_tokens": 400});
    let chat = with(&chat, &json!({"stream": true, "return_token_ids": true, "seed": 1}));
    let needed = joined(&one.stream("/v1/chat/completions", &chat), 1)[0]["ids"].as_array().map(Vec::len);
    let completion = json!({"prompt": [72, 105], "structured_outputs": {"choice": ["ab"]}, "max_tokens": 2,
                            "seed": 5, "stream": true, "return_token_ids": true, "stop": ["nowhere", "b!"]});
    let free = with(&completion, &json!({"structured_outputs": null}));
    for (path, body, end) in [
        ("/v1/completions", completion, "stop"),
        ("/v1/completions", free, "length"),
        ("/v1/chat/completions", with(&chat, &json!({"max_tokens": needed})), "tool_calls"),
    ] {
        let events = one.stream(path, &body);
        let whole = &joined(&events, 1)[0];
        assert_eq!(whole["end"], json!([end, null]), "{body}: {whole}");
        let first = events.iter().find_map(|event| event["choices"][0]["prompt_token_ids"].as_array());
        let (prompt, ids) = (first.expect("ids"), whole["ids"].as_array().expect("ids"));
        assert_eq!(ids.len() as u64, body["max_tokens"].as_u64().expect("a limit"), "{whole}");
        for cut in [ids.len() - 1, ids.len()] {
            let all: Vec<&Value> = prompt.iter().chain(&ids[..cut]).collect();
            let rest = match path {
                "/v1/completions" => json!({"prompt": all, "resume": {"prompt_tokens": prompt.len()}}),
                _ => json!({"resume": {"token_ids": all, "prompt_tokens": prompt.len()}}),
            };
            let rest = joined(&other.stream(path, &with(&body, &rest)), 1);
            assert_eq!(rest[0]["end"], whole["end"], "cut after {cut} tokens: {body}");
            assert_eq!(rest[0]["ids"], json!(ids[cut..]));
        }
    }
}

/// A prompt that has opened the reasoning, at its end or in a message that goes on, has opened it
/// for those too who have nothing but its ids.
#[test]
fn reasoning_that_the_prompt_has_opened_is_open_when_resumed_by_ids() {
    let template = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}\
        {% if not loop.last or add_generation_prompt %}{{ eos_token }}{% endif %}{% endfor %}\
        {% if add_generation_prompt %}assistant:{% if enable_thinking %}<think>\n{% endif %}{% endif %}";
    let (one, other) = two_of(template, &["--reasoning-parser", "think"]);
    let letters: serde_json::Map<String, Value> =
        (b'a'..=b'h').map(|byte| (byte.to_string(), json!(60))).collect();
    let body = json!({"max_tokens": 12, "ignore_eos": true, "seed": 2, "temperature": 1.2, "logit_bias": letters,
                      "stream": true, "return_token_ids": true});
    let user = |text: &str| json!({"role": "user", "content": text});
    let assistant = |text: &str| json!({"role": "assistant", "content": text});
    let goes_on = json!({"continue_final_message": true, "add_generation_prompt": false});
    for (messages, more, is_open) in [
        (json!([user("hi")]), json!({"chat_template_kwargs": {"enable_thinking": true}}), true),
        (json!([user("what is <think>?")]), json!({}), false),
        (json!([user("hi"), assistant("<think>so far")]), goes_on.clone(), true),
        (json!([user("hi"), assistant("<think>so far</think> and")]), goes_on.clone(), false),
        (json!([user("<think>"), assistant("and so")]), goes_on, false),
    ] {
        let asked = with(&with(&body, &more), &json!({"messages": messages}));
        let events = one.stream("/v1/chat/completions", &asked);
        let whole = &joined(&events, 1)[0];
        assert_eq!(whole["reasoning"] != "", is_open, "{messages}: {whole}");
        let prompt = events.iter().find_map(|event| event["choices"][0]["prompt_token_ids"].as_array());
        let (prompt, ids) = (prompt.expect("ids"), whole["ids"].as_array().expect("ids"));
        let all: Vec<&Value> = prompt.iter().chain(&ids[..5]).collect();
        let resume = json!({"resume": {"token_ids": all, "prompt_tokens": prompt.len()}, "messages": null});
        let rest = &joined(&other.stream("/v1/chat/completions", &with(&body, &resume)), 1)[0];
        let (told, empty) = if is_open { ("reasoning", "text") } else { ("text", "reasoning") };
        let text = whole[told].as_str().expect("text");
        assert_eq!((rest[told].as_str(), &rest[empty]), (text.get(5..), &json!("")), "{messages}");
        assert_eq!(rest["end"], whole["end"]);
    }
}

/// A template with functions, turns that begin behind a special token, and reasoning that a
/// variable opens.
const TEMPLATE: &str = "{{ bos_token }}{% for t in tools or [] %}{{ t.function.name }};{% endfor %}\
    {% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}\
    {% if add_generation_prompt %}assistant:{% if enable_thinking %}<think>\n{% endif %}{% endif %}";

fn schema() -> Value {
    json!({"type": "object", "properties": {"a": {"enum": ["aab", "é日"]}, "b": {"type": "integer"}},
           "required": ["a", "b"], "additionalProperties": false})
}

/// Requests of every kind with their paths, prompts and choices.
fn of_every_kind() -> Vec<(&'static str, Value, usize, usize)> {
    let of = |more: Value| with(&ask(), &more);
    let text = ["Hello", "Héllo 日本, Hello"];
    let stops = json!(["é ", "b日", "nowhere"]);
    let schema = schema();
    let mut chat =
        of(json!({"messages": [{"role": "user", "content": "hé"}], "logprobs": true, "top_logprobs": 3,
                             "max_tokens": 20}));
    chat.as_object_mut().expect("an object").remove("prompt");
    let chat = |more: Value| with(&chat, &more);
    let functions = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    let form = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}});
    let chats = "/v1/chat/completions";
    let completions = "/v1/completions";
    vec![
        (completions, of(json!({"stop": stops, "include_stop_str_in_output": true})), 1, 1),
        (completions, of(json!({"prompt": text[1], "n": 3, "stop": stops, "max_tokens": 20})), 1, 3),
        (completions, of(json!({"prompt": text, "n": 2, "echo": true, "max_tokens": 12})), 2, 4),
        (completions, of(json!({"response_format": form, "min_tokens": 0, "max_tokens": 40, "n": 2})), 1, 2),
        (chats, chat(json!({"n": 2, "stop": stops})), 1, 2),
        (chats, chat(json!({"response_format": form, "n": 2, "max_tokens": 40})), 1, 2),
        (
            chats,
            chat(json!({"tools": functions, "tool_choice": "required", "n": 2, "max_tokens": 90,
                            "stop": null, "min_tokens": 0})),
            1,
            2,
        ),
        (
            chats,
            chat(json!({"chat_template_kwargs": {"enable_thinking": true}, "stream_options": null,
                            "logprobs": false, "top_logprobs": null, "n": 2})),
            1,
            2,
        ),
    ]
}

/// Cuts streams of such requests and resumes them at another server, each choice elsewhere.
fn cut_all(requests: Vec<(&'static str, Value, usize, usize)>, (one, other): &(Running, Running)) {
    for (path, body, prompts, count) in requests {
        let events = one.stream(path, &body);
        // One that was drawn is told, so that the rest can be asked for.
        let body = with(&body, &json!({"seed": events[0]["verbatim"]["seed"]}));
        Stream::new(&events, count).check_everywhere(other, (path, &body), prompts);
    }
}

#[test]
fn choices_that_are_cut_each_elsewhere_go_on_in_one_request() {
    cut_all(of_every_kind(), &two_of(TEMPLATE, &["--reasoning-parser", "think"]));
}

/// The built-in model's tokens are of several letters, and the seeds here are drawn.
#[test]
fn the_built_in_model_goes_on_too() {
    let body = json!({"max_tokens": 24, "temperature": 1, "n": 2, "return_token_ids": true,
                      "stream": true, "stream_options": {"include_usage": true}});
    let chat = json!({"messages": [{"role": "user", "content": "Wie heißt 日本?"}], "logprobs": true,
                      "top_logprobs": 2});
    let text = json!({"prompt": ["Once upon a time", "Es war einmal"], "logprobs": 2});
    let form = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema()}});
    let formed = with(&chat, &json!({"response_format": form, "max_tokens": 60}));
    let requests = vec![
        ("/v1/chat/completions", with(&body, &chat), 1, 2),
        ("/v1/chat/completions", with(&body, &formed), 1, 2),
        ("/v1/completions", with(&body, &text), 2, 4),
    ];
    cut_all(
        requests,
        &(Running::start(&[]), Running::start(&["--threads", "1", "--max-rows", "7", "--step-ms", "0"])),
    );
}

#[test]
fn what_cannot_be_resumed_is_refused_by_name() {
    let server = serve(&[]);
    let base = json!({"prompt": [1, 2], "seed": 3, "max_tokens": 4, "n": 2});
    let resume = |resume: Value| json!({"resume": resume});
    let chat = json!({"messages": [{"role": "user", "content": "hi"}], "prompt": null});
    let (chats, completions) = ("/v1/chat/completions", "/v1/completions");
    for (path, more, param, word) in [
        (completions, resume(json!({})), "resume", "token_ids"),
        (completions, resume(json!({"token_ids": [5]})), "resume", "2 are asked for"),
        (completions, resume(json!({"token_ids": [[5], [6], [7]]})), "resume", "3 choices"),
        (completions, resume(json!({"token_ids": [null, null]})), "resume", "all of token_ids are null"),
        (completions, resume(json!({"token_ids": [[5], "x"]})), "resume", "neither"),
        (completions, resume(json!({"token_ids": [[5], [9999]]})), "resume", "9999"),
        (completions, resume(json!({"token_ids": [[5], [1, 2, 3, 4, 5]]})), "resume", "5 tokens"),
        (completions, resume(json!({"token_ids": [[], []], "choices": 1})), "resume", "choices"),
        (completions, resume(json!({"token_ids": [[], []], "prompt_token_ids": []})), "resume", "empty"),
        (
            completions,
            resume(json!({"token_ids": [[], []], "prompt_token_ids": [[1], [2]]})),
            "resume",
            "2 prompts",
        ),
        (chats, resume(json!({"token_ids": [[], []], "prompt_token_ids": [[1], [2]]})), "resume", "several"),
        (chats, resume(json!({"token_ids": [[5], null], "prompt_tokens": 1})), "resume", "n must be 1"),
        (
            completions,
            json!({"resume": {"token_ids": [[], [5]]}, "prompt_logprobs": 1}),
            "prompt_logprobs",
            "none",
        ),
        (completions, json!({"resume": {"token_ids": [[], [5]]}, "seed": null}), "seed", "verbatim.seed"),
        ("/v1/responses", json!({"input": "hi", "resume": {"token_ids": []}}), "resume", "/v1/completions"),
    ] {
        let body = match path {
            "/v1/responses" => json!({}),
            _ if path == chats => with(&base, &chat),
            _ => base.clone(),
        };
        let (status, answer) = server.post(path, &with(&body, &more));
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)), "{more}: {answer}");
        assert!(message.contains(word), "{more}: {message}");
    }
}

/// Whoever asks for the bits of a model gets no other's, in any dialect.
#[test]
fn another_fingerprint_is_refused_everywhere() {
    let server = serve(&[]);
    let messages = json!([{"role": "user", "content": "hi"}]);
    let chat = json!({"messages": messages, "max_tokens": 2, "stream": false});
    let own = server.post("/v1/chat/completions", &chat).1["system_fingerprint"].clone();
    for (path, body) in [
        ("/v1/completions", json!({"prompt": "hi", "max_tokens": 2})),
        ("/v1/chat/completions", chat.clone()),
        ("/v1/responses", json!({"input": "hi", "max_output_tokens": 2})),
        ("/v1/messages", chat.clone()),
        ("/api/chat", json!({"messages": messages, "stream": false, "options": {"num_predict": 2}})),
        ("/api/generate", json!({"prompt": "hi", "stream": false, "options": {"num_predict": 2}})),
    ] {
        let (status, answer) = server.post(path, &with(&body, &json!({"system_fingerprint": own})));
        assert_eq!(status, 200, "{path}: {answer}");
        let (status, answer) = server.post(path, &with(&body, &json!({"system_fingerprint": "vb-0"})));
        let told = answer.to_string();
        assert_eq!(status, 409, "{path}: {answer}");
        assert!(told.contains("vb-0") && told.contains(own.as_str().expect("text")), "{answer}");
        if path.ends_with("completions") {
            assert_eq!(answer["error"]["code"], "fingerprint_mismatch");
        }
    }
    let resume = json!({"resume": {"token_ids": [[5]], "fingerprint": "vb-0"}, "seed": 1});
    let (status, answer) = server.post("/v1/chat/completions", &with(&chat, &resume));
    assert_eq!((status, &answer["error"]["param"]), (409, &json!("resume.fingerprint")));
}
