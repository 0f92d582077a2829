/* The graph of T5's encoder, version 1.1 (transformers' T5EncoderModel and its tensor names). */
#ifndef BALLAST_MODEL_T5_H
#define BALLAST_MODEL_T5_H

#include "checkpoint/transformers.h"
#include "graph/graph.h"

/* Fills the input "bias" of one text, [heads][2 tokens - 1], from the table that all layers share: [buckets]
 * [heads], the tensor "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight". Half of the
 * buckets are for keys behind the query; of either half the first half is of one distance each, the rest of
 * ranges that grow up to a->distance (Raffel et al. 2020, section 2.1). */
void bl_t5_bias(float *bias, const bl_t5 *arch, const float *table, int tokens);

/* Inputs  "embeddings" F32 [batch, tokens, 1, width]: rows of the table shared.weight;
 *         "bias" F32 [batch, heads, 1, 2 tokens - 1]: see bl_t5_bias.
 * Output  "context" F32 [batch, tokens, 1, width], through the last norm. Taps: "encoder.block.k",
 * of the first text.
 * `second`: rows of a second text, whose ports are "embeddings 2", "bias 2" and "context 2"; 0: none. It runs
 * beside the first as in bl_qwen3_graph.
 * Blocks: each layer; the import is in the first, the output in the last. No token is masked.
 * Owner of *out: caller, bl_graph_free. */
int bl_t5_graph(bl_graph **out, const bl_t5 *arch, bl_module module, int batch, int tokens, int second,
                bl_dtype dtype, const char *const *taps, bl_error *err);

#endif
