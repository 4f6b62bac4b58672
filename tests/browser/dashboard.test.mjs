// The dashboard in a browser: what it shows of a server that really answers, and what it can do.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { bytes, count, percent, seconds } from '../dashboard/format.js';
import { mapOf, Memory } from '../dashboard/model.js';
import { closeBrowser, openPage } from './browser.mjs';
import { Server } from './server.mjs';

/** A prompt of several KV blocks. */
const PROMPT = `${'What is the capital of France? '.repeat(12)}Tell me more.`;

let server;
before(async () => {
  server = await Server.start({ slow: true });
});
after(async () => {
  await closeBrowser();
  await server.end();
});

let opened = [];
// What a test that failed has left would be counted as a watcher by those after it.
afterEach(async () => {
  await Promise.all(opened.map((page) => page.context().close()));
  opened = [];
});

/** Opens the dashboard of a server. */
async function open(of, options = {}) {
  const page = await openPage({ page: `${of.page}dashboard` }, { ready: '#connection[data-state="live"]', ...options });
  opened.push(page);
  return page;
}

/** A stream that runs until it has so many tokens, or is cancelled: its text, and when it has ended. */
function longStream({ id, tokens = 400, n = 1, prompt = `${id}: ${PROMPT}`, temperature = 1.3, of = server }) {
  const body = { prompt, n, max_tokens: tokens, ignore_eos: true, temperature, seed: 7, stream: true };
  return fetch(`${of.page}v1/completions`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'x-request-id': id },
    body: JSON.stringify(body),
  }).then((response) => response.text());
}

/** What the server tells now, in a stream of its own that ends with it. */
async function eventOf(of) {
  const response = await fetch(`${of.page}dashboard/events?events=1`);
  return JSON.parse((await response.text()).match(/^data: (.*)$/m)[1]);
}

const rowOf = (page, id) => page.locator('#sequences tbody tr', { hasText: id });
const countOf = async (page, state) => Number((await page.locator(`#count-${state}`).innerText()).replace(/\D/g, ''));

/** Waits until a count of the map's legend is as it should be. */
const counted = (page, state, isWanted) =>
  page.waitForFunction(
    ([name, wanted]) => {
      const n = Number(document.getElementById(`count-${name}`).textContent.replace(/\D/g, ''));
      return wanted === 'none' ? n === 0 : n > 0;
    },
    [state, isWanted],
  );

/** How many pixels of a picture have a colour of the legend. */
const pixels = (page, canvas, state) =>
  page.evaluate(
    ([id, name]) => {
      const [red, green, blue] = getComputedStyle(document.querySelector(`.swatch.c-${name}`))
        .backgroundColor.match(/\d+/g)
        .map(Number);
      const node = document.getElementById(id);
      const { data } = node.getContext('2d').getImageData(0, 0, node.width, node.height);
      let found = 0;
      for (let i = 0; i < data.length; i += 4)
        if (data[i] === red && data[i + 1] === green && data[i + 2] === blue && data[i + 3] === 255) found += 1;
      return found;
    },
    [canvas, state],
  );

async function cancelled(page, id) {
  const cancel = rowOf(page, id)
    .getByRole('button', { name: `Cancel ${id}`, exact: true })
    .first();
  await cancel.click();
  assert.equal(await cancel.innerText(), 'Really?');
  await cancel.click();
  await rowOf(page, id).first().waitFor({ state: 'detached' });
}

test('numbers are as people read them', () => {
  assert.deepEqual([0, 999, 99_999, 123_456, 4_560_000].map(count), ['0', '999', '99,999', '123 k', '4.56 M']);
  assert.deepEqual([0, 1023, 1536, 3 << 20].map(bytes), ['0 B', '1,023 B', '1.50 KiB', '3.00 MiB']);
  assert.deepEqual([0, 0.004, 0.0999, 0.9996, 1].map(percent), ['0%', '0.4%', '10.0%', '100%', '100%']);
  const times = [0, 0.00042, 0.25, 12.3, 245, 12_000, 187_200];
  const words = ['0 ms', '0.42 ms', '250 ms', '12.3 s', '4 min 5 s', '3 h 20 min', '2 d 4 h'];
  assert.deepEqual(times.map(seconds), words);
});

