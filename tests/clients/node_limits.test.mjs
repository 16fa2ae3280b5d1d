// What the node's limits do, and that nothing a client does slowly, hugely or halfway gets past them (fanwire only).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fanwireOnly, within } from '../support/cases.mjs';
import { SHAPES, connect, cpuMs, descriptors, inParallel, metric, rssKib, shapeName, withNode } from '../support/process.mjs';
import { http, requestBytes, sleep } from '../support/raw.mjs';
import { FANWIRE_BIN, channel, eventually, pub, sub } from '../support/server.mjs';
import { OP, WsConn, frameBytes, upgradeHeaders } from '../support/websocket.mjs';

const WHY = 'about our own limits';
const ALIVE = requestBytes('GET', '/health/live');

/** One test per shape of the node. */
function everywhere(name, options, run) {
  for (const shape of SHAPES) {
    fanwireOnly(WHY, `${name} (${shapeName(shape)})`, () => withNode({ ...shape, ...options }, (server) => run(server, shape)));
  }
}

/** Connects and asks for something, so that the node has counted the connection. */
async function settled(server, options) {
  const conn = await connect(server, options);
  const { status } = await conn.send(ALIVE).response();
  assert.equal(status, 200);
  return conn;
}

/** Requires that the node refuses this connection with this status, also if it says nothing. */
async function refused(conn, status = 503) {
  const answer = await conn.response();
  assert.equal(answer.status, status);
  assert.match(answer.header('Retry-After'), /^\d+$/);
  assert.equal((await conn.readToEnd()).length, 0);
  conn.destroy();
}

everywhere('connections: one more is refused with 503, and room that is made is used', { toml: '[limits]\nconnections = 5\n' }, async (server) => {
  await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'nobody else is connected');
  await sleep(50);
  const conns = [];
  for (let i = 0; i < 5; i += 1) conns.push(await settled(server));
  for (let i = 0; i < 3; i += 1) await refused(await connect(server));
  conns.pop().destroy();
  const again = await eventually(async () => settled(server), 'a connection when one has left');
  for (const conn of [...conns, again]) conn.destroy();
  await eventually(async () => (await metric(server, 'fanwire_refusals_total', '"connections"')) >= 3, 'refusals are counted');
});

fanwireOnly(WHY, 'connections per address: others are not concerned', () =>
  withNode({ shards: 1, toml: '[limits]\nconnections_per_address = 4\n' }, async (server) => {
    await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'nobody else is connected');
    await sleep(50);
    const conns = [];
    for (let i = 0; i < 4; i += 1) conns.push(await settled(server));
    for (let i = 0; i < 3; i += 1) await refused(await connect(server), 429);
    const other = await settled(server, { localAddress: '127.0.0.2' });
    for (const conn of conns) conn.destroy();
    await eventually(async () => (await settled(server)).destroy() ?? true, 'room when they have left');
    assert.ok((await metric(server, 'fanwire_refusals_total', '"connections_per_address"')) >= 3);
    other.destroy();
  }));

fanwireOnly(WHY, 'connections per address over several shards: never more than the limit', () =>
  withNode({ shards: 3, toml: '[limits]\nconnections_per_address = 6\n' }, async (server) => {
    await sleep(50);
    const conns = [];
    for (let i = 0; i < 40; i += 1) conns.push(await connect(server));
    const answers = await Promise.all(conns.map((conn) => conn.send(ALIVE).response().then((a) => a.status, () => 503)));
    const served = answers.filter((status) => status === 200).length;
    assert.ok(served >= 2 && served <= 6, `${served} served`);
    for (const conn of conns) conn.destroy();
    await eventually(async () => (await http(server, 'GET', '/health/live')).status === 200, 'room when they have left');
  }));

const QUICK = '[limits]\nheader_timeout = "300ms"\nbody_timeout = "300ms"\nidle_timeout = "600ms"\n';

everywhere('timeouts: head, body and idle connections', { toml: QUICK }, async (server) => {
  const begun = Date.now();
  const silent = await connect(server);
  const head = (await connect(server)).send('GET /health/live HTTP/1.1\r\nHost: a\r\n');
  const body = (await connect(server)).send('POST /pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc');
  const poll = (await connect(server)).send(requestBytes('GET', `/sub/${channel()}`));
  // a client that a busy machine holds up for longer than a head may take has to come again
  const idle = await settled(server).catch(() => settled(server));
  const dripping = await connect(server);
  const drip = setInterval(() => dripping.send('x'), 20);
  dripping.send('GET /health/live HTTP/1.1\r\nX: ');
  try {
    for (const conn of [head, body, dripping]) {
      assert.equal((await conn.response('GET', 2000)).status, 408);
      await conn.readToEnd();
    }
    assert.equal((await silent.readToEnd(2000)).length, 0);
    assert.ok(Date.now() - begun < 1500, `${Date.now() - begun} ms`);
    assert.equal((await idle.readToEnd(2000)).length, 0);
    assert.ok(Date.now() - begun >= 600);
    await poll.staysQuiet(700);
  } finally {
    clearInterval(drip);
    for (const conn of [silent, head, body, poll, idle, dripping]) conn.destroy();
  }
});

