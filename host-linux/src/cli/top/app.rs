//! What keys do: quit, pause, choose a sequence, and cancel its request after a question.
use super::look::Look;
use super::state::{Link, State, Update};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::{Duration, Instant};

/// How long a server may say nothing; it says something every second, if only that nothing is new.
const SILENCE: Duration = Duration::from_secs(15);

/// What is drawn in one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// The state of the server, now or when it was paused.
    pub(super) state: &'a State,
    /// The id of the chosen sequence.
    pub(super) chosen: Option<&'a String>,
    /// Whether that is an earlier one.
    pub(super) is_paused: bool,
    /// The request that is asked about.
    pub(super) question: Option<&'a String>,
    /// What is said until the next key.
    pub(super) message: Option<&'a String>,
    /// Where the server is.
    pub(super) url: &'a str,
    /// What the terminal can show.
    pub(super) look: Look,
}

/// What a key asks for that is done elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing that is done elsewhere.
    None,
    /// The end of the program.
    Quit,
    /// The end of the request with this id.
    Cancel(String),
}

/// The program between two frames.
#[derive(Debug)]
pub(super) struct App {
    url: String,
    look: Look,
    live: State,
    /// When the server was heard last.
    heard: Instant,
    /// What is shown while it is paused.
    frozen: Option<State>,
    chosen: Option<String>,
    /// The request that is asked about: its id, and its name for the eye.
    question: Option<(String, String)>,
    message: Option<String>,
}

impl App {
    /// A program that has heard of nothing yet.
    pub(super) fn new(url: String, look: Look) -> Self {
        let (live, frozen, chosen, question, message) = Default::default();
        Self { url, look, live, heard: Instant::now(), frozen, chosen, question, message }
    }

    /// Takes what the server has sent, also while the picture stands still.
    pub(super) fn take(&mut self, update: Update) {
        self.heard = Instant::now();
        self.live.take(update);
    }

    /// Notes by `now` that a server which seems to be there has said nothing for long, as one does
    /// whose machine is gone; whether that is news.
    pub(super) fn note_silence(&mut self, now: Instant) -> bool {
        let is_silent = self.live.link == Link::Live && now.saturating_duration_since(self.heard) > SILENCE;
        if is_silent {
            self.take(Update::Lost(format!("nothing has come for {} s", SILENCE.as_secs())));
        }
        is_silent
    }

    /// Says what came of a wish, until the next key.
    pub(super) fn say(&mut self, message: String) {
        self.message = Some(message);
    }

    /// What is known of the server now.
    pub(super) fn state(&self) -> &State {
        &self.live
    }

    fn shown(&self) -> &State {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    /// What is drawn now.
    pub(super) fn view(&self) -> View<'_> {
        View {
            state: self.shown(),
            chosen: self.chosen.as_ref(),
            is_paused: self.frozen.is_some(),
            question: self.question.as_ref().map(|(_, name)| name),
            message: self.message.as_ref(),
            url: &self.url,
            look: self.look,
        }
    }

