// The page at `/` in a browser: what a user does, against a server that really answers.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { answerOf, ask, closeBrowser, openPage, say, setParameters, settled, tool } from './browser.mjs';
import { Server } from './server.mjs';

const QUESTION = 'What is the capital of France?';
/** Parameters of an answer that takes some seconds of a slow server. */
const LONG = { max_tokens: '300', ignore_eos: 'true', temperature: '1.3', seed: '7' };
const longBody = (messages) => ({ messages, max_tokens: 300, ignore_eos: true, temperature: 1.3, seed: 7 });
const user = (content) => [{ role: 'user', content }];

let server;
let slow;
before(async () => {
  server = await Server.start();
  slow = await Server.start({ slow: true });
});
after(async () => {
  await closeBrowser();
  await server.end();
  await slow.end();
});

/** Waits until an answer has so many tokens, as its figures tell. */
async function grown(page, tokens) {
  await page.waitForFunction((n) => {
    const shown = [...document.querySelectorAll('.figures')].at(-1);
    return shown && parseInt(shown.textContent, 10) >= n;
  }, tokens);
}

/** An answer's text without blanks, which HTML shows as it likes. */
const dense = (text) => text.replace(/\s+/g, '');

test('the page comes with a strict policy and asks nobody else', async () => {
  const response = await fetch(server.page, { headers: { accept: 'text/html' } });
  const policy = response.headers.get('content-security-policy');
  assert.match(policy, /default-src 'self'/);
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  assert.doesNotMatch(await response.text(), /<script(?![^>]* src=)|<style| style=| on\w+=/);
  const page = await openPage(server);
  assert.equal(await ask(page, QUESTION), 'The capital of France is Paris.');
  await page.done();
});

test('an answer is the API’s own, and tells its tokens, seed and fingerprint', async () => {
  const page = await openPage(server);
  await setParameters(page, { ...LONG, max_tokens: '60' });
  const shown = await ask(page, QUESTION);
  const told = await server.ask({ ...longBody(user(QUESTION)), max_tokens: 60 });
  assert.equal(dense(shown), dense(told.choices[0].message.content));
  const figures = await page.locator('.figures').last().innerText();
  assert.match(figures, /^60 tokens · .*context 71 of 4096 · seed 7 · vb-[0-9a-f]+ · ended by the limit/);
  assert.ok(figures.includes(told.system_fingerprint));
  await page.done();
});

test('an answer that was stopped goes on where it was', async () => {
  const page = await openPage(slow);
  await setParameters(page, LONG);
  await say(page, QUESTION);
  await grown(page, 20);
  await page.keyboard.press('Escape');
  await settled(page);
  const part = dense(await answerOf(page));
  const whole = dense((await slow.ask(longBody(user(QUESTION)))).choices[0].message.content);
  assert.ok(whole.startsWith(part) && part.length < whole.length, `${part.length} of ${whole.length} characters`);
  await tool(page, 'Go on').click();
  await settled(page);
  assert.equal(dense(await answerOf(page)), whole);
  await page.done();
});

test('an answer goes on while another conversation is open', async () => {
  const page = await openPage(slow);
  await setParameters(page, LONG);
  await say(page, QUESTION);
  await grown(page, 20);
  await page.click('#new');
  await page.waitForSelector('#conversations .busy');
  assert.equal(await page.locator('.message').count(), 0);
  assert.ok(await page.locator('#send').isVisible(), 'the other conversation is free');
  await page.locator('#conversations .title').click();
  await grown(page, 40);
  await settled(page);
  await page.waitForSelector('#conversations .busy', { state: 'detached' });
  const whole = (await slow.ask(longBody(user(QUESTION)))).choices[0].message.content;
  assert.equal(dense(await answerOf(page)), dense(whole));
  await page.done();
});

