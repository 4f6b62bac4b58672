//! Events of a server with the built-in model, without a connection.
use super::*;
use crate::runtime::{EngineWatch, Generation, OwnedRequest};
use crate::serve::active::Sender;
use crate::serve::routes::tests::Rig;
use verbatim_core::sampling::SamplingParams;

/// What a value has beyond a schema, or lacks of it, by path.
fn differences(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let is_null = value.is_null();
    let is_type = |name: &str| match name {
        "null" => is_null,
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    if !types.iter().any(|name| name.as_str().is_some_and(is_type)) {
        found.push(format!("{path} is {value}"));
    }
    let known = &schema["properties"];
    if let (Some(known), Some(fields)) = (known.as_object(), value.as_object()) {
        let (known, fields): (Vec<_>, Vec<_>) = (known.keys().collect(), fields.keys().collect());
        if known != fields {
            found.push(format!("{path} has {fields:?}"));
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        if known[name].is_object() {
            differences(&known[name], value, &format!("{path}.{name}"), found);
        }
    }
    for (at, value) in value.as_array().into_iter().flatten().enumerate() {
        let schema = schema["prefixItems"].get(at).unwrap_or(&schema["items"]);
        differences(schema, value, &format!("{path}[{at}]"), found);
    }
}

/// Cancels what has these ids when it is dropped, so that a test that fails ends.
struct Ending<'s>(&'s Server, &'s [&'s str]);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        for id in self.1 {
            self.0.active.cancel(id, |_| true);
        }
    }
}

/// The next event, as a client reads it, which is of the schema.
fn told(teller: &mut Teller<'_>) -> Value {
    let event = teller.tell(|event| serde_json::to_value(event)).expect("JSON");
    let mut found = Vec::new();
    differences(&schema(), &event, "", &mut found);
    assert!(found.is_empty(), "{found:#?}");
    event
}

