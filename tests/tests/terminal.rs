//! `chat` and `generate` in a pipe: nothing but answers on standard output, the same from a model
//! in the process as from a server, and the same as over the API. And `top` as text.
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use verbatim_tests::process::{Running, command, output};
use verbatim_tests::temporary::TemporaryDirectory;

/// Runs a command with this input.
fn fed(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A program that has ended reads no more.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn chat(args: &[&str], input: &str) -> Output {
    let mut chat = command();
    chat.arg("chat").args(args);
    fed(chat, input)
}

/// What a program that has succeeded wrote to standard output.
fn written(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// What a program has said that has failed.
fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).expect("text")
}

const DRAWN: [&str; 6] = ["--seed", "7", "--max-tokens", "12", "--temperature", "0.8"];

#[test]
fn a_conversation_in_a_pipe_is_that_of_the_api() {
    let input = "Where is\\\nParis?\n\n\"\"\"\nAnd\nRome?\"\"\"\n/undo\nHello\n";
    let local = chat(&[&["--threads", "1"], &DRAWN[..]].concat(), input);
    let answers = written(&local);
    assert!(
        !String::from_utf8_lossy(&local.stderr).contains("tokens/s"),
        "figures come with --verbose alone"
    );

    let server = Running::start(&["--threads", "1"]);
    let url = format!("http://{}/v1", server.address);
    let remote = chat(&[&["--url", &url], &DRAWN[..]].concat(), input);
    assert_eq!(written(&remote), answers, "a server answers with the same bits");

    let mut messages: Vec<Value> = Vec::new();
    let mut ask = |text: &str| {
        messages.push(json!({"role": "user", "content": text}));
        let body = json!({"messages": messages, "seed": 7, "max_tokens": 12, "temperature": 0.8});
        let (status, answer) = server.post("/v1/chat/completions", &body);
        assert_eq!(status, 200, "{answer}");
        let text = answer["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
        messages.push(json!({"role": "assistant", "content": text}));
        text
    };
    let first = ask("Where is\nParis?");
    let second = ask("And\nRome?");
    messages.truncate(2);
    let mut ask = |text: &str| {
        messages.push(json!({"role": "user", "content": text}));
        let body = json!({"messages": messages, "seed": 7, "max_tokens": 12, "temperature": 0.8});
        server.post("/v1/chat/completions", &body).1["choices"][0]["message"]["content"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    let third = ask("Hello");
    assert_eq!(answers, format!("{first}\n{second}\n{third}\n"));
}

#[test]
fn commands_in_a_pipe_leave_standard_output_to_answers() {
    let folder = TemporaryDirectory::new("terminal");
    let file = folder.path().join("talk.json");
    let file = file.to_str().expect("text");
    let input = format!("Hello\n/stats\n/set top_k 3\n/model\n/save {file}\n/exit\nnever asked\n");
    let args = [&["--threads", "1", "--verbose"], &DRAWN[..]].concat();
    let output = chat(&args, &input);
    let answer = written(&output);
    let told = String::from_utf8_lossy(&output.stderr);
    for part in ["; seed 7", "tokens/s", "fingerprint vb-", "(2 messages: "] {
        assert!(told.contains(part), "{told}");
    }
    let saved: Value = serde_json::from_str(&std::fs::read_to_string(file).expect("a file")).expect("JSON");
    assert_eq!(
        saved["messages"][1]["content"].as_str().map(|text| format!("{text}\n")),
        Some(answer.clone())
    );
    assert_eq!((&saved["messages"][1]["seed"], &saved["parameters"]["top_k"]), (&json!(7), &json!(3)));
    // A conversation that is loaded goes on as it would have.
    let more = "And then?\n";
    let through = written(&chat(&["--threads", "1"], &format!("/load {file}\n{more}")));
    let at_once = written(&chat(&args, &format!("Hello\n/set top_k 3\n{more}")));
    assert_eq!(format!("{answer}{through}"), at_once);
}

#[test]
fn what_is_wrong_in_a_pipe_ends_it() {
    let one = ["--threads", "1"];
    for (input, told) in [
        ("/set temperature 101\n", "temperature must be between 0 and 100"),
        ("/set top_k many\n", "top_k must be an integer"),
        ("/nonsense\n", "/nonsense is no command"),
        ("/load /no/file\n", "/no/file: "),
        ("/undo\n", "no question"),
    ] {
        let said = refused(&chat(&one, input));
        assert!(said.contains(told) && said.starts_with("error: "), "{said}");
    }
    let long = "word ".repeat(2000);
    assert!(refused(&chat(&one, &long)).contains("maximum context length"));
    for (url, told) in
        [("127.0.0.1:1", "--url: found the URL"), ("http://127.0.0.1:1", "http://127.0.0.1:1/v1/models")]
    {
        assert!(refused(&chat(&["--url", url], "a\n")).contains(told));
    }
}

#[test]
fn a_server_behind_a_key_is_talked_to_with_it() {
    let server = Running::start(&["--threads", "1", "--api-key", "sk-right", "--alias", "other"]);
    let url = format!("http://{}", server.address);
    let said = refused(&chat(&["--url", &url], "Hello\n"));
    assert!(said.contains("status 401") && said.contains("--key"), "{said}");
    let args = [&["--url", &*url, "--model", "other"], &DRAWN[..]].concat();
    let mut keyed = command();
    keyed.arg("chat").args(&args).env("VERBATIM_KEY", "sk-right");
    assert!(!written(&fed(keyed, "Hello\n")).trim().is_empty());
    let said = refused(&chat(&["--url", &url, "--key", "sk-right", "--model", "none"], "Hello\n"));
    assert!(said.contains("none") && said.contains("404"), "{said}");
}

#[test]
fn generate_reads_its_prompt_from_a_pipe() {
    let args = ["--threads", "1", "--temperature", "0", "--max-tokens", "8"];
    let run = |prompt: &[&str], input: &str| {
        let mut generate = command();
        generate.arg("generate").args(args).args(prompt);
        fed(generate, input)
    };
    let typed = written(&run(&["Once upon"], ""));
    assert_eq!(written(&run(&["-"], "Once upon")), typed);
    assert_eq!(written(&run(&[], "Once upon")), typed);
    let nothing = run(&[""], "");
    let said = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(said.contains("the prompt is empty"), "{said}");
}

#[test]
fn a_server_is_shown_as_text() {
    let server = Running::start(&["--threads", "1", "--max-seqs", "3"]);
    let url = format!("http://{}", server.address);
    server.post("/v1/completions", &json!({"prompt": "Once", "max_tokens": 9, "temperature": 0, "seed": 1}));
    let picture = written(&output(&["top", "--once", &url]));
    for part in
        ["verbatim-demo ready", "running 0/3", "KV blocks", "free", "sequences 0", "/v1/completions 200"]
    {
        assert!(picture.contains(part), "{part}: {picture}");
    }
    assert!(!picture.contains('\u{1b}'), "a file gets no codes of a terminal");
    let said = refused(&output(&["top", &url]));
    assert!(said.contains("--once"), "{said}");

    let keyed = Running::start(&["--threads", "1", "--api-key", "sk-right"]);
    let url = format!("http://{}", keyed.address);
    assert!(refused(&output(&["top", "--once", &url])).contains("status 401"));
    assert!(written(&output(&["top", "--once", &url, "--key", "sk-right"])).contains("KV blocks"));
    assert!(
        refused(&output(&["top", "--once", "http://127.0.0.1:1"]))
            .contains("http://127.0.0.1:1/dashboard/events")
    );
    assert!(refused(&output(&["top", "--once", "127.0.0.1:1"])).contains("found the URL"));
}
