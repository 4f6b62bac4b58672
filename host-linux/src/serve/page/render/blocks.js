// The blocks of Markdown: paragraphs, headings, lists, quotes, code, tables and formulas, as
// CommonMark and GitHub have them, without HTML, which stays text. A block is a plain object with
// its `type`, and `raw`, its lines; texts in it are cut further by inline.js.

import { unescaped } from './inline.js';

/** Containers inside each other beyond which lines are a paragraph. */
const DEPTH_MAX = 40;

const BLANK = /^[ \t]*$/;
const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-+*]|(\d{1,9})[.)])(?=[ \t]|$)/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const DEFINITION = /^ {0,3}\[((?:\\.|[^\]\\[])+)\]:[ \t]*<?([^\s<>]+)>?(?:[ \t]+(?:"(.*)"|'(.*)'|\((.*)\)))?[ \t]*$/;
const FORMULA = /^ {0,3}(\$\$|\\\[)/;

/** The columns that a line begins with, a tab going to the next fourth. */
function indentOf(line) {
  let columns = 0;
  for (const c of line) {
    if (c === ' ') columns += 1;
    else if (c === '\t') columns += 4 - (columns % 4);
    else break;
  }
  return columns;
}

/** A line without so many of the columns that it begins with. */
function outdent(line, columns) {
  let [at, gone] = [0, 0];
  while (gone < columns && (line[at] === ' ' || line[at] === '\t')) {
    gone += line[at] === ' ' ? 1 : 4 - (gone % 4);
    at += 1;
  }
  return ' '.repeat(Math.max(0, gone - columns)) + line.slice(at);
}

/** A fence that opens code: not one with another backtick behind it, which is code in a line. */
function fenceAt(line) {
  const found = FENCE.exec(line);
  return found && !(found[1][0] === '`' && found[2].includes('`')) ? found : null;
}

/** Whether a line ends the paragraph before it. */
function interrupts(line) {
  const item = ITEM.exec(line);
  if (item) return (item[3] === undefined || item[3] === '1') && !BLANK.test(line.slice(item[0].length));
  return HEADING.test(line) || fenceAt(line) || RULE.test(line) || QUOTE.test(line) || FORMULA.test(line);
}

function fence(lines, from) {
  const [, marks, info] = fenceAt(lines[from]);
  const indent = indentOf(lines[from]);
  const isEnd = (line) => new RegExp(`^ {0,3}${marks[0] === '`' ? '`' : '~'}{${marks.length},}[ \\t]*$`).test(line);
  let to = from + 1;
  while (to < lines.length && !isEnd(lines[to])) to += 1;
  const text = lines
    .slice(from + 1, to)
    .map((line) => outdent(line, indent))
    .join('\n');
  return [{ type: 'code', text, language: unescaped(info.trim()) }, Math.min(to + 1, lines.length)];
}

function indentedCode(lines, from) {
  let to = from;
  let end = from;
  for (; to < lines.length && (BLANK.test(lines[to]) || indentOf(lines[to]) >= 4); to += 1) {
    if (!BLANK.test(lines[to])) end = to + 1;
  }
  return [
    {
      type: 'code',
      text: lines
        .slice(from, end)
        .map((line) => outdent(line, 4))
        .join('\n'),
      language: '',
    },
    end,
  ];
}

/** A formula that has lines of its own; none until its end is there. */
function formula(lines, from) {
  const [whole, open] = FORMULA.exec(lines[from]);
  const close = open === '$$' ? '$$' : '\\]';
  for (let i = from; i < lines.length && !(i > from && BLANK.test(lines[i])); i += 1) {
    const start = i === from ? whole.length : 0;
    const at = lines[i].indexOf(close, start);
    if (at < 0) continue;
    if (!BLANK.test(lines[i].slice(at + 2).replace(/[.,;]$/, ''))) return null;
    const inner = lines.slice(from, i + 1);
    inner[i - from] = inner[i - from].slice(0, at);
    inner[0] = inner[0].slice(whole.length);
    return [{ type: 'math', latex: inner.join('\n') }, i + 1];
  }
  return null;
}

function quote(lines, from, context) {
  const inner = [];
  let to = from;
  for (; to < lines.length; to += 1) {
    const line = lines[to];
    if (QUOTE.test(line)) inner.push(line.replace(QUOTE, ''));
    else if (BLANK.test(line) || interrupts(line) || BLANK.test(inner.at(-1)) || fenceAt(inner.at(-1))) break;
    else inner.push(line.trimStart());
  }
  return [{ type: 'quote', blocks: parse(inner, context) }, to];
}

/** One item of a list: its lines, without what stands before them. */
function itemLines(lines, from, [marker]) {
  const rest = lines[from].slice(marker.length);
  const spaces = indentOf(rest);
  const width = marker.length + (BLANK.test(rest) || spaces > 4 ? 1 : spaces);
  const inner = [outdent(rest, width - marker.length)];
  let to = from + 1;
  for (; to < lines.length; to += 1) {
    const line = lines[to];
    if (BLANK.test(line)) inner.push('');
    else if (indentOf(line) >= width) inner.push(outdent(line, width));
    else if (inner.at(-1) === '' || interrupts(line) || ITEM.test(line)) break;
    else inner.push(line.trimStart());
    if (inner.length === 2 && BLANK.test(inner[0]) && inner[1] === '') {
      to += 1;
      break;
    }
  }
  while (inner.length > 1 && inner.at(-1) === '') {
    inner.pop();
    to -= 1;
  }
  return [inner, to];
}

function list(lines, from, context) {
  const first = ITEM.exec(lines[from]);
  const kindOf = (found) => found[2].at(-1);
  const items = [];
  let [loose, at] = [false, from];
  for (;;) {
    let next = at;
    while (next < lines.length && BLANK.test(lines[next])) next += 1;
    const found = next < lines.length && !RULE.test(lines[next]) && ITEM.exec(lines[next]);
    if (!found || kindOf(found) !== kindOf(first)) break;
    if (next > at) loose = true;
    const [inner, to] = itemLines(lines, next, found);
    const task = /^\[([ xX])\][ \t]+/.exec(inner[0]);
    if (task) inner[0] = inner[0].slice(task[0].length);
    const blocks = parse(inner, context);
    if (blocks.some((block, i) => i && block.afterBlank)) loose = true;
    items.push({ blocks, task: task ? task[1] !== ' ' : null });
    at = to;
  }
  return [{ type: 'list', ordered: first[3] !== undefined, start: Number(first[3] ?? 1), loose, items }, at];
}

/** The cells of a row, without the bars around them. */
function cellsOf(line) {
  const cells = line
    .trim()
    .replace(/^\|/, '')
    .split(/(?<!\\)\|/);
  if (cells.length > 1 && BLANK.test(cells.at(-1))) cells.pop();
  return cells.map((cell) => cell.trim().replaceAll('\\|', '|'));
}

/** A table, if one begins here. */
function table(lines, from) {
  const under = lines[from + 1];
  if (!lines[from].includes('|') || under === undefined || !DELIMITERS.test(under)) return null;
  const [head, marks] = [cellsOf(lines[from]), cellsOf(under)];
  if (head.length !== marks.length) return null;
  const align = marks.map((mark) => {
    const [left, right] = [mark.startsWith(':'), mark.endsWith(':')];
    return left && right ? 'center' : right ? 'right' : left ? 'left' : null;
  });
  const rows = [];
  let to = from + 2;
  for (; to < lines.length && !BLANK.test(lines[to]) && !interrupts(lines[to]); to += 1) {
    const cells = cellsOf(lines[to]);
    rows.push(head.map((_, i) => cells[i] ?? ''));
  }
  return [{ type: 'table', head, rows, align }, to];
}

function paragraph(lines, from) {
  let to = from + 1;
  for (; to < lines.length && !BLANK.test(lines[to]); to += 1) {
    const under = UNDERLINE.exec(lines[to]);
    const text = () =>
      lines
        .slice(from, to)
        .map((line) => line.trimStart())
        .join('\n')
        .trimEnd();
    if (under) return [{ type: 'heading', depth: under[1][0] === '=' ? 1 : 2, text: text() }, to + 1];
    if (interrupts(lines[to]) || table(lines, to)) break;
  }
  return [
    {
      type: 'paragraph',
      text: lines
        .slice(from, to)
        .map((line) => line.trimStart())
        .join('\n')
        .trimEnd(),
    },
    to,
  ];
}

/** Takes a definition of a link out of the text; the first of a name is the one that holds. */
function define({ links }, [, name, href, ...titles]) {
  const key = name.trim().replace(/\s+/g, ' ').toLowerCase();
  const title = titles.find((one) => one !== undefined);
  if (!links.has(key)) links.set(key, { href: unescaped(href), title: title === undefined ? null : unescaped(title) });
}

function blockAt(lines, from, context) {
  const line = lines[from];
  if (context.depth >= DEPTH_MAX) return paragraph(lines, from);
  if (indentOf(line) >= 4) return indentedCode(lines, from);
  if (fenceAt(line)) return fence(lines, from);
  const heading = HEADING.exec(line);
  if (heading) {
    const whole = (heading[2] ?? '').trim();
    const marks = /^#*$/.test(whole) ? 0 : whole.search(/[^#]#*$/) + 1;
    const text = marks === 0 ? '' : /\s/.test(whole[marks - 1]) ? whole.slice(0, marks).trim() : whole;
    return [{ type: 'heading', depth: heading[1].length, text }, from + 1];
  }
  if (RULE.test(line)) return [{ type: 'rule' }, from + 1];
  if (QUOTE.test(line)) return quote(lines, from, context);
  if (ITEM.test(line)) return list(lines, from, context);
  const definition = DEFINITION.exec(line);
  if (definition) {
    define(context, definition);
    return [null, from + 1];
  }
  return (FORMULA.test(line) && formula(lines, from)) || table(lines, from) || paragraph(lines, from);
}

function parse(lines, { links, depth }) {
  const context = { links, depth: depth + 1 };
  const blocks = [];
  let [at, afterBlank] = [0, false];
  while (at < lines.length) {
    if (BLANK.test(lines[at])) {
      afterBlank = true;
      at += 1;
      continue;
    }
    const [block, to] = blockAt(lines, at, context);
    if (block) blocks.push({ ...block, afterBlank, raw: lines.slice(at, to).join('\n') });
    at = to;
    afterBlank = false;
  }
  return blocks;
}

/** The blocks of a text, and the links that are defined in it by name. */
export function parseBlocks(text) {
  const links = new Map();
  return { blocks: parse(text.replace(/\r\n?/g, '\n').replace(/\n$/, '').split('\n'), { links, depth: 0 }), links };
}
