// A raw WebSocket client (RFC 6455): frames go out exactly as asked and come back unassembled.
import crypto from 'node:crypto';
import { Conn } from './raw.mjs';

export const OP = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

/** The upgrade request's fields; any of them can be replaced or removed (undefined). */
export function upgradeHeaders(extra = {}) {
  return {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': crypto.randomBytes(16).toString('base64'),
    ...extra,
  };
}

export const acceptOf = (key) =>
  crypto.createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');

export class WsConn {
  constructor(conn, head) {
    this.conn = conn;
    this.head = head;
  }

  /** Connects and requires a 101. */
  static async connect(target, path, headers = {}) {
    const sent = upgradeHeaders(headers);
    const conn = await Conn.open(target);
    conn.request('GET', path, { headers: sent });
    const head = await conn.head();
    if (head.status !== 101) {
      conn.destroy();
      throw new Error(`handshake answered ${head.status}`);
    }
    if (head.header('Sec-WebSocket-Accept') !== acceptOf(sent['Sec-WebSocket-Key'])) throw new Error('wrong Sec-WebSocket-Accept');
    return new WsConn(conn, head);
  }

  /** Sends one frame. `length` may lie about the size; `mask: false` breaks the rules on purpose. */
  send(opcode, payload = '', { fin = true, rsv1 = false, mask = true } = {}) {
    this.conn.send(frameBytes(opcode, payload, { fin, rsv1, mask }));
    return this;
  }

  text(payload) {
    return this.send(OP.text, payload);
  }

  close(code, reason = '') {
    const payload = code === undefined ? Buffer.alloc(0) : Buffer.concat([u16(code), Buffer.from(reason)]);
    return this.send(OP.close, payload);
  }

  /** Next frame, control frames included. */
  async frame() {
    const [b0, b1] = await this.conn.read(2, 'a frame header');
    if (b1 & 0x80) throw new Error('server frames must not be masked');
    let length = b1 & 0x7f;
    const lengthForm = length;
    if (length === 126) length = (await this.conn.read(2)).readUInt16BE();
    else if (length === 127) length = Number((await this.conn.read(8)).readBigUInt64BE());
    const bytes = Buffer.from(await this.conn.read(length, 'a frame payload'));
    const frame = {
      fin: (b0 & 0x80) !== 0,
      rsv1: (b0 & 0x40) !== 0,
      opcode: b0 & 0x0f,
      lengthForm,
      bytes,
      text: bytes.toString('utf8'),
    };
    if (frame.opcode === OP.close && bytes.length >= 2) {
      frame.code = bytes.readUInt16BE(0);
      frame.reason = bytes.subarray(2).toString('utf8');
    }
    return frame;
  }

  /** Next frame that is not a ping or pong. */
  async message() {
    for (;;) {
      const frame = await this.frame();
      if (frame.opcode !== OP.ping && frame.opcode !== OP.pong) return frame;
    }
  }

  destroy() {
    this.conn.destroy();
  }
}

const u16 = (n) => Buffer.from([n >> 8, n & 0xff]);

export function frameBytes(opcode, payload, { fin = true, rsv1 = false, mask = true } = {}) {
  const data = Buffer.from(payload);
  const bit = mask ? 0x80 : 0;
  const first = Buffer.from([(fin ? 0x80 : 0) | (rsv1 ? 0x40 : 0) | opcode]);
  let length;
  if (data.length < 126) length = Buffer.from([bit | data.length]);
  else if (data.length < 65536) length = Buffer.concat([Buffer.from([bit | 126]), u16(data.length)]);
  else {
    length = Buffer.alloc(9);
    length[0] = bit | 127;
    length.writeBigUInt64BE(BigInt(data.length), 1);
  }
  if (!mask) return Buffer.concat([first, length, data]);
  const key = crypto.randomBytes(4);
  const masked = Buffer.from(data);
  for (let i = 0; i < masked.length; i += 1) masked[i] ^= key[i & 3];
  return Buffer.concat([first, length, key, masked]);
}
