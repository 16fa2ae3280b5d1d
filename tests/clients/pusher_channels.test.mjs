// Subscribing, leaving and publishing on channels of every kind (pusher.md, section 5).
import assert from 'node:assert/strict';
import { APP, channelAuth, fanwireTest, pusherTest, subscriptions, trigger, usePusher } from '../support/pusher.mjs';
import { channel, eventually } from '../support/server.mjs';
import { Peer, backEnd, client, connected, filled, once, record, subscribed } from './pusher_env.mjs';

const server = usePusher();
const PREFIXES = ['', 'private-', 'presence-', 'cache-', 'private-cache-', 'presence-cache-', 'private-encrypted-', 'private-encrypted-cache-'];
const USER = { user_id: 'u1', user_info: { name: 'A' } };
const masterKey = Buffer.alloc(32, 7).toString('base64');

for (const prefix of PREFIXES) {
  const kind = prefix || 'public';
  pusherTest(`${kind}: subscribed, gets events, leaves, gets none`, async () => {
    const name = prefix + channel('k');
    const user = /^presence/.test(prefix) ? USER : undefined;
    const peer = await Peer.open(server);
    const success = await peer.subscribe(name, { user: USER });
    assert.equal(typeof success.data, 'string', 'trap 1: the data of the success is a string');
    assert.deepEqual(success.value, user ? { presence: { ids: ['u1'], hash: { u1: USER.user_info }, count: 1 } } : {});
    if (/cache-/.test(prefix)) assert.equal((await peer.event('pusher:cache_miss', name)).channel, name);
    await trigger(server, name, 'e', '{"n":1}');
    const event = await peer.event('e', name);
    assert.deepEqual(Object.keys(JSON.parse(event.text)).sort(), ['channel', 'data', 'event']);
    assert.equal(event.data, '{"n":1}');
    peer.send('pusher:unsubscribe', { channel: name });
    await subscriptions(server, name, 0);
    await trigger(server, name, 'late');
    await peer.ping();
    assert.deepEqual(peer.drain(), []);
  });

  pusherTest(`${kind}: the same with pusher-js`, async () => {
    const name = prefix + channel('k');
    const sdk = backEnd(server, { encryptionMasterKeyBase64: masterKey });
    const pusher = await connected(client(server, { user: USER, sdk }));
    const heard = record(await subscribed(pusher, name));
    await sdk.trigger(name, 'e', { n: 1 });
    assert.deepEqual(await filled(heard, 1, 'events'), [['e', { n: 1 }]]);
    pusher.unsubscribe(name);
    await subscriptions(server, name, 0);
    assert.deepEqual(pusher.errors, []);
    pusher.disconnect();
  });
}

pusherTest('every subscriber gets every event once and in order', async () => {
  const name = channel();
  const peers = await Promise.all(Array.from({ length: 10 }, () => Peer.open(server)));
  await Promise.all(peers.map((peer) => peer.subscribe(name)));
  for (let i = 0; i < 50; i += 1) await trigger(server, name, 'e', `${i}`);
  for (const peer of peers) {
    const got = [];
    for (let i = 0; i < 50; i += 1) got.push((await peer.event('e')).value);
    assert.deepEqual(got, [...Array(50).keys()]);
  }
  await trigger(server, name, 'last');
  for (const peer of peers) assert.equal((await peer.next()).event, 'last');
});

pusherTest('one socket on many channels', async () => {
  const names = Array.from({ length: 200 }, (_, i) => channel(i % 2 ? 'many' : 'private-many'));
  const peer = await Peer.open(server);
  for (const name of names) peer.send('pusher:subscribe', peer.subscription(name));
  for (const name of names) await peer.event('pusher_internal:subscription_succeeded', name);
  await trigger(server, names.slice(0, 100), 'e', '1');
  await trigger(server, names.slice(100), 'e', '1');
  for (const name of names) await peer.event('e', name);
  assert.deepEqual(peer.drain(), []);
  peer.drop();
  await Promise.all(names.slice(0, 20).map((name) => subscriptions(server, name, 0)));
});

