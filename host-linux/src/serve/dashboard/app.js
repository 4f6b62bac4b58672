// Puts the dashboard together: the connection, the parts of the page, keys, colours, the API key.

import { ask } from '../page/api.js';
import { $, announce, toast } from '../page/dom.js';
import { applyTheme, keyField, nextTheme } from '../page/settings.js';
import { count, percent, seconds, three } from './format.js';
import { fieldsOf, mapOf, meanStep, Memory, VERSION } from './model.js';
import { Stream } from './stream.js';
import * as blocks from './view/blocks.js';
import * as figures from './view/figures.js';
import * as log from './view/log.js';
import * as server from './view/server.js';
import * as sequences from './view/sequences.js';
import * as steps from './view/steps.js';

/** Milliseconds between events: more where somebody wants little to move. */
const INTERVAL_MS = window.matchMedia('(prefers-reduced-motion: reduce)').matches ? 1000 : 250;
const FIGURES = [
  ['tokens', 'Tokens/s', 'Tokens that were made in the last second'],
  ['running', 'Running', 'Sequences that take part in steps'],
  ['waiting', 'Waiting', 'Sequences that wait to run, new ones and preempted ones'],
  ['step', 'Step time', 'Mean time of the steps since the last event'],
  ['busy', 'Busy', 'Share of the time that steps took'],
  ['blocks', 'KV blocks held', 'Share of the KV blocks that sequences hold'],
];
const STATES = {
  connecting: 'Connecting',
  live: 'Live',
  paused: 'Paused',
  lost: 'Connection lost, trying again',
  key: 'A key is wanted',
};

const memory = new Memory();
let state = 'connecting';
let isPaused = false;

const stream = new Stream(`dashboard/events?interval_ms=${INTERVAL_MS}`, show, changed);

/** Shows an event. */
function show(event) {
  if (state !== 'live') changed('live');
  if (event.version !== VERSION) {
    problem(
      `The server sends events of version ${event.version}, and this page reads version ${VERSION}: load it anew.`,
    );
    return;
  }
  if (memory.take(event)) log.clear();
  showFigures(event);
  sequences.show(event.sequences, event.sequences_total, event.rights);
  steps.show(memory.steps);
  blocks.show(mapOf(event));
  server.show(event);
  log.add(memory.newLines(event).map((line) => ({ ...line, fields: fieldsOf(line) })));
  problem(event.server.failure ?? (event.server.phase === 'ready' ? '' : `The server is ${event.server.phase}.`));
}

function showFigures({ engine, kv, server: { max_seqs: places, max_queue: queue }, steps: { list } }) {
  const past = (name, value) => memory.past(name, value);
  const held = kv.blocks ? kv.held / kv.blocks : 0;
  // A step that takes longer than events are apart is told while it runs.
  const ms = meanStep(list) ?? engine.step?.age_ms ?? null;
  figures.show('tokens', three(engine.tokens_per_second ?? 0), '', past('tokens', engine.tokens_per_second));
  figures.show('running', count(engine.running), `of ${count(places)}`, past('running', engine.running));
  figures.show('waiting', count(engine.waiting), `of ${count(queue)}`, past('waiting', engine.waiting));
  figures.show('step', ms === null ? '–' : seconds(ms / 1000), '', past('step', ms));
  figures.show('busy', percent(engine.busy ?? 0), '', past('busy', engine.busy));
  figures.show('blocks', percent(held), `${count(kv.held)} of ${count(kv.blocks)}`, past('blocks', held));
}

/** Tells what is wrong, or that nothing is. */
function problem(text) {
  if ($('problem').textContent !== text) $('problem').textContent = text;
  $('problem').hidden = text === '';
}

/** What the connection's state means for the page. */
function changed(next, error = null) {
  if (next === 'connecting' && state === 'lost') return;
  if (next !== state) announce(STATES[next]);
  state = next;
  $('connection').dataset.state = next;
  $('connection-text').textContent = STATES[next];
  document.body.classList.toggle('stale', next === 'lost' || next === 'key');
  if (next === 'lost' && error?.status) problem(error.message);
  if (next === 'live') $('key-wanted').hidden = true;
  if (next === 'key') {
    $('key-wanted').textContent = error.message;
    $('key-wanted').hidden = false;
    showKey();
  }
}

function showKey() {
  if (!$('key')) {
    $('fields').replaceChildren(keyField(withKey));
    $('key').addEventListener('keydown', (event) => {
      if (event.key !== 'Enter') return;
      $('key').blur();
      $('key-dialog').close();
    });
  }
  if (!$('key-dialog').open) $('key-dialog').showModal();
  $('key').focus();
}

function withKey() {
  if (!isPaused) stream.restart();
}

function pause() {
  isPaused = !isPaused;
  $('pause').textContent = isPaused ? 'Go on' : 'Pause';
  $('pause').setAttribute('aria-pressed', String(isPaused));
  if (isPaused) stream.stop();
  else stream.start();
}

async function cancel(request) {
  try {
    await ask(`dashboard/requests/${encodeURIComponent(request)}`, { method: 'DELETE' });
    toast(`${request} was cancelled.`);
  } catch (error) {
    toast(`${request} was not cancelled: ${error.message}`);
  }
}

function follow(request) {
  log.filter(request);
  $('log-filter').focus();
}

function wireButtons() {
  const on = (id, handler) => $(id).addEventListener('click', handler);
  on('pause', pause);
  on('theme', () => {
    const theme = nextTheme();
    $('theme').setAttribute('aria-label', `Colours: ${theme}`);
    toast(`Colours: ${theme}`);
  });
  on('key-open', showKey);
  on('key-close', () => $('key-dialog').close());
  on('keys-open', () => $('keys').showModal());
  on('keys-close', () => $('keys').close());
  document.addEventListener('visibilitychange', () => {
    if (isPaused) return;
    if (document.hidden) stream.stop();
    else stream.start();
  });
}

function wireKeys() {
  document.addEventListener('keydown', (event) => {
    const isWriting = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if (document.querySelector('dialog[open]') || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape' && document.activeElement === $('log-filter')) log.filter('');
    else if (isWriting) return;
    else if (event.key === 'p') pause();
    else if (event.key === '/') $('log-filter').focus();
    else if (event.key === '?') $('keys').showModal();
    else return;
    event.preventDefault();
  });
}

applyTheme();
wireButtons();
wireKeys();
figures.begin(FIGURES);
sequences.begin({ cancel, follow });
steps.begin();
blocks.begin();
log.begin();
if (!document.hidden) stream.start();
