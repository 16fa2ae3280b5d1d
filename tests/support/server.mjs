// Starts the server under test on a free loopback port and stops it again.
// TARGET=fanwire (default) or nchan chooses which; the configuration is given once, as a list of
// locations with fanwire's own configuration keys. TARGET=sockudo runs the Pusher tests on another server of that
// protocol, to see whether they are right about its clients; where it differs from the sheet they fail there.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { nginxConfig } from '../nchan/nginx.mjs';
import { Conn, http, sleep } from './raw.mjs';
import { sockudoConfig } from './sockudo.mjs';

export const TARGET = process.env.TARGET ?? 'fanwire';
if (!['fanwire', 'nchan', 'sockudo'].includes(TARGET)) throw new Error(`TARGET=${TARGET}: fanwire, nchan or sockudo`);

const REPO = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const FANWIRE_BIN = process.env.FANWIRE_BIN ?? path.join(REPO, 'target/debug/fanwire');
// the node reads FANWIRE_* itself: what steers the tests must not reach it
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('FANWIRE_')));
const START_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 10_000;

/** A location that publishes; `extra` overrides any key. */
export const pub = (prefix = '/pub', extra = {}) => ({
  url: `^${prefix}/(.+)$`,
  methods: 'publisher',
  channel_id: ['$1'],
  ...extra,
});

/** A location that subscribes, all default transports. */
export const sub = (prefix = '/sub', extra = {}) => ({
  url: `^${prefix}/(.+)$`,
  methods: 'subscriber',
  channel_id: ['$1'],
  ...extra,
});

let names = 0;
/** A channel name no other test uses. */
export const channel = (hint = 'c') => `${hint}-${process.pid}-${(names += 1)}`;

export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

// Far longer than anything here takes: Chromium's EventSource alone waits three seconds before it connects again.
const EVENTUALLY_MS = 10000;

/** Polls `check` until it holds; for the few things a server does a moment after it answered. */
export async function eventually(check, what, timeoutMs = EVENTUALLY_MS) {
  const deadline = Date.now() + timeoutMs;
  let last;
  for (;;) {
    try {
      last = await check();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`never happened: ${what} (last: ${last instanceof Error ? last.message : JSON.stringify(last)})`);
    await sleep(10);
  }
}

class Server {
  constructor({ port, child, dir, stderrFile }) {
    Object.assign(this, { port, child, dir, stderrFile });
    this.origin = `http://127.0.0.1:${port}`;
    this.exit = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
  }

  url(where) {
    return this.origin + where;
  }

  stderr() {
    return fs.readFileSync(this.stderrFile, 'utf8');
  }

  request(method, where, options) {
    return http(this, method, where, options);
  }

  /** Publishes and requires that it was taken. */
  async publish(name, body, headers = {}, prefix = '/pub') {
    const answer = await http(this, 'POST', `${prefix}/${name}`, { headers, body });
    if (answer.status !== 201 && answer.status !== 202) throw new Error(`publish answered ${answer.status} ${answer.text}`);
    return answer;
  }

  /** Channel info as an object, undefined for an unknown channel. */
  async info(name, prefix = '/pub') {
    const answer = await http(this, 'GET', `${prefix}/${name}`, { headers: { Accept: 'text/json' } });
    return answer.status === 200 ? JSON.parse(answer.text) : undefined;
  }

  /** Waits until exactly `count` subscribers are attached. */
  async subscribers(name, count, { prefix = '/pub' } = {}) {
    await eventually(
      async () => ((await this.info(name, prefix))?.subscribers ?? 0) === count,
      `${count} subscribers on ${name}`,
    );
  }

