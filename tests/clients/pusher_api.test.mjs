// Publishing over HTTP: what is signed, what is refused and with which status (pusher.md, section 11).
import assert from 'node:assert/strict';
import { APP, OTHER, api, channelInfo, fanwireTest, md5, pusherTest, signedTarget, subscriptions, trigger, usePusher } from '../support/pusher.mjs';
import { Conn, http } from '../support/raw.mjs';
import { channel } from '../support/server.mjs';
import { Peer } from './pusher_env.mjs';

const server = usePusher();
const two = usePusher({ apps: [APP, OTHER, { id: 'off', key: 'off-key', secret: 'off-secret', enabled: false }] });
const event = (extra = {}) => ({ name: 'e', data: '{}', channels: [channel()], ...extra });
const post = (body, options = {}) => api(options.server ?? server, 'POST', '/events', { body, ...options });

/** A refusal: this status and a line of plain text. */
function refused(answer, status, words = /./) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.header('Content-Type') ?? '', /^text\/plain|^application\/json/);
  assert.match(answer.text, words);
}

async function listener(name = channel()) {
  const peer = await Peer.open(server);
  await peer.subscribe(name);
  return { peer, name };
}

fanwireTest('trap 20: the answer is 200 with {} as JSON, on a connection that is kept', async () => {
  const conn = await Conn.open(server);
  for (let i = 0; i < 3; i += 1) {
    const body = JSON.stringify(event());
    conn.request('POST', signedTarget('POST', `/apps/${APP.id}/events`, { body }), { headers: { 'Content-Type': 'application/json' }, body });
    const answer = await conn.response();
    assert.deepEqual([answer.status, answer.text, answer.header('Content-Type')], [200, '{}', 'application/json']);
    assert.doesNotMatch(answer.header('Connection') ?? '', /close/i);
  }
  conn.destroy();
});

pusherTest('one channel as `channel`, several as `channels`', async () => {
  const { peer, name } = await listener();
  const second = channel();
  await peer.subscribe(second);
  assert.equal((await post({ name: 'one', data: '1', channel: name })).status, 200);
  await peer.event('one', name);
  assert.equal((await post({ name: 'both', data: '1', channels: [name, second] })).status, 200);
  await peer.event('both', name);
  await peer.event('both', second);
});

fanwireTest('a channel that is listed twice gets it once', async () => {
  const { peer, name } = await listener();
  await trigger(server, [name, name, name], 'e', '1');
  await peer.event('e');
  assert.deepEqual(await peer.before(server, name), []);
});

pusherTest('socket_id excludes that socket on every channel, and only it', async () => {
  const { peer, name } = await listener();
  const other = await Peer.open(server);
  const second = channel('private-s');
  await peer.subscribe(second);
  await other.subscribe(name);
  await other.subscribe(second);
  await trigger(server, [name, second], 'e', '1', { socket_id: peer.id });
  await other.event('e', name);
  await other.event('e', second);
  assert.deepEqual(await peer.before(server, name), []);
  assert.deepEqual(await peer.before(server, second), []);
});

pusherTest('trap 19: a socket_id that nobody has: all get it', async () => {
  const { peer, name } = await listener();
  for (const socket_id of ['1.1', '0.0', '99999999999999999999.99999999999999999999', `0${peer.id}`, '']) {
    await trigger(server, name, 'e', '1', { socket_id });
    await peer.event('e');
  }
});

fanwireTest('a socket_id that is none is refused with 400', async () => {
  for (const socket_id of ['x', '1', '1.', '.1', '1.2.3', '1.a', ' 1.1', '-1.1', 5, {}]) refused(await post(event({ socket_id })), 400);
});

fanwireTest('trap 21: 10240 bytes of data pass, one more is 413 with the words of the hosted service', async () => {
  const words = 'The data content of this event exceeds the allowed maximum (10240 bytes).';
  const { peer, name } = await listener();
  for (const data of ['x'.repeat(10_240), 'é'.repeat(5120), '"'.repeat(10_240), '\u0000'.repeat(10_240)]) {
    const answer = await post({ name: 'big', data, channels: [name] });
    assert.equal(answer.status, 200, answer.text);
    assert.equal((await peer.event('big')).data, data);
  }
  for (const data of ['x'.repeat(10_241), 'é'.repeat(5121)]) {
    const answer = await post(event({ data }));
    assert.deepEqual([answer.status, answer.text.trim()], [413, words]);
  }
  const names = Array.from({ length: 100 }, (_, i) => `${channel('n')}-${'y'.repeat(150)}-${i}`);
  assert.equal((await post({ name: 'wide', data: 'z'.repeat(10_000), channels: names })).status, 200);
});

