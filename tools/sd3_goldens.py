#!/usr/bin/env python3
"""sd3_goldens.py DATA: references for SD3 and SD3.5 at tiny sizes, written into DATA/sd3/medium and DATA/sd3/first.

Needs numpy, torch, diffusers 0.42.1 and transformers. Weights follow from a hash, as tests/support/synth.h says; the
autoencoder is that of DATA/zimage. Outputs are those of diffusers' SD3Transformer2DModel: medium has what SD3.5 has, first
what SD3 had, no norms of queries and keys and no second attention. The same input gives the same bytes."""
import os
import sys

import torch
from diffusers import SD3Transformer2DModel

from flux1_goldens import entry, loaded, t5_entries, with_taps, write
from zimage_pictures import LANE_STD, load_json, make, save_json

WIDTH, HEADS, HEAD, CONTEXT = 32, 2, 16, 96
T5 = dict(vocab_size=1000, d_model=CONTEXT, d_kv=16, d_ff=96, num_layers=2, num_heads=4, relative_attention_num_buckets=32,
          relative_attention_max_distance=128, dropout_rate=0.0, layer_norm_epsilon=1e-6, feed_forward_proj="gated-gelu",
          is_encoder_decoder=True, tie_word_embeddings=False, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)


def clip(width, act, pad):
    return dict(vocab_size=49408, hidden_size=width, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
                max_position_embeddings=77, hidden_act=act, layer_norm_eps=1e-5, projection_dim=width, bos_token_id=49406,
                eos_token_id=49407, pad_token_id=pad)


