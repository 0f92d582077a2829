"""Pictures from prompts with the trained networks, in PyTorch: DPM++ 2M on karras sigmas, as everywhere else in Ballast.

    python sample.py OUT.png "a red heart" "a cat on a blue background"
"""
import sys

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image

from captions import tokenizer
from config import LATENT, SIZE, THREADS, TOKENS, VAE_SCALE
from export import networks

STEPS, CFG = 20, 5.0


class Sampler:
    """Holds the networks with averaged weights, as export writes them."""

    def __init__(self):
        self.unet, self.text, self.vae = networks()
        self.tokenizer = tokenizer()

    def tokens(self, prompts):
        return self.tokenizer(prompts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt").input_ids

    @torch.no_grad()
    def latents(self, prompts, seeds):
        """-> [N, 4, 16, 16], in the checkpoint's scale"""
        context = self.text(self.tokens(["", *prompts])).last_hidden_state
        context = torch.cat([context[:1].expand(len(prompts), -1, -1), context[1:]])
        solver = DPMSolverMultistepScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                             use_karras_sigmas=True, final_sigmas_type="zero")
        solver.set_timesteps(STEPS)
        x = torch.stack([torch.randn(4, LATENT, LATENT, generator=torch.Generator().manual_seed(s)) for s in seeds])
        for t in solver.timesteps:
            none, said = self.unet(torch.cat([x, x]), t, context).sample.chunk(2)
            x = solver.step(none + CFG * (said - none), t, x).prev_sample
        return x / VAE_SCALE

    @torch.no_grad()
    def pictures(self, prompts, seeds, chunk=12):
        """-> [N, SIZE, SIZE, 3] u8"""
        out = []
        for i in range(0, len(prompts), chunk):
            y = self.vae.decode(self.latents(prompts[i:i + chunk], seeds[i:i + chunk])).sample
            out.append(((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
        return np.concatenate(out)


def sheet(pictures, columns):
    """[N, H, W, 3] u8 -> one picture, rows of `columns` with a thin grey line between."""
    rows = -(-len(pictures) // columns)
    out = np.full((rows * (SIZE + 2), columns * (SIZE + 2), 3), 200, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = (i // columns) * (SIZE + 2), (i % columns) * (SIZE + 2)
        out[y:y + SIZE, x:x + SIZE] = picture
    return Image.fromarray(out)


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    prompts = sys.argv[2:]
    sheet(Sampler().pictures(prompts, list(range(len(prompts)))), min(6, len(prompts))).save(sys.argv[1])