test('steps and lines that come twice are shown once, and another run of the server begins anew', () => {
  const memory = new Memory();
  const event = (uptime, steps, lines) => ({
    time_ms: 1e12 + uptime * 1000,
    uptime_seconds: uptime,
    steps: { list: steps.map((n) => ({ n })) },
    log: { list: lines.map((n) => ({ n })) },
  });
  const numbers = (list) => list.map(({ n }) => n);
  let next = event(10, [1, 2], [0, 1]);
  assert.equal(memory.take(next), false);
  assert.deepEqual(numbers(memory.newLines(next)), [0, 1]);
  next = event(11, [1, 2, 3], [1, 2]);
  assert.equal(memory.take(next), false);
  assert.deepEqual([numbers(memory.steps), numbers(memory.newLines(next))], [[1, 2, 3], [2]]);
  next = { ...event(1, [1], [0]), time_ms: 1e12 + 60_000 };
  assert.equal(memory.take(next), true);
  assert.deepEqual([numbers(memory.steps), numbers(memory.newLines(next))], [[1], [0]]);
});

test('the map of blocks is read from its runs', () => {
  const kv = { blocks: 12, block_tokens: 16, free: 5, cached: 2, held: 5, shared: 4 };
  const sharing = [
    [1, 1],
    [2, 1],
    [3, 1],
    [4, 1],
    [9, 1],
  ];
  const runs = [
    [2, 1],
    [10, 2],
    [1, 2],
    [0, 1],
  ];
  const map = mapOf({ kv: { ...kv, sharing, map: { blocks_per_cell: 2, cells: 6, runs } } });
  assert.deepEqual(map.owners, [1, 9, 9, 0, 0, -1]);
  assert.deepEqual(Object.values(map.counts), [5, 2, 1, 1, 2, 1]);
  assert.deepEqual(mapOf({ kv: { ...kv, sharing, map: null } }).owners, []);
});

test('the dashboard comes with a strict policy, and shows what the server tells', async () => {
  const response = await fetch(`${server.page}dashboard`);
  assert.match(response.headers.get('content-security-policy'), /default-src 'self'/);
  assert.doesNotMatch(response.headers.get('content-security-policy'), /unsafe|https?:|\*/);
  assert.doesNotMatch(await response.text(), /<script(?![^>]* src=)|<style| style=| on\w+=/);
  const page = await open(server);
  const done = longStream({ id: 'watched' });
  await rowOf(page, 'watched').getByText('decode').waitFor();
  const told = await eventOf(server);
  const [sequence] = told.sequences;
  assert.equal(sequence.request_id, 'watched');
  const row = await rowOf(page, 'watched').innerText();
  assert.ok(row.includes(`${sequence.prompt_done} / ${sequence.prompt_tokens}`), row);
  assert.match(row, new RegExp(`\\d+ / ${sequence.max_tokens}`));
  assert.equal(await page.locator('#fingerprint').innerText(), told.server.fingerprint);
  assert.equal(await page.locator('#model-name').innerText(), told.server.model);
  assert.match(await page.locator('#figure-running').innerText(), new RegExp(`^1\\s+of ${told.server.max_seqs}$`));
  const tokens = () => page.locator('#facts dt:text-is("Tokens made") + dd').innerText();
  const before = await tokens();
  await page.waitForFunction((was) => !document.getElementById('facts').textContent.includes(`made${was}Pre`), before);
  await cancelled(page, 'watched');
  await done;
  await page.done();
});

test('the map of blocks fills while a request runs, and empties after it', async () => {
  const page = await open(server);
  await counted(page, 'held', 'none');
  assert.equal(await pixels(page, 'blocks', 'held'), 0);
  const done = longStream({ id: 'two', n: 2 });
  await counted(page, 'shared-2', 'some');
  assert.ok((await pixels(page, 'blocks', 'shared-2')) > 0);
  assert.ok((await countOf(page, 'held')) > 0);
  const grown = await countOf(page, 'held');
  await page.waitForFunction(
    (was) => Number(document.getElementById('count-held').textContent) > was && was > 0,
    grown,
  );
  assert.ok((await pixels(page, 'blocks', 'held')) > 0);
  await page.focus('#blocks');
  const tellings = new Set();
  await page.keyboard.press('Home');
  for (let i = 0; i < 40; i += 1) {
    tellings.add((await page.locator('#blocks-told').innerText()).replace(/\d+(?=:)/, 'N'));
    await page.keyboard.press('ArrowRight');
  }
  assert.ok(tellings.has('Block N: shared by 2 sequences'), [...tellings].join());
  assert.ok(tellings.has('Block N: held by one sequence'), [...tellings].join());
  await cancelled(page, 'two');
  await done;
  await counted(page, 'held', 'none');
  await counted(page, 'shared-2', 'none');
  assert.equal(await pixels(page, 'blocks', 'held'), 0);
  assert.ok((await countOf(page, 'cached')) > 0, 'what the prompt left can be found again');
  await page.locator('#blocks').hover({ position: { x: 4, y: 4 } });
  await page.waitForFunction(() => document.getElementById('blocks-told').textContent.startsWith('Block 0: '));
  await page.done();
});

