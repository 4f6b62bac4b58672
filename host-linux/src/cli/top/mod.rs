//! `verbatim top`: what a server does, live on a terminal, from its `/dashboard/events`.
//!
//! ```text
//! feed (thread) ──► app: state ◄── event        keys ──► app
//!                    └──► frame: figures, steps, blocks, table ──► terminal
//! ```
//!
//! * [`feed`]: reads the events. [`event`]: what is read of one; [`state`]: what is kept of all.
//! * [`app`]: what keys do. [`frame`]: the whole picture, of [`figures`], [`steps`], [`blocks`] and
//!   the [`table`] of sequences. [`look`]: colours or none. [`flags`]: of this command.
mod app;
mod blocks;
mod event;
mod feed;
mod figures;
pub(super) mod flags;
mod frame;
mod look;
mod state;
mod steps;
mod table;

use super::http::{Place, json};
use super::output;
use super::paint::Paint;
use crate::sys::signals;
use app::{App, Wish};
use flags::TopArgs;
use look::Look;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self as terminal_event, Event, KeyEventKind};
use ratatui::layout::Rect;
use state::Update;
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long a key is waited for before what the server has sent is looked at.
const KEY_WAIT: Duration = Duration::from_millis(50);
/// How long one picture waits for an event.
const ONCE_WAIT: Duration = Duration::from_secs(10);
/// Columns and lines of a picture in a file or a pipe.
const PAPER: (u16, u16) = (100, 40);

/// Shows a server until a key ends it.
pub(super) fn top(args: &TopArgs) -> Result<(), String> {
    let place = args.place()?;
    if args.once {
        return once(&place, args.interval_ms);
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err("top: expected a terminal; --once prints one picture as text".to_owned());
    }
    let updates = feed::watch(place.clone(), args.interval_ms)?;
    let look = Look { has_colours: Paint::stdout().is_on() };
    let ends = signals::note_ends().map_err(|error| error.to_string())?;
    let app = App::new(place.url(""), look);
    let mut terminal = ratatui::try_init().map_err(|error| format!("the terminal: {error}"))?;
    let watched = watch(app, &place, &updates, &mut terminal, || ends.load(Ordering::SeqCst));
    ratatui::restore();
    watched.map_err(|error| format!("the terminal: {error}"))
}

/// Draws, and does what keys ask for, until one of them ends it.
fn watch(
    mut app: App,
    place: &Place,
    updates: &Receiver<Update>,
    terminal: &mut ratatui::DefaultTerminal,
    is_ending: impl Fn() -> bool,
) -> std::io::Result<()> {
    let (says, said) = channel();
    let mut is_new = true;
    while !is_ending() {
        if is_new {
            terminal.draw(|frame| {
                let area = frame.area();
                frame::draw(&app.view(), area, frame.buffer_mut());
            })?;
        }
        is_new = false;
        if terminal_event::poll(KEY_WAIT)? {
            is_new = true;
            match terminal_event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match app.key(key) {
                    Wish::None => {}
                    Wish::Quit => return Ok(()),
                    Wish::Cancel(request) => cancel(place, request, &says),
                },
                // A new size is drawn as any news is.
                _ => {}
            }
        }
        for update in updates.try_iter() {
            app.take(update);
            is_new = true;
        }
        is_new |= app.note_silence(Instant::now());
        for message in said.try_iter() {
            app.say(message);
            is_new = true;
        }
    }
    Ok(())
}

/// Has the server end a request; what came of it is said later.
fn cancel(place: &Place, request: String, says: &Sender<String>) {
    let (place, says) = (place.clone(), says.clone());
    std::thread::spawn(move || {
        let path = format!("/dashboard/requests/{}", utf8_percent_encode(&request, NON_ALPHANUMERIC));
        let name = crate::text::quote::quote(&request);
        let message = match place.delete(&path).and_then(json) {
            Ok(_) => format!("{name} was cancelled"),
            Err(error) => error,
        };
        // Nobody hears it when the program has ended.
        let _ = says.send(message);
    });
}

/// Prints one picture as text.
fn once(place: &Place, interval_ms: u64) -> Result<(), String> {
    let updates = feed::watch(place.clone(), interval_ms)?;
    let mut app = App::new(place.url(""), Look { has_colours: false });
    let until = Instant::now() + ONCE_WAIT;
    let next = || updates.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
    if !take_until_shown(&mut app, next)? {
        return Err(format!("{}: no event within {} s", place.url(""), ONCE_WAIT.as_secs()));
    }
    let mut picture = Buffer::empty(Rect::new(0, 0, PAPER.0, PAPER.1 - 1));
    frame::draw(&app.view(), picture.area, &mut picture);
    // The last line has the keys, which no paper has.
    let line = |y| (0..PAPER.0).map(|x| picture[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    let lines: Vec<String> = (0..PAPER.1 - 2).map(line).collect();
    let text = lines.join("\n");
    output::line(text.trim_end())
}

/// Takes what comes until one picture can be drawn of it, or nothing comes any more; whether there
/// is anything to draw. The first event has no steps; the second one has those that came in
/// between. What runs is known once the engine has shown itself, for which it has to end a step.
fn take_until_shown(app: &mut App, mut next: impl FnMut() -> Option<Update>) -> Result<bool, String> {
    let mut events = 0;
    while events < 2 || !app.state().has_engine() {
        match next() {
            Some(Update::Lost(why)) => return Err(why),
            Some(update) => {
                events += usize::from(matches!(update, Update::Event(_)));
                app.take(update);
            }
            None => return Ok(events > 0),
        }
        if let state::Link::Gone(why) = &app.state().link {
            return Err(why.clone());
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::state::tests::sample;
    use super::*;
    use serde_json::json;

    #[test]
    fn one_picture_waits_until_the_engine_has_shown_itself() {
        let (event, mut unseen) = (sample(), sample());
        unseen["engine"]["view_age_ms"] = json!(null);
        // How many of some events a picture takes.
        let taken = |events: &[&serde_json::Value]| {
            let mut app = App::new(String::new(), Look { has_colours: false });
            let mut left = events.iter();
            let next = || left.next().map(|event| Update::Event((*event).clone()));
            let is_shown = take_until_shown(&mut app, next);
            (is_shown, events.len() - left.len())
        };
        assert_eq!(taken(&[&event; 4]), (Ok(true), 2));
        assert_eq!(taken(&[&unseen, &unseen, &unseen, &event, &event]), (Ok(true), 4));
        assert_eq!(taken(&[&unseen; 3]), (Ok(true), 3), "a step lasts, and the rest is drawn");
        assert_eq!(taken(&[]), (Ok(false), 0));
        let mut app = App::new(String::new(), Look { has_colours: false });
        let lost = take_until_shown(&mut app, || Some(Update::Lost("it is gone".to_owned())));
        assert_eq!(lost, Err("it is gone".to_owned()));
    }
}
