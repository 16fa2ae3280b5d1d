// Durable channels over restarts of the node, as clients see them (fanwire only).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { EventSource } from './env.mjs';
import { fanwireOnly } from '../support/cases.mjs';
import { ifHeaders, idOf } from '../support/ids.mjs';
import { Conn } from '../support/raw.mjs';
import { channel, eventually, freePort, pub, start, sub } from '../support/server.mjs';
import { WsConn } from '../support/websocket.mjs';

const WHY = 'nchan keeps messages in Redis, or not at all';
const LOCATIONS = [
  pub('/pub', { durable: true }),
  pub('/gpub', { url: '^/gpub/([^/]+)/(.+)$', durable: true, group: '$1', channel_id: ['$2'] }),
  { url: '^/group/(.+)$', methods: 'group', group: '$1', group_limits: { channels: 9 } },
  pub('/mpub'),
  sub('/sub'),
  sub('/gsub', { url: '^/gsub/([^/]+)/(.+)$', group: '$1', channel_id: ['$2'] }),
  sub('/known', { existing_channels_only: true }),
];

process.setMaxListeners(100); // each node that is started adds one

const dirs = [];
after(() => dirs.forEach((dir) => fs.rmSync(dir, { recursive: true, force: true })));

/** A node that can be started again, with its data, at the same address. */
async function lives(options = {}) {
  const data = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-durable-'));
  dirs.push(data);
  const port = await freePort();
  const toml = `listen = ["127.0.0.1:${port}"]\n[store]\ndata = "${data}"\n\n`;
  let node = await start({ port, toml, locations: LOCATIONS, ...options });
  return {
    get node() {
      return node;
    },
    async again(signal) {
      if (signal === 'SIGKILL') {
        await node.kill(signal);
      } else {
        await node.stop();
      }
      node = await start({ port, toml, locations: LOCATIONS, ...options });
      return node;
    },
    async end() {
      await node.stop();
    },
  };
}

for (const signal of ['SIGTERM', 'SIGKILL']) {
  fanwireOnly(WHY, `polls go on where they were before a restart by ${signal}`, async () => {
    const life = await lives();
    try {
      const name = channel();
      for (let n = 0; n < 10; n += 1) await life.node.publish(name, `message ${n}`, { 'Content-Type': `text/x-${n}` });
      let got = await life.node.request('GET', `/sub/${name}`);
      assert.equal(got.text, 'message 0');
      for (let n = 1; n < 10; n += 1) {
        if (n % 3 === 0) await life.again(signal);
        got = await life.node.request('GET', `/sub/${name}`, { headers: ifHeaders(idOf(got)) });
        assert.equal(got.text, `message ${n}`);
        assert.equal(got.header('Content-Type'), `text/x-${n}`);
      }
      const info = await life.node.info(name);
      assert.equal(info.messages, 10);
      assert.equal(info.last_message_id, idOf(got));
      // What is published now comes after what was there.
      const waiting = life.node.request('GET', `/sub/${name}`, { headers: ifHeaders(idOf(got)) });
      await life.node.subscribers(name, 1);
      await life.node.publish(name, 'later');
      assert.equal((await waiting).text, 'later');
    } finally {
      await life.end();
    }
  });
}

fanwireOnly(WHY, 'an EventSource that is open all the time gets everything once, through three kills', async () => {
  const life = await lives({ shards: 2 });
  const name = channel();
  const got = [];
  const source = new EventSource(life.node.url(`/sub/${name}`));
  source.onmessage = (event) => got.push(event.data);
  try {
    await life.node.subscribers(name, 1);
    const sent = [];
    for (let round = 0; round < 4; round += 1) {
      if (round > 0) await life.again('SIGKILL');
      for (let n = 0; n < 25; n += 1) {
        sent.push(`${round}.${n}`);
        await life.node.publish(name, sent.at(-1));
      }
    }
    await eventually(() => got.length >= sent.length, 'all of it came');
    assert.deepEqual(got, sent);
  } finally {
    source.close();
    await life.end();
  }
});

