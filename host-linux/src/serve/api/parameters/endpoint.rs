//! The endpoints that take a body, as bits: a parameter stands at several.

/// A set of endpoints: some of the bits below, joined by `|`.
pub type Endpoints = u32;

/// Goes on from prompts of text or ids: `POST /v1/completions`.
pub const COMPLETIONS: Endpoints = 1;
/// Answers a conversation: `POST /v1/chat/completions`.
pub const CHAT: Endpoints = 1 << 1;
/// Answers a conversation, as OpenAI's newer API: `POST /v1/responses`.
pub const RESPONSES: Endpoints = 1 << 2;
/// Answers a conversation, as Anthropic's API: `POST /v1/messages`.
pub const MESSAGES: Endpoints = 1 << 3;
/// Counts the tokens of such a conversation: `POST /v1/messages/count_tokens`.
pub const COUNT_TOKENS: Endpoints = 1 << 4;
/// Answers a conversation, as Ollama's API: `POST /api/chat`.
pub const OLLAMA_CHAT: Endpoints = 1 << 5;
/// Answers a prompt, as Ollama's API: `POST /api/generate`.
pub const OLLAMA_GENERATE: Endpoints = 1 << 6;
/// Computes vectors of texts, as Ollama's API; `/api/embeddings` too: `POST /api/embed`.
pub const OLLAMA_EMBED: Endpoints = 1 << 7;
/// Tells of the model, as Ollama's API: `POST /api/show`.
pub const OLLAMA_SHOW: Endpoints = 1 << 8;
/// Computes the vectors of texts: `POST /v1/embeddings`.
pub const EMBEDDINGS: Endpoints = 1 << 9;
/// Puts documents in order; `/v2/rerank` too: `POST /v1/rerank`.
pub const RERANK: Endpoints = 1 << 10;
/// Tells how well pairs of texts fit: `POST /v1/score`.
pub const SCORE: Endpoints = 1 << 11;
/// Tells the tokens of a text: `POST /tokenize`.
pub const TOKENIZE: Endpoints = 1 << 12;
/// Tells the text of tokens: `POST /detokenize`.
pub const DETOKENIZE: Endpoints = 1 << 13;
/// Renders a conversation as text: `POST /apply-template`.
pub const APPLY_TEMPLATE: Endpoints = 1 << 14;
/// Begins a batch of requests: `POST /v1/batches`.
pub const BATCHES: Endpoints = 1 << 15;

/// The endpoints of OpenAI's first two APIs, which share their parameters.
pub const OPENAI: Endpoints = COMPLETIONS | CHAT;
/// The endpoints of Ollama that generate.
pub const OLLAMA: Endpoints = OLLAMA_CHAT | OLLAMA_GENERATE;
/// All endpoints that generate.
pub const GENERATES: Endpoints = OPENAI | RESPONSES | MESSAGES | OLLAMA;
/// All endpoints that render a conversation.
pub const RENDERS: Endpoints =
    CHAT | RESPONSES | MESSAGES | COUNT_TOKENS | OLLAMA_CHAT | TOKENIZE | APPLY_TEMPLATE;
/// The endpoints that compute vectors or scores of texts.
pub const POOLS: Endpoints = EMBEDDINGS | RERANK | SCORE | OLLAMA_EMBED;

/// Each endpoint that takes a body of JSON, with its path.
pub const ENDPOINTS: &[(Endpoints, &str)] = &[
    (COMPLETIONS, "/v1/completions"),
    (CHAT, "/v1/chat/completions"),
    (RESPONSES, "/v1/responses"),
    (MESSAGES, "/v1/messages"),
    (COUNT_TOKENS, "/v1/messages/count_tokens"),
    (OLLAMA_CHAT, "/api/chat"),
    (OLLAMA_GENERATE, "/api/generate"),
    (OLLAMA_EMBED, "/api/embed"),
    (OLLAMA_SHOW, "/api/show"),
    (EMBEDDINGS, "/v1/embeddings"),
    (RERANK, "/v1/rerank"),
    (SCORE, "/v1/score"),
    (TOKENIZE, "/tokenize"),
    (DETOKENIZE, "/detokenize"),
    (APPLY_TEMPLATE, "/apply-template"),
    (BATCHES, "/v1/batches"),
];
