// Calls to the application: authorize, subscribe, unsubscribe, upstream (nchan sheet, section 7; trap 20).
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { App } from '../support/app.mjs';
import { both, useServer } from '../support/cases.mjs';
import { channel, freePort, pub, sub } from '../support/server.mjs';
import { after as following } from '../support/ids.mjs';
import { Conn, open } from '../support/raw.mjs';
import { upgradeHeaders, WsConn } from '../support/websocket.mjs';

let app;
const hook_headers = { 'X-Channel-Id': '$channel_id', 'X-Subscriber-Type': '$subscriber_type', 'X-Original-URI': '$request_uri' };
const pub_headers = { 'X-Channel-Id': '$channel_id', 'X-Publisher-Type': '$publisher_type' };

const server = useServer(async () => {
  app = await App.start();
  const nowhere = `http://127.0.0.1:${await freePort()}/`;
  return {
    locations: [
      sub('/asub', { authorize: app.url('/auth'), hook_headers }),
      sub('/ainterval', { authorize: app.url('/auth'), hook_headers, subscribers: ['intervalpoll'] }),
      pub('/apub', { authorize: app.url('/auth'), hook_headers: pub_headers }),
      sub('/hsub', { subscribe_hook: app.url('/joined'), unsubscribe_hook: app.url('/left'), hook_headers }),
      pub('/upub', { upstream: app.url('/filter'), hook_headers: pub_headers }),
      sub('/dead-sub', { authorize: nowhere }),
      pub('/dead-pub', { authorize: nowhere }),
      pub('/dead-up', { upstream: nowhere }),
      pub(),
      sub(),
    ],
  };
});
before(() => app);
after(() => app.stop());

const answers = (table) => {
  app.answer = (r) => table[r.path] ?? { status: 200 };
};

both('authorize: GET without body, client headers and query string, configured headers', async () => {
  answers({});
  const name = channel();
  await server.publish(name, 'x');
  const got = await server.request('GET', `/asub/${name}?token=t%20t`, { headers: { Cookie: 'session=1', 'X-Mine': 'yes' } });
  assert.equal(got.text, 'x');
  const [call] = app.about(name);
  assert.equal(call.method, 'GET');
  assert.equal(call.path, '/auth');
  assert.equal(call.url, '/auth?token=t%20t');
  assert.equal(call.body, '');
  assert.equal(call.headers.cookie, 'session=1');
  assert.equal(call.headers['x-mine'], 'yes');
  assert.equal(call.headers['x-channel-id'], name);
  assert.equal(call.headers['x-subscriber-type'], 'longpoll');
  assert.equal(call.headers['x-original-uri'], `/asub/${name}?token=t%20t`);
});

both('authorize: a refusal is relayed whole to subscribers of each kind', async () => {
  answers({ '/auth': { status: 401, headers: { 'X-Why': 'no-token', 'Content-Type': 'application/json' }, body: '{"error":"who?"}' } });
  const name = channel();
  await server.publish(name, 'secret');
  for (const headers of [{}, { Accept: 'text/event-stream' }, { Accept: 'multipart/mixed' }, { TE: 'chunked' }, upgradeHeaders()]) {
    const got = await server.request('GET', `/asub/${name}`, { headers });
    assert.equal(got.status, 401, JSON.stringify(headers));
    assert.equal(got.header('X-Why'), 'no-token');
    assert.equal(got.header('Content-Type'), 'application/json');
    assert.equal(got.text, '{"error":"who?"}');
  }
});

both('authorize: redirects are relayed, not followed', async () => {
  answers({ '/auth': { status: 302, headers: { Location: 'http://login.example/' } } });
  const got = await server.request('GET', `/asub/${channel()}`);
  assert.equal(got.status, 302);
  assert.equal(got.header('Location'), 'http://login.example/');
});

both('authorize: any 2xx allows', async () => {
  const name = channel();
  await server.publish(name, 'x');
  for (const status of [200, 201, 204]) {
    answers({ '/auth': { status } });
    assert.equal((await server.request('GET', `/asub/${name}`)).text, 'x');
  }
});

