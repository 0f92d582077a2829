#!/bin/sh
# Installs what building and testing need and this machine lacks, from the distribution's own packages
# (Debian 12 or newer, Ubuntu 22.04 or newer). Prints what it does; does nothing when all is there.
set -eu

packages="gcc make cmake ninja-build pkg-config libdnnl-dev libjansson-dev libpng-dev libutf8proc-dev
coinor-libclp-dev libsqlite3-dev libssl-dev libcmocka-dev"
if [ "${1-}" = checks ]; then
    packages="$packages clang clang-format python3"
fi

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "setup: this is not Debian or Ubuntu; please install what corresponds to:" $packages >&2
    exit 0
fi

missing=
for p in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "setup: missing packages; as root, run: apt-get install$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
echo "setup: installing$missing"
$sudo apt-get update -q
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
