/* The graph of Z-Image's transformer (diffusers' ZImageTransformer2DModel and its tensor names). */
#ifndef BALLAST_MODEL_ZIMAGE_H
#define BALLAST_MODEL_ZIMAGE_H

#include "graph/graph.h"

#define BL_ZIMAGE_PATCH 2 /* side of the squares of latents that make a token */
#define BL_ZIMAGE_STEP \
    32 /* tokens of the picture and of the caption are each filled up to a multiple of it */

typedef struct bl_zimage {
    int channels;             /* of latents */
    int width, heads, hidden; /* hidden: of the feed-forward layers */
    int layers, refiners;
    int caption;           /* width of what the text encoder made */
    int time_hidden, time; /* of the timestep's embedding */
    int axis[3];           /* of the rotary embedding; their sum is the width of a head */
    float eps;
    double theta;
} bl_zimage;

typedef struct bl_zimage_shape {
    int batch, height, width; /* of latents; both even */
    int caption;              /* tokens of each caption */
} bl_zimage_shape;

/* Tokens of a picture and of a caption, filled up. */
int bl_zimage_image_tokens(const bl_zimage_shape *s);
int bl_zimage_caption_tokens(const bl_zimage_shape *s);

/* Fills the inputs "image_rope", "caption_rope" and "rope" (the first two, one behind the other):
 * [tokens][head] each. The caption stands on axis 0 from 1 on, its fill too; the picture behind it, by row
 * and column on axes 1 and 2, its fill at 0, 0, 0. */
void bl_zimage_rope(float *image, float *caption, const bl_zimage *arch, const bl_zimage_shape *s);

/* Inputs  "latents" F32 NCHW [n, channels, height, width];
 *         "t" F32 [n, 1, 1, 1]: 1000 (1 - sigma);
 *         "caption" F32 [n, T, 1, caption], T = shape.caption;
 *         "image_rope", "caption_rope", "rope" F32 [n, tokens, 1, head];
 *         "image_fill", "caption_fill" I32 [n, fill, 1, 1], zeros; each only there where something is to fill
 * up. Output  "output" F32 NCHW [n, channels, height, width]: the velocity is its negative. Taps:
 * "t_embedder", "all_x_embedder.2-1", "cap_embedder", "noise_refiner.k", "context_refiner.k", "layers.k",
 *       "all_final_layer.2-1".
 * Blocks: what is before the layers, each layer, what is behind. Owner of *out: caller, bl_graph_free. */
int bl_zimage_graph(bl_graph **out, const bl_zimage *arch, const bl_zimage_shape *shape, bl_dtype dtype,
                    const char *const *taps, bl_error *err);

#endif
