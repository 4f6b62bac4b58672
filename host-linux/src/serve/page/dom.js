// Builds nodes. Nothing in this page parses HTML: what a model writes becomes text, always.

/**
 * An element. A property that begins with "on" is a listener, true gives an attribute without a
 * value, and false, null or undefined none; children are nodes, strings, or lists of them.
 */
export function h(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'value') node.value = value;
    else if (value !== false && value != null) node.setAttribute(name, value === true ? '' : value);
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(node, child);
    else if (child != null && child !== false) node.append(child);
  }
}

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/** A button with words on it, or with a sign and a label for those who do not see it. */
export function button(text, onclick, props = {}) {
  return h('button', { type: 'button', onclick, ...props }, text);
}

/** Tells those who listen rather than look what has happened. */
export function announce(text) {
  $('status').textContent = text;
}

let toastTimer;
/** Shows a sentence for some seconds. */
export function toast(text) {
  $('toast').textContent = text;
  $('toast').hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    $('toast').hidden = true;
  }, 5000);
}

/** Copies a text, also where a page without TLS has no clipboard. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h('textarea', { value: text, class: 'unseen', 'aria-hidden': 'true' });
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  announce('Copied');
}

/** Gives a text to the user as a file. */
export function download(name, text, type = 'application/json') {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
