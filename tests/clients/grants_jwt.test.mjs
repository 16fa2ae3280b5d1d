// JWTs as npm's jose makes them, with all four algorithms and its key files, at the doors of the relay (fanwire only).
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before } from 'node:test';
import { SignJWT, UnsecuredJWT, exportJWK, exportSPKI, generateKeyPair } from 'jose';
import { WebSocket } from 'ws';
import { fanwireTest } from '../support/pusher.mjs';
import { http } from '../support/raw.mjs';
import { pub, start, sub } from '../support/server.mjs';

const PUBLIC = ['RS256', 'ES256', 'EdDSA'];
const SECRET = crypto.randomBytes(32).toString('hex');
const secret = new TextEncoder().encode(SECRET);
const ISSUER = 'https://issuer.example';
const WAIT_MS = 30_000;

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-jwt-'));
const keys = {};
let server;

/** One [[grant]] for channels `name.*`. */
function grant(name, algorithms, more) {
  const ways = 'subscribe = ["jwt"]\npublish = ["jwt"]\n';
  return `[[grant]]\nchannels = ["${name}.*"]\n${ways}jwt_algorithms = ${JSON.stringify(algorithms)}\n${more}\n`;
}

before(async () => {
  if ((process.env.TARGET ?? 'fanwire') !== 'fanwire') return;
  const set = [];
  for (const alg of PUBLIC) {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    keys[alg] = privateKey;
    set.push({ ...(await exportJWK(publicKey)), kid: `key-${alg}`, alg, use: 'sig' });
    fs.writeFileSync(path.join(dir, `${alg}.pem`), await exportSPKI(publicKey));
  }
  const other = await generateKeyPair('EdDSA', { extractable: true });
  keys.other = other.privateKey;
  set.push({ ...(await exportJWK(other.publicKey)), kid: 'key-other' });
  fs.writeFileSync(path.join(dir, 'keys.json'), JSON.stringify({ keys: set }));
  const grants = [
    grant('set', PUBLIC, `jwks = "${dir}/keys.json"\njwt_issuer = ["${ISSUER}"]\njwt_audience = ["fanwire"]\njwt_leeway = "0"`),
    grant('HS256', ['HS256'], `jwt_secret = "${SECRET}"`),
    ...PUBLIC.map((alg) => grant(alg, [alg], `jwt_key = "${dir}/${alg}.pem"\njwt_any_channel = true`)),
  ];
  server = await start({ locations: [pub(), sub()], toml: grants.join(''), shards: 3 });
});

after(async () => {
  await server?.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

const jwt = (claims, header, expires = '5m') =>
  new SignJWT(claims).setProtectedHeader(header).setIssuedAt().setExpirationTime(expires);
const withSet = (alg, claims = {}, expires) =>
  jwt({ channels: ['set.*'], ...claims }, { alg, kid: `key-${alg}` }, expires).setIssuer(ISSUER).setAudience(['x', 'fanwire']);

/** Status of a publish with the token in the header, and of one with it in the query. */
async function publish(channel, token) {
  const byHeader = await http(server, 'POST', `/pub/${channel}`, { headers: { Authorization: `Bearer ${token}` }, body: 'm' });
  const byQuery = await http(server, 'POST', `/pub/${channel}?token=${encodeURIComponent(token)}`, { body: 'm' });
  assert.equal(byHeader.status, byQuery.status);
  return { status: byHeader.status, text: byHeader.text };
}

/** A WebSocket that is open, or the status with which it was refused. */
function socket(channel, token) {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(`ws://127.0.0.1:${server.port}/sub/${channel}?token=${token}`);
    ws.once('open', () => resolve(ws));
    ws.once('unexpected-response', (_, response) => resolve(response.statusCode));
    ws.once('error', reject);
  });
}

fanwireTest('tokens of every algorithm let in, with keys of a set and with keys of their own', async () => {
  for (const alg of PUBLIC) {
    const token = await withSet(alg, { sub: 'u', jti: alg }).sign(keys[alg]);
    assert.equal((await publish('set.a', token)).status, 202, alg);
    const ws = await socket('set.b', token);
    assert.ok(ws instanceof WebSocket, `${alg}: ${ws}`);
    const message = new Promise((resolve) => ws.once('message', (data) => resolve(String(data))));
    assert.equal((await publish('set.b', token)).status, 201);
    assert.equal(await message, 'm');
    ws.terminate();
    assert.equal((await publish(`${alg}.a`, await jwt({}, { alg }).sign(keys[alg]))).status, 202, `${alg} from PEM`);
  }
  const token = await jwt({ publish: 'HS256.*' }, { alg: 'HS256' }).sign(secret);
  assert.equal((await publish('HS256.a', token)).status, 202);
  assert.equal(await socket('HS256.a', token), 403, 'it is for publishing only');
});

