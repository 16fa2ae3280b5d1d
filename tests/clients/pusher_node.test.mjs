// The npm library `pusher` as back end, with pusher-js as clients (pusher.md, section 11; trap 24).
import assert from 'node:assert/strict';
import http from 'node:http';
import { APP, fanwireTest, pusherTest, subscriptions, usePusher } from '../support/pusher.mjs';
import { channel, eventually } from '../support/server.mjs';
import { BackEnd, Peer, atEnd, backEnd, client, connected, filled, once, record, subscribed } from './pusher_env.mjs';

const server = usePusher();

/** The failure of a call: status and text. */
const failure = (promise) => promise.then((response) => assert.fail(`status ${response.status}`), (error) => ({ status: error.status, body: error.body }));

pusherTest('trap 24: plain pusher-js and the plain library, from the subscription to the list of users', async () => {
  const sdk = backEnd(server);
  const name = channel('presence-room');
  const pusher = await connected(client(server, { sdk, user: { user_id: 'u1', user_info: { n: 1 } } }));
  const room = pusher.subscribe(name);
  const members = await once(room, 'pusher:subscription_succeeded');
  assert.deepEqual([members.count, members.me], [1, { id: 'u1', info: { n: 1 } }]);
  const got = once(room, 'hello');
  const response = await sdk.trigger(name, 'hello', { a: 1 });
  assert.equal(response.status, 200);
  assert.deepEqual(await got, { a: 1 });
  const users = await (await sdk.get({ path: `/channels/${name}/users` })).json();
  assert.deepEqual(users, { users: [{ id: 'u1' }] });
  const info = await (await sdk.get({ path: `/channels/${name}`, params: { info: 'user_count,subscription_count' } })).json();
  assert.deepEqual(info, { occupied: true, user_count: 1, subscription_count: 1 });
  const list = await (await sdk.get({ path: '/channels', params: { filter_by_prefix: 'presence-', info: 'user_count' } })).json();
  assert.deepEqual(list.channels[name], { user_count: 1 });
  pusher.disconnect();
});

pusherTest('trigger: several channels, objects, text, unicode; excluding a socket', async () => {
  const sdk = backEnd(server);
  const [one, two] = await Promise.all([connected(client(server)), connected(client(server))]);
  const names = [channel(), channel('private-n')];
  const heard = [];
  for (const pusher of [one, two]) for (const name of names) heard.push(record(await subscribed(pusher, name)));
  await sdk.trigger(names, 'first', { text: 'ü🌊"\\' }, { socket_id: one.connection.socket_id });
  await sdk.trigger(names, 'second', 'just text');
  for (const [at, list] of heard.entries()) {
    const expected = [['first', { text: 'ü🌊"\\' }], ['second', 'just text']];
    const wanted = at < 2 ? expected.slice(1) : expected;
    assert.deepEqual(await filled(list, wanted.length, 'events'), wanted);
  }
  for (const pusher of [one, two]) pusher.disconnect();
});

pusherTest('trigger with info', async () => {
  const name = channel();
  const pusher = await connected(client(server));
  await subscribed(pusher, name);
  const response = await backEnd(server).trigger([name], 'e', {}, { info: 'subscription_count' });
  assert.deepEqual(await response.json(), { channels: { [name]: { subscription_count: 1 } } });
  pusher.disconnect();
});

pusherTest('triggerBatch', async () => {
  const names = [channel(), channel()];
  const pusher = await connected(client(server));
  const heard = [];
  for (const name of names) heard.push(record(await subscribed(pusher, name)));
  const response = await backEnd(server).triggerBatch(names.flatMap((name) => [{ channel: name, name: 'a', data: { n: 1 } }, { channel: name, name: 'b', data: '2' }]));
  assert.equal(response.status, 200);
  for (const list of heard) assert.deepEqual(await filled(list, 2, 'events'), [['a', { n: 1 }], ['b', 2]]);
  assert.equal((await failure(backEnd(server).triggerBatch(Array(11).fill({ channel: 'x', name: 'e', data: '' })))).status, 400);
  pusher.disconnect();
});

