#!/usr/bin/env python3
"""flux1_goldens.py DATA: references for Flux.1 at tiny sizes, written into DATA/flux1/dev and DATA/flux1/schnell.

Needs numpy, torch, diffusers 0.42.1 and transformers. Weights follow from a hash, as tests/support/synth.h says; the
autoencoder is that of DATA/zimage. Outputs are those of transformers' T5EncoderModel and CLIPTextModel, and of diffusers'
FluxTransformer2DModel. The same input gives the same bytes."""
import contextlib
import math
import os
import sys

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from diffusers.models import embeddings
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel

from zimage_pictures import LANE_STD, load_json, make, save_json

WIDTH, CONTEXT, POOLED, HEADS, HEAD = 32, 48, 32, 2, 16
T5 = dict(vocab_size=1000, d_model=CONTEXT, d_kv=16, d_ff=96, num_layers=2, num_heads=4, relative_attention_num_buckets=32,
          relative_attention_max_distance=128, dropout_rate=0.0, layer_norm_epsilon=1e-6, feed_forward_proj="gated-gelu",
          is_encoder_decoder=True, tie_word_embeddings=False, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
CLIP = dict(vocab_size=49408, hidden_size=POOLED, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=77, hidden_act="quick_gelu", layer_norm_eps=1e-5, projection_dim=POOLED, bos_token_id=49406,
            eos_token_id=49407, pad_token_id=1)
SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "base_image_seq_len": 256,
             "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
SHIFTS = {"dev": {"shift": 3.0, "use_dynamic_shifting": True}, "schnell": {"shift": 1.0, "use_dynamic_shifting": False}}
INDEX = {"_class_name": "FluxPipeline", "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
         "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "T5EncoderModel"],
         "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "T5TokenizerFast"],
         "transformer": ["diffusers", "FluxTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"]}
VARIANTS = {"dev": dict(num_layers=2, num_single_layers=2, guidance_embeds=True),
            "schnell": dict(num_layers=1, num_single_layers=2, guidance_embeds=False)}


def transformer_config(variant):
    return dict(patch_size=1, in_channels=64, out_channels=None, attention_head_dim=HEAD, num_attention_heads=HEADS,
                joint_attention_dim=CONTEXT, pooled_projection_dim=POOLED, axes_dims_rope=[4, 4, 8], **VARIANTS[variant])


def entry(name, shape, std, mean=0.0):
    scale = float(np.float32(std / LANE_STD))
    return [name, shape, scale, int(round(mean / scale))]


def t5_entries(config):
    c, inner, hidden = config["d_model"], config["num_heads"] * config["d_kv"], config["d_ff"]
    out = [entry("shared.weight", [config["vocab_size"], c], 1.0)]
    for i in range(config["num_layers"]):
        at = f"encoder.block.{i}.layer."
        out += [entry(f"{at}0.SelfAttention.{n}.weight", [inner, c], std) for n, std in (("q", 0.06), ("k", 0.15), ("v", 0.15))]
        out += [entry(f"{at}0.SelfAttention.o.weight", [c, inner], 0.12)]
        if i == 0:
            out += [entry(f"{at}0.SelfAttention.relative_attention_bias.weight", [32, config["num_heads"]], 1.5)]
        out += [entry(f"{at}0.layer_norm.weight", [c], 0.15, 1.0),
                entry(f"{at}1.DenseReluDense.wi_0.weight", [hidden, c], 0.15),
                entry(f"{at}1.DenseReluDense.wi_1.weight", [hidden, c], 0.15),
                entry(f"{at}1.DenseReluDense.wo.weight", [c, hidden], 0.1),
                entry(f"{at}1.layer_norm.weight", [c], 0.15, 1.0)]
    return out + [entry("encoder.final_layer_norm.weight", [c], 0.15, 1.0)]


def clip_entries():
    c, hidden = CLIP["hidden_size"], CLIP["intermediate_size"]
    norm = lambda name: [entry(name + ".weight", [c], 0.15, 1.0), entry(name + ".bias", [c], 0.1)]
    linear = lambda name, rows, columns: [entry(name + ".weight", [rows, columns], columns ** -0.5), entry(name + ".bias", [rows], 0.1)]
    out = [entry("text_model.embeddings.token_embedding.weight", [CLIP["vocab_size"], c], 1.0),
           entry("text_model.embeddings.position_embedding.weight", [77, c], 0.5), *norm("text_model.final_layer_norm")]
    for i in range(CLIP["num_hidden_layers"]):
        at = f"text_model.encoder.layers.{i}."
        out += [t for n in ("q_proj", "k_proj", "v_proj", "out_proj") for t in linear(f"{at}self_attn.{n}", c, c)]
        out += [*norm(at + "layer_norm1"), *norm(at + "layer_norm2"), *linear(at + "mlp.fc1", hidden, c), *linear(at + "mlp.fc2", c, hidden)]
    return out


def transformer_entries(variant):
    """Shapes from the class itself; every tensor's spread by what it is."""
    out = []
    with torch.device("meta"):
        state = FluxTransformer2DModel(**transformer_config(variant)).state_dict()
    for name, value in state.items():
        shape = list(value.shape)
        if len(shape) == 1:
            norm = name.endswith(("q.weight", "k.weight"))
            out.append(entry(name, shape, 0.15 if norm else 0.1, 1.2 if norm else 0.0))
        else:
            wide = "norm" in name or "time_text_embed" in name
            out.append(entry(name, shape, (0.9 if wide else 0.8) / shape[1] ** 0.5))
    return out


def loaded(cls, config, weights, component, dtype):
    state = {e[0]: make(weights, component, e) for e in weights["components"][component]}
    model = cls(config) if cls is T5EncoderModel else cls(**config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(m == "encoder.embed_tokens.weight" for m in missing), (missing, unexpected)
    return model.eval().to(dtype)


@contextlib.contextmanager
def exactly():
    """Within: what is in float64 stays there, where the sources cast to float32 (norms, rotary embedding, sinusoids)."""
    tensor, sinusoids = torch.Tensor, embeddings.get_timestep_embedding
    to, narrow = tensor.to, tensor.float

    def stays(x, *args, **kwargs):
        wanted = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.dtype)]
        return x if x.dtype == torch.float64 and wanted == [torch.float32] else to(x, *args, **kwargs)

    def exact(timesteps, dim, **kwargs):
        rates = torch.exp(-math.log(10000) * torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
        angles = timesteps.double()[:, None] * rates
        return torch.cat([torch.cos(angles), torch.sin(angles)], -1)
    tensor.to, tensor.float, embeddings.get_timestep_embedding = stays, lambda x: stays(x, torch.float32), exact
    try:
        yield
    finally:
        tensor.to, tensor.float, embeddings.get_timestep_embedding = to, narrow, sinusoids


def with_taps(model, run, taps):
    """Outputs of run(), and of the modules named: a tuple's parts by their numbers."""
    kept, hooks = {}, []
    for name in taps:
        def keep(_, __, out, name=name):
            for i, part in enumerate(out) if isinstance(out, tuple) else ((None, out),):
                if torch.is_tensor(part):
                    kept[name if i is None else f"{name}.{i}"] = part.detach()
        hooks.append(model.get_submodule(name).register_forward_hook(keep))
    out = run()
    for h in hooks:
        h.remove()
    return out, kept


def t5_cases(weights):
    ids = {"short": [17, 3, 250, 999, 42, 8, 8, 1], "long": [(i * 37 + 11) % 998 + 2 for i in range(159)] + [1]}
    def run(dtype):
        model = loaded(T5EncoderModel, T5Config(**T5), weights, "text_encoder_2", dtype)
        got = {}
        for name, tokens in ids.items():
            taps = ["encoder.block.0"] if name == "short" else []
            out, kept = with_taps(model, lambda: model(torch.tensor([tokens])).last_hidden_state, taps)
            got[f"{name}.context"] = out
            got.update({f"{name}.at.{k.removesuffix('.0') if k.count('.') > 2 else k}": v for k, v in kept.items()
                        if v.shape == out.shape})
        return got
    return {f"{n}.ids": torch.tensor(v, dtype=torch.int32) for n, v in ids.items()}, run


def ids_of(height, width, tokens):
    grid = torch.zeros(height, width, 3)
    grid[..., 1] += torch.arange(height)[:, None]
    grid[..., 2] += torch.arange(width)[None, :]
    return grid.reshape(-1, 3), torch.zeros(tokens, 3)


def transformer_cases(weights, variant):
    cases = {"a": (6, 4, 13, 0.5, 4.0), "b": (7, 5, 40, 0.03125, 0.0625)}      # the sides in tokens, tokens of the text; numbers that bf16 holds
    given = {}
    for name, (h, w, tokens, t, guidance) in cases.items():
        given[f"{name}.hidden_states"] = make(weights, "inputs", [f"{name}.x", [1, h * w, 64], 1 / LANE_STD, 0])
        given[f"{name}.encoder_hidden_states"] = make(weights, "inputs", [f"{name}.c", [1, tokens, CONTEXT], 1 / LANE_STD, 0])
        given[f"{name}.pooled"] = make(weights, "inputs", [f"{name}.p", [1, POOLED], 1 / LANE_STD, 0])
        given[f"{name}.timestep"] = torch.tensor([t])
        given[f"{name}.guidance"] = torch.tensor([guidance])

    def run(dtype):
        model = loaded(FluxTransformer2DModel, transformer_config(variant), weights, "transformer", dtype)
        got = {}
        for name, (h, w, tokens, _, _) in cases.items():
            image, text = ids_of(h, w, tokens)
            value = {k: given[f"{name}.{k}"].to(dtype) for k in ("hidden_states", "encoder_hidden_states", "pooled", "timestep",
                                                                  "guidance")}
            taps = ["time_text_embed", "transformer_blocks.0", "single_transformer_blocks.0"] if name == "a" else []
            out, kept = with_taps(model, lambda: model(
                hidden_states=value["hidden_states"], encoder_hidden_states=value["encoder_hidden_states"],
                pooled_projections=value["pooled"], timestep=value["timestep"],
                guidance=value["guidance"] if VARIANTS[variant]["guidance_embeds"] else None,
                img_ids=image, txt_ids=text).sample, taps)
            got[f"{name}.output"] = out
            if "single_transformer_blocks.0.0" in kept:                    # text, then picture
                both = [kept.pop("single_transformer_blocks.0.0"), kept.pop("single_transformer_blocks.0.1")]
                kept["single_transformer_blocks.0"] = torch.cat(both, 1)
            got.update({f"{name}.at.{k}": v for k, v in kept.items()})
        return got
    return given, run


def write(folder, name, given, run, tolerances):
    """f32 outputs, what f64 says of them, and what bf16 errs."""
    got = {t: run(t) for t in (torch.float32, torch.bfloat16)}
    with exactly():
        got[torch.float64] = run(torch.float64)
    table = tolerances.setdefault(name, {})
    for key, value in got[torch.float32].items():
        exact = got[torch.float64][key].double()
        peak, apart = float(exact.abs().max()), float((value.double() - exact).abs().max())
        rough = (got[torch.bfloat16][key].double() - exact)
        table[key] = {"peak": peak, "tol_abs": max(16 * apart, 2e-6 * peak), "bf16_abs": float(rough.abs().max()),
                      "bf16_rms": float(rough.square().mean().sqrt())}
    tensors = {**given, **{k: v.contiguous() for k, v in got[torch.float32].items()}}
    os.makedirs(os.path.join(folder, "golden"), exist_ok=True)
    save_file(tensors, os.path.join(folder, "golden", name))


def main(data):
    torch.set_num_threads(1)
    vae = load_json(f"{data}/zimage/weights.json")["components"]["vae"]
    for variant in VARIANTS:
        folder = os.path.join(data, "flux1", variant)
        weights = {"seed": 1, "family": f"flux1_{variant}", "f16_exact": False, "metadata": {"format": "pt"},
                   "files": {"text_encoder": "text_encoder/model.safetensors",
                             "vae": "vae/diffusion_pytorch_model.safetensors",
                             "text_encoder_2": "text_encoder_2/model.safetensors",
                             "transformer": "transformer/diffusion_pytorch_model.safetensors"}, "sha256": {},
                   "components": {"text_encoder": clip_entries(), "vae": vae, "text_encoder_2": t5_entries(T5), "transformer": transformer_entries(variant)},
                   "single_file": []}
        tolerances = {}
        with torch.no_grad():
            if variant == "dev":
                write(folder, "t5.safetensors", *t5_cases(weights), tolerances)
            write(folder, "transformer.safetensors", *transformer_cases(weights, variant), tolerances)
        save_json(f"{folder}/weights.json", weights, ",[\"")
        save_json(f"{folder}/golden/tolerances.json", tolerances, "},\"")
        save_json(f"{folder}/diffusers/transformer/config.json",
                  dict(transformer_config(variant), _class_name="FluxTransformer2DModel"), ",\"")
        save_json(f"{folder}/diffusers/text_encoder/config.json",
                  dict(CLIP, architectures=["CLIPTextModel"], model_type="clip_text_model", torch_dtype="float32"), ",\"")
        save_json(f"{folder}/diffusers/vae/config.json", load_json(f"{data}/zimage/diffusers/vae/config.json"), ",\"")
        save_json(f"{folder}/diffusers/scheduler/scheduler_config.json", dict(SCHEDULER, **SHIFTS[variant]), ",\"")
        save_json(f"{folder}/diffusers/model_index.json", INDEX, ",\"")
        save_json(f"{folder}/diffusers/text_encoder_2/config.json",
                  dict(T5, architectures=["T5EncoderModel"], model_type="t5", torch_dtype="float32"), ",\"")


if __name__ == "__main__":
    main(sys.argv[1])
