// Talks to the server that the page came from: the key, errors, and server-sent events.

const BASE = new URL('.', document.baseURI);
const KEY_NAME = 'verbatim-key';

/** The API key that requests bring; empty where there is none. */
export const apiKey = () => sessionStorage.getItem(KEY_NAME) ?? localStorage.getItem(KEY_NAME) ?? '';

/** Takes a key, for this tab alone or for this browser. */
export function setApiKey(key, keep) {
  sessionStorage.removeItem(KEY_NAME);
  localStorage.removeItem(KEY_NAME);
  if (key) (keep ? localStorage : sessionStorage).setItem(KEY_NAME, key);
}

/** Whether the key stays when the browser is closed. */
export const keepsKey = () => localStorage.getItem(KEY_NAME) !== null;

/** What the server said when it did not answer. `status` is 0 where the connection broke. */
export class ApiError extends Error {
  constructor(status, error = {}, retryAfter = null) {
    super(error.message ?? `the server answered with status ${status}`);
    this.status = status;
    this.code = error.code ?? null;
    this.param = error.param ?? null;
    this.resumable = error.resumable === true;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed a little later. */
  get isTransient() {
    return this.resumable || [0, 429, 502, 503, 504].includes(this.status);
  }
}

/** The response to a request of `fetch`, with the key; an `ApiError` where the server refuses it. */
export async function ask(path, options) {
  const headers = { ...options.headers };
  if (apiKey()) headers.Authorization = `Bearer ${apiKey()}`;
  let response;
  try {
    response = await fetch(new URL(path, BASE), { ...options, headers, cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, { message: 'The server cannot be reached.' });
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const error = typeof body.error === 'string' ? { message: body.error } : body.error;
  throw new ApiError(response.status, error, Number(response.headers.get('retry-after')) || null);
}

/** The JSON at a path. */
export async function get(path) {
  return (await ask(path, {})).json();
}

/** Sends JSON; the response, of which nothing has been read. */
export function post(path, body, signal) {
  const headers = { 'Content-Type': 'application/json' };
  return ask(path, { method: 'POST', headers, body: JSON.stringify(body), signal });
}

/**
 * Reads the events of a stream and hands each one's JSON on. Returns when `[DONE]` has come; throws
 * an `ApiError` when the server tells an error, and one of status 0 when the stream ends early.
 */
export async function readEvents(response, onEvent) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    await readAll(reader, onEvent);
  } catch (error) {
    // A stream that nobody reads would keep one of the few connections that a browser has.
    reader.cancel().catch(() => {});
    throw error;
  }
}

async function readAll(reader, onEvent) {
  let rest = '';
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      part = { done: true };
    }
    if (part.done) throw new ApiError(0, { message: 'The connection was cut.' });
    const lines = (rest + part.value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith('data:')) continue;
      const data = line.slice(5).trim();
      if (data === '[DONE]') return;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(event.error.status ?? 500, event.error);
      onEvent(event);
    }
  }
}
