#!/bin/bash
# `make cuda-libs` without the gigabyte: which packages it asks for, where they go, what it says when pip fails.
set -eu
script=$(cd "$(dirname "$0")/../../../.." && pwd)/tools/cuda_libs.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/path"
cat >"$folder/path/python3" <<'STUB'
#!/bin/sh
[ "$3" = --version ] && exit 0
echo "$*" >>"$ASKED"
[ -z "${FAILS-}" ] || exit 1
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/nvidia/cudnn/lib" "$2/nvidia/cu/lib" && : >"$2/nvidia/cudnn/lib/libcudnn.so.9"
[ -n "${CUT_OFF-}" ] || : >"$2/nvidia/cu/lib/libcublasLt.so.13" >"$2/nvidia/cu/lib/libnvrtc.so.13"
STUB
printf '#!/bin/sh\necho "| NVIDIA-SMI 570.1  Driver Version: 570.1  CUDA Version: $CUDA |"\n' >"$folder/path/nvidia-smi"
chmod +x "$folder"/path/*
export PATH="$folder/path:$PATH" ASKED="$folder/asked" XDG_DATA_HOME="$folder/data"

# asks CUDA PACKAGES: what is installed for a driver of that version
asks() {
    rm -rf "$folder/data" "$ASKED"
    CUDA=$1 "$script" >"$folder/said"
    grep -q -- "--no-deps --target $folder/data/ballast/cuda $2\$" "$ASKED" || { cat "$ASKED"; exit 1; }
    CUDA=$1 "$script" | grep -q "they are in $folder/data/ballast/cuda"
    [ "$(wc -l <"$ASKED")" = 1 ] || { echo "it fetched them twice"; exit 1; }
}
asks 13.0 "nvidia-cudnn-cu13 nvidia-cublas nvidia-cuda-nvrtc"
asks 12.8 "nvidia-cudnn-cu12 nvidia-cublas-cu12 nvidia-cuda-nvrtc-cu12"
rm "$folder/path/nvidia-smi"
asks - "nvidia-cudnn-cu13 nvidia-cublas nvidia-cuda-nvrtc"
# What was cut off is fetched again.
rm -rf "$folder/data" "$ASKED"
CUT_OFF=1 "$script" >"$folder/said"
"$script" | grep -q "cuda-libs: nvidia-cudnn-cu13"
[ "$(wc -l <"$ASKED")" = 2 ] || { echo "what was cut off is taken for whole"; exit 1; }
rm -rf "$folder/data"
if FAILS=1 "$script" >"$folder/said" 2>&1; then
    echo "it says that a download that failed was none"
    exit 1
fi
grep -q "pip could not get them" "$folder/said"
