#!/bin/bash
# What only a card tells, in at most six minutes, from a folder of at most 64 MB that was made elsewhere.
#
#     tools/device_check.sh pack               where Ballast is built: makes build-cuda/, with all that is needed
#     build-cuda/device_check.sh [PART...]     where the card is: all parts, or those named
#
# Parts: card rates ops table networks torch pictures goldens memcheck offload. Each has its seconds, and all together have 350:
# what comes too late is left out, and said. Each writes its log into $OUT (build-cuda/out), the last lines are a table.
# Nothing is built or fetched. DEVICE=cpu or another name checks another device; TOTAL are other seconds than 350.
set -u
here=$(cd "$(dirname "$0")" && pwd)
device=${DEVICE:-cuda}
total=${TOTAL:-350} most_bytes=$((64 << 20))
declare -A limits=([card]=15 [rates]=30 [ops]=80 [table]=60 [networks]=50 [torch]=60 [pictures]=30 [goldens]=25 [memcheck]=30
    [offload]=150)

pack() {
    local folder="$here/../build-cuda" build="$here/../build"
    set -e
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    ninja -C "$build" ballast_cli ballast_plugin_cuda bench_device bench_offload cuda_card test_pipeline_goldens
    mkdir -p "$tree/bin" "$tree/lib" "$tree/tests" "$folder"
    cp "$build"/bin/{ballast,bench_device,bench_offload,cuda_card,test_pipeline_goldens} "$tree/bin"
    cp -L "$build"/lib/libballast.so.0.* "$build/lib/ballast-cuda.so" "$tree/lib"
    ldd "$tree"/bin/* | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
        grep -vE '/(libc|libm|libdl|libpthread|ld-linux[^/]*|libballast[^/]*)\.so' | xargs cp -L -t "$tree/lib"
    strip "$tree"/bin/* "$tree/lib/ballast-cuda.so"
    cp "$here/../models/ballast-mini.safetensors" "$here/device_torch.py" "$here/../bench/random_checkpoint.py" "$tree"
    cp -r "$here/../tests/data" "$tree/tests"
    tar -C "$tree" -cf - . | xz -T0 -3 >"$folder/tree.tar.xz"
    cp "$here/device_check.sh" "$folder"
    bytes=$(du -cb "$folder/tree.tar.xz" "$folder/device_check.sh" | tail -1 | cut -f1)
    echo "build-cuda: $bytes bytes"
    [ "$bytes" -le "$most_bytes" ] || { echo "that is more than $most_bytes"; exit 1; }
}

if [ "${1-}" = pack ]; then
    pack
    exit
fi
began=$SECONDS
out=${OUT:-$here/out}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$out"
[ -e "$here/tree.tar.xz" ] || { echo "no $here/tree.tar.xz: run tools/device_check.sh pack, then build-cuda/device_check.sh"; exit 1; }
tar -C "$tree" -xJf "$here/tree.tar.xz" || exit 1
export BALLAST_PLUGINS="${PLUGINS:-$tree/lib}" LD_LIBRARY_PATH="$tree/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export BALLAST_TEST_DATA="$tree/tests/data" XDG_CACHE_HOME="$tree/cache" OMP_WAIT_POLICY=passive
mkdir -p "$XDG_CACHE_HOME"
ballast="$tree/bin/ballast" bench="$tree/bin/bench_device" model="$tree/ballast-mini.safetensors"
table=()
part_ends=$((began + total))

# row WHAT RESULT
row() {
    table+=("| $1 | $2 |")
}

# step LOG SECONDS COMMAND...: runs it within its time, and what its part and all parts have left.
step() {
    local log="$out/$1" limit=$2 left=$((part_ends - SECONDS))
    shift 2
    limit=$((limit < left ? limit : left))
    if [ "$limit" -lt 1 ]; then
        printf '$ %s\nexit: no time was left\n' "$*" >>"$log"
        return 1
    fi
    { echo "\$ $*"; timeout -k 2 "$limit" "$@"; echo "exit $?"; } >>"$log" 2>&1
    tail -1 "$log" | grep -q '^exit 0$'
}

# last LOG PATTERN: what the log last said of it
last() {
    grep -aE "$2" "$out/$1" | tail -1
}

part_card() {
    step card.log 5 nvidia-smi
    step card.log 8 "$ballast" devices
    step card.log 8 "$ballast" devices --json
    row card "$(timeout 3 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -1)"
    row libraries "$(last card.log '^cuda')"
}

# The card's file: for `--device cuda:FILE` elsewhere and for src/device/cuda/cards. With it the rest is run.
part_table() {
    step table.log 60 bash -c '"$1" 40 >"$2"' - "$tree/bin/cuda_card" "$out/card.json"
    row "the card's file" "$(last table.log 'passes|^cuda_card:|^exit')"
    [ ! -s "$out/card.json" ] || export BALLAST_CUDA_CARD="$out/card.json"
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
    step torch.log 60 python3 -B "$tree/device_torch.py"
    while IFS= read -r line; do
        row "${line%%:*}" "${line#*:}"
    done < <(grep -a '^torch' "$out/torch.log")
}

part_pictures() {
    local mode first="" same=yes
    for mode in none model sequential balanced auto; do
        step pictures.log 20 "$ballast" generate -m "$model" --device "$device" --offload "$mode" -p "a red apple" -s 8 \
            -S 7 --overwrite -o "$out/$mode.png" || { same="$mode failed"; continue; }
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

# The table that started all of this, on made-up weights; and how long a process takes to its first step.
part_offload() {
    local name steps began
    for name in sd15 sdxl; do
        steps=$([ $name = sd15 ] && echo "512 25 15" || echo "1024 10 6")
        step offload.log 40 python3 -B "$tree/random_checkpoint.py" $name "$tree/$name.safetensors" || continue
        # shellcheck disable=SC2086
        step offload.log 90 "$tree/bin/bench_offload" "$device" $steps "$name=$tree/$name.safetensors:0.1"
        row "$name $steps, by mode" "$(last offload.log "^\| $name|^bench_offload:|^exit")"
        for _ in 1 2; do
            began=$(date +%s%N)
            step offload.log 30 "$ballast" generate -m "$tree/$name.safetensors" --device "$device" -p "a lighthouse" -s 1 \
                --overwrite -o "$tree/one.png"
        done
        row "$name, a process for one step" "$((($(date +%s%N) - began) / 1000000)) ms"
        rm -f "$tree/$name.safetensors"
    done
}

[ $# -gt 0 ] || set -- card rates ops table networks torch pictures goldens memcheck offload
rm -f "$out"/*.log
for part in "$@"; do
    [ -n "${limits[$part]-}" ] || { echo "no part $part; there are ${!limits[*]}"; exit 1; }
    part_began=$SECONDS
    part_ends=$((SECONDS + limits[$part]))
    part_ends=$((part_ends < began + total ? part_ends : began + total))
    "part_$part"
    echo "$part: $((SECONDS - part_began)) s"
done
{
    echo "| what | result |"
    echo "| --- | --- |"
    printf '%s\n' "${table[@]}"
} | tee "$out/table.md"
