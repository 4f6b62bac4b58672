//! docs/api.md, made from the tables: `VERBATIM_BLESS=1 cargo test -p verbatim api_doc` writes it
//! anew.
use super::openapi::operations::{Answer, Body, OPERATIONS, Operation};
use super::parameters::{
    COMPLETIONS, ENDPOINTS, Endpoints, GENERATES, Kind, OLLAMA, OPENAI, POOLS, Parameter, Plain, RENDERS,
    SOURCES, Schema, TABLES,
};
use super::query;
use std::fmt::Write;

const HEAD: &str = "\
# The HTTP API

Made from the server's own tables by a test; they are in `host-linux/src/serve/api/parameters/` and `openapi/`, and
`GET /openapi.json` tells the same to programs. Paths that begin with `/v1` are served without it, too. Bodies are JSON
(`Content-Type: application/json`); null counts as absent, and a float without a fraction as an integer.

A parameter that would change the answer and is not supported is refused with status 400, and `error.param` names it; at
the endpoints that generate so is one that only others of them take. One that cannot change it is taken, and its name
comes back in `verbatim.ignored`, as an unknown name does; with `--strict` unknown names are refused.
";

const CALLS: &str = "
## Endpoints

The calls can be sent in this order to the built-in model, as `verbatim serve --pooling mean --batch-dir DIR` serves it:
vectors and scores need a model that embeds, or `--pooling`, and files and batches a folder. `ID` is the `id` of the
file or the batch.
";

const ENDINGS: &str = "
## Errors

`{\"error\": {\"message\", \"type\", \"param\", \"code\"}}`, in Anthropic's shape under `/v1/messages` and in Ollama's under
`/api`. 400: the request makes no sense (`code` is `context_length_exceeded` where the prompt is too long). 401: the key
is missing or wrong. 403: a page or a name of the server that is not allowed. 404: nothing there, or no such model
(`model_not_found`). 405: another method. 408, 413, 417, 431, 501, 505: HTTP that is not taken. 409: the fingerprint that
was asked for is another (`fingerprint_mismatch`). 415: not JSON. 429: the queue is full, or a quota is spent; `Retry-After`
says when to come again. 499: who runs the server has cancelled the request (`request_cancelled`). 500: a fault of the
server. 503: starting, stopping, or full. `x-should-retry` tells clients whether the same request may succeed.
";

const RELAYS: &str = "
## Programs between client and server

**An error that another server can mend** has `\"resumable\": true` beside its `code`: with the same fingerprint it goes on
from what was told of the answer, or begins it where nothing was. `engine_stopped`: the server was asked to stop, and the
time to drain was over. `engine_failed`: the engine is gone for good. `engine_restarted` (status 500, the others 503): it
panicked and runs again. `draining`: the server ends and begins nothing new. A stream has status 200 by then, and the
error is its last event: **no stream that ends with an error has `[DONE]`**, whatever the error, nor `message_stop` or
`response.completed`. One that has neither was broken with its connection, and can be resumed all the same.

**Ids.** `x-request-id` of a request (1 to 128 visible characters of ASCII), or `request_id` in its body, is the `id` of
the answer behind the endpoint's prefix (`cmpl-`, `chatcmpl-`, `msg_`, …), stands in the header `x-request-id` of whatever
comes back, and in the log; without one it is drawn. Whoever resumes an answer and sends the id again gets the same `id`;
`created` alone is another.

**Where to send a request.** `GET /health` needs no key and waits for nothing: `status`, `model`, `system_fingerprint`,
`running` and `waiting` sequences, of which there may be `max_seqs` and `max_queue`, and `kv_usage`, the share of the KV
blocks that sequences hold. `GET /ready` has status 503 from the moment the server is asked to stop.

**Fewer events.** What each event costs on its way is the same, however little it tells: with
`\"stream_options\": {\"interval_ms\": 50}` a choice has an event in 50 ms at most, with the text, ids and log-probabilities
of all tokens since the one before. The first token comes at once, and nothing waits for longer, nor for the end.
";

const RESUMING: &str = "
## Answers that are resumed

An answer of `/v1/completions` or `/v1/chat/completions` that was cut goes on at any server with the same fingerprint, bit
for bit, streamed or whole. Ask for `return_token_ids`; then send the body again as it was, with the `seed` that the first
event told in `verbatim`, and with

    \"resume\": {\"token_ids\": [[5, 6], null, []], \"prompt_token_ids\": [1, 2], \"fingerprint\": \"vb-1234\"}

`token_ids` has a list for each choice in the order of `index` (that of choice c of prompt p is p · n + c): the ids of its
output so far. One that has ended is null: it takes no work, no event tells of it, and it is missing among the `choices` of
a whole answer and in the tokens of `usage`. A list that is whole already gives the end of its choice, and what was held
back until it. `prompt_token_ids` and `fingerprint` may be left out; with `prompt_token_ids` `prompt` or `messages` may be,
too. Messages that come along tell then no more than whether the prompt has opened the reasoning.

The events are those that would have followed the ids: no role, and `prompt_token_ids` and the prompt of `echo` for those
choices alone that have no id yet. Texts, offsets, log-probabilities and calls go on where they were; `usage` is of the whole
answer. A whole answer has what follows the ids: of a call that had begun it lists the id, an empty name and the rest of the
arguments. `prompt_logprobs` are refused where a choice has ids.

An event tells its tokens whole, and the one with `finish_reason` brings the text that was held back: the ids that were told
of a choice, and whether its end was, are all that must be known. Which choice an event tells of is timing: each choice's own
events are in order and the same everywhere, how those of several alternate is not. The other dialects do not take `resume`.

## Log-probabilities of completions

