"""Drives the PyPI library `pusher` for pusher_python.test.mjs.

Reads one JSON object per line, {"call": name, "args": [...], "options": {...}, "client": {...}}, and writes one per line:
{"value": ...}, or {"error": class name, "text": ...}. `client` says how the library is set up, `skew`
how many seconds its clock is ahead; a call is a method of the library, or `webhook`, its check of a web hook.
"""
import json
import sys
import time

import pusher

clients = {}


def client_of(settings):
    key = json.dumps(settings, sort_keys=True)
    if key not in clients:
        clients[key] = pusher.Pusher(ssl=False, **settings)
    return clients[key]


def answer(request):
    skew = request.get("skew", 0)
    real = time.time
    time.time = lambda: real() + skew
    try:
        client = client_of(request["client"])
        call = request["call"]
        if call == "webhook":
            return client.validate_webhook(*request["args"])
        return getattr(client, call)(*request.get("args", []), **request.get("options", {}))
    finally:
        time.time = real


for line in sys.stdin:
    try:
        reply = {"value": answer(json.loads(line))}
    except Exception as error:  # the test says which one it wants
        reply = {"error": type(error).__name__, "text": str(error)}
    print(json.dumps(reply, default=bytes.decode), flush=True)
