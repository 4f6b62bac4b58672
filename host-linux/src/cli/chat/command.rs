//! What is typed at the prompt: a message, over several lines maybe, or a command.
use crate::text::quote::quote;

/// A command, with what is typed behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Lists the commands and keys.
    Help,
    /// Sets what the model is told first, or tells it; an empty text takes it away.
    System(Option<String>),
    /// Sets a parameter, tells one, or tells all that are set.
    Set(Option<(String, Option<String>)>),
    /// Sets the seed, or tells the last answer's.
    Seed(Option<String>),
    /// Takes back the last question and its answer.
    Undo,
    /// Asks the last question again.
    Regenerate,
    /// Writes the conversation to a file.
    Save(String),
    /// Reads a conversation from a file.
    Load(String),
    /// Forgets what was said so far.
    Reset,
    /// Tells figures of the last answer and of all.
    Stats,
    /// Tells what the model is, or chooses another one of a server.
    Model(Option<String>),
    /// Ends the whole conversation.
    Exit,
}

/// What a line, or several, come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Nothing but blanks and ends of lines.
    Nothing,
    Message(String),
    Command(Command),
}

/// The commands: name, what follows it, and what it does.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("/help", "", "list commands and keys"),
    ("/system", "[TEXT]", "what the model is told first; - takes it away"),
    ("/set", "[NAME [VALUE]]", "a parameter of the API, such as temperature 0.7; default takes it back"),
    ("/seed", "[N]", "the seed of the answers to come; default draws one for each"),
    ("/undo", "", "take back the last question and its answer"),
    ("/regenerate", "", "ask the last question again"),
    ("/save", "FILE", "write the conversation to a file"),
    ("/load", "FILE", "go on with a conversation from a file"),
    ("/reset", "", "forget the conversation; system text and parameters stay"),
    ("/stats", "", "tokens and times of the last answer, and of all"),
    ("/model", "[NAME]", "what the model is; with --url: choose one of the server's"),
    ("/exit", "", "leave"),
];

/// Keys that differ from what a shell has.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("Alt-Enter", "begin another line; so do \\ at a line's end, and \"\"\" before and behind the text"),
    ("Ctrl-C", "stop the answer; at the prompt, clear the line"),
    ("Ctrl-D", "leave"),
    ("Ctrl-R", "search what was typed before"),
    ("Tab", "complete commands, parameters and files"),
];

/// What opens and closes a text of several lines.
const BLOCK: &str = "\"\"\"";

/// Whether what was typed so far is whole, rather than to be gone on with on the next line.
pub(super) fn is_whole(typed: &str) -> bool {
    match typed.trim_start().strip_prefix(BLOCK) {
        Some(text) => text.contains(BLOCK),
        None => !typed.ends_with('\\'),
    }
}

/// What was typed, without the marks that join its lines.
fn joined(typed: &str) -> String {
    if let Some(text) = typed.trim_start().strip_prefix(BLOCK) {
        let (text, behind) = text.split_once(BLOCK).unwrap_or((text, ""));
        let text = text.strip_prefix('\n').unwrap_or(text);
        return format!("{}{behind}", text.strip_suffix('\n').unwrap_or(text));
    }
    let typed = typed.strip_suffix('\\').unwrap_or(typed);
    typed.replace("\\\n", "\n")
}

/// Reads what was typed; the error says what was expected.
pub(super) fn parse(typed: &str) -> Result<Input, String> {
    let text = joined(typed);
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Input::Nothing);
    }
    // A block is a message whatever it begins with, and so is what begins with two slashes.
    let is_block = typed.trim_start().starts_with(BLOCK);
    if is_block || !trimmed.starts_with('/') {
        return Ok(Input::Message(text));
    }
    if let Some(message) = trimmed.strip_prefix("//") {
        return Ok(Input::Message(format!("/{message}")));
    }
    let (name, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    command(name, rest.trim()).map(Input::Command)
}

