// What is kept, how much and how long (nchan sheet, section 5; traps 8, 17, 18; relay sheet, section 4).
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { bare, both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, eventually, pub, sub, TARGET } from '../support/server.mjs';
import { after, idOf, ifHeaders } from '../support/ids.mjs';
import { open, sleep } from '../support/raw.mjs';
import { WsConn } from '../support/websocket.mjs';

const server = useServer({
  locations: [
    pub('/pub3', { buffer_messages: 3 }),
    pub('/pub1', { buffer_messages: 1 }),
    pub('/short', { message_timeout: '1s' }),
    pub('/forever', { message_timeout: '0' }),
    pub('/live', { store_messages: false }),
    pub('/idle', { channel_timeout: '1s', message_timeout: '1s' }),
    sub('/known', { existing_channels_only: true }),
    sub('/two', { max_subscribers: 2 }),
    pub(),
    sub(),
  ],
});

async function stored(name) {
  const texts = [];
  let headers = {};
  for (;;) {
    const conn = await open(server, 'GET', `/sub/${name}`, { headers });
    const answer = await conn.response('GET', 150).catch(() => undefined);
    conn.destroy();
    if (!answer) return texts;
    texts.push(answer.text);
    headers = after(answer);
  }
}

// side by side, because several have to wait for something to expire
describe('storage', { concurrency: 6 }, () => {
  both('the newest N are kept', async () => {
    const name = channel();
    for (let i = 0; i < 6; i += 1) await server.publish(name, `m${i}`, {}, '/pub3');
    assert.equal((await server.info(name)).messages, 3);
    assert.deepEqual(await stored(name), ['m3', 'm4', 'm5']);
  });

  both('publishing through a location with a smaller buffer trims at once', async () => {
    const name = channel();
    for (let i = 0; i < 5; i += 1) await server.publish(name, `m${i}`);
    assert.equal((await server.info(name)).messages, 5);
    await server.publish(name, 'last', {}, '/pub3');
    assert.deepEqual(await stored(name), ['m3', 'm4', 'last']);
    await server.publish(name, 'only', {}, '/pub1');
    assert.deepEqual(await stored(name), ['only']);
  });

  both('a hundred are kept where the location says so', async () => {
    const name = channel();
    for (let i = 0; i < 105; i += 1) await server.publish(name, `m${i}`);
    assert.equal((await server.info(name)).messages, 100);
    assert.equal((await server.request('GET', `/sub/${name}`)).text, 'm5');
  });

  both('expired messages are not delivered', async () => {
    const name = channel();
    const first = await server.publish(name, 'old', { Accept: 'text/json' }, '/short');
    await sleep(2200);
    const held = await open(server, 'GET', `/sub/${name}`);
    await held.staysQuiet(100);
    await server.publish(name, 'new', {}, '/short');
    const got = await held.response();
    assert.equal(got.text, 'new');
    held.destroy();
    assert.equal((await server.request('GET', `/sub/${name}`, { headers: ifHeaders(JSON.parse(first.text).last_message_id) })).text, 'new');
  });

  both('a timeout of zero keeps for ever', async () => {
    const name = channel();
    await server.publish(name, 'kept', {}, '/forever');
    await sleep(1200);
    assert.deepEqual(await stored(name), ['kept']);
  });

  both('without storing, only those who listen get it; the message has an id all the same', async () => {
    const name = channel();
    assert.equal((await server.request('POST', `/live/${name}`, { body: 'nobody' })).status, 202);
    const held = await open(server, 'GET', `/sub/${name}`);
    await server.subscribers(name, 1);
    await held.staysQuiet(50);
    assert.equal((await server.request('POST', `/live/${name}`, { body: 'you' })).status, 201);
    const got = await held.response();
    assert.equal(got.text, 'you');
    assert.match(idOf(got), /^\d+:\d+$/);
    held.destroy();
    const next = await open(server, 'GET', `/sub/${name}`, { headers: after(got) });
    await server.subscribers(name, 1);
    await server.publish(name, 'again', {}, '/live');
    assert.equal((await next.response()).text, 'again');
    next.destroy();
    assert.deepEqual(await stored(name), []);
  });

  both('existing channels only: 403 until somebody published', async () => {
    const name = channel();
    const refused = await server.request('GET', `/known/${name}`);
    assert.equal(refused.status, 403);
    bare(refused);
    await server.publish(name, 'x');
    assert.equal((await server.request('GET', `/known/${name}`)).text, 'x');
  });

  both('a limit of subscribers per channel: 403, and room again after one left', async () => {
    const name = channel();
    const first = await open(server, 'GET', `/two/${name}`);
    const second = await WsConn.connect(server, `/two/${name}`);
    await server.subscribers(name, 2);
    assert.equal((await server.request('GET', `/two/${name}`)).status, 403);
    assert.equal((await server.request('GET', `/two/${name}`, { headers: { Accept: 'text/event-stream' } })).status, 403);
    first.destroy();
    await server.subscribers(name, 1);
    const third = await open(server, 'GET', `/two/${name}`);
    await third.staysQuiet(50);
    third.destroy();
    second.destroy();
  });

  both('an idle empty channel is forgotten after its time', async () => {
    const name = channel();
    await server.publish(name, 'x', {}, '/idle');
    await server.request('DELETE', `/idle/${name}`);
    // no touching in between: each request restarts the idle time
    await sleep(3000);
    const left = await server.info(name);
    // nchan looks for idle channels only every few seconds
    assert.ok(left === undefined || (TARGET === 'nchan' && left.messages === 0), JSON.stringify(left));
  });

  both('a channel somebody waits on is not forgotten', async () => {
    const name = channel();
    await server.publish(name, 'x', {}, '/idle');
    const held = await open(server, 'GET', `/sub/${name}`, { headers: after(await server.request('GET', `/sub/${name}`)) });
    await held.staysQuiet(2500);
    await server.publish(name, 'y', {}, '/idle');
    assert.equal((await held.response()).text, 'y');
    held.destroy();
  });
});

