// What the HTTP API tells of channels and users (pusher.md, section 11).
import assert from 'node:assert/strict';
import { APP, api, channelInfo, fanwireTest, pusherTest, subscriptions, trigger, usePusher, usersOf, withPusher } from '../support/pusher.mjs';
import { channel } from '../support/server.mjs';
import { Peer } from './pusher_env.mjs';

const server = usePusher();
const user = (id) => ({ user: { user_id: id, user_info: {} } });

async function channels(query, where = server) {
  const answer = await api(where, 'GET', '/channels', { query });
  assert.equal(answer.status, 200, answer.text);
  return answer.json.channels;
}

async function refused(where, query, status = 400) {
  const answer = await api(server, 'GET', where, { query });
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.text, /./);
}

pusherTest('channels: those that are occupied, each with {}', async () => {
  const [one, two, left] = [channel(), channel('private-l'), channel('left')];
  const peer = await Peer.open(server);
  for (const name of [one, two, left]) await peer.subscribe(name);
  peer.send('pusher:unsubscribe', { channel: left });
  await subscriptions(server, left, 0);
  await trigger(server, channel('nobody'), 'e');
  const all = await channels();
  assert.deepEqual([all[one], all[two], all[left]], [{}, {}, undefined]);
  peer.drop();
  await subscriptions(server, one, 0);
  assert.equal((await channels())[one], undefined);
});

fanwireTest('trap 20: with no channel at all the answer is {"channels":{}}', () =>
  withPusher({}, async (empty) => {
    const answer = await api(empty, 'GET', '/channels');
    assert.deepEqual([answer.status, answer.text, answer.header('Content-Type')], [200, '{"channels":{}}', 'application/json']);
    await trigger(empty, channel(), 'e');
    assert.equal((await api(empty, 'GET', '/channels')).text, '{"channels":{}}');
  }));

pusherTest('channels: filter_by_prefix', async () => {
  const hint = channel('pre');
  const peer = await Peer.open(server);
  for (const name of [`${hint}-a`, `${hint}-b`, `x-${hint}-c`, `private-${hint}-d`]) await peer.subscribe(name);
  assert.deepEqual(Object.keys(await channels({ filter_by_prefix: hint })).sort(), [`${hint}-a`, `${hint}-b`]);
  assert.deepEqual(Object.keys(await channels({ filter_by_prefix: `private-${hint}` })), [`private-${hint}-d`]);
  assert.deepEqual(await channels({ filter_by_prefix: `none-${hint}` }), {});
});

pusherTest('channels: user_count needs presence- in front, subscription_count does not', async () => {
  const hint = channel('presence-count');
  const peers = [await Peer.open(server), await Peer.open(server), await Peer.open(server)];
  for (const [at, peer] of peers.entries()) await peer.subscribe(hint, user(at < 2 ? 'same' : 'other'));
  const found = await channels({ filter_by_prefix: hint, info: 'user_count' });
  assert.deepEqual(found, { [hint]: { user_count: 2 } });
  assert.deepEqual((await channels({ filter_by_prefix: 'presence-', info: 'user_count' }))[hint], { user_count: 2 });
  assert.deepEqual((await channels({ info: 'subscription_count' }))[hint], { subscription_count: 3 });
  assert.deepEqual((await channels({ filter_by_prefix: hint, info: 'subscription_count,user_count' }))[hint], { user_count: 2, subscription_count: 3 });
  await refused('/channels', { info: 'user_count' });
  await refused('/channels', { filter_by_prefix: 'private-', info: 'user_count' });
});

fanwireTest('channels: cache and unknown attributes: 400', async () => {
  await refused('/channels', { info: 'cache' });
  await refused('/channels', { info: 'secrets' });
});

pusherTest('channel: occupied always, a never-seen one is 200 and false', async () => {
  const name = channel();
  const answer = await api(server, 'GET', `/channels/${name}`);
  assert.equal(answer.status, 200);
  assert.equal(answer.json.occupied, false);
  const peer = await Peer.open(server);
  await peer.subscribe(name);
  assert.equal((await channelInfo(server, name)).occupied, true);
  peer.drop();
  await subscriptions(server, name, 0);
});

