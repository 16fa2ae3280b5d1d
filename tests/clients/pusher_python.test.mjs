// The PyPI library `pusher` as back end (pusher.md, section 11; traps 3 and 7).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { OTHER, fanwireTest, pusherTest, usePusher, webhookSignature } from '../support/pusher.mjs';
import { channel } from '../support/server.mjs';
import { Peer, client, connected, filled, record, subscribed } from './pusher_env.mjs';

/** The library takes app ids of digits only. */
const APP = { id: '4242', key: 'py-key', secret: 'py-secret' };
const server = usePusher({ apps: [APP] });
const TESTS = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const PYTHON = path.join(TESTS, '.cache/clients/venv/bin/python');

let driver;
after(() => driver?.child.kill());

function start() {
  if (!fs.existsSync(PYTHON)) throw new Error(`${PYTHON} is missing: STAGES=install tests/all makes it`);
  const child = spawn(PYTHON, [path.join(TESTS, 'support/pusher_sdk.py')], { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting = [];
  readline.createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()(JSON.parse(line)));
  child.once('exit', () => waiting.splice(0).forEach((done) => done({ error: 'Exit', text: 'the library left' })));
  return { child, waiting };
}

/** Calls the library; `{ value }` or `{ error, text }`. */
function python(call, args = [], { app = APP, options = {}, skew = 0, ...settings } = {}) {
  driver ??= start();
  const setup = { app_id: app.id, key: app.key, secret: app.secret, host: '127.0.0.1', port: server.port, ...settings };
  return new Promise((resolve) => {
    driver.waiting.push(resolve);
    driver.child.stdin.write(`${JSON.stringify({ call, args, options, skew, client: setup })}\n`);
  });
}

async function done(...call) {
  const answer = await python(...call);
  assert.equal(answer.error, undefined, answer.text);
  return answer.value;
}

async function listener(name = channel()) {
  const peer = await Peer.open(server, { app: APP });
  await peer.subscribe(name);
  return { peer, name };
}

pusherTest('trigger: text, objects and escapes to one and several channels', async () => {
  const { peer, name } = await listener();
  const second = channel();
  await peer.subscribe(second);
  assert.equal(typeof (await done('trigger', [name, 'e', { x: 'ü🌊', n: [1.5] }])), 'object');
  assert.deepEqual((await peer.event('e', name)).value, { x: 'ü🌊', n: [1.5] });
  await done('trigger', [[name, second], 'both', 'text']);
  assert.equal((await peer.event('both', name)).data, 'text');
  await peer.event('both', second);
});

pusherTest('trigger: socket_id excludes', async () => {
  const { peer, name } = await listener();
  await done('trigger', [name, 'e', {}, peer.id]);
  assert.deepEqual(await peer.before(server, name), []);
});

pusherTest('trigger: 100 channels; the library itself refuses more', async () => {
  const names = Array.from({ length: 100 }, () => channel());
  const { peer } = await listener(names[42]);
  await done('trigger', [names, 'e', '1']);
  await peer.event('e');
  assert.equal((await python('trigger', [[...names, 'x'], 'e', '1'])).error, 'ValueError');
});

fanwireTest('trigger: what the library lets through and the node does not', async () => {
  const answer = await python('trigger', [channel(), 'e', 'x'.repeat(20_000)]);
  assert.equal(answer.error, 'PusherBadStatus');
  assert.match(answer.text, /^413: The data content of this event exceeds the allowed maximum \(10240 bytes\)\./);
});

pusherTest('trigger_batch', async () => {
  const { peer, name } = await listener();
  const batch = [1, 2, 3].map((n) => ({ channel: name, name: 'b', data: { n } }));
  await done('trigger_batch', [batch]);
  for (const n of [1, 2, 3]) assert.deepEqual((await peer.event('b')).value, { n });
  const answer = await python('trigger_batch', [Array(11).fill(batch[0])]);
  assert.equal(answer.error, 'PusherBadRequest');
});

fanwireTest('trap 3: channels_info, with body_md5 on a GET and the signature in the middle of the query', async () => {
  const room = channel('presence-py');
  const peers = [await Peer.open(server, { app: APP }), await Peer.open(server, { app: APP })];
  for (const [at, peer] of peers.entries()) await peer.subscribe(room, { user: { user_id: `u${at}` } });
  assert.deepEqual((await done('channels_info', [room, ['user_count']])).channels, { [room]: { user_count: 2 } });
  assert.deepEqual((await done('channels_info', ['presence-', ['user_count', 'subscription_count']])).channels[room], { user_count: 2, subscription_count: 2 });
  assert.equal(typeof (await done('channels_info')).channels, 'object');
  const { error, text } = await python('channels_info', [null, ['user_count']]);
  assert.equal(error, 'PusherBadRequest', text);
});

fanwireTest('trap 3: channel_info and users_info', async () => {
  const [room, name] = [channel('presence-py'), channel('a=b@c,d;e.f_g')];
  const peer = await Peer.open(server, { app: APP });
  await peer.subscribe(room, { user: { user_id: 'u' } });
  assert.deepEqual(await done('channel_info', [room, ['user_count', 'subscription_count']]), { occupied: true, user_count: 1, subscription_count: 1 });
  assert.deepEqual(await done('channel_info', [name]), { occupied: false });
  assert.deepEqual(await done('users_info', [room]), { users: [{ id: 'u' }] });
  assert.equal((await python('users_info', [name])).error, 'PusherBadRequest');
});

fanwireTest('trap 7: terminate_user_connections', async () => {
  const id = channel('u');
  const peer = await Peer.open(server, { app: APP });
  await peer.signin({ id });
  assert.deepEqual(await done('terminate_user_connections', [id]), {});
  assert.equal((await peer.end()).code, 4009);
});

pusherTest('failures have the class of the library that belongs to the status', async () => {
  const name = channel();
  assert.equal((await python('trigger', [name, 'e', '1'], { app: { ...APP, secret: 'wrong' } })).error, 'PusherBadAuth');
  assert.equal((await python('trigger', [name, 'e', '1'], { app: { ...APP, key: 'nobody' } })).error, 'PusherBadAuth');
  const unknown = await python('trigger', [name, 'e', '1'], { app: { ...APP, id: '4243' } });
  assert.equal(unknown.error, 'PusherBadStatus');
  assert.match(unknown.text, /^404/);
});

fanwireTest('clock skew: within 600 s fine, beyond it told with both times', async () => {
  const name = channel();
  for (const skew of [-590, 590]) await done('trigger', [name, 'e', '1'], { skew });
  for (const skew of [-700, 700]) {
    const { error, text } = await python('trigger', [name, 'e', '1'], { skew });
    assert.equal(error, 'PusherBadAuth');
    assert.match(text, /^Timestamp expired/);
  }
});

pusherTest('the library signs subscriptions, with spaces in channel_data', async () => {
  const peer = await Peer.open(server, { app: APP });
  const [secret, room] = [channel('private-py'), channel('presence-py')];
  const { auth } = await done('authenticate', [secret, peer.id]);
  peer.send('pusher:subscribe', { auth, channel: secret });
  await peer.event('pusher_internal:subscription_succeeded', secret);
  const signed = await done('authenticate', [room, peer.id, { user_id: 'u', user_info: { name: 'ü' } }]);
  assert.match(signed.channel_data, /": "/);
  peer.send('pusher:subscribe', { ...signed, channel: room });
  const success = await peer.event('pusher_internal:subscription_succeeded', room);
  assert.deepEqual(success.value.presence.hash, { u: { name: 'ü' } });
});

pusherTest('the library signs a user in', async () => {
  const peer = await Peer.open(server, { app: APP });
  const signed = await done('authenticate_user', [peer.id, { id: 'u', user_info: { a: 1 } }]);
  peer.send('pusher:signin', signed);
  await peer.event('pusher:signin_success');
});

pusherTest('encrypted: from Python to pusher-js', async () => {
  const name = channel('private-encrypted-py');
  const key = { encryption_master_key_base64: Buffer.alloc(32, 7).toString('base64') };
  const pusher = await connected(
    client(server, {
      app: APP,
      channelAuthorization: { customHandler: ({ socketId, channelName }, answer) => done('authenticate', [channelName, socketId], key).then((auth) => answer(null, auth)) },
    }),
  );
  const heard = record(await subscribed(pusher, name));
  await done('trigger', [name, 'secret', { n: 1 }], key);
  assert.deepEqual(await filled(heard, 1, 'events'), [['secret', { n: 1 }]]);
  pusher.disconnect();
});

pusherTest('the library checks web hooks by the same signature', async () => {
  const body = JSON.stringify({ time_ms: Date.now(), events: [{ name: 'channel_occupied', channel: 'x' }] });
  assert.notEqual(await done('webhook', [APP.key, webhookSignature(APP.secret, body), body]), null);
  assert.equal(await done('webhook', [APP.key, webhookSignature(OTHER.secret, body), body]), null);
});
