// A native-style EventSource: reconnects with Last-Event-ID, which beats the id in its URL (trap 4).
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before } from 'node:test';
import { both, useServer } from '../support/cases.mjs';
import { channel, eventually, pub, sub } from '../support/server.mjs';
import { EventSource } from './env.mjs';

const server = useServer({ locations: [pub(), sub()] });

// A TCP relay in between whose connections can be cut, as networks do.
let proxy;
const pairs = new Set();
const requests = [];
before(async () => {
  proxy = net.createServer((client) => {
    const upstream = net.connect(server.port, '127.0.0.1');
    const pair = { client, upstream };
    pairs.add(pair);
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      from.on('error', () => to.destroy());
      from.on('close', () => {
        to.destroy();
        pairs.delete(pair);
      });
    }
    client.on('data', (d) => requests.push(d.toString('latin1')));
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
});
after(() => {
  cut();
  proxy.close();
});

function cut() {
  for (const { client, upstream } of pairs) {
    client.destroy();
    upstream.destroy();
  }
}

function listen(name, { query = '', retryMs = 20 } = {}) {
  const source = new EventSource(`http://127.0.0.1:${proxy.address().port}/sub/${name}${query}`);
  source.reconnectInterval = retryMs;
  const events = [];
  source.onmessage = (event) => events.push({ data: event.data, id: event.lastEventId });
  return {
    source,
    events,
    datas: () => events.map((e) => e.data),
    async has(expected) {
      await eventually(() => events.length >= expected.length, `events ${expected}`);
      assert.deepEqual(events.map((e) => e.data), expected);
    },
  };
}

both('messages with their ids', async () => {
  const name = channel();
  await server.publish(name, 'a');
  const l = listen(name);
  await l.has(['a']);
  await server.publish(name, 'two\nlines');
  await l.has(['a', 'two\nlines']);
  assert.match(l.events[0].id, /^\d+:\d+$/);
  l.source.close();
});

both('a cut connection comes back with Last-Event-ID and only newer events', async () => {
  const name = channel();
  const l = listen(name);
  await server.publish(name, 'a');
  await server.publish(name, 'b');
  await l.has(['a', 'b']);
  requests.length = 0;
  cut();
  await server.publish(name, 'c');
  await server.publish(name, 'd');
  await l.has(['a', 'b', 'c', 'd']);
  const again = requests.find((r) => r.includes(name));
  assert.match(again, new RegExp(`last-event-id: ${l.events[1].id}\r\n`, 'i'));
  l.source.close();
});

both('the header beats the id that is still in the URL', async () => {
  const name = channel();
  const ids = [];
  for (const body of ['a', 'b', 'c']) ids.push(JSON.parse((await server.publish(name, body, { Accept: 'text/json' })).text).last_message_id);
  const l = listen(name, { query: `?last_event_id=${encodeURIComponent(ids[0])}` });
  await l.has(['b', 'c']);
  cut();
  await server.publish(name, 'd');
  await l.has(['b', 'c', 'd']);
  l.source.close();
});

both('cut again and again under load: every event once', async () => {
  const name = channel();
  const l = listen(name, { retryMs: 1 });
  const sent = Array.from({ length: 90 }, (_, i) => `m${i}`);
  for (const [i, body] of sent.entries()) {
    await server.publish(name, body);
    if (i % 15 === 7) cut();
  }
  await l.has(sent);
  l.source.close();
});

both('named events reach their listeners only', async () => {
  const name = channel();
  const l = listen(name);
  const named = [];
  l.source.addEventListener('upd', (event) => named.push(event.data));
  await server.publish(name, 'n', { 'X-EventSource-Event': 'upd' });
  await server.publish(name, 'm');
  await l.has(['m']);
  assert.deepEqual(named, ['n']);
  l.source.close();
});

both('after DELETE the source reconnects and goes on', async () => {
  const name = channel();
  const l = listen(name);
  await server.publish(name, 'a');
  await l.has(['a']);
  await new Promise((done) => setTimeout(done, 1010 - (Date.now() % 1000)));
  await server.request('DELETE', `/pub/${name}`);
  await server.publish(name, 'b');
  await l.has(['a', 'b']);
  l.source.close();
});
