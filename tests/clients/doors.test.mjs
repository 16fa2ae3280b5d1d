// Who may come in by a door, whom a proxy may speak for, and what is said to those who are too many (fanwire only).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fanwireOnly } from '../support/cases.mjs';
import { SHAPES, connect, inParallel, metric, shapeName, withNode } from '../support/process.mjs';
import { connectAs, v1, v2, withProgram } from '../support/proxy.mjs';
import { APP, signedTarget } from '../support/pusher.mjs';
import { Conn, http, requestBytes } from '../support/raw.mjs';
import { channel, eventually, freePort, pub, runToEnd, sub } from '../support/server.mjs';
import { OP, WsConn, upgradeHeaders } from '../support/websocket.mjs';

const WHY = 'about our own doors';
const WAIT_MS = 20_000;
const ALIVE = requestBytes('GET', '/health/live');
const STREAM = { Accept: 'text/event-stream' };

/** A node with a plain door and, at `doors`, further ones: each gets a port of its own and these options. */
async function withDoors({ options = ['proxy_protocol'], toml = '', ...rest }, run) {
  const port = await freePort();
  const doors = [];
  for (const _ of options) doors.push({ port: await freePort() });
  const listen = [`127.0.0.1:${port}`, ...options.map((option, index) => `127.0.0.1:${doors[index].port} ${option}`)];
  await withNode({ port, toml: `listen = ${JSON.stringify(listen)}\n${toml}`, ...rest }, (server) => run(server, ...doors));
}

const refusals = (server, label) => metric(server, 'fanwire_refusals_total', `"${label}"`);

/** Requires that the log names this peer for what comes over the connection next. */
async function isSeenAs(server, conn, peer) {
  conn.send('GET /\x01 HTTP/1.1\r\n\r\n');
  assert.equal((await conn.response('GET', WAIT_MS)).status, 400);
  conn.destroy();
  await eventually(() => server.stderr().includes(`peer=${peer} `), `a line about ${peer}`, WAIT_MS);
}

/** Upgrades and returns the first frame. */
async function firstFrame(conn, where) {
  conn.request('GET', where, { headers: upgradeHeaders() });
  const head = await conn.head(WAIT_MS);
  assert.equal(head.status, 101);
  return new WsConn(conn, head).message();
}

for (const shape of SHAPES) {
  fanwireOnly(WHY, `PROXY headers name the client (${shapeName(shape)})`, () =>
    withDoors({ ...shape }, async (server, door) => {
      await isSeenAs(server, await connectAs(door, '192.0.2.7', 40001), '192.0.2.7:40001');
      await isSeenAs(server, await connectAs(door, '2001:db8::7', 40002), '[2001:db8::7]:40002');
      await isSeenAs(server, (await Conn.open(door)).send(v2('192.0.2.8', 40003)), '192.0.2.8:40003');
      const slow = await Conn.open(door);
      for (const byte of v2('192.0.2.9', 40004)) slow.send(Buffer.of(byte));
      await isSeenAs(server, slow, '192.0.2.9:40004');
      // a header and requests in one piece, and what a proxy asks for itself
      const all = (await Conn.open(door)).send(Buffer.concat([v2('192.0.2.10'), ALIVE, ALIVE]));
      assert.deepEqual([(await all.response()).status, (await all.response()).status], [200, 200]);
      all.destroy();
      const local = (await Conn.open(door)).send(Buffer.concat([v2('192.0.2.11', 1, { command: 0x20 }), ALIVE]));
      assert.equal((await local.response()).status, 200);
      local.destroy();
      const unknown = (await Conn.open(door)).send(Buffer.concat([Buffer.from('PROXY UNKNOWN\r\n'), ALIVE]));
      assert.equal((await unknown.response()).status, 200);
      unknown.destroy();
    }));
}

