#!/bin/sh
# Makes models/ballast-mini.safetensors from nothing but Debian's font and CLDR packages. Interrupted, it goes on where it was:
# every part keeps its state in $BALLAST_TRAIN. docs/mini-model.md says what each part does and how long it takes.
#
#   apt-get install fonts-noto-color-emoji unicode-cldr-core
#   python3 -m venv venv && venv/bin/pip install -r tools/train_mini/requirements.txt
#   PATH=venv/bin:$PATH tools/train_mini/run.sh [OUT, by default models/]
set -e
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "${1:-$here/../../models}" && pwd)
cd "$here"
: "${BALLAST_TRAIN:=$HOME/.cache/ballast-train}"
export BALLAST_TRAIN OMP_WAIT_POLICY=passive            # waiting threads yield: this is a guest on the machine
export BALLAST_WORKERS=2 BALLAST_THREADS=1              # two workers of one thread do nearly twice what one of two does
low="nice -n 19 python"

mkdir -p "$BALLAST_TRAIN"
test -f "$BALLAST_TRAIN/latents.pt" || $low latents.py
$low train_vae.py decoder
$low train_vae.py encoder
$low train_unet.py
$low export.py "$out/ballast-mini.safetensors"
$low check_data.py "$out"
$low contact_sheet.py "$out"
$low evaluate.py