    /// Does what a key asks for.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        self.message = None;
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Wish::Quit;
        }
        if let Some((request, name)) = self.question.take() {
            if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                return Wish::Cancel(request);
            }
            self.message = Some(format!("{name} goes on"));
            return Wish::None;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc => self.chosen = None,
            KeyCode::Char('p' | ' ') => {
                self.frozen = if self.frozen.is_some() { None } else { Some(self.live.clone()) };
            }
            KeyCode::Down | KeyCode::Char('j') => self.choose(|at| at.map_or(0, |at| at + 1)),
            KeyCode::Up | KeyCode::Char('k') => {
                self.choose(|at| at.map_or(usize::MAX, |at| at.saturating_sub(1)))
            }
            KeyCode::Home => self.choose(|_| 0),
            KeyCode::End => self.choose(|_| usize::MAX),
            KeyCode::Char('c') => self.ask(),
            _ => {}
        }
        Wish::None
    }

    /// Chooses the sequence in the place that comes of the chosen one's, or the last one before it.
    fn choose(&mut self, place: impl Fn(Option<usize>) -> usize) {
        let sequences = &self.shown().sequences;
        let now = sequences.iter().position(|sequence| Some(&sequence.id) == self.chosen.as_ref());
        let next = place(now).min(sequences.len().saturating_sub(1));
        self.chosen = sequences.get(next).map(|sequence| sequence.id.clone());
    }

    /// Asks whether the chosen sequence's request is to end, if it may.
    fn ask(&mut self) {
        let sequences = &self.shown().sequences;
        let Some(chosen) = sequences.iter().find(|sequence| Some(&sequence.id) == self.chosen.as_ref())
        else {
            self.message = Some("choose a sequence with ↑ and ↓ first".to_owned());
            return;
        };
        match &chosen.request {
            Some(request) if chosen.may_cancel => {
                self.question = Some((request.clone(), chosen.name.clone()));
            }
            _ => {
                let reason = self.shown().event().text("/rights/reason");
                let name = &chosen.name;
                self.message =
                    Some(reason.unwrap_or_else(|| format!("{name} cannot be cancelled from here")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::draw;
    use super::super::state::tests::sample;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    const PLAIN: Look = Look { has_colours: false };

    fn app(look: Look) -> App {
        let mut app = App::new("http://h:1".to_owned(), look);
        app.take(Update::Event(sample()));
        app
    }

    /// The lines of a terminal of this size.
    fn lines(app: &App, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        let drawn = terminal.draw(|frame| {
            let area = frame.area();
            draw(&app.view(), area, frame.buffer_mut());
        });
        drawn.expect("it is drawn");
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    fn press(app: &mut App, code: KeyCode) -> Wish {
        app.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn everything_has_room_in_eighty_columns() {
        let lines = lines(&app(PLAIN), 80, 24);
        assert_eq!(lines[0], "● demo ready  up 1:02:05  int8/bf16  avx2  2 workers  vb-0123");
        assert!(lines[1].starts_with("running 1/8  waiting 1/64") && lines[2].starts_with("prefix hits 40%"));
        assert!(lines[3].starts_with("weights 1.00 MB"));
        assert_eq!(lines[4], "steps 60 prefill + 4 decode, 80.0 of 50 ms");
        let at = lines.iter().position(|line| line.starts_with("KV blocks")).expect("a map");
        assert_eq!(lines[at], "KV blocks 12  · 5 free  ░ 3 cached  ▓ 4 held  █ 1 shared");
        assert_eq!(lines[at + 1], "▓▓▓█░░░·····");
        let at = lines.iter().position(|line| line.starts_with("sequences 2")).expect("a table");
        let row = ["req-7", "decode", "120/120", "31/256", "24.1", "0.0s", "10", "0"];
        assert_eq!(lines[at + 1].split_whitespace().collect::<Vec<_>>(), row);
        let row = ["(0.2.0)", "#1", "waiting", "16/500", "0/20", "-", "2.5s", "1", "2"];
        assert_eq!(lines[at + 2].split_whitespace().collect::<Vec<_>>(), row);
        assert!(lines[23].starts_with("q quit"));
        assert!(!lines.iter().any(|line| line.starts_with("log")), "there is no room for it");
    }

    #[test]
    fn a_larger_terminal_shows_more_and_no_size_is_too_odd() {
        let shown = lines(&app(PLAIN), 120, 40);
        assert!(shown.iter().any(|line| line.contains("/v1/chat/completions")));
        let at = shown.iter().position(|line| line.starts_with("log")).expect("a log");
        assert_eq!(shown[at + 1], "info  req-6  POST /v1/completions 200");
        assert_eq!(shown[at + 2], "warn  it takes \\u{1b}[31mlong", "no terminal obeys a server");
        for (width, height) in [(1, 1), (19, 4), (20, 5), (20, 50), (300, 6), (80, 24), (500, 200)] {
            for look in [PLAIN, Look { has_colours: true }] {
                lines(&app(look), width, height);
                lines(&App::new(String::new(), look), width, height);
            }
        }
    }

    #[test]
    fn a_server_that_is_gone_is_told_over_what_was_known() {
        let mut app = app(PLAIN);
        app.take(Update::Lost("the server has ended".to_owned()));
        let shown = lines(&app, 80, 24);
        assert!(shown[0].starts_with("● demo gone, and asked again"), "{}", shown[0]);
        assert_eq!(shown[1], "the server has ended");
        assert!(shown.iter().any(|line| line.contains("req-7")));
        app.take(Update::Event(sample()));
        assert!(lines(&app, 80, 24)[0].starts_with("● demo ready"));
        assert!(!app.note_silence(Instant::now()));
        let later = Instant::now() + SILENCE + Duration::from_secs(1);
        assert!(app.note_silence(later) && !app.note_silence(later));
        assert_eq!(lines(&app, 80, 24)[1], "nothing has come for 15 s");
        assert!(
            lines(&App::new("http://h:1".to_owned(), PLAIN), 80, 24)[0]
                .starts_with("● http://h:1 connecting")
        );
    }

    #[test]
    fn the_picture_stands_still_while_it_is_paused() {
        let mut app = app(PLAIN);
        assert_eq!(press(&mut app, KeyCode::Char('p')), Wish::None);
        let mut later = sample();
        later["engine"]["running"] = 7.into();
        app.take(Update::Event(later));
        let shown = lines(&app, 80, 24);
        assert!(shown[0].starts_with("● demo paused") && shown[1].starts_with("running 1/8"));
        press(&mut app, KeyCode::Char('p'));
        assert!(lines(&app, 80, 24)[1].starts_with("running 7/8"));
    }

    #[test]
    fn a_request_is_cancelled_after_a_question() {
        let mut app = app(PLAIN);
        press(&mut app, KeyCode::Char('c'));
        assert!(lines(&app, 80, 24)[23].starts_with("choose a sequence"));
        press(&mut app, KeyCode::Down);
        press(&mut app, KeyCode::Char('c'));
        assert!(lines(&app, 80, 24)[23].starts_with("cancel req-7? y"));
        assert_eq!(press(&mut app, KeyCode::Char('q')), Wish::None, "any other key is no");
        assert_eq!(lines(&app, 80, 24)[23], "req-7 goes on");
        press(&mut app, KeyCode::Char('c'));
        assert_eq!(press(&mut app, KeyCode::Char('y')), Wish::Cancel("req-7".to_owned()));
        app.say("req-7 has ended".to_owned());
        assert_eq!(lines(&app, 80, 24)[23], "req-7 has ended");
        // The other one is another's.
        press(&mut app, KeyCode::Down);
        press(&mut app, KeyCode::Down);
        press(&mut app, KeyCode::Char('c'));
        assert!(lines(&app, 80, 24)[23].contains("cannot be cancelled from here"));
        press(&mut app, KeyCode::Up);
        assert_eq!(app.chosen.as_deref(), Some("0.1.0"));
        assert_eq!(press(&mut app, KeyCode::Char('q')), Wish::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(app.key(interrupt), Wish::Quit);
    }

    #[test]
    fn the_chosen_sequence_is_always_in_sight() {
        let mut event = sample();
        let of = |n: usize| serde_json::json!({"id": format!("0.{n}.0"), "request_id": format!("r{n}"), "phase": "waiting"});
        event["sequences"] = (0..50).map(of).collect();
        let mut app = App::new(String::new(), PLAIN);
        app.take(Update::Event(event));
        press(&mut app, KeyCode::End);
        assert!(lines(&app, 80, 24).iter().any(|line| line.starts_with("r49 ")));
        press(&mut app, KeyCode::Home);
        assert!(lines(&app, 80, 24).iter().any(|line| line.starts_with("r0 ")));
    }
}
