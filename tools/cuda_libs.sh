#!/bin/sh
# Puts the libraries that the cuda device opens (cuDNN, cuBLASLt, NVRTC: about 1 GB, NVIDIA's licence) from PyPI into
# the user's data folder, where Ballast looks for them: cuda_libs.sh. Does nothing when they are there.
set -eu
folder="${XDG_DATA_HOME:-$HOME/.local/share}/ballast/cuda"
if [ -e "$folder/nvidia/cudnn/lib/libcudnn.so.9" ]; then
    echo "cuda-libs: they are in $folder"
    exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "cuda-libs: pip is missing: install python3-pip" >&2
    exit 1
fi
echo "cuda-libs: nvidia-cudnn-cu13, nvidia-cublas and nvidia-cuda-nvrtc into $folder"
mkdir -p "$folder"
python3 -m pip install -q --disable-pip-version-check --upgrade --no-deps --target "$folder" \
    nvidia-cudnn-cu13 nvidia-cublas nvidia-cuda-nvrtc
echo "cuda-libs: done; \`ballast devices\` tells whether a card can be used"
