#!/bin/bash
# tokio with tokio-tungstenite, one thread: a small server built from the folder beside this script.
. "$(dirname "$0")/common.sh"
if installing; then
  need cargo
  mkdir -p "$DIR/crate"
  # Only what has changed, so that cargo builds only then.
  for file in Cargo.toml main.rs; do
    cmp -s "$HERE/tungstenite/$file" "$DIR/crate/$file" || cp "$HERE/tungstenite/$file" "$DIR/crate/$file"
  done
  cd "$DIR/crate"
  exec cargo build --release --target-dir "$DIR/target"
fi
exec "$DIR/target/release/peer-tungstenite"
