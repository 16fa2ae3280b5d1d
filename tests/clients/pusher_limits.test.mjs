// What an app may have, and what the node may be told about the protocol (pusher.md, sections 4, 7, 9 and 11).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { APP, api, channelAuth, fanwireTest, trigger, usePusher, withPusher } from '../support/pusher.mjs';
import { channel, eventually, runToEnd } from '../support/server.mjs';
import { Peer, atEnd, client, connected } from './pusher_env.mjs';

const EVENTS = { id: 'events', key: 'events-key', secret: 's1', max_events_per_second: 5 };
const BYTES = { id: 'bytes', key: 'bytes-key', secret: 's2', max_event_bytes: 100_000, client_events: true };
const USERS = { id: 'users', key: 'users-key', secret: 's3', max_presence_users: 2 };
const CHANNELS = { id: 'channels', key: 'channels-key', secret: 's4', max_channels: 4 };
const FAST = { id: 'fast', key: 'fast-key', secret: 's5', client_events: true, max_client_events_per_second: 0 };
const QUOTA = { id: 'quota', key: 'quota-key', secret: 's6', max_connections: 3 };
const server = usePusher({ apps: [APP, EVENTS, BYTES, USERS, CHANNELS, FAST, QUOTA], pusher: { batch_events: 20, channels_per_trigger: 3, event_name_chars: 20, channel_name_bytes: 50 } });

fanwireTest('max_events_per_second: 429 with Retry-After; every channel counts; a second later it goes on', async () => {
  const send = (channels) => api(server, 'POST', '/events', { app: EVENTS, body: { name: 'e', data: '1', channels } });
  const answers = await Promise.all(Array.from({ length: 20 }, () => send(['a'])));
  const refused = answers.filter((answer) => answer.status === 429);
  assert.ok(answers.every((answer) => [200, 429].includes(answer.status)));
  assert.ok(refused.length >= 10 && refused.length <= 15, `${refused.length} of 20`);
  assert.match(refused[0].header('Retry-After'), /^\d+$/);
  assert.match(refused[0].text, /./);
  await eventually(async () => (await send(['a', 'b', 'c'])).status === 200, 'the next second');
  assert.equal((await api(server, 'GET', '/channels', { app: EVENTS })).status, 200, 'questions are no events');
});

fanwireTest('max_event_bytes: larger events, from back ends and clients', async () => {
  const name = channel('private-b');
  const [one, two] = [await Peer.open(server, { app: BYTES }), await Peer.open(server, { app: BYTES })];
  await one.subscribe(name);
  await two.subscribe(name);
  const data = 'x'.repeat(100_000);
  await trigger(server, name, 'big', data, {}, BYTES);
  for (const peer of [one, two]) assert.equal((await peer.event('big')).data, data);
  one.send('client-big', data, name);
  assert.equal((await two.event('client-big')).data, data);
  const answer = await api(server, 'POST', '/events', { app: BYTES, body: { name: 'e', data: `${data}x`, channels: [name] } });
  assert.deepEqual([answer.status, answer.text.trim()], [413, 'The data content of this event exceeds the allowed maximum (100000 bytes).']);
});

fanwireTest('max_presence_users', async () => {
  const name = channel('presence-p');
  const join = async (id) => {
    const peer = await Peer.open(server, { app: USERS });
    const channelData = JSON.stringify({ user_id: id });
    peer.send('pusher:subscribe', { auth: channelAuth(peer.id, name, channelData, USERS), channel: name, channel_data: channelData });
    const reply = await peer.take((f) => f.channel === name && /succeeded|error/.test(f.event), 'a reply');
    return reply.event === 'pusher:subscription_error' ? reply.value.status : 'in';
  };
  assert.deepEqual([await join('a'), await join('b'), await join('c'), await join('a')], ['in', 'in', 4100, 'in']);
});

fanwireTest('max_channels: a subscription to one too many is refused, the socket stays', async () => {
  const peers = await Promise.all(Array.from({ length: 4 }, () => Peer.open(server, { app: CHANNELS })));
  let refused = 0;
  for (let i = 0; i < 16; i += 1) {
    const peer = peers[i % 4];
    const name = channel('few');
    peer.send('pusher:subscribe', peer.subscription(name));
    const reply = await peer.take((f) => f.channel === name, 'a reply');
    if (reply.event === 'pusher:subscription_error') refused += 1;
  }
  // Each home keeps its share of the limit.
  assert.ok(refused >= 8 && refused <= 12, `${refused} of 16`);
  for (const peer of peers) await peer.ping();
});

fanwireTest('max_client_events_per_second = 0: any number', async () => {
  const name = channel('private-f');
  const [one, two] = [await Peer.open(server, { app: FAST }), await Peer.open(server, { app: FAST })];
  await one.subscribe(name);
  await two.subscribe(name);
  for (let i = 0; i < 200; i += 1) one.send('client-e', i, name);
  for (let i = 0; i < 200; i += 1) assert.equal((await two.event('client-e')).value, i);
  assert.deepEqual(one.drain(), []);
});

