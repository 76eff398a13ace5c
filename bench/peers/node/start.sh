#!/bin/sh
# Installs (npm, apt) what is missing and starts Redis and the Node.js peer, both on loopback only.
#   start.sh -addr 127.0.0.1:8080
# Packages go to ${BENCH_NODE_DIR:-<cache>/throng-bench-node}; `start.sh -install` only installs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${BENCH_NODE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/throng-bench-node}

need() { # command, Debian package
	command -v "$1" >/dev/null 2>&1 && return
	echo "installing $2" >&2
	apt-get update >&2 && apt-get install -y --no-install-recommends "$2" >&2
}
need node nodejs
need npm npm
need redis-server redis-server

mkdir -p "$dir"
cp "$here/package.json" "$here/server.js" "$dir/"
if [ ! -d "$dir/node_modules/ws" ] || [ ! -d "$dir/node_modules/redis" ]; then
	(cd "$dir" && npm install --no-audit --no-fund --loglevel=error >&2)
fi
[ "${1:-}" = -install ] && exit 0

[ "${1:-}" = -addr ] && [ -n "${2:-}" ] || { echo "usage: start.sh -addr host:port | -install" >&2; exit 2; }
port=${2##*:}
# A port of its own for Redis, apart from the one the bench chose for Node.
redis_port=$((port > 30000 ? port - 17000 : port + 17000))
sock_dir=$(mktemp -d)
redis-server --bind 127.0.0.1 --port "$redis_port" --save '' --appendonly no --dir "$sock_dir" --daemonize no >"$sock_dir/log" 2>&1 &
redis=$!
trap 'kill "$redis" 2>/dev/null || true; rm -rf "$sock_dir"' EXIT
trap 'exit 0' TERM INT
i=0
until redis-cli -h 127.0.0.1 -p "$redis_port" ping >/dev/null 2>&1; do
	i=$((i + 1))
	[ "$i" -lt 100 ] && kill -0 "$redis" 2>/dev/null || { cat "$sock_dir/log" >&2; exit 1; }
	sleep 0.1
done
node "$dir/server.js" -addr "$2" -redis "127.0.0.1:$redis_port" &
wait $!
