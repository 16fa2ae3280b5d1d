// pusher-js as browsers get it, on a page of another origin, with its own choice of transports; its connections are
// closed and cut on the way (pusher.md, sections 1, 4 and 13).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, test } from 'node:test';
import { App } from '../support/app.mjs';
import { CHROMIUM, show } from '../support/chromium.mjs';
import { APP, subscriptions, trigger, usePusher, usersAre } from '../support/pusher.mjs';
import { TARGET, channel, eventually } from '../support/server.mjs';
import { Gate, backEnd } from './pusher_env.mjs';

const skip = (TARGET === 'nchan' && 'nchan does not speak Pusher') || (CHROMIUM ? false : 'no chromium here');
const server = usePusher();
const library = () => {
  const main = createRequire(import.meta.url).resolve('pusher-js');
  return fs.readFileSync(path.join(path.dirname(main), '../web/pusher-with-encryption.js'), 'utf8');
};

const PAGE = `<!doctype html><meta charset="utf-8"><script src="/pusher.js"></script><script>
const args = new URLSearchParams(location.search);
let queue = Promise.resolve();
const report = (kind, data) => {
  queue = queue.then(() => fetch('/report', { method: 'POST', body: JSON.stringify({ kind, data }) }));
};
// No enabledTransports: the library tries what it thinks best.
const pusher = new Pusher('${APP.key}', { cluster: '', wsHost: '127.0.0.1', wsPort: Number(args.get('port')), forceTLS: false });
pusher.connection.bind('state_change', ({ current }) => report('state', current));
pusher.connection.bind('error', (error) => report('error', (error.error?.data ?? error.data)?.code ?? null));
for (const name of args.getAll('channel')) {
  const channel = pusher.subscribe(name);
  channel.bind('pusher:subscription_succeeded', (members) => report('in', [name, members?.count ?? null]));
  channel.bind('pusher:member_added', ({ id }) => report('added', id));
  channel.bind('e', (data) => report('event', [name, data]));
}
pusher.user.bind('hello', (data) => report('hello', data));
pusher.signin();
</script>`;

const reports = [];
const of = (kind) => reports.filter((report) => report.kind === kind).map((report) => report.data);
let app;
let leave;
after(async () => {
  leave?.();
  await app?.stop();
});

test('pusher-js in a browser: all kinds of channels, sign-in, and back after a close and a cut', { skip }, async () => {
  const sdk = backEnd(server, { encryptionMasterKeyBase64: Buffer.alloc(32, 7).toString('base64') });
  const [me, plain, secret, room, encrypted] = [channel('me'), channel(), channel('private-b'), channel('presence-b'), channel('private-encrypted-b')];
  const names = [plain, secret, room, encrypted];
  app = await App.start();
  app.answer = ({ path: where, body }) => {
    const form = new URLSearchParams(body);
    const json = (value) => ({ status: 200, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(value) });
    if (where === '/page') return { status: 200, headers: { 'Content-Type': 'text/html' }, body: PAGE };
    if (where === '/pusher.js') return { status: 200, headers: { 'Content-Type': 'text/javascript' }, body: library() };
    if (where === '/pusher/user-auth') return json(sdk.authenticateUser(form.get('socket_id'), { id: me }));
    if (where === '/pusher/auth') {
      const name = form.get('channel_name');
      return json(sdk.authorizeChannel(form.get('socket_id'), name, name === room ? { user_id: me, user_info: {} } : undefined));
    }
    if (where === '/report') reports.push(JSON.parse(body));
    return { status: where === '/report' ? 200 : 404 };
  };
  const gate = await Gate.open(server);
  const query = new URLSearchParams([['port', gate.port], ...names.map((name) => ['channel', name])]);
  leave = show(app.url(`/page?${query}`));

  const whole = async (round) => {
    await eventually(() => of('in').length === 4 * round, `four channels, round ${round}: ${JSON.stringify(reports)}`, 30_000);
    assert.deepEqual(of('in').find(([name]) => name === room), [room, 1]);
    for (const name of names) await subscriptions(server, name, 1);
    await usersAre(server, room, [me]);
    await trigger(server, [plain, secret, room], 'e', { round });
    await sdk.trigger(encrypted, 'e', { round });
    await eventually(() => of('event').length === 4 * round, `four events, round ${round}`);
    assert.deepEqual(of('event').slice(-4).map(([name]) => name).sort(), [...names].sort());
    assert.ok(of('event').slice(-4).every(([, data]) => data.round === round));
    await eventually(async () => {
      await sdk.sendToUser(me, 'hello', { round });
      return of('hello').some((data) => data.round === round);
    }, `the user is spoken to, round ${round}`);
  };

  await whole(1);
  assert.deepEqual(of('error'), []);
  const tried = gate.pairs.length;
  gate.cut(4200, 'Generic reconnect immediately');
  await whole(2);
  assert.deepEqual(of('error')[0], 4200);
  gate.cut();
  await whole(3);
  assert.equal(of('state').filter((state) => state === 'connected').length, 3);
  assert.ok(gate.pairs.length > tried);
});
