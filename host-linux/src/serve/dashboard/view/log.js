// The latest lines of the server's log, those of one request alone where one is asked for.

import { $, button, h } from '../../page/dom.js';
import { many } from '../format.js';

/** Lines that are kept. */
const KEPT = 500;

let kept = [];
let isPinned = true;

/** Prepares the filter. */
export function begin() {
  const list = $('log');
  $('log-filter').addEventListener('input', refresh);
  list.addEventListener('scroll', () => {
    isPinned = list.scrollTop + list.clientHeight >= list.scrollHeight - 4;
  });
}

/** Shows only lines with this text, or this request's where it is the whole id of one. */
export function filter(text) {
  $('log-filter').value = text;
  isPinned = true;
  refresh();
}

function refresh() {
  const text = $('log-filter').value.trim().toLowerCase();
  const isId = kept.some((line) => line.request === text);
  const found = kept.filter((line) => (isId ? line.request === text : line.search.includes(text)));
  $('log').replaceChildren(...found.map((line) => line.node));
  $('log-note').textContent = text ? `${found.length} of the latest ${many(kept.length, 'line')}` : '';
  toEnd();
}

function toEnd() {
  $('log-empty').hidden = $('log').children.length > 0;
  if (isPinned) $('log').scrollTop = $('log').scrollHeight;
}

function nodeOf({ time_ms: ms, level, message, fields, request_id: request }) {
  const time = new Date(ms).toISOString();
  const id = request ? button(request, () => filter(request), { 'aria-label': `Only lines of ${request}` }) : null;
  return h(
    'li',
    { class: `level-${level}` },
    h('time', { datetime: time, title: 'UTC' }, time.slice(11, 23)),
    id,
    h('span', {}, message, fields ? h('small', {}, ` ${fields}`) : null),
  );
}

/** Adds lines: `{ time_ms, level, message, fields, request_id }`, the fields as text. */
export function add(lines) {
  if (lines.length === 0) return;
  const fresh = lines.map((line) => ({
    request: line.request_id?.toLowerCase(),
    search: `${line.request_id ?? ''} ${line.message} ${line.fields}`.toLowerCase(),
    node: nodeOf(line),
  }));
  kept.push(...fresh);
  for (const line of kept.splice(0, Math.max(0, kept.length - KEPT))) line.node.remove();
  if ($('log-filter').value.trim()) {
    refresh();
    return;
  }
  $('log').append(...fresh.map((line) => line.node));
  toEnd();
}

/** Forgets all lines: those of another run of the server. */
export function clear() {
  kept = [];
  refresh();
}