fanwireOnly(WHY, 'a door that wants a PROXY header closes without one, others answer 400 to it', () =>
  withDoors({ toml: '[limits]\nheader_timeout = "1s"\n' }, async (server, door) => {
    for (const bytes of [ALIVE, Buffer.from('PROXY TCP4 x y 1 2\r\n'), v2('192.0.2.7', 1, { command: 0x31 }), Buffer.alloc(5000, 'PROXY ')]) {
      const conn = (await Conn.open(door)).send(bytes);
      assert.equal((await conn.readToEnd(WAIT_MS)).length, 0);
    }
    const silent = (await Conn.open(door)).send('PROXY TCP4 192.0.2.7 ');
    assert.equal((await silent.readToEnd(WAIT_MS)).length, 0, 'a header that does not come in time');
    assert.equal(await refusals(server, 'proxy_header'), 5);
    assert.match(server.stderr(), /reason="proxy_header"/);
    for (const bytes of [v1('192.0.2.7'), v2('192.0.2.7')]) {
      const conn = (await Conn.open(server)).send(Buffer.concat([bytes, ALIVE]));
      assert.equal((await conn.response()).status, 400);
      conn.destroy();
    }
  }));

fanwireOnly(WHY, 'who is no trusted proxy does not get in by its door', () =>
  withDoors({ toml: 'trusted_proxies = ["10.0.0.0/8", "unix"]\n' }, async (server, door) => {
    const conn = (await Conn.open(door)).send(Buffer.concat([v1('192.0.2.7'), ALIVE]));
    assert.equal((await conn.readToEnd(WAIT_MS)).length, 0);
    await eventually(async () => (await refusals(server, 'proxy_untrusted')) === 1, 'a refusal');
    assert.equal((await http(server, 'GET', '/health/live')).status, 200);
  }));

for (const driver of ['auto']) {
  fanwireOnly(WHY, `connections per address: each client is told in its own words`, () =>
    withDoors({ shards: 3, driver, toml: '[limits]\nconnections_per_address = 2\n' }, async (server, door) => {
      const kept = [];
      for (let i = 0; i < 2; i += 1) {
        const conn = (await connectAs(door, '192.0.2.7', 41000 + i)).send(ALIVE);
        assert.equal((await conn.response()).status, 200);
        kept.push(conn);
      }
      const again = (bytes) => connectAs(door, '192.0.2.7', 42000).then((conn) => conn.send(bytes));
      const polite = await again(requestBytes('GET', '/sub/x', { headers: STREAM }));
      const answer = await polite.response('GET', WAIT_MS);
      assert.equal(answer.status, 429);
      assert.match(answer.header('Retry-After'), /^[1-9]\d*$/);
      assert.equal(answer.text, 'too many connections from your address\n');
      assert.equal((await polite.readToEnd(WAIT_MS)).length, 0);
      polite.destroy();
      const relay = await firstFrame(await again(''), '/sub/x');
      assert.deepEqual([relay.opcode, relay.code], [OP.close, 1013]);
      const pushi = await firstFrame(await again(''), `/${'a'.repeat(64)}`);
      assert.deepEqual([pushi.opcode, pushi.code], [OP.close, 1013]);
      const pusher = await firstFrame(await again(''), `/app/${APP.key}?protocol=7`);
      assert.deepEqual([pusher.opcode, pusher.code, pusher.reason], [OP.close, 4100, 'Over capacity']);
      const old = await firstFrame(await again(''), `/app/${APP.key}?protocol=5`);
      assert.equal(JSON.parse(old.text).event, 'pusher:error');
      // who says nothing is told as well, and soon
      assert.equal((await (await again('')).response('GET', WAIT_MS)).status, 429);
      // others are not concerned, however many, nor is the same site counted by its single addresses
      await inParallel(500, 50, async (i) => {
        const conn = (await connectAs(door, `198.51.${i >> 8}.${i & 255}`)).send(ALIVE);
        assert.equal((await conn.response('GET', WAIT_MS)).status, 200);
        conn.destroy();
      });
      const site = await Promise.all([1, 2, 3].map((i) => connectAs(door, `2001:db8::${i}`)));
      const statuses = await Promise.all(site.map((conn) => conn.send(ALIVE).response('GET', WAIT_MS).then((a) => a.status)));
      assert.deepEqual(statuses.sort(), [200, 200, 429]);
      for (const conn of [...kept, ...site]) conn.destroy();
      await eventually(async () => {
        const conn = await again(ALIVE);
        const { status } = await conn.response('GET', WAIT_MS);
        conn.destroy();
        return status === 200;
      }, 'room when they have left', WAIT_MS);
      assert.ok((await refusals(server, 'connections_per_address')) >= 7);
      await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'nobody is left', WAIT_MS);
    }));
}

