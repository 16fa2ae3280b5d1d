// EventSource streams on the wire (nchan sheet, section 4; traps 6-8).
import assert from 'node:assert/strict';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { ifHeaders } from '../support/ids.mjs';
import { open } from '../support/raw.mjs';

const server = useServer({
  locations: [
    pub('/named-pub', { eventsource_event: 'fromloc' }),
    sub('/named-sub', { eventsource_event: 'forall' }),
    sub('/ping', { eventsource_ping_interval: '1s' }),
    sub('/ping-all', { eventsource_ping_interval: '1s', eventsource_ping_comment: 'still here', eventsource_ping_event: 'beat', eventsource_ping_data: 'x' }),
    sub('/timed', { subscriber_timeout: '1s' }),
    sub('/known', { existing_channels_only: true }),
    pub(),
    sub(),
  ],
});

/** Opens a stream and reads its head and greeting. Chunked framing, where used, is taken off. */
async function stream(name, { prefix = '/sub', headers = {}, query = '', accept = 'text/event-stream', version } = {}) {
  const conn = await open(server, 'GET', `${prefix}/${name}${query}`, { headers: { Accept: accept, ...headers }, version });
  const head = await conn.head();
  assert.equal(head.status, 200);
  const chunked = /chunked/i.test(head.header('Transfer-Encoding') ?? '');
  let text = '';
  const pull = async () => {
    if (chunked) {
      const part = await conn.chunk();
      if (part.length === 0) return false;
      text += part.toString('utf8');
      return true;
    }
    text += (await conn.until(() => (conn.input.length > 0 ? conn.take(conn.input.length) : conn.ended ? Buffer.alloc(0) : undefined), 'stream data')).toString('utf8');
    return !(conn.ended && conn.input.length === 0);
  };
  const event = async () => {
    for (;;) {
      const end = text.indexOf('\n\n');
      if (end >= 0) {
        const block = text.slice(0, end + 2);
        text = text.slice(end + 2);
        return block;
      }
      const before = text.length;
      if (!(await pull()) && text.length === before) throw new Error(`stream ended in the middle: ${JSON.stringify(text)}`);
    }
  };
  assert.equal(await event(), ': hi\n\n');
  return { conn, head, event, close: () => conn.destroy() };
}

both('headers and greeting come at once, on an empty channel', async () => {
  const s = await stream(channel());
  assert.match(s.head.header('Content-Type'), /^text\/event-stream; charset=utf-8$/i);
  assert.equal(s.head.header('Content-Length'), undefined);
  s.close();
});

both('an event is id then data then a blank line, live and stored alike', async () => {
  const name = channel();
  const early = await stream(name);
  const sent = await server.publish(name, '{"a":1}', { 'Content-Type': 'application/json', Accept: 'text/json' });
  const expected = `id: ${JSON.parse(sent.text).last_message_id}\ndata: {"a":1}\n\n`;
  assert.equal(await early.event(), expected);
  const late = await stream(name);
  assert.equal(await late.event(), expected);
  early.close();
  late.close();
});

const bodies = [
  ['two lines', 'a\nb', 'data: a\ndata: b\n'],
  ['a trailing newline is a last empty data line', 'a\n', 'data: a\ndata: \n'],
  ['an empty message', '', 'data: \n'],
  ['only a newline', '\n', 'data: \ndata: \n'],
  ['empty line inside', 'a\n\nb', 'data: a\ndata: \ndata: b\n'],
  ['what looks like fields', 'id: 7\nevent: x', 'data: id: 7\ndata: event: x\n'],
  ['leading space and colon', ' :x', 'data:  :x\n'],
  ['multi-byte text', 'žluťoučký 🐎', 'data: žluťoučký 🐎\n'],
];
for (const [label, body, lines] of bodies) {
  both(`body to data lines: ${label}`, async () => {
    const name = channel();
    const live = await stream(name);
    await server.publish(name, body);
    const stored = await stream(name);
    for (const s of [live, stored]) {
      assert.match(await s.event(), /^id: \d+:\d+\n/);
      s.close();
    }
    const again = await stream(name);
    assert.equal((await again.event()).replace(/^id: .*\n/, ''), `${lines}\n`);
    again.close();
  });
}

both('a large body with many lines', async () => {
  const name = channel();
  const lines = Array.from({ length: 2000 }, (_, i) => `line ${i} ${'x'.repeat(i % 90)}`);
  await server.publish(name, lines.join('\n'));
  const s = await stream(name);
  const event = await s.event();
  assert.equal(event.replace(/^id: .*\n/, ''), `${lines.map((l) => `data: ${l}\n`).join('')}\n`);
  s.close();
});

