// Another reader of HTTP/1 for the differential in `h1`: node:http, whose parser is llhttp. Usage: node h1_peer.mjs PORT
// When a connection is over, it prints the client's port, how many whole requests it read, and why it read no further:
// its answers do not tell, as what it refuses takes answers that wait with it.
import http from 'node:http';

const server = http.createServer((request, response) => {
  request.on('data', () => {});
  request.on('end', () => {
    request.socket.whole += 1;
    response.end();
  });
});
server.on('connection', (socket) => {
  const port = socket.remotePort;
  socket.whole = 0;
  socket.on('close', () => console.log(`${port} ${socket.whole} ${socket.refusal ?? '-'}`));
});
server.on('clientError', (error, socket) => {
  socket.refusal ??= error.code ?? 'ERROR';
  socket.destroy();
});
server.listen(Number(process.argv[2]), '127.0.0.1');
