// The console. What subscribers receive is only ever put on the page as text.

const RETRY_MS = 1000;
const METRICS_EVERY_MS = 1000;
const LOG_ENTRIES = 100;
const LOG_BODY_CHARS = 4000;
const PAINT_EVERY_MS = 50;

export const at = (id) => document.getElementById(id);

/** An element with properties and children; strings become text. */
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes('-') || key === 'role') made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

// ---- addresses ----

// A quote would end the quotes of a curl line, and encodeURIComponent leaves it.
const escaped = (name) => encodeURIComponent(name).replaceAll("'", '%27');
const address = (pathField) => location.origin + at(pathField).value + escaped(at('channel').value);
const subscribeUrl = () => address('subscribe-path');
const publishUrl = () => address('publish-path');

function withId(url, id) {
  return id ? `${url}?last_event_id=${encodeURIComponent(id)}` : url;
}

// ---- transports ----
// Each takes a `session` (see Transport) and runs until `session.signal` is aborted. It resolves when the server
// ended it, rejects when it failed; either way it is started again a moment later and goes on after `session.lastId`.

const decoder = new TextDecoder();

/** A frame of ws+meta.nchan: header lines, an empty line, the message. */
function splitMeta(frame) {
  const text = typeof frame === 'string' ? frame : decoder.decode(frame);
  const head = /^id: (.*)\n(?:content-type: (.*)\n)?\n/.exec(text);
  if (!head) throw new Error('a frame without ws+meta.nchan header');
  return { id: head[1], type: head[2], body: text.slice(head[0].length) };
}

function websocket(session) {
  return new Promise((resolve, reject) => {
    const url = withId(session.url.replace(/^http/, 'ws'), session.lastId);
    const socket = new WebSocket(url, 'ws+meta.nchan');
    socket.binaryType = 'arraybuffer';
    session.signal.addEventListener('abort', () => socket.close(1000));
    socket.onopen = () => session.opened();
    socket.onmessage = ({ data }) => {
      try {
        session.received(splitMeta(data));
      } catch (error) {
        socket.close(1000);
        reject(error);
      }
    };
    socket.onclose = ({ code, reason }) => {
      if (code === 1006) reject(new Error('no connection'));
      else resolve(`closed: ${[code, reason].filter(Boolean).join(' ')}`);
    };
  });
}

/** Event names that EventSource listens for; it shows no others. */
const eventNames = new Set();
const eventSources = new Set();

function eventsource(session) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(withId(session.url, session.lastId));
    const entry = {
      listen: (name) => source.addEventListener(name, take),
    };
    function take(event) {
      session.received({ id: event.lastEventId, event: event.type === 'message' ? undefined : event.type, body: event.data });
    }
    function end(settle, how) {
      eventSources.delete(entry);
      source.close();
      settle(how);
    }
    eventSources.add(entry);
    for (const name of new Set(['message', ...eventNames])) entry.listen(name);
    session.signal.addEventListener('abort', () => end(resolve));
    source.onopen = () => session.opened();
    source.onerror = () => {
      // Otherwise the browser connects again by itself.
      if (source.readyState === EventSource.CLOSED) end(reject, new Error('refused'));
      else session.waiting('reconnecting');
    };
  });
}

function listenFor(name) {
  if (!name || eventNames.has(name) || name === 'error' || name === 'open') return;
  eventNames.add(name);
  if (name !== 'message') for (const entry of eventSources) entry.listen(name);
}

/** What a failed request says of itself. */
export async function refusal(answer) {
  const text = (await answer.text().catch(() => '')).slice(0, 100);
  return new Error(`${answer.status} ${answer.statusText || text}`.trim());
}

const idOf = (lastModified, etag) => (lastModified ? `${Date.parse(lastModified) / 1000}:${etag ?? ''}` : etag);

/** The headers that ask for what follows a message. */
function after(id) {
  const parts = /^(\d+):(.*)$/.exec(id ?? '');
  if (!parts) return {};
  return { 'If-Modified-Since': new Date(Number(parts[1]) * 1000).toUTCString(), 'If-None-Match': parts[2] };
}

async function longpoll(session) {
  while (!session.signal.aborted) {
    session.opened();
    const headers = after(session.lastId);
    const answer = await fetch(session.url, { headers, cache: 'no-store', signal: session.signal });
    if (answer.status === 408) continue;
    if (!answer.ok) throw await refusal(answer);
    const body = await answer.text();
    const id = idOf(answer.headers.get('Last-Modified'), answer.headers.get('Etag'));
    session.received({ id, type: answer.headers.get('Content-Type'), body });
  }
}

