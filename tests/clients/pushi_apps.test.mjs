// Apps that are made over Pushi's HTTP interface, where that is switched on (pushi.md section 9.3).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Client, Rest, channel, pushiTest, startPushi } from '../support/pushi.mjs';
import { start } from '../support/server.mjs';

const OPEN = '[pushi]\nopen_apps = true\n';
const keys = ({ ident, key, secret }) => ({ id: ident, key, secret });

pushiTest('an app is made without any session, used at once, and there after a restart', async () => {
  const data = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-pushi-'));
  const name = channel('private-');
  let node = await startPushi({ toml: OPEN, shards: 3, args: ['--data', data] });
  try {
    const made = await new Rest(node).ok('POST', '/apps', { name: 'demo' });
    for (const field of ['ident', 'key', 'secret']) assert.match(made[field], /^[0-9a-f]{64}$/, field);
    assert.equal(new Set([made.ident, made.key, made.secret]).size, 3);
    assert.deepEqual([made.name, made.instance, made.enabled], ['demo', made.ident, true]);
    for (const field of ['id', '_id', 'apn_key', 'vapid_public_key', 'smtp_url', 'meta']) assert.ok(field in made, field);
    const app = keys(made);
    let rest = await Rest.login(node, app);
    assert.deepEqual((await rest.ok('GET', '/apps')).apps, [made]);
    assert.equal((await rest.call('PUT', `/apps/${made.ident}`, {})).text, 'demo');
    let client = await Client.connect(node, { app });
    await client.subscribe(name);
    await rest.publish({ data: 'x', channel: name });
    await client.event({ channel: name, event: 'message', data: 'x' });
    await rest.ok('POST', '/subscriptions', { user_id: 'u', event: name });
    await node.stop();

    node = await startPushi({ toml: OPEN, shards: 2, args: ['--data', data] });
    rest = await Rest.login(node, app);
    const [again] = (await rest.ok('GET', '/apps')).apps;
    assert.deepEqual([again.ident, again.name], [made.ident, 'demo']);
    client = await Client.connect(node, { app });
    const { alias } = await client.subscribe('personal-u');
    assert.deepEqual(alias, [name]);
    assert.equal((await client.latest(name)).events[0].data.data, 'x');
    const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
    assert.equal((await new Rest(node).call('POST', '/apps', 'name=by+form', {}, form)).json.name, 'by form');
    for (const [body, text] of [[{ name: 'demo' }, 'value is duplicate'], [{}, 'value is not set'], [{ name: '' }, 'value is empty']]) {
      assert.deepEqual((await new Rest(node).refused(400, 'POST', '/apps', body)).errors, { name: [text] });
    }
  } finally {
    await node.stop().catch(() => {});
    fs.rmSync(data, { recursive: true, force: true });
  }
});

pushiTest('in development anybody may make apps; else nobody but who is told to', async () => {
  const development = await start();
  const closed = await startPushi();
  try {
    assert.equal((await new Rest(development).ok('POST', '/apps', { name: 'demo' })).name, 'demo');
    await new Rest(closed).refused(403, 'POST', '/apps', { name: 'demo' });
  } finally {
    await development.stop();
    await closed.stop();
  }
});

pushiTest('a key of any length is found at the end of a path', async () => {
  const node = await start();
  const app = { id: '1', key: 'dev-key', secret: 'dev-secret' };
  try {
    const client = await Client.connect(node, { app });
    const name = channel('private-');
    await client.subscribe(name);
    await (await Rest.login(node, app)).publish({ data: 'x', channel: name });
    await client.event({ channel: name, event: 'message', data: 'x' });
    await client.close();
  } finally {
    await node.stop();
  }
});
