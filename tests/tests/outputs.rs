//! What of an answer is shown, and where it ends, over HTTP: prompts that are scored and repeated,
//! stop tokens, forbidden words, more choices than the engine has places for, and conversations
//! that are resumed. Each is the same alone and among others, whole and streamed.
use serde_json::{Value, json};
use std::collections::BTreeSet;
use verbatim_tests::choices::{joined, of_whole, with};
use verbatim_tests::fixture::Files;
use verbatim_tests::http::connection::{Connection, request};
use verbatim_tests::process::Running;

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

/// A server with places for eight sequences, four of which run at once.
fn serve(more: &[&str]) -> Running {
    let directory = Files::tiny().directory("outputs");
    let path = directory.path().to_str().expect("UTF-8");
    let args = ["--served-model-name", "tiny", "--max-seqs", "4", "--max-queue", "4", "--model", path];
    Running::start(&[&args, more].concat())
}

/// A server that shares nothing with [`serve`] but the model.
fn other() -> Running {
    serve(&["--threads", "1", "--max-rows", "7", "--isa", "portable", "--step-ms", "0"])
}

fn answer(server: &Running, path: &str, body: &Value) -> Value {
    let (status, answer) = server.post(path, body);
    assert_eq!(status, 200, "{body}: {answer}");
    answer
}

fn refused(server: &Running, path: &str, body: &Value) -> (String, String) {
    let (status, answer) = server.post(path, body);
    assert_eq!(status, 400, "{body}: {answer}");
    let text = |name: &str| answer["error"][name].as_str().unwrap_or_default().to_owned();
    (text("param"), text("message"))
}

fn list<'v>(value: &'v Value, name: &str) -> &'v Vec<Value> {
    value[name].as_array().unwrap_or_else(|| panic!("{name} in {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// A free output of letters, each a token.
fn base() -> Value {
    let bias: serde_json::Map<String, Value> =
        (b'a'..=b'h').map(|byte| (byte.to_string(), json!(60))).collect();
    json!({"prompt": "Hello", "max_tokens": 24, "temperature": 1.2, "top_p": 1, "top_k": 0, "seed": 5,
           "logit_bias": bias, "return_token_ids": true})
}

/// The answer to a body, which is the same streamed, on another server, and among others.
fn same_everywhere(servers: &(Running, Running), body: &Value) -> Value {
    let whole = answer(&servers.0, COMPLETIONS, body);
    let expected = of_whole(&whole);
    let streamed = with(body, &json!({"stream": true}));
    std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..3)
            .map(|i| {
                let body = json!({"prompt": "other".repeat(i + 1), "max_tokens": 30, "seed": i, "echo": true,
                                  "logprobs": 1, "bad_words": ["e"]});
                scope.spawn(move || answer(&servers.1, COMPLETIONS, &body))
            })
            .collect();
        assert_eq!(joined(&servers.1.stream(COMPLETIONS, &streamed), expected.len()), expected, "{body}");
        crowd.into_iter().for_each(|other| drop(other.join().expect("no panic")));
    });
    assert_eq!(of_whole(&answer(&servers.1, COMPLETIONS, body)), expected, "{body}");
    whole
}

