// No loss and no duplicates: bursts within a second, walkers, pollers with gaps, many streams (traps 2, 15).
import assert from 'node:assert/strict';
import { both, useServer } from '../support/cases.mjs';
import { channel, eventually, pub, sub } from '../support/server.mjs';
import { after, idOf, idOrder } from '../support/ids.mjs';
import { Conn, open, requestBytes, sleep } from '../support/raw.mjs';
import { WsConn } from '../support/websocket.mjs';

const server = useServer({ locations: [pub('/pub', { buffer_messages: 1000 }), sub()] });
const bodies = (n) => Array.from({ length: n }, (_, i) => `m${i}`);

/** Publishes all bodies over one connection, each behind the answer to the last. */
async function burst(name, list) {
  const conn = await Conn.open(server);
  for (const body of list) {
    conn.request('POST', `/pub/${name}`, { body });
    assert.ok([201, 202].includes((await conn.response('POST')).status));
  }
  conn.destroy();
}

/** Polls with If-* headers until `count` messages are there, pausing now and then. */
async function poller(name, count, { pauseMs = 0, keepAlive = true } = {}) {
  const seen = [];
  let headers = {};
  let conn;
  while (seen.length < count) {
    if (!conn) conn = await Conn.open(server);
    conn.request('GET', `/sub/${name}`, { headers });
    const answer = await conn.response();
    assert.equal(answer.status, 200);
    seen.push({ id: idOf(answer), text: answer.text });
    headers = after(answer);
    if (!keepAlive) {
      conn.destroy();
      conn = undefined;
    }
    if (pauseMs && seen.length % 7 === 0) await sleep(pauseMs);
  }
  conn?.destroy();
  return seen;
}

both('a hundred within a second are walked exactly, in order', async () => {
  const name = channel();
  const list = bodies(100);
  const conn = await Conn.open(server);
  const started = Date.now();
  conn.send(Buffer.concat(list.map((body) => requestBytes('POST', `/pub/${name}`, { body }))));
  for (let i = 0; i < 100; i += 1) assert.equal((await conn.response('POST')).status, 202);
  assert.ok(Date.now() - started < 1000, 'published within one second');
  conn.destroy();
  const seen = await poller(name, 100);
  assert.deepEqual(seen.map((m) => m.text), list);
  for (let i = 1; i < seen.length; i += 1) assert.ok(idOrder(seen[i - 1].id, seen[i].id) < 0);
});

both('pollers running beside the burst, with gaps and new connections, lose nothing', async () => {
  const name = channel();
  const list = bodies(300);
  const pollers = [
    poller(name, 300),
    poller(name, 300, { pauseMs: 3 }),
    poller(name, 300, { pauseMs: 11 }),
    poller(name, 300, { keepAlive: false }),
    poller(name, 300, { keepAlive: false, pauseMs: 5 }),
  ];
  await burst(name, list);
  for (const seen of await Promise.all(pollers)) assert.deepEqual(seen.map((m) => m.text), list);
});

both('streams that start in the middle of a burst continue from the store without a seam', async () => {
  const name = channel();
  const list = bodies(400);
  const publishing = burst(name, list);
  const sockets = [];
  for (let i = 0; i < 10; i += 1) {
    sockets.push(await WsConn.connect(server, `/sub/${name}`));
    await sleep(5);
  }
  const all = await Promise.all(
    sockets.map(async (socket) => {
      const texts = [];
      while (texts.length < 400) texts.push((await socket.frame()).text);
      await socket.conn.staysQuiet(30);
      socket.destroy();
      return texts;
    }),
  );
  await publishing;
  for (const texts of all) assert.deepEqual(texts, list);
});

both('event sources that reconnect all the time resume exactly', async () => {
  const name = channel();
  const list = bodies(200);
  const publishing = burst(name, list);
  const texts = [];
  let id;
  while (texts.length < 200) {
    const headers = { Accept: 'text/event-stream', ...(id ? { 'Last-Event-ID': id } : {}) };
    const conn = await open(server, 'GET', `/sub/${name}`, { headers });
    await conn.readThrough(': hi\n\n');
    for (let i = 0; i < 9 && texts.length < 200; i += 1) {
      const block = await conn.readThrough('\n\n');
      [, id] = /^id: (.*)\n/m.exec(block);
      texts.push(/data: (.*)\n/.exec(block)[1]);
    }
    conn.destroy();
  }
  await publishing;
  assert.deepEqual(texts, list);
});

both('several publishers at once: each keeps its order, everybody sees one order', async () => {
  const name = channel();
  const publishers = ['a', 'b', 'c'].map((p) => burst(name, bodies(60).map((m) => p + m)));
  const [one, two] = await Promise.all([poller(name, 180), poller(name, 180, { keepAlive: false })]);
  await Promise.all(publishers);
  assert.deepEqual(one.map((m) => m.text), two.map((m) => m.text));
  for (const p of ['a', 'b', 'c']) assert.deepEqual(one.map((m) => m.text).filter((t) => t[0] === p), bodies(60).map((m) => p + m));
});

both('a hundred pollers on one channel are all woken by one publish', async () => {
  const name = channel();
  const held = await Promise.all(Array.from({ length: 100 }, () => open(server, 'GET', `/sub/${name}`)));
  await server.subscribers(name, 100);
  const answer = await server.publish(name, 'wake', { Accept: 'text/json' });
  assert.equal(answer.status, 201);
  for (const conn of held) {
    assert.equal((await conn.response()).text, 'wake');
    conn.destroy();
  }
  await eventually(async () => (await server.info(name)).subscribers === 0, 'nobody left');
});

both('publishing on many channels at once keeps them apart', async () => {
  const names = Array.from({ length: 30 }, () => channel());
  const streams = await Promise.all(names.map((name) => WsConn.connect(server, `/sub/${name}`)));
  await Promise.all(names.map((name) => burst(name, bodies(20).map((m) => `${name} ${m}`))));
  for (const [i, name] of names.entries()) {
    for (const m of bodies(20)) assert.equal((await streams[i].frame()).text, `${name} ${m}`);
    streams[i].destroy();
  }
});

both('publish requests pipelined on one connection are all taken, in order', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  conn.send(Buffer.concat(bodies(50).map((body) => requestBytes('POST', `/pub/${name}`, { body }))));
  for (let i = 0; i < 50; i += 1) assert.equal((await conn.response('POST')).status, 202);
  conn.destroy();
  assert.deepEqual((await poller(name, 50)).map((m) => m.text), bodies(50));
});
