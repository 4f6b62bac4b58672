// The table of sequences. A sequence keeps its line for as long as it is there, so that a button
// does not change under a finger or lose the focus.

import { $, button, h } from '../../page/dom.js';
import { count, seconds, three } from '../format.js';

/** Milliseconds in which a second press of a button cancels a request. */
const SURE_MS = 4_000;

const COLOURS = { waiting: 'free', prefill: 'prefill', decode: 'decode', preempted: 'verify' };
const lines = new Map();
let actions;

/** `actions`: `cancel(request)` and `follow(request)`, which shows the request's lines of the log. */
export function begin(given) {
  actions = given;
}

function cancelButton(request) {
  let timer = null;
  const cancel = button(
    'Cancel',
    () => {
      const isSure = timer !== null;
      clearTimeout(timer);
      timer = isSure ? null : setTimeout(reset, SURE_MS);
      if (isSure) actions.cancel(request).finally(reset);
      cancel.textContent = isSure ? 'Cancelling' : 'Really?';
      cancel.disabled = isSure;
      cancel.classList.toggle('sure', !isSure);
    },
    { class: 'small', 'aria-label': `Cancel ${request}` },
  );
  function reset() {
    timer = null;
    cancel.textContent = 'Cancel';
    cancel.disabled = false;
    cancel.classList.remove('sure');
  }
  return cancel;
}

/** A cell with a bar of one or two parts, and the numbers beside it. */
function progress(name, kinds) {
  const bars = kinds.map((kind) => h('i', { class: `c-${kind}` }));
  const text = h('span');
  const cell = h(
    'td',
    { 'data-name': name, class: 'wide' },
    h('span', { class: 'progress' }, h('span', { class: 'track' }, bars), text),
  );
  return {
    cell,
    set: (parts, total) => {
      parts.forEach((part, i) => {
        bars[i].style.width = `${total ? Math.min(100, (100 * part) / total) : 0}%`;
      });
      put(text, `${count(parts.reduce((sum, part) => sum + part, 0))} / ${count(total)}`);
    },
  };
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Who asked: a button where the request's id is told, and words where it is another's. */
function whose({ request_id: request, choice, route }) {
  const name = request
    ? button(request, () => actions.follow(request), { 'aria-label': `Show the log of ${request}` })
    : h('span', { class: 'other' }, 'of another key');
  const more = [choice > 0 ? `choice ${choice}` : '', route ?? ''].filter(Boolean).join(' ');
  return h('th', { scope: 'row' }, name, more ? h('small', {}, more) : null);
}

function newLine(sequence) {
  const swatch = h('span', { class: 'swatch' });
  const phase = h('span');
  const prompt = progress('prompt', ['cached', 'prefill']);
  const made = progress('made', ['decode']);
  const number = (name) => h('td', { class: 'number', 'data-name': name });
  const [rate, blocks, waited, preempted] = ['tokens/s', 'blocks', 'waited', 'preempted'].map(number);
  const cancel = sequence.request_id && sequence.may_cancel ? cancelButton(sequence.request_id) : null;
  const head = whose(sequence);
  const row = h(
    'tr',
    {},
    head,
    h('td', {}, h('span', { class: 'phase' }, swatch, phase)),
    prompt.cell,
    made.cell,
    rate,
    blocks,
    waited,
    preempted,
    h('td', {}, cancel),
  );
  return { row, head, swatch, phase, prompt, made, rate, blocks, waited, preempted };
}

/** What has no column. */
function detailsOf({ key, priority, cached_tokens: cached, drafts, age_seconds: age }) {
  const owner = key === null ? '' : `key ${key}, `;
  return `${owner}priority ${priority}, ${cached} prompt tokens cached, ${drafts} drafts in hand, ${seconds(age)} old`;
}

function fill(line, sequence) {
  const cached = Math.min(sequence.cached_tokens, sequence.prompt_done);
  put(line.phase, sequence.phase);
  line.swatch.className = `swatch c-${COLOURS[sequence.phase] ?? 'free'}`;
  line.head.title = detailsOf(sequence);
  line.prompt.set([cached, sequence.prompt_done - cached], sequence.prompt_tokens);
  line.made.set([sequence.tokens], sequence.max_tokens);
  put(line.rate, sequence.tokens_per_second === null ? '–' : three(sequence.tokens_per_second));
  put(line.blocks, count(sequence.blocks));
  put(line.waited, seconds(sequence.waited_seconds));
  put(line.preempted, count(sequence.preemptions));
}

/** Shows these sequences, of `total`, to somebody with these rights. */
export function show(sequences, total, rights) {
  const body = $('sequences').tBodies[0];
  const gone = new Set(lines.keys());
  sequences.forEach((sequence, i) => {
    gone.delete(sequence.id);
    if (!lines.has(sequence.id)) lines.set(sequence.id, newLine(sequence));
    const line = lines.get(sequence.id);
    fill(line, sequence);
    if (body.children[i] !== line.row) body.insertBefore(line.row, body.children[i] ?? null);
  });
  for (const key of gone) {
    lines.get(key).row.remove();
    lines.delete(key);
  }
  const hidden = total - sequences.length;
  $('sequences').hidden = total === 0;
  $('sequences-empty').hidden = total > 0;
  const notes = [hidden > 0 ? `${count(hidden)} more are not listed.` : '', rights.reason ?? ''];
  put($('sequences-note'), notes.filter(Boolean).join(' '));
}
