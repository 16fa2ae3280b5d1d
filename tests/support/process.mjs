// What the node looks like from outside: descriptors, CPU time, memory and its own figures.
import fs from 'node:fs';
import net from 'node:net';
import { Conn, http } from './raw.mjs';
import { pub, start, sub } from './server.mjs';

/** Every shape in which the I/O layer runs: one shard and several, io_uring (where there is any) and epoll. */
export const SHAPES = [
  { shards: 1, driver: 'auto' },
  { shards: 3, driver: 'auto' },
  { shards: 1, driver: 'epoll' },
  { shards: 3, driver: 'epoll' },
];

export const shapeName = ({ shards, driver }) => `${shards} shard${shards === 1 ? '' : 's'}, ${driver}`;

/** Starts a node, runs the test with it and stops it; the node must leave without a panic. */
export async function withNode(options, run, starter = start) {
  const server = await starter({ locations: [pub(), sub()], ...options });
  let failed = true;
  try {
    await run(server);
    failed = false;
  } finally {
    await server.stop().catch((error) => {
      if (!failed) throw error;
    });
  }
}

const proc = (server, file) => fs.readFileSync(`/proc/${server.child.pid}/${file}`, 'latin1');

/** Open descriptors. */
export const descriptors = (server) => fs.readdirSync(`/proc/${server.child.pid}/fd`).length;

/** CPU time used so far, milliseconds (clock ticks of 10 ms). */
export function cpuMs(server) {
  const fields = proc(server, 'stat').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Resident memory, KiB. */
export const rssKib = (server) => Number(/VmRSS:\s+(\d+) kB/.exec(proc(server, 'status'))[1]);

/** A figure of /metrics, summed over its labels; `label` keeps only lines with that text. */
export async function metric(server, name, label = '') {
  const { text } = await http(server, 'GET', '/metrics');
  return text
    .split('\n')
    .filter((line) => (line.startsWith(`${name} `) || line.startsWith(`${name}{`)) && line.includes(label))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** Connects; `localAddress` chooses another loopback address. */
export function connect(server, options = {}) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port: server.port, allowHalfOpen: true, noDelay: true, ...options });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(new Conn(socket));
    });
  });
}

/** Runs `task` for 0..count, at most `width` at a time. */
export async function inParallel(count, width, task) {
  let next = 0;
  const worker = async () => {
    while (next < count) {
      const index = next;
      next += 1;
      await task(index);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}
