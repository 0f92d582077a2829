#!/bin/sh
# Fetches axe-core (MPL 2.0), which looks for what people with disabilities would stumble over, into a folder: axe.sh FOLDER.
# It comes from PyPI, in a package that carries it whole. Does nothing when it is there.
set -eu
folder=$1
[ ! -e "$folder/axe.min.js" ] || exit 0
if ! python3 -m pip --version >/dev/null 2>&1; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3-pip
fi
mkdir -p "$folder"
python3 -m pip download -q --disable-pip-version-check --no-deps -d "$folder" axe-playwright-python==0.1.8
python3 -B - "$folder" <<'PYTHON'
import sys
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
for wheel in folder.glob("*.whl"):
    with zipfile.ZipFile(wheel) as z:
        (folder / "axe.min.js").write_bytes(z.read("axe_playwright_python/axe.min.js"))
    wheel.unlink()
PYTHON
