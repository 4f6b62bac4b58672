// Follows the server's events. A connection that breaks is made again by itself; a page that is
// paused or hidden has none, and so costs the server nothing.

import { ask, readEvents } from '../page/api.js';

/** Milliseconds without an event after which a connection is taken for broken. */
const SILENCE_MS = 15_000;
/** Milliseconds between two tries: the first, and the most that doubling makes of it. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 8_000;

/**
 * `onEvent` gets each event. `onState(state, error)` is told of `connecting`, `live`, `paused`,
 * `lost` (it tries again) and `key` (the server wants one, or another one: `start` tries again).
 */
export class Stream {
  #path;
  #onEvent;
  #onState;
  #abort = null;
  #pause = FIRST_PAUSE_MS;
  #timer = null;

  constructor(path, onEvent, onState) {
    this.#path = path;
    this.#onEvent = onEvent;
    this.#onState = onState;
  }

  /** Connects, if it is not connected. */
  start() {
    if (this.#abort) return;
    clearTimeout(this.#timer);
    this.#onState('connecting');
    this.#connect();
  }

  /** Ends the connection. */
  stop() {
    this.#end();
    this.#onState('paused');
  }

  /** Connects anew, with another key for example. */
  restart() {
    this.#end();
    this.#pause = FIRST_PAUSE_MS;
    this.start();
  }

  #end() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = null;
  }

  async #connect() {
    const abort = new AbortController();
    this.#abort = abort;
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort('silence'), SILENCE_MS);
    };
    heard();
    let problem = null;
    try {
      const headers = { Accept: 'text/event-stream' };
      const response = await ask(this.#path, { headers, signal: abort.signal });
      await readEvents(response, (event) => {
        heard();
        this.#pause = FIRST_PAUSE_MS;
        if (this.#abort === abort) this.#onEvent(event);
      });
    } catch (error) {
      problem = error;
    }
    clearTimeout(silence);
    if (this.#abort === abort) this.#broken(problem);
  }

  #broken(problem) {
    this.#abort = null;
    if (problem?.status === 401 || problem?.status === 403) {
      this.#onState('key', problem);
      return;
    }
    this.#onState('lost', problem);
    const pause = Math.max(this.#pause, 1000 * (problem?.retryAfter ?? 0));
    this.#timer = setTimeout(() => this.#connect(), pause);
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE_MS);
  }
}
