// One message of the thread: what it says, what can be done with it, and how it was computed.

import { button, copy, h } from '../dom.js';
import { codeBlock, renderMarkdown } from '../render/markdown.js';
import { speedOf } from '../answer.js';
import { rawView } from './raw.js';

/** Arguments of a call with line breaks, where they are JSON already. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Which of its siblings a message is, and a way to the others; nothing where it is alone. */
function branchSwitch(message, siblings, actions) {
  if (siblings.length < 2) return null;
  const at = siblings.indexOf(message);
  const to = (i, text, label) =>
    button(text, () => actions.choose(siblings[i]), {
      class: 'small',
      disabled: !siblings[i],
      'aria-label': label,
    });
  return h(
    'span',
    { class: 'switch', role: 'group', 'aria-label': 'Branches' },
    to(at - 1, '‹', 'Earlier branch'),
    h('span', {}, `${at + 1} / ${siblings.length}`),
    to(at + 1, '›', 'Later branch'),
  );
}

/** The text of a user's message as a field, and the buttons that send or leave it. */
function editor(message, actions, onCancel) {
  const area = h('textarea', { value: message.content, rows: 4, 'aria-label': 'Edit the message' });
  const send = () => actions.edit(message, area.value);
  area.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
    if (event.key === 'Escape') {
      event.stopPropagation();
      onCancel();
    }
  });
  return h(
    'div',
    { class: 'editor' },
    area,
    h('div', { class: 'tools' }, button('Send as a branch', send), button('Cancel', onCancel)),
  );
}

function userView(message, siblings, actions) {
  const body = h('div', { class: 'body said' }, message.content);
  const files = (message.files ?? []).map(({ name, text }) =>
    h(
      'details',
      { class: 'file' },
      h('summary', {}, `${name} (${text.length.toLocaleString('en')} characters)`),
      codeBlock(text, name.split('.').pop()),
    ),
  );
  const tools = h(
    'div',
    { class: 'tools' },
    branchSwitch(message, siblings, actions),
    button('Copy', () => copy(message.content), { class: 'small' }),
  );
  const article = h(
    'article',
    { class: `message ${message.role}`, 'aria-label': message.role === 'tool' ? 'Result of a function' : 'You' },
    h('h2', { class: 'role' }, message.role === 'tool' ? 'Result' : 'You'),
    body,
    files,
    tools,
  );
  if (message.role === 'user') {
    tools.append(
      button(
        'Edit',
        () => {
          const field = editor(message, actions, () => {
            field.replaceWith(body);
            tools.hidden = false;
          });
          body.replaceWith(field);
          tools.hidden = true;
          field.firstChild.focus();
        },
        { class: 'small edit' },
      ),
    );
  }
  return { element: article, update() {} };
}

/** The calls of an answer, and fields for what they gave where the conversation ends with them. */
function callsView(message, isLast, actions) {
  const fields = message.answer.calls.map(() =>
    h('textarea', { rows: 2, placeholder: 'Result of the call', 'aria-label': 'Result of the call' }),
  );
  const calls = message.answer.calls.map((call, i) =>
    h(
      'details',
      { class: 'call', open: true },
      h('summary', {}, 'Calls ', h('code', {}, call.name)),
      codeBlock(pretty(call.arguments), 'json'),
      isLast && !message.running && fields[i],
    ),
  );
  if (!calls.length || !isLast || message.running) return calls;
  return [
    ...calls,
    button('Send results', () =>
      actions.giveResults(
        message,
        fields.map((f) => f.value),
      ),
    ),
  ];
}

/** How an answer was computed, in a line. */
function figuresOf({ answer, request, wait }, room) {
  const speed = speedOf(answer);
  const total = answer.usage?.total_tokens;
  const parts = [`${answer.ids.length} tokens`];
  if (speed) parts.push(`${speed.toFixed(speed < 10 ? 1 : 0)} tokens/s`);
  if (answer.times.first) parts.push(`first after ${((answer.times.first - answer.times.asked) / 1000).toFixed(2)} s`);
  if (total && room) parts.push(`context ${total} of ${room}`);
  if (request) parts.push(`seed ${request.parameters.seed}`);
  if (answer.fingerprint) parts.push(answer.fingerprint);
  if (answer.forced) parts.push(`token ${answer.forced} was chosen by hand`);
  if (answer.cuts && !wait) parts.push(`went on after ${answer.cuts === 1 ? 'a cut' : `${answer.cuts} cuts`}`);
  if (answer.finish === 'length') parts.push('ended by the limit of tokens');
  return parts.join(' · ');
}

