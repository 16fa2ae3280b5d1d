// Long-poll answers, their multipart form, and interval polling (nchan sheet, section 4).
import assert from 'node:assert/strict';
import { bare, both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { after, idOf, ifHeaders } from '../support/ids.mjs';
import { Conn, http, open, sleep } from '../support/raw.mjs';

const server = useServer({
  locations: [
    sub('/timed', { subscriber_timeout: '1s' }),
    sub('/parts', { longpoll_multipart: true }),
    sub('/joined', { longpoll_multipart: 'raw', raw_separator: '|\n' }),
    sub('/interval', { subscribers: ['intervalpoll'] }),
    pub(),
    sub(),
  ],
});

const vary = (answer) => new Set((answer.header('Vary') ?? '').toLowerCase().split(/,\s*/));

both('the answer has the message, its type, both ids and Vary, and no caching headers', async () => {
  const name = channel();
  await server.publish(name, 'hi', { 'Content-Type': 'text/plain' });
  const got = await server.request('GET', `/sub/${name}`);
  assert.equal(got.status, 200);
  assert.equal(got.text, 'hi');
  assert.equal(got.header('Content-Type'), 'text/plain');
  assert.equal(got.header('Content-Length'), '2');
  assert.deepEqual(vary(got), new Set(['if-none-match', 'if-modified-since']));
  assert.equal(got.header('Cache-Control'), undefined);
  assert.equal(got.header('Access-Control-Allow-Origin'), undefined, 'no CORS without Origin');
});

both('a held poll is answered like one from the store, to all who wait', async () => {
  const name = channel();
  const polls = await Promise.all(Array.from({ length: 20 }, () => open(server, 'GET', `/sub/${name}`)));
  await server.subscribers(name, 20);
  await server.publish(name, 'now', { 'Content-Type': 'text/x' });
  const stored = await server.request('GET', `/sub/${name}`);
  for (const poll of polls) {
    const got = await poll.response();
    assert.equal(got.text, 'now');
    assert.equal(idOf(got), idOf(stored));
    assert.equal(got.header('Content-Type'), 'text/x');
    poll.destroy();
  }
});

both('the connection stays usable for the next poll', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  let headers = {};
  for (let i = 0; i < 5; i += 1) {
    conn.request('GET', `/sub/${name}`, { headers });
    await server.subscribers(name, 1);
    await server.publish(name, `m${i}`);
    const got = await conn.response();
    assert.equal(got.text, `m${i}`);
    headers = after(got);
  }
  conn.destroy();
});

both('HTTP/1.0 is answered and closed', async () => {
  const name = channel();
  const poll = await open(server, 'GET', `/sub/${name}`, { version: '1.0' });
  await server.subscribers(name, 1);
  await server.publish(name, 'old');
  const got = await poll.response();
  assert.equal(got.status, 200);
  assert.equal(got.text, 'old');
  await poll.readToEnd();
  poll.destroy();
});

both('DELETE answers held polls with an empty 410', async () => {
  const name = channel();
  const polls = await Promise.all(Array.from({ length: 5 }, () => open(server, 'GET', `/sub/${name}`)));
  await server.subscribers(name, 5);
  await server.request('DELETE', `/pub/${name}`);
  for (const poll of polls) {
    const got = await poll.response();
    assert.equal(got.status, 410);
    assert.equal(got.reason, 'Gone');
    assert.equal(got.bytes.length, 0);
    assert.ok(vary(got).has('if-none-match'));
    poll.destroy();
  }
});

both('a poll that arrives after DELETE waits on a new, empty channel', async () => {
  const name = channel();
  await server.publish(name, 'x');
  await server.request('DELETE', `/pub/${name}`);
  const poll = await open(server, 'GET', `/sub/${name}`);
  await poll.staysQuiet(100);
  await server.publish(name, 'y');
  assert.equal((await poll.response()).text, 'y');
  poll.destroy();
});

both('the subscriber timeout answers 408', async () => {
  const poll = await open(server, 'GET', `/timed/${channel()}`);
  const got = await poll.response();
  assert.equal(got.status, 408);
  assert.equal(got.bytes.length, 0);
  poll.destroy();
});

both('a request pipelined behind a held poll: first 400, then its own answer', async () => {
  const [held, ready] = [channel(), channel()];
  await server.publish(ready, 'second');
  const conn = await open(server, 'GET', `/sub/${held}`);
  await server.subscribers(held, 1);
  conn.request('GET', `/sub/${ready}`);
  assert.equal((await conn.response()).status, 400);
  assert.equal((await conn.response()).text, 'second');
  conn.destroy();
});

both('a poller that vanishes leaves the count', async () => {
  const name = channel();
  const polls = await Promise.all([1, 2, 3].map(() => open(server, 'GET', `/sub/${name}`)));
  await server.subscribers(name, 3);
  polls[0].destroy();
  polls[1].destroy();
  await server.subscribers(name, 1);
  polls[2].destroy();
});

fanwireOnly('nchan answers POST with 403 and lets HEAD and PATCH hang (trap 12)', 'methods that are not GET are refused at once', async () => {
  for (const method of ['POST', 'PUT', 'DELETE', 'HEAD', 'PATCH']) {
    const got = await server.request(method, `/sub/${channel()}`);
    assert.ok([403, 405].includes(got.status), `${method} ${got.status}`);
  }
});

