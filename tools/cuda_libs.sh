#!/bin/sh
# Puts the libraries that the cuda device opens (cuDNN, cuBLASLt, NVRTC: about 1 GB, NVIDIA's licence) from PyPI into
# the user's data folder, where Ballast looks for them: cuda_libs.sh. Those for CUDA 12 where the driver is for CUDA 12,
# else those for CUDA 13. Does nothing when they are there.
set -eu
folder="${XDG_DATA_HOME:-$HOME/.local/share}/ballast/cuda"

# A download that was cut off may have left some of them.
are_there() {
    for library in libcudnn.so.9 'libcublasLt.so.1*' 'libnvrtc.so.1*'; do
        [ -n "$(find "$folder/nvidia" -name "$library" 2>/dev/null | head -n 1)" ] || return 1
    done
}

if are_there; then
    echo "cuda-libs: they are in $folder"
    exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "cuda-libs: pip is missing: install python3-pip" >&2
    exit 1
fi
packages="nvidia-cudnn-cu13 nvidia-cublas nvidia-cuda-nvrtc"
if nvidia-smi 2>/dev/null | grep -q 'CUDA Version: 12'; then
    packages="nvidia-cudnn-cu12 nvidia-cublas-cu12 nvidia-cuda-nvrtc-cu12"
fi
echo "cuda-libs: $packages into $folder"
mkdir -p "$folder"
# shellcheck disable=SC2086
if ! python3 -m pip install -q --disable-pip-version-check --upgrade --no-deps --target "$folder" $packages; then
    echo "cuda-libs: pip could not get them (its lines above say why); they are not in $folder" >&2
    exit 1
fi
echo "cuda-libs: done; \`ballast devices\` tells whether a card can be used"
