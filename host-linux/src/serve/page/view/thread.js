// The thread: the messages of the path, kept in sight at its end while an answer grows.

import { $, announce, h } from '../dom.js';
import { path, state } from '../chat.js';
import { siblings } from '../tree.js';
import { messageView } from './message.js';

/** Pixels from the end within which the thread follows it. */
const NEAR = 80;

let views = new Map();
let frame = 0;
const due = new Set();

const isAtEnd = () => $('thread').scrollHeight - $('thread').scrollTop - $('thread').clientHeight < NEAR;
const toEnd = () => {
  $('thread').scrollTop = $('thread').scrollHeight;
};

/** Shows the path anew. `context` has the name of the model, the room of its context, and actions. */
export function showThread(context) {
  const follow = isAtEnd();
  const messages = path();
  const shown = messages.map((message, i) => {
    const isLast = i === messages.length - 1;
    return [message.id, messageView(message, siblings(state.messages, message), { ...context, isLast })];
  });
  views = new Map(shown);
  $('messages').replaceChildren(...shown.map(([, view]) => view.element));
  $('empty').hidden = messages.length > 0;
  if (follow || messages.at(-1)?.running) toEnd();
}

/** Shows what has come of one message, at most once for each picture that the screen shows. */
export function showMessage(message) {
  due.add(message);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    const follow = isAtEnd();
    for (const one of due) views.get(one.id)?.update();
    due.clear();
    if (follow) toEnd();
  });
}

/** Tells those who listen that an answer has ended, and what it says. */
export function readOut(message) {
  const { answer, error } = message;
  announce(error ? `Error: ${error}` : `Answer: ${answer.content.slice(0, 500)}`);
}

/** Examples of what can be asked, in an empty thread. */
export function showExamples(texts, onChoose) {
  $('examples').replaceChildren(
    ...texts.map((text) => h('button', { type: 'button', onclick: () => onChoose(text) }, text)),
  );
}
