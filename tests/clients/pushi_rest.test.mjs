// Pushi's HTTP interface (pushi.md sections 9 and 11): sessions, events, registrations, both generations.
import assert from 'node:assert/strict';
import { APP, Client, OTHER, Rest, channel, pushiTest, receiver, sign, usePushi } from '../support/pushi.mjs';
import { eventually } from '../support/server.mjs';

const node = usePushi({ shards: 3 });
const login = ({ id, key, secret }) => ({ app_id: id, app_key: key, app_secret: secret });
const SUCCESS = { result: 'success' };

pushiTest('login: a token, a cookie, and what is wrong with the parameters', async () => {
  const rest = new Rest(node);
  const { status, json, headers } = await rest.call('GET', '/login', undefined, login(APP));
  assert.equal(status, 200);
  assert.match(headers['set-cookie'][0], new RegExp(`^sid=${json.token};lang=en;path=/;expires=.* GMT;$`));
  const again = await rest.call('GET', '/login', undefined, login(APP));
  assert.notEqual(again.json.token, json.token);
  for (const wrong of [{ app_id: 'x' }, { app_key: OTHER.key }, { app_secret: OTHER.secret }, { app_secret: '' }]) {
    const error = await rest.refused(404, 'GET', '/login', undefined, { ...login(APP), ...wrong });
    assert.equal(error.name, 'NotFoundError');
  }
  for (const missing of ['app_id', 'app_key', 'app_secret']) {
    const query = login(APP);
    delete query[missing];
    assert.equal((await rest.refused(500, 'GET', '/login', undefined, query)).name, 'TypeError');
  }
});

pushiTest('trap 12: without a session the answer is 403, whichever shard is asked', async () => {
  const rest = new Rest(node);
  for (const sid of [undefined, '', 'x', 'f'.repeat(64), '0'.repeat(64)]) {
    const error = await rest.refused(403, 'GET', '/subscriptions', undefined, sid === undefined ? {} : { sid });
    assert.equal(error.message, 'User not authenticated');
  }
  const { sid } = await Rest.login(node);
  const all = await Promise.all(Array.from({ length: 30 }, () => rest.call('GET', '/subscriptions', undefined, { sid })));
  assert.ok(all.every(({ status }) => status === 200));
});

pushiTest('a token comes in the query under three names, in a cookie, in a header', async () => {
  const { sid } = await Rest.login(node);
  const rest = new Rest(node);
  for (const [query, headers] of [
    [{ sid }, {}],
    [{ session_id: sid }, {}],
    [{ _sid: sid }, {}],
    [{}, { Cookie: `lang=en; sid=${sid}` }],
    [{}, { 'X-Session-Id': sid }],
  ]) {
    assert.equal((await rest.call('GET', '/apps', undefined, query, headers)).status, 200, JSON.stringify([query, headers]));
  }
});

pushiTest('logout ends the session, and works without one', async () => {
  const rest = await Rest.login(node);
  assert.deepEqual(await rest.ok('GET', '/logout'), SUCCESS);
  assert.equal((await rest.call('GET', '/apps')).status, 403);
  assert.deepEqual(await rest.ok('GET', '/logout'), SUCCESS);
  assert.deepEqual(await new Rest(node).ok('GET', '/logout'), SUCCESS);
});

pushiTest('sessions of one app stand beside each other', async () => {
  const all = [];
  for (let n = 0; n < 40; n += 1) all.push(await Rest.login(node, OTHER));
  for (const rest of all) assert.equal((await rest.call('GET', '/apps')).status, 200);
});

pushiTest('trap 13: apps are shown, not made, and keep their settings', async () => {
  const rest = await Rest.login(node);
  const { apps } = await rest.ok('GET', '/apps');
  assert.equal(apps.length, 1);
  for (const [field, value] of [['ident', APP.id], ['key', APP.key], ['secret', APP.secret], ['instance', APP.id]]) {
    assert.equal(apps[0][field], value);
  }
  assert.deepEqual(await rest.ok('GET', `/apps/${APP.id}`), apps[0]);
  await rest.refused(404, 'GET', `/apps/${OTHER.id}`);
  await rest.refused(404, 'GET', '/apps/ping');
  const { status, text, headers } = await rest.call('PUT', `/apps/${APP.id}`, { name: 'x' });
  assert.deepEqual([status, text], [200, APP.id]);
  assert.match(headers['content-type'], /^text\/plain/);
  await new Rest(node).refused(403, 'POST', '/apps', { name: 'demo' });
});

