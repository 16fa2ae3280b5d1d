// The WebSocket client of the PyPI package pushi-service, unmodified (pushi.md section 10.3). It has the same module name
// as the REST client, so it has an environment of its own.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { APP, Client, channel, usePushi } from '../support/pushi.mjs';
import { TARGET } from '../support/server.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PYTHON = process.env.PUSHI_SERVICE_PYTHON ?? path.join(HERE, '../.cache/pushi-service/venv/bin/python');
const node = usePushi({ shards: 2 });
const skip = (TARGET !== 'fanwire' && 'fanwire only') || (!fs.existsSync(PYTHON) && `no ${PYTHON}: tests/all makes it`);

test('trap 5: the Python WebSocket client lives through members that come and go', { skip }, async () => {
  const name = channel('presence-');
  const client = await Client.connect(node);
  await client.subscribe(name);
  const args = [path.join(HERE, 'pushi_service.py'), `ws://127.0.0.1:${node.port}/`, APP.key, APP.secret, name];
  const child = spawn(PYTHON, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const told = async () => JSON.parse((await lines.next()).value);
    assert.deepEqual(await told(), ['subscribed', { name, members: { python: { user_id: 'python' } }, alias: [], events: [] }]);
    const { mid } = await client.event({ channel: name, event: 'news', data: '{"hello": "world"}' });
    const [what, events] = await told();
    assert.deepEqual([what, events.map((event) => event.mid)], ['latest', [mid]]);
    await client.subscribe(name, { user_id: 'js' });
    assert.deepEqual(await told(), ['added', name, '{"user_id":"js"}'], 'an event without data would have ended it');
    client.send('news', 'hi', { channel: name });
    assert.deepEqual((await told()).slice(0, 3), ['news', name, 'hi']);
    await client.unsubscribe(name);
    assert.deepEqual(await told(), ['removed', name, '{"user_id":"js"}']);
    await client.close();
  } finally {
    child.kill('SIGKILL');
  }
});
