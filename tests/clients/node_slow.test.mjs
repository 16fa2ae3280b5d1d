// Subscribers that do not keep up: others notice nothing, and the slow one gets what its location promises (fanwire only).
import assert from 'node:assert/strict';
import { fanwireOnly } from '../support/cases.mjs';
import { SHAPES, connect, metric, rssKib, shapeName, withNode } from '../support/process.mjs';
import { requestBytes, sleep } from '../support/raw.mjs';
import { channel, eventually, pub, sub } from '../support/server.mjs';
import { OP, WsConn, frameBytes } from '../support/websocket.mjs';

const WHY = 'nchan has no such rules';
const POLICIES = ['close', 'drop-oldest', 'keep-latest'];
const SMALL = '[limits]\noutbox_bytes = "32KiB"\n';
const LOCATIONS = [
  pub('/pub', { buffer_messages: 1 }),
  ...POLICIES.map((policy) => sub(`/${policy}`, { slow_consumer: policy })),
  sub('/ping', { websocket_ping_interval: '300ms' }),
  sub(),
];
const COUNT = 500;
// Messages: less than a socket takes.
const AHEAD = 8;
const PADDING = 'p'.repeat(8000);
const text = (i) => `<${i}>${PADDING}`;

/** The number in a message, which must have come whole. */
function numberOf(message) {
  const match = /^<(\d+)>(p*)$/.exec(message);
  assert.ok(match && match[2].length === PADDING.length, `not a whole message: ${message.slice(0, 60)} (${message.length})`);
  return Number(match[1]);
}

const CARRIERS = {
  websocket: async (server, where) => {
    const ws = await WsConn.connect(server, where);
    return { conn: ws.conn, next: async () => (await ws.message()).text };
  },
  eventsource: async (server, where) => {
    const conn = await connect(server);
    conn.send(requestBytes('GET', where, { headers: { Accept: 'text/event-stream' } }));
    assert.equal((await conn.head()).status, 200);
    const next = async () => {
      for (;;) {
        const event = await conn.readThrough('\n\n');
        const data = event.split('\n').filter((line) => line.startsWith('data: '));
        if (data.length > 0) return data.map((line) => line.slice(6)).join('\n');
      }
    };
    return { conn, next };
  },
};

/**
 * Publishes all messages in order over one connection, each answered before the next, and none far ahead of what
 * `reached` says the quick subscriber has: on a machine without time for its shard, that one would be slow, too.
 */
async function publishAll(server, name, reached) {
  const conn = await connect(server);
  for (let i = 0; i < COUNT; i += 1) {
    await eventually(() => i - reached.count < AHEAD, `the quick subscriber has message ${i - AHEAD}`);
    const { status } = await conn.send(requestBytes('POST', `/pub/${name}`, { body: text(i) })).response();
    assert.ok(status === 201 || status === 202, `publish ${i} answered ${status}`);
  }
  conn.destroy();
}

async function slowAndQuick(server, carrier, policy) {
  const name = channel();
  const slow = await CARRIERS[carrier](server, `/${policy}/${name}`);
  slow.conn.socket.pause();
  const quick = await CARRIERS[carrier](server, `/sub/${name}`);
  await server.subscribers(name, 2);
  const before = { dropped: await metric(server, 'fanwire_dropped_total'), closed: await metric(server, 'fanwire_slow_consumers_closed_total') };
  const reached = { count: 0 };
  const all = (async () => {
    for (; reached.count < COUNT; reached.count += 1) assert.equal(numberOf(await quick.next()), reached.count);
  })();
  await Promise.all([all, publishAll(server, name, reached)]);
  const since = async () => ({
    dropped: (await metric(server, 'fanwire_dropped_total')) - before.dropped,
    closed: (await metric(server, 'fanwire_slow_consumers_closed_total')) - before.closed,
  });

  const got = [];
  let ended;
  if (policy === 'close') {
    await server.subscribers(name, 1);
    slow.conn.socket.resume();
    for (;;) {
      try {
        got.push(numberOf(await slow.next()));
      } catch (error) {
        ended = error;
        break;
      }
    }
    assert.match(ended.message, /connection ended/);
    assert.deepEqual(await since(), { dropped: 0, closed: 1 });
    assert.deepEqual(got, got.map((_, i) => i), 'what arrives before the end has no gap');
    assert.ok(got.length < COUNT);
  } else {
    slow.conn.socket.resume();
    do got.push(numberOf(await slow.next()));
    while (got.at(-1) !== COUNT - 1);
    assert.deepEqual(got, [...new Set(got)].sort((a, b) => a - b), 'in order and once');
    // It has the last message, so its shard is through with all of them.
    assert.ok(got.length < COUNT);
    assert.deepEqual(await since(), { dropped: COUNT - got.length, closed: 0 });
    await server.publish(name, text(COUNT));
    assert.equal(numberOf(await slow.next()), COUNT, 'it goes on as before');
    assert.equal(numberOf(await quick.next()), COUNT);
  }
  slow.conn.destroy();
  quick.conn.destroy();
}

