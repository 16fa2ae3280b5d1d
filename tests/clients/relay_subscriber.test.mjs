// The Basic HTTP Push Relay Protocol, subscriber side: polling, ids, concurrency (relay sheet, sections 3-5).
import assert from 'node:assert/strict';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { after, httpDate, idOf, ifHeaders } from '../support/ids.mjs';
import { Conn, open } from '../support/raw.mjs';

const flavour = 'relay';
const create_on_get = true;
const server = useServer({
  locations: [
    sub('/strict', { flavour }),
    sub('/interval', { flavour, create_on_get, polling: 'interval', subscribers: ['intervalpoll'] }),
    sub('/strict-interval', { flavour, polling: 'interval' }),
    sub('/timed', { flavour, create_on_get, subscriber_timeout: '1s' }),
    sub('/known', { flavour, create_on_get, existing_channels_only: true }),
    sub('/last', { flavour, create_on_get, concurrency: 'last' }),
    sub('/first', { flavour, create_on_get, concurrency: 'first' }),
    pub('/pub3', { flavour, buffer_messages: 3 }),
    pub('/pub', { flavour }),
    sub('/sub', { flavour, create_on_get }),
  ],
});
const PY = 'nchan differs here: these are the answers of py-hbpush';
const OLD = 'a setting of nginx_http_push_module that nchan does not have';
const EPOCH = { 'If-None-Match': '0', 'If-Modified-Since': 'Thu, 1 Jan 1970 00:00:00 GMT' };

const poll = (name, headers = {}, prefix = '/sub') => server.request('GET', `${prefix}/${name}`, { headers });
const list = (text) => new Set((text ?? '').toLowerCase().split(/,\s*/));

both('200: message, type, ids, Vary', async () => {
  const name = channel();
  await server.publish(name, '{"type":"answer"}', { 'Content-Type': 'application/json; charset=utf-8' });
  const got = await poll(name);
  assert.equal(got.status, 200);
  assert.equal(got.text, '{"type":"answer"}');
  assert.equal(got.header('Content-Type'), 'application/json; charset=utf-8');
  assert.match(got.header('Etag'), /^\d+$/);
  assert.match(got.header('Last-Modified'), / GMT$/);
  assert.deepEqual(list(got.header('Vary')), new Set(['if-modified-since', 'if-none-match']));
  assert.doesNotMatch(got.header('Cache-Control') ?? '', /max-age/);
});

fanwireOnly(PY, '200: Cache-Control: etag=N for readers that cannot see Etag', async () => {
  const name = channel();
  await server.publish(name, 'a');
  await server.publish(name, 'b');
  const first = await poll(name);
  assert.equal(first.header('Cache-Control'), `etag=${first.header('Etag')}`);
  const second = await poll(name, after(first));
  assert.equal(second.header('Cache-Control'), `etag=${second.header('Etag')}`);
  assert.equal(/etag=(\S+)/.exec(second.header('Cache-Control'))[1], second.header('Etag'));
});

both('the first request of updates.js: epoch with a one-digit day means the oldest', async () => {
  const name = channel();
  await server.publish(name, 'a');
  await server.publish(name, 'b');
  assert.equal((await poll(name, EPOCH)).text, 'a');
  const empty = channel();
  const held = await open(server, 'GET', `/sub/${empty}`, { headers: EPOCH });
  await held.staysQuiet(60);
  await server.publish(empty, 'x');
  assert.equal((await held.response()).text, 'x');
  held.destroy();
});

both('held and stored answers look the same', async () => {
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`);
  await server.subscribers(name, 1);
  await server.publish(name, 'x', { 'Content-Type': 'text/x' });
  const live = await held.response();
  const stored = await poll(name);
  const shape = (a) => a.fields.list.filter(([n]) => n !== 'Date').map(([n, v]) => `${n}: ${v}`);
  assert.deepEqual(shape(live), shape(stored));
  held.destroy();
});

both('messages that share a second are each given once', async () => {
  const name = channel();
  for (let i = 0; i < 10; i += 1) await server.publish(name, `m${i}`);
  let headers = EPOCH;
  for (let i = 0; i < 10; i += 1) {
    const got = await poll(name, headers);
    assert.equal(got.text, `m${i}`);
    headers = after(got);
  }
});

fanwireOnly(PY, 'the date alone repeats the first message of that second', async () => {
  const name = channel();
  await server.publish(name, 'a');
  await server.publish(name, 'b');
  const first = await poll(name);
  assert.equal((await poll(name, { 'If-Modified-Since': first.header('Last-Modified') })).text, 'a');
});

fanwireOnly(PY, 'If-None-Match alone means time zero: the oldest', async () => {
  const name = channel();
  await server.publish(name, 'a');
  await server.publish(name, 'b');
  assert.equal((await poll(name, { 'If-None-Match': '5' })).text, 'a');
});

for (const [label, dress] of [['quoted', (t) => `"${t}"`], ['weak', (t) => `W/"${t}"`]]) {
  both(`a ${label} etag is read`, async () => {
    const name = channel();
    await server.publish(name, 'a');
    await server.publish(name, 'b');
    const h = after(await poll(name));
    h['If-None-Match'] = dress(h['If-None-Match']);
    assert.equal((await poll(name, h)).text, 'b');
  });
}

fanwireOnly(PY, 'what cannot be read is 400', async () => {
  const name = channel();
  await server.publish(name, 'a');
  assert.equal((await poll(name, { 'If-Modified-Since': 'abcd', 'If-None-Match': '0' })).status, 400);
  assert.equal((await poll(name, { 'If-Modified-Since': httpDate(1000000000), 'If-None-Match': 'abcd' })).status, 400);
});

both('an id older than what is stored gives the oldest', async () => {
  const name = channel();
  for (let i = 0; i < 5; i += 1) await server.publish(name, `m${i}`, {}, '/pub3');
  assert.equal((await poll(name, ifHeaders('1000000000:3'))).text, 'm2');
});

both('an id in the future waits', async () => {
  const name = channel();
  await server.publish(name, 'a');
  const held = await open(server, 'GET', `/sub/${name}`, { headers: ifHeaders(`${Math.floor(Date.now() / 1000) + 50}:0`) });
  await held.staysQuiet(80);
  held.destroy();
});

fanwireOnly(PY, 'unknown channel: 404 unless created on GET', async () => {
  assert.equal((await poll(channel(), {}, '/strict')).status, 404);
  assert.equal((await poll(channel(), {}, '/strict-interval')).status, 404);
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`);
  await held.staysQuiet(60);
  assert.equal((await server.request('GET', `/pub/${name}`)).status, 200, 'created');
  held.destroy();
});

