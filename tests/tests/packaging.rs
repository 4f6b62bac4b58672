//! The files under `packaging`, and what the pages for users say, are right: they parse, they keep
//! the rules of their kinds, and the flags, ports and paths that they name are the program's.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use verbatim_tests::mutants::root;
use verbatim_tests::temporary::TemporaryDirectory;
use yaml_rust2::{Yaml, YamlLoader};

/// The pages and files that set flags or name them.
const FILES: &[&str] = &[
    "README.md",
    "SECURITY.md",
    "docs/models.md",
    "docs/operating.md",
    "docs/serving.md",
    "docs/testing.md",
    "packaging/docker/Dockerfile",
    "packaging/docker/compose.yaml",
    "packaging/kubernetes/kserve.yaml",
    "packaging/kubernetes/verbatim.yaml",
    "packaging/systemd/model.conf",
    "packaging/systemd/verbatim.service",
    "packaging/systemd/verbatim.socket",
];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The longest runs of characters that `is_part` of a word, where they begin with `prefix`.
fn words<'t>(text: &'t str, prefix: &str, is_part: fn(char) -> bool) -> BTreeSet<&'t str> {
    let words = text.split(|c| !is_part(c)).filter(|word| word.len() > prefix.len());
    words.filter(|word| word.starts_with(prefix)).map(|word| word.trim_end_matches(['-', '_'])).collect()
}

