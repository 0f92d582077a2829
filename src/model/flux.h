/* What the graphs of FLUX's and SD3's transformers share: tokens of text and picture that attend to each
 * other, under modulations of the time. */
#ifndef BALLAST_MODEL_FLUX_H
#define BALLAST_MODEL_FLUX_H

#include "graph/graph.h"
#include "model/unet.h"

typedef struct bl_flux_shape {
    int batch, height, width, tokens; /* of a prologue only `batch` counts */
    bl_unet_form form;
    int times;
} bl_flux_shape;

typedef struct bl_flux_net {
    bl_graph *g;
    bl_flux_shape shape;
    int heads, head_dim;
    int width; /* of the tokens: heads head_dim */
    float eps; /* of the norms without weights */
    bl_tensor_id rope;
    bl_tensor_id time; /* SiLU of the embedding of time and of what else modulates */
    bl_tensor_id step; /* which of those that the prologue kept */
} bl_flux_net;

/* Begins the graph of `f`, whose heads, head_dim and eps are there. BL_E_ARGUMENT for a shape that is none.
 */
int bl_flux_begin(bl_flux_net *f, const bl_flux_shape *s, bl_dtype dtype, const char *const *taps,
                  bl_error *err);

/* With bias; weights `block``name`.weight and .bias. */
bl_tensor_id bl_flux_linear(const bl_flux_net *f, bl_tensor_id x, const char *block, const char *name,
                            int out_channels, bl_act act);

/* What modulates in FLUX.1 and SD3: the sum of the embeddings of the time, of the guidance where `guided`,
 * and of the text's vector of `pooled` channels, through SiLU: f->time. Numbers become `sinusoids` first.
 * Inputs "t", "guidance", "pooled", of a prologue for all times. Tap: "time_text_embed". */
void bl_flux_embed_time(bl_flux_net *f, int sinusoids, int pooled, bool guided);

/* Of a block: `parts` vectors side by side, made of f->time, and kept by a prologue; in a step what it kept.
 * They are kept in the order in which they are read. */
bl_tensor_id bl_flux_modulation(const bl_flux_net *f, const char *block, const char *name, int parts);

/* RMSNorm of each head; weight `block``name`.weight [head_dim]. */
bl_tensor_id bl_flux_head_norm(const bl_flux_net *f, bl_tensor_id x, const char *block, const char *name);

/* x + gate ff(modulated x), two layers with tanh-GELU between them, `hidden` channels wide there; shift,
 * scale and gate are parts 3, 4 and 5 of the modulation. */
bl_tensor_id bl_flux_feed_forward(const bl_flux_net *f, bl_tensor_id x, bl_tensor_id modulation,
                                  const char *block, const char *name, int hidden);

/* The norm without weights, then the scale and shift that begin at channel `at` of the modulation: shift
 * first. */
bl_tensor_id bl_flux_modulated(const bl_flux_net *f, bl_tensor_id x, bl_tensor_id modulation, int at);

/* With the positions of `rope`; all tokens attend to all. */
bl_tensor_id bl_flux_attention(const bl_flux_net *f, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v);

#endif
