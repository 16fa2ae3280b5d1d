// Publishing over a web socket, and locations that do both (nchan sheet, sections 2 and 8).
import assert from 'node:assert/strict';
import zlib from 'node:zlib';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { after } from '../support/ids.mjs';
import { open } from '../support/raw.mjs';
import { OP, upgradeHeaders, WsConn } from '../support/websocket.mjs';

const server = useServer({
  locations: [
    { url: '^/room/(.+)$', methods: 'pubsub', channel_id: ['$1'] },
    { url: '^/beat/(.+)$', methods: 'pubsub', channel_id: ['$1'], websocket_heartbeat: ['PING', 'PONG'] },
    { url: '^/beatpub/(.+)$', methods: 'publisher', channel_id: ['$1'], websocket_heartbeat: ['PING', 'PONG'] },
    sub('/beatsub', { websocket_heartbeat: ['PING', 'PONG'] }),
    { url: '^/cross/([^/]+)/([^/]+)$', methods: 'pubsub', publisher_channel_id: ['$1'], subscriber_channel_id: ['$2'] },
    pub(),
    sub(),
  ],
});

const connect = (where, headers) => WsConn.connect(server, where, headers);

both('each frame is published and answered with one text frame of channel info', async () => {
  const name = channel();
  const socket = await connect(`/pub/${name}`);
  for (let i = 1; i <= 3; i += 1) {
    socket.text(`m${i}`);
    const reply = await socket.frame();
    assert.equal(reply.opcode, OP.text);
    assert.match(reply.text, new RegExp(`^queued messages: ${i}\r\nlast requested: -1 sec\\. ago\r\nactive subscribers: 0\r\nlast message id: \\d+:\\d+$`));
  }
  assert.equal((await server.request('GET', `/sub/${name}`)).text, 'm1');
  socket.destroy();
});

both('the handshake Accept chooses the form of the replies', async () => {
  const name = channel();
  const socket = await connect(`/pub/${name}`, { Accept: 'application/json' });
  socket.text('x');
  assert.equal(JSON.parse((await socket.frame()).text).messages, 1);
  socket.destroy();
});

both('text frames have no content type, binary ones application/octet-stream', async () => {
  const [text, binary] = [channel(), channel()];
  const a = await connect(`/pub/${text}`);
  a.text('t');
  await a.frame();
  const b = await connect(`/pub/${binary}`);
  b.send(OP.binary, Buffer.from([1, 2, 3]));
  await b.frame();
  assert.equal((await server.request('GET', `/sub/${text}`)).header('Content-Type'), undefined);
  const got = await server.request('GET', `/sub/${binary}`);
  assert.equal(got.header('Content-Type'), 'application/octet-stream');
  assert.deepEqual([...got.bytes], [1, 2, 3]);
  a.destroy();
  b.destroy();
});

both('the handshake content type goes with text frames', async () => {
  const name = channel();
  const socket = await connect(`/pub/${name}`, { 'Content-Type': 'text/x' });
  socket.text('t');
  await socket.frame();
  assert.equal((await server.request('GET', `/sub/${name}`)).header('Content-Type'), 'text/x');
  socket.destroy();
});

both('text that is not UTF-8 closes with 1007', async () => {
  const socket = await connect(`/pub/${channel()}`);
  socket.send(OP.text, Buffer.from([0x66, 0xff, 0xfe]));
  assert.equal((await socket.message()).code, 1007);
  socket.destroy();
});

both('empty and large frames are messages', async () => {
  const name = channel();
  const socket = await connect(`/pub/${name}`, { Accept: 'text/json' });
  socket.text('');
  assert.equal(JSON.parse((await socket.frame()).text).messages, 1);
  const big = 'b'.repeat(70_000);
  socket.text(big);
  const info = JSON.parse((await socket.frame()).text);
  assert.equal(info.messages, 2);
  const first = await server.request('GET', `/sub/${name}`);
  assert.equal(first.text, '');
  assert.equal((await server.request('GET', `/sub/${name}`, { headers: after(first) })).text, big);
  socket.destroy();
});

fanwireOnly('nchan publishes the first frame alone (trap 12)', 'a fragmented message is one message', async () => {
  const name = channel();
  const socket = await connect(`/pub/${name}`, { Accept: 'text/json' });
  socket.send(OP.text, 'one ', { fin: false }).send(OP.continuation, 'two ', { fin: false });
  socket.send(OP.ping, 'between').send(OP.continuation, 'three');
  assert.equal((await socket.frame()).opcode, OP.pong);
  assert.equal(JSON.parse((await socket.frame()).text).messages, 1);
  assert.equal((await server.request('GET', `/sub/${name}`)).text, 'one two three');
  socket.destroy();
});