test('steps are drawn by kind, and the keys tell each of them', async () => {
  const page = await open(server);
  const done = longStream({ id: 'steps' });
  const left = new Set(['prefill', 'decode']);
  for (let i = 0; i < 1000 && left.size > 0; i += 1) {
    for (const kind of left) if ((await pixels(page, 'steps', kind)) > 0) left.delete(kind);
    await pause(20);
  }
  assert.deepEqual([...left], [], 'kinds that are not drawn');
  await rowOf(page, 'steps').getByText('decode').waitFor();
  await cancelled(page, 'steps');
  await done;
  await page.focus('#steps');
  await page.keyboard.press('End');
  const telling = page.locator('#steps-told');
  assert.match(await telling.innerText(), /^Step \d+: 1 row of at most \d+ \(1 decode\) in [\d.]+ m?s$/);
  const kinds = new Set();
  for (let i = 0; i < 600 && kinds.size < 2; i += 1) {
    kinds.add((await telling.innerText()).match(/\d (prefill|decode)/)?.[1]);
    await page.keyboard.press('ArrowLeft');
  }
  assert.deepEqual([...kinds].sort(), ['decode', 'prefill']);
  await page.keyboard.press('Escape');
  assert.equal(await telling.textContent(), '');
  await page.done();
});

test('a request that is cancelled ends, and its client is told', async () => {
  const page = await open(server);
  const done = longStream({ id: 'unwanted' });
  const other = longStream({ id: 'wanted', tokens: 60 });
  await rowOf(page, 'unwanted').getByText('decode').waitFor();
  await cancelled(page, 'unwanted');
  const text = await done;
  assert.match(text, /"code":"request_cancelled"/);
  assert.doesNotMatch(text, /\[DONE\]\s*$/);
  assert.equal(await page.locator('#toast').innerText(), 'unwanted was cancelled.');
  assert.match(await other, /\[DONE\]\s*$/);
  await page.done();
});

test('the log can be read by request', async () => {
  const page = await open(server);
  await longStream({ id: 'line-1', tokens: 5 });
  await longStream({ id: 'line-10', tokens: 5 });
  await page.locator('#log li', { hasText: 'line-10' }).waitFor();
  await page.fill('#log-filter', 'line-1');
  const shown = await page.locator('#log li').allInnerTexts();
  assert.ok(shown.length > 0 && shown.every((line) => /line-1\b/.test(line)), shown.join('\n'));
  assert.match(shown[0], /\/v1\/completions/);
  await page.focus('#log-filter');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Only lines of line-10', exact: true }).first().click();
  assert.equal(await page.locator('#log-filter').inputValue(), 'line-10');
  assert.ok((await page.locator('#log li').allInnerTexts()).every((line) => line.includes('line-10')));
  await page.done();
});

test('a paused page has no connection, and goes on when it is told to', async () => {
  /** Waits until so many watch, with the one who asks; a connection that was left is noticed a little later. */
  const watched = async (wanted) => {
    let found;
    for (let i = 0; i < 100 && found !== wanted; i += 1) {
      found = (await eventOf(server)).connections.watchers;
      if (found !== wanted) await pause(100);
    }
    assert.equal(found, wanted);
  };
  const page = await open(server);
  await watched(2);
  await page.keyboard.press('p');
  await page.waitForSelector('#connection[data-state="paused"]');
  await watched(1);
  await page.keyboard.press('p');
  await page.waitForSelector('#connection[data-state="live"]');
  await watched(2);
  await page.done();
});

