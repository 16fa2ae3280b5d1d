// The node as a process: start, addresses, health, metrics, drain (fanwire only).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { fanwireOnly, within } from '../support/cases.mjs';
import { channel, eventually, freePort, pub, runToEnd, start, sub } from '../support/server.mjs';
import { Conn, http, open, sleep } from '../support/raw.mjs';
import { OP, WsConn } from '../support/websocket.mjs';
import net from 'node:net';

const WHY = 'about our own process';

fanwireOnly(WHY, 'without a configuration: /pub and /sub with every transport', async () => {
  const server = await start();
  try {
    const name = channel();
    for (const method of ['POST', 'PUT']) assert.equal((await server.request(method, `/pub/${name}`, { body: method })).status, 202);
    assert.equal((await server.info(name)).messages, 2);
    assert.equal((await server.request('GET', `/sub/${name}`)).text, 'POST');
    const events = await open(server, 'GET', `/sub/${name}`, { headers: { Accept: 'text/event-stream' } });
    await events.readThrough('data: PUT\n\n');
    const socket = await WsConn.connect(server, `/sub/${name}`);
    assert.equal((await socket.frame()).text, 'POST');
    const publisher = await WsConn.connect(server, `/pub/${name}`);
    publisher.text('over a socket');
    assert.match((await publisher.frame()).text, /^queued messages: 3\r\n/);
    const parts = await open(server, 'GET', `/sub/${name}`, { headers: { Accept: 'multipart/mixed' } });
    assert.match((await parts.head()).header('Content-Type'), /^multipart\/mixed/);
    const chunks = await open(server, 'GET', `/sub/${name}`, { headers: { TE: 'chunked' } });
    assert.equal((await chunks.head()).header('Transfer-Encoding'), 'chunked');
    for (const c of [events, parts, chunks, socket, publisher]) c.destroy();
    assert.equal((await server.request('DELETE', `/pub/${name}`)).status, 200);
    assert.equal((await server.request('GET', '/somewhere-else')).status, 404);
  } finally {
    await server.stop();
  }
});

fanwireOnly(WHY, 'health and metrics', async () => {
  const server = await start();
  try {
    assert.equal((await server.request('GET', '/health/live')).status, 200);
    assert.equal((await server.request('GET', '/health/ready')).status, 200);
    await server.publish(channel(), 'x');
    const metrics = await server.request('GET', '/metrics');
    assert.equal(metrics.status, 200);
    assert.match(metrics.header('Content-Type'), /text\/plain|openmetrics/);
    const samples = metrics.text.split('\n').filter((line) => line && !line.startsWith('#'));
    assert.ok(samples.length > 5);
    for (const line of samples) assert.match(line, /^[a-zA-Z_:][\w:]*(\{.*\})? [-+.\dNaInfe]+$/);
  } finally {
    await server.stop();
  }
});

fanwireOnly(WHY, 'metrics count what happened', async () => {
  const server = await start();
  try {
    const total = async () => {
      const { text } = await server.request('GET', '/metrics');
      return text.split('\n').filter((l) => /publi/i.test(l) && !l.startsWith('#')).reduce((sum, l) => sum + Number(l.split(' ').at(-1)), 0);
    };
    const before = await total();
    const name = channel();
    for (let i = 0; i < 7; i += 1) await server.publish(name, 'x');
    await eventually(async () => (await total()) - before >= 7, 'seven publications in the metrics');
  } finally {
    await server.stop();
  }
});

fanwireOnly(WHY, 'SIGTERM: sockets get 1001, streams end, held polls are answered, exit 0', async () => {
  const server = await start();
  const name = channel();
  const socket = await WsConn.connect(server, `/sub/${name}`);
  const events = await open(server, 'GET', `/sub/${name}`, { headers: { Accept: 'text/event-stream' } });
  await events.readThrough(': hi\n\n');
  const chunks = await open(server, 'GET', `/sub/${name}`, { headers: { TE: 'chunked' } });
  await chunks.head();
  const poll = await open(server, 'GET', `/sub/${name}`);
  const idle = await Conn.open(server);
  idle.request('GET', `/pub/${name}`);
  await idle.response();
  await server.subscribers(name, 4);
  server.child.kill('SIGTERM');
  const close = await socket.message();
  assert.deepEqual([close.opcode, close.code], [OP.close, 1001]);
  socket.close(1001);
  await events.readToEnd();
  await chunks.readToEnd();
  await idle.readToEnd();
  const answer = await poll.response();
  assert.ok(answer.status >= 200 && answer.status < 600, `status ${answer.status}`);
  assert.notEqual(answer.status, 200, 'not a message');
  const exit = await within(server.exit, 5000, 'the exit');
  assert.equal(exit.code, 0);
  for (const c of [socket, events, chunks, poll, idle]) c.destroy();
  await server.stop();
});

fanwireOnly(WHY, 'SIGTERM: a publish that is under way is answered', async () => {
  const server = await start();
  const conn = await Conn.open(server);
  conn.send(`POST /pub/${channel()} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel`);
  await sleep(50);
  server.child.kill('SIGTERM');
  await sleep(50);
  conn.send('lo');
  const answer = await conn.response('POST');
  assert.ok([202, 503].includes(answer.status), `status ${answer.status}`);
  conn.destroy();
  assert.equal((await within(server.exit, 6000, 'the exit')).code, 0);
  await server.stop();
});