/// As lm-eval asks: prompts as ids, one token, everything scored. It compares the score of each
/// token with the best in its place, as floats.
#[test]
fn an_evaluation_harness_reads_the_scores_of_prompts() {
    let servers = (serve(&[]), other());
    let prompts: Vec<Vec<u8>> = ["The cat sat", "on", "the mat, and then it slept."].map(Vec::from).to_vec();
    let body = json!({"prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": true});
    let whole = same_everywhere(&servers, &body);
    for (at, (choice, prompt)) in list(&whole, "choices").iter().zip(&prompts).enumerate() {
        assert_eq!(choice["index"], json!(at));
        let logprobs = &choice["logprobs"];
        let scores = list(logprobs, "token_logprobs");
        let tops = list(logprobs, "top_logprobs");
        for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(list(logprobs, name).len(), prompt.len() + 1, "{name}");
        }
        assert!(scores[0].is_null() && tops[0].is_null());
        let mut greedy = 0;
        for ((token, score), top) in list(logprobs, "tokens").iter().zip(scores).zip(tops).skip(1) {
            let top = top.as_object().expect("a map");
            assert_eq!(&top[text(token)], score, "the token itself is listed");
            let best = top.values().map(|score| score.as_f64().expect("a number")).fold(f64::MIN, f64::max);
            greedy += usize::from(score.as_f64() == Some(best));
            assert!((1..=2).contains(&top.len()));
        }
        assert!(greedy >= 1, "the token that was generated is the best");
        // Offsets are places in the text.
        let chars: Vec<char> = text(&choice["text"]).chars().collect();
        for (token, offset) in list(logprobs, "tokens").iter().zip(list(logprobs, "text_offset")) {
            let offset = offset.as_u64().expect("a place") as usize;
            let here: String = chars[offset..].iter().take(text(token).chars().count()).collect();
            assert_eq!(here, text(token));
        }
        // Alone it is what it is beside the others.
        let alone = answer(&servers.1, COMPLETIONS, &with(&body, &json!({"prompt": prompt})));
        assert_eq!(alone["choices"][0]["logprobs"], *logprobs);
    }
}

#[test]
fn a_prompt_alone_is_computed_scored_and_repeated() {
    let servers = (serve(&[]), other());
    let body = json!({"prompt": "Héllo", "max_tokens": 0, "echo": true, "logprobs": 3, "n": 2});
    let whole = same_everywhere(&servers, &body);
    assert_eq!(list(&whole, "choices").len(), 2);
    for choice in list(&whole, "choices") {
        assert_eq!((text(&choice["text"]), &choice["finish_reason"]), ("Héllo", &json!("length")));
        assert_eq!(list(&choice["logprobs"], "tokens").len(), 6);
        assert_eq!(choice["logprobs"], whole["choices"][0]["logprobs"]);
    }
    assert_eq!(
        (&whole["usage"]["prompt_tokens"], &whole["usage"]["completion_tokens"]),
        (&json!(6), &json!(0))
    );
    // The same scores under vLLM's other name, and those of the choice that goes on.
    let scored = json!({"prompt": "Héllo", "max_tokens": 3, "prompt_logprobs": 2, "logprobs": 0, "seed": 1, "echo": true});
    let scored = answer(&servers.0, COMPLETIONS, &scored);
    let entries = list(&scored["choices"][0], "prompt_logprobs");
    let ids: Vec<u8> = "Héllo".bytes().collect();
    assert_eq!((entries.len(), &entries[0]), (6, &Value::Null));
    for (at, entry) in entries.iter().enumerate().skip(1) {
        let own = &entry[ids[at].to_string()];
        assert_eq!(own["logprob"], whole["choices"][0]["logprobs"]["token_logprobs"][at]);
        let listed = entry.as_object().expect("a map");
        let mut by_rank: Vec<_> = listed
            .values()
            .map(|of| (of["rank"].as_u64().expect("a rank"), of["logprob"].as_f64()))
            .collect();
        by_rank.sort_unstable_by_key(|(rank, _)| *rank);
        assert!(by_rank.is_sorted_by(|(_, a), (_, b)| a >= b), "{entry}");
        let ranks: BTreeSet<u64> = by_rank.iter().map(|(rank, _)| *rank).collect();
        assert!(ranks.len() == listed.len() && ranks.contains(&1) && ranks.contains(&2), "{entry}");
        // With no alternatives asked for, the token alone is listed.
        assert_eq!(
            scored["choices"][0]["logprobs"]["top_logprobs"][at].as_object().map(|top| top.len()),
            Some(1)
        );
    }
    let plain = answer(&servers.0, COMPLETIONS, &json!({"prompt": "Hello", "max_tokens": 0}));
    assert_eq!(
        (text(&plain["choices"][0]["text"]), &plain["choices"][0]["finish_reason"]),
        ("", &json!("length"))
    );
    let chat =
        json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "prompt_logprobs": 0});
    let chat = answer(&servers.0, CHAT, &chat);
    assert_eq!(
        list(&chat, "prompt_logprobs").len() as u64,
        chat["usage"]["prompt_tokens"].as_u64().expect("a count")
    );
    let (param, message) =
        refused(&servers.0, COMPLETIONS, &json!({"prompt": "a", "prompt_logprobs": 1, "stream": true}));
    assert!(param == "prompt_logprobs" && message.contains("stream"), "{message}");
}