test('a dashboard whose server is killed goes on with the next one', async () => {
  const own = await Server.start();
  try {
    const page = await open(own);
    await longStream({ id: 'first', tokens: 5, of: own });
    await page.locator('#log li', { hasText: 'first' }).waitFor();
    await own.kill();
    await page.waitForSelector('#connection[data-state="lost"]');
    assert.equal(await page.locator('#connection').innerText(), 'Connection lost, trying again');
    // The two starts differ by more than what the page takes for one run.
    await page.waitForTimeout(2500);
    await own.up();
    await page.waitForSelector('#connection[data-state="live"]');
    await page.locator('#log li', { hasText: 'first' }).waitFor({ state: 'detached' });
    await longStream({ id: 'second', tokens: 5, of: own });
    await page.locator('#log li', { hasText: 'second' }).waitFor();
    await page.done();
  } finally {
    await own.end();
  }
});

test('a server with a key shows its dashboard to whoever has it', async () => {
  const keyed = await Server.start({ args: ['--api-key', 'secret'] });
  try {
    const page = await open(keyed, { ready: '#key-dialog[open] #key' });
    assert.ok((await page.locator('#key-wanted').innerText()).length > 10);
    await page.fill('#key', 'wrong');
    await page.locator('#key').blur();
    await page.waitForSelector('#connection[data-state="key"]');
    await page.fill('#key', 'secret');
    await page.press('#key', 'Enter');
    await page.waitForSelector('#connection[data-state="live"]');
    assert.ok(await page.locator('#key-dialog').isHidden());
    assert.match(await page.locator('#model-name').innerText(), /demo/);
    await page.done();
  } finally {
    await keyed.end();
  }
});

test('what a server says that refuses is shown, and it is asked again', async () => {
  const page = await open(server);
  const message = 'eight watch already';
  const refuse = (route) =>
    route.fulfill({ status: 503, json: { error: { message } }, headers: { 'retry-after': '1' } });
  await page.route('**/dashboard/events*', refuse);
  await page.keyboard.press('p');
  await page.keyboard.press('p');
  await page.waitForSelector('#connection[data-state="lost"]');
  assert.equal(await page.locator('#problem').innerText(), message);
  await page.unroute('**/dashboard/events*', refuse);
  await page.waitForSelector('#connection[data-state="live"]');
  assert.ok(await page.locator('#problem').isHidden());
  await page.done();
});

test('what clients write is text, and numbers that are unknown are no harm', async () => {
  const event = await eventOf(server);
  const hostile = '<img src=x onerror="window.broken = 1">';
  event.sequences = [
    {
      id: '0.1.0',
      request_id: hostile,
      choice: 1,
      model: hostile,
      route: hostile,
      key: hostile,
      phase: 'waiting',
      prompt_tokens: 10,
      prompt_done: 0,
      cached_tokens: 0,
      tokens: 0,
      max_tokens: 5,
      drafts: 0,
      blocks: 0,
      tokens_per_second: null,
      waited_seconds: 0,
      age_seconds: 0,
      preemptions: 0,
      priority: 0,
      may_cancel: true,
    },
  ];
  event.sequences.push({
    ...event.sequences[0],
    id: '0.2.0',
    request_id: null,
    route: null,
    key: null,
    may_cancel: false,
  });
  event.sequences_total = 300;
  event.rights = { cancel: 'own', reason: 'Another key may.' };
  event.kv.map = null;
  event.workers = Array.from({ length: 64 }, (_, i) => ({ name: `worker ${i}`, cpu: i ? 0.5 : null, delayed: null }));
  for (const name of Object.keys(event.memory)) event.memory[name] = null;
  event.log.list = [
    { n: 1e9, time_ms: event.time_ms, level: 'warn', request_id: hostile, message: hostile, fields: { x: hostile } },
  ];
  event.server.failure = hostile;
  const page = await open(server);
  await page.route('**/dashboard/events*', (route) =>
    route.fulfill({ contentType: 'text/event-stream', body: `data: ${JSON.stringify(event)}\n\n` }),
  );
  await page.keyboard.press('p');
  await page.keyboard.press('p');
  await page.locator('#sequences tbody tr').nth(1).waitFor();
  assert.equal(await page.locator('#problem').innerText(), hostile);
  assert.equal(await page.locator('#sequences-note').innerText(), '298 more are not listed. Another key may.');
  assert.match(await page.locator('#sequences tbody tr').nth(1).innerText(), /of another key/);
  assert.equal(await page.locator('#sequences tbody button', { hasText: 'Cancel' }).count(), 1);
  assert.match(await page.locator('#work').innerText(), /mean of 64 threads\s+50%/);
  assert.ok((await page.locator('#log li').last().innerText()).includes(`${hostile} x=${hostile}`));
  assert.match(await page.locator('#limits').innerText(), /Resident\s+unknown/);
  assert.equal(await page.evaluate(() => [window.broken, document.querySelectorAll('main img').length].join()), ',0');
  await page.done();
});

