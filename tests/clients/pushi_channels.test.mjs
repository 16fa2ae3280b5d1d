// Pushi clients: handshake, the five kinds of channels but presence, events, history (pushi.md sections 2 to 6).
import assert from 'node:assert/strict';
import { APP, Client, OTHER, Rest, channel, pushiTest, sign, usePushi } from '../support/pushi.mjs';
import { eventually } from '../support/server.mjs';

const node = usePushi({ shards: 3 });
const EMPTY = { members: {}, alias: [], events: [] };

pushiTest('trap 15: the key is the last part of the path, and an unknown one is noticed by the first subscription', async () => {
  for (const path of [`/${APP.key}`, `/any/prefix/${APP.key}`]) {
    const client = await Client.connect(node, { path });
    assert.deepEqual(await client.subscribe('global'), { name: 'global', ...EMPTY });
    await client.close();
  }
  const unknown = await Client.connect(node, { path: `/${'f'.repeat(64)}` });
  await unknown.quiet();
  unknown.ask('global');
  await unknown.ends();
  for (const path of [`/${APP.key}/`, `/${APP.key}?x=1`, '/short', '/']) {
    await assert.rejects(Client.connect(node, { path }), path);
  }
});

pushiTest('the answer to a handshake names no extension and no subprotocol', async () => {
  const client = await Client.connect(node, { perMessageDeflate: true });
  assert.deepEqual([client.socket.extensions, client.socket.protocol], ['', '']);
  await client.close();
});

pushiTest('public channels: subscribe, again, unsubscribe, and not twice', async () => {
  const client = await Client.connect(node);
  const name = channel();
  assert.deepEqual(await client.subscribe(name), { name, ...EMPTY });
  assert.deepEqual(await client.subscribe(name), { name, ...EMPTY });
  assert.deepEqual(await client.unsubscribe(name), { name, ...EMPTY });
  client.send('pusher:unsubscribe', { channel: name });
  await client.ends();
});

pushiTest('trap 1: protected channels need a signature of socket id and channel, without channel_data', async () => {
  for (const prefix of ['private-', 'presence-', 'personal-', 'peer-']) {
    const name = channel(prefix);
    const client = await Client.connect(node);
    assert.equal((await client.subscribe(name)).name, name);
    await client.close();
    const bad = async (auth) => {
      const other = await Client.connect(node);
      other.send('pusher:subscribe', { channel: name, auth: auth(other) });
      await other.ends();
    };
    await bad(() => undefined);
    await bad(() => '');
    await bad((c) => sign(OTHER, c.id, name));
    await bad((c) => sign(APP, c.id, `${name}x`));
    await bad((c) => sign(APP, client.id, name));
    await bad((c) => sign(APP, c.id, `${name}:{"user_id":"u"}`));
  }
});

pushiTest('trap 20: names beyond ASCII may be signed as UTF-8 or as Latin-1', async () => {
  const client = await Client.connect(node);
  const name = `${channel('private-')}-café`;
  for (const encoding of ['utf8', 'latin1']) {
    assert.equal((await client.subscribe(name, undefined, sign(APP, client.id, name, encoding))).name, name);
  }
  const heart = `${channel('private-')}-❤`;
  client.ask(heart, undefined, sign(APP, client.id, heart, 'latin1'));
  await client.ends();
});

pushiTest('trap 7, 8 and 9: events reach the others, are kept unless said otherwise, and come back when wanted', async () => {
  const [sender, second, other] = await Promise.all([1, 2, 3].map(() => Client.connect(node)));
  const name = channel();
  for (const client of [sender, second, other]) await client.subscribe(name);
  sender.raw(JSON.stringify({ event: 'message', data: 'hi', channel: name }));
  const first = await other.event({ channel: name, event: 'message', data: 'hi' });
  await second.event({ channel: name, event: 'message', data: 'hi' });
  await sender.quiet();
  sender.send('client-x', 'echoed', { channel: name, echo: true, extra: 'not forwarded' });
  for (const client of [sender, second, other]) await client.event({ channel: name, event: 'client-x', data: 'echoed' });
  sender.send('gone', 'x', { channel: name, persist: false });
  for (const client of [second, other]) await client.event({ channel: name, event: 'gone', data: 'x' }, false);
  const { events } = await other.latest(name);
  assert.deepEqual(events.map((event) => event.data), [
    { data: 'echoed', event: 'client-x', channel: name },
    { data: 'hi', event: 'message', channel: name },
  ]);
  const [, old] = events;
  assert.deepEqual([old.mid, old.timestamp], [first.mid, first.timestamp]);
  assert.deepEqual([old.owner_id, old.instance, old.channel, old.enabled], [sender.id, APP.id, name, true]);
  assert.ok(events[0].id > old.id && Number.isSafeInteger(old.id));
  assert.ok(!('_id' in old));
});

