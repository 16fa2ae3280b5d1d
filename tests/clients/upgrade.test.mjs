// SIGUSR2: a new process takes over, and real clients come back to it by themselves (fanwire only).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { EventSource, NchanSubscriber } from './env.mjs';
import { fanwireOnly, within } from '../support/cases.mjs';
import { subscriptions, trigger } from '../support/pusher.mjs';
import { channel, eventually, pub, start, sub } from '../support/server.mjs';
import { Conn, open } from '../support/raw.mjs';
import { WsConn } from '../support/websocket.mjs';
import { client, connected, filled, record, subscribed } from './pusher_env.mjs';

const WHY = 'about our own process';
const LONG_MS = 30_000;

/** Has the server hand over; resolves when the old process is gone. */
async function upgrade(server) {
  const before = server.stderr().length;
  server.child.kill('SIGUSR2');
  const [, pid] = await eventually(() => /handing over to a new process pid=(\d+)/.exec(server.stderr().slice(before)), 'a new process', LONG_MS);
  assert.equal((await within(server.exit, LONG_MS, 'the end of the old process')).code, 0);
  return Number(pid);
}

async function withUpgrade(run) {
  const data = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-upgrade-'));
  const toml = `drain = "1s"\nstore = { data = ${JSON.stringify(data)} }\n`;
  const server = await start({ toml, locations: [pub('/pub', { durable: true }), sub()], shards: 2 });
  let pid;
  try {
    await run(server, async () => (pid = await upgrade(server)));
  } finally {
    if (pid) process.kill(pid, 'SIGKILL');
    await server.stop();
    fs.rmSync(data, { recursive: true, force: true });
  }
}

fanwireOnly(WHY, 'pusher-js comes back at once, subscribed as before', async () => {
  await withUpgrade(async (server, handOver) => {
    const pusher = await connected(client(server));
    const first = pusher.connection.socket_id;
    const name = channel('open');
    const heard = record(await subscribed(pusher, name));
    await handOver();
    await eventually(() => pusher.connection.state === 'connected' && pusher.connection.socket_id !== first, 'the next connection', LONG_MS);
    await subscriptions(server, name, 1);
    await trigger(server, [name], 'back', { n: 1 });
    assert.deepEqual(await filled(heard, 1, 'events'), [['back', { n: 1 }]]);
    assert.ok(pusher.errors.some(({ data }) => data?.code === 4200), JSON.stringify(pusher.errors));
    pusher.disconnect();
  });
});

fanwireOnly(WHY, "EventSource and nchan's client lose nothing of a stored channel", async () => {
  await withUpgrade(async (server, handOver) => {
    const name = channel('u');
    const lists = { events: [], nchan: [] };
    const events = new EventSource(server.url(`/sub/${name}`));
    events.onmessage = ({ data }) => lists.events.push(data);
    const nchan = new NchanSubscriber(server.url(`/sub/${name}`), { subscriber: 'websocket', reconnectTimeout: 100 });
    nchan.on('message', (data) => lists.nchan.push(String(data)));
    nchan.start();
    await server.subscribers(name, 2);
    const expected = [];
    const publish = async () => {
      for (let i = 0; i < 5; i += 1) {
        expected.push(`m${expected.length}`);
        await server.publish(name, expected.at(-1));
      }
    };
    await publish();
    await handOver();
    await publish();
    for (const [who, list] of Object.entries(lists)) {
      await eventually(() => list.length >= expected.length, `${who}: every message`, LONG_MS);
      assert.deepEqual(list, expected, who);
    }
    events.close();
    nchan.stop();
  });
});

fanwireOnly(WHY, 'each way to listen is ended as its clients like it, requests go on', async () => {
  await withUpgrade(async (server, handOver) => {
    const name = channel('h');
    const socket = await WsConn.connect(server, `/sub/${name}`);
    const stream = await open(server, 'GET', `/sub/${name}`, { headers: { Accept: 'text/event-stream' } });
    await stream.readThrough(': hi\n\n');
    const poll = await open(server, 'GET', `/sub/${name}`);
    const kept = await Conn.open(server);
    kept.request('GET', `/pub/${name}`);
    await kept.response();
    const begun = await Conn.open(server);
    begun.send(`POST /pub/${name} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel`);
    await server.subscribers(name, 3);
    const gone = handOver();
    const close = await socket.message();
    assert.equal(close.code, 1012);
    socket.close(1012);
    assert.match(String(await stream.readToEnd()), /retry: \d+\n\n/);
    const answer = await poll.response();
    assert.equal(answer.status, 503);
    assert.match(answer.header('Retry-After'), /^\d+$/);
    await gone;
    // Both of these live on in the new process, one with a request that the old one has read in part.
    begun.send('lo');
    assert.equal((await begun.response('POST')).status, 202);
    kept.request('GET', `/pub/${name}`);
    assert.equal((await kept.response()).status, 200);
    for (const c of [socket, stream, poll, kept, begun]) c.destroy();
  });
});