CLIPS = {"text_encoder": clip(32, "quick_gelu", 1), "text_encoder_2": clip(48, "gelu", 1)}
POOLED = sum(c["projection_dim"] for c in CLIPS.values())
SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
INDEX = {"_class_name": "StableDiffusion3Pipeline", "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
         "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
         "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
         "text_encoder_3": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
         "tokenizer_2": ["transformers", "CLIPTokenizer"], "tokenizer_3": ["transformers", "T5TokenizerFast"],
         "transformer": ["diffusers", "SD3Transformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
         "image_encoder": [None, None], "feature_extractor": [None, None]}
VARIANTS = {"medium": dict(num_layers=3, dual_attention_layers=[0], qk_norm="rms_norm"),
            "first": dict(num_layers=2, dual_attention_layers=[], qk_norm=None)}


def transformer_config(variant):
    return dict(sample_size=16, patch_size=2, in_channels=16, out_channels=16, attention_head_dim=HEAD, num_attention_heads=HEADS,
                joint_attention_dim=CONTEXT, caption_projection_dim=WIDTH, pooled_projection_dim=POOLED, pos_embed_max_size=12,
                **VARIANTS[variant])


def clip_entries(config):
    c, hidden = config["hidden_size"], config["intermediate_size"]
    norm = lambda name: [entry(name + ".weight", [c], 0.15, 1.0), entry(name + ".bias", [c], 0.1)]
    linear = lambda name, rows, columns: [entry(name + ".weight", [rows, columns], columns ** -0.5), entry(name + ".bias", [rows], 0.1)]
    out = [entry("text_model.embeddings.token_embedding.weight", [config["vocab_size"], c], 1.0),
           entry("text_model.embeddings.position_embedding.weight", [77, c], 0.5), *norm("text_model.final_layer_norm"),
           entry("text_projection.weight", [config["projection_dim"], c], c ** -0.5)]
    for i in range(config["num_hidden_layers"]):
        at = f"text_model.encoder.layers.{i}."
        out += [t for n in ("q_proj", "k_proj", "v_proj", "out_proj") for t in linear(f"{at}self_attn.{n}", c, c)]
        out += [*norm(at + "layer_norm1"), *norm(at + "layer_norm2"), *linear(at + "mlp.fc1", hidden, c), *linear(at + "mlp.fc2", c, hidden)]
    return out


def transformer_entries(variant):
    """Shapes from the class itself; every tensor's spread by what it is."""
    out = []
    with torch.device("meta"):
        state = SD3Transformer2DModel(**transformer_config(variant)).state_dict()
    for name, value in state.items():
        shape = list(value.shape)
        if name == "pos_embed.pos_embed":
            out.append(entry(name, shape, 0.7))
        elif len(shape) == 1:
            norm = name.endswith(("q.weight", "k.weight"))
            out.append(entry(name, shape, 0.15 if norm else 0.1, 1.2 if norm else 0.0))
        else:
            columns = value[0].numel()
            out.append(entry(name, shape, (0.9 if "norm" in name or "time_text_embed" in name else 0.8) / columns ** 0.5))
    return out


def transformer_cases(weights, variant):
    cases = {"a": (6, 4, 13, 500.0), "b": (7, 5, 40, 31.25)}   # the sides in tokens, tokens of the text; numbers that bf16 holds
    given = {}
    for name, (h, w, tokens, t) in cases.items():
        given[f"{name}.hidden_states"] = make(weights, "inputs", [f"{name}.x", [1, 16, 2 * h, 2 * w], 1 / LANE_STD, 0])
        given[f"{name}.encoder_hidden_states"] = make(weights, "inputs", [f"{name}.c", [1, tokens, CONTEXT], 1 / LANE_STD, 0])
        given[f"{name}.pooled"] = make(weights, "inputs", [f"{name}.p", [1, POOLED], 1 / LANE_STD, 0])
        given[f"{name}.timestep"] = torch.tensor([t])

    def run(dtype):
        model = loaded(SD3Transformer2DModel, transformer_config(variant), weights, "transformer", dtype)
        got = {}
        for name in cases:
            value = {k: given[f"{name}.{k}"].to(dtype) for k in ("hidden_states", "encoder_hidden_states", "pooled", "timestep")}
            layers = range(VARIANTS[variant]["num_layers"])
            taps = ["time_text_embed", *(f"transformer_blocks.{i}" for i in layers)] if name == "a" else []
            out, kept = with_taps(model, lambda: model(
                hidden_states=value["hidden_states"], encoder_hidden_states=value["encoder_hidden_states"],
                pooled_projections=value["pooled"], timestep=value["timestep"]).sample, taps)
            got[f"{name}.output"] = out
            got.update({f"{name}.at.{k}": v for k, v in kept.items()})
        return got
    return given, run


def save_configs(folder, data, variant):
    def save(path, value):
        save_json(f"{folder}/diffusers/{path}", value, ",\"")
    save("transformer/config.json", dict(transformer_config(variant), _class_name="SD3Transformer2DModel"))
    for name, config in CLIPS.items():
        save(f"{name}/config.json", dict(config, architectures=["CLIPTextModelWithProjection"], model_type="clip_text_model",
                                         torch_dtype="float32"))
    save("text_encoder_3/config.json", dict(T5, architectures=["T5EncoderModel"], model_type="t5", torch_dtype="float32"))
    save("vae/config.json", dict(load_json(f"{data}/zimage/diffusers/vae/config.json"), scaling_factor=1.5305, shift_factor=0.0609))
    save("scheduler/scheduler_config.json", SCHEDULER)
    save("model_index.json", INDEX)


def main(data):
    torch.set_num_threads(1)
    vae = load_json(f"{data}/zimage/weights.json")["components"]["vae"]
    for variant in VARIANTS:
        folder = os.path.join(data, "sd3", variant)
        weights = {"seed": 1, "family": f"sd3_{variant}", "f16_exact": False, "metadata": {"format": "pt"},
                   "files": {**{n: f"{n}/model.safetensors" for n in ("text_encoder", "text_encoder_2", "text_encoder_3")},
                             "vae": "vae/diffusion_pytorch_model.safetensors",
                             "transformer": "transformer/diffusion_pytorch_model.safetensors"}, "sha256": {},
                   "components": {**{n: clip_entries(c) for n, c in CLIPS.items()}, "text_encoder_3": t5_entries(T5),
                                  "vae": vae, "transformer": transformer_entries(variant)},
                   "single_file": []}
        tolerances = {}
        with torch.no_grad():
            write(folder, "transformer.safetensors", *transformer_cases(weights, variant), tolerances)
        save_json(f"{folder}/weights.json", weights, ",[\"")
        save_json(f"{folder}/golden/tolerances.json", tolerances, "},\"")
        save_configs(folder, data, variant)


if __name__ == "__main__":
    main(sys.argv[1])