/// Waits until an event is as `is_it` says.
fn until(watch: &EngineWatch, teller: &mut Teller<'_>, is_it: impl Fn(&Value) -> bool) -> Value {
    loop {
        if teller.look(watch) {
            let event = told(teller);
            if is_it(&event) {
                return event;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_event_says_what_the_engine_does() {
    let rig = Rig::new();
    let server = &rig.server;
    let watch = server.engine.watch();
    let mut teller = Teller::new(server, Rights::All, Duration::from_millis(100));
    let idle = until(&watch, &mut teller, |event| !event["kv"]["map"].is_null());
    assert_eq!(idle["sequences"], json!([]));
    assert_eq!(idle["kv"]["free"], idle["kv"]["blocks"]);
    let sender = Sender { request_id: "req".to_owned(), route: Some("/v1/completions"), ..Sender::default() };
    let active = server.active.enter(sender);
    let engine = server.engine.tagged(active.number);
    let request = OwnedRequest::new(vec![1; 40], SamplingParams::GREEDY, 400);
    let request = OwnedRequest { choices: 2, priority: -3, ..request };
    let event = std::thread::scope(|scope| {
        // Again and again, since a view may come late.
        scope.spawn(|| {
            while !active.is_cancelled() {
                let wanted = active.shared();
                let generation = Generation::start(&engine, vec![request.clone()], &[]);
                let generation = generation.expect("there is room");
                generation.while_wanted(move || !wanted.is_cancelled()).for_each(drop);
            }
        });
        let _ending = Ending(server, &["req"]);
        let decodes = |of: &Value| of["tokens"].as_u64() > Some(0);
        until(&watch, &mut teller, |event| decodes(&event["sequences"][1]))
    });
    let sequence = &event["sequences"][1];
    for (field, value) in [
        ("request_id", json!("req")),
        ("choice", json!(1)),
        ("route", json!("/v1/completions")),
        ("phase", json!("decode")),
        ("prompt_tokens", json!(40)),
        ("prompt_done", json!(40)),
        ("max_tokens", json!(400)),
        ("priority", json!(3)),
        ("may_cancel", json!(true)),
    ] {
        assert_eq!(sequence[field], value, "{field}: {sequence}");
    }
    let shared = event["kv"]["shared"].as_u64().expect("a number");
    assert!(shared >= 2 && event["kv"]["held"].as_u64() > Some(shared), "the prompt's: {}", event["kv"]);
    let cells = event["kv"]["map"]["runs"].as_array().expect("runs").iter();
    let cells: u64 = cells.map(|run| run[1].as_u64().expect("a length")).sum();
    assert_eq!(json!(cells), event["kv"]["map"]["cells"]);
    let after = until(&watch, &mut teller, |event| event["sequences_total"] == json!(0));
    assert_eq!((&after["kv"]["held"], &after["queue"]["sequences"]), (&json!(0), &json!(0)));
    assert!(after["kv"]["cached"].as_u64() >= Some(2), "full blocks stay: {}", after["kv"]);
    drop((watch, active));
    rig.stop();
}

#[test]
fn steps_and_lines_are_told_once() {
    let rig = Rig::new();
    let server = &rig.server;
    let watch = server.engine.watch();
    let mut teller = Teller::new(server, Rights::All, Duration::from_millis(100));
    until(&watch, &mut teller, |event| !event["kv"]["map"].is_null());
    server.observer.notice(&Notice::Stopping);
    let request = OwnedRequest::new(vec![5], SamplingParams::GREEDY, 60);
    let generation = Generation::start(&server.engine, vec![request], &[]).expect("there is room");
    assert!(generation.count() >= 60);
    let numbers = |of: &Value| -> Vec<u64> {
        let list = of["list"].as_array().expect("a list").iter();
        list.map(|of| of["n"].as_u64().expect("a number")).collect()
    };
    let (mut steps, mut lines, mut skipped) = (Vec::new(), Vec::new(), 0);
    let total = loop {
        teller.look(&watch);
        let event = told(&mut teller);
        steps.extend(numbers(&event["steps"]));
        lines.extend(numbers(&event["log"]));
        skipped += event["steps"]["skipped"].as_u64().expect("a number");
        let total = event["steps"]["total"].as_u64().expect("a number");
        // With draft tokens there are fewer steps than tokens.
        if total > 0 && event["sequences_total"] == json!(0) && steps.last() == Some(&total) {
            break total;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(steps.is_sorted() && steps.len() as u64 + skipped == total, "{steps:?}, {skipped}: {total}");
    assert_eq!(lines, [1], "each line once");
    drop(watch);
    rig.stop();
}

/// What is of another key is there as numbers alone.
#[test]
fn a_key_is_not_told_of_others() {
    let rig = Rig::new();
    let server = &rig.server;
    let watch = server.engine.watch();
    let rights = Rights::Own("name bob".into());
    let mut teller = Teller::new(server, rights, Duration::from_millis(100));
    let sender = |owner: &str| Sender {
        request_id: format!("of {owner}"),
        owner: Some(format!("name {owner}").into()),
        key: Some(owner.into()),
        ..Sender::default()
    };
    let (anns, bobs) = (server.active.enter(sender("ann")), server.active.enter(sender("bob")));
    let event = std::thread::scope(|scope| {
        for active in [&anns, &bobs] {
            scope.spawn(|| {
                let engine = server.engine.tagged(active.number);
                while !active.is_cancelled() {
                    let request = OwnedRequest::new(vec![1; 40], SamplingParams::GREEDY, 400);
                    let generation = Generation::start(&engine, vec![request], &[]);
                    generation.expect("there is room").for_each(drop);
                }
            });
        }
        let _ending = Ending(server, &["of ann", "of bob"]);
        until(&watch, &mut teller, |event| {
            let sequences = event["sequences"].as_array().expect("a list");
            sequences.len() == 2 && sequences.iter().any(|of| of["may_cancel"] == json!(true))
        })
    });
    let text = event.to_string();
    assert!(!text.contains("ann") && text.contains("of bob"), "{text}");
    assert_eq!(event["rights"]["cancel"], json!("own"));
    drop((watch, anns, bobs));
    rig.stop();
}
