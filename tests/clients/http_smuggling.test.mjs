// Requests whose end two parsers could see at different places are refused, never guessed (RFC 9112, section 6 and 11.2).
import assert from 'node:assert/strict';
import { both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { Conn } from '../support/raw.mjs';

const server = useServer({ locations: [pub(), sub()] });

/** Sends the bytes; the first answer must be a refusal, and the hidden request must not have run. */
async function refused(lines, body, { statuses = [400, 501] } = {}) {
  const [seen, hidden] = [channel('seen'), channel('hidden')];
  const smuggled = `POST /pub/${hidden} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nS`;
  const conn = await Conn.open(server);
  conn.send(`POST /pub/${seen} HTTP/1.1\r\nHost: x\r\n${lines.join('\r\n')}\r\n\r\n${body(smuggled)}`);
  const got = await conn.response('POST');
  assert.ok(statuses.includes(got.status), `status ${got.status}`);
  await conn.readToEnd(3000);
  conn.destroy();
  assert.equal(await server.info(hidden), undefined, 'the hidden request ran');
  assert.equal(await server.info(seen), undefined, 'the refused request ran');
}

const cases = [
  ['Content-Length and Transfer-Encoding', ['Content-Length: 5', 'Transfer-Encoding: chunked'], (s) => `0\r\n\r\n${s}`],
  ['the same in the other order', ['Transfer-Encoding: chunked', 'Content-Length: 5'], (s) => `0\r\n\r\n${s}`],
  ['two lengths that differ', ['Content-Length: 0', 'Content-Length: 90'], (s) => s],
  ['a list of lengths that differ', ['Content-Length: 0, 90'], (s) => s],
  ['a length with a sign', ['Content-Length: +1'], (s) => `x${s}`],
  ['a negative length', ['Content-Length: -1'], (s) => s],
  ['a length in hexadecimal', ['Content-Length: 0x1'], (s) => `x${s}`],
  ['a length with a blank inside', ['Content-Length: 1 0'], (s) => `x${s}`],
  ['an empty length', ['Content-Length:'], (s) => s],
  ['a length beyond 64 bits', ['Content-Length: 99999999999999999999999'], (s) => s, [400, 413, 501]],
  ['a coding that only looks like chunked', ['Transfer-Encoding: xchunked'], (s) => `0\r\n\r\n${s}`],
  ['chunked not last', ['Transfer-Encoding: chunked, identity'], (s) => `0\r\n\r\n${s}`],
  ['two transfer codings lines', ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], (s) => `0\r\n\r\n${s}`],
  ['a chunk size that is no number', ['Transfer-Encoding: chunked'], (s) => `zz\r\n\r\n${s}`],
  ['a chunk size with a sign', ['Transfer-Encoding: chunked'], (s) => `+1\r\nx\r\n0\r\n\r\n${s}`],
  ['a chunk size with 0x', ['Transfer-Encoding: chunked'], (s) => `0x1\r\nx\r\n0\r\n\r\n${s}`],
  ['a chunk longer than it says', ['Transfer-Encoding: chunked'], (s) => `1\r\nxyz\r\n0\r\n\r\n${s}`],
  ['a chunk size beyond 64 bits', ['Transfer-Encoding: chunked'], (s) => `ffffffffffffffffff\r\nx\r\n${s}`, [400, 413]],
];
for (const [label, lines, body, statuses] of cases) {
  both(`refused: ${label}`, () => refused(lines, body, { statuses }));
}

const stricter = [
  ['a blank before the colon', ['Content-Length : 1'], (s) => `x${s}`],
  ['a blank before the colon of Transfer-Encoding', ['Transfer-Encoding : chunked'], (s) => `0\r\n\r\n${s}`],
  ['a folded line', ['X: a', ' Content-Length: 5', 'Content-Length: 1'], (s) => `x${s}`],
  ['a NUL in a value', ['X: a\0b', 'Content-Length: 1'], (s) => `x${s}`],
  ['a bare CR in a value', ['X: a\rb', 'Content-Length: 1'], (s) => `x${s}`],
  ['a name with a blank inside', ['Content Length: 1'], (s) => `x${s}`],
  ['a line without a colon', ['nothing here', 'Content-Length: 1'], (s) => `x${s}`],
  ['a chunk ended by a bare LF', ['Transfer-Encoding: chunked'], (s) => `1\nx\n0\n\n${s}`],
];
for (const [label, lines, body, statuses] of stricter) {
  fanwireOnly('nginx is more lenient here', `refused: ${label}`, () => refused(lines, body, { statuses }));
}

both('the same length twice is one length, or refused', async () => {
  const conn = await Conn.open(server);
  conn.send(`POST /pub/${channel()} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx`);
  assert.ok([202, 400].includes((await conn.response('POST')).status));
  conn.destroy();
});

fanwireOnly('nginx takes the first', 'two Host fields are 400', async () => {
  const conn = await Conn.open(server);
  conn.send(`GET /pub/${channel()} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`);
  assert.equal((await conn.response()).status, 400);
  conn.destroy();
});

both('chunked on HTTP/1.0 never lets the rest run as a request', async () => {
  const hidden = channel('hidden');
  const conn = await Conn.open(server);
  conn.send(
    `POST /pub/${channel()} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST /pub/${hidden} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nS`,
  );
  await conn.response('POST');
  await conn.readToEnd(3000);
  conn.destroy();
  assert.equal(await server.info(hidden), undefined);
});

fanwireOnly('nginx allows some of these', 'a target with a control byte, or none at all, is 400', async () => {
  for (const start of ['GET /pub/a\x01b HTTP/1.1', 'GET  HTTP/1.1', 'GET /pub/x', 'GET /pub/a b HTTP/1.1', ' GET /pub/x HTTP/1.1', 'G@T /pub/x HTTP/1.1']) {
    const conn = await Conn.open(server);
    conn.send(`${start}\r\nHost: x\r\n\r\n`);
    const got = await conn.response();
    assert.ok([400, 405, 501].includes(got.status), `${JSON.stringify(start)} ${got.status}`);
    conn.destroy();
  }
});

fanwireOnly('dot segments are for file servers', 'a path is matched as it is: dot segments name nothing', async () => {
  const name = channel();
  assert.notEqual((await server.request('POST', `/x/../pub/${name}`, { body: 'x' })).status, 500);
});

fanwireOnly('nginx answers 400 to these', 'escapes that are not hexadecimal or make NUL do not crash or match another channel', async () => {
  for (const id of ['%', '%zz', '%0', '%00', '%ff', 'a%0d%0ab']) {
    const got = await server.request('POST', `/pub/${id}`, { body: 'x' });
    assert.ok([202, 400, 403, 404].includes(got.status), `${id} ${got.status}`);
  }
});

both('a content type cannot bring line ends into another answer', async () => {
  const conn = await Conn.open(server);
  const name = channel();
  conn.send(`POST /pub/${name} HTTP/1.1\r\nHost: x\r\nContent-Type: a\r\nX-EventSource-Event: b\r\nContent-Length: 1\r\n\r\nx`);
  await conn.response('POST');
  conn.destroy();
  const got = await server.request('GET', `/sub/${name}`);
  assert.equal(got.header('Content-Type'), 'a');
});
