// The live page in a real browser. Against nchan the page's files are put in front of the server, so that the
// page's own code is checked against the original, too; the Pusher tab has a file of its own. SCREENSHOT_DIR=folder
// keeps pictures of the page.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { fanwireOnly, useServer } from '../support/cases.mjs';
import { TARGET, channel, eventually } from '../support/server.mjs';

const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const TRANSPORTS = ['websocket', 'eventsource', 'longpoll', 'multipart'];
const FILES = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../src/node/console');
const run = promisify(execFile);

const server = useServer({});
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
});
after(() => browser?.close());

/** The page on a channel of its own, with everything that it complained about. */
async function open(name = channel('console'), options = { viewport: { width: 1100, height: 900 } }) {
  // A page put in front of the server has no address of its own, and its WebSocket would be asked about.
  const permissions = TARGET === 'nchan' ? ['local-network-access'] : [];
  const context = await browser.newContext({ ...options, permissions });
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  if (TARGET === 'nchan') await standIn(page);
  await page.goto(server.url('/'));
  await page.getByLabel('Channel', { exact: true }).fill(name);
  await page.getByLabel('Channel', { exact: true }).blur();
  return { page, name, complaints, close: () => context.close() };
}

/** What nchan does not serve. */
async function standIn(page) {
  const types = { html: 'text/html', js: 'text/javascript', css: 'text/css' };
  const file = (name, kind) => ({ contentType: types[kind], body: fs.readFileSync(path.join(FILES, `${name}.${kind}`), 'utf8').replace('{{version}}', '(nchan)').replace(/{{app_\w+}}/g, '') });
  await page.route(server.url('/'), (route) => route.fulfill(file('console', 'html')));
  await page.route(server.url('/console.js'), (route) => route.fulfill(file('console', 'js')));
  await page.route(server.url('/console-pusher.js'), (route) => route.fulfill(file('pusher', 'js')));
  await page.route(server.url('/console.css'), (route) => route.fulfill(file('console', 'css')));
  let asked = 0;
  await page.route(server.url('/metrics'), (route) => {
    asked += 1;
    route.fulfill({ contentType: 'text/plain', body: `fanwire_connections{carrier="http"} 4\nfanwire_deliveries_total ${asked * 5}\n` });
  });
}

const card = (page, transport) => page.locator(`[data-transport=${transport}]`);
const count = async (page, transport) => Number(await card(page, transport).locator('.count span').textContent());
const lastId = (page, transport) => card(page, transport).locator('.id').textContent();

/** Waits until each transport has received exactly that many, and stays there. */
async function counts(page, expected) {
  const all = () => Promise.all(TRANSPORTS.map((transport) => count(page, transport)));
  await eventually(async () => (await all()).every((n) => n >= expected), `${expected} received over each transport`).catch(async (error) => {
    throw new Error(`${error.message}; received ${await all()}`);
  });
  await page.waitForTimeout(150);
  assert.deepEqual(await all(), TRANSPORTS.map(() => expected));
}

async function startAll({ page, name }) {
  await page.getByRole('button', { name: 'Start all' }).click();
  await server.subscribers(name, TRANSPORTS.length);
}

async function publish(page, body, { type, event } = {}) {
  await page.getByLabel('Message').fill(body);
  if (type !== undefined) await page.getByLabel('Content type').fill(type);
  if (event !== undefined) await page.getByLabel('Event name').fill(event);
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
}

const picture = async (page, name) => {
  if (process.env.SCREENSHOT_DIR) await page.screenshot({ path: path.join(process.env.SCREENSHOT_DIR, `${name}.png`), fullPage: true });
};

