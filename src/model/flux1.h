/* The graph of FLUX.1's transformer, dev and schnell (diffusers' FluxTransformer2DModel and its tensors'
 * names). */
#ifndef BALLAST_MODEL_FLUX1_H
#define BALLAST_MODEL_FLUX1_H

#include "checkpoint/transformers.h"
#include "graph/graph.h"
#include "model/unet.h"

#define BL_FLUX1_PATCH 2

typedef struct bl_flux1_shape {
    int batch, height, width; /* of latents, multiples of BL_FLUX1_PATCH */
    int tokens;               /* of the text */
    bl_unet_form form;        /* whole, or what hangs on time and vector alone and the rest: below */
    int times;                /* of the two: steps that the prologue works for at once */
} bl_flux1_shape;

/* Tokens of the picture. */
static inline int bl_flux1_image_tokens(const bl_flux1_shape *s) {
    return s->height / BL_FLUX1_PATCH * (s->width / BL_FLUX1_PATCH);
}

/* Fills the input "rope" of one picture, [tokens + image tokens][head_dim]: the text stands at 0, 0, 0, a
 * patch at 0, y, x. */
void bl_flux1_rope(float *rope, const bl_flux1 *arch, const bl_flux1_shape *s);

/* Inputs  "latents" F32 NCHW [n, channels, height, width];
 *         "t" F32 [n, 1, 1, 1]: 1000 sigma; "guidance" F32 [n, 1, 1, 1], 1000 times it, only there where it
 * is read; "context" F32 [n, tokens, 1, context]; "pooled" F32 [n, 1, 1, pooled]; "rope" F32 [n, tokens +
 * image tokens, 1, head_dim]. Output "output" F32 NCHW like the latents: the velocity. Taps:
 * "time_text_embed", "transformer_blocks.k.0" (text), "transformer_blocks.k.1" (picture),
 * "single_transformer_blocks.k". Blocks: what is before the layers, each layer, what is behind.
 * BL_E_ARGUMENT for sides that are no whole patches. Owner of *out: caller, bl_graph_free.
 *
 * Modulations, which each block has of its own, hang on time, guidance and vector alone. The prologue makes
 * and keeps (bl_keep) those of all steps at once: its inputs are "t", "guidance" and "pooled" [n times, 1, 1,
 * ..], row k of a picture's times its step k; its blocks "times", those of the layers' names with ".norm",
 * and "norm_out". The step reads them by "step" I32 [n, 1, 1, 1] in place of the three. */
int bl_flux1_graph(bl_graph **out, const bl_flux1 *arch, const bl_flux1_shape *shape, bl_dtype dtype,
                   const char *const *taps, bl_error *err);

#endif
