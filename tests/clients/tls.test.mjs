// TLS with the clients that people have: Node.js, npm's ws, eventsource and pusher-js, curl, the openssl command
// (fanwire only).
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import https from 'node:https';
import { createRequire } from 'node:module';
import net from 'node:net';
import { after, before } from 'node:test';
import { promisify } from 'node:util';
import { WebSocket } from 'ws';
import EventSource from 'eventsource';
import { fanwireOnly, within } from '../support/cases.mjs';
import { connect, metric, withNode } from '../support/process.mjs';
import { requestBytes } from '../support/raw.mjs';
import { TARGET, channel, eventually, pub, runToEnd, sub } from '../support/server.mjs';
import { Authority, SecureConn, WAIT_MS, secure, secureWebSocket, startTls, tlsToml } from '../support/tls.mjs';
import { OP, WsConn, frameBytes, upgradeHeaders } from '../support/websocket.mjs';

const WHY = 'nginx has TLS of its own';
const require = createRequire(import.meta.url);
const run = promisify(execFile);
const tlsTest = (name, fn) => fanwireOnly(WHY, name, fn);

const ours = TARGET === 'fanwire';
const authority = ours && new Authority();
const first = ours && authority.sign('first', 'DNS:push.example,DNS:localhost,IP:127.0.0.1');
const second = ours && authority.sign('second', 'DNS:*.other.example', { rsa: true });
const client = ours && authority.sign('publisher', 'URI:spiffe://back-end/1');
if (ours) after(() => authority.remove());

const ca = ours && authority.pem;
const LINES = ours && `client_ca = "${authority.file('ca.pem')}"`;
const TOML = ours && tlsToml([first, second], LINES);
const LOCATIONS = [pub('/pub', { buffer_messages: 10 }), sub(), sub('/drop', { slow_consumer: 'drop-oldest' })];

/** The node of most tests. */
const node = {};
if (ours) {
  before(async () => Object.setPrototypeOf(node, await startTls({ toml: TOML, locations: LOCATIONS, strict: true, shards: 3, args: ['--echo'] })));
  after(() => Object.getPrototypeOf(node).stop?.());
}
const refused = (reason, server = node) => metric(server, 'fanwire_refusals_total', `reason="${reason}"`);
/** Waits until one more was refused for this reason. */
async function oneMore(reason, act, server = node) {
  const before = await refused(reason, server);
  await act();
  await eventually(async () => (await refused(reason, server)) === before + 1, `one more ${reason}`, WAIT_MS);
}

/** A request by node:https on a connection of its own. */
function ask(port, method, where, { body, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const request = https.request({ host: '127.0.0.1', servername: 'push.example', port, method, path: where, agent: false, ca, ...options }, (answer) => {
      let text = '';
      answer.on('data', (part) => (text += part)).on('end', () => resolve({ status: answer.statusCode, text }));
      answer.on('error', reject);
    });
    request.on('error', reject).end(body);
  });
}

