//! `pull`, `list`, `show` and `rm` against a hub on loopback, and what the other commands do about
//! a model that is not there yet.
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use verbatim_tests::fixture::{Files, config_json, tiny_tensors, tokenizer_config_json, tokenizer_json};
use verbatim_tests::gguf::of_checkpoint;
use verbatim_tests::hub::repository::COMMIT;
use verbatim_tests::hub::{Does, FakeHub, Repository, Seen, Side};
use verbatim_tests::process::command;
use verbatim_tests::temporary::TemporaryDirectory;

/// Variables of the environment that would lead elsewhere.
const ELSEWHERE: &[&str] = &[
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

fn tiny() -> Repository {
    let mut files = Files::tiny();
    files.0.insert("README.md".to_owned(), b"---\nlicense: apache-2.0\n---\n# Tiny\n".to_vec());
    Repository::new("org/tiny", files.0.iter().map(|(name, content)| (name.as_str(), content.clone())))
}

/// The tiny model as GGUF files of two mixes, one of them in a folder.
fn gguf() -> Repository {
    let mut file = of_checkpoint(&config_json(), &tiny_tensors("F32"));
    file.put_tokenizer(&tokenizer_json(), &tokenizer_config_json(), "gpt-2");
    let other = [file.bytes(), vec![0; 64]].concat();
    let files = [("t-F16.gguf", file.bytes()), ("Q8/t-Q8_0.gguf", other), ("mmproj-t.gguf", vec![1; 9])];
    Repository::new("org/tiny-GGUF", files)
}

/// A hub, and a home for the cache.
struct Bench {
    hub: FakeHub,
    home: TemporaryDirectory,
}

impl Bench {
    fn new() -> Self {
        Self { hub: FakeHub::start(vec![tiny(), gguf()]), home: TemporaryDirectory::new("pull") }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command();
        for name in ELSEWHERE {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.hub.endpoint).env("HF_HOME", self.home.path()).args(args);
        command
    }

    /// A shell whose `$0` is the program, and whose `$HF_HOME` a file system of its own with these
    /// options of tmpfs. `None` where nothing can be mounted.
    fn on_a_small_disk(&self, options: &str, script: &str) -> Option<Command> {
        let program = self.command(&[]);
        let inside = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["-Urm", "sh", "-c", script]).arg(program.get_program());
            for (name, value) in program.get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            command
        };
        let mount = format!("mount -t tmpfs -o {options} verbatim \"$HF_HOME\"");
        let mounted = inside(&mount).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| inside(&format!("{mount} && {{ {script}\n}}")))
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program starts")
    }

    /// What a command that succeeds prints.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).expect("JSON")
    }

    /// The last line of what a command that fails says, and its exit code.
    fn error(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        let said = stderr(&output);
        let last = said.lines().last().unwrap_or_default().to_owned();
        (output.status.code().expect("an exit code"), last)
    }

    fn cache(&self) -> PathBuf {
        self.home.path().join("hub")
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn of_store(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.side == Side::Store).count()
}

