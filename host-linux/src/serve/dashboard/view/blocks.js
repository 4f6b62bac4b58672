// The map of the KV blocks: a square for each of them, in the order of the cache.

import { $, h } from '../../page/dom.js';
import { count, many, percent } from '../format.js';
import { colour, Cursor, prepared, whenChanged } from './canvas.js';

/** What a block can be: the colour's name, the legend's words, and the owners from which it is so. */
const STATES = [
  ['free', 'free', -Infinity],
  ['cached', 'cached', 0],
  ['held', 'held by one', 1],
  ['shared-2', 'shared by 2', 2],
  ['shared-4', 'by 3 or 4', 3],
  ['shared-9', 'by more', 5],
];
/** CSS pixels: the picture's height at most, and a square's side with the gap, at most and least. */
const HEIGHT = 232;
const LARGEST = 20;
const SMALLEST = 3;

let map = { owners: [], per: 1, blocks: 0, tokens: 0 };
let grid = { columns: 1, side: LARGEST };
let cursor;

const stateOf = (owners) => STATES.findLast(([, , from]) => owners >= from);

/** Prepares the picture and its legend. */
export function begin() {
  const canvas = $('blocks');
  $('blocks-legend').replaceChildren(
    ...STATES.map(([state, name]) =>
      h('li', {}, h('span', { class: `swatch c-${state}` }), name, ' ', h('strong', { id: `count-${state}` }, '0')),
    ),
  );
  cursor = new Cursor(canvas, {
    hit: (x, y) => {
      const column = Math.floor(x / grid.side);
      const at = Math.floor(y / grid.side) * grid.columns + column;
      return column < grid.columns && at >= 0 && at < map.owners.length ? at : null;
    },
    move: moved,
    change: draw,
  });
  whenChanged(canvas, draw);
}

function moved(at, key) {
  const last = map.owners.length - 1;
  if (last < 0) return null;
  if (key === 'Home' || at === null) return 0;
  if (key === 'End') return last;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns }[key];
  return Math.min(last, Math.max(0, at + by));
}

/**
 * Shows a map: `owners` has for each square how many sequences hold its blocks, 0 where they are
 * cached and -1 where they are free; a square stands for `per` blocks.
 */
export function show(latest) {
  map = latest;
  draw();
  for (const [state] of STATES) $(`count-${state}`).textContent = count(map.counts[state] ?? 0);
  const used = map.blocks === 0 ? 0 : map.held / map.blocks;
  $('blocks-note').textContent = `${many(map.blocks, 'block')} of ${map.tokens} tokens, ${percent(used)} held`;
}

/** The largest squares with which the map is no higher than it may be. */
function fit(width) {
  let side = LARGEST;
  while (side > SMALLEST && Math.ceil(map.owners.length / Math.floor(width / side)) * side > HEIGHT) side -= 1;
  return { side, columns: Math.max(1, Math.floor(width / side)) };
}

function draw() {
  const canvas = $('blocks');
  grid = fit(canvas.clientWidth);
  const lines = Math.max(1, Math.ceil(map.owners.length / grid.columns));
  const { context } = prepared(canvas, lines * grid.side);
  const size = grid.side - (grid.side > 5 ? 2 : 1);
  map.owners.forEach((owners, at) => {
    const [x, y] = [(at % grid.columns) * grid.side, Math.floor(at / grid.columns) * grid.side];
    context.fillStyle = colour(`--${stateOf(owners)[0]}`);
    context.fillRect(x, y, size, size);
    if (at !== cursor.at) return;
    context.strokeStyle = colour('--text');
    context.lineWidth = 2;
    context.strokeRect(x, y, size, size);
  });
  tell();
}

function tell() {
  const owners = cursor.at === null ? undefined : map.owners[cursor.at];
  let text = '';
  if (owners !== undefined) {
    const first = cursor.at * map.per;
    const last = Math.min(map.blocks, first + map.per) - 1;
    const state = owners > 1 ? `shared by ${owners} sequences` : stateOf(owners)[1].replace('one', 'one sequence');
    text = map.per === 1 ? `Block ${first}: ${state}` : `Blocks ${first} to ${last}: ${state}`;
  }
  if ($('blocks-told').textContent !== text) $('blocks-told').textContent = text;
}
