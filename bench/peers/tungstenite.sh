#!/bin/bash
# tokio with tokio-tungstenite, one thread: a small server built from the folder beside this script.
. "$(dirname "$0")/common.sh"
if installing; then
  crate "$HERE/tungstenite/Cargo.toml" "$HERE/tungstenite/main.rs" "$HERE/tokio/front.rs"
  exit
fi
exec "$DIR/target/release/peer-tungstenite"
