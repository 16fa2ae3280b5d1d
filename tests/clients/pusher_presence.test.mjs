// Who is in a presence channel (pusher.md, section 7).
import assert from 'node:assert/strict';
import { api, channelAuth, channelInfo, fanwireTest, pusherTest, subscriptions, trigger, usePusher, usersAre, usersOf } from '../support/pusher.mjs';
import { channel } from '../support/server.mjs';
import { Peer, client, connected, once, subscribed } from './pusher_env.mjs';

const server = usePusher();
const user = (id, info = { name: id }) => ({ user_id: id, user_info: info });
const ADDED = 'pusher_internal:member_added';
const REMOVED = 'pusher_internal:member_removed';

async function joined(name, id, info) {
  const peer = await Peer.open(server);
  peer.success = await peer.subscribe(name, { user: user(id, info) });
  return peer;
}

pusherTest('trap 1: the success lists ids, hash and count, in a string', async () => {
  const name = channel('presence-list');
  const one = await joined(name, 'u1', { name: 'A' });
  assert.equal(typeof one.success.data, 'string');
  assert.deepEqual(one.success.value, { presence: { ids: ['u1'], hash: { u1: { name: 'A' } }, count: 1 } });
  const two = await joined(name, 'u2', { n: [2] });
  const { ids, hash, count } = two.success.value.presence;
  assert.deepEqual([[...ids].sort(), hash, count], [['u1', 'u2'], { u1: { name: 'A' }, u2: { n: [2] } }, 2]);
});

pusherTest('member_added goes to the others, its data in a string', async () => {
  const name = channel('presence-add');
  const one = await joined(name, 'u1');
  const two = await joined(name, 'u2', { n: 2 });
  const added = await one.event(ADDED, name);
  assert.equal(typeof added.data, 'string');
  assert.deepEqual(added.value, { user_id: 'u2', user_info: { n: 2 } });
  assert.equal(added.user_id, undefined);
  assert.deepEqual(await two.before(server, name), [], 'not to itself');
});

pusherTest('member_removed goes to the others when the user leaves, closes or vanishes', async () => {
  const name = channel('presence-remove');
  const one = await joined(name, 'u1');
  for (const [id, go] of [['a', (p) => p.send('pusher:unsubscribe', { channel: name })], ['b', (p) => p.close()], ['c', (p) => p.drop()]]) {
    const two = await joined(name, id);
    await one.event(ADDED, name);
    await go(two);
    const removed = await one.event(REMOVED, name);
    assert.equal(typeof removed.data, 'string');
    assert.deepEqual(removed.value, { user_id: id });
    await usersAre(server, name, ['u1']);
  }
});

pusherTest('a user with several sockets is announced once and removed with the last', async () => {
  const name = channel('presence-twice');
  const watcher = await joined(name, 'w');
  const first = await joined(name, 'u');
  await watcher.event(ADDED, name);
  const second = await joined(name, 'u', { name: 'other' });
  assert.deepEqual([...second.success.value.presence.ids].sort(), ['u', 'w']);
  assert.equal(second.success.value.presence.count, 2);
  assert.deepEqual(await watcher.before(server, name), []);
  assert.deepEqual(await first.before(server, name), []);
  first.drop();
  await subscriptions(server, name, 2);
  assert.deepEqual(await watcher.before(server, name), [], 'the user is still there');
  assert.deepEqual(await usersOf(server, name), ['u', 'w']);
  second.drop();
  assert.deepEqual((await watcher.event(REMOVED, name)).value, { user_id: 'u' });
  await usersAre(server, name, ['w']);
});

pusherTest('events of one channel say nothing in another', async () => {
  const [here, there] = [channel('presence-here'), channel('presence-there')];
  const one = await joined(here, 'u1');
  const two = await joined(there, 'u2');
  await two.subscribe(here, { user: user('u2') });
  assert.equal((await one.event(ADDED)).channel, here);
  two.drop();
  assert.equal((await one.event(REMOVED)).channel, here);
  assert.deepEqual(await one.before(server, here), []);
});