tlsTest('both versions, ALPN, and the certificate for the name', async () => {
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    for (const [servername, subject] of [
      ['push.example', 'first'],
      ['A.other.example', 'second'],
      ['nobody.example', 'first'],
    ]) {
      const options = { ca, servername, minVersion: version, maxVersion: version, ALPNProtocols: ['h2', 'http/1.1'], checkServerIdentity: () => undefined };
      const conn = await secure(node.tlsPort, options);
      assert.equal(conn.socket.getProtocol(), version);
      assert.equal(conn.socket.alpnProtocol, 'http/1.1');
      assert.equal(conn.socket.getPeerCertificate().subject.CN, subject);
      assert.equal((await conn.request('GET', '/health/live').response()).status, 200);
      conn.destroy();
    }
  }
  await oneMore('tls_alpn', () => assert.rejects(secure(node.tlsPort, { ca, ALPNProtocols: ['h2'] })));
  await oneMore('tls_no_certificate', () =>
    assert.rejects(secure(node.tlsPort, { ca, maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' })));
  const old = { ca, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' };
  await oneMore('tls_version', () => assert.rejects(secure(node.tlsPort, old)));
});

tlsTest('curl and openssl s_client, which resumes', async () => {
  const where = ['--cacert', authority.file('ca.pem'), '--resolve', `push.example:${node.tlsPort}:127.0.0.1`];
  for (const version of [['--tls-max', '1.2'], ['--tlsv1.3']]) {
    const { stdout } = await run('curl', ['-sS', ...version, ...where, '-w', '%{http_code}', '-o', '/dev/null', `https://push.example:${node.tlsPort}/health/live`]);
    assert.equal(stdout, '200');
  }
  for (const version of ['-tls1_2', '-tls1_3']) {
    const session = authority.file(`session${version}`);
    const words = ['s_client', '-connect', `127.0.0.1:${node.tlsPort}`, '-servername', 'push.example', '-CAfile', authority.file('ca.pem'), version, '-ign_eof'];
    for (const [more, seen] of [[['-sess_out', session], /^New, /m], [['-sess_in', session], /^Reused, /m]]) {
      const running = run('openssl', [...words, ...more]);
      running.child.stdin.end('GET /health/live HTTP/1.0\r\n\r\n');
      const { stdout } = await running;
      assert.match(stdout, seen);
      assert.match(stdout, /HTTP\/1\.[01] 200/);
      assert.match(stdout, /Verify return code: 0/);
    }
  }
});

tlsTest('a session is resumed on whatever shard', async () => {
  const before = await metric(node, 'fanwire_tls_handshakes_total', 'resumed');
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    const options = { ca, minVersion: version, maxVersion: version };
    const begun = await secure(node.tlsPort, options);
    assert.equal((await begun.request('GET', '/health/live').response()).status, 200);
    const session = await within(begun.session, WAIT_MS, 'a ticket');
    begun.destroy();
    for (let i = 0; i < 8; i += 1) {
      const again = await secure(node.tlsPort, { ...options, session });
      assert.ok(again.socket.isSessionReused());
      assert.equal((await again.request('GET', '/health/live').response()).status, 200);
      again.destroy();
    }
  }
  assert.equal((await metric(node, 'fanwire_tls_handshakes_total', 'resumed')) - before, 16);
});

tlsTest('ws, EventSource and pusher-js', async () => {
  const name = channel();
  const socket = new WebSocket(`wss://localhost:${node.tlsPort}/sub/${name}`, { ca });
  const heard = [];
  socket.on('message', (text) => heard.push(String(text)));
  const source = new EventSource(`https://localhost:${node.tlsPort}/sub/${name}`, { https: { ca } });
  source.onmessage = ({ data }) => heard.push(data);
  await node.subscribers(name, 2);
  assert.equal((await ask(node.tlsPort, 'POST', `/pub/${name}`, { body: 'hello' })).status, 201);
  await eventually(() => heard.length === 2, 'both have heard', WAIT_MS);
  assert.deepEqual(heard, ['hello', 'hello']);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.close(1000);
  source.close();
  assert.equal(await within(closed, WAIT_MS, 'the close'), 1000);

  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'; // it takes no authority
  const Pusher = require('pusher-js');
  const pusher = new Pusher('dev-key', { cluster: '', wsHost: '127.0.0.1', wssPort: node.tlsPort, forceTLS: true, enabledTransports: ['wss', 'ws'], disableStats: true });
  const bound = new Promise((resolve) => pusher.subscribe('news').bind('pusher:subscription_succeeded', resolve));
  await within(bound, WAIT_MS, 'the subscription');
  assert.equal(pusher.connection.state, 'connected');
  pusher.disconnect();
  delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
});

tlsTest('publishing with a client certificate and without', async () => {
  const post = (options) => ask(node.strictPort, 'POST', `/pub/${channel()}`, { body: 'x', ...options });
  const pair = { cert: fs.readFileSync(client.cert), key: fs.readFileSync(client.key) };
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
    assert.equal((await post({ ...pair, maxVersion })).status, 202);
    await oneMore('tls_client_certificate', () => assert.rejects(post({ maxVersion })));
  }
  assert.match(node.stderr(), /client certificate accepted .*CN=publisher, spiffe:\/\/back-end\/1/);
  assert.match(node.stderr(), /client certificate missing/);
  const stranger = new Authority('stranger');
  const { cert, key } = stranger.sign('publisher', 'URI:spiffe://back-end/1');
  const wrong = { cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
  stranger.remove();
  await oneMore('tls_client_certificate', () => assert.rejects(post(wrong)));
});

tlsTest('fanwire publish and tail over TLS', async () => {
  const name = channel();
  const [url, trust] = [['--url', `https://localhost:${node.tlsPort}`], ['--ca', authority.file('ca.pem')]];
  const published = await runToEnd(['publish', ...url, ...trust, name, 'hello']);
  assert.equal(published.code, 0, published.output);
  for (const transport of ['sse', 'ws', 'longpoll']) {
    const { code, output } = await runToEnd(['tail', ...url, ...trust, '--transport', transport, '-n', '1', name], { timeoutMs: WAIT_MS });
    assert.equal(code, 0, output);
    assert.match(output, /hello/);
  }
  const stranger = await runToEnd(['publish', ...url, name, 'x']);
  assert.equal(stranger.code, 1);
  assert.match(stranger.output, /cannot connect to localhost:\d+: .*certificate/i);
  assert.match((await runToEnd(['publish', ...url, '--ca', first.key, name, 'x'])).output, /--ca .*: there is no certificate in it/);
});

/** Passes bytes on in pieces of at most `most`, both ways. */
async function relay(port, most, body) {
  const server = net.createServer((near) => {
    const far = net.connect({ host: '127.0.0.1', port, noDelay: true });
    near.setNoDelay(true);
    for (const [from, to] of [[near, far], [far, near]]) {
      let chain = Promise.resolve();
      from.on('data', (bytes) => {
        chain = chain.then(async () => {
          for (let at = 0, next; at < bytes.length; at = next) {
            next = Math.min(bytes.length, at + 1 + Math.floor(Math.random() * most));
            await new Promise((done) => to.write(bytes.subarray(at, next), () => setImmediate(done)));
          }
        });
      });
      from.on('error', () => to.destroy());
      from.on('close', () => chain.then(() => to.destroy()));
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await body(server.address().port);
  } finally {
    server.close();
  }
}

tlsTest('records in pieces of any size, both ways', async () => {
  for (const [most, length] of [[1, 700], [7, 4_000], [3_000, 300_000]]) {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
      await relay(node.tlsPort, most, async (port) => {
        const ws = await secureWebSocket(port, '/echo?shard=1', { ca, maxVersion });
        const text = 'abcdefg'.repeat(length / 7);
        for (const part of [text, 'x', text]) {
          ws.text(part);
          assert.equal((await ws.message()).text, part);
        }
        ws.destroy();
      });
    }
  }
});

const DRIVERS = ['auto', 'epoll'];
const withTls = (options, body) => withNode({ locations: LOCATIONS, ...options }, body, startTls);

for (const driver of DRIVERS) {
  tlsTest(`large messages, and connections that move between shards (${driver})`, () =>
    withTls({ toml: TOML, shards: 3, driver, args: ['--echo'] }, async (server) => {
      const big = Buffer.alloc(1024 * 1024 - 100, 'big ').toString();
      for (let i = 0; i < 6; i += 1) {
        const conn = await secure(server.tlsPort, { ca });
        const upgrade = requestBytes('GET', `/echo?shard=${i % 3}`, { headers: upgradeHeaders() });
        conn.send(Buffer.concat([requestBytes('GET', '/health/live'), upgrade, frameBytes(OP.text, 'first'), frameBytes(OP.text, big.slice(0, 100_000))]));
        assert.equal((await conn.response()).status, 200);
        const head = await conn.head();
        assert.equal(head.header('X-Fanwire-Shard'), String(i % 3));
        const ws = new WsConn(conn, head);
        assert.equal((await ws.message()).text, 'first');
        assert.equal((await ws.message()).text.length, 100_000);
        if (i < 3) {
          ws.text(big);
          assert.ok((await ws.message()).text === big);
        }
        ws.close(1000);
        assert.equal((await ws.message()).code, 1000);
        await conn.until(() => (conn.ended ? true : undefined), 'the end');
      }
      assert.ok((await metric(server, 'fanwire_connections_moved_total')) > 0);
      await eventually(async () => (await metric(server, 'fanwire_connections')) === 1, 'all are closed', WAIT_MS);
    }));

  tlsTest(`a reader that stops keeps whole messages and the newest (${driver})`, () =>
    withTls({ toml: `[limits]\noutbox_bytes = "32KiB"\n${TOML}`, shards: 1, driver }, async (server) => {
      const [name, count] = [channel(), 400];
      const text = (i) => `<${i}>${'p'.repeat(i % 7 === 0 ? 40_000 : 12_000)}`;
      const ws = await secureWebSocket(server.tlsPort, `/drop/${name}`, { ca });
      await server.subscribers(name, 1);
      ws.conn.socket.pause();
      const publisher = await connect(server);
      for (let i = 0; i < count; i += 1) {
        const { status } = await publisher.send(requestBytes('POST', `/pub/${name}`, { body: text(i) })).response();
        assert.ok(status === 201 || status === 202);
      }
      publisher.destroy();
      ws.conn.socket.resume();
      const got = [];
      while (got.at(-1) !== count - 1) {
        const message = (await ws.message()).text;
        got.push(Number(/^<(\d+)>/.exec(message)[1]));
        assert.ok(message === text(got.at(-1)), 'the message is whole');
      }
      assert.deepEqual(got, [...new Set(got)].sort((a, b) => a - b));
      assert.ok(got.length < count);
      assert.equal(await metric(server, 'fanwire_dropped_total'), count - got.length);
      ws.destroy();
    }));
}

/** Reads all that the node has to say to these bytes. */
async function answerTo(bytes, port = node.tlsPort) {
  const conn = new SecureConn(await new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true }, () => resolve(socket));
  }));
  if (bytes) conn.send(bytes);
  await conn.until(() => (conn.ended ? true : undefined), 'the node to close');
  conn.destroy();
  return conn.input.toString('latin1');
}

