//! `verbatim chat`: a conversation on a terminal, or with what a pipe brings.
//!
//! ```text
//! editor, piped ──► command ──► talk ──► partner: local, remote
//!                                │ conversation ◄──► saved
//!              screen: markdown ◄
//! ```
//!
//! * [`editor`]: the prompt of a terminal. [`piped`]: input without one. [`command`]: what is
//!   typed.
//! * [`talk`]: what comes of it. [`conversation`]: what was said; [`saved`]: in a file;
//!   [`settings`]: parameters of answers.
//! * [`partner`]: whom one talks to: [`local`], a model in this process, or [`remote`], a server.
//! * [`screen`]: where answers are shown; [`markdown`], with its `spans` and `table`; [`styles`].
//!   [`figures`]: in words. [`flags`]: of this command.
mod command;
mod conversation;
mod editor;
mod figures;
pub(super) mod flags;
mod local;
mod markdown;
#[cfg(test)]
mod markdown_tests;
#[cfg(test)]
mod paper;
mod partner;
mod piped;
mod remote;
#[cfg(test)]
mod remote_tests;
mod saved;
mod screen;
mod settings;
mod spans;
mod styles;
mod table;
mod talk;
#[cfg(test)]
mod tests;

use super::args::ChatArgs;
use super::generate::open_for_one;
use super::output;
use crate::sys::signals;
use editor::{Prompt, Typed};
use local::Local;
use partner::{Partner, Stop};
use remote::Remote;
use screen::{Look, Screen};
use talk::{Step, Talk};

/// Holds a conversation until whoever talks leaves, or the input ends.
pub(super) fn chat(args: &ChatArgs) -> Result<(), String> {
    let look = Look::of_streams();
    let partner: Box<dyn Partner> = match args.server.place()? {
        Some(place) => Box::new(Remote::new(place, args.model_name())?),
        None => Box::new(Local::new(open_for_one(&args.options()?, args.hub())?)?),
    };
    let screen = Screen::new(look, Box::new(std::io::stdout()));
    let talk = Talk::new(partner, settings::of_flags(&args.sampling), screen, args.shown.verbose);
    let talk = talk.map_err(|error| format!("--{error}"))?;
    if look.is_quiet() { piped::run(talk, &mut std::io::stdin().lock()) } else { on_terminal(talk, look) }
}

/// Talks to whoever sits at a terminal. From here on Ctrl-C ends answers, and Ctrl-D the program.
fn on_terminal(talk: Talk, look: Look) -> Result<(), String> {
    let interrupts = signals::note_interrupts().map_err(|error| error.to_string())?;
    let mut talk = talk.stopped_by(Stop(interrupts));
    let mut prompt = Prompt::open(look == Look::Styled, |note| output::note(format_args!("note: {note}")))?;
    talk.greet()?;
    let mut interrupted = 0;
    loop {
        let typed = match prompt.read()? {
            Typed::End => return Ok(()),
            Typed::Interrupt => {
                interrupted += 1;
                if interrupted > 1 {
                    talk.screen().tell("Ctrl-D or /exit leaves")?;
                }
                continue;
            }
            Typed::Text(typed) => typed,
        };
        interrupted = 0;
        match command::parse(&typed).and_then(|input| talk.take(input)) {
            Ok(Step::GoOn) => {}
            Ok(Step::Leave) => return Ok(()),
            Err(error) => talk.screen().complain(&format!("error: {error}")),
        }
    }
}