fanwireTest('trap 16: the user 1 and the user "1" are one', async () => {
  const name = channel('presence-number');
  const watcher = await joined(name, 'w');
  const number = await Peer.open(server);
  const success = await number.subscribe(name, { channelData: '{"user_id":1,"user_info":{"as":"number"}}' });
  assert.deepEqual([...success.value.presence.ids].sort(), ['1', 'w']);
  assert.deepEqual((await watcher.event(ADDED, name)).value.user_id, '1');
  const text = await joined(name, '1');
  assert.equal(text.success.value.presence.count, 2);
  number.drop();
  await subscriptions(server, name, 2);
  text.drop();
  assert.deepEqual((await watcher.event(REMOVED, name)).value, { user_id: '1' });
  assert.deepEqual(await watcher.before(server, name), []);
});

pusherTest('without user_info pusher-js sees nothing wrong', async () => {
  const name = channel('presence-bare');
  const pusher = await connected(client(server, { user: { user_id: 'me' } }));
  const room = await subscribed(pusher, name);
  assert.equal(room.members.count, 1);
  assert.equal(room.members.me.id, 'me');
  const added = once(room, 'pusher:member_added');
  const other = await Peer.open(server);
  await other.subscribe(name, { user: { user_id: 'bare' } });
  assert.equal((await added).id, 'bare');
  assert.deepEqual(pusher.errors, []);
  pusher.disconnect();
});

pusherTest('pusher-js: members, me, count, get, each, member_added and member_removed', async () => {
  const name = channel('presence-js');
  const pushers = await Promise.all(['a', 'b', 'c'].map((id) => connected(client(server, { user: user(id, { n: id }) }))));
  const rooms = [];
  for (const [at, pusher] of pushers.entries()) {
    const told = rooms.map((room) => once(room, 'pusher:member_added'));
    rooms.push(await subscribed(pusher, name));
    for (const member of await Promise.all(told)) assert.deepEqual(member, { id: 'abc'[at], info: { n: 'abc'[at] } });
  }
  for (const [at, room] of rooms.entries()) {
    assert.equal(room.members.count, 3);
    assert.deepEqual(room.members.me, { id: 'abc'[at], info: { n: 'abc'[at] } });
    const seen = [];
    room.members.each((member) => seen.push(member.id));
    assert.deepEqual(seen.sort(), ['a', 'b', 'c']);
    assert.deepEqual(room.members.get('b'), { id: 'b', info: { n: 'b' } });
  }
  const told = rooms.slice(1).map((room) => once(room, 'pusher:member_removed'));
  pushers[0].unsubscribe(name);
  for (const member of await Promise.all(told)) assert.equal(member.id, 'a');
  assert.deepEqual(rooms.slice(1).map((room) => room.members.count), [2, 2]);
  for (const pusher of pushers) pusher.disconnect();
});

fanwireTest('a signed-in socket joins without channel_data, as who it is signed in', async () => {
  const name = channel('presence-signed');
  const watcher = await joined(name, 'w');
  const peer = await Peer.open(server);
  await peer.signin({ id: 'me', user_info: { nice: true } });
  peer.send('pusher:subscribe', { auth: channelAuth(peer.id, name), channel: name });
  const success = await peer.event('pusher_internal:subscription_succeeded', name);
  assert.deepEqual(success.value.presence.hash.me, { nice: true });
  assert.deepEqual((await watcher.event(ADDED, name)).value, { user_id: 'me', user_info: { nice: true } });
  const stranger = await Peer.open(server);
  stranger.send('pusher:subscribe', { auth: channelAuth(stranger.id, name), channel: name });
  await stranger.take((f) => /error/.test(f.event), 'a refusal');
});