#[test]
fn stop_tokens_end_the_output_and_may_be_shown() {
    let servers = (serve(&[]), other());
    let base = base();
    let free = answer(&servers.0, COMPLETIONS, &base);
    let ids = list(&free["choices"][0], "token_ids");
    let stop = ids[5].clone();
    let end = ids.iter().position(|id| *id == stop).expect("it is there");
    let free_text = text(&free["choices"][0]["text"]);
    let stopped = same_everywhere(&servers, &with(&base, &json!({"stop_token_ids": [stop]})));
    let choice = &stopped["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &stop));
    assert_eq!(text(&choice["text"]), &free_text[..end], "the token itself adds no text");
    assert_eq!(list(choice, "token_ids").len(), end + 1);
    let kept = json!({"stop_token_ids": [stop], "include_stop_str_in_output": true});
    let kept = same_everywhere(&servers, &with(&base, &kept));
    assert_eq!(text(&kept["choices"][0]["text"]), &free_text[..=end]);
    let string = &free_text[7..9];
    let end = free_text.find(string).expect("it is there");
    for (include, expected) in [(false, &free_text[..end]), (true, &free_text[..end + 2])] {
        let body = with(&base, &json!({"stop": string, "include_stop_str_in_output": include}));
        let choice = &same_everywhere(&servers, &body)["choices"][0];
        assert_eq!((text(&choice["text"]), &choice["stop_reason"]), (expected, &json!(string)));
    }
    // The model's own end is no word of the request.
    let ended = with(&base, &json!({"logit_bias": {"257": 100}, "skip_special_tokens": false}));
    let ended = same_everywhere(&servers, &ended);
    let choice = &ended["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &Value::Null));
    assert_eq!(text(&choice["text"]), "");
    for (keep, expected) in [(false, "<s><s><s>"), (true, "")] {
        let body =
            json!({"prompt": "a", "logit_bias": {"256": 100}, "max_tokens": 3, "skip_special_tokens": keep});
        assert_eq!(text(&answer(&servers.0, COMPLETIONS, &body)["choices"][0]["text"]), expected);
    }
    for wrong in [json!([258]), json!([-1]), json!([0.5]), json!("a"), json!(vec![1; 300])] {
        let (param, _) = refused(&servers.0, COMPLETIONS, &with(&base, &json!({"stop_token_ids": wrong})));
        assert_eq!(param, "stop_token_ids");
    }
}

#[test]
fn forbidden_tokens_and_words_are_not_generated() {
    let servers = (serve(&[]), other());
    let base = base();
    let free = answer(&servers.0, COMPLETIONS, &base);
    let free = text(&free["choices"][0]["text"]);
    let pair = &free[3..5];
    let words = json!({"bad_words": [&free[..1], pair]});
    let without = same_everywhere(&servers, &with(&base, &words));
    let without = text(&without["choices"][0]["text"]);
    assert!(
        without.len() == free.len() && !without.contains(&free[..1]) && !without.contains(pair),
        "{without}"
    );
    // A word that would have come later changes nothing before it.
    let later = &free[12..15];
    let at = free.find(later).expect("it is there");
    let words = same_everywhere(&servers, &with(&base, &json!({"bad_words": [later]})));
    assert_eq!(&text(&words["choices"][0]["text"])[..at + 2], &free[..at + 2]);
    assert_ne!(text(&words["choices"][0]["text"]), free);
    let allowed: Vec<u8> = b"xyz".to_vec();
    let only = same_everywhere(&servers, &with(&base, &json!({"allowed_token_ids": allowed, "n": 2})));
    for choice in list(&only, "choices") {
        assert!(text(&choice["text"]).bytes().all(|byte| allowed.contains(&byte)), "{choice}");
    }
    let named = with(&base, &json!({"return_tokens_as_token_ids": true, "logprobs": 1, "max_tokens": 2}));
    let named = same_everywhere(&servers, &named);
    let tokens = list(&named["choices"][0]["logprobs"], "tokens");
    assert_eq!(tokens[0], json!(format!("token_id:{}", free.as_bytes()[0])));
    for (name, wrong) in [
        ("bad_words", json!("a")),
        ("bad_words", json!([""])),
        ("bad_words", json!(["x".repeat(2000)])),
        ("allowed_token_ids", json!([])),
        ("allowed_token_ids", json!([999])),
        ("truncate_prompt_tokens", json!(0)),
        ("truncate_prompt_tokens", json!(-2)),
    ] {
        assert_eq!(refused(&servers.0, COMPLETIONS, &with(&base, &json!({name: wrong}))).0, name);
    }
}

#[test]
fn a_prompt_that_is_too_long_may_be_cut() {
    let server = serve(&[]);
    let long = "abcdefgh".repeat(100);
    let (_, message) = refused(&server, COMPLETIONS, &json!({"prompt": long}));
    assert!(message.contains("maximum context length is 512 tokens"), "{message}");
    let body =
        json!({"prompt": long, "truncate_prompt_tokens": 10, "max_tokens": 4, "seed": 1, "echo": true});
    let cut = answer(&server, COMPLETIONS, &body);
    assert_eq!(cut["usage"]["prompt_tokens"], json!(10));
    let short = answer(
        &server,
        COMPLETIONS,
        &json!({"prompt": "ghabcdefgh", "max_tokens": 4, "seed": 1, "echo": true}),
    );
    assert_eq!(cut["choices"], short["choices"]);
    let rest = json!({"prompt": long, "truncate_prompt_tokens": -1, "max_tokens": 12, "seed": 1, "ignore_eos": true});
    let rest = answer(&server, COMPLETIONS, &rest);
    assert_eq!(
        (&rest["usage"]["prompt_tokens"], &rest["usage"]["completion_tokens"]),
        (&json!(500), &json!(12))
    );
    // Whoever begins again by the ids that were left repeats the same text, cut or not.
    for (kept, repeated) in [(2, "ab"), (3, "</s>ab"), (20, "</s>ab")] {
        let body = json!({"prompt": "</s>ab", "truncate_prompt_tokens": kept, "max_tokens": 4, "seed": 1, "echo": true,
                          "return_token_ids": true});
        let whole = answer(&server, COMPLETIONS, &body);
        let choice = &whole["choices"][0];
        assert!(text(&choice["text"]).starts_with(repeated), "{choice}");
        let given = json!({"resume": {"token_ids": [], "prompt_token_ids": choice["prompt_token_ids"]}});
        let again = answer(&server, COMPLETIONS, &with(&body, &given));
        assert_eq!(again["choices"], whole["choices"]);
    }
}

#[test]
fn choices_and_prompts_beyond_the_places_wait_for_their_turn() {
    let servers = (serve(&[]), other());
    let base = with(&base(), &json!({"n": 21, "max_tokens": 6}));
    let whole = same_everywhere(&servers, &base);
    for index in [0, 7, 8, 20] {
        let alone = json!({"prompt": [72, 101, 108, 108, 111], "n": 1, "resume": {"prompt_tokens": 5, "choice": index}});
        let alone = answer(&servers.1, COMPLETIONS, &with(&base, &alone));
        assert_eq!(alone["choices"][0], whole["choices"][index], "choice {index}");
    }
    let prompts: Vec<Value> = (0..30_u8)
        .map(|i| if i % 2 == 0 { json!(format!("prompt {i}")) } else { json!([100, 101, i]) })
        .collect();
    let body = json!({"prompt": prompts, "max_tokens": 3, "seed": 9, "temperature": 1, "echo": true, "logprobs": 1,
                      "n": 2});
    let whole = same_everywhere(&servers, &body);
    assert_eq!(list(&whole, "choices").len(), 60);
    for at in [0, 13, 29] {
        let alone = answer(&servers.0, COMPLETIONS, &with(&body, &json!({"prompt": prompts[at]})));
        for i in 0..2 {
            let (mut alone, choice) = (alone["choices"][i].clone(), &whole["choices"][2 * at + i]);
            alone["index"] = json!(2 * at + i);
            assert_eq!(alone, *choice);
        }
    }
    // What is wrong with one of them is said before any is answered.
    let mut wrong = prompts.clone();
    wrong[29] = json!([1, 300]);
    let (param, _) =
        refused(&servers.0, COMPLETIONS, &with(&body, &json!({"prompt": wrong, "stream": true})));
    assert_eq!(param, "prompt");
}

#[test]
fn a_conversation_that_was_cut_goes_on_elsewhere() {
    let (one, other) = (serve(&[]), other());
    let ask = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 12, "seed": 4, "temperature": 1.1,
                     "ignore_eos": true, "stream": true, "return_token_ids": true, "logprobs": true, "stop": ["nowhere"]});
    let whole = one.stream(CHAT, &ask);
    let choices = |events: &[Value]| -> Vec<Value> {
        // A stream that is resumed does not say again whose words it brings.
        let told = events.iter().filter(|event| event["choices"][0]["delta"]["role"].is_null());
        let told = told.map(|event| {
            let mut choice = event["choices"][0].clone();
            choice.as_object_mut().expect("an object").remove("prompt_token_ids");
            choice
        });
        told.collect()
    };
    let prompt = list(&whole[1]["choices"][0], "prompt_token_ids").clone();
    let expected = choices(&whole);
    let mut ids = prompt.clone();
    for (at, event) in expected.iter().enumerate() {
        let Some(new) = event["token_ids"].as_array().filter(|ids| !ids.is_empty()) else { continue };
        ids.extend(new.clone());
        let resume = json!({"token_ids": ids, "prompt_tokens": prompt.len()});
        let mut rest = with(&ask, &json!({"resume": resume}));
        rest.as_object_mut().expect("an object").remove("messages");
        assert_eq!(choices(&other.stream(CHAT, &rest)), expected[at + 1..], "cut after {} ids", ids.len());
    }
    for (resume, n) in [
        (json!({"prompt_tokens": 1}), 1),
        (json!({"token_ids": [], "prompt_tokens": 1}), 1),
        (json!({"token_ids": [1, 2], "prompt_tokens": 3}), 1),
        (json!({"token_ids": [1, 2], "prompt_tokens": 1}), 2),
        (json!({"token_ids": ["a"], "prompt_tokens": 1}), 1),
    ] {
        assert_eq!(refused(&one, CHAT, &json!({"resume": resume, "n": n})).0, "resume");
    }
}

