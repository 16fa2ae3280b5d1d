// Certificates made with the openssl command, and connections over TLS that read as raw ones do.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { start, freePort } from './server.mjs';
import { Conn } from './raw.mjs';
import { WsConn, upgradeHeaders } from './websocket.mjs';

/** How long anything may take that should come at once, milliseconds: far more than it takes, also on a busy machine. */
export const WAIT_MS = 30_000;

const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });

/** A directory with an authority and what it has signed. */
export class Authority {
  constructor(name = 'authority') {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-tls-'));
    const [key, cert] = [this.file('ca.key'), this.file('ca.pem')];
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30', '-subj', `/CN=${name}`, '-keyout', key, '-out', cert);
    this.pem = fs.readFileSync(cert);
  }

  file(name) {
    return path.join(this.dir, name);
  }

  /** Signs a certificate; gives the names of both files. `names` like `DNS:push.example`. */
  sign(name, names, { days = 30, rsa = false } = {}) {
    const [key, request, cert, extensions] = ['key', 'csr', 'pem', 'ext'].map((ending) => this.file(`${name}.${ending}`));
    const kind = rsa ? ['rsa:2048'] : ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    openssl('req', '-newkey', ...kind, '-nodes', '-subj', `/CN=${name}`, '-keyout', key, '-out', request);
    fs.writeFileSync(extensions, `subjectAltName=${names}\n`);
    openssl('x509', '-req', '-in', request, '-CA', this.file('ca.pem'), '-CAkey', this.file('ca.key'), '-CAcreateserial', '-days', String(days), '-extfile', extensions, '-out', cert);
    return { cert, key };
  }

  remove() {
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

/** `[[certificate]]` tables, after `[tls]` with these lines. */
export const tlsToml = (pairs, lines = '') =>
  `[tls]\n${lines}\n${pairs.map(({ cert, key }) => `[[certificate]]\ncertificate = "${cert}"\nkey = "${key}"\n`).join('')}`;

/** Starts a node that also listens with TLS (`tlsPort`) and with client certificates (`strictPort`, if asked for). */
export async function startTls({ toml = '', args = [], strict = false, ...options }) {
  for (let attempt = 1; ; attempt += 1) {
    const [tlsPort, strictPort] = [await freePort(), await freePort()];
    const listen = ['--listen', `127.0.0.1:${tlsPort} tls`];
    if (strict) listen.push('--listen', `127.0.0.1:${strictPort} tls client_certificates`);
    try {
      const server = await start({ toml, args: [...listen, ...args], ...options });
      return Object.assign(server, { tlsPort, strictPort });
    } catch (error) {
      if (attempt === 3 || !/Address already in use/i.test(error.message)) throw error;
    }
  }
}

/** A connection whose reads wait longer: a handshake on a busy machine takes its time. */
export class SecureConn extends Conn {
  until(ready, what, timeoutMs = 0) {
    return super.until(ready, what, Math.max(timeoutMs, WAIT_MS));
  }
}

/** Shakes hands; `options` go to node:tls. */
export function secure(port, options = {}) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, servername: 'push.example', allowHalfOpen: true, ...options });
    socket.setNoDelay(true);
    const session = new Promise((ticket) => socket.once('session', ticket)); // with TLS 1.2 before the handshake's end
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      socket.off('error', reject);
      resolve(Object.assign(new SecureConn(socket), { session }));
    });
  });
}

/** A raw WebSocket client over TLS. */
export async function secureWebSocket(port, where, options = {}) {
  const conn = await secure(port, options);
  conn.request('GET', where, { headers: upgradeHeaders() });
  const head = await conn.head();
  if (head.status !== 101) throw new Error(`handshake answered ${head.status}`);
  return new WsConn(conn, head);
}