tlsTest('plain HTTP and garbage on a TLS port', async () => {
  await oneMore('tls_plain_http', async () =>
    assert.match(await answerTo('GET / HTTP/1.1\r\nHost: a\r\n\r\n'), /^HTTP\/1\.1 400 [^]*\r\n\r\nplain HTTP request sent to a TLS port\n$/));
  await oneMore('tls_garbage', async () => assert.equal(await answerTo('\0\x01\x02'), ''));
  // a record that is none: an alert says so
  await oneMore('tls_record', async () => assert.match(await answerTo(Buffer.from('16ff0000050102030405', 'hex')), /^\x15\x03/));
  assert.equal((await ask(node.tlsPort, 'GET', '/health/live')).status, 200);
});

tlsTest('handshakes that stop half way are ended, and only so many may be under way', () =>
  withTls({ toml: tlsToml([first], 'handshake_timeout = "1s"\npending_handshakes = 2'), shards: 2 }, async (server) => {
    const hello = Buffer.from('16030102000100', 'hex');
    const silent = [answerTo(hello, server.tlsPort), answerTo(undefined, server.tlsPort)];
    await eventually(async () => (await metric(server, 'fanwire_tls_pending')) === 2, 'both are under way', WAIT_MS);
    await oneMore('tls_pending_handshakes', async () => assert.match(await answerTo(hello, server.tlsPort), /^\x15\x03[^]{5}$/), server);
    assert.deepEqual(await Promise.all(silent), ['', '']);
    assert.equal(await refused('tls_handshake_timeout', server), 2);
    assert.equal((await ask(server.tlsPort, 'GET', '/health/live')).status, 200);
    assert.equal(await metric(server, 'fanwire_tls_pending'), 0);
    const later = await secureWebSocket(server.tlsPort, `/sub/${channel()}`, { ca });
    await later.conn.staysQuiet(1_500); // the handshake's time is not the connection's
    later.destroy();
  }));