/// A client that says how long it waits for a byte gets one in time, and then the answer.
#[test]
fn a_client_that_waits_for_a_whole_answer_is_kept_waiting() {
    let server = serve(&[]);
    let body = json!({"prompt": "Hi", "max_tokens": 400, "ignore_eos": true, "seed": 2});
    let expected = answer(&server, COMPLETIONS, &body);
    let ask = |seconds: &str| {
        let headers = [("x-stainless-read-timeout", seconds)];
        let request = request("POST", COMPLETIONS, &headers, body.to_string().as_bytes());
        let mut connection = Connection::open(server.socket_address()).expect("it connects");
        connection.ask(&request).expect("an answer")
    };
    let hasty = ask("0.000001");
    assert_eq!(hasty.head.status, 200);
    assert_eq!(hasty.head.header("content-type"), Some("application/json"));
    assert_eq!(hasty.head.header("transfer-encoding"), Some("chunked"));
    assert!(hasty.body.starts_with(b" "), "spaces, which mean nothing");
    let value: Value = serde_json::from_slice(&hasty.body).expect("JSON");
    assert_eq!(value["choices"], expected["choices"]);
    let patient = ask("600");
    assert!(patient.head.header("transfer-encoding").is_none() && patient.body.starts_with(b"{"));
}
