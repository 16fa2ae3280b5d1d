// Publisher location over HTTP: methods, statuses, channel info bodies (nchan sheet, section 2).
import assert from 'node:assert/strict';
import { bare, both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, eventually, pub, sub } from '../support/server.mjs';
import { Conn, open, sleep } from '../support/raw.mjs';

const server = useServer({
  locations: [
    { url: '^/argpub$', methods: 'publisher', channel_id: ['$arg_id'] },
    { url: '^/argsub$', methods: 'subscriber', channel_id: ['$arg_id'] },
    { url: '^/both/([^/]+)/([^/]+)$', methods: 'publisher', channel_id: ['$1', '$2'] },
    pub('/short', { max_channel_id_bytes: 20 }),
    sub('/short-sub', { max_channel_id_bytes: 20 }),
    pub(),
    sub(),
  ],
});

for (const method of ['POST', 'PUT']) {
  both(`${method} without subscribers is 202 with the channel info`, async () => {
    const name = channel();
    const answer = await server.request(method, `/pub/${name}`, { body: 'hello' });
    assert.equal(answer.status, 202);
    assert.equal(answer.reason, 'Accepted');
    assert.match(answer.header('Content-Type'), /^text\/plain/);
    assert.match(answer.text, /^queued messages: 1\r\nlast requested: -1 sec\. ago\r\nactive subscribers: 0\r\nlast message id: \d+:\d+$/);
    const got = await server.request('GET', `/sub/${name}`);
    assert.equal(got.text, 'hello');
  });

  both(`${method} with a held poll is 201`, async () => {
    const name = channel();
    const poll = await open(server, 'GET', `/sub/${name}`);
    await server.subscribers(name, 1);
    const answer = await server.request(method, `/pub/${name}`, { body: 'x' });
    assert.equal(answer.status, 201);
    assert.equal((await poll.response()).text, 'x');
    poll.destroy();
  });
}

both('a streaming subscriber makes 201 as well', async () => {
  const name = channel();
  const stream = await open(server, 'GET', `/sub/${name}`, { headers: { Accept: 'text/event-stream' } });
  await stream.readThrough(': hi\n\n');
  await server.subscribers(name, 1);
  assert.equal((await server.request('POST', `/pub/${name}`, { body: 'x' })).status, 201);
  stream.destroy();
});

both('a subscriber that vanished does not make 201', async () => {
  const name = channel();
  const poll = await open(server, 'GET', `/sub/${name}`);
  await server.subscribers(name, 1);
  poll.destroy();
  await server.subscribers(name, 0);
  assert.equal((await server.request('POST', `/pub/${name}`, { body: 'x' })).status, 202);
});

both('an empty body is a message', async () => {
  const name = channel();
  assert.equal((await server.request('POST', `/pub/${name}`, { body: '' })).status, 202);
  const got = await server.request('GET', `/sub/${name}`);
  assert.equal(got.status, 200);
  assert.equal(got.bytes.length, 0);
  assert.equal(got.header('Content-Length'), '0');
});

both('POST without any body framing is an empty message', async () => {
  const name = channel();
  assert.equal((await server.request('POST', `/pub/${name}`)).status, 202);
  assert.equal((await server.info(name)).messages, 1);
});

both('chunked request bodies are joined', async () => {
  const name = channel();
  const conn = await open(server, 'POST', `/pub/${name}`, { headers: { 'Transfer-Encoding': 'chunked' } });
  conn.send('5\r\nhello\r\n');
  await sleep(20);
  conn.send('7;ext=1\r\n, world\r\n0\r\n\r\n');
  assert.equal((await conn.response('POST')).status, 202);
  conn.destroy();
  assert.equal((await server.request('GET', `/sub/${name}`)).text, 'hello, world');
});

both('any bytes pass unchanged, the content type is kept byte for byte', async () => {
  const name = channel();
  const body = Buffer.from(Array.from({ length: 512 }, (_, i) => i % 256));
  await server.publish(name, body, { 'Content-Type': 'application/x-thing; a="b c";Charset=UTF-8' });
  const got = await server.request('GET', `/sub/${name}`);
  assert.deepEqual(got.bytes, body);
  assert.equal(got.header('Content-Type'), 'application/x-thing; a="b c";Charset=UTF-8');
});

both('a message published without content type is delivered without one', async () => {
  const name = channel();
  await server.publish(name, 'x');
  assert.equal((await server.request('GET', `/sub/${name}`)).header('Content-Type'), undefined);
});

