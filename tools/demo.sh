#!/bin/sh
# A picture from the embedded model: demo.sh PATH_OF_BALLAST [PROMPT]
set -eu
show=
case "${TERM-} ${TERM_PROGRAM-}" in
*kitty* | *ghostty* | *iTerm* | *WezTerm*) show=--show ;;
esac
"$1" generate --prompt "${2:-a red apple}" --negative "" --width 128 --height 128 --steps 20 --cfg 5 --seed 7 \
    --overwrite $show --output "$(pwd)/demo.png"
echo "That file is the picture."
