#!/usr/bin/env python3
"""flux1_pictures.py DATA: pictures of the tiny FLUX.1 dev and schnell of DATA/flux1 (tools/flux1_goldens.py).

Needs numpy, torch, diffusers 0.42.1, transformers and tokenizers. T5's tokens are those of DATA/common/unigram; CLIP's are
given, as in zimage_pictures.py. Writes golden/pictures.safetensors, and what belongs to it into golden/tolerances.json."""
import os
import sys

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

import flux1_goldens as tiny
import zimage_pictures as common

CAT, LESS = ("a photo of a cat", [320, 1125, 539, 320, 2368]), ("a cat", [320, 2368])
ROWS = {"dev": 512, "schnell": 256}


def modules(family, weights, variant, dtype):
    state = {c: {e[0]: common.make(weights, c, e) for e in es} for c, es in weights["components"].items()}
    t5 = T5EncoderModel(T5Config(**tiny.T5))
    t5.load_state_dict(dict(state["text_encoder_2"], **{"encoder.embed_tokens.weight": state["text_encoder_2"]["shared.weight"]}))
    clip = CLIPTextModel(CLIPTextConfig(**tiny.CLIP))
    bare = not any(k.startswith("text_model.") for k in clip.state_dict())
    own = {k.removeprefix("text_model.") if bare else k: v for k, v in state["text_encoder"].items()}
    missing, unexpected = clip.load_state_dict(own, strict=False)
    assert not unexpected and all("position_ids" in m for m in missing), (missing, unexpected)
    transformer = FluxTransformer2DModel(**tiny.transformer_config(variant))
    transformer.load_state_dict(state["transformer"])
    vae = AutoencoderKL(**{k: v for k, v in common.load_json(f"{family}/diffusers/vae/config.json").items() if k[0] != "_"})
    vae.load_state_dict(state["vae"])
    return [m.eval().to(dtype) for m in (clip, t5, transformer, vae)]


def conditions(loaded, words, rows, prompt):
    clip, t5 = loaded[:2]
    text, ids = prompt
    pieces = (words.encode(text).ids + [1])[-rows:]
    states = t5(torch.tensor([pieces + [0] * (rows - len(pieces))])).last_hidden_state
    chunk = [49406] + ids + [49407] * (76 - len(ids))
    return states, clip(torch.tensor([chunk])).pooler_output


def packed(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, h * w // 4, c * 4)


def picture(family, loaded, words, variant, case, noise):
    _, _, transformer, vae = loaded
    guidance, cfg, steps, start, strength = case
    h, w = noise.shape[2:]
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(common.load_json(f"{family}/diffusers/scheduler/scheduler_config.json"))
    pipe = FluxPipeline(scheduler, vae, None, None, None, None, transformer)
    pipe.set_progress_bar_config(disable=True)
    (states, pooled), (other, other_pooled) = (conditions(loaded, words, ROWS[variant], p) for p in (CAT, LESS))
    sigmas = np.linspace(1.0, 1 / steps, steps)[int(steps - steps * strength):]
    x, out = noise.double(), {}
    if start is not None:
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift
        x0 = (vae.encode(start.to(vae.dtype)).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
        scheduler.set_timesteps(sigmas=sigmas, mu=calculate_shift(h * w // 4))
        s = float(scheduler.sigmas[0])
        x = (1 - s) * x0.double() + s * x

    def keep(_pipe, _step, _t, values):
        out["latents"] = pipe._unpack_latents(values["latents"], h * 8, w * 8, pipe.vae_scale_factor)
        return {}

    more = dict(negative_prompt_embeds=other, negative_pooled_prompt_embeds=other_pooled) if cfg > 1 else {}
    image = pipe(latents=packed(x.to(torch.float32)), prompt_embeds=states, pooled_prompt_embeds=pooled, guidance_scale=guidance,
                 true_cfg_scale=cfg, height=h * 8, width=w * 8, num_inference_steps=steps, sigmas=sigmas, output_type="pt",
                 callback_on_step_end=keep, **more).images
    return dict(out, image=image * 2 - 1)


def start_picture():
    start = torch.arange(32 * 32 * 3, dtype=torch.int64) * 7919 % 251
    return (start.reshape(1, 32, 32, 3).permute(0, 3, 1, 2).float() / 255) * 2 - 1


def write(family, variant, cases, modules, picture):
    """Each case's picture in float32, and how far that may be off: by the same in float64."""
    weights = common.load_json(f"{family}/weights.json")
    out, tolerances = {}, {}
    with torch.no_grad():
        loaded = {torch.float32: modules(family, weights, variant, torch.float32)}
        with tiny.exactly():
            loaded[torch.float64] = modules(family, weights, variant, torch.float64)
        for name, case in cases.items():
            size = (4, 6) if name == "guided" else (4, 4)
            noise = common.make(weights, "noise", [name, [1, 16, *size], 1 / common.LANE_STD, 0])
            out[f"{name}.noise"] = noise
            got = {torch.float32: picture(family, loaded[torch.float32], case, noise)}
            with tiny.exactly():
                got[torch.float64] = picture(family, loaded[torch.float64], case, noise)
            for key, value in got[torch.float32].items():
                exact = got[torch.float64][key].double()
                peak, apart = float(exact.abs().max()), float((value.double() - exact).abs().max())
                out[f"{name}.{key}"] = value.to(torch.float32).contiguous()
                tolerances[f"{name}.{key}"] = {"peak": peak, "tol_abs": max(16 * apart, 2e-6 * peak)}
    save_file(out, f"{family}/golden/pictures.safetensors")
    all_tolerances = common.load_json(f"{family}/golden/tolerances.json")
    all_tolerances["pictures.safetensors"] = tolerances
    common.save_json(f"{family}/golden/tolerances.json", all_tolerances, "},\"")


def main(data):
    torch.set_num_threads(1)
    words = Tokenizer.from_file(os.path.join(data, "common/unigram/tokenizer.json"))
    cases = {"dev": {"plain": (3.5, 1.0, 4, None, 1.0), "guided": (2.0, 3.0, 3, None, 1.0),
                     "start": (3.5, 1.0, 4, start_picture(), 0.75)},
             "schnell": {"plain": (0.0, 1.0, 4, None, 1.0)}}
    for variant, some in cases.items():
        write(os.path.join(data, "flux1", variant), variant, some, modules,
              lambda family, loaded, case, noise: picture(family, loaded, words, variant, case, noise))


if __name__ == "__main__":
    main(sys.argv[1])
