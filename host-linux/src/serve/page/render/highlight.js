// Colours for code: comments, strings, numbers, keywords and names that are called. One scanner for
// all languages, with what a family calls a comment and a string. `(?![^])` is the end of the code.

const words = (text) => new Set(text.split(' '));

const C = {
  comment: '\\/\\/.*|\\/\\*[^]*?(?:\\*\\/|(?![^]))',
  string: '"(?:\\\\.|[^"\\\\\\n])*"?|\'(?:\\\\.|[^\'\\\\\\n])*\'?',
};
const HASH = { ...C, comment: '#.*' };
const CONTROL = 'if else for while do switch case default break continue return';
const TYPED = `${CONTROL} class struct enum interface public private protected static const new this try catch throw finally void int long float double char bool boolean string true false null import package namespace using extends implements final abstract virtual override template typename auto unsigned signed sizeof typedef`;

const FAMILIES = {
  js: {
    ...C,
    string: `${C.string}|\`(?:\\\\.|[^\`\\\\])*\`?`,
    keywords: words(
      `${CONTROL} function const let var class extends new this typeof instanceof in of import export from async await yield try catch finally throw null undefined true false interface type enum implements private public readonly as static delete void`,
    ),
  },
  rust: {
    comment: C.comment,
    string: "\"(?:\\\\.|[^\"\\\\])*\"?|'(?:\\\\.[^']*|[^'\\\\\\n])'",
    keywords: words(
      'as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub ref return self Self static struct super trait true type unsafe use where while',
    ),
  },
  c: { ...C, comment: `${C.comment}|^\\s*#.*`, keywords: words(TYPED) },
  java: {
    ...C,
    keywords: words(
      `${TYPED} fun val var when object companion func guard let def trait match is as in foreach var record`,
    ),
  },
  go: {
    ...C,
    string: `${C.string}|\`[^\`]*\`?`,
    keywords: words(
      'break case chan const continue default defer else fallthrough for func go goto if import interface map package range return select struct switch type var nil true false iota string int bool error byte rune',
    ),
  },
  python: {
    comment: '#.*',
    string: `[rbfRBF]{0,2}(?:"""[^]*?(?:"""|(?![^]))|'''[^]*?(?:'''|(?![^])))|${C.string}`,
    keywords: words(
      'and as assert async await break class continue def del elif else except False finally for from global if import in is lambda None nonlocal not or pass raise return True try while with yield match case self',
    ),
  },
  shell: {
    ...HASH,
    comment: '(?:^|(?<=\\s))#.*',
    keywords: words(
      'if then else elif fi for while until do done case esac in function return local export set unset source cd echo exit sudo apt pip npm cargo git docker curl',
    ),
  },
  ruby: {
    ...HASH,
    keywords: words(
      'def end class module if elsif else unless while until do begin rescue ensure return yield self nil true false and or not require attr_accessor puts new case when then library function TRUE FALSE NULL',
    ),
  },
  sql: {
    ...C,
    comment: '--.*|\\/\\*[^]*?(?:\\*\\/|(?![^]))',
    ignoreCase: true,
    keywords: words(
      'select from where and or not in is null insert into values update set delete create table drop alter index view join left right inner outer full on group by order having limit offset union all as distinct case when then else end primary key foreign references default unique exists between like with returning',
    ),
  },
  lua: {
    ...C,
    comment: '--.*',
    keywords: words(
      'and break do else elseif end false for function if in local nil not or repeat return then true until while module where let data type import case of',
    ),
  },
  json: { comment: '\\/\\/.*', string: '"(?:\\\\.|[^"\\\\\\n])*"?', keywords: words('true false null') },
  yaml: { ...HASH, comment: '(?:^|(?<=\\s))#.*', keywords: words('true false null yes no on off') },
  markup: {
    comment: '<!--[^]*?(?:-->|(?![^]))',
    string: '"[^"]*"|\'[^\']*\'',
    keywords: new Set(),
    name: '<\\/?[\\w:-]+|\\/?>',
  },
  css: {
    comment: '\\/\\*[^]*?(?:\\*\\/|(?![^]))',
    string: C.string,
    keywords: new Set(),
    name: '[-\\w]+(?=\\s*:)|@[-\\w]+',
  },
  diff: { comment: '^(?:@@|diff|index|---|\\+\\+\\+).*', string: '^\\+.*', keywords: new Set(), name: '^-.*' },
};

const ALIASES = {
  js: 'javascript jsx ts typescript tsx mjs cjs',
  rust: 'rs',
  c: 'cpp c++ cc h hpp objc cuda glsl',
  java: 'cs csharp c# kotlin kt swift scala dart php groovy',
  go: 'golang',
  python: 'py py3 python3 mojo',
  shell: 'bash sh zsh fish console powershell ps1 dockerfile makefile make',
  ruby: 'rb perl pl elixir ex r julia jl',
  lua: 'haskell hs elm ada',
  json: 'json5 jsonc',
  yaml: 'yml toml ini conf properties',
  markup: 'html xml svg vue',
  css: 'scss less',
  diff: 'patch',
  sql: 'postgresql mysql sqlite plsql',
};

const byName = new Map(Object.keys(FAMILIES).map((name) => [name, name]));
for (const [name, list] of Object.entries(ALIASES)) for (const alias of list.split(' ')) byName.set(alias, name);

/** Code beyond this many characters is shown without colours. */
const COLOURED_MAX = 100_000;

/** The pieces of some code: strings, and elements for what has a colour. */
export function highlight(code, language) {
  const family = FAMILIES[byName.get(language.toLowerCase())];
  if (!family || code.length > COLOURED_MAX) return [code];
  const { comment, string, keywords, name, ignoreCase } = family;
  const parts = [
    `(?<comment>${comment})`,
    `(?<string>${string})`,
    name && `(?<name>${name})`,
    '(?<number>\\b(?:0[xXbBoO][\\da-fA-F_]+|\\d[\\d_]*(?:\\.\\d+)?(?:[eE][-+]?\\d+)?)\\w*)',
    '(?<word>[A-Za-z_$][\\w$]*)(?<call>!?\\s*\\()?',
  ];
  const pattern = new RegExp(parts.filter(Boolean).join('|'), 'gm');
  const out = [];
  let from = 0;
  for (const found of code.matchAll(pattern)) {
    const { word, call, ...kinds } = found.groups;
    let [kind, text] = Object.entries(kinds).find(([, value]) => value !== undefined) ?? [null, word];
    if (word && keywords.has(ignoreCase ? word.toLowerCase() : word)) kind = 'keyword';
    else if (word && call) kind = 'name';
    if (!kind || !text) continue;
    const span = document.createElement('span');
    span.className = `hl-${kind}`;
    span.textContent = text;
    out.push(code.slice(from, found.index), span);
    from = found.index + text.length;
  }
  return [...out, code.slice(from)];
}
