// The Pusher tab of the live page in a real browser, against back ends and clients that sign with Node's own
// cryptography. SCREENSHOT_DIR=folder keeps pictures of the page.
import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { useServer } from '../support/cases.mjs';
import { TARGET, channel, eventually, freePort, start } from '../support/server.mjs';

const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const APP = { id: '1', key: 'dev-key', secret: 'dev-secret' };
const here = TARGET === 'fanwire' ? test : (name) => test(name, { skip: 'fanwire only: nchan has no page of its own' }, () => {});

const server = useServer({}, { only: true });
let browser;

before(async () => {
  if (TARGET === 'fanwire') browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
});
after(() => browser?.close());

/** The tab, with everything that the page complained about. */
async function open({ node = server, viewport = { width: 1100, height: 900 }, colorScheme } = {}) {
  const context = await browser.newContext({ viewport, colorScheme });
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(node.url('/'));
  await page.getByRole('tab', { name: 'Pusher' }).click();
  const tab = {
    page,
    complaints,
    close: () => context.close(),
    state: () => page.locator('#connection-state').textContent(),
    card: (name) => page.locator(`[data-channel="${name}"]`),
    channelState: (name) => tab.card(name).locator('.state').textContent(),
    count: async (name) => Number(await tab.card(name).locator('.count span').textContent()),
    members: (name) => tab.card(name).locator('.members li').allTextContents(),
    events: (name) => page.locator('#events li', { hasText: name }),
    outcome: () => page.locator('#triggered').textContent(),
    set: async (fields) => {
      await page.locator('#panel-pusher details').evaluate((details) => (details.open = true));
      for (const [label, value] of Object.entries(fields)) {
        await page.getByLabel(label, { exact: true }).fill(value);
        await page.getByLabel(label, { exact: true }).blur();
      }
    },
    join: async (name) => {
      await page.getByLabel('Channel to subscribe to').fill(name);
      await page.getByRole('button', { name: 'Subscribe', exact: true }).click();
    },
    joined: async (name) => {
      await tab.join(name);
      await eventually(async () => (await tab.channelState(name)) === 'subscribed', `${name} is subscribed to`);
    },
    send: async (name, event, data, button = 'Trigger as back end') => {
      await page.getByLabel('To channel').fill(name);
      await page.getByLabel('Name of the event').fill(event);
      await page.getByLabel('Data', { exact: true }).fill(data);
      await page.getByRole('button', { name: button }).click();
    },
  };
  return tab;
}

/** An event of a back end that is not the page. */
async function trigger(name, event, data, extra = {}) {
  const body = JSON.stringify({ name: event, channels: [name], data, ...extra });
  const query = `auth_key=${APP.key}&auth_timestamp=${Math.floor(Date.now() / 1000)}&auth_version=1.0&body_md5=${createHash('md5').update(body).digest('hex')}`;
  const where = `/apps/${APP.id}/events`;
  const signature = createHmac('sha256', APP.secret).update(`POST\n${where}\n${query}`).digest('hex');
  const answer = await server.request('POST', `${where}?${query}&auth_signature=${signature}`, { headers: { 'Content-Type': 'application/json' }, body });
  assert.equal(answer.status, 200, answer.text);
}

here('public, private and presence channels are subscribed to and hear page and back end', async () => {
  const tab = await open();
  const names = [channel('news'), channel('private-a'), channel('presence-a'), channel('private-cache-a')];
  await tab.joined(names[0]);
  assert.match(await tab.state(), /^connected as \d+\.\d+$/);
  for (const name of names.slice(1)) await tab.joined(name);
  for (const name of names) {
    await trigger(name, 'from-back-end', '{"a":1}');
    await eventually(async () => (await tab.count(name)) === 1, `the event in ${name}`);
    await tab.send(name, 'from-page', 'täxt');
    await eventually(async () => (await tab.count(name)) === 2, `the event of the page in ${name}`);
    assert.equal(await tab.outcome(), '200: {}');
    const newest = tab.events(name).first();
    assert.match(await newest.textContent(), /event from-page/);
    assert.equal(await newest.locator('pre').textContent(), 'täxt');
  }
  await tab.page.getByRole('button', { name: `Leave ${names[0]}` }).click();
  await trigger(names[0], 'unheard', '');
  await trigger(names[1], 'heard', '');
  await eventually(async () => (await tab.count(names[1])) === 3, 'the event behind');
  assert.equal(await tab.events('unheard').count(), 0);
  assert.deepEqual(tab.complaints, []);
  await tab.close();
});

