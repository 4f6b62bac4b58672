// How the page shows what models write, to all who look, listen or type; and its pictures. The
// streams are made here, because no model of the tests writes such things.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { answerWith, ask, closeBrowser, openPage, say, setParameters, settled, tool } from './browser.mjs';
import { Server } from './server.mjs';

const MARKDOWN = `## Sorting

A **stable** sort keeps *equal* items in order; see [the docs](https://example.com/a_b), \`sort()\` or ~~bubble~~ merge.

1. Split
   - in the \`middle\`
   - recursively
2. Merge

- [x] tested
- [ ] fast

| sort | mean | stable |
|:-----|-----:|:------:|
| merge | $n \\log n$ | yes |
| quick | $n \\log n$ | no |

\`\`\`python
def merge(a: list[int], b: list[int]) -> list[int]:
    """Merges two sorted lists."""
    return sorted(a + b)  # stable, since 2.2
\`\`\`

> Costs grow as \\(n \\log_2 n\\):

$$
T(n) = 2\\,T\\left(\\frac{n}{2}\\right) + \\mathcal{O}(n) = \\sum_{i=0}^{\\log_2 n} 2^i \\cdot \\frac{n}{2^i}
$$

It costs $5 or $6 & <b>no</b> more.`;

const HOSTILE = `<script>window.broken = 1</script><img src=x onerror="window.broken = 2">

<iframe src="https://example.com"></iframe> [x](javascript:window.broken=3) [y](data:text/html,x) ![z](https://example.com/z.png)

<svg onload="window.broken = 4"> $\\href{javascript:window.broken=5}{x}$ <style>body { display: none }</style>`;

let server;
before(async () => {
  server = await Server.start();
});
after(async () => {
  await closeBrowser();
  await server.end();
});

const pieces = (text) => text.match(/[^]{1,7}/g).map((content) => ({ content }));

test('Markdown, code and formulas become what they say', async () => {
  const page = await openPage(server);
  await answerWith(page, pieces(MARKDOWN));
  await ask(page, 'How do I sort?');
  const body = page.locator('.message.assistant > .body');
  for (const selector of [
    'h4',
    'strong',
    'em',
    'del',
    'ol > li > ul > li',
    'table tbody tr td.align-right math',
    '.hl-keyword',
    '.hl-comment',
    'blockquote math',
    '.math.block math',
    'a[href="https://example.com/a_b"][rel~="noopener"]',
    'li.task input:checked',
  ]) {
    await body.locator(selector).first().waitFor({ timeout: 3000 });
  }
  assert.match(await body.innerText(), /It costs \$5 or \$6 & <b>no<\/b> more\./);
  assert.equal(await body.locator('b').count(), 0);
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByRole('button', { name: 'Copy code' }).click();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^def merge[^]*since 2\.2$/);
  await page.done();
});

test('no HTML of a model is ever run, and nothing is fetched for it', async () => {
  const page = await openPage(server);
  await answerWith(page, pieces(HOSTILE));
  await ask(page, 'Break it');
  const body = page.locator('.message.assistant > .body');
  assert.equal(
    await body.locator('script, img, iframe, svg, style, [onerror], [href^="javascript"], [href^="data"]').count(),
    0,
  );
  assert.equal(await page.evaluate(() => window.broken), undefined);
  assert.match(await body.innerText(), /<script>window\.broken = 1<\/script><img src=x/);
  await page.done();
});

