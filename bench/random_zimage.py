#!/usr/bin/env python3
"""random_zimage.py FOLDER: Z-Image at its published size from random weights, as users of small machines have it.

transformer.gguf (Q8_0, the names of its authors; 6.5 GB), encoder.gguf (Qwen3-4B in Q8_0, llama.cpp's names; 4.3 GB) and
vae.safetensors (BF16). Speed, memory and placement do not care what the numbers are; a picture of them is noise. Needs
numpy."""
import os
import struct
import sys
from pathlib import Path

import numpy

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import headers_only  # the shapes

PIECE = 1 << 20  # blocks made at once
random = numpy.random.default_rng(1)


def spread(shape):
    return 1 / shape[-1] ** 0.5


def plain(name, shape):
    values = random.standard_normal(shape, "f4")
    return values * spread(shape) if len(shape) > 1 else values * 0.02 + ("norm" in name)


def bf16(values):
    return (values.astype("f4").view("u4") >> 16).astype("u2")


def write_blocks(f, count, deviation):
    """Codes of all 256 values, whose deviation is 73.9."""
    scale = numpy.array([deviation / 73.9], "f2").view("u1")
    for at in range(0, count, PIECE):
        blocks = numpy.frombuffer(random.bytes(min(PIECE, count - at) * headers_only.GGUF_BLOCK_BYTES), "u1").reshape(-1, headers_only.GGUF_BLOCK_BYTES).copy()
        blocks[:, :2] = scale
        f.write(blocks.tobytes())


def write_gguf(path, architecture, tensors):
    with open(path, "wb") as f:
        f.write(headers_only.gguf_head(architecture, tensors)[0])
        for name, shape in tensors:
            f.write(b"\0" * (-f.tell() % headers_only.GGUF_ALIGNMENT))
            kind = headers_only.gguf_type(name, shape)
            if kind == headers_only.GGUF_Q8_0:
                write_blocks(f, int(numpy.prod(shape)) // headers_only.GGUF_BLOCK, spread(shape))
            else:
                values = plain(name, shape)
                f.write((values if kind == headers_only.GGUF_F32 else bf16(values)).tobytes())
        f.write(b"\0" * (-f.tell() % headers_only.GGUF_ALIGNMENT))


def write_vae(path):
    tensors = [t for side in ("encoder", "decoder") for t in headers_only.vae_half(side, 16, [128, 256, 512, 512])]
    headers_only.write(path, tensors, "BF16")  # in the order in which they lie
    with open(path, "r+b") as f:
        f.seek(8 + struct.unpack("<Q", f.read(8))[0])
        for name, shape in tensors:
            deviation = numpy.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.02
            f.write(bf16(random.standard_normal(shape, "f4") * deviation + ("norm" in name and name.endswith("weight"))).tobytes())


def main(folder):
    os.makedirs(folder, exist_ok=True)
    write_vae(os.path.join(folder, "vae.safetensors"))
    write_gguf(os.path.join(folder, "encoder.gguf"), "qwen3", list(headers_only.qwen3_llama()))
    write_gguf(os.path.join(folder, "transformer.gguf"), "lumina2", list(headers_only.zimage_authors()))


if __name__ == "__main__":
    main(sys.argv[1])