both('authorize: a publisher gets a bare 403, nothing is published', async () => {
  answers({ '/auth': { status: 401, body: 'details' } });
  const name = channel();
  for (const method of ['POST', 'PUT', 'DELETE', 'GET']) {
    const got = await server.request(method, `/apub/${name}`, { body: ['POST', 'PUT'].includes(method) ? 'x' : undefined });
    assert.equal(got.status, 403, method);
    assert.doesNotMatch(got.text, /details/);
  }
  assert.equal(await server.info(name), undefined);
  answers({});
  assert.equal((await server.request('POST', `/apub/${name}`, { body: 'ok' })).status, 202);
  assert.equal((await server.info(name)).messages, 1);
  assert.equal(app.about(name).at(-1).headers['x-publisher-type'], 'http');
});

both('authorize: the message body does not go to the application', async () => {
  answers({});
  const name = channel();
  assert.equal((await server.request('POST', `/apub/${name}`, { body: 'private body' })).status, 202);
  const [call] = await app.seen(name, 1);
  assert.equal(call.method, 'GET');
  assert.equal(call.body, '');
  assert.equal((await server.request('GET', `/sub/${name}`)).text, 'private body');
});

both('authorize: polls are asked every time, streams once', async () => {
  answers({});
  const [polled, streamed, interval] = [channel(), channel(), channel()];
  const conn = await Conn.open(server);
  let headers = {};
  for (let i = 0; i < 3; i += 1) {
    await server.publish(polled, `m${i}`);
    conn.request('GET', `/asub/${polled}`, { headers });
    headers = following(await conn.response());
  }
  conn.destroy();
  assert.equal(app.about(polled).length, 3);
  for (let i = 0; i < 2; i += 1) await server.request('GET', `/ainterval/${interval}`);
  assert.equal(app.about(interval).length, 2);
  const events = await open(server, 'GET', `/asub/${streamed}`, { headers: { Accept: 'text/event-stream' } });
  await events.readThrough(': hi\n\n');
  for (let i = 0; i < 3; i += 1) {
    await server.publish(streamed, `m${i}`);
    await events.readThrough('\n\n');
  }
  events.destroy();
  assert.equal(app.about(streamed).length, 1);
});

both('authorize: subscriber types by name', async () => {
  answers({});
  const type = async (headers, where = '/asub') => {
    const name = channel();
    const conn = await open(server, 'GET', `${where}/${name}`, { headers });
    const [call] = await app.seen(name, 1);
    conn.destroy();
    return call.headers['x-subscriber-type'];
  };
  assert.equal(await type({}), 'longpoll');
  assert.equal(await type({ Accept: 'text/event-stream' }), 'eventsource');
  assert.equal(await type({ Accept: 'multipart/mixed' }), 'http-multipart');
  assert.equal(await type({ TE: 'chunked' }), 'http-chunked');
  assert.equal(await type(upgradeHeaders()), 'websocket');
  assert.equal(await type({}, '/ainterval'), 'intervalpoll');
});

both('authorize: application unreachable is 502', async () => {
  assert.equal((await server.request('GET', `/dead-sub/${channel()}`)).status, 502);
  assert.equal((await server.request('GET', `/dead-sub/${channel()}`, { headers: upgradeHeaders() })).status, 502);
  assert.equal((await server.request('POST', `/dead-pub/${channel()}`, { body: 'x' })).status, 502);
});

both('authorize: requests behind one that is asked about are answered in order', async () => {
  const [slow, quick] = [channel('slow'), channel('quick')];
  app.answer = async (r) => {
    if (r.headers['x-channel-id'] === slow) await new Promise((done) => setTimeout(done, 100));
    return { status: 401, body: r.headers['x-channel-id'] };
  };
  const conn = await open(server, 'GET', `/asub/${slow}`);
  assert.equal((await conn.response()).text, slow);
  conn.request('GET', `/asub/${quick}`);
  assert.equal((await conn.response()).text, quick);
  conn.destroy();
});

both('subscribe and unsubscribe: told for streams, with the configured headers', async () => {
  answers({});
  const name = channel();
  const events = await open(server, 'GET', `/hsub/${name}?who=me`, { headers: { Accept: 'text/event-stream', 'X-Mine': '1' } });
  const [joined] = await app.seen(name, 1);
  assert.deepEqual([joined.method, joined.url, joined.body], ['GET', '/joined?who=me', '']);
  assert.equal(joined.headers['x-channel-id'], name);
  assert.equal(joined.headers['x-subscriber-type'], 'eventsource');
  assert.equal(joined.headers['x-mine'], '1');
  events.destroy();
  const [, left] = await app.seen(name, 2);
  assert.equal(left.path, '/left');
  assert.equal(left.headers['x-channel-id'], name);
});

