// The Basic HTTP Push Relay Protocol, publisher side (relay sheet, section 2 and 7; traps 5, 8, 9).
import assert from 'node:assert/strict';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { after, idOrder, idOf } from '../support/ids.mjs';
import { Conn, open, requestBytes } from '../support/raw.mjs';

const flavour = 'relay';
const server = useServer({
  locations: [
    { url: '^/send-update/([^/]+)$', methods: 'publisher', channel_id: ['$1'], flavour },
    { url: '^/updates/([^/]+)$', methods: 'subscriber', channel_id: ['$1'], flavour, create_on_get: true },
    { url: '^/redis/(.+)/1/pub/$', methods: 'publisher', channel_id: ['$1'], flavour },
    { url: '^/strict-sub/([^/]+)$', methods: 'subscriber', channel_id: ['$1'], flavour },
    { prefix: '/publisher/', methods: 'publisher', channel_id: ['$1'], flavour },
    pub('/put-first', { flavour, create_on_post: false }),
    sub('/sub', { flavour, create_on_get: true }),
    pub('/cut', { flavour, max_channel_id_bytes: 8, channel_id_overflow: 'truncate' }),
    pub('/pub', { flavour }),
  ],
});
const PY = 'nchan differs here: these are the answers of py-hbpush';

const send = (name, body, headers = {}) => server.request('POST', `/send-update/${name}`, { headers, body });
const SEND_UPDATE = (name, body) =>
  `POST /send-update/${name} HTTP/1.1\r\nAccept-Encoding: identity\r\nContent-Length: ${body.length}\r\nHost: 127.0.0.1:8001\r\n` +
  `Content-Type: application/json; charset=utf-8\r\nConnection: close\r\nUser-Agent: Python-urllib/2.7\r\n\r\n${body}`;

both('the exact request of updates.send_update is taken and the connection closed', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  conn.send(SEND_UPDATE(name, '{"type": "answer", "value": 42}'));
  const answer = await conn.response('POST');
  assert.equal(answer.status, 202);
  await conn.readToEnd();
  conn.destroy();
  const got = await server.request('GET', `/updates/${name}`);
  assert.equal(got.text, '{"type": "answer", "value": 42}');
  assert.equal(got.header('Content-Type'), 'application/json; charset=utf-8');
});

both('the same in two packets, head and body apart', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  const [head, body] = SEND_UPDATE(name, '{"type": "x"}').split('\r\n\r\n');
  conn.send(`${head}\r\n\r\n`);
  await new Promise((done) => setTimeout(done, 20));
  conn.send(body);
  assert.equal((await conn.response('POST')).status, 202);
  conn.destroy();
});

both('201 with a held poll, 202 without', async () => {
  const name = channel();
  assert.equal((await send(name, 'a')).status, 202);
  const held = await open(server, 'GET', `/updates/${name}`, { headers: after(await server.request('GET', `/updates/${name}`)) });
  await server.subscribers(name, 1);
  assert.equal((await send(name, 'b')).status, 201);
  assert.equal((await held.response()).text, 'b');
  held.destroy();
});

both('a client between two polls is not counted but finds the message', async () => {
  const name = channel();
  await send(name, 'a');
  const conn = await open(server, 'GET', `/updates/${name}`);
  const first = await conn.response();
  await server.subscribers(name, 0);
  assert.equal((await send(name, 'b')).status, 202, 'connected, not waiting');
  conn.request('GET', `/updates/${name}`, { headers: after(first) });
  assert.equal((await conn.response()).text, 'b');
  conn.destroy();
});

both('POST without content type, and an empty body, are messages', async () => {
  const name = channel();
  assert.equal((await send(name, 'untyped')).status, 202);
  assert.equal((await send(name, '')).status, 202);
  const first = await server.request('GET', `/updates/${name}`);
  assert.equal(first.header('Content-Type'), undefined);
  const second = await server.request('GET', `/updates/${name}`, { headers: after(first) });
  assert.equal(second.status, 200);
  assert.equal(second.header('Content-Length'), '0');
  assert.match(second.header('Etag'), /^\d+$/);
});

