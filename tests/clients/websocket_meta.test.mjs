// The ws+meta.nchan subprotocol and permessage-deflate (nchan sheet, section 4; traps 12, 19).
import assert from 'node:assert/strict';
import zlib from 'node:zlib';
import WebSocket from 'ws';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, eventually, pub, sub } from '../support/server.mjs';
import { Conn } from '../support/raw.mjs';
import { OP, upgradeHeaders, WsConn } from '../support/websocket.mjs';

const server = useServer({ locations: [pub('/zpub', { deflate: true }), pub(), sub()] });

const META = 'ws+meta.nchan';
const ws = (name, headers) => WsConn.connect(server, `/sub/${name}`, headers);
const inflate = (bytes) => zlib.inflateRawSync(Buffer.concat([bytes, Buffer.from([0, 0, 0xff, 0xff])]), { finishFlush: zlib.constants.Z_SYNC_FLUSH });

both('meta: each frame begins with id and content type', async () => {
  const name = channel();
  const socket = await ws(name, { 'Sec-WebSocket-Protocol': META });
  assert.equal(socket.head.header('Sec-WebSocket-Protocol'), META);
  const sent = await server.publish(name, 'hello', { 'Content-Type': 'text/plain', Accept: 'text/json' });
  const id = JSON.parse(sent.text).last_message_id;
  assert.equal((await socket.frame()).text, `id: ${id}\ncontent-type: text/plain\n\nhello`);
  await server.publish(name, 'id: 0\n\nlines');
  assert.match((await socket.frame()).text, /^id: \d+:\d+\n\nid: 0\n\nlines$/);
  await server.publish(name, '');
  assert.match((await socket.frame()).text, /^id: \d+:\d+\n\n$/);
  socket.destroy();
});

both('meta: a binary message is a binary frame with the same header', async () => {
  const name = channel();
  const socket = await ws(name, { 'Sec-WebSocket-Protocol': META });
  await server.publish(name, Buffer.from([0, 255, 10]), { 'Content-Type': 'application/octet-stream' });
  const frame = await socket.frame();
  assert.equal(frame.opcode, OP.binary);
  assert.match(frame.bytes.toString('latin1'), /^id: \d+:\d+\ncontent-type: application\/octet-stream\n\n\0\xff\n$/);
  socket.destroy();
});

both('meta: further protocols behind it are ignored', async () => {
  const socket = await ws(channel(), { 'Sec-WebSocket-Protocol': `${META}, chat` });
  assert.equal(socket.head.header('Sec-WebSocket-Protocol'), META);
  socket.destroy();
});

both('meta: sizes around the length forms count the header', async () => {
  const name = channel();
  const socket = await ws(name, { 'Sec-WebSocket-Protocol': META });
  for (const size of [0, 80, 100, 104, 105, 106, 107, 108, 109, 110, 125, 65500, 65520, 65535, 65536]) {
    const body = 'y'.repeat(size);
    await server.publish(name, body);
    const text = (await socket.frame()).text;
    assert.equal(text.slice(text.indexOf('\n\n') + 2), body, `size ${size}`);
  }
  socket.destroy();
});

both('meta: last_event_id in the query resumes', async () => {
  const name = channel();
  for (const body of ['a', 'b', 'c']) await server.publish(name, body);
  const first = await ws(name, { 'Sec-WebSocket-Protocol': META });
  const id = /^id: (.*)\n/.exec((await first.frame()).text)[1];
  first.destroy();
  const next = await WsConn.connect(server, `/sub/${name}?last_event_id=${encodeURIComponent(id)}`, { 'Sec-WebSocket-Protocol': META });
  assert.match((await next.frame()).text, /\n\nb$/);
  assert.match((await next.frame()).text, /\n\nc$/);
  next.destroy();
});

fanwireOnly('nchan looks at the first one only', 'meta: found anywhere in the list', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const socket = await ws(name, { 'Sec-WebSocket-Protocol': `chat, ${META}` });
  assert.equal(socket.head.header('Sec-WebSocket-Protocol'), META);
  assert.match((await socket.frame()).text, /^id: /);
  socket.destroy();
});

both('an unknown protocol does not fail the handshake and changes nothing', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const socket = await ws(name, { 'Sec-WebSocket-Protocol': 'chat' });
  assert.equal((await socket.frame()).text, 'x');
  socket.destroy();
});

fanwireOnly('nchan sends the field empty', 'an unknown protocol is not answered', async () => {
  const socket = await ws(channel(), { 'Sec-WebSocket-Protocol': 'chat' });
  assert.equal(socket.head.fields.has('Sec-WebSocket-Protocol'), false);
  socket.destroy();
});

