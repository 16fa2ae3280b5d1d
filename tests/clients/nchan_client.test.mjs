// The published browser client `nchan` over its three transports (nchan sheet, sections 9 and 12).
import assert from 'node:assert/strict';
import { both, useServer } from '../support/cases.mjs';
import { channel, eventually, pub, sub } from '../support/server.mjs';
import { sleep } from '../support/raw.mjs';
import { NchanSubscriber } from './env.mjs';

const server = useServer({ locations: [sub('/parts', { longpoll_multipart: true }), pub(), sub()] });

const RETRY_MS = 60;

class Listener {
  constructor(url, options) {
    this.messages = [];
    this.ids = [];
    this.events = [];
    this.sub = new NchanSubscriber(url, { reconnectTimeout: RETRY_MS, ...options });
    this.sub.reconnectTimeout = RETRY_MS;
    this.sub.on('message', (text, meta) => {
      this.messages.push(text);
      this.ids.push(meta?.id);
      this.lastMeta = meta;
    });
    this.sub.on('connect', () => this.events.push('connect'));
    this.sub.on('disconnect', () => this.events.push('disconnect'));
    this.sub.on('error', () => this.events.push('error'));
    this.sub.on('transportNativeCreated', (native) => {
      this.native = native;
    });
  }

  start() {
    this.sub.start();
    return this;
  }

  stop() {
    this.sub.stop();
  }

  async has(expected) {
    await eventually(() => this.messages.length >= expected.length, `messages ${expected}`);
    assert.deepEqual(this.messages, expected);
  }
}

const drop = {
  websocket: (native) => native.terminate(),
  eventsource: undefined,
  longpoll: undefined,
};

for (const transport of ['websocket', 'eventsource', 'longpoll']) {
  const listen = (name, options = {}, prefix = '/sub') =>
    new Listener(server.url(`${prefix}/${name}`).replace(/^http/, transport === 'websocket' ? 'ws' : 'http'), { subscriber: transport, ...options });

  both(`${transport}: stored messages with ids, then live ones`, async () => {
    const name = channel();
    await server.publish(name, 'one', { 'Content-Type': 'text/plain' });
    await server.publish(name, 'two');
    const l = listen(name).start();
    await l.has(['one', 'two']);
    await server.publish(name, 'three');
    await l.has(['one', 'two', 'three']);
    for (const id of l.ids) assert.match(id, /^\d+:\d+$/);
    assert.equal(new Set(l.ids).size, 3);
    l.stop();
  });

  both(`${transport}: stop, publish, start gives exactly what was missed`, async () => {
    const name = channel();
    const l = listen(name).start();
    await server.publish(name, 'before');
    await l.has(['before']);
    l.stop();
    await eventually(async () => (await server.info(name)).subscribers === 0, 'the stopped client gone');
    for (const body of ['a', 'b', 'c']) await server.publish(name, body);
    l.start();
    await l.has(['before', 'a', 'b', 'c']);
    await sleep(50);
    await l.has(['before', 'a', 'b', 'c']);
    l.stop();
  });

  both(`${transport}: after DELETE it says so and then gets new messages`, async () => {
    const name = channel();
    const l = listen(name).start();
    await server.publish(name, 'x');
    await l.has(['x']);
    await eventually(async () => (await server.info(name)).subscribers === 1, 'waiting again');
    // ids of a deleted channel may come again within the same second
    await sleep(1000 - (Date.now() % 1000) + 10);
    await server.request('DELETE', `/pub/${name}`);
    await eventually(() => l.events.some((e) => e === 'error' || e === 'disconnect'), 'an error or disconnect event');
    await server.publish(name, 'y');
    await l.has(['x', 'y']);
    l.stop();
  });

  both(`${transport}: a burst arrives complete and in order`, async () => {
    const name = channel();
    const l = listen(name).start();
    await server.subscribers(name, 1);
    const sent = Array.from({ length: 80 }, (_, i) => `m${i}`);
    for (const body of sent) await server.publish(name, body);
    await l.has(sent);
    l.stop();
  });

  both(`${transport}: JSON with newlines and non-ASCII text comes unchanged`, async () => {
    const name = channel();
    const body = JSON.stringify({ a: 'žluť 🐎', b: [1, 2] }, null, 2);
    const l = listen(name).start();
    await server.publish(name, body, { 'Content-Type': 'application/json' });
    await l.has([body]);
    l.stop();
  });
}

