// WebSocket subscribers on the wire: handshake, frames, control frames, endings (nchan sheet, section 4).
import assert from 'node:assert/strict';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { Conn, requestBytes } from '../support/raw.mjs';
import { acceptOf, frameBytes, OP, upgradeHeaders, WsConn } from '../support/websocket.mjs';

const server = useServer({
  locations: [
    sub('/ping', { websocket_ping_interval: '1s' }),
    sub('/timed', { subscriber_timeout: '1s' }),
    sub('/known', { existing_channels_only: true }),
    pub(),
    sub(),
  ],
});

const ws = (name, headers, prefix = '/sub') => WsConn.connect(server, `${prefix}/${name}`, headers);

both('101 with accept key and upgrade fields', async () => {
  const conn = await Conn.open(server);
  conn.request('GET', `/sub/${channel()}`, { headers: upgradeHeaders({ 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' }) });
  const head = await conn.head();
  assert.equal(head.status, 101);
  assert.equal(head.header('Sec-WebSocket-Accept'), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  assert.match(head.header('Upgrade'), /^websocket$/i);
  assert.match(head.header('Connection'), /upgrade/i);
  conn.destroy();
});

both('field names and values are matched without case, Connection may list more', async () => {
  const key = 'AAAAAAAAAAAAAAAAAAAAAA==';
  const conn = await Conn.open(server);
  conn.send(
    `GET /sub/${channel()} HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n` +
      `sec-websocket-version: 13\r\nsec-websocket-key: ${key}\r\n\r\n`,
  );
  const head = await conn.head();
  assert.equal(head.status, 101);
  assert.equal(head.header('Sec-WebSocket-Accept'), acceptOf(key));
  conn.destroy();
});

both('a wrong or missing version, or a missing key, is 400 with a reason', async () => {
  for (const broken of [{ 'Sec-WebSocket-Version': '8' }, { 'Sec-WebSocket-Version': undefined }, { 'Sec-WebSocket-Key': undefined }]) {
    const got = await server.request('GET', `/sub/${channel()}`, { headers: upgradeHeaders(broken) });
    assert.equal(got.status, 400, JSON.stringify(broken));
    assert.match(got.header('Content-Type'), /^text\/plain/);
    assert.ok(got.text.length > 0);
  }
});

both('refusals come as statuses before 101', async () => {
  assert.equal((await server.request('GET', `/known/${channel()}`, { headers: upgradeHeaders() })).status, 403);
  assert.equal((await server.request('GET', `/sub/${channel()}`, { headers: upgradeHeaders({ 'Last-Event-ID': 'abc:1' }) })).status, 400);
});

both('stored and live messages come as text frames', async () => {
  const name = channel();
  await server.publish(name, 'stored', { 'Content-Type': 'application/json' });
  const socket = await ws(name);
  const first = await socket.frame();
  assert.deepEqual([first.opcode, first.fin, first.rsv1, first.text], [OP.text, true, false, 'stored']);
  await server.subscribers(name, 1);
  assert.equal((await server.request('POST', `/pub/${name}`, { body: 'live' })).status, 201);
  assert.equal((await socket.frame()).text, 'live');
  socket.destroy();
});

for (const [type, opcode] of [
  ['application/octet-stream', OP.binary],
  ['application/octet-stream; x=1', OP.text],
  ['application/pdf', OP.text],
  [undefined, OP.text],
]) {
  both(`content type ${type} is opcode ${opcode}`, async () => {
    const name = channel();
    const socket = await ws(name);
    await server.publish(name, 'x', { 'Content-Type': type });
    assert.equal((await socket.frame()).opcode, opcode);
    socket.destroy();
  });
}

both('binary bytes come unchanged', async () => {
  const name = channel();
  const body = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  await server.publish(name, body, { 'Content-Type': 'application/octet-stream' });
  const socket = await ws(name);
  assert.deepEqual((await socket.frame()).bytes, body);
  socket.destroy();
});

both('sizes around the length forms, in the shortest form', async () => {
  const name = channel();
  const socket = await ws(name);
  await server.subscribers(name, 1);
  for (const [size, form] of [[0, 0], [1, 1], [125, 125], [126, 126], [127, 126], [65535, 126], [65536, 127], [1048576, 127]]) {
    const body = Buffer.alloc(size, 'abc');
    await server.publish(name, body);
    const frame = await socket.frame();
    assert.equal(frame.lengthForm, form, `size ${size}`);
    assert.ok(frame.bytes.equals(body), `size ${size}`);
  }
  socket.destroy();
});

both('a frame from a client on a subscriber-only location closes with 1008', async () => {
  for (const opcode of [OP.text, OP.binary]) {
    const socket = await ws(channel());
    socket.send(opcode, 'hello');
    const frame = await socket.message();
    assert.equal(frame.opcode, OP.close);
    assert.equal(frame.code, 1008);
    assert.match(frame.reason, /^Publish/);
    socket.destroy();
  }
});

both('a ping is answered with the same payload', async () => {
  const socket = await ws(channel());
  for (const payload of ['', 'beat', 'x'.repeat(125)]) {
    socket.send(OP.ping, payload);
    const frame = await socket.frame();
    assert.deepEqual([frame.opcode, frame.text], [OP.pong, payload]);
  }
  socket.destroy();
});

both('an unasked pong is ignored', async () => {
  const name = channel();
  const socket = await ws(name);
  socket.send(OP.pong, 'x');
  await server.publish(name, 'after');
  assert.equal((await socket.frame()).text, 'after');
  socket.destroy();
});

both('a close is echoed and the connection ends', async () => {
  const socket = await ws(channel());
  socket.close(1000, 'bye');
  const frame = await socket.frame();
  assert.deepEqual([frame.opcode, frame.code], [OP.close, 1000]);
  await socket.conn.readToEnd();
  socket.destroy();
});

both('a close without a code is answered', async () => {
  const socket = await ws(channel());
  socket.close();
  assert.equal((await socket.frame()).opcode, OP.close);
  await socket.conn.readToEnd();
  socket.destroy();
});

both('a socket that closed leaves the count', async () => {
  const name = channel();
  const [polite, rude] = [await ws(name), await ws(name)];
  await server.subscribers(name, 2);
  polite.close(1000);
  await server.subscribers(name, 1);
  rude.destroy();
  await server.subscribers(name, 0);
});

both('server pings are empty; an answered one keeps the connection', async () => {
  const socket = await ws(channel(), {}, '/ping');
  for (let i = 0; i < 2; i += 1) {
    const frame = await socket.frame();
    assert.deepEqual([frame.opcode, frame.bytes.length], [OP.ping, 0]);
    socket.send(OP.pong, '');
  }
  socket.destroy();
});

both('no pong until the next ping is due: closed', async () => {
  const name = channel();
  const socket = await ws(name, {}, '/ping');
  assert.equal((await socket.frame()).opcode, OP.ping);
  await socket.conn.readToEnd(4000);
  await server.subscribers(name, 0);
  socket.destroy();
});

both('DELETE closes with 1001 410 Gone', async () => {
  const name = channel();
  const socket = await ws(name);
  await server.subscribers(name, 1);
  await server.request('DELETE', `/pub/${name}`);
  const frame = await socket.frame();
  assert.deepEqual([frame.opcode, frame.code, frame.reason], [OP.close, 1001, '410 Gone']);
  socket.close(1001);
  await socket.conn.readToEnd();
  socket.destroy();
});

both('after a close from our side the server does not wait for ours for ever', async () => {
  const name = channel();
  const socket = await ws(name);
  await server.subscribers(name, 1);
  await server.request('DELETE', `/pub/${name}`);
  assert.equal((await socket.frame()).code, 1001);
  await socket.conn.readToEnd();
  socket.destroy();
});

both('the timeout closes with 1000 and a reason with 408', async () => {
  const socket = await ws(channel(), {}, '/timed');
  const frame = await socket.message();
  assert.equal(frame.code, 1000);
  assert.match(frame.reason, /408 Request Timeout/);
  socket.destroy();
});

fanwireOnly('nchan now and then loses a split frame', 'a frame split over many packets is read', async () => {
  const socket = await ws(channel());
  for (const byte of frameBytes(OP.ping, 'split')) {
    socket.conn.send(Buffer.from([byte]));
    await new Promise(setImmediate);
  }
  assert.equal((await socket.frame()).text, 'split');
  socket.destroy();
});

fanwireOnly('nchan answers only the first', 'several control frames in one packet are all answered', async () => {
  const socket = await ws(channel());
  socket.conn.send(Buffer.concat([frameBytes(OP.ping, '1'), frameBytes(OP.ping, '2'), frameBytes(OP.ping, '3')]));
  for (const text of ['1', '2', '3']) assert.equal((await socket.frame()).text, text);
  socket.destroy();
});

fanwireOnly('nchan loses it', 'a frame in the same packet as the handshake is read', async () => {
  const conn = await Conn.open(server);
  conn.send(Buffer.concat([requestBytes('GET', `/sub/${channel()}`, { headers: upgradeHeaders() }), frameBytes(OP.ping, 'early')]));
  const head = await conn.head();
  const frame = await new WsConn(conn, head).frame();
  assert.deepEqual([frame.opcode, frame.text], [OP.pong, 'early']);
  conn.destroy();
});

const broken = [
  ['an unmasked frame', (s) => s.send(OP.ping, 'x', { mask: false }), 1002],
  ['a reserved opcode', (s) => s.send(3, 'x'), 1002],
  ['a reserved control opcode', (s) => s.send(0xb, 'x'), 1002],
  ['a fragmented ping', (s) => s.send(OP.ping, 'x', { fin: false }), 1002],
  ['a ping longer than 125 bytes', (s) => s.send(OP.ping, 'x'.repeat(126)), 1002],
  ['a reserved bit without an extension', (s) => s.send(OP.text, 'x', { rsv1: true }), 1002],
  ['a continuation of nothing', (s) => s.send(OP.continuation, 'x'), 1002],
  ['a close with one byte', (s) => s.send(OP.close, 'x'), 1002],
  ['a close with a reserved code', (s) => s.close(1005), 1002],
  ['a close reason that is not UTF-8', (s) => s.send(OP.close, Buffer.from([3, 232, 0xff, 0xfe])), 1007],
];
for (const [label, act, code] of broken) {
  fanwireOnly('nchan checks little of RFC 6455 here', `${label} is closed with ${code}`, async () => {
    const socket = await ws(channel());
    act(socket);
    const frame = await socket.message();
    assert.equal(frame.opcode, OP.close);
    assert.ok(code === 1007 ? [1007, 1002].includes(frame.code) : frame.code === code, `code ${frame.code}`);
    await socket.conn.readToEnd();
    socket.destroy();
  });
}

fanwireOnly('needs a bound of our own', 'a frame that promises 2^63 bytes is refused, not waited for', async () => {
  const socket = await ws(channel());
  socket.conn.send(Buffer.from([0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
  const frame = await socket.message();
  assert.equal(frame.opcode, OP.close);
  assert.ok([1002, 1008, 1009].includes(frame.code), `code ${frame.code}`);
  socket.destroy();
});
