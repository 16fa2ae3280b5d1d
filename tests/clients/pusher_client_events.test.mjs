// Events from client to client (pusher.md, section 9).
import assert from 'node:assert/strict';
import { APP, fanwireTest, pusherTest, subscriptions, trigger, usePusher, withPusher } from '../support/pusher.mjs';
import { channel } from '../support/server.mjs';
import { Peer, client, connected, filled, record, subscribed } from './pusher_env.mjs';

const server = usePusher();
const user = (id) => ({ user_id: id, user_info: {} });

async function room(name, count = 2, where = server) {
  const peers = await Promise.all(Array.from({ length: count }, () => Peer.open(where)));
  for (const [at, peer] of peers.entries()) await peer.subscribe(name, { user: user(`u${at}`) });
  await subscriptions(where, name, count);
  if (name.startsWith('presence-')) {
    // Those who came first are told of those who came later, in their own time.
    for (const [at, peer] of peers.entries()) {
      for (let later = at + 1; later < count; later += 1) {
        await peer.take((frame) => frame.event === 'pusher_internal:member_added', 'a member');
      }
    }
  }
  for (const peer of peers) peer.drain();
  return peers;
}

/** That nobody has got anything on the channel. */
async function silence(name, peers, where = server) {
  for (const peer of peers) assert.deepEqual((await peer.before(where, name)).filter((f) => f.event.startsWith('client') || f.event.includes('client-')), []);
}

for (const prefix of ['private-', 'presence-', 'private-cache-', 'presence-cache-']) {
  fanwireTest(`${prefix}: a client event goes to all others, not back, with the sender's user only on presence channels`, async () => {
    const name = channel(`${prefix}e`);
    const [sender, ...others] = await room(name, 4);
    sender.send('client-typing', { a: [1] }, name);
    for (const peer of others) {
      const frame = await peer.event('client-typing', name);
      assert.deepEqual(frame.value, { a: [1] });
      assert.equal(frame.user_id, /^presence/.test(prefix) ? 'u0' : undefined);
    }
    await silence(name, [sender]);
  });
}

pusherTest('data is passed on in the type it has', async () => {
  const name = channel('private-types');
  const [sender, other] = await room(name);
  const sent = [{ a: 1 }, 'text', '{"a":1}', '"q"', 7, true, null, [1, [2]], '', { u: 'ü🌊\u2028' }];
  for (const data of sent.slice(0, 9)) sender.send('client-e', data, name);
  for (const data of sent.slice(0, 9)) assert.deepEqual((await other.event('client-e')).data, data);
});

fanwireTest('numbers and spaces of a client event are not written anew', async () => {
  const name = channel('private-bytes');
  const [sender, other] = await room(name);
  const data = '{ "n": 1.50, "big": 12345678901234567890, "e": 1E5 }';
  sender.raw(`{"event":"client-raw","data":${data},"channel":"${name}"}`);
  assert.ok((await other.event('client-raw')).text.includes(data));
});

pusherTest('the user_id comes from the record of the server, never from the frame', async () => {
  const name = channel('presence-forged');
  const [sender, other] = await room(name);
  sender.raw(JSON.stringify({ event: 'client-e', channel: name, data: { user_id: 'forged' }, user_id: 'forged' }));
  const frame = await other.event('client-e');
  assert.equal(frame.user_id, 'u0');
  assert.deepEqual(frame.value, { user_id: 'forged' });
});

const REFUSED = [
  ['a public channel', () => channel('open'), true],
  ['a cache channel', () => channel('cache-open'), true],
  ['an encrypted channel', () => channel('private-encrypted-x'), true],
  ['a private channel without a subscription', () => channel('private-out'), false],
  ['a presence channel without a subscription', () => channel('presence-out'), false],
];
for (const [what, named, joins] of REFUSED) {
  fanwireTest(`${what} takes none: an error 4301, nothing delivered, the socket stays (trap 12)`, async () => {
    const name = named();
    const sender = await Peer.open(server);
    const other = await Peer.open(server);
    await other.subscribe(name, { user: user('other') });
    if (joins) await sender.subscribe(name);
    sender.drain();
    sender.send('client-e', { a: 1 }, name);
    assert.equal((await sender.error()).value.code, 4301);
    await silence(name, [other]);
    await sender.ping();
  });
}

fanwireTest('after leaving, client events are refused', async () => {
  const name = channel('private-left');
  const [sender, other] = await room(name);
  sender.send('pusher:unsubscribe', { channel: name });
  sender.send('client-e', {}, name);
  assert.equal((await sender.error()).value.code, 4301);
  await silence(name, [other]);
});

pusherTest('trap 9: names that do not begin with client-, and names of the protocol, are never passed on', async () => {
  const name = channel('presence-names');
  const [sender, other] = await room(name);
  for (const event of ['my-client-x', 'Client-x', 'client', 'client_x', 'x', '', 'pusher:client-x', 'pusher:error', 'pusher:cache_miss', 'pusher_internal:member_removed', 'pusher_internal:subscription_succeeded', 'pusher:connection_established', 'pusher:signin_success']) {
    sender.send(event, { user_id: 'u1', code: 4001 }, name);
  }
  await sender.ping();
  assert.deepEqual(await other.before(server, name), []);
  for (const frame of sender.drain()) assert.equal(frame.event === 'pusher:error' || frame.event.startsWith('marker-'), true, frame.text);
});

