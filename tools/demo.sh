#!/bin/sh
# A picture from the embedded model: demo.sh PATH_OF_BALLAST
set -eu
"$1" generate --prompt "a red apple" --negative "" --width 128 --height 128 --steps 20 --cfg 5 --seed 7 --overwrite \
    --show -o demo.png
