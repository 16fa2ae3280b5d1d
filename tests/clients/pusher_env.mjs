// Clients of the Pusher protocol: a plain socket that shows every frame, pusher-js, the npm back-end library, and a
// gate in front of the node that can end connections with any close code.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import net from 'node:net';
import { after } from 'node:test';
import { WebSocket } from 'ws';
import { within } from '../support/cases.mjs';
import { APP, WAIT_MS, channelAuth, trigger, userAuth } from '../support/pusher.mjs';
import { channel, eventually } from '../support/server.mjs';

const require = createRequire(import.meta.url);
export const Pusher = require('pusher-js');
export const BackEnd = require('pusher');

// The WebSocket inside pusher-js sets a timer for the close of a connection that is closed already; it must not keep
// the process of a test file for half a minute.
const CLOSE_TIMEOUT_OF_PUSHER_JS_MS = 30_000;
const plainTimeout = globalThis.setTimeout;
globalThis.setTimeout = Object.defineProperties((act, ms, ...rest) => {
  const timer = plainTimeout(act, ms, ...rest);
  return ms === CLOSE_TIMEOUT_OF_PUSHER_JS_MS ? timer.unref() : timer;
}, Object.getOwnPropertyDescriptors(plainTimeout));

const opened = new Set();
after(() => {
  for (const end of opened) end();
});

/** Ends something with the file, also when its test fails. */
export const atEnd = (end) => opened.add(end);

/** One frame of the server; `value` is its data, parsed where it is a string with JSON. */
function frameOf(text) {
  const frame = JSON.parse(text);
  frame.text = text;
  frame.value = frame.data;
  try {
    if (typeof frame.data === 'string') frame.value = JSON.parse(frame.data);
  } catch {
    // plain text
  }
  return frame;
}

/** A socket that does nothing by itself. */
export class Peer {
  constructor(ws) {
    this.ws = ws;
    this.frames = [];
    this.wakers = new Set();
    this.closed = new Promise((resolve) => {
      ws.once('close', (code, reason) => {
        this.ended = { code, reason: reason.toString() };
        resolve(this.ended);
        this.wake();
      });
    });
    ws.on('error', () => {}); // a close follows
    ws.on('message', (data, binary) => {
      assert.equal(binary, false, 'the protocol has text frames only');
      this.frames.push(frameOf(data.toString()));
      this.wake();
    });
    const end = () => ws.terminate();
    opened.add(end);
    ws.once('close', () => opened.delete(end));
  }

  wake() {
    for (const waker of this.wakers) waker();
  }

  /** Opens a socket without waiting for anything. */
  static dial(server, { app = APP, query = '?protocol=7&client=test&version=1.0', path = `/app/${app.key}`, ...options } = {}) {
    const peer = new Peer(new WebSocket(`ws://127.0.0.1:${server.port}${path}${query}`, { perMessageDeflate: false, ...options }));
    peer.app = app;
    return peer;
  }

  /** Opens a socket and takes its first frame. */
  static async open(server, options) {
    const peer = Peer.dial(server, options);
    peer.hello = await peer.next();
    assert.equal(peer.hello.event, 'pusher:connection_established', peer.hello.text);
    peer.id = peer.hello.value.socket_id;
    return peer;
  }

  send(event, data, channelName) {
    return this.raw(JSON.stringify({ event, data, channel: channelName }));
  }

  raw(text) {
    this.ws.send(text);
    return this;
  }

