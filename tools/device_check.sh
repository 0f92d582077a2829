#!/bin/bash
# What only a card tells, in at most six minutes, from a folder of at most 64 MB that was made elsewhere.
#
#     tools/device_check.sh pack               where Ballast is built: makes build-cuda/, with all that is needed
#     build-cuda/device_check.sh [PART...]     where the card is: all parts, or those named
#
# Parts: card pictures goldens eval ops rates networks torch table memcheck offload compile. Each has its seconds, and
# all together have 350: what comes too late is left out, and said; `compile` (torch.compile) takes minutes and is for a
# second run. Nothing is built or fetched. $OUT (build-cuda/out) gets five files, each written as soon as there is
# something for it: log.txt, table.md (at most 20 rows), card.json, none.png, cpu.png. Compiled kernels stay in
# build-cuda/cache, so that a second run is faster. Exit code: 0 all that was asked for ran and is right, 1 something is
# not, 2 there is no card, or nothing to drive it with.
# DEVICE=cpu or another name checks another device; TOTAL are other seconds than 350. SMALL=CHECKPOINT: this small model
# and small networks, to try the script where there is no card (tests/device/cuda/check_parts.sh), with ten times the
# seconds: others may work there.
set -u
here=$(cd "$(dirname "$0")" && pwd)
device=${DEVICE:-cuda}
patience=${SMALL:+10}
patience=${patience:-1}
total=$((${TOTAL:-350} * patience)) most_bytes=$((64 << 20))
parts=(card pictures goldens eval ops rates networks torch table memcheck offload compile)
declare -A limits=([card]=60 [pictures]=60 [goldens]=60 [eval]=60 [ops]=90 [rates]=40 [networks]=90 [torch]=90 [table]=90
    [memcheck]=60 [offload]=200 [compile]=300)
# What is run at full size; networks: NETWORK DTYPE SIZE BATCH, as PyTorch times them, too.
ops=("unet bf16 512" "vae bf16 512" "sdxl bf16 1024" "unet f32 256")
families="test_sd*"
networks=("sdxl bf16 1024 2" "unet bf16 512 2" "vae bf16 1024 1")
rates="sdxl bf16 1024"
picture=(-s 8)
offload=("sd15 512 25 15" "sdxl 1024 10 6")
if [ -n "${SMALL-}" ]; then
    ops=("tiny bf16 64" "tiny f32 64")
    families="test_every_inner_module"
    networks=("tiny bf16 64 2")
    rates="tiny bf16 64"
    picture=(-s 1 -W 64 -H 64)
    offload=("small 64 1 1")
fi
declare -A bars=(["goldens, pictures"]="their tolerances" ["goldens, eval"]="their tolerances"
    ["sdxl bf16 1024 2"]="≤ 0.75 of PyTorch, ≤ 1.0 compiled; H100 ≤ 55 ms" ["unet bf16 512 2"]="≤ 0.5 of PyTorch"
    ["vae bf16 1024 1"]="≤ 0.7 of PyTorch; ≤ 60 ms" ["a process for one step"]="≤ 2.5 s to its begin"
    ["memcheck, racecheck"]="clean" ["by mode, sdxl"]="auto ≤ 1.01 of none" ["by mode, sd15"]="auto ≤ 1.01 of none")
# What nearly every system has in a version of its own, which then counts.
system='libstdc\+\+|libgcc_s|libgomp|libcrypt|libquadmath|libz'

# Folder of the diffusers that this machine's Python (PYTHON) has: the networks that PyTorch is timed with.
diffusers_of() {
    "${PYTHON:-python3}" -c 'import importlib.util as i; print(i.find_spec("diffusers").submodule_search_locations[0])' 2>/dev/null
}

