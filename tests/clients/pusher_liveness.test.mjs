// Who is still there: pings both ways and what happens without an answer (pusher.md, section 3). Times here are short:
// the waiting is what is tested.
import assert from 'node:assert/strict';
import { APP, fanwireTest, pusherTest, trigger, usePusher } from '../support/pusher.mjs';
import { sleep } from '../support/raw.mjs';
import { channel, eventually } from '../support/server.mjs';
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

fanwireTest('a socket that says nothing is asked, or waited for longer than its own ping takes, then closed with 4201', async () => {
  const started = Date.now();
  const peer = await Peer.open(brisk);
  assert.equal(peer.hello.value.activity_timeout, ACTIVITY_S);
  assert.equal((await peer.end()).code, 4201);
  const took = Date.now() - started;
  assert.ok(took >= ACTIVITY_S * 1000, `closed after ${took} ms`);
  assert.ok(peer.frames.every((f) => f.event === 'pusher:ping'), JSON.stringify(peer.frames));
});

fanwireTest('what the server sends is no sign of life: 4201 also under traffic', async () => {
  const name = channel();
  const peer = await Peer.open(brisk);
  await peer.subscribe(name);
  while (!peer.ended) {
    await trigger(brisk, name, 'e');
    await sleep(100);
  }
  assert.equal((await peer.end()).code, 4201);
});

fanwireTest('any frame is a sign of life: a ping, a pong, a ping of RFC 6455, nonsense, a client event', async () => {
  const name = channel('private-alive');
  const signs = [
    (peer) => peer.send('pusher:ping', {}),
    (peer) => peer.send('pusher:pong', {}),
    (peer) => peer.ws.ping('x'),
    (peer) => peer.ws.pong('x'),
    (peer) => peer.raw('nonsense'),
    (peer) => peer.send('client-e', {}, name),
  ];
  const peers = await Promise.all(signs.map(() => Peer.open(brisk)));
  await peers[5].subscribe(name);
  const until = Date.now() + 2 * (ACTIVITY_S * 1500 + PONG_MS) + 1000;
  while (Date.now() < until) {
    for (const [at, sign] of signs.entries()) sign(peers[at]);
    await sleep(200);
  }
  for (const [at, peer] of peers.entries()) assert.equal(peer.ended, undefined, `sign ${at}`);
});

fanwireTest('a pong in answer to the ping keeps a silent client', async () => {
  const peer = await Peer.open(brisk);
  const until = Date.now() + 3 * ACTIVITY_S * 1000 + PONG_MS;
  let asked = 0;
  while (Date.now() < until && !peer.ended) {
    if (peer.frames.some((f) => f.event === 'pusher:ping')) {
      asked += 1;
      peer.drain();
      peer.send('pusher:pong', {});
    }
    await sleep(20);
  }
  // A node that never asks gives its clients the time to do so; then there is nothing to answer here.
  if (asked > 0) assert.equal(peer.ended, undefined);
  else assert.equal(peer.ended?.code, 4201);
});

fanwireTest('a dead peer is gone from its channels once its time is over', async () => {
  const name = channel('presence-dead');
  const gate = await Gate.open(brisk);
  const ghost = await Peer.open({ port: gate.port });
  await ghost.subscribe(name, { user: { user_id: 'ghost' } });
  const watcher = await connected(client(brisk, { user: { user_id: 'watcher', user_info: {} } }));
  const room = await subscribed(watcher, name);
  assert.equal(room.members.count, 2);
  const removed = once(room, 'pusher:member_removed');
  gate.pairs[0].cut = true;
  ghost.ws.pause();
  assert.equal((await removed).id, 'ghost');
  watcher.disconnect();
  gate.shut();
});

fanwireTest('section 4: pusher-js that is closed with 4201 comes back at once', async () => {
  const gate = await Gate.open(brisk);
  const pusher = await connected(client(brisk, { port: gate.port }));
  const first = pusher.connection.socket_id;
  gate.pairs[0].deaf = true;
  const prompt = isPrompt(pusher);
  await eventually(() => pusher.connection.state === 'connected' && pusher.connection.socket_id !== first, 'the next connection');
  assert.equal(pusher.errors[0].data.code, 4201);
  assert.ok(await prompt);
  pusher.disconnect();
  gate.shut();
});