test('a narrow screen and the keyboard alone are enough', async () => {
  const page = await open(server, { viewport: { width: 360, height: 720 }, reducedMotion: 'reduce' });
  const done = longStream({ id: 'a-request-whose-name-is-as-long-as-a-name-that-nobody-would-ever-type' });
  await rowOf(page, 'a-request').getByText('decode').waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
  const cancel = rowOf(page, 'a-request').getByRole('button', { name: /^Cancel/ });
  await cancel.focus();
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  assert.match(await done, /request_cancelled/);
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'log-filter');
  await page.locator('#log-filter').blur();
  await page.keyboard.press('?');
  assert.ok(await page.locator('#keys').isVisible());
  await page.keyboard.press('Escape');
  assert.ok(await page.locator('#keys').isHidden());
  await page.done();
});

test('axe finds nothing serious in the dashboard, in light and in dark', async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  for (const colorScheme of ['light', 'dark']) {
    const page = await open(server, { colorScheme });
    // A quick server has answered before all is looked at, so it is asked again and again.
    let asks = true;
    const done = (async () => {
      while (asks) await longStream({ id: `axe-${colorScheme}` });
    })();
    await rowOf(page, 'axe-').getByText('decode').waitFor();
    await page.evaluate(axe);
    const check = async (part) => {
      const { violations } = await page.evaluate(() => window.axe.run());
      const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
      assert.deepEqual(
        serious.map(({ id, nodes }) => [part, id, nodes.map((node) => node.html).slice(0, 3)]),
        [],
      );
    };
    await check('page');
    await page.click('#key-open');
    await check('key');
    await page.keyboard.press('Escape');
    await page.waitForSelector('#connection[data-state="live"]');
    asks = false;
    await done;
    await page.done();
  }
});

/** Has clients ask again and again, each after its own fashion, until the server is killed. */
function load(of) {
  const client = async (name, i) => {
    for (let k = 0; ; k += 1) {
      const prompt =
        i % 3 === 0 ? `Agents share this. ${PROMPT.repeat(2)} ${k}` : `${name} ${k}: ${PROMPT.repeat(1 + (k % 4))}`;
      const tokens = 100 + 50 * ((3 * i + 5 * k) % 8);
      await longStream({ id: `${name}-${k}`, of, n: i === 6 ? 3 : 1, tokens, prompt, temperature: i % 2 });
    }
  };
  return Promise.allSettled(['agent', 'chat', 'batch', 'agent-b', 'notebook', 'eval', 'agent-c', 'report'].map(client));
}

test('pictures of the dashboard', { skip: !process.env.SCREENSHOTS }, async () => {
  const busy = await Server.start({ args: ['--kv-tokens', '6400', '--max-rows', '64'] });
  const shapes = {
    light: { width: 1200, height: 760 },
    dark: { width: 1200, height: 760 },
    narrow: { width: 390, height: 1200 },
  };
  const clients = load(busy);
  try {
    for (const [name, viewport] of Object.entries(shapes)) {
      const page = await open(busy, { viewport, colorScheme: name === 'dark' ? 'dark' : 'light' });
      await page.waitForTimeout(12_000);
      // A moment in which all kinds of rows are in the picture, if there is one soon.
      for (let i = 0; i < 200; i += 1) {
        const kinds = await Promise.all(['prefill', 'verify'].map((kind) => pixels(page, 'steps', kind)));
        if (Math.min(...kinds) > 200) break;
        await pause(50);
      }
      await page.screenshot({ path: `${process.env.SCREENSHOTS}/dashboard-${name}.png` });
      await page.done();
    }
  } finally {
    await busy.end();
    await clients;
  }
});
