// The commands beside the node: publish, tail, check, print-config (fanwire only).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, locationToml, pub, runToEnd, sub } from '../support/server.mjs';

const server = useServer({}, { only: true });
const WHY = 'our own commands';
const url = () => ['--url', server.origin];

fanwireOnly(WHY, 'publish sends one message with type and event name', async () => {
  const name = channel();
  const { code, output } = await runToEnd(['publish', ...url(), '--content-type', 'text/x', '--event', 'upd', name, 'from the shell']);
  assert.equal(code, 0, output);
  assert.match(output, /^202 Accepted\n/);
  const got = await server.request('GET', `/sub/${name}`);
  assert.deepEqual([got.text, got.header('Content-Type')], ['from the shell', 'text/x']);
});

for (const transport of ['ws', 'sse', 'longpoll']) {
  fanwireOnly(WHY, `tail by ${transport} prints stored and live messages and stops after its count`, async () => {
    const name = channel();
    await server.publish(name, 'one');
    await server.publish(name, 'two');
    const tail = runToEnd(['tail', ...url(), '--transport', transport, '-n', '3', name]);
    await server.subscribers(name, 1);
    await server.publish(name, 'three');
    const { code, output } = await tail;
    assert.equal(code, 0, output);
    const [one, two, three] = ['one', 'two', 'three'].map((text) => output.indexOf(text));
    assert.ok(one >= 0 && one < two && two < three, output);
  });
}

fanwireOnly(WHY, 'publish to nobody there fails and says so', async () => {
  const { code, output } = await runToEnd(['publish', '--url', 'http://127.0.0.1:1', 'x', 'y']);
  assert.notEqual(code, 0);
  assert.match(output, /127\.0\.0\.1:1/);
});

fanwireOnly(WHY, 'check and print-config: what is printed is a configuration with the same effect', async () => {
  const dir = fs.mkdtempSync('/tmp/fanwire-config-');
  try {
    const file = `${dir}/a.toml`;
    fs.writeFileSync(file, `shards = 2\n\n${[pub('/p', { buffer_messages: 7 }), sub('/s', { flavour: 'relay' })].map(locationToml).join('')}`);
    const checked = await runToEnd(['check', '--config', file]);
    assert.equal(checked.code, 0, checked.output);
    const first = await runToEnd(['serve', '--config', file, '--print-config']);
    assert.equal(first.code, 0, first.output);
    assert.match(first.output, /^buffer_messages = 7 +# /m);
    const again = `${dir}/b.toml`;
    fs.writeFileSync(again, first.output);
    const second = await runToEnd(['serve', '--config', again, '--print-config']);
    assert.equal(second.code, 0, second.output);
    const values = (text) => text.split('\n').map((line) => line.replace(/ +# .*$/, ''));
    assert.deepEqual(values(second.output), values(first.output));
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
});

fanwireOnly(WHY, 'the version and the help name the program', async () => {
  assert.match((await runToEnd(['--version'])).output, /^fanwire \d+\.\d+\.\d+/);
  assert.match((await runToEnd(['--help'])).output, /serve/);
});
