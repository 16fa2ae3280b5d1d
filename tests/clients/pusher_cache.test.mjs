// Cache channels, encrypted channels and subscription_count (pusher.md, section 10).
import assert from 'node:assert/strict';
import nacl from 'tweetnacl';
import { APP, api, channelInfo, fanwireTest, pusherTest, subscriptions, trigger, usePusher, withPusher } from '../support/pusher.mjs';
import { channel, eventually } from '../support/server.mjs';
import { BackEnd, Peer, backEnd, client, connected, filled, once, record, subscribed } from './pusher_env.mjs';

const server = usePusher();
const USER = { user_id: 'u', user_info: {} };
const SUCCESS = 'pusher_internal:subscription_succeeded';
const MISS = 'pusher:cache_miss';
const KINDS = ['cache-', 'private-cache-', 'presence-cache-', 'private-encrypted-cache-'];

async function arrivals(name, count) {
  const peer = await Peer.open(server);
  peer.send('pusher:subscribe', peer.subscription(name, { user: USER }));
  const frames = [];
  for (let i = 0; i < count; i += 1) frames.push(await peer.next());
  return { peer, frames };
}

for (const prefix of KINDS) {
  fanwireTest(`trap 11: ${prefix}: success first, then the miss or the last event, and nothing else`, async () => {
    const name = channel(`${prefix}t`);
    const { peer: first, frames: missed } = await arrivals(name, 2);
    assert.deepEqual(missed.map((f) => [f.event, f.channel]), [[SUCCESS, name], [MISS, name]]);
    assert.equal(missed[1].data, '{}');
    await trigger(server, name, 'one', '1');
    await trigger(server, name, 'two', '{"n":2}');
    await first.event('two', name);
    const { peer: second, frames: kept } = await arrivals(name, 2);
    assert.deepEqual(kept.map((f) => [f.event, f.channel]), [[SUCCESS, name], ['two', name]]);
    assert.equal(kept[1].data, '{"n":2}');
    await second.ping();
    assert.deepEqual(second.drain(), []);
  });
}

pusherTest('the last event is kept when nobody is there, and when everybody has left', async () => {
  const name = channel('cache-empty');
  await trigger(server, name, 'early', '1');
  const { peer, frames } = await arrivals(name, 2);
  assert.equal(frames[1].event, 'early');
  peer.drop();
  await subscriptions(server, name, 0);
  assert.equal((await arrivals(name, 2)).frames[1].event, 'early');
});

pusherTest('an event that excludes a socket is kept; that socket gets it when it comes again', async () => {
  const name = channel('cache-except');
  const { peer } = await arrivals(name, 2);
  await trigger(server, name, 'own', '1', { socket_id: peer.id });
  assert.deepEqual(await peer.before(server, name), []);
  await trigger(server, name, 'own', '2', { socket_id: peer.id });
  assert.equal((await arrivals(name, 2)).frames[1].data, '2');
});

fanwireTest('members who come and go, and client events, leave it as it is', async () => {
  const name = channel('presence-cache-members');
  const { peer } = await arrivals(name, 2);
  const other = await Peer.open(server);
  await other.subscribe(name, { user: { user_id: 'other' } });
  await peer.event('pusher_internal:member_added');
  peer.send('client-e', {}, name);
  await other.event('client-e');
  assert.deepEqual((await arrivals(name, 2)).frames.map((f) => f.event), [SUCCESS, MISS]);
});

pusherTest('channels of other kinds keep nothing', async () => {
  for (const name of [channel(), channel('private-t'), channel('presence-t'), channel('private-encrypted-t')]) {
    await trigger(server, name, 'e', '1');
    const { peer } = await arrivals(name, 1);
    await peer.ping();
    assert.deepEqual(peer.drain(), []);
  }
});