test('a stream goes on by itself when the server is killed and started again', async () => {
  const page = await openPage(slow);
  await setParameters(page, LONG);
  await say(page, 'Tell me a story.');
  await grown(page, 20);
  await slow.kill();
  await page.waitForSelector('.wait:has-text("goes on by itself")');
  await slow.up();
  await settled(page);
  const whole = (await slow.ask(longBody(user('Tell me a story.')))).choices[0].message.content;
  assert.equal(dense(await answerOf(page)), dense(whole));
  assert.match(
    await page.locator('.figures').last().innerText(),
    /^300 tokens · [\d.]+ tokens\/s .*went on after a cut/,
  );
  await page.done();
});

test('an answer that the page was reloaded in goes on where it was, and a check of it can be ended', async () => {
  const page = await openPage(slow);
  await setParameters(page, LONG);
  await say(page, 'What is Verbatim?');
  await grown(page, 10);
  await page.reload();
  await tool(page, 'Go on').click();
  await settled(page);
  const whole = (await slow.ask(longBody(user('What is Verbatim?')))).choices[0].message.content;
  assert.equal(dense(await answerOf(page)), dense(whole));
  await tool(page, 'Same bits?').click();
  await tool(page, 'End the check').click();
  await tool(page, 'Same bits?').waitFor();
  assert.equal(await page.locator('.extra > *').count(), 0);
  await page.done();
});

test('a stream does not go on at a server with another fingerprint', async () => {
  const other = await Server.start({ slow: true });
  try {
    const page = await openPage(other);
    await setParameters(page, LONG);
    await say(page, QUESTION);
    await grown(page, 10);
    await other.kill();
    other.args = other.args.map((arg) => (arg === 'f32' ? 'int8' : arg));
    await other.up();
    await page.waitForSelector('.message .error:has-text("fingerprint")');
    await page.done();
  } finally {
    await other.end();
  }
});

test('an edited message and an answer that is asked for again are branches', async () => {
  const page = await openPage(server);
  await setParameters(page, { temperature: '0' });
  await ask(page, QUESTION);
  await ask(page, 'What is 17 + 25?');
  await page.getByRole('button', { name: 'Edit' }).first().click();
  await page.getByLabel('Edit the message').fill('What is the capital of Italy?');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.body:has-text("Rome")');
  await settled(page);
  assert.equal(await page.locator('.message').count(), 2);
  await page.getByRole('button', { name: 'Earlier branch' }).click();
  await page.locator('.message').nth(3).waitFor();
  assert.match(await page.locator('#messages').innerText(), /Paris[^]*17 \+ 25 = 42/);
  await tool(page, 'Regenerate').click();
  await settled(page);
  assert.match(await page.locator('.message.assistant .switch').last().innerText(), /2 \/ 2/);
  await page.done();
});

test('a click on another token takes the answer that way', async () => {
  const page = await openPage(server);
  await setParameters(page, { temperature: '0', seed: '1' });
  await ask(page, QUESTION);
  await tool(page, 'Tokens').click();
  await page.locator('.tokens .token').nth(4).focus();
  for (let i = 0; i < 2; i += 1) await page.keyboard.press('ArrowLeft');
  const detail = page.locator('.raw-detail');
  await detail.locator('tbody tr').nth(1).waitFor();
  const id = Number(await detail.locator('tbody tr').nth(1).locator('td').nth(2).innerText());
  const at = Number(/Token (\d+) of/.exec(await detail.innerText())[1]) - 1;
  await detail
    .getByRole('button', { name: /^Take / })
    .first()
    .click();
  await page.waitForSelector('.figures:has-text("chosen by hand")');
  await settled(page);
  const first = await server.ask({ messages: user(QUESTION), temperature: 0, seed: 1, return_token_ids: true });
  const { token_ids: ids, prompt_token_ids: prompt } = first.choices[0];
  const taken = [...ids.slice(0, at), id];
  const rest = await server.ask({
    messages: user(QUESTION),
    temperature: 0,
    seed: 1,
    resume: { token_ids: [taken], prompt_token_ids: prompt },
  });
  const { prompt: before } = await server.ask({ tokens: taken }, 'detokenize');
  assert.equal(dense(await answerOf(page)), dense(before + rest.choices[0].message.content));
  await page.done();
});

