// Formulas: LaTeX to MathML. The converter is loaded when the first formula is there.

import { h } from '../dom.js';

let temml;
let asked;

/** The element of a formula; its LaTeX is shown until the converter is there, and if it is wrong. */
export function math(latex, display) {
  const node = h(display ? 'div' : 'span', { class: display ? 'math block' : 'math' }, latex);
  if (temml) {
    convert(node, latex, display);
    return node;
  }
  asked ??= import('../vendor/temml.js').then((module) => {
    temml = module.default;
  });
  asked.then(
    () => convert(node, latex, display),
    () => {},
  );
  return node;
}

function convert(node, latex, display) {
  const target = document.createElement('span');
  try {
    temml.render(latex, target, { displayMode: display, throwOnError: true, maxExpand: 200, maxSize: [50, 50] });
  } catch {
    node.classList.add('wrong');
    return;
  }
  node.replaceChildren(...target.childNodes);
}