  async kill(signal) {
    this.child.kill(signal);
    const exit = await Promise.race([this.exit, pause(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    if (!exit) {
      this.child.kill('SIGKILL');
      throw new Error(`did not stop within ${STOP_TIMEOUT_MS} ms of ${signal}:\n${this.stderr()}`);
    }
    return exit;
  }

  /** SIGTERM; fanwire must then leave with code 0 and without a word about a panic. */
  async stop() {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.kill('SIGTERM');
    const { code, signal } = await this.exit;
    const log = this.stderr();
    fs.rmSync(this.dir, { recursive: true, force: true });
    if (TARGET === 'fanwire' && (code !== 0 || /panicked/.test(log))) {
      throw new Error(`left with code ${code}, signal ${signal}:\n${log}`);
    }
  }
}

/**
 * Starts the target with these locations.
 * For fanwire only: `toml` adds lines in front of the locations, `args` adds flags, `port` says that `toml` itself
 * listens, there.
 */
export async function start(options = {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(options);
    } catch (error) {
      // another process may have taken the port between probing and binding
      if (attempt === 3 || !/Address already in use|EADDRINUSE|AddrInUse/i.test(error.message)) throw error;
    }
  }
}

async function startOnce({ locations, toml = '', args = [], env = {}, maxBody, shards, driver, port: fixedPort, apps, pusher } = {}) {
  const port = fixedPort ?? (await freePort());
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), `fanwire-test-${TARGET}-`));
  const stderrFile = path.join(dir, 'stderr');
  let command;
  if (TARGET === 'nchan') {
    const file = path.join(dir, 'nginx.conf');
    fs.writeFileSync(file, nginxConfig(locations ?? [pub(), sub()], { port, dir, maxBody }));
    command = ['nginx', '-p', dir, '-c', file, '-e', 'stderr'];
  } else if (TARGET === 'sockudo') {
    const file = path.join(dir, 'sockudo.toml');
    fs.writeFileSync(file, sockudoConfig({ port, apps, pusher }));
    command = [process.env.SOCKUDO_BIN ?? 'sockudo', '--config', file];
  } else {
    command = [FANWIRE_BIN, 'serve'];
    if (!fixedPort) command.push('--listen', `127.0.0.1:${port}`);
    if (locations || toml) {
      const file = path.join(dir, 'fanwire.toml');
      fs.writeFileSync(file, toml + (locations ?? []).map(locationToml).join(''));
      command.push('--config', file);
    }
    const shardCount = shards ?? process.env.FANWIRE_SHARDS;
    if (shardCount) command.push('--shards', String(shardCount));
    const driverName = driver ?? process.env.FANWIRE_DRIVER;
    if (driverName) command.push('--driver', driverName);
    command.push(...args);
  }
  const log = fs.openSync(stderrFile, 'w');
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', log, log], env: { ...ENVIRONMENT, ...env } });
  fs.closeSync(log);
  const server = new Server({ port, child, dir, stderrFile });
  child.once('error', (error) => fs.appendFileSync(stderrFile, `${error.message}\n`));
  process.once('exit', () => child.kill('SIGKILL'));
  try {
    await ready(server);
  } catch (error) {
    fs.rmSync(dir, { recursive: true, force: true });
    throw error;
  }
  return server;
}

/** Runs fanwire with these arguments until it leaves by itself; for start-up errors. */
export function runToEnd(args, { timeoutMs = START_TIMEOUT_MS, env = {} } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(FANWIRE_BIN, args, { env: { ...ENVIRONMENT, ...env } });
    let output = '';
    child.stdout.on('data', (d) => (output += d));
    child.stderr.on('data', (d) => (output += d));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`still running after ${timeoutMs} ms:\n${output}`));
    }, timeoutMs);
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, output });
    });
  });
}

async function ready(server) {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    if (server.child.exitCode !== null || server.child.pid === undefined) {
      throw new Error(`${TARGET} left at start with code ${server.child.exitCode}:\n${server.stderr()}`);
    }
    try {
      if (TARGET !== 'fanwire') {
        (await Conn.open(server)).destroy();
        return;
      }
      if ((await http(server, 'GET', '/health/ready', { timeoutMs: 1000 })).status === 200) return;
    } catch {
      // not listening yet
    }
    if (Date.now() > deadline) {
      server.child.kill('SIGKILL');
      throw new Error(`${TARGET} not ready after ${START_TIMEOUT_MS} ms:\n${server.stderr()}`);
    }
    await sleep(20);
  }
}

function tomlValue(value) {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(', ')}]`;
  if (value !== null && typeof value === 'object') {
    return `{ ${Object.entries(value)
      .map(([k, v]) => `${k} = ${tomlValue(v)}`)
      .join(', ')} }`;
  }
  return JSON.stringify(value);
}

export function locationToml(location) {
  const lines = Object.entries(location).map(([key, value]) => `${key} = ${tomlValue(value)}`);
  return `[[location]]\n${lines.join('\n')}\n\n`;
}
