// What clients do when a connection ends, and that they are whole again afterwards (pusher.md, section 4).
import assert from 'node:assert/strict';
import net from 'node:net';
import { fanwireTest, pusherTest, startPusher, subscriptions, trigger, usePusher, usersAre } from '../support/pusher.mjs';
import { channel, eventually, freePort } from '../support/server.mjs';
import { WsConn } from '../support/websocket.mjs';
import { Gate, Peer, atEnd, client, connected, filled, isPrompt, once, record, subscribed } from './pusher_env.mjs';

const server = usePusher();

/** When pusher-js comes back after a close: at once, after a second, or never; `error`: it shows one. */
const REACTIONS = [
  [1000, 'later', false], [1001, 'later', false], [1002, 'later', true], [1003, 'later', true],
  [1006, 'later', true], [1008, 'later', true], [1009, 'later', true], [1011, 'later', true], [1012, 'later', true], [3999, 'later', true],
  [4001, 'never', true], [4003, 'never', true], [4004, 'never', true], [4005, 'never', true], [4006, 'never', true],
  [4007, 'never', true], [4008, 'never', true], [4009, 'never', true], [4099, 'never', true],
  [4100, 'later', true], [4199, 'later', true],
  [4200, 'at once', true], [4201, 'at once', true], [4202, 'at once', true], [4299, 'at once', true],
  [4300, 'never', true], [4301, 'never', true], [4302, 'never', true], [4399, 'never', true],
];
const WAIT_OF_PUSHER_JS_MS = 1000;

async function through(gate, options) {
  const pusher = await connected(client(server, { ...options, port: gate.port }));
  pusher.first = pusher.connection.socket_id;
  return pusher;
}

const comeBack = (pusher) => eventually(() => pusher.connection.state === 'connected' && pusher.connection.socket_id !== pusher.first, 'the next connection');

for (const when of ['later', 'at once']) {
  pusherTest(`section 4: close codes after which pusher-js comes back ${when}, subscribed as before`, async () => {
    const codes = REACTIONS.filter(([, reaction]) => reaction === when);
    await Promise.all(
      codes.map(async ([code, , shows]) => {
        const gate = await Gate.open(server);
        const pusher = await through(gate, { user: { user_id: `u${code}`, user_info: {} } });
        const names = [channel('open'), channel('private-r'), channel('presence-r'), channel('private-cache-r')];
        const heard = [];
        for (const name of names) heard.push(record(await subscribed(pusher, name)));
        const prompt = when === 'at once' && isPrompt(pusher);
        const started = performance.now();
        gate.cut(code === 1006 ? undefined : code, 'as told');
        await comeBack(pusher);
        if (prompt) assert.ok(await prompt, `${code}: it waited`);
        else assert.ok(performance.now() - started >= WAIT_OF_PUSHER_JS_MS, `${code}: it came at once`);
        assert.equal(pusher.errors.length > 0, shows, `${code}: ${JSON.stringify(pusher.errors)}`);
        for (const name of names) await eventually(() => pusher.channel(name).subscribed, `${name} after ${code}`);
        await trigger(server, names, 'back', { code });
        for (const list of heard) assert.deepEqual(await filled(list, 1, 'events'), [['back', { code }]]);
        await Promise.all(names.map((name) => subscriptions(server, name, 1)));
        await usersAre(server, names[2], [`u${code}`]);
        pusher.disconnect();
        gate.shut();
      }),
    );
  });
}

pusherTest('section 4: close codes after which pusher-js never comes back', async () => {
  const codes = REACTIONS.filter(([, reaction]) => reaction === 'never');
  const gates = await Promise.all(
    codes.map(async ([code]) => {
      const gate = await Gate.open(server);
      const pusher = await through(gate);
      const shown = once(pusher.connection, 'error');
      gate.cut(code, 'for good');
      const error = await shown;
      assert.equal(error.data.code, code);
      assert.equal(error.data.message, 'for good');
      await eventually(() => pusher.connection.state === 'disconnected', `${code} is the end`);
      assert.deepEqual(pusher.waits, []);
      return gate;
    }),
  );
  // The longest wait before another try is a second.
  await new Promise((done) => setTimeout(done, 1300));
  for (const [at, gate] of gates.entries()) {
    assert.equal(gate.pairs.length, 1, `${codes[at][0]}`);
    gate.shut();
  }
});

