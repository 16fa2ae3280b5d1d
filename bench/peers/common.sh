# Sourced by every peer's script.
#
# A peer is one file NAME.sh here (with what it needs beside it in a folder NAME). `NAME.sh install` installs what is
# missing and ends; its last line of output says why it could not. `NAME.sh serve` becomes the server ("exec"), on
# 127.0.0.1:$PORT, with as many file descriptors as it may have. The server gives
#   GET  /sub/CHANNEL  WebSocket: the channel's messages, each as one text message
#   POST /pub/CHANNEL  publishes the body; any 2xx answer
#   GET  /echo         WebSocket: what it sends comes back (optional)
# without TLS, compression or authentication, and on as many cores as it is pinned to. A server with a protocol of its
# own names it in a line `# dialect: NAME` of its script, as the client's option --dialect calls it; the dialect says
# how to subscribe and publish then.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
NAME=$(basename "${BASH_SOURCE[1]}" .sh)
# Downloads and builds are kept here.
DIR=${FANWIRE_BENCH_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/fanwire-bench/peers}/$NAME
mkdir -p "$DIR"
case ${1:-} in install | serve) VERB=$1 ;; *) echo "usage: $0 install|serve" >&2; exit 2 ;; esac

installing() { [ "$VERB" = install ]; }
give_up() { echo "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || give_up "$1 is not installed"; }

# debian PACKAGE...: installs what is missing, as root only
debian() {
  dpkg -s "$@" >/dev/null 2>&1 && return
  need apt-get
  [ "$(id -u)" = 0 ] || give_up "needs root for: apt-get install $*"
  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$@"
}

# plain_cargo ARGUMENT...: cargo as the peer's own manifest has it, whatever profile the harness was built with
plain_cargo() {
  need cargo
  env -u CARGO_TARGET_DIR $(env | sed -n 's/^\(CARGO_PROFILE_[A-Z_]*\)=.*/-u \1/p') cargo "$@"
}

# crate FOLDER...: builds the crate in the first of these folders beside the script. What has changed is copied, and
# only that, so that cargo builds only then.
crate() {
  local file
  for file in $(cd "$HERE" && find "$@" -type f); do
    mkdir -p "$DIR/crate/$(dirname "$file")"
    cmp -s "$HERE/$file" "$DIR/crate/$file" || cp "$HERE/$file" "$DIR/crate/$file"
  done
  cd "$DIR/crate/$1"
  plain_cargo build --release --target-dir "$DIR/target"
}