test('every transport of the page receives what page and back end publish', async () => {
  const opened = await open();
  const { page, name, complaints } = opened;
  await startAll(opened);
  await publish(page, 'from the page');
  await counts(page, 1);
  await eventually(async () => /^201: 4 subscribed, 1 stored, id /.test(await page.locator('#published').textContent()), 'the answer to the publish');

  await server.publish(name, 'from the back end', { 'Content-Type': 'text/plain' });
  await counts(page, 2);
  const id = (await server.info(name)).last_message_id;
  for (const transport of TRANSPORTS) assert.equal(await lastId(page, transport), id, transport);

  await publish(page, '{"a":1}', { type: 'application/json', event: 'upd' });
  await counts(page, 3);
  const newest = page.locator('#log li', { hasText: 'EventSource' }).first();
  assert.match(await newest.textContent(), /event upd/);
  assert.equal(await newest.locator('pre').textContent(), '{"a":1}');

  await server.publish(name, 'bytes', { 'Content-Type': 'application/octet-stream' });
  await counts(page, 4);
  assert.match(await page.locator('#log li', { hasText: 'WebSocket' }).first().textContent(), /application\/octet-streambytes$/);
  assert.deepEqual(complaints, []);
  await opened.close();
});

test('messages of several lines, of nothing and with a boundary look-alike arrive whole', async () => {
  const opened = await open();
  const { page, complaints } = opened;
  await startAll(opened);
  const bodies = ['one\ntwo\n', '', '\r\n--x\r\n', 'ä€𝄞 '.repeat(5000)];
  for (const [at, body] of bodies.entries()) {
    await server.publish(opened.name, body, { 'Content-Type': 'text/plain' });
    await counts(page, at + 1);
  }
  const shown = (transport, at) => page.locator('#log li', { hasText: transport }).nth(bodies.length - 1 - at).locator('pre').textContent();
  for (const transport of ['WebSocket', 'Long-poll', 'Multipart']) {
    for (const [at, body] of bodies.slice(0, 3).entries()) assert.equal(await shown(transport, at), body, transport);
    const long = await shown(transport, 3);
    assert.ok(long.startsWith(bodies[3].slice(0, 4000)) && long.endsWith(` ${bodies[3].length - 4000} more characters`));
  }
  assert.equal(await shown('EventSource', 0), bodies[0]);
  assert.deepEqual(complaints, []);
  await opened.close();
});

test('a message is text, whatever is in it', async () => {
  const opened = await open();
  const { page, name, complaints } = opened;
  await startAll(opened);
  const nasty = '<script>window.harmed = 1</script><img src=x onerror="window.harmed = 2"><b>bold</b>';
  await server.publish(name, nasty, { 'Content-Type': 'text/html', 'X-EventSource-Event': 'message' });
  await counts(page, 1);
  for (const shown of await page.locator('#log pre').allTextContents()) assert.equal(shown, nasty);
  assert.equal(await page.locator('#log script, #log img, #log pre b').count(), 0);
  assert.equal(await page.evaluate(() => window.harmed), undefined);
  assert.deepEqual(complaints, []);
  await opened.close();
});

test('a stopped transport goes on where it was', async () => {
  const opened = await open();
  const { page, name } = opened;
  await startAll(opened);
  await server.publish(name, 'before');
  await counts(page, 1);
  await page.getByRole('button', { name: 'Stop all' }).click();
  for (const transport of TRANSPORTS) assert.equal(await card(page, transport).locator('.state').textContent(), 'off');
  for (const body of ['1', '2', '3']) await server.publish(name, body);
  await page.waitForTimeout(200);
  await counts(page, 1);
  await page.getByRole('button', { name: 'Start all' }).click();
  await counts(page, 4);
  const bodies = await page.locator('#log li', { hasText: 'Long-poll' }).locator('pre').allTextContents();
  assert.deepEqual(bodies, ['3', '2', '1', 'before']);
  await opened.close();
});

test('a deleted channel is subscribed to again, another one from its beginning', async () => {
  const opened = await open();
  const { page, name } = opened;
  const other = channel('other');
  await startAll(opened);
  await server.request('DELETE', `/pub/${name}`);
  await eventually(async () => (await page.locator('.state', { hasText: 'trying again' }).count()) > 0, 'a transport that tries again');
  await server.subscribers(name, TRANSPORTS.length);
  await server.publish(name, 'after');
  await counts(page, 1);
  await server.publish(other, 'kept');
  await page.getByLabel('Channel', { exact: true }).fill(other);
  await page.getByLabel('Channel', { exact: true }).blur();
  await counts(page, 1);
  assert.equal(await page.locator('#log li').first().locator('pre').textContent(), 'kept');
  await server.subscribers(name, 0);
  await opened.close();
});

