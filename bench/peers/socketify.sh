#!/bin/bash
# uWebSockets (C++) through the Python package socketify: the fan-out is native, the request handlers are Python.
. "$(dirname "$0")/common.sh"
if installing; then
  need python3
  dpkg -s libuv1t64 >/dev/null 2>&1 || debian libuv1
  [ -e "$DIR/venv/done" ] && exit
  python3 -m venv --clear "$DIR/venv"
  "$DIR/venv/bin/pip" install -q --disable-pip-version-check socketify==0.0.31
  touch "$DIR/venv/done"
  exit
fi
cat >"$DIR/server.py" <<'PY'
import os

from socketify import App, AppListenOptions, CompressOptions, OpCode

app = App()


def upgrade(response, request, context):
    response.upgrade(
        request.get_header("sec-websocket-key"),
        request.get_header("sec-websocket-protocol"),
        request.get_header("sec-websocket-extensions"),
        context,
        {"path": request.get_url()},
    )


def opened(socket):
    path = socket.get_user_data()["path"]
    if path.startswith("/sub/"):
        socket.subscribe(path[len("/sub/"):])


def received(socket, message, kind):
    if socket.get_user_data()["path"] == "/echo":
        socket.send(message, kind)


def publish(response, request):
    channel = request.get_parameter(0)
    body = []

    def piece(response, data, last, *_):
        if data:
            body.append(data.encode() if isinstance(data, str) else bytes(data))
        if last:
            app.publish(channel, b"".join(body).decode(), OpCode.TEXT, False)
            response.write_status("202 Accepted").end("")

    response.on_data(piece)


app.ws("/*", {
    "compression": CompressOptions.DISABLED,
    "max_payload_length": 1 << 20,
    "max_backpressure": 16 << 20,
    "idle_timeout": 0,
    "upgrade": upgrade,
    "open": opened,
    "message": received,
})
app.post("/pub/:channel", publish)
app.listen(AppListenOptions(port=int(os.environ["PORT"]), host="127.0.0.1"), lambda _: None)
app.run()
PY
exec "$DIR/venv/bin/python" "$DIR/server.py"
