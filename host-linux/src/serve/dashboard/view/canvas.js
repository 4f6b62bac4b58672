// What the pictures have in common: sharp pixels, colours of the sheet, a cursor that the mouse
// and the keys move.

const theme = window.matchMedia('(prefers-color-scheme: dark)');

/**
 * The context of a canvas that fills its box, in CSS pixels, wiped. `height` may change its height.
 */
export function prepared(canvas, height = canvas.clientHeight) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (canvas.clientHeight !== height) canvas.style.height = `${height}px`;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

const colours = new Map();
let probe;

/** A colour of the sheet by the name of its property, as a canvas understands it. */
export function colour(name) {
  if (!colours.has(name)) {
    probe ??= document.body.appendChild(document.createElement('i'));
    probe.hidden = true;
    probe.className = 'probe';
    probe.style.color = `var(${name})`;
    colours.set(name, getComputedStyle(probe).color);
  }
  return colours.get(name);
}

/** Calls `redraw` when the colours or the size of what is drawn may have changed. */
export function whenChanged(canvas, redraw) {
  const forget = () => {
    colours.clear();
    redraw();
  };
  theme.addEventListener('change', forget);
  new MutationObserver(forget).observe(document.documentElement, { attributeFilter: ['data-theme'] });
  let width = null;
  const resized = () => {
    if (canvas.clientWidth === width) return;
    width = canvas.clientWidth;
    // Not at once: to draw may change the height of what is watched.
    requestAnimationFrame(redraw);
  };
  new ResizeObserver(resized).observe(canvas.parentElement);
}

/**
 * A cursor over a canvas's parts, which are numbered. `hit(x, y)` tells the number at a point, or
 * null; `move(at, key)` the number that an arrow key leads to; `change(at)` is told of each change,
 * with null where there is no cursor.
 */
export class Cursor {
  at = null;
  #change;

  constructor(canvas, { hit, move, change }) {
    this.#change = change;
    canvas.addEventListener('pointermove', (event) => {
      const box = canvas.getBoundingClientRect();
      this.set(hit(event.clientX - box.left, event.clientY - box.top));
    });
    canvas.addEventListener('pointerleave', () => {
      if (document.activeElement !== canvas) this.set(null);
    });
    canvas.addEventListener('blur', () => this.set(null));
    canvas.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const isKnown = /^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key);
      if (event.key === 'Escape') this.set(null);
      else if (isKnown) this.set(move(this.at, event.key));
      else return;
      event.preventDefault();
    });
  }

  /** Moves it, to nowhere with null. */
  set(at) {
    if (at === this.at) return;
    this.at = at;
    this.#change(at);
  }
}