fanwireTest('the API tells what is kept: data, and seconds that are left', async () => {
  const name = channel('cache-info');
  assert.deepEqual(await channelInfo(server, name, 'cache'), { occupied: false, cache: null });
  await trigger(server, name, 'e', '{"n":1}');
  const { occupied, cache } = await channelInfo(server, name, 'cache');
  assert.equal(occupied, false);
  assert.equal(cache.data, '{"n":1}');
  assert.ok(Number.isInteger(cache.ttl) && cache.ttl > 1700 && cache.ttl <= 1800, `${cache.ttl}`);
});

fanwireTest('what is kept is forgotten after its time', () =>
  withPusher({ apps: [{ ...APP, cache: '1s' }] }, async (node) => {
    const name = channel('cache-short');
    await trigger(node, name, 'e', '1');
    const soon = await Peer.open(node);
    soon.send('pusher:subscribe', soon.subscription(name));
    assert.deepEqual([(await soon.next()).event, (await soon.next()).event], [SUCCESS, 'e']);
    await eventually(async () => (await channelInfo(node, name, 'cache')).cache === null, 'its end');
    const late = await Peer.open(node);
    late.send('pusher:subscribe', late.subscription(name));
    assert.deepEqual([(await late.next()).event, (await late.next()).event], [SUCCESS, MISS]);
  }));

pusherTest('pusher-js: cache_miss, then the event; one that comes later gets it after the success', async () => {
  const name = channel('private-cache-js');
  const [one, two] = await Promise.all([connected(client(server)), connected(client(server))]);
  const missed = once(one.subscribe(name), 'pusher:cache_miss');
  await missed;
  await trigger(server, name, 'e', { n: 1 });
  const heard = record(two.subscribe(name));
  assert.deepEqual(await filled(heard, 1, 'events'), [['e', { n: 1 }]]);
  assert.equal(two.channel(name).subscribed, true);
  for (const pusher of [one, two]) pusher.disconnect();
});

const masterKey = Buffer.alloc(32, 7);
const encrypting = (key = masterKey) => backEnd(server, { encryptionMasterKeyBase64: key.toString('base64') });

pusherTest('encrypted: what the npm library encrypts pusher-js decrypts, the node sees neither', async () => {
  const name = channel('private-encrypted-x');
  const sdk = encrypting();
  const pusher = await connected(client(server, { sdk }));
  const plain = await Peer.open(server);
  await plain.subscribe(name);
  const heard = record(await subscribed(pusher, name));
  await sdk.trigger(name, 'secret', { words: 'ü🌊' });
  assert.deepEqual(await filled(heard, 1, 'events'), [['secret', { words: 'ü🌊' }]]);
  const frame = await plain.event('secret', name);
  assert.equal(typeof frame.data, 'string');
  assert.deepEqual(Object.keys(frame.value).sort(), ['ciphertext', 'nonce']);
  const key = new Uint8Array(sdk.channelSharedSecret(name));
  const open = nacl.secretbox.open(Buffer.from(frame.value.ciphertext, 'base64'), Buffer.from(frame.value.nonce, 'base64'), key);
  assert.deepEqual(JSON.parse(Buffer.from(open).toString()), { words: 'ü🌊' });
  assert.throws(() => pusher.channel(name).trigger('client-e', {}), /[Cc]lient events/);
  pusher.disconnect();
});

pusherTest('encrypted: with a changed master key pusher-js asks for the new one', async () => {
  const name = channel('private-encrypted-rotate');
  let sdk = encrypting();
  const asked = [];
  const pusher = await connected(
    client(server, {
      channelAuthorization: {
        customHandler: ({ socketId, channelName }, answer) => {
          asked.push(channelName);
          answer(null, sdk.authorizeChannel(socketId, channelName));
        },
      },
    }),
  );
  const heard = record(await subscribed(pusher, name));
  sdk = encrypting(Buffer.alloc(32, 9));
  await sdk.trigger(name, 'secret', { n: 1 });
  assert.deepEqual(await filled(heard, 1, 'events'), [['secret', { n: 1 }]]);
  assert.equal(asked.length, 2);
  pusher.disconnect();
});

