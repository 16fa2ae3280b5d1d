// What the node tells back ends by itself (pusher.md, section 12), checked with the npm library.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { App } from '../support/app.mjs';
import { APP, OTHER, WAIT_MS, fanwireTest, subscriptions, trigger, usePusher, usersAre, webhookSignature } from '../support/pusher.mjs';
import { sleep } from '../support/raw.mjs';
import { TARGET, channel, eventually, freePort, pub, sub } from '../support/server.mjs';
import { BackEnd, Peer } from './pusher_env.mjs';

/** How late a vacated channel and a user who went are told, milliseconds. */
const GRACE_MS = 3000;
const COUNTING = { id: 'counting', key: 'counting-key', secret: 'counting-secret', subscription_count: true };
const apps = [{ ...APP, client_events: true }, { ...OTHER, client_events: true }, COUNTING];

let app;
const server = usePusher(async () => {
  app = await App.start();
  const at = (path, extra = {}) => ({ url: app.url(path), ...extra });
  return {
    apps,
    webhooks: [
      at('/each', { batch: false }),
      at('/batch'),
      at('/members', { events: ['member_added', 'member_removed'] }),
      at('/prefix', { channel_prefix: 'private-' }),
      at('/suffix', { channel_suffix: '-end' }),
      at('/flaky', { channel_prefix: 'flaky-', batch: false }),
      at('/slow', { channel_prefix: 'slow-' }),
      { url: `http://127.0.0.1:${await freePort()}/nobody` },
      at('/other', { app: OTHER.id }),
      at('/counting', { app: COUNTING.id, events: ['subscription_count'], batch: false }),
    ],
    locations: [pub(), sub()],
  };
});
after(() => app?.stop());

/** Events of a channel that an endpoint has had, in their order. */
const told = (path, name) =>
  app.requests
    .filter((request) => request.path === path && request.body.includes(`"${name}"`))
    .flatMap((request) => JSON.parse(request.body).events)
    .filter((event) => event.channel === name);
const names = (path, name) => told(path, name).map((event) => event.name);

/** Waits until so many have come and gives them. */
const arrive = (path, name, count, timeoutMs) => eventually(() => told(path, name).length >= count && told(path, name), `${count} events of ${name} at ${path}`, timeoutMs);

async function joined(name, options = {}, where = {}) {
  const peer = await Peer.open(server, where);
  await peer.subscribe(name, options);
  return peer;
}

/** What was said of a channel when something that happened later in it is known. */
async function settled(path, name) {
  const mark = channel('cache-mark');
  await joined(mark);
  await arrive(path, mark, 2);
  return told(path, name);
}

fanwireTest('trap 22: a call is a POST of exactly application/json, signed over its bytes with the secret of the app', async () => {
  const name = channel();
  const started = Date.now();
  await joined(name);
  await arrive('/each', name, 1);
  const [call] = app.requests.filter((request) => request.path === '/each' && request.body.includes(name));
  assert.equal(call.method, 'POST');
  assert.equal(call.headers['content-type'], 'application/json');
  assert.equal(call.headers['x-pusher-key'], APP.key);
  assert.equal(call.headers['x-pusher-signature'], webhookSignature(APP.secret, call.body));
  const body = JSON.parse(call.body);
  assert.deepEqual(Object.keys(body).sort(), ['events', 'time_ms']);
  assert.deepEqual(body.events, [{ name: 'channel_occupied', channel: name }]);
  assert.ok(Math.abs(body.time_ms - started) < WAIT_MS);
});

fanwireTest('trap 22: the npm library takes every call', async () => {
  await joined(channel('presence-v'), { user: { user_id: 'ü"\\' } });
  const sdk = (one) => new BackEnd({ appId: one.id, key: one.key, secret: one.secret });
  await eventually(() => app.requests.length > 3, 'calls');
  for (const { path, headers, body } of app.requests) {
    const hook = sdk(path === '/other' ? OTHER : path === '/counting' ? COUNTING : APP).webhook({ headers, rawBody: body });
    assert.equal(hook.isValid(), true, `${path} ${body}`);
    assert.ok(hook.getEvents().length >= 1);
  }
});

fanwireTest('channel_occupied: with the first subscriber of any protocol, not with the second', async () => {
  const name = channel();
  const peers = [await joined(name), await joined(name), await joined(name)];
  assert.deepEqual((await settled('/each', name)).map((event) => event.name), ['channel_occupied']);
  peers[0].drop();
  peers[1].drop();
  await subscriptions(server, name, 1);
  assert.equal((await settled('/each', name)).length, 1);
});

fanwireTest('publishing occupies nothing', async () => {
  const name = channel();
  await trigger(server, name, 'e');
  assert.deepEqual(await settled('/each', name), []);
});

