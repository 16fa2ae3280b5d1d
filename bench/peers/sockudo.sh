#!/bin/bash
# sockudo, a server of the Pusher protocol, from the cargo registry: all in memory, without what a broadcast does not
# need. Its first build takes the better part of an hour on few cores. The queue of a connection is allocated whole when
# it connects: FANWIRE_BENCH_SOCKUDO_QUEUE is its length in messages; 1000 is the server's default.
# dialect: pusher
. "$(dirname "$0")/common.sh"
if installing; then
  [ -x "$DIR/bin/sockudo" ] ||
    plain_cargo install sockudo --version 5.2.0 --locked --root "$DIR" --no-default-features --features local
  exit
fi
cat >"$DIR/config.toml" <<CONF
mode = "production"
host = "127.0.0.1"
port = $PORT
# Servers that wait for their turn are stopped, and their clients' silence is none.
activity_timeout = 3600
shutdown_grace_period = 1

[app_manager]
driver = "memory"
[[app_manager.array.apps]]
id = "app-id"
key = "app-key"
secret = "app-secret"
enabled = true
policy.limits.max_connections = 1000000
policy.limits.max_client_events_per_second = 1000000
policy.channels.allowed_origins = ["*"]

[adapter]
driver = "local"
enable_socket_counting = false
[cache]
driver = "memory"
[queue]
driver = "memory"
[websocket]
max_messages = ${FANWIRE_BENCH_SOCKUDO_QUEUE:-1000}
compression = "disabled"
$(for feature in rate_limiter metrics ssl delta_compression tag_filtering idempotency connection_recovery history; do
  echo "[$feature]"
  echo "enabled = false"
done)
CONF
cd "$DIR"
RUST_LOG=error exec bin/sockudo --config "$DIR/config.toml"