both('POST, PUT and DELETE on a subscriber location are 403', async () => {
  for (const method of ['POST', 'PUT', 'DELETE']) {
    const got = await server.request(method, `/sub/${channel()}`, { body: method === 'DELETE' ? undefined : 'x' });
    assert.equal(got.status, 403, method);
    bare(got);
  }
});

both('multipart answers: several stored messages come at once, ids of the last', async () => {
  const name = channel();
  await server.publish(name, 'a', { 'Content-Type': 'text/x' });
  await server.publish(name, 'b');
  const last = await server.publish(name, 'c', { 'Content-Type': 'text/plain', Accept: 'text/json' });
  const got = await server.request('GET', `/parts/${name}`);
  const match = /^multipart\/mixed; boundary=([./0-9A-Za-z]{32})$/.exec(got.header('Content-Type'));
  assert.ok(match, got.header('Content-Type'));
  assert.equal(idOf(got), JSON.parse(last.text).last_message_id);
  const b = `--${match[1]}`;
  assert.equal(got.text, `${b}\r\nContent-Type: text/x\r\n\r\na\r\n${b}\r\n\r\nb\r\n${b}\r\nContent-Type: text/plain\r\n\r\nc\r\n${b}--\r\n`);
  const next = await open(server, 'GET', `/parts/${name}`, { headers: after(got) });
  await next.staysQuiet(80);
  await server.publish(name, 'd');
  assert.equal((await next.response()).text, 'd', 'a single message is a plain answer');
  next.destroy();
});

both('multipart answers in raw form are joined by the separator', async () => {
  const name = channel();
  for (const body of ['a', 'b', 'c']) await server.publish(name, body);
  const got = await server.request('GET', `/joined/${name}`);
  assert.equal(got.text, 'a|\nb|\nc|\n');
});

both('interval poll: nothing there is an immediate 304 without ids', async () => {
  const got = await server.request('GET', `/interval/${channel()}`);
  assert.equal(got.status, 304);
  assert.equal(got.header('Etag'), undefined);
  assert.equal(got.header('Last-Modified'), undefined);
});

both('interval poll: messages like long-poll, then 304 with the ids echoed', async () => {
  const name = channel();
  await server.publish(name, 'a');
  await server.publish(name, 'b');
  const one = await server.request('GET', `/interval/${name}`);
  assert.equal(one.text, 'a');
  const two = await server.request('GET', `/interval/${name}`, { headers: after(one) });
  assert.equal(two.text, 'b');
  const none = await server.request('GET', `/interval/${name}`, { headers: after(two) });
  assert.equal(none.status, 304);
  assert.equal(none.header('Etag'), two.header('Etag'));
  assert.equal(none.header('Last-Modified'), two.header('Last-Modified'));
  assert.ok(vary(none).has('if-modified-since'));
});

both('interval poll: the 304 has no body and the connection goes on', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  for (let i = 0; i < 3; i += 1) {
    conn.request('GET', `/interval/${name}`);
    assert.equal((await conn.response()).status, 304);
  }
  await server.publish(name, 'x');
  conn.request('GET', `/interval/${name}`);
  assert.equal((await conn.response()).text, 'x');
  conn.destroy();
});

both('messages published between two polls are there for the second', async () => {
  const name = channel();
  await server.publish(name, 'a');
  const first = await server.request('GET', `/sub/${name}`);
  await server.publish(name, 'b');
  await server.publish(name, 'c');
  const second = await server.request('GET', `/sub/${name}`, { headers: after(first) });
  const third = await server.request('GET', `/sub/${name}`, { headers: after(second) });
  assert.deepEqual([second.text, third.text], ['b', 'c']);
});

both('a poller that half-closes after its request still gets an answer from the store', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const conn = await open(server, 'GET', `/sub/${name}`);
  const got = await conn.response();
  conn.halfClose();
  assert.equal(got.text, 'x');
  await conn.readToEnd();
  conn.destroy();
});

both('large messages come whole', async () => {
  const name = channel();
  const body = Buffer.alloc(1024 * 1024, 'abcdefghij');
  const poll = await open(server, 'GET', `/sub/${name}`);
  await server.subscribers(name, 1);
  await server.publish(name, body);
  assert.ok((await poll.response()).bytes.equals(body));
  poll.destroy();
  assert.ok((await server.request('GET', `/sub/${name}`)).bytes.equals(body));
});

both('a head that arrives byte by byte is understood', async () => {
  const name = channel();
  await server.publish(name, 'slow');
  const conn = await Conn.open(server);
  for (const byte of `GET /sub/${name} HTTP/1.1\r\nHost: x\r\n\r\n`) {
    conn.send(byte);
    await sleep(0);
  }
  assert.equal((await conn.response()).text, 'slow');
  conn.destroy();
});

both('absolute-form targets work', async () => {
  const name = channel();
  await server.publish(name, 'abs');
  assert.equal((await http(server, 'GET', `http://localhost/sub/${name}`)).text, 'abs');
});

both('resuming at an id twice gives the same message twice: position is the request, not the connection', async () => {
  const name = channel();
  const first = await server.publish(name, 'a', { Accept: 'text/json' });
  await server.publish(name, 'b');
  const headers = ifHeaders(JSON.parse(first.text).last_message_id);
  const conn = await Conn.open(server);
  for (let i = 0; i < 2; i += 1) {
    conn.request('GET', `/sub/${name}`, { headers });
    assert.equal((await conn.response()).text, 'b');
  }
  conn.destroy();
});