fanwireOnly(WHY, 'timeouts: a part of a second request behind a page has the time of a head, not of an idle connection', () =>
  withNode({ shards: 1, toml: QUICK.replace('600ms', '60s') }, async (server) => {
    const conn = await connect(server);
    conn.send('GET /health/live HTTP/1.1\r\n');
    await sleep(50);
    conn.send('Host: a\r\n\r\nGET /hea');
    assert.equal((await conn.response()).status, 200);
    assert.equal((await conn.response('GET', 2000)).status, 408);
    conn.destroy();
  }));

async function byteByByte(conn, bytes) {
  for (const byte of bytes) {
    conn.send(Buffer.from([byte]));
    await sleep(1);
  }
}

everywhere('200 clients at once that send one byte at a time', { args: ['--echo'] }, async (server) => {
  const name = channel();
  await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const conn = await connect(server);
      if (i % 2) {
        await byteByByte(conn, requestBytes('POST', `/pub/${name}`, { body: `message ${i}` }));
        assert.equal((await conn.response()).status, 202);
      } else {
        await byteByByte(conn, requestBytes('GET', '/echo', { headers: upgradeHeaders() }));
        const ws = new WsConn(conn, await conn.head());
        assert.equal(ws.head.status, 101);
        await byteByByte(conn, Buffer.concat([frameBytes(OP.text, 'hal', { fin: false }), frameBytes(OP.ping, 'p'), frameBytes(OP.continuation, `ves ${i}`)]));
        assert.equal((await ws.frame()).opcode, OP.pong);
        assert.equal((await ws.frame()).text, `halves ${i}`);
      }
      conn.destroy();
    }),
  );
  assert.equal((await server.info(name)).messages, 100);
});

const DEEP = [pub('/pub', { buffer_messages: 10000 }), sub()];

everywhere('5000 pipelined publishes to channels of all shards are answered in order', { locations: DEEP }, async (server) => {
  const names = Array.from({ length: 4 }, () => channel());
  const COUNT = 5000;
  const requests = Array.from({ length: COUNT }, (_, i) =>
    requestBytes('POST', `/pub/${names[i % 4]}`, { body: `number ${i}`, headers: { Accept: 'text/json' } }),
  );
  const conn = await connect(server);
  conn.send(Buffer.concat(requests));
  for (let i = 0; i < COUNT; i += 1) {
    const answer = await conn.response();
    assert.equal(answer.status, 202);
    assert.equal(JSON.parse(answer.text).messages, Math.floor(i / 4) + 1, `answer ${i}`);
  }
  conn.destroy();
});

everywhere('pipelined publishes and the end of input: all are taken and answered, then the node closes', { locations: DEEP }, async (server) => {
  await inParallel(8, 8, async (round) => {
    const name = channel();
    const conn = await connect(server);
    // the first rounds fit into one packet, the last ones are longer than what is read ahead
    const count = round < 6 ? 20 : 3000;
    conn.send(Buffer.concat(Array.from({ length: count }, () => requestBytes('POST', `/pub/${name}`, { body: 'x'.repeat(20) }))));
    conn.halfClose();
    for (let i = 0; i < count; i += 1) assert.equal((await conn.response()).status, 202, `answer ${i}`);
    await conn.readToEnd();
    assert.equal((await server.info(name)).messages, count);
  });
  await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'all connections are closed');
});

everywhere('much input and its end at once: the end is seen', { args: ['--echo'] }, async (server) => {
  for (const size of [100_000, 600_000, 1_500_000]) {
    const ws = await WsConn.connect(server, '/echo');
    ws.conn.send(Buffer.concat(Array.from({ length: size / 50 }, () => frameBytes(OP.pong, 'x'.repeat(44)))));
    ws.conn.halfClose();
    await ws.conn.readToEnd(2000);
    ws.destroy();
  }
  await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'all connections are closed');
});

everywhere('a poll with junk behind it, and a client that is gone, are not kept', {}, async (server) => {
  const before = descriptors(server);
  await inParallel(20, 20, async (i) => {
    const conn = await connect(server);
    conn.send(Buffer.concat([requestBytes('GET', `/sub/${channel()}`), Buffer.alloc(200_000, 'GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n')]));
    await sleep(50);
    if (i % 2) conn.socket.resetAndDestroy();
    else conn.destroy();
  });
  await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'all connections are closed');
  assert.equal(await metric(server, 'fanwire_subscriptions'), 0);
  await eventually(() => descriptors(server) <= before + 1, 'all descriptors are closed');
});

