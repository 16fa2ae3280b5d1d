// Who is still there: pings both ways and what happens without an answer (pusher.md, section 3). Times here are short:
// the waiting is what is tested.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { APP, WAIT_MS, pusherTest, trigger, usePusher } from '../support/pusher.mjs';
import { sleep } from '../support/raw.mjs';
import { TARGET, channel, eventually } from '../support/server.mjs';
import { OP, WsConn } from '../support/websocket.mjs';
import { Gate, Peer, client, connected, isPrompt, once, subscribed } from './pusher_env.mjs';

const ACTIVITY_S = 1;
const PONG_MS = 500;
const patient = usePusher();
const brisk = usePusher({ pusher: { activity_timeout: `${ACTIVITY_S}s`, pong_timeout: `${PONG_MS}ms` } });

pusherTest('trap 18: a pong is sent without any subscription', async () => {
  const peer = await Peer.open(patient);
  const pong = await peer.ping();
  assert.equal(pong.event, 'pusher:pong');
  assert.equal(pong.channel, undefined);
});

pusherTest('trap 18: pings do not count into the rate of client events', async () => {
  const name = channel('private-rate');
  const [sender, other] = [await Peer.open(patient), await Peer.open(patient)];
  await sender.subscribe(name);
  await other.subscribe(name);
  for (let i = 0; i < 50; i += 1) sender.send('pusher:ping', {});
  sender.send('client-e', { n: 1 }, name);
  for (let i = 0; i < 50; i += 1) await sender.event('pusher:pong');
  assert.deepEqual((await other.event('client-e')).value, { n: 1 });
  assert.deepEqual(sender.drain(), []);
});

pusherTest('a ping of RFC 6455 is answered, and a pong without a ping is nothing', async () => {
  const socket = await WsConn.connect(patient, `/app/${APP.key}?protocol=7`);
  await socket.message();
  socket.send(OP.pong, 'unasked');
  socket.send(OP.ping, 'there?');
  const frame = await socket.frame();
  assert.deepEqual([frame.opcode, frame.text], [OP.pong, 'there?']);
  socket.destroy();
});

pusherTest('pusher-js answers a pusher:ping and is connected on', async () => {
  const gate = await Gate.open(patient);
  const pusher = await connected(client(patient, { port: gate.port }));
  const text = '{"event":"pusher:ping","data":"{}"}';
  const before = gate.pairs[0].sent.length;
  gate.pairs[0].near.write(Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]));
  await eventually(() => gate.pairs[0].sent.length > before, 'the pong');
  await subscribed(pusher, channel());
  assert.deepEqual(pusher.errors, []);
  pusher.disconnect();
  gate.shut();
});

pusherTest('pusher-js pings after the activity timeout that the server names, and stays connected', async () => {
  const pusher = await connected(client(brisk));
  const first = pusher.connection.socket_id;
  const pongs = [];
  pusher.connection.bind('message', ({ event }) => event === 'pusher:pong' && pongs.push(Date.now()));
  await eventually(() => pongs.length >= 2, 'two pongs');
  assert.equal(pusher.connection.socket_id, first);
  assert.deepEqual(pusher.errors, []);
  pusher.disconnect();
});

pusherTest('pusher-js that gets no pong connects again at once', async () => {
  const gate = await Gate.open(patient);
  const pusher = await connected(client(patient, { port: gate.port, activityTimeout: 200, pongTimeout: 200 }));
  const first = pusher.connection.socket_id;
  gate.pairs[0].cut = true; // nothing goes through, nothing is closed
  await eventually(() => pusher.connection.state === 'connected' && pusher.connection.socket_id !== first, 'the next connection');
  assert.deepEqual(pusher.waits, []);
  pusher.disconnect();
  gate.shut();
});

// The node asks by itself after one and a half times the activity timeout and 10 s for the round trip.
const IDLE_MS = 1500 * ACTIVITY_S + 10_000;
const GONE_MS = IDLE_MS + PONG_MS;