Beside the lists of OpenAI's API, `logprobs` has two more with an entry for each token: `bytes`, its bytes, and
`top_tokens`, what `top_logprobs` has, in order and with bytes, as chat lists it. Tokens that are parts of characters have
the same text, and `top_logprobs`, which goes by texts, has one entry for all of them.
";

/// The endpoints of a row in words.
fn endpoints(row: Endpoints) -> String {
    let groups = [
        (GENERATES, "all that generate"),
        (POOLS, "all of vectors and scores"),
        (RENDERS, "all of conversations"),
    ];
    let mut left = row;
    let mut words = Vec::new();
    for (group, name) in groups {
        if left & group == group {
            words.push(name.to_owned());
            left &= !group;
        }
    }
    let own = ENDPOINTS.iter().filter(|(bit, _)| left & bit != 0);
    words.extend(own.map(|(_, path)| format!("`{}`", path.strip_prefix("/v1").unwrap_or(path))));
    words.join(", ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The rows of one kind, those of inner objects under their own.
fn table(out: &mut String, is_of: fn(&Kind) -> bool) {
    out.push_str("\n| parameter | endpoints | values | meaning |\n|---|---|---|---|\n");
    let mut rows: Vec<&Parameter> = TABLES.iter().copied().flatten().collect();
    rows.sort_by_key(|row| row.name);
    for row in rows {
        let place = endpoints(row.endpoints);
        inner(out, row, row.name, &place, is_of);
    }
}

fn inner(out: &mut String, row: &Parameter, path: &str, place: &str, is_of: fn(&Kind) -> bool) {
    if is_of(&row.kind) {
        let values = match row.kind {
            Kind::RefusedUnless([]) => "none".to_owned(),
            Kind::RefusedUnless(plain) => {
                let plain: Vec<String> =
                    plain.iter().map(|plain: &Plain| format!("`{}`", plain.value())).collect();
                format!("only {}", plain.join(", "))
            }
            _ => row.schema.words(),
        };
        let _ = writeln!(out, "| `{path}` | {place} | {} | {} |", cell(&values), cell(row.doc));
    }
    fields(out, &row.schema, path, place, is_of);
}

fn fields(out: &mut String, schema: &Schema, path: &str, place: &str, is_of: fn(&Kind) -> bool) {
    match *schema {
        Schema::Table(rows) | Schema::Options(rows) => {
            for row in rows {
                inner(out, row, &format!("{path}.{}", row.name), place, is_of);
            }
        }
        Schema::List(of, ..) => fields(out, of, &format!("{path}[]"), place, is_of),
        Schema::OneOf(all) => all.iter().for_each(|schema| fields(out, schema, path, place, is_of)),
        _ => {}
    }
}

fn operation(out: &mut String, operation: &Operation) {
    let Operation { method, path, summary, .. } = operation;
    let _ = write!(out, "\n### {method} {path}\n\n{summary}");
    match operation.answer {
        Answer::Events(_) => out.push_str(" With `stream`, the answer comes as server-sent events."),
        Answer::Lines(_) => out.push_str(" The answer comes as lines of JSON unless `stream` is false."),
        _ => {}
    }
    if !operation.query.is_empty() {
        let _ = write!(out, "\n\n{}", query::table(operation.query).trim_end());
    }
    let path = path.replace("{model}", "verbatim-demo").replace("{id}", "ID").replace("{file}", "app.js");
    let url = format!("http://127.0.0.1:8080{path}");
    let call = match (operation.body, *method) {
        (Body::Form, _) => format!("curl {url} -F purpose=batch -F file=@requests.jsonl"),
        (Body::Json(..), _) => {
            format!("curl {url} -H 'Content-Type: application/json' -d '{}'", operation.example)
        }
        // A stream without an end of its own ends after so many events.
        (Body::None, "GET") if matches!(operation.answer, Answer::Stream(_)) => {
            format!("curl -N {url}?events=1")
        }
        (Body::None, "GET") => format!("curl {url}"),
        (Body::None, _) => format!("curl -X {method} {url}"),
    };
    let _ = write!(out, "\n\n    {call}\n");
}

fn api_md() -> String {
    let mut out = HEAD.to_owned();
    out.push_str(CALLS);
    OPERATIONS.iter().for_each(|at| operation(&mut out, at));
    out.push_str(ENDINGS);
    out.push_str(RESUMING);
    out.push_str(RELAYS);
    out.push_str("\n## Parameters with an effect\n");
    table(&mut out, |kind| matches!(kind, Kind::Used));
    out.push_str("\n## Parameters without effect\n\nThey are taken, and their names come back in `verbatim.ignored`.\n");
    table(&mut out, |kind| matches!(kind, Kind::WithoutEffect));
    out.push_str(
        "\n## Parameters that are refused\n\nOnly the values are taken that leave the answer as it is.\n",
    );
    table(&mut out, |kind| matches!(kind, Kind::RefusedUnless(_)));
    out.push_str("\n## Where the list comes from\n\nIt was compared with the request schemas of these:\n\n");
    for (name, version) in SOURCES {
        let _ = writeln!(out, "- {name}: {version}.");
    }
    out
}

#[test]
fn docs_api_md_is_what_the_tables_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
    let expected = api_md();
    if std::env::var_os("VERBATIM_BLESS").is_some() {
        std::fs::write(path, &expected).expect("docs/api.md is written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "docs/api.md is not what the tables say; VERBATIM_BLESS=1 writes it anew");
    assert_eq!(
        (endpoints(OPENAI | OLLAMA), endpoints(COMPLETIONS)),
        (
            "`/completions`, `/chat/completions`, `/api/chat`, `/api/generate`".to_owned(),
            "`/completions`".to_owned()
        )
    );
}
