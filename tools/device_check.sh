#!/bin/bash
# What only a card tells, in at most six minutes, from what was built elsewhere.
#
#     tools/device_check.sh pack         where Ballast is built: puts programs and libraries into build-cuda/
#     tools/device_check.sh [PART...]    where the card is: all parts, or those named
#
# Parts: card rates ops networks torch pictures goldens memcheck. Each writes its log into $OUT (build-cuda/out), the
# last lines are a table. Nothing is built or fetched. DEVICE=cpu or another name checks another device.
set -u
cd "$(dirname "$0")/.."
folder=build-cuda
out=${OUT:-$folder/out}
device=${DEVICE:-cuda}
mkdir -p "$folder" "$out"

pack() {
    set -e
    ninja -C build ballast_cli ballast_plugin_cuda bench_device cuda_properties test_pipeline_goldens
    rm -rf "$folder/tree"
    mkdir -p "$folder/tree/bin" "$folder/tree/lib"
    cp build/bin/{ballast,bench_device,cuda_properties,test_pipeline_goldens} "$folder/tree/bin"
    cp -L build/lib/libballast.so.0.* build/lib/ballast-cuda.so "$folder/tree/lib"
    ldd "$folder"/tree/bin/* | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
        grep -vE '/(libc|libm|libdl|libpthread|ld-linux[^/]*|libballast[^/]*)\.so' | xargs cp -L -t "$folder/tree/lib"
    strip "$folder"/tree/bin/* "$folder/tree/lib/ballast-cuda.so"
    tar -C "$folder/tree" -czf "$folder/tree.tar.gz" .
    rm -rf "$folder/tree"
    ls -l "$folder/tree.tar.gz"
}

if [ "${1-}" = pack ]; then
    pack
    exit
fi
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
tar -C "$tree" -xzf "$folder/tree.tar.gz" || { echo "no $folder/tree.tar.gz: run tools/device_check.sh pack first"; exit 1; }
export BALLAST_PLUGINS="${PLUGINS:-$tree/lib}" LD_LIBRARY_PATH="$tree/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export BALLAST_TEST_DATA="$PWD/tests/data" XDG_CACHE_HOME="$tree/cache" OMP_WAIT_POLICY=passive
mkdir -p "$XDG_CACHE_HOME"
ballast="$tree/bin/ballast" bench="$tree/bin/bench_device" model=models/ballast-mini.safetensors
table=()

# row WHAT RESULT
row() {
    table+=("| $1 | $2 |")
}

# step LOG SECONDS COMMAND...: runs it within its time; the log's last line is its word.
step() {
    local log="$out/$1" limit=$2
    shift 2
    { echo "\$ $*"; timeout "$limit" "$@"; echo "exit $?"; } >>"$log" 2>&1
    tail -1 "$log" | grep -q '^exit 0$'
}

# last LOG PATTERN: what the log last said of it
last() {
    grep -aE "$2" "$out/$1" | tail -1
}

part_card() {
    { nvidia-smi; "$ballast" devices; "$ballast" devices --json; } >"$out/card.log" 2>&1
    "$tree/bin/cuda_properties" >"$out/properties.json" 2>>"$out/card.log"
    row card "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -1)"
    row libraries "$(last card.log '^cuda')"
}

part_rates() {
    step rates.log 60 "$bench" "$device" rates sdxl bf16 1024
    row "copies" "$(last rates.log '^pinned: .*copied')"
    row "copies, not pinned" "$(last rates.log '^not pinned')"
    row "a pass beside copies" "$(last rates.log 'beside copies')"
}

part_ops() {
    local what
    for what in "unet bf16 512" "vae bf16 512" "sdxl bf16 1024" "unet f32 256"; do
        # shellcheck disable=SC2086
        step ops.log 50 "$bench" "$device" ops $what 25
        row "ops: $what" "$(last ops.log '^ops |^bench_device:|^exit')"
    done
}

part_networks() {
    local what
    for what in "sdxl bf16 1024 2" "unet bf16 512 2" "vae bf16 1024 1" "vae f32 512 1"; do
        # shellcheck disable=SC2086
        step networks.log 50 "$bench" "$device" network $what
        row "network: $what" "$(last networks.log '^best of|^bench_device:|^exit')"
    done
}

part_torch() {
    step torch.log 60 python3 -B tools/device_torch.py
    while IFS= read -r line; do
        row "${line%%:*}" "${line#*:}"
    done < <(grep -a '^torch' "$out/torch.log")
}

part_pictures() {
    local mode first="" same=yes
    for mode in none model sequential balanced auto; do
        step pictures.log 20 "$ballast" generate -m "$model" --device "$device" --offload "$mode" -p "a red apple" -s 8 \
            -S 7 --overwrite -o "$out/$mode.png" || same="$mode failed"
        [ -n "$first" ] || first=$(cksum <"$out/$mode.png")
        [ "$first" = "$(cksum <"$out/$mode.png")" ] || same="$mode differs"
    done
    row "modes: the same file" "$same"
    step pictures.log 40 "$ballast" generate -m "$model" --device cpu -p "a red apple" -s 8 -S 7 --overwrite \
        -o "$out/cpu.png"
    row "time line" "$(last pictures.log '^Time')"
    rm -f "$out"/model.png "$out"/sequential.png "$out"/balanced.png "$out"/auto.png
}

part_goldens() {
    BALLAST_TEST_DEVICE=$device step goldens.log 60 "$tree/bin/test_pipeline_goldens"
    row "goldens, pictures" "$(last goldens.log 'PASSED|FAILED|exit')"
}

part_memcheck() {
    local tool
    for tool in memcheck racecheck; do
        step memcheck.log 40 compute-sanitizer --tool "$tool" "$ballast" generate -m "$model" --device "$device" -p "a red apple" \
            -s 1 -S 7 --overwrite -o "$tree/memcheck.png"
        row "compute-sanitizer $tool" "$(last memcheck.log 'ERROR SUMMARY|RACECHECK SUMMARY|exit')"
    done
}

[ $# -gt 0 ] || set -- card ops networks rates torch pictures goldens memcheck
rm -f "$out"/*.log
for part in "$@"; do
    SECONDS=0
    "part_$part"
    echo "$part: $SECONDS s"
done
{
    echo "| what | result |"
    echo "| --- | --- |"
    printf '%s\n' "${table[@]}"
} | tee "$out/table.md"