pack() {
    local folder="$here/../build-cuda" build="$here/../build" diffusers
    set -e
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    ninja -C "$build" ballast_cli ballast_plugin_cuda bench_device bench_offload cuda_card test_pipeline_goldens test_model_transformers \
        test_pipeline_stored test_cli_eval
    mkdir -p "$tree/bin" "$tree/lib" "$tree/spare" "$tree/tests" "$tree/python" "$folder"
    cp "$build"/bin/{ballast,bench_device,bench_offload,cuda_card,test_pipeline_goldens,test_model_transformers,test_pipeline_stored,test_cli_eval} \
        "$tree/bin"
    cp -L "$build/lib/ballast-cuda.so" "$tree/lib"
    cp -L "$(ls "$build"/lib/libballast.so.0.? | head -1)" "$tree/lib"
    ldd "$tree"/bin/* | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
        grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*|libballast[^/]*)\.so' | xargs cp -L -t "$tree/lib"
    find "$tree/lib" -regextype posix-extended -regex ".*/($system)\.so.*" -exec mv -t "$tree/spare" {} +
    strip "$tree"/bin/* "$tree/lib/ballast-cuda.so"
    cp "$here/../models/ballast-mini.safetensors" "$here/device_torch.py" "$here/../bench/random_checkpoint.py" "$tree"
    cp -r "$here/../tests/data" "$tree/tests"
    if diffusers=$(diffusers_of); then
        cp -r "$diffusers" "$tree/python"
        find "$tree/python" -name __pycache__ -prune -exec rm -rf {} +
    else
        echo "build-cuda: diffusers is not here (PYTHON is another Python): times of PyTorch need it where the card is"
    fi
    tar -C "$tree" -cf - . | xz -T0 -6 >"$folder/tree.tar.xz"
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
[ -e "$here/tree.tar.xz" ] || { echo "no $here/tree.tar.xz: run tools/device_check.sh pack, then build-cuda/device_check.sh"; exit 2; }
if command -v xz >/dev/null; then
    tar -C "$tree" -xJf "$here/tree.tar.xz" || exit 2
else
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$here/tree.tar.xz" "$tree" || exit 2
fi
logs="$tree/logs" cache="$here/cache"
mkdir -p "$out" "$logs" || exit 2
mkdir -p "$cache" 2>/dev/null || cache="$tree/cache"
rm -f "$out"/{log.txt,table.md,none.png,cpu.png}
: >"$logs/card.log"
for library in "$tree"/spare/*; do
    [ ! -e "$library" ] || ldconfig -p 2>/dev/null | grep -q "^[[:space:]]*${library##*/} " || cp "$library" "$tree/lib"
done
# Libraries of ours are for programs of ours: Python and NVIDIA's tools have their own.
ours=(env "LD_LIBRARY_PATH=$tree/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}")
export PATH="$PATH:/usr/local/cuda/bin" PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$tree/python" PYTHONUNBUFFERED=1
export BALLAST_PLUGINS="${PLUGINS:-$tree/lib}" BALLAST_TEST_DATA="$tree/tests/data" XDG_CACHE_HOME="$cache"
export OMP_WAIT_POLICY=passive
unset BALLAST_DEVICE
ballast="$tree/bin/ballast" bench="$tree/bin/bench_device" model="${SMALL:-$tree/ballast-mini.safetensors}"
declare -A result=() times=()
order=()
failed=0
part_ends=$((began + total))

# row WHAT RESULT: what was said of it before is replaced
row() {
    [ -n "${result[$1]-}" ] || order+=("$1")
    result[$1]=${2:-nothing was said}
}

write_table() {
    local what
    {
        echo "| what | bar | result |"
        echo "| --- | --- | --- |"
        for what in "${order[@]}"; do
            echo "| $what | ${bars[$what]-} | ${result[$what]} |"
        done
    } >"$out/table.md"
}

# step LOG SECONDS COMMAND...: runs it within its time, and what its part and all parts have left.
step() {
    local log="$logs/$1" limit=$(($2 * patience)) left=$((part_ends - SECONDS)) code
    shift 2
    limit=$((limit < left ? limit : left))
    printf '$ %s\n' "$*" >>"$log"
    if [ "$limit" -lt 1 ]; then
        echo "exit: no time was left" >>"$log"
        failed=1
        return 1
    fi
    timeout -k 2 "$limit" "$@" >>"$log" 2>&1
    code=$?
    case $code in
        0) echo "exit 0" >>"$log"; return 0 ;;
        124 | 137) echo "exit $code: it took more than $limit s" >>"$log" ;;
        127) echo "exit $code: ${1##*/} is not here" >>"$log" ;;
        *) echo "exit $code" >>"$log" ;;
    esac
    failed=1
    return 1
}

# last LOG PATTERN: what the log last said of it
last() {
    grep -aE "$2" "$logs/$1" | tail -1
}

# The driver is the system's, the other three may be PyTorch's. What is missing is why no other part is run.
part_card() {
    local libraries
    if command -v nvidia-smi >/dev/null; then
        step card.log 20 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
        row card "$(last card.log ',.*MiB|^exit [1-9]|^exit:')"
    fi
    find_card
    libraries=$(last card.log "^$device")
    row device "${libraries:-$(last card.log '^exit [1-9]|^exit:')}"
}

find_card() {
    local site
    step card.log 50 "${ours[@]}" "$ballast" devices
    if grep -aq "not found together" "$logs/card.log" && [ -z "${BALLAST_CUDA_LIBS-}" ]; then
        site=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' 2>/dev/null)
        if [ -d "$site/nvidia" ]; then
            export BALLAST_CUDA_LIBS="$site/nvidia"
            step card.log 50 "${ours[@]}" "$ballast" devices
        fi
    fi
}

