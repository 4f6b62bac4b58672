// An answer as it comes: what is known of it, and a stream that goes on by itself when it is cut.

import { ApiError, post, readEvents } from './api.js';

/** Milliseconds for which a server that has gone is waited for. */
const PATIENCE_MS = 600_000;
/** Milliseconds below which nothing can be said of how fast tokens come. */
const SPEED_MS = 30;

/** An answer of which nothing is known yet. Token i has id `ids[i]` and the entry `tokens[i]`. */
export function emptyAnswer() {
  return {
    content: '',
    reasoning: '',
    calls: [],
    ids: [],
    tokens: [],
    promptIds: null,
    forced: 0,
    fingerprint: null,
    finish: null,
    usage: null,
    cuts: 0,
    times: { asked: 0, first: 0, last: 0, from: 0 },
  };
}

/** A token's id of its name `token_id:N`. */
const idOf = (name) => Number(name.slice('token_id:'.length));

/**
 * A token's entry: log-probability, bytes, alternatives as [id, log-probability, bytes], and the
 * lengths of content and reasoning once it was told. `call` marks tokens from the first call on.
 */
function entryOf(logprob, answer) {
  return {
    lp: logprob?.logprob ?? null,
    bytes: logprob?.bytes ?? [],
    top: (logprob?.top_logprobs ?? []).map((t) => [idOf(t.token), t.logprob, t.bytes ?? []]),
    at: [answer.content.length, answer.reasoning.length],
    call: answer.calls.length > 0,
  };
}

/** Adds what an event tells. */
export function addEvent(answer, event) {
  answer.fingerprint = event.system_fingerprint ?? answer.fingerprint;
  if (event.usage) answer.usage = event.usage;
  const choice = event.choices?.[0];
  if (!choice) return;
  if (choice.prompt_token_ids) answer.promptIds = choice.prompt_token_ids;
  const delta = choice.delta ?? {};
  answer.content += delta.content ?? '';
  answer.reasoning += delta.reasoning_content ?? '';
  for (const part of delta.tool_calls ?? []) {
    const call = (answer.calls[part.index] ??= { id: '', name: '', arguments: '' });
    call.id ||= part.id ?? '';
    call.name += part.function?.name ?? '';
    call.arguments += part.function?.arguments ?? '';
  }
  const ids = choice.token_ids ?? [];
  ids.forEach((id, i) => {
    answer.ids.push(id);
    answer.tokens.push(entryOf(choice.logprobs?.content?.[i], answer));
  });
  if (choice.finish_reason) answer.finish = choice.finish_reason;
  if (ids.length) {
    answer.times.last = performance.now();
    answer.times.first ||= answer.times.last;
  }
}

/** Tokens in a second, of those that came last without a stop; null where that makes no sense. */
export function speedOf(answer) {
  const told = answer.ids.length - answer.times.from - 1;
  const ms = answer.times.last - answer.times.first;
  return told > 0 && ms > SPEED_MS ? (told * 1000) / ms : null;
}

const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        reject(new DOMException('stopped', 'AbortError'));
      },
      { once: true },
    );
  });

/**
 * Fills an answer until it has ended. `body` has all that decides it, the seed too; `answer` may
 * have a beginning, from which the stream goes on with the same bits. Cut streams are taken up
 * again, at this server or at the one that comes after it, while its fingerprint is the same.
 * `onChange` is called after each event, and `onWait` with why nothing comes.
 */
export async function fill(answer, body, { signal, onChange = () => {}, onWait = () => {} }) {
  answer.times = { asked: performance.now(), first: 0, last: 0, from: answer.ids.length };
  let since = null;
  for (let attempt = 0; !answer.finish; attempt += 1) {
    const known = answer.ids.length;
    try {
      const response = await post('v1/chat/completions', withResume(body, answer), signal);
      onWait(null);
      await readEvents(response, (event) => {
        addEvent(answer, event);
        since = null;
        onChange(answer);
      });
      // A whole stream without an end would be asked for again for ever.
      answer.finish ??= 'stop';
    } catch (error) {
      if (answer.finish) break; // Only the figures behind the end are missing.
      if (!(error instanceof ApiError) || !error.isTransient || signal.aborted) throw error;
      since ??= performance.now();
      if (performance.now() - since > PATIENCE_MS) throw error;
      if (answer.ids.length > known) {
        attempt = 0;
        answer.cuts += 1;
      }
      onWait(error);
      await pause(error.retryAfter ? error.retryAfter * 1000 : Math.min(250 * 2 ** attempt, 4000), signal);
    }
  }
  return answer;
}

/** The body that goes on with an answer; the body itself where nothing of it is known. */
function withResume(body, answer) {
  if (!answer.promptIds) return body;
  const resume = { token_ids: [answer.ids], prompt_token_ids: answer.promptIds };
  if (answer.fingerprint) resume.fingerprint = answer.fingerprint;
  return { ...body, resume };
}

const utf8 = (list) => new TextDecoder().decode(new Uint8Array(list.flat()), { stream: true });

/**
 * The answer that takes another token at place `k`: all before it is as it was, and what follows
 * has not been computed. `isText` is false for a token that ends or marks something.
 */
export function branched(answer, k, [id, lp, bytes], isText) {
  const other = emptyAnswer();
  const before = answer.tokens.slice(0, k);
  const [content, reasoning] = k ? before[k - 1].at : [0, 0];
  other.content = answer.content.slice(0, content);
  other.reasoning = answer.reasoning.slice(0, reasoning);
  const known = before.map((token) => token.bytes);
  const text = isText ? utf8([...known, bytes]).slice(utf8(known).length) : '';
  const thinks = answer.tokens[k].at[1] > reasoning;
  other[thinks ? 'reasoning' : 'content'] += text;
  const entry = { ...answer.tokens[k], lp, bytes, at: [other.content.length, other.reasoning.length] };
  return {
    ...other,
    ids: [...answer.ids.slice(0, k), id],
    tokens: [...before, entry],
    forced: k + 1,
    promptIds: answer.promptIds,
    fingerprint: answer.fingerprint,
  };
}
