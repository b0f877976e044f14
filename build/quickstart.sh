#!/bin/sh
# From a fresh clone to a server in a container: prepares the machine, builds rkt and an image of etcd from
# Debian's package, runs it, sends it some requests, and stops it. dist/ and the installed packages remain.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"

echo "==> prepare"
sh build/prepare.sh build quickstart
echo "==> build"
npm run --silent build -- --only=rkt,stage1,examples/etcd

url=http://127.0.0.1:2379
if curl --silent --output /dev/null "$url"; then
  echo "rkt: something already answers at $url, where etcd is to listen" >&2
  echo "hint: stop it, and run this again" >&2
  exit 1
fi

work=$(mktemp -d)
rkt=
end() {
  trap - EXIT INT TERM
  if [ -n "$rkt" ] && kill -TERM "$rkt" 2>/dev/null; then wait "$rkt" || true; fi
  rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs as root. All data are in a directory of their own, which is removed at the end.
set -- run --dir "$work/data" --rm --volume data-dir,kind=empty,uid=500,gid=500,mode=0700 dist/examples/etcd.aci
echo "==> run"
echo "\$ sudo dist/rkt $*"
dist/rkt "$@" >"$work/log" 2>&1 &
rkt=$!

# Waits until etcd answers. If rkt ends before, shows its output.
until curl --silent --fail --output /dev/null "$url/health"; do
  if ! kill -0 "$rkt" 2>/dev/null; then
    cat "$work/log" >&2
    echo "rkt: the container ended before etcd answered" >&2
    exit 1
  fi
  sleep 0.1
done

# ask PATH [JSON]: shows a request and its answer.
ask() {
  echo "\$ curl $url$1${2:+ --data '$2'}"
  curl --silent --show-error --fail "$url$1" ${2:+--data "$2"}
  echo
}
ask /version
# The key and the value, "hello" and "world", in base64.
ask /v3/kv/put '{"key": "aGVsbG8=", "value": "d29ybGQ="}'
ask /v3/kv/range '{"key": "aGVsbG8="}'

echo "==> stop"
kill -TERM "$rkt"
wait "$rkt" || true
rkt=
echo "etcd ran in a container of rkt's own making. Next: dist/rkt help, and README.md"
