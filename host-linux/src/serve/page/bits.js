// "Same bits?": asks a question again with the same seed while the server is busy with a load that
// this page starts, and compares the ids and the bits of the log-probabilities.

import { get, post } from './api.js';
import { emptyAnswer, fill } from './answer.js';
import { sha256 } from './sha256.js';

/** Requests of the load, each with several choices; browsers open six connections at most. */
const LOAD_REQUESTS = 3;
/** Tokens of one choice of the load, at most, so that places become free now and then. */
const LOAD_TOKENS = 512;
const LOAD_WAIT_MS = 5000;
const TOPICS = ['Tell me a long story about the sea.', 'What is 12 + 30? And then?', 'Count as far as you can.'];

/** Id and log-probability of each token, as 8 bytes in little-endian order. */
export function bitsOf(ids, tokens) {
  const view = new DataView(new ArrayBuffer(8 * ids.length));
  ids.forEach((id, i) => {
    view.setUint32(8 * i, id, true);
    view.setFloat32(8 * i + 4, tokens[i]?.lp ?? 0, true);
  });
  return new Uint8Array(view.buffer);
}

/** The SHA-256 of an answer's ids and log-probabilities. */
export const hashOf = (answer) => sha256(bitsOf(answer.ids, answer.tokens));

/** Fills all places of the server but one, and waits until it computes; how many sequences it then runs. */
async function startLoad(model, signal) {
  const { max_seqs: places } = await get('health');
  const { data } = await get('v1/models');
  const room = data[0]?.max_model_len ?? 512;
  const others = Math.max(1, places - 1);
  for (let i = 0; i < LOAD_REQUESTS; i += 1) {
    const n = Math.floor((others + i) / LOAD_REQUESTS);
    if (n) keepBusy(i, { model, n, room }, signal);
  }
  const started = performance.now();
  while (performance.now() - started < LOAD_WAIT_MS) {
    const { running } = await get('health');
    if (running > 0) return running;
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
  throw new Error('The load did not start.');
}

/** Asks one thing again and again until the signal, and reads what comes without a look at it. */
async function keepBusy(i, { model, n, room }, signal) {
  for (let round = 0; !signal.aborted; round += 1) {
    const body = {
      ...(model ? { model } : {}),
      messages: [{ role: 'user', content: TOPICS[i % TOPICS.length] }],
      n,
      stream: true,
      max_tokens: Math.max(16, Math.min(LOAD_TOKENS, room - 64)),
      ignore_eos: true,
      temperature: 1.2,
      seed: 1000 * i + round,
      stream_options: { interval_ms: 200 },
    };
    try {
      const reader = (await post('v1/chat/completions', body, signal)).body.getReader();
      while (!(await reader.read()).done);
    } catch {
      if (!signal.aborted)
        await new Promise((resolve) => {
          setTimeout(resolve, 300);
        });
    }
  }
}

/**
 * The most sequences that ran at once, as the server tells until the signal. `before` is what ran before; a busy
 * server may have no time to tell of more.
 */
async function watchLoad(before, signal) {
  let most = before;
  while (!signal.aborted) {
    most = Math.max(most, (await get('health').catch(() => ({ running: 0 }))).running);
    await new Promise((resolve) => {
      setTimeout(resolve, 15);
    });
  }
  return most;
}

/** Where two answers differ first, as a number of a token; null where they do not. */
function firstDifference(one, other) {
  const [a, b] = [bitsOf(one.ids, one.tokens), bitsOf(other.ids, other.tokens)];
  const same = a.length === b.length && a.every((byte, i) => byte === b[i]);
  if (same) return null;
  const at = a.findIndex((byte, i) => byte !== b[i]);
  return Math.floor((at < 0 ? a.length : at) / 8) + 1;
}

/** One bit of the last log-probability the other way, for the test that a difference is seen. */
function flipOneBit(answer) {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, answer.tokens.at(-1).lp);
  view.setUint32(0, view.getUint32(0) ^ 1);
  answer.tokens.at(-1).lp = view.getFloat32(0);
}

/**
 * Asks again for an answer that has come, with a load beside it. `body` is the request that it was
 * the answer to. The prompt is computed anew: no cached prefix is taken. Tokens that a user chose
 * stay chosen. Tells both hashes, where they differ first, and how many sequences ran at once.
 */
export async function sameBits(answer, body, signal) {
  const load = new AbortController();
  signal.addEventListener('abort', () => load.abort(), { once: true });
  try {
    const before = await startLoad(body.model, load.signal);
    const again = emptyAnswer();
    if (answer.forced) {
      again.ids = answer.ids.slice(0, answer.forced);
      again.tokens = answer.tokens.slice(0, answer.forced);
      again.promptIds = answer.promptIds;
    }
    const watch = new AbortController();
    const watched = watchLoad(before, watch.signal);
    const salt = Array.from(crypto.getRandomValues(new Uint32Array(2)), (x) => x.toString(36)).join('');
    await fill(again, { ...body, cache_salt: salt }, { signal }).finally(() => watch.abort());
    // Where the first one was stopped, only what it has can be compared.
    if (!answer.finish) {
      again.ids.length = Math.min(again.ids.length, answer.ids.length);
      again.tokens.length = again.ids.length;
    }
    if (new URLSearchParams(location.search).get('break') === '1' && again.tokens.length) flipOneBit(again);
    const [first, second] = [hashOf(answer), hashOf(again)];
    const at = firstDifference(answer, again);
    return { first, second, same: at === null, at, running: await watched, tokens: again.ids.length };
  } finally {
    load.abort();
  }
}
