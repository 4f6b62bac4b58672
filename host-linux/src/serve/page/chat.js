// The conversation that is open, and what can be done in it; answers in others go on meanwhile. It
// knows nothing of how it is shown: `show` is told when its shape has changed, and `showOne` when
// one message has.

import { alternatives, chosen } from './settings.js';
import { branched, emptyAnswer, fill } from './answer.js';
import { post } from './api.js';
import { asMessages, leafBelow, pathTo, titleOf } from './tree.js';
import * as store from './store.js';

/** Milliseconds between two times that a growing answer is written down. */
const SAVE_MS = 1000;
const DRAWN_BELOW = 2 ** 32;

/** Conversations in which an answer is computed, by id: what they are, and what stops the answer. */
const live = new Map();
/** The conversation that is open: messages by id, and what stops the answer that is computed. */
export const state = {
  conversation: null,
  messages: new Map(),
  get running() {
    return live.get(this.conversation?.id)?.controller ?? null;
  },
};
let view = { show() {}, showOne() {}, listChanged() {} };

/** Sets what is told of changes. */
export function setView(handlers) {
  view = handlers;
}

/** The messages that are shown and sent. */
export const path = () => pathTo(state.messages, state.conversation.head);

/** Begins an empty conversation, which is kept from its first message on. */
export function startNew() {
  const now = Date.now();
  const system = state.conversation?.system ?? '';
  state.conversation = { id: store.newId(), title: 'New conversation', created: now, updated: now, system, head: null };
  state.messages = new Map();
  view.show();
}

/** Opens a kept conversation; an answer that the page was closed on can be gone on with. */
export async function open(conversation) {
  const known = live.get(conversation.id);
  const kept = known ? [...known.messages.values()] : await store.messagesOf(conversation.id);
  state.conversation = known?.conversation ?? conversation;
  state.messages = known?.messages ?? new Map(kept.map((message) => [message.id, message]));
  // The page may have been closed before the message that it was to show was written.
  if (!state.messages.has(state.conversation.head)) state.conversation.head = kept.at(-1)?.id ?? null;
  view.show();
}

async function keep(conversation = state.conversation) {
  conversation.updated = Date.now();
  await store.saveConversation({ ...conversation });
  view.listChanged();
}

/** Sets the system prompt of the conversation. */
export async function setSystem(system) {
  state.conversation.system = system;
  if (state.messages.size) await keep();
}

/** Gives a conversation another name. */
export async function rename(conversation, title) {
  const { id } = conversation;
  const shared = state.conversation.id === id ? state.conversation : live.get(id)?.conversation;
  await store.saveConversation({ ...Object.assign(shared ?? conversation, { title }) });
  view.listChanged();
}

/** Whether an answer is computed in the conversation of this id. */
export const isBusy = (id) => live.has(id);

/** Removes a conversation, once the answer in it was stopped. */
export async function remove(conversation) {
  const { id } = conversation;
  const busy = live.get(id);
  busy?.controller.abort();
  await busy?.ended;
  if (state.conversation.id === id) startNew();
  await store.removeConversation(id);
}

function add(message) {
  const created = Math.max(Date.now(), ...[...state.messages.values()].map((m) => m.created + 1));
  const whole = { id: store.newId(), conversation: state.conversation.id, created, ...message };
  state.messages.set(whole.id, whole);
  state.conversation.head = whole.id;
  return whole;
}

/** Sends what a user says, below a message or in the conversation's first place, and answers it. */
export async function say(content, files, parent = state.conversation.head) {
  if (!state.messages.size) state.conversation.title = titleOf(content || files[0]?.name || '');
  const message = add({ role: 'user', parent, content, files });
  await store.saveMessage(message);
  await respond(message.id);
}

/** Sends what the functions gave that a message called, in the order of the calls, and answers it. */
export async function giveResults(message, results) {
  let parent = message.id;
  for (const [i, content] of results.entries()) {
    const result = add({ role: 'tool', parent, content, callId: message.answer.calls[i].id });
    await store.saveMessage(result);
    parent = result.id;
  }
  await respond(parent);
}

/** What decides an answer, besides the messages; the seed is drawn here if none was chosen. */
function requestNow() {
  const parameters = chosen();
  const seed = parameters.seed ?? Math.floor(Math.random() * DRAWN_BELOW);
  return { system: state.conversation.system, parameters: { ...parameters, seed }, alternatives: alternatives() };
}

/** The body of the request that a message is the answer to, the same each time. */
export function bodyOf({ parent, request }) {
  return {
    messages: asMessages(request.system, pathTo(state.messages, parent)),
    ...request.parameters,
    stream: true,
    stream_options: { include_usage: true },
    logprobs: true,
    top_logprobs: request.alternatives,
    return_token_ids: true,
    return_tokens_as_token_ids: true,
  };
}

/** Asks for an answer to a message; beside those that there are. */
export async function respond(parent) {
  let request;
  try {
    request = requestNow();
  } catch (error) {
    add({ role: 'assistant', parent, answer: emptyAnswer(), request: null, error: error.message });
    view.show();
    return;
  }
  const message = add({ role: 'assistant', parent, answer: emptyAnswer(), request, error: null });
  await run(message);
}

/** Goes on with an answer that was stopped or cut, where it was. */
export async function goOn(message) {
  message.error = null;
  await run(message);
}

/** Whether a token is text: one that ends the answer, or marks something in it, is not. */
async function isText(id) {
  const body = { prompt: [id], echo: true, max_tokens: 0 };
  const { choices } = await (await post('v1/completions', body)).json();
  return choices[0].text !== '';
}

/** Answers anew from token `k` of an answer on, with another token in its place. */
export async function branch(message, k, alternative) {
  const answer = branched(message.answer, k, alternative, await isText(alternative[0]));
  await run(add({ role: 'assistant', parent: message.parent, answer, request: message.request, error: null }));
}

/** Shows another message in the place of its siblings, with the newest that follows it. */
export async function choose(message) {
  stop();
  state.conversation.head = leafBelow(state.messages, message).id;
  await keep();
  view.show();
}

/** Ends the answer that is being computed; it can be gone on with. */
export function stop() {
  state.running?.abort();
}

async function run(message) {
  stop();
  const { conversation, messages } = state;
  const busy = { conversation, messages, controller: new AbortController() };
  live.set(conversation.id, busy);
  message.running = true;
  view.show();
  busy.ended = compute(message, bodyOf(message), busy);
  await busy.ended;
  if (messages === state.messages) view.show(message);
}

/** Computes an answer, and writes it down while it grows and when it has ended. */
async function compute(message, body, busy) {
  await save(message);
  await keep(busy.conversation);
  let savedAt = 0;
  try {
    await fill(message.answer, body, {
      signal: busy.controller.signal,
      onWait: (error) => {
        message.wait = error?.message ?? null;
        view.showOne(message);
      },
      onChange: () => {
        view.showOne(message);
        if (performance.now() - savedAt < SAVE_MS) return;
        savedAt = performance.now();
        save(message);
      },
    });
  } catch (error) {
    if (error.name !== 'AbortError') message.error = error.message;
    if (error.status === 401) view.needKey();
  }
  delete message.running;
  delete message.wait;
  await save(message);
  // Until it is written, whoever opens the conversation finds it here.
  const { id } = busy.conversation;
  if (live.get(id) === busy) live.delete(id);
  view.listChanged();
}

/** Writes a message without what is only true while it runs. */
function save({ running, wait, ...message }) {
  return store.saveMessage(message);
}
