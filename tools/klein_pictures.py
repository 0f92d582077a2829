#!/usr/bin/env python3
"""klein_pictures.py DATA: a text encoder for the tiny FLUX.2 klein of DATA/flux2/klein_2_2 (tests/data), and pictures.

Needs numpy, torch, diffusers 0.42.1 and transformers; zimage_pictures.py says how weights and tokens are given. The
encoder has one layer more than is read. Writes diffusers/text_encoder/config.json, diffusers/model_index.json,
golden/pictures.safetensors, and what belongs to them into weights.json and golden/tolerances.json."""
import os
import sys

import numpy as np
import torch
from diffusers import (AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline,
                       Flux2Transformer2DModel)
from safetensors.torch import save_file
from transformers import Qwen3Config, Qwen3Model

import zimage_pictures as common

CONFIG = dict(common.CONFIG, num_hidden_layers=28)
END = common.FRAME[1] + [151667, 271, 151668, 271]
CAT = common.CAT + END[len(common.FRAME[1]):]
EMPTY = common.FRAME[0] + END
ROWS, PAD = 512, 151643
INDEX = {"_class_name": "Flux2KleinPipeline", "_diffusers_version": "0.42.1", "is_distilled": False,
         "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "Qwen3ForCausalLM"],
         "tokenizer": ["transformers", "Qwen2TokenizerFast"], "transformer": ["diffusers", "Flux2Transformer2DModel"],
         "vae": ["diffusers", "AutoencoderKLFlux2"]}


def modules(family, weights, dtype):
    state = {c: {e[0]: common.make(weights, c, e) for e in es} for c, es in weights["components"].items()}
    config = {c: {k: v for k, v in common.load_json(f"{family}/diffusers/{c}/config.json").items() if k[0] != "_"}
              for c in ("transformer", "vae")}
    encoder = Qwen3Model(Qwen3Config(**CONFIG))
    encoder.load_state_dict({k.removeprefix("model."): v for k, v in state["text_encoder"].items()})
    transformer = Flux2Transformer2DModel(**config["transformer"])
    transformer.load_state_dict(state["transformer"])
    vae = AutoencoderKLFlux2(**config["vae"])
    vae.load_state_dict(dict(state["vae"], **{"bn.num_batches_tracked": torch.tensor(0)}))
    return [m.eval().to(dtype) for m in (encoder, transformer, vae)]


def picture(family, loaded, noise, guidance, steps, start=None, strength=1.0):
    encoder, transformer, vae = loaded

    def encode(ids):
        mask = torch.tensor([[1] * len(ids) + [0] * (ROWS - len(ids))])
        hidden = encoder(torch.tensor([ids + [PAD] * (ROWS - len(ids))]), attention_mask=mask,
                         output_hidden_states=True).hidden_states
        return torch.cat([hidden[k] for k in (9, 18, 27)], dim=2)

    scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        common.load_json(f"{family}/diffusers/scheduler/scheduler_config.json"))
    pipe = Flux2KleinPipeline(scheduler, vae, None, None, transformer)
    pipe.set_progress_bar_config(disable=True)
    h, w = noise.shape[2:]
    first = int(steps - steps * strength)
    sigmas = np.linspace(1.0, 1 / steps, steps)[first:]
    x, out = noise.double(), {}
    if start is not None:
        x0 = pipe._patchify_latents(vae.encode(start.to(vae.dtype)).latent_dist.mode())
        x0 = (x0 - vae.bn.running_mean.view(1, -1, 1, 1)) / torch.sqrt(
            vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps)
        scheduler.set_timesteps(sigmas=sigmas, mu=pipeline_mu(h * w, steps))
        s = float(scheduler.sigmas[0])
        x = (1 - s) * x0.double() + s * x

    def keep(_pipe, _step, _t, values):
        out["latents"] = values["latents"].transpose(1, 2).reshape(1, 128, h, w)
        return {}

    image = pipe(latents=x.to(torch.float32), prompt_embeds=encode(CAT), negative_prompt_embeds=encode(EMPTY),
                 guidance_scale=guidance, height=h * 16, width=w * 16, num_inference_steps=steps, sigmas=sigmas,
                 output_type="pt", callback_on_step_end=keep).images
    return dict(out, image=image * 2 - 1)


def pipeline_mu(tokens, steps):
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
    return compute_empirical_mu(image_seq_len=tokens, num_steps=steps)


def main(data):
    family = os.path.join(data, "flux2/klein_2_2")
    weights = common.load_json(f"{family}/weights.json")
    weights["components"]["text_encoder"] = common.encoder_entries(CONFIG)
    weights["files"]["text_encoder"] = "text_encoder/model.safetensors"
    common.save_json(f"{family}/weights.json", weights, ",[\"")
    config = dict(CONFIG, architectures=["Qwen3ForCausalLM"], model_type="qwen3", torch_dtype="float32")
    common.save_json(f"{family}/diffusers/text_encoder/config.json", config, ",\"")
    common.save_json(f"{family}/diffusers/model_index.json", INDEX, ",\"")
    start = torch.arange(64 * 64 * 3, dtype=torch.int64) * 7919 % 251
    start = (start.reshape(1, 64, 64, 3).permute(0, 3, 1, 2).float() / 255) * 2 - 1
    cases = {"distilled": (1.0, 4, (4, 4), None, 1.0), "guided": (4.0, 3, (4, 6), None, 1.0),
             "start": (1.0, 4, (4, 4), start, 0.75)}
    out, tolerances = {}, {}
    with torch.no_grad():
        loaded = {t: modules(family, weights, t) for t in (torch.float32, torch.float64)}
        for name, (guidance, steps, size, picture_in, strength) in cases.items():
            noise = common.make(weights, "noise", [name, [1, 128, *size], 1 / common.LANE_STD, 0])
            out[f"{name}.noise"] = noise
            got = {t: picture(family, m, noise, guidance, steps, picture_in, strength) for t, m in loaded.items()}
            for key, value in got[torch.float32].items():
                exact = got[torch.float64][key].double()
                peak, apart = float(exact.abs().max()), float((value.double() - exact).abs().max())
                out[f"{name}.{key}"] = value.to(torch.float32).contiguous()
                tolerances[f"{name}.{key}"] = {"peak": peak, "tol_abs": max(16 * apart, 2e-6 * peak)}
    save_file(out, f"{family}/golden/pictures.safetensors")
    all_tolerances = common.load_json(f"{family}/golden/tolerances.json")
    all_tolerances["pictures.safetensors"] = tolerances
    common.save_json(f"{family}/golden/tolerances.json", all_tolerances, "},\"")


if __name__ == "__main__":
    main(sys.argv[1])
