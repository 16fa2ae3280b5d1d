// Channel groups, their limits, the status page and channel events (nchan sheet, section 5).
import assert from 'node:assert/strict';
import { bare, both, fanwireOnly, useServer } from '../support/cases.mjs';
import { channel, eventually, pub, sub, TARGET } from '../support/server.mjs';
import { open } from '../support/raw.mjs';

const group_limits = { channels: 2, subscribers: 2, messages: 5 };
const server = useServer({
  locations: [
    { url: '^/gpub/([^/]+)/(.+)$', methods: 'publisher', channel_id: ['$2'], group: '$1' },
    { url: '^/gsub/([^/]+)/(.+)$', methods: 'subscriber', channel_id: ['$2'], group: '$1' },
    { url: '^/lpub/([^/]+)/(.+)$', methods: 'publisher', channel_id: ['$2'], group: '$1', group_limits },
    { url: '^/lsub/([^/]+)/(.+)$', methods: 'subscriber', channel_id: ['$2'], group: '$1', group_limits },
    { url: '^/group/(.+)$', methods: 'group', group: '$1', group_limits },
    { url: '^/plaingroup/(.+)$', methods: 'group', group: '$1' },
    { url: '^/status$', methods: 'status' },
    { url: '^/slash/(.+)$', methods: 'publisher', channel_id: ['x'], group: '$1' },
    pub('/evpub', { channel_events: 'events' }),
    sub('/evsub', { channel_events: 'events' }),
    { url: '^/events$', methods: 'subscriber', channel_id: ['events'], group: 'meta' },
    pub(),
    sub(),
  ],
});

const json = { Accept: 'text/json' };
const groupInfo = async (name, method = 'GET') => JSON.parse((await server.request(method, `/group/${name}`, { headers: json })).text);

both('the same id in two groups is two channels', async () => {
  const [name, one, two] = [channel(), channel('g'), channel('g')];
  await server.request('POST', `/gpub/${one}/${name}`, { body: '1' });
  await server.request('POST', `/gpub/${two}/${name}`, { body: '2' });
  await server.request('POST', `/pub/${name}`, { body: 'none' });
  assert.equal((await server.request('GET', `/gsub/${one}/${name}`)).text, '1');
  assert.equal((await server.request('GET', `/gsub/${two}/${name}`)).text, '2');
  assert.equal((await server.request('GET', `/sub/${name}`)).text, 'none');
});

both('a group name with a slash, and the name m, are refused', async () => {
  assert.equal((await server.request('POST', '/slash/a/b', { body: 'x' })).status, 403);
  assert.equal((await server.request('POST', '/slash/m', { body: 'x' })).status, 403);
});

both('an unknown group has zeros and the configured limits', async () => {
  const answer = await server.request('GET', `/group/${channel('g')}`, { headers: json });
  assert.equal(answer.status, 200);
  assert.match(answer.header('Content-Type'), /^text\/json/);
  const info = JSON.parse(answer.text);
  assert.deepEqual(
    [info.channels, info.subscribers, info.messages, info.messages_memory, info.messages_disk],
    [0, 0, 0, 0, 0],
  );
  assert.deepEqual(Object.keys(info.limits), ['channels', 'subscribers', 'messages', 'messages_memory', 'messages_disk']);
});

both('counts follow what happens in the group', async () => {
  const g = channel('g');
  await server.request('POST', `/lpub/${g}/a`, { body: 'x' });
  await server.request('POST', `/lpub/${g}/a`, { body: 'y' });
  const held = await open(server, 'GET', `/lsub/${g}/a`, { headers: { Accept: 'text/event-stream' } });
  await held.readThrough(': hi\n\n');
  const info = await eventually(async () => {
    const now = await groupInfo(g);
    return now.subscribers === 1 && now.messages === 2 && now.channels === 1 && now;
  }, 'the counts');
  assert.ok(info.messages_memory > 0);
  held.destroy();
  await eventually(async () => (await groupInfo(g)).subscribers === 0, 'no subscriber left');
});

both('info as plain text', async () => {
  const g = channel('g');
  await groupInfo(g, 'POST');
  await server.request('POST', `/lpub/${g}/a`, { body: 'x' });
  const { text } = await server.request('GET', `/group/${g}`);
  assert.match(
    text,
    new RegExp(
      '^channels: 1\r\nsubscribers: 0\r\nmessages: 1\r\nshared memory used by messages: \\d+ bytes\r\n' +
        'disk space used by messages: 0 bytes\r\nlimits:\r\n  max channels: 2\r\n  max subscribers: 2\r\n' +
        '  max messages: 5\r\n  max messages shared memory: 0\r\n  max messages disk space: 0\r\n$',
    ),
  );
});

both('POST sets the limits and gives the new info', async () => {
  const g = channel('g');
  const info = await groupInfo(g, 'POST');
  assert.deepEqual(info.limits, { channels: 2, subscribers: 2, messages: 5, messages_memory: 0, messages_disk: 0 });
});

