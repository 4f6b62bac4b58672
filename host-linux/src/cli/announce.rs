//! What a person reads when a server is ready: the model, the memory it takes, its context, whether
//! a key is asked for, and where page, dashboard and API are.
use super::inspect::residence;
use super::paint::Paint;
use crate::load::formats_of;
use crate::runtime::ServedModel;
use crate::sys::cpu::model_name;
use crate::text::figures::bytes;
use verbatim_core::cache::BLOCK;

/// How the server is reached, and by whom.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// Its sockets: URLs, or `unix:` and a path.
    pub(super) urls: Vec<String>,
    /// Whether requests must bring a key.
    pub(super) has_keys: bool,
}

/// All lines, for a model that is served at a door.
pub(super) fn lines(model: &ServedModel, is_built_in: bool, door: &Door, paint: Paint) -> Vec<String> {
    let mut all: Vec<String> = about(model)
        .into_iter()
        .map(|(label, text)| format!("{} {text}", paint.bold(&format!("{label:<9}"))))
        .collect();
    if is_built_in {
        all.push("this is the small built-in demonstration model; --model PATH serves a real one".to_owned());
    }
    all.extend(entrances(model.template.is_some(), door, paint));
    all
}

/// What is served, a label and a line each.
fn about(model: &ServedModel) -> [(&'static str, String); 4] {
    let limits = &model.limits;
    let (weights, engine, kv) =
        (model.loaded.model().weight_bytes(), model.plan.total_bytes(), model.plan.kv_bytes());
    let workers = model.workers.workers;
    [
        ("model", format!("{} ({})", model.name, model.fingerprint)),
        (
            "memory",
            format!(
                "{}: {} weights as {}, {}; {} keys and values for {} tokens as {}; {} to compute with",
                bytes((weights + engine) as u64),
                bytes(weights as u64),
                formats_of(model.loaded.model().config()),
                residence(model),
                bytes(kv as u64),
                limits.block_count() * BLOCK,
                limits.kv_format.name(),
                bytes(engine.saturating_sub(kv) as u64),
            ),
        ),
        (
            "context",
            format!(
                "{} tokens each, prompt and output; {} at once, {} wait",
                limits.model_len,
                counted(limits.sequences, "sequence"),
                limits.queue
            ),
        ),
        ("CPU", format!("{} with {}, {}", model_name(), model.isa.name(), counted(workers, "worker"))),
    ]
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Where people and programs come in, and a command to try it.
fn entrances(has_chat: bool, door: &Door, paint: Paint) -> Vec<String> {
    let key = if door.has_keys {
        "requests must bring one, as Authorization: Bearer KEY"
    } else {
        "none is asked for (--api-key-file asks for one)"
    };
    let mut all = vec![
        format!("{} {key}", paint.bold("key      ")),
        format!("listening on {}", door.urls.join(" and ")),
    ];
    // A browser opens no socket file.
    if let Some(url) = door.urls.iter().find(|url| !url.starts_with("unix:")) {
        let url = reachable(url);
        for (label, path) in [("page", "/"), ("dashboard", "/dashboard"), ("API", "/v1")] {
            all.push(format!("  {} {url}{path}", paint.bold(&format!("{label:<9}"))));
        }
    }
    if let Some(url) = door.urls.first() {
        all.push("try".to_owned());
        all.push(format!("  {}", curl(&reachable(url), has_chat, door.has_keys)));
    }
    all
}

/// The URL by which this machine reaches a server that listens on all of its addresses.
fn reachable(url: &str) -> String {
    url.replacen("//0.0.0.0:", "//127.0.0.1:", 1).replacen("//[::]:", "//[::1]:", 1)
}

/// A command that asks the server at `url`; with `has_chat` it asks in a conversation.
fn curl(url: &str, has_chat: bool, has_keys: bool) -> String {
    let (path, body) = if has_chat {
        let question = r#"{"messages": [{"role": "user", "content": "What is the capital of France?"}]}"#;
        ("chat/completions", question)
    } else {
        ("completions", r#"{"prompt": "Once upon a time", "max_tokens": 32, "temperature": 0}"#)
    };
    let url = match url.strip_prefix("unix:") {
        Some(file) => format!("--unix-socket {file} http://localhost"),
        None => url.to_owned(),
    };
    let key = if has_keys { r#"-H "Authorization: Bearer $KEY" "# } else { "" };
    format!("curl {url}/v1/{path} {key}-H 'Content-Type: application/json' -d '{body}'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::NoProgress;
    use crate::runtime::Options;

    fn door(urls: &[&str], has_keys: bool) -> Door {
        Door { urls: urls.iter().map(ToString::to_string).collect(), has_keys }
    }

    #[test]
    fn the_command_to_try_has_what_the_server_demands() {
        let open = curl("http://127.0.0.1:8080", false, false);
        let start = "curl http://127.0.0.1:8080/v1/completions -H 'Content-Type: application/json' -d '{";
        assert!(open.starts_with(start), "{open}");
        let keyed = curl("unix:/run/v", true, true);
        let start = "curl --unix-socket /run/v http://localhost/v1/chat/completions \
            -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' -d '{";
        assert!(keyed.starts_with(start), "{keyed}");
    }

    #[test]
    fn people_are_told_what_is_served_and_where() {
        let options = Options { max_seqs: 3, workers: Some(1), ..Options::default() };
        let model = ServedModel::open(&options, &NoProgress).expect("the built-in model");
        let plain = Paint::plain();
        let all = lines(&model, true, &door(&["http://0.0.0.0:80", "unix:/v"], false), plain).join("\n");
        for part in [
            &format!("model     {} ({})", model.name, model.fingerprint),
            "memory    ",
            "keys and values for ",
            "3 sequences at once, 64 wait",
            "1 worker\n",
            "built-in demonstration model",
            "key       none is asked for",
            "listening on http://0.0.0.0:80 and unix:/v\n",
            "page      http://127.0.0.1:80/\n",
            "dashboard http://127.0.0.1:80/dashboard\n",
            "API       http://127.0.0.1:80/v1\n",
            "  curl http://127.0.0.1:80/v1/chat/completions",
        ] {
            assert!(all.contains(part), "no {part:?} in\n{all}");
        }
        let alone = lines(&model, false, &door(&["unix:/v"], true), plain).join("\n");
        assert!(!alone.contains("dashboard") && !alone.contains("built-in demo"), "{alone}");
        assert!(alone.contains("key       requests must bring one"), "{alone}");
    }
}