both('GET on an unknown channel is 404 with an empty body', async () => {
  const answer = await server.request('GET', `/pub/${channel()}`);
  assert.equal(answer.status, 404);
  assert.equal(answer.bytes.length, 0);
});

both('GET tells messages, requested, subscribers and last id', async () => {
  const name = channel();
  await server.publish(name, 'a');
  assert.equal((await server.info(name)).requested, -1);
  await server.request('GET', `/sub/${name}`);
  const answer = await server.publish(name, 'b', { Accept: 'application/json' });
  const info = await server.info(name);
  assert.equal(info.messages, 2);
  assert.ok(info.requested >= 0 && info.requested <= 2, `requested ${info.requested}`);
  assert.equal(info.last_message_id, JSON.parse(answer.text).last_message_id);
  await eventually(async () => (await server.info(name)).subscribers === 0, 'no subscriber left');
});

both('a channel somebody waits on exists with last id 0:0', async () => {
  const name = channel();
  const poll = await open(server, 'GET', `/sub/${name}`);
  await server.subscribers(name, 1);
  const info = await server.info(name);
  assert.equal(info.messages, 0);
  assert.equal(info.last_message_id, '0:0');
  poll.destroy();
});

const forms = {
  'text/plain': ['text/plain', /^queued messages: 1\r\nlast requested: -1 sec\. ago\r\nactive subscribers: 0\r\nlast message id: \d+:\d+$/],
  'text/json': ['text/json', /^\{"messages": 1, "requested": -1, "subscribers": 0, "last_message_id": "\d+:\d+" \}$/],
  'text/yaml': ['text/yaml', /^---\r\nmessages: 1\r\nrequested: -1\r\nsubscribers: 0\r\nlast_message_id: "\d+:\d+"\r\n\r\n$/],
  'text/xml': [
    'text/xml',
    /^<\?xml version="1\.0" encoding="UTF-8" \?>\r\n<channel>\r\n {2}<messages>1<\/messages>\r\n {2}<requested>-1<\/requested>\r\n {2}<subscribers>0<\/subscribers>\r\n {2}<last_message_id>\d+:\d+<\/last_message_id>\r\n<\/channel>$/,
  ],
};
const asked = {
  'text/plain': ['text/plain', '*/*', 'image/png', 'text/html', 'application/plain', undefined],
  'text/json': ['text/json', 'application/json', 'application/x-json', 'text/x-json', 'image/png, application/json', 'text/json;q=0.1, text/yaml;q=0.9'],
  'text/yaml': ['text/yaml', 'application/x-yaml', 'application/yaml', 'text/yaml, text/json'],
  'text/xml': ['text/xml', 'application/xml'],
};

for (const [kind, accepts] of Object.entries(asked)) {
  for (const accept of accepts) {
    both(`Accept: ${accept} gives info as ${kind}, on POST, GET and DELETE`, async () => {
      const name = channel();
      const [type, shape] = forms[kind];
      const headers = { Accept: accept };
      for (const method of ['POST', 'GET', 'DELETE']) {
        const answer = await server.request(method, `/pub/${name}`, { headers, body: method === 'POST' ? 'x' : undefined });
        assert.ok([200, 202].includes(answer.status), `${method} ${answer.status}`);
        assert.equal(answer.header('Content-Type'), type, method);
        assert.match(answer.text, shape, method);
      }
    });
  }
}

both('DELETE gives the info as it was and removes the messages', async () => {
  const name = channel();
  await server.publish(name, 'a');
  await server.publish(name, 'b');
  const answer = await server.request('DELETE', `/pub/${name}`, { headers: { Accept: 'text/json' } });
  assert.equal(answer.status, 200);
  assert.equal(JSON.parse(answer.text).messages, 2);
  const poll = await open(server, 'GET', `/sub/${name}`);
  await poll.staysQuiet();
  poll.destroy();
});

both('DELETE of a channel nobody ever used is 404', async () => {
  const answer = await server.request('DELETE', `/pub/${channel()}`);
  assert.equal(answer.status, 404);
  assert.equal(answer.bytes.length, 0);
});

fanwireOnly('nchan keeps an empty shell for about five seconds', 'a second DELETE finds nothing or an empty shell', async () => {
  const name = channel();
  await server.publish(name, 'a');
  assert.equal((await server.request('DELETE', `/pub/${name}`)).status, 200);
  const again = await server.request('DELETE', `/pub/${name}`, { headers: { Accept: 'text/json' } });
  if (again.status === 200) assert.equal(JSON.parse(again.text).messages, 0);
  else assert.equal(again.status, 404);
});