const PMD = 'permessage-deflate';
// a server may promise or ask for less context on its own; window bits it may not bring up (RFC 7692, section 7.1)
const AGREED = /^permessage-deflate(; (server|client)_no_context_takeover)*$/;
for (const [offer, answer] of [
  [`${PMD}; client_max_window_bits`, AGREED],
  [PMD, AGREED],
  [`${PMD}; server_no_context_takeover`, /server_no_context_takeover/],
  [`${PMD}; client_no_context_takeover`, /client_no_context_takeover/],
  [`${PMD}; client_max_window_bits=12`, /client_max_window_bits="?1[0-2]"?/],
  [`${PMD}; server_max_window_bits=15`, /server_max_window_bits="?1[0-5]"?/],
]) {
  both(`deflate offer ${offer} is accepted`, async () => {
    const socket = await ws(channel(), { 'Sec-WebSocket-Extensions': offer });
    const got = socket.head.header('Sec-WebSocket-Extensions') ?? '';
    assert.ok(got.startsWith(PMD), got);
    assert.match(got, answer);
    socket.destroy();
  });
}

both('only messages published through a deflating location are compressed', async () => {
  const name = channel();
  const socket = await ws(name, { 'Sec-WebSocket-Extensions': PMD });
  const body = 'compress me '.repeat(200);
  await server.publish(name, body);
  const plain = await socket.frame();
  assert.deepEqual([plain.rsv1, plain.text], [false, body]);
  await server.publish(name, body, {}, '/zpub');
  const packed = await socket.frame();
  assert.equal(packed.rsv1, true);
  assert.ok(packed.bytes.length < body.length / 4);
  assert.equal(inflate(packed.bytes).toString(), body);
  socket.destroy();
});

both('no context is carried from one message to the next', async () => {
  const name = channel();
  for (let i = 0; i < 3; i += 1) await server.publish(name, `${'same text again '.repeat(50)}${i}`, {}, '/zpub');
  const socket = await ws(name, { 'Sec-WebSocket-Extensions': PMD });
  for (let i = 0; i < 3; i += 1) assert.equal(inflate((await socket.frame()).bytes).toString(), `${'same text again '.repeat(50)}${i}`);
  socket.destroy();
});

both('a socket without the extension gets the same message uncompressed', async () => {
  const name = channel();
  const body = 'compress me '.repeat(200);
  const socket = await ws(name);
  await server.publish(name, body, {}, '/zpub');
  const frame = await socket.frame();
  assert.deepEqual([frame.rsv1, frame.text], [false, body]);
  socket.destroy();
  assert.equal((await server.request('GET', `/sub/${name}`)).text, body);
});

both('meta and deflate together: header and body inflate as one message', async () => {
  const name = channel();
  const body = 'compress me '.repeat(200);
  const socket = await ws(name, { 'Sec-WebSocket-Extensions': PMD, 'Sec-WebSocket-Protocol': META });
  await server.publish(name, body, { 'Content-Type': 'text/plain' }, '/zpub');
  const frame = await socket.frame();
  assert.equal(frame.rsv1, true);
  assert.match(inflate(frame.bytes).toString(), /^id: \d+:\d+\ncontent-type: text\/plain\n\n(compress me ){200}$/);
  socket.destroy();
});

both('the ws package agrees: with and without meta, many messages, deflate on', async () => {
  const name = channel();
  const plain = new WebSocket(server.url(`/sub/${name}`).replace('http', 'ws'));
  const meta = new WebSocket(server.url(`/sub/${name}`).replace('http', 'ws'), META);
  const got = { plain: [], meta: [] };
  plain.on('message', (data) => got.plain.push(data.toString()));
  meta.on('message', (data) => got.meta.push(data.toString().replace(/^id: .*\n\n/, '')));
  await Promise.all([plain, meta].map((s) => new Promise((resolve, reject) => s.once('open', resolve).once('error', reject))));
  await server.subscribers(name, 2);
  const sent = [];
  for (let i = 0; i < 40; i += 1) {
    const body = `${i} `.repeat(i * 20 + 1);
    sent.push(body);
    await server.publish(name, body, {}, i % 2 ? '/zpub' : '/pub');
  }
  await eventually(() => got.plain.length === 40 && got.meta.length === 40, 'all messages');
  assert.deepEqual(got.plain, sent);
  assert.deepEqual(got.meta, sent);
  plain.terminate();
  meta.terminate();
});

fanwireOnly('nchan has no such bound', 'a deflate bomb from a client is refused within bounds', async () => {
  const socket = await ws(channel(), { 'Sec-WebSocket-Extensions': PMD });
  const bomb = zlib.deflateRawSync(Buffer.alloc(64 * 1024 * 1024), { finishFlush: zlib.constants.Z_SYNC_FLUSH }).subarray(0, -4);
  socket.send(OP.text, bomb, { rsv1: true });
  const frame = await socket.message();
  assert.equal(frame.opcode, OP.close);
  assert.ok([1008, 1009, 1007].includes(frame.code), `code ${frame.code}`);
  socket.destroy();
});

fanwireOnly('nchan answers nine bits with 400', 'window bits that cannot be served are declined, not failed', async () => {
  const conn = await Conn.open(server);
  conn.request('GET', `/sub/${channel()}`, { headers: upgradeHeaders({ 'Sec-WebSocket-Extensions': `${PMD}; server_max_window_bits=7` }) });
  const head = await conn.head();
  assert.ok([101, 400].includes(head.status), `status ${head.status}`);
  if (head.status === 101) assert.equal(head.fields.has('Sec-WebSocket-Extensions'), false);
  conn.destroy();
});
