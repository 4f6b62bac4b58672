//! Runs of batches by an answerer that needs no model.
use super::*;
use crate::batch::answerer::{LineError, LineRequest, Reply};
use crate::batch::input::Input;
use crate::batch::journal::Journal;
use crate::batch::resume::resume;
use crate::batch::slots::Slots;
use serde_json::{Value, json};

/// Repeats what it is asked, some of it later than what comes behind.
#[derive(Default)]
struct Echo {
    now: AtomicUsize,
    most: AtomicUsize,
    answered: AtomicUsize,
    fails_at: Option<&'static str>,
    panics_at: Option<&'static str>,
}

impl Answerer for Echo {
    fn read(&self, line: &[u8]) -> Result<LineRequest, LineError> {
        let value: Value =
            serde_json::from_slice(line).map_err(|_| LineError::new("invalid_json_line", None, "no JSON"))?;
        let custom_id = value["custom_id"].as_str().unwrap_or_default().to_owned();
        Ok(LineRequest { custom_id, url: String::new(), body: serde_json::Map::new() })
    }

    fn answer(&self, id: &str, request: LineRequest, _: &BatchSender, _: &Stop) -> Result<Reply, Halt> {
        if self.fails_at == Some(&request.custom_id) {
            return Err(Halt::Failed("the end".to_owned()));
        }
        assert!(self.panics_at != Some(&request.custom_id), "this panic belongs to a test");
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // The earlier ones of each handful take longer.
        let number: u64 = request.custom_id.trim_start_matches('r').parse().unwrap_or(0);
        std::thread::sleep(Duration::from_micros(300 * (4 - number % 5 % 4)));
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.answered.fetch_add(1, Ordering::SeqCst);
        let status = if number % 7 == 3 { 400 } else { 200 };
        Ok(Reply { status, body: json!({"id": id}).to_string().into_bytes() })
    }

    fn fingerprint(&self) -> &str {
        "f"
    }
}

/// Keeps entries until it has enough of them.
struct Kept {
    entries: Vec<Entry>,
    max: usize,
}

impl Sink for Kept {
    fn take(&mut self, entry: &Entry) -> io::Result<()> {
        self.entries.push(entry.clone());
        Ok(())
    }

    fn wants(&mut self, _: bool) -> Wanted {
        if self.entries.len() < self.max { Wanted::All } else { Wanted::Nothing }
    }
}

fn text(count: usize) -> String {
    (0..count).map(|i| format!("{{\"custom_id\": \"r{i}\"}}\n")).collect()
}

/// Runs a batch with so many places.
fn on(
    places: usize,
    input: &mut Input<'_, &[u8]>,
    answerer: &dyn Answerer,
    sink: &mut dyn Sink,
) -> Result<Outcome, RunError> {
    run(input, answerer, &BatchSender::default(), &Slots::new(places).lane(), sink)
}

fn all(text: &str, echo: &Echo, in_flight: usize) -> (Vec<Entry>, Result<Outcome, RunError>) {
    let mut input = Input::new(text.as_bytes(), 1000, echo);
    let mut kept = Kept { entries: Vec::new(), max: usize::MAX };
    let outcome = on(in_flight, &mut input, echo, &mut kept);
    (kept.entries, outcome)
}

#[test]
fn entries_come_in_order_whatever_is_in_flight() {
    let echo = Echo::default();
    let (alone, outcome) = all(&text(200), &echo, 1);
    assert!(matches!(outcome, Ok(Outcome::Whole)) && alone.len() == 200);
    let (crowd, _) = all(&text(200), &echo, 8);
    assert_eq!(alone, crowd);
    assert!((2..=8).contains(&echo.most.load(Ordering::SeqCst)));
    let custom_id =
        |entry: &Entry| serde_json::from_slice::<Value>(&entry.bytes).expect("JSON")["custom_id"].clone();
    assert!(alone.iter().enumerate().all(|(i, entry)| custom_id(entry) == format!("r{i}")));
}

#[test]
fn lines_that_are_no_requests_are_entries_too() {
    let text = format!("{}nothing\n{{\"custom_id\": \"r1\"}}\n{{}}\n{}\n", text(3), "x".repeat(2000));
    let (entries, _) = all(&text, &Echo::default(), 4);
    let code =
        |entry: &Entry| serde_json::from_slice::<Value>(&entry.bytes).expect("JSON")["error"]["code"].clone();
    let codes: Vec<Value> = entries[3..].iter().map(code).collect();
    assert_eq!(codes, ["invalid_json_line", "duplicate_custom_id", "invalid_custom_id", "line_too_long"]);
}

