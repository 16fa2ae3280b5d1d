// The handshake and the envelope (pusher.md, sections 1, 2 and 4).
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { APP, OTHER, api, fanwireTest, pusherTest, subscriptions, trigger, usePusher } from '../support/pusher.mjs';
import { Conn, requestBytes } from '../support/raw.mjs';
import { channel } from '../support/server.mjs';
import { OP, WsConn, frameBytes, upgradeHeaders } from '../support/websocket.mjs';
import { Peer, client, connected, once, record, subscribed } from './pusher_env.mjs';

const plain = usePusher();
const configured = usePusher({
  apps: [
    APP,
    OTHER,
    { id: 'off', key: 'off-key', secret: 'off-secret', enabled: false },
    { id: 'small', key: 'small-key', secret: 'small-secret', max_connections: 2 },
  ],
});
const withKey = (key) => ({ app: { key } });

pusherTest('trap 1: the first frame is connection_established with its data in a string', async () => {
  const peer = await Peer.open(plain);
  assert.equal(typeof peer.hello.data, 'string');
  assert.deepEqual(Object.keys(peer.hello.value).sort(), ['activity_timeout', 'socket_id']);
  assert.ok(peer.hello.value.activity_timeout > 0);
  assert.equal(peer.hello.channel, undefined);
  assert.equal((await peer.close()).code, 1000);
});

fanwireTest('the activity timeout is that of the sheet', async () => {
  assert.equal((await Peer.open(plain)).hello.value.activity_timeout, 120);
});

pusherTest('trap 2: socket ids are digits, a dot and digits, and each is another one', async () => {
  const peers = await Promise.all(Array.from({ length: 20 }, () => Peer.open(plain)));
  const ids = peers.map((peer) => peer.id);
  for (const id of ids) assert.match(id, /^\d+\.\d+$/);
  assert.equal(new Set(ids).size, ids.length);
});

pusherTest('pusher-js connects and shows its socket id', async () => {
  const pusher = await connected(client(plain));
  assert.match(pusher.connection.socket_id, /^\d+\.\d+$/);
  assert.deepEqual(pusher.errors, []);
  pusher.disconnect();
});

pusherTest('unknown query parameters, none at all and protocols 4 to 7 are taken', async () => {
  for (const query of [
    '?protocol=7&client=js&version=8.6.0&flash=false',
    '?client=pusher-websocket-java-client&protocol=5&version=2.4.4&x=%zz&y',
    '?protocol=4',
    '?protocol=6&protocol_extra[]=1',
    '?protocol=',
    '?client=iOS-libPusher',
    '',
  ]) {
    const peer = await Peer.open(plain, { query });
    assert.match(peer.id, /^\d+\.\d+$/, query);
    await peer.close();
  }
});

fanwireTest('other protocol versions are closed with 4006 and 4007, a word first for those without close codes', async () => {
  for (const [query, code] of [['?protocol=x', 4006], ['?protocol=8', 4007], ['?protocol=3', 4007], ['?protocol=0', 4007], ['?protocol=7.5', 4006], ['?protocol=-1', 4006]]) {
    const peer = Peer.dial(plain, { query });
    assert.equal((await peer.end()).code, code, query);
    const events = peer.frames.map((f) => [f.event, f.value.code]);
    assert.deepEqual(events.filter(([event]) => event !== 'pusher:error'), [], query);
    if (query === '?protocol=3') assert.deepEqual(events, [['pusher:error', 4007]]);
  }
});

pusherTest('an unknown key is closed with 4001 and a reason; pusher-js stays away', async () => {
  const peer = Peer.dial(plain, withKey('nobody'));
  const { code, reason } = await peer.end();
  assert.equal(code, 4001);
  assert.match(reason, /./);
  assert.ok(peer.frames.every((f) => f.event === 'pusher:error'));
  const pusher = client(plain, { app: { ...APP, key: 'nobody' } });
  const [error] = await Promise.all([once(pusher.connection, 'error'), once(pusher.connection, 'disconnected')]);
  assert.equal((error.error ?? error).data.code, 4001);
  assert.equal(pusher.connection.state, 'disconnected');
  assert.deepEqual(pusher.waits, []);
});

pusherTest('an app that is switched off is closed with 4003', async () => {
  assert.equal((await Peer.dial(configured, withKey('off-key')).end()).code, 4003);
});