  /** The first frame that fits, taken out of what has come; the others stay. */
  async take(fits, what, timeoutMs = WAIT_MS) {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const at = this.frames.findIndex(fits);
      if (at >= 0) return this.frames.splice(at, 1)[0];
      const left = deadline - Date.now();
      if (this.ended || left <= 0) {
        const why = this.ended ? `closed ${this.ended.code} ${this.ended.reason}` : `nothing for ${timeoutMs} ms`;
        throw new Error(`waiting for ${what}: ${why}; there is ${this.frames.map((f) => f.text).join(' ').slice(0, 2000)}`);
      }
      await new Promise((resolve) => {
        const done = () => {
          clearTimeout(timer);
          this.wakers.delete(done);
          resolve();
        };
        const timer = setTimeout(done, left);
        this.wakers.add(done);
      });
    }
  }

  /** The next frame, whatever it is. */
  next() {
    return this.take(() => true, 'a frame');
  }

  /** The next frame of this event (and channel). */
  event(name, channelName) {
    return this.take((f) => f.event === name && (channelName === undefined || f.channel === channelName), `${name} ${channelName ?? ''}`);
  }

  error() {
    return this.event('pusher:error');
  }

  /** Everything that has come so far, taken away. */
  drain() {
    return this.frames.splice(0);
  }

  /** Asks and waits for the answer: what was said to this socket on its own shard before has come then. */
  async ping() {
    this.send('pusher:ping', {});
    return this.event('pusher:pong');
  }

  /** Everything of a channel that came before an event which is triggered now; other subscribers get it as well. */
  async before(server, channelName) {
    const name = channel('marker');
    await trigger(server, channelName, name, '{}', {}, this.app);
    await this.event(name, channelName);
    return this.drain().filter((f) => f.channel === channelName && !f.event.startsWith('marker-'));
  }

  /** Data of a subscribe command, signed as far as the channel needs it; `user` is who it is in presence channels. */
  subscription(channelName, { user, channelData = user && /^presence-/.test(channelName) ? JSON.stringify(user) : undefined } = {}) {
    const signed = /^(private|presence)-/.test(channelName);
    const auth = signed ? channelAuth(this.id, channelName, channelData, this.app) : '';
    return { auth, channel: channelName, ...(channelData === undefined ? {} : { channel_data: channelData }) };
  }

  /** Subscribes and waits for the success. */
  async subscribe(channelName, options) {
    this.send('pusher:subscribe', this.subscription(channelName, options));
    return this.event('pusher_internal:subscription_succeeded', channelName);
  }

  async signin(user) {
    const user_data = JSON.stringify(user);
    this.send('pusher:signin', { auth: userAuth(this.id, user_data, this.app), user_data });
    return this.event('pusher:signin_success');
  }

  /** Closes as clients do and waits until it is done. */
  async close() {
    this.ws.close(1000);
    return within(this.closed, WAIT_MS, 'the close');
  }

  /** Vanishes without a word. */
  drop() {
    this.ws.terminate();
  }

  /** Waits for the server's close. */
  end(timeoutMs = WAIT_MS) {
    return within(this.closed, timeoutMs, 'the close by the server');
  }
}

/** The next time something is emitted by what has `bind`: a channel, a connection, a user. */
export function once(target, event, what = event, timeoutMs = WAIT_MS) {
  let heard;
  const came = new Promise((resolve) => {
    heard = (data) => {
      target.unbind(event, heard);
      resolve(data);
    };
    target.bind(event, heard);
  });
  return within(came, timeoutMs, what).finally(() => target.unbind(event, heard));
}

/** Every event of a channel, user or client in its order, the protocol's own left out. */
export function record(target) {
  const list = [];
  target.bind_global((event, data) => {
    if (!/^pusher(_internal)?:/.test(event)) list.push([event, data]);
  });
  return list;
}

/** The npm library as back end of an app. */
export const backEnd = (server, { app = APP, ...options } = {}) =>
  new BackEnd({ appId: app.id, key: app.key, secret: app.secret, host: '127.0.0.1', port: String(server.port), useTLS: false, ...options });

/**
 * pusher-js; `user` is who it is in presence channels, `me` who signs in, `port` another way to the node. `errors`,
 * `states` and `waits` (the seconds it speaks of before it tries again) record what its connection says.
 */
