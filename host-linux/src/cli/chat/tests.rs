//! A conversation from what is typed to what is shown, with a partner that answers by a script.
use super::command;
use super::paper::Paper;
use super::partner::{End, Figures, Partner, Piece, Stop, Told};
use super::screen::{Look, Screen};
use super::settings;
use super::talk::{Step, Talk};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use verbatim_tests::temporary::TemporaryDirectory;

/// Answers each body with what it was asked, and keeps the bodies.
#[derive(Clone, Default)]
pub(super) struct Script {
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Partner for Script {
    fn name(&self) -> &str {
        "script"
    }

    fn fingerprint(&self) -> Option<&str> {
        Some("vb-script")
    }

    fn describe(&mut self) -> Result<Vec<String>, String> {
        Ok(vec!["a script".to_owned()])
    }

    fn choose(&mut self, name: &str) -> Result<(), String> {
        Err(format!("{name}: there is one"))
    }

    fn takes_any_name(&self) -> bool {
        false
    }

    fn check(&self, parameters: &Map<String, Value>) -> Result<(), String> {
        parameters.iter().try_for_each(|(name, value)| settings::check_value(name, value))
    }

    fn answer(
        &mut self,
        body: &Map<String, Value>,
        stop: &Stop,
        tell: &mut dyn FnMut(Piece) -> Result<(), String>,
    ) -> Result<Told, String> {
        let mut bodies = self.bodies.lock().expect("whole");
        bodies.push(Value::Object(body.clone()));
        let asked = body["messages"].as_array().and_then(|all| all.last()).expect("a question");
        let end = match asked["content"].as_str().expect("text") {
            "fail" => return Err("it broke".to_owned()),
            "much" => return Err("this model's maximum context length is 9 tokens".to_owned()),
            // Ctrl-C, before anything came and in the middle.
            "silence" => End::Stopped,
            "long" => {
                tell(Piece::Text("Once".to_owned()))?;
                stop.0.store(true, std::sync::atomic::Ordering::SeqCst);
                End::Stopped
            }
            text => {
                tell(Piece::Text(format!("{}: {text}", bodies.len())))?;
                End::Whole
            }
        };
        Ok(Told { end, seed: Some(bodies.len() as i64), figures: Figures::default() })
    }
}

/// A conversation on a terminal without styles, what it has shown, and what was asked.
struct Stage {
    talk: Talk,
    paper: Paper,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Stage {
    fn new() -> Self {
        let (paper, script) = (Paper::default(), Script::default());
        let bodies = Arc::clone(&script.bodies);
        let screen = Screen::new(Look::Plain, Box::new(paper.clone()));
        let talk = Talk::new(Box::new(script), Map::new(), screen, false).expect("nothing is set");
        Self { talk, paper, bodies }
    }

    /// Types a line: what is shown, or the error.
    fn types(&mut self, line: &str) -> String {
        self.paper.0.lock().expect("whole").clear();
        match command::parse(line).and_then(|input| self.talk.take(input)) {
            Ok(step) => {
                assert_eq!(step, Step::GoOn);
                String::from_utf8(self.paper.0.lock().expect("whole").clone()).expect("text")
            }
            Err(error) => format!("!{error}"),
        }
    }

    /// The contents of the messages of the last body.
    fn asked(&self) -> Vec<String> {
        let bodies = self.bodies.lock().expect("whole");
        let messages = bodies.last().and_then(|body| body["messages"].as_array()).expect("a body");
        messages.iter().map(|message| message["content"].as_str().expect("text").to_owned()).collect()
    }

    fn parameter(&self, name: &str) -> Value {
        self.bodies.lock().expect("whole").last().expect("a body")[name].clone()
    }
}

#[test]
fn a_conversation_grows_and_is_taken_back() {
    let mut stage = Stage::new();
    assert_eq!(stage.types("a"), "1: a\n");
    assert_eq!(stage.types("b"), "2: b\n");
    assert_eq!(stage.asked(), ["a", "1: a", "b"]);
    assert_eq!(stage.types("/undo"), "(taken back: b)\n");
    assert_eq!(stage.types("/system Be kind."), "");
    assert_eq!(stage.types("c"), "3: c\n");
    assert_eq!(stage.asked(), ["Be kind.", "a", "1: a", "c"]);
    assert_eq!(stage.types("/regenerate"), "4: c\n");
    assert_eq!(stage.asked(), ["Be kind.", "a", "1: a", "c"], "the old answer is no part of the question");
    assert_eq!(stage.types("/system"), "Be kind.\n");
    stage.types("/reset");
    stage.types("/system -");
    stage.types("d");
    assert_eq!(stage.asked(), ["d"]);
    assert!(stage.types("/undo").contains('d') && stage.types("/undo").starts_with("!there is no question"));
    assert!(stage.types("/regenerate").starts_with("!there is no question"));
}

#[test]
fn what_had_no_answer_leaves_no_trace() {
    let mut stage = Stage::new();
    let full = "!this model's maximum context length is 9 tokens";
    assert_eq!(stage.types("much"), full, "nothing could be taken back");
    stage.types("a");
    assert_eq!(stage.types("much"), format!("{full}; /undo or /reset makes room"));
    assert_eq!(stage.types("fail"), "!it broke");
    assert!(stage.types("silence").contains("stopped before it answered"));
    stage.types("b");
    assert_eq!(stage.asked(), ["a", "2: a", "b"]);
    assert!(stage.types("long").starts_with("Once\n(stopped)"));
    stage.types("and then?");
    assert_eq!(stage.asked()[4..], ["long", "Once", "and then?"], "what was said before Ctrl-C counts");
}

#[test]
fn a_question_whose_new_answer_fails_keeps_the_old_one() {
    let mut stage = Stage::new();
    stage.types("a");
    // The script fails for this question alone.
    stage.types("long");
    stage.types("/undo");
    let before = stage.types("/seed");
    assert!(before.contains("/seed 1 keeps it"), "{before}");
    assert_eq!(stage.types("/regenerate"), "3: a\n");
    assert!(stage.types("/seed").contains("/seed 3 keeps it"));
}

#[test]
fn parameters_are_set_told_and_taken_back() {
    let mut stage = Stage::new();
    assert!(stage.types("/set").contains("(no parameter is set)\ncan be set: "));
    assert_eq!(stage.types("/set temperature 0.5"), "");
    assert_eq!(stage.types("/set stop ###"), "");
    assert_eq!(stage.types("/seed 7"), "");
    assert!(stage.types("/set").starts_with("temperature 0.5\nstop \"###\"\nseed 7\ncan be set: "));
    let about = stage.types("/set temperature");
    assert!(about.contains("a number between 0 and 100") && about.contains("set to 0.5"), "{about}");
    let error = stage.types("/set temperature hot");
    assert_eq!(error, "!temperature must be a number between 0 and 100, found \"hot\"");
    assert!(stage.types("/set tempreature 1").starts_with("!tempreature is no parameter"));
    assert!(stage.types("/set stream false").starts_with("!stream is for the conversation itself"));
    stage.types("a");
    assert_eq!([stage.parameter("temperature"), stage.parameter("stop")], [json!(0.5), json!("###")]);
    assert!(stage.types("/regenerate").starts_with("(the seed is set, so the answer is the same"));
    stage.types("/set temperature default");
    stage.types("b");
    assert_eq!(stage.parameter("temperature"), Value::Null);
    assert!(stage.types("/stats").contains("first text after"));
    assert_eq!(stage.types("/model"), "a script\n");
    assert_eq!(stage.types("/model other"), "!other: there is one");
    assert!(stage.types("/help").contains("/regenerate") && stage.types("/help").contains("Ctrl-C"));
}

#[test]
fn a_conversation_is_saved_and_gone_on_with() {
    let folder = TemporaryDirectory::new("talk");
    let path = folder.path().join("talk.json");
    let file = path.to_str().expect("text");
    let mut stage = Stage::new();
    stage.types("a");
    stage.types("/seed 7");
    assert!(stage.types(&format!("/save {file}")).starts_with("(2 messages: "));
    let mut other = Stage::new();
    assert!(other.types(&format!("/load {file}")).starts_with("(2 messages: "));
    other.types("b");
    assert_eq!(other.asked(), ["a", "1: a", "b"]);
    assert_eq!(other.parameter("seed"), json!(7));
    let text = std::fs::read_to_string(&path).expect("a file");
    let spoiled = text.replace("\"seed\": 7", "\"seed\": \"x\"").replace("vb-script", "vb-other");
    std::fs::write(&path, spoiled).expect("a file");
    let error = other.types(&format!("/load {file}"));
    assert!(error.starts_with('!') && error.contains("talk.json: seed must be an integer"), "{error}");
    std::fs::write(&path, text.replace("vb-script", "vb-other")).expect("a file");
    assert!(other.types(&format!("/load {file}")).contains("another model has answered"));
}
