"""Runs the suite's cases against one WebSocket server and writes index.json as the suite's own client does.

    fuzz.py --url ws://127.0.0.1:8080/echo --out DIR [--cases 1.*,9.1.*] [--part 1/4] [--messages 20]

Cases run one after another, each on its own connection. `--part k/n` takes every n-th case, so that several
processes share the list. `--messages` lowers the number of messages in the compression cases (12 and 13),
which is 1000 in the suite.
"""
import argparse
import fnmatch
import json
import os
import sys
import time
from types import SimpleNamespace

import suite
from suite import latin1, octets

# The engine asks for its helpers by name at import time, so they are replaced before it is imported.
from autobahn.websocket import protocol as engine

engine.Utf8Validator = suite.Utf8Validator
engine.create_xor_masker = lambda mask, _length=None: suite.XorMasker(mask)

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.compress import PerMessageDeflateResponse  # noqa: F401 (used by the cases)
from twisted.internet import reactor

# A case that is still open after this long is failed: the suite itself waits up to 480 s in places.
CASE_SECONDS = 240


class Conversation(WebSocketClientProtocol):
    """One case's connection: what the suite's classes call `self.p`."""

    def __init__(self, factory, case_class, done):
        super().__init__()
        self.factory = factory
        self.done = done
        self.createWirelog = True
        self.connectionWasOpen = False
        self.txFrameStats = {}
        self.started = time.monotonic()
        self.runCase = case_class(self)
        self.wants_bytes = hasattr(case_class, "TESTDATA")
        self.deadline = None

    # The engine's adapter formats a log line per read and per event even when nobody listens.
    def dataReceived(self, data):
        self._dataReceived(data)

    def connectionMade(self):
        super().connectionMade()
        self.transport.setTcpNoDelay(True)
        self.deadline = reactor.callLater(CASE_SECONDS, self.transport.abortConnection)

    def connectionLost(self, reason):
        super().connectionLost(reason)
        if self.deadline.active():
            self.deadline.cancel()
        self.runCase.onConnectionLost(self.failedByMe)
        self.done(self)

    # What the cases call.
    def enableWirelog(self, on):
        pass

    def logTxFrame(self, header, payload, repeat, chop, sync):
        self.txFrameStats[header.opcode] = self.txFrameStats.get(header.opcode, 0) + 1

    def logRxFrame(self, header, payload):
        pass

    def _unless_closed(self, act):
        if self.state != self.STATE_CLOSED:
            act()

    def continueLater(self, delay, act, tag=None):
        reactor.callLater(delay, self._unless_closed, act)

    def killAfter(self, delay):
        reactor.callLater(delay, self._unless_closed, self._fail_connection)

    def closeAfter(self, delay):
        reactor.callLater(delay, self._unless_closed, self.sendClose)

    def sendFrame(self, opcode, payload=b"", mask=None, **rest):
        super().sendFrame(opcode, payload=octets(payload), mask=octets(mask), **rest)

    def sendMessage(self, payload, isBinary=False, **rest):
        super().sendMessage(octets(payload), isBinary, **rest)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(octets(payload), sync)

    def sendPing(self, payload=None):
        super().sendPing(octets(payload))

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, octets(reasonUtf8), isReply)

    # What the engine reports.
    def onOpen(self):
        self.connectionWasOpen = True
        self.runCase.onOpen()

    def onMessage(self, payload, isBinary):
        self.runCase.onMessage(payload if self.wants_bytes else latin1(payload), isBinary)

    def onPong(self, payload):
        self.runCase.onPong(latin1(payload))

    def onClose(self, wasClean, code, reason):
        self.runCase.onClose(wasClean, code, reason)


class Timer:
    """Exact delays, as in the release that the suite was written for: the engine's own timer rounds them down to
    whole seconds, so that a time limit of one second may be over at once."""

    def call_later(self, delay, act):
        call = reactor.callLater(delay, act)
        return SimpleNamespace(cancel=lambda: call.active() and call.cancel())


class Run(WebSocketClientFactory):
    """Walks the list of cases and keeps their results."""

    def __init__(self, url, agent, cases):
        super().__init__(url, useragent="fanwire conformance")
        self.agent = agent
        self.cases = cases
        self.results = {}
        self.logFrames = True
        self._batched_timer = Timer()
        # Not `fail by drop`: the suite wants closing handshakes.
        self.setProtocolOptions(failByDrop=False)

    def clientConnectionFailed(self, _connector, reason):
        print(f"case {suite.name(self.cases[0])}: no connection: {reason.getErrorMessage()}")
        reactor.stop()

    def start(self):
        if not self.cases:
            reactor.stop()
            return
        reactor.connectTCP(self.host, self.port, self, timeout=5)

    def buildProtocol(self, _address):
        return Conversation(self, self.cases[0], self.ended)

    def ended(self, conversation):
        case = conversation.runCase
        self.record({
            "behavior": case.behavior,
            "behaviorClose": case.behaviorClose,
            "remoteCloseCode": conversation.remoteCloseCode,
            "duration": round(1000 * (time.monotonic() - conversation.started)),
            "result": case.result,
            "resultClose": case.resultClose,
            "received": [[_short(part) for part in event] for event in case.received],
            "expected": {verdict: [[_short(part) for part in event] for event in events]
                         for verdict, events in case.expected.items()},
            "notClean": conversation.wasNotCleanReason,
            "framesSent": conversation.txFrameStats,
        })

    def record(self, result):
        self.results[suite.name(self.cases.pop(0))] = result
        reactor.callLater(0, self.start)


def _short(part):
    return part[:60] + " ..." if isinstance(part, str) and len(part) > 64 else part


def chosen(cases, patterns, part):
    """The cases that match any pattern, thinned to every n-th. Long ones are spread evenly by that."""
    picked = [case for case in cases if any(fnmatch.fnmatch(suite.name(case), p) for p in patterns)]
    if part:
        index, count = (int(value) for value in part.split("/"))
        picked = picked[index - 1::count]
    return picked


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--agent", default="fanwire")
    parser.add_argument("--cases", default="*")
    parser.add_argument("--part")
    parser.add_argument("--messages", type=int)
    arguments = parser.parse_args()

    cases, _ = suite.load()
    cases = chosen(cases, arguments.cases.split(","), arguments.part)
    if arguments.messages:
        for case in cases:
            if hasattr(case, "TESTDATA"):
                case.COUNT = min(case.COUNT, arguments.messages)
    run = Run(arguments.url, arguments.agent, cases)
    reactor.callWhenRunning(run.start)
    reactor.run()
    os.makedirs(arguments.out, exist_ok=True)
    with open(os.path.join(arguments.out, "index.json"), "w") as file:
        json.dump({arguments.agent: run.results}, file, indent=1, sort_keys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
