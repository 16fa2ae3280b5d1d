// One channel space: what Pusher publishes arrives at the relay's subscribers and the reverse, on one shard and on
// three (fanwire only).
import assert from 'node:assert/strict';
import EventSource from 'eventsource';
import { APP, OTHER, channelInfo, fanwireTest, subscriptions, trigger, usePusher } from '../support/pusher.mjs';
import { after as following } from '../support/ids.mjs';
import { http, open } from '../support/raw.mjs';
import { channel, eventually, pub, sub } from '../support/server.mjs';
import { WsConn } from '../support/websocket.mjs';
import { Peer, atEnd, client, connected, filled, record, subscribed } from './pusher_env.mjs';

const SSE = { Accept: 'text/event-stream' };

/** An event stream that has begun. */
async function stream(server, name, prefix = '/sub') {
  const conn = await open(server, 'GET', `${prefix}/${name}`, { headers: SSE });
  await conn.readThrough(': hi\n\n');
  atEnd(() => conn.destroy());
  return conn;
}

/** The next event of a stream, as its fields. */
async function eventOf(conn) {
  const fields = { data: [] };
  for (const line of (await conn.readThrough('\n\n')).trimEnd().split('\n')) {
    const [, name, value] = /^([^:]*): ?(.*)$/.exec(line);
    if (name === 'data') fields.data.push(Buffer.from(value, 'latin1').toString());
    else fields[name] = value;
  }
  return { ...fields, data: fields.data.join('\n') };
}

const locations = [
  pub(),
  sub(),
  sub('/open', { protected_channels: true }),
  pub('/pub-other', { app: 'other' }),
  sub('/sub-other', { app: 'other' }),
];

