// TLS behind a proxy that passes it on unread, with a PROXY header before the handshake (fanwire only).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import { after, before } from 'node:test';
import { fanwireOnly } from '../support/cases.mjs';
import { metric } from '../support/process.mjs';
import { v1, v2 } from '../support/proxy.mjs';
import { Conn } from '../support/raw.mjs';
import { TARGET, eventually, freePort, pub, sub } from '../support/server.mjs';
import { Authority, SecureConn, WAIT_MS, secure, startTls, tlsToml } from '../support/tls.mjs';
import { WsConn, upgradeHeaders } from '../support/websocket.mjs';

const ours = TARGET === 'fanwire';
const proxied = (name, fn) => fanwireOnly('nginx has TLS of its own', name, fn);
const authority = ours && new Authority();
const pair = ours && authority.sign('push', 'DNS:push.example');
const client = ours && authority.sign('publisher', 'URI:spiffe://back-end/1');
const ca = ours && authority.pem;

/** One node, with a door for proxies (`port`) and one that wants client certificates as well (`strict`). */
const node = {};
if (ours) {
  before(async () => {
    Object.assign(node, { door: await freePort(), strictDoor: await freePort() });
    const toml = `trusted_proxies = ["127.0.0.1", "10.9.9.9"]\nlog = "debug"\n[limits]\nconnections_per_address = 4\n${tlsToml([pair], `client_ca = "${authority.file('ca.pem')}"`)}`;
    const listen = [`127.0.0.1:${node.door} tls proxy_protocol`, `127.0.0.1:${node.strictDoor} tls client_certificates proxy_protocol`];
    const server = await startTls({ toml, locations: [pub(), sub()], shards: 2, args: ['--echo', ...listen.flatMap((one) => ['--listen', one])] });
    Object.setPrototypeOf(node, server);
  });
  after(async () => {
    await Object.getPrototypeOf(node).stop?.();
    authority.remove();
  });
}

/** Ways for a header and what comes behind it to arrive. */
const WAYS = {
  'each byte by itself': (header, hello) => [...header, ...hello].map((byte) => Buffer.of(byte)),
  'in one piece with the ClientHello': (header, hello) => [Buffer.concat([header, hello])],
  'the header in bytes, its last one with the ClientHello': (header, hello) => [
    ...[...header.subarray(0, -1)].map((byte) => Buffer.of(byte)),
    Buffer.concat([header.subarray(-1), hello]),
  ],
  'the first byte of the ClientHello with the header': (header, hello) => [
    Buffer.concat([header, hello.subarray(0, 1)]),
    hello.subarray(1),
  ],
};