test('“Same bits?” is green beside a load, and red where one bit differs', async () => {
  const page = await openPage(server);
  await setParameters(page, { ...LONG, max_tokens: '200' });
  await ask(page, QUESTION);
  await tool(page, 'Same bits?').click();
  await page.waitForSelector('.bits');
  const hashes = () => page.locator('.bits code').allInnerTexts();
  assert.match(await page.locator('.bits.same').innerText(), /The same bits[^]*200 tokens[^]*up to [2-9] sequences/);
  const [first, again] = await hashes();
  assert.match(first, /^[0-9a-f]{64}$/);
  assert.equal(first, again);
  await page.goto(`${server.page}?break=1`);
  await page.waitForSelector('.message.assistant');
  await page.setViewportSize({ width: 390, height: 560 });
  await tool(page, 'Same bits?').click();
  await page.waitForSelector('.bits.other');
  const bottom = (box) => box.y + box.height;
  const composer = await page.locator('#composer').boundingBox();
  assert.ok(bottom(await page.locator('.bits').boundingBox()) <= composer.y + 1, 'what came of it is in sight');
  const [kept, broken] = await hashes();
  assert.equal(kept, first);
  assert.notEqual(broken, first);
  assert.match(await page.locator('.bits').innerText(), /Other bits, from token 200 on/);
  await page.done();
});

test('conversations are kept, found, renamed, deleted, exported and imported', async () => {
  const page = await openPage(server);
  await setParameters(page, { temperature: '0' });
  await ask(page, QUESTION);
  await page.click('#new');
  await ask(page, 'What is 17 + 25?');
  await page.reload();
  await page.waitForSelector('.body:has-text("42")');
  assert.equal(await page.locator('#conversations .title').count(), 2);
  await page.fill('#search', 'paris');
  await page.waitForFunction(() => document.querySelectorAll('#conversations .title').length === 1);
  await page.locator('#conversations .title').click();
  await page.waitForSelector('.body:has-text("Paris")');
  const [file] = await Promise.all([page.waitForEvent('download'), page.click('#export')]);
  const kept = await file.path();
  const other = await openPage(server);
  await other.setInputFiles('#import-file', kept);
  await other.waitForSelector('#conversations .title >> nth=1');
  await other.locator('#conversations li', { hasText: 'What is 17' }).hover();
  await other.getByRole('button', { name: /^Rename What is 17/ }).click();
  await other.getByLabel('Name of the conversation').fill('Sums');
  await other.keyboard.press('Enter');
  await other.locator('#conversations .title', { hasText: 'Sums' }).click();
  await other.waitForSelector('.body:has-text("42")');
  other.on('dialog', (dialog) => dialog.accept());
  await other.locator('#conversations li', { hasText: 'Sums' }).hover();
  await other.getByRole('button', { name: 'Delete Sums' }).click();
  await other.waitForFunction(() => document.querySelectorAll('#conversations .title').length === 1);
  await other.done();
  await page.done();
});

test('a file that is not as the page writes them is told, and changes nothing', async () => {
  const page = await openPage(server);
  const conversation = (messages) =>
    JSON.stringify({ format: 'verbatim-conversations/1', conversations: [{ title: 'x', messages }] });
  const files = [
    '{',
    '{}',
    conversation([{ role: 'assistant', answer: { content: 5 } }]),
    conversation([{ role: 'user', content: {} }]),
    conversation([{ id: 'a', role: 'user', content: 'x' }, null]),
    '{"format": "verbatim-answer/1", "conversation": {"messages": [7]}}',
  ];
  for (const text of files) {
    await page.evaluate(() => {
      document.getElementById('toast').textContent = '';
    });
    await page.setInputFiles('#import-file', {
      name: 'a.json',
      mimeType: 'application/json',
      buffer: Buffer.from(text),
    });
    await page.waitForSelector('#toast:has-text("Nothing was imported: ")');
  }
  assert.equal(await page.locator('#conversations .title').count(), 0);
  await page.done();
});