everywhere('pipelined requests for long answers wait until the answers are taken', { toml: '[limits]\noutbox_bytes = "512KiB"\n' }, async (server) => {
  const name = channel();
  const body = 'b'.repeat(100_000);
  await server.publish(name, body);
  const before = rssKib(server);
  const poll = requestBytes('GET', `/sub/${name}`);
  for (const [count, request] of [[300, poll], [3000, requestBytes('GET', '/metrics')]]) {
    const conn = await connect(server);
    conn.socket.pause();
    conn.send(Buffer.concat(Array.from({ length: count }, () => request)));
    await sleep(300);
    assert.ok(rssKib(server) - before < 16 * 1024, `${rssKib(server) - before} KiB more`);
    assert.equal((await http(server, 'GET', '/health/live')).status, 200);
    conn.socket.resume();
    for (let i = 0; i < count; i += 1) {
      const answer = await conn.response();
      assert.equal(answer.status, 200, `answer ${i}: ${answer.text}`);
      if (request === poll) assert.equal(answer.text.length, body.length);
    }
    conn.destroy();
  }
});

fanwireOnly(WHY, 'a long last answer is given the time that a slow client takes', () =>
  withNode({ shards: 1, args: ['--echo'] }, async (server) => {
    const name = channel();
    await server.publish(name, 'b'.repeat(2_000_000));
    for (const half of [false, true]) {
      const conn = await connect(server);
      conn.send(requestBytes('GET', `/sub/${name}`, { headers: { Connection: 'close' } }));
      if (half) {
        await sleep(100);
        conn.halfClose();
      }
      conn.socket.pause();
      const slowly = setInterval(() => {
        conn.socket.resume();
        setTimeout(() => conn.socket.pause(), 1);
      }, 150);
      await sleep(2600); // longer than a closing connection lingers when nothing moves
      clearInterval(slowly);
      await sleep(10);
      conn.socket.resume();
      const answer = await within(conn.response(), 4000, 'the rest of the answer');
      assert.equal(answer.bytes.length, 2_000_000);
      conn.destroy();
    }
  }));

/** As `withNode`, with room for `room` more descriptors than an idle node has. */
async function withFewDescriptors(shape, room, run) {
  let idle;
  await withNode(shape, async (server) => {
    await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'nobody else is connected');
    await eventually(() => (idle = descriptors(server)) && true, 'counted');
  });
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-test-few-'));
  const script = path.join(dir, 'fanwire');
  // hard limit, too: the node raises the soft one to it; a ring's accept keeps the limit of its start
  fs.writeFileSync(script, `#!/bin/sh\nexec prlimit --nofile=${idle + room}:${idle + room} "${FANWIRE_BIN}" "$@"\n`, { mode: 0o755 });
  const outside = process.env.FANWIRE_BIN;
  process.env.FANWIRE_BIN = script;
  const limited = await import('../support/server.mjs?limited=' + encodeURIComponent(dir));
  if (outside === undefined) delete process.env.FANWIRE_BIN;
  else process.env.FANWIRE_BIN = outside;
  try {
    await withNode(shape, run, limited.start);
  } finally {
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

for (const shape of SHAPES) {
  fanwireOnly(WHY, `out of descriptors: refused, no busy loop, and back when there are some (${shapeName(shape)})`, () =>
    withFewDescriptors(shape, 10, async (server) => {
      const conns = await Promise.all(Array.from({ length: 60 }, () => connect(server)));
      const outcome = (conn) =>
        conn.send(ALIVE).response('GET', 1000).then(
          (answer) => String(answer.status),
          (error) => (/connection ended/.test(error.message) ? 'closed' : 'waits'),
        );
      const outcomes = await Promise.all(conns.map(outcome));
      const count = (what) => outcomes.filter((o) => o === what).length;
      // one shard may use another's spare descriptor, too
      assert.ok(count('200') >= 4 && count('200') <= 11 + shape.shards, outcomes.join(' '));
      assert.ok(count('503') + count('closed') > 0, outcomes.join(' '));
      // several shards may lose their spare descriptor to each other: then the rest waits in the kernel's queue
      if (shape.shards === 1) assert.equal(count('waits'), 0, outcomes.join(' '));
      const before = cpuMs(server);
      await sleep(1000);
      assert.ok(cpuMs(server) - before < 300, `${cpuMs(server) - before} ms of CPU in a second`);
      for (const conn of conns) conn.destroy();
      await eventually(async () => (await http(server, 'GET', '/health/live')).status === 200, 'it serves again');
      assert.ok((await metric(server, 'fanwire_refusals_total', '"file_descriptors"')) > 0);
      for (let i = 0; i < 20; i += 1) await eventually(async () => (await settled(server)).destroy() ?? true, 'it goes on');
    }));
}
