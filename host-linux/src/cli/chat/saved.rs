//! Conversations in files: JSON with all that is needed to have the same answers again.
use super::conversation::{Conversation, Message, Role};
use super::partner::Partner;
use crate::text::quote::quote;
use serde_json::{Map, Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a file says that it is.
const FORMAT: &str = "verbatim-chat/1";
/// Bytes of a file, at most.
const FILE_MAX: u64 = 64 << 20;
/// Messages of a file, at most.
const MESSAGES_MAX: usize = 100_000;

/// A conversation that was read, and the fingerprint of the model that has answered in it.
#[derive(Debug)]
pub(super) struct Loaded {
    /// What was said in it.
    pub(super) conversation: Conversation,
    /// The fingerprint; none where it was not known.
    pub(super) fingerprint: Option<String>,
}

/// The path that was typed; `~/` is the home folder, as in a shell.
pub(super) fn path(typed: &str) -> PathBuf {
    match (typed.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(typed),
    }
}

/// Writes a conversation to a file that only its owner may read. What is there already is replaced
/// if it is a conversation, and else left alone.
pub(super) fn save(path: &Path, conversation: &Conversation, partner: &dyn Partner) -> Result<(), String> {
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    match File::open(path) {
        Ok(file) if !is_conversation(&file) => {
            return Err(format!("{}: is there and is no conversation; choose another name", path.display()));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    let messages: Vec<Value> = conversation.messages.iter().map(value).collect();
    let file = json!({
        "format": FORMAT,
        "model": partner.name(),
        "fingerprint": partner.fingerprint(),
        "system": conversation.system,
        "parameters": conversation.parameters,
        "messages": messages,
    });
    // Whole or not at all: the old file is replaced when the new one is written. That one is new,
    // so it is no file of others, and no link to one.
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = Path::new(&part);
    let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part);
    let mut out = out.map_err(|error| format!("{}: {error}", part.display()))?;
    let written = out.write_all(format!("{file:#}\n").as_bytes()).and_then(|()| out.sync_all());
    let moved = written.and_then(|()| fs::rename(part, path));
    if moved.is_err() {
        let _ = fs::remove_file(part);
    }
    moved.map_err(at)
}

fn value(message: &Message) -> Value {
    let mut value = json!({"role": message.role.name(), "content": message.content});
    if let Some(seed) = message.seed {
        value["seed"] = json!(seed);
    }
    value
}

/// Whether a file begins as those do that are written here.
fn is_conversation(file: &File) -> bool {
    let mut head = Vec::new();
    let read = file.take(200).read_to_end(&mut head);
    let head = String::from_utf8_lossy(&head);
    read.is_ok() && head.contains("\"format\"") && head.contains(FORMAT)
}

/// Reads a conversation from a file.
pub(super) fn load(path: &Path) -> Result<Loaded, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| at(&error))?;
    if !file.metadata().is_ok_and(|data| data.is_file()) {
        return Err(at(&"is no regular file"));
    }
    let mut text = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut text).map_err(|error| at(&error))?;
    if text.len() as u64 > FILE_MAX {
        return Err(at(&format!("has more than {FILE_MAX} bytes, which no conversation has")));
    }
    let file: Value = serde_json::from_slice(&text).map_err(|error| at(&format!("is no JSON: {error}")))?;
    loaded(&file).map_err(|error| at(&error))
}

fn loaded(file: &Value) -> Result<Loaded, String> {
    match file.get("format") {
        Some(format) if *format == FORMAT => {}
        Some(format) => {
            return Err(format!("format is {}, expected \"{FORMAT}\"", quote(&format.to_string())));
        }
        None => return Err(format!("has no format, expected \"{FORMAT}\": /save writes such files")),
    }
    let text = |name: &str| match file.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} must be a string")),
    };
    let parameters = match file.get("parameters") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        Some(_) => return Err("parameters must be an object".to_owned()),
    };
    let list = file.get("messages").and_then(Value::as_array).ok_or("messages must be a list")?;
    if list.len() > MESSAGES_MAX {
        return Err(format!("messages has {} messages, expected at most {MESSAGES_MAX}", list.len()));
    }
    let messages = list
        .iter()
        .enumerate()
        .map(|(i, value)| message(value, i).map_err(|expected| format!("messages[{i}]: {expected}")));
    let messages = messages.collect::<Result<Vec<_>, _>>()?;
    let conversation = Conversation { system: text("system")?, messages, parameters };
    Ok(Loaded { conversation, fingerprint: text("fingerprint")? })
}

/// The message in a place. Questions and answers take turns, a question first; the last question
/// has its answer.
fn message(value: &Value, place: usize) -> Result<Message, String> {
    let role = if place.is_multiple_of(2) { Role::User } else { Role::Assistant };
    if value.get("role").and_then(Value::as_str) != Some(role.name()) {
        return Err(format!("role must be {:?} here", role.name()));
    }
    let content = value.get("content").and_then(Value::as_str).ok_or("content must be a string")?;
    Ok(Message { role, content: content.to_owned(), seed: value.get("seed").and_then(Value::as_i64) })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Script;
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use verbatim_tests::temporary::TemporaryDirectory;

    #[test]
    fn a_conversation_comes_back_as_it_was() {
        let folder = TemporaryDirectory::new("saved");
        let (partner, path) = (Script::default(), folder.path().join("a.json"));
        let mut conversation = Conversation { system: Some("s".to_owned()), ..Conversation::default() };
        conversation.parameters.insert("temperature".to_owned(), json!(0.7));
        conversation.ask("q \u{1b}\n".to_owned());
        conversation.answer("a".to_owned(), Some(-3));
        save(&path, &conversation, &partner).expect("it is written");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        let back = load(&path).expect("it is read");
        assert_eq!(back.conversation, conversation);
        assert_eq!(back.fingerprint.as_deref(), Some("vb-script"));
        conversation.undo();
        save(&path, &conversation, &partner).expect("one of ours is replaced");
        assert_eq!(load(&path).expect("it is read").conversation, conversation);
        let part = folder.path().join(format!("a.json.{}.part", std::process::id()));
        assert!(!part.exists(), "nothing is left beside it");
        fs::write(&part, "of somebody else").expect("a file");
        assert!(save(&path, &conversation, &partner).is_err());
        assert_eq!(fs::read_to_string(&part).expect("a file"), "of somebody else");

        let other = folder.path().join("other");
        fs::write(&other, "do not lose me").expect("a file");
        assert!(save(&other, &conversation, &partner).unwrap_err().contains("is no conversation"));
        assert_eq!(fs::read_to_string(&other).expect("a file"), "do not lose me");
        assert!(load(&other).unwrap_err().contains("other: is no JSON"));
        assert!(load(&folder.path().join("none")).is_err() && load(folder.path()).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let with = |messages: Value| json!({"format": FORMAT, "messages": messages});
        for (file, told) in [
            (json!([]), "has no format"),
            (json!({"format": "verbatim-answer/1"}), "format is \"verbatim-answer/1\", expected"),
            (json!({"format": FORMAT}), "messages must be a list"),
            (with(json!([{"role": "assistant", "content": "a"}])), "messages[0]: role must be \"user\""),
            (with(json!([{"role": "user", "content": 1}])), "messages[0]: content must be a string"),
            (with(json!([1])), "messages[0]"),
            (json!({"format": FORMAT, "messages": [], "system": 1}), "system must be a string"),
            (json!({"format": FORMAT, "messages": [], "parameters": 1}), "parameters must be an object"),
        ] {
            let error = loaded(&file).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
