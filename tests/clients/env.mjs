// The browser names that the nchan client expects, given by npm packages.
import EventSource from 'eventsource';
import { createRequire } from 'node:module';
import { WebSocket } from 'ws';

const require = createRequire(import.meta.url);

class BrowserSocket extends WebSocket {
  constructor(...args) {
    super(...args);
    this.binaryType = 'blob';
  }
}

class FileReader {
  readAsText(blob) {
    blob.text().then((text) => {
      this.result = text;
      const event = { target: this };
      this.onloadend?.(event);
      this.onload?.(event);
    });
  }

  addEventListener(name, listener) {
    this[`on${name}`] = listener;
  }
}

class Storage {
  constructor() {
    this.items = new Map();
  }
  getItem(key) {
    return this.items.has(key) ? this.items.get(key) : null;
  }
  setItem(key, value) {
    this.items.set(key, String(value));
  }
  removeItem(key) {
    this.items.delete(key);
  }
}

Object.assign(globalThis, {
  window: globalThis,
  WebSocket: BrowserSocket,
  EventSource,
  XMLHttpRequest: require('xmlhttprequest').XMLHttpRequest,
  FileReader,
  localStorage: new Storage(),
  sessionStorage: new Storage(),
  addEventListener() {},
  removeEventListener() {},
});

export const NchanSubscriber = require('nchan');
export { EventSource };
