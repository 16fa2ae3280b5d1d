// PROXY protocol headers, as a proxy would send them for any client, and real proxies in front of the node.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Conn } from './raw.mjs';
import { eventually } from './server.mjs';

/** Version 1 for a client at `address`, `port`. */
export const v1 = (address, port = 40000) =>
  Buffer.from(`PROXY TCP${address.includes(':') ? 6 : 4} ${address} ${address.includes(':') ? '::1' : '127.0.0.1'} ${port} 80\r\n`);

/** Version 2 for an IPv4 client. */
export function v2(address, port = 40000, { command = 0x21, extensions = Buffer.alloc(0) } = {}) {
  const addresses = Buffer.alloc(12);
  addresses.set(address.split('.').map(Number), 0);
  addresses.set([127, 0, 0, 1], 4);
  addresses.writeUInt16BE(port, 8);
  addresses.writeUInt16BE(80, 10);
  const head = Buffer.from('\r\n\r\n\0\r\nQUIT\n\x00\x11\x00\x00', 'latin1');
  head[12] = command;
  head.writeUInt16BE(12 + extensions.length, 14);
  return Buffer.concat([head, addresses, extensions]);
}

/** Connects to a door that wants a header, as this client. */
export async function connectAs(door, address, port) {
  const conn = await Conn.open(door);
  return conn.send(v1(address, port));
}

/** Runs a program with a configuration file until the test is over; ready when `port` takes connections. */
export async function withProgram(command, config, port, run) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-proxy-'));
  const file = path.join(dir, 'conf');
  fs.writeFileSync(file, config.replaceAll('{dir}', dir));
  const log = fs.openSync(path.join(dir, 'log'), 'w');
  const child = spawn(command[0], [...command.slice(1), file], { stdio: ['ignore', log, log] });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const failed = new Promise((_, reject) => child.once('error', reject));
  const said = () => fs.readFileSync(path.join(dir, 'log'), 'utf8');
  try {
    const taken = eventually(async () => {
      if (child.exitCode !== null) throw new Error(`${command[0]} has left: ${said()}`);
      (await Conn.open({ port })).destroy();
      return true;
    }, `${command[0]} listens`, 20_000);
    await Promise.race([taken, failed]);
    await run();
  } finally {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(timer);
    fs.closeSync(log);
    fs.rmSync(dir, { recursive: true, force: true });
  }
}
