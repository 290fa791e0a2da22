// The console in a real browser. Names are claims; each starts the runs it looks at.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { chromium } from 'playwright-core';
import { start } from './rejoin.mjs';

/** At least 1,000, so that there are more parked branches than are shown. */
const BRANCHES = Math.max(1000, Number(process.env.CONSOLE_BRANCHES ?? 2000));
const WAIT_MS = 60_000;
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

let rejoin;
let browser;
let page;
let faults;

before(async () => {
  rejoin = await start();
  await rejoin.register();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
});

after(async () => {
  await browser?.close();
  await rejoin?.stop();
});

beforeEach(async () => {
  page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(WAIT_MS);
  faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  // That an answer was a refusal is not the page's fault.
  const isFault = (said) => said.type() === 'error' && !said.text().startsWith('Failed to load resource');
  page.on('console', (said) => isFault(said) && faults.push(said.text()));
});

afterEach(async () => {
  await page.close();
  assert.deepEqual(faults, [], 'the page said nothing to the console of the browser');
});

const open = (hash) => page.goto(`${rejoin.console}#/${hash}`);
const main = () => page.locator('main');
const button = (name) => page.getByRole('button', { name, exact: true });
const dialog = () => page.getByRole('dialog');

test('a run is started from the page and followed to its end', async () => {
  await open('runs');
  await button('Start a run').click();
  await dialog().getByLabel('Workflow').selectOption('wide');
  const input = dialog().getByLabel('Input (JSON)');
  await page.waitForFunction(() => document.querySelector('dialog textarea')?.value.includes('"n"'));
  await input.fill('{ "n": ');
  await dialog().getByText('No JSON').waitFor();
  assert.equal(await dialog().getByRole('button', { name: 'Start' }).isDisabled(), true, 'what is no JSON is not sent');
  await input.fill('{ "n": 20, "every": 1000 }');
  await dialog().getByRole('button', { name: 'Start' }).click();
  await main().locator('h1 .pill', { hasText: 'waiting' }).waitFor();
  await main().locator('.box', { hasText: 'stumble' }).click();
  await main().locator('.side .step', { hasText: '/work[3]/stumble' }).locator('.step-head').click();
  await button('Skip').click();
  await dialog().getByLabel('Value (JSON)').fill('{"skipped": true}');
  await dialog().getByRole('button', { name: 'Skip' }).click();
  await main().locator('h1 .pill', { hasText: 'completed' }).waitFor();
});

test('an input that does not fit is refused in the server’s words', async () => {
  await open('workflows/wide');
  await button('Start a run').click();
  await page.waitForFunction(() => document.querySelector('dialog textarea')?.value.includes('"n"'));
  await dialog().getByLabel('Input (JSON)').fill('{"n": "many"}');
  await dialog().getByRole('button', { name: 'Start' }).click();
  await dialog().getByRole('alert').filter({ hasText: 'The input does not fit' }).waitFor();
});

test('what workflows, inputs and workers say is text, whatever it looks like', async () => {
  const { id } = await rejoin.begin(
    'hostile',
    { '<i>x</i>': '<script>window.caught=6</script>' },
    { tags: { a: '<b>x</b>' } },
  );
  await rejoin.reaches(id, (run) => run.state === 'failed');
  const places = [
    'runs',
    'workflows',
    'workflows/hostile',
    'workflows/hostile/definition',
    `runs/${id}`,
    `runs/${id}/steps`,
    `runs/${id}/journal?at=2`,
    `runs/${id}/context`,
    `runs/${id}/data`,
    'inputs',
  ];
  for (const place of places) {
    await open(place);
    await main().locator('h1').waitFor();
    await page.waitForFunction(() => !document.querySelector('.loading'));
    for (const head of await main().locator('.step-head').all()) await head.click();
    const found = await page.evaluate(() => [
      window.caught,
      document.querySelectorAll('main :is(script, img, iframe, object, style)').length,
      [...document.querySelectorAll('main *')].some((e) => e.hasAttribute('onerror') || e.hasAttribute('onload')),
    ]);
    assert.deepEqual(found, [undefined, 0, false], place);
  }
  await open(`runs/${id}/steps`);
  await main().locator('.step', { hasText: '/say' }).locator('.step-head').click();
  const said = await main().innerText();
  for (const text of [
    '<script>window.caught=2</script>',
    '<b>key</b>',
    '<img src=x onerror=window.caught=3>',
    '<script>window.caught=4</script>',
    'big: 9223372036854775807',
    'exact: 1.0',
  ]) {
    assert.ok(said.includes(text), `it shows ${text}`);
  }
});

test('the browser itself refuses markup and scripts from elsewhere', async () => {
  await open('runs');
  const refused = await page.evaluate(() => {
    try {
      document.body.innerHTML = '<b>x</b>';
      return 'taken';
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(refused, 'TypeError');
  const loaded = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const script = document.createElement('img');
        script.onload = () => resolve('loaded');
        script.onerror = () => resolve('refused');
        script.src = 'http://127.0.0.1:9/x.png';
        document.body.append(script);
      }),
  );
  assert.equal(loaded, 'refused');
  faults = faults.filter((fault) => !/Content Security Policy|TrustedHTML|Trusted/.test(fault));
});

