// Sign-in, messages to one user, ending a user's connections (pusher.md, section 8).
import assert from 'node:assert/strict';
import { APP, OTHER, api, channelAuth, fanwireTest, pusherTest, trigger, usePusher, userAuth, withPusher } from '../support/pusher.mjs';
import { channel, eventually } from '../support/server.mjs';
import { Peer, backEnd, client, connected, once, record, subscribed } from './pusher_env.mjs';

const server = usePusher();
const inbox = (id) => `#server-to-user-${id}`;

async function signedIn(id, extra = {}, options = {}) {
  const peer = await Peer.open(options.server ?? server, options);
  peer.success = await peer.signin({ id, ...extra });
  return peer;
}

/** Everything said to a user before something that is said to it now. */
async function heard(peer, id, where = server) {
  const last = channel('last');
  await trigger(where, inbox(id), last, '{}', {}, peer.app);
  await peer.event(last, inbox(id));
  return peer.drain().filter((f) => !f.event.startsWith('last-'));
}

pusherTest('trap 1: signin_success has user_data as a string in its string, as it was sent', async () => {
  const peer = await Peer.open(server);
  const user_data = '{ "id" : "spaced", "user_info":{"n": 1.0} }';
  peer.send('pusher:signin', { auth: userAuth(peer.id, user_data), user_data });
  const success = await peer.event('pusher:signin_success');
  assert.equal(typeof success.data, 'string');
  assert.deepEqual(success.value, { user_data });
  assert.equal(success.channel, undefined);
});

pusherTest('pusher-js signs in, subscribes its channel and is spoken to', async () => {
  const id = channel('u');
  const pusher = await connected(client(server, { me: { id, user_info: { name: 'N' } } }));
  const [hello, other] = [once(pusher.user, 'hello'), record(pusher.user)];
  pusher.signin();
  await pusher.user.signinDonePromise;
  assert.equal(pusher.user.user_data.id, id);
  await eventually(() => pusher.user.serverToUserChannel?.subscribed, 'its channel');
  await backEnd(server).sendToUser(id, 'hello', { n: 1 });
  assert.deepEqual(await hello, { n: 1 });
  await backEnd(server).sendToUser(id, 'end', {});
  await eventually(() => other.length === 2, 'both events');
  assert.deepEqual(other, [['hello', { n: 1 }], ['end', {}]], 'each once');
  assert.deepEqual(pusher.errors, []);
  pusher.disconnect();
});

pusherTest('a message to a user reaches each of its sockets once, and nobody else', async () => {
  const [id, stranger] = [channel('u'), channel('u')];
  const peers = await Promise.all([signedIn(id), signedIn(id), signedIn(id)]);
  const others = [await signedIn(stranger), await Peer.open(server)];
  for (const peer of peers) await peer.subscribe(inbox(id));
  await trigger(server, inbox(id), 'hello', '{"n":1}');
  for (const peer of peers) {
    assert.deepEqual((await peer.event('hello', inbox(id))).value, { n: 1 });
    assert.deepEqual(await heard(peer, id).then((list) => list.filter((f) => f.event === 'hello')), []);
  }
  for (const peer of others) {
    await peer.ping();
    assert.deepEqual(peer.drain(), []);
  }
});

fanwireTest('trap 23: it is delivered also to sockets that have not subscribed the name, and never twice', async () => {
  const id = channel('u');
  const [plain, subscribedToo] = await Promise.all([signedIn(id), signedIn(id)]);
  await subscribedToo.subscribe(inbox(id));
  await trigger(server, inbox(id), 'hello', '1');
  for (const peer of [plain, subscribedToo]) assert.deepEqual((await heard(peer, id)).map((f) => f.event), ['hello']);
});

pusherTest('trap 17: the channel of a user is a valid name for publishers, alone, with others and in batches', async () => {
  const id = channel('u');
  const name = channel();
  const peer = await signedIn(id);
  await peer.subscribe(inbox(id));
  await peer.subscribe(name);
  await trigger(server, [inbox(id), name], 'both', '1');
  await peer.event('both', inbox(id));
  await peer.event('both', name);
  const answer = await api(server, 'POST', '/batch_events', { body: { batch: [{ name: 'b', channel: inbox(id), data: '2' }] } });
  assert.equal(answer.status, 200, answer.text);
  assert.equal((await peer.event('b', inbox(id))).data, '2');
});

