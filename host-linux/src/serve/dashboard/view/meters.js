// Bars with limits. Each line stays the same element, so that what is read or pointed at stays.

import { h } from '../../page/dom.js';
import { percent } from '../format.js';

/** From this share of its limit on a bar is marked. */
const HIGH = 0.9;

const width = (share) => `${100 * Math.min(1, Math.max(0, share))}%`;

/**
 * Shows lines in a list: `{ name, share, lost, text, title, isLimit }`. `share` is between 0 and 1,
 * or null where there is no bar; `lost` is another share, behind it in another colour. A bar that
 * has a limit is marked when it is near it.
 */
export function show(list, lines) {
  const kept = new Map([...list.children].map((node) => [node.dataset.name, node]));
  lines.forEach(({ name, share, lost, text, title, isLimit }, i) => {
    let line = kept.get(name);
    kept.delete(name);
    if (!line) {
      const track = h('div', { class: 'track', role: 'img' }, h('i'), h('i', { class: 'lost' }));
      line = h('div', { 'data-name': name }, h('dt', {}, name), h('dd', {}, track), h('dd'));
    }
    if (list.children[i] !== line) list.insertBefore(line, list.children[i] ?? null);
    const [label, bar, value] = line.children;
    const track = bar.firstChild;
    if (title) label.title = title;
    if (value.textContent !== text) value.textContent = text;
    line.classList.toggle('no-bar', share === null);
    if (share !== null) {
      track.firstChild.style.width = width(share);
      track.lastChild.style.width = width(Math.min(lost ?? 0, 1 - share));
      track.setAttribute('aria-label', percent(share));
    }
    line.classList.toggle('high', Boolean(isLimit) && share >= HIGH);
  });
  for (const line of kept.values()) line.remove();
}