both('authorized channels only: 403', async () => {
  assert.equal((await poll(channel(), {}, '/known')).status, 403);
});

fanwireOnly(PY, 'methods other than GET and OPTIONS are 405 with Allow', async () => {
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'HEAD']) {
    const got = await server.request(method, `/sub/${channel()}`, { body: method === 'POST' ? 'x' : undefined });
    assert.equal(got.status, 405, method);
    assert.match(got.header('Allow'), /GET/, method);
  }
});

both('interval polling: 200 or an immediate, clean 304', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  conn.request('GET', `/interval/${name}`, { headers: EPOCH });
  const none = await conn.response();
  assert.equal(none.status, 304);
  assert.ok([undefined, '0'].includes(none.header('Content-Length')));
  await server.publish(name, 'a');
  conn.request('GET', `/interval/${name}`, { headers: EPOCH });
  const got = await conn.response();
  assert.equal(got.text, 'a');
  conn.request('GET', `/interval/${name}`, { headers: after(got) });
  const again = await conn.response();
  assert.equal(again.status, 304);
  assert.equal(again.header('Etag') ?? got.header('Etag'), got.header('Etag'));
  await server.publish(name, 'b');
  conn.request('GET', `/interval/${name}`, { headers: after(got) });
  assert.equal((await conn.response()).text, 'b', 'the 304 left the connection in step');
  conn.destroy();
});

fanwireOnly(PY, 'the poll timeout is a 304 without new ids', async () => {
  const name = channel();
  await server.publish(name, 'a');
  const first = await poll(name, {}, '/timed');
  const held = await open(server, 'GET', `/timed/${name}`, { headers: after(first) });
  const got = await held.response();
  assert.equal(got.status, 304);
  if (got.header('Etag') !== undefined) assert.equal(got.header('Etag'), first.header('Etag'));
  held.request('GET', `/timed/${name}`, { headers: after(first) });
  await server.subscribers(name, 1);
  await server.publish(name, 'b');
  assert.equal((await held.response()).text, 'b');
  held.destroy();
});

both('broadcast: everybody gets it', async () => {
  const name = channel();
  const held = await Promise.all([1, 2, 3].map(() => open(server, 'GET', `/sub/${name}`)));
  await server.subscribers(name, 3);
  await server.publish(name, 'x');
  for (const conn of held) {
    assert.equal((await conn.response()).text, 'x');
    conn.destroy();
  }
});

fanwireOnly(OLD, 'concurrency last: the new poll wins, the held one gets 409', async () => {
  const name = channel();
  const older = await open(server, 'GET', `/last/${name}`);
  await server.subscribers(name, 1);
  const newer = await open(server, 'GET', `/last/${name}`);
  const refused = await older.response();
  assert.equal(refused.status, 409);
  assert.equal(refused.reason, 'Conflict');
  await server.subscribers(name, 1);
  assert.equal((await server.publish(name, 'x')).status, 201);
  assert.equal((await newer.response()).text, 'x');
  older.destroy();
  newer.destroy();
});

fanwireOnly(OLD, 'concurrency first: the held poll stays, the new one gets 409', async () => {
  const name = channel();
  const older = await open(server, 'GET', `/first/${name}`);
  await server.subscribers(name, 1);
  assert.equal((await poll(name, {}, '/first')).status, 409);
  await server.publish(name, 'x');
  assert.equal((await older.response()).text, 'x');
  older.destroy();
  const next = await open(server, 'GET', `/first/${name}`, { headers: after(await poll(name)) });
  await next.staysQuiet(60);
  next.destroy();
});

fanwireOnly(OLD, 'concurrency does not reach over to other channels', async () => {
  const [a, b] = [channel(), channel()];
  const one = await open(server, 'GET', `/last/${a}`);
  await server.subscribers(a, 1);
  const two = await open(server, 'GET', `/last/${b}`);
  await server.subscribers(b, 1);
  await one.staysQuiet(60);
  one.destroy();
  two.destroy();
});

both('204 is never used: what is gone is 410, what is new is 200', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const first = await poll(name);
  await server.request('DELETE', `/pub/${name}`);
  const held = await open(server, 'GET', `/sub/${name}`, { headers: ifHeaders('1000000000:0') });
  await held.staysQuiet(60);
  await server.publish(name, 'y');
  assert.equal((await held.response()).status, 200);
  held.destroy();
  assert.equal(idOf(first).includes(':'), true);
});

both('a vanished poller does not count for 201', async () => {
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`);
  await server.subscribers(name, 1);
  held.destroy();
  await server.subscribers(name, 0);
  assert.equal((await server.publish(name, 'x')).status, 202);
});
