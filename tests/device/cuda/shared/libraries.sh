#!/bin/bash
# Which libraries the plugin opens, and what it says of those that it does not: libraries.sh BALLAST FAKE PLUGINS.
set -eu
ballast=$1 fake=$2
export BALLAST_PLUGINS=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export LD_LIBRARY_PATH="$folder/driver" XDG_DATA_HOME="$folder/data" XDG_CACHE_HOME="$folder/cache" CONDA_PREFIX=""
export VIRTUAL_ENV="$folder/venv"
unset BALLAST_CUDA_LIBS

# says WHAT: `ballast devices` has it in the line of cuda
says() {
    "$ballast" devices >"$folder/said" 2>&1
    grep -q "^cuda .*$1" "$folder/said" || { echo "no \"$1\":"; cat "$folder/said"; exit 1; }
}

# links FOLDER NAME...
links() {
    local to=$1 name
    shift
    mkdir -p "$to"
    for name in "$@"; do
        ln -s "$fake" "$to/$name"
    done
}

# plans_on TEXT FLAG...: a plan is for a device of that name
plans_on() {
    local name=$1
    shift
    "$ballast" plan --json "$@" 2>"$folder/said" | grep -q "\"device\": \"$name" ||
        { echo "no plan on $name: $*"; cat "$folder/said"; exit 1; }
}

plans_on ".* threads" --device auto # no driver: nothing is said of it
[ "$(grep -c cuda "$folder/said")" = 0 ] || { cat "$folder/said"; exit 1; }
links "$folder/driver" libcuda.so.1
BALLAST_CUDA_LIBS="$folder/none" plans_on ".* threads" --device auto # a card that idles
grep -q "not found together.*the CPU computes" "$folder/said" || { cat "$folder/said"; exit 1; }
# As wheels of CUDA 13 lie in a Python environment.
site="$folder/venv/lib/python3.11/site-packages/nvidia"
links "$site/cudnn/lib" libcudnn.so.9
links "$site/cu13/lib" libcublasLt.so.13 libnvrtc.so.13
says "Fake card 0, SM 9.0, cuDNN 9.19.0, cuBLASLt 13.1.0"
plans_on "Fake card 0"
plans_on "Fake card 0" --device auto
plans_on ".* threads" --device cpu
export BALLAST_FAKE_DRIVER=12080
says "for CUDA 13, the NVIDIA driver for CUDA 12.8: install driver 580 or newer"
# With those of CUDA 12 beside them the same driver does.
links "$site/cublas/lib" libcublasLt.so.12
links "$site/cuda_nvrtc/lib" libnvrtc.so.12
says "Fake card 0"
# A folder that is given counts alone.
export BALLAST_CUDA_LIBS="$folder/none"
says "not found together"
links "$folder/own" libcudnn.so.9 libcublasLt.so.12 libnvrtc.so.12
export BALLAST_CUDA_LIBS="$folder/none:$folder/own"
says "Fake card 0"
grep -q "; libraries of $folder/own\$" "$folder/said" || { cat "$folder/said"; exit 1; }
