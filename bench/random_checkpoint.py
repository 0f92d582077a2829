#!/usr/bin/env python3
"""Writes a checkpoint in the single-file layout of SD1.5 or SDXL base, all shapes as in the originals, with made-up weights:

    random_checkpoint.py sd15|sdxl OUT.safetensors [--hollow]

With --hollow no weight is written, for plans, which read none: the file has its size and takes no room.

F16; 2.1 and 6.9 GB. Speed and memory do not depend on what the numbers are, as long as activations stay finite: weights
are noise whose deviation is 0.7 / sqrt(fan-in), norms are one and zero. Needs nothing but Python."""
import json
import math
import os
import random
import struct
import sys

PIECE = 1 << 20  # elements of noise, repeated


class Shapes(dict):
    def linear(self, name, out, inputs, bias=True):
        self[name + ".weight"] = (out, inputs)
        if bias:
            self[name + ".bias"] = (out,)

    def conv(self, name, out, inputs, kernel=3):
        self[name + ".weight"] = (out, inputs, kernel, kernel)
        self[name + ".bias"] = (out,)

    def norm(self, name, channels):
        self[name + ".weight"] = (channels,)
        self[name + ".bias"] = (channels,)


def clip_l(t, p):
    t[p + "embeddings.token_embedding.weight"] = (49408, 768)
    t[p + "embeddings.position_embedding.weight"] = (77, 768)
    for i in range(12):
        q = f"{p}encoder.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            t.linear(q + "self_attn." + name, 768, 768)
        t.norm(q + "layer_norm1", 768)
        t.norm(q + "layer_norm2", 768)
        t.linear(q + "mlp.fc1", 3072, 768)
        t.linear(q + "mlp.fc2", 768, 3072)
    t.norm(p + "final_layer_norm", 768)


def open_clip_g(t, p):
    width = 1280
    t[p + "token_embedding.weight"] = (49408, width)
    t[p + "positional_embedding"] = (77, width)
    for i in range(32):
        q = f"{p}transformer.resblocks.{i}."
        t[q + "attn.in_proj_weight"] = (3 * width, width)
        t[q + "attn.in_proj_bias"] = (3 * width,)
        t.linear(q + "attn.out_proj", width, width)
        t.norm(q + "ln_1", width)
        t.norm(q + "ln_2", width)
        t.linear(q + "mlp.c_fc", 4 * width, width)
        t.linear(q + "mlp.c_proj", width, 4 * width)
    t.norm(p + "ln_final", width)
    t[p + "text_projection"] = (width, width)
    t[p + "logit_scale"] = ()


def vae_resnet(t, p, inputs, out):
    t.norm(p + "norm1", inputs)
    t.conv(p + "conv1", out, inputs)
    t.norm(p + "norm2", out)
    t.conv(p + "conv2", out, out)
    if inputs != out:
        t.conv(p + "nin_shortcut", out, inputs, 1)


def vae_middle(t, p, c):
    vae_resnet(t, p + "block_1.", c, c)
    t.norm(p + "attn_1.norm", c)
    for name in ("q", "k", "v", "proj_out"):
        t.conv(p + "attn_1." + name, c, c, 1)
    vae_resnet(t, p + "block_2.", c, c)


def vae(t, p):
    channels = [128, 256, 512, 512]
    c = channels[0]
    t.conv(p + "encoder.conv_in", c, 3)
    for level, width in enumerate(channels):
        for i in range(2):
            vae_resnet(t, f"{p}encoder.down.{level}.block.{i}.", c, width)
            c = width
        if level < 3:
            t.conv(f"{p}encoder.down.{level}.downsample.conv", c, c)
    vae_middle(t, p + "encoder.mid.", c)
    t.norm(p + "encoder.norm_out", c)
    t.conv(p + "encoder.conv_out", 8, c)
    t.conv(p + "quant_conv", 8, 8, 1)
    t.conv(p + "post_quant_conv", 4, 4, 1)
    t.conv(p + "decoder.conv_in", c, 4)
    vae_middle(t, p + "decoder.mid.", c)
    for level in (3, 2, 1, 0):
        for i in range(3):
            vae_resnet(t, f"{p}decoder.up.{level}.block.{i}.", c, channels[level])
            c = channels[level]
        if level:
            t.conv(f"{p}decoder.up.{level}.upsample.conv", c, c)
    t.norm(p + "decoder.norm_out", c)
    t.conv(p + "decoder.conv_out", 3, c)