both('DELETE deletes all channels of the group and gives the info from before', async () => {
  const [g, other] = [channel('g'), channel('g')];
  await server.request('POST', `/lpub/${g}/a`, { body: 'x' });
  await server.request('POST', `/lpub/${other}/a`, { body: 'kept' });
  const held = await open(server, 'GET', `/lsub/${g}/b`);
  await eventually(async () => (await groupInfo(g)).channels === 2, 'both channels');
  const before = await groupInfo(g, 'DELETE');
  assert.equal(before.messages, 1);
  assert.equal((await held.response()).status, 410);
  held.destroy();
  await eventually(async () => (await groupInfo(g)).messages === 0, 'no messages left');
  assert.equal((await server.request('GET', `/lsub/${other}/a`)).text, 'kept');
});

both('limit of channels (nchan refuses from the last one on already)', async () => {
  const g = channel('g');
  assert.equal((await server.request('POST', `/lpub/${g}/a`, { body: 'x' })).status, 202);
  const second = await server.request('POST', `/lpub/${g}/b`, { body: 'x' });
  if (TARGET === 'fanwire') assert.equal(second.status, 202);
  const refused = await server.request('POST', `/lpub/${g}/c`, { body: 'x' });
  assert.equal(refused.status, 403);
  assert.match(refused.header('Content-Type'), /^text\/plain/);
  assert.equal(refused.text, 'Group limit reached for number of channels.');
  assert.equal((await server.request('POST', `/lpub/${g}/a`, { body: 'y' })).status, 202, 'known channels go on');
});

fanwireOnly('nchan lets such a subscriber hang', 'limit of channels: a subscriber gets a 403', async () => {
  const g = channel('g');
  for (const name of ['a', 'b']) await server.request('POST', `/lpub/${g}/${name}`, { body: 'x' });
  const subscriber = await server.request('GET', `/lsub/${g}/c`);
  assert.equal(subscriber.status, 403);
  bare(subscriber);
});

both('limit of messages', async () => {
  const g = channel('g');
  for (let i = 0; i < 5; i += 1) assert.equal((await server.request('POST', `/lpub/${g}/a`, { body: 'x' })).status, 202);
  const refused = await server.request('POST', `/lpub/${g}/a`, { body: 'x' });
  assert.equal(refused.status, 403);
  assert.equal(refused.text, 'Group limit reached for number of messages.');
});

both('limit of subscribers', async () => {
  const g = channel('g');
  const held = [];
  for (let i = 0; i < 2; i += 1) held.push(await open(server, 'GET', `/lsub/${g}/a`));
  await eventually(async () => (await groupInfo(g)).subscribers === 2, 'two subscribers');
  assert.equal((await server.request('GET', `/lsub/${g}/a`)).status, 403);
  held[0].destroy();
  await eventually(async () => (await groupInfo(g)).subscribers === 1, 'one subscriber');
  const again = await open(server, 'GET', `/lsub/${g}/a`);
  await again.staysQuiet(50);
  for (const conn of [held[1], again]) conn.destroy();
});

both('without accounting the group location is 403', async () => {
  assert.equal((await server.request('GET', '/plaingroup/any')).status, 403);
});

both('status page: the lines in their order', async () => {
  await server.publish(channel(), 'x');
  const answer = await server.request('GET', '/status');
  assert.equal(answer.status, 200);
  assert.match(answer.header('Content-Type'), /^text\/plain/);
  assert.doesNotMatch(answer.text, /\r/);
  const lines = answer.text.trimEnd().split('\n').map((line) => line.split(': '));
  assert.deepEqual(
    lines.map(([name]) => name),
    [
      'total published messages', 'stored messages', 'shared memory used', 'shared memory limit', 'channels', 'subscribers',
      'redis pending commands', 'redis connected servers', 'redis unhealthy upstreams', 'total redis commands sent',
      'total interprocess alerts received', 'interprocess alerts in transit', 'interprocess queued alerts',
      'total interprocess send delay', 'total interprocess receive delay', 'nchan version',
    ],
  );
  const values = Object.fromEntries(lines);
  assert.ok(Number(values['total published messages']) >= 1);
  assert.match(values['shared memory used'], /^\d+K$/);
});

both('status page: counts move', async () => {
  const count = async (name) => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec((await server.request('GET', '/status')).text)[1]);
  const published = await count('total published messages');
  const name = channel();
  await server.publish(name, 'a');
  await server.publish(name, 'b');
  assert.equal((await count('total published messages')) - published, 2);
  const subscribers = await count('subscribers');
  const held = await open(server, 'GET', `/sub/${channel()}`);
  await eventually(async () => (await count('subscribers')) === subscribers + 1, 'one subscriber more');
  held.destroy();
});

both('channel events: enqueue, publish, dequeue, delete', async () => {
  const name = channel();
  const events = await open(server, 'GET', '/events', { headers: { Accept: 'text/event-stream' } });
  await events.readThrough(': hi\n\n');
  const next = async () => {
    for (;;) {
      const line = /data: (.*)\n/.exec(await events.readThrough('\n\n'))[1];
      if (line.includes(name)) return line;
    }
  };
  const held = await open(server, 'GET', `/evsub/${name}`);
  assert.equal(await next(), `subscriber_enqueue ${name}`);
  await server.publish(name, 'x', {}, '/evpub');
  assert.deepEqual([await next(), await next()].sort(), [`channel_publish ${name}`, `subscriber_dequeue ${name}`]);
  await server.request('DELETE', `/evpub/${name}`);
  assert.equal(await next(), `channel_delete ${name}`);
  held.destroy();
  events.destroy();
});
