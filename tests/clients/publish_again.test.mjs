// A publisher that sends the same head again and again on one connection: the node then does not read it anew, and
// nothing may be different for that. On nchan the same tests show what is to be expected.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { App } from '../support/app.mjs';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { Conn, requestBytes } from '../support/raw.mjs';
import { TARGET, channel, pub, sub } from '../support/server.mjs';
import { WsConn } from '../support/websocket.mjs';

// Enough that on a node with several shards some have their home where the connection is.
const CHANNELS = 6;
let app;

const server = useServer(async () => {
  app = await App.start();
  return {
    maxBody: '1m',
    toml: '[limits]\nbody_bytes = 1048576\n\n',
    locations: [
      pub('/apub', { authorize: app.url('/auth') }),
      pub('/upub', { upstream: app.url('/filter') }),
      pub('/evpub', { channel_events: 'again' }),
      { url: '^/meta/(.+)$', methods: 'subscriber', channel_id: ['$1'], group: 'meta' },
      { url: '^/lpub/([^/]+)/(.+)$', methods: 'publisher', channel_id: ['$2'], group: '$1', group_limits: { messages: 5 } },
      pub(),
      sub(),
    ],
  };
});
before(() => app);
after(() => app.stop());

/** Sends requests one after the other on one connection and gives the answers. */
async function all(requests) {
  const conn = await Conn.open(server);
  const answers = [];
  for (const [path, body, headers = {}] of requests) {
    answers.push(await conn.request('POST', path, { headers, body }).response('POST'));
  }
  conn.destroy();
  return answers;
}

async function listen(name) {
  const ws = await WsConn.connect(server, `/sub/${name}`);
  await server.subscribers(name, 1);
  return ws;
}

both('bodies of any length arrive in order, and each is answered', async () => {
  for (let i = 0; i < CHANNELS; i += 1) {
    const name = channel();
    const bodies = [3, 3, 0, 10, 9, 300, 1, 70_000, 5].map((length, at) => String.fromCharCode(97 + at).repeat(length));
    const ws = await listen(name);
    const answers = await all(bodies.map((body) => [`/pub/${name}`, body, { Accept: 'text/json' }]));
    assert.deepEqual(answers.map((answer) => answer.status), bodies.map(() => 201));
    const infos = answers.map((answer) => JSON.parse(answer.text));
    assert.deepEqual(infos.map((info) => info.messages), bodies.map((_, at) => at + 1));
    assert.ok(infos.every((info) => info.subscribers === 1));
    assert.equal(new Set(infos.map((info) => info.last_message_id)).size, bodies.length);
    assert.deepEqual(new Set(answers.map((answer) => answer.header('Content-Type'))), new Set(['text/json']));
    for (const body of bodies) assert.equal((await ws.message()).text, body);
    ws.conn.destroy();
  }
});

both('another head in between means what it says', async () => {
  for (let i = 0; i < CHANNELS; i += 1) {
    const [one, two] = [channel(), channel()];
    const json = { 'Content-Type': 'application/json' };
    const text = { 'Content-Type': 'text/x-mine' };
    const answers = await all([
      [`/pub/${one}`, 'a', json],
      [`/pub/${one}`, 'b', json],
      [`/pub/${two}`, 'c', json],
      [`/pub/${one}`, 'd', text],
      [`/pub/${one}`, 'e', text],
      [`/pub/${one}`, 'f', { ...text, 'X-EventSource-Event': 'named' }],
      [`/pub/${one}`, 'g', { ...text, 'X-EventSource-Event': 'named' }],
      [`/pub/${one}`, 'h', { ...text, Accept: 'text/xml' }],
      [`/pub/${one}`, 'i', json],
      [`/pub/${two}`, 'j', json],
      [`/pub/${two}`, 'k', json],
    ]);
    assert.ok(answers.every((answer) => answer.status === 202));
    assert.match(answers[7].text, /^<\?xml/);
    assert.match(answers[8].text, /^queued messages: 8\r\n/);
    const read = async (name, count) => {
      const conn = await Conn.open(server);
      const got = [];
      let headers = {};
      for (let at = 0; at < count; at += 1) {
        const answer = await conn.request('GET', `/sub/${name}`, { headers }).response();
        got.push(`${answer.text} ${answer.header('Content-Type')}`);
        headers = { 'If-Modified-Since': answer.header('Last-Modified'), 'If-None-Match': answer.header('Etag') };
      }
      conn.destroy();
      return got;
    };
    const kinds = ['a application/json', 'b application/json', 'd text/x-mine', 'e text/x-mine', 'f text/x-mine', 'g text/x-mine', 'h text/x-mine', 'i application/json'];
    assert.deepEqual(await read(one, 8), kinds);
    assert.deepEqual(await read(two, 3), ['c application/json', 'j application/json', 'k application/json']);
  }
});