pushiTest('trap 17: events are published and listed, with what the body has beside', async () => {
  const rest = await Rest.login(node);
  const client = await Client.connect(node);
  const name = channel();
  await client.subscribe(name);
  assert.deepEqual(await rest.publish({ data: { a: 1 }, event: 'evt', channel: name, persist: true, extra: [5], 'q"': 'x' }), SUCCESS);
  const { mid, timestamp } = await client.event({ channel: name, event: 'evt', data: '{"a":1}', persist: true, extra: [5], 'q"': 'x' });
  await rest.publish({ data: 'plain', channel: name, persist: false });
  await client.event({ channel: name, event: 'message', data: 'plain', persist: false }, false);
  const [stored] = (await rest.ok('GET', '/events', undefined, { count: 1 })).events;
  assert.match(stored._id, /^[0-9a-f]{24}$/);
  assert.deepEqual([stored.mid, stored.timestamp, stored.owner_id, stored.channel], [mid, timestamp, null, name]);
  assert.deepEqual(stored.data, { event: 'evt', channel: name, data: '{"a":1}', persist: true, extra: [5], 'q"': 'x' });
  const [again] = (await client.latest(name)).events;
  assert.deepEqual([again.mid, again.data], [mid, stored.data]);
  await client.subscribe('global');
  await rest.publish({ data: 'x' });
  await client.event({ channel: 'global', event: 'message', data: 'x' });
});

pushiTest('bodies without data are 500, as are id and time of an event that is kept', async () => {
  const rest = await Rest.login(node);
  for (const data of ['', 0, false, null, {}, []]) {
    const error = await rest.refused(500, 'POST', '/events', { data });
    assert.deepEqual([error.name, error.message], ['RuntimeError', 'No data set for event']);
  }
  for (const body of ['data=x&channel=c', 'no json', '', '{}']) await rest.refused(500, 'POST', '/events', body);
  await rest.refused(500, 'POST', '/events', { data: 'x', mid: 'y' });
  await rest.refused(400, 'POST', '/events', { data: 'x', channel: Array.from({ length: 101 }, (_, n) => `c${n}`) });
});

pushiTest('trap 19: of an event for many channels each socket gets one, by the first it is in', async () => {
  const rest = await Rest.login(node);
  const [a, b, c] = [channel(), channel('private-'), channel('presence-')];
  const [all, two, last] = await Promise.all([1, 2, 3].map(() => Client.connect(node)));
  for (const name of [c, b, a]) await all.subscribe(name, { user_id: 'all' });
  for (const name of [b, c]) await two.subscribe(name);
  await last.subscribe(c, { user_id: 'last' });
  await all.frame(); // the other member
  const mids = {};
  for (let n = 0; n < 20; n += 1) {
    await rest.publish({ data: `${n}`, channel: [a, b, c] });
    mids.a = (await all.event({ channel: a, event: 'message', data: `${n}` })).mid;
    mids.b = (await two.event({ channel: b, event: 'message', data: `${n}` })).mid;
    mids.c = (await last.event({ channel: c, event: 'message', data: `${n}` })).mid;
  }
  for (const client of [all, two, last]) await client.quiet();
  assert.equal(new Set(Object.values(mids)).size, 3, 'each channel has an event of its own');
  assert.equal((await last.latest(c, { count: 100 })).events.length, 20);
  await all.unsubscribe(a);
  await rest.publish({ data: 'x', channel: [a, b, c, b] });
  await all.event({ channel: b, event: 'message', data: 'x' });
  await all.quiet();
});

