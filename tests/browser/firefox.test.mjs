// The pages in Firefox, which is spoken to by WebDriver BiDi: what the other tests try in Chromium at length.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import puppeteer from 'puppeteer-core';
import { Server } from './server.mjs';

const QUESTION = 'What is the capital of France?';
/** Parameters of an answer that takes some seconds of a slow server. */
const LONG = { max_tokens: 300, temperature: 1.3, seed: 7 };
/** Milliseconds for which something is waited for. */
const WAIT_MS = 90_000;
/** A button of the last answer, by its name. */
const tool = (name) => `.message.assistant:last-of-type ::-p-aria([name="${name}"][role="button"])`;
/** An answer's text without blanks, which HTML shows as it likes. */
const dense = (text) => text.replace(/\s+/g, '');

let server;
let browser;
before(async () => {
  server = await Server.start({ slow: true });
  const path = process.env.FIREFOX;
  browser = await puppeteer.launch({ browser: 'firefox', executablePath: path, timeout: WAIT_MS });
});
after(async () => {
  await browser?.close();
  await server.end();
});

/** Opens a page of the server, until `ready` is there; what it complains of fails the test that calls `done`. */
async function open(path, ready) {
  const page = await browser.newPage();
  page.setDefaultTimeout(WAIT_MS);
  await page.setViewport({ width: 1200, height: 800 });
  page.complaints = [];
  page.on('console', (m) => m.type() === 'error' && page.complaints.push(m.text()));
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== new URL(server.page).origin && !['blob:', 'data:'].includes(protocol))
      page.complaints.push(`asked for ${request.url()}`);
  });
  await page.evaluateOnNewDocument(() => {
    globalThis.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => globalThis.violations.push(event.violatedDirective));
  });
  page.done = async () => {
    const violations = await page.evaluate(() => globalThis.violations);
    await page.close();
    assert.deepEqual([...page.complaints, ...violations], []);
  };
  await page.goto(new URL(path, server.page).href);
  await page.waitForSelector(ready);
  return page;
}

/** Writes a picture of the page to SCREENSHOTS, if that names a folder. */
async function picture(page, name) {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `firefox-${name}.png`) });
}

/** Sets the parameters of a long answer by the keyboard, as a user does. */
async function setLong(page) {
  await page.click('#settings-open');
  for (const [name, value] of Object.entries(LONG)) {
    await page.waitForSelector(`#p-${name}`);
    await page.$eval(`#p-${name}`, (field) => {
      field.closest('details').open = true;
    });
    await page.click(`#p-${name}`);
    await page.keyboard.type(String(value));
  }
  await page.select('#p-ignore_eos', 'true');
  await page.click('#settings-close');
}

/** Waits until the last answer has so many tokens, as its figures tell. */
const grown = (page, tokens) =>
  page.waitForFunction(
    (n) => parseInt([...document.querySelectorAll('.figures')].at(-1)?.textContent ?? '', 10) >= n,
    {},
    tokens,
  );

/** Waits until no answer is computed, and returns the text of the last one without blanks. */
async function settled(page) {
  await page.waitForSelector('#stop', { hidden: true });
  await page.waitForSelector('.message.assistant[aria-busy="false"] .tools button');
  return dense(await page.$$eval('.message.assistant > .body', (bodies) => bodies.at(-1).innerText));
}

test('Firefox: an answer streams, is stopped, is there after a reload, and goes on to the same bits', async () => {
  const page = await open('', '#fingerprint:not(:empty)');
  await setLong(page);
  await page.type('#input', QUESTION);
  await page.keyboard.press('Enter');
  await grown(page, 20);
  await page.keyboard.press('Escape');
  const part = await settled(page);
  const messages = [{ role: 'user', content: QUESTION }];
  const told = await server.ask({ messages, ignore_eos: true, ...LONG });
  const whole = dense(told.choices[0].message.content);
  assert.ok(whole.startsWith(part) && part.length < whole.length, `${part.length} of ${whole.length} characters`);
  await page.reload();
  assert.equal(await settled(page), part);
  await page.click(tool('Go on'));
  await grown(page, LONG.max_tokens);
  assert.equal(await settled(page), whole);
  await page.waitForSelector(`#conversations ::-p-text(${QUESTION})`);
  await picture(page, 'page');
  await page.done();
});

test('Firefox: what the policy of the page forbids is not done', async () => {
  const page = await open('', '#fingerprint:not(:empty)');
  await page.evaluate(() => {
    const script = document.createElement('script');
    try {
      script.text = 'globalThis.wasRun = true';
    } catch {
      // Trusted Types refuse the text itself.
    }
    document.body.append(script);
  });
  await page.waitForFunction(() => globalThis.violations.length > 0);
  assert.equal(await page.evaluate(() => globalThis.wasRun), undefined);
  await page.close();
});

test('Firefox: the dashboard shows a request that runs, and cancels it', async () => {
  const page = await open('dashboard', '#connection[data-state="live"]');
  const body = { prompt: QUESTION, max_tokens: 4000, ignore_eos: true, stream: true };
  const stream = fetch(`${server.page}v1/completions`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'x-request-id': 'watched' },
    body: JSON.stringify(body),
  }).then((response) => response.text());
  await page.waitForSelector('#sequences tbody tr ::-p-text(watched)');
  await picture(page, 'dashboard');
  const cancel = '#sequences tbody ::-p-aria([name="Cancel watched"][role="button"])';
  await page.click(cancel);
  await page.waitForSelector('#sequences tbody ::-p-text(Really?)');
  await page.click(cancel);
  assert.match(await stream, /request_cancelled/);
  await page.waitForSelector(cancel, { hidden: true });
  await page.done();
});