fn command(name: &str, rest: &str) -> Result<Command, String> {
    let optional = || (!rest.is_empty()).then(|| rest.to_owned());
    let needed =
        || optional().ok_or_else(|| format!("{name}: found nothing behind it, expected {name} FILE"));
    let alone = |command: Command| match rest {
        "" => Ok(command),
        _ => Err(format!("{name}: found {}, expected nothing behind it", quote(rest))),
    };
    match name {
        "/help" | "/?" => alone(Command::Help),
        "/system" => {
            Ok(Command::System(optional().map(|text| if text == "-" { String::new() } else { text })))
        }
        "/set" => Ok(Command::Set(optional().map(|rest| {
            let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((&rest, ""));
            (name.to_owned(), Some(value.trim().to_owned()).filter(|value| !value.is_empty()))
        }))),
        "/seed" => Ok(Command::Seed(optional())),
        "/undo" => alone(Command::Undo),
        "/regenerate" => alone(Command::Regenerate),
        "/save" => Ok(Command::Save(needed()?)),
        "/load" => Ok(Command::Load(needed()?)),
        "/reset" => alone(Command::Reset),
        "/stats" => alone(Command::Stats),
        "/model" => Ok(Command::Model(optional())),
        "/exit" | "/quit" | "/bye" => alone(Command::Exit),
        _ => Err(format!("{} is no command; /help lists them, and // begins a message with /", quote(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Result<Input, String> {
        Ok(Input::Message(text.to_owned()))
    }

    #[test]
    fn messages_may_have_several_lines() {
        assert_eq!(parse("Hello"), message("Hello"));
        assert_eq!(parse(" \t"), Ok(Input::Nothing));
        assert_eq!(parse("a\\\nb\\\nc"), message("a\nb\nc"));
        assert_eq!(parse("\"\"\"\na\\\n/b\n\"\"\""), message("a\\\n/b"));
        assert_eq!(parse("\"\"\"one\"\"\" and more"), message("one and more"));
        assert_eq!(parse("//usr is a folder"), message("/usr is a folder"));
        for (typed, whole) in
            [("a", true), ("a\\", false), ("a\\\nb", true), ("\"\"\"a", false), ("\"\"\"a\\", false)]
        {
            assert_eq!(is_whole(typed), whole, "{typed}");
        }
        assert!(is_whole("\"\"\"a\nb\"\"\"") && is_whole("say \"\"\""));
    }

    #[test]
    fn commands_have_what_stands_behind_them() {
        let of = |typed: &str| {
            parse(typed).map(|input| match input {
                Input::Command(command) => command,
                other => panic!("{other:?}"),
            })
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(" /help "), Ok(Command::Help));
        assert_eq!(of("/system Be\\\nbrief."), Ok(Command::System(some("Be\nbrief."))));
        assert_eq!(of("/system -"), Ok(Command::System(some(""))));
        assert_eq!(of("/set"), Ok(Command::Set(None)));
        assert_eq!(of("/set stop"), Ok(Command::Set(Some(("stop".to_owned(), None)))));
        assert_eq!(of("/set stop  a b "), Ok(Command::Set(Some(("stop".to_owned(), some("a b"))))));
        assert_eq!(of("/save my file"), Ok(Command::Save("my file".to_owned())));
        assert_eq!(of("/quit"), Ok(Command::Exit));
        for (typed, told) in [
            ("/save", "/save FILE"),
            ("/undo 2", "nothing behind it"),
            ("/frobnicate", "/frobnicate is no command; /help"),
            ("/\u{1b}[2J", "is no command"),
        ] {
            let error = of(typed).unwrap_err();
            assert!(error.contains(told) && !error.contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn every_command_is_listed_and_read() {
        for (name, argument, _) in COMMANDS {
            let typed = if *argument == "FILE" { format!("{name} x") } else { (*name).to_owned() };
            assert!(matches!(parse(&typed), Ok(Input::Command(_))), "{typed}");
        }
    }
}
