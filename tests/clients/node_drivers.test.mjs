// Churn: connections that end in every way there is leave nothing behind, on both drivers (fanwire only).
import assert from 'node:assert/strict';
import { fanwireOnly } from '../support/cases.mjs';
import { SHAPES, connect, descriptors, inParallel, metric, rssKib, shapeName, withNode } from '../support/process.mjs';
import { requestBytes, sleep } from '../support/raw.mjs';
import { channel, eventually, pub, sub } from '../support/server.mjs';
import { OP, WsConn, frameBytes, upgradeHeaders } from '../support/websocket.mjs';

const WHY = 'about our own drivers';
const ALIVE = requestBytes('GET', '/health/live');
const names = Array.from({ length: 6 }, () => channel('churn'));
const nameOf = (i) => names[i % names.length];
const shake = (where) => requestBytes('GET', where, { headers: upgradeHeaders() });
const publish = (i) => requestBytes('POST', `/pub/${nameOf(i)}`, { body: `m${i}` });

async function publishes(conn, i, end) {
  conn.send(publish(i));
  end?.();
  const { status } = await conn.response();
  assert.ok(status === 201 || status === 202, `${status}`);
  await conn.readToEnd();
}

/** The ways in which a connection may end. */
const ENDS = {
  'FIN without a word': async (conn) => conn.halfClose(),
  'RST without a word': async (conn) => conn.socket.resetAndDestroy(),
  'FIN between requests': async (conn) => {
    assert.equal((await conn.send(ALIVE).response()).status, 200);
    conn.halfClose();
    await conn.readToEnd();
  },
  'a request and FIN in one packet': async (conn) => {
    conn.socket.end(ALIVE);
    assert.equal((await conn.response()).status, 200);
    await conn.readToEnd();
  },
  'a request and RST': async (conn, i) => {
    conn.send(publish(i));
    await sleep(i % 3);
    conn.socket.resetAndDestroy();
  },
  'half a request and FIN': async (conn) => {
    conn.socket.end('GET /health/live HT');
    await conn.readToEnd();
  },
  'half-close with a publish pending': async (conn, i) => publishes(conn, i, () => conn.halfClose()),
  'a poll whose client leaves': async (conn, i) => {
    conn.send(requestBytes('GET', `/sub/none-${i % 50}`));
    await sleep(i % 4);
    conn.destroy();
  },
  'a poll whose client resets': async (conn, i) => {
    conn.send(requestBytes('GET', `/sub/none-${i % 50}`));
    await sleep(i % 4);
    conn.socket.resetAndDestroy();
  },
  'an event stream that is left': async (conn, i) => {
    conn.send(requestBytes('GET', `/sub/${nameOf(i)}`, { headers: { Accept: 'text/event-stream' } }));
    await conn.head();
    if (i % 2) conn.socket.resetAndDestroy();
    else conn.destroy();
  },
  'a close frame and its echo': async (conn, i) => {
    conn.send(shake(`/sub/none-${i % 50}`));
    const ws = new WsConn(conn, await conn.head());
    ws.close(1000);
    assert.equal((await ws.message()).code, 1000);
    await conn.readToEnd();
  },
  'handshake, close frame and FIN in one packet': async (conn, i) => {
    conn.socket.end(Buffer.concat([shake(`/sub/none-${i % 50}`), frameBytes(OP.close, Buffer.from([3, 232]))]));
    assert.equal((await conn.head()).status, 101);
    await conn.readToEnd();
  },
  'a WebSocket that is reset': async (conn, i) => {
    conn.send(shake(`/sub/${nameOf(i)}`));
    if (i % 2) assert.equal((await conn.head()).status, 101);
    conn.socket.resetAndDestroy();
  },
  'a WebSocket that breaks the protocol': async (conn, i) => {
    conn.send(Buffer.concat([shake(`/sub/none-${i % 50}`), frameBytes(OP.text, 'x', { rsv1: true })]));
    const ws = new WsConn(conn, await conn.head());
    assert.equal((await ws.message()).code, 1002);
    await conn.readToEnd();
  },
  'no HTTP at all': async (conn) => {
    conn.send('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n');
    assert.equal((await conn.response()).status, 400);
    await conn.readToEnd();
  },
};

const COUNT = 3000;

for (const shape of SHAPES) {
  fanwireOnly(WHY, `${COUNT} connections that end in ${Object.keys(ENDS).length} ways (${shapeName(shape)})`, () =>
    withNode({ ...shape, locations: [pub('/pub', { buffer_messages: 3 }), sub('/sub', { first_message: 'newest' })] }, async (server) => {
      const ways = Object.entries(ENDS);
      const churn = (count) =>
        inParallel(count, 40, async (i) => {
          const [what, end] = ways[i % ways.length];
          const conn = await connect(server);
          try {
            await end(conn, i);
          } catch (error) {
            error.message = `${what}: ${error.message}`;
            throw error;
          } finally {
            conn.destroy();
          }
        });
      const gone = () =>
        eventually(async () => (await metric(server, 'fanwire_connections')) === 1 && (await metric(server, 'fanwire_subscriptions')) === 0, 'all connections and subscriptions are gone', 5000);
      await churn(300); // what is allocated once is allocated now
      await gone();
      const before = { fds: descriptors(server), rss: rssKib(server) };
      await churn(COUNT);
      await gone();
      await eventually(() => descriptors(server) <= before.fds + 1, `descriptors are back at ${before.fds}`);
      assert.ok(rssKib(server) - before.rss < 16 * 1024, `${rssKib(server) - before.rss} KiB more`);
      assert.equal(await metric(server, 'fanwire_panics_total'), 0);
      const [accepted, closed] = [await metric(server, 'fanwire_connections_accepted_total'), await metric(server, 'fanwire_connections_closed_total')];
      assert.ok(accepted - closed <= 2, `${accepted} accepted, ${closed} closed`);
    }));
}