export function client(server, { app = APP, user, me, port = server.port, sdk = backEnd(server, { app }), ...options } = {}) {
  const pusher = new Pusher(app.key, {
    cluster: '',
    wsHost: '127.0.0.1',
    wsPort: port,
    forceTLS: false,
    enabledTransports: ['ws'],
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, answer) =>
        answer(null, sdk.authorizeChannel(socketId, channelName, channelName.startsWith('presence-') ? user : undefined)),
    },
    userAuthentication: { customHandler: ({ socketId }, answer) => answer(null, sdk.authenticateUser(socketId, me)) },
    ...options,
  });
  return watched(pusher);
}

/** Records what a connection says and ends it with the file. */
export function watched(pusher) {
  opened.add(() => pusher.disconnect());
  pusher.errors = [];
  pusher.states = [];
  pusher.waits = [];
  pusher.connection.bind('error', (error) => pusher.errors.push(error));
  pusher.connection.bind('state_change', ({ current }) => pusher.states.push(current));
  pusher.connection.bind('connecting_in', (seconds) => pusher.waits.push(seconds));
  return pusher;
}

/** Waits until it is connected. */
export async function connected(pusher) {
  if (pusher.connection.state !== 'connected') await once(pusher.connection, 'connected');
  return pusher;
}

/** Subscribes and waits for the success; gives the channel. */
export async function subscribed(pusher, name) {
  const joined = pusher.subscribe(name);
  if (!joined.subscribed) await once(joined, 'pusher:subscription_succeeded', `subscription of ${name}`);
  return joined;
}

const CLOSE = 0x88;

/** A TCP proxy before the node that can end the connections through it as the node would. */
export class Gate {
  constructor(server) {
    this.target = server;
    this.pairs = [];
    this.listener = net.createServer((near) => this.pair(near));
  }

  static async open(server) {
    const gate = new Gate(server);
    await new Promise((resolve) => gate.listener.listen(0, '127.0.0.1', resolve));
    gate.port = gate.listener.address().port;
    opened.add(() => gate.shut());
    return gate;
  }

  pair(near) {
    const far = net.connect({ host: '127.0.0.1', port: this.target.port, noDelay: true });
    // `cut`: nothing goes through any more; `deaf`: the node hears nothing
    const pair = { near, far, sent: [], cut: false, deaf: false };
    this.pairs.push(pair);
    near.setNoDelay(true);
    near.on('data', (data) => {
      pair.sent.push(data);
      if (!pair.cut && !pair.deaf) far.write(data);
    });
    far.on('data', (data) => {
      if (!pair.cut) near.write(data);
    });
    near.on('close', () => far.destroy());
    far.on('close', () => pair.cut || near.destroy());
    near.on('error', () => {});
    far.on('error', () => {});
  }

  /** Ends the latest connection with a close frame of this code; without one it is just gone. */
  cut(code, reason = '') {
    const pair = this.pairs.at(-1);
    pair.cut = true;
    pair.far.destroy();
    if (code === undefined) {
      pair.near.destroy();
      return;
    }
    const text = Buffer.from(reason);
    pair.near.end(Buffer.concat([Buffer.from([CLOSE, text.length + 2, code >> 8, code & 0xff]), text]));
  }

  shut() {
    this.listener.close();
    for (const { near, far } of this.pairs) {
      near.destroy();
      far.destroy();
    }
  }
}

/**
 * Whether pusher-js connects again at once after its next error, and not after its second. A timer beside its own
 * tells, so that a busy machine delays both.
 */
export function isPrompt(pusher) {
  return new Promise((resolve) => {
    const heard = () => {
      pusher.connection.unbind('error', heard);
      const seen = pusher.states.length;
      setTimeout(() => resolve(pusher.states.length > seen), 900);
    };
    pusher.connection.bind('error', heard);
  });
}

/** Waits until the list has that many entries. */
export const filled = (list, count, what) => eventually(() => list.length >= count && list, `${count} of ${what}`);
