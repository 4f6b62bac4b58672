//! Requests whose parameters are drawn, all that can change an answer among them. Each answer is
//! the same alone and in a crowd, whole and streamed, with one thread and with several, and where
//! its stream was cut and resumed at another server.
//!
//! `VERBATIM_DRAWN=N` draws N requests in place of a few, `VERBATIM_DRAWN_SEED=N` others.
use serde_json::{Map, Value, json};
use std::sync::Mutex;
use verbatim_tests::choices::{joined, of_whole, with};
use verbatim_tests::cut::{Cut, Stream};
use verbatim_tests::draws::Draws;
use verbatim_tests::fixture::Files;
use verbatim_tests::process::Running;

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";
/// Requests that are drawn by default.
const COUNT: u64 = 40;
/// Requests that are answered at once.
const CROWD: usize = 6;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn serve(more: &[&str]) -> Running {
    let mut files = Files::tiny();
    // Contexts are short, so functions are told in few words.
    files.edit("tokenizer_config.json", |config| {
        config["chat_template"] = json!(
            "{{ bos_token }}{% for t in tools or [] %}{{ t.function.name }};{% endfor %}\
             {% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
             {% if add_generation_prompt %}assistant:{% endif %}"
        );
    });
    let directory = files.directory("drawn");
    let path = directory.path().to_str().expect("UTF-8");
    Running::start(&[&["--served-model-name", "tiny", "--model", path], more].concat())
}

/// A request, and where it is sent.
struct Drawn {
    path: &'static str,
    body: Value,
    prompts: usize,
    choices: usize,
    /// Where its stream is cut, as a fraction of its tokens in percent.
    cut: u64,
}

struct Source(Draws);

