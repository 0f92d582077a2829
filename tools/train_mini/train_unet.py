"""Trains UNet and text encoder together on cached latents: epsilon prediction, SD1.x's scaled-linear schedule.

The weights make it the error of the picture, capped: with epsilon's own error the noisiest times, where words decide what the
picture is, count 200 times less, and a short training never gets to them.

Captions, backgrounds, times and noise are drawn from generators seeded with the step's number, so that an interrupted run goes
on exactly where it was. UNET_STEPS (environment) sets the length; a finished run goes on when it is raised.
"""
import os

import numpy as np
import torch
from diffusers import DDPMScheduler

from attention import FastAttention
from captions import DROP, Captions, Vocabulary, prompts
from config import BACKGROUNDS, SEED, WORK, WORKERS
from nets import make_text, make_unet
from train_vae import gain
from training import Trainer, begin, rank

STEPS = int(os.environ.get("UNET_STEPS", 4400))
PEAK, WARMUP, DECAY = float(os.environ.get("UNET_PEAK", 1e-3)), 100, 0.997
BATCH = int(os.environ.get("UNET_BATCH", 16))
CORE_STEPS, OTHERS = 2000, 6           # the first steps show only the emoji of prompts.txt, later ones OTHERS of all to a batch
LARGE_EACH = 6                         # every sixth step is on pictures of 1.5 times the size
FLOOR, CAP = 0.3, 25.0                 # a time's weight is 1 / SNR between these, / 5: the error of the picture that epsilon implies
LATE = 0.6                             # times are 1000 u^LATE, u uniform: more of them where a picture's plan is decided


def schedule():
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)


def start_linear(unet):
    """Residual branches begin with nothing to add, and the last channel of each group of two that carries the picture begins
    constant: the reason is in train_vae.start_linear."""
    for name, conv in unet.named_modules():
        if not isinstance(conv, torch.nn.Conv2d):
            continue
        if name.endswith(("conv2", "proj_out", "conv_out")):
            conv.weight.data.zero_()
            conv.bias.data.zero_()
        elif conv.out_channels == 64 and not name.endswith(("conv1", "proj_in")):
            conv.weight.data.mul_(gain(name, conv))
            conv.bias.data.zero_()
            conv.weight.data[1::2] = 0
            conv.bias.data[1::2] = 1


def turns(among, step, count, stream):
    """[count]: step's share of `among`, where every element comes once, in a new order each round, before any comes again."""
    places = range(step * count, (step + 1) * count)
    orders = {r: np.random.default_rng([SEED, stream, r]).permutation(among) for r in {t // len(among) for t in places}}
    return [orders[t // len(among)][t % len(among)] for t in places]


class Batches:
    """Draws batches: noised latents, times, noise, token rows and weights."""

    def __init__(self, captions, vocabulary):
        saved = torch.load(WORK / "latents.pt", weights_only=False)
        self.latent, self.large = saved["latent"], saved["large"]
        self.captions, self.vocabulary = captions, vocabulary
        self.alphas = schedule().alphas_cumprod
        self.backgrounds = list(BACKGROUNDS)
        self.core = sorted({captions.names.index(name) for name, _ in prompts()})

    def emoji(self, step):
        """BATCH indices: some of the core emoji, then some of all."""
        others = 0 if step < CORE_STEPS * WORKERS else OTHERS
        return np.array(turns(self.core, step, BATCH - others, 1) + turns(range(self.latent.shape[1]), step, others, 2))

    def draw(self, step):
        """-> noisy [B, 4, H, W], times [B], noise like noisy, rows [B, TOKENS], weights [B]"""
        rng = np.random.default_rng([SEED, 0, step])
        chosen = self.emoji(step)
        rows, where = [], []
        for index in chosen:
            text, background = self.captions.draw(index, rng)
            rows.append(self.vocabulary.rows("" if rng.random() < DROP else text, rng))
            where.append(self.backgrounds.index(background))
        latent = (self.large if step // WORKERS % LARGE_EACH == 0 else self.latent)[where, chosen]
        noise = torch.from_numpy(rng.standard_normal(latent.shape, np.float32))
        # one time from each of B equal slices, so that a batch's loss does not depend on luck
        times = torch.from_numpy((((rng.permutation(BATCH) + rng.random(BATCH)) / BATCH) ** LATE * 1000).astype(np.int64))
        alpha = self.alphas[times]
        snr = alpha / (1 - alpha)
        noisy = alpha.sqrt().view(-1, 1, 1, 1) * latent + (1 - alpha).sqrt().view(-1, 1, 1, 1) * noise
        return noisy, times, noise, torch.from_numpy(np.stack(rows)), (1 / snr).clamp(FLOOR, CAP) / 5


def main():
    begin()
    captions = Captions()
    vocabulary = Vocabulary(captions.everything())
    batches = Batches(captions, vocabulary)
    unet, text = make_unet(), make_text(len(vocabulary))
    unet.set_attn_processor(FastAttention())
    start_linear(unet)

    def loss_at(step):
        noisy, times, noise, rows, weights = batches.draw(step * WORKERS + rank())
        with torch.autocast("cpu", torch.bfloat16):
            said = unet(noisy, times, text(rows).last_hidden_state).sample
        loss = (weights * ((said.float() - noise) ** 2).mean((1, 2, 3))).mean()
        return loss, loss.item()

    Trainer("unet", torch.nn.ModuleList([unet, text]), STEPS, PEAK, WARMUP, DECAY, 150).run(loss_at)


if __name__ == "__main__":
    main()