fanwireTest('channel: exactly what is asked for', async () => {
  const [plain, room, cached] = [channel(), channel('presence-x'), channel('presence-cache-x')];
  const peer = await Peer.open(server);
  for (const name of [plain, room, cached]) await peer.subscribe(name, user('u'));
  assert.deepEqual(await channelInfo(server, plain), { occupied: true });
  assert.deepEqual(await channelInfo(server, plain, 'subscription_count'), { occupied: true, subscription_count: 1 });
  assert.deepEqual(await channelInfo(server, room, 'user_count'), { occupied: true, user_count: 1 });
  assert.deepEqual(await channelInfo(server, room, 'user_count,subscription_count'), { occupied: true, user_count: 1, subscription_count: 1 });
  assert.deepEqual(await channelInfo(server, cached, 'user_count,subscription_count,cache'), { occupied: true, user_count: 1, subscription_count: 1, cache: null });
  const empty = channel('presence-none');
  assert.deepEqual(await channelInfo(server, empty, 'user_count,subscription_count'), { occupied: false, user_count: 0, subscription_count: 0 });
});

fanwireTest('channel: attributes that its kind does not have: 400', async () => {
  await refused(`/channels/${channel()}`, { info: 'user_count' });
  await refused(`/channels/${channel('private-x')}`, { info: 'subscription_count,user_count' });
  await refused(`/channels/${channel()}`, { info: 'cache' });
  await refused(`/channels/${channel('presence-x')}`, { info: 'cache' });
  await refused(`/channels/${channel()}`, { info: 'secrets' });
});

fanwireTest('channel: bad names: 400 or 404', async () => {
  for (const name of ['a%20b', 'a:b', 'x'.repeat(201), '%ff', '%00']) {
    const answer = await api(server, 'GET', `/channels/${name}`);
    assert.ok([400, 404].includes(answer.status), `${name}: ${answer.status}`);
  }
});

fanwireTest('channel: asking makes no channel and occupies none', async () => {
  const name = channel('private-asked');
  for (let i = 0; i < 3; i += 1) assert.deepEqual(await channelInfo(server, name, 'subscription_count'), { occupied: false, subscription_count: 0 });
  assert.equal((await channels())[name], undefined);
});

pusherTest('users: each once, ids as strings', async () => {
  const name = channel('presence-u');
  const peers = [await Peer.open(server), await Peer.open(server), await Peer.open(server)];
  await peers[0].subscribe(name, user('b'));
  await peers[1].subscribe(name, user('b'));
  await peers[2].subscribe(name, user('17'));
  assert.deepEqual(await usersOf(server, name), ['17', 'b']);
  const answer = await api(server, 'GET', `/channels/${name}/users`);
  assert.deepEqual(Object.keys(answer.json), ['users']);
  assert.ok(answer.json.users.every((one) => typeof one.id === 'string'));
});

pusherTest('users: of an empty presence channel none, of other kinds 400', async () => {
  assert.deepEqual(await usersOf(server, channel('presence-none')), []);
  for (const name of [channel(), channel('private-x'), channel('cache-x')]) await refused(`/channels/${name}/users`);
});

fanwireTest('stats: the deprecated name of channel', async () => {
  const name = channel();
  const peer = await Peer.open(server);
  await peer.subscribe(name);
  const answer = await api(server, 'GET', `/channels/${name}/stats`);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.occupied, true);
});

for (const shards of [1, 3]) {
  fanwireTest(`counts are right over all shards (${shards} shard${shards > 1 ? 's' : ''})`, () =>
    withPusher({ shards }, async (node) => {
      const hint = channel('presence-shards');
      const names = Array.from({ length: 12 }, (_, i) => `${hint}-${i}`);
      const peers = await Promise.all(Array.from({ length: 9 }, () => Peer.open(node)));
      await Promise.all(peers.flatMap((peer, at) => names.map((name) => peer.subscribe(name, user(`u${at % 4}`)))));
      const found = await channels({ filter_by_prefix: hint, info: 'user_count,subscription_count' }, node);
      assert.deepEqual(Object.keys(found).sort(), [...names].sort());
      for (const name of names) assert.deepEqual(found[name], { user_count: 4, subscription_count: 9 });
      const told = await trigger(node, names, 'e', '1', { info: 'user_count' });
      assert.equal(Object.values(told.channels).every((one) => one.user_count === 4), true);
      for (const peer of peers.slice(3)) peer.drop();
      for (const name of names) await subscriptions(node, name, 3);
      assert.deepEqual(await usersOf(node, names[0], APP), ['u0', 'u1', 'u2']);
    }));
}