pusherTest('to a user who is not there: no error', async () => {
  await trigger(server, inbox(channel('nobody')), 'hello');
});

pusherTest('only the user itself may subscribe its channel', async () => {
  const [id, other] = [channel('u'), channel('u')];
  const peer = await Peer.open(server);
  for (const auth of ['', channelAuth(peer.id, inbox(id))]) {
    peer.send('pusher:subscribe', { auth, channel: inbox(id) });
    await peer.take((f) => /error/.test(f.event), 'a refusal before the sign-in');
  }
  await peer.signin({ id: other });
  peer.send('pusher:subscribe', { auth: '', channel: inbox(id) });
  await peer.take((f) => /error/.test(f.event), 'a refusal as somebody else');
  await peer.subscribe(inbox(other));
});

const WRONG = [
  ['a wrong signature', (peer, data) => `${APP.key}:${'0'.repeat(64)}`],
  ['a signature for another socket', (peer, data) => userAuth('1.1', data)],
  ['a signature of a channel', (peer, data) => channelAuth(peer.id, data)],
  ['the key of another app', (peer, data) => userAuth(peer.id, data, OTHER)],
  ['no auth', () => undefined],
  ['a number as auth', () => 1],
];
for (const [what, auth] of WRONG) {
  pusherTest(`trap 12: a sign-in with ${what} is an error event with 4009; the socket stays and may try again`, async () => {
    const peer = await Peer.open(server);
    const user_data = JSON.stringify({ id: 'x' });
    peer.send('pusher:signin', { auth: auth(peer, user_data), user_data });
    const error = await peer.error();
    if (what !== 'no auth' && what !== 'a number as auth') assert.equal(error.value.code, 4009);
    await peer.signin({ id: 'x' });
  });
}

fanwireTest('trap 12: a sign-in that is signed and names nobody is an error event', async () => {
  const peer = await Peer.open(server);
  for (const user_data of ['', 'x', '[]', '{}', '{"id":""}', '{"id":null}', '{"id":["a"]}', '{"id":"a","watchlist":5}', JSON.stringify({ id: 'x'.repeat(129) })]) {
    peer.send('pusher:signin', { auth: userAuth(peer.id, user_data), user_data });
    await peer.error();
  }
  await peer.signin({ id: 'a' });
});

pusherTest('trap 12: pusher-js whose sign-in fails is connected on', async () => {
  const pusher = await connected(client(server, { userAuthentication: { customHandler: (_, answer) => answer(null, { auth: `${APP.key}:${'0'.repeat(64)}`, user_data: '{"id":"x"}' }) } }));
  const shown = once(pusher.connection, 'error');
  pusher.signin();
  assert.equal((await shown).data.code, 4009);
  await subscribed(pusher, channel());
  assert.equal(pusher.connection.state, 'connected');
  pusher.disconnect();
});

fanwireTest('signing in again: as the same user fine, as another an error, and the first stays', async () => {
  const id = channel('u');
  const peer = await signedIn(id);
  await peer.signin({ id });
  const user_data = JSON.stringify({ id: 'another' });
  peer.send('pusher:signin', { auth: userAuth(peer.id, user_data), user_data });
  assert.equal((await peer.error()).value.code, 4009);
  await trigger(server, inbox(id), 'hello');
  assert.deepEqual((await heard(peer, id)).map((f) => f.event), ['hello']);
  await trigger(server, inbox('another'), 'not-for-me');
  assert.deepEqual(await heard(peer, id), []);
});

fanwireTest('trap 16: a user id that is a number', async () => {
  const peer = await Peer.open(server);
  const user_data = '{"id":42}';
  peer.send('pusher:signin', { auth: userAuth(peer.id, user_data), user_data });
  await peer.event('pusher:signin_success');
  await trigger(server, inbox('42'), 'hello');
  await peer.event('hello', inbox('42'));
});