/// Names of environment variables.
fn variables(text: &str) -> BTreeSet<&str> {
    words(text, "VERBATIM_", |c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Flags between backticks; those in code blocks may be another program's.
fn flags(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with("    "));
    let quoted = lines.flat_map(|line| line.split('`').skip(1).step_by(2));
    // A command of another program is quoted whole, and has a space before its flags.
    let own = quoted.filter(|quoted| quoted.starts_with("--") || quoted.starts_with("verbatim "));
    own.flat_map(|quoted| words(quoted, "--", |c| c.is_ascii_lowercase() || c == '-')).collect()
}

/// The default of a flag of docs/flags.md, if the flag is there.
fn default_of(flag: &str) -> Option<String> {
    let flags = read("docs/flags.md");
    let row = flags.lines().find(|line| line.starts_with(&format!("| `{flag} ")))?;
    Some(row.split("Default: ").nth(1)?.split(['.', ' ']).next()?.to_owned())
}

#[test]
fn flags_and_variables_that_are_named_are_the_programs() {
    let known = read("docs/flags.md");
    let is_known = |name: &str| {
        let starts = |at: usize| !known[at + name.len()..].starts_with(['-', '_']);
        known.match_indices(name).any(|(at, found)| starts(at) && found == name)
    };
    let (mut count, mut wrong) = (0, Vec::new());
    for file in FILES {
        let text = read(file);
        let names = if file.ends_with(".md") { flags(&text) } else { BTreeSet::new() };
        for name in names.into_iter().chain(variables(&text)) {
            count += 1;
            if !is_known(name) {
                wrong.push(format!("{file}: {name}"));
            }
        }
    }
    assert!(count > 20, "{count} names were read");
    assert!(wrong.is_empty(), "names that docs/flags.md does not have:\n  {}", wrong.join("\n  "));
}

#[test]
fn routes_that_are_named_are_served() {
    let routes = read("host-linux/src/serve/routes.rs");
    let (mut count, mut wrong) = (0, Vec::new());
    for file in FILES {
        let text = read(file);
        let paths = words(&text, "/", |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '/');
        for path in paths {
            let is_route = ["/health", "/ready", "/metrics"].contains(&path) || path.starts_with("/v1/");
            count += usize::from(is_route);
            // What follows in braces in the table is an id, before which the page's path ends.
            let is_there =
                [format!("(\"{path}\")"), format!("(\"{path}{{")].iter().any(|of| routes.contains(of));
            if is_route && !is_there {
                wrong.push(format!("{file}: {path}"));
            }
        }
    }
    assert!(count > 5, "{count} paths were read");
    assert!(wrong.is_empty(), "paths that no route has:\n  {}", wrong.join("\n  "));
}

#[test]
fn everything_uses_the_default_port() {
    let port = default_of("--port").expect("docs/flags.md has --port");
    let dockerfile = read("packaging/docker/Dockerfile");
    assert!(
        dockerfile.contains(&format!("VERBATIM_PORT={port}\n"))
            && dockerfile.contains(&format!("EXPOSE {port}\n"))
    );
    let compose = &yaml("packaging/docker/compose.yaml")[0]["services"]["verbatim"];
    assert_eq!(compose["ports"][0].as_str(), Some(format!("127.0.0.1:{port}:{port}").as_str()));
    let socket = read("packaging/systemd/verbatim.socket");
    assert!(socket.contains(&format!("\nListenStream=127.0.0.1:{port}\n")));
    let container = container();
    assert_eq!(container["ports"][0]["containerPort"].as_i64(), port.parse().ok());
    assert_eq!(variable(&container, "VERBATIM_PORT"), Some(port));
}

// The container of the pods, and one of its variables.

fn container() -> Yaml {
    yaml("packaging/kubernetes/verbatim.yaml")[0]["spec"]["template"]["spec"]["containers"][0].clone()
}

fn variable(container: &Yaml, name: &str) -> Option<String> {
    let list = container["env"].as_vec()?;
    let found = list.iter().find(|entry| entry["name"].as_str() == Some(name))?;
    found["value"].as_str().map(str::to_owned)
}

#[test]
fn the_kubernetes_manifest_is_whole() {
    let documents = yaml("packaging/kubernetes/verbatim.yaml");
    let kinds: Vec<_> =
        documents.iter().map(|document| document["kind"].as_str().unwrap_or("none")).collect();
    assert_eq!(kinds, ["Deployment", "Service"]);
    let (deployment, service) = (&documents[0]["spec"], &documents[1]["spec"]);
    let labels = &deployment["template"]["metadata"]["labels"];
    assert!(labels.as_hash().is_some_and(|labels| !labels.is_empty()));
    assert_eq!(&deployment["selector"]["matchLabels"], labels);
    assert_eq!(&service["selector"], labels);
    let container = container();
    assert_eq!(service["ports"][0]["targetPort"], container["ports"][0]["name"]);
    for (probe, path) in
        [("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")]
    {
        let get = &container[probe]["httpGet"];
        assert_eq!((get["path"].as_str(), get["port"].as_str()), (Some(path), Some("http")), "{probe}");
    }
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], Yaml::Boolean(true));
    assert_eq!(security["allowPrivilegeEscalation"], Yaml::Boolean(false));
    assert_eq!(security["capabilities"]["drop"][0].as_str(), Some("ALL"));
    let pod = &deployment["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], Yaml::Boolean(true));
    let resources = &container["resources"];
    assert!(!resources["limits"]["memory"].is_badvalue());
    assert_eq!(resources["requests"], resources["limits"], "what the server sizes itself by is its own");
    let name = |list: &Yaml, at: usize| list[at]["name"].as_str().map(str::to_owned);
    for at in 0..2 {
        assert_eq!(name(&container["volumeMounts"], at), name(&pod["volumes"], at));
    }
    let seconds = |value: &Yaml| value.as_i64().expect("seconds");
    let drain = variable(&container, "VERBATIM_DRAIN_SECONDS").and_then(|text| text.parse::<i64>().ok());
    let pre_stop = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let grace = seconds(&pod["terminationGracePeriodSeconds"]);
    assert!(grace > drain.expect("it is set") + pre_stop, "the server is killed while it drains");
}

