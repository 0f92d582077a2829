"""What A1111, ComfyUI and diffusers make of prompts, sizes, clip skip and LCM, computed with diffusers' networks.

    python tools/compat_goldens.py build/test-checkpoints tests/data      (torch, diffusers, transformers, safetensors)

The first folder holds the checkpoints that the tests rebuild, as diffusers folders. For each family it writes
golden/compat.safetensors: CASE.final, the latents after a step or a few of a seed's picture of 64 x 64 pixels or what the
case says. The rules are written out here from the programs' documented behaviour, apart from the parsers: a prompt is given
as the pieces and weights that its program reads it as. For compat diffusers the conditions come from diffusers' own pipelines.
tests/pipeline/test_compat.c asks Ballast for the same cases. The metadata holds the digest of the weights they belong to.
"""
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import (EulerDiscreteScheduler, LCMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline,
                       UNet2DConditionModel)
from diffusers.models.upsampling import Upsample2D
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

torch.set_grad_enabled(False)
START, END, TEXT = 49406, 49407, 75
ROOT = Path(__file__).resolve().parent.parent
betas = torch.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000, dtype=torch.float64) ** 2
alphas = torch.cumprod(1 - betas, 0)
sigmas = ((1 - alphas) / alphas).sqrt()
LONG = "cat dog " * 40                      # 80 tokens
SHORT = "bad hands"


def tokenizer():
    """CLIP's, from the merges that the library embeds: bytes, bytes that end a word, merges, start, end."""
    lines = (ROOT / "src/text/clip_merges.txt").read_text(encoding="utf8").splitlines()[1:]
    merges = [tuple(line.split()) for line in lines if line]
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in visible] + [chr(256 + i) for i in range(256 - len(visible))]
    words = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=merges)


words = tokenizer()


def ids(text):
    return words(text, add_special_tokens=False).input_ids


def tokens_and_weights(chunk):
    """Of a list of (text, weight): its tokens, and the weights [77] of those between the start and the end."""
    tokens = [t for text, _ in chunk for t in ids(text)]
    weights = torch.ones(77)
    weights[1:1 + len(tokens)] = torch.tensor([x for text, x in chunk for _ in ids(text)])
    return tokens, weights


def noise_of(seed, height=8, width=8, sequence=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 4, height, width, generator=generator) for _ in range(sequence)]


class Encoder:
    """One text encoder; `own`: which hidden state from the end the UNet reads, `norm`: through the final layer norm."""

    def __init__(self, net, pad, own, norm):
        self.net, self.pad, self.own, self.norm = net.eval(), pad, own, norm
        if not hasattr(net, "text_model"):      # transformers 5 has no such level; diffusers still asks for it
            object.__setattr__(net, "text_model", net)

    def run(self, tokens, skip=None):
        """A chunk of at most 75 tokens: what the UNet reads of it, and the pooled text."""
        row = [START] + tokens + [END] + [self.pad] * (TEXT - len(tokens))
        out = self.net(torch.tensor([row]), output_hidden_states=True)
        z = out.hidden_states[-(skip or self.own)]
        return self.net.text_model.final_layer_norm(z) if self.norm else z, getattr(out, "text_embeds", None)


