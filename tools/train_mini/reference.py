"""What diffusers makes of the shipped checkpoint: OUT/PROMPT.png for each of a few prompts, f32.

    python reference.py ../../models/ballast-mini.safetensors OUT

tests/mini holds these pictures against Ballast's (`--compat diffusers`). The checkpoint is read back from its LDM names into
diffusers' own classes, and its own StableDiffusionPipeline makes the pictures. The noise of seed s is torch's CPU generator.
"""
import sys
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from safetensors.torch import load_file

from captions import tokenizer
from config import LATENT, TOKENS
from export import unet_key, vae_key
from nets import make_text, make_unet, make_vae
from sample import CFG, STEPS

PROMPTS = ("a red heart", "a panda on a blue background", "a birthday cake")     # seeds 0, 1, 2


def filled(net, tensors, key):
    """The net with the tensor that `key` names in the place of each of its own."""
    net.load_state_dict({k: tensors[key(k)].float().view(v.shape) for k, v in net.state_dict().items()})
    return net.eval()


def pipeline(path):
    tensors = load_file(path)
    unet = filled(make_unet(), tensors, lambda k: f"model.diffusion_model.{unet_key(k)}")
    vae = filled(make_vae(), tensors, lambda k: f"first_stage_model.{vae_key(k)}")
    text = filled(make_text(), tensors,
                  lambda k: "cond_stage_model.transformer.text_model." + k.removeprefix("text_model."))
    scheduler = DPMSolverMultistepScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                            timestep_spacing="leading", steps_offset=1, use_karras_sigmas=True)
    words = tokenizer()
    words.model_max_length, words.pad_token = TOKENS, "<|endoftext|>"
    return StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=words, unet=unet, scheduler=scheduler,
                                   safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def main(path, out):
    made = pipeline(path)
    for seed, prompt in enumerate(PROMPTS):
        noise = torch.randn(1, 4, LATENT, LATENT, generator=torch.Generator().manual_seed(seed))
        picture = made(prompt=prompt, latents=noise, num_inference_steps=STEPS, guidance_scale=CFG,
                       height=8 * LATENT, width=8 * LATENT).images[0]
        picture.save(out / f"{prompt.replace(' ', '-')}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
