#include "model/t5.h"

#include "model/layers.h"

#include <math.h>

/* ---- what the host computes */

/* Of a key that stands `ahead` rows behind its query, which may be negative. */
static int bucket_of(const bl_t5 *a, int ahead) {
    const int half = a->buckets / 2, exact = half / 2, far = ahead < 0 ? -ahead : ahead;
    const int side = ahead > 0 ? half : 0;
    if (far < exact) {
        return side + far;
    }
    /* In F32 like the models' own code: where the logarithm meets a whole number, its rounding decides. */
    const float share = logf((float)far / (float)exact) / (float)log((double)a->distance / exact);
    const int bucket = exact + (int)(share * (float)(half - exact));
    return side + (bucket < half ? bucket : half - 1);
}

void bl_t5_bias(float *bias, const bl_t5 *a, const float *table, int tokens) {
    const int distances = 2 * tokens - 1;
    for (int d = 0; d < distances; d++) {
        const int bucket = bucket_of(a, tokens - 1 - d);
        for (int h = 0; h < a->heads; h++) {
            bias[(size_t)h * (size_t)distances + (size_t)d] = table[bucket * a->heads + h];
        }
    }
}

/* ---- the graph; no layer has a bias of its own */

static bl_tensor_id norm(bl_graph *g, const bl_t5 *a, bl_tensor_id x, bl_path name) {
    const char *weight = name.s;
    int64_t n = a->width;
    return bl_rms_norm(g, x, bl_weight_new(g, BL_W_VECTOR, &n, 1, &weight, 1), a->eps);
}

static bl_tensor_id linear(bl_graph *g, bl_tensor_id x, bl_path name, int out, bl_tensor_id residual) {
    const char *weight = name.s;
    const int64_t shape[2] = {out, bl_net_channels(g, x)};
    return bl_linear(g, x, bl_weight_new(g, BL_W_LINEAR, shape, 2, &weight, 1), BL_NONE, BL_ACT_NONE,
                     residual);
}

static bl_tensor_id attention(bl_graph *g, const bl_t5 *a, bl_tensor_id x, bl_tensor_id bias, int i) {
    const int c = a->heads * a->head_dim;
    bl_tensor_id y = norm(g, a, x, bl_path_make("encoder.block.%d.layer.0.layer_norm.weight", i));
    const bl_path names[] = {bl_path_make("encoder.block.%d.layer.0.SelfAttention.q", i),
                             bl_path_make("encoder.block.%d.layer.0.SelfAttention.k", i),
                             bl_path_make("encoder.block.%d.layer.0.SelfAttention.v", i)};
    y = bl_net_projections(g, y, names, 3, c, false);
    y = bl_biased_attention(g, y, y, y, bias,
                            (bl_attention_options){.heads = a->heads,
                                                   .head_dim = a->head_dim,
                                                   .k_offset = c,
                                                   .v_offset = 2 * c,
                                                   .key_counts = BL_NONE});
    return linear(g, y, bl_path_make("encoder.block.%d.layer.0.SelfAttention.o.weight", i), a->width, x);
}

static bl_tensor_id feed_forward(bl_graph *g, const bl_t5 *a, bl_tensor_id x, int i) {
    bl_tensor_id y = norm(g, a, x, bl_path_make("encoder.block.%d.layer.1.layer_norm.weight", i));
    const bl_path names[] = {bl_path_make("encoder.block.%d.layer.1.DenseReluDense.wi_0", i),
                             bl_path_make("encoder.block.%d.layer.1.DenseReluDense.wi_1", i)};
    y = bl_glu(g, bl_net_projections(g, y, names, 2, a->hidden, false), BL_ACT_GELU_TANH);
    return linear(g, y, bl_path_make("encoder.block.%d.layer.1.DenseReluDense.wo.weight", i), a->width, x);
}

int bl_t5_graph(bl_graph **out, const bl_t5 *a, bl_module module, int batch, int tokens, bl_dtype dtype,
                const char *const *taps, bl_error *err) {
    *out = NULL;
    int rc = bl_net_check_shape(module, batch, 1, 1, tokens, err);
    if (rc) {
        return rc;
    }
    bl_graph *g = bl_graph_new(module, dtype, taps);
    if (!g) {
        return bl_fail_memory(err, "a graph", sizeof *g);
    }
    bl_tensor_id x = bl_input(g, "embeddings", BL_F32, BL_CHANNELS_LAST, batch, tokens, 1, a->width);
    const bl_tensor_id bias =
        bl_input(g, "bias", BL_F32, BL_CHANNELS_LAST, batch, a->heads, 1, 2 * tokens - 1);
    for (int i = 0; i < a->layers; i++) {
        bl_graph_block(g, "encoder.block.%d", i);
        x = attention(g, a, i ? x : bl_import(g, x), bias, i);
        x = feed_forward(g, a, x, i);
        bl_tap_tokens(g, x, "encoder.block.%d", i);
    }
    x = norm(g, a, x, bl_path_make("encoder.final_layer_norm.weight"));
    bl_export(g, x, "context", BL_CHANNELS_LAST);
    return bl_net_finish(out, g, err);
}
