#!/bin/bash
# The Go library centrifuge, from Debian, in a small server built from the folder beside this script: its JSON protocol,
# messages kept nowhere.
# dialect: centrifuge
. "$(dirname "$0")/common.sh"
if installing; then
  # The library's package does not name all that it imports.
  debian golang-go golang-github-centrifugal-centrifuge-dev golang-github-centrifugal-protocol-dev \
    golang-github-fzambia-eagle-dev golang-github-igm-sockjs-go-dev golang-github-mna-redisc-dev
  cmp -s "$HERE/centrifuge/main.go" "$DIR/main.go" && [ -x "$DIR/server" ] && exit
  # Debian's Go packages are a GOPATH, not modules.
  cd "$HERE/centrifuge"
  GO111MODULE=off GOFLAGS= GOPATH=/usr/share/gocode go build -o "$DIR/server" main.go
  cp main.go "$DIR/main.go"
  exit
fi
# As many threads that run Go code as it has cores: one, in a run on one core.
GOMAXPROCS=$(nproc) exec "$DIR/server"