pusherTest('over its connection quota an app is closed with 4004, and let in again when one has gone', async () => {
  const app = { key: 'small-key' };
  const first = await Peer.open(configured, { app });
  const second = await Peer.open(configured, { app });
  const third = Peer.dial(configured, { app });
  assert.equal((await third.end()).code, 4004);
  const other = await Peer.open(configured);
  await first.close();
  for (;;) {
    const again = Peer.dial(configured, { app });
    const met = await Promise.race([again.next().catch(() => undefined), again.closed]);
    if (met?.event === 'pusher:connection_established') break;
    assert.equal((await again.end()).code, 4004);
  }
  await Promise.all([second.ping(), other.ping()]);
});

fanwireTest('a key with escapes that it does not need', async () => {
  const peer = await Peer.open(plain, { path: '/app/dev%2Dkey' });
  assert.match(peer.id, /^\d+\.\d+$/);
});

fanwireTest('paths beside /app/<key> are no Pusher sockets', async () => {
  for (const path of ['/app', '/app/', `/app/${APP.key}/x`, `/apps/${APP.key}`, `/App/${APP.key}`]) {
    const socket = new WebSocket(`ws://127.0.0.1:${plain.port}${path}?protocol=7`);
    const outcome = await new Promise((resolve) => {
      socket.once('unexpected-response', (_, response) => resolve(response.statusCode));
      socket.once('close', (code) => resolve(code));
      socket.once('error', () => {});
      socket.once('message', (data) => resolve(data.toString()));
    });
    socket.terminate();
    assert.ok([404, 400, 405, 4001, 4005].includes(outcome), `${path}: ${outcome}`);
  }
});

fanwireTest('the path without an upgrade is an error of HTTP, not a hanging request', async () => {
  const answer = await plain.request('GET', `/app/${APP.key}?protocol=7`);
  assert.ok([400, 404, 426].includes(answer.status), `${answer.status}`);
});

fanwireTest('any Origin and no subprotocol', async () => {
  const conn = await WsConn.connect(plain, `/app/${APP.key}?protocol=7`, { Origin: 'https://elsewhere.example' });
  assert.equal(conn.head.header('Sec-WebSocket-Protocol'), undefined);
  const frame = await conn.message();
  assert.equal(frame.opcode, OP.text);
  assert.equal(frame.fin, true);
  conn.destroy();
});

pusherTest('apps are apart: channels of one name in two apps', async () => {
  const name = channel();
  const [one, two] = await Promise.all([Peer.open(configured), Peer.open(configured, { app: OTHER })]);
  await Promise.all([one.subscribe(name), two.subscribe(name)]);
  await trigger(configured, name, 'e', '1');
  await trigger(configured, name, 'e', '2', {}, OTHER);
  assert.equal((await one.event('e')).data, '1');
  assert.equal((await two.event('e')).data, '2');
  for (const [peer, app] of [[one, APP], [two, OTHER]]) {
    const answer = await api(configured, 'GET', `/channels/${name}`, { app, query: { info: 'subscription_count' } });
    assert.equal(answer.json.subscription_count, 1, peer.id);
  }
});

pusherTest('section 2: data is published as a string and read as JSON where it is JSON', async () => {
  const name = channel();
  const [peer, pusher] = [await Peer.open(plain), await connected(client(plain))];
  await peer.subscribe(name);
  const heard = record(await subscribed(pusher, name));
  const sent = ['just text', '123', '{"a":[1,"ü"]}', '"quoted"', 'null', '', '\u2028 \u0000 \\ " 🌊', '{"broken":'];
  for (const data of sent) await trigger(plain, name, 'e', data);
  for (const data of sent) assert.equal((await peer.event('e', name)).data, data);
  await trigger(plain, name, 'last');
  await peer.event('last');
  while (heard.at(-1)?.[0] !== 'last') await once(pusher.subscribe(name), 'last');
  const asRead = sent.map((data) => {
    try {
      return JSON.parse(data);
    } catch {
      return data;
    }
  });
  assert.deepEqual(heard.slice(0, -1).map(([, data]) => data), asRead);
  pusher.disconnect();
});

pusherTest('section 2: commands with their data in a string', async () => {
  const name = channel('private-text');
  const peer = await Peer.open(plain);
  peer.send('pusher:subscribe', JSON.stringify(peer.subscription(name)));
  await peer.event('pusher_internal:subscription_succeeded', name);
  peer.send('pusher:unsubscribe', JSON.stringify({ channel: name }));
  await subscriptions(plain, name, 0);
  await trigger(plain, name, 'e');
  await peer.ping();
  assert.deepEqual(peer.drain(), []);
});

