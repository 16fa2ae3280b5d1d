#!/usr/bin/env python3
"""What TLS costs the node, beside plain connections of the same node in the same run: memory of an idle connection,
CPU of a delivery, CPU of a handshake. Needs the openssl command.

    bench/tls_cost.py NODE [--connections 5000] [--subscribers 500] [--publications 200]

The clients drop their keys after the handshake and only count bytes from then on, so the load costs the machine
little. CPU is the node's own, from the kernel's scheduler (nanoseconds), memory its resident set. Rounds of plain and
TLS alternate; every byte of every delivery is awaited before the next publication, so each delivery is one send.
"""

import argparse
import base64
import contextlib
import os
import pathlib
import selectors
import socket
import ssl
import statistics
import subprocess
import tempfile
import time

PAYLOAD = b"p" * 128
ROUNDS = 15
HANDSHAKES = 500
WARM = 500


class Node:
    def __init__(self, program, directory):
        self.directory = pathlib.Path(directory)
        key, self.certificate = self.directory / "key.pem", self.directory / "cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
            + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", self.certificate],
            check=True, capture_output=True,
        )
        self.port, self.tls_port = free_port(), free_port()
        config = self.directory / "fanwire.toml"
        # A ping would be counted as a delivery.
        pings = "[limits]\nwebsocket_ping_interval = 0\n"
        config.write_text(pings + f'[[certificate]]\ncertificate = "{self.certificate}"\nkey = "{key}"\n')
        listen = ["--listen", f"127.0.0.1:{self.port}", "--listen", f"127.0.0.1:{self.tls_port} tls"]
        self.process = subprocess.Popen(
            [program, "serve", "--config", config, "--shards", "1", *listen], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the node does not listen")

    def cpu_ns(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())

    def rss(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


@contextlib.contextmanager
def running(program, directory):
    node = Node(program, directory)
    node.context = context(node)
    try:
        yield node
    finally:
        node.process.terminate()
        node.process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def context(node, version=None):
    made = ssl.create_default_context(cafile=str(node.certificate))
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def kernel_bytes():
    line = next(line for line in open("/proc/net/sockstat") if line.startswith("TCP:"))
    return int(line.split(" mem ")[1]) * os.sysconf("SC_PAGE_SIZE")


class Client:
    """A connection; over TLS its keys are forgotten after `say`."""

    def __init__(self, node, tls, session=None, version=None):
        self.sock = socket.create_connection(("127.0.0.1", node.tls_port if tls else node.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = None
        if tls:
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            made = tls if isinstance(tls, ssl.SSLContext) else node.context
            self.tls = made.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost", session=session)
            self.drive(self.tls.do_handshake)

    def drive(self, step):
        while True:
            try:
                result = step()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                got = self.sock.recv(65536)
                if not got:
                    raise SystemExit("the node has closed a connection")
                self.incoming.write(got)

    def flush(self):
        if self.outgoing.pending:
            self.sock.sendall(self.outgoing.read())

    def say(self, request):
        if self.tls:
            self.tls.write(request)
            self.flush()
            return self.drive(lambda: self.tls.read(65536))
        self.sock.sendall(request)
        return self.sock.recv(65536)

    def forget(self):
        if self.tls:
            self.tls = self.incoming = self.outgoing = None
        return self.sock


def subscriber(node, tls, channel):
    key = base64.b64encode(os.urandom(16)).decode()
    request = f"GET /sub/{channel} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    request += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    client = Client(node, tls)
    answer = client.say(request.encode())
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return client.forget()


def idle(program, directory, count):
    """Bytes of an idle subscriber: the node's, and the kernel's for its socket buffers. A node of its own for each
    figure: what an earlier crowd has given back would hide what the next one takes."""
    for tls in (False, True, False, True):
        with running(program, directory) as node:
            warm = [subscriber(node, tls, "warm") for _ in range(WARM)]
            time.sleep(0.5)
            before, kernel = node.rss(), kernel_bytes()
            sockets = [subscriber(node, tls, "idle") for _ in range(count)]
            time.sleep(1)
            user = (node.rss() - before) / count
            name = "TLS  " if tls else "plain"
            print(f"idle {name}: {user:7.0f} B user, {(kernel_bytes() - kernel) / count:5.0f} B kernel buffers")
            for sock in warm + sockets:
                sock.close()


class Crowd:
    def __init__(self, node, tls, count):
        self.channel, self.count = f"crowd{int(tls)}", count
        self.selector = selectors.EpollSelector()
        for _ in range(count):
            sock = subscriber(node, tls, self.channel)
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ)
        self.drain(0.5)
        self.publisher = Client(node, False)
        self.publish()
        self.frame = self.drain(1) // count
        self.node = node

    def drain(self, quiet_s, wanted=None):
        got = 0
        while wanted is None or got < wanted:
            ready = self.selector.select(quiet_s if wanted is None else 30)
            if not ready:
                break
            for key, _ in ready:
                got += len(key.fileobj.recv(65536))
        return got

    def publish(self):
        head = f"POST /pub/{self.channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(PAYLOAD)}\r\n\r\n"
        answer = self.publisher.say(head.encode() + PAYLOAD)
        assert answer[9:12] in (b"201", b"202"), answer

    def round(self, publications):
        before = self.node.cpu_ns()
        for _ in range(publications):
            self.publish()
            got = self.drain(0, self.frame * self.count)
            assert got == self.frame * self.count, (got, self.frame, self.count)
        return (self.node.cpu_ns() - before) / (publications * self.count)


def deliveries(node, subscribers, publications):
    crowds = {"plain": Crowd(node, False, subscribers), "TLS": Crowd(node, True, subscribers)}
    costs = {name: [] for name in crowds}
    for _ in range(ROUNDS):
        for name, crowd in crowds.items():
            costs[name].append(crowd.round(publications))
    for name, cost in costs.items():
        low, mid, high = min(cost), statistics.median(cost), max(cost)
        print(f"delivery {name:5}: {mid:6.0f} ns CPU (rounds {low:.0f} to {high:.0f}), {crowds[name].frame} B on the wire")
    ratios = [tls / plain for plain, tls in zip(costs["plain"], costs["TLS"])]
    print(f"delivery TLS / plain: {statistics.median(ratios):.2f} (pairs of rounds {min(ratios):.2f} to {max(ratios):.2f})")


def handshakes(node):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        made = context(node, version)
        for kind in ("full", "resumed"):
            session, reused = None, 0
            if kind == "resumed":
                first = Client(node, made)
                first.say(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
                session = first.tls.session
            before = node.cpu_ns()
            for _ in range(HANDSHAKES):
                client = Client(node, made, session)
                client.say(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
                reused += client.tls.session_reused
                client.sock.close()
            each = (node.cpu_ns() - before) / HANDSHAKES
            assert reused == (HANDSHAKES if kind == "resumed" else 0), reused
            print(f"handshake {version.name} {kind:7}: {each / 1000:5.0f} us CPU with one request, {1e9 / each:6.0f} a second and core")
    before = node.cpu_ns()
    for _ in range(HANDSHAKES):
        client = Client(node, False)
        client.say(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        client.sock.close()
    each = (node.cpu_ns() - before) / HANDSHAKES
    print(f"plain connection with one request: {each / 1000:5.0f} us CPU")


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    args.add_argument("node")
    args.add_argument("--connections", type=int, default=5000)
    args.add_argument("--subscribers", type=int, default=500)
    args.add_argument("--publications", type=int, default=200)
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        idle(args.node, directory, args.connections)
        with running(args.node, directory) as node:
            deliveries(node, args.subscribers, args.publications)
            handshakes(node)


if __name__ == "__main__":
    main()
