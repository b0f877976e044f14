#!/bin/sh
# Prepares a machine: checks that it is suitable, and installs missing Debian packages of the named groups
# (build/packages.txt) and missing npm packages.
#
#   prepare.sh GROUP...
set -eu
cd "$(dirname "$0")/.."

fail() {
  echo "rkt: $1" >&2
  echo "hint: $2" >&2
  exit 1
}

[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
  fail "this is $(uname -s) on $(uname -m), and rkt is for Linux on amd64" "use a virtual machine with Debian 12"
[ "$(id -u)" = 0 ] ||
  fail "not root, and containers need namespaces and mounts" "sudo npm run ${npm_lifecycle_event:-quickstart}"
command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
  fail "no apt here, and the images are made of Debian's packages" "use a machine or container with Debian 12"
command -v npm >/dev/null ||
  fail "npm is missing" "install Node.js 20 or newer with npm: https://nodejs.org/en/download"

wanted=$(for group; do awk -v group="$group" '$1 == group { print $2 }' build/packages.txt; done | sort -u)
missing=
for package in $wanted; do
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
    missing="$missing $package"
done

# The build downloads packages, so apt's lists must be there even if nothing is to be installed.
if [ -n "$missing" ] || [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -print -quit)" ]; then
  apt-get update -qq || fail "apt-get update failed" "see what it said above; /etc/apt/sources.list names the mirrors"
fi
if [ -n "$missing" ]; then
  echo "installing$missing"
  # shellcheck disable=SC2086 # a list of words
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
    fail "cannot install$missing" "see what apt-get said above"
fi

# npm's own record of what it installed: older than the lock file means out of date.
installed=node_modules/.package-lock.json
if [ ! -e "$installed" ] || [ -n "$(find package-lock.json -newer "$installed")" ]; then
  echo "npm ci"
  npm ci --loglevel=error || fail "npm ci failed" "see what it said above"
  # It may have left the record as it was.
  touch "$installed"
fi
