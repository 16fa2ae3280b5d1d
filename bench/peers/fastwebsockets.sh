#!/bin/bash
# tokio with fastwebsockets, one thread: a small server built from the folders beside this script.
. "$(dirname "$0")/common.sh"
if installing; then
  crate fastwebsockets tokio
  exit
fi
exec "$DIR/target/release/peer-fastwebsockets"