async function multipart(session) {
  const headers = { Accept: 'multipart/mixed', ...after(session.lastId) };
  const answer = await fetch(session.url, { headers, cache: 'no-store', signal: session.signal });
  if (!answer.ok) throw await refusal(answer);
  const boundary = /boundary="?([^";]+)/.exec(answer.headers.get('Content-Type') ?? '')?.[1];
  if (!boundary) throw new Error('not a multipart answer');
  session.opened();
  const parts = new PartReader(boundary);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return 'ended by the server';
    for (const { fields, body } of parts.push(value)) {
      const id = idOf(fields.get('last-modified'), fields.get('etag'));
      session.received({ id, type: fields.get('content-type'), body });
    }
  }
}

/** Cuts a multipart stream into parts; the part behind the last boundary is still to come. */
class PartReader {
  constructor(boundary) {
    this.mark = `\r\n--${boundary}`;
    // The first boundary stands at the very beginning.
    this.rest = '\r\n';
    this.searched = 0;
    this.isPreamble = true;
  }

  * push(text) {
    this.rest += text;
    for (;;) {
      const end = this.rest.indexOf(this.mark, this.searched);
      if (end < 0) {
        this.searched = Math.max(0, this.rest.length - this.mark.length);
        return;
      }
      const part = this.rest.slice(0, end);
      this.rest = this.rest.slice(end + this.mark.length);
      this.searched = 0;
      if (!this.isPreamble) yield splitPart(part);
      this.isPreamble = false;
    }
  }
}

function splitPart(part) {
  const end = part.indexOf('\r\n\r\n');
  const lines = part.slice(0, end).split('\r\n').filter(Boolean);
  const field = (line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  };
  return { fields: new Map(lines.map(field)), body: part.slice(end + 4) };
}

// ---- one transport on the page ----

export const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    resolve();
  });
});

class Transport {
  constructor(key, name, run) {
    Object.assign(this, { key, name, run, count: 0, lastId: undefined, stopper: undefined });
    const titleId = `transport-${key}`;
    this.button = el('button', { type: 'button', 'aria-pressed': 'false', onclick: () => this.toggle() }, 'Start');
    this.button.setAttribute('aria-label', `Start ${name}`);
    this.state = el('p', { className: 'state', role: 'status' }, 'off');
    this.counted = el('span', {}, '0');
    this.id = el('div', { className: 'id' }, 'no id yet');
    this.card = el(
      'div',
      { className: 'transport', role: 'group', 'aria-labelledby': titleId, 'data-transport': key },
      el('div', { className: 'title' }, el('h3', { id: titleId }, name), this.button),
      this.state,
      el('div', { className: 'count' }, this.counted, ' ', el('small', {}, 'received')),
      this.id,
    );
  }

  get isOn() {
    return this.stopper !== undefined;
  }

  toggle() {
    if (this.isOn) this.stop();
    else this.start();
  }

  start() {
    if (this.isOn) return;
    this.stopper = new AbortController();
    this.showButton();
    this.loop(this.stopper.signal);
  }

  stop(words = 'off') {
    this.stopper?.abort();
    this.stopper = undefined;
    this.showButton();
    this.show('off', words);
  }

  /** Another channel: what was read of the old one says nothing about it. */
  restart() {
    const wasOn = this.isOn;
    this.stop();
    Object.assign(this, { count: 0, lastId: undefined });
    this.paint();
    if (wasOn) this.start();
  }

  async loop(signal) {
    const session = this.session(signal);
    while (!signal.aborted) {
      this.show('wait', 'connecting');
      let how = 'ended';
      let state = 'wait';
      try {
        how = (await this.run(session)) ?? how;
      } catch (error) {
        how = error instanceof TypeError ? 'no connection' : error.message;
        state = 'bad';
      }
      if (signal.aborted) return;
      this.show(state, `${how}; trying again`);
      await pause(RETRY_MS, signal);
    }
  }

