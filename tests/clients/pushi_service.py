"""The WebSocket client of the PyPI package `pushi-service` in a presence channel; prints each thing it is told as a line
of JSON and ends when the other member has gone."""

import hashlib
import hmac
import json
import sys

from pushi.net.client import PushiClient

url, key, secret, name = sys.argv[1:]


class Api:
    """What the client needs of a back end: signatures."""

    def authenticate(self, channel, socket_id):
        text = "%s:%s" % (socket_id, channel)
        return "%s:%s" % (key, hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest())


def tell(*what):
    print(json.dumps(what), flush=True)


def on_connect(protocol):
    protocol.bind("pusher:member_added", lambda _, data, channel, **kwargs: tell("added", channel, data))
    protocol.bind("pusher:member_removed", on_removed)
    protocol.bind("news", lambda _, data, channel, mid=None, timestamp=None: tell("news", channel, data, mid))
    protocol.subscribe_pushi(name, channel_data=dict(user_id="python"), callback=on_subscribe)


def on_subscribe(channel, data):
    tell("subscribed", data)
    channel.send("news", dict(hello="world"))
    channel.latest(callback=lambda _, data: tell("latest", data["events"]))


def on_removed(protocol, data, channel, **kwargs):
    tell("removed", channel, data)
    loop.stop()


loop, protocol = PushiClient.connect_pushi_s(url=url, client_key=key, api=Api(), callback=on_connect)
loop.run_forever()
