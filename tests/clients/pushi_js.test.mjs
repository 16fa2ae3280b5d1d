// A client that does what is known of pushi.js (pushi.md section 10.1): the package itself cannot be had by name.
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import { APP, Rest, WAIT_MS, channel, pushiTest, sign, startPushi } from '../support/pushi.mjs';
import { eventually, freePort } from '../support/server.mjs';

const { WebSocket } = createRequire(import.meta.url)('ws');

/** One socket per app key and page; forgets all channels when it closes, and opens again for ever. */
class Pushi extends EventEmitter {
  constructor(appKey, options) {
    super();
    Object.assign(this, { appKey, ...options, timeout: options.timeout ?? 5000, channels: {}, socketId: null });
    this.open();
  }

  open() {
    this.socket = new WebSocket(this.baseUrl + this.appKey);
    this.socket.onmessage = ({ data }) => this.onMessage(JSON.parse(data));
    this.socket.onerror = () => {};
    this.socket.onclose = () => {
      const wasOpen = this.socketId !== null;
      this.socketId = null;
      this.channels = {};
      if (wasOpen) this.emit('disconnect');
      if (!this.over) this.timer = setTimeout(() => this.open(), this.timeout);
    };
  }

  end() {
    this.over = true;
    clearTimeout(this.timer);
    this.socket.close();
  }

  onMessage(json) {
    if (this.socketId === null) {
      if (json.event !== 'pusher:connection_established') return;
      this.socketId = JSON.parse(json.data).socket_id;
      this.emit('connect');
      return;
    }
    // Of a message without a channel a page dies here (trap 4).
    const isPeer = json.channel.startsWith('peer-');
    const known = this.channels[json.channel];
    if (!known && !isPeer) return;
    const data = () => JSON.parse(json.data);
    switch (json.event) {
      case 'pusher_internal:subscription_succeeded': {
        const channelData = data();
        known.data = channelData;
        for (const alias of channelData.alias) this.channels[alias] = { name: alias, data: null };
        return this.emit('subscribe', json.channel, channelData);
      }
      case 'pusher_internal:unsubscription_succeeded': {
        for (const alias of data().alias) delete this.channels[alias];
        delete this.channels[json.channel];
        return this.emit('unsubscribe', json.channel, data());
      }
      case 'pusher_internal:latest':
        return this.emit('latest', json.channel, data());
      case 'pusher:member_added':
      case 'pusher:member_removed':
        return this.emit(json.event.slice('pusher:'.length), json.channel, JSON.parse(json.member));
      default:
        return this.emit(json.event, json.data, json.channel, json.mid, json.timestamp);
    }
  }

  sendEvent(event, data, channel, echo = false, persist = true) {
    this.socket.send(JSON.stringify({ event, data, channel, echo, persist }));
  }

  /** Gets a signature of the application where the channel needs one. */
  async subscribe(name) {
    const data = { channel: name };
    if (/^(private|presence|personal|peer)-/.test(name)) {
      const { auth, channel_data } = await get(`${this.authEndpoint}?socket_id=${this.socketId}&channel=${name}`);
      if (!auth) return;
      Object.assign(data, { auth, channel_data });
    }
    this.channels[name] = { name, data: null };
    this.sendEvent('pusher:subscribe', data);
  }

  unsubscribe(name) {
    this.sendEvent('pusher:unsubscribe', { channel: name });
  }

  latest(name, skip, count) {
    this.sendEvent('pusher:latest', { channel: name, skip, count });
  }
}

const get = async (url) => (await fetch(url)).json();

