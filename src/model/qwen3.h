/* The graph of the Qwen3 language model as a text encoder (transformers' Qwen3Model and its tensor names),
 * and of Mistral: what leaves some of its layers. */
#ifndef BALLAST_MODEL_QWEN3_H
#define BALLAST_MODEL_QWEN3_H

#include "checkpoint/transformers.h"
#include "graph/graph.h"

/* Inputs  "embeddings" F32 [batch, tokens, 1, width]: rows of the table model.embed_tokens.weight;
 *         "counts" I32 [batch, 1, 1, 1]: tokens that are not padding, at the right;
 *         "rope" F32 [batch, tokens, 1, head_dim]: of positions 0, 1, ...
 * Output  "context" F32 [batch, tokens, 1, count * width]. Taps: "layers.k", and of layer 0
 * "layers.0.input_layernorm" and "layers.0.self_attn.q_norm"; all of the first text.
 * `second`: rows of a second text, whose ports are "embeddings 2", "counts 2", "rope 2" and "context 2"; 0:
 * none. It runs beside the first, block by block, with ops of its own: weights come once for both, and either
 * has the bits that it has alone.
 * Blocks: each layer; the import is in the first, the output in the last.
 * BL_E_ARGUMENT for layers that are not there or shapes that cannot be. Owner of *out: caller, bl_graph_free.
 */
int bl_qwen3_graph(bl_graph **out, const bl_qwen3 *arch, int batch, int tokens, int second,
                   bl_qwen3_outputs want, bl_dtype dtype, const char *const *taps, bl_error *err);

#endif
