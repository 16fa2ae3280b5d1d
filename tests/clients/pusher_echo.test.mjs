// laravel-echo on top of pusher-js, with an application behind it as Laravel is one (pusher.md, section 13).
import assert from 'node:assert/strict';
import http from 'node:http';
import Echo from 'laravel-echo';
import { APP, fanwireTest, pusherTest, subscriptions, usePusher } from '../support/pusher.mjs';
import { channel, eventually } from '../support/server.mjs';
import { Gate, Pusher, atEnd, backEnd, connected, filled, once, watched } from './pusher_env.mjs';

const server = usePusher();
const masterKey = Buffer.alloc(32, 7).toString('base64');

/** An application that lets everybody in as who they say they are, and broadcasts to the others. */
async function application() {
  const sdk = backEnd(server, { encryptionMasterKeyBase64: masterKey });
  const listener = http.createServer(async (req, res) => {
    let body = '';
    for await (const part of req) body += part;
    const form = new URLSearchParams(body);
    const who = req.headers.authorization?.replace('Bearer ', '') ?? 'guest';
    let answer = {};
    if (req.url === '/broadcasting/auth') {
      const name = form.get('channel_name');
      const user = /^presence-/.test(name) ? { user_id: who, user_info: { id: who, name: who.toUpperCase() } } : undefined;
      answer = sdk.authorizeChannel(form.get('socket_id'), name, user);
    } else if (req.url === '/broadcasting/user-auth') {
      answer = sdk.authenticateUser(form.get('socket_id'), { id: who });
    } else if (req.url === '/to-others') {
      await sdk.trigger(form.get('channel'), form.get('event'), { from: who }, { socket_id: req.headers['x-socket-id'] });
    }
    res.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(answer));
  });
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  atEnd(() => {
    listener.closeAllConnections();
    listener.close();
  });
  return { sdk, origin: `http://127.0.0.1:${listener.address().port}` };
}

async function echo(app, who, { port = server.port, ...options } = {}) {
  const made = new Echo({
    broadcaster: 'reverb',
    key: APP.key,
    wsHost: '127.0.0.1',
    wsPort: port,
    forceTLS: false,
    enabledTransports: ['ws'],
    Pusher,
    authEndpoint: `${app.origin}/broadcasting/auth`,
    userAuthentication: { endpoint: `${app.origin}/broadcasting/user-auth`, headers: { Authorization: `Bearer ${who}` } },
    bearerToken: who,
    withoutInterceptors: true,
    ...options,
  });
  await connected(watched(made.connector.pusher));
  return made;
}

/** Waits until a channel of Echo stands. */
async function stands(joined) {
  if (!joined.subscription.subscribed) await once(joined.subscription, 'pusher:subscription_succeeded', joined.name);
  return joined;
}

pusherTest('public channels: names in the namespace, raw names, leaving', async () => {
  const app = await application();
  const one = await echo(app, 'a');
  const name = channel('orders');
  const heard = [];
  const joined = one.channel(name).listen('OrderPaid', (data) => heard.push(['OrderPaid', data])).listen('.raw.name', (data) => heard.push(['raw', data]));
  await stands(joined);
  await app.sdk.trigger(name, 'App\\Events\\OrderPaid', { id: 1 });
  await app.sdk.trigger(name, 'raw.name', { id: 2 });
  await app.sdk.trigger(name, 'OrderPaid', { id: 3 });
  await app.sdk.trigger(name, 'App\\Events\\OrderPaid', { id: 4 });
  assert.deepEqual(await filled(heard, 3, 'events'), [['OrderPaid', { id: 1 }], ['raw', { id: 2 }], ['OrderPaid', { id: 4 }]]);
  one.leave(name);
  await subscriptions(server, name, 0);
  one.disconnect();
});

pusherTest('private channels, toOthers and listenToAll', async () => {
  const app = await application();
  const [one, two] = [await echo(app, 'a'), await echo(app, 'b')];
  const name = channel('chat');
  const heard = [[], []];
  for (const [at, user] of [one, two].entries()) {
    await stands(user.private(name).listenToAll((event, data) => heard[at].push([event, data])));
  }
  assert.match(one.socketId(), /^\d+\.\d+$/);
  const form = new URLSearchParams({ channel: `private-${name}`, event: 'App\\Events\\Said' });
  await fetch(`${app.origin}/to-others`, { method: 'POST', body: form, headers: { 'X-Socket-ID': one.socketId(), Authorization: 'Bearer a' } });
  await app.sdk.trigger(`private-${name}`, 'App\\Events\\End', {});
  await filled(heard[0], 1, 'events');
  await filled(heard[1], 2, 'events');
  assert.deepEqual(heard, [[['End', {}]], [['Said', { from: 'a' }], ['End', {}]]]);
  for (const user of [one, two]) user.disconnect();
});

