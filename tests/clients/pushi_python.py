"""Every call of the PyPI client `pushi`, against the node at argv[1]; prints what came of it as one JSON object."""

import json
import sys
import uuid

import appier
import pushi

base_url, app_id, app_key, app_secret, hook = sys.argv[1:]
api = pushi.API(base_url=base_url, app_id=app_id, app_key=app_key, app_secret=app_secret)
found = {}


def refused(call):
    """The status that a call is refused with."""
    try:
        call()
    except appier.HTTPError as error:
        return error.error.code
    return 200


found["trigger"] = api.trigger_event(channel="python", data={"a": [1]}, event="evt", extra=5)
found["trigger_many"] = api.trigger_event(channel=["python", "python-2"], data="many", persist=False)
found["subscribe"] = api.subscribe("user-1", "python")
found["unsubscribe"] = api.unsubscribe("user-1", "python")
found["authenticate"] = api.authenticate("private-x", "sock")
# These are sent without a token first, and have to be refused with 403 for the client to log in.
found["web"] = api.create_web(hook, "python")
found["web_again"] = api.create_web(hook, "python-3")
found["delete_web"] = api.delete_web(hook, "python-3")
found["delete_web_missing"] = refused(lambda: api.delete_web(hook, "python-3"))
found["protected_web"] = refused(lambda: api.create_web(hook, "private-x", auth="wrong"))
found["protected_web_signed"] = api.create_web(hook, "private-x", auth=api.authenticate("private-x", hook))
found["apn"] = api.create_apn("token", "python")
found["apns"] = api.list_apns(token="token")
found["delete_apn"] = api.delete_apn("token", "python")
found["smtp"] = api.create_smtp("a@b.example", "python")
endpoint = "https://push.example/x?y=z"
found["web_push"] = api.create_web_push(endpoint, "p256dh", "secret", "python")
found["web_pushes"] = api.list_web_pushes(endpoint=endpoint)
found["delete_web_push"] = api.delete_web_push(endpoint, event="python")
found["vapid"] = refused(api.get_vapid_public_key)
found["messaging"] = api.send_messaging(["bogus"], data="x")
found["update_app"] = str(api.update_app(name="x"))
root = pushi.API(base_url=base_url)
app = root.create_app(str(uuid.uuid4()))
made = pushi.API(base_url=base_url, app_id=app["ident"], app_key=app["key"], app_secret=app["secret"])
found["create_app"] = made.trigger_event(channel="global", data="hello", event="message")
found["create_app_again"] = refused(lambda: root.create_app(app["name"]))
found["no_data"] = refused(lambda: api.trigger_event(channel="python", data=""))
# A token that is gone: the client logs in again by itself.
other = pushi.API(base_url=base_url, app_id=app_id, app_key=app_key, app_secret=app_secret)
other.login()
token = other.token
other.logout()
other.token = token
found["after_logout"] = other.subscribe("user-2", "python")
wrong = pushi.API(base_url=base_url, app_id=app_id, app_key=app_key, app_secret="wrong")
found["wrong_secret"] = refused(lambda: wrong.trigger_event(channel="python", data="x"))
print(json.dumps(found))
