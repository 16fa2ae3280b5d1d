// One channel space: what Pusher and the relay publish arrives at clients of Pushi, and the reverse; and many clients of
// Pushi at once, doing what they want, against a model of who is where.
import assert from 'node:assert/strict';
import { APP, Client, Rest, channel, pushiTest, usePushi } from '../support/pushi.mjs';
import { channelAuth, trigger } from '../support/pusher.mjs';
import { open } from '../support/raw.mjs';
import { eventually } from '../support/server.mjs';
import { Peer } from './pusher_env.mjs';

const node = usePushi({ shards: 3 });

pushiTest('events of Pusher, Pushi and the relay reach clients of each', async () => {
  const name = channel();
  const [pushi, pusher] = [await Client.connect(node), await Peer.open(node, { app: APP })];
  await pushi.subscribe(name);
  pusher.send('pusher:subscribe', { channel: name });
  await pusher.take((frame) => frame.event === 'pusher_internal:subscription_succeeded', 'the subscription');
  const stream = await open(node, 'GET', `/sub/${name}`, { headers: { Accept: 'text/event-stream' } });
  await stream.head();

  await trigger(node, name, 'from-pusher', '{"a":1}', {}, APP);
  const { mid } = await pushi.event({ channel: name, event: 'from-pusher', data: '{"a":1}' });
  assert.equal((await pushi.latest(name)).events[0].mid, mid);
  await pusher.take((frame) => frame.event === 'from-pusher', 'its own event');
  await stream.readThrough('event: from-pusher\n');
  await stream.readThrough('data: {"a":1}\n\n');

  await (await Rest.login(node)).publish({ data: { b: [2] }, event: 'from-pushi', channel: name });
  await pushi.event({ channel: name, event: 'from-pushi', data: '{"b":[2]}' });
  const frame = await pusher.take(({ event }) => event === 'from-pushi', 'an event of Pushi');
  assert.deepEqual([frame.channel, JSON.parse(frame.text).data], [name, '{"b":[2]}']);
  await stream.readThrough('event: from-pushi\n');
  await stream.readThrough('data: {"b":[2]}\n\n');

  pushi.send('typed', 'by a client', { channel: name, persist: false });
  assert.equal(JSON.parse((await pusher.take(({ event }) => event === 'typed', 'an event')).text).data, 'by a client');
  await stream.readThrough('event: typed\n');
  await stream.readThrough('data: by a client\n\n');
  await pushi.close();
  pusher.ws.terminate();
  stream.destroy();
});

pushiTest('members of a presence channel see each other, whichever protocol they speak', async () => {
  const name = channel('presence-');
  const [pushi, pusher] = [await Client.connect(node), await Peer.open(node, { app: APP })];
  await pushi.subscribe(name, { user_id: 'a', nick: 'A' });
  const channel_data = JSON.stringify({ user_id: 'b', user_info: { nick: 'B' } });
  pusher.send('pusher:subscribe', { channel: name, auth: channelAuth(pusher.id, name, channel_data, APP), channel_data });
  const { presence } = JSON.parse(JSON.parse((await pusher.take(({ event }) => event.endsWith('succeeded'), 'it')).text).data);
  assert.deepEqual([presence.ids, presence.hash.a.nick], [['a', 'b'], 'A']);
  const added = await pushi.frame();
  assert.deepEqual([added.event, JSON.parse(added.member)], ['pusher:member_added', { user_id: 'b', user_info: { nick: 'B' } }]);
  assert.deepEqual((await pushi.subscribe(name)).members, { b: { user_id: 'b', user_info: { nick: 'B' } } });
  pusher.ws.terminate();
  await pushi.close();
});

