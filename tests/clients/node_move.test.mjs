// Connections that move between shards, with everything that was read and written before (fanwire only).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fanwireOnly } from '../support/cases.mjs';
import { connect, descriptors, inParallel, metric, withNode } from '../support/process.mjs';
import { Conn, requestBytes } from '../support/raw.mjs';
import { channel, eventually } from '../support/server.mjs';
import { OP, WsConn, frameBytes, upgradeHeaders } from '../support/websocket.mjs';

const WHY = 'nchan has no such endpoint';
const SHARDS = 3;
const ALIVE = requestBytes('GET', '/health/live');
const upgrade = (shard) => requestBytes('GET', `/echo?shard=${shard}`, { headers: upgradeHeaders() });

function onBothDrivers(name, run, options = {}) {
  for (const driver of ['auto', 'epoll']) {
    fanwireOnly(WHY, `${name} (${driver})`, () => withNode({ shards: SHARDS, driver, args: ['--echo'], ...options }, run));
  }
}

/** Reads the handshake's answer: it must come from that shard. */
async function arrived(conn, shard) {
  const head = await conn.head();
  assert.equal(head.status, 101);
  assert.equal(head.header('X-Fanwire-Shard'), String(shard));
  return new WsConn(conn, head);
}

onBothDrivers('frames in the packet of the handshake, 500 times to each shard in turn', async (server) => {
  const before = descriptors(server);
  await inParallel(500, 20, async (i) => {
    const conn = await connect(server);
    const long = `${i} `.repeat(i % 7 === 0 ? 20_000 : 10);
    conn.send(Buffer.concat([upgrade(i % SHARDS), frameBytes(OP.text, 'first'), frameBytes(OP.text, long, { fin: false }), frameBytes(OP.continuation, 'end')]));
    const ws = await arrived(conn, i % SHARDS);
    assert.equal((await ws.frame()).text, 'first');
    assert.equal((await ws.frame()).text, `${long}end`);
    ws.text('later');
    assert.equal((await ws.frame()).text, 'later');
    if (i % 3 === 0) ws.close(1000);
    if (i % 3 === 1) conn.socket.resetAndDestroy();
    else conn.destroy();
  });
  assert.ok((await metric(server, 'fanwire_connections_moved_total')) > 100);
  await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'all connections are closed');
  await eventually(() => descriptors(server) <= before + 1, `all descriptors are closed: ${before} before`);
});

onBothDrivers('after requests on the same connection', async (server) => {
  for (let shard = 0; shard < SHARDS; shard += 1) {
    for (let round = 0; round < 6; round += 1) {
      const conn = await connect(server);
      for (let i = 0; i < 3; i += 1) assert.equal((await conn.send(ALIVE).response()).status, 200);
      assert.equal((await conn.send(requestBytes('POST', `/pub/${channel()}`, { body: 'x' })).response()).status, 202);
      conn.send(upgrade(shard));
      const ws = await arrived(conn, shard);
      assert.equal((await ws.text('hello').frame()).text, 'hello');
      conn.destroy();
    }
  }
});

onBothDrivers('behind requests in the same packet, all answered first', async (server) => {
  const name = channel();
  const big = 'b'.repeat(300_000);
  await server.publish(name, big);
  for (let round = 0; round < 12; round += 1) {
    const conn = await connect(server);
    conn.socket.pause();
    const others = [ALIVE, requestBytes('GET', `/sub/${name}`), requestBytes('GET', `/sub/${name}`), requestBytes('GET', `/sub/${name}`)];
    conn.send(Buffer.concat([...others, upgrade(round % SHARDS), frameBytes(OP.text, 'at last')]));
    setTimeout(() => conn.socket.resume(), round * 5);
    assert.equal((await conn.response()).status, 200);
    for (let i = 0; i < 3; i += 1) assert.equal((await conn.response()).text.length, big.length);
    const ws = await arrived(conn, round % SHARDS);
    assert.equal((await ws.frame()).text, 'at last');
    conn.destroy();
  }
});

onBothDrivers('no such shard: 404; the end of input moves along', async (server) => {
  for (const shard of [SHARDS, 63, 64, 65535]) {
    const conn = await connect(server);
    conn.send(upgrade(shard));
    assert.equal((await conn.response()).status, 404);
    await conn.readToEnd();
    conn.destroy();
  }
  for (let i = 0; i < 12; i += 1) {
    const conn = await connect(server);
    conn.send(Buffer.concat([upgrade(i % SHARDS), frameBytes(OP.text, 'one'), frameBytes(OP.close, Buffer.from([3, 232]))]));
    conn.halfClose();
    const ws = await arrived(conn, i % SHARDS);
    assert.equal((await ws.frame()).text, 'one');
    assert.equal((await ws.frame()).code, 1000);
    await conn.readToEnd();
    conn.destroy();
  }
});

for (const driver of ['auto', 'epoll']) {
  fanwireOnly(WHY, `connections of a unix socket are spread over all shards (${driver})`, async () => {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-test-unix-'));
    const socketPath = path.join(dir, 'socket');
    try {
      await withNode({ shards: SHARDS, driver, args: ['--echo', '--listen', `unix:${socketPath}`] }, async (server) => {
        const before = descriptors(server);
        const served = Array(SHARDS).fill(0);
        await inParallel(60, 10, async (i) => {
          const conn = await Conn.open({ socketPath });
          // data at once: it may be there before the connection is handed over
          conn.send(Buffer.concat([requestBytes('GET', '/echo', { headers: upgradeHeaders() }), frameBytes(OP.text, `${i}`)]));
          const head = await conn.head();
          served[Number(head.header('X-Fanwire-Shard'))] += 1;
          assert.equal((await new WsConn(conn, head).frame()).text, `${i}`);
          conn.destroy();
        });
        assert.deepEqual(served, [20, 20, 20]);
        await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'all connections are closed');
        await eventually(() => descriptors(server) <= before + 1, 'all descriptors are closed');
      });
      assert.ok(!fs.existsSync(socketPath) || fs.statSync(socketPath).isSocket());
    } finally {
      fs.rmSync(dir, { recursive: true, force: true });
    }
  });
}
