#!/bin/sh
# Installs what building and testing need and this machine lacks, from the distribution's own packages
# (Debian 12 or newer, Ubuntu 22.04 or newer). Prints what it does; does nothing, and needs no network, when all
# is there.
#
#     setup.sh           to build
#     setup.sh tests     to build and to run the tests
set -eu

packages="gcc libc6-dev make cmake ninja-build pkg-config libdnnl-dev libjansson-dev libpng-dev libutf8proc-dev
coinor-libclp-dev libsqlite3-dev libssl-dev libcmocka-dev libsixel-dev
libmicrohttpd-dev libjpeg-dev libwebp-dev libcrypt-dev zlib1g-dev"
if [ "${1-}" = tests ]; then
    packages="$packages g++ binutils lld git python3 python3-jsonschema"
    # The page is tested in a browser; Ubuntu has none as a package, and there that test says that it did not run.
    if grep -qx 'ID=debian' /etc/os-release; then
        packages="$packages chromium chromium-driver python3-selenium"
    fi
fi

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "setup: this is not Debian or Ubuntu; please install what corresponds to:" $packages >&2
    exit 0
fi

# Names as dpkg lists them, one a line, also of those that come from another architecture.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p')
missing=
for p in $packages; do
    echo "$installed" | grep -qx "$p" || missing="$missing $p"
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
$sudo apt-get update -q
# The format of sources is checked with this version, where the distribution has it; else that check is left out.
if [ "${1-}" = tests ] && apt-cache show clang-format-14 >/dev/null 2>&1; then
    missing="$missing clang-format-14"
fi
echo "setup: installing$missing"
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