for (const transport of ['websocket', 'eventsource']) {
  both(`${transport}: an object made with the id of an earlier message continues after it`, async () => {
    const name = channel();
    for (const body of ['a', 'b', 'c']) await server.publish(name, body);
    const url = server.url(`/sub/${name}`).replace(/^http/, transport === 'websocket' ? 'ws' : 'http');
    const first = new Listener(url, { subscriber: transport }).start();
    await first.has(['a', 'b', 'c']);
    first.stop();
    const second = new Listener(url, { subscriber: transport, id: first.ids[0] }).start();
    await second.has(['b', 'c']);
    second.stop();
  });
}

both('websocket: a dropped socket reconnects without loss', async () => {
  const name = channel();
  const l = new Listener(server.url(`/sub/${name}`).replace(/^http/, 'ws'), { subscriber: 'websocket' }).start();
  await server.publish(name, 'a');
  await l.has(['a']);
  drop.websocket(l.native);
  await server.publish(name, 'b');
  await l.has(['a', 'b']);
  await server.publish(name, 'c');
  await l.has(['a', 'b', 'c']);
  l.stop();
});

both('websocket: binary messages are read through their header', async () => {
  const name = channel();
  const l = new Listener(server.url(`/sub/${name}`).replace(/^http/, 'ws'), { subscriber: 'websocket' }).start();
  await server.publish(name, 'binary body', { 'Content-Type': 'application/octet-stream' });
  await eventually(() => l.messages.length === 1, 'the message');
  const [got] = l.messages;
  assert.equal(typeof got === 'string' ? got : await got.text(), 'binary body');
  assert.equal(l.lastMeta['content-type'], 'application/octet-stream');
  l.stop();
});

both('websocket and longpoll: the content type reaches the page', async () => {
  for (const transport of ['websocket', 'longpoll']) {
    const name = channel();
    const url = server.url(`/sub/${name}`).replace(/^http/, transport === 'websocket' ? 'ws' : 'http');
    const l = new Listener(url, { subscriber: transport }).start();
    await server.publish(name, '{}', { 'Content-Type': 'application/json' });
    await l.has(['{}']);
    assert.equal(l.lastMeta['content-type'], 'application/json');
    l.stop();
  }
});

both('longpoll: multipart answers are taken apart, and polling goes on behind the last', async () => {
  const name = channel();
  for (const body of ['a', 'b', 'c']) await server.publish(name, body);
  const l = new Listener(server.url(`/parts/${name}`), { subscriber: 'longpoll' }).start();
  await eventually(() => l.messages.length >= 3, 'three messages');
  assert.deepEqual(l.messages.map((m) => m.trimEnd()), ['a', 'b', 'c']);
  await server.publish(name, 'd');
  await eventually(() => l.messages.length >= 4, 'the fourth');
  assert.equal(l.messages[3].trimEnd(), 'd');
  assert.equal(l.messages.length, 4);
  l.stop();
});

both('the default order of transports starts with the web socket', async () => {
  const name = channel();
  const l = new Listener(server.url(`/sub/${name}`).replace(/^http/, 'ws'), {}).start();
  await server.publish(name, 'x');
  await l.has(['x']);
  assert.equal(l.native.constructor.name, 'BrowserSocket');
  l.stop();
});

both('session reconnect: the stored id is used by the next object', async () => {
  const name = channel();
  const url = server.url(`/sub/${name}`).replace(/^http/, 'ws');
  const first = new Listener(url, { subscriber: 'websocket', reconnect: 'session' }).start();
  await server.publish(name, 'a');
  await first.has(['a']);
  first.stop();
  await server.publish(name, 'b');
  const second = new Listener(url, { subscriber: 'websocket', reconnect: 'session' }).start();
  await second.has(['b']);
  second.stop();
});
