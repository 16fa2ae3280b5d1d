// The Pusher tab: a client of the protocol, version 7, and the part of a back end that it needs. What comes is only
// ever put on the page as text.
import { at, copyLine, el, Log, pause, refusal } from '/console.js';

const CLIENT = 'fanwire-console';
// Who hears nothing for the time that the node has told asks, and waits this long for any word.
const PONG_WITHIN_MS = 30000;
const RETRY_MS = 1000;
const MEMBERS_SHOWN = 50;

const encoder = new TextEncoder();

// ---- signatures ----

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

async function hmac(secret, text) {
  if (!secret) throw new Error('the secret of the app is needed');
  // Browsers give pages without HTTPS no cryptography, except those of this machine.
  if (!globalThis.crypto?.subtle) throw new Error('browsers sign on localhost and over HTTPS only');
  const how = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', encoder.encode(secret), how, false, ['sign']);
  return hex(new Uint8Array(await crypto.subtle.sign('HMAC', key, encoder.encode(text))));
}

const MD5_TURNS = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];
const MD5_SINES = Int32Array.from({ length: 64 }, (_, i) => Math.floor(Math.abs(Math.sin(i + 1)) * 2 ** 32));

/** MD5 (RFC 1321) of a text, which the HTTP API wants of its bodies and browsers do not have. */
function md5(text) {
  const bytes = encoder.encode(text);
  const padded = new Uint8Array((Math.floor((bytes.length + 8) / 64) + 1) * 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, bytes.length * 8, true);
  view.setUint32(padded.length - 4, Math.floor(bytes.length / 2 ** 29), true);
  const sum = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
  for (let block = 0; block < padded.length; block += 64) {
    let [a, b, c, d] = sum;
    for (let i = 0; i < 64; i += 1) {
      const round = i >> 4;
      const mixed = [(b & c) | (~b & d), (d & b) | (~d & c), b ^ c ^ d, c ^ (b | ~d)][round];
      const word = [i, 5 * i + 1, 3 * i + 5, 7 * i][round] % 16;
      const turned = (a + mixed + MD5_SINES[i] + view.getInt32(block + 4 * word, true)) | 0;
      const by = MD5_TURNS[4 * round + (i % 4)];
      [a, d, c, b] = [d, c, b, (b + ((turned << by) | (turned >>> (32 - by)))) | 0];
    }
    [a, b, c, d].forEach((word, i) => (sum[i] += word));
  }
  return hex(new Uint8Array(sum.buffer));
}

// ---- the connection ----

const value = (id) => at(id).value;
const isPresence = (channel) => channel.startsWith('presence-');
const needsAuth = (channel) => isPresence(channel) || channel.startsWith('private-');

