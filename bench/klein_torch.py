#!/usr/bin/env python3
"""klein_torch.py FOLDER THREADS SIZE: FLUX.2 klein's parts in diffusers, bf16, from the files of random_klein.py.

Prints seconds of the text encoder on 512 tokens, of a step and of the decoding of SIZE x SIZE pixels as JSON, each the
better of two runs, files read before. Tokens and noise are made up."""
import gc
import json
import sys
import time

import diffusers
import torch
import transformers

FOLDER, THREADS, SIZE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ROWS, READ = 512, 3 * 2560


def load(kind, part):
    gc.collect()  # one part in memory at a time
    return kind.from_pretrained(f"{FOLDER}/{part}", torch_dtype=torch.bfloat16).eval()


def best(run):
    took = []
    for _ in range(2):
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return min(took)


def encode():
    encoder = load(transformers.Qwen3ForCausalLM, "text_encoder")
    ids, mask = torch.arange(ROWS)[None] * 251 % 150000, torch.ones(1, ROWS, dtype=torch.long)
    return best(lambda: encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False))


def step():
    side = SIZE // 16
    transformer = load(diffusers.Flux2Transformer2DModel, "transformer")
    at = torch.cartesian_prod(torch.arange(1), torch.arange(side), torch.arange(side), torch.arange(1))
    words = torch.cartesian_prod(torch.arange(1), torch.arange(1), torch.arange(1), torch.arange(ROWS))
    x, text = torch.randn(1, side * side, 128).bfloat16(), torch.randn(1, ROWS, READ).bfloat16()
    return best(lambda: transformer(hidden_states=x, encoder_hidden_states=text, timestep=torch.ones(1).bfloat16(),
                                    img_ids=at[None], txt_ids=words[None], return_dict=False))


def decode():
    vae = load(diffusers.AutoencoderKLFlux2, "vae")
    z = torch.randn(1, 32, SIZE // 8, SIZE // 8).bfloat16()
    return best(lambda: vae.decode(z, return_dict=False))


torch.set_num_threads(THREADS)
torch.manual_seed(1)
with torch.inference_mode():
    print(json.dumps({"torch": torch.__version__, "diffusers": diffusers.__version__, "step": step(), "encode": encode(),
                      "decode": decode()}))