pusherTest('section 2: a ping whose data is an empty string, null, missing or anything', async () => {
  const peer = await Peer.open(plain);
  for (const frame of ['{"event":"pusher:ping","data":""}', '{"event":"pusher:ping","data":null}', '{"event":"pusher:ping"}', '{"event":"pusher:ping","data":"{}"}', '{"data":{"x":1},"event":"pusher:ping"}']) {
    peer.raw(frame);
    const pong = await peer.event('pusher:pong');
    assert.ok(pong.data === undefined || ['{}', ''].includes(pong.data), pong.text);
  }
});

pusherTest('what is no message is an error at most, never the end of the connection', async () => {
  const peer = await Peer.open(plain);
  for (const text of ['', 'x', '{', '[]', '1', 'null', '"pusher:ping"', '{}', '{"event":1}', '{"event":null,"data":{}}', '{"event":"pusher:subscribe"}', '{"event":"pusher:subscribe","data":[]}', '{"event":"pusher:subscribe","data":{}}', '{"event":"pusher:subscribe","data":{"channel":5}}', '{"event":"pusher:unsubscribe","data":7}', '{"event":"pusher:signin"}', '{"event":"pusher:signin","data":{"auth":1}}', '{"event":"nothing-known","data":{}}', '{"event":""}', '['.repeat(5000)]) {
    peer.raw(text);
  }
  await peer.ping();
  for (const frame of peer.drain()) {
    assert.equal(frame.event, 'pusher:error', frame.text);
    assert.equal(typeof frame.value.message, 'string', frame.text);
    assert.ok(frame.value.code === null || Number.isInteger(frame.value.code), frame.text);
  }
});

fanwireTest('a pusher:error is shown by pusher-js and changes nothing', async () => {
  const pusher = await connected(client(plain));
  const shown = once(pusher.connection, 'error');
  pusher.send_event('pusher:nonsense', {});
  assert.equal((await shown).type, 'PusherError');
  assert.equal(pusher.connection.state, 'connected');
  const name = channel();
  await subscribed(pusher, name);
  pusher.disconnect();
});

fanwireTest('binary frames are refused without harm to others', async () => {
  const peer = await Peer.open(plain);
  peer.ws.send(Buffer.from('{"event":"pusher:ping","data":{}}'));
  const met = await Promise.race([peer.closed, peer.next()]);
  if (met.code !== undefined) assert.ok([1003, 1008].includes(met.code), `${met.code}`);
  else assert.ok(['pusher:error', 'pusher:pong'].includes(met.event), met.text);
  await (await Peer.open(plain)).ping();
});

fanwireTest('a message in fragments, with a ping between them', async () => {
  const socket = await WsConn.connect(plain, `/app/${APP.key}?protocol=7`);
  await socket.message();
  socket.send(OP.text, '{"event":"pusher:', { fin: false });
  socket.send(OP.ping, 'between');
  socket.send(OP.continuation, 'ping","data":{}}');
  const pong = await socket.frame();
  assert.deepEqual([pong.opcode, pong.text], [OP.pong, 'between']);
  assert.equal(JSON.parse((await socket.frame()).text).event, 'pusher:pong');
  socket.destroy();
});

fanwireTest('a frame far over the limit closes with 1009 or is an error; the node goes on', async () => {
  const peer = await Peer.open(plain);
  peer.raw(JSON.stringify({ event: 'client-big', channel: 'private-x', data: 'x'.repeat(200_000) }));
  const met = await Promise.race([peer.closed, peer.next()]);
  if (met.code !== undefined) assert.equal(met.code, 1009);
  else assert.equal(met.event, 'pusher:error');
  await (await Peer.open(plain)).ping();
});

fanwireTest('a handshake with the first command in the same packet', async () => {
  const conn = await Conn.open(plain);
  const command = JSON.stringify({ event: 'pusher:subscribe', data: { auth: '', channel: 'early' } });
  conn.send(Buffer.concat([requestBytes('GET', `/app/${APP.key}?protocol=7`, { headers: upgradeHeaders() }), frameBytes(OP.text, command)]));
  const socket = new WsConn(conn, await conn.head());
  const events = [JSON.parse((await socket.message()).text).event, JSON.parse((await socket.message()).text).event];
  assert.deepEqual(events, ['pusher:connection_established', 'pusher_internal:subscription_succeeded']);
  socket.destroy();
});