fanwireOnly(PY, 'every 2xx has a body with the channel info', async () => {
  const name = channel();
  for (const [method, body] of [['PUT'], ['POST', 'x'], ['GET'], ['DELETE']]) {
    const got = await server.request(method, `/pub/${name}`, { headers: { Accept: 'application/json' }, body });
    assert.ok(got.status >= 200 && got.status < 300, `${method} ${got.status}`);
    const info = JSON.parse(got.text);
    assert.equal(typeof info.messages, 'number', method);
    assert.equal(typeof info.requested, 'number', method);
    assert.equal(typeof info.subscribers, 'number', method);
  }
});

both('channel info in the other forms', async () => {
  const name = channel();
  await send(name, 'x');
  const form = async (accept) => (await server.request('GET', `/send-update/${name}`, { headers: { Accept: accept } })).text;
  assert.match(await form('text/plain'), /^queued messages: 1\r\nlast requested: -1 sec\. ago.*\r\nactive subscribers: 0/);
  assert.match(await form('text/xml'), /<messages>1<\/messages>\r\n {2}<requested>-1<\/requested>\r\n {2}<subscribers>0<\/subscribers>/);
  assert.match(await form('application/yaml'), /^---\r\nmessages: 1\r\nrequested: -1\r\nsubscribers: 0\r\n/);
});

both('GET is 404 with an empty body for an unknown channel', async () => {
  const got = await server.request('GET', `/send-update/${channel()}`);
  assert.equal(got.status, 404);
  assert.equal(got.bytes.length, 0);
});

fanwireOnly(PY, 'PUT is 200, creates, is idempotent and queues nothing', async () => {
  const name = channel();
  for (let i = 0; i < 2; i += 1) assert.equal((await server.request('PUT', `/pub/${name}`)).status, 200);
  assert.equal((await server.request('PUT', `/pub/${name}`, { body: 'ignored' })).status, 200);
  assert.equal((await server.info(name)).messages, 0);
  await server.publish(name, 'x');
  assert.equal((await server.request('PUT', `/pub/${name}`)).status, 200);
  assert.equal((await server.info(name)).messages, 1);
});

fanwireOnly(PY, 'PUT makes the channel known to subscribers that do not create', async () => {
  const name = channel();
  assert.equal((await server.request('GET', `/strict-sub/${name}`)).status, 404);
  await server.request('PUT', `/pub/${name}`);
  const held = await open(server, 'GET', `/strict-sub/${name}`);
  await held.staysQuiet(60);
  await server.publish(name, 'x');
  assert.equal((await held.response()).text, 'x');
  held.destroy();
});

fanwireOnly(PY, 'create_on_post off: 404 until PUT', async () => {
  const name = channel();
  assert.equal((await server.request('POST', `/put-first/${name}`, { body: 'x' })).status, 404);
  assert.equal((await server.request('PUT', `/put-first/${name}`)).status, 200);
  assert.equal((await server.request('POST', `/put-first/${name}`, { body: 'x' })).status, 202);
});

fanwireOnly(PY, 'DELETE: 200, then 404', async () => {
  const name = channel();
  await server.publish(name, 'x');
  assert.equal((await server.request('DELETE', `/pub/${name}`)).status, 200);
  assert.equal((await server.request('DELETE', `/pub/${name}`)).status, 404);
  assert.equal((await server.request('GET', `/pub/${name}`)).status, 404);
});

both('DELETE reaches every held poll with 410; later polls are on a new channel', async () => {
  const name = channel();
  const held = await Promise.all(Array.from({ length: 10 }, () => open(server, 'GET', `/updates/${name}`)));
  await server.subscribers(name, 10);
  assert.equal((await server.request('DELETE', `/send-update/${name}`)).status, 200);
  for (const conn of held) {
    assert.equal((await conn.response()).status, 410);
    conn.destroy();
  }
  const next = await open(server, 'GET', `/updates/${name}`);
  await next.staysQuiet(60);
  await send(name, 'new');
  assert.equal((await next.response()).text, 'new');
  next.destroy();
});

