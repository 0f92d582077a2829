#!/usr/bin/env python3
"""random_zimage.py FOLDER: Z-Image at its published size from random weights, as users of small machines have it.

transformer.gguf (Q8_0, the names of its authors; 6.5 GB), encoder.gguf (Qwen3-4B in Q8_0, llama.cpp's names; 4.3 GB) and
vae.safetensors (BF16). Speed, memory and placement do not care what the numbers are; a picture of them is noise. Needs
numpy."""
import os
import re
import struct
import sys
from pathlib import Path

import numpy

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import headers_only  # the shapes

F32, Q8_0, BF16 = 0, 8, 30
ALIGNMENT, BLOCK, BLOCK_BYTES = 32, 32, 34
PIECE = 1 << 20  # blocks made at once
LLAMA = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
AUTHORS = {"all_x_embedder.2-1": "x_embedder", "all_final_layer.2-1": "final_layer", "attention.to_out.0": "attention.out",
           "attention.norm_q": "attention.q_norm", "attention.norm_k": "attention.k_norm"}
random = numpy.random.default_rng(1)


def transformer():
    for name, shape in headers_only.zimage_transformer():
        for theirs, authors in AUTHORS.items():
            name = name.replace(theirs, authors)
        if ".to_q." in name:  # one matrix with keys and values
            name, shape = name.replace("to_q", "qkv"), [3 * shape[0], shape[1]]
        if ".to_k." not in name and ".to_v." not in name:
            yield name, shape


def encoder():
    for name, shape in headers_only.qwen3():
        name = re.sub(r"^model\.(layers\.(\d+)\.)?(.*)\.weight$",
                      lambda m: f"blk.{m[2]}.{LLAMA[m[3]]}.weight" if m[2] else
                      {"embed_tokens": "token_embd", "norm": "output_norm"}[m[3]] + ".weight", name)
        yield name, shape


def spread(shape):
    return 1 / shape[-1] ** 0.5


def plain(name, shape):
    values = random.standard_normal(shape, "f4")
    return values * spread(shape) if len(shape) > 1 else values * 0.02 + ("norm" in name)


def bf16(values):
    return (values.astype("f4").view("u4") >> 16).astype("u2")


def type_of(name, shape):
    if len(shape) < 2 or shape[0] == 1:
        return F32
    return BF16 if re.match(r"(x|t)_embedder|final_layer", name) else Q8_0


def size_of(kind, count):
    return count // BLOCK * BLOCK_BYTES if kind == Q8_0 else count * (4 if kind == F32 else 2)


def write_blocks(f, count, deviation):
    """Codes of all 256 values, whose deviation is 73.9."""
    scale = numpy.array([deviation / 73.9], "f2").view("u1")
    for at in range(0, count, PIECE):
        blocks = numpy.frombuffer(random.bytes(min(PIECE, count - at) * BLOCK_BYTES), "u1").reshape(-1, BLOCK_BYTES).copy()
        blocks[:, :2] = scale
        f.write(blocks.tobytes())


def write_gguf(path, architecture, tensors):
    text = lambda s: struct.pack("<Q", len(s)) + s.encode()
    head, at = b"", 0
    for name, shape in tensors:
        kind = type_of(name, shape)
        head += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += struct.pack("<IQ", kind, at)
        at += -(-size_of(kind, int(numpy.prod(shape))) // ALIGNMENT) * ALIGNMENT
    head = (b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1) + text("general.architecture") + struct.pack("<I", 8)
            + text(architecture) + head)
    with open(path, "wb") as f:
        f.write(head)
        for name, shape in tensors:
            f.write(b"\0" * (-f.tell() % ALIGNMENT))
            kind, count = type_of(name, shape), int(numpy.prod(shape))
            if kind == Q8_0:
                write_blocks(f, count // BLOCK, spread(shape))
            else:
                values = plain(name, shape)
                f.write((values if kind == F32 else bf16(values)).tobytes())
        f.write(b"\0" * (-f.tell() % ALIGNMENT))


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
    write_gguf(os.path.join(folder, "encoder.gguf"), "qwen3", list(encoder()))
    write_gguf(os.path.join(folder, "transformer.gguf"), "lumina2", list(transformer()))


if __name__ == "__main__":
    main(sys.argv[1])
