#!/bin/sh
# A picture from the embedded model, or from the checkpoint that BALLAST_MODEL names: demo.sh PATH_OF_BALLAST [PROMPT]
set -eu
show=
[ ! -t 1 ] || show=--show
"$1" generate --prompt "${2:-a strawberry}" --steps 20 --seed 7 --overwrite $show \
    --output "$(pwd)/demo.png"
echo "That file is the picture."