class Model:
    def __init__(self, family, folder):
        self.family, self.folder = family, folder
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
        self.v = family == "sd21v"
        first = CLIPTextModel.from_pretrained(folder / "text_encoder")
        if family == "sdxl":
            second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2")
            self.encoders = [Encoder(first, END, 2, False), Encoder(second, 0, 2, False)]
        else:
            self.encoders = [Encoder(first, 0 if self.v else END, 1, True)]

    # ---- conditions: (context, pooled)

    def a1111(self, chunks, skip=None):
        """chunks: lists of (text, weight). Each chunk's mean is restored."""
        rows, pooled = [], None
        for chunk in chunks:
            tokens, w = tokens_and_weights(chunk)
            parts = []
            for e in self.encoders:
                z, text = e.run(tokens, skip)
                weighted = z * w[None, :, None]
                parts.append(weighted * (z.mean() / weighted.mean()))
            pooled = text if pooled is None else pooled
            rows.append(torch.cat(parts, -1))
        return torch.cat(rows, 1), pooled

    def comfyui(self, chunks, skip=None):
        """The same, each token away from or towards its place in the empty prompt."""
        rows, pooled = [], None
        for chunk in chunks:
            tokens, w = tokens_and_weights(chunk)
            parts = []
            for e in self.encoders:
                z, text = e.run(tokens, skip)
                empty = e.run([], skip)[0]
                parts.append((z - empty) * w[None, :, None] + empty)
            pooled = text if pooled is None else pooled
            rows.append(torch.cat(parts, -1))
        return torch.cat(rows, 1), pooled

    def diffusers(self, prompt, negative=None, clip_skip=None):
        """[unconditional, conditional] from diffusers' own pipeline."""
        kind = StableDiffusionXLPipeline if self.family == "sdxl" else StableDiffusionPipeline
        parts = {"vae": None, "unet": self.unet, "scheduler": EulerDiscreteScheduler()}
        for i, e in enumerate(self.encoders):
            mine = tokenizer()
            mine.model_max_length, mine.pad_token_id = 77, e.pad
            parts["tokenizer" + "_2" * i], parts["text_encoder" + "_2" * i] = mine, e.net
        if self.family != "sdxl":
            pipe = kind(**{**parts, "vae": None, "safety_checker": None, "feature_extractor": None})
            c, u = pipe.encode_prompt(prompt, "cpu", 1, True, negative, clip_skip=clip_skip)
            return (u, None), (c, None)
        pipe = kind(**parts)
        c, u, cp, up = pipe.encode_prompt(prompt, device="cpu", do_classifier_free_guidance=True,
                                          negative_prompt=negative, clip_skip=clip_skip)
        return (u, up), (c, cp)

    def zeros(self):
        context, pooled = self.a1111([[("", 1.0)]])
        return torch.zeros_like(context), torch.zeros_like(pooled)

    # ---- the denoiser

    def out(self, x, timestep, condition, told):
        context, pooled = condition
        more = {}
        if pooled is not None:
            height, width = told
            more = {"added_cond_kwargs": {"text_embeds": pooled,
                                          "time_ids": torch.tensor([[height, width, 0, 0, height, width]]).float()}}
        return self.unet(x.float(), torch.tensor([float(timestep)]), context, **more).sample

    def denoised(self, x, sigma, timestep, condition, told=None):
        x = x.double()
        told = told or (8 * x.shape[2], 8 * x.shape[3])
        out = self.out(x / math.sqrt(sigma ** 2 + 1), timestep, condition, told).double()
        if self.v:
            return x / (sigma ** 2 + 1) - out * sigma / math.sqrt(sigma ** 2 + 1)
        return x - sigma * out

    def guided(self, x, sigma, timestep, uncond, cond, cfg, told=None):
        c = self.denoised(x, sigma, timestep, cond, told)
        if uncond is None:
            return c
        u = self.denoised(x, sigma, timestep, uncond, told)
        return u + cfg * (c - u)

    def one_step(self, compat, uncond, cond, cfg=7, height=8, width=8, seed=1):
        """Euler from the first sigma to 0."""
        sigma = float(sigmas[-1])
        start = sigma if compat == "a1111" else math.sqrt(sigma ** 2 + 1)
        return self.guided(noise_of(seed, height, width)[0].double() * start, sigma, 999, uncond, cond, cfg)

    def euler(self, conditions, cfg=7, steps=2, height=8, width=8, seed=1):
        """diffusers' Euler, "leading"."""
        s = EulerDiscreteScheduler.from_pretrained(self.folder / "scheduler", timestep_spacing="leading",
                                                   prediction_type="v_prediction" if self.v else "epsilon")
        s.set_timesteps(steps)
        x = noise_of(seed, height, width)[0] * s.init_noise_sigma
        for t in s.timesteps:
            u, c = (self.out(s.scale_model_input(x, t), t, k, (8 * height, 8 * width)) for k in conditions)
            x = s.step(u + cfg * (c - u), t, x).prev_sample
        return x


# ---- LCM as A1111 samples it: 50 of the 1000 levels, whole timesteps, boundary scalings

fifty = sigmas[19::20]


def level_at(index):
    low = min(int(index), 48)
    w = index - low
    return float(((1 - w) * fifty[low].log() + w * fifty[low + 1].log()).exp())


def lcm(model, cond, sigma_list):
    draws = iter(noise_of(1, sequence=len(sigma_list)))
    x = next(draws).double() * sigma_list[0]
    for sigma, after in zip(sigma_list, sigma_list[1:]):
        t = int((fifty.log() - math.log(sigma)).abs().argmin()) * 20 + 19
        k = (10.0 * t) ** 2
        x = (k / (k + 0.25)) ** 0.5 * model.denoised(x, sigma, t, cond) + 0.25 / (k + 0.25) * x
        if after:
            x = x + after * next(draws).double()
    return x