test('silence, all cases at the same time', { skip: TARGET !== 'fanwire', concurrency: true }, async (t) => {
  const all = [];
  const waits = (name, fn) => all.push(t.test(name, fn));

  waits('a socket that says nothing is asked, later than it should have asked itself, then closed with 4201', async () => {
    const started = performance.now();
    const peer = await Peer.open(brisk);
    assert.equal(peer.hello.value.activity_timeout, ACTIVITY_S);
    assert.equal((await peer.end(GONE_MS + WAIT_MS)).code, 4201);
    assert.ok(performance.now() - started >= 1500 * ACTIVITY_S + PONG_MS);
    assert.deepEqual(peer.frames.map((f) => [f.event, f.data]), [['pusher:ping', '{}']]);
  });

  waits('what the server sends is no sign of life: 4201 also under traffic', async () => {
    const name = channel();
    const peer = await Peer.open(brisk);
    await peer.subscribe(name);
    const deadline = Date.now() + GONE_MS + WAIT_MS;
    while (!peer.ended && Date.now() < deadline) {
      await trigger(brisk, name, 'e');
      await sleep(200);
    }
    assert.equal(peer.ended?.code, 4201);
  });

  waits('any frame is a sign of life', async () => {
    const name = channel('private-alive');
    const signs = {
      'a ping': (peer) => peer.send('pusher:ping', {}),
      'a pong': (peer) => peer.send('pusher:pong', {}),
      'a ping of RFC 6455': (peer) => peer.ws.ping('x'),
      'a pong of RFC 6455': (peer) => peer.ws.pong('x'),
      nonsense: (peer) => peer.raw('nonsense'),
      'a client event': (peer) => peer.send('client-e', {}, name),
    };
    const peers = await Promise.all(Object.keys(signs).map(() => Peer.open(brisk)));
    for (const peer of peers) await peer.subscribe(name);
    const until = Date.now() + GONE_MS + 1500;
    while (Date.now() < until) {
      Object.values(signs).forEach((sign, at) => peers[at].ended || sign(peers[at]));
      await sleep(500);
    }
    const dead = Object.keys(signs).filter((_, at) => peers[at].ended);
    assert.deepEqual(dead, []);
  });

  waits('a pong in answer to the ping keeps a silent client', async () => {
    const peer = await Peer.open(brisk);
    await peer.take((f) => f.event === 'pusher:ping', 'the ping', GONE_MS + WAIT_MS);
    peer.send('pusher:pong', {});
    await sleep(3 * PONG_MS);
    assert.equal(peer.ended, undefined);
    await peer.ping();
  });

  waits('pusher-js, which pings, is never asked and stays', async () => {
    const gate = await Gate.open(brisk);
    const pusher = await connected(client(brisk, { port: gate.port }));
    const heard = [];
    pusher.connection.bind('message', ({ event }) => heard.push(event));
    await sleep(GONE_MS + 500);
    assert.equal(gate.pairs.length, 1);
    assert.deepEqual(heard.filter((event) => event !== 'pusher:pong'), []);
    pusher.disconnect();
  });

  waits('a dead peer is gone from its channels once its time is over', async () => {
    const name = channel('presence-dead');
    const gate = await Gate.open(brisk);
    const ghost = await Peer.open({ port: gate.port });
    await ghost.subscribe(name, { user: { user_id: 'ghost' } });
    const watcher = await connected(client(brisk, { user: { user_id: 'watcher', user_info: {} } }));
    const room = await subscribed(watcher, name);
    assert.equal(room.members.count, 2);
    const removed = once(room, 'pusher:member_removed', 'the end of the ghost', GONE_MS + WAIT_MS);
    gate.pairs[0].deaf = true;
    assert.equal((await removed).id, 'ghost');
    watcher.disconnect();
  });

  waits('section 4: pusher-js that is closed with 4201 comes back at once', async () => {
    const gate = await Gate.open(brisk);
    const pusher = await connected(client(brisk, { port: gate.port }));
    const first = pusher.connection.socket_id;
    const prompt = isPrompt(pusher);
    gate.pairs[0].deaf = true;
    const next = () => pusher.connection.state === 'connected' && pusher.connection.socket_id !== first;
    await eventually(next, 'the next connection', GONE_MS + WAIT_MS);
    assert.equal(pusher.errors[0].data.code, 4201);
    assert.ok(await prompt);
    pusher.disconnect();
  });

  await Promise.all(all);
});