part_pictures() {
    local mode first="" same=yes seconds=""
    for mode in none model sequential balanced auto; do
        step pictures.log 40 "${ours[@]}" "$ballast" generate -m "$model" --device "$device" --offload "$mode" -p "a red apple" \
            "${picture[@]}" -S 7 --overwrite -o "$tree/$mode.png" ||
            { same="$mode failed: $(last pictures.log '^[a-z]+: |^error|^exit [1-9]|^exit:' | head -c 200)"; continue; }
        [ -n "$first" ] || first=$(cksum <"$tree/$mode.png")
        [ "$first" = "$(cksum <"$tree/$mode.png")" ] || { same="$mode differs"; failed=1; }
        seconds+="; $mode $(last pictures.log '^Time' | sed 's/^Time: *//; s/ *|.*//')"
    done
    row "five modes: the same file" "$same$seconds"
    step pictures.log 40 "${ours[@]}" "$ballast" generate -m "$model" --device cpu -p "a red apple" "${picture[@]}" -S 7 \
        --overwrite -o "$out/cpu.png"
    cp "$tree/none.png" "$out" 2>/dev/null
}

# Pictures of three families; Z-Image, FLUX.2 and Qwen3 as networks; pictures of weights stored small.
part_goldens() {
    local program said=""
    for program in pipeline_goldens model_transformers pipeline_stored; do
        BALLAST_TEST_DEVICE=$device step goldens.log 40 "${ours[@]}" "$tree/bin/test_$program"
        said+="${said:+; ${program#*_} }$(last goldens.log 'PASSED|FAILED|^exit [1-9]|^exit:')"
    done
    row "goldens, pictures" "$said"
}

# Every module of three families by `ballast eval`, in F32 and BF16.
part_eval() {
    # shellcheck disable=SC2086
    BALLAST_TEST_DEVICE=$device BALLAST_TEST_PROGRAM=$ballast step eval.log 60 "${ours[@]}" "$tree/bin/test_cli_eval" $families
    row "goldens, eval" "$(last eval.log 'PASSED|FAILED|^exit [1-9]|^exit:')"
}

part_ops() {
    local what
    for what in "${ops[@]}"; do
        # shellcheck disable=SC2086
        step ops.log 60 "${ours[@]}" "$bench" "$device" ops $what 18
        row "ops: $what" "$(last ops.log '^ops |^bench_device:|^exit [1-9]|^exit:')"
    done
}

part_rates() {
    # shellcheck disable=SC2086
    step rates.log 40 "${ours[@]}" "$bench" "$device" rates $rates
    row "copies" "$(last rates.log '^pinned: .*copied|^bench_device:|^exit [1-9]|^exit:'); $(last rates.log '^not pinned')"
    row "a pass beside copies" "$(last rates.log 'beside copies')"
}

# milliseconds LOG PATTERN: of the line that the log last said of it
milliseconds() {
    last "$1" "$2" | grep -oE '[0-9.]+ ms' | head -1 | cut -d' ' -f1
}

# network_row NETWORK DTYPE SIZE BATCH: ours, and what part of PyTorch's time that is, as far as it is known
network_row() {
    local mine=${times[$1]-} whose theirs text
    text="${mine:-not timed}${mine:+ ms}"
    for whose in torch compiled; do
        theirs=${times["$whose $1"]-}
        if [ -n "$theirs" ] && [ -n "$mine" ]; then
            text+="; $whose $theirs ms: $(awk "BEGIN {printf \"%.2f\", $mine / $theirs}") of it"
        elif [ -n "${times["no $whose"]-}" ]; then
            text+="; $whose: ${times["no $whose"]}"
        fi
    done
    row "$1" "$text"
}

time_network() {
    # shellcheck disable=SC2086
    step networks.log 50 "${ours[@]}" "$bench" "$device" network $1 &&
        times[$1]=$(milliseconds networks.log '^best of')
    [ -n "${times[$1]-}" ]
}

part_networks() {
    local what
    for what in "${networks[@]}"; do
        time_network "$what"
        network_row "$what"
        [ -n "${times[$what]-}" ] || row "$what" "$(last networks.log '^bench_device:|^exit [1-9]|^exit:')"
    done
}

