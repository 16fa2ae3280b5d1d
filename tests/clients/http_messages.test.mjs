// HTTP/1.x itself: persistence, pipelining, versions, expectations, limits (RFC 9110, RFC 9112).
import assert from 'node:assert/strict';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { Conn, open, requestBytes, sleep } from '../support/raw.mjs';

const server = useServer({
  maxBody: '2m',
  toml: '[limits]\nbody_bytes = 2097152\nhead_bytes = 16384\ntarget_bytes = 8192\nheader_timeout = "1s"\nbody_timeout = "1s"\nidle_timeout = "2s"\n\n',
  locations: [pub(), sub()],
});
const OURS = 'bounds and reason bodies are ours, nginx has other ones';

both('HTTP/1.1 keeps the connection by default', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  for (let i = 0; i < 50; i += 1) {
    conn.request('POST', `/pub/${name}`, { body: `m${i}` });
    assert.equal((await conn.response('POST')).status, 202);
  }
  conn.destroy();
});

both('Connection: close is honoured, in any case and among other options', async () => {
  for (const value of ['close', 'Close', 'foo, close']) {
    const conn = await open(server, 'POST', `/pub/${channel()}`, { headers: { Connection: value }, body: 'x' });
    assert.equal((await conn.response('POST')).status, 202);
    await conn.readToEnd(1500);
    conn.destroy();
  }
});

both('HTTP/1.0 closes by default', async () => {
  const conn = await open(server, 'GET', `/pub/${channel()}`, { version: '1.0' });
  assert.equal((await conn.response()).status, 404);
  await conn.readToEnd(1500);
  conn.destroy();
});

both('HTTP/1.0 with keep-alive goes on', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  for (let i = 0; i < 3; i += 1) {
    conn.request('POST', `/pub/${name}`, { version: '1.0', headers: { Connection: 'keep-alive' }, body: 'x' });
    const got = await conn.response('POST');
    assert.equal(got.status, 202);
    assert.match(got.header('Connection') ?? '', /keep-alive/i);
  }
  conn.destroy();
});

both('HTTP/1.0 needs no Host', async () => {
  const conn = await Conn.open(server);
  conn.send(`GET /pub/${channel()} HTTP/1.0\r\n\r\n`);
  assert.equal((await conn.response()).status, 404);
  conn.destroy();
});

both('HTTP/1.1 without Host is 400', async () => {
  const conn = await Conn.open(server);
  conn.send(`GET /pub/${channel()} HTTP/1.1\r\n\r\n`);
  assert.equal((await conn.response()).status, 400);
  conn.destroy();
});

both('pipelined requests are answered in order', async () => {
  const names = [channel(), channel(), channel()];
  const conn = await Conn.open(server);
  conn.send(
    Buffer.concat([
      requestBytes('POST', `/pub/${names[0]}`, { body: 'one' }),
      requestBytes('GET', `/pub/${names[1]}`),
      requestBytes('OPTIONS', `/pub/${names[1]}`),
      requestBytes('POST', `/pub/${names[2]}`, { headers: { 'Transfer-Encoding': 'chunked' }, body: '3\r\nabc\r\n0\r\n\r\n' }),
      requestBytes('GET', `/sub/${names[0]}`),
    ]),
  );
  assert.equal((await conn.response('POST')).status, 202);
  assert.equal((await conn.response()).status, 404);
  assert.equal((await conn.response('OPTIONS')).status, 200);
  assert.equal((await conn.response('POST')).status, 202);
  assert.equal((await conn.response()).text, 'one');
  conn.destroy();
});

both('a request cut at every byte is one request', async () => {
  const name = channel();
  const bytes = requestBytes('POST', `/pub/${name}`, { headers: { 'Content-Type': 'text/x' }, body: 'body' });
  for (let cut = 1; cut < bytes.length; cut += 3) {
    const conn = await Conn.open(server);
    conn.send(bytes.subarray(0, cut));
    await sleep(1);
    conn.send(bytes.subarray(cut));
    assert.ok((await conn.response('POST')).status === 202, `cut at ${cut}`);
    conn.destroy();
  }
});

both('Expect: 100-continue is answered before the body', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  conn.send(`POST /pub/${name} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n`);
  assert.equal((await conn.head()).status, 100);
  conn.send('hello');
  assert.equal((await conn.response('POST')).status, 202);
  conn.destroy();
});

both('leading empty lines are skipped', async () => {
  const conn = await Conn.open(server);
  conn.send(`\r\n\r\nGET /pub/${channel()} HTTP/1.1\r\nHost: x\r\n\r\n`);
  assert.equal((await conn.response()).status, 404);
  conn.destroy();
});

both('field values lose their outer blanks, names have no case', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  conn.send(`POST /pub/${name} HTTP/1.1\r\nhOsT:x\r\ncontent-LENGTH:   1  \r\nCONTENT-type: \t  text/x  \r\n\r\nb`);
  assert.equal((await conn.response('POST')).status, 202);
  conn.destroy();
  assert.equal((await server.request('GET', `/sub/${name}`)).header('Content-Type'), 'text/x');
});

