// Markdown to nodes. They are built one by one, so that HTML of a model stays text; links lead to
// the web or to mail only, and nothing is fetched, no image either.

import { copy, h } from '../dom.js';
import { parseBlocks } from './blocks.js';
import { highlight } from './highlight.js';
import { parseInline } from './inline.js';
import { math } from './math.js';

/** A link, or its text alone where it would not lead to the web. */
function link(href, title, children) {
  if (!/^(?:https?:\/\/|mailto:)/i.test(href)) return h('span', { title: href }, children);
  return h('a', { href, title, target: '_blank', rel: 'noopener noreferrer nofollow' }, children);
}

const INLINE = {
  text: ({ value }) => value,
  break: () => h('br'),
  code: ({ value }) => h('code', {}, value),
  math: ({ latex, display }) => math(latex, display),
  strong: ({ inner }) => h('strong', {}, inner.map(inlineNode)),
  emphasis: ({ inner }) => h('em', {}, inner.map(inlineNode)),
  deleted: ({ inner }) => h('del', {}, inner.map(inlineNode)),
  link: ({ href, title, inner }) => link(href, title, inner.map(inlineNode)),
  image: ({ href, title, inner }) => link(href, title, ['Image: ', ...(inner.length ? inner.map(inlineNode) : [href])]),
};
const inlineNode = (piece) => INLINE[piece.type](piece);

/** A block of code with its language and a button that copies it. */
export function codeBlock(text, language = '') {
  const name = language.split(/\s+/)[0];
  return h(
    'div',
    { class: 'code' },
    h(
      'div',
      { class: 'code-head' },
      h('span', {}, name || 'text'),
      h('button', { type: 'button', class: 'small', onclick: () => copy(text), 'aria-label': 'Copy code' }, 'Copy'),
    ),
    h('pre', { tabindex: '0' }, h('code', {}, highlight(text, name))),
  );
}

/** Builds the nodes of blocks, with the links that are defined by name. */
class Builder {
  constructor(links) {
    this.links = links;
  }

  inline(text) {
    return parseInline(text, this.links).map(inlineNode);
  }

  blocks(list) {
    return list.map((block) => this[block.type](block));
  }

  paragraph({ text }) {
    return h('p', {}, this.inline(text));
  }

  heading({ depth, text }) {
    return h(`h${Math.min(depth + 2, 6)}`, {}, this.inline(text));
  }

  rule() {
    return h('hr');
  }

  code({ text, language }) {
    return codeBlock(text, language);
  }

  math({ latex }) {
    return math(latex, true);
  }

  quote({ blocks }) {
    return h('blockquote', {}, this.blocks(blocks));
  }

  list({ ordered, start, loose, items }) {
    const tight = (block) => (block.type === 'paragraph' && !loose ? this.inline(block.text) : this.blocks([block]));
    return h(
      ordered ? 'ol' : 'ul',
      { start: ordered && start !== 1 ? start : null },
      items.map(({ blocks, task }) => {
        const box =
          task !== null &&
          h('input', { type: 'checkbox', disabled: true, checked: task, 'aria-label': task ? 'done' : 'to do' });
        return h('li', { class: box ? 'task' : null }, box, blocks.map(tight));
      }),
    );
  }

  table({ head, rows, align }) {
    const cells = (tag, list) =>
      h(
        'tr',
        {},
        list.map((text, i) => h(tag, { class: align[i] && `align-${align[i]}` }, this.inline(text))),
      );
    return h(
      'div',
      { class: 'table', tabindex: '0', role: 'region', 'aria-label': 'Table' },
      h(
        'table',
        {},
        h('thead', {}, cells('th', head)),
        h(
          'tbody',
          {},
          rows.map((row) => cells('td', row)),
        ),
      ),
    );
  }
}

/**
 * Shows Markdown in an element, and again as it grows: blocks that are as they were stay, so that
 * a long answer costs what its last block does, and a selection is not lost.
 */
export function renderMarkdown(element, text) {
  const { blocks, links } = parseBlocks(text);
  const builder = new Builder(links);
  const old = element.shownBlocks ?? [];
  let same = 0;
  while (same < old.length && same < blocks.length && old[same].raw === blocks[same].raw) same += 1;
  for (const { shown } of old.slice(same)) shown.remove();
  const fresh = blocks.slice(same).map((block) => ({ raw: block.raw, shown: builder.blocks([block])[0] }));
  element.append(...fresh.map(({ shown }) => shown));
  element.shownBlocks = [...old.slice(0, same), ...fresh];
}
