#!/bin/sh
# Puts the server's clients as people install them, from PyPI, into a folder that the tests import from:
# clients.sh. Does nothing when it is there. Without a network it says so and goes on: server.clients then fails.
set -eu
clients="webuiapi==0.9.17 openai==3.51.0"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' && clients="$clients schemathesis==4.32.5"
# Wheels belong to one version of Python.
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
folder=${XDG_CACHE_HOME:-$HOME/.cache}/ballast-clients/$version
[ "$(cat "$folder/installed.txt" 2>/dev/null)" != "$clients" ] || exit 0
if ! python3 -m pip --version >/dev/null 2>&1; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3-pip
fi
rm -rf "$folder" "$folder.part"
mkdir -p "$folder.part"
echo "setup: clients for the server's tests, from PyPI: $clients"
if ! python3 -m pip install -q --disable-pip-version-check --target "$folder.part" $clients; then
    rm -rf "$folder.part"
    echo "setup: PyPI could not be reached: server.clients and server.schemathesis will fail" >&2
    exit 0
fi
echo "$clients" >"$folder.part/installed.txt"
mv "$folder.part" "$folder"
