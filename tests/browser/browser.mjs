// The browser, and what the tests do in the page again and again.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

/** Milliseconds for which something is waited for in the page. */
const WAIT_MS = 20_000;
/** Milliseconds for which an answer of a slow server is waited for. */
const LONG_WAIT_MS = 90_000;

let browser;

/** Opens the page, until `ready` is there; what it complains of fails the test that calls `done`. */
export async function openPage(server, { ready = '#fingerprint:not(:empty)', ...options } = {}) {
  browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
  const context = await browser.newContext({
    viewport: { width: 1200, height: 800 },
    acceptDownloads: true,
    ...options,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.complaints = [];
  const expected = /Failed to load resource|net::ERR/;
  page.on('console', (m) => {
    if (m.type() === 'error' && !expected.test(m.text())) page.complaints.push(m.text());
  });
  page.on('pageerror', (error) => page.complaints.push(String(error.stack)));
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== new URL(server.page).origin && !['blob:', 'data:'].includes(protocol))
      page.complaints.push(`asked for ${request.url()}`);
  });
  page.done = async () => {
    await context.close();
    assert.deepEqual(page.complaints, []);
  };
  await page.goto(server.page);
  await page.waitForSelector(ready, { state: 'attached' });
  return page;
}

/** Ends the browser. */
export const closeBrowser = () => browser?.close();

/** Sets parameters as a user does, by name. */
export async function setParameters(page, values) {
  await page.click('#settings-open');
  await page.waitForSelector('#p-temperature', { state: 'attached' });
  for (const [name, value] of Object.entries(values)) {
    await page.evaluate((n) => {
      document.getElementById(`p-${n}`).closest('details').open = true;
    }, name);
    const field = page.locator(`#p-${name}`);
    if (await field.evaluate((node) => node.tagName === 'SELECT')) await field.selectOption(value);
    else await field.fill(value);
    await field.blur();
  }
  await page.click('#settings-close');
}

/** Sends a message, and waits for nothing. */
export async function say(page, text) {
  await page.fill('#input', text);
  await page.press('#input', 'Enter');
}

/** Waits until no answer is computed. */
export async function settled(page) {
  await page.waitForSelector('#stop', { state: 'hidden', timeout: LONG_WAIT_MS });
  await page.waitForSelector('.message.assistant[aria-busy="false"] .tools button');
}

/** Asks, and waits for the answer; its text. */
export async function ask(page, text) {
  const before = await page.locator('.message').count();
  await say(page, text);
  await page
    .locator('.message')
    .nth(before + 1)
    .waitFor();
  await settled(page);
  return answerOf(page);
}

/** The text of the last answer. */
export const answerOf = (page) => page.locator('.message.assistant > .body').last().innerText();

/** A button of the last answer. */
export const tool = (page, name) =>
  page.locator('.message.assistant').last().getByRole('button', { name, exact: true });

/** Answers the page's next questions with a stream that is made here: deltas, one an event. */
export async function answerWith(page, deltas, finish = 'stop') {
  const chunk = (choices, more = {}) =>
    `data: ${JSON.stringify({ system_fingerprint: 'vb-made', choices, ...more })}\n\n`;
  const events = deltas.map((delta, i) =>
    chunk([{ index: 0, delta, finish_reason: null, token_ids: [i + 10], prompt_token_ids: i ? undefined : [1, 2, 3] }]),
  );
  const body = `${events.join('')}${chunk([{ index: 0, delta: {}, finish_reason: finish }])}data: [DONE]\n\n`;
  await page.route('**/v1/chat/completions', (route) => route.fulfill({ contentType: 'text/event-stream', body }));
}
