//! The program under test as a process, and requests to it over real sockets.
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

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
    command_of(binary())
}

/// A command of another build of the program, without the environment's `VERBATIM_` variables.
pub fn command_of(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VERBATIM_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// The same command, run with a bound on the descriptors that it may have.
pub fn limited(command: Command, descriptor_count: usize) -> Command {
    // A shell that sets its own bound and becomes the program has no unsafe code between.
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -n {descriptor_count} && exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
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
    /// What it has said on standard error since it listens.
    said: Arc<Mutex<Vec<String>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return; // it has ended, and its id may be another's
        }
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
        Self::start_by(command(), args)
    }

    /// As [`Self::start`], with a bound on the descriptors that the process may have.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_with_descriptors(count: usize, args: &[&str]) -> Self {
        Self::start_by(limited(command(), count), args)
    }

    /// Starts a server by `command`, on a free port, and waits until it listens.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_by(mut command: Command, args: &[&str]) -> Self {
        let mut child = command
            .args(["serve", "--port", "0"])
            .args(args)
            .stdout(Stdio::null())
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
        let said = Arc::new(Mutex::new(Vec::new()));
        let says = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                says.lock().expect("no panic").push(line);
            }
        });
        Self { child, address, said }
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on standard error since it listens, a line each.
    ///
    /// # Panics
    /// If the thread that reads it has.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic").clone()
    }

    /// Waits until it ends by itself, for at most `limit`; its exit code.
    ///
    /// # Panics
    /// If its process cannot be waited for.
    pub fn exit_code(&mut self, limit: Duration) -> Option<i32> {
        let since = Instant::now();
        while since.elapsed() < limit {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Where it listens.
    ///
    /// # Panics
    /// If it listens at no numeric address.
    pub fn socket_address(&self) -> SocketAddr {
        self.address.parse().expect("an address and a port")
    }

    /// Sends it a signal, by its name without `SIG`.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} is sent");
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it can be waited for")
    }

    /// Sends a request on a connection of its own; (status, body).
    ///
    /// # Panics
    /// If there is no answer that is HTTP.
    pub fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
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
