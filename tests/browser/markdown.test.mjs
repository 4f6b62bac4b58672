// What the page's Markdown makes of texts, without a browser: CommonMark's own examples, and texts
// that were made to take long.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { parseBlocks } from '../page/render/blocks.js';
import { highlight } from '../page/render/highlight.js';
import { parseInline } from '../page/render/inline.js';
import { sha256 } from '../page/sha256.js';

const { tests: EXAMPLES } = createRequire(import.meta.url)('commonmark-spec');

/** Sections of the specification about HTML, which is text here. */
const HTML = new Set(['HTML blocks', 'Raw HTML']);

/** Examples that come out otherwise, and why. */
const OTHERWISE = new Map([
  ['named references beyond the common ones are text', [25, 32, 33, 34, 503]],
  ['tabs inside of markers count as if the line began behind them', [5, 6, 7]],
  ['a definition of a link stands on one line, before a paragraph', [193, 196, 198, 200, 208, 217, 317, 541]],
  ['bare addresses are links, as on GitHub', [608, 611]],
  ['\\( and \\[ begin formulas', [12]],
  ['parentheses in an address are in each other once, and blanks are all blanks', [496, 507]],
  ['names of links are compared letter by letter', [540]],
  ['a lazy line may begin a list or a heading in a quote, and five columns an item', [93, 236, 238, 312]],
  ['an image in brackets in brackets', [520]],
]);

const escaped = (text) =>
  text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
const plain = (pieces) => pieces.map((p) => p.value ?? (p.inner ? plain(p.inner) : '\n')).join('');
const titled = (title) => (title === null ? '' : ` title="${escaped(title)}"`);

const INLINE = {
  text: ({ value }) => escaped(value),
  break: () => '<br />\n',
  code: ({ value }) => `<code>${escaped(value)}</code>`,
  math: ({ latex }) => `$${escaped(latex)}$`,
  strong: ({ inner }) => `<strong>${inline(inner)}</strong>`,
  emphasis: ({ inner }) => `<em>${inline(inner)}</em>`,
  deleted: ({ inner }) => `<del>${inline(inner)}</del>`,
  link: ({ href, title, inner }) =>
    `<a href="${escaped(encodeURI(href).replace(/%25/g, '%'))}"${titled(title)}>${inline(inner)}</a>`,
  image: ({ href, title, inner }) => `<img src="${escaped(href)}" alt="${escaped(plain(inner))}"${titled(title)} />`,
};
const inline = (pieces) => pieces.map((piece) => INLINE[piece.type](piece)).join('');

function list({ ordered, start, loose, items }, links) {
  const tag = ordered ? 'ol' : 'ul';
  const item = ({ blocks: inner }) => {
    const parts = inner.map((block) => {
      const isTight = block.type === 'paragraph' && !loose;
      return { isTight, html: isTight ? inline(parseInline(block.text, links)) : blocks([block], links) };
    });
    const html = parts.map((part, i) => (!part.isTight && (i === 0 || parts[i - 1].isTight) ? '\n' : '') + part.html);
    return `<li>${html.join('')}</li>\n`;
  };
  return `<${tag}${ordered && start !== 1 ? ` start="${start}"` : ''}>\n${items.map(item).join('')}</${tag}>\n`;
}

const BLOCK = {
  paragraph: ({ text }, links) => `<p>${inline(parseInline(text, links))}</p>\n`,
  heading: ({ depth, text }, links) => `<h${depth}>${inline(parseInline(text, links))}</h${depth}>\n`,
  rule: () => '<hr />\n',
  code: ({ text, language }) => {
    const name = language && ` class="language-${escaped(language.split(/\s/)[0])}"`;
    return `<pre><code${name}>${escaped(text)}${text && '\n'}</code></pre>\n`;
  },
  quote: (block, links) => `<blockquote>\n${blocks(block.blocks, links)}</blockquote>\n`,
  list,
  math: ({ latex }) => `$$${latex}$$`,
  table: ({ head, rows }) => JSON.stringify([head, ...rows]),
};
const blocks = (of, links) => of.map((block) => BLOCK[block.type](block, links)).join('');

/** A text as HTML, as the page's nodes would be written. */
function html(markdown) {
  const { blocks: of, links } = parseBlocks(markdown);
  return blocks(of, links);
}

