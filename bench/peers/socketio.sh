#!/bin/bash
# Node with socket.io on its default engine ws. A client subscribes by emitting "sub" with the name of a room, which is
# acknowledged; messages come as the event "m".
# dialect: socketio
. "$(dirname "$0")/common.sh"
if installing; then
  need npm
  [ -e "$DIR/node_modules/socket.io" ] || npm install --prefix "$DIR" --no-audit --no-fund socket.io@4.8
  exit
fi
need node
cat >"$DIR/server.js" <<'JS'
'use strict';
const { createServer } = require('node:http');
const { Server } = require('socket.io');

const server = createServer((request, response) => {
  if (request.method !== 'POST' || !request.url.startsWith('/pub/')) {
    response.writeHead(404).end();
    return;
  }
  const body = [];
  request.on('data', (piece) => body.push(piece));
  request.on('end', () => {
    sockets.to(request.url.slice('/pub/'.length)).emit('m', Buffer.concat(body).toString());
    response.writeHead(202, { 'Content-Length': 0 }).end();
  });
});
server.keepAliveTimeout = 3_600_000;
server.requestTimeout = 0;

// As its documentation advises for many clients: WebSocket only, no compression, the first request not kept.
const sockets = new Server(server, {
  transports: ['websocket'],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
  // Servers that wait for their turn are stopped and answer no ping meanwhile.
  pingTimeout: 3_600_000,
});
sockets.engine.on('connection', (socket) => { socket.request = null; });
sockets.on('connection', (socket) => {
  socket.on('sub', (room, done) => {
    socket.join(room);
    if (typeof done === 'function') done();
  });
});
server.listen({ host: '127.0.0.1', port: Number(process.env.PORT), backlog: 4096 });
JS
cd "$DIR"
exec node server.js
