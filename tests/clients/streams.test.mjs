// multipart/mixed, HTTP chunked and raw streams, and how a transport is chosen (nchan sheet, sections 1 and 4).
import assert from 'node:assert/strict';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { open } from '../support/raw.mjs';
import { upgradeHeaders } from '../support/websocket.mjs';

const server = useServer({
  locations: [
    sub('/raw', { subscribers: ['raw'] }),
    sub('/raw-sep', { subscribers: ['raw'], raw_separator: '--\n' }),
    sub('/compound', { compound_etag: true }),
    sub('/poll-only', { subscribers: ['longpoll'] }),
    sub('/ws-only', { subscribers: ['websocket'] }),
    sub('/es-only', { subscribers: ['eventsource'] }),
    sub('/interval', { subscribers: ['intervalpoll', 'longpoll'] }),
    sub('/timed', { subscriber_timeout: '1s' }),
    pub(),
    sub(),
  ],
});

const MULTIPART = { Accept: 'multipart/mixed' };
const CHUNKED = { TE: 'chunked' };

async function multipart(name, { prefix = '/sub', headers = {} } = {}) {
  const conn = await open(server, 'GET', `${prefix}/${name}`, { headers: { ...MULTIPART, ...headers } });
  const head = await conn.head();
  assert.equal(head.status, 200);
  const match = /^multipart\/mixed; boundary=([./0-9A-Za-z]{32})$/.exec(head.header('Content-Type'));
  assert.ok(match, head.header('Content-Type'));
  assert.equal(head.header('Content-Length'), undefined);
  assert.equal(head.header('Transfer-Encoding'), undefined);
  const boundary = `--${match[1]}`;
  assert.equal(await conn.readThrough(boundary), boundary, 'the first boundary comes at once');
  return { conn, boundary, part: async () => (await conn.readThrough(`\r\n${boundary}`)).slice(0, -boundary.length - 2) };
}

both('multipart: each part is complete as soon as it is sent', async () => {
  const name = channel();
  const s = await multipart(name);
  await server.subscribers(name, 1);
  await server.publish(name, 'hello', { 'Content-Type': 'text/x' });
  assert.match(await s.part(), /^\r\nLast-Modified: [^\r]+ GMT\r\nEtag: \d+\r\nContent-Type: text\/x\r\n\r\nhello$/);
  await server.publish(name, '');
  assert.match(await s.part(), /^\r\nLast-Modified: [^\r]+ GMT\r\nEtag: \d+\r\n\r\n$/, 'empty, no type');
  s.conn.destroy();
});

both('multipart: stored messages first, in order', async () => {
  const name = channel();
  for (const body of ['a', 'b', 'c']) await server.publish(name, body);
  const s = await multipart(name);
  for (const body of ['a', 'b', 'c']) assert.ok((await s.part()).endsWith(`\r\n\r\n${body}`));
  s.conn.destroy();
});

both('multipart: ids of the parts resume', async () => {
  const name = channel();
  for (const body of ['a', 'b']) await server.publish(name, body);
  const s = await multipart(name);
  const first = await s.part();
  s.conn.destroy();
  const headers = {
    'If-Modified-Since': /Last-Modified: (.*)\r\n/.exec(first)[1],
    'If-None-Match': /Etag: (.*)\r\n/.exec(first)[1],
  };
  const next = await multipart(name, { headers });
  assert.ok((await next.part()).endsWith('\r\n\r\nb'));
  next.conn.destroy();
});

both('multipart: DELETE closes the last boundary and the connection', async () => {
  const name = channel();
  const s = await multipart(name);
  await server.subscribers(name, 1);
  await server.request('DELETE', `/pub/${name}`);
  assert.equal((await s.conn.readToEnd()).toString(), '--\r\n');
});

both('multipart: compound mode has only the joined Etag', async () => {
  const name = channel();
  await server.publish(name, 'a');
  const s = await multipart(name, { prefix: '/compound' });
  assert.match(await s.part(), /^\r\nEtag: \d+:\d+\r\n\r\na$/);
  s.conn.destroy();
});

async function chunked(name, { prefix = '/sub', te = 'chunked' } = {}) {
  const conn = await open(server, 'GET', `${prefix}/${name}`, { headers: { TE: te } });
  const head = await conn.head();
  assert.equal(head.status, 200);
  assert.equal(head.header('Transfer-Encoding'), 'chunked');
  assert.equal(head.header('Content-Type'), undefined);
  return conn;
}

both('chunked: one message is one chunk, empty ones are skipped', async () => {
  const name = channel();
  const conn = await chunked(name);
  await server.subscribers(name, 1);
  for (const body of ['one', '', 'two\n']) await server.publish(name, body);
  assert.equal((await conn.chunk()).toString(), 'one');
  assert.equal((await conn.chunk()).toString(), 'two\n');
  conn.destroy();
});

both('chunked: stored messages come first, large ones whole', async () => {
  const name = channel();
  const big = Buffer.alloc(200_000, 'z');
  await server.publish(name, 'small');
  await server.publish(name, big);
  const conn = await chunked(name);
  assert.equal((await conn.chunk()).toString(), 'small');
  assert.ok((await conn.chunk()).equals(big));
  conn.destroy();
});

