// Conversations in the browser (IndexedDB). A message is kept without its tokens, which are large
// and lie in a store of their own; both are written again whenever they have changed.

import { checkedMessage } from './check.js';

/** Format of exported conversations. */
const FORMAT = 'verbatim-conversations/1';
/** The longest file that is imported, in characters. */
const IMPORT_MAX = 200e6;

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/**
 * Waits until what was written is kept. That a disk is full, the browser says at the end of a
 * transaction, when its requests have succeeded.
 */
const kept = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error('the browser has taken it back'));
  });

let opened;
function database() {
  opened ??= (() => {
    const request = indexedDB.open('verbatim', 1);
    request.onupgradeneeded = () => {
      const db = request.result;
      db.createObjectStore('conversations', { keyPath: 'id' });
      db.createObjectStore('messages', { keyPath: 'id' }).createIndex('conversation', 'conversation');
      db.createObjectStore('tokens', { keyPath: 'id' }).createIndex('conversation', 'conversation');
    };
    return done(request);
  })();
  return opened;
}

async function store(name, mode = 'readonly') {
  return (await database()).transaction(name, mode).objectStore(name);
}

let onProblem = () => {};
/** Sets who is told that something could not be kept: the page goes on without it. */
export function setProblem(handler) {
  onProblem = handler;
}

async function put(name, value) {
  try {
    const place = await store(name, 'readwrite');
    place.put(value);
    await kept(place.transaction);
  } catch (error) {
    onProblem(error);
  }
}

/** An id that no other conversation or message has. */
export const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (x) => x.toString(36)).join('');

/** All conversations, those changed last first. */
export async function conversations() {
  let all = [];
  try {
    all = await done((await store('conversations')).getAll());
  } catch (error) {
    onProblem(error);
  }
  return all.sort((a, b) => b.updated - a.updated);
}

/** Writes a conversation: `{id, title, created, updated, system, head}`, head being a message. */
export async function saveConversation(conversation) {
  await put('conversations', conversation);
}

/** Writes a message, without the tokens of its answer. */
export async function saveMessage(message) {
  const { answer, ...rest } = message;
  const { ids, tokens, ...light } = answer ?? {};
  const record = answer ? { ...rest, answer: light } : rest;
  await put('messages', record);
  if (!ids?.length) return;
  const { id, conversation } = message;
  await put('tokens', { id, conversation, ids, tokens });
}

/** The messages of a conversation, oldest first, with their tokens. */
export async function messagesOf(conversation) {
  const of = async (name) => done((await store(name)).index('conversation').getAll(conversation));
  const [messages, tokens] = [await of('messages'), await of('tokens')];
  const byId = new Map(tokens.map((entry) => [entry.id, entry]));
  for (const message of messages) {
    if (!message.answer) continue;
    const { ids = [], tokens: entries = [] } = byId.get(message.id) ?? {};
    Object.assign(message.answer, { ids, tokens: entries });
  }
  return messages.sort((a, b) => a.created - b.created);
}

/** Removes a conversation and all that is in it. */
export async function removeConversation(id) {
  const db = await database();
  const names = ['conversations', 'messages', 'tokens'];
  const transaction = db.transaction(names, 'readwrite');
  transaction.objectStore('conversations').delete(id);
  for (const name of names.slice(1)) {
    const keys = await done(transaction.objectStore(name).index('conversation').getAllKeys(id));
    for (const key of keys) transaction.objectStore(name).delete(key);
  }
}

/** Ids of the conversations with these words in the title or in a message. */
export async function search(words) {
  const wanted = words.toLowerCase();
  const has = (text) => (text ?? '').toLowerCase().includes(wanted);
  const found = new Set((await conversations()).filter((c) => has(c.title)).map((c) => c.id));
  const request = (await store('messages')).openCursor();
  await new Promise((resolve, reject) => {
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      const cursor = request.result;
      if (!cursor) return resolve();
      const { content, answer, conversation } = cursor.value;
      if (has(content) || has(answer?.content)) found.add(conversation);
      cursor.continue();
    };
  });
  return found;
}

/** Conversations with all their messages, as text of a file; all of them without an id. */
export async function exported(id = null) {
  const chosen = (await conversations()).filter((c) => id === null || c.id === id);
  const list = [];
  for (const conversation of chosen) {
    list.push({ ...conversation, messages: await messagesOf(conversation.id) });
  }
  return JSON.stringify({ format: FORMAT, conversations: list }, null, 1);
}

/** Adds the conversations of an exported file under new ids; their number. */
export async function imported(text) {
  if (text.length > IMPORT_MAX) throw new Error('The file is too large.');
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error('The file is not JSON.');
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new Error(`The file is not one of conversations: its format is not ${FORMAT}.`);
  }
  const list = file.conversations.map(({ messages, ...conversation }) => {
    if (!Array.isArray(messages)) throw new Error('A conversation of the file has no messages.');
    return { ...conversation, messages: messages.map(checkedMessage) };
  });
  for (const { title, created, updated, system, head, messages } of list) {
    const id = newId();
    const ids = new Map(messages.map((message) => [message.id, newId()]));
    for (const message of messages) {
      const parent = ids.get(message.parent) ?? null;
      await saveMessage({ ...message, id: ids.get(message.id), conversation: id, parent });
    }
    await saveConversation({
      id,
      title: String(title),
      created: Number(created) || 0,
      updated: Number(updated) || 0,
      system: String(system ?? ''),
      head: ids.get(head) ?? null,
    });
  }
  return file.conversations.length;
}
