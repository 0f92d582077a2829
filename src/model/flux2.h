/* The graph of Flux.2's transformer, klein and dev (diffusers' Flux2Transformer2DModel and its tensor names).
 */
#ifndef BALLAST_MODEL_FLUX2_H
#define BALLAST_MODEL_FLUX2_H

#include "checkpoint/transformers.h"
#include "graph/graph.h"
#include "model/unet.h"

typedef struct bl_flux2_shape {
    int batch, height, width; /* of latents */
    int tokens;               /* of the text */
    bl_unet_form form;        /* whole, or what depends on the time alone and the rest: below */
    int times;                /* of the two: steps that the prologue works for at once */
} bl_flux2_shape;

/* Fills the input "rope" of one picture, [tokens + height width][head_dim]: text token i stands at 0, 0, 0,
 * i, a token of the picture at 0, y, x, 0. */
void bl_flux2_rope(float *rope, const bl_flux2 *arch, const bl_flux2_shape *s);

/* Inputs  "latents" F32 NCHW [n, channels, height, width];
 *         "t" F32 [n, 1, 1, 1]: 1000 sigma; "guidance" F32 [n, 1, 1, 1], 1000 times it, only there where it
 * is read; "context" F32 [n, tokens, 1, context]; "rope" F32 [n, tokens + height width, 1, head_dim]. Output
 * "output" F32 NCHW like the latents: the velocity. Taps: "time_guidance_embed", "transformer_blocks.k.0"
 * (text), "transformer_blocks.k.1" (picture), "single_transformer_blocks.k". Blocks: what is before the
 * layers, each layer, what is behind. Owner of *out: caller, bl_graph_free.
 *
 * Modulations depend on time and guidance alone. The prologue makes and keeps (bl_keep) those of all steps at
 * once: its inputs are "t" and "guidance" [n times, 1, 1, 1], row k of a picture's times its step k, its
 * block "times". The step reads them by "step" I32 [n, 1, 1, 1] in place of "t" and "guidance". */
int bl_flux2_graph(bl_graph **out, const bl_flux2 *arch, const bl_flux2_shape *shape, bl_dtype dtype,
                   const char *const *taps, bl_error *err);

#endif