pusherTest('user ids and infos that are hard to write', async () => {
  const name = channel('presence-odd');
  const ids = ['__proto__', 'constructor', 'a"b\\c', 'zé🌊', ' ', '0', '-1', 'null', 'x'.repeat(128), '\u2028'];
  const watcher = await joined(name, 'w');
  const peers = [];
  for (const id of ids) {
    peers.push(await joined(name, id, { text: `"${id}"`, deep: [[[{ a: null }]]] }));
    const { value } = await watcher.event(ADDED, name);
    assert.deepEqual([value.user_id, value.user_info.text], [id, `"${id}"`]);
  }
  await usersAre(server, name, ['w', ...ids]);
  assert.deepEqual([...peers.at(-1).success.value.presence.ids].sort(), ['w', ...ids].sort());
  for (const peer of peers) peer.drop();
  const gone = [];
  for (let i = 0; i < ids.length; i += 1) gone.push((await watcher.event(REMOVED, name)).value.user_id);
  assert.deepEqual(gone.sort(), [...ids].sort());
});

fanwireTest('limits: a user id of 128 characters, an info of 1 kB, a hundred members; each refusal is an event', async () => {
  const name = channel('presence-limit');
  const refused = async (channelData, where = name) => {
    const peer = await Peer.open(server);
    peer.send('pusher:subscribe', { auth: channelAuth(peer.id, where, channelData), channel: where, channel_data: channelData });
    const { value } = await peer.event('pusher:subscription_error', where);
    await peer.ping();
    peer.drop();
    return value.status;
  };
  assert.equal(await refused(JSON.stringify({ user_id: 'x'.repeat(129) })), 4301);
  assert.equal(await refused(JSON.stringify({ user_id: 'u', user_info: 'x'.repeat(1023) })), 4301);
  await joined(name, 'fits', 'x'.repeat(1022));
  const crowd = channel('presence-crowd');
  const peers = await Promise.all(Array.from({ length: 100 }, (_, i) => joined(crowd, `u${i}`)));
  assert.equal((await channelInfo(server, crowd, 'user_count')).user_count, 100);
  assert.equal(await refused(JSON.stringify(user('one-more')), crowd), 4100);
  await joined(crowd, 'u5');
  peers[7].drop();
  await peers[8].event(REMOVED, crowd);
  const late = await joined(crowd, 'one-more');
  assert.equal(late.success.value.presence.count, 100);
});

pusherTest('a socket that subscribes again changes nobody', async () => {
  const name = channel('presence-again');
  const watcher = await joined(name, 'w');
  const peer = await joined(name, 'u');
  await watcher.event(ADDED, name);
  peer.send('pusher:subscribe', peer.subscription(name, { user: user('u') }));
  await peer.ping();
  assert.deepEqual(await watcher.before(server, name), []);
  await subscriptions(server, name, 2);
  peer.send('pusher:unsubscribe', { channel: name });
  await watcher.event(REMOVED, name);
  await usersAre(server, name, ['w']);
});

pusherTest('leaving and joining again, and what the API tells', async () => {
  const name = channel('presence-api');
  const watcher = await joined(name, 'w');
  for (let i = 0; i < 5; i += 1) {
    const peer = await joined(name, 'u');
    await watcher.event(ADDED, name);
    assert.deepEqual(await channelInfo(server, name, 'user_count,subscription_count'), { occupied: true, user_count: 2, subscription_count: 2 });
    peer.send('pusher:unsubscribe', { channel: name });
    await watcher.event(REMOVED, name);
    peer.drop();
  }
  watcher.drop();
  await subscriptions(server, name, 0);
  const { json } = await api(server, 'GET', `/channels/${name}/users`);
  assert.deepEqual(json, { users: [] });
});

pusherTest('events to a presence channel carry no user', async () => {
  const name = channel('presence-event');
  const peer = await joined(name, 'u');
  await trigger(server, name, 'e', '1');
  assert.equal((await peer.event('e')).user_id, undefined);
});
