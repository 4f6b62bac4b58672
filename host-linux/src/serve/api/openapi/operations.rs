//! The operations of the HTTP API: method and path, what is sent, what comes back, and an example.
use super::super::parameters::endpoint as at;
use super::super::parameters::endpoint::Endpoints;
use super::super::query::QueryParameter;
use super::super::{batches, dashboard, files};
use super::answers;
use serde_json::Value;

/// What a request can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The method, in capitals.
    pub method: &'static str,
    /// The path, with its variable part in braces.
    pub path: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What the query of its URL may have.
    pub query: &'static [QueryParameter],
    /// What a request sends with it.
    pub body: Body,
    /// What comes back with status 200.
    pub answer: Answer,
    /// The shape of errors.
    pub errors: Errors,
    /// The body of an example; empty where none is sent.
    pub example: &'static str,
}

/// What a request sends.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// Nothing but the head of the request.
    None,
    /// An object of JSON with the parameters of an endpoint, of which some must be given.
    Json(Endpoints, &'static [&'static str]),
    /// A form with a file.
    Form,
}

/// What an answer of status 200 is.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// A value of JSON of this schema.
    Json(fn() -> Value),
    /// A value of JSON, or server-sent events where the body asks for a stream.
    Events(fn() -> Value),
    /// A value of JSON, or a line for each piece where the body asks for a stream.
    Lines(fn() -> Value),
    /// Text of this media type.
    Text(&'static str),
    /// Server-sent events without an end, whose data is JSON of the schema of this name.
    Stream(&'static str),
    /// A page where the request accepts HTML, else a value of JSON of this schema.
    PageOr(fn() -> Value),
    /// A page, or a file that it is made of.
    Page,
    /// No word, and no media type.
    Empty,
}

/// The shape of errors at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// As of OpenAI's API.
    OpenAi,
    /// As of Anthropic's: with `type`, and no `param`.
    Anthropic,
    /// As of Ollama's: a message, and nothing else.
    Ollama,
}

const fn get(path: &'static str, answer: Answer, summary: &'static str) -> Operation {
    let (method, errors) = ("GET", Errors::OpenAi);
    Operation { method, path, summary, query: &[], body: Body::None, answer, errors, example: "" }
}

const fn post(
    path: &'static str,
    body: Body,
    answer: Answer,
    summary: &'static str,
    example: &'static str,
) -> Operation {
    let (method, errors) = ("POST", Errors::OpenAi);
    Operation { method, path, summary, query: &[], body, answer, errors, example }
}

const fn asking(query: &'static [QueryParameter], operation: Operation) -> Operation {
    Operation { query, ..operation }
}

const fn shaped(errors: Errors, operation: Operation) -> Operation {
    Operation { errors, ..operation }
}

const fn anthropic(operation: Operation) -> Operation {
    shaped(Errors::Anthropic, operation)
}

const fn ollama(operation: Operation) -> Operation {
    shaped(Errors::Ollama, operation)
}