both('a body over the limit is 413', async () => {
  const conn = await Conn.open(server);
  conn.send(`POST /pub/${channel()} HTTP/1.1\r\nHost: x\r\nContent-Length: ${3 * 1024 * 1024}\r\n\r\n`);
  assert.equal((await conn.response('POST')).status, 413);
  conn.destroy();
});

both('a body of exactly the limit is taken', async () => {
  const name = channel();
  assert.equal((await server.request('POST', `/pub/${name}`, { body: Buffer.alloc(2097152, 'x') })).status, 202);
  assert.equal((await server.request('GET', `/sub/${name}`)).bytes.length, 2097152);
});

both('a chunked body over the limit is 413', async () => {
  const conn = await open(server, 'POST', `/pub/${channel()}`, { headers: { 'Transfer-Encoding': 'chunked' } });
  const piece = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(0x100000, 'x'), Buffer.from('\r\n')]);
  for (let i = 0; i < 3; i += 1) conn.send(piece);
  assert.equal((await conn.response('POST')).status, 413);
  conn.destroy();
});

both('a target over the limit is 414', async () => {
  const got = await server.request('GET', `/pub/${'x'.repeat(20_000)}`);
  assert.equal(got.status, 414);
});

fanwireOnly(OURS, 'headers over the limit are 431', async () => {
  const long = await server.request('GET', `/pub/${channel()}`, { headers: { 'X-Long': 'x'.repeat(20_000) } });
  assert.equal(long.status, 431);
  const many = await server.request('GET', `/pub/${channel()}`, { headers: Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`X-${i}`, 'x'])) });
  assert.equal(many.status, 431);
});

fanwireOnly(OURS, 'refusals say why in a text body and close where the stream is lost', async () => {
  const refused = [
    ['413', `POST /pub/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n`],
    ['414', `GET /pub/${'x'.repeat(9000)} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['431', `GET /pub/x HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`],
    ['400', 'GET /pub/x HTTP/1.1\r\n\r\n'],
    ['400', 'nonsense\r\n\r\n'],
  ];
  for (const [status, bytes] of refused) {
    const conn = await Conn.open(server);
    conn.send(bytes);
    const got = await conn.response();
    assert.equal(String(got.status), status);
    assert.match(got.header('Content-Type') ?? '', /^text\/plain/, status);
    assert.ok(got.text.length > 3, `${status} gives a reason`);
    await conn.readToEnd(3000);
    conn.destroy();
  }
});

fanwireOnly(OURS, 'a head that never ends is 408', async () => {
  const conn = await Conn.open(server);
  conn.send('GET /pub/x HTTP/1.1\r\nHost: x\r\n');
  const got = await conn.response();
  assert.equal(got.status, 408);
  assert.ok(got.text.length > 0);
  await conn.readToEnd(3000);
  conn.destroy();
});

fanwireOnly(OURS, 'a body that never ends is 408', async () => {
  const conn = await Conn.open(server);
  conn.send('POST /pub/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc');
  assert.equal((await conn.response('POST')).status, 408);
  await conn.readToEnd(3000);
  conn.destroy();
});

fanwireOnly(OURS, 'a connection that says nothing is closed', async () => {
  const conn = await Conn.open(server);
  await conn.readToEnd(4500);
  conn.destroy();
});

fanwireOnly(OURS, 'a held poll is not idle', async () => {
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`);
  await held.staysQuiet(2600);
  await server.publish(name, 'x');
  assert.equal((await held.response()).text, 'x');
  held.destroy();
});

both('an unsupported version is 505', async () => {
  const conn = await Conn.open(server);
  conn.send('GET /pub/x HTTP/2.0\r\nHost: x\r\n\r\n');
  assert.equal((await conn.response()).status, 505);
  conn.destroy();
});

fanwireOnly(OURS, 'HEAD on a publisher has no body', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const conn = await open(server, 'HEAD', `/pub/${name}`);
  const got = await conn.response('HEAD');
  assert.ok([200, 405].includes(got.status), `status ${got.status}`);
  conn.request('GET', `/pub/${name}`);
  assert.equal((await conn.response()).status, 200, 'still in step');
  conn.destroy();
});

fanwireOnly(OURS, 'OPTIONS * is answered', async () => {
  const got = await server.request('OPTIONS', '*');
  assert.ok(got.status < 500, `status ${got.status}`);
});

fanwireOnly(OURS, 'answers have a Date and correct lengths', async () => {
  const got = await server.request('GET', `/pub/${channel()}`);
  assert.ok(Math.abs(Date.parse(got.header('Date')) - Date.now()) < 3000, got.header('Date'));
  assert.equal(got.header('Content-Length'), '0');
});

both('a client that resets in the middle of a body harms nobody', async () => {
  const name = channel();
  for (let i = 0; i < 10; i += 1) {
    const conn = await Conn.open(server);
    conn.send(`POST /pub/${name} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc`);
    await sleep(2);
    conn.socket.resetAndDestroy();
  }
  assert.equal((await server.request('POST', `/pub/${name}`, { body: 'x' })).status, 202);
  assert.equal((await server.info(name)).messages, 1);
});