pusherTest('100 channels pass, 101 are 400', async () => {
  const names = Array.from({ length: 101 }, () => channel());
  const { peer } = await listener(names[99]);
  assert.equal((await post(event({ channels: names.slice(0, 100) }))).status, 200);
  await peer.event('e');
  refused(await post(event({ channels: names })), 400);
});

pusherTest('an event name of 200 characters passes, 201 are 400', async () => {
  const { peer, name } = await listener();
  for (const longest of ['n'.repeat(200), 'é'.repeat(200)]) {
    await trigger(server, name, longest, '1');
    await peer.event(longest);
  }
  refused(await post(event({ name: 'n'.repeat(201) })), 400);
});

const BAD = [
  ['no name', { name: undefined }], ['an empty name', { name: '' }], ['a number as name', { name: 1 }], ['null as name', { name: null }],
  ['no data', { data: undefined }], ['no channels', { channels: undefined }], ['no channel at all', { channels: [] }],
  ['channels that are none', { channels: 5 }], ['a channel that is a number', { channels: [5] }], ['null in channels', { channels: [null] }],
  ['an empty channel', { channels: [''] }], ['a bad channel', { channels: ['a b'] }], ['a colon', { channels: ['a:b'] }],
  ['a bad channel among good ones', { channels: ['good', 'a/b'] }], ['a long channel', { channels: ['x'.repeat(201)] }], ['an unknown info', { info: 'secret' }],
];
for (const [what, extra] of BAD) {
  fanwireTest(`${what}: 400 in plain text, nothing is published`, async () => {
    const { peer, name } = await listener('good');
    refused(await post(event(extra)), 400);
    assert.deepEqual(await peer.before(server, name), []);
  });
}

for (const body of ['', 'x', '{', '[]', '""', 'null', '5', '{}', '{"name":"e"}', '{"name":"e","data":"1","channels":["a"]} x', '\ufeff{}', '['.repeat(3000), '{"batch":[]}']) {
  fanwireTest(`a body that is ${JSON.stringify(body.slice(0, 50))}: 400`, async () => refused(await post(body), 400));
}