pushiTest('subscriptions of users: made once, listed, removed', async () => {
  const rest = await Rest.login(node);
  const [news, sport] = [channel(), channel()];
  const who = `u-${news}`;
  const made = await rest.ok('POST', '/subscriptions', { user_id: who, event: news });
  for (const field of ['id', '_id', 'created', 'modified', 'enabled', 'description', 'meta']) assert.ok(field in made, field);
  assert.deepEqual([made.user_id, made.event, made.instance], [who, news, APP.id]);
  assert.deepEqual(await rest.ok('POST', '/subscriptions', { user_id: who, event: news }), made);
  await rest.ok('POST', '/subscriptions', { user_id: who, event: sport });
  const events = async (query) => (await rest.ok('GET', '/subscriptions', undefined, query)).subscriptions.map((s) => s.event);
  assert.deepEqual(await events({ user_id: who }), [news, sport]);
  assert.deepEqual(await events({ event: sport }), [sport]);
  assert.deepEqual(await events({ user_id: who, event: 'x' }), []);
  const other = await Rest.login(node, OTHER);
  assert.deepEqual((await other.ok('GET', '/subscriptions', undefined, { user_id: who })).subscriptions, []);
  assert.deepEqual(await rest.ok('DELETE', `/subscriptions/${who}/${news}`), made);
  assert.deepEqual(await rest.ok('DELETE', `/subscriptions/${who}/${news}`), SUCCESS);
  await rest.refused(404, 'DELETE', `/subscriptions/${who}/${news}`, undefined, { force: 1 });
  for (const body of [{ user_id: who }, { event: news }, { user_id: '', event: news }]) {
    const error = await rest.refused(400, 'POST', '/subscriptions', body);
    assert.equal(error.name, 'ValidationError');
    assert.deepEqual(error.errors, error.meta.errors);
  }
  assert.deepEqual((await rest.refused(400, 'POST', '/subscriptions', { user_id: '' })).errors, {
    user_id: ['value is empty'],
    event: ['value is not set'],
  });
});

pushiTest('the channels of a connection, wherever it lives', async () => {
  const rest = await Rest.login(node);
  const clients = await Promise.all(Array.from({ length: 8 }, () => Client.connect(node)));
  for (const [n, client] of clients.entries()) {
    const names = [`${channel()}-${n}`, channel('private-')];
    for (const name of names) await client.subscribe(name);
    assert.deepEqual(await rest.ok('POST', `/sockets/${client.id}`), { channels: names });
    assert.deepEqual(await (await Rest.login(node, OTHER)).ok('POST', `/sockets/${client.id}`), { channels: [] });
  }
  await clients[0].close();
  for (const id of [clients[0].id, 'x', '1.2', '8e0d03b9-a87a-46f0-bc4a-ec35954836a0']) {
    assert.deepEqual(await rest.ok('POST', `/sockets/${id}`), { channels: [] }, id);
  }
  await rest.refused(500, 'GET', '/sockets');
  assert.equal((await new Rest(node).call('POST', `/sockets/${clients[1].id}`)).status, 403);
});

pushiTest('web hooks get every event of their channel, once, whoever sends it', async () => {
  const rest = await Rest.login(node);
  const hooks = await receiver();
  try {
    const name = channel();
    const who = `u-${name}`;
    await rest.ok('POST', '/subscriptions', { user_id: who, event: name });
    const made = await rest.ok('POST', '/webs', { url: hooks.url('/channel'), event: name });
    assert.deepEqual([made.url, made.event], [hooks.url('/channel'), name]);
    const personal = { url: hooks.url('/personal'), event: `personal-${who}` };
    await rest.refused(500, 'POST', '/webs', personal);
    await rest.ok('POST', '/webs', personal, { auth: sign(APP, personal.url, personal.event) });
    await rest.publish({ data: { a: 1 }, channel: name, persist: true });
    await eventually(() => hooks.calls.length === 2, 'both hooks');
    assert.deepEqual(hooks.calls.map((call) => call.url).sort(), ['/channel', '/personal']);
    for (const { method, headers, json } of hooks.calls) {
      assert.deepEqual([method, headers['content-type']], ['POST', 'application/json']);
      const { mid, timestamp, ...envelope } = json;
      assert.deepEqual(envelope, { data: '{"a":1}', event: 'message', channel: name, persist: true });
      assert.ok(mid && timestamp);
    }
    hooks.calls.length = 0;
    const client = await Client.connect(node);
    await client.subscribe(name);
    client.send('typing', 'x', { channel: name, persist: false });
    client.socket.close();
    await eventually(() => hooks.calls.length === 2, 'both hooks once more');
    assert.deepEqual(hooks.calls[0].json, { data: 'x', event: 'typing', channel: name });
    // Several channels, one call.
    hooks.calls.length = 0;
    const second = channel();
    await rest.ok('POST', '/webs', { url: hooks.url('/channel'), event: second });
    await rest.publish({ data: 'many', channel: [second, name] });
    await eventually(() => hooks.calls.length === 2, 'each URL once');
    assert.deepEqual(hooks.calls.map(({ url, json }) => [url, json.channel]).sort(), [['/channel', second], ['/personal', name]]);
    // A new hook may take the place of one of the same URL.
    const third = channel();
    await rest.ok('POST', '/webs', { url: hooks.url('/channel'), event: third }, { unsubscribe: 'True' });
    const { subscriptions } = await rest.ok('GET', '/webs', undefined, { url: hooks.url('/channel') });
    assert.deepEqual(subscriptions.map((hook) => hook.event), [second, third]);
    const encoded = encodeURIComponent(hooks.url('/channel'));
    assert.equal((await rest.ok('DELETE', `/webs/${encoded}/${second}`)).event, second);
    await rest.refused(500, 'DELETE', `/webs/${encoded}/${second}`);
    assert.deepEqual((await rest.ok('DELETE', '/webs/nothing')).subscriptions, []);
  } finally {
    hooks.close();
  }
});

