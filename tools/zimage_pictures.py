#!/usr/bin/env python3
"""zimage_pictures.py DATA: a text encoder for the tiny Z-Image of DATA/zimage (tests/data), and pictures from prompts.

Needs numpy, torch, diffusers 0.42.1 and transformers. The encoder has Qwen's whole vocabulary and the width that the
transformer reads; its weights follow from a hash like all others (tests/support/synth.h). Tokens are given: what makes
them of a prompt is tested elsewhere. Writes diffusers/text_encoder/config.json, golden/pictures.safetensors, and what
belongs to them into weights.json and golden/tolerances.json. The same input gives the same bytes."""
import json
import os
import sys

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from safetensors.torch import save_file
from transformers import Qwen3Config, Qwen3Model

LANE_STD = 37837.2277
CONFIG = dict(vocab_size=151936, hidden_size=16, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
              num_key_value_heads=1, head_dim=16, hidden_act="silu", rms_norm_eps=1e-6, rope_theta=1000000.0,
              attention_bias=False, max_position_embeddings=4096, tie_word_embeddings=True)
FRAME = ([151644, 872, 198], [151645, 198, 151644, 77091, 198])
CAT = FRAME[0] + [64, 6548, 315, 264, 8251] + FRAME[1]          # "a photo of a cat"
LONG = FRAME[0] + [64] + [264] * 29 + FRAME[1]                  # "a" and " a" 29 times: 38 tokens
EMPTY = FRAME[0] + FRAME[1]                                      # ""


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for b in text.encode():
        h = ((h ^ b) * 0x100000001B3) & (1 << 64) - 1
    return h


def make(weights, component, entry):
    name, shape, scale, offset = entry[:4]
    count = int(np.prod(shape, dtype=np.int64))
    key = fnv1a64(f"{weights['seed']}:{weights['family']}:{component}:{name}")
    with np.errstate(over="ignore"):
        s = np.uint64(key) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        s = (s ^ (s >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        s = (s ^ (s >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        s = s ^ (s >> np.uint64(31))
    m = np.uint64(0xFFFF)
    n = (s & m) + ((s >> np.uint64(16)) & m) + ((s >> np.uint64(32)) & m) + (s >> np.uint64(48))
    w = (n.astype(np.int64) - 131070 + offset).astype(np.float32) * np.float32(scale)
    for index, value in entry[4] if len(entry) > 4 else []:
        w[index] = value
    return torch.from_numpy(w.reshape(shape))


def encoder_entries(config):
    width, hidden, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head

    def entry(name, shape, std, mean=0.0):
        scale = float(np.float32(std / LANE_STD))
        return [name, shape, scale, int(round(mean / scale))]

    out = [entry("model.embed_tokens.weight", [config["vocab_size"], width], 1.0)]
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        out += [entry(at + "self_attn.q_proj.weight", [queries, width], 0.25),
                entry(at + "self_attn.k_proj.weight", [keys, width], 0.25),
                entry(at + "self_attn.v_proj.weight", [keys, width], 0.25),
                entry(at + "self_attn.o_proj.weight", [width, queries], 0.18),
                entry(at + "self_attn.q_norm.weight", [head], 0.15, 1.5),
                entry(at + "self_attn.k_norm.weight", [head], 0.15, 1.5),
                entry(at + "mlp.gate_proj.weight", [hidden, width], 0.25),
                entry(at + "mlp.up_proj.weight", [hidden, width], 0.25),
                entry(at + "mlp.down_proj.weight", [width, hidden], 0.15),
                entry(at + "input_layernorm.weight", [width], 0.15, 1.0),
                entry(at + "post_attention_layernorm.weight", [width], 0.15, 1.0)]
    return out + [entry("model.norm.weight", [width], 0.15, 1.0)]


def load_json(path):
    with open(path) as f:
        return json.load(f)


def save_json(path, value, line):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    text = json.dumps(value, separators=(",", ":")).replace(line, line[0] + "\n" + line[1:])
    with open(path, "w") as f:
        f.write(text + "\n")


def modules(family, weights, dtype):
    state = {c: {e[0]: make(weights, c, e) for e in es} for c, es in weights["components"].items()}
    config = {c: {k: v for k, v in load_json(f"{family}/diffusers/{c}/config.json").items() if k[0] != "_"}
              for c in ("transformer", "vae")}
    encoder = Qwen3Model(Qwen3Config(**CONFIG))
    encoder.load_state_dict({k.removeprefix("model."): v for k, v in state["text_encoder"].items()})
    transformer = ZImageTransformer2DModel(**config["transformer"])
    transformer.load_state_dict(state["transformer"])
    vae = AutoencoderKL(**config["vae"])
    vae.load_state_dict(state["vae"])
    return [m.eval().to(dtype) for m in (encoder, transformer, vae)]


def picture(family, loaded, dtype, noise, prompt, negative, guidance, steps):
    encoder, transformer, vae = loaded

    def encode(ids):
        return encoder(torch.tensor([ids]), output_hidden_states=True).hidden_states[-2][0]

    scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        load_json(f"{family}/diffusers/scheduler/scheduler_config.json"))
    pipe = ZImagePipeline(scheduler, vae, None, None, transformer)
    pipe.set_progress_bar_config(disable=True)
    common = dict(prompt_embeds=[encode(prompt)], negative_prompt_embeds=[encode(negative)], guidance_scale=guidance,
                  height=noise.shape[2] * 8, width=noise.shape[3] * 8, num_inference_steps=steps)
    latents = pipe(latents=noise.to(torch.float32), output_type="latent", **common).images
    image = pipe(latents=noise.to(torch.float32), output_type="pt", **common).images * 2 - 1
    return {"prompt": encode(prompt), "latents": latents, "image": image}


def main(data):
    family = os.path.join(data, "zimage")
    weights = load_json(f"{family}/weights.json")
    weights["components"]["text_encoder"] = encoder_entries(CONFIG)
    weights["files"]["text_encoder"] = "text_encoder/model.safetensors"
    save_json(f"{family}/weights.json", weights, ",[\"")
    config = dict(CONFIG, architectures=["Qwen3ForCausalLM"], model_type="qwen3", torch_dtype="float32")
    save_json(f"{family}/diffusers/text_encoder/config.json", config, ",\"")
    cases = {"cat": (CAT, EMPTY, 0.0, 4, (8, 8)), "guided": (CAT, LONG, 2.5, 3, (8, 12))}
    out, tolerances = {}, {}
    with torch.no_grad():
        loaded = {t: modules(family, weights, t) for t in (torch.float32, torch.float64)}
        for name, (prompt, negative, guidance, steps, size) in cases.items():
            noise = make(weights, "noise", [name, [1, 16, *size], 1 / LANE_STD, 0])
            out[f"{name}.noise"] = noise
            got = {t: picture(family, m, t, noise, prompt, negative, guidance, steps) for t, m in loaded.items()}
            for key, value in got[torch.float32].items():
                exact = got[torch.float64][key].double()
                peak, apart = float(exact.abs().max()), float((value.double() - exact).abs().max())
                out[f"{name}.{key}"] = value.contiguous()
                tolerances[f"{name}.{key}"] = {"peak": peak, "tol_abs": max(16 * apart, 2e-6 * peak)}
    save_file(out, f"{family}/golden/pictures.safetensors")
    all_tolerances = load_json(f"{family}/golden/tolerances.json")
    all_tolerances["pictures.safetensors"] = tolerances
    save_json(f"{family}/golden/tolerances.json", all_tolerances, ",\"")


if __name__ == "__main__":
    main(sys.argv[1])