fanwireTest('member_added: the first socket of a user, with the id as a string', async () => {
  const name = channel('presence-m');
  await joined(name, { channelData: '{"user_id":7}' });
  await joined(name, { channelData: '{"user_id":"7"}' });
  await joined(name, { user: { user_id: 'b' } });
  const events = (await settled('/each', name)).filter((event) => event.name === 'member_added');
  assert.deepEqual(events, ['7', 'b'].map((user_id) => ({ name: 'member_added', channel: name, user_id })));
});

fanwireTest('client_event: name, data as a string, the socket, the user on presence channels only', async () => {
  const [secret, room] = [channel('private-e'), channel('presence-e')];
  const sender = await joined(secret);
  await sender.subscribe(room, { user: { user_id: 'u' } });
  sender.send('client-a', { a: [1] }, secret);
  sender.send('client-b', 'text', room);
  await eventually(() => names('/each', room).includes('client_event') && names('/each', secret).includes('client_event'), 'both');
  const of = (name) => told('/each', name).filter((event) => event.name === 'client_event');
  assert.deepEqual(of(secret), [{ name: 'client_event', channel: secret, event: 'client-a', data: '{"a":[1]}', socket_id: sender.id }]);
  assert.deepEqual(of(room), [{ name: 'client_event', channel: room, event: 'client-b', data: 'text', socket_id: sender.id, user_id: 'u' }]);
});

fanwireTest('client_event: none for what was refused, none for events of the back end', async () => {
  const name = channel('private-n');
  const sender = await joined(name);
  sender.send('client-big', 'x'.repeat(10_241), name);
  sender.send('other', {}, name);
  await trigger(server, name, 'client-from-back-end');
  await sender.ping();
  assert.deepEqual((await settled('/each', name)).map((event) => event.name), ['channel_occupied']);
});

fanwireTest('cache_miss: once for as long as the channel stays empty', async () => {
  const name = channel('cache-h');
  await joined(name);
  await joined(name);
  assert.deepEqual((await settled('/each', name)).map((event) => event.name).sort(), ['cache_miss', 'channel_occupied']);
  assert.deepEqual(told('/each', name).find((event) => event.name === 'cache_miss'), { name: 'cache_miss', channel: name });
  await trigger(server, name, 'kept', '1');
  await joined(name);
  assert.equal((await settled('/each', name)).length, 2);
});

fanwireTest('subscription_count, for apps that have it on', async () => {
  const name = channel();
  const one = await joined(name, {}, { app: COUNTING });
  const two = await joined(name, {}, { app: COUNTING });
  two.drop();
  const events = await arrive('/counting', name, 3);
  assert.deepEqual(events, [1, 2, 1].map((subscription_count) => ({ name: 'subscription_count', channel: name, subscription_count })));
  one.drop();
});

fanwireTest('filters: kinds, beginnings and ends of names; apps apart', async () => {
  const [a, b, room] = [channel('private-f'), `${channel('f')}-end`, channel('presence-f')];
  await joined(a);
  await joined(b);
  await joined(room, { user: { user_id: 'u' } });
  const theirs = channel('private-theirs');
  await joined(theirs, {}, { app: OTHER });
  await arrive('/prefix', a, 1);
  await arrive('/suffix', b, 1);
  await arrive('/members', room, 1);
  await arrive('/other', theirs, 1);
  await settled('/each', a);
  assert.deepEqual(names('/members', room), ['member_added']);
  for (const [path, name] of [['/prefix', b], ['/prefix', room], ['/suffix', a], ['/members', a], ['/other', a], ['/each', theirs], ['/prefix', theirs]]) {
    assert.deepEqual(told(path, name), [], `${path} ${name}`);
  }
});

fanwireTest('one event per call, or several', async () => {
  const list = Array.from({ length: 60 }, (_, i) => channel(`many${i}`));
  const peer = await Peer.open(server);
  await Promise.all(list.map((name) => peer.subscribe(name)));
  for (const name of list) {
    await arrive('/each', name, 1);
    await arrive('/batch', name, 1);
  }
  const calls = (path) => app.requests.filter((request) => request.path === path).map((request) => JSON.parse(request.body).events.length);
  assert.ok(calls('/each').every((length) => length === 1));
  assert.ok(Math.max(...calls('/batch')) > 1);
  peer.drop();
});

fanwireTest('what the dialect keeps for itself is nobody\'s business', async () => {
  const id = channel('u');
  const peer = await Peer.open(server);
  await peer.signin({ id, watchlist: [channel('w')] });
  await settled('/each', id);
  assert.deepEqual(app.requests.filter((request) => request.body.includes(id)), []);
});