fanwireOnly(WHY, 'connects per second per address: a burst, then one at a time', () =>
  withDoors({ shards: 3, toml: '[limits]\nconnects_per_second_per_address = 1\nconnects_burst_per_address = 4\n' }, async (server, door) => {
    const statuses = [];
    const waits = new Set();
    for (let i = 0; i < 12; i += 1) {
      const conn = (await connectAs(door, '192.0.2.7', 43000 + i)).send(ALIVE);
      const answer = await conn.response('GET', WAIT_MS);
      statuses.push(answer.status);
      if (answer.status === 429) waits.add(answer.header('Retry-After'));
      conn.destroy();
    }
    assert.deepEqual(statuses.slice(0, 4), [200, 200, 200, 200], 'the burst, on whichever shards');
    assert.ok(statuses.includes(429), statuses.join());
    assert.ok(waits.has('1'), [...waits].join());
    const other = (await connectAs(door, '192.0.2.8')).send(ALIVE);
    assert.equal((await other.response('GET', WAIT_MS)).status, 200);
    other.destroy();
    await eventually(async () => {
      const conn = (await connectAs(door, '192.0.2.7')).send(ALIVE);
      const { status } = await conn.response('GET', WAIT_MS);
      conn.destroy();
      return status === 200;
    }, 'an address that has waited comes in', WAIT_MS);
    assert.ok((await refusals(server, 'connects_per_second_per_address')) >= 1);
  }));

fanwireOnly(WHY, 'a flood from one address, and another one keeps getting its messages', () =>
  withDoors({ toml: '[limits]\nconnections_per_address = 20\nconnects_per_second_per_address = 50\n' }, async (server, door) => {
    const name = channel('flood');
    const listener = (await connectAs(door, '198.51.100.1')).request('GET', `/sub/${name}`, { headers: STREAM });
    assert.equal((await listener.head(WAIT_MS)).status, 200);
    await server.subscribers(name, 1);
    let done = false;
    const counts = { 200: 0, 429: 0 };
    const flood = inParallel(2000, 100, async (i) => {
      const conn = (await connectAs(door, '203.0.113.9', 1 + i)).send(ALIVE);
      const { status } = await conn.response('GET', WAIT_MS).catch(() => ({ status: 'reset' }));
      counts[status] = (counts[status] ?? 0) + 1;
      conn.destroy();
    }).then(() => (done = true));
    let messages = 0;
    while (!done) {
      await server.publish(name, `m${messages}`);
      await listener.readThrough(`data: m${messages}\n`, WAIT_MS);
      messages += 1;
    }
    await flood;
    assert.ok(messages > 5, `${messages} messages`);
    assert.ok(counts[429] > counts[200], JSON.stringify(counts));
    listener.destroy();
    await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'nobody is left', WAIT_MS);
  }));

