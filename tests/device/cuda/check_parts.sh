#!/bin/bash
# Each part of tools/device_check.sh runs through, on small networks, with the plugin and the fake behind the names of
# NVIDIA's libraries: check_parts.sh BIN PLUGIN FAKE SMALL_MODEL_PROGRAM DATA. What a machine with a card has beside them,
# and goldens of whole pictures, which take minutes here, are stand-ins that look at what they are called with.
set -eu
bin=$1 plugin=$2 fake=$3 small_model=$4 data=$5
script=$(cd "$(dirname "$0")/../../.." && pwd)/tools/device_check.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tree="$folder/tree"
mkdir -p "$tree"/{bin,lib,tests} "$folder"/{path,libraries}
for name in ballast bench_device bench_offload cuda_card test_cli_eval; do
    ln -s "$bin/$name" "$tree/bin/$name"
done
ln -s "$plugin" "$tree/lib"
ln -s "$data" "$tree/tests/data"
cp "${script%/*}/device_torch.py" "$tree"
for name in libcuda.so.1 libcudnn.so.9 libcublasLt.so.13 libnvrtc.so.13; do
    ln -s "$fake" "$folder/libraries/$name"
done

# stand_in PATH LINE...: a shell script
stand_in() {
    printf '%s\n' '#!/bin/sh' "${@:2}" >"$1"
    chmod +x "$1"
}
stand_in "$folder/path/nvidia-smi" '[ "$#" -eq 2 ] && echo "A card, 580.1, 81559 MiB"'
stand_in "$folder/path/compute-sanitizer" '[ "$1" = --tool ] || exit 1' 'shift 2' '"$@" && echo "ERROR SUMMARY: 0 errors"'
for name in test_pipeline_goldens test_model_transformers test_pipeline_stored; do
    stand_in "$tree/bin/$name" \
        '[ "$BALLAST_TEST_DEVICE" = cuda ] && [ -e "$BALLAST_TEST_DATA/sdxl" ] && echo "[  PASSED  ] 3 test(s)."'
done
tar -C "$tree" -cJf "$folder/tree.tar.xz" .
cp "$script" "$folder"
SMALL=$("$small_model")
export SMALL LD_LIBRARY_PATH="$folder/libraries" BALLAST_CUDA_LIBS="$folder/libraries" PATH="$folder/path:$PATH"

fail() {
    echo "$1"
    cat "$folder/said" "$folder/out/log.txt"
    exit 1
}
# begins WHAT TEXT: the row of WHAT has a result that begins so
begins() {
    grep -qE "^\| $1 \| [^|]*\| ($2)" "$folder/said" || fail "no \"$2\" in the row of $1"
}
"$folder/device_check.sh" >"$folder/said" 2>&1 || fail "it says that something is wrong"
begins card "A card, 580.1"
begins device "cuda +Fake card 0, SM 9.0"
grep -q '^Time: .* GPU memory' "$folder/out/log.txt" || fail "it is no card's memory"
begins "five modes: the same file" "yes; none [0-9.]+s; .*auto [0-9.]+s"
begins "goldens, pictures" ".*PASSED.*; transformers .*PASSED.*; stored .*PASSED"
begins "goldens, eval" ".*PASSED.* 1 test"
begins "ops: tiny bf16 64" "ops ([0-9]+) of \2, wrong 0, other bits again 0, other bits alone 0"
begins "ops: tiny f32 64" "ops ([0-9]+) of \2, wrong 0, other bits again 0, other bits alone 0"
begins copies "pinned: .* copied at .*; not pinned: "
begins "a pass beside copies" "pinned: a pass alone"
begins "tiny bf16 64 2" "[0-9.]+ ms; torch"
begins "the card's file" "passes [0-9.]+ ms"
begins "tiny bf16 64 2, with the card's file" "best of 5"
begins "memcheck, racecheck" "ERROR SUMMARY: 0 errors; ERROR SUMMARY: 0 errors"
begins "by mode, small" "small; [0-9.]+ \(.*; [0-9.]+ \([0-9.]+ GB\) \|"
begins "a process for one step" "small [0-9]+ ms"
[ "$(grep -c '^| ' "$folder/said")" -le 22 ] || fail "more than 20 rows"
[ "$(find "$folder/out" -type f | wc -l)" -eq 5 ] || fail "not five files"
"$folder/device_check.sh" compile >"$folder/said" 2>&1 || fail "compile is not well"
begins "tiny bf16 64 2" "[0-9.]+ ms; compiled"
echo "$SECONDS s"
