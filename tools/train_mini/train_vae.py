"""Trains the two halves of the autoencoder on the designed latents (latents.py), one after the other.

    python train_vae.py decoder|encoder

The decoder learns to paint a picture from its latent, with a little noise on the latent so that the UNet's small errors do not
show: L1 and L2 on pixels, L1 on differences between neighbours at three scales (edges stay sharp). Its first steps see 64x64
windows, four to a step; then whole pictures. The encoder learns to say the latent of a picture.
"""
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

from config import BACKGROUNDS, SEED, SIZE, WORK, WORKERS
from data import all_rgba
from latents import encode
from nets import make_vae
from training import Trainer, begin, rank

STEPS = {"decoder": int(os.environ.get("DECODER_STEPS", 2800)), "encoder": int(os.environ.get("ENCODER_STEPS", 500))}
WINDOW_STEPS = 300
PEAK, WARMUP, DECAY = 1.5e-3, 50, 0.99
NOISE = 0.12


def start_linear(net):
    """Begins as a nearly linear net in which plain colours survive the norms.

    With two or three channels a group, a norm removes most of a picture's mean. So the convs that carry the picture (all but
    those inside residual branches, which begin with nothing to add) keep the last channel of each group at a constant: the
    group's mean and deviation are then nearly constant too, and the other channels pass as they are.
    """
    for name, conv in net.named_modules():
        if not isinstance(conv, torch.nn.Conv2d) or name.endswith("conv1"):
            continue
        if name.endswith("conv2"):
            conv.weight.data.zero_()
            conv.bias.data.zero_()
        elif conv.out_channels % 32 == 0:
            last = slice(conv.out_channels // 32 - 1, None, conv.out_channels // 32)
            conv.weight.data.mul_(gain(name, conv))
            conv.bias.data.zero_()
            conv.weight.data[last] = 0
            conv.bias.data[last] = 1


def gain(name, conv):
    """What roughly keeps a signal's size, measured: PyTorch's default shrinks unrelated inputs by 1.7, while a 3x3 window of a
    smooth picture, as an upsampler's is, adds up to more."""
    if conv.kernel_size == (1, 1):
        return 1.7
    return 1.1 if "upsamplers" in name else 2.5


def halves(vae):
    """(encoder with quant_conv, decoder with post_quant_conv) as module lists: what each training owns."""
    return torch.nn.ModuleList([vae.encoder, vae.quant_conv]), torch.nn.ModuleList([vae.decoder, vae.post_quant_conv])


class Pictures:
    """Draws training pictures."""

    def __init__(self):
        self.rgba, self.colours = all_rgba(), list(BACKGROUNDS.values())

    def draw(self, rng, count, size):
        """[count, 3, size, size] f32 in -1..1: random emoji on a named (seldom any) background, windows begin at multiples of 8."""
        out = np.empty((count, size, size, 3), np.float32)
        for i in range(count):
            part = self.rgba[:0]
            while not part.size or part[..., 3].mean() < 25:             # a window of mere background teaches nothing
                y, x = 8 * rng.integers(0, (SIZE - size) // 8 + 1, 2)
                part = self.rgba[rng.integers(len(self.rgba)), y:y + size, x:x + size]
            pick = rng.random()
            colour = (self.colours[0] if pick < 0.5 else self.colours[rng.integers(len(self.colours))] if pick < 0.9
                      else rng.integers(0, 256, 3))
            alpha = part[..., 3:] / np.float32(255)
            out[i] = part[..., :3] * alpha + np.asarray(colour, np.float32) * (1 - alpha)
        return torch.from_numpy(out.transpose(0, 3, 1, 2) / 127.5 - 1)


def edges(d):
    """Mean L1 of the horizontal and vertical differences of an error picture, at full, half and quarter size."""
    total = 0
    for _ in range(3):
        total = total + (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
        d = F.avg_pool2d(d, 2)
    return total


def main(half):
    begin()
    vae, pictures = make_vae(), Pictures()
    vae.requires_grad_(True)
    start_linear(vae)
    space = torch.load(WORK / "latents.pt", weights_only=False)

    def decoder_loss(step):
        rng = np.random.default_rng([SEED, step * WORKERS + rank()])
        x = pictures.draw(rng, *((4, 64) if step < WINDOW_STEPS else (2, SIZE)))
        z = encode(x, space["weight"], space["bias"])
        sigma = torch.from_numpy(rng.random((len(z), 1, 1, 1), np.float32)) * NOISE
        z = z + sigma * torch.from_numpy(rng.standard_normal(z.shape, np.float32))
        with torch.autocast("cpu", torch.bfloat16):
            y = vae.decode(z).sample
        d = y.float() - x
        l1 = d.abs().mean()
        return l1 + d.square().mean() + 0.5 * edges(d), l1.item()

    def encoder_loss(step):
        x = pictures.draw(np.random.default_rng([SEED, 2, step * WORKERS + rank()]), *((4, 64) if step < 0.7 * STEPS["encoder"] else (2, SIZE)))
        z = encode(x, space["weight"], space["bias"])
        with torch.autocast("cpu", torch.bfloat16):
            said = vae.encode(x).latent_dist
        error = (said.mean.float() - z).square().mean()
        return error + 0.01 * (said.logvar.float() + 10).square().mean(), error.item()

    encoder, decoder = halves(vae)
    net, loss = {"encoder": (encoder, encoder_loss), "decoder": (decoder, decoder_loss)}[half]
    Trainer(half, net, STEPS[half], PEAK, WARMUP, DECAY).run(loss)


if __name__ == "__main__":
    main(sys.argv[1])
