// Pushi clients: presence, personal and pair channels (pushi.md section 7).
import assert from 'node:assert/strict';
import { APP, Client, Rest, channel, pushiTest, usePushi } from '../support/pushi.mjs';
import { sleep } from '../support/raw.mjs';

const node = usePushi({ shards: 3 });
const connect = (count) => Promise.all(Array.from({ length: count }, () => Client.connect(node)));
const user = (user_id, more = {}) => ({ user_id, ...more });
/** The frame that tells of a member. */
const told = (what, name, data) => {
  const member = JSON.stringify(data);
  return { event: `pusher:member_${what}`, member, data: member, channel: name };
};

pushiTest('trap 2, 3 and 5: members come and go, told under `member` and `data`', async () => {
  const [one, two] = await connect(2);
  const name = channel('presence-');
  assert.deepEqual((await one.subscribe(name, user('u1', { name: 'One' }))).members, { u1: { user_id: 'u1', name: 'One' } });
  const { members } = await two.subscribe(name, user(7));
  assert.deepEqual(members, { u1: { user_id: 'u1', name: 'One' }, 7: { user_id: 7 } });
  await one.expect(told('added', name, user(7)));
  assert.deepEqual((await two.unsubscribe(name)).members, { u1: { user_id: 'u1', name: 'One' } });
  await one.expect(told('removed', name, user(7)));
  await two.quiet();
});

pushiTest('trap 2: channel_data that is no object with a plain user_id ends the connection', async () => {
  for (const data of ['{"user_id":"u"}', { id: 1 }, [1], { user_id: ['u'] }, { user_id: {} }, 7]) {
    const client = await Client.connect(node);
    client.ask(channel('presence-'), data);
    await client.ends();
  }
  for (const data of ['text', 7, [1], { no: 'id' }]) {
    const client = await Client.connect(node);
    const name = channel('private-');
    assert.deepEqual((await client.subscribe(name, data)).members, {}, 'it means nothing elsewhere');
    await client.close();
  }
});

pushiTest('a socket without channel_data is no member and is told nothing, but hears events', async () => {
  const [silent, member] = await connect(2);
  const name = channel('presence-');
  assert.deepEqual((await silent.subscribe(name)).members, {});
  assert.deepEqual((await member.subscribe(name, user('m'))).members, { m: user('m') });
  member.send('message', 'hi', { channel: name });
  await silent.event({ channel: name, event: 'message', data: 'hi' });
  await member.unsubscribe(name);
  await silent.quiet();
});

pushiTest('a user is one however many connections it has, and the newest channel_data counts', async () => {
  const [watcher, first, second, third] = await connect(4);
  const name = channel('presence-');
  await watcher.subscribe(name, user('w'));
  await first.subscribe(name, user('u', { n: 1 }));
  await watcher.expect(told('added', name, user('u', { n: 1 })));
  assert.deepEqual((await second.subscribe(name, user('u', { n: 2 }))).members, { w: user('w'), u: user('u', { n: 2 }) });
  await watcher.quiet();
  await first.close();
  assert.deepEqual((await third.subscribe(name)).members.u, user('u', { n: 2 }));
  await watcher.quiet();
  await second.unsubscribe(name);
  await watcher.expect(told('removed', name, user('u', { n: 2 })));
});

pushiTest('trap 16 and 21: an empty close frame is answered, and the member is gone at once', async () => {
  const [watcher, leaving] = await connect(2);
  const name = channel('presence-');
  await watcher.subscribe(name, user('w'));
  await leaving.subscribe(name, user('l'));
  await watcher.expect(told('added', name, user('l')));
  leaving.socket.close();
  await leaving.closed;
  await watcher.expect(told('removed', name, user('l')));
});

