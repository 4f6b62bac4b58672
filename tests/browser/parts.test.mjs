// Parts of the page without a browser, where a browser would not fail when it is asked to: what
// cannot be kept, what was kept wrong, events that nobody takes, and files that make no sense.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leafBelow } from '../page/tree.js';

const storage = new Map();
globalThis.document = { baseURI: 'http://127.0.0.1/' };
globalThis.localStorage = { getItem: (name) => storage.get(name) ?? null, setItem: (...pair) => storage.set(...pair) };
globalThis.sessionStorage = globalThis.localStorage;

test('a stream whose events nobody can take is given back', async () => {
  const { readEvents } = await import('../page/api.js');
  let isGivenBack = false;
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode('data: {"a": 1}\n\ndata: {"a": 2}\n\n')),
    cancel: () => {
      isGivenBack = true;
    },
  });
  const seen = [];
  const take = ({ a }) => {
    seen.push(a);
    if (a === 2) throw new Error('what is this?');
  };
  await assert.rejects(readEvents({ body }, take), /what is this/);
  assert.deepEqual([seen, isGivenBack], [[1, 2], true]);
});

/** A database whose transactions end with an event of this name, after their requests succeeded. */
function database(end) {
  const later = (request, handler) => queueMicrotask(() => request[handler]?.());
  const transaction = () => {
    const transaction = { error: new Error('the disk is full') };
    const put = () => {
      const request = {};
      later(request, 'onsuccess');
      setTimeout(() => transaction[end]?.());
      return request;
    };
    transaction.objectStore = () => ({ put, transaction });
    return transaction;
  };
  return {
    open: () => {
      const request = { result: { transaction } };
      later(request, 'onsuccess');
      return request;
    },
  };
}

test('what the browser takes back at the end is not kept, and that is told', async () => {
  for (const [end, expected] of [
    ['oncomplete', []],
    ['onabort', ['the disk is full']],
  ]) {
    globalThis.indexedDB = database(end);
    const store = await import(`../page/store.js?${end}`);
    const problems = [];
    store.setProblem((error) => problems.push(error.message));
    await store.saveConversation({ id: 'a' });
    assert.deepEqual(problems, expected);
  }
});

test('settings that cannot be read are those of the beginning', async () => {
  for (const [kept, seed] of [
    ['{"texts": {"seed": "7"}}', '7'],
    ['{"texts": null}', undefined],
    ['{', undefined],
    ['null', undefined],
    ['7', undefined],
  ]) {
    storage.set('verbatim-settings', kept);
    const settings = await import(`../page/settings.js?${encodeURIComponent(kept)}`);
    assert.deepEqual([settings.seedSet(), settings.alternatives()], [seed, 5]);
  }
});

test('messages that stand in a circle have an end', () => {
  const messages = ['a', 'b', 'c'].map((id, i, all) => ({ id, parent: all.at(i - 1), created: i }));
  assert.ok(leafBelow(new Map(messages.map((message) => [message.id, message])), messages[0]));
  const line = messages.map((message, i) => ({ ...message, parent: i ? messages[i - 1].id : null }));
  assert.equal(leafBelow(new Map(line.map((message) => [message.id, message])), line[0]).id, 'c');
});
