// A page that polls as updates.js does: jQuery in a browser-like window, cross-origin, with preflights and
// credentials (relay sheet, section 7). The window enforces the cross-origin rules, which is the point.
import assert from 'node:assert/strict';
import net from 'node:net';
import { createRequire } from 'node:module';
import { after, before } from 'node:test';
import { JSDOM } from 'jsdom';
import { both, useServer } from '../support/cases.mjs';
import { channel, eventually } from '../support/server.mjs';
import { sleep } from '../support/raw.mjs';

const require = createRequire(import.meta.url);
const PAGE = 'http://127.0.0.1:8000';
const flavour = 'relay';
const server = useServer({
  locations: [
    { url: '^/send-update/([^/]+)$', methods: 'publisher', channel_id: ['$1'], flavour },
    {
      url: '^/updates/([^/]+)$',
      methods: 'subscriber',
      channel_id: ['$1'],
      flavour,
      create_on_get: true,
      allow_origin: PAGE,
      allow_credentials: true,
    },
  ],
});

// In between, so that the test sees what the page really sends.
let tap;
let wire = '';
before(async () => {
  tap = net.createServer((client) => {
    const upstream = net.connect(server.port, '127.0.0.1');
    client.on('data', (d) => {
      wire += d.toString('latin1');
    });
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise((done) => tap.listen(0, '127.0.0.1', done));
});
const pages = [];
after(() => {
  for (const page of pages) page.close();
  tap.close();
});

const RETRY_MS = 100;

/** A window at the allowed origin with the polling loop for one channel. */
class Page {
  constructor(name) {
    this.dom = new JSDOM('<!doctype html><p>page</p>', { url: `${PAGE}/`, pretendToBeVisual: false });
    this.dom.virtualConsole.removeAllListeners();
    this.url = `http://127.0.0.1:${tap.address().port}/updates/${name}`;
    this.dom.cookieJar.setCookieSync('sessionid=abc', this.url);
    this.$ = require('jquery')(this.dom.window);
    this.received = [];
    this.failures = [];
    this.stopped = false;
    pages.push(this);
    this.poll('0', 'Thu, 1 Jan 1970 00:00:00 GMT');
  }

  poll(etag, modified) {
    if (this.stopped) return;
    this.xhr = this.$.ajax({
      url: this.url,
      dataType: 'json',
      cache: false,
      crossDomain: true,
      xhrFields: { withCredentials: true },
      beforeSend(xhr) {
        xhr.setRequestHeader('If-None-Match', etag);
        // this window refuses one-digit words in header values; real browsers send the date as it is
        xhr.setRequestHeader('If-Modified-Since', modified.replace(', 1 Jan', ', 01 Jan'));
      },
      success: (data, _status, xhr) => {
        const nextModified = xhr.getResponseHeader('Last-Modified');
        const nextTag = xhr.getResponseHeader('Etag') ?? /etag=(\S+)/.exec(xhr.getResponseHeader('Cache-Control') ?? '')?.[1];
        this.received.push(data);
        if (!nextModified || !nextTag) {
          this.failures.push('ids unreadable');
          setTimeout(() => this.poll('0', nextModified ?? modified), RETRY_MS);
          return;
        }
        this.poll(nextTag, nextModified);
      },
      error: (xhr, status) => {
        if (this.stopped) return;
        this.failures.push(`${status} ${xhr.status}`);
        setTimeout(() => this.poll(etag, modified), RETRY_MS);
      },
    });
  }

  close() {
    this.stopped = true;
    this.xhr?.abort();
    this.dom.window.close();
  }

  async has(values) {
    await eventually(() => this.received.length >= values.length, `${values.length} updates (failures: ${this.failures})`);
    assert.deepEqual(this.received.map((d) => d.value), values);
    assert.deepEqual(this.failures, []);
  }
}

const send = (name, value) =>
  server.request('POST', `/send-update/${name}`, {
    headers: { 'Content-Type': 'application/json; charset=utf-8', Connection: 'close', 'User-Agent': 'Python-urllib/2.7' },
    body: JSON.stringify({ type: 'answer', value }),
  });

both('updates stored before and sent while waiting arrive once, in order', async () => {
  const name = channel();
  await send(name, 1);
  await send(name, 2);
  const page = new Page(name);
  await page.has([1, 2]);
  await send(name, 3);
  await page.has([1, 2, 3]);
  for (let i = 4; i < 20; i += 1) await send(name, i);
  await page.has(Array.from({ length: 19 }, (_, i) => i + 1));
  page.close();
});

both('each poll has its own preflight, and sends cookie and both ids', async () => {
  const name = channel();
  wire = '';
  await send(name, 1);
  const page = new Page(name);
  await page.has([1]);
  // an earlier page may still be saying goodbye on the same wire
  const sent = (method) => wire.split(/(?=^(?:OPTIONS|GET) )/m).filter((r) => r.startsWith(`${method} /updates/${name}?`) && r.includes('\r\n\r\n'));
  await eventually(() => sent('GET').length === 2, 'the second poll');
  const [options, gets] = [sent('OPTIONS'), sent('GET')];
  assert.equal(options.length, 2);
  for (const r of options) {
    assert.match(r, new RegExp(`^OPTIONS /updates/${name}\\?_=\\d+ HTTP/1.1\r\n`));
    assert.match(r, /access-control-request-headers: .*if-none-match/i);
  }
  for (const r of gets) {
    assert.match(r, /cookie: sessionid=abc\r\n/i);
    assert.match(r, /origin: http:\/\/127\.0\.0\.1:8000\r\n/i);
  }
  assert.match(gets[0], /if-none-match: 0\r\n/i);
  assert.match(gets[0], /if-modified-since: Thu, 01 Jan 1970 00:00:00 GMT\r\n/i);
  assert.doesNotMatch(gets[1], /1970/);
  page.close();
});

both('after DELETE the page polls on and gets what comes next', async () => {
  const name = channel();
  const page = new Page(name);
  await server.subscribers(name, 1, { prefix: '/send-update' });
  await server.request('DELETE', `/send-update/${name}`);
  await eventually(() => page.failures.length > 0, 'the page notices');
  await send(name, 'after');
  await eventually(() => page.received.length > 0, 'the next update');
  assert.deepEqual(page.received.map((d) => d.value), ['after']);
  page.close();
});

both('three pages on one channel, one on another', async () => {
  const [name, other] = [channel(), channel()];
  const three = [new Page(name), new Page(name), new Page(name)];
  const alone = new Page(other);
  await server.subscribers(name, 3, { prefix: '/send-update' });
  await server.subscribers(other, 1, { prefix: '/send-update' });
  assert.equal((await send(name, 'x')).status, 201);
  for (const page of three) await page.has(['x']);
  await sleep(30);
  await alone.has([]);
  for (const page of [...three, alone]) page.close();
});