both('requests in one packet, and in packets of one byte', async () => {
  for (let i = 0; i < CHANNELS; i += 1) {
    const name = channel();
    const ws = await listen(name);
    const bodies = Array.from({ length: 120 }, (_, at) => `${at}`.repeat(1 + (at % 13)));
    const bytes = Buffer.concat(bodies.map((body) => requestBytes('POST', `/pub/${name}`, { body })));
    const conn = await Conn.open(server);
    conn.send(bytes);
    for (const _ of bodies) assert.equal((await conn.response('POST')).status, 201);
    for (const body of bodies) assert.equal((await ws.message()).text, body);
    for (const byte of requestBytes('POST', `/pub/${name}`, { body: 'slow' })) {
      conn.send(Buffer.from([byte]));
      if (byte === 13) await new Promise(setImmediate);
    }
    assert.equal((await conn.response('POST')).status, 201);
    assert.equal((await ws.message()).text, 'slow');
    // What belongs to no request is refused as ever; nginx lets it pass.
    if (TARGET === 'fanwire') {
      conn.send('\nPOST');
      assert.equal((await conn.response('POST')).status, 400);
    }
    ws.conn.destroy();
    conn.destroy();
  }
});

both('a body over the limit is refused behind a known head', async () => {
  const name = channel();
  const conn = await Conn.open(server);
  for (const body of ['a', 'b']) assert.equal((await conn.request('POST', `/pub/${name}`, { body }).response('POST')).status, 202);
  conn.send(requestBytes('POST', `/pub/${name}`, { headers: { 'Content-Length': 2_000_000 } }));
  assert.equal((await conn.response('POST')).status, 413);
  conn.destroy();
});

both('a channel that was deleted comes back', async () => {
  for (let i = 0; i < CHANNELS; i += 1) {
    const name = channel();
    const conn = await Conn.open(server);
    const once = async () => (await conn.request('POST', `/pub/${name}`, { body: 'x' }).response('POST')).text;
    assert.match(await once(), /^queued messages: 1\r/);
    assert.match(await once(), /^queued messages: 2\r/);
    assert.equal((await server.request('DELETE', `/pub/${name}`)).status, 200);
    assert.match(await once(), /^queued messages: 1\r/);
    conn.destroy();
  }
});

both('the application is asked each time', async () => {
  app.answer = () => ({ status: 200 });
  const name = channel();
  const answers = await all([0, 1, 2].map(() => [`/apub/${name}`, 'x']));
  assert.ok(answers.every((answer) => answer.status === 202));
  app.answer = () => ({ status: 403 });
  assert.equal((await all([[`/apub/${name}`, 'x']]))[0].status, 403);
  assert.equal(app.requests.filter((request) => request.path === '/auth').length, 4);
  app.answer = ({ body }) => ({ status: 200, body: `${body}!` });
  await all([0, 1, 2].map((at) => [`/upub/${name}-up`, `${at}`]));
  assert.equal((await server.request('GET', `/sub/${name}-up`)).text, '0!');
  assert.equal(app.requests.filter((request) => request.path === '/filter').length, 3);
});

both('channel events are told each time', async () => {
  const name = channel();
  const ws = await WsConn.connect(server, '/meta/again');
  await all([0, 1, 2].map(() => [`/evpub/${name}`, 'x']));
  for (let at = 0; at < 3; at += 1) assert.match((await ws.message()).text, new RegExp(`^channel_publish ${name}`));
  ws.conn.destroy();
});

fanwireOnly('the limits of groups are exact here', 'a refusal is answered, and what is published when there is room again', async () => {
  for (let i = 0; i < CHANNELS; i += 1) {
    const group = channel();
    const answers = await all(Array.from({ length: 8 }, () => [`/lpub/${group}/x`, 'm']));
    assert.deepEqual(answers.map((answer) => answer.status), [202, 202, 202, 202, 202, 403, 403, 403]);
    assert.match(answers[7].text, /limit reached for number of messages/);
  }
});