/** The application's end: signs for whoever asks. */
async function application(user) {
  const server = http.createServer((request, response) => {
    const { searchParams } = new URL(request.url, 'http://x');
    const [id, name] = [searchParams.get('socket_id'), searchParams.get('channel')];
    response.end(JSON.stringify(name.includes('forbidden') ? {} : { auth: sign(APP, id, name), channel_data: user }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/auth`, close: () => server.close() };
}

async function page(node, user = { user_id: 'u' }, options = {}) {
  const app = await application(user);
  const client = new Pushi(APP.key, { baseUrl: `ws://127.0.0.1:${node.port}/`, authEndpoint: app.url, timeout: 100, ...options });
  client.leave = () => {
    client.end();
    app.close();
  };
  await next(client, 'connect');
  return client;
}

const next = (client, event) => once(client, event, { signal: AbortSignal.timeout(WAIT_MS) });

pushiTest('a page: channels of each kind, events with id and time, members, history', async () => {
  const node = await startPushi({ shards: 2 });
  try {
    const rest = await Rest.login(node);
    const [a, b] = [await page(node, { user_id: 'a', peer: true }), await page(node, { user_id: 'b', peer: true })];
    const room = channel('presence-');
    a.subscribe(room);
    assert.deepEqual((await next(a, 'subscribe'))[1].members, { a: { user_id: 'a', peer: true } });
    const added = next(a, 'member_added');
    b.subscribe(room);
    assert.deepEqual((await next(b, 'subscribe'))[1].members.b, { user_id: 'b', peer: true });
    assert.deepEqual(await added, [room, { user_id: 'b', peer: true }]);
    const pair = `peer-${room.slice('presence-'.length)}:a&b`;
    const heard = next(b, 'message');
    await eventually(async () => (await rest.ok('POST', `/sockets/${a.socketId}`)).channels.includes(pair), 'the pair');
    await eventually(async () => (await rest.ok('POST', `/sockets/${b.socketId}`)).channels.includes(pair), 'the pair');
    a.sendEvent('message', { x: 1 }, pair);
    const [data, name, mid, timestamp] = await heard;
    assert.deepEqual([data, name], ['{"x":1}', pair]);
    assert.ok(mid && timestamp);
    b.latest(pair, 0, 5);
    assert.equal((await next(b, 'latest'))[1].events[0].mid, mid);
    const news = channel();
    await rest.ok('POST', '/subscriptions', { user_id: 'a', event: news });
    a.subscribe('personal-a');
    assert.deepEqual((await next(a, 'subscribe'))[1].alias, [news]);
    const live = next(a, 'message');
    await rest.publish({ data: 'news', channel: news });
    assert.deepEqual((await live).slice(0, 2), ['news', news]);
    a.unsubscribe('personal-a');
    await next(a, 'unsubscribe');
    assert.ok(!(news in a.channels));
    const removed = next(b, 'member_removed');
    a.leave();
    assert.deepEqual(await removed, [room, { user_id: 'a', peer: true }], 'trap 21: at once');
    await b.subscribe('private-forbidden');
    assert.ok(!('private-forbidden' in b.channels), 'no signature, no subscription');
    b.leave();
  } finally {
    await node.stop();
  }
});

pushiTest('a page comes back after its node was restarted, with everything forgotten', async () => {
  const port = await freePort();
  const options = { port, toml: '', args: ['--listen', `127.0.0.1:${port}`] };
  let node = await startPushi(options);
  const client = await page(node);
  const name = channel('private-');
  client.on('connect', () => client.subscribe(name));
  client.subscribe(name);
  await next(client, 'subscribe');
  const gone = next(client, 'disconnect');
  await node.stop();
  await gone;
  assert.deepEqual(client.channels, {});
  const back = next(client, 'subscribe');
  node = await startPushi(options);
  try {
    assert.equal((await back)[0], name);
    const heard = next(client, 'message');
    await (await Rest.login(node)).publish({ data: 'again', channel: name });
    assert.equal((await heard)[0], 'again');
  } finally {
    client.leave();
    await node.stop();
  }
});

pushiTest('trap 15: a page with an unknown key tries again and again, and is told nothing', async () => {
  const node = await startPushi();
  const client = await page(node, undefined, {});
  client.end();
  const unknown = new Pushi('f'.repeat(64), { baseUrl: `ws://127.0.0.1:${node.port}/`, timeout: 50 });
  try {
    for (let n = 0; n < 3; n += 1) {
      await next(unknown, 'connect');
      const gone = next(unknown, 'disconnect');
      unknown.subscribe('global');
      await gone;
    }
  } finally {
    unknown.end();
    client.leave();
    await node.stop();
  }
});