both('after DELETE new messages are delivered to new pollers', async () => {
  const name = channel();
  await server.publish(name, 'a');
  await server.request('DELETE', `/pub/${name}`);
  await server.publish(name, 'b');
  assert.equal((await server.request('GET', `/sub/${name}`)).text, 'b');
});

both('OPTIONS tells the methods', async () => {
  const answer = await server.request('OPTIONS', `/pub/${channel()}`);
  assert.equal(answer.status, 200);
  assert.equal(answer.header('Allow'), 'GET, POST, PUT, DELETE');
});

both('a path segment with escapes is decoded, so both spellings are one channel', async () => {
  const name = channel('a b');
  await server.publish(name.replace(' ', '%20'), 'x');
  assert.equal((await server.request('GET', `/sub/${name.replace(' ', '%20').replace('a', '%61')}`)).text, 'x');
});

both('an id taken from the query string is not decoded', async () => {
  const name = channel();
  await server.request('POST', `/argpub?id=${name}%2Cb`, { body: 'upper' });
  await server.request('POST', `/argpub?id=${name}%2cb`, { body: 'lower' });
  assert.equal((await server.request('GET', `/argsub?id=${name}%2Cb`)).text, 'upper');
  assert.equal((await server.request('GET', `/argsub?x=1&id=${name}%2cb&y`)).text, 'lower');
});

both('no id at all is the channel with the empty name', async () => {
  assert.equal((await server.request('POST', '/argpub', { body: 'nameless' })).status, 202);
  assert.equal((await server.request('GET', '/argsub')).text, 'nameless');
  await server.request('DELETE', '/argpub');
});

both('an id of exactly 1024 bytes works, one more is 403', async () => {
  const longest = 'n'.repeat(1024);
  assert.equal((await server.request('POST', `/pub/${longest}`, { body: 'x' })).status, 202);
  assert.equal((await server.request('GET', `/sub/${longest}`)).text, 'x');
  for (const [method, where] of [['POST', '/pub/'], ['GET', '/sub/']]) {
    const answer = await server.request(method, `${where}${longest}n`, { body: method === 'POST' ? 'x' : undefined });
    assert.equal(answer.status, 403, method);
    bare(answer);
  }
});

both('the id limit is a setting', async () => {
  assert.equal((await server.request('POST', `/short/${'n'.repeat(20)}`, { body: 'x' })).status, 202);
  assert.equal((await server.request('POST', `/short/${'n'.repeat(21)}`, { body: 'x' })).status, 403);
  assert.equal((await server.request('GET', `/short-sub/${'n'.repeat(21)}`)).status, 403);
});

both('one POST to two channels publishes into each: subscribers summed, the larger message count, last id 0', async () => {
  const [a, b] = [channel('a'), channel('b')];
  await server.publish(a, 'before');
  const stream = { headers: { Accept: 'text/event-stream' } };
  const listeners = await Promise.all([a, b, b].map((name) => open(server, 'GET', `/sub/${name}`, stream)));
  await server.subscribers(a, 1);
  await server.subscribers(b, 2);
  const answer = await server.request('POST', `/both/${a}/${b}`, { headers: { Accept: 'text/json' }, body: 'x' });
  for (const listener of listeners) listener.destroy();
  assert.equal(answer.status, 201);
  const info = JSON.parse(answer.text);
  assert.equal(info.subscribers, 3);
  assert.equal(info.messages, 2);
  assert.equal(info.last_message_id, '0');
  assert.equal((await server.request('GET', `/sub/${b}`)).text, 'x');
  assert.equal((await server.info(a)).messages, 2);
  assert.equal((await server.request('DELETE', `/both/${a}/${b}`)).status, 200);
  for (const name of [a, b]) assert.equal((await server.info(name))?.messages ?? 0, 0);
});

both('publishing on a kept-alive connection works many times', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  for (let i = 1; i <= 20; i += 1) {
    conn.request('POST', `/pub/${name}`, { headers: { Accept: 'text/json' }, body: `m${i}` });
    assert.equal(JSON.parse((await conn.response('POST')).text).messages, i);
  }
  conn.destroy();
});

fanwireOnly('what nginx answers to PATCH on a publisher is its own', 'other methods are 405 with Allow', async () => {
  for (const method of ['PATCH', 'TRACE', 'BREW']) {
    const answer = await server.request(method, `/pub/${channel()}`);
    assert.equal(answer.status, 405, method);
    assert.match(answer.header('Allow'), /POST/, method);
  }
});