fanwireOnly(WHY, 'a memory channel does not survive, a deleted one neither', async () => {
  const life = await lives();
  try {
    const [memory, deleted, kept] = [channel('m'), channel('d'), channel('k')];
    await life.node.publish(memory, 'x', {}, '/mpub');
    await life.node.publish(deleted, 'x');
    await life.node.publish(kept, 'x');
    assert.equal((await life.node.request('DELETE', `/pub/${deleted}`)).status, 200);
    await life.again('SIGKILL');
    // The questions themselves make no channel, and read what is there.
    assert.equal(await life.node.info(memory), undefined);
    assert.equal(await life.node.info(deleted), undefined);
    assert.equal((await life.node.request('GET', `/known/${deleted}`)).status, 403);
    assert.equal((await life.node.request('GET', `/known/${kept}`)).text, 'x');
    // Deleted without being looked at before.
    await life.again('SIGKILL');
    assert.equal((await life.node.request('DELETE', `/pub/${kept}`)).status, 200);
    assert.equal((await life.node.request('DELETE', `/pub/${kept}`)).status, 404);
    await life.again('SIGKILL');
    assert.equal(await life.node.info(kept), undefined);
  } finally {
    await life.end();
  }
});

fanwireOnly(WHY, 'a group is deleted with what was not looked at since the restart', async () => {
  const life = await lives();
  try {
    for (const where of ['g1/a', 'g1/b', 'g2/a']) await life.node.publish(where, where, {}, '/gpub');
    await life.again('SIGKILL');
    assert.equal((await life.node.request('GET', '/gsub/g1/a')).text, 'g1/a');
    assert.equal((await life.node.request('DELETE', '/group/g1')).status, 200);
    for (const round of [0, 1]) {
      if (round) await life.again('SIGKILL');
      assert.equal(await life.node.info('g1/a', '/gpub'), undefined);
      assert.equal(await life.node.info('g1/b', '/gpub'), undefined);
      assert.equal((await life.node.request('GET', '/gsub/g2/a')).text, 'g2/a');
    }
  } finally {
    await life.end();
  }
});

fanwireOnly(WHY, 'a durable channel stays durable for publishers of other locations, also of repeated requests', async () => {
  const life = await lives();
  try {
    const name = channel();
    const conn = await Conn.open(life.node);
    // The same head again and again: first for a memory channel, then it becomes durable.
    const post = (body) => conn.request('POST', `/mpub/${name}`, { body }).response('POST');
    for (const body of ['0', '1', '2']) assert.equal((await post(body)).status, 202);
    await life.node.publish(name, '3');
    for (const body of ['4', '5', '6']) assert.equal((await post(body)).status, 202);
    conn.destroy();
    assert.equal((await life.node.info(name)).messages, 7);
    await life.again('SIGKILL');
    assert.equal((await life.node.info(name)).messages, 4, 'from the moment on at which it became durable');
    assert.equal((await life.node.request('GET', `/sub/${name}`)).text, '3');
  } finally {
    await life.end();
  }
});

fanwireOnly(WHY, 'publishing over a WebSocket, and pipelined requests, in order', async () => {
  const life = await lives();
  try {
    const name = channel();
    const socket = await WsConn.connect(life.node, `/pub/${name}`);
    for (let n = 0; n < 50; n += 1) socket.text(`ws ${n}`);
    for (let n = 0; n < 50; n += 1) assert.match((await socket.frame()).text, new RegExp(`^queued messages: ${n + 1}\r\n`));
    const conn = await Conn.open(life.node);
    for (let n = 0; n < 20; n += 1) conn.request('POST', `/pub/${name}`, { body: `http ${n}` });
    for (let n = 0; n < 20; n += 1) assert.equal((await conn.response('POST')).status, 202);
    socket.destroy();
    conn.destroy();
    await life.again('SIGKILL');
    const expected = [...Array.from({ length: 50 }, (_, n) => `ws ${n}`), ...Array.from({ length: 20 }, (_, n) => `http ${n}`)];
    let got = await life.node.request('GET', `/sub/${name}`);
    for (const text of expected) {
      assert.equal(got.text, text);
      if (text !== expected.at(-1)) got = await life.node.request('GET', `/sub/${name}`, { headers: ifHeaders(idOf(got)) });
    }
  } finally {
    await life.end();
  }
});