fanwireTest('tokens that are for others, of others or forged are refused', async () => {
  const refused = async (token, reason, channel = 'set.a', status = 401) => {
    const answer = await publish(channel, token);
    assert.equal(answer.status, status, answer.text);
    assert.match(answer.text, reason);
    assert.equal(await socket(channel, token), status);
  };
  const claims = { channels: ['set.*'] };
  const good = { alg: 'EdDSA', kid: 'key-EdDSA' };
  const whole = (header) => jwt(claims, header).setIssuer(ISSUER).setAudience('fanwire');
  await refused(await jwt(claims, good).setIssuer('https://evil.example').setAudience('fanwire').sign(keys.EdDSA), /issuer/);
  await refused(await jwt(claims, good).setAudience('fanwire').sign(keys.EdDSA), /issuer/);
  await refused(await jwt(claims, good).setIssuer(ISSUER).setAudience('others').sign(keys.EdDSA), /audience/);
  await refused(await withSet('EdDSA', {}, Math.floor(Date.now() / 1000) - 1).sign(keys.EdDSA), /expired/);
  await refused(await withSet('EdDSA').setNotBefore('1h').sign(keys.EdDSA), /not valid yet/);
  await refused(await withSet('EdDSA', { channels: ['other.*'] }).sign(keys.EdDSA), /other channels/, 'set.a', 403);
  await refused(await whole(good).sign(keys.other), /signature/);
  await refused(await whole({ alg: 'EdDSA', kid: 'key-other' }).sign(keys.EdDSA), /signature/);
  await refused(await whole({ alg: 'EdDSA', kid: 'nobody' }).sign(keys.EdDSA), /key is not known/);
  await refused(await whole({ alg: 'EdDSA' }).sign(keys.EdDSA), /key is not known/);
  await refused(await whole({ alg: 'RS256', kid: 'key-EdDSA' }).sign(keys.RS256), /key is not known/);
  await refused(await new SignJWT(claims).setProtectedHeader(good).setIssuer(ISSUER).setAudience('fanwire').sign(keys.EdDSA), /expires/);
  const unsecured = new UnsecuredJWT(claims).setIssuer(ISSUER).setAudience('fanwire').setExpirationTime('5m').encode();
  await refused(unsecured, /algorithm/);
  // The public key is known to everybody: it is no secret.
  for (const alg of PUBLIC) {
    const text = new TextEncoder().encode(fs.readFileSync(path.join(dir, `${alg}.pem`), 'utf8'));
    await refused(await whole({ alg: 'HS256', kid: `key-${alg}` }).sign(text), /algorithm/);
    await refused(await jwt({}, { alg: 'HS256' }).sign(text), /algorithm/, `${alg}.a`);
  }
  const header = { ...good, crit: ['b64'], b64: true };
  await refused(await new SignJWT(claims).setProtectedHeader(header).setIssuer(ISSUER).setAudience('fanwire').setExpirationTime('5m').sign(keys.EdDSA), /critical/);
  const long = await withSet('EdDSA', { padding: 'x'.repeat(9000) }).sign(keys.EdDSA);
  const answer = await http(server, 'POST', '/pub/set.a', { headers: { Authorization: `Bearer ${long}` }, body: 'm' });
  assert.equal(answer.status, 401);
  assert.match(answer.text, /too long/);
});

fanwireTest('a WebSocket ends when its token does', async () => {
  for (const seconds of [2, 4, 8, 16]) {
    const ws = await socket('set.live', await withSet('ES256', {}, `${seconds}s`).sign(keys.ES256));
    if (ws === 401) continue; // a machine that is busy
    assert.ok(ws instanceof WebSocket);
    const closed = new Promise((resolve) => ws.once('close', (code, reason) => resolve([code, String(reason)])));
    const timer = setTimeout(() => ws.terminate(), WAIT_MS);
    assert.deepEqual(await closed, [4401, '401 authorization expired']);
    clearTimeout(timer);
    return;
  }
  assert.fail('no subscription within 16 s');
});