const relay = useServer(
  {
    locations: [
      pub('/pub', { flavour: 'relay', min_messages: 1, message_timeout: '1s' }),
      pub('/rub', { flavour: 'relay', delete_oldest_received: true }),
      pub('/rubmin', { flavour: 'relay', delete_oldest_received: true, min_messages: 1 }),
      sub('/sub', { flavour: 'relay', create_on_get: true }),
      sub('/fresh', { flavour: 'relay', create_on_get: true, ignore_queue_on_no_cache: true }),
    ],
  },
  { only: true },
);
const OLD = 'settings of the older modules that nchan does not have';

fanwireOnly(OLD, 'min_messages beats expiry: the last one is delivered even when long expired', async () => {
  const name = channel();
  await relay.publish(name, 'a');
  await relay.publish(name, 'b');
  await sleep(2200);
  assert.equal((await relay.request('GET', `/sub/${name}`)).text, 'b');
  assert.equal((await relay.request('GET', `/pub/${name}`)).status, 200);
});

fanwireOnly(OLD, 'delete_oldest_received drops a message once somebody got it', async () => {
  const name = channel();
  await relay.publish(name, 'a', {}, '/rub');
  await relay.publish(name, 'b', {}, '/rub');
  assert.equal((await relay.request('GET', `/sub/${name}`)).text, 'a');
  await eventually(async () => (await relay.info(name, '/rub')).messages === 1, 'the first one gone');
  assert.equal((await relay.request('GET', `/sub/${name}`)).text, 'b');
});

fanwireOnly(OLD, 'delete_oldest_received keeps the minimum', async () => {
  const name = channel();
  await relay.publish(name, 'a', {}, '/rubmin');
  for (let i = 0; i < 2; i += 1) assert.equal((await relay.request('GET', `/sub/${name}`)).text, 'a');
  assert.equal((await relay.info(name, '/rubmin')).messages, 1);
});

fanwireOnly(OLD, 'no-cache skips the stored messages where configured', async () => {
  const name = channel();
  await relay.publish(name, 'stored');
  assert.equal((await relay.request('GET', `/fresh/${name}`)).text, 'stored');
  assert.equal((await relay.request('GET', `/sub/${name}`, { headers: { 'Cache-Control': 'no-cache' } })).text, 'stored');
  for (const headers of [{ 'Cache-Control': 'no-cache' }, { Pragma: 'no-cache' }]) {
    const held = await open(relay, 'GET', `/fresh/${name}`, { headers });
    await relay.subscribers(name, 1);
    await held.staysQuiet(50);
    await relay.publish(name, 'live');
    assert.equal((await held.response()).text, 'live');
    held.destroy();
  }
});
