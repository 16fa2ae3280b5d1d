#!/bin/bash
# tokio with tokio-tungstenite, one thread: a small server built from the folders beside this script.
. "$(dirname "$0")/common.sh"
if installing; then
  crate tungstenite tokio
  exit
fi
exec "$DIR/target/release/peer-tungstenite"