test('a channel name with anything in it gives lines that a shell takes', async () => {
  const { page, name, close } = await open(`${channel('c')} it's $(x) "a"/b&c?d#e%41ü`);
  const line = (what) => page.locator('#curl li', { has: page.getByText(what, { exact: true }) }).locator('code').textContent();
  const shell = async (command) => (await run('sh', ['-c', `${command} -sS --max-time 1 || test $? = 28`])).stdout;
  assert.match(await shell(await line('Publish')), /queued messages: 1/);
  assert.match(await shell(await line('EventSource')), /^: hi\n\nid: \d+:0\ndata: hello\n\n/);
  assert.match(await shell(await line('Long-poll')), /^HTTP\/1.1 200 OK\r\n[\s\S]*\r\n\r\nhello$/);
  assert.match(await shell(await line('Multipart')), /\r\n\r\nhello\r\n--/);
  assert.match(await shell(await line('Chunked')), /hello/);
  assert.equal(JSON.parse(await shell(await line('Channel'))).messages, 1);
  assert.match(await shell(await line('Delete')), /queued messages: 1/);
  assert.equal((await server.info(encodeURIComponent(name)))?.messages ?? 0, 0);
  await close();
});

test('the page shows the figures of the node', async () => {
  const opened = await open();
  const { page, complaints } = opened;
  await startAll(opened);
  const number = (id) => page.locator(`#figure-${id}`).textContent().then(Number);
  await eventually(async () => (await number('connections')) >= TRANSPORTS.length, 'connections', 20_000);
  const publishing = setInterval(() => void server.publish(opened.name, 'x').catch(() => {}), 50);
  try {
    await eventually(async () => (await number('deliveries')) > 0, 'deliveries per second', 20_000);
    // a poll that has just been answered is no subscription until the page asks again
    if (TARGET === 'fanwire') await eventually(async () => (await number('publications')) > 0 && (await number('subscriptions')) >= TRANSPORTS.length - 1, 'publications per second', 20_000);
  } finally {
    clearInterval(publishing);
  }
  assert.deepEqual(complaints, []);
  await opened.close();
});

test('everything has a name, and nothing needs a sideways scroll, in light, dark and small', async () => {
  for (const [colorScheme, width] of [['light', 1100], ['dark', 1100], ['light', 400], ['dark', 320]]) {
    const opened = await open(channel('looks'), { viewport: { width, height: 900 }, colorScheme });
    const { page } = opened;
    await startAll(opened);
    await server.publish(opened.name, `{"long": "${'abcdefgh'.repeat(40)}"}`, { 'Content-Type': 'application/json' });
    await counts(page, 1);
    await publish(page, 'Hello from the console');
    await counts(page, 2);
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `${width} px overflow`);
    const spilling = await page.evaluate(() =>
      [...document.querySelectorAll('section, .transport, #figures div')].filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.textContent));
    assert.deepEqual(spilling, []);
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll('input, textarea')].filter((field) => field.labels.length === 0).map((field) => field.id));
    assert.deepEqual(nameless, []);
    for (const button of await page.getByRole('button').all()) assert.notEqual(await button.evaluate((b) => b.ariaLabel || b.textContent), '');
    await picture(page, `${colorScheme}-${width}`);
    await opened.close();
  }
});

fanwireOnly('nchan has no page of its own', 'the page may run only its own script', async () => {
  const { page, close } = await open();
  const answer = await server.request('GET', '/');
  assert.match(answer.header('Content-Security-Policy'), /default-src 'none'; script-src 'self'/);
  assert.equal(answer.header('X-Content-Type-Options'), 'nosniff');
  await page.evaluate(() => {
    const script = document.createElement('script');
    try {
      script.textContent = 'window.harmed = 3';
    } catch {
      // refused as an untrusted type, which is as good
    }
    document.body.append(script);
  });
  assert.equal(await page.evaluate(() => window.harmed), undefined);
  await close();
});
