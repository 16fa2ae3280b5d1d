// Signatures (pusher.md, section 6): the vectors of the sheet, made by the official libraries too, and what a node
// makes of every way to get them.
import assert from 'node:assert/strict';
import http from 'node:http';
import { APP, api, channelAuth, fanwireTest, md5, pusherTest, signedTarget, trigger, usePusher, userAuth, webhookSignature } from '../support/pusher.mjs';
import { channel } from '../support/server.mjs';
import { BackEnd, Peer, atEnd, backEnd, client, connected, filled, once, record, subscribed } from './pusher_env.mjs';

const DEMO = { id: '4242', key: 'app-key-demo', secret: 'app-secret-demo' };
const DOCS = { id: '3', key: '278d425bdf160c739803', secret: '7ad3773142a6692b25b8' };
const server = usePusher({ apps: [APP, DEMO, DOCS] });

const SOCKET = '1234.1234';
const VECTORS = [
  ['private', channelAuth(SOCKET, 'private-foobar', undefined, DEMO), '10e3b2e2ede64d621489197ed9d55f418f3acbbf29b93359b0beadae944c8d8a'],
  ['presence', channelAuth(SOCKET, 'presence-foobar', '{"user_id":"10","user_info":{"name":"Mr. Channels"}}', DEMO), '79612f46511d7d451bcb5dd44426c817e7da549897802109e6ec78e90ad3befa'],
  ['sign-in', userAuth(SOCKET, '{"id":"12345"}', DEMO), 'c3a4664180f4ab54b040aee1595bed065edb10533df5a01c1ef192fcd5f7d001'],
];
for (const [what, auth, hex] of VECTORS) {
  pusherTest(`section 6: the vector for ${what}`, () => assert.equal(auth, `${DEMO.key}:${hex}`));
}

pusherTest('section 6: the npm library signs the same', () => {
  const sdk = new BackEnd({ appId: DEMO.id, key: DEMO.key, secret: DEMO.secret, host: 'x', encryptionMasterKeyBase64: Buffer.alloc(32, 7).toString('base64') });
  assert.equal(sdk.authorizeChannel(SOCKET, 'private-foobar').auth, VECTORS[0][1]);
  assert.equal(sdk.authorizeChannel(SOCKET, 'presence-foobar', { user_id: '10', user_info: { name: 'Mr. Channels' } }).auth, VECTORS[1][1]);
  assert.equal(sdk.authenticateUser(SOCKET, { id: '12345' }).auth, VECTORS[2][1]);
  assert.equal(sdk.authorizeChannel(SOCKET, 'private-encrypted-x').shared_secret, 'QBLmxUha0AEqZM0+A5PNJXDxZBx3jy3Nx0o1EY1y36I=');
  assert.equal(webhookSignature(DEMO.secret, '{"time_ms":1700000000123,"events":[{"name":"channel_occupied","channel":"orders"}]}'), '61be614dd7b06106a7c572944b946b44a724b71343800b4296f4cdbc1fb0b6d4');
});

pusherTest('section 11: the worked examples of requests', () => {
  const at = (app, auth_timestamp, method, path, options) => signedTarget(method, path, { app, params: { auth_timestamp }, ...options });
  const body = '{"name":"order.paid","data":"{\\"id\\":7,\\"note\\":\\"café\\"}","channels":["orders"]}';
  assert.equal(Buffer.byteLength(body), 82);
  assert.equal(md5(body), '6ac9cacd4834c64fb13f34a4c79be580');
  assert.match(at(DEMO, 1700000000, 'POST', '/apps/4242/events', { body }), /auth_signature=5bb1458a1e81174586e6c14c5164cc9bdd836260ea08daa72c87f92bfa0d2d74$/);
  const query = { filter_by_prefix: 'presence-', info: 'user_count,subscription_count' };
  assert.match(at(DEMO, 1700000000, 'GET', '/apps/4242/channels', { query }), /auth_signature=3a44b378b77d4e094068f638f86a3692d960fdfa339a3956d5dc10446254d07e$/);
  const foo = '{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}';
  assert.match(at(DOCS, 1353088179, 'POST', '/apps/3/events', { body: foo }), /auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c$/);
});

fanwireTest('section 11: a request as old as the examples is refused for its time alone', async () => {
  const body = '{"name":"order.paid","data":"{\\"id\\":7,\\"note\\":\\"café\\"}","channels":["orders"]}';
  const answer = await api(server, 'POST', '/events', { app: DEMO, body, params: { auth_timestamp: 1700000000 } });
  assert.equal(answer.status, 401);
  assert.match(answer.text, /^Timestamp expired: Given timestamp \(2023-11-14T22:13:20Z?[^)]*\) not within 600s of server time \([^)]+\)/);
});

pusherTest('other apps sign with their own keys', async () => {
  for (const app of [DEMO, DOCS]) {
    const name = channel('private-own');
    const peer = await Peer.open(server, { app });
    await peer.subscribe(name);
    await trigger(server, name, 'e', '1', {}, app);
    await peer.event('e');
    peer.send('pusher:subscribe', { auth: channelAuth(peer.id, channel('private-o'), undefined, APP), channel: channel('private-o') });
    await peer.take((f) => /error/.test(f.event), 'a refusal');
  }
});