  /** What the transport sees: nothing of it counts any more once it was stopped. */
  session(signal) {
    const transport = this;
    return {
      signal,
      url: subscribeUrl(),
      get lastId() {
        return transport.lastId;
      },
      opened: () => signal.aborted || this.show('open', 'listening'),
      waiting: (words) => signal.aborted || this.show('wait', words),
      received: (message) => {
        if (signal.aborted) return;
        this.count += 1;
        this.lastId = message.id || this.lastId;
        received.add(this.name, message);
      },
    };
  }

  showButton() {
    const verb = this.isOn ? 'Stop' : 'Start';
    this.button.textContent = verb;
    this.button.setAttribute('aria-label', `${verb} ${this.name}`);
    this.button.setAttribute('aria-pressed', String(this.isOn));
  }

  show(state, words) {
    this.state.dataset.state = state;
    this.state.textContent = words;
  }

  paint() {
    this.counted.textContent = this.count.toLocaleString('en');
    this.id.textContent = this.lastId ?? 'no id yet';
    this.id.title = this.lastId ?? '';
  }
}

const transports = [
  new Transport('websocket', 'WebSocket', websocket),
  new Transport('eventsource', 'EventSource', eventsource),
  new Transport('longpoll', 'Long-poll', longpoll),
  new Transport('multipart', 'Multipart', multipart),
];

// ---- the log ----

/** A list of what was received, newest first. `painted` is called after each painting. */
export class Log {
  constructor(id, painted) {
    Object.assign(this, { list: at(id), empty: at(`${id}-empty`), painted, waiting: [], painting: false });
  }

  /** Keeps a message for the next painting, so that a flood costs the page a constant amount of work. */
  add(source, message) {
    this.waiting.push({ source, message, time: new Date() });
    if (this.waiting.length > LOG_ENTRIES) this.waiting.shift();
    if (this.painting) return;
    this.painting = true;
    setTimeout(() => this.paint(), PAINT_EVERY_MS);
  }

  paint() {
    this.painting = false;
    this.list.prepend(...this.waiting.reverse().map(entry));
    this.waiting = [];
    while (this.list.children.length > LOG_ENTRIES) this.list.lastElementChild.remove();
    this.empty.hidden = this.list.children.length > 0;
    this.painted();
  }

  clear() {
    this.list.replaceChildren();
    this.empty.hidden = false;
  }
}

const received = new Log('log', () => transports.forEach((transport) => transport.paint()));

function entry({ source, message, time }) {
  const { id, type, event, body } = message;
  const about = el('div', { className: 'about' }, el('b', {}, source), el('time', {}, time.toLocaleTimeString()));
  if (id) about.append(el('span', {}, id));
  if (type) about.append(el('span', {}, type));
  if (event) about.append(el('span', {}, `event ${event}`));
  const more = body.length - LOG_BODY_CHARS;
  const shown = more > 0 ? `${body.slice(0, LOG_BODY_CHARS)}… ${more} more characters` : body;
  return el('li', {}, about, el('pre', {}, shown));
}

// ---- publishing ----

async function publish(event) {
  event.preventDefault();
  const headers = { Accept: 'application/json', 'Content-Type': at('content-type').value };
  const name = at('event').value.trim();
  if (name) headers['X-EventSource-Event'] = name;
  listenFor(name);
  const output = at('published');
  let words;
  try {
    const answer = await fetch(publishUrl(), { method: 'POST', headers, body: at('message').value, cache: 'no-store' });
    if (!answer.ok) throw await refusal(answer);
    const info = await answer.json();
    words = `${answer.status}: ${info.subscribers} subscribed, ${info.messages} stored, id ${info.last_message_id}`;
    output.className = '';
  } catch (error) {
    words = error instanceof TypeError ? 'The node cannot be reached' : `Refused: ${error.message}`;
    output.className = 'bad';
  }
  output.textContent = words;
}

// ---- lines for a terminal ----

function curlLines() {
  const sub = `'${subscribeUrl()}'`;
  return [
    ['Publish', `curl -d 'hello' -H 'Content-Type: text/plain' '${publishUrl()}'`],
    ['EventSource', `curl -N -H 'Accept: text/event-stream' ${sub}`],
    ['Long-poll', `curl -i ${sub}`],
    ['Multipart', `curl -N -H 'Accept: multipart/mixed' ${sub}`],
    ['Chunked', `curl -N -H 'TE: chunked' ${sub}`],
    ['Channel', `curl -H 'Accept: application/json' '${publishUrl()}'`],
    ['Delete', `curl -X DELETE '${publishUrl()}'`],
  ];
}