fanwireTest('any 2xx is enough; anything else comes again, the same event, and those behind it wait', async () => {
  const hint = channel('flaky');
  let refusals = 0;
  const statuses = [];
  app.answer = (request) => {
    if (request.path !== '/flaky') return { status: 204 };
    const status = refusals++ < 2 ? [500, 302][refusals - 1] : 201;
    statuses.push([status, JSON.parse(request.body).events[0].channel]);
    return { status };
  };
  for (let i = 0; i < 3; i += 1) await joined(`${hint}-${i}`);
  await eventually(() => statuses.filter(([status]) => status === 201).length >= 3, 'all three', 30_000);
  assert.deepEqual(statuses, [[500, `${hint}-0`], [302, `${hint}-0`], ...[0, 1, 2].map((i) => [201, `${hint}-${i}`])]);
  app.answer = () => ({ status: 200 });
});

fanwireTest('an endpoint that does not answer holds up neither others nor publishers', async () => {
  const hint = channel('slow');
  let release;
  const held = new Promise((resolve) => (release = resolve));
  app.answer = async (request) => {
    if (request.path === '/slow') await held;
    return { status: 200 };
  };
  const peers = [];
  for (let i = 0; i < 5; i += 1) peers.push(await joined(`${hint}-${i}`));
  for (let i = 0; i < 5; i += 1) {
    await arrive('/each', `${hint}-${i}`, 1);
    await trigger(server, `${hint}-${i}`, 'e', '1');
    await peers[i].event('e');
  }
  release();
  for (let i = 0; i < 5; i += 1) await arrive('/slow', `${hint}-${i}`, 1);
  app.answer = () => ({ status: 200 });
});

test('what is told late, all cases at the same time', { skip: TARGET !== 'fanwire', concurrency: true }, async (t) => {
  const all = [];
  const late = (name, fn) => all.push(t.test(name, fn));
  const LATE_MS = GRACE_MS + WAIT_MS;

  late('channel_vacated comes after the grace time, once', async () => {
    const name = channel('vacated');
    const peers = [await joined(name), await joined(name)];
    const started = performance.now();
    for (const peer of peers) peer.drop();
    const events = await arrive('/each', name, 2, LATE_MS);
    assert.deepEqual(events, [{ name: 'channel_occupied', channel: name }, { name: 'channel_vacated', channel: name }]);
    assert.ok(performance.now() - started >= GRACE_MS - 200);
    await sleep(500);
    assert.equal(told('/each', name).length, 2);
  });

  late('a client that is back in time: neither vacated nor occupied nor member events', async () => {
    const name = channel('presence-back');
    const user = { user: { user_id: 'u' } };
    let peer = await joined(name, user);
    for (let i = 0; i < 3; i += 1) {
      peer.drop();
      await subscriptions(server, name, 0);
      peer = await joined(name, user);
    }
    await sleep(GRACE_MS + 500);
    assert.deepEqual(names('/each', name).sort(), ['channel_occupied', 'member_added']);
  });

  late('member_removed: with the last socket of the user, late, and the channel goes on', async () => {
    const name = channel('presence-gone');
    await joined(name, { user: { user_id: 'stays' } });
    const sockets = [await joined(name, { user: { user_id: 'goes' } }), await joined(name, { user: { user_id: 'goes' } })];
    sockets[0].drop();
    await sleep(200);
    const started = performance.now();
    sockets[1].send('pusher:unsubscribe', { channel: name });
    await usersAre(server, name, ['stays']);
    const events = await eventually(() => names('/members', name).includes('member_removed') && told('/members', name), 'member_removed', LATE_MS);
    assert.ok(performance.now() - started >= GRACE_MS - 200);
    assert.deepEqual(events.at(-1), { name: 'member_removed', channel: name, user_id: 'goes' });
    assert.equal(events.length, 3);
    assert.deepEqual(names('/each', name).filter((event) => event === 'channel_vacated'), []);
  });

  late('one user comes back as another goes', async () => {
    const name = channel('presence-mixed');
    const [one, two] = [await joined(name, { user: { user_id: 'one' } }), await joined(name, { user: { user_id: 'two' } })];
    one.drop();
    two.drop();
    await subscriptions(server, name, 0);
    await joined(name, { user: { user_id: 'one' } });
    const events = await eventually(() => names('/each', name).includes('member_removed') && told('/each', name), 'member_removed', LATE_MS);
    assert.deepEqual(events.filter((event) => event.name === 'member_removed').map((event) => event.user_id), ['two']);
    assert.deepEqual(events.filter((event) => event.name === 'member_added').map((event) => event.user_id).sort(), ['one', 'two']);
    assert.deepEqual(events.filter((event) => event.name === 'channel_vacated'), []);
  });

  late('a channel that was vacated and told may be occupied again', async () => {
    const name = channel('cache-cycle');
    (await joined(name)).drop();
    await eventually(() => names('/each', name).includes('channel_vacated'), 'vacated', LATE_MS);
    await joined(name);
    await eventually(() => names('/each', name).filter((event) => event === 'channel_occupied').length === 2, 'occupied again', LATE_MS);
  });

  await Promise.all(all);
});
