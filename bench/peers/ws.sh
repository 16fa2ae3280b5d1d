#!/bin/bash
# Node with the package ws: the fan-out frames a message once and writes the same bytes to every socket.
. "$(dirname "$0")/common.sh"
if installing; then
  need npm
  [ -e "$DIR/node_modules/ws" ] || npm install --prefix "$DIR" --no-audit --no-fund ws@8
  exit
fi
need node
cat >"$DIR/server.js" <<'JS'
'use strict';
const { createServer } = require('node:http');
const { Sender, WebSocketServer } = require('ws');

const channels = new Map();
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, clientTracking: false });

function publish(channel, payload) {
  const members = channels.get(channel);
  if (!members) return;
  const options = { fin: true, opcode: 1, mask: false, readOnly: true, rsv1: false };
  const frame = Buffer.concat(Sender.frame(payload, options));
  for (const socket of members) socket.write(frame);
}

function subscribe(channel, webSocket, socket) {
  if (!channels.has(channel)) channels.set(channel, new Set());
  const members = channels.get(channel).add(socket);
  webSocket.on('close', () => {
    members.delete(socket);
    if (members.size === 0 && channels.get(channel) === members) channels.delete(channel);
  });
}

const server = createServer((request, response) => {
  if (request.method !== 'POST' || !request.url.startsWith('/pub/')) {
    response.writeHead(404).end();
    return;
  }
  const body = [];
  request.on('data', (piece) => body.push(piece));
  request.on('end', () => {
    publish(request.url.slice('/pub/'.length), Buffer.concat(body));
    response.writeHead(202, { 'Content-Length': 0 }).end();
  });
});
server.keepAliveTimeout = 3_600_000;
server.requestTimeout = 0;
server.on('upgrade', (request, socket, head) => {
  socket.setNoDelay(true);
  sockets.handleUpgrade(request, socket, head, (webSocket) => {
    webSocket.on('error', () => {});
    if (request.url === '/echo') webSocket.on('message', (data) => webSocket.send(data, { binary: false }));
    else subscribe(request.url.slice('/sub/'.length), webSocket, socket);
  });
});
server.listen({ host: '127.0.0.1', port: Number(process.env.PORT), backlog: 4096 });
JS
cd "$DIR"
exec node server.js
