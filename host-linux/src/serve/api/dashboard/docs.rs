//! docs/dashboard.md, of which the fields are made from `schema.json`: `VERBATIM_BLESS=1 cargo test
//! -p verbatim dashboard::docs` writes it anew.
use super::super::query::table;
use super::{QUERY, schema};
use serde_json::Value;
use std::fmt::Write;

const HEAD: &str = r#"# The dashboard

`/dashboard` in a browser and `verbatim top URL` in a terminal show the scheduler live. Both read
`GET /dashboard/events`, and so may anything else:

    curl -N http://127.0.0.1:8080/dashboard/events?events=1

The answer is server-sent events without names; the data of each is one object of JSON, as below.
The first comes at once, or within 150 ms where the engine has something to copy first; what it could not show by then
(`engine.view_age_ms`, `kv.map`) is null. Each is the whole state of its moment, but for `steps.list` and `log.list`,
which have what came since the last event of the stream. So who draws the newest event and forgets the rest draws all
there is. A reader that is slow gets fewer events, never old ones, and one that takes nothing for `--write-seconds` is
left.

QUERY

Eight may watch at once; another gets status 503. While a server drains, events go on until all other requests have
ended; the last one has the phase `draining`.

## What it costs

While nobody watches, a step costs a look at one number. While somebody does, the engine thread copies what it does
between two steps, every 100 ms at most and so seldom that this takes less than 1/400 of its time, however many come and
go meanwhile; it waits for nobody who reads the copy. The rest is done on the threads of those who watch. No bit of an
answer depends on any of it, since the engine is only read.

## Who may see and cancel

`DELETE /dashboard/requests/ID` ends the requests with an id (`request_id`, percent-encoded) and answers
`{"request_id": "ID", "cancelled": 1}`: how many had it and were ended. Their clients get an error, as the last event of
a stream or else with status 499, with the code `request_cancelled` where their API has codes; nothing is to be tried
again. A line of a batch ends with the same error. The log has a line of it. Status 404 says that no request has the id,
403 that nothing may be cancelled.

| keys of the server | who | sees | cancels |
|---|---|---|---|
| none | programs on the same machine (loopback or Unix socket), not behind a proxy, and this server's pages there | all | all |
| none | others | all | nothing |
| some | a key with `admin=true` in the file of keys | all | all |
| some | another key | numbers of all; ids, routes, keys and log lines of its own requests | its own requests |

A request counts as one behind a proxy if it has the header `Forwarded`, `Via`, `X-Forwarded-For` or `X-Real-IP`. A
proxy on the same machine that sets none of them makes everybody a program on it: give such a server keys. A page of
another origin that may ask (option `cors-origin`) counts among the others, wherever its browser is.

## Fields, version 1

The schema is `DashboardEvent` in `/openapi.json`. All fields are always there. Numbers that are not known are null.
Fields may be added within a version, so pass over what you do not know.

| field | type | meaning |
|---|---|---|
"#;

/// The type of a field, with its bounds.
fn kind(schema: &Value) -> String {
    let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(name).collect::<Vec<_>>().join(" or "),
        one => name(one),
    };
    let words = schema["enum"].as_array().map(|words| {
        let words = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`"));
        format!(": {}", words.collect::<Vec<_>>().join(", "))
    });
    let most = schema.get("maximum").map(|most| format!(", {most} at most"));
    types + &words.or(most).unwrap_or_default()
}

/// A row for each property of an object, and for those below them.
fn rows(out: &mut String, schema: &Value, path: &str) {
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let text = of["description"].as_str().unwrap_or_default();
        let _ = writeln!(out, "| `{path}` | {} | {text} |", kind(of));
        rows(out, of, &path);
        rows(out, &of["items"], &format!("{path}[]"));
        let pair = of["items"]["prefixItems"].as_array().into_iter().flatten().enumerate();
        for (at, of) in pair {
            let text = of["description"].as_str().unwrap_or_default();
            let _ = writeln!(out, "| `{path}[][{at}]` | {} | {text} |", kind(of));
        }
    }
}

#[test]
fn docs_dashboard_md_is_what_the_schema_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/dashboard.md");
    let mut expected = HEAD.replace("QUERY\n", &table(QUERY));
    rows(&mut expected, &schema(), "");
    assert!(!expected.contains("|  |\n"), "each field says what it means");
    if std::env::var_os("VERBATIM_BLESS").is_some() {
        std::fs::write(path, &expected).expect("docs/dashboard.md is written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/dashboard.md is not what the schema says; VERBATIM_BLESS=1 writes it anew"
    );
}