pushiTest('trap 6: data becomes a string, exactly once', async () => {
  const [sender, other] = await Promise.all([1, 2].map(() => Client.connect(node)));
  const name = channel();
  for (const client of [sender, other]) await client.subscribe(name);
  for (const [data, text] of [
    [{ x: [1] }, '{"x":[1]}'],
    ['{"x":[1]}', '{"x":[1]}'],
    [null, 'null'],
    [{}, '{}'],
    [0, '0'],
    [false, 'false'],
    ['ünï "code"\n', 'ünï "code"\n'],
  ]) {
    sender.send('message', data, { channel: name });
    await other.event({ channel: name, event: 'message', data: text });
    assert.equal((await other.latest(name, { count: 1 })).events[0].data.data, text);
  }
  sender.send('message', '', { channel: name });
  await other.event({ channel: name, event: 'message' });
});

pushiTest('every name that is none of the three commands is an event, also pusher:ping', async () => {
  const client = await Client.connect(node);
  const name = channel();
  await client.subscribe(name);
  for (const event of ['pusher:ping', 'pusher_internal:member_added', 'x', '']) {
    client.send(event, 'd', { channel: name, echo: true });
    await client.event({ channel: name, event, data: 'd' });
  }
  client.send('pusher_subscribe', { channel: `${name}2` });
  await client.reply('subscription_succeeded', `${name}2`);
});

pushiTest('frames in binary are as good as text, and empty ones are nothing', async () => {
  const client = await Client.connect(node);
  const name = channel();
  client.socket.send('');
  client.socket.send(Buffer.from(JSON.stringify({ event: 'pusher:subscribe', data: { channel: name } })), { binary: true });
  await client.reply('subscription_succeeded', name);
  const large = 'x'.repeat(200_000);
  client.send('message', large, { channel: name, echo: true });
  await client.event({ channel: name, event: 'message', data: large });
});

pushiTest('trap 14: pings are answered and fragments put together', async () => {
  const client = await Client.connect(node);
  const pong = new Promise((resolve) => client.socket.once('pong', (data) => resolve(data.toString())));
  client.socket.ping('with payload');
  assert.equal(await pong, 'with payload');
  const name = channel();
  const text = JSON.stringify({ event: 'pusher:subscribe', data: { channel: name } });
  client.socket.send(text.slice(0, 20), { fin: false });
  client.socket.send(text.slice(20), { fin: true });
  await client.reply('subscription_succeeded', name);
});

pushiTest('trap 4: whatever is wrong ends the connection, and nothing without a channel is said', async () => {
  for (const text of [
    'no json',
    '[]',
    '{}',
    '{"event":"x","channel":"c"}',
    '{"event":"x","data":"d"}',
    '{"event":"x","data":"d","channel":"not-subscribed"}',
    '{"event":"x","data":"d","channel":7}',
    '{"event":"pusher:subscribe"}',
    '{"event":"pusher:subscribe","data":"{\\"channel\\":\\"c\\"}"}',
    '{"event":"pusher:subscribe","data":{"channel":"#server-to-user-1"}}',
    '{"event":"pusher:latest","data":{"channel":"not-subscribed"}}',
    '{"event":"pusher:unsubscribe","data":{"channel":"not-subscribed"}}',
    '{"event":"pusher:subscribe","data":{"channel":"private-x"}}',
  ]) {
    const client = await Client.connect(node);
    client.raw(text);
    assert.equal(await client.ends(), 1008, text);
  }
  const client = await Client.connect(node);
  client.socket.send(Buffer.from([0xff, 0xfe]), { binary: true });
  await client.ends();
});