/** A proxy that says `header` in this way, to `door`; runs `body` with its port. */
async function through(header, body, { way = WAYS['in one piece with the ClientHello'], door = node.door } = {}) {
  const server = net.createServer((near) => {
    near.setNoDelay(true);
    const far = net.connect({ host: '127.0.0.1', port: door, noDelay: true });
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
    far.pipe(near);
    near.once('data', async (hello) => {
      near.pause();
      for (const piece of way(header, hello)) {
        await new Promise((done) => far.write(piece, () => setImmediate(done)));
      }
      near.pipe(far);
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await body(server.address().port);
  } finally {
    server.close();
  }
}

const isLogged = (pattern) => eventually(() => pattern.test(node.stderr()), `a line like ${pattern}`, WAIT_MS);

let ports = 41_000;
for (const [name, way] of Object.entries(WAYS)) {
  proxied(`the header comes before the handshake: ${name}`, async () => {
    for (const header of [v1, v2]) {
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
        const port = (ports += 1);
        await through(header('192.0.2.7', port), async (proxy) => {
          const conn = await secure(proxy, { ca, maxVersion });
          assert.equal((await conn.request('GET', '/health/live').response()).status, 200);
          // Only so many lines for the same reason are logged in a while.
          if (maxVersion === 'TLSv1.3') {
            conn.send('GET /\x01 HTTP/1.1\r\n\r\n');
            assert.equal((await conn.response()).status, 400);
            await isLogged(new RegExp(`peer=192\\.0\\.2\\.7:${port} `));
          }
          conn.destroy();
        }, { way });
      }
    }
  });
}

proxied('lines about TLS name the client, not the proxy', async () => {
  await through(v1('192.0.2.20', 42_001), (proxy) => assert.rejects(secure(proxy, { ca, ALPNProtocols: ['h2'] })));
  await isLogged(/TLS handshake failed.* peer=192\.0\.2\.20:42001 reason="tls_alpn"/);
  await through(v2('192.0.2.21', 42_002), async (proxy) => {
    const conn = await secure(proxy, { ca, cert: fs.readFileSync(client.cert), key: fs.readFileSync(client.key) });
    assert.equal((await conn.request('GET', '/health/live').response()).status, 200);
    conn.destroy();
  }, { door: node.strictDoor });
  await isLogged(/client certificate accepted.* peer=192\.0\.2\.21:42002 .*CN=publisher/);
  const left = new SecureConn((await Conn.open({ port: node.door })).socket);
  left.send(Buffer.concat([v1('192.0.2.22', 42_003), Buffer.from('16030102000100', 'hex')]));
  await eventually(async () => (await metric(node, 'fanwire_tls_pending')) > 0, 'a handshake', WAIT_MS);
  left.halfClose();
  await left.readToEnd(WAIT_MS);
  left.destroy();
  await isLogged(/closed in a TLS handshake.* peer=192\.0\.2\.22:42003 /);
  const plain = await Conn.open({ port: node.door });
  plain.send(Buffer.concat([v1('192.0.2.23', 42_004), Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n')]));
  assert.match((await plain.response('GET', WAIT_MS)).text, /plain HTTP request sent to a TLS port/);
  plain.destroy();
  await isLogged(/peer=192\.0\.2\.23:42004 reason="tls_plain_http"/);
});

proxied('who begins with the handshake is not let in, nor who is announced in a broken header', async () => {
  await assert.rejects(secure(node.door, { ca }));
  await through(Buffer.from('PROXY TCP4 nobody 127.0.0.1 1 2\r\n'), (proxy) => assert.rejects(secure(proxy, { ca })));
  await eventually(async () => (await metric(node, 'fanwire_refusals_total', '"proxy_header"')) === 2, 'both refusals', WAIT_MS);
  await eventually(async () => (await metric(node, 'fanwire_tls_pending')) === 0, 'no handshake is left', WAIT_MS);
});

proxied('connections count for the announced address, and those of a trusted one by what they forward', async () => {
  const kept = [];
  const open = (address) =>
    through(v2(address), async (proxy) => {
      const conn = await secure(proxy, { ca });
      kept.push(conn);
      return conn;
    });
  const stream = async (address, headers = {}) => {
    const conn = await open(address);
    conn.request('GET', '/sub/x', { headers: { Accept: 'text/event-stream', ...headers } });
    return conn.head(WAIT_MS);
  };
  const socket = async (address) => {
    const conn = await open(address);
    conn.request('GET', '/sub/x', { headers: upgradeHeaders() });
    return new WsConn(conn, await conn.head(WAIT_MS));
  };
  let answers = [];
  while (answers.filter(({ status }) => status === 200).length < 4 && answers.length < 40) answers.push(await stream('198.51.100.7'));
  const refused = await stream('198.51.100.7');
  assert.equal(refused.status, 429);
  assert.match(refused.header('Retry-After'), /^[1-9]\d*$/);
  assert.equal((await (await socket('198.51.100.7')).message()).code, 1013);
  assert.equal((await stream('198.51.100.8')).status, 200, 'another address');
  // A proxy behind the proxy: its own address is nobody's.
  answers = [];
  const behind = { 'X-Forwarded-For': '203.0.113.5' };
  while (answers.filter(({ status }) => status === 200).length < 4 && answers.length < 40) answers.push(await stream('10.9.9.9', behind));
  assert.equal((await stream('10.9.9.9', behind)).status, 429);
  assert.equal((await stream('10.9.9.9', { 'X-Forwarded-For': '203.0.113.6' })).status, 200);
  for (const conn of kept) conn.destroy();
  await eventually(async () => (await metric(node, 'fanwire_connections')) === 1, 'all are closed', WAIT_MS);
});

proxied('a connection that moves to another shard takes its client along', async () => {
  for (const shard of [0, 1]) {
    const port = (ports += 1);
    await through(v2('192.0.2.30', port), async (proxy) => {
      const conn = await secure(proxy, { ca });
      conn.request('GET', `/echo?shard=${shard}`, { headers: upgradeHeaders() });
      const ws = new WsConn(conn, await conn.head(WAIT_MS));
      assert.equal(ws.head.header('X-Fanwire-Shard'), String(shard));
      ws.text('hello');
      assert.equal((await ws.message()).text, 'hello');
      ws.send(0xb, 'no such opcode');
      assert.equal((await ws.message()).code, 1002);
      await isLogged(new RegExp(`peer=192\\.0\\.2\\.30:${port} reason="websocket_protocol"`));
      ws.destroy();
    });
  }
});