#[test]
fn a_batch_that_was_cut_goes_on_to_the_same_bytes() {
    let (text, echo) = (text(60), Echo::default());
    let (whole, _) = all(&text, &echo, 4);
    let expected: Vec<u8> = whole.iter().flat_map(|entry| entry.bytes.clone()).collect();
    let path = std::env::temp_dir().join(format!("verbatim-journal-{}", std::process::id()));
    for cut in [0, 1, 2, 50, 51, expected.len() / 2, expected.len() - 1, expected.len()] {
        std::fs::write(&path, &expected[..cut]).expect("written");
        let mut journal = Journal::open(&path).expect("opened");
        assert!(Journal::open(&path).is_err(), "it is in use");
        let mut input = Input::new(text.as_bytes(), 1000, &echo);
        let resumed = resume(&mut input, &mut [&mut journal]).expect("read");
        let lines = expected[..cut].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(resumed.lines, lines);
        assert_eq!(resumed.failed, whole[..lines].iter().filter(|entry| entry.is_error).count());
        assert!(journal.peek().expect("read").is_none());
        journal.cut().expect("cut");
        struct Appends<'j>(&'j mut Journal);
        impl Sink for Appends<'_> {
            fn take(&mut self, entry: &Entry) -> io::Result<()> {
                self.0.append(entry)
            }

            fn wants(&mut self, _: bool) -> Wanted {
                Wanted::All
            }
        }
        let outcome = on(3, &mut input, &echo, &mut Appends(&mut journal));
        assert!(matches!(outcome, Ok(Outcome::Whole)));
        assert!(std::fs::read(&path).expect("read") == expected, "cut at {cut}");
    }
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn a_run_ends_when_nobody_wants_it_or_nothing_answers() {
    let echo = Echo { fails_at: Some("r20"), ..Echo::default() };
    let (entries, outcome) = all(&text(1000), &echo, 4);
    assert!(matches!(outcome, Err(RunError::Failed(reason)) if reason == "the end"));
    assert!(entries.len() <= 20);
    let text = text(1000);
    let mut input = Input::new(text.as_bytes(), 1000, &echo);
    let mut kept = Kept { entries: Vec::new(), max: 5 };
    let echo = Echo::default();
    let outcome = on(4, &mut input, &echo, &mut kept);
    assert!(matches!(outcome, Ok(Outcome::Stopped)) && kept.entries.len() < 100);
}

#[test]
fn a_panic_ends_a_run_and_hangs_nothing() {
    for (places, panics_at) in [(1, "r0"), (4, "r20")] {
        let echo = Echo { panics_at: Some(panics_at), ..Echo::default() };
        let (entries, outcome) = all(&text(1000), &echo, places);
        assert!(matches!(outcome, Err(RunError::Panicked)) && entries.len() <= 20);
    }
    struct Breaks;
    impl Sink for Breaks {
        fn take(&mut self, _: &Entry) -> io::Result<()> {
            panic!("this panic belongs to a test")
        }

        fn wants(&mut self, _: bool) -> Wanted {
            Wanted::All
        }
    }
    let (text, echo) = (text(1000), Echo::default());
    let run = || on(4, &mut Input::new(text.as_bytes(), 1000, &echo), &echo, &mut Breaks);
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
}

#[test]
fn what_was_begun_is_finished_where_nothing_new_is_wanted() {
    struct Some5(Vec<Entry>);
    impl Sink for Some5 {
        fn take(&mut self, entry: &Entry) -> io::Result<()> {
            self.0.push(entry.clone());
            Ok(())
        }

        fn wants(&mut self, _: bool) -> Wanted {
            if self.0.len() < 5 { Wanted::All } else { Wanted::Begun }
        }
    }
    let (text, echo) = (text(1000), Echo::default());
    let mut kept = Some5(Vec::new());
    let outcome = on(4, &mut Input::new(text.as_bytes(), 1000, &echo), &echo, &mut kept);
    assert!(matches!(outcome, Ok(Outcome::Stopped)));
    let answered = echo.answered.load(Ordering::SeqCst);
    assert!((5..1000).contains(&answered) && kept.0.len() == answered, "nothing was thrown away");
}
