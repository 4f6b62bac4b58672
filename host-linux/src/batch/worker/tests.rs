//! Batches run by an answerer that needs no model.
use super::*;
use crate::batch::answerer::{Halt, Leave, LineError, LineRequest, Reply, Stop};
use crate::batch::batches::NewBatch;
use crate::batch::error::BatchLimits;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Answers each line with itself; lines that begin with a word may go wrong.
#[derive(Default)]
struct Words {
    /// Whether the owner `waits` has leave.
    has_leave: AtomicBool,
}

impl Answerer for Words {
    fn read(&self, line: &[u8]) -> Result<LineRequest, LineError> {
        let text = String::from_utf8_lossy(line).into_owned();
        assert!(!text.starts_with("unreadable"), "this panic belongs to a test");
        Ok(LineRequest { custom_id: text, url: "/u".to_owned(), body: serde_json::Map::new() })
    }

    fn leave(&self, from: &BatchSender, stop: &Stop) -> Result<Leave, Halt> {
        let owner = from.owner.as_deref();
        if owner == Some("gone") {
            return Err(Halt::Refused { code: "key_removed", message: "no key".to_owned() });
        }
        while owner == Some("waits") && !self.has_leave.load(Ordering::SeqCst) {
            if stop.begins_nothing() {
                return Err(Halt::Stopped);
            }
            std::thread::yield_now();
        }
        Ok(Leave::default())
    }

    fn answer(&self, _: &str, request: LineRequest, _: &BatchSender, _: &Stop) -> Result<Reply, Halt> {
        assert!(!request.custom_id.starts_with("breaks"), "this panic belongs to a test");
        if request.custom_id.starts_with("ends") {
            return Err(Halt::Failed("the engine has ended".to_owned()));
        }
        Ok(Reply { status: 200, body: b"{}".to_vec() })
    }

    fn fingerprint(&self) -> &str {
        "f"
    }
}

/// A folder that is removed when dropped.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("verbatim-worker-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self, limits: BatchLimits) -> Batches {
        Batches::open(&self.0, limits).expect("opened").0
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn add(batches: &Batches, owner: &str, text: &str) -> Result<BatchObject, BatchesError> {
    let file = batches.add_file(Some(owner), "x", text.as_bytes())?;
    let new = NewBatch {
        input_file_id: file.id,
        endpoint: "/u".to_owned(),
        completion_window: String::new(),
        metadata: None,
    };
    batches.add_batch(Some(owner), new)
}

/// Runs batches until `is_done`, then ends the worker.
fn work(batches: &Batches, words: &Words, rules: TurnRules, is_done: impl Fn() -> bool) {
    let ends = AtomicBool::new(false);
    let is_ending = || ends.load(Ordering::SeqCst);
    let worker =
        Worker { batches, answerer: words, in_flight: 3, line_bytes: 1000, rules, is_ending: &is_ending };
    std::thread::scope(|scope| {
        scope.spawn(|| worker.work());
        while !is_done() {
            std::thread::sleep(Duration::from_millis(1));
        }
        ends.store(true, Ordering::SeqCst);
    });
}

fn status(batches: &Batches, batch: &BatchObject) -> Status {
    batches.any_batch(&batch.id).expect("it is there").status
}

#[test]
fn whatever_happens_to_a_batch_is_told_and_the_next_one_runs() {
    let root = Root::new("errors");
    let (batches, words) = (root.open(BatchLimits::default()), Words::default());
    let all = [
        ("gone", "a\n", "key_removed", 0),
        ("a", "a\nb\nends\n", "engine_stopped", 2),
        ("b", "unreadable\n", "internal_error", 0),
        ("c", "a\nbreaks\n", "internal_error", 1),
    ];
    let added =
        all.map(|(owner, text, ..)| [text, "fine\n"].map(|text| add(&batches, owner, text).expect("added")));
    work(&batches, &words, TurnRules::default(), || {
        added.iter().flatten().all(|batch| status(&batches, batch).is_final())
    });
    for ((owner, _, code, most), [wrong, fine]) in all.iter().zip(&added) {
        let wrong = batches.any_batch(&wrong.id).expect("it is there");
        assert_eq!((wrong.status, &*wrong.errors[0].code), (Status::Failed, *code), "{owner}");
        assert!(wrong.counts.completed <= *most && wrong.times.failed_at.is_some());
        assert_eq!(wrong.output_file_id.is_some(), wrong.counts.completed > 0);
        let expected = if *owner == "gone" { Status::Failed } else { Status::Completed };
        assert_eq!(status(&batches, fine), expected, "{owner}");
    }
}

#[test]
fn a_batch_that_waits_for_its_key_keeps_no_other_waiting() {
    for abreast in [8, 1] {
        let root = Root::new(&format!("turns-{abreast}"));
        let (batches, words) = (root.open(BatchLimits::default()), Words::default());
        let waits = add(&batches, "waits", "a\nb\n").expect("added");
        let others = ["b", "c"].map(|owner| add(&batches, owner, "a\nb\nc\n").expect("added"));
        let rules = TurnRules { abreast, rest: Duration::from_millis(1), ..TurnRules::default() };
        work(&batches, &words, rules, || {
            let are_done = others.iter().all(|batch| status(&batches, batch) == Status::Completed);
            if are_done {
                assert!(words.has_leave.load(Ordering::SeqCst) || !status(&batches, &waits).is_final());
                words.has_leave.store(true, Ordering::SeqCst);
            }
            are_done && status(&batches, &waits).is_final()
        });
        let ended = batches.any_batch(&waits.id).expect("it is there");
        assert_eq!((ended.status, ended.counts.completed), (Status::Completed, 2), "{abreast}");
    }
}