pushiTest('latest: newest first, some skipped, at most so many', async () => {
  const client = await Client.connect(node);
  const name = channel('private-');
  await client.subscribe(name);
  assert.deepEqual((await client.latest(name)).events, []);
  for (let n = 1; n <= 15; n += 1) client.send('message', `${n}`, { channel: name, persist: n !== 8 });
  const texts = async (options) => (await client.latest(name, options)).events.map((event) => Number(event.data.data));
  assert.deepEqual(await texts(), [15, 14, 13, 12, 11, 10, 9, 7, 6, 5], 'also right behind the events');
  assert.deepEqual(await texts({ skip: 2, count: 3 }), [13, 12, 11]);
  assert.deepEqual(await texts({ skip: 12, count: 30 }), [2, 1]);
  assert.deepEqual(await texts({ skip: 100 }), []);
  assert.deepEqual((await client.subscribe(name)).events, [], 'only personal channels bring theirs along');
});

pushiTest('frames of one channel keep their order, whatever is still being answered', async () => {
  const client = await Client.connect(node);
  const name = channel();
  client.ask(name);
  client.send('message', 'first', { channel: name, echo: true });
  client.send('pusher:latest', { channel: name });
  client.send('pusher:unsubscribe', { channel: name });
  client.ask(name);
  client.send('message', 'second', { channel: name, echo: true });
  await client.reply('subscription_succeeded', name);
  await client.event({ channel: name, event: 'message', data: 'first' });
  assert.equal((await client.reply('latest', name)).events.length, 1);
  await client.reply('unsubscription_succeeded', name);
  await client.reply('subscription_succeeded', name);
  await client.event({ channel: name, event: 'message', data: 'second' });
});

pushiTest('more channels than a connection may have end it', async () => {
  const client = await Client.connect(node);
  for (let n = 0; n < 1100; n += 1) client.ask(`${channel()}-${n}`);
  await client.closed;
  assert.ok(client.frames.length < 1024);
});

pushiTest('apps do not hear each other', async () => {
  const [mine, theirs] = [await Client.connect(node), await Client.connect(node, { app: OTHER })];
  const name = channel();
  await mine.subscribe(name);
  await theirs.subscribe(name);
  await (await Rest.login(node, OTHER)).publish({ data: 'theirs', channel: name });
  await theirs.event({ channel: name, event: 'message', data: 'theirs' });
  await mine.quiet();
});

pushiTest('a channel that was deleted under its client goes on as a new one', async () => {
  const client = await Client.connect(node);
  const name = channel();
  await client.subscribe(name);
  assert.equal((await node.request('DELETE', `/pub/${name}`)).status, 200);
  // The client's shard may hear of it after who deleted it.
  const there = async () => (await node.request('GET', `/pub/${name}`)).text.includes('active subscribers: 1');
  await eventually(there, 'subscribed anew');
  client.send('message', 'x', { channel: name, echo: true });
  await client.event({ channel: name, event: 'message', data: 'x' });
  assert.equal((await client.latest(name)).events.length, 1);
});

pushiTest('what relays publish is an event with an id that stays, and what clients send reaches the relay', async () => {
  const client = await Client.connect(node);
  const name = channel();
  await client.subscribe(name);
  const options = { headers: { 'X-EventSource-Event': 'news', 'Content-Type': 'text/plain' }, body: 'from a relay' };
  assert.ok([201, 202].includes((await node.request('POST', `/pub/${name}`, options)).status));
  const { mid } = await client.event({ channel: name, event: 'news', data: 'from a relay' });
  const [stored] = (await client.latest(name)).events;
  assert.deepEqual([stored.mid, stored.data.data, stored.owner_id], [mid, 'from a relay', null]);
  client.send('message', { a: 1 }, { channel: name });
  await client.latest(name);
  assert.equal((await node.request('GET', `/sub/${name}`)).text, 'from a relay');
});