test('a shared answer has all that is needed to compute it again', async () => {
  const page = await openPage(server);
  await ask(page, QUESTION);
  const [download] = await Promise.all([page.waitForEvent('download'), tool(page, 'Share').click()]);
  const path = await download.path();
  const file = JSON.parse(await readFile(path, 'utf8'));
  const told = await server.ask({
    ...file.request,
    stream: false,
    stream_options: null,
    system_fingerprint: file.fingerprint,
  });
  assert.deepEqual(told.choices[0].token_ids, file.token_ids);
  assert.equal(told.verbatim.seed, file.seed);
  const other = await openPage(server);
  await other.setInputFiles('#import-file', path);
  await other.waitForSelector('.message.assistant');
  await tool(other, 'Same bits?').click();
  await other.waitForSelector('.bits.same');
  assert.equal(await other.locator('.bits code').first().innerText(), file.sha256);
  await other.done();
  await page.done();
});

test('every parameter has its range, and one that is wrong is told', async () => {
  const page = await openPage(server);
  await page.click('#settings-open');
  const label = (name) => page.locator(`label[for="p-${name}"]`).textContent();
  assert.equal(await label('temperature'), 'temperature0 to 100');
  assert.equal(await label('top_p'), 'top_pabove 0 to 1');
  const fallback = (name) => page.locator(`#p-${name}`).getAttribute('placeholder');
  assert.equal(await fallback('temperature'), 'default: 0', 'the model’s own');
  assert.equal(await fallback('top_p'), 'default: 1');
  await page.click('#settings-close');
  await setParameters(page, { temperature: '-1' });
  assert.match(await page.locator('.problem:not([hidden])').textContent(), /Expected 0 to 100/);
  await say(page, QUESTION);
  await page.waitForSelector('.error:has-text("temperature: Expected 0 to 100.")');
  await setParameters(page, { temperature: '0', response_format: '{"enum": ["yes", "no"]}' });
  await ask(page, 'Is it so?');
  assert.match(await page.locator('.message.assistant > .body pre').last().innerText(), /^"(?:yes|no)"$/);
  await page.done();
});

test('text files go with a message, and others are refused', async () => {
  const page = await openPage(server);
  await page.setInputFiles('#attach-file', [
    { name: 'a.txt', mimeType: 'text/plain', buffer: Buffer.from('some words') },
    { name: 'b.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([0xff, 0xfe, 0]) },
  ]);
  await page.waitForSelector('.chip:has-text("a.txt")');
  assert.match(await page.locator('#toast').innerText(), /b\.bin is not a text/);
  const sent = page.waitForRequest('**/v1/chat/completions');
  await say(page, 'Hello');
  const { messages } = (await sent).postDataJSON();
  assert.equal(messages[0].content, 'Hello\n\nFile a.txt:\n```\nsome words\n```');
  await settled(page);
  await page.done();
});

test('a server with a key is asked with it', async () => {
  const keyed = await Server.start({ args: ['--api-key', 'secret'] });
  try {
    const page = await openPage(keyed, { ready: '#settings[open] #key' });
    assert.equal(await page.locator('#key-wanted').innerText(), 'This server wants an API key.');
    await page.fill('#key', 'secret');
    await page.locator('#key').blur();
    await page.waitForSelector('#fingerprint:not(:empty)', { state: 'attached' });
    await page.click('#settings-close');
    assert.equal(await ask(page, QUESTION), 'The capital of France is Paris.');
    await page.done();
  } finally {
    await keyed.end();
  }
});