#[test]
fn what_a_cancelled_batch_leaves_has_whole_lines() {
    let root = Root::new("torn");
    let words = Words::default();
    let batches = root.open(BatchLimits::default());
    let batch = add(&batches, "a", "a\nb\nc\n").expect("added");
    let started = |batch: &mut BatchObject| {
        (batch.status, batch.times.in_progress_at, batch.counts.total) = (Status::InProgress, Some(1), 3);
        Ok(())
    };
    batches.change(&batch.id, started).expect("changed");
    let (output, errors) = batch.output_ids();
    std::fs::write(batches.content_path(&output), "{\"a\": 1}\n{\"a").expect("written");
    std::fs::write(batches.content_path(&errors), "{\"a").expect("written");
    batches.cancel(Some("a"), &batch.id).expect("cancelled");
    drop(batches);
    // As after kill -9.
    let batches = root.open(BatchLimits::default());
    work(&batches, &words, TurnRules::default(), || status(&batches, &batch).is_final());
    let ended = batches.any_batch(&batch.id).expect("it is there");
    assert_eq!(
        (ended.status, ended.counts),
        (Status::Cancelled, Counts { total: 3, completed: 1, failed: 0 })
    );
    assert_eq!((ended.output_file_id.as_ref(), &ended.error_file_id), (Some(&output), &None));
    let kept = std::fs::read_to_string(batches.content_path(&output)).expect("read");
    assert_eq!(kept, "{\"a\": 1}\n");
    assert_eq!(batches.file(Some("a"), &output).expect("a file").bytes, 9);
}

#[test]
fn a_key_has_a_share_of_what_may_be_kept() {
    let root = Root::new("shares");
    let limits =
        BatchLimits { entries: 5, key_entries: 3, total_bytes: 100, key_bytes: 60, ..BatchLimits::default() };
    let batches = root.open(limits);
    let put = |owner: &str, bytes: usize| batches.add_file(Some(owner), "x", &vec![b'x'; bytes]);
    put("a", 50).expect("there is room");
    assert!(matches!(put("a", 11), Err(BatchesError::Full { max: 60, of_key: true })));
    put("b", 40).expect("there is room");
    assert!(matches!(put("c", 11), Err(BatchesError::Full { max: 100, of_key: false })));
    for owner in ["a", "a", "b"] {
        put(owner, 1).expect("there is room");
    }
    assert!(matches!(put("a", 1), Err(BatchesError::TooMany { max: 3, of_key: true, .. })));
    assert!(matches!(put("c", 1), Err(BatchesError::TooMany { max: 5, of_key: false, .. })));

    let file = |owner: &str| batches.files(Some(owner))[0].id.clone();
    let begin = |owner: &str| {
        let new = NewBatch {
            input_file_id: file(owner),
            endpoint: String::new(),
            completion_window: String::new(),
            metadata: None,
        };
        batches.add_batch(Some(owner), new).map(|batch| batch.id)
    };
    let of_a: Vec<_> = (0..3).map(|_| begin("a").expect("there is room")).collect();
    assert!(matches!(begin("a"), Err(BatchesError::TooMany { max: 3, of_key: true, .. })));
    let of_b = [begin("b").expect("there is room"), begin("b").expect("there is room")];
    assert!(matches!(begin("b"), Err(BatchesError::TooMany { max: 5, of_key: false, .. })));
    // Who has the most makes room for another, and each of its own else.
    batches.cancel(Some("a"), &of_a[1]).expect("cancelled");
    batches.cancel(Some("b"), &of_b[0]).expect("cancelled");
    begin("b").expect("its own makes room");
    assert!(batches.any_batch(&of_b[0]).is_none() && batches.any_batch(&of_a[1]).is_some());
    begin("a").expect("its own makes room");
    assert!(batches.any_batch(&of_a[1]).is_none());
    batches.cancel(Some("a"), &of_a[0]).expect("cancelled");
    assert!(
        matches!(begin("b"), Err(BatchesError::TooMany { of_key: false, .. })),
        "a has no more than b would"
    );
}

#[test]
fn nothing_that_was_looked_at_is_gone_when_it_is_acted_upon() {
    let root = Root::new("races");
    let batches = root.open(BatchLimits::default());
    for _ in 0..20 {
        let file = batches.add_file(None, "x", b"a\n").expect("added");
        let new = NewBatch {
            input_file_id: file.id.clone(),
            endpoint: "/u".to_owned(),
            completion_window: String::new(),
            metadata: None,
        };
        let (added, deleted) = std::thread::scope(|scope| {
            let deletes = scope.spawn(|| batches.delete_file(None, &file.id).is_ok());
            let added = batches.add_batch(None, new).is_ok();
            (added, deletes.join().expect("no panic"))
        });
        assert!(added != deleted, "a batch has its file, or is refused");
        assert_eq!(batches.content(None, &file.id).is_ok(), added);
    }
}