/** Data of an event: JSON in a string, or already what it says. */
function opened(data) {
  if (typeof data !== 'string') return data ?? {};
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

/** One connection after the other, until it is stopped or the node wants no more of this client. */
class Connection {
  constructor() {
    Object.assign(this, { socket: undefined, socketId: undefined, stopper: undefined, alive: undefined });
  }

  get isOn() {
    return this.stopper !== undefined;
  }

  start() {
    this.stopper = new AbortController();
    this.showButton();
    this.loop(this.stopper.signal);
  }

  stop(state = 'off', words = 'off') {
    this.stopper?.abort();
    this.stopper = undefined;
    this.lost();
    this.showButton();
    this.show(state, words);
  }

  async loop(signal) {
    while (!signal.aborted) {
      this.show('wait', 'connecting');
      const { code, reason } = await this.once(signal);
      if (signal.aborted) return;
      const words = `closed: ${[code, reason].filter(Boolean).join(' ')}`;
      // Codes of the protocol: below 4100 for good, below 4200 after a moment, below 4300 at once.
      if ((code >= 4000 && code < 4100) || code >= 4300) return this.stop('bad', words);
      this.lost();
      this.show('bad', `${words}; trying again`);
      await pause(code >= 4200 ? 0 : RETRY_MS, signal);
    }
  }

  /** One connection; resolves when it is closed. */
  once(signal) {
    return new Promise((resolve) => {
      const url = `${location.origin.replace(/^http/, 'ws')}/app/${encodeURIComponent(value('app-key'))}?protocol=7&client=${CLIENT}`;
      const socket = new WebSocket(url);
      this.socket = socket;
      signal.addEventListener('abort', () => socket.close(1000));
      socket.onmessage = ({ data }) => {
        if (signal.aborted) return;
        this.heard();
        this.take(data);
      };
      socket.onclose = (closed) => {
        clearTimeout(this.alive);
        resolve(closed);
      };
    });
  }

  /** Something was heard: the node is there for now. */
  heard() {
    clearTimeout(this.alive);
    const { socket, activityMs } = this;
    if (!activityMs) return;
    this.alive = setTimeout(() => {
      this.send('pusher:ping', {});
      this.alive = setTimeout(() => socket.close(4201), PONG_WITHIN_MS);
    }, activityMs);
  }

  take(text) {
    let event;
    try {
      event = JSON.parse(text);
    } catch {
      events.add('not JSON', { body: text });
      return;
    }
    const data = opened(event.data);
    if (event.event === 'pusher:connection_established') {
      Object.assign(this, { socketId: data.socket_id, activityMs: data.activity_timeout * 1000 });
      this.heard();
      this.show('open', `connected as ${this.socketId}`);
      for (const channel of channels.values()) channel.ask();
    } else if (event.event === 'pusher:ping') {
      this.send('pusher:pong', {});
    } else if (event.event !== 'pusher:pong') {
      channels.get(event.channel)?.take(event.event, data);
      const shown = typeof event.data === 'string' ? event.data : JSON.stringify(event.data ?? {});
      const from = event.user_id === undefined ? '' : ` of ${event.user_id}`;
      events.add(event.channel ?? 'connection', { event: `${event.event}${from}`, body: shown });
    }
  }

  send(event, data, channel) {
    if (this.socket?.readyState !== WebSocket.OPEN || !this.socketId) throw new Error('connect first');
    this.socket.send(JSON.stringify({ event, data, channel }));
  }

  lost() {
    Object.assign(this, { socketId: undefined, activityMs: undefined });
    clearTimeout(this.alive);
    for (const channel of channels.values()) channel.lost();
  }

  showButton() {
    at('connect').textContent = this.isOn ? 'Disconnect' : 'Connect';
    at('connect').setAttribute('aria-pressed', String(this.isOn));
  }

  show(state, words) {
    at('connection-state').dataset.state = state;
    at('connection-state').textContent = words;
  }
}

// ---- channels ----

/** A channel on the page. It is subscribed to whenever there is a connection. */
class Channel {
  constructor(name) {
    const titleId = `channel-${(cards += 1)}`;
    Object.assign(this, { name, count: 0, members: new Map(), self: undefined });
    this.state = el('p', { className: 'state', role: 'status' }, 'waits for a connection');
    this.counted = el('span', {}, '0');
    this.list = el('ul', { className: 'members', 'aria-label': `Members of ${name}` });
    const leave = el('button', { type: 'button', onclick: () => this.leave() }, 'Leave');
    leave.setAttribute('aria-label', `Leave ${name}`);
    this.card = el(
      'div',
      { className: 'transport', role: 'group', 'aria-labelledby': titleId, 'data-channel': name },
      el('div', { className: 'title' }, el('h3', { id: titleId }, name), leave),
      this.state,
      el('div', { className: 'count' }, this.counted, ' ', el('small', {}, 'events')),
      this.list,
    );
    at('joined').append(this.card);
  }

  /** Asks to be subscribed, with all that the name of the channel makes necessary. */
  async ask() {
    const { socketId } = connection;
    this.show('wait', 'subscribing');
    try {
      const data = { channel: this.name, auth: '' };
      if (isPresence(this.name)) {
        this.self = value('user-id');
        data.channel_data = JSON.stringify({ user_id: this.self, user_info: { page: 'console' } });
      }
      if (needsAuth(this.name)) {
        const signed = [socketId, this.name, data.channel_data].filter(Boolean).join(':');
        data.auth = `${value('app-key')}:${await hmac(value('app-secret'), signed)}`;
      }
      // Meanwhile there may be another connection, or none.
      if (socketId === connection.socketId && channels.get(this.name) === this) connection.send('pusher:subscribe', data);
    } catch (error) {
      this.show('bad', error.message);
    }
  }

  take(event, data) {
    if (event === 'pusher_internal:subscription_succeeded') {
      const hash = data.presence?.hash ?? {};
      this.members = new Map(Object.entries(hash));
      this.show('open', 'subscribed');
    } else if (event === 'pusher:subscription_error') {
      this.show('bad', `${data.status ?? ''} ${data.error ?? data.type ?? 'refused'}`.trim());
    } else if (event === 'pusher:error') {
      this.show('bad', data.message);
    } else if (event === 'pusher_internal:member_added') {
      this.members.set(String(data.user_id), data.user_info);
    } else if (event === 'pusher_internal:member_removed') {
      this.members.delete(String(data.user_id));
    } else if (!event.startsWith('pusher')) {
      this.count += 1;
    }
  }

  leave() {
    channels.delete(this.name);
    this.card.remove();
    if (connection.socketId) connection.send('pusher:unsubscribe', { channel: this.name });
  }

  lost() {
    this.members.clear();
    this.show('wait', 'waits for a connection');
    this.paint();
  }

  show(state, words) {
    this.state.dataset.state = state;
    this.state.textContent = words;
  }

  paint() {
    this.counted.textContent = this.count.toLocaleString('en');
    const shown = [...this.members.keys()].slice(0, MEMBERS_SHOWN);
    const more = this.members.size - shown.length;
    this.list.replaceChildren(
      ...shown.map((id) => el('li', { className: id === this.self ? 'self' : '', title: JSON.stringify(this.members.get(id)) ?? '' }, id)),
      ...(more > 0 ? [el('li', {}, `and ${more.toLocaleString('en')} more`)] : []),
    );
  }
}

let cards = 0;
const channels = new Map();
const connection = new Connection();
const events = new Log('events', () => channels.forEach((channel) => channel.paint()));

function join(submitted) {
  submitted.preventDefault();
  const name = value('join-channel').trim();
  if (channels.has(name)) return;
  const channel = new Channel(name);
  channels.set(name, channel);
  at('to-channel').value = name;
  if (connection.socketId) channel.ask();
  else if (!connection.isOn) connection.start();
}

// ---- sending ----

/** Runs `send` and says how it went. */
async function outcome(send) {
  const output = at('triggered');
  try {
    output.textContent = await send();
    output.className = 'outcome';
  } catch (error) {
    output.textContent = error instanceof TypeError ? 'The node cannot be reached' : `Refused: ${error.message}`;
    output.className = 'outcome bad';
  }
}

/** POST /apps/ID/events, as a back end signs it. */
async function trigger() {
  const path = `/apps/${encodeURIComponent(value('app-id'))}/events`;
  const event = { name: value('to-event').trim(), channels: [value('to-channel').trim()], data: value('to-data') };
  if (at('not-to-me').checked && connection.socketId) event.socket_id = connection.socketId;
  const body = JSON.stringify(event);
  const seconds = Math.floor(Date.now() / 1000);
  const query = `auth_key=${value('app-key')}&auth_timestamp=${seconds}&auth_version=1.0&body_md5=${md5(body)}`;
  const signature = await hmac(value('app-secret'), `POST\n${path}\n${query}`);
  const headers = { 'Content-Type': 'application/json' };
  const answer = await fetch(`${path}?${query}&auth_signature=${signature}`, { method: 'POST', headers, body, cache: 'no-store' });
  if (!answer.ok) throw await refusal(answer);
  return `${answer.status}: ${await answer.text()}`;
}

function sendAsClient() {
  const name = value('to-event').trim().replace(/^(client-)?/, 'client-');
  connection.send(name, opened(value('to-data')), value('to-channel').trim());
  return `${name} sent`;
}

// ---- lines for a program ----

function programs() {
  const { hostname, port } = location;
  const number = port || (location.protocol === 'https:' ? 443 : 80);
  const tls = location.protocol === 'https:';
  const text = (id) => JSON.stringify(value(id));
  return [
    ['pusher-js', `new Pusher(${text('app-key')}, { cluster: "", wsHost: "${hostname}", wsPort: ${number}, forceTLS: ${tls}, enabledTransports: ["ws", "wss"] })`],
    ['Node', `new Pusher({ appId: ${text('app-id')}, key: ${text('app-key')}, secret: process.env.PUSHER_SECRET, host: "${hostname}", port: "${number}", useTLS: ${tls} })`],
    ['Python', `pusher.Pusher(app_id=${text('app-id')}, key=${text('app-key')}, secret=os.environ["PUSHER_SECRET"], host="${hostname}", port=${number}, ssl=${tls ? 'True' : 'False'})`],
  ];
}

const showPrograms = () => at('programs').replaceChildren(...programs().map(copyLine));

// ---- start ----

const { appId, appKey, appSecret } = at('panel-pusher').dataset;
// Where the dialect is switched off, there is no app to speak for.
at('tab-pusher').hidden = !appKey;
at('app-id').value = appId;
at('app-key').value = appKey;
at('app-secret').value = appSecret;
at('user-id').value = `guest-${Math.floor(Math.random() * 1e6)}`;
at('connect').onclick = () => (connection.isOn ? connection.stop() : connection.start());
at('join').onsubmit = join;
at('trigger').onsubmit = (submitted) => {
  submitted.preventDefault();
  outcome(trigger);
};
at('client-event').onclick = () => outcome(async () => sendAsClient());
at('clear-events').onclick = () => events.clear();
for (const field of ['app-key', 'app-id']) at(field).oninput = showPrograms;
for (const field of ['app-key', 'app-secret', 'user-id']) {
  at(field).onchange = () => {
    if (!connection.isOn) return;
    connection.stop();
    connection.start();
  };
}
showPrograms();
