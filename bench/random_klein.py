#!/usr/bin/env python3
"""random_klein.py FOLDER: FLUX.2 klein 4B at its published size from random weights, as a folder of diffusers.

BF16 (the VAE F32), 16 GB, the text encoder in two files and the tokenizer as tokenizer.json, so that other programs read
it too. Speed and memory do not care what the numbers are, as long as they stay finite: weights are noise whose deviation
is 1 / sqrt(fan-in), norms are one. A picture of them is noise. Needs numpy."""
import base64
import gzip
import json
import os
import struct
import sys
from pathlib import Path

import numpy

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tools"))
import headers_only  # the shapes

PIECE = 16777213  # values of noise, repeated; a prime, so that no rows repeat
WIDTH, LAYERS = 2560, 36
SPECIAL = {151643: "<|endoftext|>", 151644: "<|im_start|>", 151645: "<|im_end|>", 151667: "<think>", 151668: "</think>"}
CONFIGS = {
    "model_index.json": {"_class_name": "Flux2KleinPipeline", "is_distilled": True},
    "scheduler/scheduler_config.json": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0,
                                        "use_dynamic_shifting": True},
    "transformer/config.json": {
        "_class_name": "Flux2Transformer2DModel", "patch_size": 1, "in_channels": 128, "num_layers": 5, "num_single_layers": 20,
        "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 3 * WIDTH, "mlp_ratio": 3.0,
        "axes_dims_rope": [32, 32, 32, 32], "rope_theta": 2000, "eps": 1e-6, "guidance_embeds": False},
    "text_encoder/config.json": {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": WIDTH, "intermediate_size": 9728,
        "num_hidden_layers": LAYERS, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "hidden_act": "silu", "tie_word_embeddings": True,
        "attention_bias": False, "max_position_embeddings": 40960, "torch_dtype": "bfloat16"},
    "vae/config.json": {
        "_class_name": "AutoencoderKLFlux2", "latent_channels": 32, "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2, "norm_num_groups": 32, "patch_size": [2, 2], "batch_norm_eps": 1e-4, "use_quant_conv": True,
        "use_post_quant_conv": True},
    "tokenizer/tokenizer_config.json": {"tokenizer_class": "Qwen2Tokenizer"},
}


class Noise:
    def __init__(self):
        self.values = numpy.random.default_rng(1).standard_normal(PIECE, "f4")
        self.at, self.scaled = 0, {}

    def write(self, f, count, deviation, dtype):
        if (deviation, dtype) not in self.scaled:
            values = self.values * numpy.float32(deviation)
            self.scaled[deviation, dtype] = values if dtype == "F32" else (values.view("u4") >> 16).astype("u2")
        values = self.scaled[deviation, dtype]
        while count:
            piece = values[self.at:self.at + count]
            f.write(piece.tobytes())
            self.at = (self.at + len(piece)) % PIECE
            count -= len(piece)


def one(name):
    return name.endswith("running_var") or "norm" in name.split(".")[-2] and name.endswith("weight")


def fill(path, tensors, dtype, noise):
    headers_only.write(path, tensors, dtype)  # in the order in which they lie
    with open(path, "r+b") as f:
        f.seek(8 + struct.unpack("<Q", f.read(8))[0])
        for name, shape in tensors:
            count = int(numpy.prod(shape))
            if len(shape) > 1:
                noise.write(f, count, float(numpy.prod(shape[1:])) ** -0.5, dtype)
            else:
                value = numpy.full(count, one(name), "f4")
                f.write((value if dtype == "F32" else (value.view("u4") >> 16).astype("u2")).tobytes())


def text_encoder(folder, noise):
    tensors, place = headers_only.qwen3(), {}
    cut = next(i for i, (name, _) in enumerate(tensors) if name.startswith(f"model.layers.{LAYERS // 2}."))
    for i, part in enumerate((tensors[:cut], tensors[cut:]), 1):
        file = f"model-0000{i}-of-00002.safetensors"
        fill(os.path.join(folder, file), part, "BF16", noise)
        place.update((name, file) for name, _ in part)
    headers_only.save(os.path.join(folder, "model.safetensors.index.json"), {"metadata": {}, "weight_map": place})


def autoencoder():
    # bn.running_mean stays zero: it is no matrix
    return ([t for side in ("encoder", "decoder") for t in headers_only.vae_half(side, 32, [128, 256, 512, 512])] +
            headers_only.conv("quant_conv", 64, 64, 1) + headers_only.conv("post_quant_conv", 32, 32, 1) +
            [("bn.running_mean", [128]), ("bn.running_var", [128])])


def letters():
    """Bytes as byte-level BPE writes them: printable ones as they are, others from U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def halves(ranks, token, rank):
    """The two that merging makes `token` of: what merges of lower rank leave of its bytes."""
    parts = [token[i:i + 1] for i in range(len(token))]
    while len(parts) > 2:
        best, at = min((ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1))
        if best == rank:
            break
        parts[at:at + 2] = [parts[at] + parts[at + 1]]
    return parts


def tokenizer(path):
    with gzip.open(HERE.parent / "src" / "text" / "qwen.tiktoken.gz") as f:
        ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in f)}
    letter = letters()
    text = lambda token: "".join(letter[b] for b in token)
    merges = [[text(t) for t in halves(ranks, token, rank)] for token, rank in ranks.items() if len(token) > 1]
    added = [{"id": i, "content": t, "special": "|" in t} for i, t in SPECIAL.items()]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"model": {"type": "BPE", "vocab": {text(t): r for t, r in ranks.items()}, "merges": merges},
                   "added_tokens": added}, f, ensure_ascii=False)


def main(folder):
    at, noise = lambda *parts: os.path.join(folder, *parts), Noise()
    for path, value in CONFIGS.items():
        headers_only.save(at(path), value)
    tokenizer(at("tokenizer", "tokenizer.json"))
    fill(at("vae", "diffusion_pytorch_model.safetensors"), autoencoder(), "F32", noise)
    text_encoder(at("text_encoder"), noise)
    fill(at("transformer", "diffusion_pytorch_model.safetensors"), headers_only.flux2_transformer(3072, 5, 20, 3 * WIDTH),
         "BF16", noise)


if __name__ == "__main__":
    main(sys.argv[1])
