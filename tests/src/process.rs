//! The program under test as a process, and requests to it over real sockets.
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// The program. Cargo builds it for this package's dependency only as a library, so it is built
/// once here.
///
/// # Panics
/// If it cannot be built.
pub fn binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "verbatim", "--message-format", "json"]).current_dir(root);
        let output = build.stderr(Stdio::inherit()).output().expect("cargo runs");
        assert!(output.status.success(), "the server builds");
        let text = String::from_utf8_lossy(&output.stdout);
        let of_binary = |line: &str| {
            let message: Value = serde_json::from_str(line).ok()?;
            Some(message["executable"].as_str()?.into())
        };
        text.lines().find_map(of_binary).expect("cargo names the executable")
    })
}

/// A command of the program without the environment's `VERBATIM_` variables.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VERBATIM_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end.
///
/// # Panics
/// If it does not start.
pub fn output(args: &[&str]) -> Output {
    command().args(args).output().expect("the program starts")
}

/// A server, told to stop when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Where it listens, as `host:port`.
    pub address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // A signal that it may handle, so that it leaves no socket behind.
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts `verbatim serve` on a free port and waits until it listens.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(args: &[&str]) -> Self {
        let mut child = command()
            .args(["serve", "--port", "0"])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                Some(line.split_once("listening on http://")?.1.split([';', ' ']).next()?.to_owned())
            })
            .expect("the server says where it listens");
        std::thread::spawn(move || lines.count());
        Self { child, address }
    }

    /// Sends a request on a connection of its own; (status, body).
    ///
    /// # Panics
    /// If there is no answer that is HTTP.
    pub fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// Posts JSON; (status, JSON).
    ///
    /// # Panics
    /// If the answer is not JSON.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.send("POST", path, &body.to_string());
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// Posts JSON and returns the events of the stream, without the framing of chunks.
    ///
    /// # Panics
    /// If it is not a whole stream of JSON.
    pub fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let (status, text) = self.send("POST", path, &body.to_string());
        assert_eq!(status, 200, "{text}");
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(data.last(), Some(&"[DONE]"));
        data[..data.len() - 1].iter().map(|event| serde_json::from_str(event).expect("JSON")).collect()
    }
}
