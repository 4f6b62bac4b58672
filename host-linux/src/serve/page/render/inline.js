// What stands in a line of Markdown: emphasis, code, links and formulas, as CommonMark and GitHub
// have them, without HTML, which stays text. A piece is a plain object with its `type`.

/** Delimiters of emphasis in a text beyond which they are text. */
const DELIMITERS_MAX = 2000;

const NAMED = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: '\u00a0',
  copy: '©',
  reg: '®',
  mdash: '—',
  ndash: '–',
  hellip: '…',
  rarr: '→',
  larr: '←',
  times: '×',
  deg: '°',
  plusmn: '±',
  le: '≤',
  ge: '≥',
  ne: '≠',
  middot: '·',
};
const PUNCTUATION = /[\p{P}\p{S}]/u;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const ENTITY = /&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|([A-Za-z]\w*));/y;
const AUTOLINK = /<(?:(https?:\/\/[^\s<>]*)|([\w.+-]+@[\w-]+(?:\.[\w-]+)+))>/iy;
const BARE = /(?:https?:\/\/|www\.)[a-z\d][^\s<]*/iy;
const TARGET =
  /\([ \n]*(?:<([^<>\n]*)>|((?:\\.|[^\s()\\]|\((?:\\.|[^\s()\\])*\))*))(?:[ \n]+(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|\(((?:\\.|[^()\\])*)\)))?[ \n]*\)/y;
const DOLLARS = /\$\$([^$]+)\$\$|\$(?![\s$])((?:\\.|[^$\\\n])*?[^\s\\$])\$(?!\d)/y;

const text = (value) => ({ type: 'text', value });

/** The character that a reference stands for; what is no reference is as it was. */
function resolve([whole, dec, hex, name]) {
  if (name) return NAMED[name] ?? whole;
  const point = dec ? Number(dec) : parseInt(hex, 16);
  return point && point <= 0x10ffff ? String.fromCodePoint(point) : '\ufffd';
}

