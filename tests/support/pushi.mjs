// The Pushi protocol as clients and back ends see it, made by hand so that it can be wrong in every way (pushi.md).
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import http from 'node:http';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { sleep } from './raw.mjs';
import { TARGET, start } from './server.mjs';

const require = createRequire(new URL('../clients/package.json', import.meta.url));
const { WebSocket } = require('ws');

const named = (name) => ({
  id: `${name}-app`,
  key: name.repeat(64).slice(0, 64),
  secret: `${name}s`.repeat(64).slice(0, 64),
});

/** The app of most tests. */
export const APP = named('a');
/** Another one. */
export const OTHER = named('b');

/** How long anything may take that should come at once, milliseconds. */
export const WAIT_MS = 10_000;
/** How long nothing has to come, milliseconds. */
const QUIET_MS = 150;

const table = (app) => `[[app]]\nid = "${app.id}"\nkey = "${app.key}"\nsecret = "${app.secret}"\n`;
const TOML = table(APP) + table(OTHER);

export const pushiTest = (name, fn) => test(name, { skip: TARGET === 'fanwire' ? false : 'fanwire only' }, fn);

export const startPushi = ({ toml = '', ...options } = {}) => start({ ...options, toml: TOML + toml });

/** One node for a whole file. */
export function usePushi(options = {}) {
  const handle = {};
  if (TARGET !== 'fanwire') return handle;
  before(async () => Object.setPrototypeOf(handle, await startPushi(options)));
  after(() => handle.stop());
  return handle;
}

/** The signature for a connection, URL ... on a channel; `encoding` of the text that is signed. */
export function sign(app, subject, channel, encoding = 'utf8') {
  const signature = crypto.createHmac('sha256', app.secret).update(Buffer.from(`${subject}:${channel}`, encoding));
  return `${app.key}:${signature.digest('hex')}`;
}

let names = 0;
/** A channel name that no other test uses. */
export const channel = (prefix = '') => `${prefix}c${process.pid}-${(names += 1)}`;

/** A client on a plain WebSocket. */
export class Client {
  constructor(socket) {
    this.socket = socket;
    this.frames = [];
    this.closed = new Promise((resolve) => socket.once('close', (code) => resolve(code)));
    this.wake = () => {};
    socket.on('message', (data) => {
      this.frames.push(JSON.parse(data.toString()));
      this.wake();
    });
    socket.on('close', () => this.wake());
    socket.on('error', () => {});
  }

