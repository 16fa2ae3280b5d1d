// SIGUSR2 with TLS: keys stay in the old process, and nobody notices (fanwire only).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fanwireOnly, within } from '../support/cases.mjs';
import { metric } from '../support/process.mjs';
import { requestBytes } from '../support/raw.mjs';
import { channel, eventually, pub, sub } from '../support/server.mjs';
import { Authority, SecureConn, WAIT_MS, secure, secureWebSocket, startTls, tlsToml } from '../support/tls.mjs';

const LISTENERS = 10;

/** A proxy that keeps what the client says after its first words until it is released. */
async function holding(port) {
  let release;
  const released = new Promise((resolve) => (release = resolve));
  const server = net.createServer((near) => {
    const far = net.connect({ host: '127.0.0.1', port, noDelay: true });
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
    far.pipe(near);
    near.once('data', async (first) => {
      near.pause();
      far.write(first);
      await released;
      near.pipe(far);
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: server.address().port, release, close: () => server.close() };
}

/** Publishes one message after the other until told to stop; each has to be taken. */
class Publisher {
  constructor(name, publish) {
    Object.assign(this, { name, count: 0, stopped: false });
    this.over = (async () => {
      while (!this.stopped) {
        const { status } = await publish(`${name}.${this.count}`).catch((error) => {
          throw new Error(`${name}: publish ${this.count} failed: ${error.message}`);
        });
        assert.ok(status === 201 || status === 202, `${name}: publish ${this.count} was answered ${status}`);
        this.count += 1;
      }
    })();
    this.over.catch(() => {}); // it is looked at by who waits
  }

  /** Waits until it has published so many more. */
  async goesOn(more) {
    const from = this.count;
    await Promise.race([this.over, eventually(() => this.count >= from + more, `${this.name} goes on`, WAIT_MS)]);
  }

  async stop() {
    this.stopped = true;
    await this.over;
    return this.count;
  }
}

fanwireOnly('about our own process', 'publishers over TLS are not refused, listeners over TLS are told to come back', async () => {
  const authority = new Authority();
  const ca = authority.pem;
  const data = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-upgrade-tls-'));
  const toml = `drain = "4s"\nstore = { data = ${JSON.stringify(data)} }\n[limits]\nheader_timeout = "60s"\n${tlsToml([authority.sign('push', 'DNS:push.example')], 'handshake_timeout = "60s"')}`;
  const locations = [pub('/pub', { durable: true, buffer_messages: 1_000_000, message_timeout: '0' }), sub()];
  const server = await startTls({ toml, locations, shards: 2 });
  const port = server.tlsPort;
  const [name, quiet] = [channel('p'), channel('q')];
  let heir;
  try {
    const post = (agent) => (text) =>
      new Promise((resolve, reject) => {
        const request = https.request({ host: '127.0.0.1', servername: 'push.example', port, ca, agent, method: 'POST', path: `/pub/${name}` }, (answer) => {
          answer.resume().on('end', () => resolve({ status: answer.statusCode })).on('error', reject);
        });
        request.on('error', reject).end(text);
      });
    let pieces;
    const inPieces = async (text) => {
      pieces ??= await secure(port, { ca });
      const bytes = requestBytes('POST', `/pub/${name}`, { body: text });
      for (const part of [bytes.subarray(0, 20), bytes.subarray(20, -3), bytes.subarray(-3)]) {
        pieces.send(part);
        await new Promise(setImmediate);
      }
      const answer = await pieces.response('POST', WAIT_MS);
      if (answer.header('Connection') === 'close') {
        pieces.destroy();
        pieces = undefined;
      }
      return answer;
    };
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    const publishers = [
      new Publisher('kept', post(agent)),
      new Publisher('fresh', post(false)),
      new Publisher('pieces', inPieces),
    ];

    const idle = await secure(port, { ca });
    assert.equal((await idle.request('GET', `/pub/${quiet}`).response()).status, 404);
    const [slow, late] = [await secure(port, { ca }), await secure(port, { ca })];
    for (const conn of [slow, late]) assert.equal((await conn.request('GET', `/pub/${quiet}`).response()).status, 404);
    const begun = await secure(port, { ca });
    begun.send(`POST /pub/${quiet} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel`);
    const hold = await holding(port);
    const shaking = secure(hold.port, { ca });
    shaking.catch(() => {});
    const ends = [];
    const ended = (what) => ends.push({ what, at: Date.now() });
    const sockets = await Promise.all(Array.from({ length: LISTENERS }, () => secureWebSocket(port, `/sub/${quiet}`, { ca })));
    const streams = await Promise.all(
      Array.from({ length: LISTENERS }, async () => {
        const conn = await secure(port, { ca });
        conn.request('GET', `/sub/${quiet}`, { headers: { Accept: 'text/event-stream' } });
        assert.equal((await conn.head()).status, 200);
        await conn.readThrough(': hi\n\n', WAIT_MS);
        return conn;
      }),
    );
    const poll = await secure(port, { ca });
    poll.request('GET', `/sub/${quiet}`);
    await server.subscribers(quiet, 2 * LISTENERS + 1);
    for (const publisher of publishers) await publisher.goesOn(20);

    const hints = [
      ...sockets.map(async (socket) => {
        let message = await within(socket.message(), WAIT_MS, 'a close');
        assert.equal(message.code, 1012);
        ended('socket');
        socket.close(1012);
      }),
      ...streams.map(async (stream) => {
        assert.match(String(await stream.readToEnd(WAIT_MS)), /retry: \d+\n\n/);
        ended('stream');
        stream.destroy();
      }),
      (async () => {
        const answer = await poll.response('GET', WAIT_MS);
        assert.equal(answer.status, 503);
        assert.match(answer.header('Retry-After'), /^\d+$/);
        poll.destroy();
      })(),
    ];
    hints.forEach((hint) => hint.catch(() => {}));

    server.child.kill('SIGUSR2');
    [, heir] = await eventually(() => /handing over to a new process pid=(\d+)/.exec(server.stderr()), 'a new process', WAIT_MS);
    await eventually(() => /handed over; draining/.test(server.stderr()), 'the new process serves', WAIT_MS);
    // Whoever the old process knows asks it, and the new one answers.
    begun.send('lo');
    idle.request('POST', `/pub/${quiet}`, { body: 'later' });
    hold.release();
    const shaken = await within(shaking, WAIT_MS, 'the handshake');
    shaken.request('POST', `/pub/${quiet}`, { body: 'last' });
    for (const conn of [begun, idle, shaken]) {
      const answer = await conn.response('POST', WAIT_MS);
      assert.ok(answer.status === 201 || answer.status === 202, `${answer.status} ${answer.text}`);
      assert.equal(answer.header('Connection'), 'close', 'it comes back to the new process');
      assert.equal((await conn.readToEnd(WAIT_MS)).length, 0);
      conn.destroy();
    }
    // Who begins to listen over the old process is told to come back when that ends.
    late.request('GET', `/sub/${quiet}`, { headers: { Accept: 'text/event-stream' } });
    assert.equal((await late.head(WAIT_MS)).status, 200);
    // Much goes through as well, both ways, however slowly it is read.
    const big = 'big '.repeat(200_000);
    const large = channel('large');
    const sender = await secure(port, { ca });
    sender.request('POST', `/pub/${large}`, { body: big });
    assert.equal((await sender.response('POST', WAIT_MS)).status, 202);
    sender.destroy();
    slow.socket.pause();
    slow.request('GET', `/sub/${large}`);
    for (const publisher of publishers) await publisher.goesOn(20);
    slow.socket.resume();
    const read = await slow.response('GET', WAIT_MS);
    assert.ok(read.status === 200 && read.text === big, `${read.status}, ${read.text.length} bytes`);
    slow.destroy();
    await Promise.all(hints);
    assert.match(String(await late.readToEnd(WAIT_MS)), /: hi\n\n[^]*retry: \d+\n\n$/);
    late.destroy();
    const times = ends.map(({ at }) => at);
    const spread = Math.max(...times) - Math.min(...times);
    assert.ok(spread > 500, `all of them ended within ${spread} ms`);
    const exit = await within(server.exit, WAIT_MS, 'the end of the old process');
    assert.equal(exit.code, 0, server.stderr());
    for (const publisher of publishers) await publisher.goesOn(20);
    const counts = await Promise.all(publishers.map((publisher) => publisher.stop()));
    pieces?.destroy();
    agent.destroy();
    hold.close();

    // Nothing is lost, doubled or out of order.
    const reader = await secure(port, { ca });
    reader.request('GET', `/sub/${name}`, { headers: { Accept: 'text/event-stream' } });
    const total = counts.reduce((sum, count) => sum + count);
    const got = new Map(publishers.map((publisher) => [publisher.name, []]));
    for (let n = 0; n < total; n += 1) {
      const event = await reader.readThrough('\n\n', WAIT_MS);
      const [, who, number] = /data: (\w+)\.(\d+)/.exec(event) ?? [];
      if (who) got.get(who).push(Number(number));
      else n -= 1;
    }
    reader.destroy();
    let left;
    await eventually(async () => (left = await metric(server, 'fanwire_connections')) === 1, 'nobody is left', WAIT_MS).catch(() => assert.fail(`${left} connections are left`));
    for (const [index, publisher] of publishers.entries()) {
      assert.deepEqual(got.get(publisher.name), Array.from({ length: counts[index] }, (_, n) => n), publisher.name);
    }
  } finally {
    if (heir) process.kill(Number(heir), 'SIGKILL');
    await server.stop().catch(() => {});
    authority.remove();
    fs.rmSync(data, { recursive: true, force: true });
  }
});