tlsTest('SIGHUP takes changed certificates into use and disconnects nobody', () => {
  const pair = { cert: authority.file('changing.pem'), key: authority.file('changing.key') };
  const put = (from) => {
    fs.copyFileSync(from.cert, pair.cert);
    fs.copyFileSync(from.key, pair.key);
  };
  put(first);
  return withTls({ toml: tlsToml([pair]), shards: 2, args: ['--echo'] }, async (server) => {
    const ws = await secureWebSocket(server.tlsPort, '/echo', { ca });
    let running = true;
    const traffic = (async () => {
      for (let i = 0; running; i += 1) {
        ws.text(`${i}`);
        assert.equal((await ws.message()).text, `${i}`);
      }
    })();
    const shown = async () => {
      const conn = await secure(server.tlsPort, { ca, checkServerIdentity: () => undefined });
      const { CN } = conn.socket.getPeerCertificate().subject;
      conn.destroy();
      return CN;
    };
    assert.equal(await shown(), 'first');
    put(second);
    server.child.kill('SIGHUP');
    await eventually(async () => (await shown()) === 'second', 'the new certificate', WAIT_MS);
    fs.writeFileSync(pair.key, fs.readFileSync(first.key));
    server.child.kill('SIGHUP');
    await eventually(() => /certificates not reloaded: .*changing\.key: is not the key of/.test(server.stderr()), 'the error', WAIT_MS);
    assert.equal(await shown(), 'second');
    running = false;
    await traffic;
    ws.destroy();
  });
});

tlsTest('a configuration whose certificates cannot be used is refused with the place', async () => {
  const file = authority.file('bad.toml');
  const check = async (toml) => {
    fs.writeFileSync(file, toml);
    return (await runToEnd(['check', '--config', file])).output;
  };
  const listen = 'listen = ["127.0.0.1:8443 tls"]\n';
  assert.match(await check(listen), /bad\.toml:1:10: `127\.0\.0\.1:8443 tls` needs a certificate: add \[\[certificate\]\]/);
  const strict = `listen = ["127.0.0.1:8443 tls client_certificates"]\n${tlsToml([first])}`;
  assert.match(await check(strict), /bad\.toml:1:10: .* set `client_ca`/);
  assert.match(await check(tlsToml([{ ...first, key: second.key }])), /bad\.toml:5:7: .*second\.key: is not the key of .*first\.pem/);
  assert.match(await check(tlsToml([{ ...first, cert: '/nowhere.pem' }])), /bad\.toml:4:15: \/nowhere\.pem: cannot be opened/);
  assert.match(await check(tlsToml([{ ...first, cert: first.key }])), /there is no certificate in it/);
  const soon = authority.sign('soon', 'DNS:a', { days: 3 });
  assert.match(await check(listen + tlsToml([soon])), /warning: .*soon\.pem: the certificate expires in [23] days[^]*OK: listen/);
  assert.match(await check(listen + tlsToml([first])), /^OK: listen 127\.0\.0\.1:8443 tls/);
});
