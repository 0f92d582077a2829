#!/usr/bin/env python3
"""headers_only.py FAMILY FOLDER: a diffusers folder of the published size whose weights are holes in their files.
FAMILY: z-image, z-image-q8_0 (three files), flux1-dev, flux1-schnell, flux2-klein-4b, flux2-klein-9b, flux2-dev (which
is planned and not run), sd3.5-medium, sd3.5-large.

For `ballast plan` and `ballast inspect`, which read headers alone: the files name every tensor with its shape and type
(BF16; the autoencoder F32) and take no room on the disk. A picture of it is noise. Only Python's own library is needed."""
import json
import math
import os
import re
import struct
import sys

SIZES = {"F32": 4, "BF16": 2}


def write(path, tensors, dtype):
    """tensors: [(name, shape)]"""
    header, at = {}, 0
    for name, shape in tensors:
        size = SIZES[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        f.truncate(8 + len(raw) + at)


def save(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(value, f)


def linear(name, rows, columns):
    return [(name + ".weight", [rows, columns]), (name + ".bias", [rows])]


def zimage_transformer(width=3840, hidden=10240, layers=30, refiners=2, head=128, caption=2560, time=256):
    out = [("cap_embedder.0.weight", [caption]), *linear("cap_embedder.1", width, caption),
           ("x_pad_token", [1, width]), ("cap_pad_token", [1, width]), *linear("all_x_embedder.2-1", width, 64),
           *linear("all_final_layer.2-1.linear", 64, width),
           *linear("all_final_layer.2-1.adaLN_modulation.1", width, time),
           *linear("t_embedder.mlp.0", 1024, 256), *linear("t_embedder.mlp.2", time, 1024)]
    for kind, count in (("noise_refiner", refiners), ("context_refiner", refiners), ("layers", layers)):
        for i in range(count):
            at = f"{kind}.{i}."
            out += [(f"{at}attention.{n}.weight", [width, width]) for n in ("to_q", "to_k", "to_v", "to_out.0")]
            out += [(f"{at}attention.{n}.weight", [head]) for n in ("norm_q", "norm_k")]
            out += [(f"{at}feed_forward.{n}.weight", [hidden, width]) for n in ("w1", "w3")]
            out += [(f"{at}feed_forward.w2.weight", [width, hidden])]
            out += [(f"{at}{n}.weight", [width]) for n in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2")]
            if kind != "context_refiner":
                out += linear(at + "adaLN_modulation.0", 4 * width, time)
    return out


def qwen3(width=2560, hidden=9728, layers=36, heads=32, kv_heads=8, head=128, vocab=151936):
    out = [("model.embed_tokens.weight", [vocab, width]), ("model.norm.weight", [width])]
    for i in range(layers):
        at = f"model.layers.{i}."
        out += [(f"{at}self_attn.q_proj.weight", [heads * head, width]),
                (f"{at}self_attn.k_proj.weight", [kv_heads * head, width]),
                (f"{at}self_attn.v_proj.weight", [kv_heads * head, width]),
                (f"{at}self_attn.o_proj.weight", [width, heads * head]),
                (f"{at}self_attn.q_norm.weight", [head]), (f"{at}self_attn.k_norm.weight", [head]),
                (f"{at}mlp.gate_proj.weight", [hidden, width]), (f"{at}mlp.up_proj.weight", [hidden, width]),
                (f"{at}mlp.down_proj.weight", [width, hidden]), (f"{at}input_layernorm.weight", [width]),
                (f"{at}post_attention_layernorm.weight", [width])]
    return out


def conv(name, rows, columns, side=3):
    return [(name + ".weight", [rows, columns, side, side]), (name + ".bias", [rows])]


def norm(name, channels):
    return [(name + ".weight", [channels]), (name + ".bias", [channels])]


def resnet(name, rows, columns):
    return [*norm(name + ".norm1", columns), *conv(name + ".conv1", rows, columns), *norm(name + ".norm2", rows),
            *conv(name + ".conv2", rows, rows), *(conv(name + ".conv_shortcut", rows, columns, 1) if rows != columns else [])]


def vae_half(side, latents, channels):
    top, decoder = channels[-1], side == "decoder"
    out = conv(f"{side}.conv_in", top if decoder else channels[0], latents if decoder else 3)
    for i in range(2):
        out += resnet(f"{side}.mid_block.resnets.{i}", top, top)
    out += norm(f"{side}.mid_block.attentions.0.group_norm", top)
    for n in ("to_q", "to_k", "to_v", "to_out.0"):
        out += linear(f"{side}.mid_block.attentions.0.{n}", top, top)
    order = channels[::-1] if decoder else channels
    before = order[0]
    for level, c in enumerate(order):
        blocks = f"{side}.{'up' if decoder else 'down'}_blocks.{level}"
        for i in range(3 if decoder else 2):
            out += resnet(f"{blocks}.resnets.{i}", c, before)
            before = c
        if level + 1 < len(order):
            out += conv(f"{blocks}.{'upsamplers' if decoder else 'downsamplers'}.0.conv", c, c)
    end = order[-1]
    return out + norm(f"{side}.conv_norm_out", end) + conv(f"{side}.conv_out", 3 if decoder else 2 * latents, end)


def flux1_transformer(guided, width=3072, doubles=19, singles=38, head=128, context=4096, pooled=768):
    times = [("timestep_embedder", 256), ("text_embedder", pooled)] + [("guidance_embedder", 256)] * guided
    out = [t for n, k in times for i in (1, 2)
           for t in linear(f"time_text_embed.{n}.linear_{i}", width, (k, width)[i - 1])]
    out += [*linear("x_embedder", width, 64), *linear("context_embedder", width, context),
            *linear("norm_out.linear", 2 * width, width), *linear("proj_out", 64, width)]
    for i in range(doubles):
        at = f"transformer_blocks.{i}."
        for n in ("norm1", "norm1_context"):
            out += linear(f"{at}{n}.linear", 6 * width, width)
        for n in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
            out += linear(f"{at}attn.{n}", width, width)
        out += [(f"{at}attn.{n}.weight", [head]) for n in ("norm_q", "norm_k", "norm_added_q", "norm_added_k")]
        for n in ("ff", "ff_context"):
            out += [*linear(f"{at}{n}.net.0.proj", 4 * width, width), *linear(f"{at}{n}.net.2", width, 4 * width)]
    for i in range(singles):
        at = f"single_transformer_blocks.{i}."
        out += [*linear(at + "norm.linear", 3 * width, width), *linear(at + "proj_mlp", 4 * width, width),
                *linear(at + "proj_out", width, 5 * width)]
        out += [t for n in ("to_q", "to_k", "to_v") for t in linear(f"{at}attn.{n}", width, width)]
        out += [(f"{at}attn.{n}.weight", [head]) for n in ("norm_q", "norm_k")]
    return out


def t5(width=4096, hidden=10240, layers=24, heads=64, head=64, vocab=32128):
    out = [("shared.weight", [vocab, width]), ("encoder.final_layer_norm.weight", [width]),
           ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", [32, heads])]
    for i in range(layers):
        at = f"encoder.block.{i}.layer."
        out += [(f"{at}0.SelfAttention.{n}.weight", [heads * head, width]) for n in "qkv"]
        out += [(f"{at}0.SelfAttention.o.weight", [width, heads * head]), (f"{at}0.layer_norm.weight", [width])]
        out += [(f"{at}1.DenseReluDense.{n}.weight", [hidden, width]) for n in ("wi_0", "wi_1")]
        out += [(f"{at}1.DenseReluDense.wo.weight", [width, hidden]), (f"{at}1.layer_norm.weight", [width])]
    return out


def clip(width=768, layers=12, vocab=49408, projects=False):
    out = [("text_projection.weight", [width, width])] * projects
    out += [("text_model.embeddings.token_embedding.weight", [vocab, width]),
           ("text_model.embeddings.position_embedding.weight", [77, width]), *norm("text_model.final_layer_norm", width)]
    for i in range(layers):
        at = f"text_model.encoder.layers.{i}."
        for n in ("q_proj", "k_proj", "v_proj", "out_proj"):
            out += linear(f"{at}self_attn.{n}", width, width)
        out += [*norm(at + "layer_norm1", width), *norm(at + "layer_norm2", width),
                *linear(at + "mlp.fc1", 4 * width, width), *linear(at + "mlp.fc2", width, 4 * width)]
    return out


def flux1(folder, guided):
    at = lambda *parts: os.path.join(folder, *parts)
    write(at("transformer", "diffusion_pytorch_model.safetensors"), flux1_transformer(guided), "BF16")
    write(at("text_encoder", "model.safetensors"), clip(), "BF16")
    write(at("text_encoder_2", "model.safetensors"), t5(), "BF16")
    write(at("vae", "diffusion_pytorch_model.safetensors"),
          [t for side in ("encoder", "decoder") for t in vae_half(side, 16, [128, 256, 512, 512])], "F32")
    save(at("model_index.json"), {"_class_name": "FluxPipeline"})
    shift = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15} if guided else {"shift": 1.0}
    save(at("scheduler", "scheduler_config.json"), {"_class_name": "FlowMatchEulerDiscreteScheduler", **shift})


def sd3_transformer(width, layers, duals, positions, head=64, context=4096, pooled=2048):
    out = [t for n, k in (("timestep_embedder", 256), ("text_embedder", pooled)) for i in (1, 2)
           for t in linear(f"time_text_embed.{n}.linear_{i}", width, (k, width)[i - 1])]
    out += [("pos_embed.pos_embed", [1, positions * positions, width]), *conv("pos_embed.proj", width, 16, 2),
            *linear("context_embedder", width, context), *linear("norm_out.linear", 2 * width, width),
            *linear("proj_out", 64, width)]
    for i in range(layers):
        at, last = f"transformer_blocks.{i}.", i == layers - 1
        attentions = [("attn", ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj"] +
                       ["to_add_out"] * (not last), ["norm_q", "norm_k", "norm_added_q", "norm_added_k"])]
        attentions += [("attn2", ["to_q", "to_k", "to_v", "to_out.0"], ["norm_q", "norm_k"])] * (i < duals)
        out += [*linear(at + "norm1.linear", (9 if i < duals else 6) * width, width),
                *linear(at + "norm1_context.linear", (2 if last else 6) * width, width)]
        for n, products, norms in attentions:
            out += [t for p in products for t in linear(f"{at}{n}.{p}", width, width)]
            out += [(f"{at}{n}.{p}.weight", [head]) for p in norms]
        for n in ["ff"] + ["ff_context"] * (not last):
            out += [*linear(f"{at}{n}.net.0.proj", 4 * width, width), *linear(f"{at}{n}.net.2", width, 4 * width)]
    return out


def sd3(folder, *sizes):
    at = lambda *parts: os.path.join(folder, *parts)
    write(at("transformer", "diffusion_pytorch_model.safetensors"), sd3_transformer(*sizes), "BF16")
    write(at("text_encoder", "model.safetensors"), clip(projects=True), "BF16")
    write(at("text_encoder_2", "model.safetensors"), clip(1280, 32, projects=True), "BF16")
    write(at("text_encoder_3", "model.safetensors"), t5(), "BF16")
    write(at("vae", "diffusion_pytorch_model.safetensors"),
          [t for side in ("encoder", "decoder") for t in vae_half(side, 16, [128, 256, 512, 512])], "F32")
    save(at("model_index.json"), {"_class_name": "StableDiffusion3Pipeline"})
    save(at("vae", "config.json"), {"scaling_factor": 1.5305, "shift_factor": 0.0609, "use_quant_conv": False,
                                    "use_post_quant_conv": False})
    save(at("scheduler", "scheduler_config.json"), {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})


def flux2_transformer(width, doubles, singles, context, guided=False, head=128):
    hidden, times = 3 * width, ["timestep_embedder"] + ["guidance_embedder"] * guided
    out = [(f"time_guidance_embed.{t}.linear_{i}.weight", [width, (256, width)[i - 1]]) for t in times for i in (1, 2)]
    out += [("double_stream_modulation_img.linear.weight", [6 * width, width]),
            ("double_stream_modulation_txt.linear.weight", [6 * width, width]),
            ("single_stream_modulation.linear.weight", [3 * width, width]), ("x_embedder.weight", [width, 128]),
            ("context_embedder.weight", [width, context]), ("norm_out.linear.weight", [2 * width, width]),
            ("proj_out.weight", [128, width])]
    for i in range(doubles):
        at = f"transformer_blocks.{i}."
        out += [(f"{at}attn.{n}.weight", [width, width])
                for n in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")]
        out += [(f"{at}attn.{n}.weight", [head]) for n in ("norm_q", "norm_k", "norm_added_q", "norm_added_k")]
        for n in ("ff", "ff_context"):
            out += [(f"{at}{n}.linear_in.weight", [2 * hidden, width]), (f"{at}{n}.linear_out.weight", [width, hidden])]
    for i in range(singles):
        at = f"single_transformer_blocks.{i}.attn."
        out += [(at + "to_qkv_mlp_proj.weight", [3 * width + 2 * hidden, width]), (at + "norm_q.weight", [head]),
                (at + "norm_k.weight", [head]), (at + "to_out.weight", [width, width + hidden])]
    return out


def flux2(folder, transformer, encoder, pipeline):
    at = lambda *parts: os.path.join(folder, *parts)
    write(at("transformer", "diffusion_pytorch_model.safetensors"), transformer, "BF16")
    write(at("text_encoder", "model.safetensors"), encoder, "BF16")
    convs = [*conv("quant_conv", 64, 64, 1), *conv("post_quant_conv", 32, 32, 1)]
    write(at("vae", "diffusion_pytorch_model.safetensors"),
          [t for side in ("encoder", "decoder") for t in vae_half(side, 32, [128, 256, 512, 512])] + convs +
          [("bn.running_mean", [128]), ("bn.running_var", [128])], "F32")
    save(at("model_index.json"), {"_class_name": pipeline})
    save(at("scheduler", "scheduler_config.json"), {"_class_name": "FlowMatchEulerDiscreteScheduler"})


def klein_4b(folder):
    flux2(folder, flux2_transformer(3072, 5, 20, 3 * 2560), qwen3(), "Flux2KleinPipeline")


def klein_9b(folder):
    flux2(folder, flux2_transformer(4096, 8, 24, 3 * 4096), qwen3(width=4096, hidden=12288), "Flux2KleinPipeline")


def dev(folder):
    mistral = [("language_model." + n, s) for n, s in qwen3(5120, 32768, 40, vocab=131072)
               if not n.endswith(("q_norm.weight", "k_norm.weight"))]
    flux2(folder, flux2_transformer(6144, 8, 48, 3 * 5120, guided=True), mistral, "Flux2Pipeline")


def zimage(folder):
    at = lambda *parts: os.path.join(folder, *parts)
    write(at("transformer", "diffusion_pytorch_model.safetensors"), zimage_transformer(), "BF16")
    write(at("text_encoder", "model.safetensors"), qwen3(), "BF16")
    write(at("vae", "diffusion_pytorch_model.safetensors"),
          [t for side in ("encoder", "decoder") for t in vae_half(side, 16, [128, 256, 512, 512])], "F32")
    save(at("model_index.json"), {"_class_name": "ZImagePipeline"})
    save(at("vae", "config.json"), {"scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False,
                                    "use_post_quant_conv": False})
    save(at("scheduler", "scheduler_config.json"), {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})


# GGUF: the types that files of eight bits have, and names of Z-Image's authors and of llama.cpp.
GGUF_F32, GGUF_Q8_0, GGUF_BF16 = 0, 8, 30
GGUF_ALIGNMENT, GGUF_BLOCK, GGUF_BLOCK_BYTES = 32, 32, 34
LLAMA = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
AUTHORS = {"all_x_embedder.2-1": "x_embedder", "all_final_layer.2-1": "final_layer", "attention.to_out.0": "attention.out",
           "attention.norm_q": "attention.q_norm", "attention.norm_k": "attention.k_norm"}


def zimage_authors():
    for name, shape in zimage_transformer():
        for theirs, authors in AUTHORS.items():
            name = name.replace(theirs, authors)
        if ".to_q." in name:  # one matrix with keys and values
            name, shape = name.replace("to_q", "qkv"), [3 * shape[0], shape[1]]
        if ".to_k." not in name and ".to_v." not in name:
            yield name, shape


def qwen3_llama():
    for name, shape in qwen3():
        name = re.sub(r"^model\.(layers\.(\d+)\.)?(.*)\.weight$",
                      lambda m: f"blk.{m[2]}.{LLAMA[m[3]]}.weight" if m[2] else
                      {"embed_tokens": "token_embd", "norm": "output_norm"}[m[3]] + ".weight", name)
        yield name, shape


def gguf_type(name, shape):
    if len(shape) < 2 or shape[0] == 1:
        return GGUF_F32
    return GGUF_BF16 if re.match(r"(x|t)_embedder|final_layer", name) else GGUF_Q8_0


def gguf_size(kind, count):
    if kind == GGUF_Q8_0:
        return count // GGUF_BLOCK * GGUF_BLOCK_BYTES
    return count * (4 if kind == GGUF_F32 else 2)


def gguf_head(architecture, tensors):
    """The head, and the bytes of what follows it from the next multiple of the alignment on."""
    text = lambda s: struct.pack("<Q", len(s)) + s.encode()
    head, at = b"", 0
    for name, shape in tensors:
        kind = gguf_type(name, shape)
        head += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += struct.pack("<IQ", kind, at)
        at += -(-gguf_size(kind, math.prod(shape)) // GGUF_ALIGNMENT) * GGUF_ALIGNMENT
    return (b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1) + text("general.architecture") + struct.pack("<I", 8)
            + text(architecture) + head), at


def zimage_q8_0(folder):
    """transformer.gguf, encoder.gguf and vae.safetensors, as users of small machines have them."""
    at = lambda *parts: os.path.join(folder, *parts)
    os.makedirs(folder, exist_ok=True)
    for name, architecture, tensors in (("encoder.gguf", "qwen3", qwen3_llama()),
                                        ("transformer.gguf", "lumina2", zimage_authors())):
        head, size = gguf_head(architecture, list(tensors))
        with open(at(name), "wb") as f:
            f.write(head)
            f.truncate(len(head) + -len(head) % GGUF_ALIGNMENT + size)
    write(at("vae.safetensors"), [t for side in ("encoder", "decoder")
                                  for t in vae_half(side, 16, [128, 256, 512, 512])], "BF16")


FAMILIES = {"z-image": zimage, "z-image-q8_0": zimage_q8_0,
            "flux1-dev": lambda folder: flux1(folder, True),
            "flux1-schnell": lambda folder: flux1(folder, False), "flux2-klein-4b": klein_4b, "flux2-klein-9b": klein_9b,
            "flux2-dev": dev, "sd3.5-medium": lambda folder: sd3(folder, 1536, 24, 13, 384),
            "sd3.5-large": lambda folder: sd3(folder, 2432, 38, 0, 192)}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in FAMILIES:
        sys.exit(f"usage: headers_only.py {'|'.join(FAMILIES)} FOLDER")
    FAMILIES[sys.argv[1]](sys.argv[2])