pusherTest('presence channels: here, joining and leaving', async () => {
  const app = await application();
  const name = channel('room');
  const seen = [];
  const one = await echo(app, 'a');
  const room = one.join(name).here((users) => seen.push(['here', users])).joining((user) => seen.push(['joining', user])).leaving((user) => seen.push(['leaving', user]));
  await filled(seen, 1, 'here');
  const two = await echo(app, 'b');
  const there = [];
  two.join(name).here((users) => there.push(users.map((user) => user.id).sort()));
  await filled(seen, 2, 'joining');
  const second = await echo(app, 'b');
  await stands(second.join(name));
  two.leave(name);
  await subscriptions(server, `presence-${name}`, 2);
  second.disconnect();
  await filled(seen, 3, 'leaving');
  const [a, b] = ['a', 'b'].map((id) => ({ id, name: id.toUpperCase() }));
  assert.deepEqual(seen, [['here', [a]], ['joining', b], ['leaving', b]]);
  assert.deepEqual(there, [['a', 'b']]);
  assert.equal(room.name, `presence-${name}`);
  for (const user of [one, two]) user.disconnect();
});

pusherTest('whisper on private and presence channels', async () => {
  const app = await application();
  const [one, two] = [await echo(app, 'a'), await echo(app, 'b')];
  const name = channel('typing');
  const heard = [];
  await stands(one.private(name));
  await stands(one.join(name));
  await stands(two.private(name).listenForWhisper('typing', (data) => heard.push(['private', data])));
  await stands(two.join(name).listenForWhisper('typing', (data) => heard.push(['presence', data])));
  one.private(name).whisper('typing', { n: 1 });
  await filled(heard, 1, 'whispers');
  one.join(name).whisper('typing', { n: 2 });
  assert.deepEqual(await filled(heard, 2, 'whispers'), [['private', { n: 1 }], ['presence', { n: 2 }]]);
  for (const user of [one, two]) user.disconnect();
});

fanwireTest('a whisper before the subscription stands is no reason to close', async () => {
  const app = await application();
  const one = await echo(app, 'a');
  const name = channel('early');
  const early = one.private(name).whisper('typing', {});
  await stands(early);
  assert.equal(one.connectionStatus(), 'connected');
  assert.equal(one.connector.pusher.states.filter((state) => state === 'connected').length, 1);
  one.disconnect();
});

pusherTest('encryptedPrivate', async () => {
  const app = await application();
  const one = await echo(app, 'a');
  const name = channel('secret');
  const heard = [];
  await stands(one.encryptedPrivate(name).listen('Told', (data) => heard.push(data)));
  await app.sdk.trigger(`private-encrypted-${name}`, 'App\\Events\\Told', { n: 1 });
  assert.deepEqual(await filled(heard, 1, 'events'), [{ n: 1 }]);
  one.disconnect();
});

pusherTest('notification', async () => {
  const app = await application();
  const one = await echo(app, 'a');
  const name = channel('App.Models.User.1');
  const heard = [];
  await stands(one.private(name).notification((data) => heard.push(data)));
  await app.sdk.trigger(`private-${name}`, 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated', { type: 'Paid' });
  assert.deepEqual(await filled(heard, 1, 'notifications'), [{ type: 'Paid' }]);
  one.disconnect();
});

fanwireTest('a refused subscription is an error of the channel', async () => {
  const app = await application();
  const one = await echo(app, 'a', { authEndpoint: `${app.origin}/nothing` });
  const refused = one.private(channel('no'));
  assert.equal((await once(refused.subscription, 'pusher:subscription_error')).status, 401);
  assert.equal(one.connectionStatus(), 'connected');
  await stands(one.channel(channel()));
  one.disconnect();
});

pusherTest('after a reconnection Echo has its channels, and here() comes again', async () => {
  const app = await application();
  const gate = await Gate.open(server);
  const one = await echo(app, 'a', { port: gate.port });
  const name = channel('again');
  const [heres, heard] = [[], []];
  one.join(name).here((users) => heres.push(users.length)).listen('E', (data) => heard.push(data));
  await filled(heres, 1, 'here');
  gate.cut(4200);
  await filled(heres, 2, 'here');
  await app.sdk.trigger(`presence-${name}`, 'App\\Events\\E', { n: 1 });
  assert.deepEqual(await filled(heard, 1, 'events'), [{ n: 1 }]);
  assert.deepEqual(heres, [1, 1]);
  one.disconnect();
  gate.shut();
});

pusherTest('signin and a message to the user', async () => {
  const app = await application();
  const who = channel('user');
  const one = await echo(app, who);
  const told = once(one.connector.pusher.user, 'hello');
  one.connector.signin();
  await eventually(() => one.connector.pusher.user.serverToUserChannel?.subscribed, 'its channel');
  await app.sdk.sendToUser(who, 'hello', { n: 1 });
  assert.deepEqual(await told, { n: 1 });
  one.disconnect();
});