/** A text without backslashes before marks, and with its references resolved. */
export const unescaped = (value) =>
  value.replace(/\\([!-/:-@[-`{-~])/g, '$1').replace(new RegExp(ENTITY.source, 'g'), (...found) => resolve(found));

/** The length of a bare address, without the punctuation that a sentence has put behind it. */
function bareLength(address) {
  let end = address.length;
  let open = address.split('(').length - address.split(')').length;
  for (; end > 0; end -= 1) {
    const last = address[end - 1];
    if (last === ')' ? open >= 0 : !'?!.,:*_~\'";'.includes(last)) break;
    if (last === ')') open += 1;
  }
  return end;
}

class Scanner {
  constructor(source, links) {
    Object.assign(this, { source, links, at: 0, out: [], brackets: [], delimiters: 0, missing: new Set() });
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    return pattern.exec(this.source);
  }

  push(piece, length) {
    this.out.push(piece);
    this.at += length;
  }

  /** Where something comes next; none is searched for twice. */
  find(what, from) {
    if (this.missing.has(what)) return -1;
    const at = this.source.indexOf(what, from);
    if (at < 0) this.missing.add(what);
    return at;
  }

  /** All pieces of the text. */
  scan() {
    const special = /[\\`$<h&w![\]*_~\n]/g;
    while (this.at < this.source.length) {
      const c = this.source[this.at];
      if (!this.take(c)) {
        special.lastIndex = this.at + 1;
        const next = special.exec(this.source)?.index ?? this.source.length;
        this.push(text(this.source.slice(this.at, next)), next - this.at);
      }
    }
    return emphasized(this.out, this.delimiters);
  }

  /** Takes what begins with this character, if something does. */
  take(c) {
    switch (c) {
      case '\\':
        return this.backslash();
      case '`':
        return this.code();
      case '$':
        return this.dollars();
      case '<':
        return this.autolink();
      case '&':
        return this.entity();
      case 'h':
      case 'w':
        return this.bare();
      case '!':
        return this.source[this.at + 1] === '[' && this.open('![');
      case '[':
        return this.open('[');
      case ']':
        return this.close();
      case '*':
      case '_':
      case '~':
        return this.delimiter(c);
      case '\n':
        return this.newline();
      default:
        return false;
    }
  }

  backslash() {
    const next = this.source[this.at + 1] ?? '';
    if (next === '(' || next === '[') {
      const end = this.find(next === '(' ? '\\)' : '\\]', this.at + 2);
      if (end > this.at + 2) {
        const latex = this.source.slice(this.at + 2, end);
        return this.push({ type: 'math', latex, display: next === '[' }, end + 2 - this.at) ?? true;
      }
    }
    if (next === '\n') return this.push({ type: 'break' }, 2) ?? true;
    return ESCAPABLE.test(next) && (this.push(text(next), 2) ?? true);
  }

  code() {
    const [marks] = this.match(/`+/y);
    let end = this.at;
    const isRun = () => this.source[end - 1] !== '`' && this.source[end + marks.length] !== '`';
    do end = this.find(marks, end + marks.length);
    while (end > 0 && !isRun());
    if (end < 0) {
      this.missing.add(marks);
      return this.push(text(marks), marks.length) ?? true;
    }
    const inner = this.source.slice(this.at + marks.length, end).replaceAll('\n', ' ');
    const value = /^ .*[^ ].* $|^ [^ ] $/.test(inner) ? inner.slice(1, -1) : inner;
    return this.push({ type: 'code', value }, end + marks.length - this.at) ?? true;
  }

  dollars() {
    const found = this.match(DOLLARS);
    if (!found) return false;
    return (
      this.push({ type: 'math', latex: found[1] ?? found[2], display: found[1] !== undefined }, found[0].length) ?? true
    );
  }

  autolink() {
    const found = this.match(AUTOLINK);
    if (!found) return false;
    const href = found[1] ?? `mailto:${found[2]}`;
    return this.push({ type: 'link', href, title: null, inner: [text(found[1] ?? found[2])] }, found[0].length) ?? true;
  }

  bare() {
    const before = this.source[this.at - 1] ?? ' ';
    const found = /[\s(*_~"'\]>:,;]/.test(before) && this.match(BARE);
    if (!found) return false;
    const shown = found[0].slice(0, bareLength(found[0]));
    const href = /^www/i.test(shown) ? `https://${shown}` : shown;
    return this.push({ type: 'link', href, title: null, inner: [text(shown)] }, shown.length) ?? true;
  }

  entity() {
    const found = this.match(ENTITY);
    return found !== null && (this.push(text(resolve(found)), found[0].length) ?? true);
  }

  newline() {
    const last = this.out.at(-1);
    let spaces = 0;
    if (last?.type === 'text') while (last.value.at(-1 - spaces) === ' ') spaces += 1;
    if (spaces) last.value = last.value.slice(0, -spaces);
    const leading = this.match(/\n[ \t]*/y)[0].length;
    return this.push(spaces >= 2 ? { type: 'break' } : text('\n'), leading) ?? true;
  }

  open(mark) {
    this.brackets.push({ place: this.out.length, from: this.at + mark.length, isImage: mark === '![' });
    return this.push(text(mark), mark.length) ?? true;
  }

  /** A bracket that closes: what stands since the one that opened may be a link. */
  close() {
    const bracket = this.brackets.pop();
    const found = bracket && this.target(bracket);
    if (!found) return this.push(text(']'), 1) ?? true;
    const inner = emphasized(this.out.splice(bracket.place).slice(1), this.delimiters);
    const { href, title, length } = found;
    // There is no link in a link.
    if (!bracket.isImage) this.brackets = this.brackets.filter((other) => other.isImage);
    return this.push({ type: bracket.isImage ? 'image' : 'link', href, title, inner }, length) ?? true;
  }

  target({ from }) {
    this.at += 1;
    const found = this.source[this.at] === '(' && this.match(TARGET);
    const named = found ? null : this.match(/\[((?:\\.|[^\]\\[])*)\]/y);
    this.at -= 1;
    if (found) {
      const [whole, angled, plain, ...titles] = found;
      const title = titles.find((value) => value !== undefined);
      return {
        href: unescaped(angled ?? plain),
        title: title === undefined ? null : unescaped(title),
        length: whole.length + 1,
      };
    }
    const name = (named?.[1] || this.source.slice(from, this.at)).trim().replace(/\s+/g, ' ').toLowerCase();
    const link = this.links.get(name);
    return link ? { ...link, length: 1 + (named?.[0].length ?? 0) } : null;
  }

  delimiter(c) {
    const [marks] = this.match(c === '*' ? /\*+/y : c === '_' ? /_+/y : /~+/y);
    const before = this.source[this.at - 1] ?? ' ';
    const after = this.source[this.at + marks.length] ?? ' ';
    const [blankBefore, blankAfter] = [/\s/.test(before), /\s/.test(after)];
    const [markBefore, markAfter] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
    const left = !blankAfter && (!markAfter || blankBefore || markBefore);
    const right = !blankBefore && (!markBefore || blankAfter || markAfter);
    const opens = c === '_' ? left && (!right || markBefore) : left;
    const closes = c === '_' ? right && (!left || markAfter) : right;
    this.delimiters += 1;
    const isMark = (opens || closes) && !(c === '~' && marks.length > 2);
    const size = marks.length;
    return this.push(isMark ? { type: 'mark', c, size, whole: size, opens, closes } : text(marks), size) ?? true;
  }
}

/** Whether two delimiters belong together. */
function fits(opener, closer) {
  if (opener.type !== 'mark' || opener.c !== closer.c || !opener.opens) return false;
  if (closer.c === '~') return opener.size === closer.size;
  const both = opener.closes || closer.opens;
  return !(both && (opener.whole + closer.whole) % 3 === 0 && (opener.whole % 3 || closer.whole % 3));
}

/** Pieces with their delimiters made emphasis, or text. */
function emphasized(pieces, delimiters) {
  const out = delimiters > DELIMITERS_MAX ? [] : [...pieces];
  for (let at = 0; at < out.length; at += 1) {
    const closer = out[at];
    if (closer.type !== 'mark' || !closer.closes) continue;
    let from = at - 1;
    while (from >= 0 && !fits(out[from], closer)) from -= 1;
    if (from < 0) continue;
    const opener = out[from];
    const used = closer.c === '~' ? closer.size : Math.min(2, opener.size, closer.size);
    const type = closer.c === '~' ? 'deleted' : used === 2 ? 'strong' : 'emphasis';
    const inner = out.slice(from + 1, at).map(asText);
    opener.size -= used;
    closer.size -= used;
    const left = opener.size ? [opener] : [];
    const right = closer.size ? [closer] : [];
    out.splice(from, at - from + 1, ...left, { type, inner }, ...right);
    at = from + left.length;
  }
  return (delimiters > DELIMITERS_MAX ? pieces : out).map(asText);
}

const asText = (piece) => (piece.type === 'mark' ? text(piece.c.repeat(piece.size)) : piece);

/** The pieces of a text. `links` has the links that are defined by name. */
export function parseInline(source, links) {
  return new Scanner(source, links).scan();
}