fanwireTest('trap 2: the library takes the socket ids of the node', async () => {
  for (let i = 0; i < 10; i += 1) {
    const peer = await Peer.open(server);
    backEnd(server).authorizeChannel(peer.id, 'private-x');
    await backEnd(server).trigger('x', 'e', {}, { socket_id: peer.id });
    peer.drop();
  }
});

pusherTest('failures: status and text reach the caller', async () => {
  const name = channel();
  const wrong = await failure(backEnd(server, { app: { ...APP, secret: 'wrong' } }).trigger(name, 'e', {}));
  assert.equal(wrong.status, 401);
  assert.match(wrong.body, /signature/i);
  assert.equal((await failure(backEnd(server, { app: { ...APP, key: 'nobody' } }).trigger(name, 'e', {}))).status, 401);
  assert.equal((await failure(backEnd(server, { app: { ...APP, id: 'nobody' } }).trigger(name, 'e', {}))).status, 404);
  assert.equal((await failure(backEnd(server).get({ path: `/channels/${name}/users` }))).status, 400);
  assert.equal((await failure(backEnd(server).get({ path: '/nothing' }))).status, 404);
});

fanwireTest('too much data: 413 with the words of the hosted service', async () => {
  const { status, body } = await failure(backEnd(server).trigger(channel(), 'e', 'x'.repeat(10_241)));
  assert.equal(status, 413);
  assert.match(body, /^The data content of this event exceeds the allowed maximum \(10240 bytes\)\./);
});

pusherTest('sendToUser and terminateUserConnections', async () => {
  const id = channel('u');
  const pusher = await connected(client(server, { me: { id } }));
  const got = once(pusher.user, 'hello');
  pusher.signin();
  await pusher.user.signinDonePromise;
  await eventually(() => pusher.user.serverToUserChannel?.subscribed, 'its channel');
  await backEnd(server).sendToUser(id, 'hello', { n: 1 });
  assert.deepEqual(await got, { n: 1 });
  await backEnd(server).terminateUserConnections(id);
  await eventually(() => pusher.connection.state === 'disconnected', 'the end');
});

pusherTest('one connection for many calls', async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  atEnd(() => agent.destroy());
  const sdk = backEnd(server, { agent });
  const name = channel();
  const pusher = await connected(client(server));
  const heard = record(await subscribed(pusher, name));
  for (let i = 0; i < 20; i += 1) await (await sdk.trigger(name, 'e', `${i}`)).json();
  await filled(heard, 20, 'events');
  assert.deepEqual(heard.map(([, n]) => n), [...Array(20).keys()]);
  const ports = Object.values(agent.freeSockets).flat().map((socket) => socket.localPort);
  assert.equal(ports.length, 1, 'the connection is kept');
  pusher.disconnect();
});

pusherTest('forURL, the other way to set the library up', async () => {
  const sdk = BackEnd.forURL(`http://${APP.key}:${APP.secret}@127.0.0.1:${server.port}/apps/1`);
  sdk.config.appId = APP.id;
  const name = channel();
  const peer = await Peer.open(server);
  await peer.subscribe(name);
  await sdk.trigger(name, 'e', 'x');
  await peer.event('e');
});

pusherTest('many pusher-js clients in one room', async () => {
  const name = channel('presence-many');
  const sdk = backEnd(server);
  const pushers = await Promise.all(Array.from({ length: 25 }, (_, i) => connected(client(server, { sdk, user: { user_id: `u${i % 10}`, user_info: {} } }))));
  const rooms = await Promise.all(pushers.map((pusher) => subscribed(pusher, name)));
  await subscriptions(server, name, 25);
  const heard = rooms.map(record);
  await eventually(() => rooms.every((room) => room.members.count === 10), 'ten users for everybody');
  await sdk.trigger(name, 'e', { n: 1 });
  for (const list of heard) assert.deepEqual(await filled(list, 1, 'events'), [['e', { n: 1 }]]);
  for (const pusher of pushers.slice(1)) pusher.disconnect();
  await eventually(() => rooms[0].members.count === 1, 'one is left');
  pushers[0].disconnect();
});