for (const shape of SHAPES) {
  fanwireOnly(WHY, `a subscriber that stops reading, each carrier and rule (${shapeName(shape)})`, () =>
    withNode({ ...shape, toml: SMALL, locations: LOCATIONS }, async (server) => {
      for (const carrier of Object.keys(CARRIERS)) for (const policy of POLICIES) await slowAndQuick(server, carrier, policy);
      await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'all connections are closed');
      assert.equal(await metric(server, 'fanwire_subscriptions'), 0);
    }));

  fanwireOnly(WHY, `pings without end from a client that never reads (${shapeName(shape)})`, () =>
    withNode({ ...shape, toml: SMALL, locations: LOCATIONS }, async (server) => {
      const ws = await WsConn.connect(server, `/sub/${channel()}`);
      ws.conn.socket.pause();
      const before = rssKib(server);
      const pings = Buffer.concat(Array.from({ length: 500 }, () => frameBytes(OP.ping, 'p'.repeat(125))));
      const deadline = Date.now() + 10_000;
      while (!ws.conn.ended && Date.now() < deadline) {
        ws.conn.send(pings);
        await sleep(2);
      }
      assert.ok(ws.conn.ended, 'it is closed');
      assert.ok(rssKib(server) - before < 20 * 1024, `${rssKib(server) - before} KiB more`);
      assert.equal(await metric(server, 'fanwire_refusals_total', '"outbox_full"'), 1);
      assert.equal(await metric(server, 'fanwire_subscriptions'), 0);
    }));

  fanwireOnly(WHY, `memory stays bounded with 50 subscribers that do not read (${shapeName(shape)})`, () =>
    withNode({ ...shape, toml: '[limits]\noutbox_bytes = "64KiB"\n', locations: LOCATIONS }, async (server) => {
      const name = channel();
      const slow = await Promise.all(
        Array.from({ length: 50 }, async (_, i) => {
          const carrier = i % 2 ? 'websocket' : 'eventsource';
          const one = await CARRIERS[carrier](server, `/${i % 4 < 2 ? 'drop-oldest' : 'keep-latest'}/${name}`);
          one.conn.socket.pause();
          return one;
        }),
      );
      await server.subscribers(name, 50);
      await server.publish(name, 'x'.repeat(60_000));
      const before = rssKib(server);
      for (let i = 0; i < 300; i += 1) await server.publish(name, `${i} `.repeat(15_000));
      assert.ok(rssKib(server) - before < 32 * 1024, `${rssKib(server) - before} KiB more`);
      assert.equal((await server.info(name)).subscribers, 50);
      for (const one of slow) one.conn.destroy();
    }));
}

fanwireOnly(WHY, 'a subscriber that reads slowly but steadily is not taken for dead', () =>
  withNode(
    { shards: 1, locations: [...LOCATIONS, sub('/steady', { slow_consumer: 'drop-oldest', websocket_ping_interval: '300ms' })], toml: '[limits]\noutbox_bytes = "8MiB"\nwebsocket_pong_timeout = "300ms"\n' },
    async (server) => {
      const name = channel();
      const ws = await WsConn.connect(server, `/steady/${name}`);
      const dead = await WsConn.connect(server, `/steady/${name}-dead`);
      dead.conn.socket.pause();
      ws.conn.socket.pause();
      await server.subscribers(name, 1);
      for (let i = 0; i < 40; i += 1) await server.publish(name, 'z'.repeat(100_000));
      const trickle = setInterval(() => {
        ws.conn.socket.resume();
        setTimeout(() => ws.conn.socket.pause(), 2);
      }, 80);
      let answered = 0;
      const reading = (async () => {
        for (let i = 0; i < 40; ) {
          const frame = await ws.frame();
          if (frame.opcode === OP.ping) {
            ws.send(OP.pong, frame.bytes);
            answered += 1;
          } else {
            assert.equal(frame.opcode, OP.text);
            i += 1;
          }
        }
      })();
      await reading.finally(() => clearInterval(trickle));
      assert.ok(answered >= 0);
      await server.subscribers(`${name}-dead`, 0);
      ws.destroy();
      dead.destroy();
    },
  ));