#[test]
fn the_compose_file_takes_rights_away() {
    let service = &yaml("packaging/docker/compose.yaml")[0]["services"]["verbatim"];
    assert_eq!(service["read_only"], Yaml::Boolean(true));
    assert_eq!(service["cap_drop"][0].as_str(), Some("ALL"));
    assert_eq!(service["security_opt"][0].as_str(), Some("no-new-privileges:true"));
    assert_eq!(service["mem_limit"], service["memswap_limit"]);
    let build = &service["build"];
    let (context, file) = (build["context"].as_str(), build["dockerfile"].as_str());
    let context = root().join("packaging/docker").join(context.expect("a context"));
    assert!(context.join(file.expect("a file")).is_file());
    let user = read("packaging/docker/Dockerfile");
    assert!(user.contains(&format!("\nUSER {}\n", service["user"].as_str().expect("a user"))));
    let default = default_of("--drain-seconds").and_then(|text| text.parse::<u64>().ok());
    let grace =
        service["stop_grace_period"].as_str().and_then(|text| text.trim_end_matches('s').parse().ok());
    assert!(grace > default, "{grace:?} is no longer than the server drains, {default:?}");
}

/// The instructions of a Dockerfile with their arguments; lines that go on are joined.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    let joined = lines
        .map(|line| line.strip_suffix('\\').map_or(format!("{line}\n"), str::to_owned))
        .collect::<String>();
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    joined.lines().map(split).collect()
}

#[test]
fn the_dockerfile_keeps_the_usual_rules() {
    let all = instructions(&read("packaging/docker/Dockerfile"));
    let known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "ENV",
        "RUN",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
    ];
    assert!(all.iter().all(|(word, _)| known.contains(&word.as_str())), "{all:?}");
    let of = |word: &str| {
        all.iter().filter(|(found, _)| found == word).map(|(_, rest)| rest.as_str()).collect::<Vec<_>>()
    };
    let stages = of("FROM");
    assert_eq!(stages.last(), Some(&"scratch"), "the image has the program and nothing else");
    for stage in &stages[..stages.len() - 1] {
        let (image, name) = stage.split_once(" AS ").expect("a stage has a name");
        let tag = image.split_once(':').expect("an image has a tag").1;
        assert!(tag.starts_with(|c: char| c.is_ascii_digit()), "{image} is not one version");
        assert!(of("COPY").iter().any(|copy| copy.starts_with(&format!("--from={name} "))));
    }
    let last = all.iter().rposition(|(word, _)| word == "FROM").expect("stages");
    let run = |word: &str| {
        all[last..].iter().filter(|(found, _)| found == word).map(|(_, rest)| rest).collect::<Vec<_>>()
    };
    let user = run("USER");
    assert!(
        user.len() == 1 && user[0].starts_with(|c: char| ('1'..='9').contains(&c)),
        "a number, and not root: {user:?}"
    );
    // A shell to start these by is not there.
    for (word, command) in
        [("ENTRYPOINT", r#"["/verbatim"]"#), ("HEALTHCHECK", r#"CMD ["/verbatim", "health"]"#)]
    {
        assert!(run(word).len() == 1 && run(word)[0].ends_with(command), "{word}");
    }
    assert!(run("RUN").is_empty() && run("WORKDIR").is_empty());
    let build = of("RUN").join(" ");
    assert!(
        build.contains("--locked") && build.contains("-p verbatim") && !build.contains("sudo"),
        "{build}"
    );
    let oldest = read("Cargo.toml")
        .lines()
        .find_map(|line| Some(line.strip_prefix("rust-version = \"1.")?[..2].to_owned()));
    let toolchain = stages[0].split(['.', '-']).nth(1).map(str::to_owned);
    assert!(toolchain >= oldest, "the toolchain is too old: {toolchain:?}");
}

#[test]
fn the_build_of_the_image_gets_all_crates() {
    let ignored = read(".dockerignore");
    let ignored: Vec<_> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find(|line| line.starts_with("members = ")).expect("members");
    let members: Vec<_> = members.split('"').skip(1).step_by(2).collect();
    assert!(
        members.len() >= 4 && ["target", ".git"].iter().all(|name| ignored.contains(name)),
        "{members:?}"
    );
    for path in members.iter().chain(&["Cargo.lock", "LICENSE"]) {
        assert!(!ignored.contains(path), "{path} is left out of the build");
    }
}

/// The settings of a unit: section, name, value.
fn settings(path: &str) -> Vec<(String, String, String)> {
    let (mut section, mut settings) = (String::new(), Vec::new());
    for line in read(path).lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{path}: {line}"));
            settings.push((section.clone(), name.to_owned(), value.to_owned()));
        }
    }
    settings
}

