"""Writes the single-file checkpoint in SD1.x's (LDM) names, f16, from the two training states.

    python export.py OUT.safetensors

The trained latents have deviation 1; a loader of SD1.x files takes 0.18215 x latent for such, so the 1x1 convs on both sides
of the latent (quant_conv and post_quant_conv) are scaled by it: exact, and it costs nothing.
"""
import math
import re
import sys

import numpy as np
import torch
from safetensors.torch import save_file

from captions import Captions, Vocabulary
from config import SIZE, TEXT_WIDTH, TOKENS, VAE_SCALE, VOCAB, WORK
from nets import make_text, make_unet, make_vae
from train_vae import halves
from training import averaged

METADATA = {                        # the names of Stability AI's model metadata standard, which loaders read
    "format": "pt", "modelspec.sai_model_spec": "1.0.0", "modelspec.architecture": "stable-diffusion-v1",
    "modelspec.title": "ballast-mini", "modelspec.resolution": f"{SIZE}x{SIZE}", "modelspec.prediction_type": "epsilon",
    "modelspec.license": "MIT",
    "ballast.steps": "20", "ballast.cfg": "5",                  # what its pictures look best with
}
LEVELS, LAYERS = 4, 2
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}


def block_inside(kind, rest):
    """Names inside a block: a resnet's are renamed, a transformer's stay."""
    if kind == "attentions":
        return rest
    head, _, tail = rest.partition(".")
    return f"{RESNET[head]}.{tail}"


def unet_key(name):
    """diffusers' UNet name -> LDM's. LDM counts blocks in one row: LAYERS blocks and a downsampler a level (LAYERS + 1 when
    going up, where the upsampler sits inside the level's last block)."""
    fixed = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
             "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
    stem, _, kind = name.rpartition(".")
    if stem in fixed:
        return f"{fixed[stem]}.{kind}"
    part = name.split(".", 4)
    if part[0] == "mid_block":
        kind, index, rest = part[1], int(part[2]), name.split(".", 3)[3]
        return f"middle_block.{1 if kind == 'attentions' else 2 * index}.{block_inside(kind, rest)}"
    level, kind, index, rest = int(part[1]), part[2], int(part[3]), part[4]
    inner = {"resnets": 0, "attentions": 1}
    if part[0] == "down_blocks":
        first = 1 + level * (LAYERS + 1)
        if kind == "downsamplers":
            return f"input_blocks.{first + LAYERS}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{first + index}.{inner[kind]}.{block_inside(kind, rest)}"
    first = level * (LAYERS + 1)
    if kind == "upsamplers":
        return f"output_blocks.{first + LAYERS}.{1 if level == 0 else 2}.{rest}"       # the lowest level has no attention
    return f"output_blocks.{first + index}.{inner[kind]}.{block_inside(kind, rest)}"


VAE_RULES = (
    (r"^encoder\.down_blocks\.(\d)\.resnets\.", r"encoder.down.\1.block."),
    (r"^encoder\.down_blocks\.(\d)\.downsamplers\.0\.", r"encoder.down.\1.downsample."),
    (r"mid_block\.resnets\.0\.", "mid.block_1."), (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"), (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    ("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"),
)


def vae_key(name):
    """diffusers' VAE name -> LDM's, which counts the decoder's levels from the picture down."""
    up = re.match(r"decoder\.up_blocks\.(\d)\.(resnets|upsamplers)\.(\d)\.(.*)", name)
    if up:
        level = LEVELS - 1 - int(up[1])
        name = f"decoder.up.{level}." + (f"block.{up[3]}.{up[4]}" if up[2] == "resnets" else f"upsample.{up[4]}")
    for pattern, by in VAE_RULES:
        name = re.sub(pattern, by, name)
    return name


def fold_scale(vae):
    """New latent z' = z / VAE_SCALE."""
    into, out = vae.quant_conv, vae.post_quant_conv
    with torch.no_grad():
        out.weight *= VAE_SCALE
        into.weight[:4] /= VAE_SCALE
        into.bias[:4] /= VAE_SCALE
        into.bias[4:] -= 2 * math.log(VAE_SCALE)


def full_embedding(rows, vocabulary):
    """[used + 1, width] -> [VOCAB, width]: every token without a row of its own gets the unknown's."""
    return rows[torch.from_numpy(np.asarray(vocabulary.row))]


def networks():
    """(unet, text with CLIP's whole vocabulary, vae with scaled latents): averaged weights, f32."""
    vocabulary = Vocabulary(Captions().everything())
    vae = make_vae().eval()
    for half, name in zip(halves(vae), ("encoder", "decoder"), strict=True):
        averaged(half, WORK / f"{name}.pt")
    fold_scale(vae)
    pair = torch.nn.ModuleList([make_unet(), make_text(len(vocabulary))])
    averaged(pair, WORK / "unet.pt")
    unet, small = pair
    text = make_text()
    state = small.state_dict()
    key = next(k for k in state if k.endswith("token_embedding.weight"))
    text.load_state_dict({**state, key: full_embedding(state[key], vocabulary)})
    return unet.eval(), text.eval(), vae


def single_file(unet, text, vae):
    """{LDM name: f16 tensor}"""
    out = {f"model.diffusion_model.{unet_key(k)}": v for k, v in unet.state_dict().items()}
    for k, v in vae.state_dict().items():
        attention = "attentions" in k and v.dim() == 2
        out[f"first_stage_model.{vae_key(k)}"] = v[..., None, None] if attention else v
    for k, v in text.state_dict().items():
        out["cond_stage_model.transformer.text_model." + k.removeprefix("text_model.")] = v
    out = {k: v.to(torch.float16).contiguous() for k, v in out.items() if not k.endswith("position_ids")}
    out["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(TOKENS)[None]
    return out


def main(path):
    tensors = single_file(*networks())
    width = tensors["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"].shape
    assert width == (VOCAB, TEXT_WIDTH)
    assert all(torch.isfinite(v).all() for v in tensors.values())
    save_file(tensors, path, metadata=METADATA)
    print(f"export: {path}, {len(tensors)} tensors, {sum(v.nbytes for v in tensors.values()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1])
