#!/bin/sh
# A picture from the embedded model, or from the checkpoint that BALLAST_MODEL names: demo.sh PATH_OF_BALLAST [PROMPT]
set -eu
embedded="$(dirname "$1")/../share/ballast/ballast-mini.safetensors"
if [ -z "${BALLAST_MODEL-}" ] && [ ! -e "$embedded" ]; then
    echo "demo: the embedded model is not in this tree yet (models/README.md says how far it is)." >&2
    echo "demo: give a checkpoint of your own: make demo BALLAST_MODEL=FILE.safetensors" >&2
    exit 2
fi
show=
case "${TERM-} ${TERM_PROGRAM-}" in
*kitty* | *ghostty* | *iTerm* | *WezTerm*) show=--show ;;
esac
size=
[ -n "${BALLAST_MODEL-}" ] || size="--width 128 --height 128 --cfg 5"
"$1" generate --prompt "${2:-a red apple}" --negative "" --steps 20 $size --seed 7 --overwrite $show \
    --output "$(pwd)/demo.png"
echo "That file is the picture."
