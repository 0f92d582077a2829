/* Graphs of CLIP's text encoders: CLIP-L of SD1.x and SDXL, OpenCLIP-H of SD2.x, OpenCLIP-G of SDXL
 * (transformers' CLIPTextModel and its tensor names). */
#ifndef BALLAST_MODEL_CLIP_TEXT_H
#define BALLAST_MODEL_CLIP_TEXT_H

#include "checkpoint/architecture.h"
#include "graph/graph.h"

#include <stdbool.h>

/* Which outputs to make. Only the layers that these need are in the graph, so graphs with different outputs
 * list different weights: a device module serves graphs of one choice.
 *
 * hidden_states[k] is what leaves layer k (k = 0: the embeddings); negative k count from the end, as in
 * Python. The last layer of SD2.x's single files, which nothing was trained to read, does not count: there
 * hidden_states[-1] comes from layer 23 of 24, as in a diffusers folder, which has only 23. */
typedef struct bl_clip_text_outputs {
    bool context;     /* "context": what the UNet reads, hidden_states[-clip_skip]; of SD1.x and SD2.x through
                         the final layer norm, of SDXL as it is */
    bool own_context; /* "own_context": the same without clip skip */
    int clip_skip;    /* 1 is the last layer, 2 the one before; 0: the model's own, 1, of SDXL 2 */
    bool last_hidden_state; /* "last_hidden_state": hidden_states[-1] through the final layer norm */
    bool penultimate;       /* "penultimate": hidden_states[-2] as it is */
    bool penultimate_ln;    /* "penultimate_ln": the same through the final layer norm */
    bool pooled;            /* "pooled": last_hidden_state at row `eos` */
    bool text_embeds;       /* "text_embeds": pooled times the text projection */
} bl_clip_text_outputs;

/* The layers that clip skip counts: those behind the embeddings, without a last one that nothing was trained
 * to read. */
int bl_clip_text_layers(const bl_text_architecture *arch);

/* Inputs  "ids" I32 [batch, tokens, 1, 1]; tokens at most the positions of the model (77).
 *         "eos" I32 [batch, 1, 1, 1], the row of the first end token; only there for pooled and text_embeds.
 * Outputs F32: hidden states [batch, tokens, 1, C]; pooled [batch, 1, 1, C]; text_embeds [batch, 1, 1,
 * projection]. Taps: "hidden_states.k" for k from 0 to the last layer in the graph. `taps` may be NULL.
 * Blocks: embeddings, each layer, and what follows them.
 * Errors: BL_E_ARGUMENT for no output, a clip skip that leaves no layer, or a shape that cannot be;
 * BL_E_UNSUPPORTED for text_embeds of a model without projection. Owner of *out: caller, bl_graph_free. */
int bl_clip_text_graph(bl_graph **out, bl_module module, const bl_text_architecture *arch, int batch,
                       int tokens, bl_clip_text_outputs want, bl_dtype dtype, const char *const *taps,
                       bl_error *err);

#endif