fanwireOnly(WHY, 'the node is full: WebSockets are told 1013, Pusher clients 4100', () =>
  withNode({ toml: '[limits]\nconnections = 3\n' }, async (server) => {
    const held = await eventually(async () => {
      const conns = await Promise.all([0, 1, 2].map(() => Conn.open(server)));
      const statuses = await Promise.all(conns.map((conn) => conn.send(ALIVE).response('GET', WAIT_MS).then((a) => a.status, () => 0)));
      if (statuses.every((status) => status === 200)) return conns;
      for (const conn of conns) conn.destroy();
      return undefined;
    }, 'three connections', WAIT_MS);
    const frame = await firstFrame(await Conn.open(server), '/sub/x');
    assert.deepEqual([frame.opcode, frame.code, frame.reason], [OP.close, 1013, 'the node has as many connections as it may']);
    const pusher = await firstFrame(await Conn.open(server), `/app/${APP.key}?protocol=7`);
    assert.equal(pusher.code, 4100);
    // more than can be heard out at once
    const many = await Promise.all(Array.from({ length: 300 }, () => Conn.open(server)));
    const answers = await Promise.all(many.map((conn) => conn.response('GET', WAIT_MS)));
    assert.ok(answers.every((answer) => answer.status === 503 && /^\d+$/.test(answer.header('Retry-After'))));
    for (const conn of [...many, ...held]) conn.destroy();
    await eventually(async () => (await http(server, 'GET', '/health/live')).status === 200, 'room again', WAIT_MS);
  }));

fanwireOnly(WHY, 'forwarded headers count from trusted proxies only, and only what the last of them says', () =>
  withDoors({ options: [], shards: 1, toml: 'trusted_proxies = ["127.0.0.2", "10.0.0.0/8"]\n[limits]\nconnections_per_address = 1\n' }, async (server) => {
    const from = (localAddress, forwardedFor, path = '/sub/x', extra = STREAM) =>
      import('../support/process.mjs').then(async ({ connect }) => {
        const conn = await connect(server, { localAddress });
        return conn.request('GET', path, { headers: { ...extra, 'X-Forwarded-For': forwardedFor } });
      });
    const first = await from('127.0.0.2', '1.1.1.1, 192.0.2.7, 10.0.0.9');
    assert.equal((await first.head(WAIT_MS)).status, 200);
    const same = await from('127.0.0.2', '2.2.2.2, 192.0.2.7');
    assert.equal((await same.response('GET', WAIT_MS)).status, 429, 'another stream of that client');
    const upgrade = await from('127.0.0.2', '192.0.2.7', '/sub/x', upgradeHeaders());
    assert.equal((await upgrade.head(WAIT_MS)).status, 101);
    assert.equal((await new WsConn(upgrade).frame()).code, 1013);
    const other = await from('127.0.0.2', '192.0.2.8');
    assert.equal((await other.head(WAIT_MS)).status, 200);
    const short = await from('127.0.0.2', '192.0.2.7', '/health/live', {});
    assert.equal((await short.response('GET', WAIT_MS)).status, 200, 'what does not last is not counted');
    // a stranger's header means nothing: all of them are the same address
    const stranger = await from('127.0.0.3', '192.0.2.20');
    assert.equal((await stranger.head(WAIT_MS)).status, 200);
    const again = await from('127.0.0.3', '192.0.2.21');
    assert.equal((await again.response('GET', WAIT_MS)).status, 429);
    const wrong = await from('127.0.0.2', '192.0.2.30, nonsense');
    assert.equal((await wrong.head(WAIT_MS)).status, 200, 'ignored');
    await isSeenAs(server, await from('127.0.0.2', '192.0.2.40:77', '/health/live', {}).then(async (conn) => {
      assert.equal((await conn.response('GET', WAIT_MS)).status, 200);
      return conn;
    }), '192.0.2.40:77');
    for (const conn of [first, same, upgrade, other, short, stranger, again, wrong]) conn.destroy();
    assert.equal(await eventually(() => refusals(server, 'forwarded_header'), 'it is counted', WAIT_MS), 1);
  }));