pusherTest('encrypted: in batches, and kept on encrypted cache channels', async () => {
  const name = channel('private-encrypted-cache-x');
  const sdk = encrypting();
  await sdk.triggerBatch([{ name: 'secret', channel: name, data: { n: 1 } }]);
  const pusher = await connected(client(server, { sdk }));
  const heard = record(pusher.subscribe(name));
  assert.deepEqual(await filled(heard, 1, 'events'), [['secret', { n: 1 }]]);
  pusher.disconnect();
});

pusherTest('encrypted: the npm library sends to one channel at a time', () => {
  const sdk = new BackEnd({ appId: '1', key: 'k', secret: 's', encryptionMasterKeyBase64: masterKey.toString('base64') });
  assert.throws(() => sdk.trigger(['private-encrypted-a', 'b'], 'e', {}), /multiple channels/);
});

const COUNT = 'pusher_internal:subscription_count';
const counting = usePusher({ apps: [{ ...APP, subscription_count: true }] });

fanwireTest('subscription_count: to all subscribers when somebody comes or goes, in a string', async () => {
  for (const name of [channel(), channel('private-n'), channel('cache-n')]) {
    const one = await Peer.open(counting);
    await one.subscribe(name);
    const first = await one.event(COUNT, name);
    assert.equal(typeof first.data, 'string');
    assert.deepEqual(first.value, { subscription_count: 1 });
    const two = await Peer.open(counting);
    await two.subscribe(name);
    for (const peer of [one, two]) assert.deepEqual((await peer.event(COUNT, name)).value, { subscription_count: 2 });
    two.drop();
    assert.deepEqual((await one.event(COUNT, name)).value, { subscription_count: 1 });
    const three = await Peer.open(counting);
    await three.subscribe(name);
    await one.event(COUNT, name);
    three.send('pusher:unsubscribe', { channel: name });
    assert.deepEqual((await one.event(COUNT, name)).value, { subscription_count: 1 });
  }
});

fanwireTest('subscription_count: not on presence channels, not kept on cache channels', async () => {
  const [present, cached] = [channel('presence-n'), channel('cache-n')];
  const one = await Peer.open(counting);
  await one.subscribe(present, { user: USER });
  await one.ping();
  assert.deepEqual(one.drain(), []);
  await one.subscribe(cached);
  await one.event(MISS, cached);
  const two = await Peer.open(counting);
  await two.subscribe(cached);
  await two.event(MISS, cached);
});

fanwireTest('subscription_count: pusher-js keeps it on the channel', async () => {
  const name = channel();
  const pusher = await connected(client(counting));
  const joined = await subscribed(pusher, name);
  const other = await Peer.open(counting);
  await other.subscribe(name);
  await eventually(() => joined.subscriptionCount === 2, 'two');
  other.drop();
  await eventually(() => joined.subscriptionCount === 1, 'one');
  pusher.disconnect();
});

fanwireTest('subscription_count: over 100 subscribers it is not said at every change, and is right in the end', async () => {
  const name = channel();
  const peers = await Promise.all(Array.from({ length: 150 }, () => Peer.open(counting)));
  await Promise.all(peers.map((peer) => peer.subscribe(name)));
  const watcher = peers[0];
  const said = [];
  await eventually(() => {
    for (const frame of watcher.drain()) if (frame.event === COUNT) said.push(frame.value.subscription_count);
    return said.at(-1) === 150;
  }, 'the last count');
  assert.ok(said.filter((count) => count > 100).length <= 4, `${said}`);
});

fanwireTest('subscription_count is off unless an app has it on', async () => {
  const name = channel();
  const { peer } = await arrivals(name, 1);
  await arrivals(name, 1);
  await subscriptions(server, name, 2);
  await peer.ping();
  assert.deepEqual(peer.drain(), []);
  const answer = await api(server, 'GET', `/channels/${name}`, { query: { info: 'subscription_count' } });
  assert.equal(answer.json.subscription_count, 2, 'the API tells it all the same');
});