test('reasoning is folded, and calls of functions take results', async () => {
  const page = await openPage(server);
  await answerWith(
    page,
    [
      { reasoning_content: 'They ask for ' },
      { reasoning_content: 'the weather.' },
      { tool_calls: [{ index: 0, id: 'call_1', type: 'function', function: { name: 'weather', arguments: '' } }] },
      { tool_calls: [{ index: 0, function: { arguments: '{"city":"Paris"}' } }] },
    ],
    'tool_calls',
  );
  await ask(page, 'What is the weather in Paris?');
  const thought = page.locator('details.reasoning');
  assert.equal(await thought.evaluate((node) => node.open), false);
  await thought.locator('summary').click();
  assert.match(await thought.innerText(), /They ask for the weather\./);
  assert.match(await page.locator('details.call').innerText(), /weather[^]*"city": "Paris"/);
  await page.unroute('**/v1/chat/completions');
  await answerWith(page, [{ content: 'It rains.' }]);
  const sent = page.waitForRequest('**/v1/chat/completions');
  await page.getByLabel('Result of the call').fill('rain');
  await page.getByRole('button', { name: 'Send results' }).click();
  const { messages } = (await sent).postDataJSON();
  assert.deepEqual(messages[1].tool_calls, [
    { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Paris"}' } },
  ]);
  assert.deepEqual(messages[2], { role: 'tool', content: 'rain', tool_call_id: 'call_1' });
  await page.waitForSelector('.body:has-text("It rains.")');
  await page.done();
});

test('errors of the server are told, and leave the question where it was', async () => {
  const page = await openPage(server);
  await setParameters(page, { logit_bias: '{"99999999": 1}' });
  await say(page, 'What is 17 + 25?');
  await page.waitForSelector('.message .error:has-text("logit_bias")');
  await setParameters(page, { logit_bias: '' });
  await tool(page, 'Regenerate').click();
  await page.waitForSelector('.message .body:has-text("42")');
  assert.equal(await page.locator('.message.user').count(), 1);
  await page.done();
});

test('the keyboard alone is enough, on a narrow screen too', async () => {
  const page = await openPage(server, { viewport: { width: 390, height: 760 } });
  await ask(page, 'Hello');
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
  await page.keyboard.press('Control+k');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'search');
  assert.ok(await page.locator('#conversations .title').first().isVisible());
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+Shift+O');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'input');
  await page.keyboard.press('Control+,');
  assert.ok(await page.locator('#settings').isVisible());
  await page.keyboard.press('Escape');
  assert.ok(await page.locator('#settings').isHidden());
  await page.done();
});

test('axe finds nothing serious, in light and in dark', async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  for (const colorScheme of ['light', 'dark']) {
    const page = await openPage(server, { colorScheme });
    const check = async (part) => {
      const { violations } = await page.evaluate(() => window.axe.run());
      const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
      assert.deepEqual(
        serious.map(({ id, nodes }) => [part, id, nodes.map((n) => n.html).slice(0, 3)]),
        [],
      );
    };
    await page.evaluate(axe);
    await check('empty');
    await ask(page, 'What is the capital of France?');
    await answerWith(page, pieces(MARKDOWN));
    await ask(page, 'How do I sort?');
    await page.getByRole('button', { name: 'Tokens', exact: true }).first().click();
    await page.locator('.tokens .token').first().click();
    await check('thread');
    await page.click('#settings-open');
    await page.evaluate(() => {
      for (const group of document.querySelectorAll('.group')) group.open = true;
    });
    await check('settings');
    await page.done();
  }
});

test('pictures in light, dark and narrow', { skip: !process.env.SCREENSHOTS }, async () => {
  const shapes = {
    light: { width: 1200, height: 800 },
    dark: { width: 1200, height: 800 },
    narrow: { width: 390, height: 800 },
  };
  for (const [name, viewport] of Object.entries(shapes)) {
    const page = await openPage(server, {
      viewport,
      colorScheme: name === 'dark' ? 'dark' : 'light',
      deviceScaleFactor: name === 'narrow' ? 2 : 1,
    });
    const shot = (part) => page.screenshot({ path: `${process.env.SCREENSHOTS}/page-${name}-${part}.png` });
    await shot('empty');
    await setParameters(page, { temperature: '1.2', seed: '3', max_tokens: '80' });
    await ask(page, 'What is 17 + 25?');
    await ask(page, 'What is the capital of France?');
    await tool(page, 'Same bits?').click();
    await page.waitForSelector('.bits');
    await page.mouse.move(0, 0);
    await shot('bits');
    await tool(page, 'Tokens').click();
    await page.locator('.tokens .token').nth(3).click();
    await tool(page, 'Share').scrollIntoViewIfNeeded();
    await page.locator('.raw-detail').scrollIntoViewIfNeeded();
    await shot('tokens');
    await answerWith(page, pieces(MARKDOWN));
    await ask(page, 'How do I sort?');
    await page.waitForTimeout(200);
    await shot('markdown');
    await page.click('#settings-open');
    await shot('settings');
    await page.done();
  }
});