pushiTest('subscribing again is leaving and coming back', async () => {
  const [watcher, client] = await connect(2);
  const name = channel('presence-');
  await watcher.subscribe(name, user('w'));
  await client.subscribe(name, user('u', { n: 1 }));
  await watcher.expect(told('added', name, user('u', { n: 1 })));
  assert.deepEqual((await client.subscribe(name, user('u', { n: 2 }))).members.u, user('u', { n: 2 }));
  await watcher.expect(told('removed', name, user('u', { n: 1 })));
  await watcher.expect(told('added', name, user('u', { n: 2 })));
  const { events } = await client.latest(name);
  assert.deepEqual(events, []);
});

pushiTest('joins and leaves of many connections are told exactly once each', async () => {
  const [watcher, ...clients] = await connect(31);
  const name = channel('presence-');
  await watcher.subscribe(name, user('w'));
  await Promise.all(clients.map((client, n) => client.subscribe(name, user(`u${n % 10}`))));
  for (const client of clients) client.socket.terminate();
  const seen = {};
  while (Object.keys(seen).length < 10 || Object.values(seen).some((there) => there)) {
    const { event, member } = await watcher.frame();
    const { user_id } = JSON.parse(member);
    const added = event === 'pusher:member_added';
    assert.notEqual(seen[user_id] ?? false, added, `${event} ${user_id}`);
    seen[user_id] = added;
    if (Object.values(seen).every((there) => !there)) await sleep(100);
  }
  await watcher.quiet();
});

pushiTest('trap 10: a personal channel stands for the channels of its user, under their own names', async () => {
  const rest = await Rest.login(node);
  const [client, member] = await connect(2);
  const [news, secret, room] = [channel(), channel('private-'), channel('presence-')];
  const who = `user-${news}`;
  const personal = `personal-${who}`;
  assert.deepEqual(await client.subscribe(personal), { name: personal, members: {}, alias: [], events: [] });
  assert.deepEqual((await client.unsubscribe(personal)).alias, [], 'also an empty one goes');
  for (const event of [news, secret, room]) await rest.ok('POST', '/subscriptions', { user_id: who, event });
  await rest.publish({ data: 'before', channel: secret });
  await member.subscribe(room, user('m'));
  const { alias, events, members } = await client.subscribe(personal, user('q'));
  assert.deepEqual(alias, [news, secret, room]);
  assert.deepEqual(members, {});
  assert.deepEqual(events.map((event) => [event.channel, event.data.data, event.data.channel]), [[secret, 'before', secret]]);
  await member.expect(told('added', room, user('q')));
  await rest.publish({ data: 'live', channel: secret });
  await client.event({ channel: secret, event: 'message', data: 'live', });
  client.send('message', 'mine', { channel: news, echo: true });
  await client.event({ channel: news, event: 'message', data: 'mine' });
  // Later subscriptions count from the next time on.
  const later = channel();
  await rest.ok('POST', '/subscriptions', { user_id: who, event: later });
  await rest.publish({ data: 'not yet', channel: later });
  await client.quiet();
  client.ask(personal, user('q'));
  const again = await client.reply('subscription_succeeded', personal);
  assert.deepEqual(again.alias, [news, secret, room, later]);
  assert.deepEqual(again.events.map((event) => event.data.data), ['not yet', 'mine', 'live', 'before']);
  await member.expect(told('removed', room, user('q')));
  await member.expect(told('added', room, user('q')));
  // Published to itself it is kept, and reaches nobody.
  await rest.publish({ data: 'to nobody', channel: personal });
  await client.quiet();
  await client.unsubscribe(personal);
  await member.expect(told('removed', room, user('q')));
  await rest.publish({ data: 'after', channel: news });
  await client.quiet();
  client.send('pusher:unsubscribe', { channel: personal });
  await client.ends();
});

pushiTest('trap 10: nobody is subscribed to a personal channel itself', async () => {
  const name = channel('personal-');
  for (const send of [
    (client) => client.send('pusher:latest', { channel: name }),
    (client) => client.send('message', 'x', { channel: name }),
  ]) {
    const client = await Client.connect(node);
    await client.subscribe(name);
    send(client);
    await client.ends();
  }
});