impl Source {
    fn below(&mut self, end: u64) -> u64 {
        self.0.bits() % end
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// Text of few letters, so that prompts share beginnings and stop strings are met.
    fn text(&mut self, most: u64) -> String {
        let letters: Vec<char> = "aaab é日".chars().collect();
        (0..=self.below(most)).map(|_| self.pick(&letters)).collect()
    }

    /// Puts a parameter into a body in so many percent of all cases.
    fn maybe(
        &mut self,
        body: &mut Map<String, Value>,
        percent: u64,
        name: &str,
        value: impl Fn(&mut Self) -> Value,
    ) {
        if self.percent(percent) {
            let value = value(self);
            body.insert(name.to_owned(), value);
        }
    }

    /// What both endpoints take and what can change tokens or text.
    fn common(&mut self) -> Map<String, Value> {
        let mut body = Map::new();
        let bias: Map<String, Value> =
            "ab é日{}\":1".bytes().map(|byte| (byte.to_string(), json!(40 + self.below(20)))).collect();
        body.insert("seed".to_owned(), json!(self.below(1 << 40)));
        body.insert("logit_bias".to_owned(), Value::Object(bias));
        body.insert("max_tokens".to_owned(), json!(self.below(24)));
        body.insert("return_token_ids".to_owned(), json!(true));
        self.maybe(&mut body, 70, "temperature", |s| json!(s.pick(&[0.0, 0.7, 1.3])));
        self.maybe(&mut body, 40, "top_p", |s| json!(s.pick(&[0.5, 0.9, 1.0])));
        self.maybe(&mut body, 30, "top_k", |s| json!(s.below(9)));
        self.maybe(&mut body, 20, "min_p", |_| json!(0.05));
        self.maybe(&mut body, 30, "presence_penalty", |_| json!(0.7));
        self.maybe(&mut body, 30, "frequency_penalty", |_| json!(0.4));
        self.maybe(&mut body, 30, "repetition_penalty", |_| json!(1.2));
        self.maybe(&mut body, 30, "stop", |s| json!([s.text(2), s.text(3)]));
        self.maybe(&mut body, 25, "stop_token_ids", |s| json!([s.pick(b"ab "), 257]));
        self.maybe(&mut body, 30, "include_stop_str_in_output", |_| json!(true));
        self.maybe(&mut body, 25, "min_tokens", |s| json!(s.below(12)));
        self.maybe(&mut body, 30, "ignore_eos", |_| json!(true));
        self.maybe(&mut body, 25, "bad_words", |s| json!([s.text(1), s.text(2)]));
        self.maybe(&mut body, 20, "allowed_token_ids", |_| json!("abcé日 {}:".bytes().collect::<Vec<u8>>()));
        self.maybe(&mut body, 20, "skip_special_tokens", |_| json!(false));
        self.maybe(&mut body, 20, "return_tokens_as_token_ids", |_| json!(true));
        self.maybe(&mut body, 30, "truncate_prompt_tokens", |s| json!(5 + s.below(30)));
        self.maybe(&mut body, 30, "cache_salt", |s| json!(s.pick(&["x", "y"])));
        self.maybe(&mut body, 20, "priority", |s| json!(s.below(3)));
        body
    }

    /// A form that the output must have, in some cases. Such a request leaves out what may forbid
    /// all that the form allows.
    fn form(&mut self, body: &mut Map<String, Value>) {
        if !self.percent(25) {
            return;
        }
        let form = self.pick(&[
            json!({"response_format": {"type": "json_object"}}),
            json!({"structured_outputs": {"regex": "(ab|a b)+é?"}}),
            json!({"structured_outputs": {"choice": ["aab", "ab", "é日"]}}),
        ]);
        body.retain(|name, _| name != "bad_words" && name != "allowed_token_ids" && name != "stop_token_ids");
        body.extend(form.as_object().expect("an object").clone());
    }

    fn completion(&mut self) -> Drawn {
        let mut body = self.common();
        self.form(&mut body);
        let prompts = self.pick(&[1, 1, 1, 3]);
        let prompt = |s: &mut Self| {
            let text = s.text(30);
            if s.percent(50) { json!(text) } else { json!(text.bytes().collect::<Vec<u8>>()) }
        };
        let prompts: Vec<Value> = (0..prompts).map(|_| prompt(self)).collect();
        let count = prompts.len();
        let n = self.pick(&[1, 1, 1, 2, 5]);
        body.insert("prompt".to_owned(), if count == 1 { prompts[0].clone() } else { json!(prompts) });
        body.insert("n".to_owned(), json!(n));
        self.maybe(&mut body, 50, "logprobs", |s| json!(s.below(4)));
        self.maybe(&mut body, 40, "echo", |_| json!(true));
        let cut = self.below(100);
        Drawn { path: COMPLETIONS, body: Value::Object(body), prompts: count, choices: count * n, cut }
    }

    /// Functions that the answer may or must call, in some cases.
    fn functions(&mut self, body: &mut Map<String, Value>) {
        let a = json!({"type": "string", "enum": ["aab", "é日", "b"]});
        let parameters = json!({"type": "object", "properties": {"a": a, "b": {"type": "integer"}},
                                "required": ["a"], "additionalProperties": false});
        let function = json!({"name": "f", "description": "a b", "parameters": parameters});
        body.insert("tools".to_owned(), json!([{"type": "function", "function": function}]));
        self.maybe(body, 70, "tool_choice", |_| json!("required"));
        self.maybe(body, 30, "parallel_tool_calls", |_| json!(false));
        body.insert("max_tokens".to_owned(), json!(40 + self.below(60)));
        body.retain(|name, _| {
            !["bad_words", "allowed_token_ids", "stop_token_ids", "stop", "min_tokens"]
                .contains(&name.as_str())
        });
    }

    fn chat(&mut self) -> Drawn {
        let mut body = self.common();
        if self.percent(30) {
            self.functions(&mut body);
        } else {
            self.form(&mut body);
        }
        let role = |s: &mut Self| s.pick(&["user", "assistant", "system", "developer"]);
        let messages: Vec<Value> =
            (0..=self.below(3)).map(|_| json!({"role": role(self), "content": self.text(20)})).collect();
        body.insert("messages".to_owned(), json!(messages));
        let n = self.pick(&[1, 1, 2]);
        body.insert("n".to_owned(), json!(n));
        if self.percent(50) {
            body.insert("logprobs".to_owned(), json!(true));
            self.maybe(&mut body, 50, "top_logprobs", |s| json!(s.below(4)));
        }
        self.maybe(&mut body, 25, "add_generation_prompt", |_| json!(false));
        let cut = self.below(100);
        Drawn { path: CHAT, body: Value::Object(body), prompts: 1, choices: n, cut }
    }
}

/// The requests of a seed, each a draw of its own.
fn drawn() -> Vec<Drawn> {
    let seed = number("VERBATIM_DRAWN_SEED", 0);
    let one = |i: u64| {
        let mut source = Source(Draws::new(seed << 32 | i));
        if source.percent(60) { source.completion() } else { source.chat() }
    };
    (0..number("VERBATIM_DRAWN", COUNT)).map(one).collect()
}

/// Cuts a stream behind some token of each choice, and compares the rest with what another server
/// makes of it.
fn resumes(at: &Running, request: &Drawn, events: &[Value]) {
    let stream = Stream::new(events, request.choices);
    let cut = |choice: usize| {
        let percent = (request.cut as usize + 37 * choice) % 110;
        if percent < 100 { Cut::Behind(1 + stream.tokens(choice) * percent / 100) } else { Cut::Ended }
    };
    let at_most = |choice: usize| match cut(choice) {
        Cut::Behind(tokens) => Cut::Behind(tokens.min(stream.tokens(choice))),
        Cut::Ended => Cut::Ended,
    };
    let cuts: Vec<Cut> = (0..request.choices).map(at_most).collect();
    let prompts = request.cut.is_multiple_of(2).then_some(request.prompts);
    stream.check(at, (request.path, &request.body), &cuts, prompts);
    if request.choices == 1 {
        resumes_in_one_list(at, request, events);
    }
}

/// Resumes one choice in the older form, whose ids go behind those of its prompt.
fn resumes_in_one_list(at: &Running, request: &Drawn, events: &[Value]) {
    let told = |event: &Value| event["choices"][0]["token_ids"].as_array().map_or(0, Vec::len);
    let tokens: usize = events.iter().map(told).sum();
    if tokens == 0 {
        return;
    }
    let wanted = 1 + tokens * request.cut as usize / 100;
    let mut ids = Vec::new();
    let mut last = 0;
    for (at, event) in events.iter().enumerate() {
        if ids.len() < wanted && told(event) > 0 {
            ids.extend(event["choices"][0]["token_ids"].as_array().into_iter().flatten().cloned());
            last = at;
        }
    }
    let prompt = events.iter().find_map(|event| event["choices"][0]["prompt_token_ids"].as_array());
    let prompt = prompt.expect("the ids of the prompt").clone();
    let all: Vec<Value> = prompt.iter().chain(&ids).cloned().collect();
    let rest = if request.path == CHAT {
        json!({"resume": {"token_ids": all, "prompt_tokens": prompt.len()}, "stream": true})
    } else {
        json!({"prompt": all, "resume": {"prompt_tokens": prompt.len()}, "stream": true})
    };
    let rest = at.stream(request.path, &with(&request.body, &rest));
    let expected = joined(&events[last + 1..], 1);
    assert_eq!(joined(&rest, 1), expected, "cut behind {} tokens: {}", ids.len(), request.body);
}

#[test]
fn drawn_requests_have_one_answer_each() {
    let one = serve(&["--threads", "2", "--max-seqs", "2"]);
    let other = serve(&[
        "--threads",
        "1",
        "--max-rows",
        "9",
        "--max-seqs",
        "8",
        "--isa",
        "portable",
        "--step-ms",
        "0",
    ]);
    let requests = drawn();
    let alone: Vec<_> = requests
        .iter()
        .map(|request| {
            let (status, answer) = one.post(request.path, &request.body);
            let forbids_all =
                answer["error"]["message"].as_str().is_some_and(|m| m.contains("no token is allowed"));
            assert!(status == 200 || (status == 400 && forbids_all), "{}: {answer}", request.body);
            if status == 200 { Ok(of_whole(&answer)) } else { Err(answer["error"].clone()) }
        })
        .collect();
    let answered = alone.iter().filter(|answer| answer.is_ok()).count();
    assert!(answered * 10 >= requests.len() * 9, "{answered} of {} were answered", requests.len());
    let next = Mutex::new(requests.iter().zip(&alone));
    std::thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                loop {
                    let Some((request, expected)) = next.lock().expect("no panic").next() else { return };
                    let events = other.stream(request.path, &with(&request.body, &json!({"stream": true})));
                    let expected = match expected {
                        Ok(expected) => expected,
                        // What allows no token at some place is refused there, everywhere.
                        Err(error) => {
                            let last = events.last().expect("events");
                            assert_eq!(last["error"], *error, "{}", request.body);
                            continue;
                        }
                    };
                    assert_eq!(joined(&events, request.choices), *expected, "{}", request.body);
                    resumes(&one, request, &events);
                }
            });
        }
    });
}
