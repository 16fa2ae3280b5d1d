// Subscribe and unsubscribe announcements to the application (relay sheet, section 8; traps 12, 13, 15).
import assert from 'node:assert/strict';
import { after as atEnd } from 'node:test';
import { App } from '../support/app.mjs';
import { fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, eventually, freePort, pub, sub, TARGET } from '../support/server.mjs';
import { after } from '../support/ids.mjs';
import { open, sleep } from '../support/raw.mjs';

let app;
const flavour = 'relay';
const create_on_get = true;
const server = useServer(
  async () => {
    app = await App.start();
    return {
      locations: [
        sub('/sub', { flavour, create_on_get, passthrough: app.url('/passthrough') }),
        sub('/interval', { flavour, create_on_get, polling: 'interval', passthrough: app.url('/passthrough') }),
        sub('/dead', { flavour, create_on_get, passthrough: `http://127.0.0.1:${await freePort()}/passthrough` }),
        pub('/pub', { flavour }),
      ],
    };
  },
  { only: true },
);
if (TARGET === 'fanwire') atEnd(() => app.stop());
const WHY = 'only py-hbpush has this';

const parse = (r) => Object.fromEntries(new URLSearchParams(r.body));
const calls = (name) => app.requests.filter((r) => parse(r).channel_id === name);
const kinds = (name) => calls(name).map((r) => Object.keys(parse(r)).find((k) => k !== 'channel_id'));
const told = (name, expected) => eventually(() => kinds(name).length >= expected.length, `calls ${expected} for ${name}`).then(() => assert.deepEqual(kinds(name), expected));

fanwireOnly(WHY, 'a held poll: subscribe with the client headers, unsubscribe when answered', async () => {
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`, {
    headers: {
      Host: '127.0.0.1:8001',
      Cookie: 'sessionid=abc; csrftoken=x',
      'User-Agent': 'UA/1',
      'Accept-Language': 'sl',
      Origin: 'http://127.0.0.1:8000',
      'If-None-Match': '0',
      'If-Modified-Since': 'Thu, 1 Jan 1970 00:00:00 GMT',
    },
  });
  await told(name, ['subscribe']);
  const [call] = calls(name);
  assert.equal(call.method, 'POST');
  assert.equal(call.url, '/passthrough');
  assert.equal(call.headers['content-type'], 'application/x-www-form-urlencoded');
  assert.deepEqual(parse(call), { channel_id: name, subscribe: '1' });
  assert.equal(Number(call.headers['content-length']), call.body.length);
  assert.equal(call.headers.host, '127.0.0.1:8001');
  assert.equal(call.headers.cookie, 'sessionid=abc; csrftoken=x');
  assert.equal(call.headers['user-agent'], 'UA/1');
  assert.equal(call.headers['accept-language'], 'sl');
  assert.equal(call.headers.origin, 'http://127.0.0.1:8000');
  assert.equal(call.headers['if-none-match'], '0');
  await server.publish(name, 'x');
  assert.equal((await held.response()).text, 'x');
  await told(name, ['subscribe', 'unsubscribe']);
  assert.deepEqual(parse(calls(name)[1]), { channel_id: name, unsubscribe: '1' });
  assert.equal(calls(name)[1].headers.cookie, 'sessionid=abc; csrftoken=x');
  held.destroy();
});

fanwireOnly('py-hbpush crashes there (trap 15)', 'an id that is not ASCII is announced as UTF-8, percent-encoded', async () => {
  const name = `ž/${channel()}`;
  const path = encodeURIComponent(name);
  const held = await open(server, 'GET', `/sub/${path}`);
  await told(name, ['subscribe']);
  assert.match(calls(name)[0].body, /^channel_id=%C5%BE%2F[^&]+&subscribe=1$/);
  assert.equal((await server.request('POST', `/pub/${path}`, { body: 'x' })).status, 201);
  assert.equal((await held.response()).text, 'x');
  await told(name, ['subscribe', 'unsubscribe']);
  held.destroy();
});

fanwireOnly(WHY, 'a poll answered from the store announces unsubscribe alone', async () => {
  const name = channel();
  await server.publish(name, 'x');
  assert.equal((await server.request('GET', `/sub/${name}`)).text, 'x');
  await told(name, ['unsubscribe']);
  await sleep(50);
  assert.equal(calls(name).length, 1);
});

fanwireOnly(WHY, 'each delivered message is unsubscribe, then subscribe', async () => {
  const name = channel();
  const conn = await open(server, 'GET', `/sub/${name}`);
  for (let i = 0; i < 3; i += 1) {
    await eventually(() => kinds(name).length === 2 * i + 1, 'the subscribe');
    await server.publish(name, `m${i}`);
    const got = await conn.response();
    await eventually(() => kinds(name).length === 2 * i + 2, 'the unsubscribe');
    conn.request('GET', `/sub/${name}`, { headers: after(got) });
  }
  await told(name, ['subscribe', 'unsubscribe', 'subscribe', 'unsubscribe', 'subscribe', 'unsubscribe', 'subscribe']);
  conn.destroy();
});

fanwireOnly(WHY, 'a waiting client that disconnects announces unsubscribe', async () => {
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`);
  await told(name, ['subscribe']);
  held.destroy();
  await told(name, ['subscribe', 'unsubscribe']);
});

fanwireOnly(WHY, 'so does 410', async () => {
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`);
  await told(name, ['subscribe']);
  await server.request('DELETE', `/pub/${name}`);
  assert.equal((await held.response()).status, 410);
  await told(name, ['subscribe', 'unsubscribe']);
  held.destroy();
});

fanwireOnly(WHY, 'interval polls and OPTIONS announce nothing', async () => {
  const name = channel();
  await server.publish(name, 'x');
  await server.request('GET', `/interval/${name}`);
  await server.request('GET', `/interval/${channel()}`);
  await server.request('OPTIONS', `/sub/${name}`);
  await sleep(100);
  assert.equal(calls(name).length, 0);
});

fanwireOnly(WHY, 'the channel id is url-encoded', async () => {
  const name = channel('a &=é');
  const held = await open(server, 'GET', `/sub/${encodeURIComponent(name)}`);
  await told(name, ['subscribe']);
  assert.doesNotMatch(calls(name)[0].body, /[^\x21-\x7e]/);
  held.destroy();
  await told(name, ['subscribe', 'unsubscribe']);
});

fanwireOnly(WHY, 'nothing waits for the answer, and failures are silent', async () => {
  app.answer = async () => {
    await sleep(300);
    return { status: 500 };
  };
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`);
  await server.subscribers(name, 1);
  const started = Date.now();
  await server.publish(name, 'x');
  assert.equal((await held.response()).text, 'x');
  assert.ok(Date.now() - started < 250);
  held.destroy();
  app.answer = () => ({ status: 200 });
  const dead = channel();
  await server.publish(dead, 'x');
  assert.equal((await server.request('GET', `/dead/${dead}`)).text, 'x');
});