pushiTest('what is kept for a user is for nobody else: to Pusher a personal channel would be public', async () => {
  const [name, who] = [channel(), `u${channel()}`];
  const personal = `personal-${who}`;
  const rest = await Rest.login(node);
  await rest.ok('POST', '/subscriptions', { user_id: who, event: name });
  const pusher = await Peer.open(node, { app: APP });
  pusher.send('pusher:subscribe', { channel: personal });
  await pusher.take((frame) => frame.event === 'pusher_internal:subscription_succeeded', 'the subscription');
  const stream = await open(node, 'GET', `/sub/${personal}`, { headers: { Accept: 'text/event-stream' } });
  assert.equal((await stream.head()).status, 403);
  stream.destroy();

  await rest.publish({ data: 'for the user', event: 'secret', channel: name });
  await rest.publish({ data: 'for the user', event: 'secret', channel: personal });
  await trigger(node, personal, 'open', 'for all', {}, APP);
  const frame = await pusher.take(({ channel: at }) => at === personal, 'an event');
  assert.equal(frame.event, 'open', 'nothing came before it');
  const client = await Client.connect(node);
  const { events } = await client.subscribe(personal);
  assert.deepEqual(events.map((event) => event.data.event), ['secret', 'secret'], 'and the user has what is kept');
  await client.close();
  pusher.ws.terminate();
});

/** A sequence of numbers from a seed. */
const chance = (seed) => () => {
  seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
  return seed / 2_147_483_648;
};

pushiTest('many clients come, go, talk and die: lists and announcements stay right', async () => {
  for (const seed of [1, 2, 3]) {
    const next = chance(seed);
    const pick = (list) => list[Math.floor(next() * list.length)];
    const rooms = Array.from({ length: 3 }, () => channel('presence-'));
    const watchers = new Map();
    for (const room of rooms) {
      const watcher = await Client.connect(node);
      await watcher.subscribe(room, { user_id: 'watcher' });
      watchers.set(room, watcher);
    }
    const clients = [];
    for (let step = 0; step < 300; step += 1) {
      if (clients.length < 12) clients.push({ client: await Client.connect(node), rooms: new Map() });
      const one = pick(clients);
      const room = pick(rooms);
      const roll = next();
      if (roll < 0.5) {
        // Nobody waits for an answer here: frames of a channel keep their order.
        const user = `u${Math.floor(next() * 6)}`;
        one.client.ask(room, { user_id: user, peer: next() < 0.5 });
        one.rooms.set(room, user);
      } else if (roll < 0.75 && one.rooms.has(room)) {
        one.client.send('pusher:unsubscribe', { channel: room });
        one.rooms.delete(room);
      } else if (roll < 0.9 && one.rooms.has(room)) {
        one.client.send('message', 'x', { channel: room, persist: next() < 0.5 });
      } else if (roll > 0.96) {
        if (next() < 0.5) one.client.socket.terminate();
        else one.client.socket.close();
        clients.splice(clients.indexOf(one), 1);
      }
    }
    for (const room of rooms) {
      const there = new Set(['watcher', ...clients.map((one) => one.rooms.get(room)).filter(Boolean)]);
      const watcher = watchers.get(room);
      const seen = new Set(['watcher']);
      await eventually(() => {
        for (const { event, member } of watcher.frames.splice(0)) {
          if (!member) continue;
          const { user_id } = JSON.parse(member);
          const added = event === 'pusher:member_added';
          assert.equal(seen.has(user_id), !added, `${event} ${user_id}: told twice`);
          if (added) seen.add(user_id);
          else seen.delete(user_id);
        }
        return seen.size === there.size && [...there].every((user) => seen.has(user));
      }, `the announcements of seed ${seed}`);
      // What was asked for last may still be on its way: who came and went again then may be there for a moment.
      let listed;
      const isRight = async () => {
        const late = await Client.connect(node);
        listed = Object.keys((await late.subscribe(room)).members).sort();
        await late.close();
        return JSON.stringify(listed) === JSON.stringify([...there].sort());
      };
      await eventually(isRight, `the list of seed ${seed}`).catch(() => assert.deepEqual(listed, [...there].sort(), `seed ${seed}`));
    }
    for (const { client } of clients) assert.equal(client.socket.readyState, 1, 'nobody was sent away');
    for (const { client } of clients) await client.close();
    for (const watcher of watchers.values()) await watcher.close();
  }
});
