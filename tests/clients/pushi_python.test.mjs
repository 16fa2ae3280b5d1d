// The PyPI client of Pushi, unmodified (pushi.md sections 10.2 and 13).
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { APP, Client, receiver, sign, usePushi } from '../support/pushi.mjs';
import { TARGET } from '../support/server.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PYTHON = process.env.PUSHI_PYTHON ?? path.join(HERE, '../.cache/clients/venv/bin/python');
const node = usePushi({ shards: 2, toml: '[pushi]\nopen_apps = true\n' });
const skip = TARGET !== 'fanwire' ? 'fanwire only' : !fs.existsSync(PYTHON) && `no ${PYTHON}: tests/all makes it`;

test('trap 12 and 13: every call of the Python client', { skip }, async () => {
  const hooks = await receiver();
  const hook = hooks.url('/hook');
  const client = await Client.connect(node);
  await client.subscribe('python-2');
  await client.subscribe('python');
  try {
    const script = path.join(HERE, 'pushi_python.py');
    const args = [script, `http://127.0.0.1:${node.port}/`, APP.id, APP.key, APP.secret, hook];
    const { stdout } = await promisify(execFile)(PYTHON, args, { timeout: 60_000 });
    const found = JSON.parse(stdout);
    const success = { result: 'success' };
    assert.deepEqual([found.trigger, found.trigger_many], [success, success]);
    await client.event({ channel: 'python', event: 'evt', data: '{"a": [1]}', persist: true, extra: 5 });
    await client.event({ channel: 'python', event: 'message', data: 'many', persist: false }, false);
    assert.deepEqual([found.subscribe.user_id, found.subscribe.event], ['user-1', 'python']);
    assert.deepEqual(found.unsubscribe, found.subscribe);
    assert.equal(found.authenticate, sign(APP, 'sock', 'private-x'));
    assert.deepEqual([found.web.url, found.web.event, found.web_again.event], [hook, 'python', 'python-3']);
    assert.equal(found.delete_web.event, 'python-3');
    assert.deepEqual([found.delete_web_missing, found.protected_web], [500, 500]);
    assert.equal(found.protected_web_signed.event, 'private-x');
    assert.deepEqual([found.apn.token, found.apns.subscriptions.length, found.delete_apn.token], ['token', 1, 'token']);
    assert.equal(found.smtp.email, 'a@b.example');
    assert.deepEqual(found.web_pushes.subscriptions, [found.web_push]);
    assert.equal(found.delete_web_push.event, 'python');
    assert.deepEqual([found.vapid, found.no_data], [500, 500]);
    assert.deepEqual([found.create_app, found.create_app_again], [success, 400]);
    assert.equal(found.messaging.bogus.error, 'Unknown adapter: bogus');
    assert.match(found.update_app, new RegExp(APP.id));
    assert.equal(found.after_logout.user_id, 'user-2');
    assert.equal(found.wrong_secret, 404);
  } finally {
    hooks.close();
  }
});
