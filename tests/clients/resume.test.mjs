// Which message a request asks for: the four rules of the nchan sheet, section 3, and its traps 1-5, 11.
import assert from 'node:assert/strict';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { after, httpDate, idOf, idOrder, ifHeaders } from '../support/ids.mjs';
import { open } from '../support/raw.mjs';
import { WsConn } from '../support/websocket.mjs';

const server = useServer({
  locations: [
    pub('/pub3', { buffer_messages: 3 }),
    sub('/newest', { first_message: 'newest' }),
    sub('/second', { first_message: 2 }),
    sub('/last2', { first_message: -2 }),
    sub('/compound', { compound_etag: true }),
    sub('/custom', { custom_etag_header: 'X-Etag' }),
    sub('/cursor', { last_message_id: ['$http_x_cursor', '$arg_cursor'] }),
    pub(),
    sub(),
  ],
});

/** Publishes the bodies and gives their ids. */
async function fill(name, bodies, prefix) {
  const ids = [];
  for (const body of bodies) {
    const answer = await server.publish(name, body, { Accept: 'text/json' }, prefix);
    ids.push(JSON.parse(answer.text).last_message_id);
  }
  return ids;
}

const poll = (name, headers = {}, query = '', prefix = '/sub') => server.request('GET', `${prefix}/${name}${query}`, { headers });

async function waits(name, headers = {}, query = '', prefix = '/sub') {
  const held = await open(server, 'GET', `${prefix}/${name}${query}`, { headers });
  await held.staysQuiet(100);
  return held;
}

both('ids are seconds and a tag that counts within the second', async () => {
  const name = channel();
  const started = Math.floor(Date.now() / 1000);
  const ids = await fill(name, ['a', 'b', 'c']);
  for (const id of ids) assert.match(id, /^\d{10,}:\d+$/);
  const [seconds, tag] = ids[0].split(':').map(Number);
  assert.ok(seconds >= started && seconds <= started + 1);
  assert.equal(tag, 0);
  assert.ok(idOrder(ids[0], ids[1]) < 0 && idOrder(ids[1], ids[2]) < 0);
  const got = await poll(name);
  assert.equal(idOf(got), ids[0]);
  assert.match(got.header('Last-Modified'), /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/);
  assert.match(got.header('Etag'), /^\d+$/, 'unquoted');
});

both('walking with If-* headers gives every message once, in order, then waits', async () => {
  const name = channel();
  await fill(name, ['a', 'b', 'c', 'd']);
  const seen = [];
  let headers = {};
  for (let i = 0; i < 4; i += 1) {
    const answer = await poll(name, headers);
    seen.push(answer.text);
    headers = after(answer);
  }
  assert.deepEqual(seen, ['a', 'b', 'c', 'd']);
  const held = await waits(name, headers);
  await server.publish(name, 'e');
  assert.equal((await held.response()).text, 'e');
  held.destroy();
});

for (const [label, dress] of [
  ['quoted', (t) => `"${t}"`],
  ['weak', (t) => `W/"${t}"`],
]) {
  both(`a ${label} etag is read`, async () => {
    const name = channel();
    const [first] = await fill(name, ['a', 'b', 'c']);
    const h = ifHeaders(first);
    h['If-None-Match'] = dress(h['If-None-Match']);
    assert.equal((await poll(name, h)).text, 'b');
  });
}

both('rule 1: a date that cannot be read, or the epoch, is as if there were no id', async () => {
  const name = channel();
  await fill(name, ['a', 'b']);
  for (const date of ['abcd', 'Thu, 01 Jan 1970 00:00:00 GMT', 'Thu, 1 Jan 1970 00:00:00 GMT']) {
    assert.equal((await poll(name, { 'If-Modified-Since': date, 'If-None-Match': '0' })).text, 'a', date);
  }
});

both('rule 1: other forms of the same date mean the same', async () => {
  const name = channel();
  const [first] = await fill(name, ['a', 'b']);
  const seconds = Number(first.split(':')[0]);
  const date = new Date(seconds * 1000);
  const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
  const [, dd, mon, yyyy, time] = /, (\d\d) (\w+) (\d+) (\S+)/.exec(date.toUTCString());
  const rfc850 = `${days[date.getUTCDay()]}, ${dd}-${mon}-${yyyy.slice(2)} ${time} GMT`;
  const asctime = `${days[date.getUTCDay()].slice(0, 3)} ${mon} ${dd.replace(/^0/, ' ')} ${time} ${yyyy}`;
  for (const text of [rfc850, asctime]) {
    assert.equal((await poll(name, { 'If-Modified-Since': text, 'If-None-Match': first.split(':')[1] })).text, 'b', text);
  }
});