pusherTest('trap 11: the success comes before any event, however much is published meanwhile', async () => {
  const name = channel();
  let publishing = true;
  const publisher = (async () => {
    for (let i = 0; publishing; i += 1) await trigger(server, name, 'e', `${i}`);
  })();
  for (let round = 0; round < 20; round += 1) {
    const peer = await Peer.open(server);
    peer.send('pusher:subscribe', peer.subscription(name));
    const frames = [await peer.next(), await peer.next(), await peer.next()];
    assert.deepEqual(frames.map((f) => f.event), ['pusher_internal:subscription_succeeded', 'e', 'e']);
    assert.equal(frames[2].value, frames[1].value + 1, 'none is missing');
    peer.drop();
  }
  publishing = false;
  await publisher;
});

pusherTest('a duplicate subscription: no second delivery', async () => {
  const name = channel();
  const peer = await Peer.open(server);
  await peer.subscribe(name);
  peer.send('pusher:subscribe', peer.subscription(name));
  await trigger(server, name, 'e');
  await peer.event('e');
  await peer.ping();
  assert.deepEqual(peer.drain().filter((f) => f.event === 'e'), []);
  await subscriptions(server, name, 1);
  peer.send('pusher:unsubscribe', { channel: name });
  await subscriptions(server, name, 0);
});

fanwireTest('a duplicate subscription is answered with success again', async () => {
  for (const name of [channel(), channel('private-d'), channel('cache-d'), channel('presence-d')]) {
    const peer = await Peer.open(server);
    const first = await peer.subscribe(name, { user: USER });
    for (let i = 0; i < 3; i += 1) assert.deepEqual((await peer.subscribe(name, { user: USER })).value, first.value);
    peer.send('pusher:unsubscribe', { channel: name });
    await peer.subscribe(name, { user: USER });
    await subscriptions(server, name, 1);
  }
});

pusherTest('subscribing and leaving in one go, many times: the last word counts', async () => {
  const [stays, goes] = [channel('stays'), channel('goes')];
  const peer = await Peer.open(server);
  for (let i = 0; i < 20; i += 1) {
    for (const name of [stays, goes]) {
      peer.send('pusher:subscribe', peer.subscription(name));
      peer.send('pusher:unsubscribe', { channel: name });
    }
  }
  await peer.subscribe(stays);
  await subscriptions(server, stays, 1);
  await subscriptions(server, goes, 0);
  await trigger(server, [stays, goes], 'e');
  await peer.event('e', stays);
  await peer.ping();
  assert.deepEqual(peer.drain().filter((f) => f.event === 'e'), []);
});

pusherTest('pusher-js that leaves while the success is pending', async () => {
  const name = channel();
  const pusher = await connected(client(server));
  pusher.subscribe(name);
  pusher.unsubscribe(name);
  await subscribed(pusher, channel());
  await subscriptions(server, name, 0);
  await subscribed(pusher, name);
  await subscriptions(server, name, 1);
  pusher.disconnect();
});

pusherTest('leaving what was never subscribed is no harm', async () => {
  const peer = await Peer.open(server);
  for (const name of [channel(), channel('presence-none'), 'a b', '', '#server-to-user-x']) peer.send('pusher:unsubscribe', { channel: name });
  await peer.ping();
  for (const frame of peer.drain()) assert.equal(frame.event, 'pusher:error', frame.text);
  await peer.subscribe(channel());
});

pusherTest('a socket that goes leaves all its channels, closed or just gone', async () => {
  for (const go of [(peer) => peer.close(), (peer) => peer.drop()]) {
    const names = [channel(), channel('private-go'), channel('presence-go')];
    const peer = await Peer.open(server);
    for (const name of names) await peer.subscribe(name, { user: USER });
    await go(peer);
    for (const name of names) await subscriptions(server, name, 0);
  }
});