fanwireOnly('nchan inflates nothing it did not negotiate; the sheet only says inflated', 'compressed frames are inflated', async () => {
  const name = channel();
  const socket = await connect(`/pub/${name}`, { 'Sec-WebSocket-Extensions': 'permessage-deflate' });
  assert.match(socket.head.header('Sec-WebSocket-Extensions') ?? '', /^permessage-deflate/);
  const body = 'squeeze '.repeat(300);
  socket.send(OP.text, zlib.deflateRawSync(body, { finishFlush: zlib.constants.Z_SYNC_FLUSH }).subarray(0, -4), { rsv1: true });
  await socket.frame();
  assert.equal((await server.request('GET', `/sub/${name}`)).text, body);
  socket.destroy();
});

both('pubsub: the socket receives messages, its own too, and no info replies', async () => {
  const name = channel();
  const [one, two] = [await connect(`/room/${name}`), await connect(`/room/${name}`)];
  await server.subscribers(name, 2);
  one.text('from one');
  two.text('from two');
  for (const socket of [one, two]) {
    const got = [(await socket.frame()).text, (await socket.frame()).text];
    assert.deepEqual(got.sort(), ['from one', 'from two']);
    await socket.conn.staysQuiet(50);
    socket.destroy();
  }
});

both('pubsub: GET subscribes, POST and PUT publish, DELETE deletes', async () => {
  const name = channel();
  const held = await open(server, 'GET', `/room/${name}`);
  await server.subscribers(name, 1);
  assert.equal((await server.request('POST', `/room/${name}`, { body: 'a' })).status, 201);
  assert.equal((await held.response()).text, 'a');
  held.destroy();
  assert.ok([201, 202].includes((await server.request('PUT', `/room/${name}`, { body: 'b' })).status));
  assert.equal((await server.info(name)).messages, 2);
  assert.equal((await server.request('DELETE', `/room/${name}`)).status, 200);
  assert.equal((await server.info(name))?.messages ?? 0, 0);
});

both('pubsub: separate channels for the two directions', async () => {
  const [out, into] = [channel('out'), channel('into')];
  await server.publish(into, 'for you');
  assert.equal((await server.request('POST', `/cross/${out}/${into}`, { body: 'from you' })).status, 202);
  assert.equal((await server.request('GET', `/sub/${out}`)).text, 'from you');
  assert.equal((await server.request('GET', `/cross/${out}/${into}`)).text, 'for you');
  const socket = await connect(`/cross/${out}/${into}`);
  assert.equal((await socket.frame()).text, 'for you');
  socket.text('over the socket');
  await server.publish(into, 'again');
  assert.equal((await socket.frame()).text, 'again');
  socket.destroy();
});

both('client heartbeat: PING is answered by PONG and not published', async () => {
  const name = channel();
  const socket = await connect(`/beat/${name}`);
  socket.text('PING');
  assert.deepEqual(await socket.frame().then((f) => [f.opcode, f.text]), [OP.text, 'PONG']);
  socket.text('PINGx');
  assert.equal((await socket.frame()).text, 'PINGx');
  assert.equal((await server.info(name)).messages, 1);
  socket.destroy();
  const publisher = await connect(`/beatpub/${name}`);
  publisher.text('PING');
  assert.equal((await publisher.frame()).text, 'PONG');
  publisher.destroy();
});

both('client heartbeat: on a subscriber-only location it is 1008', async () => {
  const socket = await connect(`/beatsub/${channel()}`);
  socket.text('PING');
  assert.equal((await socket.message()).code, 1008);
  socket.destroy();
});

both('a publishing socket answers pings and closes', async () => {
  const socket = await connect(`/pub/${channel()}`);
  socket.send(OP.ping, 'x');
  assert.equal((await socket.frame()).opcode, OP.pong);
  socket.close(1000);
  assert.equal((await socket.frame()).opcode, OP.close);
  await socket.conn.readToEnd();
  socket.destroy();
});

both('frames sent back to back are published in order', async () => {
  const name = channel();
  const watcher = await connect(`/sub/${name}`);
  const socket = await connect(`/pub/${name}`);
  for (let i = 0; i < 100; i += 1) socket.text(`m${i}`);
  for (let i = 0; i < 100; i += 1) assert.equal((await watcher.frame()).text, `m${i}`);
  socket.destroy();
  watcher.destroy();
});

both('a wrong version on a publisher is 400 as well', async () => {
  const got = await server.request('GET', `/pub/${channel()}`, { headers: upgradeHeaders({ 'Sec-WebSocket-Version': '7' }) });
  assert.equal(got.status, 400);
});
