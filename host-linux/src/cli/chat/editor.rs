//! The prompt: a line, or several, with editing, history and completion.
use super::command::{COMMANDS, is_whole};
use super::settings;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Cmd, CompletionType, Config, Context, Editor, Helper, KeyCode, KeyEvent, Modifiers};
use std::borrow::Cow;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Entries of the history, at most.
const ENTRIES_MAX: usize = 1000;
/// Bytes of an entry, at most; what is longer was pasted, and is not kept.
const ENTRY_MAX: usize = 8 << 10;
/// Bytes of a history that is read; a longer file was not written here.
const HISTORY_MAX: u64 = (ENTRIES_MAX * ENTRY_MAX) as u64 * 2;

/// What came of waiting for keys.
#[derive(Debug)]
pub(super) enum Typed {
    /// A line, or several.
    Text(String),
    /// Ctrl-C, which clears the line.
    Interrupt,
    /// Ctrl-D, or the end of the input.
    End,
}

/// Reads what is typed on a terminal.
pub(super) struct Prompt {
    editor: Editor<Typist, FileHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    /// A prompt with the history of earlier ones; `note` is told if there is none and why.
    pub(super) fn open(has_colours: bool, note: impl FnOnce(&str)) -> Result<Self, String> {
        let wrong = |error: ReadlineError| format!("the terminal: {error}");
        let config = Config::builder().completion_type(CompletionType::List).max_history_size(ENTRIES_MAX);
        let config = config.and_then(|config| config.history_ignore_dups(true)).map_err(wrong)?.build();
        let mut editor = Editor::<Typist, FileHistory>::with_config(config).map_err(wrong)?;
        editor.set_helper(Some(Typist { files: FilenameCompleter::new(), has_colours }));
        editor.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
        let history = match history_file() {
            Ok(path) => Some(path),
            Err(error) => {
                note(&format!("no history is kept: {error}"));
                None
            }
        };
        if let Some(path) = &history
            && std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= HISTORY_MAX)
        {
            // A history that cannot be read is one without entries.
            let _ = editor.load_history(path);
        }
        Ok(Self { editor, history })
    }

    /// Waits for what is typed, and keeps it in the history.
    pub(super) fn read(&mut self) -> Result<Typed, String> {
        match self.editor.readline("> ") {
            Ok(text) => {
                self.keep(&text);
                Ok(Typed::Text(text))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Interrupt),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(format!("the terminal: {error}")),
        }
    }

    fn keep(&mut self, text: &str) {
        let is_kept = !text.trim().is_empty() && text.len() <= ENTRY_MAX;
        // Typing goes on where a full disk keeps no history.
        if is_kept
            && self.editor.add_history_entry(text).is_ok_and(|is_new| is_new)
            && let Some(path) = &self.history
            && self.editor.append_history(path).is_ok()
        {
            let _ = std::fs::set_permissions(path, PermissionsExt::from_mode(0o600));
        }
    }
}

/// The file of the history, in a folder that is there and that only its owner may read.
fn history_file() -> Result<PathBuf, String> {
    let state = match std::env::var_os("XDG_STATE_HOME").filter(|path| Path::new(path).is_absolute()) {
        Some(path) => PathBuf::from(path),
        None => {
            let home = std::env::var_os("HOME").filter(|path| !path.is_empty()).ok_or("HOME is not set")?;
            Path::new(&home).join(".local/state")
        }
    };
    let folder = state.join("verbatim");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder.join("chat-history"))
}

/// Completes and judges what is being typed.
struct Typist {
    files: FilenameCompleter,
    has_colours: bool,
}

/// What a word may be completed to: where it begins, and the words.
fn words(line: &str, position: usize) -> Option<(usize, Vec<Pair>)> {
    let typed = line.get(..position)?;
    let pairs = |prefix: &str, all: &mut dyn Iterator<Item = &'static str>| {
        let fitting = all.filter(|word| word.starts_with(prefix));
        fitting.map(|word| Pair { display: word.to_owned(), replacement: format!("{word} ") }).collect()
    };
    if let Some(prefix) = typed.strip_prefix("/set ").filter(|prefix| !prefix.contains(' ')) {
        return Some((5, pairs(prefix, &mut settings::settable().map(|row| row.name))));
    }
    let is_command = typed.starts_with('/') && !typed.contains(char::is_whitespace);
    is_command.then(|| (0, pairs(typed, &mut COMMANDS.iter().map(|(name, ..)| *name))))
}

impl Completer for Typist {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        if let Some(found) = words(line, position) {
            return Ok(found);
        }
        let names_file = ["/save ", "/load "].iter().any(|command| line.starts_with(command));
        if names_file { self.files.complete_path(line, position) } else { Ok((position, Vec::new())) }
    }
}

impl Hinter for Typist {
    type Hint = String;
}

impl Highlighter for Typist {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if self.has_colours {
            Cow::Owned(format!("\x1b[1;32m{prompt}\x1b[0m"))
        } else {
            Cow::Borrowed(prompt)
        }
    }
}

impl Validator for Typist {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let is_whole = is_whole(context.input());
        Ok(if is_whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Helper for Typist {}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let (start, pairs) = words(line, line.len()).unwrap_or_default();
        pairs.into_iter().map(|pair| format!("{}{}", &line[..start], pair.replacement)).collect()
    }

    #[test]
    fn commands_and_parameters_are_completed() {
        assert_eq!(completed("/re"), ["/regenerate ", "/reset "]);
        assert_eq!(completed("/set temp"), ["/set temperature "]);
        assert_eq!(completed("/set to"), ["/set top_p ", "/set top_k "]);
        assert!(completed("/").len() == COMMANDS.len() && completed("/set ").len() > 20);
        assert!(completed("say /he").is_empty() && completed("/set top_k 3").is_empty());
    }
}
