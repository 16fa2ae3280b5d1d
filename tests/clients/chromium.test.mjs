// A real browser: native EventSource, WebSocket and fetch, and the nchan client, in one cross-origin page whose
// connections are cut on the way (nchan sheet, sections 6, 9 and 12).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { App } from '../support/app.mjs';
import { useServer } from '../support/cases.mjs';
import { CHROMIUM, show } from '../support/chromium.mjs';
import { channel, eventually, pub, sub } from '../support/server.mjs';

const nchanClient = fs.readFileSync(createRequire(import.meta.url).resolve('nchan'), 'utf8');

const PAGE = `<!doctype html><meta charset="utf-8"><script src="/nchan.js"></script><script>
const url = new URLSearchParams(location.search).get('sub');
const socketUrl = url.replace(/^http/, 'ws');
let queue = Promise.resolve();
const report = (kind, data, id) => {
  queue = queue.then(() => fetch('/report', { method: 'POST', body: JSON.stringify({ kind, data, id }) }));
};

const events = new EventSource(url, { withCredentials: true });
events.onmessage = (e) => report('eventsource', e.data, e.lastEventId);
events.addEventListener('upd', (e) => report('named', e.data, e.lastEventId));

const meta = new WebSocket(socketUrl, 'ws+meta.nchan');
meta.onmessage = (e) => report('websocket', e.data.slice(e.data.indexOf('\\n\\n') + 2), /^id: (.*)/.exec(e.data)[1]);
meta.onclose = (e) => report('closed', String(e.code), '');

(async () => {
  let headers = {};
  for (;;) {
    try {
      const answer = await fetch(url, { headers, credentials: 'include', cache: 'no-store' });
      if (answer.status !== 200) throw new Error(answer.status);
      const text = await answer.text();
      const [modified, tag] = [answer.headers.get('Last-Modified'), answer.headers.get('Etag')];
      report('fetch', text, modified && tag ? Date.parse(modified) / 1000 + ':' + tag : 'unreadable');
      headers = { 'If-Modified-Since': modified, 'If-None-Match': tag };
    } catch (error) {
      await new Promise((done) => setTimeout(done, 200));
    }
  }
})();

for (const transport of ['websocket', 'eventsource', 'longpoll']) {
  const subscriber = new NchanSubscriber(transport === 'websocket' ? socketUrl : url, { subscriber: transport });
  subscriber.reconnectTimeout = 200;
  subscriber.on('message', (text, about) => report('nchan-' + transport, text, about.id));
  subscriber.start();
}
report('ready', '', '');
</script>`;

const KINDS = ['eventsource', 'fetch', 'nchan-websocket', 'nchan-eventsource', 'nchan-longpoll'];
const server = useServer({ locations: [pub(), sub()] });
const reports = [];
const pairs = new Set();
let app;
let proxy;
let leave;

before(async () => {
  if (!CHROMIUM) return;
  app = await App.start();
  app.answer = (request) => {
    if (request.path === '/page') return { status: 200, headers: { 'Content-Type': 'text/html' }, body: PAGE };
    if (request.path === '/nchan.js') return { status: 200, headers: { 'Content-Type': 'text/javascript' }, body: nchanClient };
    if (request.path === '/report') reports.push(JSON.parse(request.body));
    return { status: request.path === '/report' ? 200 : 404 };
  };
  proxy = net.createServer((client) => {
    const upstream = net.connect(server.port, '127.0.0.1');
    const pair = [client, upstream];
    pairs.add(pair);
    for (const end of pair) {
      end.on('error', () => {});
      end.on('close', () => {
        pair.forEach((e) => e.destroy());
        pairs.delete(pair);
      });
    }
    client.pipe(upstream).pipe(client);
  });
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
});

after(async () => {
  leave?.();
  cut();
  proxy?.close();
  await app?.stop();
});

function cut() {
  for (const pair of pairs) pair.forEach((end) => end.destroy());
}

const got = (kind) => reports.filter((r) => r.kind === kind).map((r) => r.data);
async function all(kinds, expected, timeoutMs) {
  await eventually(() => kinds.every((kind) => got(kind).length >= expected.length), `${expected} on ${kinds}; so far ${JSON.stringify(Object.fromEntries(kinds.map((k) => [k, got(k)])))}`, timeoutMs);
  for (const kind of kinds) assert.deepEqual(got(kind), expected, kind);
}

test('every transport in a browser, stored and live, across a cut', { skip: CHROMIUM ? false : 'no chromium here' }, async () => {
  const name = channel();
  await server.publish(name, 'one', { 'Content-Type': 'text/plain' });
  await server.publish(name, '{"two": 2}', { 'Content-Type': 'application/json' });
  leave = show(`${app.url('/page')}?sub=${encodeURIComponent(`http://127.0.0.1:${proxy.address().port}/sub/${name}`)}`);
  await eventually(() => got('ready').length === 1, 'the page', 20_000);
  const stored = ['one', '{"two": 2}'];
  await all([...KINDS, 'websocket'], stored, 10_000);

  await server.publish(name, 'three žluť 🐎');
  await all([...KINDS, 'websocket'], [...stored, 'three žluť 🐎'], 5000);

  cut();
  await server.publish(name, 'four');
  await server.publish(name, 'five');
  const everything = [...stored, 'three žluť 🐎', 'four', 'five'];
  await all(KINDS, everything, 10_000);
  for (const kind of KINDS) {
    const ids = reports.filter((r) => r.kind === kind).map((r) => r.id);
    for (const id of ids) assert.match(id, /^\d+:\d+$/, kind);
    assert.equal(new Set(ids).size, ids.length, kind);
  }
  assert.deepEqual(got('closed'), ['1006'], 'the cut socket, and no clean close before');

  await server.publish(name, 'named one', { 'X-EventSource-Event': 'upd' });
  await eventually(() => got('named').length === 1, 'the named event');
  assert.deepEqual(got('named'), ['named one']);
});