pushiTest('a receiver of web hooks that hangs or fails holds up nobody', async () => {
  const rest = await Rest.login(node);
  const hooks = await receiver(() => new Promise(() => {}));
  try {
    const name = channel();
    await rest.ok('POST', '/webs', { url: hooks.url('/hangs'), event: name });
    await rest.ok('POST', '/webs', { url: 'http://127.0.0.1:1/', event: name });
    await rest.ok('POST', '/webs', { url: 'https://not.possible/', event: name });
    const begun = Date.now();
    for (let n = 0; n < 50; n += 1) await rest.publish({ data: `${n}`, channel: name });
    assert.ok(Date.now() - begun < 5000);
  } finally {
    hooks.close();
  }
});

pushiTest('devices, mail addresses and browsers are registered as recorded, and not delivered to', async () => {
  const rest = await Rest.login(node);
  const name = channel();
  for (const [path, field, subject, more] of [
    ['/apns', 'token', 'abc', {}],
    ['/smtps', 'email', 'a@b.example', {}],
    ['/web_pushes', 'endpoint', 'https://push.example/x', { p256dh: 'k', auth: 'a' }],
  ]) {
    const made = await rest.ok('POST', path, { [field]: subject, event: name, ...more });
    assert.deepEqual([made[field], made.event, made.p256dh], [subject, name, more.p256dh]);
    assert.deepEqual((await rest.ok('GET', path, undefined, { [field]: subject })).subscriptions, [made]);
  }
  await rest.publish({ data: 'x', channel: name });
  await eventually(() => ['pushi_apn', 'pushi_smtp', 'pushi_web_push'].every((label) => node.stderr().includes(label)), 'reasons in the log');
  assert.equal((await rest.ok('DELETE', `/apns/abc/${name}`)).token, 'abc');
  await rest.refused(500, 'DELETE', `/apns/abc/${name}`);
  await rest.refused(500, 'DELETE', `/smtps/nobody/${name}`);
  const endpoint = encodeURIComponent('https://push.example/x');
  assert.equal((await rest.ok('DELETE', `/web_pushes/${endpoint}`, undefined, { event: name })).event, name);
  assert.deepEqual(await rest.ok('DELETE', `/web_pushes/${endpoint}`, undefined, { event: name }), SUCCESS);
  await new Rest(node).refused(500, 'GET', '/vapid_key');
});