pusherTest('user ids with anything in them', async () => {
  for (const id of ['a b', 'é🌊', '1:2', '"q"', '#x', 'a/b', '%2F']) {
    const peer = await signedIn(id);
    await peer.subscribe(inbox(id));
    await trigger(server, inbox(id), 'hello', '1');
    await peer.event('hello', inbox(id));
    peer.drop();
  }
});

fanwireTest('terminate_connections: every socket of the user gets an error and is closed with 4009, others stay', async () => {
  const [id, other] = [channel('u'), channel('u')];
  const peers = await Promise.all([signedIn(id), signedIn(id), signedIn(id)]);
  const stays = [await signedIn(other), await Peer.open(server)];
  const answer = await api(server, 'POST', `/users/${id}/terminate_connections`, { body: {} });
  assert.deepEqual([answer.status, answer.json], [200, {}]);
  for (const peer of peers) {
    assert.equal((await peer.end()).code, 4009);
    assert.equal(peer.frames.at(-1).event, 'pusher:error');
    assert.equal(peer.frames.at(-1).value.code, 4009);
  }
  for (const peer of stays) await peer.ping();
  await signedIn(id);
});

pusherTest('terminate_connections of pusher-js: it never comes back', async () => {
  const id = channel('u');
  const pusher = await connected(client(server, { me: { id } }));
  pusher.signin();
  await pusher.user.signinDonePromise;
  await backEnd(server).terminateUserConnections(id);
  await eventually(() => pusher.connection.state === 'disconnected', 'the end');
  assert.deepEqual(pusher.waits, []);
});

pusherTest('terminate_connections of a user who is not there: 200', async () => {
  const answer = await api(server, 'POST', `/users/${channel('nobody')}/terminate_connections`, { body: {} });
  assert.equal(answer.status, 200, answer.text);
});

fanwireTest('terminate_connections: user ids with escapes in the path', async () => {
  for (const id of ['a b', 'é', 'a/b', '1:2@3']) {
    const peer = await signedIn(id);
    const answer = await api(server, 'POST', `/users/${encodeURIComponent(id)}/terminate_connections`, { body: {} });
    assert.equal(answer.status, 200, answer.text);
    assert.equal((await peer.end()).code, 4009);
  }
});

fanwireTest('users of one app are not those of another', () =>
  withPusher({ apps: [APP, OTHER] }, async (two) => {
    const [one, other] = await Promise.all([signedIn('u', {}, { server: two }), signedIn('u', {}, { server: two, app: OTHER })]);
    await trigger(two, inbox('u'), 'hello', '1');
    assert.deepEqual((await heard(one, 'u', two)).map((f) => f.event), ['hello']);
    assert.deepEqual(await heard(other, 'u', two), []);
    await api(two, 'POST', '/users/u/terminate_connections', { app: OTHER, body: {} });
    assert.equal((await other.end()).code, 4009);
    await one.ping();
  }));

fanwireTest('hidden channels are not among the channels that the API lists, and no client may name them', async () => {
  const id = channel('u');
  const peer = await signedIn(id);
  const { json } = await api(server, 'GET', '/channels');
  assert.deepEqual(Object.keys(json.channels).filter((name) => name.includes('#')), []);
  peer.send('pusher:subscribe', { auth: '', channel: `#user-${id}` });
  await peer.take((f) => /error/.test(f.event), 'a refusal');
});

fanwireTest('authorize_within: who neither signs in nor subscribes with a signature is closed with 4009', () =>
  withPusher({ apps: [{ ...APP, authorize_within: '500ms' }] }, async (strict) => {
    const idle = await Peer.open(strict);
    const open = await Peer.open(strict);
    await open.subscribe(channel());
    const signed = await Peer.open(strict);
    await signed.signin({ id: 'u' });
    const let_in = await Peer.open(strict);
    await let_in.subscribe(channel('private-in'));
    for (const peer of [idle, open]) {
      assert.equal((await peer.end()).code, 4009);
      const error = peer.frames.at(-1);
      assert.deepEqual([error.event, error.value.code, error.value.message], ['pusher:error', 4009, 'Connection not authorized within timeout.']);
    }
    for (const peer of [signed, let_in]) await peer.ping();
  }));
