#!/usr/bin/env python3
"""zimage_torch.py THREADS: one of Z-Image's blocks at its published size in PyTorch, bf16, a picture of 512 x 512.

Prints seconds of the block and of its matrix products alone, best of four, as JSON. Weights are random."""
import json
import sys
import time

import torch
from torch.nn import functional as F

WIDTH, HEADS, HIDDEN, TIME = 3840, 30, 10240, 256
TOKENS = 1024 + 64  # of the picture and of the caption, as bench_network has them


def matrix(rows, columns):
    return (torch.randn(rows, columns) / columns ** 0.5).bfloat16()


def rotated(x, turn):
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).bfloat16()


class Block:
    def __init__(self):
        self.qkvo = [matrix(WIDTH, WIDTH) for _ in range(4)]
        self.w1, self.w3, self.w2 = matrix(HIDDEN, WIDTH), matrix(HIDDEN, WIDTH), matrix(WIDTH, HIDDEN)
        self.time = matrix(4 * WIDTH, TIME)
        self.norm, self.head = torch.ones(WIDTH).bfloat16(), torch.ones(WIDTH // HEADS).bfloat16()
        angle = torch.rand(TOKENS, 1, WIDTH // HEADS // 2)
        self.turn = torch.polar(torch.ones_like(angle), angle)

    def heads(self, x, normed):
        x = x.unflatten(-1, (HEADS, -1))
        return (rotated(F.rms_norm(x, self.head.shape, self.head), self.turn) if normed else x).transpose(1, 2)

    def whole(self, x, t):
        a, gate_a, m, gate_m = F.linear(t, self.time).chunk(4, dim=-1)
        norm = lambda v: F.rms_norm(v, self.norm.shape, self.norm)
        y = norm(x) * (1 + a)
        q, k, v = (self.heads(F.linear(y, w), i < 2) for i, w in enumerate(self.qkvo[:3]))
        y = F.linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2), self.qkvo[3])
        x = x + gate_a.tanh() * norm(y)
        y = norm(x) * (1 + m)
        y = F.linear(F.silu(F.linear(y, self.w1)) * F.linear(y, self.w3), self.w2)
        return x + gate_m.tanh() * norm(y)

    def products(self, x, t):
        for w in self.qkvo:
            F.linear(x, w)
        F.linear(F.linear(x, self.w1) + F.linear(x, self.w3), self.w2)


def best(run, *inputs):
    took = []
    for _ in range(4):
        began = time.perf_counter()
        run(*inputs)
        took.append(time.perf_counter() - began)
    return min(took)


torch.set_num_threads(int(sys.argv[1]))
with torch.inference_mode():
    block = Block()
    x, t = torch.randn(1, TOKENS, WIDTH).bfloat16(), torch.randn(1, 1, TIME).bfloat16()
    print(json.dumps({"torch": torch.__version__, "block_seconds": best(block.whole, x, t),
                      "product_seconds": best(block.products, x, t),
                      "product_flops": 2 * TOKENS * (4 * WIDTH * WIDTH + 3 * WIDTH * HIDDEN)}))
