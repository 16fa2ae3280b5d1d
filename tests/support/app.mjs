// The application behind the node: records every request and answers as it is told.
import http from 'node:http';
import { eventually } from './server.mjs';

export class App {
  constructor(server) {
    this.server = server;
    this.requests = [];
    this.answer = () => ({ status: 200 });
  }

  static start() {
    return new Promise((resolve) => {
      const app = new App(http.createServer());
      app.server.on('request', (req, res) => app.serve(req, res));
      app.server.listen(0, '127.0.0.1', () => resolve(app));
    });
  }

  url(where) {
    return `http://127.0.0.1:${this.server.address().port}${where}`;
  }

  async serve(req, res) {
    const parts = [];
    for await (const part of req) parts.push(part);
    const seen = {
      method: req.method,
      url: req.url,
      path: req.url.split('?')[0],
      headers: req.headers,
      rawHeaders: req.rawHeaders,
      body: Buffer.concat(parts).toString('utf8'),
    };
    this.requests.push(seen);
    const { status, headers = {}, body = '' } = await this.answer(seen);
    res.writeHead(status, headers).end(body);
  }

  /** Requests whose path or body mentions the text. */
  about(text) {
    return this.requests.filter((r) => r.url.includes(text) || r.body.includes(text) || JSON.stringify(r.headers).includes(text));
  }

  /** Waits for exactly that many requests about the text and gives them. */
  async seen(text, count) {
    return eventually(() => this.about(text).length >= count && this.about(text), `${count} requests about ${text}`);
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }
}