#[test]
fn a_pulled_model_is_listed_shown_used_and_removed() {
    let bench = Bench::new();
    let pulled = bench.run(&["pull", "org/tiny"]);
    let said = stderr(&pulled);
    assert!(pulled.status.success(), "{said}");
    let folder = bench.cache().join("models--org--tiny/snapshots").join(COMMIT);
    assert_eq!(String::from_utf8_lossy(&pulled.stdout), format!("{}\n", folder.display()));
    assert!(said.contains("`verbatim --model org/tiny` serves it"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("model.safetensors: ")), "a line a file: {said}");
    bench.hub.take_seen();
    bench.ok(&["pull", "org/tiny"]);
    assert_eq!(of_store(&bench.hub.take_seen()), 0);

    let list = bench.ok(&["list"]);
    let words: Vec<&str> = list.lines().nth(1).expect("a model").split_whitespace().collect();
    assert_eq!((words[0], words.last().copied()), ("org/tiny", Some("safetensors")));
    let list = bench.json(&["list", "--json"]);
    assert_eq!(list["models"][0]["name"], "org/tiny");
    assert_eq!(list["models"][0]["revision"], COMMIT);
    assert!(list["models"][0]["last_used"].as_u64().is_some_and(|seconds| seconds > 1_700_000_000));

    let show = bench.json(&["show", "org/tiny", "--json"]);
    assert_eq!((&show["licence"], &show["commit"]), (&Value::from("apache-2.0"), &Value::from(COMMIT)));
    let model = &show["models"][0];
    assert_eq!((&model["served"], &model["own_format"]), (&Value::from(true), &Value::from("f32")));
    assert_eq!(model["formats"].as_array().map(Vec::len), Some(6));
    let text = bench.ok(&["show", "org/tiny"]);
    assert!(text.contains("serves    yes, `verbatim --model org/tiny`"), "{text}");
    assert!(text.contains("licence   apache-2.0"), "{text}");

    // It is used without a word to the hub.
    bench.hub.take_seen();
    bench.ok(&["generate", "--model", "org/tiny", "--max-tokens", "2", "--threads", "1", "a"]);
    assert!(bench.hub.take_seen().is_empty());

    let (code, said) = bench.error(&["rm", "org/tiny"]);
    assert_eq!((code, said.as_str()), (2, "error: rm: found no terminal to ask on, expected --yes"));
    bench.ok(&["rm", "--yes", "org/tiny"]);
    assert!(!bench.cache().join("models--org--tiny").exists());
    assert_eq!(bench.json(&["list", "--json"])["models"], serde_json::json!([]));
    let (code, said) = bench.error(&["show", "org/tiny"]);
    assert_eq!(code, 3);
    assert!(
        said.contains("org/tiny is not in the cache") && said.contains("`verbatim pull org/tiny`"),
        "{said}"
    );
}