class UNet:
    def __init__(self, t, prefix, channels, depths, middle, context, linear, extra):
        self.t, self.p, self.context, self.linear = t, prefix, context, linear
        self.time = 4 * channels[0]
        t.linear(prefix + "time_embed.0", self.time, channels[0])
        t.linear(prefix + "time_embed.2", self.time, self.time)
        if extra:
            t.linear(prefix + "label_emb.0.0", self.time, extra)
            t.linear(prefix + "label_emb.0.2", self.time, self.time)
        c = channels[0]
        t.conv(prefix + "input_blocks.0.0", c, 4)
        skips, n = [c], 1
        for level, width in enumerate(channels):
            for _ in range(2):
                self.resnet(f"input_blocks.{n}.0.", c, width)
                self.transformer(f"input_blocks.{n}.1.", width, depths[level])
                c = width
                skips.append(c)
                n += 1
            if level + 1 < len(channels):
                t.conv(f"{prefix}input_blocks.{n}.0.op", c, c)
                skips.append(c)
                n += 1
        self.resnet("middle_block.0.", c, c)
        self.transformer("middle_block.1.", c, middle)
        self.resnet("middle_block.2.", c, c)
        n = 0
        for level in reversed(range(len(channels))):
            for i in range(3):
                self.resnet(f"output_blocks.{n}.0.", c + skips.pop(), channels[level])
                c = channels[level]
                self.transformer(f"output_blocks.{n}.1.", c, depths[level])
                if level and i == 2:
                    t.conv(f"{prefix}output_blocks.{n}.{2 if depths[level] else 1}.conv", c, c)
                n += 1
        t.norm(prefix + "out.0", c)
        t.conv(prefix + "out.2", 4, c)

    def resnet(self, name, inputs, out):
        p = self.p + name
        self.t.norm(p + "in_layers.0", inputs)
        self.t.conv(p + "in_layers.2", out, inputs)
        self.t.linear(p + "emb_layers.1", out, self.time)
        self.t.norm(p + "out_layers.0", out)
        self.t.conv(p + "out_layers.3", out, out)
        if inputs != out:
            self.t.conv(p + "skip_connection", out, inputs, 1)

    def projection(self, name, c):
        if self.linear:
            self.t.linear(name, c, c)
        else:
            self.t.conv(name, c, c, 1)

    def transformer(self, name, c, depth):
        p = self.p + name
        if depth:
            self.t.norm(p + "norm", c)
            self.projection(p + "proj_in", c)
            self.projection(p + "proj_out", c)
        for i in range(depth):
            q = f"{p}transformer_blocks.{i}."
            for attention, width in (("attn1", c), ("attn2", self.context)):
                self.t.linear(q + attention + ".to_q", c, c, bias=False)
                self.t.linear(q + attention + ".to_k", c, width, bias=False)
                self.t.linear(q + attention + ".to_v", c, width, bias=False)
                self.t.linear(q + attention + ".to_out.0", c, c)
            self.t.linear(q + "ff.net.0.proj", 8 * c, c)
            self.t.linear(q + "ff.net.2", c, 4 * c)
            for norm in ("norm1", "norm2", "norm3"):
                self.t.norm(q + norm, c)


def shapes_of(kind):
    t = Shapes()
    if kind == "sd15":
        UNet(t, "model.diffusion_model.", [320, 640, 1280, 1280], [1, 1, 1, 0], 1, 768, False, 0)
        clip_l(t, "cond_stage_model.transformer.text_model.")
    elif kind == "sdxl":
        UNet(t, "model.diffusion_model.", [320, 640, 1280], [0, 2, 10], 10, 2048, True, 2816)
        clip_l(t, "conditioner.embedders.0.transformer.text_model.")
        open_clip_g(t, "conditioner.embedders.1.model.")
    else:
        raise SystemExit(f"no model {kind!r}; there are sd15 and sdxl")
    vae(t, "first_stage_model.")
    return t


def values(name, shape, noise, scaled):
    """Bytes of one tensor, in pieces."""
    count = math.prod(shape)
    if len(shape) < 2:
        yield struct.pack("<e", 1.0 if name.endswith("weight") else 0.0) * count
        return
    fan_in = math.prod(shape[1:])
    if fan_in not in scaled:
        scale = 0.7 / math.sqrt(fan_in)
        scaled[fan_in] = struct.pack(f"<{PIECE}e", *(x * scale for x in noise))
    for begin in range(0, count, PIECE):
        yield scaled[fan_in][:2 * min(PIECE, count - begin)]


def main():
    hollow = sys.argv[3:] == ["--hollow"]
    if len(sys.argv) != 3 + hollow:
        raise SystemExit(__doc__)
    kind, path = sys.argv[1:3]
    shapes = shapes_of(kind)
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    rng = random.Random(0)
    noise = [] if hollow else [rng.gauss(0, 1) for _ in range(PIECE)]
    scaled = {}
    with open(path + ".part", "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head)
        if hollow:
            f.truncate(8 + len(head) + offset)
        for name, shape in [] if hollow else shapes.items():
            for piece in values(name, shape, noise, scaled):
                f.write(piece)
    os.replace(path + ".part", path)


if __name__ == "__main__":
    main()