fanwireOnly('nchan 1.3 answers 400 by accident', 'rule 1: a date alone is accepted and repeats the first of that second', async () => {
  const name = channel();
  const [first] = await fill(name, ['a', 'b']);
  const answer = await poll(name, { 'If-Modified-Since': httpDate(Number(first.split(':')[0])) });
  assert.equal(answer.status, 200);
  assert.equal(answer.text, 'a');
});

both('rule 2: If-None-Match alone is a joined id', async () => {
  const name = channel();
  const ids = await fill(name, ['a', 'b', 'c']);
  assert.equal((await poll(name, { 'If-None-Match': ids[0] })).text, 'b');
  assert.equal((await poll(name, { 'If-None-Match': ids[1] })).text, 'c');
});

both('rule 2: without a colon it is ignored, with letters for a time it is 400', async () => {
  const name = channel();
  await fill(name, ['a', 'b']);
  assert.equal((await poll(name, { 'If-None-Match': '7' })).text, 'a');
  assert.equal((await poll(name, { 'If-None-Match': 'abc:1' })).status, 400);
});

both('rule 3: Last-Event-ID and last_event_id resume', async () => {
  const name = channel();
  const ids = await fill(name, ['a', 'b', 'c']);
  assert.equal((await poll(name, { 'Last-Event-ID': ids[0] })).text, 'b');
  assert.equal((await poll(name, {}, `?last_event_id=${ids[1]}`)).text, 'c');
  assert.equal((await poll(name, {}, `?last_event_id=${encodeURIComponent(ids[1])}`)).text, 'c', 'escaped');
  assert.equal((await poll(name, {}, `?x=1&last_event_id=${encodeURIComponent(ids[0])}&y=2`)).text, 'b');
});

both('rule 3: the header wins over the query argument, If-* win over both', async () => {
  const name = channel();
  const ids = await fill(name, ['a', 'b', 'c', 'd']);
  const query = `?last_event_id=${encodeURIComponent(ids[0])}`;
  assert.equal((await poll(name, { 'Last-Event-ID': ids[1] }, query)).text, 'c');
  assert.equal((await poll(name, { 'Last-Event-ID': ids[1], ...ifHeaders(ids[2]) }, query)).text, 'd');
  assert.equal((await poll(name, { 'Last-Event-ID': ids[1], 'If-None-Match': ids[2] }, query)).text, 'd');
});

both('rule 3: no colon is ignored; letters or a negative time are 400', async () => {
  const name = channel();
  await fill(name, ['a', 'b']);
  assert.equal((await poll(name, { 'Last-Event-ID': 'nonsense' })).text, 'a');
  for (const id of ['abc:1', '-1:0']) {
    assert.equal((await poll(name, { 'Last-Event-ID': id })).status, 400, `header ${id}`);
    assert.equal((await poll(name, {}, `?last_event_id=${encodeURIComponent(id)}`)).status, 400, `query ${id}`);
  }
});

both('rule 3: where the id is read from is a setting', async () => {
  const name = channel();
  const ids = await fill(name, ['a', 'b', 'c']);
  assert.equal((await poll(name, { 'X-Cursor': ids[0] }, '', '/cursor')).text, 'b');
  assert.equal((await poll(name, {}, `?cursor=${ids[1]}`, '/cursor')).text, 'c');
  assert.equal((await poll(name, { 'Last-Event-ID': ids[1] }, '', '/cursor')).text, 'a', 'not one of the sources');
});

both('rule 4: oldest by default, nth from either end, newest waits', async () => {
  const name = channel();
  await fill(name, ['a', 'b', 'c']);
  assert.equal((await poll(name)).text, 'a');
  assert.equal((await poll(name, {}, '', '/second')).text, 'b');
  assert.equal((await poll(name, {}, '', '/last2')).text, 'b');
  const held = await waits(name, {}, '', '/newest');
  await server.publish(name, 'd');
  assert.equal((await held.response()).text, 'd');
  held.destroy();
});

both('an id overrides first_message', async () => {
  const name = channel();
  const ids = await fill(name, ['a', 'b', 'c']);
  assert.equal((await poll(name, { 'Last-Event-ID': ids[0] }, '', '/newest')).text, 'b');
});