fanwireOnly(WHY, 'connections of an app: those of its locations count as well', () =>
  withNode({
    toml: '[[app]]\nid = "1"\nkey = "k"\nsecret = "s"\nmax_connections = 3\n[[app]]\nid = "2"\nkey = "other"\nsecret = "s"\n',
    shards: 3,
    locations: [pub('/pub', { allow_origin: '*' }), sub('/sub', { allow_origin: '*' }), sub('/other', { app: '2' })],
  }, async (server) => {
    const ask = async (where, headers) => (await Conn.open(server)).request('GET', where, { headers });
    const stream = await ask('/sub/a', STREAM);
    assert.equal((await stream.head(WAIT_MS)).status, 200);
    const socket = await WsConn.connect(server, '/sub/a');
    const pusher = await WsConn.connect(server, '/app/k?protocol=7');
    await pusher.message();
    const held = [stream, socket, pusher];
    const refused = await (await ask('/sub/a', { ...STREAM, Origin: 'http://page' })).response('GET', WAIT_MS);
    assert.equal(refused.status, 503);
    assert.match(refused.header('Retry-After'), /^\d+$/);
    assert.equal(refused.header('Access-Control-Allow-Origin'), '*');
    assert.equal((await (await ask('/sub/a')).response('GET', WAIT_MS)).status, 503, 'a poll');
    for (const where of ['/sub/a', '/pub/a']) {
      const frame = await firstFrame(await Conn.open(server), where);
      assert.deepEqual([frame.opcode, frame.code, frame.reason], [OP.close, 1013, 'the app has as many connections as it may'], where);
    }
    assert.equal((await firstFrame(await Conn.open(server), '/app/k?protocol=7')).code, 4004);
    const other = await ask('/other/a', STREAM);
    assert.equal((await other.head(WAIT_MS)).status, 200, 'another app');
    await server.publish('a', 'short requests do not count');
    assert.equal(await refusals(server, 'app_connections'), 4);
    for (const one of held) one.destroy();
    await eventually(async () => {
      const conn = await ask('/sub/a', STREAM);
      const { status } = await conn.head(WAIT_MS);
      conn.destroy();
      return status === 200;
    }, 'room when they have left', WAIT_MS);
    other.destroy();
  }));

fanwireOnly(WHY, 'pages may read that they are too fast, or too many', () =>
  withNode({
    toml: '[limits]\nmessages_in_per_second = 1\nconnections_per_address = 1\n',
    shards: 3,
    locations: [pub('/pub', { allow_origin: '*' }), sub()],
  }, async (server) => {
    const conn = await connect(server, { localAddress: '127.0.0.9' });
    const post = (to, where) => to.request('POST', where, { body: 'x', headers: { Origin: 'http://page' } }).response('POST', WAIT_MS);
    let answer = await post(conn, '/pub/a');
    for (let i = 0; i < 100 && answer.status !== 429; i += 1) answer = await post(conn, '/pub/a');
    assert.equal(answer.status, 429);
    assert.equal(answer.header('Access-Control-Allow-Origin'), '*');
    assert.match(answer.header('Retry-After'), /^\d+$/);
    const bare = await post(conn, '/sub/a');
    assert.deepEqual([bare.status, bare.header('Access-Control-Allow-Origin')], [429, 'http://page'], 'as the location has it');
    const second = await connect(server, { localAddress: '127.0.0.9' });
    const many = await post(second, '/pub/a');
    assert.deepEqual([many.status, many.header('Access-Control-Allow-Origin')], [429, '*']);
    conn.destroy();
    second.destroy();
  }));

