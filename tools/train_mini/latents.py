"""The latent space, and the cached latents that the UNet trains on.

A latent is four numbers for each 8x8 cell of the picture, by one fixed linear map: the cell's mean colour along the three main
axes of colour, and its strongest change within the cell, each with mean 0 and deviation 1 over the training pictures. It is
designed instead of learned: the UNet can begin before any autoencoder exists, its targets are smooth, and the decoder, which
decides how sharp a picture is, gets all of the autoencoder's training time. The encoder learns the map too (train_vae.py).
"""
import torch
import torch.nn.functional as F

from config import BACKGROUNDS, LARGE, WORK
from data import all_rgba, enlarged, pictures


def axes(samples):
    """[n, d] -> principal directions [d, d], strongest first, with a fixed sign."""
    samples = samples - samples.mean(0)
    directions = torch.linalg.eigh(samples.T @ samples / len(samples))[1].flip(1)
    return directions * directions.sum(0).sign()


def design(x):
    """Pictures [N, 3, S, S] -> the map: weight [4, 3, 8, 8] and bias [4], so that encode(x) has mean 0 and deviation 1."""
    cells = F.pixel_unshuffle(x, 8).permute(0, 2, 3, 1).reshape(-1, 192)
    colours = cells.view(-1, 3, 64).mean(2)
    change = (cells.view(-1, 3, 64) - colours[..., None]).reshape(-1, 192)
    flat = axes(colours).T.reshape(3, 3, 1).expand(3, 3, 64).reshape(3, 192) / 64
    weight = torch.cat([flat, axes(change)[:, :1].T])
    bias = -(weight @ cells.mean(0))
    scale = 1 / (cells @ weight.T).std(0)
    return (weight * scale[:, None]).view(4, 3, 8, 8), bias * scale


def encode(x, weight, bias):
    """[N, 3, S, S] in -1..1 -> [N, 4, S / 8, S / 8]"""
    return F.conv2d(x, weight, bias, stride=8)


def on_all_backgrounds(rgba, weight, bias):
    """[N, S, S, 4] u8 -> [background, N, 4, S / 8, S / 8]"""
    return torch.stack([encode(torch.from_numpy(pictures(rgba, b)), weight, bias) for b in BACKGROUNDS])


def main():
    """Writes WORK/latents.pt: weight, bias, latent [background, emoji, 4, 16, 16] and large [..., 24, 24], f32."""
    rgba = all_rgba()
    x = torch.from_numpy(pictures(rgba, "white"))
    others = [torch.from_numpy(pictures(rgba[i::4], b)) for i, b in enumerate(("blue", "black", "pink", "green"))]
    weight, bias = design(torch.cat([x, *others]))
    latent = on_all_backgrounds(rgba, weight, bias)
    large = on_all_backgrounds(enlarged(rgba, LARGE), weight, bias)
    print("latents:", tuple(latent.shape), "deviation", [round(v, 3) for v in latent.std((0, 1, 3, 4)).tolist()])
    WORK.mkdir(parents=True, exist_ok=True)
    torch.save({"weight": weight, "bias": bias, "latent": latent, "large": large}, WORK / "latents.pt")


if __name__ == "__main__":
    main()