/// All operations. A test compares them with the table of routes.
pub const OPERATIONS: &[Operation] = &[
    post(
        "/v1/completions",
        Body::Json(at::COMPLETIONS, &["prompt"]),
        Answer::Events(answers::completion),
        "Goes on from prompts of text or token ids.",
        r#"{"prompt": "Once upon a time", "max_tokens": 32, "temperature": 0}"#,
    ),
    post(
        "/v1/chat/completions",
        Body::Json(at::CHAT, &["messages"]),
        Answer::Events(answers::chat),
        "Answers a conversation.",
        r#"{"messages": [{"role": "user", "content": "What is the capital of France?"}]}"#,
    ),
    post(
        "/v1/responses",
        Body::Json(at::RESPONSES, &["input"]),
        Answer::Events(answers::response),
        "Answers a conversation, as OpenAI's newer API; nothing is kept.",
        r#"{"input": "What is the capital of France?"}"#,
    ),
    anthropic(post(
        "/v1/messages",
        Body::Json(at::MESSAGES, &["messages", "max_tokens"]),
        Answer::Events(answers::message),
        "Answers a conversation, as Anthropic's API.",
        r#"{"max_tokens": 64, "messages": [{"role": "user", "content": "What is the capital of France?"}]}"#,
    )),
    anthropic(post(
        "/v1/messages/count_tokens",
        Body::Json(at::COUNT_TOKENS, &["messages"]),
        Answer::Json(answers::token_count),
        "Counts the tokens of a conversation.",
        r#"{"messages": [{"role": "user", "content": "What is the capital of France?"}]}"#,
    )),
    post(
        "/v1/embeddings",
        Body::Json(at::EMBEDDINGS, &["input"]),
        Answer::Json(answers::list),
        "Computes the vectors of texts.",
        r#"{"input": ["a cat", "a dog"]}"#,
    ),
    post(
        "/v1/rerank",
        Body::Json(at::RERANK, &["query", "documents"]),
        Answer::Json(answers::object),
        "Puts documents in the order in which they fit a query.",
        r#"{"query": "pets", "documents": ["a cat", "a car"]}"#,
    ),
    post(
        "/v2/rerank",
        Body::Json(at::RERANK, &["query", "documents"]),
        Answer::Json(answers::object),
        "The same, where Cohere's clients ask for it.",
        r#"{"query": "pets", "documents": ["a cat", "a car"]}"#,
    ),
    post(
        "/v1/score",
        Body::Json(at::SCORE, &[]),
        Answer::Json(answers::list),
        "Tells how well pairs of texts fit.",
        r#"{"text_1": "pets", "text_2": ["a cat", "a car"]}"#,
    ),
    ollama(post(
        "/api/chat",
        Body::Json(at::OLLAMA_CHAT, &["messages"]),
        Answer::Lines(answers::object),
        "Answers a conversation, as Ollama's API.",
        r#"{"messages": [{"role": "user", "content": "What is the capital of France?"}], "stream": false}"#,
    )),
    ollama(post(
        "/api/generate",
        Body::Json(at::OLLAMA_GENERATE, &[]),
        Answer::Lines(answers::object),
        "Answers a prompt, as Ollama's API.",
        r#"{"prompt": "What is the capital of France?", "stream": false}"#,
    )),
    ollama(post(
        "/api/embed",
        Body::Json(at::OLLAMA_EMBED, &["input"]),
        Answer::Json(answers::object),
        "Computes the vectors of texts, as Ollama's API.",
        r#"{"input": ["a cat", "a dog"]}"#,
    )),
    ollama(post(
        "/api/embeddings",
        Body::Json(at::OLLAMA_EMBED, &["prompt"]),
        Answer::Json(answers::object),
        "Computes the vector of a text, as Ollama's older API.",
        r#"{"prompt": "a cat"}"#,
    )),
    ollama(post(
        "/api/show",
        Body::Json(at::OLLAMA_SHOW, &[]),
        Answer::Json(answers::object),
        "Tells of the model, as Ollama's API.",
        r#"{"model": "verbatim-demo"}"#,
    )),
    ollama(get("/api/ps", Answer::Json(answers::object), "Tells which models are loaded, as Ollama's API.")),
    ollama(get("/api/tags", Answer::Json(answers::object), "Lists the models, as Ollama's API.")),
    ollama(get("/api/version", Answer::Json(answers::object), "Tells the version, as Ollama's API.")),
    post(
        "/tokenize",
        Body::Json(at::TOKENIZE, &[]),
        Answer::Json(answers::tokens),
        "Tells the tokens of a text or a conversation.",
        r#"{"prompt": "Once upon a time"}"#,
    ),
    post(
        "/detokenize",
        Body::Json(at::DETOKENIZE, &["tokens"]),
        Answer::Json(answers::text),
        "Tells the text of tokens.",
        r#"{"tokens": [5, 6, 7]}"#,
    ),
    post(
        "/apply-template",
        Body::Json(at::APPLY_TEMPLATE, &["messages"]),
        Answer::Json(answers::prompt),
        "Renders a conversation as the model sees it.",
        r#"{"messages": [{"role": "user", "content": "What is the capital of France?"}]}"#,
    ),
    post("/v1/files", Body::Form, Answer::Json(answers::object), "Keeps a file of requests for a batch.", ""),
    asking(files::QUERY, get("/v1/files", Answer::Json(answers::list), "Lists the files.")),
    get("/v1/files/{id}", Answer::Json(answers::object), "Tells of a file."),
    get("/v1/files/{id}/content", Answer::Text("application/octet-stream"), "Tells what is in a file."),
    post(
        "/v1/batches",
        Body::Json(at::BATCHES, &["input_file_id", "endpoint"]),
        Answer::Json(answers::object),
        "Begins a batch: answers each line of a file.",
        r#"{"input_file_id": "ID", "endpoint": "/v1/chat/completions", "completion_window": "24h"}"#,
    ),
    asking(batches::QUERY, get("/v1/batches", Answer::Json(answers::list), "Lists the batches.")),
    get("/v1/batches/{id}", Answer::Json(answers::object), "Tells of a batch."),
    post("/v1/batches/{id}/cancel", Body::None, Answer::Json(answers::object), "Ends a batch early.", ""),
    Operation { method: "DELETE", ..get("/v1/files/{id}", Answer::Json(answers::object), "Deletes a file.") },
    get("/v1/models", Answer::Json(answers::list), "Lists the model under each of its names."),
    get("/v1/models/{model}", Answer::Json(answers::model), "Tells of the model."),
    get("/version", Answer::Json(answers::object), "Tells the version, the licence and where the source is."),
    get("/load", Answer::Json(answers::object), "Tells how many sequences run or wait."),
    get("/ready", Answer::Json(answers::status), "Tells whether requests are taken."),
    get("/health", Answer::Json(answers::status), "Tells whether the server is alive, and what it does."),
    get("/ping", Answer::Empty, "Tells whether the server is alive."),
    post("/ping", Body::None, Answer::Empty, "Tells whether the server is alive.", ""),
    get("/metrics", Answer::Text("text/plain"), "Tells metrics in Prometheus' format."),
    asking(
        dashboard::QUERY,
        get(
            "/dashboard/events",
            Answer::Stream("DashboardEvent"),
            "Tells what the scheduler and the server do, live, until the client leaves.",
        ),
    ),
    Operation {
        method: "DELETE",
        ..get(
            "/dashboard/requests/{id}",
            Answer::Json(answers::object),
            "Ends the requests with this id, as far as the key may.",
        )
    },
    get("/openapi.json", Answer::Json(answers::object), "This document."),
    get(
        "/",
        Answer::PageOr(answers::status),
        "The page to talk to the model, for browsers; tells others whether the server is alive, and what it does.",
    ),
    get("/page/{file}", Answer::Page, "A file that the page is made of."),
    get("/dashboard", Answer::Page, "The page that shows what the scheduler does, live."),
    get("/dashboard/{file}", Answer::Page, "A file that the page of the dashboard is made of."),
];
