// The figures at the top, each with what it was in the last minutes.

import { $, h } from '../../page/dom.js';
import { colour, prepared, whenChanged } from './canvas.js';

const tiles = new Map();

/** Makes a tile for each figure: `[name, label, title]`. */
export function begin(figures) {
  for (const [name, label, title] of figures) {
    const value = h('p', { class: 'value', id: `figure-${name}` }, '–');
    const canvas = h('canvas', { 'aria-hidden': 'true' });
    const tile = h('div', { class: 'figure', title }, h('p', { class: 'label' }, label), value, canvas);
    $('figures').append(tile);
    tiles.set(name, { value, canvas, points: [] });
    whenChanged(canvas, () => draw(name));
  }
}

/** Shows a figure: its text, its unit in small letters, and its past. */
export function show(name, text, unit, points) {
  const tile = tiles.get(name);
  tile.points = points;
  tile.value.replaceChildren(text, unit ? h('small', {}, ` ${unit}`) : '');
  draw(name);
}

function draw(name) {
  const { canvas, points } = tiles.get(name);
  const { context, width, height } = prepared(canvas);
  if (points.length < 2) return;
  const most = Math.max(1e-9, ...points);
  const step = width / (points.length - 1);
  const y = (value) => height - 1.5 - (height - 3) * (value / most);
  context.save();
  context.beginPath();
  points.forEach((value, i) => context.lineTo(i * step, y(value)));
  context.strokeStyle = colour('--accent');
  context.lineWidth = 1.5;
  context.lineJoin = 'round';
  context.stroke();
  context.lineTo(width, height);
  context.lineTo(0, height);
  context.globalAlpha = 0.14;
  context.fillStyle = colour('--accent');
  context.fill();
  context.restore();
}