both('chunked: DELETE sends the last chunk', async () => {
  const name = channel();
  const conn = await chunked(name);
  await server.subscribers(name, 1);
  await server.request('DELETE', `/pub/${name}`);
  assert.equal((await conn.chunk()).length, 0);
  conn.destroy();
});

both('TE without chunked, or with quality zero, is not asking for chunked', async () => {
  const name = channel();
  await server.publish(name, 'x');
  for (const te of ['trailers', 'chunked;q=0', 'gzip;q=0.5']) {
    const got = await server.request('GET', `/sub/${name}`, { headers: { TE: te } });
    assert.equal(got.header('Etag'), '0', te);
  }
  (await chunked(name, { te: 'trailers, chunked;q=0.5' })).destroy();
});

for (const [prefix, separator] of [['/raw', '\n'], ['/raw-sep', '--\n']]) {
  both(`raw stream: every message is followed by ${JSON.stringify(separator)}`, async () => {
    const name = channel();
    await server.publish(name, 'stored', { 'Content-Type': 'text/plain' });
    const conn = await open(server, 'GET', `${prefix}/${name}`);
    const head = await conn.head();
    assert.equal(head.status, 200);
    assert.equal(head.header('Connection'), 'close');
    assert.equal(head.header('Content-Type'), undefined);
    assert.equal(head.header('Transfer-Encoding'), undefined);
    assert.equal(await conn.readThrough(separator), `stored${separator}`);
    await server.subscribers(name, 1);
    await server.publish(name, 'live');
    assert.equal(await conn.readThrough(separator), `live${separator}`);
    await server.publish(name, '');
    assert.equal(await conn.readThrough(separator), separator, 'an empty message');
    await server.request('DELETE', `/pub/${name}`);
    assert.equal((await conn.readToEnd()).length, 0);
  });
}

both('each stream ends at the subscriber timeout', async () => {
  const name = channel();
  const parts = await multipart(name, { prefix: '/timed' });
  const chunks = await chunked(name, { prefix: '/timed' });
  await chunks.readToEnd();
  await parts.conn.readToEnd();
});

both('order of choice: web socket, event source, chunked, multipart, long-poll', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const es = { Accept: 'multipart/mixed, text/event-stream', ...CHUNKED };
  const kindOf = async (headers, prefix = '/sub') => {
    const conn = await open(server, 'GET', `${prefix}/${name}`, { headers });
    const head = await conn.head();
    conn.destroy();
    if (head.status !== 200) return head.status;
    const type = head.header('Content-Type') ?? '';
    if (type.startsWith('text/event-stream')) return 'eventsource';
    if (type.startsWith('multipart/mixed')) return 'multipart';
    return head.header('Transfer-Encoding') === 'chunked' ? 'chunked' : head.header('Etag') ? 'poll' : 'raw';
  };
  assert.equal(await kindOf(upgradeHeaders(es)), 101);
  assert.equal(await kindOf(es), 'eventsource');
  assert.equal(await kindOf({ ...MULTIPART, ...CHUNKED }), 'chunked');
  assert.equal(await kindOf(MULTIPART), 'multipart');
  assert.equal(await kindOf({ Accept: '*/*' }), 'poll');
  assert.equal(await kindOf({ Accept: 'text/event-stream' }, '/raw'), 'raw', 'not allowed here, so not chosen');
});

both('an interval-poll location never holds', async () => {
  assert.equal((await server.request('GET', `/interval/${channel()}`)).status, 304);
});

both('a transport that is not allowed: web socket 403, the rest falls through to what is', async () => {
  const name = channel();
  await server.publish(name, 'x');
  assert.equal((await server.request('GET', `/poll-only/${name}`, { headers: upgradeHeaders() })).status, 403);
  const got = await server.request('GET', `/poll-only/${name}`, { headers: { Accept: 'text/event-stream' } });
  assert.equal(got.text, 'x');
  assert.equal((await server.request('GET', `/ws-only/${name}`)).status, 403);
  assert.equal((await server.request('GET', `/es-only/${name}`)).status, 403);
});

both('subscribers of every kind get the same messages in the same order', async () => {
  const name = channel();
  const parts = await multipart(name);
  const chunks = await chunked(name);
  const lines = await open(server, 'GET', `/raw/${name}`);
  await lines.head();
  await server.subscribers(name, 3);
  for (let i = 0; i < 50; i += 1) await server.publish(name, `m${i}`);
  for (let i = 0; i < 50; i += 1) {
    assert.ok((await parts.part()).endsWith(`\r\n\r\nm${i}`));
    assert.equal((await chunks.chunk()).toString(), `m${i}`);
    assert.equal(await lines.readThrough('\n'), `m${i}\n`);
  }
  for (const conn of [parts.conn, chunks, lines]) conn.destroy();
});

fanwireOnly('HTTP/1.0 has no chunked coding; nchan sends it all the same', 'chunked to an HTTP/1.0 client is not used', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const conn = await open(server, 'GET', `/sub/${name}`, { headers: CHUNKED, version: '1.0' });
  const head = await conn.head();
  assert.equal(head.header('Transfer-Encoding'), undefined);
  conn.destroy();
});
