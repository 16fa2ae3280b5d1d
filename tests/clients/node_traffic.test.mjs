// The same traffic on both drivers, with one and with three shards, at every size around frame limits.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { fanwireOnly } from '../support/cases.mjs';
import { channel, pub, start, sub } from '../support/server.mjs';
import { after } from '../support/ids.mjs';
import { Conn, open, sleep } from '../support/raw.mjs';
import { OP, WsConn } from '../support/websocket.mjs';

const SIZES = [0, 1, 125, 126, 65535, 65536, 1024 * 1024];
const bodies = SIZES.map((size) => crypto.randomBytes(Math.ceil((size * 3) / 4) + 1).toString('base64').slice(0, size));

async function traffic(server) {
  const name = channel();
  const sockets = await Promise.all(Array.from({ length: 6 }, () => WsConn.connect(server, `/sub/${name}`)));
  const chunked = await open(server, 'GET', `/sub/${name}`, { headers: { TE: 'chunked' } });
  await chunked.head();
  const raw = await open(server, 'GET', `/sub/${name}`, { headers: { Accept: 'text/event-stream' } });
  await raw.readThrough(': hi\n\n');
  await server.subscribers(name, 8);

  let headers = {};
  const poller = await Conn.open(server);
  for (const body of bodies) {
    poller.request('GET', `/sub/${name}`, { headers });
    await server.subscribers(name, 9);
    assert.equal((await server.request('POST', `/pub/${name}`, { body })).status, 201);
    const polled = await poller.response();
    assert.ok(polled.text === body, `long-poll, ${body.length} bytes`);
    headers = after(polled);
    for (const socket of sockets) assert.ok((await socket.message()).text === body, `web socket, ${body.length} bytes`);
    if (body.length > 0) assert.ok((await chunked.chunk()).toString() === body, `chunked, ${body.length} bytes`);
    assert.ok((await raw.readThrough('\n\n')).endsWith(`data: ${body}\n\n`), `event source, ${body.length} bytes`);
  }

  // from the store, in one go
  const late = await WsConn.connect(server, `/sub/${name}`);
  for (const body of bodies) assert.ok((await late.message()).text === body, `stored, ${body.length} bytes`);

  // in over a web socket, binary, sizes again
  const other = channel();
  const reader = await WsConn.connect(server, `/sub/${other}`);
  const writer = await WsConn.connect(server, `/pub/${other}`);
  for (const size of SIZES) {
    const body = crypto.randomBytes(size);
    writer.send(OP.binary, body);
    await writer.message();
    const got = await reader.message();
    assert.equal(got.opcode, OP.binary);
    assert.ok(got.bytes.equals(body), `published by socket, ${size} bytes`);
  }
  for (const c of [...sockets, chunked, raw, poller, late, reader, writer]) c.destroy();
  await server.subscribers(name, 0);
}

async function fan(server) {
  const names = Array.from({ length: 12 }, () => channel());
  const readers = await Promise.all(names.flatMap((name) => [0, 1, 2].map(() => WsConn.connect(server, `/sub/${name}`).then((s) => [name, s]))));
  const writers = await Promise.all(names.map((name) => Conn.open(server).then((c) => [name, c])));
  await Promise.all(
    writers.map(async ([name, conn]) => {
      for (let i = 0; i < 40; i += 1) {
        conn.request('POST', `/pub/${name}`, { body: `${name} ${i}` });
        assert.equal((await conn.response('POST')).status, 201);
      }
      conn.destroy();
    }),
  );
  for (const [name, socket] of readers) {
    for (let i = 0; i < 40; i += 1) assert.equal((await socket.message()).text, `${name} ${i}`);
    socket.destroy();
  }
}

/** A reader that does not read, while others must go on; then it catches up or is closed, never corrupted. */
async function slow(server) {
  const name = channel();
  const lazy = await WsConn.connect(server, `/sub/${name}`);
  const eager = await WsConn.connect(server, `/sub/${name}`);
  lazy.conn.socket.pause();
  const body = Buffer.alloc(256 * 1024, 's');
  for (let i = 0; i < 60; i += 1) {
    await server.publish(name, body);
    assert.ok((await eager.message()).bytes.equals(body));
  }
  lazy.conn.socket.resume();
  let whole = 0;
  try {
    while (whole < 60) {
      const frame = await lazy.message();
      if (frame.opcode === OP.close) break;
      assert.ok(frame.bytes.equals(body));
      whole += 1;
    }
  } catch (error) {
    assert.match(error.message, /connection ended/);
  }
  await server.publish(name, 'still here');
  assert.equal((await eager.message()).text, 'still here');
  lazy.destroy();
  eager.destroy();
}

/** Connections that come and go in the middle of everything. */
async function churn(server) {
  const name = channel();
  let running = true;
  const publisher = (async () => {
    for (let i = 0; running; i += 1) {
      await server.publish(name, `m${i}`);
      await sleep(1);
    }
  })();
  for (let round = 0; round < 40; round += 1) {
    const kinds = [
      () => WsConn.connect(server, `/sub/${name}`),
      () => open(server, 'GET', `/sub/${name}`, { headers: { Accept: 'text/event-stream' } }),
      () => open(server, 'GET', `/sub/${name}`),
      () => Conn.open(server),
    ];
    const opened = await Promise.all(kinds.map((k) => k()));
    if (round % 2) await sleep(3);
    for (const c of opened) {
      if (round % 3 === 0) (c.conn ?? c).socket.resetAndDestroy();
      else c.destroy();
    }
  }
  running = false;
  await publisher;
  await server.subscribers(name, 0);
}

for (const driver of ['uring', 'epoll']) {
  for (const shards of [1, 3]) {
    fanwireOnly('drivers and shards are ours', `${driver}, ${shards} shard(s): sizes, fan-out, a slow reader, churn`, async () => {
      const server = await start({ driver, shards, locations: [pub(), sub()] });
      try {
        await traffic(server);
        await fan(server);
        await slow(server);
        await churn(server);
      } finally {
        await server.stop();
      }
    });
  }
}