fanwireTest('limits: a name of 200 characters and data of 10 kB pass, more is an error 4301', async () => {
  const name = channel('private-limits');
  const [sender, other] = await room(name);
  const longest = `client-${'x'.repeat(193)}`;
  sender.send(longest, { a: 1 }, name);
  await other.event(longest);
  sender.send('client-big', 'y'.repeat(10_240), name);
  assert.equal((await other.event('client-big')).data.length, 10_240);
  for (const [event, data] of [[`${longest}x`, {}], ['client-big', 'y'.repeat(10_241)], ['client-big', { y: 'y'.repeat(10_240) }]]) {
    sender.send(event, data, name);
    assert.equal((await sender.error()).value.code, 4301);
  }
  await silence(name, [other]);
});

fanwireTest('trap 12: over 10 a second: an error 4301, not delivered, the socket stays and may go on a second later', async () => {
  const name = channel('private-rate');
  const [sender, other] = await room(name);
  for (let i = 0; i < 40; i += 1) sender.send('client-e', { i }, name);
  await sender.ping();
  const errors = sender.drain();
  assert.ok(errors.every((f) => f.event === 'pusher:error' && f.value.code === 4301));
  // 40 in one go fall into two seconds at most.
  assert.ok(errors.length >= 20 && errors.length <= 30, `${errors.length} refused`);
  const got = (await other.before(server, name)).filter((f) => f.event === 'client-e');
  assert.equal(got.length + errors.length, 40);
  assert.deepEqual(got.slice(0, 10).map((f) => f.value.i), [...Array(10).keys()]);
  await new Promise((done) => setTimeout(done, 1100));
  sender.send('client-again', {}, name);
  await other.event('client-again');
});

fanwireTest('an app without client events: 4301 with the words of other servers, nothing delivered', () =>
  withPusher({ apps: [{ ...APP, client_events: false }] }, async (strict) => {
    const name = channel('private-off');
    const [sender, other] = await room(name, 2, strict);
    sender.send('client-e', {}, name);
    const { value } = await sender.error();
    assert.deepEqual([value.code, value.message], [4301, 'The app does not have client messaging enabled.']);
    await silence(name, [other], strict);
    await sender.ping();
  }));

pusherTest('they are not kept on cache channels', async () => {
  const name = channel('private-cache-e');
  const [sender, other] = await room(name);
  sender.send('client-e', { a: 1 }, name);
  await other.event('client-e');
  const late = await Peer.open(server);
  await late.subscribe(name);
  await late.event('pusher:cache_miss', name);
  await trigger(server, name, 'kept', '1');
  sender.send('client-e', { a: 2 }, name);
  await other.event('client-e');
  const later = await Peer.open(server);
  await later.subscribe(name);
  assert.equal((await later.event('kept', name)).data, '1');
});

fanwireTest('they keep their order with what the back end publishes', async () => {
  const name = channel('private-order');
  const [sender, other, third] = await room(name, 3);
  for (let i = 0; i < 8; i += 1) {
    if (i % 2) sender.send('client-e', { i }, name);
    else await trigger(server, name, 'e', { i });
    const event = i % 2 ? 'client-e' : 'e';
    assert.equal((await other.event(event)).value.i, i);
  }
  const order = [];
  for (let i = 0; i < 8; i += 1) order.push((await third.take((f) => f.channel === name, 'an event')).value.i);
  assert.deepEqual(order, [...Array(8).keys()]);
});

pusherTest('pusher-js: trigger on private and presence channels, and what it refuses by itself', async () => {
  const [secret, present] = [channel('private-js'), channel('presence-js')];
  const [one, two] = await Promise.all(['a', 'b'].map((id) => connected(client(server, { user: user(id) }))));
  const heard = [];
  for (const name of [secret, present]) {
    await subscribed(one, name);
    const list = [];
    (await subscribed(two, name)).bind_global((event, data) => event.startsWith('client-') && list.push([event, data]));
    two.channel(name).bind('client-who', (_, metadata) => list.push(metadata));
    heard.push(list);
  }
  assert.equal(one.channel(secret).trigger('client-typing', { n: 1 }), true);
  assert.equal(one.channel(present).trigger('client-who', { n: 2 }), true);
  assert.deepEqual(await filled(heard[0], 1, 'events'), [['client-typing', { n: 1 }]]);
  await filled(heard[1], 2, 'events');
  assert.ok(heard[1].some((entry) => entry.user_id === 'a'), JSON.stringify(heard[1]));
  assert.throws(() => one.channel(secret).trigger('typing', {}), /must start with 'client-'|client-/);
  assert.deepEqual(record(one.channel(secret)), []);
  for (const pusher of [one, two]) pusher.disconnect();
});

pusherTest('pusher-js on a public channel: the server is the one who refuses', async () => {
  const name = channel('open');
  const [one, two] = await Promise.all([connected(client(server)), connected(client(server))]);
  await subscribed(one, name);
  const heard = record(await subscribed(two, name));
  one.channel(name).trigger('client-e', {});
  await filled(one.errors, 1, 'errors');
  assert.equal(one.errors[0].data.code, 4301);
  assert.equal(one.connection.state, 'connected');
  await trigger(server, name, 'e', '1');
  await filled(heard, 1, 'events');
  assert.deepEqual(heard, [['e', 1]]);
  for (const pusher of [one, two]) pusher.disconnect();
});
