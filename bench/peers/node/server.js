// Node.js, ws and Redis: the classic set-up, as a peer for the bench. A message
// goes to a Redis channel, and every node sends what it hears there to all its
// clients, as the guides do it.
'use strict';
const { WebSocketServer, WebSocket } = require('ws');
const { createClient } = require('redis');

const flag = (name) => process.argv[process.argv.indexOf(name) + 1];
const [host, port] = flag('-addr').split(':');

(async () => {
  const publisher = createClient({ url: 'redis://' + flag('-redis') });
  await publisher.connect();
  const subscriber = publisher.duplicate();
  await subscriber.connect();
  const server = new WebSocketServer({ host, port: Number(port), backlog: 65535, perMessageDeflate: false });
  server.on('connection', (socket) => {
    socket.on('message', (data) => publisher.publish('chat', data.toString()));
    socket.on('error', () => {});
    socket.send('Connected to server node');
  });
  await subscriber.subscribe('chat', (message) => {
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(message);
    }
  });
  server.on('listening', () => console.log('ready'));
})().catch((err) => { console.error(err); process.exit(1); });