test('CommonMark’s examples come out as it says, but for HTML and a few that are listed', () => {
  const wrong = EXAMPLES.filter((example) => {
    const [markdown, wanted] = [example.markdown, example.html].map((text) => text.replaceAll('→', '\t'));
    // Examples of other sections use HTML, too.
    if (HTML.has(example.section) || /<(?!https?:|[\w.]+@)[a-zA-Z/!?]/.test(markdown)) return false;
    return html(markdown) !== wanted;
  });
  const listed = [...OTHERWISE.values()].flat().sort((a, b) => a - b);
  assert.deepEqual(
    wrong.map((example) => example.number),
    listed,
  );
});

test('what GitHub adds to CommonMark is there, and formulas', () => {
  assert.equal(html('~~a~~ ~b~ ~~~c~~~'), '<p><del>a</del> <del>b</del> ~~~c~~~</p>\n');
  assert.equal(html('| a | b |\n|:-|-:|\n| `x \\| y` | z |\nw'), '[["a","b"],["`x | y`","z"],["w",""]]');
  assert.equal(
    html('see https://example.com/a_b).'),
    '<p>see <a href="https://example.com/a_b">https://example.com/a_b</a>).</p>\n',
  );
  assert.equal(html('$a*b$ and $c*d$, \\(e_1\\)'), '<p>$a*b$ and $c*d$, $e_1$</p>\n');
  assert.equal(html('it costs $5 or $6'), '<p>it costs $5 or $6</p>\n');
  assert.equal(html('\\[\na\n\\]\nb'), '$$\na\n$$<p>b</p>\n');
  assert.equal(html('<b onclick="x()">a</b>'), '<p>&lt;b onclick=&quot;x()&quot;&gt;a&lt;/b&gt;</p>\n');
});

test('no text takes for ever', () => {
  const many = (text, n = 50_000) => text.repeat(Math.floor(n / text.length));
  const hostile = [
    '*a ',
    'a* ',
    '*a**b',
    '_a_b',
    '~a~',
    '[',
    '![',
    '[a](',
    ']',
    '$a ',
    '$$a ',
    '\\(a',
    '\\[a ',
    '\\[a\n\n',
    '$$a\n',
    '>',
    '> > > a\n',
    '- ',
    '|a',
    '&#1',
    'http://a',
    '(http://',
    '<http://a',
    '\\',
    '```\n',
    '~~~ a\n',
    '1. a\n\n',
    '[a]: b\n',
    'a\n-',
    'a \n',
  ].map((text) => many(text));
  hostile.push(
    `http://a${many(')')}`,
    `a${many(' ')}b`,
    `a${many(' ')}b\nc`,
    `${many(' ')}b`,
    `# a${many(' ')}b`,
    `# ${many('#')}`,
    `# ${many(' #')}`,
    `[a](${many('(a')}`,
    `[a](b "${many('\\a')}`,
    `a|\n${many('|-')}x`,
    `|a|\n|-|\n${many('|a|\n')}`,
    Array.from({ length: 400 }, (_, i) => `${'`'.repeat(i + 1)}x`).join(''),
    Array.from({ length: 300 }, (_, i) => `${' '.repeat(2 * i)}- a`).join('\n'),
  );
  for (const text of hostile) html(text);
});

test('hashes are SHA-256', () => {
  const hex = (text) => sha256(new TextEncoder().encode(text));
  assert.equal(hex(''), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  assert.equal(hex('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  assert.equal(hex('a'.repeat(1_000_000)), 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0');
});

test('code without a known language is as it was', () => {
  assert.deepEqual(highlight('a < b', 'klingon'), ['a < b']);
});

test('comments and strings of several lines are one', (t) => {
  globalThis.document = { createElement: () => ({}) };
  t.after(() => delete globalThis.document);
  const of = (code, language) => highlight(code, language).find((piece) => piece.className);
  for (const [code, language, kind] of [
    ['/* a\n b */', 'c', 'comment'],
    ['/* a\n open', 'css', 'comment'],
    ['<!-- a\n b -->', 'html', 'comment'],
    ['"""a\nb"""', 'python', 'string'],
  ]) {
    assert.deepEqual(of(`${code}`, language), { className: `hl-${kind}`, textContent: code });
  }
});