#[test]
fn the_unit_is_hardened() {
    let unit = settings("packaging/systemd/verbatim.service");
    let value =
        |name: &str| unit.iter().find(|(_, found, _)| found == name).map(|(_, _, value)| value.as_str());
    for name in [
        "DynamicUser",
        "NoNewPrivileges",
        "MemoryDenyWriteExecute",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "RestrictNamespaces",
        "LockPersonality",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "ProtectKernelTunables",
        "ProtectKernelModules",
        "ProtectControlGroups",
        "ProtectClock",
    ] {
        assert_eq!(value(name), Some("yes"), "{name}");
    }
    assert_eq!(value("ProtectSystem"), Some("strict"));
    assert_eq!(value("CapabilityBoundingSet"), Some(""));
    assert_eq!(value("ExecStart"), Some("/usr/local/bin/verbatim serve"));
    assert!(
        value("MemoryMax").is_some() && value("LimitNOFILE").is_some() && value("SystemCallFilter").is_some()
    );
    let drain = default_of("--drain-seconds").and_then(|text| text.parse::<u64>().ok());
    let stop = value("TimeoutStopSec").and_then(|text| text.parse().ok());
    assert!(stop > drain, "systemd kills after {stop:?} s a server that drains for {drain:?} s");
}

/// Runs `systemd-analyze` on the units, whose program need not be installed; its standard output
/// and error. `None` where there is no systemd.
fn analyze(folder: &Path, args: &[&str]) -> Option<(bool, String)> {
    for unit in ["verbatim.service", "verbatim.socket"] {
        let text = read(&format!("packaging/systemd/{unit}"));
        let text = text.replace("/usr/local/bin/verbatim serve", "/bin/true");
        std::fs::write(folder.join(unit), text.replace("file:///usr/local", "file:///")).expect("written");
    }
    let paths: Vec<PathBuf> = ["verbatim.service", "verbatim.socket"].map(|unit| folder.join(unit)).into();
    let run = Command::new("systemd-analyze")
        .args(args)
        .args(&paths[..if args[0] == "verify" { 2 } else { 1 }])
        .output();
    let Ok(output) = run else {
        println!("skipped: {} of the units (no systemd-analyze)", args[0]);
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn systemd_takes_the_units() {
    let directory = TemporaryDirectory::new("units");
    if let Some((is_right, text)) = analyze(directory.path(), &["verify", "--man=no"]) {
        let complaints: Vec<_> = text.lines().filter(|line| line.contains("verbatim.")).collect();
        assert!(is_right && complaints.is_empty(), "{text}");
    }
    // Ten is systemd's "exposed to all"; a unit without a line of hardening has 9.6.
    if let Some((is_right, text)) =
        analyze(directory.path(), &["security", "--offline=true", "--threshold=20"])
    {
        assert!(is_right, "{text}");
    }
}

#[test]
fn the_release_script_is_one_that_bash_reads() {
    let script = root().join("packaging/release.sh");
    let checked = Command::new("bash").arg("-n").arg(&script).status();
    assert!(checked.is_ok_and(|status| status.success()));
    for file in read("packaging/release.sh").lines().filter(|line| line.trim().starts_with("install -m 644"))
    {
        for name in file.split_whitespace().filter(|word| !word.contains('$') && word.contains('.')) {
            let is_there = match name.split_once('*') {
                Some((folder, end)) => std::fs::read_dir(root().join(folder)).is_ok_and(|mut all| {
                    all.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().ends_with(end)))
                }),
                None => root().join(name).is_file(),
            };
            assert!(is_there, "{name}");
        }
    }
}
