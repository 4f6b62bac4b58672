//! What the program says to people: help, completions, what a server prints, and its objects of
//! JSON for programs; and what becomes of it where nobody reads.
use serde_json::Value;
use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use verbatim_tests::process::{Running, binary, command, output};
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

/// A pipe that nobody reads.
fn unread() -> PipeWriter {
    std::io::pipe().expect("a pipe").1
}

/// The program as a shell starts it with a stream closed, as `2>&-` has it.
fn with_closed(stream: &str, args: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {stream}")).arg(binary()).args(args);
    shell.stdin(Stdio::null());
    shell
}

/// A process that is killed if a test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_whose_words_nobody_can_read_answers() {
    let args = ["serve", "--port", "0", "--threads", "1"];
    let mut unread_one = command();
    unread_one.args(args).stderr(unread());
    for mut starter in [unread_one, with_closed("2>&-", &args)] {
        let mut server = Killed(starter.stdout(Stdio::piped()).spawn().expect("it starts"));
        let mut ready = String::new();
        let mut said = BufReader::new(server.0.stdout.take().expect("piped"));
        said.read_line(&mut ready).expect("text");
        let ready: Value = serde_json::from_str(&ready).unwrap_or_else(|error| panic!("{ready:?}: {error}"));
        let address = ready["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("a URL");
        let mut stream = TcpStream::connect(address).expect("it listens");
        write!(stream, "GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains(" 200 ") && answer.contains("verbatim-demo"), "{answer}");
        let asked = Command::new("kill").args(["-TERM", &server.0.id().to_string()]).status();
        assert!(asked.is_ok_and(|status| status.success()));
        assert_eq!(server.0.wait().expect("it ends").code(), Some(0));
    }
}

#[test]
fn a_command_whose_output_nobody_can_read_ends_as_others_do() {
    let folder = TemporaryDirectory::new("unread");
    let home = folder.path();
    let args = ["list", "--json"];
    let list =
        |out: Stdio| command().args(args).env("HF_HOME", home).stdout(out).output().expect("it starts");
    let unread_one = list(unread().into());
    assert_eq!((unread_one.status.signal(), &*unread_one.stderr), (Some(13), &b""[..]), "SIGPIPE");
    let closed = with_closed(">&-", &args).env("HF_HOME", home).output().expect("it starts");
    assert_eq!((closed.status.code(), &*closed.stderr), (Some(0), &b""[..]));
    let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
    let full = list(full.into());
    let told = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{told}");
    assert!(told.starts_with("error: standard output: No space left on device"), "{told}");
    // Notes are lost, and nothing else is.
    let mut noting = command();
    let noting = noting.arg("list").env("HF_HOME", home).stderr(unread());
    assert_eq!(noting.status().expect("it starts").code(), Some(0));
    for args in [&["serve", "--port", "x"][..], &["show", "org/none"], &["--no-such-flag"]] {
        let expected = output(args).status.code();
        assert!(matches!(expected, Some(1..=4)), "{args:?}: {expected:?}");
        let found = command().args(args).stderr(unread()).status().expect("it starts").code();
        assert_eq!(found, expected, "{args:?}");
    }
}
