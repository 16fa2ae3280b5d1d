// One subscription to several channels (nchan sheet, section 3; trap 16).
import assert from 'node:assert/strict';
import { both, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { after, idOf } from '../support/ids.mjs';
import { open, sleep } from '../support/raw.mjs';
import { WsConn } from '../support/websocket.mjs';

const server = useServer({
  locations: [
    { url: '^/multi/([^/]+)/([^/]+)/([^/]+)$', methods: 'subscriber', channel_id: ['$1', '$2', '$3'] },
    { url: '^/split$', methods: 'subscriber', channel_id: ['$arg_ids'], split_delimiter: ',' },
    { url: '^/splitpub$', methods: 'publisher', channel_id: ['$arg_ids'], split_delimiter: ',' },
    pub(),
    sub(),
  ],
});

const three = () => [channel('ma'), channel('mb'), channel('mc')];
const json = { Accept: 'text/json' };
const secondsOf = (id) => Number(id.split(':')[0]);

/** Waits for the start of a second so that what follows shares one. */
async function newSecond() {
  await sleep(1000 - (Date.now() % 1000) + 5);
}

async function walk(where, count, headers = {}) {
  const got = [];
  for (let i = 0; i < count; i += 1) {
    const answer = await server.request('GET', where, { headers });
    assert.equal(answer.status, 200);
    got.push([idOf(answer), answer.text]);
    headers = after(answer);
  }
  return { got, headers };
}

both('tags list every channel, the bracket marks whose message it is, a new second starts over', async () => {
  const [a, b, c] = three();
  const where = `/multi/${a}/${b}/${c}`;
  await newSecond();
  const first = JSON.parse((await server.publish(a, 'a0', json)).text).last_message_id;
  await server.publish(b, 'b0');
  const third = JSON.parse((await server.publish(b, 'b1', json)).text).last_message_id;
  assert.equal(secondsOf(first), secondsOf(third), 'one second');
  await newSecond();
  await server.publish(a, 'a1');
  const t = secondsOf(first);
  const { got, headers } = await walk(where, 4);
  assert.deepEqual(got.slice(0, 3), [
    [`${t}:[0],-,-`, 'a0'],
    [`${t}:0,[0],-`, 'b0'],
    [`${t}:0,[1],-`, 'b1'],
  ]);
  assert.match(got[3][0], /^\d+:\[0\],-,-$/);
  assert.ok(secondsOf(got[3][0]) > t);
  assert.equal(got[3][1], 'a1');
  const held = await open(server, 'GET', where, { headers });
  await held.staysQuiet(80);
  await server.publish(c, 'c0');
  assert.equal((await held.response()).text, 'c0');
  held.destroy();
});

both('resuming at any of the ids gives exactly what follows', async () => {
  const [a, b, c] = three();
  const where = `/multi/${a}/${b}/${c}`;
  const sent = [];
  for (let i = 0; i < 4; i += 1) {
    for (const [name, letter] of [[a, 'a'], [b, 'b'], [c, 'c']]) {
      await server.publish(name, `${letter}${i}`);
      sent.push(`${letter}${i}`);
    }
  }
  const all = (await walk(where, 12)).got;
  assert.deepEqual(all.map(([, text]) => text).sort(), sent.sort());
  for (const letter of 'abc') assert.deepEqual(all.map(([, t]) => t).filter((t) => t[0] === letter), [0, 1, 2, 3].map((i) => letter + i));
  for (let i = 0; i < 11; i += 1) {
    const id = encodeURIComponent(all[i][0]);
    const next = await server.request('GET', `${where}?last_event_id=${id}`);
    assert.deepEqual([idOf(next), next.text], all[i + 1], `after ${all[i][0]}`);
    const byHeader = await server.request('GET', where, { headers: { 'Last-Event-ID': all[i][0] } });
    assert.equal(byHeader.text, all[i + 1][1]);
  }
});

both('event source and web socket carry the list too', async () => {
  const [a, b, c] = three();
  await server.publish(b, 'x');
  const events = await open(server, 'GET', `/multi/${a}/${b}/${c}`, { headers: { Accept: 'text/event-stream' } });
  await events.readThrough(': hi\n\n');
  assert.match(await events.readThrough('\n\n'), /^id: \d+:-,\[0\],-\ndata: x\n\n$/);
  events.destroy();
  const socket = await WsConn.connect(server, `/multi/${a}/${b}/${c}`, { 'Sec-WebSocket-Protocol': 'ws+meta.nchan' });
  assert.match((await socket.frame()).text, /^id: \d+:-,\[0\],-\n\nx$/);
  socket.destroy();
});

both('live messages of all channels reach one stream', async () => {
  const [a, b, c] = three();
  const events = await open(server, 'GET', `/multi/${a}/${b}/${c}`, { headers: { Accept: 'text/event-stream' } });
  await events.readThrough(': hi\n\n');
  for (const name of [a, b, c]) await server.subscribers(name, 1);
  for (const [name, body] of [[c, '1'], [a, '2'], [b, '3'], [a, '4']]) {
    await server.publish(name, body);
    assert.match(await events.readThrough('\n\n'), new RegExp(`data: ${body}\n\n$`));
  }
  events.destroy();
});

both('one value split by the delimiter', async () => {
  const [a, b, c] = three();
  await server.publish(a, 'a0');
  const where = `/split?ids=${a},${b},${c}`;
  const first = await server.request('GET', where);
  assert.equal(first.text, 'a0');
  assert.equal(first.header('Etag'), '[0],-,-');
  const held = await open(server, 'GET', where, { headers: after(first) });
  await server.subscribers(c, 1);
  await server.publish(c, 'c0');
  assert.equal((await held.response()).text, 'c0');
  held.destroy();
});

both('a delimiter that arrives escaped does not split', async () => {
  const [a, b] = three();
  await server.publish(a, 'a0');
  const held = await open(server, 'GET', `/split?ids=${a}%2C${b}`);
  await held.staysQuiet(100);
  held.destroy();
});

both('a split publisher publishes into each', async () => {
  const [a, b] = three();
  assert.equal((await server.request('POST', `/splitpub?ids=${a},${b}`, { body: 'x' })).status, 202);
  for (const name of [a, b]) assert.equal((await server.request('GET', `/sub/${name}`)).text, 'x');
});

both('a list without brackets, and a list on one channel, are 400', async () => {
  const [a, b, c] = three();
  await server.publish(a, 'x');
  const t = Math.floor(Date.now() / 1000);
  assert.equal((await server.request('GET', `/multi/${a}/${b}/${c}`, { headers: { 'Last-Event-ID': `${t}:0,1,2` } })).status, 400);
  assert.equal((await server.request('GET', `/sub/${a}`, { headers: { 'Last-Event-ID': `${t}:[0],1` } })).status, 400);
});

both('a plain id on several channels is taken', async () => {
  const [a, b, c] = three();
  const id = JSON.parse((await server.publish(a, 'a0', json)).text).last_message_id;
  await sleep(1000 - (Date.now() % 1000) + 5);
  await server.publish(b, 'b0');
  const got = await server.request('GET', `/multi/${a}/${b}/${c}`, { headers: { 'Last-Event-ID': id } });
  assert.equal(got.text, 'b0');
});

both('the same channel named twice: nothing lost, in order (nchan delivers once per mention)', async () => {
  const [a, b] = three();
  const where = `/split?ids=${a},${a},${b}`;
  await server.publish(a, 'a0');
  await server.publish(a, 'a1');
  await server.publish(b, 'b0');
  const texts = [];
  let headers = {};
  for (;;) {
    if (new Set(texts).size === 3 && texts.length >= 3) {
      // both mentions may have brought the last one: see whether another copy is there
      const more = await open(server, 'GET', where, { headers });
      const left = await more.response('GET', 150).catch(() => undefined);
      more.destroy();
      if (!left) break;
      texts.push(left.text);
      headers = after(left);
      continue;
    }
    const answer = await server.request('GET', where, { headers });
    texts.push(answer.text);
    headers = after(answer);
  }
  const fromA = texts.filter((t) => t !== 'b0');
  assert.deepEqual([...new Set(fromA)], ['a0', 'a1']);
  assert.deepEqual(fromA, [...fromA].sort());
  assert.ok([1, 2].includes(fromA.length / 2));
});

both('deleting one of the channels ends the connection', async () => {
  const [a, b, c] = three();
  const poll = await open(server, 'GET', `/multi/${a}/${b}/${c}`);
  const socket = await WsConn.connect(server, `/multi/${a}/${b}/${c}`);
  await server.subscribers(b, 2);
  await server.request('DELETE', `/pub/${b}`);
  assert.equal((await poll.response()).status, 410);
  assert.equal((await socket.frame()).code, 1001);
  poll.destroy();
  socket.destroy();
});

both('a burst over three channels is walked without loss or repetition', async () => {
  const [a, b, c] = three();
  const sent = [];
  for (let i = 0; i < 60; i += 1) {
    const name = [a, b, c][(i * 7) % 3];
    await server.publish(name, `m${i}`);
    sent.push(`m${i}`);
  }
  const { got } = await walk(`/multi/${a}/${b}/${c}`, 60);
  assert.deepEqual(new Set(got.map(([, text]) => text)), new Set(sent));
  assert.equal(new Set(got.map(([id]) => id)).size, 60, 'ids differ');
});