  static async connect(server, { app = APP, path = `/${app.key}`, ...options } = {}) {
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}${path}`, options);
    const client = new Client(socket);
    client.app = app;
    const first = await client.frame();
    assert.equal(first.event, 'pusher:connection_established');
    client.id = JSON.parse(first.data).socket_id;
    assert.match(client.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    return client;
  }

  /** The next frame. */
  async frame() {
    const deadline = Date.now() + WAIT_MS;
    while (this.frames.length === 0) {
      if (this.socket.readyState === WebSocket.CLOSED) throw new Error('closed instead of a frame');
      if (Date.now() > deadline) throw new Error('no frame came');
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.frames.shift();
  }

  /** The next frame, which is this one. */
  async expect(wanted) {
    assert.deepEqual(await this.frame(), wanted);
  }

  /** No frame comes for a while. */
  async quiet() {
    await sleep(QUIET_MS);
    assert.deepEqual(this.frames, []);
  }

  /** The connection ends, without another frame. */
  async ends() {
    const code = await Promise.race([this.closed, sleep(WAIT_MS).then(() => 'open')]);
    assert.notEqual(code, 'open', 'the connection stays open');
    assert.deepEqual(this.frames, []);
    return code;
  }

  raw(text) {
    this.socket.send(text);
  }

  send(event, data, extra = {}) {
    this.raw(JSON.stringify({ event, data, echo: false, persist: true, ...extra }));
  }

  /** What official clients send to subscribe. */
  ask(name, channel_data, auth) {
    const signed = /^(private|presence|personal|peer)-/.test(name);
    const data = { channel: name };
    if (signed) data.auth = auth ?? sign(this.app, this.id, name);
    if (channel_data !== undefined) data.channel_data = channel_data;
    this.send('pusher:subscribe', data);
  }

  /** Subscribes and returns the channel data. */
  async subscribe(name, channel_data, auth) {
    this.ask(name, channel_data, auth);
    return this.reply('subscription_succeeded', name);
  }

  async unsubscribe(name) {
    this.send('pusher:unsubscribe', { channel: name });
    return this.reply('unsubscription_succeeded', name);
  }

  async latest(name, options = {}) {
    this.send('pusher:latest', { channel: name, ...options });
    return this.reply('latest', name);
  }

  /** The next frame is this reply; returns its channel data. */
  async reply(event, name) {
    const frame = await this.frame();
    assert.deepEqual(Object.keys(frame).sort(), ['channel', 'data', 'event'], JSON.stringify(frame));
    assert.equal(frame.event, `pusher_internal:${event}`, JSON.stringify(frame));
    assert.equal(frame.channel, name);
    const data = JSON.parse(frame.data);
    assert.deepEqual(Object.keys(data).sort(), ['alias', 'events', 'members', 'name']);
    assert.equal(data.name, name);
    return data;
  }

  /** The next frame is an event with these members; id and time are there if it is kept. */
  async event(wanted, kept = true) {
    const { mid, timestamp, ...frame } = await this.frame();
    assert.deepEqual(frame, wanted);
    if (kept) {
      assert.match(mid, /^[0-9a-f-]{36}$/);
      assert.ok(Math.abs(timestamp - Date.now() / 1000) < 60, `${timestamp}`);
    } else {
      assert.deepEqual([mid, timestamp], [undefined, undefined]);
    }
    return { mid, timestamp };
  }

  async close() {
    this.socket.close();
    await this.closed;
  }
}

/** A back end. */
export class Rest {
  constructor(server, app = APP) {
    Object.assign(this, { server, app });
  }

  static async login(server, app = APP) {
    const rest = new Rest(server, app);
    const { id, key, secret } = app;
    const { status, json } = await rest.call('GET', '/login', undefined, { app_id: id, app_key: key, app_secret: secret });
    assert.equal(status, 200);
    assert.match(json.token, /^[0-9a-f]{64}$/);
    rest.sid = json.token;
    return rest;
  }

  /** One request; `body` is JSON unless it is text. */
  call(method, path, body, query = {}, headers = {}) {
    const all = new URLSearchParams(this.sid ? { ...query, sid: this.sid } : query).toString();
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const type = body === undefined || typeof body === 'string' ? {} : { 'Content-Type': 'application/json' };
    const options = { host: '127.0.0.1', port: this.server.port, method, path: all ? `${path}?${all}` : path };
    return new Promise((resolve, reject) => {
      const request = http.request({ ...options, headers: { ...type, ...headers } }, (response) => {
        let answer = '';
        response.setEncoding('utf8');
        response.on('data', (data) => (answer += data));
        response.on('end', () => {
          let json;
          try {
            json = JSON.parse(answer);
          } catch {
            json = undefined;
          }
          resolve({ status: response.statusCode, headers: response.headers, text: answer, json });
        });
      });
      request.once('error', reject);
      request.end(text);
    });
  }

  /** A request that has to work; returns its JSON. */
  async ok(method, path, body, query) {
    const { status, json, text } = await this.call(method, path, body, query);
    assert.equal(status, 200, `${method} ${path}: ${status} ${text}`);
    return json;
  }

  publish(body) {
    return this.ok('POST', '/events', body);
  }

  /** A request that is refused with this status; returns the error. */
  async refused(wanted, method, path, body, query) {
    const { status, json, text } = await this.call(method, path, body, query);
    assert.equal(status, wanted, `${method} ${path}: ${status} ${text}`);
    assert.equal(json.result, 'error');
    assert.equal(json.code, wanted);
    for (const field of ['name', 'message', 'traceback', 'uid', 'meta', 'session']) assert.ok(field in json, field);
    return json;
  }
}

/** A receiver of web hooks: `calls` has their bodies. */
export async function receiver(answer = () => {}) {
  const calls = [];
  const server = http.createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (data) => (body += data));
    request.on('end', async () => {
      calls.push({ url: request.url, method: request.method, headers: request.headers, json: JSON.parse(body || 'null') });
      await answer(request);
      response.end('ok');
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    calls,
    url: (path) => `http://127.0.0.1:${server.address().port}${path}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
