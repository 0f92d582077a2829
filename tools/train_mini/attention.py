"""attention.c as a diffusers attention processor: the same arithmetic as the stock one, two to five times faster at these sizes."""
import ctypes
import subprocess

import torch

from config import HERE, WORK


def library():
    """Compiles attention.c for this machine when the built one is missing or older."""
    source, built = HERE / "attention.c", WORK / "attention.so"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-fopenmp", "-shared", "-fPIC",
                        "-o", built, source, "-lm"], check=True)
    return ctypes.CDLL(str(built))


LIB = library()
ROWS = 4                                # as in attention.c


def pointers(*tensors):
    return [ctypes.c_void_p(t.data_ptr()) for t in tensors]


class Attend(torch.autograd.Function):
    """q [G, n, D], k and v [G, m, D] f32 -> [G, n, D]; q already carries the scale."""

    @staticmethod
    def forward(ctx, q, k, v):
        (g, n, d), m = q.shape, k.shape[1]
        out, lse = torch.empty_like(q), q.new_empty(g, n)
        LIB.attention_forward(*pointers(q, k, v, out, lse), g, n, m, d)
        ctx.save_for_backward(q, k, v, out, lse)
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out, lse = ctx.saved_tensors
        grad = grad.contiguous()
        (g, n, d), m = q.shape, k.shape[1]
        grads = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        LIB.attention_backward(*pointers(q, k, v, out, lse, grad, *grads), g, n, m, d)
        return grads


class FastAttention:
    """Processor for UNet2DConditionModel.set_attn_processor."""

    def __call__(self, attn, hidden, encoder_hidden_states=None, **unused):
        context = hidden if encoder_hidden_states is None else encoder_hidden_states
        batch, n, _ = hidden.shape

        def heads(x):                                        # [B, L, H * D] -> [B * H, L, D] f32
            return x.float().view(batch, x.shape[1], attn.heads, -1).transpose(1, 2).reshape(batch * attn.heads, x.shape[1], -1)

        q, k, v = heads(attn.to_q(hidden)), heads(attn.to_k(context)), heads(attn.to_v(context))
        if n % ROWS:                                         # the 3x3 places in the middle of a large picture
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            out = Attend.apply(q * q.shape[-1] ** -0.5, k, v)
        out = out.view(batch, attn.heads, n, -1).transpose(1, 2).reshape(batch, n, -1)
        return attn.to_out[0](out)
