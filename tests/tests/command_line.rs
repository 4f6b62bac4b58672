//! What the program says to people: help, completions, what a server prints, and its objects of
//! JSON for programs.
use serde_json::Value;
use std::io::Write;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use verbatim_tests::process::{Running, command, output};
use verbatim_tests::temporary::TemporaryDirectory;

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

fn object(args: &[&str]) -> Value {
    let told = output(args);
    serde_json::from_slice(&told.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {told:?}"))
}

#[test]
fn the_long_help_tells_more_than_the_short_one() {
    let (short, long) = (output(&["serve", "-h"]), output(&["serve", "--help"]));
    assert!(short.status.success() && long.status.success());
    let (short, long) = (said(&short), said(&long));
    assert!(short.lines().count() * 2 < long.lines().count(), "{short}");
    for text in [short, long] {
        let wide = text.lines().find(|line| line.chars().count() > 100);
        assert_eq!((wide, text.contains('\u{1b}')), (None, false));
        assert!(text.contains("\nModel:") && text.contains("\nServer:"), "{text}");
    }
    assert!(long.contains("\nLimits:") && !short.contains("\nLimits:"));
}

#[test]
fn shells_read_the_completions() {
    let script = output(&["completions", "bash"]);
    assert!(script.status.success());
    let mut bash = std::process::Command::new("bash");
    let mut bash = bash.arg("-n").stdin(Stdio::piped()).spawn().expect("bash starts");
    bash.stdin.take().expect("piped").write_all(&script.stdout).expect("it reads");
    assert!(bash.wait().is_ok_and(|status| status.success()));
    let folder = TemporaryDirectory::new("pages");
    let path = folder.path().to_str().expect("UTF-8");
    assert!(output(&["man", path]).status.success());
    let page = std::fs::read_to_string(folder.path().join("verbatim-serve.1")).expect("a page");
    assert!(page.contains(".TH") && page.contains("max\\-seqs"), "{page}");
}

#[test]
fn inspect_tells_programs_what_it_tells_people() {
    let told = object(&["inspect", "--threads", "1", "--json"]);
    let words = output(&["inspect", "--threads", "1"]);
    let fingerprint = told["fingerprint"].as_str().expect("text");
    assert!(said(&words).contains(fingerprint), "{words:?}");
    assert_eq!((&told["cpu"]["workers"], &told["model"]["type"]), (&Value::from(1), &Value::from("llama")));
}

#[test]
fn doctor_looks_at_this_machine() {
    let told = object(&["doctor", "--json"]);
    let checks = told["checks"].as_array().expect("a list");
    let of = |subject: &str| checks.iter().find(|check| check["subject"] == subject);
    assert_eq!(of("bits").expect("the self-test")["level"], "well");
    assert!(of("instructions").is_some() && of("model cache").is_some(), "{checks:?}");
    let wrong = checks.iter().filter(|check| check["level"] == "wrong").count();
    assert_eq!(told["is_well"], wrong == 0);
    let painted = |name: &str| command().arg("doctor").env(name, "1").output().expect("it starts");
    let (forced, plain) = (painted("CLICOLOR_FORCE"), painted("NO_COLOR"));
    assert!(said(&forced).contains("\u{1b}[") && !said(&plain).contains('\u{1b}'), "{plain:?}");
    assert_eq!(plain.status.code(), Some(i32::from(wrong > 0)));
}

#[test]
fn a_server_says_where_it_is_and_what_it_asks_for() {
    let server = Running::start(&["--threads", "1", "--api-key", "k"]);
    let url = format!("http://{}", server.address);
    // The last line is on its way while the first is read.
    let end = Instant::now() + Duration::from_secs(60);
    let all = loop {
        let said = server.said().join("\n");
        if said.contains("curl ") {
            break said;
        }
        assert!(Instant::now() < end, "it did not say how to try it: {said}");
        std::thread::sleep(Duration::from_millis(20));
    };
    for part in [format!("{url}/\n"), format!("{url}/dashboard\n"), format!("{url}/v1\n")] {
        assert!(all.contains(&part), "no {part} in {all}");
    }
    assert!(all.contains("Authorization: Bearer $KEY"), "{all}");
}
