// The Pusher protocol as a back end sees it: keys, signatures and requests of the HTTP API, made here by hand so
// that they can be wrong in every way (pusher.md, sections 6 and 11).
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, test } from 'node:test';
import { http } from './raw.mjs';
import { TARGET, eventually, start } from './server.mjs';

/** The app that is there without any configuration. */
export const APP = { id: '1', key: 'dev-key', secret: 'dev-secret' };

/** A second app, for tests that configure their own. */
export const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret' };

/** How long anything may take that should come at once, milliseconds: far more than it takes, also on a busy machine. */
export const WAIT_MS = 10_000;

/** A test of the Pusher dialect: nchan has none. */
export function pusherTest(name, fn) {
  test(name, { skip: TARGET === 'nchan' ? 'nchan does not speak Pusher' : false }, fn);
}

/** A test about how fanwire keeps the protocol where other servers of it differ. */
export function fanwireTest(name, fn) {
  test(name, { skip: TARGET === 'fanwire' ? false : 'fanwire only' }, fn);
}

/**
 * Starts one node for the whole file, as cases.mjs does. `options` may be a function. If it does not start, the tests
 * that use it fail, and no others.
 */
export function usePusher(options = {}) {
  const handle = {};
  if (TARGET === 'nchan') return handle;
  const failed = (error) => ({
    get port() {
      throw error;
    },
  });
  before(async () => {
    const settings = typeof options === 'function' ? await options() : options;
    Object.setPrototypeOf(handle, await startPusher(settings).catch(failed));
  });
  after(() => Object.getPrototypeOf(handle).stop?.());
  return handle;
}

/** Starts a node: `apps`, `webhooks` and `pusher` are the configuration's `[[app]]`, `[[webhook]]` and `[pusher]`. */
export function startPusher({ apps, webhooks, pusher, toml = '', ...options } = {}) {
  return start({ toml: toml + pusherToml({ apps, webhooks, pusher }), apps, pusher, ...options });
}

/** Runs with a node of its own and stops it. */
export async function withPusher(options, run) {
  const server = await startPusher(options);
  let failed = true;
  try {
    await run(server);
    failed = false;
  } finally {
    await server.stop().catch((error) => {
      if (!failed) throw error;
    });
  }
}

const keyLines = (table) =>
  Object.entries(table)
    .map(([key, value]) => `${key} = ${tomlValue(value)}\n`)
    .join('');

function tomlValue(value) {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(', ')}]`;
  if (value !== null && typeof value === 'object') {
    return `{ ${Object.entries(value).map(([k, v]) => `${k} = ${tomlValue(v)}`).join(', ')} }`;
  }
  return JSON.stringify(value);
}

function pusherToml({ apps = [], webhooks = [], pusher }) {
  const tables = (name, list) => list.map((table) => `[[${name}]]\n${keyLines(table)}\n`).join('');
  const common = pusher ? `[pusher]\n${keyLines(pusher)}\n` : '';
  return common + tables('app', apps) + tables('webhook', webhooks);
}

const hmac = (secret, text) => crypto.createHmac('sha256', secret).update(text).digest('hex');
export const md5 = (bytes) => crypto.createHash('md5').update(bytes).digest('hex');
export const webhookSignature = hmac;

/** `auth` of a subscription. */
export function channelAuth(socketId, channel, channelData, app = APP) {
  const signed = [socketId, channel, ...(channelData === undefined ? [] : [channelData])].join(':');
  return `${app.key}:${hmac(app.secret, signed)}`;
}

/** `auth` of a sign-in. */
export const userAuth = (socketId, userData, app = APP) => `${app.key}:${hmac(app.secret, `${socketId}::user::${userData}`)}`;

/**
 * The signed target of a request. `query` holds further parameters; `params` replaces or removes (undefined) those
 * of the signature; `secret` signs; `signature` replaces the outcome; `order` sorts what is sent; `encode` writes values.
 */
export function signedTarget(method, path, { app = APP, query = {}, params = {}, secret, signature, order, encode = String, body = '', signPath = path } = {}) {
  const all = {
    auth_key: app.key,
    auth_timestamp: Math.floor(Date.now() / 1000),
    auth_version: '1.0',
    ...(body.length > 0 ? { body_md5: md5(body) } : {}),
    ...query,
    ...params,
  };
  const names = Object.keys(all).filter((name) => all[name] !== undefined);
  const signed = names
    .map((name) => [name.toLowerCase(), all[name]])
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
  all.auth_signature = signature ?? hmac(secret ?? app.secret, `${method}\n${signPath}\n${signed}`);
  const sent = order ? order([...names, 'auth_signature']) : [...names, 'auth_signature'];
  return `${path}?${sent.map((name) => `${name}=${encode(all[name])}`).join('&')}`;
}

/** One signed request to `/apps/<id>` and what follows, whole answer; `json` is the body where it is JSON. */
export async function api(server, method, where, options = {}) {
  const { app = APP, prefix = `/apps/${app.id}` } = options;
  const body = options.body === undefined || typeof options.body === 'string' ? options.body : JSON.stringify(options.body);
  const target = options.target ?? signedTarget(method, prefix + where, { ...options, body });
  const headers = { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...options.headers };
  const answer = await http(server, method, target, { headers, body });
  try {
    answer.json = JSON.parse(answer.text);
  } catch {
    // a refusal is plain text
  }
  return answer;
}

/** Triggers one event and requires that it was taken: status 200 and an object (trap 20). */
export async function trigger(server, channels, name, data = '{}', extra = {}, app = APP) {
  const body = { name, data: typeof data === 'string' ? data : JSON.stringify(data), channels: [channels].flat(), ...extra };
  const answer = await api(server, 'POST', '/events', { app, body });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(typeof answer.json, 'object', answer.text);
  return answer.json;
}

/** What the API tells of a channel. */
export async function channelInfo(server, name, info, app = APP) {
  const answer = await api(server, 'GET', `/channels/${name}`, { app, query: info ? { info } : {} });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

/** Waits until the channel has that many subscriptions. */
export async function subscriptions(server, name, count, app = APP) {
  return eventually(async () => {
    const { occupied, subscription_count: now = 0 } = await channelInfo(server, name, 'subscription_count', app);
    return now === count && occupied === count > 0;
  }, `${count} subscriptions of ${name}`);
}

/** The ids of a presence channel's users, sorted. */
export async function usersOf(server, name, app = APP) {
  const answer = await api(server, 'GET', `/channels/${name}/users`, { app });
  assert.equal(answer.status, 200, answer.text);
  return answer.json.users.map((user) => user.id).sort();
}

/** Waits until exactly these users are there. */
export const usersAre = (server, name, ids, app = APP) =>
  eventually(async () => JSON.stringify(await usersOf(server, name, app)) === JSON.stringify([...ids].sort()), `users ${ids} of ${name}`);
