// What of Pushi survives its node: registrations and events that are kept (pushi.md section 8).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { APP, Client, Rest, channel, pushiTest, receiver, startPushi } from '../support/pushi.mjs';
import { eventually } from '../support/server.mjs';

/** Runs with a directory for the store, and `start`, which starts a node on it. */
async function withData(run) {
  const hooks = await receiver();
  const data = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-pushi-'));
  const nodes = [];
  const start = async (shards) => {
    nodes.push(await startPushi({ shards, args: ['--data', data] }));
    return nodes.at(-1);
  };
  try {
    await run(start, hooks);
  } finally {
    hooks.close();
    for (const node of nodes) node.child.kill('SIGKILL');
    await Promise.all(nodes.map((node) => node.exit));
    fs.rmSync(data, { recursive: true, force: true });
  }
}

pushiTest('subscriptions, hooks, events and personal history are there after kill -9, on other shards', () =>
  withData(async (start, hooks) => {
    let node = await start(3);
    const [news, secret] = [channel(), channel('private-')];
    let rest = await Rest.login(node);
    const made = await rest.ok('POST', '/subscriptions', { user_id: 'u', event: news });
    await rest.ok('POST', '/subscriptions', { user_id: 'gone', event: news });
    await rest.ok('DELETE', `/subscriptions/gone/${news}`);
    await rest.ok('POST', '/webs', { url: hooks.url('/h'), event: news });
    const endpoint = { endpoint: 'https://push.example/x', p256dh: 'k', auth: 'a', event: news };
    const push = await rest.ok('POST', '/web_pushes', endpoint);
    let client = await Client.connect(node);
    for (const name of [news, secret]) await client.subscribe(name);
    for (let n = 1; n <= 5; n += 1) await rest.publish({ data: { n }, channel: news, extra: n });
    await rest.publish({ data: 'not kept', channel: news, persist: false });
    client.send('message', 'mine', { channel: secret, echo: true });
    for (let n = 0; n < 7; n += 1) await client.frame();
    // What a client sends is filed for its app a moment after it was published.
    const all = async () => (await rest.ok('GET', '/events', undefined, { count: 100 })).events;
    await eventually(async () => (await all()).length === 6, 'all events of the app');
    const before = {
      news: (await client.latest(news)).events,
      secret: (await client.latest(secret)).events,
      all: await all(),
      personal: (await client.subscribe('personal-u')).events,
    };
    assert.deepEqual(before.news.map((event) => event.data.extra), [5, 4, 3, 2, 1]);
    await node.kill('SIGKILL');

    node = await start(2);
    assert.equal((await rest.call.call({ ...rest, server: node }, 'GET', '/apps')).status, 403, 'tokens are of one life');
    rest = await Rest.login(node);
    const { subscriptions } = await rest.ok('GET', '/subscriptions');
    assert.deepEqual(subscriptions, [made]);
    assert.deepEqual((await rest.ok('GET', '/web_pushes')).subscriptions, [push]);
    assert.ok((await rest.ok('POST', '/subscriptions', { user_id: 'v', event: news })).id > made.id, 'ids go on');
    client = await Client.connect(node);
    for (const name of [news, secret]) await client.subscribe(name);
    const after = {
      news: (await client.latest(news)).events,
      secret: (await client.latest(secret)).events,
      all: await all(),
      personal: (await client.subscribe('personal-u')).events,
    };
    assert.deepEqual(after, before, 'the same ids and times');
    await eventually(() => hooks.calls.length === 6, 'the calls of the first node');
    await rest.publish({ data: 'after', channel: news });
    await client.event({ channel: news, event: 'message', data: 'after' });
    await eventually(() => hooks.calls.length === 7, 'the hook is called again');
    const [newest] = (await client.latest(news, { count: 1 })).events;
    assert.ok(newest.id > before.news[0].id);
    assert.equal(newest.instance, APP.id);
  }));

pushiTest('an event that was acknowledged is there after kill -9', () =>
  withData(async (start) => {
    const node = await start(2);
    const rest = await Rest.login(node);
    const name = channel();
    let acknowledged = 0;
    const publish = async () => {
      for (;;) {
        await rest.publish({ data: `${acknowledged}`, channel: name });
        acknowledged += 1;
      }
    };
    const publishers = Promise.allSettled([publish(), publish(), publish()]);
    await eventually(() => acknowledged > 200, 'some events');
    node.child.kill('SIGKILL');
    await publishers;
    const next = await start(2);
    const client = await Client.connect(next);
    await client.subscribe(name);
    const { events } = await client.latest(name, { count: 1000 });
    assert.ok(events.length >= acknowledged && events.length <= acknowledged + 3, `${events.length} of ${acknowledged}`);
    assert.equal(new Set(events.map((event) => event.mid)).size, events.length);
  }));