def karras(n, low, high):
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    return ((high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7).tolist()


def lcm_cases(model, cond):
    top, bottom = float(fifty[-1]), float(fifty[0])
    for n in (1, 2, 4, 60):
        yield f"a1111.lcm_{n}", [level_at(49 - 49 * i / max(n - 1, 1)) for i in range(n)]
    yield "a1111.lcm_sgm", [level_at(49 - 49 * i / 4) for i in range(4)]
    yield "a1111.lcm_karras", karras(4, bottom, top)
    yield "a1111.lcm_simple", [float(fifty[-(1 + int(i * 50 / 4))]) for i in range(4)]
    yield "a1111.lcm_ddim", [float(fifty[i]) for i in range(1, 50, 12)][::-1]


# ---- sizes that are no multiple of 64: on the way up A1111 convolves twice the side and resizes after it

plain_upsample = Upsample2D.forward


def late_resize(self, hidden_states, output_size=None, *args, **kwargs):
    y = plain_upsample(self, hidden_states, None, *args, **kwargs)
    return y if output_size is None else F.interpolate(y, size=tuple(output_size), mode="nearest")


def a1111_sides(model, cond, height, width):
    Upsample2D.forward = late_resize
    try:
        return model.one_step("a1111", None, cond, 1, height, width)
    finally:
        Upsample2D.forward = plain_upsample


def hires(model, compat, cond, scale, then=None):
    """64 x 64, then `scale` times that from interpolated latents: a step of a list of 2 at strength 0.5. `then`: another
    condition in the second pass."""
    x = model.one_step(compat, None, cond, 1)
    told = int(64 * scale) if compat == "a1111" else int(64 * scale) // 8 * 8
    side = int(64 * scale) // 8
    x = F.interpolate(x.float(), size=(side, side), mode="bilinear", antialias=False).double()
    sigma = float(sigmas[0])                    # "normal" in 2 steps: timesteps 999 and 0
    if compat == "a1111":
        Upsample2D.forward = late_resize
    x = x + sigma * noise_of(1, side, side)[0].double()
    x = model.denoised(x, sigma, 0, then or cond, (told, told))
    Upsample2D.forward = plain_upsample
    return x


# ---- prompts that change, and prompts joined by AND: as A1111 counts, by calls of the denoiser from 0 on, where a text
# that ends at step n is told at call n too


def walk(model, steps, told, cfg=7, heun=False):
    """Euler or Heun over "normal", which for 4 steps has timesteps 999, 666, 333, 0. told: call -> (unconditional or None,
    [(weight, condition), ...])."""
    timesteps = [999 - 999 * i // max(steps - 1, 1) for i in range(steps)]
    levels = [float(sigmas[t]) for t in timesteps] + [0.0]
    x, calls = noise_of(1)[0].double() * levels[0], iter(range(100))

    def predict(x, i):
        uncond, conds = told(next(calls))
        base = 0 if uncond is None else model.denoised(x, levels[i], timesteps[i], uncond)
        return base + sum(cfg * w * (model.denoised(x, levels[i], timesteps[i], c) - base) for w, c in conds)

    for i in range(steps):
        a, b = levels[i], levels[i + 1]
        slope = (x - predict(x, i)) / a
        if heun and b:
            y = x + slope * (b - a)
            slope = (slope + (y - predict(y, i + 1)) / b) / 2
        x = x + slope * (b - a)
    return x


def changing_cases(m):
    def text(words):
        return m.a1111([[(words, 1.0)]])

    cat, dog, house, negative, empty = (text(t) for t in ("cat", "dog", "red house", SHORT, ""))
    cats, dogs = text("cat house"), text("dog house")
    yield "a1111.edit", walk(m, 4, lambda k: (negative if k <= 1 else empty, [(1, cats if k <= 2 else dogs)]))
    yield "a1111.alternate", walk(m, 4, lambda k: (None, [(1, [cat, cat, dog, house][k])]), 1)
    yield "a1111.edit_heun", walk(m, 4, lambda k: (negative, [(1, cat if k <= 4 else dog)]), 7, True)
    yield "a1111.edit_hires", hires(m, "a1111", cat, 1.3, dog)
    long = m.a1111([[(LONG[:8 * 37 + 4], 1.0)], [(LONG[8 * 37 + 4:], 1.0)]])
    stretched = torch.cat([cat[0], cat[0][:, -1:].repeat(1, 77, 1)], 1), cat[1]
    padded = torch.cat([negative[0], empty[0]], 1), negative[1]
    yield "a1111.and", walk(m, 1, lambda k: (negative, [(1, stretched), (-0.5, long)]))
    yield "a1111.and_padded", walk(m, 1, lambda k: (padded, [(1, stretched), (-0.5, long)]))
    yield "a1111.and_unguided", walk(m, 2, lambda k: (None, [(0.25, cat), (0.75, dog)]), 1)
    yield "a1111.weight_alone", walk(m, 2, lambda k: (negative, [(0.5, cat)]))


# ---- the cases


def common_cases(m):
    """Those that every family has."""
    a, c = m.a1111, m.comfyui
    negative = a([[(SHORT, 1.0)]])
    long = a([[(LONG[:8 * 37 + 4], 1.0)], [(LONG[8 * 37 + 4:], 1.0)]])       # 75 tokens and 5
    empty = a([[("", 1.0)]])
    yield "a1111.weights", m.one_step("a1111", None, a([[("cat", 1.5), ("dog", 1.0), ("red house", 1.1 * 0.5)]]), 1)
    yield "a1111.break", m.one_step("a1111", None, a([[("cat", 1.0)], [("dog", 1.3)]]), 1)
    yield "a1111.long_prompt", m.one_step("a1111", negative, long)
    yield "a1111.long_negative", m.one_step("a1111", long, negative)
    yield "a1111.padded", m.one_step("a1111", (torch.cat([negative[0], empty[0]], 1), negative[1]), long)
    yield "a1111.blank_negative", m.one_step("a1111", empty, a([[("cat", 1.0)]]))
    yield "comfyui.weights", m.one_step("comfyui", None, c([[("cat", 1.5), ("dog", 1.1), ("red", 0.5), ("house", 1.1)]]), 1)
    yield "comfyui.brackets", m.one_step("comfyui", None, c([[("[cat] BREAK dog", 1.0)]]), 1)
    yield "comfyui.empty_negative", m.one_step("comfyui", empty, a([[("cat", 1.0)]]))
    twice = (torch.cat([negative[0]] * 2, 1), negative[1])      # repeated to the same length, which changes nothing
    yield "comfyui.long_prompt", m.one_step("comfyui", twice, long)
    yield "diffusers.weights_are_text", m.euler(m.diffusers("(cat:1.5) BREAK dog", SHORT))
    yield "diffusers.cut_at_75", m.euler(m.diffusers(LONG, SHORT))
    yield "diffusers.no_negative", m.euler(m.diffusers("cat"))
    yield "diffusers.empty_negative", m.euler(m.diffusers("cat", ""))
    yield "diffusers.clip_skip_3", m.euler(m.diffusers("cat", SHORT, clip_skip=2))
    cat = a([[("cat", 1.0)]])
    yield "a1111.sides_72x104", a1111_sides(m, cat, 9, 13)
    yield "comfyui.sides_72x104", m.one_step("comfyui", None, cat, 1, 9, 13)
    yield "a1111.hires_1.3", hires(m, "a1111", cat, 1.3)
    yield from changing_cases(m)
    for name, levels in lcm_cases(m, cat):
        yield name, lcm(m, cat, levels + [0.0])


def cases(m):
    yield from common_cases(m)
    prompt = [[("cat", 1.0)]]
    cat, negative = m.a1111(prompt), m.a1111([[(SHORT, 1.0)]])
    if m.family == "sd15":
        for compat in ("a1111", "comfyui"):
            yield compat + ".clip_skip_3", m.one_step(compat, m.a1111([[(SHORT, 1.0)]], 3), m.a1111(prompt, 3))
    elif m.family == "sd21v":                   # the folder's last layer is the last but one
        yield "a1111.clip_skip_3", m.one_step("a1111", negative, cat)
        yield "comfyui.clip_skip_3", m.one_step("comfyui", m.a1111([[(SHORT, 1.0)]], 2), m.a1111(prompt, 2))
    else:
        yield "a1111.clip_skip_3", m.one_step("a1111", negative, cat)
        yield "comfyui.clip_skip_3", m.one_step("comfyui", m.a1111([[(SHORT, 1.0)]], 3), m.a1111(prompt, 3))
        long = m.a1111([[(LONG[:8 * 37 + 4], 1.0)], [(LONG[8 * 37 + 4:], 1.0)]])
        zeros, empty = m.zeros(), m.a1111([[("", 1.0)]])
        yield "a1111.no_negative", m.one_step("a1111", zeros, cat)
        yield "a1111.zeros_and_long", m.one_step("a1111", zeros, long)
        yield "a1111.zeros_padded", m.one_step("a1111", (torch.cat([zeros[0], empty[0]], 1), zeros[1]), long)


def main(checkpoints, data):
    for family in ("sd15", "sd21v", "sdxl"):
        digests = json.loads((data / family / "weights.json").read_text())["sha256"]
        unet = digests["diffusers/unet/diffusion_pytorch_model.safetensors"]
        model = Model(family, checkpoints / f"{family}-{unet[:16]}")
        tensors = {f"{name}.final": x.float().contiguous() for name, x in cases(model)}
        save_file(tensors, data / family / "golden/compat.safetensors",
                  {"weights": digests["single_file/model.safetensors"]})
        print(family, len(tensors), "cases")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