fanwireOnly(WHY, 'origins: pages of elsewhere get neither sockets nor answers', () =>
  withNode({
    toml: 'origins = ["https://example.com", "https://*.example.com"]\n[[app]]\nid = "1"\nkey = "k"\nsecret = "s"\n[[app]]\nid = "2"\nkey = "own"\nsecret = "s"\norigins = ["https://own.example"]\n',
    locations: [pub(), sub(), sub('/open', { allow_origin: '$http_origin' }), sub('/own', { app: '2' }), sub('/hbpush', { flavour: 'relay' })],
  }, async (server) => {
    const upgrade = async (where, origin) => {
      const conn = await Conn.open(server);
      conn.request('GET', where, { headers: upgradeHeaders(origin === undefined ? {} : { Origin: origin }) });
      const { status } = await conn.head(WAIT_MS);
      conn.destroy();
      return status;
    };
    const [good, better, bad] = ['https://example.com', 'https://a.b.example.com', 'https://example.com.evil.org'];
    for (const where of ['/sub/x', '/app/k?protocol=7', `/${'k'}`]) {
      assert.deepEqual([await upgrade(where, good), await upgrade(where, better), await upgrade(where)], [101, 101, 101], where);
      assert.equal(await upgrade(where, bad), 403, where);
    }
    assert.equal(await upgrade('/open/x', bad), 101, 'the location says so itself');
    for (const where of ['/app/own?protocol=7', '/own/x']) {
      assert.deepEqual([await upgrade(where, 'https://own.example'), await upgrade(where, good)], [101, 403], where);
    }
    for (const where of ['/sub/x', '/hbpush/x']) {
      assert.equal((await http(server, 'OPTIONS', where, { headers: { Origin: bad, 'Access-Control-Request-Method': 'GET' } })).status, 403, where);
    }
    assert.equal((await http(server, 'POST', '/pub/x', { headers: { Origin: bad }, body: 'm' })).status, 403);
    assert.equal((await http(server, 'POST', '/pub/x', { headers: { Origin: good }, body: 'm' })).status, 202);
    assert.equal((await http(server, 'GET', '/login?app_id=1&app_key=k&app_secret=s', { headers: { Origin: bad } })).status, 403);
    assert.ok((await refusals(server, 'origin')) >= 8);
    assert.match(server.stderr(), /reason="origin"/);
  }));

fanwireOnly(WHY, 'interfaces of back ends are where they were put, and pages of the node on the internal door', async () => {
  const [port, internal] = [await freePort(), await freePort()];
  const toml = `listen = ["127.0.0.1:${port}"]\ninternal_listen = ["127.0.0.1:${internal}"]\n[pusher]\napi_listener = "internal"\n[pushi]\napi_listener = "internal"\n`;
  const { start } = await import('../support/server.mjs');
  // readiness is asked for where it is served
  const server = await start({ port: internal, toml, locations: [pub('/pub', { listener: ['internal'] }), sub(), { url: '^/status$', methods: 'status' }] });
  try {
    const at = async (door, method, where, body) => (await http({ port: door }, method, where, { body })).status;
    const body = JSON.stringify({ name: 'e', channel: 'c', data: 'd' });
    const events = signedTarget('POST', `/apps/${APP.id}/events`, { body });
    for (const [method, where, what] of [['POST', events, body], ['GET', `/login?app_id=${APP.id}&app_key=${APP.key}&app_secret=${APP.secret}`], ['POST', '/pub/x', 'm'], ['GET', '/metrics'], ['GET', '/health/live'], ['GET', '/'], ['GET', '/status']]) {
      assert.equal(await at(port, method, where, what), 404, `${where} on the public door`);
      assert.ok((await at(internal, method, where, what)) < 300, `${where} on the internal door`);
    }
    const client = await WsConn.connect({ port }, `/app/${APP.key}?protocol=7`);
    assert.equal(JSON.parse((await client.message()).text).event, 'pusher:connection_established');
    client.destroy();
  } finally {
    await server.stop();
  }
});

fanwireOnly(WHY, 'a unix socket has its permissions, and takes PROXY headers', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-unix-'));
  const [plain, proxied] = [path.join(dir, 'plain'), path.join(dir, 'proxied')];
  const port = await freePort();
  const toml = `listen = ["127.0.0.1:${port}", "unix:${plain} mode=606", "unix:${proxied} proxy_protocol mode=660"]\n[limits]\nconnections_per_address = 1\n`;
  await withNode({ port, toml, shards: 3 }, async (server) => {
    assert.equal(fs.statSync(plain).mode & 0o777, 0o606);
    assert.equal(fs.statSync(proxied).mode & 0o777, 0o660);
    for (let i = 0; i < 6; i += 1) {
      assert.equal((await http({ socketPath: plain }, 'GET', '/health/live')).status, 200);
      await isSeenAs(server, await connectAs({ socketPath: proxied }, '192.0.2.7', 44000 + i), `192.0.2.7:${44000 + i}`);
    }
  });
  assert.ok(!fs.existsSync(plain) && !fs.existsSync(proxied));
  fs.rmSync(dir, { recursive: true });
});