fanwireOnly(WHY, 'SIGTERM: clients that do not answer the close do not hold it up for ever', async () => {
  const server = await start({ toml: 'drain = "1s"\n\n' });
  const name = channel();
  const sockets = await Promise.all(Array.from({ length: 20 }, () => WsConn.connect(server, `/sub/${name}`)));
  for (const s of sockets) s.conn.socket.pause();
  server.child.kill('SIGTERM');
  assert.equal((await within(server.exit, 5000, 'the exit')).code, 0);
  for (const s of sockets) s.destroy();
  await server.stop();
});

fanwireOnly(WHY, 'SIGINT ends it as well', async () => {
  const server = await start();
  server.child.kill('SIGINT');
  assert.equal((await within(server.exit, 5000, 'the exit')).code, 0);
  await server.stop();
});

fanwireOnly(WHY, 'after SIGTERM nothing new is accepted', async () => {
  const server = await start();
  const socket = await WsConn.connect(server, `/sub/${channel()}`);
  server.child.kill('SIGTERM');
  await socket.message();
  const late = await http(server, 'GET', '/health/ready', { timeoutMs: 2000 }).then((a) => a.status, () => 'refused');
  assert.ok(late === 'refused' || late === 503, `late: ${late}`);
  socket.destroy();
  assert.equal((await within(server.exit, 5000, 'the exit')).code, 0);
  await server.stop();
});

fanwireOnly(WHY, 'a port in use is an error that names it', async () => {
  const holder = net.createServer();
  const port = await freePort();
  await new Promise((done) => holder.listen(port, '127.0.0.1', done));
  try {
    const { code, output } = await runToEnd(['serve', '--listen', `127.0.0.1:${port}`]);
    assert.notEqual(code, 0);
    assert.match(output, new RegExp(String(port)));
    assert.match(output, /in use/i);
    assert.doesNotMatch(output, /panicked/);
  } finally {
    holder.close();
  }
});

fanwireOnly(WHY, 'configuration mistakes are errors with a place', async () => {
  const dir = fs.mkdtempSync('/tmp/fanwire-config-');
  const file = `${dir}/bad.toml`;
  try {
    for (const text of ['nonsense = 1\n', '[[location]]\nurl = "^/x$"\nmethods = "publisher"\nchannel_idd = ["x"]\n', '[[location]]\nurl = "("\nmethods = "publisher"\n', 'listen = [\n']) {
      fs.writeFileSync(file, text);
      const { code, output } = await runToEnd(['serve', '--config', file]);
      assert.notEqual(code, 0, text);
      assert.match(output, /bad\.toml|line \d|\d+:\d+/, text);
      assert.doesNotMatch(output, /panicked/);
    }
    const missing = await runToEnd(['serve', '--config', `${dir}/none.toml`]);
    assert.notEqual(missing.code, 0);
    assert.match(missing.output, /none\.toml/);
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
});

fanwireOnly(WHY, 'star with credentials on a relay location is a mistake', async () => {
  const dir = fs.mkdtempSync('/tmp/fanwire-config-');
  const file = `${dir}/bad.toml`;
  fs.writeFileSync(file, '[[location]]\nurl = "^/x/(.+)$"\nmethods = "subscriber"\nflavour = "relay"\nallow_origin = "*"\nallow_credentials = true\n');
  const { code } = await runToEnd(['serve', '--config', file]);
  fs.rmSync(dir, { recursive: true });
  assert.notEqual(code, 0);
});

fanwireOnly(WHY, 'a unix socket serves the same, and is removed at the end', async () => {
  const port = await freePort();
  const dir = fs.mkdtempSync('/tmp/fanwire-unix-');
  const socketPath = `${dir}/node.sock`;
  const server = await start({ toml: `listen = ["127.0.0.1:${port}", "unix:${socketPath}"]\n\n`, locations: [pub(), sub()], port });
  try {
    const unix = { socketPath };
    const name = channel();
    assert.equal((await http(unix, 'POST', `/pub/${name}`, { body: 'x' })).status, 202);
    assert.equal((await http(unix, 'GET', `/sub/${name}`)).text, 'x');
    assert.equal((await server.request('GET', `/sub/${name}`)).text, 'x', 'one channel space');
    const socket = await WsConn.connect(unix, `/sub/${name}`);
    assert.equal((await socket.frame()).text, 'x');
    socket.destroy();
  } finally {
    await server.stop();
  }
  assert.equal(fs.existsSync(socketPath), false);
  fs.rmSync(dir, { recursive: true });
});

fanwireOnly(WHY, 'two addresses at once', async () => {
  const [port, other] = [await freePort(), await freePort()];
  const server = await start({ toml: `listen = ["127.0.0.1:${port}", "127.0.0.1:${other}"]\n\n`, locations: [pub(), sub()], port });
  try {
    const name = channel();
    await server.publish(name, 'x');
    assert.equal((await http({ port: other }, 'GET', `/sub/${name}`)).text, 'x');
  } finally {
    await server.stop();
  }
});
