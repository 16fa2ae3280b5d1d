// Apps that come and go while the node runs, as their clients and the people who keep them see it (fanwire only).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { api, fanwireTest, startPusher, trigger } from '../support/pusher.mjs';
import { channel, eventually, runToEnd } from '../support/server.mjs';
import { Peer, client, connected, filled, once, record, subscribed } from './pusher_env.mjs';

const dirs = [];
after(() => dirs.forEach((dir) => fs.rmSync(dir, { recursive: true, force: true })));

function freshDir() {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-apps-'));
  dirs.push(dir);
  return dir;
}

/** Runs with a node on a data directory of its own. */
async function withNode(options, run) {
  const dir = options.dir ?? freshDir();
  const server = await startPusher({ shards: 2, ...options, args: ['--data', dir] });
  let failed = true;
  try {
    await run(server, dir);
    failed = false;
  } finally {
    await server.stop().catch((error) => {
      if (!failed) throw error;
    });
  }
}

/** `fanwire app` for the node on that directory; fails as the command does. */
async function app(dir, ...args) {
  const { code, output } = await runToEnd(['app', args[0], '--data', dir, ...args.slice(1)]);
  if (code !== 0) throw new Error(output.trim());
  return output;
}

/** Adds an app and gives what its back ends need. */
async function add(dir, id, ...args) {
  const output = await app(dir, 'add', '--id', id, ...args);
  const [key, secret] = ['key', 'secret'].map((name) => new RegExp(`^${name} = "(.*)"$`, 'm').exec(output)[1]);
  return { id, key, secret };
}

/** Longer than pusher-js waits before it tries again. */
const NO_MORE_TRIES_MS = 1500;

fanwireTest('an unknown key is 4001; an app that is added connects; one that is removed is 4001 for good', async () => {
  await withNode({}, async (server, dir) => {
    const unknown = { id: 'shop', key: 'k'.repeat(64), secret: 'none' };
    const early = client(server, { app: unknown });
    const refused = await once(early.connection, 'error');
    assert.equal((refused.error ?? refused).data.code, 4001);

    const shop = await add(dir, 'shop', '--client-events');
    assert.match(shop.key, /^[0-9a-f]{64}$/);
    assert.match(shop.secret, /^[0-9a-f]{64}$/);
    const pusher = await connected(client(server, { app: shop }));
    const name = channel('private-app');
    const heard = record(await subscribed(pusher, name));
    await trigger(server, name, 'order', { id: 7 }, {}, shop);
    assert.deepEqual(await filled(heard, 1, 'events'), [['order', { id: 7 }]]);
    const guest = await connected(client(server));

    const gone = once(pusher.connection, 'error');
    await app(dir, 'remove', 'shop');
    assert.equal((await gone).data.code, 4001);
    await eventually(() => pusher.connection.state === 'disconnected', 'the end of the client');
    await new Promise((done) => setTimeout(done, NO_MORE_TRIES_MS));
    assert.deepEqual(pusher.waits, [], 'it never tries again');
    assert.equal(pusher.connection.state, 'disconnected');
    assert.equal(guest.connection.state, 'connected', 'clients of other apps stay');
    assert.equal((await api(server, 'GET', '/channels', { app: shop })).status, 404);
  });
});

fanwireTest('what was added is there after kill -9 right behind the answer, and what was removed is not', async () => {
  const dir = freshDir();
  const server = await startPusher({ args: ['--data', dir] });
  await add(dir, 'old');
  await app(dir, 'remove', 'old');
  const shop = await add(dir, 'shop', '--set', 'max_connections=3');
  await server.kill('SIGKILL');
  await withNode({ dir }, async (again) => {
    const pusher = await connected(client(again, { app: shop }));
    await subscribed(pusher, channel('private-x'));
    const list = await app(dir, 'list');
    assert.match(list, /^shop +[0-9a-f]{64} +added +1 +max_connections = 3$/m);
    assert.match(list, /^1 +dev-key +configured +0 /m);
    assert.doesNotMatch(list, /^old /m);
    assert.ok(!list.includes(shop.secret));
    assert.ok((await app(dir, 'list', '--secrets')).includes(shop.secret));
  });
});

fanwireTest('an app comes and goes under a hundred clients of another, on all shards', async () => {
  await withNode({ shards: 3 }, async (server, dir) => {
    const name = channel('crowd');
    const peers = await Promise.all(Array.from({ length: 100 }, () => Peer.open(server)));
    await Promise.all(peers.map((peer) => peer.subscribe(name)));
    const shop = await add(dir, 'shop');
    const shoppers = await Promise.all(Array.from({ length: 50 }, () => Peer.open(server, { app: shop })));
    await trigger(server, name, 'still-here');
    await Promise.all(peers.map((peer) => peer.event('still-here', name)));
    await app(dir, 'remove', 'shop');
    for (const { code } of await Promise.all(shoppers.map((peer) => peer.end()))) assert.equal(code, 4001);
    await trigger(server, name, 'and-still');
    await Promise.all(peers.map((peer) => peer.event('and-still', name)));
  });
});

fanwireTest('without a node the command works on its store, and the node has it later', async () => {
  const dir = freshDir();
  const shop = await add(dir, 'shop', '--key', 'shop-key');
  assert.equal(shop.key, 'shop-key');
  await assert.rejects(add(dir, 'shop'), /another app has the same id or key/);
  await assert.rejects(add(dir, 'other', '--key', 'shop-key'), /another app has the same id or key/);
  await withNode({ dir }, async (server) => {
    await connected(client(server, { app: shop }));
    await assert.rejects(app(dir, 'remove', '1'), /stands in the configuration/);
    await assert.rejects(app(dir, 'remove', 'nobody'), /no app with this id/);
    await assert.rejects(add(dir, 'a/b'), /`id` is made of letters/);
  });
});

fanwireTest('an app of the configuration wins over a stored one, which is told by name', async () => {
  const dir = freshDir();
  const stored = await add(dir, 'shop');
  const configured = { id: 'shop', key: 'other-key', secret: 'other-secret' };
  await withNode({ dir, apps: [configured] }, async (server) => {
    await connected(client(server, { app: configured }));
    const refused = await once(client(server, { app: stored }).connection, 'error');
    assert.equal((refused.error ?? refused).data.code, 4001);
    assert.match(server.stderr(), /a stored app is not served: another app has the same id or key.*app="shop"/);
  });
  await withNode({ dir }, async (server) => {
    await connected(client(server, { app: stored }));
  });
});

fanwireTest('fanwire token signs for an app that was added', async () => {
  await withNode({}, async (server, dir) => {
    await add(dir, 'shop');
    const env = { FANWIRE_STORE_DATA: dir };
    const { code, output } = await runToEnd(['token', 'api', 'GET', 'channels', '--app', 'shop', '--url', server.origin], { env });
    assert.equal(code, 0, output);
    const answer = await fetch(output.trim());
    assert.deepEqual([answer.status, await answer.json()], [200, { channels: {} }]);
  });
});
