// A raw HTTP/1.x client: sends exactly the bytes it is given and shows exactly what comes back.
// fetch() normalises header names, hides framing and refuses to send what these tests must send.
import net from 'node:net';

/** How long any single read may take before the test fails, in milliseconds. */
export const READ_TIMEOUT_MS = 5000;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Header fields as they came: order, case and repetition kept in `list`, lookup by lower-case name. */
class Fields {
  constructor(list) {
    this.list = list;
  }
  get(name) {
    const found = this.all(name);
    return found.length === 0 ? undefined : found.join(', ');
  }
  all(name) {
    const key = name.toLowerCase();
    return this.list.filter(([n]) => n.toLowerCase() === key).map(([, v]) => v);
  }
  has(name) {
    return this.all(name).length > 0;
  }
}

/** One TCP (or unix) connection with a growing input buffer and awaitable reads. */
export class Conn {
  constructor(socket) {
    this.socket = socket;
    this.input = Buffer.alloc(0);
    this.ended = false;
    this.waiters = new Set();
    const wake = () => {
      for (const waiter of this.waiters) waiter();
    };
    socket.on('data', (chunk) => {
      this.input = Buffer.concat([this.input, chunk]);
      wake();
    });
    const over = (error) => {
      this.ended = true;
      this.error ??= error;
      wake();
    };
    socket.on('end', () => over());
    socket.on('close', () => over());
    socket.on('error', over);
  }

  /** @param target a server with `port`, or `{ path }` of a unix socket */
  static open(target) {
    return new Promise((resolve, reject) => {
      const where = target.socketPath
        ? { path: target.socketPath }
        : { host: '127.0.0.1', port: target.port };
      const socket = net.connect({ ...where, allowHalfOpen: true, noDelay: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new Conn(socket));
      });
    });
  }

  send(bytes) {
    this.socket.write(bytes);
    return this;
  }

  /** Ends our sending side only; what the server still has to say can be read. */
  halfClose() {
    this.socket.end();
  }

  /** Drops the connection at once, as a vanished client would. */
  destroy() {
    this.socket.destroy();
  }

  /** Waits until `ready()` gives something other than undefined. */
  async until(ready, what, timeoutMs = READ_TIMEOUT_MS) {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const value = ready();
      if (value !== undefined) return value;
      const left = deadline - Date.now();
      if (this.ended || left <= 0) {
        const why = this.ended ? `connection ended (${this.error?.code ?? 'EOF'})` : `nothing for ${timeoutMs} ms`;
        const seen = this.input.subarray(0, 300).toString('latin1');
        throw new Error(`waiting for ${what}: ${why}; unread: ${JSON.stringify(seen)}`);
      }
      await new Promise((resolve) => {
        const timer = setTimeout(done, left);
        const { waiters } = this;
        function done() {
          clearTimeout(timer);
          waiters.delete(done);
          resolve();
        }
        waiters.add(done);
      });
    }
  }

  take(count) {
    const taken = this.input.subarray(0, count);
    this.input = this.input.subarray(count);
    return taken;
  }

  /** Exactly `count` bytes. */
  async read(count, what = `${count} bytes`) {
    return this.until(() => (this.input.length >= count ? this.take(count) : undefined), what);
  }

  /** Everything up to and including `mark`, as latin1 text. */
  async readThrough(mark, timeoutMs) {
    const at = await this.until(
      () => {
        const found = this.input.indexOf(mark);
        return found < 0 ? undefined : found;
      },
      JSON.stringify(mark),
      timeoutMs,
    );
    return this.take(at + Buffer.byteLength(mark)).toString('latin1');
  }

  /** Waits for the server to close and gives what was left unread. */
  async readToEnd(timeoutMs = READ_TIMEOUT_MS) {
    await this.until(() => (this.ended ? true : undefined), 'the connection to close', timeoutMs);
    return this.take(this.input.length);
  }

  /** Fails when the server says anything, or closes, within `ms`. */
  async staysQuiet(ms = 150) {
    await sleep(ms);
    if (this.input.length > 0) throw new Error(`expected silence, got ${JSON.stringify(this.input.subarray(0, 300).toString('latin1'))}`);
    if (this.ended) throw new Error('expected the connection to stay open');
  }

  /** Status line and header fields. */
  async head(timeoutMs) {
    const text = await this.readThrough('\r\n\r\n', timeoutMs);
    const [start, ...lines] = text.slice(0, -4).split('\r\n');
    const match = /^HTTP\/(1\.[01]) (\d{3}) ?(.*)$/.exec(start);
    if (!match) throw new Error(`not a status line: ${JSON.stringify(start)}`);
    const list = lines.map((line) => {
      const colon = line.indexOf(':');
      if (colon <= 0) throw new Error(`not a header field: ${JSON.stringify(line)}`);
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
    const fields = new Fields(list);
    return {
      version: match[1],
      status: Number(match[2]),
      reason: match[3],
      fields,
      header: (name) => fields.get(name),
    };
  }

  /** One chunk of a chunked body; an empty buffer is the last one (its trailer is consumed). */
  async chunk(timeoutMs) {
    const line = await this.readThrough('\r\n', timeoutMs);
    const size = parseInt(line, 16);
    if (!Number.isInteger(size)) throw new Error(`not a chunk size: ${JSON.stringify(line)}`);
    const data = await this.read(size);
    await this.readThrough('\r\n');
    return data;
  }

  async body(head, method = 'GET') {
    if (method === 'HEAD' || head.status === 204 || head.status === 304 || head.status < 200) return Buffer.alloc(0);
    if (/chunked/i.test(head.header('Transfer-Encoding') ?? '')) {
      const parts = [];
      for (;;) {
        const part = await this.chunk();
        if (part.length === 0) return Buffer.concat(parts);
        parts.push(part);
      }
    }
    if (head.fields.has('Content-Length')) return this.read(Number(head.header('Content-Length')), 'the body');
    return this.readToEnd();
  }

  /** A whole response: head plus body (as Buffer) and its text. */
  async response(method = 'GET', timeoutMs) {
    const head = await this.head(timeoutMs);
    const bytes = await this.body(head, method);
    return { ...head, bytes, text: bytes.toString('utf8') };
  }

  /** Writes one request; `headers` is an object (arrays repeat the field) and is sent as given. */
  request(method, path, { headers = {}, body, version = '1.1' } = {}) {
    this.send(requestBytes(method, path, { headers, body, version }));
    return this;
  }
}

export function requestBytes(method, path, { headers = {}, body, version = '1.1' } = {}) {
  const lower = Object.keys(headers).map((n) => n.toLowerCase());
  const lines = [`${method} ${path} HTTP/${version}`];
  if (!lower.includes('host')) lines.push('Host: localhost');
  for (const [name, value] of Object.entries(headers)) {
    for (const one of [value].flat()) if (one !== undefined) lines.push(`${name}: ${one}`);
  }
  const payload = body === undefined ? undefined : Buffer.from(body);
  if (payload && !lower.includes('content-length') && !lower.includes('transfer-encoding')) {
    lines.push(`Content-Length: ${payload.length}`);
  }
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  return payload ? Buffer.concat([head, payload]) : head;
}

/** One request on its own connection, whole response. */
export async function http(target, method, path, options = {}) {
  const conn = await Conn.open(target);
  try {
    return await conn.request(method, path, options).response(method, options.timeoutMs);
  } finally {
    conn.destroy();
  }
}

/** Opens a connection, sends a request and leaves reading to the caller. */
export async function open(target, method, path, options = {}) {
  const conn = await Conn.open(target);
  return conn.request(method, path, options);
}
