/* The graph of Z-Image's transformer (diffusers' ZImageTransformer2DModel and its tensor names). */
#ifndef BALLAST_MODEL_ZIMAGE_H
#define BALLAST_MODEL_ZIMAGE_H

#include "checkpoint/transformers.h"
#include "graph/graph.h"

#define BL_ZIMAGE_PATCH 2 /* side of the squares of latents that make a token */
#define BL_ZIMAGE_STEP \
    32 /* tokens of the picture and of the caption are each filled up to a multiple of it */

typedef struct bl_zimage_shape {
    int batch, height, width; /* of latents; both even */
    int caption;              /* tokens of the longest caption */
    bool own_lengths;         /* captions differ in length, filled up */
} bl_zimage_shape;

/* Tokens of a picture and of a caption, filled up. */
int bl_zimage_image_tokens(const bl_zimage_shape *s);
int bl_zimage_caption_tokens(const bl_zimage_shape *s);

/* Fills the inputs "image_rope" and "caption_rope", [tokens][head] each; "rope" is both, one behind the
 * other, of the longest caption's tokens. The caption stands on axis 0 from 1 on, its fill too; the picture
 * behind it, by row and column on axes 1 and 2, its fill at 0, 0, 0. */
void bl_zimage_rope(float *image, float *caption, const bl_zimage *arch, const bl_zimage_shape *s);

/* Inputs  "latents" F32 NCHW [n, channels, height, width];
 *         "t" F32 [n, 1, 1, 1]: 1000 (1 - sigma);
 *         "caption" F32 [n, T, 1, caption], T the filled up tokens, zeros behind a caption's own;
 *         "caption_rows" I32 [n, T, 1, 1], 0 of a caption's own tokens, 1 behind them;
 *         "image_rope", "caption_rope", "rope" F32 [n, tokens, 1, head];
 *         "image_fill" I32 [n, fill, 1, 1], zeros; only there where something is to fill up;
 *         "caption_counts", "counts" I32 [n, 1, 1, 1], tokens of each caption, filled up, and those of the
 * picture and it together; only there with own lengths.
 * Output  "output" F32 NCHW [n, channels, height, width]: the velocity is its negative.
 * Taps: "t_embedder", "all_x_embedder.2-1", "cap_embedder", "noise_refiner.k", "context_refiner.k",
 *       "layers.k", "all_final_layer.2-1".
 * Blocks: what is before the layers, each layer, what is behind. Owner of *out: caller, bl_graph_free. */
int bl_zimage_graph(bl_graph **out, const bl_zimage *arch, const bl_zimage_shape *shape, bl_dtype dtype,
                    const char *const *taps, bl_error *err);

#endif
