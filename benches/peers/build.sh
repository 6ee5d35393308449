#!/usr/bin/env bash
# Builds the probers that `make bench-probes` measures beside ours, each from the Go modules that its
# go.mod and go.sum name, once for each version of them, into a cache outside the checkout.
# Prints the cache's directory on standard output.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/probegate/peers
mkdir -p "$cache"

for peer in blackbox-exporter cloudprober; do
    sums=$(cat "$here/$peer/go.mod" "$here/$peer/go.sum" | sha256sum)
    stamp=$cache/.built-$peer-${sums:0:16}
    [ -e "$stamp" ] && continue
    golang=$("$here/../../tests/cluster/golang")
    PATH=$golang:$PATH
    echo "Building $peer (minutes, once)…" >&2
    (cd "$here/$peer" && CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags '-s -w' -o "$cache/" tool)
    touch "$stamp"
done
echo "$cache"