pushiTest('messaging: web hooks are called, the others are refused by name', async () => {
  const rest = await Rest.login(node);
  const hooks = await receiver();
  try {
    const urls = [hooks.url('/m')];
    const answer = await rest.ok('POST', '/messaging/send', { adapters: ['webhook', 'bogus', 'email'], data: { a: 1 }, webhook_urls: urls });
    assert.deepEqual(answer.webhook, { success: true, urls, method: 'POST' });
    assert.deepEqual(answer.bogus, { success: false, error: 'Unknown adapter: bogus' });
    assert.equal(answer.email.success, false);
    await eventually(() => hooks.calls.length === 1, 'the call');
    assert.deepEqual(hooks.calls[0].json, { a: 1 });
    await rest.ok('POST', '/messaging/webhook', { url: urls[0], data: 'x', headers: { 'X-Own': 'y' }, method: 'POST' });
    await eventually(() => hooks.calls.length === 2, 'the second call');
    assert.equal(hooks.calls[1].headers['x-own'], 'y');
    await rest.refused(500, 'POST', '/messaging/apn', { data: 'x' });
    assert.equal((await rest.call('POST', '/messaging/bogus', {})).status, 404);
  } finally {
    hooks.close();
  }
});

pushiTest('health and what is not there', async () => {
  const rest = new Rest(node);
  assert.deepEqual(await rest.ok('GET', '/health'), { status: 'ok', service: 'pushi', version: '0.6.10' });
  assert.equal((await rest.ok('GET', '/health/detailed')).checks.websocket.status, 'ok');
  for (const path of ['/login/', '/subscribe', '/health/x']) assert.equal((await rest.call('GET', path)).status, 404, path);
});

pushiTest('trap 18: origins are echoed and credentials allowed', async () => {
  const rest = await Rest.login(node);
  const asked = (method, path, headers) => rest.call(method, path, undefined, {}, headers);
  const { headers } = await asked('GET', '/apps', { Origin: 'http://page.example' });
  assert.equal(headers['access-control-allow-origin'], 'http://page.example');
  assert.equal(headers['access-control-allow-credentials'], 'true');
  assert.equal((await asked('GET', '/apps', {})).headers['access-control-allow-origin'], '*');
  const preflight = await asked('OPTIONS', '/web_pushes', { Origin: 'http://page.example', 'Access-Control-Request-Method': 'POST' });
  assert.equal(preflight.status, 204);
  assert.match(preflight.headers['access-control-allow-headers'], /Content-Type/);
});

pushiTest('the old generation: paths below the app, answers without objects', async () => {
  const rest = await Rest.login(node);
  const base = `/apps/${APP.id}`;
  const name = channel();
  const who = `u-${name}`;
  const pair = { user_id: who, event: name };
  assert.deepEqual(await rest.ok('GET', `${base}/subscribe`, undefined, pair), SUCCESS);
  const list = await rest.ok('GET', `${base}/subscriptions`, undefined, { user_id: who });
  assert.deepEqual(list.subscriptions.map((s) => [s.user_id, s.event]), [[who, name]]);
  const client = await Client.connect(node);
  assert.deepEqual((await client.subscribe(`personal-${who}`)).alias, [name]);
  assert.deepEqual(await rest.ok('POST', `${base}/events`, { data: 'old', channel: name, event: 'message' }), SUCCESS);
  await client.event({ channel: name, event: 'message', data: 'old' });
  assert.equal((await rest.ok('GET', `${base}/events`, undefined, { count: 1 })).events[0].data.data, 'old');
  assert.deepEqual(await rest.ok('GET', `${base}/unsubscribe`, undefined, pair), SUCCESS);
  assert.deepEqual(await rest.ok('GET', `${base}/unsubscribe`, undefined, pair), SUCCESS);
  assert.deepEqual((await rest.ok('GET', `${base}/subscriptions`, undefined, { user_id: who })).subscriptions, []);
  for (const kind of ['web', 'apn']) {
    const subject = kind === 'web' ? { url: 'http://127.0.0.1:1/', event: name } : { token: 't', event: name };
    assert.deepEqual(await rest.ok('GET', `${base}/subscribe_${kind}`, undefined, subject), SUCCESS);
    assert.deepEqual(await rest.ok('GET', `${base}/unsubscribe_${kind}`, undefined, subject), SUCCESS);
  }
  assert.deepEqual(await rest.ok('GET', `${base}/sockets/${client.id}`), { channels: [name] });
  assert.deepEqual(await rest.ok('GET', `${base}/ping`), SUCCESS);
  await rest.refused(500, 'GET', `/apps/${OTHER.id}/subscribe`, undefined, pair);
  // The same path without a token is Pusher's.
  assert.equal((await new Rest(node).call('POST', `${base}/events`, { data: 'x' })).status, 401);
});
