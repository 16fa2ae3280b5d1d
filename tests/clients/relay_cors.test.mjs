// Fixed-origin cross-origin headers of relay locations (relay sheet, section 6).
import assert from 'node:assert/strict';
import { fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, pub, sub } from '../support/server.mjs';
import { open } from '../support/raw.mjs';

const ORIGIN = 'http://127.0.0.1:8000';
const flavour = 'relay';
const server = useServer(
  {
    locations: [
      sub('/sub', { flavour, create_on_get: true, allow_origin: ORIGIN, allow_credentials: true }),
      sub('/open', { flavour, create_on_get: true, allow_origin: '*', allow_credentials: false }),
      sub('/interval', { flavour, create_on_get: true, polling: 'interval', allow_origin: ORIGIN, allow_credentials: true }),
      sub('/strict', { flavour, allow_origin: ORIGIN, allow_credentials: true }),
      pub('/pub', { flavour }),
    ],
  },
  { only: true },
);
const WHY = 'nchan echoes the origin instead';
const words = (text) => new Set((text ?? '').toLowerCase().split(/,\s*/));

function fixed(answer, { origin = ORIGIN, credentials = 'true' } = {}) {
  assert.equal(answer.header('Access-Control-Allow-Origin'), origin);
  assert.equal(answer.header('Access-Control-Allow-Credentials'), credentials);
}

fanwireOnly(WHY, 'a message answer has all of them, whatever Origin was sent or none', async () => {
  const name = channel();
  await server.publish(name, 'x');
  for (const headers of [{}, { Origin: ORIGIN }, { Origin: 'http://elsewhere.example' }]) {
    const got = await server.request('GET', `/sub/${name}`, { headers });
    assert.equal(got.status, 200);
    fixed(got);
    for (const field of ['if-modified-since', 'if-none-match', 'x-cookie']) assert.ok(words(got.header('Access-Control-Allow-Headers')).has(field), field);
    for (const field of ['last-modified', 'etag', 'cache-control']) assert.ok(words(got.header('Access-Control-Expose-Headers')).has(field), field);
    assert.equal(got.header('Access-Control-Max-Age'), '864000');
  }
});

fanwireOnly(WHY, 'star without credentials sends the literal false', async () => {
  const name = channel();
  await server.publish(name, 'x');
  fixed(await server.request('GET', `/open/${name}`), { origin: '*', credentials: 'false' });
});

fanwireOnly(WHY, 'OPTIONS: 200, empty, without a channel coming into being', async () => {
  const name = channel();
  const got = await server.request('OPTIONS', `/sub/${name}?_=1795258195577`, {
    headers: { Origin: ORIGIN, 'Access-Control-Request-Method': 'GET', 'Access-Control-Request-Headers': 'If-None-Match, If-Modified-Since' },
  });
  assert.equal(got.status, 200);
  assert.equal(got.bytes.length, 0);
  fixed(got);
  assert.ok(words(got.header('Access-Control-Allow-Headers')).has('if-none-match'));
  assert.equal(got.header('Access-Control-Max-Age'), '864000');
  assert.equal((await server.request('GET', `/pub/${name}`)).status, 404);
});

fanwireOnly(WHY, '304, 404, 405 and 410 have them too', async () => {
  fixed(await server.request('GET', `/interval/${channel()}`));
  fixed(await server.request('GET', `/strict/${channel()}`));
  fixed(await server.request('DELETE', `/sub/${channel()}`));
  const name = channel();
  const held = await open(server, 'GET', `/sub/${name}`);
  await server.subscribers(name, 1);
  await server.request('DELETE', `/pub/${name}`);
  const gone = await held.response();
  assert.equal(gone.status, 410);
  fixed(gone);
  held.destroy();
});

fanwireOnly(WHY, 'a preflight per poll on one connection', async () => {
  const name = channel();
  const conn = await open(server, 'OPTIONS', `/sub/${name}?_=1`, { headers: { Origin: ORIGIN, 'Access-Control-Request-Method': 'GET' } });
  assert.equal((await conn.response('OPTIONS')).status, 200);
  conn.request('GET', `/sub/${name}?_=1`, { headers: { Origin: ORIGIN } });
  await server.subscribers(name, 1);
  await server.publish(name, 'x');
  assert.equal((await conn.response()).text, 'x');
  conn.destroy();
});