both('an event name from the publish comes before the id', async () => {
  const name = channel();
  const s = await stream(name);
  await server.publish(name, 'x', { 'X-EventSource-Event': 'upd' });
  assert.match(await s.event(), /^event: upd\nid: \d+:\d+\ndata: x\n\n$/);
  await server.publish(name, 'y');
  assert.match(await s.event(), /^id: \d+:\d+\ndata: y\n\n$/);
  s.close();
});

both('a location can set the event name', async () => {
  const name = channel();
  const plain = await stream(name);
  const named = await stream(name, { prefix: '/named-sub' });
  await server.publish(name, 'x', {}, '/named-pub');
  assert.match(await plain.event(), /^event: fromloc\nid: .*\ndata: x\n\n$/);
  assert.match(await named.event(), /^event: forall\nid: .*\ndata: x\n\n$/);
  plain.close();
  named.close();
});

both('there is never a retry field', async () => {
  const name = channel();
  const s = await stream(name);
  await server.publish(name, 'x');
  assert.doesNotMatch(await s.event(), /retry/);
  s.close();
});

both('DELETE ends the stream with a comment', async () => {
  const name = channel();
  const s = await stream(name);
  await server.subscribers(name, 1);
  await server.request('DELETE', `/pub/${name}`);
  assert.match(await s.event(), /^:\s?410: 410 Gone\n\n$/);
  await s.conn.readToEnd();
  s.close();
});

both('the timeout ends the stream with a comment; a message restarts it', async () => {
  const s = await stream(channel(), { prefix: '/timed' });
  const started = Date.now();
  assert.match(await s.event(), /^:\s?408: 408 Request Timeout\n\n$/);
  assert.ok(Date.now() - started > 700);
  await s.conn.readToEnd();
  s.close();
});

both('pings with defaults are an event without data', async () => {
  const s = await stream(channel(), { prefix: '/ping' });
  assert.equal(await s.event(), 'event: ping\n\n');
  s.close();
});

both('pings can have comment, event and data', async () => {
  const s = await stream(channel(), { prefix: '/ping-all' });
  assert.match(await s.event(), /^: ?still here\nevent: beat\ndata: x\n\n$/);
  s.close();
});

both('errors before the stream are plain statuses', async () => {
  const headers = { Accept: 'text/event-stream' };
  assert.equal((await server.request('GET', `/known/${channel()}`, { headers })).status, 403);
  assert.equal((await server.request('GET', `/sub/${channel()}`, { headers: { ...headers, 'Last-Event-ID': 'abc:1' } })).status, 400);
});

both('the accept header may list more, quality is not looked at', async () => {
  for (const accept of ['text/event-stream', 'text/html, text/event-stream;q=0.1', '*/*, text/event-stream']) {
    (await stream(channel(), { accept })).close();
  }
});

both('HTTP/1.0 clients get the stream unframed', async () => {
  const name = channel();
  await server.publish(name, 'x');
  const s = await stream(name, { version: '1.0' });
  assert.equal(s.head.header('Transfer-Encoding'), undefined);
  assert.match(await s.event(), /data: x/);
  s.close();
});

both('many messages arrive in order', async () => {
  const name = channel();
  const s = await stream(name);
  for (let i = 0; i < 100; i += 1) await server.publish(name, `m${i}`);
  for (let i = 0; i < 100; i += 1) assert.match(await s.event(), new RegExp(`\ndata: m${i}\n\n$`));
  s.close();
});

both('a reconnect with the last id misses nothing and repeats nothing', async () => {
  const name = channel();
  const s = await stream(name);
  await server.publish(name, 'a');
  await server.publish(name, 'b');
  const id = /^id: (.*)\n/.exec(await s.event())[1];
  s.close();
  await server.publish(name, 'c');
  const header = await stream(name, { headers: { 'Last-Event-ID': id }, query: '?last_event_id=1000000000%3A0' });
  assert.match(await header.event(), /data: b\n\n$/);
  assert.match(await header.event(), /data: c\n\n$/);
  header.close();
  const cond = await stream(name, { headers: ifHeaders(id) });
  assert.match(await cond.event(), /data: b\n\n$/);
  cond.close();
});

fanwireOnly('nchan passes carriage returns through; clients then see other lines', 'a carriage return cannot forge a field', async () => {
  const name = channel();
  const s = await stream(name);
  await server.publish(name, 'a\rid: 9\rb');
  const event = await s.event();
  assert.match(event, /^id: \d+:\d+\ndata: a\ndata: id: 9\ndata: b\n\n$/);
  s.close();
});
