#!/bin/sh
# Unpacks oneDNN 3.2 (API 3) from PyPI into a folder: onednn3.sh FOLDER. Where the distribution has API 2 (Debian 12, Ubuntu 22.04),
# that is how the other half of src/device/cpu/dnnl_versions.c is built and tested. Does nothing when it is there.
set -eu
folder=$1
[ ! -e "$folder/lib/libdnnl.so.3" ] || exit 0
if ! python3 -m pip --version >/dev/null 2>&1; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3-pip
fi
mkdir -p "$folder"
python3 -m pip download -q --disable-pip-version-check --no-deps -d "$folder" \
    onednn-cpu-gomp==2023.2.0 onednn-devel-cpu-gomp==2023.2.0
# The wheels hold what belongs into a prefix in NAME.data/data.
python3 -B - "$folder" <<'PYTHON'
import sys
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
for wheel in folder.glob("*.whl"):
    with zipfile.ZipFile(wheel) as z:
        for name in z.namelist():
            top, data, rest = (name.split("/", 2) + ["", ""])[:3]
            if top.endswith(".data") and data == "data" and rest and not rest.endswith("/"):
                path = folder / rest
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(z.read(name))
    wheel.unlink()
PYTHON