here('bodies of every length around a block of MD5 are taken by the node', async () => {
  const tab = await open();
  const name = channel('md5');
  await tab.joined(name);
  let sent = 0;
  for (let length = 0; length < 70; length += 1) {
    await tab.send(name, 'e', `${'ä€𝄞'.repeat(length % 2)}${'x'.repeat(length)}`);
    sent += 1;
    await eventually(async () => (await tab.count(name)) === sent, `${length} characters: ${await tab.outcome()}`);
  }
  await tab.close();
});

here('two pages see each other come, speak and go', async () => {
  const name = channel('presence-room');
  const [one, two] = [await open(), await open()];
  await one.set({ 'User id': 'one' });
  await two.set({ 'User id': 'two' });
  await one.joined(name);
  await eventually(async () => (await one.members(name)).join() === 'one', 'the first member');
  await two.joined(name);
  for (const tab of [one, two]) await eventually(async () => (await tab.members(name)).join() === 'one,two', 'both members');
  assert.equal(await two.card(name).locator('.self').textContent(), 'two');

  await one.send(name, 'typing', '{"on":true}', 'Send as client');
  await eventually(async () => (await two.count(name)) === 1, 'the client event');
  const newest = two.events(name).first();
  assert.match(await newest.textContent(), /event client-typing of one/);
  assert.equal(await newest.locator('pre').textContent(), '{"on":true}');
  assert.equal(await one.count(name), 0, 'not to who has sent it');

  await one.page.getByLabel('Not to this connection').check();
  await one.send(name, 'to-others', 'x');
  await eventually(async () => (await two.count(name)) === 2, 'the event for others');
  assert.equal(await one.count(name), 0);

  await two.page.getByRole('button', { name: 'Disconnect' }).click();
  await eventually(async () => (await one.members(name)).join() === 'one', 'one member');
  assert.equal(await two.state(), 'off');
  assert.deepEqual([...one.complaints, ...two.complaints], []);
  await Promise.all([one.close(), two.close()]);
});

here('what comes is text, whatever is in it', async () => {
  const tab = await open();
  const name = channel('nasty');
  await tab.joined(name);
  const nasty = '<script>window.harmed = 1</script><img src=x onerror="window.harmed = 2">';
  await trigger(name, nasty.slice(0, 60), nasty);
  await eventually(async () => (await tab.count(name)) === 1, 'the event');
  assert.equal(await tab.events(name).first().locator('pre').textContent(), nasty);
  assert.equal(await tab.page.locator('#events script, #events img').count(), 0);
  assert.equal(await tab.page.evaluate(() => window.harmed), undefined);
  assert.deepEqual(tab.complaints, []);
  await tab.close();
});

here('refusals are told, and a key that nobody knows is not tried again', async () => {
  const tab = await open();
  const name = channel('private-no');
  await tab.set({ Secret: 'wrong' });
  await tab.join(name);
  await eventually(async () => /^401 /.test(await tab.channelState(name)), 'a refused subscription');
  await tab.send(name, 'e', 'x');
  await eventually(async () => /^Refused: 401/.test(await tab.outcome()), 'a refused trigger');
  await tab.set({ Secret: '' });
  await eventually(async () => /secret of the app is needed/.test(await tab.channelState(name)), 'no secret');
  await tab.set({ 'App key': 'nobody' });
  await eventually(async () => /^closed: 4001 /.test(await tab.state()), 'an app that is not there');
  await tab.page.waitForTimeout(1500);
  assert.match(await tab.state(), /^closed: 4001 /);
  await tab.set({ 'App key': APP.key, Secret: APP.secret });
  await tab.page.getByRole('button', { name: 'Connect', exact: true }).click();
  await eventually(async () => (await tab.channelState(name)) === 'subscribed', 'the subscription after all');
  await tab.close();
});