both('subscribe and unsubscribe: for web sockets, and on DELETE', async () => {
  answers({});
  const name = channel();
  const socket = await WsConn.connect(server, `/hsub/${name}`);
  await app.seen(name, 1);
  await server.request('DELETE', `/pub/${name}`);
  assert.equal((await socket.message()).code, 1001);
  const calls = await app.seen(name, 2);
  assert.deepEqual(calls.map((c) => c.path), ['/joined', '/left']);
  socket.destroy();
});

both('subscribe and unsubscribe: not for long-polls', async () => {
  answers({});
  const name = channel();
  const held = await open(server, 'GET', `/hsub/${name}`);
  await server.subscribers(name, 1);
  await server.publish(name, 'x');
  assert.equal((await held.response()).text, 'x');
  await new Promise((done) => setTimeout(done, 100));
  assert.equal(app.about(name).length, 0);
  held.destroy();
});

both('subscribe: a failing application changes nothing', async () => {
  answers({ '/joined': { status: 500 }, '/left': { status: 403 } });
  const name = channel();
  const events = await open(server, 'GET', `/hsub/${name}`, { headers: { Accept: 'text/event-stream' } });
  await events.readThrough(': hi\n\n');
  await app.seen(name, 1);
  await server.publish(name, 'x');
  assert.match(await events.readThrough('\n\n'), /data: x/);
  events.destroy();
});

both('upstream: POST with body and content type; 304 publishes as is', async () => {
  answers({ '/filter': { status: 304 } });
  const name = channel();
  const got = await server.request('POST', `/upub/${name}?k=v`, { headers: { 'Content-Type': 'text/x', 'X-Mine': '1' }, body: 'original' });
  assert.equal(got.status, 202);
  const [call] = app.about(name);
  assert.deepEqual([call.method, call.url, call.body], ['POST', '/filter?k=v', 'original']);
  assert.equal(call.headers['content-type'], 'text/x');
  assert.equal(call.headers['x-channel-id'], name);
  assert.equal(call.headers['x-mine'], '1');
  const stored = await server.request('GET', `/sub/${name}`);
  assert.deepEqual([stored.text, stored.header('Content-Type')], ['original', 'text/x']);
});

for (const status of [200, 201, 202]) {
  both(`upstream: ${status} publishes the body of the answer with its type`, async () => {
    answers({ '/filter': { status, headers: { 'Content-Type': 'application/changed' }, body: 'changed' } });
    const name = channel();
    assert.equal((await server.request('POST', `/upub/${name}`, { headers: { 'Content-Type': 'text/x' }, body: 'original' })).status, 202);
    const stored = await server.request('GET', `/sub/${name}`);
    assert.deepEqual([stored.text, stored.header('Content-Type')], ['changed', 'application/changed']);
  });
}

both('upstream: 204 drops the message and tells the publisher so', async () => {
  answers({ '/filter': { status: 204 } });
  const name = channel();
  assert.equal((await server.request('POST', `/upub/${name}`, { body: 'x' })).status, 204);
  assert.equal((await server.info(name))?.messages ?? 0, 0);
});

both('upstream: anything else is 403, unreachable 500', async () => {
  for (const status of [400, 401, 404, 500]) {
    answers({ '/filter': { status, body: 'reason' } });
    const name = channel();
    assert.equal((await server.request('POST', `/upub/${name}`, { body: 'x' })).status, 403, `for ${status}`);
    assert.equal((await server.info(name))?.messages ?? 0, 0);
  }
  assert.equal((await server.request('POST', `/dead-up/${channel()}`, { body: 'x' })).status, 500);
});

both('upstream: large bodies go both ways', async () => {
  const big = 'B'.repeat(300_000);
  answers({ '/filter': { status: 200, body: big.toLowerCase() } });
  const name = channel();
  assert.equal((await server.request('POST', `/upub/${name}`, { body: big })).status, 202);
  assert.equal(app.about(name)[0].body.length, big.length);
  assert.equal((await server.request('GET', `/sub/${name}`)).text, big.toLowerCase());
});

both('upstream: works for web socket publishers', async () => {
  answers({ '/filter': { status: 200, body: 'filtered' } });
  const name = channel();
  const socket = await WsConn.connect(server, `/upub/${name}`);
  socket.text('raw');
  assert.match((await socket.message()).text, /^queued messages: 1/);
  assert.equal((await server.request('GET', `/sub/${name}`)).text, 'filtered');
  assert.equal(app.about(name)[0].headers['x-publisher-type'], 'websocket');
  socket.destroy();
});
