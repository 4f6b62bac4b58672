// The raw view of an answer: every token with its probability, and the others that stood in its
// place; to choose one of them takes the answer another way from there.

import { button, h } from '../dom.js';

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** A token as it can be seen: signs for blanks and ends of lines, bytes where they are no text. */
export function shownToken(bytes, id) {
  let text;
  try {
    text = utf8.decode(new Uint8Array(bytes));
  } catch {
    return bytes.map((byte) => `‹${byte.toString(16).padStart(2, '0')}›`).join('');
  }
  return text.replace(/\n/g, '⏎').replace(/\t/g, '⇥').replace(/^ | $/g, '·') || `#${id}`;
}

/** A probability as people read it. */
export function percent(lp) {
  if (lp === null) return 'unknown';
  const p = Math.exp(lp) * 100;
  if (p >= 99.995) return '≈ 100%';
  return p >= 0.01 ? `${p.toFixed(2)}%` : '< 0.01%';
}

/** How sure the model was: 0 of nothing, 5 of everything. */
const level = (lp) => (lp === null ? 'none' : Math.min(5, Math.floor(Math.exp(lp) * 5.05)));

function alternativesOf(answer, k, onBranch) {
  const token = answer.tokens[k];
  const rows = token.top.map(([id, lp, bytes]) => {
    const isTaken = id === answer.ids[k];
    const name = shownToken(bytes, id);
    const choose = button(isTaken ? 'taken' : 'Take', () => onBranch(k, [id, lp, bytes]), {
      class: 'small',
      disabled: isTaken || token.call,
      'aria-label': isTaken ? 'taken' : `Take ${name}`,
    });
    return h(
      'tr',
      { class: isTaken ? 'taken' : null },
      h('th', { scope: 'row' }, h('code', {}, name)),
      h('td', {}, h('meter', { min: 0, max: 1, value: Math.exp(lp), 'aria-label': 'probability' })),
      h('td', { class: 'number' }, percent(lp)),
      h('td', { class: 'number' }, String(id)),
      h('td', {}, choose),
    );
  });
  const head = `Token ${k + 1} of ${answer.ids.length}: id ${answer.ids[k]}, ${percent(token.lp)}, log-probability ${token.lp}`;
  return [
    h('p', {}, head),
    rows.length
      ? h(
          'div',
          { class: 'table' },
          h(
            'table',
            { class: 'alternatives' },
            h(
              'thead',
              {},
              h(
                'tr',
                {},
                ['token', 'probability', '', 'id', ''].map((t) => h('th', { scope: 'col' }, t)),
              ),
            ),
            h('tbody', {}, rows),
          ),
        )
      : h('p', {}, 'No alternatives were told of it.'),
  ];
}

/** The raw view. Arrow keys go from token to token; `onBranch(k, alternative)` takes another way. */
export function rawView(answer, onBranch) {
  const detail = h(
    'div',
    { class: 'raw-detail', 'aria-live': 'polite' },
    h('p', {}, 'Choose a token to see what else could have stood in its place.'),
  );
  const tokens = answer.ids.map((id, k) => {
    const { lp, bytes } = answer.tokens[k];
    return button(shownToken(bytes, id), () => select(k), {
      class: `token sure-${level(lp)}${k === answer.forced - 1 ? ' forced' : ''}`,
      tabindex: k ? -1 : 0,
      title: percent(lp),
      'aria-label': `${shownToken(bytes, id)}, ${percent(lp)}`,
    });
  });
  function select(k) {
    for (const token of tokens) {
      token.tabIndex = -1;
      token.removeAttribute('aria-pressed');
    }
    tokens[k].tabIndex = 0;
    tokens[k].setAttribute('aria-pressed', 'true');
    detail.replaceChildren(...alternativesOf(answer, k, onBranch));
  }
  const strip = h(
    'div',
    {
      class: 'tokens',
      role: 'group',
      'aria-label': 'Tokens of the answer',
      onkeydown: (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        const next = tokens[tokens.indexOf(document.activeElement) + step];
        if (step && next) {
          event.preventDefault();
          next.focus();
          select(tokens.indexOf(next));
        }
      },
    },
    tokens,
  );
  const legend = h(
    'p',
    { class: 'legend' },
    'Less sure ',
    [0, 1, 2, 3, 4, 5].map((n) => h('span', { class: `token sure-${n}`, 'aria-hidden': 'true' }, '\u00a0')),
    ' More sure',
  );
  return h('div', { class: 'raw' }, legend, strip, detail);
}