test('a wide fan-out is shown as counts and the first of its parked branches', async () => {
  const { id } = await rejoin.begin('wide', { n: BRANCHES, every: 50 });
  const parked = Math.ceil((BRANCHES - 3) / 50);
  await rejoin.reaches(id, (run) => run.state === 'waiting' && run.progress.waiting === parked);
  await open(`runs/${id}`);
  const text = (n) => new Intl.NumberFormat('en').format(n);
  await main().locator('.box', { hasText: 'nap' }).getByText(text(BRANCHES)).waitFor();
  await main().locator('.why', { hasText: 'waits for an operator' }).waitFor();
  await main().locator('.box', { hasText: 'stumble' }).click();
  await main().locator('.side .step', { hasText: '/work[3]/stumble' }).waitFor();
  await main()
    .getByText(`${text(parked - 12)} more`)
    .waitFor();
  const elements = await page.evaluate(() => document.querySelectorAll('*').length);
  assert.ok(elements < 1500, `${elements} elements`);
  const drawn = await page.evaluate(async () => {
    const began = performance.now();
    for (let i = 0; i < 5; i += 1) await new Promise((resolve) => requestAnimationFrame(resolve));
    return performance.now() - began;
  });
  assert.ok(drawn < 2000, `five frames took ${drawn} ms`);
});

test('operations ask before they are done, and resume shows its plan', async () => {
  const { id } = await rejoin.begin('slow');
  await open(`runs/${id}`);
  await main().locator('.why', { hasText: 'no worker serves handler nobody on queue nowhere' }).waitFor();
  await button('Pause').click();
  assert.equal((await rejoin.call('GET', `runs/${id}`)).state, 'running', 'nothing is done before it is confirmed');
  await dialog().getByRole('button', { name: 'Pause' }).click();
  await main().locator('h1 .pill', { hasText: 'paused' }).waitFor();
  await button('Resume').click();
  await dialog().getByText('to dispatch').waitFor();
  await dialog().getByText('/nobody').waitFor();
  await dialog().getByRole('button', { name: 'Resume' }).click();
  await main().locator('h1 .pill', { hasText: 'running' }).waitFor();
  await button('Cancel').click();
  await dialog().getByLabel('Reason').fill('checked');
  await dialog().getByRole('button', { name: 'Cancel the run' }).click();
  await main().locator('h1 .pill', { hasText: 'cancelled' }).waitFor();
});

test('questions are answered and events are sent from the run', async () => {
  const { id } = await rejoin.begin('asks');
  await open('inputs');
  const card = main().locator('.card', { hasText: id.slice(-8) });
  await card.filter({ hasText: 'Release <b>2.1</b>?' }).getByRole('button', { name: 'Approve' }).click();
  await dialog().getByRole('button', { name: 'Approve' }).click();
  await card.filter({ hasText: 'Release' }).waitFor({ state: 'detached' });
  await open(`runs/${id}`);
  await main().locator('.why li', { hasText: 'How fast?' }).getByRole('button', { name: 'Answer' }).click();
  assert.equal(await dialog().getByRole('button', { name: 'Send' }).isDisabled(), true, 'percent is required');
  await dialog().getByLabel('percent').fill('25');
  await dialog().getByRole('button', { name: 'Send' }).click();
  await main().locator('.why li', { hasText: 'build.finished' }).getByRole('button', { name: 'Send' }).click();
  await dialog().getByLabel('Payload (JSON)').fill('{"ok": 9007199254740993}');
  await dialog().getByRole('button', { name: 'Send' }).click();
  await main().locator('h1 .pill', { hasText: 'completed' }).waitFor();
  await open(`runs/${id}/context`);
  await main().getByText('9007199254740993').waitFor();
});

test('an open join is edited, and judged anew', async () => {
  const { id } = await rejoin.begin('asks');
  await rejoin.reaches(id, (run) => run.waits.length === 3);
  await rejoin.call('POST', `runs/${id}/inputs/release`, { value: { approved: true } });
  await open(`runs/${id}`);
  await main().getByText('1 open join').click();
  await button('Edit …').click();
  await dialog().getByLabel('need').fill('any');
  await dialog().getByRole('button', { name: 'Edit' }).click();
  await main().locator('h1 .pill', { hasText: 'completed' }).waitFor();
});

test('the context is read as it stood at any record, with what the record changed', async () => {
  const { id } = await rejoin.begin('asks');
  await rejoin.reaches(id, (run) => run.state === 'waiting');
  await open(`runs/${id}/journal`);
  const record = main().locator('.record', { hasText: 'context set' });
  await record.locator('.seq').click();
  await main().locator('.side .changed', { hasText: 'asked: true' }).waitFor();
  assert.match(page.url(), /at=\d+/);
  await page.getByRole('button', { name: 'First record' }).click();
  await main().locator('.side h2', { hasText: 'Context at 1' }).waitFor();
  await page.waitForFunction(() => !document.querySelector('.side').innerText.includes('asked'));
  await page.getByRole('button', { name: /^Fork at/ }).click();
  await dialog().getByRole('button', { name: 'Fork' }).click();
  await main().getByText('Forked from').waitFor();
});

