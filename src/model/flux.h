/* What the graphs of FLUX.1's and FLUX.2's transformers share: tokens of text and picture that attend to each
 * other, text first, under modulations of the time. */
#ifndef BALLAST_MODEL_FLUX_H
#define BALLAST_MODEL_FLUX_H

#include "graph/graph.h"
#include "model/unet.h"

typedef struct bl_flux_net {
    bl_graph *g;
    int heads, head_dim;
    int width; /* of the tokens: heads head_dim */
    float eps; /* of the norms without weights */
    bl_tensor_id rope;
} bl_flux_net;

typedef struct bl_flux_shape {
    int batch, height, width, tokens; /* of a prologue only `batch` counts */
    bl_unet_form form;
    int times;
} bl_flux_shape;

/* Begins the graph of `f`, whose heads, head_dim and eps are there. BL_E_ARGUMENT for a shape that is none.
 */
int bl_flux_begin(bl_flux_net *f, const bl_flux_shape *s, bl_dtype dtype, const char *const *taps,
                  bl_error *err);

/* RMSNorm of each head; weight `block``name`.weight [head_dim]. */
bl_tensor_id bl_flux_head_norm(const bl_flux_net *f, bl_tensor_id x, const char *block, const char *name);

/* The norm without weights, then the scale and shift that begin at channel `at` of the modulation: shift
 * first. */
bl_tensor_id bl_flux_modulated(const bl_flux_net *f, bl_tensor_id x, bl_tensor_id modulation, int at);

/* With the positions of `rope`; all tokens attend to all. */
bl_tensor_id bl_flux_attention(const bl_flux_net *f, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v);

#endif