# time_torch torch|compiled NETWORK...: PyTorch's time of each; ours comes before, where it is not there yet
time_torch() {
    local whose=$1 what
    shift
    for what in "$@"; do
        [ -n "${times[$what]-}" ] || time_network "$what"
    done
    step "$part.log" 300 python3 -B "$tree/device_torch.py" "$whose" "$@"
    for what in "$@"; do
        times["$whose $what"]=$(milliseconds "$part.log" "^torch .* $whose $what: ")
    done
    grep -aq "^torch .* $whose " "$logs/$part.log" || times["no $whose"]=$(last "$part.log" 'not run|Error|^exit [1-9]|^exit:' | sed 's/^torch: //')
    for what in "$@"; do
        network_row "$what"
    done
}

part_torch() {
    time_torch torch "${networks[@]}"
}

part_compile() {
    time_torch compiled "${networks[0]}"
}

# The card's file: for `--device cuda:FILE` elsewhere and for src/device/cuda/cards. It is written twice, before and
# after the libraries' proposals were timed: so there is one whatever the time.
part_table() {
    local seconds=25
    [ -z "${SMALL-}" ] || seconds=0.5
    # shellcheck disable=SC2086
    step table.log 85 "${ours[@]}" "$tree/bin/cuda_card" $seconds "$out/card.json" ${SMALL:+tiny}
    row "the card's file" "$(last table.log 'passes|^cuda_card:|^exit [1-9]|^exit:')"
    if [ -s "$out/card.json" ]; then
        export BALLAST_CUDA_CARD="$out/card.json"
        # shellcheck disable=SC2086
        step table.log 50 "${ours[@]}" "$bench" "$device" network ${networks[0]}
        row "${networks[0]}, with the card's file" "$(last table.log '^best of|^bench_device:|^exit [1-9]|^exit:')"
    fi
}

part_memcheck() {
    local tool said=""
    for tool in memcheck racecheck; do
        step memcheck.log 40 "${ours[@]}" compute-sanitizer --tool "$tool" "$ballast" generate -m "$model" --device "$device" \
            -p "a red apple" "${picture[@]}" -s 1 -S 7 --overwrite -o "$tree/memcheck.png"
        said+="${said:+; }$(last memcheck.log 'ERROR SUMMARY|RACECHECK SUMMARY|^exit [1-9]|^exit:')"
    done
    row "memcheck, racecheck" "$said"
}

# The table that started all of this, on made-up weights; and how long a process takes to its first step.
part_offload() {
    local job name steps file began on=$device
    [ -z "${SMALL-}" ] || on="cuda:$out/card.json" # planned alone
    for job in "${offload[@]}"; do
        name=${job%% *} steps=${job#* } file="$tree/${job%% *}.safetensors"
        if [ -n "${SMALL-}" ]; then
            cp "$SMALL" "$file"
        else
            step offload.log 60 python3 -B "$tree/random_checkpoint.py" "$name" "$file"
        fi || { row "by mode, $name" "$(last offload.log 'Error|^exit [1-9]|^exit:')"; continue; }
        # shellcheck disable=SC2086
        step offload.log 120 "${ours[@]}" "$tree/bin/bench_offload" "$on" $steps "$name=$file:0.1"
        row "by mode, $name" "$(last offload.log "^\| $name|^bench_offload:|^exit [1-9]|^exit:" | sed "s/^| *//; s/ *|\$//; s/ |$name, .*//; s/ | /; /g")"
        for _ in 1 2; do
            began=$(date +%s%N)
            step offload.log 60 "${ours[@]}" "$ballast" generate -m "$file" --device "$device" "${picture[@]}" \
                -p "a lighthouse" -s 1 --overwrite -o "$tree/one.png"
        done
        row "a process for one step" "$name $((($(date +%s%N) - began) / 1000000)) ms"
        rm -f "$file"
    done
}

[ $# -gt 0 ] || set -- "${parts[@]:0:${#parts[@]}-1}" # all but the last
for part in "$@"; do
    [ -n "${limits[$part]-}" ] || { echo "no part $part; there are ${parts[*]}"; exit 2; }
done
[ "$1" = card ] || find_card
for part in "$@"; do
    part_began=$SECONDS
    part_ends=$((SECONDS + limits[$part] * patience))
    part_ends=$((part_ends < began + total ? part_ends : began + total))
    missing=$(last card.log "^$device " | sed -n 's/^[^ ]* *not here: //p')
    if [ -n "$missing" ] && [ "$part" != card ]; then
        row "$part" "not run: $missing"
    else
        "part_$part"
    fi
    echo "$part: $((SECONDS - part_began)) s"
    { echo "== $part"; cat "$logs/$part.log" 2>/dev/null; } >>"$out/log.txt"
    write_table
done
cat "$out/table.md"
if [ -n "${missing-}" ]; then
    exit 2
fi
exit "$failed"
