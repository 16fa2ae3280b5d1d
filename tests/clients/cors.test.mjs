// Cross-origin headers of nchan locations (nchan sheet, section 6).
import assert from 'node:assert/strict';
import { both, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { open } from '../support/raw.mjs';
import { upgradeHeaders, WsConn } from '../support/websocket.mjs';

const listed = ['http://one.example', 'http://two.example'];
const server = useServer({
  locations: [
    { url: '^/room/(.+)$', methods: 'pubsub', channel_id: ['$1'] },
    sub('/listed', { allow_origin: listed }),
    pub('/listed-pub', { allow_origin: listed }),
    sub('/star', { allow_origin: '*' }),
    sub('/anonymous', { allow_credentials: false }),
    sub('/interval', { subscribers: ['intervalpoll'] }),
    sub('/known', { existing_channels_only: true }),
    sub('/timed', { subscriber_timeout: '1s' }),
    pub(),
    sub(),
  ],
});

const ORIGIN = 'http://page.example:8000';
const FROM = { Origin: ORIGIN };
const EXPOSED = new Set(['last-modified', 'etag', 'content-type']);
const words = (text) => new Set((text ?? '').toLowerCase().split(/,\s*/));

function allowed(answer, origin = ORIGIN) {
  assert.equal(answer.header('Access-Control-Allow-Origin'), origin);
  assert.equal(answer.header('Access-Control-Allow-Credentials'), 'true');
}

both('without Origin there is none of it', async () => {
  const name = channel();
  await server.publish(name, 'x');
  for (const [method, where] of [['GET', `/sub/${name}`], ['GET', `/pub/${name}`], ['OPTIONS', `/sub/${name}`]]) {
    const got = await server.request(method, where);
    assert.equal(got.fields.list.some(([n]) => /^access-control-/i.test(n)), false, `${method} ${where}`);
  }
});

both('with Origin the answers echo it: 202, 200, 404, 403', async () => {
  const name = channel();
  const posted = await server.request('POST', `/pub/${name}`, { headers: FROM, body: 'x' });
  assert.equal(posted.status, 202);
  allowed(posted);
  allowed(await server.request('GET', `/pub/${name}`, { headers: FROM }));
  const missing = await server.request('GET', `/pub/${channel()}`, { headers: FROM });
  assert.equal(missing.status, 404);
  allowed(missing);
  const refused = await server.request('GET', `/known/${channel()}`, { headers: FROM });
  assert.equal(refused.status, 403);
  allowed(refused);
});

both('message answers expose the ids', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const got = await server.request('GET', `/sub/${name}`, { headers: FROM });
  allowed(got);
  assert.deepEqual(words(got.header('Access-Control-Expose-Headers')), EXPOSED);
});

both('201 and a held answer', async () => {
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`, { headers: FROM });
  await server.subscribers(name, 1);
  const posted = await server.request('POST', `/pub/${name}`, { headers: FROM, body: 'x' });
  assert.equal(posted.status, 201);
  allowed(posted);
  allowed(await held.response());
  held.destroy();
});

both('304 and 410 and 408', async () => {
  const interval = await server.request('GET', `/interval/${channel()}`, { headers: FROM });
  assert.equal(interval.status, 304);
  allowed(interval);
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`, { headers: FROM });
  const timed = await open(server, 'GET', `/timed/${channel()}`, { headers: FROM });
  await server.subscribers(name, 1);
  await server.request('DELETE', `/pub/${name}`);
  const gone = await held.response();
  assert.equal(gone.status, 410);
  allowed(gone);
  const late = await timed.response();
  assert.equal(late.status, 408);
  allowed(late);
  held.destroy();
  timed.destroy();
});

both('streams and 101', async () => {
  const name = channel();
  for (const headers of [{ Accept: 'text/event-stream' }, { Accept: 'multipart/mixed' }, { TE: 'chunked' }]) {
    const stream = await open(server, 'GET', `/sub/${name}`, { headers: { ...headers, ...FROM } });
    allowed(await stream.head());
    stream.destroy();
  }
  const socket = await WsConn.connect(server, `/sub/${name}`, FROM);
  allowed(socket.head);
  socket.destroy();
});

const preflights = [
  ['publisher', '/pub/', 'GET, POST, PUT, DELETE', ['content-type']],
  ['pubsub', '/room/', 'GET, POST, PUT, DELETE', ['if-none-match', 'if-modified-since', 'content-type', 'cache-control', 'x-eventsource-event']],
  ['subscriber', '/sub/', 'GET', ['if-none-match', 'if-modified-since', 'content-type', 'cache-control', 'x-eventsource-event']],
];
for (const [kind, prefix, methods, fields] of preflights) {
  both(`preflight on a ${kind} location`, async () => {
    const name = channel();
    const got = await server.request('OPTIONS', prefix + name, {
      headers: { ...FROM, 'Access-Control-Request-Method': 'GET', 'Access-Control-Request-Headers': 'If-None-Match' },
    });
    assert.equal(got.status, 200);
    assert.equal(got.bytes.length, 0);
    allowed(got);
    assert.equal(got.header('Allow'), methods);
    assert.equal(got.header('Access-Control-Allow-Methods'), methods);
    const allowedFields = words(got.header('Access-Control-Allow-Headers'));
    for (const field of fields) assert.ok(allowedFields.has(field), `${field} in ${[...allowedFields]}`);
    assert.equal((await server.request('GET', `/pub/${name}`)).status, 404, 'touches no channel');
  });
}

both('a list allows its members and refuses others with 403, OPTIONS and publishers too', async () => {
  const name = channel();
  await server.publish(name, 'x');
  for (const origin of listed) {
    const got = await server.request('GET', `/listed/${name}`, { headers: { Origin: origin } });
    assert.equal(got.status, 200);
    allowed(got, origin);
  }
  for (const [method, where] of [['GET', `/listed/${name}`], ['OPTIONS', `/listed/${name}`], ['POST', `/listed-pub/${name}`], ['DELETE', `/listed-pub/${name}`], ['OPTIONS', `/listed-pub/${name}`]]) {
    const got = await server.request(method, where, { headers: FROM, body: method === 'POST' ? 'no' : undefined });
    assert.equal(got.status, 403, `${method} ${where}`);
  }
  assert.equal((await server.info(name)).messages, 1, 'nothing was published or deleted');
  const socket = await server.request('GET', `/listed/${name}`, { headers: upgradeHeaders(FROM) });
  assert.equal(socket.status, 403);
  assert.equal((await server.request('GET', `/listed/${name}`)).status, 200, 'no Origin, no check');
});

both('a configured star is sent as a star', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const got = await server.request('GET', `/star/${name}`, { headers: FROM });
  assert.equal(got.header('Access-Control-Allow-Origin'), '*');
});

both('credentials can be switched off', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const got = await server.request('GET', `/anonymous/${name}`, { headers: FROM });
  assert.equal(got.header('Access-Control-Allow-Origin'), ORIGIN);
  assert.equal(got.header('Access-Control-Allow-Credentials'), undefined);
});

both('the preflight answer does not say how long it may be kept', async () => {
  const got = await server.request('OPTIONS', `/sub/${channel()}`, { headers: FROM });
  assert.equal(got.header('Access-Control-Max-Age'), undefined);
});

both('an Origin of null is an origin', async () => {
  const name = channel();
  await server.publish(name, 'x');
  allowed(await server.request('GET', `/sub/${name}`, { headers: { Origin: 'null' } }), 'null');
});
