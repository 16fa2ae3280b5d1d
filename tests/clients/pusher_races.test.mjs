// Joins and leaves at the same moment, on one shard and on three: each user is announced once and removed once
// (pusher.md, section 7).
import assert from 'node:assert/strict';
import { fanwireTest, subscriptions, trigger, usersAre, withPusher } from '../support/pusher.mjs';
import { channel, eventually } from '../support/server.mjs';
import { Peer } from './pusher_env.mjs';

const user = (id) => ({ user_id: id, user_info: { id } });
const ADDED = 'pusher_internal:member_added';
const REMOVED = 'pusher_internal:member_removed';
const SHARDS = [1, 3];

/** Member events that a socket has had, in their order, as `+id` and `-id`; everything before `last` is there. */
async function memberEvents(server, watcher, name) {
  return (await watcher.before(server, name)).map(({ event, value }) => `${event === ADDED ? '+' : event === REMOVED ? '-' : event}${value.user_id}`);
}

/** A list in which each user comes and goes in turn, beginning with coming. */
function alternates(events, what) {
  const here = new Set();
  for (const event of events) {
    const id = event.slice(1);
    assert.equal(event[0], here.has(id) ? '-' : '+', `${what}: ${events.join(' ')}`);
    if (!here.delete(id)) here.add(id);
  }
  return [...here].sort();
}

const rounds = (count) => Array.from({ length: count }, (_, i) => i);
const open = (server, count) => Promise.all(rounds(count).map(() => Peer.open(server)));

for (const shards of SHARDS) {
  const label = `${shards} shard${shards > 1 ? 's' : ''}`;

  fanwireTest(`trap 10: two sockets of one user join at once: one member_added (${label})`, () =>
    withPusher({ shards }, async (server) => {
      const watcher = await Peer.open(server);
      for (const i of rounds(30)) {
        const name = channel('presence-two');
        await watcher.subscribe(name, { user: user('w') });
        const pair = await open(server, 2);
        await Promise.all(pair.map((peer) => peer.subscribe(name, { user: user('u') })));
        assert.deepEqual(await memberEvents(server, watcher, name), ['+u'], `round ${i}`);
        for (const peer of pair) peer.drop();
        assert.equal((await watcher.event(REMOVED, name)).value.user_id, 'u');
        await usersAre(server, name, ['w']);
        assert.deepEqual(await memberEvents(server, watcher, name), [], `round ${i}: removed once`);
      }
    }));

  fanwireTest(`trap 10: one socket of a user closes while another joins: nobody is lost (${label})`, () =>
    withPusher({ shards }, async (server) => {
      const watcher = await Peer.open(server);
      for (const i of rounds(30)) {
        const name = channel('presence-swap');
        await watcher.subscribe(name, { user: user('w') });
        const [old, next] = await open(server, 2);
        await old.subscribe(name, { user: user('u') });
        const joining = next.subscribe(name, { user: user('u') });
        if (i % 3 === 0) old.drop();
        else if (i % 3 === 1) old.close();
        else old.send('pusher:unsubscribe', { channel: name });
        const { presence } = (await joining).value;
        assert.deepEqual([...presence.ids].sort(), ['u', 'w']);
        await subscriptions(server, name, 2);
        assert.deepEqual(alternates(await memberEvents(server, watcher, name), `round ${i}`), ['u']);
        await usersAre(server, name, ['u', 'w']);
        next.drop();
        await usersAre(server, name, ['w']);
      }
    }));

  fanwireTest(`200 connections of 50 users die at once: each user is removed exactly once (${label})`, () =>
    withPusher({ shards }, async (server) => {
      const name = channel('presence-bulk');
      const watcher = await Peer.open(server);
      await watcher.subscribe(name, { user: user('w') });
      const peers = await open(server, 200);
      await Promise.all(peers.map((peer, i) => peer.subscribe(name, { user: user(`u${i % 50}`) })));
      const ids = rounds(50).map((i) => `u${i}`);
      assert.deepEqual((await memberEvents(server, watcher, name)).sort(), ids.map((id) => `+${id}`).sort());
      for (const peer of peers) peer.drop();
      await subscriptions(server, name, 1);
      assert.deepEqual((await memberEvents(server, watcher, name)).sort(), ids.map((id) => `-${id}`).sort());
      await usersAre(server, name, ['w']);
    }));

  fanwireTest(`200 connections of 90 users, half of them die while the others join (${label})`, () =>
    withPusher({ shards }, async (server) => {
      const name = channel('presence-churn');
      const watcher = await Peer.open(server);
      await watcher.subscribe(name, { user: user('w') });
      const [leaving, coming] = [await open(server, 100), await open(server, 100)];
      await Promise.all(leaving.map((peer, i) => peer.subscribe(name, { user: user(`u${i % 45}`) })));
      const joins = coming.map((peer, i) => {
        const joined = peer.subscribe(name, { user: user(`u${30 + (i % 60)}`) });
        leaving[i].drop();
        return joined;
      });
      await Promise.all(joins);
      await subscriptions(server, name, 101);
      const there = alternates(await memberEvents(server, watcher, name), 'churn');
      const expected = rounds(60).map((i) => `u${30 + i}`).sort();
      assert.deepEqual(there, expected);
      await usersAre(server, name, ['w', ...expected]);
    }));

  fanwireTest(`one user joins and leaves on many sockets at random: what is announced alternates (${label})`, () =>
    withPusher({ shards }, async (server) => {
      const name = channel('presence-flap');
      const watchers = await open(server, 3);
      await Promise.all(watchers.map((peer, i) => peer.subscribe(name, { user: user(`w${i}`) })));
      for (const watcher of watchers) watcher.drain();
      const peers = await open(server, 6);
      for (let step = 0; step < 300; step += 1) {
        const peer = peers[(step * 7) % 6];
        const id = `u${step % 2}`;
        if ((step * 5) % 3) peer.send('pusher:subscribe', peer.subscription(name, { user: user(id) }));
        else peer.send('pusher:unsubscribe', { channel: name });
      }
      await Promise.all(peers.map((peer) => peer.ping()));
      for (const peer of peers) peer.send('pusher:unsubscribe', { channel: name });
      await subscriptions(server, name, 3);
      const seen = await Promise.all(
        watchers.map(async (watcher) => {
          const before = watcher.frames.length;
          assert.ok(before >= 0);
          return (await memberEvents(server, watcher, name)).filter((event) => !/^[+-]w/.test(event));
        }),
      );
      for (const events of seen) assert.deepEqual(alternates(events, 'flap'), []);
      assert.deepEqual(seen[1], seen[0], 'everybody sees one order');
      assert.deepEqual(seen[2], seen[0]);
      await usersAre(server, name, ['w0', 'w1', 'w2']);
    }));

  fanwireTest(`an event that is published while users come and go is not lost for those who stay (${label})`, () =>
    withPusher({ shards }, async (server) => {
      const name = channel('presence-stay');
      const stays = await open(server, 5);
      await Promise.all(stays.map((peer, i) => peer.subscribe(name, { user: user(`s${i}`) })));
      const comes = await open(server, 20);
      const churn = comes.map(async (peer, i) => {
        await peer.subscribe(name, { user: user(`c${i % 7}`) });
        peer.drop();
      });
      for (let i = 0; i < 30; i += 1) await trigger(server, name, 'tick', `${i}`);
      await Promise.all(churn);
      for (const peer of stays) for (let i = 0; i < 30; i += 1) assert.equal((await peer.event('tick', name)).value, i);
      await eventually(async () => (await usersAre(server, name, ['s0', 's1', 's2', 's3', 's4'])) || true, 'those who stay');
    }));
}
