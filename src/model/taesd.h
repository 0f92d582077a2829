/* The graph of TAESD's decoder (madebyollin/taesd), a small network that makes a picture of latents as the
 * denoiser sees them: about as the VAE's decoder would, in a small part of its time and memory. Of SD 1.x and
 * SD 2.x (taesd), of SDXL (taesdxl), and of SD3's and FLUX.1's latents (taesd3, taef1) it is the same
 * network; FLUX.2's (taef2) adds pool(x) to what its first three blocks read: a convolution to four times the
 * channels, GroupNorm of four groups, ReLU, a convolution back. Names are those of diffusers'
 * AutoencoderTiny.
 */
#ifndef BALLAST_MODEL_TAESD_H
#define BALLAST_MODEL_TAESD_H

#include "checkpoint/architecture.h"
#include "graph/graph.h"

#include <stddef.h>

typedef struct bl_taesd_shape {
    int batch;
    int height, width; /* of the latent: 1/8 of the picture's */
    uint64_t kept;     /* bytes at the arena's begin in which another graph's kept tensors stay (bl_keep) */
} bl_taesd_shape;

/* Input  "z"     F32 NCHW [batch, latent channels, height, width], through bl_taesd_clamp.
 * Output "image" F32 NCHW [batch, 3, 8 height, 8 width], about 0 .. 1, not clamped: bl_taesd_range.
 * Taps: layers, numbered as diffusers does, "decoder.layers.2", and by the authors' numbers, "3"; "0" is the
 * input. `taps` may be NULL. Blocks: a layer each, the activation with the convolution before it. Errors:
 * BL_E_ARGUMENT for a shape that cannot be. Owner of *out: caller, bl_graph_free. */
int bl_taesd_graph(bl_graph **out, const bl_taesd_architecture *arch, bl_taesd_shape shape, bl_dtype dtype,
                   const char *const *taps, bl_error *err);

/* What the network begins with, in F32: 3 tanh(x / 3) of each of `n` values. `out` may be `z`. */
void bl_taesd_clamp(float *out, const float *z, size_t n);
/* From the network's range to that of all other pictures here: 2 x - 1, in place. */
void bl_taesd_range(float *image, size_t n);

#endif
