//! The line of JSON by which a program that started the server hears that it is ready.
use crate::runtime::ServedModel;
use crate::serve::transport::listen::Listeners;
use crate::sys::descriptors::handed_over;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, IsTerminal, Write};

/// Where the line goes.
#[derive(Debug)]
pub(super) enum ReadyLine {
    /// To a descriptor that was asked for, which is closed behind it.
    Descriptor(File),
    /// To standard output, where a program may read it.
    Output,
    /// Nowhere: whoever sits at the terminal is told in words.
    Nowhere,
}

impl ReadyLine {
    /// Takes the descriptor of this number, if one is given. To be called before anything else has
    /// opened a descriptor.
    pub(super) fn open(number: Option<i32>) -> Result<Self, String> {
        match number {
            Some(number) => {
                let file = handed_over(number).map_err(|error| format!("--ready-fd {number}: {error}"))?;
                Ok(Self::Descriptor(file))
            }
            None if io::stdout().is_terminal() => Ok(Self::Nowhere),
            None => Ok(Self::Output),
        }
    }

    /// Says that the model is served at these sockets. An error is one of a descriptor that was
    /// asked for; whoever does not read standard output is not waiting for it.
    pub(super) fn tell(self, model: &ServedModel, listeners: &Listeners) -> Result<(), String> {
        let line = line(&model.name, &model.fingerprint, &listeners.urls());
        match self {
            Self::Descriptor(mut file) => {
                file.write_all(line.as_bytes()).map_err(|error| format!("--ready-fd: {error}"))
            }
            Self::Output => {
                let mut output = io::stdout().lock();
                let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
                Ok(())
            }
            Self::Nowhere => Ok(()),
        }
    }
}

/// The line, with its end, for sockets at `urls`: the first of TCP and the first socket file.
fn line(model: &str, fingerprint: &str, urls: &[String]) -> String {
    let mut fields = Map::new();
    fields.insert("event".to_owned(), Value::from("ready"));
    if let Some(url) = urls.iter().find(|url| url.starts_with("http://")) {
        fields.insert("url".to_owned(), Value::from(url.as_str()));
    }
    if let Some(path) = urls.iter().find_map(|url| url.strip_prefix("unix:")) {
        fields.insert("uds".to_owned(), Value::from(path));
    }
    fields.insert("model".to_owned(), Value::from(model));
    fields.insert("fingerprint".to_owned(), Value::from(fingerprint));
    fields.insert("pid".to_owned(), Value::from(std::process::id()));
    fields.insert("version".to_owned(), Value::from(env!("CARGO_PKG_VERSION")));
    format!("{}\n", Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_where_to_connect() {
        let read = |urls: &[&str]| {
            let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
            let line = line("a\nb", "vb-1", &urls);
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
            serde_json::from_str::<Value>(&line).expect("JSON")
        };
        let both = read(&["http://127.0.0.1:5", "http://[::1]:5", "unix:/run/v b"]);
        assert_eq!((&both["url"], &both["uds"]), (&"http://127.0.0.1:5".into(), &"/run/v b".into()));
        assert_eq!((&both["model"], &both["fingerprint"]), (&"a\nb".into(), &"vb-1".into()));
        assert_eq!(both["pid"], std::process::id());
        let file = read(&["unix:/v"]);
        assert!(file.get("url").is_none() && file["uds"] == "/v", "{file}");
    }

    #[test]
    fn what_is_no_descriptor_is_told_by_its_number() {
        let error = ReadyLine::open(Some(i32::MAX)).unwrap_err();
        assert!(error.starts_with("--ready-fd 2147483647: "), "{error}");
    }
}