fanwireOnly(WHY, 'haproxy speaks for its clients, in both versions', async () => {
  const fronts = [await freePort(), await freePort()];
  await withDoors({}, async (server, door) => {
    const front = (port, options) => `listen p${port}\n  mode tcp\n  bind 127.0.0.1:${port}\n  server s 127.0.0.1:${door.port} ${options} check inter 200ms\n`;
    const config = `global\n  maxconn 100\ndefaults\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n${front(fronts[0], 'send-proxy')}${front(fronts[1], 'send-proxy-v2 proxy-v2-options crc32c,unique-id')}`;
    await withProgram(['haproxy', '-db', '-f'], config, fronts[0], async () => {
      for (const port of fronts) {
        const name = channel('haproxy');
        const socket = await eventually(() => WsConn.connect({ port }, `/sub/${name}`), 'a socket through haproxy', WAIT_MS);
        await server.publish(name, 'hello');
        assert.equal((await socket.message()).text, 'hello');
        socket.destroy();
        const conn = await Conn.open({ port });
        await isSeenAs(server, conn, `127.0.0.1:${conn.socket.localPort}`);
      }
    });
    assert.equal(await refusals(server, 'proxy_header'), 0, 'checks are understood, too');
  });
});

fanwireOnly(WHY, 'nginx tells whose requests it passes on', async () => {
  const front = await freePort();
  await withDoors({ options: [], toml: 'trusted_proxies = ["127.0.0.1"]\n' }, async (server) => {
    const config = `daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log stderr;\nevents {}\nhttp {\n  access_log off;\n  client_body_temp_path {dir};\n  proxy_temp_path {dir};\n  fastcgi_temp_path {dir};\n  uwsgi_temp_path {dir};\n  scgi_temp_path {dir};\n  server {\n    listen 127.0.0.1:${front};\n    location / {\n      proxy_pass http://127.0.0.1:${server.port};\n      proxy_http_version 1.1;\n      proxy_buffering off;\n      proxy_set_header Upgrade $http_upgrade;\n      proxy_set_header Connection "upgrade";\n      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    }\n  }\n}\n`;
    await withProgram(['nginx', '-e', 'stderr', '-c'], config, front, async () => {
      const { connect } = await import('../support/process.mjs');
      const conn = await connect({ port: front }, { localAddress: '127.0.0.9' });
      // what the client says of itself comes first, and means nothing
      conn.request('GET', '/sub/x', { headers: upgradeHeaders({ 'X-Forwarded-For': '192.0.2.99', 'Sec-WebSocket-Key': 'x' }) });
      assert.equal((await conn.head(WAIT_MS)).status, 400);
      conn.destroy();
      await eventually(() => server.stderr().includes('peer=127.0.0.9:0 '), 'the client in the log', WAIT_MS);
      assert.ok(!server.stderr().includes('192.0.2.99'));
    });
  });
});

fanwireOnly(WHY, 'what cannot be is said at the start', async () => {
  for (const [lines, said] of [
    ['trusted_proxies = ["10.0.0.1/8"]', 'has bits beyond its prefix'],
    ['origins = ["example.com"]', 'is no origin'],
    ['forwarded_header = "via"', 'x-forwarded-for'],
    ['[pusher]\napi_listener = "internal"', 'there is no `internal_listen`'],
    ['[limits]\nconnects_per_second_per_address = 5000', 'needs a number from 0 to 1000'],
  ]) {
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-door-')), 'c.toml');
    fs.writeFileSync(file, `${lines}\n`);
    const { code, output } = await runToEnd(['check', '--config', file]);
    assert.notEqual(code, 0);
    assert.ok(output.includes(said), output);
    fs.rmSync(path.dirname(file), { recursive: true });
  }
});
