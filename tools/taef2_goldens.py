#!/usr/bin/env python3
"""taef2_goldens.py TAESD DATA: a decoder of TAEF2's kind with 4 channels, and pictures of it.

TAESD: taesd.py of madebyollin/taesd (5cccb12 or later), whose blocks are put together as its Decoder does, with fewer
channels. DATA: tests/data, into whose common/taef2 the file, pictures and tolerances go. Needs numpy, torch and
safetensors. Weights are random; convolutions keep the size of what passes."""
import copy
import importlib.util
import json
import os
import sys

import torch
import torch.nn as nn
from safetensors.torch import save_file

CHANNELS, LATENT = 4, 32


def load_reference(path):
    spec = importlib.util.spec_from_file_location("taesd", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decoder(ref):
    n, layers = CHANNELS, [ref.Clamp(), ref.conv(LATENT, CHANNELS), nn.ReLU()]
    for level in range(3):
        layers += [ref.Block(n, n, use_midblock_gn=level == 0) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), ref.conv(n, n, bias=False)]
    return nn.Sequential(*layers, ref.Block(n, n), ref.conv(n, 3))


def fill(net):
    for p in net.parameters():
        fan = p[0].numel()
        p.data = (torch.randn(p.shape) / fan**0.5 if p.dim() == 4 else 0.2 * torch.randn(p.shape)).half().float()
    for name, p in net.named_parameters():
        if name.endswith("pool.1.weight"):
            p.data = (p + 1).half().float()


def main():
    folder = os.path.join(sys.argv[2], "common/taef2")
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(1)
    net = decoder(load_reference(sys.argv[1])).eval()
    fill(net)
    save_file({k: v.half().contiguous() for k, v in net.state_dict().items()}, f"{folder}/decoder.safetensors")
    exact, short = copy.deepcopy(net).double(), copy.deepcopy(net).bfloat16()
    gold, tolerances = {}, {}
    for case, shape in {"d.tall": (1, LATENT, 3, 2), "d.pair": (2, LATENT, 2, 2)}.items():
        z = torch.randn(shape)
        gold[f"{case}.z"] = z
        taps = {}
        hooks = [layer.register_forward_hook(lambda m, a, out, i=i: taps.__setitem__(i, out))
                 for i, layer in enumerate(net) if i in (1, 3, 5)] if case == "d.tall" else []
        with torch.no_grad():
            image, best, coarse = net(z) * 2 - 1, exact(z.double()) * 2 - 1, short(z.bfloat16()) * 2 - 1
        for h in hooks:
            h.remove()
        gold[f"{case}.image"] = image
        peak, off = float(image.abs().max()), (coarse.double() - best).abs()
        tolerances[f"{case}.image"] = {
            "peak": peak, "tol_abs": max(4 * float((image.double() - best).abs().max()), 1e-5 * peak),
            "bf16_abs": float(off.max()), "bf16_rms": float(off.square().mean().sqrt())}
        for i, out in taps.items():
            gold[f"{case}.at.{i}"] = out
            peak = float(out.abs().max())
            tolerances[f"{case}.at.{i}"] = {"peak": peak, "tol_abs": 1e-5 * peak}
    save_file({k: v.contiguous() for k, v in gold.items()}, f"{folder}/golden.safetensors")
    rounded = {t: {k: float(f"{v:.4g}") for k, v in r.items()} for t, r in tolerances.items()}
    with open(f"{folder}/tolerances.json", "w") as f:
        json.dump({"golden.safetensors": rounded}, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