fanwireTest('a body that is not UTF-8: 400', async () => {
  const body = Buffer.concat([Buffer.from('{"name":"e","channels":["a"],"data":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]);
  const target = signedTarget('POST', `/apps/${APP.id}/events`, { body });
  refused(await http(server, 'POST', target, { headers: { 'Content-Type': 'application/json' }, body }), 400);
});

fanwireTest('data that is no string is passed on as its JSON; the empty string is taken', async () => {
  const { peer, name } = await listener();
  for (const [data, arrives] of [[{ a: [1, 'ü'] }, '{"a":[1,"ü"]}'], [[1], '[1]'], [7, '7'], [false, 'false'], ['', ''], [null, 'null']]) {
    const answer = await post({ name: 'e', data, channels: [name] });
    assert.equal(answer.status, 200, answer.text);
    assert.equal((await peer.event('e')).data, arrives);
  }
});

fanwireTest('info: counts of each channel after the publish', async () => {
  const [plain, room] = [channel(), channel('presence-i')];
  const peers = [await Peer.open(server), await Peer.open(server), await Peer.open(server)];
  for (const [at, peer] of peers.entries()) {
    await peer.subscribe(plain);
    await peer.subscribe(room, { user: { user_id: at < 2 ? 'same' : 'other' } });
  }
  const both = await trigger(server, [plain, room], 'e', '1', { info: 'user_count,subscription_count' });
  assert.deepEqual(both, { channels: { [plain]: { subscription_count: 3 }, [room]: { user_count: 2, subscription_count: 3 } } });
  const one = await trigger(server, [room], 'e', '1', { info: 'user_count' });
  assert.deepEqual(one, { channels: { [room]: { user_count: 2 } } });
  const empty = channel();
  assert.deepEqual(await trigger(server, empty, 'e', '1', { info: 'subscription_count' }), { channels: { [empty]: { subscription_count: 0 } } });
});

pusherTest('batch_events: each event goes to its channel, in order', async () => {
  const names = [channel(), channel('private-b')];
  const peer = await Peer.open(server);
  for (const name of names) await peer.subscribe(name);
  const batch = Array.from({ length: 10 }, (_, i) => ({ name: 'b', channel: names[i % 2], data: `${i}` }));
  const answer = await api(server, 'POST', '/batch_events', { body: { batch } });
  assert.equal(answer.status, 200, answer.text);
  for (let i = 0; i < 10; i += 1) assert.equal((await peer.event('b', names[i % 2])).value, i);
});

fanwireTest('batch_events: {} without info; with any, a list in the order of the events', async () => {
  const [name, room] = [channel(), channel('presence-b')];
  const { peer } = await listener(name);
  await peer.subscribe(room, { user: { user_id: 'u' } });
  const send = async (batch) => (await api(server, 'POST', '/batch_events', { body: { batch } })).json;
  assert.deepEqual(await send([{ name: 'b', channel: name, data: '1' }]), {});
  assert.deepEqual(await send([]), {});
  const batch = [
    { name: 'b', channel: name, data: '1' },
    { name: 'b', channel: room, data: '1', info: 'user_count' },
    { name: 'b', channel: name, data: '1', info: 'subscription_count' },
  ];
  assert.deepEqual(await send(batch), { batch: [{}, { user_count: 1 }, { subscription_count: 1 }] });
});

fanwireTest('batch_events: socket_id of each event counts for it alone', async () => {
  const { peer, name } = await listener();
  const batch = [{ name: 'not', channel: name, data: '1', socket_id: peer.id }, { name: 'yes', channel: name, data: '1' }];
  assert.equal((await api(server, 'POST', '/batch_events', { body: { batch } })).status, 200);
  assert.deepEqual((await peer.before(server, name)).map((f) => f.event), ['yes']);
});

fanwireTest('batch_events: 11 events, a bad one among good ones, too much data: nothing is published', async () => {
  const { peer, name } = await listener();
  const good = { name: 'b', channel: name, data: '1' };
  for (const [batch, status] of [
    [Array(11).fill(good), 400],
    [[good, { ...good, channel: 'a b' }], 400],
    [[good, { ...good, name: undefined }], 400],
    [[good, { ...good, data: 'x'.repeat(10_241) }], 413],
    [[good, null], 400],
    [5, 400],
  ]) {
    refused(await api(server, 'POST', '/batch_events', { body: { batch } }), status);
  }
  assert.deepEqual(await peer.before(server, name), []);
});

fanwireTest('the deprecated way: name in the query, data as the body, 202', async () => {
  const { peer, name } = await listener();
  const answer = await api(server, 'POST', `/channels/${name}/events`, { query: { name: 'old' }, body: '{"n":1}' });
  assert.equal(answer.status, 202, answer.text);
  assert.equal((await peer.event('old', name)).data, '{"n":1}');
  await api(server, 'POST', `/channels/${name}/events`, { query: { name: 'old', socket_id: peer.id }, body: '{"n":2}' });
  assert.deepEqual(await peer.before(server, name), []);
});

// Who asks.

fanwireTest('without parameters, or without one of them: 401', async () => {
  const body = JSON.stringify(event());
  refused(await http(server, 'POST', `/apps/${APP.id}/events`, { body }), 401);
  for (const name of ['auth_key', 'auth_timestamp', 'auth_version']) refused(await post(event(), { params: { [name]: undefined } }), 401);
  const [path, query] = signedTarget('POST', `/apps/${APP.id}/events`, { body }).split('?');
  const unsigned = query.split('&').filter((pair) => !pair.startsWith('auth_signature')).join('&');
  refused(await post(body, { target: `${path}?${unsigned}` }), 401);
});

fanwireTest('trap 6: body_md5 must be there and be that of the bytes', async () => {
  const body = JSON.stringify(event());
  refused(await post(body, { params: { body_md5: undefined } }), 401);
  refused(await post(body, { params: { body_md5: md5(`${body} `) } }), 401);
  refused(await post(body, { params: { body_md5: '' } }), 401);
  const target = signedTarget('POST', `/apps/${APP.id}/events`, { body });
  refused(await post(`${body} `, { target }), 401);
  const spaced = `{ "name":"e",\n"data":"\\u00fc", "channels":["${channel()}"] }`;
  assert.equal((await post(spaced)).status, 200, 'over the bytes as they come');
});

pusherTest('a wrong signature: 401', async () => {
  refused(await post(event(), { secret: 'wrong' }), 401);
  refused(await post(event(), { signature: '0'.repeat(64) }), 401);
  refused(await post(event(), { signature: '' }), 401);
  refused(await post(event(), { signature: '%C3%A9' }), 401);
});

fanwireTest('a wrong signature is told with what should have been signed', async () => {
  const body = JSON.stringify(event());
  const answer = await post(body, { signature: 'f'.repeat(64) });
  assert.match(answer.text, /^Invalid signature: you should have sent HmacSHA256Hex\("POST(?:\n|\\n)\/apps\/1\/events(?:\n|\\n)auth_key=dev-key&auth_timestamp=\d+&auth_version=1\.0&body_md5=[0-9a-f]{32}", your_secret_key\), but you sent "f{64}"/);
  assert.doesNotMatch(answer.text, new RegExp(APP.secret));
});

fanwireTest('an unknown key: 401 in the words of the hosted service; an unknown app: 404', async () => {
  const unknown = await post(event(), { app: { ...APP, key: 'nobody' } });
  refused(unknown, 401, /^Unknown auth_key/);
  refused(await post(event(), { app: { ...APP, id: 'nobody' } }), 404);
});

fanwireTest('clock skew: 600 s either way pass, more is 401 with both times', async () => {
  const now = Math.floor(Date.now() / 1000);
  for (const skew of [0, -590, 590]) assert.equal((await post(event(), { params: { auth_timestamp: now + skew } })).status, 200, `${skew}`);
  for (const skew of [-620, 620, -86_400, 1e9]) {
    const answer = await post(event(), { params: { auth_timestamp: now + skew } });
    refused(answer, 401, /^Timestamp expired: Given timestamp \(\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d.*\) not within 600s of server time \(\d{4}-/);
  }
  for (const auth_timestamp of ['', 'x', '-1', '1e9', '99999999999999999999', `${now}.5`]) refused(await post(event(), { params: { auth_timestamp } }), 401);
});

fanwireTest('another auth_version: 401', async () => refused(await post(event(), { params: { auth_version: '2.0' } }), 401));

pusherTest('trap 4: values come raw or with escapes; spaces as + or %20', async () => {
  const query = { filter_by_prefix: 'presence-', info: 'user_count,subscription_count' };
  for (const encode of [String, encodeURIComponent, (v) => String(v).replace(/[,-]/g, (c) => `%${c.charCodeAt(0).toString(16)}`)]) {
    const answer = await api(server, 'GET', '/channels', { query, encode });
    assert.equal(answer.status, 200, answer.text);
  }
});

fanwireTest('trap 4: the path is signed as it is sent, or decoded', async () => {
  const name = 'a=b@c,d;e';
  for (const [sent, signed] of [[name, name], [encodeURIComponent(name), encodeURIComponent(name)], [encodeURIComponent(name), name]]) {
    const where = (part) => `/apps/${APP.id}/channels/${part}`;
    const target = signedTarget('GET', where(sent), { signPath: where(signed) });
    const answer = await api(server, 'GET', '', { target });
    assert.equal(answer.status, 200, `${sent} ${signed}: ${answer.text}`);
  }
});

fanwireTest('trap 5: any order of parameters; names count in lower case; nothing is invented', async () => {
  for (const order of [(names) => [...names].sort(), (names) => [...names].sort().reverse(), (names) => [names.at(-1), ...names.slice(0, -1)]]) {
    assert.equal((await post(event(), { order })).status, 200);
  }
  assert.equal((await api(server, 'GET', '/channels', { query: { Zeta: '1', alpha: '2', 'with-dash': '3', _x: '4' } })).status, 200);
  assert.equal((await api(server, 'GET', '/channels', { query: { 'info[]': 'user_count' } })).status, 200);
});

fanwireTest('trap 3: body_md5 of nothing on a GET is part of what is signed', async () => {
  const body_md5 = 'd41d8cd98f00b204e9800998ecf8427e';
  assert.equal(md5(''), body_md5);
  const answer = await api(server, 'GET', '/channels', { params: { body_md5 }, query: { info: 'subscription_count' }, order: (names) => [...names].sort() });
  assert.equal(answer.status, 200, answer.text);
  refused(await api(server, 'GET', '/channels', { params: { body_md5: md5('x') } }), 401);
});

fanwireTest('trap 7: terminate_connections without an app in the path: the key says which', async () => {
  const id = channel('u');
  const peer = await Peer.open(two, { app: OTHER });
  await peer.signin({ id });
  const mine = await Peer.open(two);
  await mine.signin({ id });
  const answer = await api(two, 'POST', `/users/${id}/terminate_connections`, { app: OTHER, prefix: '', body: {} });
  assert.deepEqual([answer.status, answer.json], [200, {}], answer.text);
  assert.equal((await peer.end()).code, 4009);
  await mine.ping();
  refused(await api(two, 'POST', `/users/${id}/terminate_connections`, { app: { ...OTHER, key: 'nobody' }, prefix: '', body: {} }), 401);
});

fanwireTest('trap 8: the key of one app does not open another, whoever signs', async () => {
  const name = channel();
  const peer = await Peer.open(two);
  await peer.subscribe(name);
  for (const app of [{ ...OTHER, id: APP.id }, { ...APP, id: OTHER.id }, { ...APP, id: APP.id, secret: OTHER.secret }, { ...OTHER, id: APP.id, secret: APP.secret }]) {
    refused(await api(two, 'POST', '/events', { app, body: { name: 'e', data: '1', channels: [name] } }), 401);
  }
  assert.deepEqual(await peer.before(two, name), []);
});

fanwireTest('an app that is switched off: 403', async () => {
  refused(await api(two, 'POST', '/events', { app: { id: 'off', key: 'off-key', secret: 'off-secret' }, body: event() }), 403);
});

fanwireTest('an app id with escapes that it does not need', async () => {
  const answer = await api(server, 'POST', '/events', { prefix: '/apps/%31', body: event() });
  assert.equal(answer.status, 200, answer.text);
});

fanwireTest('other paths and methods: 404 or 405, never published', async () => {
  const { peer, name } = await listener();
  const body = { name: 'e', data: '1', channels: [name] };
  for (const [method, where] of [['POST', '/event'], ['POST', '/events/'], ['POST', '//events'], ['PUT', '/events'], ['DELETE', '/events'], ['POST', '/channels'], ['POST', ''], ['POST', '/events/x'], ['POST', '/channels/x/users']]) {
    const answer = await api(server, method, where, { body });
    assert.ok([404, 405].includes(answer.status), `${method} ${where}: ${answer.status}`);
  }
  assert.deepEqual(await peer.before(server, name), []);
});

fanwireTest('the signature is checked before the body is read: a bad body without one tells nothing', async () => {
  refused(await post('{"name":5', { secret: 'wrong' }), 401);
});

fanwireTest('a body without Content-Type, or with another, is read all the same', async () => {
  for (const type of [undefined, 'text/plain', 'application/json; charset=utf-8', 'application/x-www-form-urlencoded']) {
    assert.equal((await post(event(), { headers: { 'Content-Type': type } })).status, 200, `${type}`);
  }
});

pusherTest('many publishers at once: every event arrives once', async () => {
  const { peer, name } = await listener();
  await Promise.all(Array.from({ length: 100 }, (_, i) => trigger(server, name, 'e', `${i}`)));
  const got = [];
  for (let i = 0; i < 100; i += 1) got.push((await peer.event('e')).value);
  assert.deepEqual(got.sort((a, b) => a - b), [...Array(100).keys()]);
  assert.deepEqual(await peer.before(server, name), []);
  await subscriptions(server, name, 1);
  assert.equal((await channelInfo(server, name)).occupied, true);
});