here('the page comes back after the node has', async () => {
  const port = await freePort();
  const node = () => start({ toml: `listen = ["127.0.0.1:${port}"]\n`, port });
  const first = await node();
  const tab = await open({ node: first });
  const name = channel('presence-back');
  await tab.set({ 'User id': 'me' });
  await tab.joined(name);
  await first.stop();
  await eventually(async () => /trying again|connecting/.test(await tab.state()), 'a page that tries again');
  const second = await node();
  await eventually(async () => (await tab.channelState(name)) === 'subscribed', 'the subscription');
  await eventually(async () => (await tab.members(name)).join() === 'me', 'the member');
  await tab.close();
  await second.stop();
});

here('the secret of an app that is not for development is not on the page', async () => {
  const node = await start({ toml: 'development = true\n[[app]]\nid = "shop"\nkey = "shop-key"\nsecret = "hush-hush"\n' });
  for (const file of ['/', '/console.js', '/console-pusher.js']) {
    assert.ok(!(await node.request('GET', file)).text.includes('hush'), file);
  }
  const tab = await open({ node });
  assert.equal(await tab.page.getByLabel('App key', { exact: true }).inputValue(), 'shop-key');
  await tab.joined('news');
  await tab.join('private-x');
  await eventually(async () => /secret of the app is needed/.test(await tab.channelState('private-x')), 'no secret');
  await tab.set({ Secret: 'hush-hush' });
  await eventually(async () => (await tab.channelState('private-x')) === 'subscribed', 'the subscription');
  await tab.close();
  await node.stop();
});

here('a node without the dialect has no tab of it', async () => {
  const node = await start({ toml: '[pusher]\nenabled = false\n' });
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(node.url('/'));
  await page.getByRole('tab', { name: 'Relay' }).waitFor();
  await eventually(async () => (await page.getByRole('tab').count()) === 1, 'one tab');
  await context.close();
  await node.stop();
});

here('everything has a name, and nothing needs a sideways scroll, in light, dark and small', async () => {
  for (const [colorScheme, width] of [['light', 1100], ['dark', 1100], ['light', 400], ['dark', 320]]) {
    const tab = await open({ viewport: { width, height: 900 }, colorScheme });
    const { page } = tab;
    const name = channel('presence-with-a-rather-long-name-of-a-room');
    await tab.joined(name);
    await tab.joined(channel('news'));
    await tab.send(name, 'greeting', `{"long": "${'abcdefgh'.repeat(40)}"}`);
    await eventually(async () => (await tab.count(name)) === 1, 'the event');
    await page.locator('#panel-pusher details').evaluate((details) => (details.open = true));
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `${width} px overflow`);
    const spilling = await page.evaluate(() =>
      [...document.querySelectorAll('#panel-pusher section, #panel-pusher .transport')].filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.textContent));
    assert.deepEqual(spilling, []);
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll('#panel-pusher input, #panel-pusher textarea')].filter((field) => field.labels.length === 0).map((field) => field.id));
    assert.deepEqual(nameless, []);
    for (const button of await page.getByRole('button').all()) assert.notEqual(await button.evaluate((b) => b.ariaLabel || b.textContent), '');
    if (process.env.SCREENSHOT_DIR) await page.screenshot({ path: path.join(process.env.SCREENSHOT_DIR, `pusher-${colorScheme}-${width}.png`), fullPage: true });
    assert.deepEqual(tab.complaints, []);
    await tab.close();
  }
});