both('an id older than the buffer gives the oldest that is left', async () => {
  const name = channel();
  const [first] = await fill(name, ['a', 'b', 'c', 'd', 'e'], '/pub3');
  assert.equal((await poll(name, ifHeaders(first))).text, 'c');
  assert.equal((await poll(name, ifHeaders('1000000000:0'))).text, 'c');
  assert.equal((await poll(name, { 'Last-Event-ID': '1000000000:5' })).text, 'c');
});

both('an id in the future waits', async () => {
  const name = channel();
  await fill(name, ['a']);
  const future = `${Math.floor(Date.now() / 1000) + 100}:0`;
  (await waits(name, ifHeaders(future))).destroy();
  (await waits(name, { 'Last-Event-ID': future })).destroy();
});

both('the id of the newest message waits for the next', async () => {
  const name = channel();
  const ids = await fill(name, ['a', 'b']);
  const held = await waits(name, ifHeaders(ids[1]));
  await server.publish(name, 'c');
  assert.equal((await held.response()).text, 'c');
  held.destroy();
});

both('the rules hold on streams: event source with If-*, web socket with Last-Event-ID', async () => {
  const name = channel();
  const ids = await fill(name, ['a', 'b', 'c']);
  const events = await open(server, 'GET', `/sub/${name}`, { headers: { Accept: 'text/event-stream', ...ifHeaders(ids[1]) } });
  await events.readThrough(': hi\n\n');
  assert.equal(await events.readThrough('\n\n'), `id: ${ids[2]}\ndata: c\n\n`);
  events.destroy();
  const socket = await WsConn.connect(server, `/sub/${name}`, { 'Last-Event-ID': ids[0] });
  assert.equal((await socket.frame()).text, 'b');
  assert.equal((await socket.frame()).text, 'c');
  socket.destroy();
  const chunks = await open(server, 'GET', `/sub/${name}?last_event_id=${encodeURIComponent(ids[1])}`, { headers: { TE: 'chunked' } });
  await chunks.head();
  assert.equal((await chunks.chunk()).toString(), 'c');
  chunks.destroy();
});

both('compound mode: joined Etag, no Last-Modified, only If-None-Match is read', async () => {
  const name = channel();
  const ids = await fill(name, ['a', 'b', 'c']);
  const got = await poll(name, {}, '', '/compound');
  assert.equal(got.header('Last-Modified'), undefined);
  assert.equal(got.header('Etag'), ids[0]);
  assert.equal((await poll(name, { 'If-None-Match': ids[0] }, '', '/compound')).text, 'b');
  assert.equal((await poll(name, { 'If-None-Match': ids[1], 'If-Modified-Since': httpDate(1000000000) }, '', '/compound')).text, 'c');
});

both('a custom header can carry the Etag', async () => {
  const name = channel();
  const [first] = await fill(name, ['a']);
  const got = await poll(name, {}, '', '/custom');
  assert.equal(got.header('X-Etag'), first.split(':')[1]);
  assert.equal(got.header('Etag'), undefined);
});

fanwireOnly('nchan reuses ids within the second (trap 3)', 'ids stay above those of a deleted channel of the same name', async () => {
  const name = channel();
  const [old] = await fill(name, ['a', 'b']).then((ids) => ids.slice(-1));
  const held = await waits(name, ifHeaders(old));
  await server.request('DELETE', `/pub/${name}`);
  assert.equal((await held.response()).status, 410);
  held.destroy();
  const [fresh] = await fill(name, ['c']);
  assert.ok(idOrder(old, fresh) < 0, `${old} then ${fresh}`);
  assert.equal((await poll(name, ifHeaders(old))).text, 'c');
});

both('several hundred messages in one second stay apart', async () => {
  const name = channel();
  const ids = await fill(name, Array.from({ length: 300 }, (_, i) => `m${i}`));
  for (let i = 1; i < ids.length; i += 1) assert.ok(idOrder(ids[i - 1], ids[i]) < 0, `${ids[i - 1]} < ${ids[i]}`);
  assert.equal((await poll(name, ifHeaders(ids[297]))).text, 'm298');
});

fanwireOnly('nchan ignores that header (client bug, section 9)', 'a request header Etag with a joined id either resumes or is ignored', async () => {
  const name = channel();
  const ids = await fill(name, ['a', 'b']);
  const got = await poll(name, { Etag: ids[0] });
  assert.equal(got.status, 200);
  assert.ok(['a', 'b'].includes(got.text));
});