fanwireTest('channel names: what is allowed, and 200 characters', async () => {
  const peer = await Peer.open(server);
  for (const name of ['A', 'a_-=@,.;Z9', '0', '-', 'x'.repeat(200), `private-${'y'.repeat(192)}`, 'Private-x', 'presence', 'private']) {
    await peer.subscribe(name);
  }
  for (const name of ['', 'a b', 'a:b', 'a/b', 'ü', '#a', 'a#', 'a\n', 'a"', 'x'.repeat(201), '#server-to-user-', '*', 'a%20b', '../x', 'constructor{}']) {
    peer.send('pusher:subscribe', { auth: '', channel: name });
    const refused = await peer.take((f) => /error/.test(f.event), `a refusal of ${name}`);
    assert.notEqual(refused.event, 'pusher_internal:subscription_succeeded');
  }
  await peer.ping();
  assert.deepEqual(peer.drain(), []);
});

pusherTest('names that are names of things in languages are just names', async () => {
  const peer = await Peer.open(server);
  for (const name of ['__proto__', 'constructor', 'toString', 'null', 'undefined', 'NaN', '0.1', 'hasOwnProperty', '..', '.', ';', '@']) {
    await peer.subscribe(name);
    await trigger(server, name, 'e', '1');
    await peer.event('e', name);
  }
});

pusherTest('trap 9: prefixes count at the beginning only', async () => {
  const peer = await Peer.open(server);
  for (const name of [channel('my-cache-x'), channel('x-private-y'), channel('x-presence-y'), channel('my-private-cache-')]) {
    const success = await peer.subscribe(name);
    assert.deepEqual(success.value, {}, name);
    await trigger(server, name, 'kept', '1');
    await peer.event('kept', name);
    const late = await Peer.open(server);
    await late.subscribe(name);
    await late.ping();
    assert.deepEqual(late.drain(), [], `${name} keeps nothing`);
  }
});

pusherTest('trap 9: the longest prefix is the kind', async () => {
  const peer = await Peer.open(server);
  const name = channel('private-cache-encrypted-x');
  await peer.subscribe(name);
  await peer.event('pusher:cache_miss', name);
  for (const unsigned of ['private-', 'presence-', 'private-cache-', 'private-encrypted-cache-', 'presence-cache-'].map((prefix) => prefix + channel('k'))) {
    peer.send('pusher:subscribe', { auth: '', channel: unsigned });
    await peer.take((f) => /error/.test(f.event), `a refusal of ${unsigned}`);
  }
});

pusherTest('public channels take any auth, empty as pusher-js sends it, or none', async () => {
  const peer = await Peer.open(server);
  for (const auth of ['', undefined, null, 'x:y', 5, {}]) {
    const name = channel();
    peer.send('pusher:subscribe', { auth, channel: name });
    await peer.event('pusher_internal:subscription_succeeded', name);
  }
});

const BAD_AUTH = [
  ['missing', undefined], ['null', null], ['a number', 5], ['an object', {}], ['an array', [1]], ['empty', ''], ['no colon', 'abc'],
  ['only a key', `${APP.key}:`], ['only a colon', ':'], ['not hex', `${APP.key}:${'z'.repeat(64)}`], ['too short', `${APP.key}:abcd`],
  ['very long', `${APP.key}:${'0'.repeat(5000)}`], ['not ASCII', `${APP.key}:${'é'.repeat(64)}`], ['NUL', `${APP.key}:${'\0'.repeat(64)}`],
];
for (const [what, auth] of BAD_AUTH) {
  pusherTest(`trap 15: auth that is ${what} is an error, the socket stays`, async () => {
    const peer = await Peer.open(server);
    for (const name of [channel('private-b'), channel('presence-b')]) {
      peer.send('pusher:subscribe', { auth, channel: name, channel_data: JSON.stringify(USER) });
      const refused = await peer.take((f) => /error/.test(f.event), 'a refusal');
      assert.ok(['pusher:error', 'pusher:subscription_error'].includes(refused.event));
      await subscriptions(server, name, 0);
      const success = await peer.subscribe(name, { user: USER });
      assert.equal(success.channel, name, 'trap 12: it may try again');
    }
    await peer.ping();
    assert.deepEqual(peer.drain(), []);
  });
}