pushiTest('personal history has ten events, also of channels the user has left', async () => {
  const rest = await Rest.login(node);
  const name = channel();
  const who = `user-${name}`;
  await rest.ok('POST', '/subscriptions', { user_id: who, event: name });
  for (let n = 1; n <= 12; n += 1) await rest.publish({ data: `${n}`, channel: name, persist: n !== 6 });
  await rest.ok('DELETE', `/subscriptions/${who}/${name}`);
  const client = await Client.connect(node);
  const { alias, events } = await client.subscribe(`personal-${who}`);
  assert.deepEqual(alias, []);
  assert.deepEqual(events.map((event) => Number(event.data.data)), [12, 11, 10, 9, 8, 7, 5, 4, 3, 2]);
});

pushiTest('trap 11: who joins with peer gets a channel with each of the others, and they with it', async () => {
  const [bob, alice, carol] = await connect(3);
  const name = channel('presence-');
  const base = name.slice('presence-'.length);
  const peer = (a, b) => `peer-${base}:${a}&${b}`;
  await bob.subscribe(name, user('bob'));
  await alice.subscribe(name, user('alice', { peer: true }));
  await bob.expect(told('added', name, user('alice', { peer: true })));
  await sleep(100);
  const pair = peer('alice', 'bob');
  alice.send('message', 'hi bob', { channel: pair });
  await bob.event({ channel: pair, event: 'message', data: 'hi bob' });
  bob.send('message', 'hi alice', { channel: pair });
  await alice.event({ channel: pair, event: 'message', data: 'hi alice' });
  assert.deepEqual((await alice.latest(pair)).events.map((event) => event.data.data), ['hi alice', 'hi bob']);
  // Without the flag of the newcomer there is none, but its history may be read.
  await carol.subscribe(name, user('carol'));
  for (const client of [bob, alice]) await client.expect(told('added', name, user('carol')));
  assert.deepEqual((await carol.latest(peer('bob', 'carol'))).events, []);
  carol.send('message', 'x', { channel: peer('bob', 'carol') });
  await carol.ends();
  for (const client of [bob, alice]) await client.expect(told('removed', name, user('carol')));
  // Back ends reach it as any other channel.
  await (await Rest.login(node)).publish({ data: 'both', channel: pair });
  for (const client of [bob, alice]) await client.event({ channel: pair, event: 'message', data: 'both' });
  // The last connection of the one with the flag ends it on both sides.
  await alice.unsubscribe(name);
  await bob.expect(told('removed', name, user('alice', { peer: true })));
  await sleep(100);
  bob.send('message', 'anybody?', { channel: pair });
  await bob.ends();
});

pushiTest('trap 11: pairs are sorted as texts, and connections of one user share them', async () => {
  const [ten, nine, nineToo] = await connect(3);
  const name = channel('presence-');
  const pair = `peer-${name.slice('presence-'.length)}:10&9`;
  await ten.subscribe(name, user(10, { peer: true }));
  await nine.subscribe(name, user(9, { peer: true }));
  await nineToo.subscribe(name, user('9', { peer: true }));
  await sleep(100);
  await ten.expect(told('added', name, user(9, { peer: true })));
  ten.send('message', 'x', { channel: pair });
  for (const client of [nine, nineToo]) await client.event({ channel: pair, event: 'message', data: 'x' });
  // A connection that leaves while its user stays takes only its own pairs with it.
  await nineToo.unsubscribe(name);
  nine.send('message', 'y', { channel: pair });
  await ten.event({ channel: pair, event: 'message', data: 'y' });
  await nineToo.quiet();
  nineToo.send('message', 'z', { channel: pair });
  await nineToo.ends();
});

pushiTest('a pair channel can be subscribed to with a signature', async () => {
  const [one, two] = await connect(2);
  const name = channel('peer-');
  await one.subscribe(name);
  await two.subscribe(name);
  one.send('message', 'x', { channel: name });
  await two.event({ channel: name, event: 'message', data: 'x' });
  assert.equal((await two.latest(name)).events[0].owner_id, one.id);
  assert.equal(one.app, APP);
});
