/* The graph of SD3's and SD3.5's transformer (diffusers' SD3Transformer2DModel and its tensors' names). */
#ifndef BALLAST_MODEL_SD3_H
#define BALLAST_MODEL_SD3_H

#include "checkpoint/transformers.h"
#include "graph/graph.h"
#include "model/unet.h"

#define BL_SD3_PATCH 2

typedef struct bl_sd3_shape {
    int batch, height, width; /* of latents, multiples of BL_SD3_PATCH */
    int tokens;               /* of the text */
    bl_unet_form form;        /* as in bl_flux1_shape */
    int times;
} bl_sd3_shape;

/* Tokens of the picture. */
static inline int bl_sd3_image_tokens(const bl_sd3_shape *s) {
    return s->height / BL_SD3_PATCH * (s->width / BL_SD3_PATCH);
}

/* Where a picture's tokens lie in the table, whose middle is theirs: the first column of row y of them is the
 * table's row number bl_sd3_position(arch, shape, y) of [side side, width]. */
static inline int64_t bl_sd3_position(const bl_sd3 *a, const bl_sd3_shape *s, int y) {
    const int top = (a->positions - s->height / BL_SD3_PATCH) / 2,
              left = (a->positions - s->width / BL_SD3_PATCH) / 2;
    return ((int64_t)top + y) * a->positions + left;
}

/* Inputs  "latents" F32 NCHW [n, channels, height, width];
 *         "positions" F32 [n, height / 2, width / 2, heads head_dim], rows of the table BL_SD3_TABLE, which
 * is not among the graph's weights: few of its rows are read; "t" F32 [n, 1, 1, 1]: 1000 sigma; "context" F32
 * [n, tokens, 1, context]; "pooled" F32 [n, 1, 1, pooled]. Output "output" F32 NCHW like the latents: the
 * velocity. Taps: "time_text_embed", "transformer_blocks.k.0" (text; not of the last),
 * "transformer_blocks.k.1" (picture). Blocks: what is before the layers, each layer, what is behind. The last
 * layer's queries of the text, which nobody reads, are left out. BL_E_ARGUMENT for sides that are no whole
 * patches, or longer than the table's. Owner of *out: caller, bl_graph_free.
 *
 * Modulations are made by a prologue as those of FLUX.1: see bl_flux1_graph. */
int bl_sd3_graph(bl_graph **out, const bl_sd3 *arch, const bl_sd3_shape *shape, bl_dtype dtype,
                 const char *const *taps, bl_error *err);

#endif
