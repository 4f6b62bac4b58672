//! What comes of what is typed: answers, and commands.
use super::command::{COMMANDS, Command, Input, KEYS};
use super::conversation::Conversation;
use super::figures::{Totals, described};
use super::partner::{End, Partner, Piece, Stop};
use super::saved;
use super::screen::Screen;
use super::settings;
use serde_json::{Map, Value};

/// What the errors of servers say where a conversation is longer than the model can read.
const CONTEXT_FULL: &str = "maximum context length";

/// Whether a conversation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The conversation goes on.
    GoOn,
    /// Whoever talks wants to leave.
    Leave,
}

/// A conversation with a partner, shown on a screen.
pub(super) struct Talk {
    partner: Box<dyn Partner>,
    conversation: Conversation,
    screen: Screen,
    stop: Stop,
    /// Whether figures are told behind each answer.
    is_verbose: bool,
    totals: Totals,
}

impl Talk {
    /// A conversation that begins with these parameters. An error is in the words of the API.
    pub(super) fn new(
        partner: Box<dyn Partner>,
        parameters: Map<String, Value>,
        screen: Screen,
        is_verbose: bool,
    ) -> Result<Self, String> {
        partner.check(&parameters)?;
        let conversation = Conversation { parameters, ..Conversation::default() };
        let (stop, totals) = (Stop::default(), Totals::default());
        Ok(Self { partner, conversation, screen, stop, is_verbose, totals })
    }

    /// Answers are ended when `stop` is set.
    pub(super) fn stopped_by(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// Says whom one talks to.
    pub(super) fn greet(&mut self) -> Result<(), String> {
        let fingerprint = self.partner.fingerprint().map(|text| format!(" ({text})")).unwrap_or_default();
        let name = self.partner.name();
        let line = format!("{name}{fingerprint}; /help lists commands, Ctrl-D leaves");
        self.screen.tell(&line)
    }

    /// Where the conversation is shown.
    pub(super) fn screen(&mut self) -> &mut Screen {
        &mut self.screen
    }

    /// Does what was typed. An error says what is wrong with it, or that it had no answer; nothing
    /// has changed then.
    pub(super) fn take(&mut self, input: Input) -> Result<Step, String> {
        match input {
            Input::Nothing => {}
            Input::Message(text) => {
                self.conversation.ask(text);
                self.answer()?;
            }
            Input::Command(Command::Exit) => return Ok(Step::Leave),
            Input::Command(command) => self.command(command)?,
        }
        Ok(Step::GoOn)
    }

    /// Has the last question answered. One that has no answer is taken back.
    fn answer(&mut self) -> Result<(), String> {
        self.stop.clear();
        let (screen, mut text) = (&mut self.screen, String::new());
        let mut tell = |piece: Piece| {
            if let Piece::Text(more) = &piece {
                text.push_str(more);
            }
            screen.piece(&piece)
        };
        let told = self.partner.answer(&self.conversation.body(), &self.stop, &mut tell);
        let shown = self.screen.end();
        let told = match told.and_then(|told| shown.map(|()| told)) {
            Ok(told) => told,
            Err(error) => {
                self.conversation.undo();
                let has_more = !self.conversation.messages.is_empty();
                let is_full = has_more && error.contains(CONTEXT_FULL);
                return Err(if is_full { format!("{error}; /undo or /reset makes room") } else { error });
            }
        };
        let is_stopped = told.end == End::Stopped;
        if is_stopped && text.is_empty() {
            self.conversation.undo();
            self.screen.tell("(stopped before it answered; the question is taken back)")?;
        } else {
            self.conversation.answer(text, told.seed);
        }
        self.totals.add(&told.figures);
        if is_stopped && !self.screen.is_quiet() {
            self.screen.tell("(stopped)")?;
        }
        if self.is_verbose {
            described(&told).iter().for_each(|line| self.screen.complain(line));
        }
        self.totals.last = Some(told);
        Ok(())
    }

    fn command(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Help => self.help(),
            Command::System(text) => self.system(text),
            Command::Set(None) => self.list_parameters(),
            Command::Set(Some((name, value))) => self.set(&name, value.as_deref()),
            Command::Seed(None) => self.tell_seed(),
            Command::Seed(Some(seed)) => self.set("seed", Some(&seed)),
            Command::Undo => self.undo(),
            Command::Regenerate => self.regenerate(),
            Command::Save(file) => self.save(&file),
            Command::Load(file) => self.load(&file),
            Command::Reset => {
                self.conversation.messages.clear();
                self.screen.tell("(the conversation is forgotten)")
            }
            Command::Stats => {
                let lines = self.totals.lines();
                lines.iter().try_for_each(|line| self.screen.tell(line))
            }
            Command::Model(None) => {
                let lines = self.partner.describe()?;
                lines.iter().try_for_each(|line| self.screen.tell(line))
            }
            Command::Model(Some(name)) => {
                self.partner.choose(&name)?;
                self.screen.tell(&format!("({name} answers from now on)"))
            }
            Command::Exit => Ok(()),
        }
    }

