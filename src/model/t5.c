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

static bl_weight_id vector(bl_graph *g, const bl_t5 *a, bl_path name) {
    const char *weight = name.s;
    const int64_t n = a->width;
    return bl_weight_new(g, BL_W_VECTOR, &n, 1, &weight, 1);
}

/* `parts` matrices of [out, in], below each other. */
static bl_weight_id matrix(bl_graph *g, const bl_path *names, int parts, int out, int in) {
    const int64_t shape[2] = {(int64_t)parts * out, in};
    const char *weights[BL_WEIGHT_PARTS] = {0};
    for (int i = 0; i < parts && i < BL_WEIGHT_PARTS; i++) {
        weights[i] = names[i].s;
    }
    return bl_weight_new(g, BL_W_LINEAR, shape, 2, weights, parts);
}

/* A layer's weights, which all texts are multiplied with. */
typedef struct layer_weights {
    bl_weight_id norm, qkv, o, norm2, wi, wo;
} layer_weights;

static layer_weights weights_of(bl_graph *g, const bl_t5 *a, int i) {
    const int c = a->heads * a->head_dim;
    const bl_path qkv[] = {bl_path_make("encoder.block.%d.layer.0.SelfAttention.q.weight", i),
                           bl_path_make("encoder.block.%d.layer.0.SelfAttention.k.weight", i),
                           bl_path_make("encoder.block.%d.layer.0.SelfAttention.v.weight", i)};
    const bl_path wi[] = {bl_path_make("encoder.block.%d.layer.1.DenseReluDense.wi_0.weight", i),
                          bl_path_make("encoder.block.%d.layer.1.DenseReluDense.wi_1.weight", i)};
    const bl_path o = bl_path_make("encoder.block.%d.layer.0.SelfAttention.o.weight", i);
    const bl_path wo = bl_path_make("encoder.block.%d.layer.1.DenseReluDense.wo.weight", i);
    layer_weights w;
    w.norm = vector(g, a, bl_path_make("encoder.block.%d.layer.0.layer_norm.weight", i));
    w.qkv = matrix(g, qkv, 3, c, a->width);
    w.o = matrix(g, &o, 1, a->width, c);
    w.norm2 = vector(g, a, bl_path_make("encoder.block.%d.layer.1.layer_norm.weight", i));
    w.wi = matrix(g, wi, 2, a->hidden, a->width);
    w.wo = matrix(g, &wo, 1, a->width, a->hidden);
    return w;
}

static bl_tensor_id linear(bl_graph *g, bl_tensor_id x, bl_weight_id weight, bl_tensor_id residual) {
    return bl_linear(g, x, weight, BL_NONE, BL_ACT_NONE, residual);
}

/* One text through one layer. */
static bl_tensor_id layer(bl_graph *g, const bl_t5 *a, bl_tensor_id x, bl_tensor_id bias,
                          const layer_weights *w) {
    const int c = a->heads * a->head_dim;
    bl_tensor_id y = linear(g, bl_rms_norm(g, x, w->norm, a->eps), w->qkv, BL_NONE);
    y = bl_biased_attention(g, y, y, y, bias,
                            (bl_attention_options){.heads = a->heads,
                                                   .head_dim = a->head_dim,
                                                   .k_offset = c,
                                                   .v_offset = 2 * c,
                                                   .key_counts = BL_NONE});
    x = linear(g, y, w->o, x);
    y = linear(g, bl_rms_norm(g, x, w->norm2, a->eps), w->wi, BL_NONE);
    return linear(g, bl_glu(g, y, BL_ACT_GELU_TANH), w->wo, x);
}

int bl_t5_graph(bl_graph **out, const bl_t5 *a, bl_module module, int batch, int tokens, int second,
                bl_dtype dtype, const char *const *taps, bl_error *err) {
    const int rows[2] = {tokens, second}, count = second ? 2 : 1;
    bl_tensor_id x[2], bias[2];
    *out = NULL;
    for (int k = 0; k < count; k++) {
        int rc = bl_net_check_shape(module, batch, 1, 1, rows[k], err);
        if (rc) {
            return rc;
        }
    }
    bl_graph *g = bl_graph_new(module, dtype, taps);
    if (!g) {
        return bl_fail_memory(err, "a graph", sizeof *g);
    }
    for (int k = 0; k < count; k++) {
        x[k] = bl_input(g, k ? "embeddings 2" : "embeddings", BL_F32, BL_CHANNELS_LAST, batch, rows[k], 1,
                        a->width);
        bias[k] =
            bl_input(g, k ? "bias 2" : "bias", BL_F32, BL_CHANNELS_LAST, batch, a->heads, 1, 2 * rows[k] - 1);
    }
    for (int i = 0; i < a->layers; i++) {
        bl_graph_block(g, "encoder.block.%d", i);
        const layer_weights w = weights_of(g, a, i);
        for (int k = 0; k < count; k++) {
            x[k] = layer(g, a, i ? x[k] : bl_import(g, x[k]), bias[k], &w);
        }
        bl_tap_tokens(g, x[0], "encoder.block.%d", i);
    }
    const bl_weight_id last = vector(g, a, bl_path_make("encoder.final_layer_norm.weight"));
    for (int k = 0; k < count; k++) {
        bl_export(g, bl_rms_norm(g, x[k], last, a->eps), k ? "context 2" : "context", BL_CHANNELS_LAST);
    }
    return bl_net_finish(out, g, err);
}
