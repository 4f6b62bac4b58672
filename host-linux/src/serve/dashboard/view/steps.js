// The latest steps as a picture that scrolls: above, the rows of each by kind and the row budget;
// below, the time that it took. Heights grow with the square root, so that a step of one row is
// seen beside one of a thousand.

import { $, h } from '../../page/dom.js';
import { many, seconds } from '../format.js';
import { colour, Cursor, prepared, whenChanged } from './canvas.js';

/** Kinds of rows, from the axis upwards: the name in the model, and in the legend. */
const KINDS = [
  ['decode', 'decode'],
  ['verify', 'draft tokens verified'],
  ['draft', 'draft model'],
  ['prefill', 'prefill'],
];
/** CSS pixels of a step with the gap behind it, of the axis labels, and of the picture. */
const BAR = 5;
const LEFT = 54;
const HEIGHT = 232;
/** Where the rows end and the times begin, in CSS pixels from above. */
const ROWS = { top: 10, bottom: 138 };
const TIMES = { top: 156, bottom: 228 };

/** A budget is in the picture up to so many times the most that any step took of it. */
const FAR = 6;

const rowsOf = (step) => KINDS.reduce((sum, [kind]) => sum + step[kind], 0);

let steps = [];
let cursor;

/** Prepares the picture and its legend. */
export function begin() {
  const canvas = $('steps');
  $('steps-legend').replaceChildren(
    ...KINDS.map(([kind, name]) => h('li', {}, h('span', { class: `swatch c-${kind}` }), name)),
    h('li', {}, h('span', { class: 'swatch line' }), 'budget'),
    h('li', {}, h('span', { class: 'swatch c-time' }), 'time'),
  );
  cursor = new Cursor(canvas, {
    hit: (x) => {
      const place = Math.ceil((canvas.clientWidth - x) / BAR);
      return x < LEFT ? null : (steps.at(-Math.max(1, place))?.n ?? null);
    },
    move: moved,
    change: draw,
  });
  whenChanged(canvas, draw);
}

function moved(at, key) {
  const last = steps.length - 1;
  const now = steps.findIndex((step) => step.n === at);
  const to = { ArrowLeft: now < 0 ? last : now - 1, ArrowRight: now < 0 ? last : now + 1, Home: 0, End: last }[key];
  return to === undefined ? at : (steps[Math.min(last, Math.max(0, to))]?.n ?? null);
}

/** Shows these steps, the latest at the right. */
export function show(latest) {
  steps = latest;
  draw();
  const { budget_rows: rows = null, budget_ms: ms = null } = steps.at(-1) ?? {};
  const budgets = [rows === null ? '' : many(rows, 'row'), ms === null ? '' : seconds(ms / 1000)].filter(Boolean);
  const text = budgets.length ? `budget of the latest: ${budgets.join(', ')}` : '';
  if ($('steps-note').textContent !== text) $('steps-note').textContent = text;
}

/** Ticks of an axis up to `most`: powers of a base, the lowest first. */
function ticks(most, base, first) {
  const values = [];
  for (let value = first; value <= most; value *= base) values.push(value);
  return values.slice(-4);
}

/** A power of ten of milliseconds. */
const tick = (ms) => (ms < 1000 ? `${Number(ms.toPrecision(1))} ms` : `${Math.round(ms / 1000)} s`);

function axis(context, { top, bottom }, width, most, values, name) {
  context.font = '11px system-ui, sans-serif';
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  for (const value of [0, ...values]) {
    const y = Math.round(bottom - (bottom - top) * Math.sqrt(value / most)) + 0.5;
    context.strokeStyle = colour('--grid');
    context.beginPath();
    context.moveTo(LEFT, y);
    context.lineTo(width, y);
    context.stroke();
    context.fillStyle = colour('--quiet');
    if (value > 0) context.fillText(name(value), LEFT - 6, y);
  }
}

function bars(context, step, x, mostRows, mostTime) {
  const total = rowsOf(step);
  const high = Math.max(2, (ROWS.bottom - ROWS.top) * Math.sqrt(total / mostRows));
  let y = ROWS.bottom;
  for (const [kind] of KINDS) {
    if (step[kind] === 0) continue;
    const part = Math.max(1, (high * step[kind]) / total);
    context.fillStyle = colour(`--${kind}`);
    context.fillRect(x, y - part, BAR - 1, part);
    y -= part;
  }
  const long = Math.max(1, (TIMES.bottom - TIMES.top) * Math.sqrt(step.ms / mostTime));
  context.fillStyle = colour('--time');
  context.fillRect(x, TIMES.bottom - long, BAR - 1, long);
  limit(context, x, ROWS, step.budget_rows / mostRows);
  limit(context, x, TIMES, step.budget_ms / mostTime);
  if (step.n !== cursor.at) return;
  context.strokeStyle = colour('--text');
  context.strokeRect(x - 1.5, ROWS.top - 4.5, BAR + 2, TIMES.bottom - ROWS.top + 8);
}

/** The upper end of an axis: the most that is taken, and the budgets that are not far above it. */
function scale(least, taken, budgets) {
  const most = Math.max(least, ...taken);
  return Math.max(most, ...budgets.filter((budget) => budget !== null && budget <= FAR * most));
}

/** A dash where a budget is; there is none where it is unbounded, or far above the axis. */
function limit(context, x, { top, bottom }, share) {
  if (!(share > 0 && share <= 1)) return;
  context.fillStyle = colour('--limit');
  context.fillRect(x, Math.round(bottom - (bottom - top) * Math.sqrt(share)) - 1, BAR - 2, 2);
}

function draw() {
  const { context, width } = prepared($('steps'), HEIGHT);
  if (steps.length === 0) return;
  const shown = steps.slice(-Math.max(1, Math.floor((width - LEFT) / BAR)));
  const mostRows = scale(
    4,
    shown.map(rowsOf),
    shown.map((step) => step.budget_rows),
  );
  const mostTime = scale(
    0.1,
    shown.map((step) => step.ms),
    shown.map((step) => step.budget_ms),
  );
  axis(context, ROWS, width, mostRows, ticks(mostRows, 4, 1), String);
  axis(context, TIMES, width, mostTime, ticks(mostTime, 10, 1e-3).slice(-2), tick);
  shown.forEach((step, i) => bars(context, step, width - (shown.length - i) * BAR, mostRows, mostTime));
  tell();
}

function tell() {
  const step = steps.find((one) => one.n === cursor.at);
  const parts = step ? KINDS.filter(([kind]) => step[kind] > 0).map(([kind, name]) => `${step[kind]} ${name}`) : [];
  const most = step?.budget_rows ? ` of at most ${step.budget_rows}` : '';
  const text = step
    ? `Step ${step.n}: ${many(rowsOf(step), 'row')}${most} (${parts.join(', ')}) in ${seconds(step.ms / 1000)}`
    : '';
  if ($('steps-told').textContent !== text) $('steps-told').textContent = text;
}