#[test]
fn one_mix_of_several_is_pulled_and_used() {
    let bench = Bench::new();
    let (code, said) = bench.error(&["pull", "org/tiny-GGUF"]);
    assert_eq!(code, 3);
    assert!(said.starts_with("error: org/tiny-GGUF has 2 GGUF models: Q8_0 ("), "{said}");
    assert!(said.ends_with("`verbatim pull org/tiny-GGUF:Q8_0` fetches one"), "{said}");
    let (_, said) = bench.error(&["pull", "org/tiny-GGUF:Q4_K_M"]);
    assert!(said.contains("has no one GGUF model Q4_K_M, but Q8_0 ("), "{said}");
    bench.hub.take_seen();
    let pulled = bench.run(&["pull", "org/tiny-GGUF:f16"]);
    assert!(stderr(&pulled).ends_with("`verbatim --model org/tiny-GGUF:F16` serves it\n"), "{pulled:?}");
    assert_eq!(of_store(&bench.hub.take_seen()), 1, "one file");
    bench.ok(&["generate", "--model", "org/tiny-GGUF:F16", "--max-tokens", "1", "--threads", "1", "a"]);
    // The other one is not there, and is asked for by what the message says.
    let (_, said) = bench.error(&["inspect", "--model", "org/tiny-GGUF:Q8_0"]);
    assert!(said.ends_with(": `verbatim pull org/tiny-GGUF:Q8_0` fetches it"), "{said}");
    bench.ok(&["pull", "org/tiny-GGUF:Q8_0"]);
    let show = bench.json(&["show", "org/tiny-GGUF", "--json"]);
    let names: Vec<&Value> = show["models"].as_array().expect("models").iter().map(|m| &m["name"]).collect();
    assert_eq!(names, ["org/tiny-GGUF:Q8_0", "org/tiny-GGUF:F16"]);
    bench.ok(&["rm", "-y", "org/tiny-GGUF:Q8_0"]);
    let show = bench.json(&["show", "org/tiny-GGUF", "--json"]);
    assert_eq!(show["models"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_model_that_cannot_be_served_is_told_before_it_is_there() {
    let mut repository = tiny();
    let config = repository.files.get_mut("config.json").expect("it has one");
    config.content = br#"{"model_type": "mamba"}"#.to_vec();
    let bench = Bench { hub: FakeHub::start(vec![repository]), home: TemporaryDirectory::new("pull-mamba") };
    let (code, said) = bench.error(&["pull", "org/tiny"]);
    assert_eq!(code, 3);
    assert!(said.starts_with("error: org/tiny cannot be served: config.json: model_type: found"), "{said}");
    assert!(said.ends_with("; --force fetches it all the same"), "{said}");
    assert_eq!(of_store(&bench.hub.take_seen()), 0);
    bench.ok(&["pull", "--force", "org/tiny"]);
    let show = bench.ok(&["show", "org/tiny"]);
    assert!(show.contains("serves    no: ") && show.contains("model_type: found"), "{show}");
}

#[test]
fn a_model_that_is_not_there_is_named_with_the_command_that_fetches_it() {
    let bench = Bench::new();
    for command in [&["generate", "a"][..], &["inspect"], &["pack", "-o", "/tmp/no/such"], &["serve"]] {
        let (code, said) = bench.error(&[command, &["--model", "org/tiny"]].concat());
        assert_eq!(code, if command == ["serve"] { 3 } else { 1 }, "{said}");
        let expected = "error: no model org/tiny: `verbatim pull org/tiny` fetches it (looked for ";
        assert!(said.starts_with(expected) && said.ends_with("/refs/main)"), "{said}");
    }
    let (_, said) = bench.error(&["generate", "--offline", "--model", "org/tiny", "a"]);
    let expected = "no model org/tiny: --offline keeps this program from fetching it, as `verbatim pull";
    assert!(said.contains(expected), "{said}");
    let output = bench.command(&["pull", "org/tiny"]).env("HF_HUB_OFFLINE", "1").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "error: HF_HUB_OFFLINE keeps this program from asking the hub\n");
    // Other programs fetch what they need, which may be no weights.
    bench.ok(&["pull", "org/tiny"]);
    bench.hub.take_seen();
    let weights = bench.cache().join("models--org--tiny/snapshots").join(COMMIT).join("model.safetensors");
    std::fs::remove_file(weights).expect("it is there");
    let (_, said) = bench.error(&["inspect", "--model", "org/tiny"]);
    assert!(said.contains("the cache has not all weights of org/tiny: `verbatim pull org/tiny`"), "{said}");
    bench.ok(&["rm", "--yes", "org/tiny"]);
    // A draft model is a model, too.
    let (_, said) = bench.error(&["inspect", "--speculate", "org/tiny"]);
    assert!(said.contains("no model org/tiny: `verbatim pull org/tiny` fetches it"), "{said}");
    assert!(bench.hub.take_seen().is_empty(), "nobody is asked without being told to");
}

/// Runs a command on a terminal, which answers what it asks.
fn on_terminal(bench: &Bench, args: &[&str], answer: &str) -> (bool, String) {
    let inner = bench.command(args);
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let mut script = Command::new("script");
    script.args(["-qefc", &line.join(" "), "/dev/null"]);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script of bsdutils");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(answer.as_bytes()).expect("written");
    let mut said = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
    drop(stdin);
    (child.wait().expect("a child").success(), said)
}

#[test]
fn on_a_terminal_a_missing_model_is_offered() {
    let bench = Bench::new();
    let args = ["generate", "--model", "org/tiny", "--max-tokens", "1", "--threads", "1", "a"];
    let (is_well, said) = on_terminal(&bench, &args, "n\n");
    assert!(!is_well && said.contains(&format!("Fetch org/tiny from {}", bench.hub.endpoint)), "{said}");
    assert!(said.contains("[y/N]") && said.contains("org/tiny was not fetched"), "{said}");
    assert_eq!(of_store(&bench.hub.take_seen()), 0);
    let (is_well, said) = on_terminal(&bench, &args, "y\n");
    assert!(is_well, "{said}");
    assert!(bench.cache().join("models--org--tiny/refs/main").is_file());
    let (is_well, said) = on_terminal(&bench, &["rm", "org/tiny"], "y\n");
    assert!(is_well && said.contains("Delete org/tiny ("), "{said}");
    assert!(!bench.cache().join("models--org--tiny").exists());
}

/// The count of the only part of a file that is not complete, once it is there.
fn left(bench: &Bench, digits: &str) -> Option<u64> {
    let name = format!("models--org--tiny/blobs/{digits}.verbatim.incomplete");
    let content = std::fs::read(bench.cache().join(name)).ok()?;
    Some(u64::from_le_bytes(content.get(content.len().checked_sub(8)?..)?.try_into().ok()?))
}

#[test]
fn an_interrupted_download_goes_on_where_it_was() {
    const HELD: u64 = 50_000;
    let bench = Bench::new();
    let weights = tiny().files["model.safetensors"].clone();
    let (bytes, digits) = (weights.content.len() as u64, weights.digits());
    assert!(bytes > 2 * HELD, "{bytes}");
    bench.hub.rule(Side::Store, &digits, 1, Does::HoldAfter(HELD));
    let mut child = bench
        .command(&["pull", "org/tiny"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    bench.hub.wait_for_held(1);
    while left(&bench, &digits) != Some(HELD) {
        assert!(child.try_wait().expect("a child").is_none(), "it runs until it is interrupted");
        std::thread::yield_now();
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
    let output = child.wait_with_output().expect("a child");
    assert_eq!(output.status.code(), Some(130));
    let said = stderr(&output);
    assert!(said.ends_with("\nstopped; what has come is kept, and the same command goes on\n"), "{said}");
    let (_, said) = bench.error(&["inspect", "--model", "org/tiny"]);
    assert!(said.contains(": `verbatim pull org/tiny` fetches it"), "half a model is none: {said}");
    assert_eq!(bench.json(&["list", "--json"])["models"][0]["incomplete_files"], 1);
    bench.hub.go_on();
    bench.hub.take_seen();
    bench.ok(&["pull", "org/tiny"]);
    let seen = bench.hub.take_seen();
    let ranges: Vec<_> = seen.iter().filter(|seen| seen.side == Side::Store).map(|seen| seen.range).collect();
    assert_eq!(ranges, [Some((HELD, bytes - 1))]);
    bench.ok(&["inspect", "--threads", "1", "--model", "org/tiny"]);
}

/// The disk is filled while the hub holds an answer.
#[test]
fn a_disk_that_gets_full_in_the_middle_is_told_and_the_download_goes_on() {
    const HELD: u64 = 50_000;
    // It waits until all that the hub has sent is counted, fills the disk, and then makes room.
    const SCRIPT: &str = r#"
        "$0" pull org/tiny & pull=$!
        until [ "$(tail -c 8 "$HF_HOME/$1" 2>&- | od -An -tu8 | tr -d ' ')" = "$2" ]; do
            kill -0 $pull || exit 98
        done
        cat /dev/zero > "$HF_HOME/fill" 2>&-
        echo full
        wait $pull && exit 97
        rm "$HF_HOME/fill"
        "$0" pull org/tiny"#;
    let bench = Bench::new();
    let Some(mut script) = bench.on_a_small_disk("size=40m", SCRIPT) else {
        println!("skipped: a_disk_that_gets_full_in_the_middle_is_told_and_the_download_goes_on (no mount)");
        return;
    };
    let weights = tiny().files["model.safetensors"].clone();
    let (bytes, digits) = (weights.content.len() as u64, weights.digits());
    bench.hub.rule(Side::Store, &digits, 1, Does::HoldAfter(HELD));
    script.arg(format!("hub/models--org--tiny/blobs/{digits}.verbatim.incomplete")).arg(HELD.to_string());
    let mut child = script.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("UTF-8");
    assert_eq!(line, "full\n", "{:?}", child.wait_with_output());
    bench.hub.go_on();
    let output = child.wait_with_output().expect("a child");
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let full = ".verbatim.incomplete: cannot write: No space left on device (os error 28); what has come is \
                kept: make room, as `verbatim rm` does, and the same command goes on (HF_HOME moves the cache)";
    let told = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(told.contains(&digits) && told.ends_with(full), "{said}");
    let seen = bench.hub.take_seen();
    let ranges: Vec<_> = seen.iter().filter(|seen| seen.side == Side::Store).map(|seen| seen.range).collect();
    let [None, Some((first, last))] = ranges[..] else {
        panic!("one that breaks, one that goes on: {ranges:?}")
    };
    assert!((HELD..bytes).contains(&first) && last == bytes - 1, "{ranges:?} of {bytes}");
}

/// What makes room must not need some, and a model that is there needs none.
#[test]
fn a_model_is_removed_from_a_disk_on_which_no_file_can_be_made() {
    const SCRIPT: &str = r#"
        "$0" pull org/tiny || exit 97
        # So a model lies there that another program has fetched.
        rm -r "$HF_HOME/hub/.locks"
        count=0
        while [ $count -lt 1000 ] && true 2>&- > "$HF_HOME/$count"; do count=$((count + 1)); done
        [ $count -lt 1000 ] || exit 98
        "$0" pull org/tiny && "$0" rm --yes org/tiny && ls "$HF_HOME/hub""#;
    let bench = Bench::new();
    let Some(mut script) = bench.on_a_small_disk("size=40m,nr_inodes=100", SCRIPT) else {
        println!("skipped: a_model_is_removed_from_a_disk_on_which_no_file_can_be_made (no mount)");
        return;
    };
    let output = script.output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let folders: Vec<&str> = said.lines().filter(|line| line.contains("/snapshots/")).collect();
    assert!(folders.len() == 2 && folders[0] == folders[1], "{said}");
    assert_eq!(said.lines().count(), 2, "nothing of it is left: {said}");
}

/// Hugging Face's own library finds what was pulled, and the other way round. It is run where
/// `VERBATIM_HF_PYTHON` names a Python that has it.
#[test]
fn hugging_faces_own_library_shares_the_cache() {
    const SCRIPT: &str = "import sys, huggingface_hub as h; \
                          print(h.snapshot_download(sys.argv[1], revision=sys.argv[2], \
                          allow_patterns=sys.argv[3:] or None))";
    let Some(python) = std::env::var_os("VERBATIM_HF_PYTHON") else {
        println!("skipped: hugging_faces_own_library_shares_the_cache (no VERBATIM_HF_PYTHON)");
        return;
    };
    let bench = Bench::new();
    let theirs = |args: &[&str]| {
        let mut command = Command::new(&python);
        for name in ELSEWHERE {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &bench.hub.endpoint).env("HF_HOME", bench.home.path());
        let output = command.args(["-c", SCRIPT]).args(args).output().expect("Python starts");
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let contents = |seen: &[Seen]| {
        seen.iter().filter(|seen| seen.method == "GET" && !seen.path.starts_with("/api/")).count()
    };
    let ours = bench.ok(&["pull", "org/tiny"]);
    bench.hub.take_seen();
    assert_eq!(theirs(&["org/tiny", "main"]), ours, "the same folder");
    let seen = bench.hub.take_seen();
    assert_eq!(contents(&seen), 0, "nothing is fetched again: {seen:?}");

    // Short ids of a commit are noted alike.
    let refs = bench.cache().join("models--org--tiny/refs");
    assert_eq!(bench.ok(&["pull", "org/tiny@0123456"]), ours);
    assert_eq!(theirs(&["org/tiny", "01234567"]), ours);
    let noted = ["main", "0123456", "01234567"].map(|name| std::fs::read_to_string(refs.join(name)).ok());
    assert_eq!(noted, [(); 3].map(|()| Some(COMMIT.to_owned())));
    bench.ok(&["inspect", "--offline", "--threads", "1", "--model", "org/tiny@01234567"]);

    let theirs = theirs(&["org/tiny-GGUF", "main", "t-F16.gguf"]);
    bench.hub.take_seen();
    assert_eq!(bench.ok(&["pull", "org/tiny-GGUF:F16"]), theirs);
    let seen = bench.hub.take_seen();
    assert_eq!(contents(&seen), 0, "nothing is fetched again: {seen:?}");
    bench.ok(&["generate", "--model", "org/tiny-GGUF:F16", "--max-tokens", "1", "--threads", "1", "a"]);
}