    fn help(&mut self) -> Result<(), String> {
        let typed = |(name, rest, _): &(&str, &str, &str)| format!("{name} {rest}").trim_end().to_owned();
        for command in COMMANDS {
            self.screen.tell(&format!("  {:22} {}", typed(command), command.2))?;
        }
        for (key, does) in KEYS {
            self.screen.tell(&format!("  {key:22} {does}"))?;
        }
        Ok(())
    }

    fn system(&mut self, text: Option<String>) -> Result<(), String> {
        match text {
            Some(text) => {
                self.conversation.system = Some(text).filter(|text| !text.is_empty());
                Ok(())
            }
            None => {
                let text = self.conversation.system.clone();
                self.screen.tell(text.as_deref().unwrap_or("(the model is told nothing first)"))
            }
        }
    }

    fn list_parameters(&mut self) -> Result<(), String> {
        let set = self.conversation.parameters.iter().map(|(name, value)| format!("{name} {value}"));
        let set: Vec<String> = set.collect();
        match &*set {
            [] => self.screen.tell("(no parameter is set)")?,
            lines => lines.iter().try_for_each(|line| self.screen.tell(line))?,
        }
        let others = settings::settable().map(|row| row.name);
        let others = others.filter(|name| !self.conversation.parameters.contains_key(*name));
        let others = others.collect::<Vec<_>>().join(", ");
        self.screen.tell(&format!("can be set: {others}"))?;
        self.screen.tell("/set NAME says what NAME does")
    }

    /// Sets a parameter; without a value it is explained, and `default` takes it back.
    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        settings::check_name(name, self.partner.takes_any_name())?;
        let Some(value) = value else {
            let now = self.conversation.parameters.get(name);
            let now = now.map_or_else(|| "not set".to_owned(), |value| format!("set to {value}"));
            let row = settings::settable().find(|row| row.name == name);
            let about = row.map_or_else(|| name.to_owned(), settings::explained);
            return self.screen.tell(&format!("{about} ({now})"));
        };
        if value == "default" {
            self.conversation.parameters.remove(name);
            return Ok(());
        }
        let mut first_error = None;
        for meaning in settings::meanings(value) {
            let mut tried = self.conversation.parameters.clone();
            tried.insert(name.to_owned(), meaning);
            match self.partner.check(&tried) {
                Ok(()) => {
                    self.conversation.parameters = tried;
                    return Ok(());
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| format!("{name}: found no value")))
    }

    fn tell_seed(&mut self) -> Result<(), String> {
        let line = match (self.conversation.parameters.get("seed"), self.conversation.last_seed()) {
            (Some(seed), _) => format!("every answer is drawn with seed {seed}"),
            (None, Some(seed)) => {
                format!("the last answer was drawn with seed {seed}; /seed {seed} keeps it")
            }
            (None, None) => "(each answer draws its own seed)".to_owned(),
        };
        self.screen.tell(&line)
    }

    fn undo(&mut self) -> Result<(), String> {
        match self.conversation.undo() {
            Some(question) => {
                let line = question.lines().next().unwrap_or_default();
                self.screen.tell(&format!("(taken back: {})", crate::text::quote::quote(line)))
            }
            None => Err("there is no question to take back".to_owned()),
        }
    }

    fn regenerate(&mut self) -> Result<(), String> {
        let before = self.conversation.messages.clone();
        let question = self.conversation.undo().ok_or("there is no question to ask again")?;
        if self.conversation.parameters.contains_key("seed") {
            self.screen.tell("(the seed is set, so the answer is the same; /seed default draws others)")?;
        }
        self.conversation.ask(question);
        let answered = self.answer();
        // Without a new answer the old one stays.
        if self.conversation.messages.len() < before.len() {
            self.conversation.messages = before;
        }
        answered
    }

    fn save(&mut self, file: &str) -> Result<(), String> {
        let path = saved::path(file);
        saved::save(&path, &self.conversation, &*self.partner)?;
        self.screen.tell(&format!("({} messages: {})", self.conversation.messages.len(), path.display()))
    }

    fn load(&mut self, file: &str) -> Result<(), String> {
        let path = saved::path(file);
        let loaded = saved::load(&path)?;
        let parameters = &loaded.conversation.parameters;
        for name in parameters.keys() {
            let known = settings::check_name(name, self.partner.takes_any_name());
            known.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        self.partner.check(parameters).map_err(|error| format!("{}: {error}", path.display()))?;
        self.conversation = loaded.conversation;
        let messages = self.conversation.messages.len();
        self.screen.tell(&format!("({messages} messages: {})", path.display()))?;
        match (loaded.fingerprint.as_deref(), self.partner.fingerprint()) {
            (Some(theirs), Some(ours)) if theirs != ours => {
                self.screen.tell("(another model has answered in it, so the same seed gives other answers)")
            }
            _ => Ok(()),
        }
    }
}