test('filters stand in the address, and the list follows what happens', async () => {
  const tag = `t${Date.now()}`;
  const { id } = await rejoin.begin('slow', {}, { tags: { check: tag } });
  await open('runs');
  await page.getByLabel('Tag').fill(`check:${tag}`);
  await page.waitForURL(/tag=check/);
  await page.reload();
  await main().locator('tbody tr').first().waitFor();
  assert.equal(await main().locator('tbody tr').count(), 1);
  await rejoin.call('POST', `runs/${id}/cancel`, {});
  await main().locator('tbody .pill', { hasText: 'cancelled' }).waitFor();
  await main().getByRole('button', { name: 'running', exact: true }).click();
  await main().getByText('No run is like that').waitFor();
  assert.match(page.url(), /state=running/);
});

test('a run that moves fast is asked about at most every two seconds', async () => {
  const asked = new Map();
  page.on('request', (request) => {
    const path = new URL(request.url()).pathname;
    if (/\/(graph|why)$/.test(path)) asked.set(path, [...(asked.get(path) ?? []), Date.now()]);
  });
  const { id } = await rejoin.begin('wide', { n: BRANCHES, every: BRANCHES + 10 });
  await open(`runs/${id}`);
  await rejoin.reaches(id, (run) => run.state !== 'running');
  await main()
    .locator('h1 .pill', { hasText: /waiting|completed/ })
    .waitFor();
  assert.ok(asked.size > 0);
  for (const [path, times] of asked) {
    const gaps = times.slice(1).map((time, i) => time - times[i]);
    assert.ok(
      gaps.every((gap) => gap > 1900),
      `${path} was asked for after ${gaps} ms`,
    );
  }
});

test('where a token is needed the page asks for it, shows it, and keeps it for the tab', async () => {
  const shown = [];
  await page.route('**/v1/**', async (route) => {
    const { authorization } = route.request().headers();
    shown.push(authorization);
    if (authorization === 'Bearer rejoin_right') return route.continue();
    return route.fulfill({
      status: 401,
      contentType: 'application/problem+json',
      body: JSON.stringify({
        title: 'A token is needed',
        status: 401,
        detail: 'the token is unknown',
        code: 'unauthorized',
        retryable: false,
      }),
    });
  });
  await open('runs');
  await dialog().getByLabel('Token').fill('rejoin_wrong');
  await dialog().getByRole('button', { name: 'Use it' }).click();
  await dialog().getByText('the token is unknown').waitFor();
  assert.equal(await page.locator('dialog').count(), 1, 'it asks once, however many answers were refused');
  await dialog().getByLabel('Token').fill('rejoin_right');
  await dialog().getByRole('button', { name: 'Use it' }).click();
  await main().locator('tbody tr').first().waitFor();
  await page.reload();
  await main().locator('tbody tr').first().waitFor();
  assert.equal(await dialog().count(), 0);
  assert.deepEqual([...new Set(shown)], [undefined, 'Bearer rejoin_wrong', 'Bearer rejoin_right']);
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes('rejoin_right')), false);
});

test('another namespace is asked for by its header, and links keep it', async () => {
  const shown = new Set();
  page.on('request', (request) => request.url().includes('/v1/') && shown.add(request.headers()['rejoin-namespace']));
  await open('runs?ns=other');
  await main().getByText('No runs yet').waitFor();
  await page.getByRole('link', { name: 'Workflows' }).first().click();
  await main().getByText('No workflows yet').waitFor();
  assert.match(page.url(), /ns=other/);
  assert.deepEqual([...shown], ['other']);
});

test('everything is reached by the keyboard', async () => {
  const { id } = await rejoin.begin('slow');
  await open('runs');
  await main().locator('tbody tr').first().waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main', 'the first stop skips to the content');
  await main().locator('tbody tr a.strong').first().focus();
  await page.keyboard.press('Enter');
  await main().locator('h1', { hasText: 'slow' }).waitFor();
  await button('Pause').focus();
  await page.keyboard.press('Enter');
  await dialog().waitFor();
  await page.keyboard.press('Escape');
  await dialog().waitFor({ state: 'detached' });
  assert.equal(
    await page.evaluate(() => document.activeElement.textContent),
    'Pause',
    'the focus is back where it was',
  );
  await rejoin.call('POST', `runs/${id}/cancel`, {});
});

test('nothing is wider than a phone', async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  const { id } = await rejoin.begin('hostile');
  await rejoin.reaches(id, (run) => run.state === 'failed');
  for (const place of [
    'runs',
    'workflows',
    'workflows/wide',
    'inputs',
    'schedules',
    'fleet',
    `runs/${id}`,
    `runs/${id}/steps`,
    `runs/${id}/journal?at=2`,
  ]) {
    await open(place);
    await main().locator('h1').waitFor();
    await page.waitForFunction(() => !document.querySelector('.loading'));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${place} is ${wide} px too wide`);
  }
});