/** An entry of a list of lines to copy. */
export function copyLine([name, line]) {
  const code = el('code', {}, line);
  const button = el('button', { type: 'button', onclick: () => copy(code, button) }, 'Copy');
  button.setAttribute('aria-label', `Copy the line: ${name}`);
  return el('li', {}, el('span', {}, name), code, button);
}

const showCurl = () => at('curl').replaceChildren(...curlLines().map(copyLine));

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = 'Copied';
  } catch {
    // Without HTTPS there is no clipboard: then it is selected.
    getSelection().selectAllChildren(code);
    button.textContent = 'Selected';
  }
  setTimeout(() => (button.textContent = 'Copy'), 1500);
}

// ---- figures of the node ----

/** Sums of all samples of a name. */
function figures(text) {
  const sums = new Map();
  for (const line of text.split('\n')) {
    const sample = /^([a-z_]+)(?:\{.*\})? (\S+)$/.exec(line);
    if (sample) sums.set(sample[1], (sums.get(sample[1]) ?? 0) + Number(sample[2]));
  }
  return sums;
}

const shownFigure = (value) => (Number.isFinite(value) ? Math.round(value).toLocaleString('en') : '–');

async function watchFigures() {
  let before;
  for (;;) {
    if (!document.hidden) {
      try {
        const answer = await fetch('/metrics', { cache: 'no-store' });
        if (answer.status === 404) return noFigures('Metrics are served on the internal listener only.');
        if (!answer.ok) throw await refusal(answer);
        const now = { at: performance.now(), sums: figures(await answer.text()) };
        showFigures(now, before);
        before = now;
      } catch {
        before = undefined;
        noFigures('The node cannot be reached.');
      }
    }
    await new Promise((resolve) => setTimeout(resolve, METRICS_EVERY_MS));
  }
}

function showFigures(now, before) {
  const perSecond = (name) => {
    const grown = now.sums.get(name) - before?.sums.get(name);
    return (grown * 1000) / (now.at - before?.at);
  };
  at('figures-note').hidden = true;
  at('figure-connections').textContent = shownFigure(now.sums.get('fanwire_connections'));
  at('figure-subscriptions').textContent = shownFigure(now.sums.get('fanwire_subscriptions'));
  at('figure-publications').textContent = shownFigure(perSecond('fanwire_publications_total'));
  at('figure-deliveries').textContent = shownFigure(perSecond('fanwire_deliveries_total'));
}

function noFigures(why) {
  at('figures-note').textContent = why;
  at('figures-note').hidden = false;
  for (const figure of document.querySelectorAll('#figures dd')) figure.textContent = '–';
}

// ---- tabs ----

function select(tab) {
  for (const other of tab.parentElement.children) {
    const isSelected = other === tab;
    other.setAttribute('aria-selected', String(isSelected));
    other.tabIndex = isSelected ? 0 : -1;
    at(other.getAttribute('aria-controls')).hidden = !isSelected;
  }
}

function moveBetweenTabs(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const tabs = [...event.currentTarget.children];
  const next = tabs.at((tabs.indexOf(document.activeElement) + step) % tabs.length);
  select(next);
  next.focus();
}

// ---- start ----

const chunked = el(
  'div',
  { className: 'transport', role: 'group', 'aria-labelledby': 'transport-chunked' },
  el('h3', { id: 'transport-chunked' }, 'Chunked'),
  el('p', { className: 'hint' }, 'Asked for with the header TE, which browsers keep for themselves. The line for a terminal is below.'),
);
at('transports').append(...transports.map((transport) => transport.card), chunked);
at('start-all').onclick = () => transports.forEach((transport) => transport.start());
at('stop-all').onclick = () => transports.forEach((transport) => transport.stop());
at('publish').onsubmit = publish;
at('clear').onclick = () => received.clear();
at('event').onchange = () => listenFor(at('event').value.trim());
for (const field of ['channel', 'publish-path', 'subscribe-path']) {
  at(field).oninput = showCurl;
  at(field).onchange = () => transports.forEach((transport) => transport.restart());
}
const tabs = document.querySelector('[role=tablist]');
tabs.onkeydown = moveBetweenTabs;
for (const tab of tabs.children) tab.onclick = () => select(tab);
select(tabs.firstElementChild);
showCurl();
watchFigures();