for (const shards of [1, 3]) {
  const server = usePusher({ shards, apps: [{ ...APP, client_events: true }, OTHER], locations });
  const both = (name, run) => fanwireTest(`${name} (${shards} shard${shards > 1 ? 's' : ''})`, run);

  both('Pusher to event stream: the event by its name, the data as data', async () => {
    const name = channel();
    const conn = await stream(server, name);
    await trigger(server, name, 'paid', '{"n":1,"t":"é"}');
    await trigger(server, name, 'lines', 'one\ntwo\n\nthree');
    const first = await eventOf(conn);
    assert.deepEqual([first.event, first.data], ['paid', '{"n":1,"t":"é"}']);
    assert.match(first.id, /^\d+:\d+$/);
    const second = await eventOf(conn);
    assert.deepEqual([second.event, second.data], ['lines', 'one\ntwo\n\nthree']);
  });

  both('Pusher to EventSource', async () => {
    const name = channel();
    const source = new EventSource(server.url(`/sub/${name}`));
    atEnd(() => source.close());
    const got = [];
    source.addEventListener('paid', ({ data }) => got.push(JSON.parse(data)));
    await new Promise((resolve) => (source.onopen = resolve));
    for (let n = 0; n < 5; n += 1) await trigger(server, name, 'paid', { n });
    await filled(got, 5, 'events');
    assert.deepEqual(got.map(({ n }) => n), [0, 1, 2, 3, 4]);
    source.close();
  });

  both('Pusher to long-poll and WebSocket: the data is the body', async () => {
    const name = channel();
    const poll = await open(server, 'GET', `/sub/${name}`);
    const socket = await WsConn.connect(server, `/sub/${name}`);
    await server.subscribers(name, 2);
    await trigger(server, name, 'e', '{"n":1}');
    const answer = await poll.response();
    assert.equal(answer.text, '{"n":1}');
    assert.equal((await socket.message()).text, '{"n":1}');
    await trigger(server, name, 'e', '{"n":2}');
    assert.equal((await http(server, 'GET', `/sub/${name}`, { headers: following(answer) })).text, '{"n":2}', 'none is missed between polls');
    poll.destroy();
    socket.destroy();
  });

  both('relay to pusher-js: event `message`, data the text or the JSON', async () => {
    const name = channel();
    const pusher = await connected(client(server));
    const heard = record(await subscribed(pusher, name));
    for (const body of ['just text', '{"n":1}', '', 'é🌊\n"']) await server.publish(name, body);
    assert.deepEqual(await filled(heard, 4, 'events'), [['message', 'just text'], ['message', { n: 1 }], ['message', ''], ['message', 'é🌊\n"']]);
    pusher.disconnect();
  });

  both('relay to Pusher: on the wire data is a string with the payload as it was', async () => {
    const name = channel();
    const peer = await Peer.open(server);
    await peer.subscribe(name);
    await server.publish(name, ' {"n" : 1.0} ');
    const frame = await peer.event('message', name);
    assert.equal(frame.data, ' {"n" : 1.0} ');
    assert.deepEqual(Object.keys(JSON.parse(frame.text)).sort(), ['channel', 'data', 'event']);
    await server.publish(name, 'named', { 'X-EventSource-Event': 'mine' });
    assert.equal((await peer.event('mine', name)).data, 'named');
    await server.publish(name, Buffer.from([0x66, 0xff, 0xfe, 0x00, 0x67]));
    assert.match((await peer.event('message', name)).data, /^f.+g$/s);
  });

  both('both publish: every subscriber of either kind sees one order', async () => {
    const name = channel();
    const peer = await Peer.open(server);
    await peer.subscribe(name);
    const conn = await stream(server, name);
    await Promise.all(Array.from({ length: 40 }, (_, i) => (i % 2 ? trigger(server, name, 'e', `p${i}`) : server.publish(name, `r${i}`))));
    const [there, here] = [[], []];
    for (let i = 0; i < 40; i += 1) {
      there.push((await peer.take((f) => f.channel === name, 'an event')).data);
      here.push((await eventOf(conn)).data);
    }
    assert.deepEqual(there, here);
    assert.equal(new Set(here).size, 40);
  });

  both('one who is excluded is a Pusher socket: relay subscribers get the event', async () => {
    const name = channel();
    const peer = await Peer.open(server);
    await peer.subscribe(name);
    const conn = await stream(server, name);
    await trigger(server, name, 'e', '1', { socket_id: peer.id });
    assert.equal((await eventOf(conn)).data, '1');
    assert.deepEqual(await peer.before(server, name), []);
  });

  both('channels that need a signature are closed to relay clients, open to relay publishers', async () => {
    for (const hint of ['private-s', 'presence-s', 'private-encrypted-s', 'private-cache-s']) {
      const name = channel(hint);
      for (const headers of [{}, SSE]) assert.equal((await http(server, 'GET', `/sub/${name}`, { headers })).status, 403, name);
      const peer = await Peer.open(server);
      await peer.subscribe(name, { user: { user_id: 'u' } });
      await server.publish(name, 'from the back end');
      await peer.event('message', name);
    }
    assert.equal((await http(server, 'GET', '/sub/%23server-to-user-u')).status, 403);
    assert.equal((await http(server, 'GET', '/sub/%23user-u')).status, 403);
  });

  both('where a location lets them in, they see client events by name', async () => {
    const name = channel('private-open');
    const [sender, other] = [await Peer.open(server), await Peer.open(server)];
    for (const peer of [sender, other]) await peer.subscribe(name);
    const conn = await stream(server, name, '/open');
    sender.send('client-typing', { a: 1 }, name);
    await other.event('client-typing');
    const seen = await eventOf(conn);
    assert.deepEqual([seen.event, JSON.parse(seen.data)], ['client-typing', { a: 1 }]);
  });

  both('apps are apart: a location has the channels of its app only', async () => {
    const name = channel();
    const [mine, theirs] = [await Peer.open(server), await Peer.open(server, { app: OTHER })];
    for (const peer of [mine, theirs]) await peer.subscribe(name);
    const [here, there] = [await stream(server, name), await stream(server, name, '/sub-other')];
    await trigger(server, name, 'e', 'first');
    await trigger(server, name, 'e', 'other', {}, OTHER);
    await server.publish(name, 'relay');
    await server.publish(name, 'relay other', {}, '/pub-other');
    assert.deepEqual([(await eventOf(here)).data, (await eventOf(here)).data], ['first', 'relay']);
    assert.deepEqual([(await eventOf(there)).data, (await eventOf(there)).data], ['other', 'relay other']);
    assert.deepEqual([(await mine.next()).data, (await mine.next()).data], ['first', 'relay']);
    assert.deepEqual([(await theirs.next()).data, (await theirs.next()).data], ['other', 'relay other']);
  });

  both('a channel that the relay deletes goes on for its Pusher clients', async () => {
    const name = channel();
    const peer = await Peer.open(server);
    await peer.subscribe(name);
    await trigger(server, name, 'before', '1');
    await peer.event('before');
    assert.equal((await http(server, 'DELETE', `/pub/${name}`)).status, 200);
    await eventually(async () => {
      await trigger(server, name, 'after', '2');
      await peer.ping();
      return peer.drain().some((f) => f.event === 'after');
    }, 'an event after the deletion');
    assert.equal(peer.ended, undefined);
  });

  both('what the relay publishes is kept on a cache channel as well', async () => {
    const name = channel('cache-relay');
    await server.publish(name, 'kept');
    const peer = await Peer.open(server);
    await peer.subscribe(name);
    const next = await peer.next();
    assert.deepEqual([next.event, next.data], ['message', 'kept']);
    await trigger(server, name, 'newer', '1');
    const late = await Peer.open(server);
    await late.subscribe(name);
    assert.equal((await late.next()).event, 'newer');
  });

  both('a room with both kinds: everybody gets everything once, and leaving leaves nothing', async () => {
    const name = channel();
    const peers = await Promise.all(Array.from({ length: 6 }, () => Peer.open(server)));
    await Promise.all(peers.map((peer) => peer.subscribe(name)));
    const streams = await Promise.all(Array.from({ length: 6 }, () => stream(server, name)));
    for (let i = 0; i < 10; i += 1) await (i % 2 ? trigger(server, name, 'e', `${i}`) : server.publish(name, `${i}`));
    for (let i = 0; i < 10; i += 1) {
      for (const peer of peers) assert.equal((await peer.next()).data, `${i}`);
      for (const conn of streams) assert.equal((await eventOf(conn)).data, `${i}`);
    }
    for (const peer of peers) peer.drop();
    for (const conn of streams) conn.destroy();
    await subscriptions(server, name, 0);
    assert.equal((await channelInfo(server, name)).occupied, false);
  });
}
