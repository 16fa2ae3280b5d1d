"""A small push server that can be told to misbehave: faulty.py PORT FAULT.

FAULT is one of: none; hang (never answers, ignores SIGTERM); leak-files; leak-memory; lose (one subscriber misses a
message); wait (sleeps at each publish while a subscriber does not take its messages, and never closes it).
"""

import base64
import hashlib
import os
import selectors
import signal
import socket
import struct
import sys
import time

PORT, FAULT = int(sys.argv[1]), sys.argv[2]
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
OUTBOX_BYTES = 64 * 1024
SEND_BUFFER_BYTES = 16 * 1024

selector = selectors.DefaultSelector()
channels = {}
leaked = []
served = 0
published = 0


class Connection:
    def __init__(self, sock):
        self.sock, self.held, self.out, self.channel, self.ending = sock, b"", b"", None, False
        self.websocket = False

    def send(self, data):
        self.out += data
        self.flush()

    def flush(self):
        try:
            while self.out:
                self.out = self.out[self.sock.send(self.out):]
        except BlockingIOError:
            pass
        except OSError:
            return self.close()
        if self.ending and not self.out:
            return self.close()
        if self.sock.fileno() >= 0:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.out else 0)
            selector.modify(self.sock, events, self)

    def close(self):
        global served
        if self.sock.fileno() < 0:
            return
        channels.get(self.channel, set()).discard(self)
        selector.unregister(self.sock)
        served += 1
        if FAULT == "leak-files" and served % 10 == 0:
            leaked.append(os.dup(self.sock.fileno()))
            try:
                self.sock.shutdown(socket.SHUT_RDWR)  # the peer has its end
            except OSError:
                pass
        if FAULT == "leak-memory":
            leaked.append(bytearray(os.urandom(20_000)))
        self.sock.close()

    def read(self):
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            return self.close()
        if not data:
            return self.close()
        if self.websocket:
            if data[0] == 0x88:
                self.ending = True
                self.send(b"\x88\x00")
            return
        self.held += data
        while self.sock.fileno() >= 0 and self.request():
            pass

    def request(self):
        head, found, rest = self.held.partition(b"\r\n\r\n")
        if not found:
            return False
        lines = head.split(b"\r\n")
        if len(lines[0].split()) != 3:
            self.close()
            return False
        method, path, _ = lines[0].split()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        length = int(headers.get(b"content-length", 0))
        if len(rest) < length:
            return False
        self.held = rest[length:]
        channel = path.rsplit(b"/", 1)[1]
        if method == b"POST":
            publish(channel, rest[:length])
            self.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        elif not path.startswith(b"/sub/"):
            self.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif b"sec-websocket-key" in headers:
            accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + MAGIC).digest())
            self.websocket, self.channel = True, channel
            channels.setdefault(channel, set()).add(self)
            self.send(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        elif headers.get(b"accept") == b"text/event-stream":
            self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        return True


def frame(payload):
    if len(payload) < 126:
        return struct.pack("!BB", 0x81, len(payload)) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", 0x81, 126, len(payload)) + payload
    return struct.pack("!BBQ", 0x81, 127, len(payload)) + payload


def publish(channel, payload):
    global published
    published += 1
    data = frame(payload)
    members = list(channels.get(channel, ()))
    if FAULT == "wait" and any(member.out for member in members):
        time.sleep(0.3)
    for at, member in enumerate(members):
        if FAULT == "lose" and published == 50 and at == 0:
            continue
        if len(member.out) > OUTBOX_BYTES and FAULT != "wait":
            member.close()
        else:
            member.send(data)


if FAULT == "hang":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", PORT), backlog=1024)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
print("pid", os.getpid(), flush=True)
if FAULT == "hang":
    while True:
        time.sleep(1)
listener.setblocking(False)
selector.register(listener, selectors.EVENT_READ)
while True:
    for key, events in selector.select():
        if key.data is None:
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(sock, selectors.EVENT_READ, Connection(sock))
            continue
        if events & selectors.EVENT_WRITE:
            key.data.flush()
        if events & selectors.EVENT_READ and key.data.sock.fileno() >= 0:
            key.data.read()
