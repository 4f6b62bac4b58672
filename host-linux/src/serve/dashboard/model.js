// What the events tell, in the shapes that the parts of the page show, and what is remembered of
// the events before. Events are described in docs/dashboard.md.

/** The version of the events that this page was made for. */
export const VERSION = 1;
/** Steps that are remembered, and points of each figure's past. */
const STEPS = 600;
const POINTS = 240;
/** Milliseconds by which two reckonings of the server's start may differ. */
const SAME_START_MS = 2_000;

const sum = (list) => list.reduce((total, one) => total + one, 0);

/** Remembers the steps, the lines of the log and the past of figures while one server runs. */
export class Memory {
  #started = null;
  #lastLine = -1;
  steps = [];
  pasts = new Map();

  /** Takes an event. Whether it is from another run of the server: all before it is forgotten. */
  take(event) {
    const started = event.time_ms - event.uptime_seconds * 1000;
    const isOther = this.#started !== null && Math.abs(started - this.#started) > SAME_START_MS;
    this.#started = started;
    if (isOther) {
      this.#lastLine = -1;
      this.steps = [];
      this.pasts.clear();
    }
    const last = this.steps.at(-1)?.n ?? -1;
    this.steps.push(...event.steps.list.filter((step) => step.n > last));
    this.steps.splice(0, Math.max(0, this.steps.length - STEPS));
    return isOther;
  }

  /** The lines of an event that were not in one before. */
  newLines(event) {
    const lines = event.log.list.filter((line) => line.n > this.#lastLine);
    if (lines.length) this.#lastLine = lines.at(-1).n;
    return lines;
  }

  /** The past of a figure, with its newest value. */
  past(name, value) {
    if (!this.pasts.has(name)) this.pasts.set(name, []);
    const points = this.pasts.get(name);
    points.push(value ?? 0);
    points.splice(0, Math.max(0, points.length - POINTS));
    return points;
  }
}

/** Mean milliseconds of the steps that the served model took; null where there was none. */
export function meanStep(steps) {
  const times = steps.filter((step) => step.kind !== 'draft').map((step) => step.ms);
  return times.length ? sum(times) / times.length : null;
}

/** The map of the KV blocks: how many hold each square's blocks, 0 cached, -1 free. */
export function mapOf({ kv }) {
  const owners = (kv.map?.runs ?? []).flatMap(([state, cells]) => new Array(cells).fill(state - 1));
  const among = (from, to) =>
    sum(kv.sharing.filter(([holders]) => holders >= from && holders <= to).map(([, blocks]) => blocks));
  return {
    owners,
    per: kv.map?.blocks_per_cell ?? 1,
    blocks: kv.blocks,
    tokens: kv.block_tokens,
    held: kv.held,
    counts: {
      free: kv.free,
      cached: kv.cached,
      held: among(1, 1),
      'shared-2': among(2, 2),
      'shared-4': among(3, 4),
      'shared-9': among(5, Infinity),
    },
  };
}

/** The fields of a line of the log, as text. */
export function fieldsOf({ fields }) {
  return Object.entries(fields ?? {})
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}=${typeof value === 'object' ? JSON.stringify(value) : value}`)
    .join(' ');
}