fanwireOnly('nchan reuses ids (trap 5)', 'DELETE and publish in one second: an old poller does not miss the message', async () => {
  const name = channel();
  await send(name, 'old');
  const old = await server.request('GET', `/updates/${name}`);
  await server.request('DELETE', `/send-update/${name}`);
  await send(name, 'new');
  const got = await server.request('GET', `/updates/${name}`, { headers: after(old) });
  assert.equal(got.text, 'new');
  assert.ok(idOrder(idOf(old), idOf(got)) < 0);
});

fanwireOnly(PY, 'other methods are 405 with Allow', async () => {
  for (const method of ['PATCH', 'BREW']) {
    const got = await server.request(method, `/pub/${channel()}`, {});
    assert.equal(got.status, 405, method);
    for (const allowed of ['GET', 'POST', 'PUT', 'DELETE']) assert.ok(got.header('Allow').includes(allowed), method);
  }
});

both('the content type is relayed byte for byte', async () => {
  const name = channel();
  const type = 'Application/JSON;Charset="utf-8" ; x=Y';
  await send(name, '{}', { 'Content-Type': type });
  assert.equal((await server.request('GET', `/updates/${name}`)).header('Content-Type'), type);
});

both('the query string takes no part in finding the location or the channel', async () => {
  const name = channel();
  assert.equal((await server.request('POST', `/send-update/${name}?x=/send-update/other`, { body: 'x' })).status, 202);
  assert.equal((await server.request('GET', `/updates/${name}?_=1795258195577`)).text, 'x');
});

both('the id is the decoded group', async () => {
  const name = channel('a b');
  await server.request('POST', `/send-update/${name.replaceAll(' ', '%20')}`, { body: 'x' });
  assert.equal((await server.request('GET', `/updates/${name.replaceAll(' ', '%20').replace('a', '%61')}`)).text, 'x');
});

both('text around the group, and prefix locations', async () => {
  const name = channel();
  assert.equal((await server.request('POST', `/redis/${name}/1/pub/`, { body: 'x' })).status, 202);
  assert.equal((await server.request('POST', `/publisher/${name}`, { body: 'y' })).status, 202);
  const first = await server.request('GET', `/updates/${name}`);
  assert.equal(first.text, 'x');
  assert.equal((await server.request('GET', `/updates/${name}`, { headers: after(first) })).text, 'y');
});

fanwireOnly('nginx matches the decoded path', 'an escaped slash belongs to the id although the group excludes slashes', async () => {
  const name = channel();
  assert.equal((await server.request('POST', `/send-update/${name}%2Fc`, { body: 'x' })).status, 202);
  assert.equal((await server.request('GET', `/updates/${name}%2Fc`)).text, 'x');
});

fanwireOnly('a setting of the older module', 'ids that are too long can be cut instead of refused', async () => {
  assert.equal((await server.request('POST', '/cut/abcdefghXYZ', { body: 'x' })).status, 202);
  assert.equal((await server.request('GET', '/sub/abcdefgh')).text, 'x');
});

both('a path that no location has is 404', async () => {
  for (const where of ['/', '/send-update/', '/send-update/a/b', '/nothing', '/updates']) {
    assert.equal((await server.request('POST', where, { body: 'x' })).status === 202, false, where);
  }
});

both('many helpers at once, each on its own connection', async () => {
  const name = channel();
  const answers = await Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      const conn = await Conn.open(server);
      conn.send(requestBytes('POST', `/send-update/${name}`, { headers: { Connection: 'close' }, body: `m${i}` }));
      const { status } = await conn.response('POST');
      await conn.readToEnd();
      conn.destroy();
      return status;
    }),
  );
  assert.deepEqual(new Set(answers), new Set([202]));
  assert.equal((await server.info(name, '/send-update')).messages, 50);
});