pusherTest('section 4: after 4000 pusher-js comes with TLS, at once', async () => {
  const gate = await Gate.open(server);
  const tls = net.createServer();
  const port = await freePort();
  const greeting = new Promise((resolve) => tls.once('connection', (socket) => socket.once('data', resolve).on('error', () => {})));
  await new Promise((resolve) => tls.listen(port, '127.0.0.1', resolve));
  atEnd(() => tls.close());
  const pusher = await connected(client(server, { port: gate.port, wssPort: port, enabledTransports: ['ws', 'wss'] }));
  const prompt = isPrompt(pusher);
  gate.cut(4000, 'TLS only');
  assert.equal((await greeting)[0], 0x16, 'a TLS record');
  assert.ok(await prompt);
  pusher.disconnect();
});

fanwireTest('trap 14: who is refused before the greeting is closed by the node, whatever it does itself', async () => {
  const socket = await WsConn.connect(server, '/app/nobody?protocol=5');
  const error = JSON.parse((await socket.message()).text);
  assert.deepEqual([error.event, error.data.code], ['pusher:error', 4001]);
  assert.equal((await socket.message()).code, 4001);
  await socket.conn.readToEnd(10_000);
  socket.destroy();
});

pusherTest('section 4: the gate of these tests changes nothing by itself', async () => {
  const gate = await Gate.open(server);
  const pusher = await through(gate);
  const name = channel();
  const heard = record(await subscribed(pusher, name));
  await trigger(server, name, 'e', '1');
  assert.deepEqual(await filled(heard, 1, 'events'), [['e', 1]]);
  assert.deepEqual(pusher.errors, []);
  pusher.disconnect();
  gate.shut();
});

pusherTest('section 4: a channel that was left is not subscribed again, one that was added meanwhile is', async () => {
  const gate = await Gate.open(server);
  const pusher = await through(gate);
  const [kept, left, added] = [channel('kept'), channel('left'), channel('added')];
  await subscribed(pusher, kept);
  await subscribed(pusher, left);
  gate.cut(4200);
  pusher.unsubscribe(left);
  pusher.subscribe(added);
  await comeBack(pusher);
  await subscriptions(server, kept, 1);
  await subscriptions(server, added, 1);
  await subscriptions(server, left, 0);
  pusher.disconnect();
  gate.shut();
});

pusherTest('section 4: a sign-in is done again', async () => {
  const gate = await Gate.open(server);
  const pusher = await through(gate, { me: { id: channel('u') } });
  pusher.signin();
  await pusher.user.signinDonePromise;
  gate.cut(4200);
  await comeBack(pusher);
  await eventually(() => pusher.user.user_data?.id, 'signed in again');
  const got = once(pusher.user, 'hello');
  await eventually(() => pusher.user.serverToUserChannel?.subscribed, 'the channel of the user');
  await trigger(server, `#server-to-user-${pusher.user.user_data.id}`, 'hello', { n: 1 });
  assert.deepEqual(await got, { n: 1 });
  pusher.disconnect();
  gate.shut();
});

fanwireTest('trap 13: at a shutdown every socket gets a close frame, 4200 or 1001, and pusher-js comes to the next node', async () => {
  // pusher-js that finds nobody at its first try waits 15 s for the next: another node has to listen already.
  const [old, next] = [await startPusher(), await startPusher()];
  const gate = await Gate.open(old);
  const peers = await Promise.all(Array.from({ length: 20 }, () => Peer.open(old)));
  const pushers = await Promise.all(Array.from({ length: 5 }, () => connected(client(old, { port: gate.port }))));
  const name = channel();
  for (const pusher of pushers) await subscribed(pusher, name);
  gate.target = next;
  const stopped = old.stop();
  for (const peer of peers) assert.ok([4200, 1001].includes((await peer.end()).code));
  await stopped;
  const heard = pushers.map((pusher) => record(pusher.channel(name)));
  await subscriptions(next, name, pushers.length);
  await trigger(next, name, 'again', '1');
  for (const list of heard) assert.deepEqual(await filled(list, 1, 'events'), [['again', 1]]);
  for (const pusher of pushers) pusher.disconnect();
  await next.stop();
});