/** A socket of the app with a quota, undefined when it is refused. */
async function dial() {
  const peer = Peer.dial(server, { app: QUOTA });
  const met = await Promise.race([peer.next().catch(() => undefined), peer.closed]);
  if (met?.event === 'pusher:connection_established') return peer;
  assert.equal((await peer.end()).code, 4004);
  return undefined;
}

/** Opens as many as there is room for; three in the end. */
async function fill() {
  const peers = [];
  await eventually(async () => {
    const peer = await dial();
    if (peer) peers.push(peer);
    return peers.length === 3;
  }, 'three sockets');
  return peers;
}

fanwireTest('max_connections: counted over all shards, however many come at once, and freed when a socket goes', async () => {
  for (let round = 0; round < 3; round += 1) {
    const peers = await fill();
    assert.deepEqual((await Promise.all(Array.from({ length: 8 }, dial))).filter(Boolean), []);
    for (const peer of peers) peer.drop();
  }
  const peers = await fill();
  for (const peer of peers) await peer.close();
});

fanwireTest('[pusher]: batches, channels of a trigger, lengths of names', async () => {
  const status = async (where, body) => (await api(server, 'POST', where, { body })).status;
  const event = { name: 'e', data: '1', channel: 'c' };
  assert.equal(await status('/batch_events', { batch: Array(20).fill(event) }), 200);
  assert.equal(await status('/batch_events', { batch: Array(21).fill(event) }), 400);
  assert.equal(await status('/events', { ...event, channel: undefined, channels: ['a', 'b', 'c'] }), 200);
  assert.equal(await status('/events', { ...event, channel: undefined, channels: ['a', 'b', 'c', 'd'] }), 400);
  assert.equal(await status('/events', { ...event, name: 'n'.repeat(20) }), 200);
  assert.equal(await status('/events', { ...event, name: 'n'.repeat(21) }), 400);
  assert.equal(await status('/events', { ...event, channel: 'n'.repeat(50) }), 200);
  assert.equal(await status('/events', { ...event, channel: 'n'.repeat(51) }), 400);
});

fanwireTest('pusher.enabled = false: neither sockets nor the API, the rest of the node is there', () =>
  withPusher({ pusher: { enabled: false } }, async (off) => {
    await assert.rejects(Peer.open(off));
    assert.equal((await api(off, 'GET', '/channels')).status, 404);
    await off.publish(channel(), 'x');
  }));

fanwireTest('history: a poll that comes late gets what was published with Pusher meanwhile', () =>
  withPusher({ apps: [{ ...APP, history_messages: 3 }] }, async (node) => {
    const name = channel();
    const held = await Peer.open(node);
    await held.subscribe(name);
    for (let i = 0; i < 5; i += 1) await trigger(node, name, 'e', `${i}`);
    const kept = [];
    let headers = {};
    for (let i = 0; i < 3; i += 1) {
      const answer = await node.request('GET', `/sub/${name}`, { headers });
      kept.push(answer.text);
      headers = { 'If-Modified-Since': answer.header('Last-Modified'), 'If-None-Match': answer.header('Etag') };
    }
    assert.deepEqual(kept, ['2', '3', '4']);
  }));

fanwireTest('mistakes in [[app]] and [pusher] are told with their place', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-test-'));
  atEnd(() => fs.rmSync(dir, { recursive: true, force: true }));
  for (const [text, words] of [
    ['[[app]]\nid = "a"\nkey = "k"\nsecret = "s"\nmax_conections = 1\n', /:5:1: unknown key `max_conections`.*max_connections/],
    ['[pusher]\nactivity_timeout = "0s"\n', /:2:\d+: .*activity_timeout/],
    ['[[app]]\nid = "a"\nkey = "k"\n', /secret/],
    ['[[app]]\nid = "a"\nkey = "k"\nsecret = "s"\n[[app]]\nid = "b"\nkey = "k"\nsecret = "s"\n', /same id or key/],
  ]) {
    const file = path.join(dir, 'fanwire.toml');
    fs.writeFileSync(file, text);
    const { code, output } = await runToEnd(['check', '--config', file]);
    assert.notEqual(code, 0);
    assert.match(output, words);
  }
});

fanwireTest('pusher-js and an app over its quota: it stays away, others are not touched', async () => {
  const held = await fill();
  const pusher = client(server, { app: QUOTA });
  await eventually(() => pusher.connection.state === 'disconnected', 'the end');
  assert.equal(pusher.errors[0].error.data.code, 4004);
  const other = await connected(client(server));
  other.disconnect();
  for (const peer of held) peer.drop();
});