/** What came of "Same bits?". */
function verdict({ first, second, same, at, running, tokens }) {
  return h(
    'div',
    { class: `bits ${same ? 'same' : 'other'}`, role: 'status' },
    h('strong', {}, same ? '✓ The same bits' : `✗ Other bits, from token ${at} on`),
    h('p', {}, `${tokens} tokens were computed again while up to ${running} sequences ran at once.`),
    h(
      'dl',
      {},
      h('dt', {}, 'first'),
      h('dd', {}, h('code', {}, first)),
      h('dt', {}, 'again'),
      h('dd', {}, h('code', {}, second)),
    ),
  );
}

function toolsOf(message, siblings, actions, extra) {
  const put = (...nodes) => {
    extra.replaceChildren(...nodes);
    extra.scrollIntoView({ block: 'nearest' });
  };
  const { answer } = message;
  const small = (text, onclick, props = {}) => button(text, onclick, { class: 'small', ...props });
  const can = answer.ids.length > 0 && message.request;
  const toggle = (event) => {
    const isOpen = extra.querySelector('.raw');
    event.target.setAttribute('aria-expanded', String(!isOpen));
    put(...(isOpen ? [] : [rawView(answer, (k, other) => actions.branch(message, k, other))]));
  };
  let checking = null;
  const check = async ({ target }) => {
    if (checking) return checking.abort();
    checking = new AbortController();
    target.textContent = 'End the check';
    put(h('p', { class: 'wait', role: 'status' }, 'Asking again while the server is busy…'));
    try {
      put(verdict(await actions.sameBits(message, checking.signal)));
    } catch (error) {
      const problem = h('p', { class: 'error', role: 'alert' }, error.message);
      put(...(checking.signal.aborted ? [] : [problem]));
    }
    checking = null;
    target.textContent = 'Same bits?';
  };
  return [
    branchSwitch(message, siblings, actions),
    small('Copy', () => copy(answer.content)),
    small('Regenerate', () => actions.respond(message.parent)),
    message.request && !answer.finish && small('Go on', () => actions.goOn(message), { class: 'small go-on' }),
    can && small('Tokens', toggle, { 'aria-expanded': 'false', title: 'Each token’s probability, and other ways' }),
    can && small('Same bits?', check, { title: 'Asks again, with the server busy, and compares' }),
    can &&
      small('Share', () => actions.share(message), { title: 'A file with all that is needed to compute it again' }),
  ];
}

function answerView(message, siblings, { actions, isLast, name, room }) {
  const reasoning = h('div', { class: 'body' });
  const thought = h('details', { class: 'reasoning', hidden: true }, h('summary', {}, 'Reasoning'), reasoning);
  const body = h('div', { class: 'body' });
  const [calls, notes, figures] = [h('div'), h('div'), h('p', { class: 'figures' })];
  const extra = h('div', { class: 'extra' });
  const tools = h('div', { class: 'tools' });
  const element = h(
    'article',
    { class: 'message assistant', 'aria-label': name, 'aria-busy': String(!!message.running) },
    h('h2', { class: 'role' }, name),
    thought,
    body,
    calls,
    notes,
    figures,
    tools,
    extra,
  );
  const isJson = /^json/.test(message.request?.parameters.response_format?.type ?? '');
  const update = () => {
    const { answer } = message;
    thought.hidden = !answer.reasoning;
    thought.firstChild.textContent = message.running && !answer.content ? 'Reasoning…' : 'Reasoning';
    if (answer.reasoning) renderMarkdown(reasoning, answer.reasoning);
    if (isJson && answer.content) body.replaceChildren(codeBlock(answer.content, 'json'));
    else renderMarkdown(body, answer.content);
    body.classList.toggle('growing', !!message.running);
    if (answer.calls.length) calls.replaceChildren(...callsView(message, isLast, actions));
    const wait =
      message.wait &&
      h(
        'p',
        { class: 'wait', role: 'status' },
        `${message.wait} The answer goes on by itself when the server is back.`,
      );
    const error = message.error && h('p', { class: 'error', role: 'alert' }, message.error);
    const stopped = !message.running && !message.error && !answer.finish && h('p', { class: 'wait' }, 'Stopped.');
    notes.replaceChildren(...[wait, error, stopped].filter(Boolean));
    figures.textContent = answer.ids.length ? figuresOf(message, room) : '';
  };
  update();
  if (!message.running) tools.append(...toolsOf(message, siblings, actions, extra).filter(Boolean));
  return { element, update };
}

/** The view of a message: its element, and `update` for when it has grown. */
export function messageView(message, siblings, context) {
  return message.role === 'assistant'
    ? answerView(message, siblings, context)
    : userView(message, siblings, context.actions);
}
