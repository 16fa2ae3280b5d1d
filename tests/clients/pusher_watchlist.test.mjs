// Who is online among those one watches (pusher.md, section 8).
import assert from 'node:assert/strict';
import { fanwireTest, usePusher, withPusher } from '../support/pusher.mjs';
import { channel, eventually } from '../support/server.mjs';
import { Peer, client, connected } from './pusher_env.mjs';

const server = usePusher();
const EVENTS = 'pusher_internal:watchlist_events';

/** What a frame says, as `+id` and `-id`. */
const said = (frame) => frame.value.events.flatMap(({ name, user_ids: ids }) => ids.map((id) => (name === 'online' ? '+' : name === 'offline' ? '-' : `${name}?`) + id)).sort();

async function signedIn(id, watchlist, where = server) {
  const peer = await Peer.open(where);
  await peer.signin({ id, ...(watchlist ? { watchlist } : {}) });
  return peer;
}

fanwireTest('after the sign-in the state of all who are watched, in a string and without a channel', async () => {
  const [me, here, away] = [channel('me'), channel('here'), channel('away')];
  await signedIn(here);
  const peer = await signedIn(me, [here, away]);
  const frame = await peer.event(EVENTS);
  assert.equal(typeof frame.data, 'string');
  assert.equal(frame.channel, undefined);
  assert.deepEqual(Object.keys(frame.value), ['events']);
  assert.deepEqual(said(frame), [`+${here}`, `-${away}`].sort());
});

fanwireTest('online with the first connection, offline with the last', async () => {
  const [me, other] = [channel('me'), channel('other')];
  const peer = await signedIn(me, [other]);
  assert.deepEqual(said(await peer.event(EVENTS)), [`-${other}`]);
  const first = await signedIn(other);
  assert.deepEqual(said(await peer.event(EVENTS)), [`+${other}`]);
  const second = await signedIn(other);
  first.drop();
  const third = await signedIn(other);
  second.drop();
  await third.close();
  assert.deepEqual(said(await peer.event(EVENTS)), [`-${other}`]);
  await signedIn(other);
  assert.deepEqual(said(await peer.event(EVENTS)), [`+${other}`]);
  await peer.ping();
  assert.deepEqual(peer.drain(), []);
});

fanwireTest('without a watchlist, and with an empty one, nothing is said', async () => {
  const other = channel('other');
  const peers = [await signedIn(channel('me')), await signedIn(channel('me'), [])];
  await signedIn(other);
  for (const peer of peers) {
    await peer.ping();
    assert.deepEqual(peer.drain(), []);
  }
});

fanwireTest('who is only subscribed, not signed in, is not online', async () => {
  const [me, other] = [channel('me'), channel('other')];
  const peer = await signedIn(me, [other]);
  await peer.event(EVENTS);
  const present = await Peer.open(server);
  await present.subscribe(channel('presence-x'), { user: { user_id: other } });
  await peer.ping();
  assert.deepEqual(peer.drain(), []);
});

fanwireTest('two who watch each other, and one who watches itself', async () => {
  const [a, b] = [channel('a'), channel('b')];
  const one = await signedIn(a, [b]);
  assert.deepEqual(said(await one.event(EVENTS)), [`-${b}`]);
  const two = await signedIn(b, [a]);
  assert.deepEqual(said(await two.event(EVENTS)), [`+${a}`]);
  assert.deepEqual(said(await one.event(EVENTS)), [`+${b}`]);
  const me = channel('self');
  const self = await signedIn(me, [me]);
  const state = new Set();
  while (!state.has(`+${me}`)) for (const word of said(await self.event(EVENTS))) state.add(word);
});

fanwireTest('more than 100: the first 100 count and an error 4302 is said, the socket stays', async () => {
  const ids = Array.from({ length: 120 }, () => channel('w'));
  await signedIn(ids[5]);
  const peer = await Peer.open(server);
  const success = peer.signin({ id: channel('me'), watchlist: ids });
  assert.equal((await peer.error()).value.code, 4302);
  await success;
  const words = said(await peer.event(EVENTS));
  assert.equal(words.length, 100);
  assert.ok(words.includes(`+${ids[5]}`) && words.includes(`-${ids[99]}`) && !words.includes(`-${ids[100]}`));
  await signedIn(ids[110]);
  await signedIn(ids[99]);
  assert.deepEqual(said(await peer.event(EVENTS)), [`+${ids[99]}`]);
  assert.deepEqual(peer.ended, undefined);
});

fanwireTest('pusher-js: pusher.user.watchlist tells online and offline', async () => {
  const [me, other] = [channel('me'), channel('other')];
  const pusher = await connected(client(server, { me: { id: me, watchlist: [other] } }));
  const told = [];
  pusher.user.watchlist.bind('online', ({ user_ids }) => told.push(['online', user_ids]));
  pusher.user.watchlist.bind('offline', ({ user_ids }) => told.push(['offline', user_ids]));
  pusher.signin();
  await pusher.user.signinDonePromise;
  await eventually(() => told.length === 1, 'the state');
  const friend = await connected(client(server, { me: { id: other } }));
  friend.signin();
  await eventually(() => told.length === 2, 'online');
  friend.disconnect();
  await eventually(() => told.length === 3, 'offline');
  assert.deepEqual(told, [['offline', [other]], ['online', [other]], ['offline', [other]]]);
  pusher.disconnect();
});

for (const shards of [1, 3]) {
  fanwireTest(`the state and what changes meanwhile do not contradict each other (${shards} shards)`, () =>
    withPusher({ shards }, async (node) => {
      for (let round = 0; round < 15; round += 1) {
        const others = Array.from({ length: 5 }, () => channel('o'));
        const [peer] = await Promise.all([signedIn(channel('me'), others, node), ...others.map((id) => signedIn(id, undefined, node))]);
        const state = new Map();
        await eventually(() => {
          for (const frame of peer.drain()) {
            assert.equal(frame.event, EVENTS);
            for (const word of said(frame)) {
              assert.notEqual(state.get(word.slice(1)), word[0], `${word} is said twice`);
              state.set(word.slice(1), word[0]);
            }
          }
          return others.every((id) => state.get(id) === '+');
        }, 'all online');
      }
    }));
}
