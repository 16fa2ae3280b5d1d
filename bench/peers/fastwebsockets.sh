#!/bin/bash
# tokio with fastwebsockets, one thread: a small server built from the folder beside this script.
. "$(dirname "$0")/common.sh"
if installing; then
  crate "$HERE/fastwebsockets/Cargo.toml" "$HERE/fastwebsockets/main.rs" "$HERE/tokio/front.rs"
  exit
fi
exec "$DIR/target/release/peer-fastwebsockets"
