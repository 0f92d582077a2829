#!/usr/bin/env python3
"""sd3_pictures.py DATA: pictures of the tiny SD3.5 medium and SD3 of DATA/sd3 (tools/sd3_goldens.py).

Needs numpy, torch, diffusers 0.42.1, transformers and tokenizers. T5's tokens are those of DATA/common/unigram; CLIP's are
given, as in flux1_pictures.py. Writes golden/pictures.safetensors, and what belongs to it into golden/tolerances.json."""
import os
import sys

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Img2ImgPipeline
from diffusers import StableDiffusion3Pipeline
from tokenizers import Tokenizer
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

import sd3_goldens as tiny
import zimage_pictures as common
from flux1_pictures import CAT, LESS, start_picture, write

ROWS = 256


def clip_model(config, state):
    model = CLIPTextModelWithProjection(CLIPTextConfig(**config))
    bare = not any(k.startswith("text_model.text_model.") or k.startswith("text_model.embeddings.") for k in model.state_dict())
    assert not bare
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("position_ids" in m for m in missing), (missing, unexpected)
    return model


def modules(family, weights, variant, dtype):
    state = {c: {e[0]: common.make(weights, c, e) for e in es} for c, es in weights["components"].items()}
    t5 = T5EncoderModel(T5Config(**tiny.T5))
    t5.load_state_dict(dict(state["text_encoder_3"], **{"encoder.embed_tokens.weight": state["text_encoder_3"]["shared.weight"]}))
    clips = [clip_model(tiny.CLIPS[n], state[n]) for n in tiny.CLIPS]
    transformer = SD3Transformer2DModel(**tiny.transformer_config(variant))
    transformer.load_state_dict(state["transformer"])
    vae = AutoencoderKL(**{k: v for k, v in common.load_json(f"{family}/diffusers/vae/config.json").items() if k[0] != "_"})
    vae.load_state_dict(state["vae"])
    return [m.eval().to(dtype) for m in (*clips, t5, transformer, vae)]


def conditions(loaded, words, prompt, with_t5):
    """What StableDiffusion3Pipeline.encode_prompt makes of the tokens."""
    text, ids = prompt
    out = [m(torch.tensor([[49406] + ids + [49407] + [pad] * (75 - len(ids))]), output_hidden_states=True)
           for m, pad in zip(loaded[:2], (49407, 0))]
    clip = torch.cat([o.hidden_states[-2] for o in out], -1)
    clip = torch.nn.functional.pad(clip, (0, tiny.CONTEXT - clip.shape[-1]))
    pieces = words.encode(text).ids + [1]
    states = loaded[2](torch.tensor([pieces + [0] * (ROWS - len(pieces))])).last_hidden_state
    states = states if with_t5 else torch.zeros_like(states)
    return torch.cat([clip, states], 1), torch.cat([o.text_embeds for o in out], -1)


def picture(family, loaded, words, case, noise):
    transformer, vae = loaded[3:]
    cfg, steps, with_t5, start, strength = case
    h, w = noise.shape[2:]
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(common.load_json(f"{family}/diffusers/scheduler/scheduler_config.json"))
    kind = StableDiffusion3Pipeline if start is None else StableDiffusion3Img2ImgPipeline
    pipe = kind(scheduler=scheduler, transformer=transformer, vae=vae, text_encoder=None, text_encoder_2=None, text_encoder_3=None,
                tokenizer=None, tokenizer_2=None, tokenizer_3=None)
    pipe.set_progress_bar_config(disable=True)
    (states, pooled), (other, other_pooled) = (conditions(loaded, words, p, with_t5) for p in (CAT, LESS))
    x, out, more = noise, {}, {}
    if start is not None:
        x0 = (vae.encode(start.to(vae.dtype)).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
        scheduler.set_timesteps(steps)
        s = scheduler.sigmas[int(steps - steps * strength)].double()
        x = (1 - s) * x0.double() + s * noise.double()
        more = dict(image=start, strength=strength)
    else:
        more = dict(height=h * 8, width=w * 8)
    x = x.to(torch.float32)

    def keep(_pipe, _step, _t, values):
        out["latents"] = values["latents"]
        return {}

    if cfg > 1:
        more.update(negative_prompt_embeds=other, negative_pooled_prompt_embeds=other_pooled)
    image = pipe(latents=x, prompt_embeds=states, pooled_prompt_embeds=pooled, guidance_scale=cfg, num_inference_steps=steps,
                 output_type="pt", callback_on_step_end=keep, **more).images
    return dict(out, image=image * 2 - 1)


def main(data):
    torch.set_num_threads(1)
    words = Tokenizer.from_file(os.path.join(data, "common/unigram/tokenizer.json"))
    cases = {"medium": {"plain": (1.0, 4, True, None, 1.0), "guided": (3.0, 3, True, None, 1.0),
                        "start": (3.0, 4, True, start_picture(), 0.75), "without": (3.0, 2, False, None, 1.0)},
             "first": {"plain": (1.0, 4, True, None, 1.0)}}
    for variant, some in cases.items():
        write(os.path.join(data, "sd3", variant), variant, some, modules,
              lambda family, loaded, case, noise: picture(family, loaded, words, case, noise))


if __name__ == "__main__":
    main(sys.argv[1])