fanwireTest('section 5: a refused subscription is told to the channel, with type, error and status', async () => {
  const peer = await Peer.open(server);
  const name = channel('private-r');
  const auth = `${APP.key}:${'0'.repeat(64)}`;
  peer.send('pusher:subscribe', { auth, channel: name });
  const refused = await peer.event('pusher:subscription_error', name);
  assert.deepEqual([refused.value.type, refused.value.status], ['AuthError', 401]);
  assert.match(refused.value.error, new RegExp(`Expected HMAC SHA256 hex digest of ${peer.id.replace('.', '\\.')}:${name}, but got ${'0'.repeat(64)}`));
  const wrong = { ...APP, key: 'another' };
  const pusher = await connected(client(server, { sdk: backEnd(server, { app: wrong }) }));
  const told = once(pusher.subscribe(name), 'pusher:subscription_error');
  assert.equal((await told).status, 401);
  assert.equal(pusher.connection.state, 'connected');
  await subscribed(pusher, channel());
  pusher.disconnect();
});

pusherTest('a signature holds for one socket, one channel and one app', async () => {
  const [one, two] = [await Peer.open(server), await Peer.open(server)];
  const [name, other] = [channel('private-s'), channel('private-s')];
  for (const auth of [
    channelAuth(two.id, name),
    channelAuth(one.id, other),
    channelAuth(one.id, name, '{}'),
    channelAuth(one.id, name, undefined, { ...APP, secret: 'x' }),
    channelAuth(one.id, name, undefined, { ...APP, key: 'x' }),
    channelAuth(one.id, name).slice(0, -1),
    `${channelAuth(one.id, name)}0`,
    ` ${channelAuth(one.id, name)}`,
    channelAuth(`${one.id}:`, name),
  ]) {
    one.send('pusher:subscribe', { auth, channel: name });
    await one.take((f) => /error/.test(f.event), `a refusal of ${auth}`);
  }
  await one.subscribe(name);
  await subscriptions(server, name, 1);
});

pusherTest('a private channel lets in neither before nor after somebody else was let in', async () => {
  const name = channel('private-n');
  const [inside, outside] = [await Peer.open(server), await Peer.open(server)];
  await inside.subscribe(name);
  outside.send('pusher:subscribe', { auth: '', channel: name });
  await outside.take((f) => /error/.test(f.event), 'a refusal');
  await trigger(server, name, 'secret');
  await inside.event('secret');
  await outside.ping();
  assert.deepEqual(outside.drain(), []);
});

pusherTest('publishing where nobody is, and to names on all kinds, is fine', async () => {
  await trigger(server, PREFIXES.map((prefix) => prefix + channel('nobody')), 'e', '1');
});

pusherTest('an event of 10 kB arrives whole, also in many channels', async () => {
  const names = [channel(), channel('private-big'), channel('cache-big')];
  const peer = await Peer.open(server);
  for (const name of names) await peer.subscribe(name);
  const data = 'x'.repeat(10_240);
  await trigger(server, names, 'big', data);
  for (const name of names) assert.equal((await peer.event('big', name)).data, data);
});

pusherTest('pusher-js: all_channels, allChannels().length and rejoining by name', async () => {
  const pusher = await connected(client(server));
  const names = [channel(), channel(), channel()];
  for (const name of names) await subscribed(pusher, name);
  pusher.unsubscribe(names[0]);
  await eventually(() => pusher.allChannels().length === 2, 'two channels');
  await subscribed(pusher, names[0]);
  await Promise.all(names.map((name) => subscriptions(server, name, 1)));
  pusher.disconnect();
});