pusherTest('channel_data is signed as it is sent: spaces, order of keys, escapes and numbers', async () => {
  for (const [channelData, id] of [
    ['{"user_id": "10", "user_info": {"name": "Mr. Channels"}}', '10'],
    ['{ "user_info" :{"n":1.50e1, "x" : "\\u00fc\\/"},\n\t"user_id":"a b" }', 'a b'],
    ['{"user_id":"é","user_info":{"z":1,"a":[1, 2 ,3]}}', 'é'],
    ['{"user_id":42}', '42'],
    ['{"user_id":"n","user_info":null,"other":[{}]}', 'n'],
  ]) {
    const name = channel('presence-bytes');
    const peer = await Peer.open(server);
    const success = await peer.subscribe(name, { channelData });
    assert.deepEqual(success.value.presence.ids, [id]);
    const { user_info: info } = JSON.parse(channelData);
    if (info) assert.deepEqual(success.value.presence.hash[id], info);
    peer.drop();
  }
});

pusherTest('channel_data that was changed after it was signed is refused', async () => {
  const name = channel('presence-changed');
  const peer = await Peer.open(server);
  const signed = '{"user_id":"1"}';
  for (const sent of ['{"user_id":"2"}', '{"user_id": "1"}', '{"user_id":"1"} ', undefined]) {
    peer.send('pusher:subscribe', { auth: channelAuth(peer.id, name, signed), channel: name, channel_data: sent });
    await peer.take((f) => /error/.test(f.event), `a refusal of ${sent}`);
  }
  await peer.subscribe(name, { channelData: signed });
});

fanwireTest('channel_data that is signed and names nobody is refused, the socket stays', async () => {
  const peer = await Peer.open(server);
  for (const channelData of ['', 'x', '{}', '[]', '"1"', 'null', '{"user_id":null}', '{"user_id":""}', '{"user_id":{}}', '{"user_id":true}', '{"user_id":"1"']) {
    const name = channel('presence-none');
    peer.send('pusher:subscribe', { auth: channelAuth(peer.id, name, channelData), channel: name, channel_data: channelData });
    await peer.take((f) => /error/.test(f.event), `a refusal of ${channelData}`);
  }
  await peer.subscribe(channel('presence-some'), { user: { user_id: '1' } });
});

/** An application with the two endpoints that pusher-js asks by default. */
async function application(answer) {
  const seen = [];
  const listener = http.createServer(async (req, res) => {
    let body = '';
    for await (const part of req) body += part;
    const form = new URLSearchParams(body);
    seen.push({ url: req.url, type: req.headers['content-type'], form });
    const { status = 200, text } = answer(req.url, form);
    res.writeHead(status, { 'Content-Type': 'application/json' }).end(text);
  });
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${listener.address().port}`;
  const stop = () => {
    listener.closeAllConnections();
    listener.close();
  };
  atEnd(stop);
  return { seen, origin };
}

pusherTest('pusher-js asks an application over HTTP, and what it answers is accepted', async () => {
  const sdk = backEnd(server);
  const app = await application((url, form) => ({
    text: JSON.stringify(
      url === '/pusher/user-auth'
        ? sdk.authenticateUser(form.get('socket_id'), { id: 'me' })
        : sdk.authorizeChannel(form.get('socket_id'), form.get('channel_name'), /^presence/.test(form.get('channel_name')) ? { user_id: 7, user_info: { a: 1 } } : undefined),
    ),
  }));
  const pusher = await connected(
    client(server, {
      channelAuthorization: { endpoint: `${app.origin}/pusher/auth`, transport: 'ajax' },
      userAuthentication: { endpoint: `${app.origin}/pusher/user-auth`, transport: 'ajax' },
    }),
  );
  const [secret, room] = [channel('private-http'), channel('presence-http')];
  const heard = record(await subscribed(pusher, secret));
  assert.equal((await subscribed(pusher, room)).members.me.info.a, 1);
  pusher.signin();
  await pusher.user.signinDonePromise;
  assert.equal(pusher.user.user_data.id, 'me');
  await trigger(server, secret, 'e', '1');
  await filled(heard, 1, 'events');
  assert.ok(app.seen.every((request) => request.type === 'application/x-www-form-urlencoded' && request.form.get('socket_id') === pusher.connection.socket_id));
  pusher.disconnect();
});

pusherTest('pusher-js whose application refuses never asks the node; the connection stays', async () => {
  const app = await application(() => ({ status: 403, text: '{"message":"no"}' }));
  const pusher = await connected(client(server, { channelAuthorization: { endpoint: `${app.origin}/pusher/auth`, transport: 'ajax' } }));
  const told = once(pusher.subscribe(channel('private-no')), 'pusher:subscription_error');
  assert.equal((await told).status, 403);
  await subscribed(pusher, channel());
  assert.deepEqual(pusher.errors, []);
  pusher.disconnect();
});
